//! RNS-CKKS engine, planner and runner for polynomial networks.
//!
//! ```text
//! Graph ──plan──► Program ──┬─► ClearSlots   the program on plain numbers
//!                           ├─► CostCounter  time, memory, keys
//!                           └─► CkksSlots    the encrypted run
//! ```
//! Inside the crate, imports go up this list: [`math`] (primes, transforms) knows no CKKS, [`ckks`] knows no network, [`slots`]
//! abstracts both, the kernels are written over it, [`bootstrap`] joins them to refresh ciphertexts, [`plan`] touches no ciphertext, [`run`] joins them.
#![deny(unsafe_code)]

pub mod bootstrap;
pub mod ckks;
mod error;
mod kernels;
pub mod math;
pub mod plan;
pub mod run;
pub mod slots;
pub mod wire;

pub use error::HeError;
pub use kernels::CompositeSign;
