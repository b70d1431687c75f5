//! Leveled RNS-CKKS (Cheon, Kim, Kim, Song 2017; Cheon et al. 2018; hybrid key switching of Han, Ki 2020).
//!
//! ```text
//! ParamsLiteral ─► CkksParams (checked, 128 bit) ─► Context ─┬─ encode / encrypt / decrypt
//!                  ToyParams  (INSECURE)         ─►          ├─ add, mul, rescale, rotate, matrix_const
//!                                                            └─ secret_key, public_key, eval_keys
//! ```
//! A [`Context`] holds every table and is immutable; all operations are its methods and take operands by reference.
//! Operations run inside whatever rayon pool is current and give the same result for any number of threads.
//! Ciphertexts carry their level and exact scale; nothing is rescaled or adjusted behind the caller's back.
mod arith;
mod ciphertext;
mod context;
mod digits;
mod divide;
mod encoder;
mod encrypt;
mod error;
mod factor;
mod gemm;
mod hoisting;
mod key_id;
mod keygen;
mod keys;
mod keyswitch;
mod par;
mod params;
mod poly_ops;
mod precision;
mod presets;
mod raise;
mod rotate;
mod security;
mod transform;

pub use ciphertext::{Ciphertext, SeededCiphertext};
pub use context::Context;
#[allow(unused_imports, reason = "named by the linear transforms")]
pub use encoder::{Coefficients, Plaintext};
pub use encrypt::{PublicationPolicy, Published};
pub use error::CkksError;
pub use factor::{Held, PlaintextMul};
pub use gemm::SparseRow;
pub use hoisting::{Hoisting, Sparsity, TransformPlan};
pub use key_id::KeyId;
pub use keygen::{KeyBytes, os_rng};
pub use keys::{EvalKeys, KeyForm, KeySpec, PublicKey, SecretKey};
pub(crate) use keys::{KeyName, SwitchKey};
pub(crate) use params::Sizes;
pub use params::{CkksParams, Gadget, ParamsLiteral, ToyParams};
pub use poly_ops::Combination;
pub use precision::{NoiseModel, PrecisionStats};
pub use presets::{d16, m15, s13, s13d, s14, s14d, toy, toy_deep};
pub use rotate::Decomposition;
pub(crate) use rotate::turning_bytes;
pub use security::max_log_qp;
pub use transform::{Diagonals, LinearTransform};
