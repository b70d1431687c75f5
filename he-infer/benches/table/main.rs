//! The table of docs/benchmarks.md: medians of CPU time (threads x wall would count waiting), one process, beside `tfhe-ntt`.
//!
//! `cargo bench -p he-infer --bench table [-- ntt|ops|bootstrap|variants|model|plans|scaling ...]`; `--threads N` (default 1).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may stop")]

mod bootstrap;
mod common;
mod engine;
mod model;
mod plans;
mod scaling;

use he_infer::ckks::{d16, m15, s14};

/// What can be named on the command line; all of them if none is.
const SECTIONS: [&str; 7] = ["ntt", "ops", "bootstrap", "variants", "model", "plans", "scaling"];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let threads = args.iter().position(|a| a == "--threads").map_or(1, |i| args[i + 1].parse().unwrap());
    let wants =
        |name: &str| args.iter().all(|a| !SECTIONS.contains(&a.as_str())) || args.iter().any(|a| a == name);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    println!("{threads} thread(s)");
    pool.install(|| {
        if wants("ntt") {
            engine::ntt();
            engine::ntt_cold();
            engine::memory();
        }
        if wants("ops") {
            for level in [24, 23] {
                engine::ops("log N 16 (D16)", d16(), level);
            }
            engine::ops("log N 15 (M15)", m15(), 14);
            for level in [7, 6] {
                engine::ops("log N 14 (S14)", s14(), level);
            }
        }
        if wants("bootstrap") {
            bootstrap::bootstrap();
        }
        if wants("variants") {
            bootstrap::variants();
        }
        if wants("model") {
            model::model();
        }
        if wants("plans") {
            plans::plans();
        }
    });
    if wants("scaling") {
        scaling::scaling();
    }
}
