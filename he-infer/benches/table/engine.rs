//! Transforms beside `tfhe-ntt`, and single operations.

use std::hint::black_box;

use cpu_time::ProcessTime;
use he_infer::ckks::{CkksParams, Context, KeySpec, ParamsLiteral};
use he_infer::math::{backend::Backend, modulus::Modulus, ntt::Plan, poly::RnsPoly, primes};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use rayon::prelude::*;

use crate::common::{fresh, measure, row};

/// One limb forward.
pub fn ntt() {
    println!("\n| NTT, 50-bit prime, µs CPU | ours | tfhe-ntt | ratio |\n|---|---|---|---|");
    for log_n in [13, 14, 15, 16] {
        let n = 1usize << log_n;
        let q = primes::below(50, log_n + 1, 1, &[])[0];
        let ours = Plan::new(n, Modulus::new(q).unwrap(), Backend::detect()).unwrap();
        let theirs = tfhe_ntt::prime64::Plan::try_new(n, q).unwrap();
        let mut a: Vec<u64> = (0..n as u64).map(|i| i * i % q).collect();
        let mut b = a.clone();
        // Taken in turns, so that a busy machine slows both alike.
        let mut ratios = Vec::new();
        let batch = (1 << 22) >> log_n;
        for _ in 0..15 {
            let at = |f: &mut dyn FnMut()| {
                let c = ProcessTime::now();
                (0..batch).for_each(|_| f());
                c.elapsed().as_secs_f64() * 1e6 / f64::from(batch)
            };
            let x = at(&mut || ours.forward(black_box(&mut a)));
            let y = at(&mut || theirs.fwd(black_box(&mut b)));
            ratios.push((x / y, x, y));
        }
        ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (r, x, y) = ratios[ratios.len() / 2];
        println!("| 2^{log_n} forward | {x:.1} | {y:.1} | {r:.2} |");
    }
}

/// Limbs of a key switch at `2^16`: every one under another prime, whose roots come from memory.
pub fn ntt_cold() {
    let (n, count) = (1usize << 16, 38);
    let plan = |q: &u64| Plan::new(n, Modulus::new(*q).unwrap(), Backend::detect()).unwrap();
    let mut plans: Vec<Plan> = primes::below(50, 17, count, &[]).iter().map(plan).collect();
    Plan::side_by_side(&mut plans);
    let mut limbs = RnsPoly::zero(n, 2 * count);
    let mut all = |f: &dyn Fn(&Plan, &mut [u64])| {
        let pairs =
            || limbs.iter_mut().zip(plans.iter().flat_map(|p| [p, p])).for_each(|(limb, p)| f(p, limb));
        measure(pairs).0 * 1e3 / (2 * count) as f64
    };
    let (forward, inverse) = (all(&|p, limb| p.forward(limb)), all(&|p, limb| p.inverse(limb)));
    println!("\n{count} primes, two limbs each, 2^16: forward {forward:.1}, inverse {inverse:.1} µs CPU");
}

/// What the machine's memory gives to all threads of the pool.
pub fn memory() {
    // Not zeros: those would all be one page.
    let words: Vec<Vec<u64>> = (1..=rayon::current_num_threads()).map(|i| vec![i as u64; 1 << 26]).collect();
    let sum = || words.par_iter().map(|w| w.iter().fold(0u64, |s, x| s.wrapping_add(*x))).sum::<u64>();
    let (_, wall) = measure(sum);
    println!(
        "\nreading from memory: {:.0} GB/s",
        words.len() as f64 * 8.0 * (1u64 << 26) as f64 / wall / 1e6
    );
}

/// Operations of one parameter set at `level`.
pub fn ops(name: &str, literal: ParamsLiteral, level: usize) {
    let ctx = Context::new(&CkksParams::new(literal).unwrap()).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let secret = ctx.secret_key(&mut rng);
    let steps: Vec<i32> = (1..9).collect();
    let rotations = steps.iter().map(|s| (*s, level)).collect();
    let keys = ctx
        .eval_keys(&secret, &KeySpec { relin_level: Some(level), rotations, ..KeySpec::default() }, &mut rng)
        .unwrap();
    let values: Vec<f64> = (0..ctx.slots()).map(|i| (i as f64).sin()).collect();
    let plain = ctx.encode(&values, level, ctx.default_scale()).unwrap();
    let x = fresh(&ctx, &secret, &values, level, &mut rng);
    println!("\n| {name}, {} limbs | CPU ms | wall ms |\n|---|---|---|", level + 1);
    row("rotate", || ctx.rotate(&x, 1, &keys));
    row("multiply + relinearise + rescale", || ctx.mul_rescale(&x, &x, &keys));
    row("8 hoisted rotations", || ctx.rotate_many(&x, &steps, &keys));
    row("rescale", || ctx.rescale(&x));
    row("encode", || ctx.encode(&values, level, ctx.default_scale()));
    row("encrypt (secret key)", || ctx.encrypt_symmetric(&plain, &secret, &mut rng).unwrap().level());
    let one = KeySpec { rotations: vec![(1, level)], ..KeySpec::default() };
    row("one rotation key", || ctx.eval_keys(&secret, &one, &mut rng).unwrap().len());
}
