//! Walks a program: the client encodes and decrypts, the server evaluates, the executor is the same for all evaluators.

mod calibrate;
mod client;
mod executor;
mod server;

pub use calibrate::{RINGS, calibrate};
pub use client::Client;
pub use executor::{NoObserver, Observer, Prepared, execute};
pub use server::Server;
