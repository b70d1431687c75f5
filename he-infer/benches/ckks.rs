//! Homomorphic operations on one thread (a pool of one); numbers in the README come from here.
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use he_infer::ckks::{CkksError, CkksParams, Context, KeySpec, ParamsLiteral, SparseRow, d16, s13d, s14};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

fn preset(c: &mut Criterion, name: &str, literal: ParamsLiteral, top: usize) -> Result<(), CkksError> {
    let ctx = Context::new(&CkksParams::new(literal)?)?;
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let secret = ctx.secret_key(&mut rng);
    let steps: Vec<i32> = (1..9).collect();
    let rotations = steps.iter().map(|s| (*s, top)).collect();
    let spec = KeySpec { relin_level: Some(top), rotations, ..KeySpec::default() };
    let keys = ctx.eval_keys(&secret, &spec, &mut rng)?;
    let values: Vec<f64> = (0..ctx.slots()).map(|i| (i as f64).sin()).collect();
    let plain = ctx.encode(&values, top, ctx.default_scale())?;
    let weights = ctx.encode_mul(&values, top, ctx.default_scale())?;
    let public = ctx.public_key(&secret, &mut rng)?;
    let ct = ctx.expand_ciphertext(&ctx.encrypt_symmetric(&plain, &secret, &mut rng)?)?;
    let one_key = KeySpec { rotations: vec![(1, top)], ..KeySpec::default() };

    let mut group = c.benchmark_group(name);
    group.bench_function("rotate", |b| b.iter(|| black_box(ctx.rotate(&ct, 1, &keys))));
    group.bench_function("rotate_8_hoisted", |b| b.iter(|| black_box(ctx.rotate_many(&ct, &steps, &keys))));
    group.bench_function("square_relin_rescale", |b| b.iter(|| black_box(ctx.square_rescale(&ct, &keys))));
    group.bench_function("mul_relin", |b| b.iter(|| black_box(ctx.mul(&ct, &ct, &keys))));
    group.bench_function("rescale", |b| b.iter(|| black_box(ctx.rescale(&ct))));
    group.bench_function("mul_plain", |b| b.iter(|| black_box(ctx.mul_plain(&ct, &weights))));
    group.bench_function("encode", |b| b.iter(|| black_box(ctx.encode(&values, top, ctx.default_scale()))));
    group.bench_function("encrypt_symmetric", |b| {
        b.iter(|| black_box(ctx.encrypt_symmetric(&plain, &secret, &mut rng).map(|c| c.level())));
    });
    group.bench_function("encrypt_public", |b| {
        b.iter(|| black_box(ctx.encrypt_public(&plain, &public, &mut rng).map(|c| c.level())));
    });
    group.bench_function("decrypt", |b| b.iter(|| black_box(ctx.decrypt(&secret, &ct))));
    group.bench_function("one_rotation_key", |b| {
        b.iter(|| black_box(ctx.eval_keys(&secret, &one_key, &mut rng).map(|k| k.len())));
    });
    group.finish();
    Ok(())
}

fn matrix(c: &mut Criterion) -> Result<(), CkksError> {
    let ctx = Context::new(&CkksParams::new(s13d())?)?;
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let secret = ctx.secret_key(&mut rng);
    let plain = ctx.encode(&[0.5; 64], 3, ctx.default_scale())?;
    let ct = ctx.expand_ciphertext(&ctx.encrypt_symmetric(&plain, &secret, &mut rng)?)?;
    let inputs = vec![ct; 845];
    let rows: Vec<SparseRow> =
        (0..100).map(|o| (0..845).map(|i| (i, ((o * 845 + i) as f64).sin())).collect()).collect();
    // 845 x 100 scalars, 2 polynomials of 4 limbs of 8192 words: 5.54e9 multiply-adds.
    let mut group = c.benchmark_group("s13d_level3");
    group.sample_size(10);
    group.bench_function("matrix_845x100", |b| b.iter(|| black_box(ctx.matrix_const(&inputs, &rows, 1e7))));
    group.finish();
    Ok(())
}

fn run(c: &mut Criterion) -> Result<(), CkksError> {
    preset(c, "d16_25limbs", d16(), 24)?;
    preset(c, "s14", s14(), 7)?;
    preset(c, "s13d", s13d(), 5)?;
    matrix(c)
}

fn operations(c: &mut Criterion) {
    match rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build() {
        Ok(_pool) => {
            if let Err(error) = run(c) {
                eprintln!("benchmark failed: {error}");
            }
        }
        Err(error) => eprintln!("no thread pool: {error}"),
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(1))
        .warm_up_time(Duration::from_millis(300));
    targets = operations
}
criterion_main!(benches);
