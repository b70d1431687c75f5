//! Transforms beside `tfhe-ntt`, and single operations.

use std::hint::black_box;

use cpu_time::ProcessTime;
use he_infer::ckks::{CkksParams, Context, KeySpec, ParamsLiteral};
use he_infer::math::{backend::Backend, modulus::Modulus, ntt::Plan, primes};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::common::{fresh, row};

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
