//! RNS-CKKS engine, planner and runner for polynomial networks.
//!
//! ```text
//! Graph ──plan──► Program ──┬─► ClearSlots   the program on plain numbers
//!                           ├─► CostCounter  time, memory, keys
//!                           └─► CkksSlots    the encrypted run
//! ```
//! Inside the crate, imports go up this list: [`math`] (primes, transforms) knows no CKKS, [`ckks`] knows no network, [`slots`]
//! abstracts both, the kernels are written over it, [`bootstrap`] joins them to refresh ciphertexts, [`plan`] touches no ciphertext, [`run`] joins them.
//! # The engine on its own
//!
//! [`ckks`], [`bootstrap`] and [`wire`] need no network. On insecure toy parameters, to run in a blink (for secure ones take a preset such
//! as [`ckks::d16`] with [`ckks::CkksParams`] and [`ckks::Context::new`], and a generator from [`ckks::os_rng`]):
//!
//! ```
//! use he_infer::bootstrap::{BootstrapParams, Bootstrapper};
//! use he_infer::ckks::{Context, KeySpec, ToyParams, os_rng, toy_deep};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ctx = Context::insecure(&ToyParams::new(toy_deep(10, 4))?)?;
//! let boot = Bootstrapper::new(&ctx, &BootstrapParams::with_groups(vec![3, 3, 3], vec![3, 3, 3]))?;
//!
//! // The client makes keys and encrypts.
//! let mut rng = os_rng()?;
//! let secret = ctx.secret_key(&mut rng);
//! let rotation = KeySpec { rotations: vec![(1, boot.output_level())], ..KeySpec::default() };
//! let keys = ctx.eval_keys(&secret, &boot.keys().union(&rotation), &mut rng)?;
//! let values: Vec<f64> = (0..ctx.slots()).map(|i| (i as f64).sin()).collect();
//! let plain = ctx.encode(&values, boot.input_level(), ctx.default_scale())?;
//! let sent = ctx.encrypt_symmetric(&plain, &secret, &mut rng)?;
//!
//! // The server has no level to spare: it refreshes, multiplies and rotates.
//! let x = boot.bootstrap(&ctx.expand_ciphertext(&sent)?, &keys)?;
//! let y = ctx.rotate(&ctx.mul_rescale(&x, &x, &keys)?, 1, &keys)?;
//!
//! // The client decrypts: slot i holds the square of value i + 1.
//! let result = ctx.decrypt(&secret, &y)?;
//! assert!((result[0] - values[1] * values[1]).abs() < 1e-4);
//! # Ok(())
//! # }
//! ```
//! `cargo run --release -p he-infer --example refresh` is the same at 128-bit security, with everything sent as bytes.
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
