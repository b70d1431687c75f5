//! Bootstrapping on small insecure parameters: every code path in seconds. The secure preset runs in the ignored tests.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use he_infer::bootstrap::{BootstrapParams, Bootstrapper};
use he_infer::ckks::{CkksParams, Context, KeyForm, KeySpec, PrecisionStats, d16};
use he_infer::math::backend::Backend;
use he_infer::wire;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

#[path = "common/refresh.rs"]
mod refresh;
use refresh::{adversarial, encrypt, toy};

/// Runs `x <- 1 - 1.4 x^2`, which stays in [-1, 1] and never dies out, and compares every refresh and every step with the
/// clear: refreshing after every step, or only when levels run out.
fn iterate(ctx: &Context, params: &BootstrapParams, steps: usize, always: bool, starts: usize) {
    let mut rng = ChaCha20Rng::seed_from_u64(11);
    let secret = ctx.secret_key(&mut rng);
    let boot = Bootstrapper::new(ctx, params).unwrap();
    let keys = ctx.eval_keys(&secret, &boot.keys(), &mut rng).unwrap();
    let (deviation, systematic) = boot.error();
    let delta = ctx.default_scale();
    let prime = |level: usize| ctx.modulus_at(level).unwrap() as f64;
    let worst = |want: &[f64], have: &[f64]| PrecisionStats::new(want, have).max_error;
    for (name, start) in adversarial(ctx.slots()).into_iter().take(starts) {
        let mut x = encrypt(ctx, &secret, (&start, &[]), boot.input_level(), &mut rng);
        let mut clear = ctx.decrypt(&secret, &x).unwrap();
        let (mut measured, mut refreshed) = (0f64, 0);
        for step in 0..steps {
            // A step takes two levels and must leave those that the next refresh needs.
            if always || x.level() < boot.input_level() + 2 {
                x = boot.bootstrap(&x, &keys).unwrap();
                let fresh = ctx.decrypt(&secret, &x).unwrap();
                let error = worst(&clear, &fresh);
                assert!(
                    error < 6.0 * deviation + systematic,
                    "{name}, step {step}: {error:e} after a refresh"
                );
                (measured, refreshed) = (measured.max(error), refreshed + 1);
                clear = fresh;
            }
            let level = x.level();
            let scale = delta * prime(level) * prime(level - 1) / (x.scale() * x.scale());
            let scaled = ctx.rescale(&ctx.mul_const(&x, -1.4, scale).unwrap()).unwrap();
            let lower = ctx.drop_to_level(&x, level - 1).unwrap();
            let product = ctx.mul_rescale(&scaled, &lower, &keys).unwrap();
            x = ctx.add_const(&product, 1.0).unwrap();
            x.set_exact_scale(delta).unwrap();
            let want: Vec<f64> = clear.iter().map(|v| 1.0 - 1.4 * v * v).collect();
            clear = ctx.decrypt(&secret, &x).unwrap();
            let error = worst(&want, &clear);
            assert!(error < 2f64.powi(-20), "{name}, step {step}: {error:e} in the step itself");
        }
        assert!(
            refreshed > 0 && measured > 0.25 * (4.0 * deviation + systematic),
            "the prediction is too loose: {measured:e}"
        );
        println!(
            "{name:>12}: {steps} steps, {refreshed} refreshes, worst error of one {:.1} bits",
            -measured.log2()
        );
    }
}

#[test]
fn every_kernel_and_any_number_of_threads_give_the_same_bytes() {
    let base = toy(10, 4);
    let params = BootstrapParams::with_groups(vec![3, 3, 3], vec![3, 3, 3]);
    let other = [
        BootstrapParams::with_groups(vec![2, 2], vec![2, 1, 1]).double_precision(),
        params.clone().raise_first(),
    ];
    let mut results = Vec::new();
    for backend in Backend::all() {
        for (threads, form) in [(1, KeyForm::Expanded), (2, KeyForm::Expanded), (2, KeyForm::Seeded)] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let bytes = pool.install(|| {
                let ctx = base.on_backend(backend).unwrap();
                let mut rng = ChaCha20Rng::seed_from_u64(5);
                let secret = ctx.secret_key(&mut rng);
                let boot = Bootstrapper::new(&ctx, &params).unwrap();
                let spec = KeySpec { form, ..boot.keys() };
                let keys = ctx.eval_keys(&secret, &spec, &mut rng).unwrap();
                let public = ctx.public_key(&secret, &mut rng).unwrap();
                let plain = ctx.encode(&[0.25, -0.75], boot.input_level(), ctx.default_scale()).unwrap();
                let sent = ctx.encrypt_public(&plain, &public, &mut rng).unwrap();
                let fresh = boot.bootstrap(&sent, &keys).unwrap();
                let squared = ctx.mul_rescale(&fresh, &fresh, &keys).unwrap();
                let mut bytes = Vec::new();
                let mut made = vec![sent, fresh, squared];
                for params in &other {
                    let boot = Bootstrapper::new(&ctx, params).unwrap();
                    let keys = ctx.eval_keys(&secret, &boot.keys(), &mut rng).unwrap();
                    made.push(boot.bootstrap(&made[0], &keys).unwrap());
                }
                wire::write_ciphertexts(&mut bytes, &ctx, &made).unwrap();
                wire::write_eval_keys(&mut bytes, &ctx, &keys).unwrap();
                bytes
            });
            results.push((backend.name(), threads, bytes));
        }
    }
    let (name, _, first) = &results[0];
    for (other, threads, bytes) in &results {
        assert!(bytes == first, "{other} with {threads} threads differs from {name} with one");
    }
}

#[test]
fn thirty_steps_of_a_map_that_never_dies_out() {
    let ctx = toy(10, 5);
    for always in [true, false] {
        iterate(&ctx, &BootstrapParams::with_groups(vec![3, 3, 3], vec![3, 3, 3]), 30, always, 3);
    }
}

#[test]
#[ignore = "the secure preset: minutes and gigabytes"]
fn thirty_steps_at_the_secure_preset() {
    let ctx = Context::new(&CkksParams::new(d16()).unwrap()).unwrap();
    for always in [true, false] {
        iterate(&ctx, &BootstrapParams::d16(), 30, always, 6);
    }
}

/// Worst slot over all inputs, in bits.
fn worst(ctx: &Context, params: &BootstrapParams) -> f64 {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let secret = ctx.secret_key(&mut rng);
    let boot = Bootstrapper::new(ctx, params).unwrap();
    let keys = ctx.eval_keys(&secret, &boot.keys(), &mut rng).unwrap();
    let mut worst = f64::INFINITY;
    for (name, values) in adversarial(ctx.slots()) {
        let ct = encrypt(ctx, &secret, (&values, &[]), boot.input_level(), &mut rng);
        let fresh = boot.bootstrap(&ct, &keys).unwrap();
        assert_eq!(fresh.level(), boot.output_level());
        assert!((fresh.scale() / ctx.default_scale() - 1.0).abs() < 1e-11, "scale {}", fresh.scale());
        let stats = PrecisionStats::new(&values, &ctx.decrypt(&secret, &fresh).unwrap());
        println!("{name:>12}: {stats}");
        worst = worst.min(stats.min_bits);
    }
    worst
}

#[test]
fn small_rings_refresh_adversarial_inputs() {
    let cases = [(10, [3, 3, 3], [3, 3, 3]), (12, [4, 4, 3], [4, 4, 3])];
    for (log_n, down, up) in cases {
        let ctx = toy(log_n, 4);
        let bits = worst(&ctx, &BootstrapParams::with_groups(down.to_vec(), up.to_vec()));
        assert!(bits > 16.0, "2^{log_n}: {bits} bits");
    }
}

#[test]
fn two_real_ciphertexts_share_a_run() {
    let ctx = toy(10, 4);
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let secret = ctx.secret_key(&mut rng);
    let boot = Bootstrapper::new(&ctx, &BootstrapParams::with_groups(vec![3, 3, 3], vec![3, 3, 3])).unwrap();
    let keys = ctx.eval_keys(&secret, &boot.keys(), &mut rng).unwrap();
    let inputs = adversarial(ctx.slots());
    for pair in inputs.windows(2) {
        let [a, b] = [&pair[0].1, &pair[1].1].map(|v| encrypt(&ctx, &secret, (v, &[]), 3, &mut rng));
        let fresh = boot.bootstrap_pair([&a, &b], &keys).unwrap();
        for ((name, want), ct) in pair.iter().zip(&fresh) {
            let stats = PrecisionStats::new(want, &ctx.decrypt(&secret, ct).unwrap());
            assert!(stats.min_bits > 16.0, "{name}: {stats}");
        }
    }
}

#[test]
#[ignore = "the secure preset: minutes and gigabytes"]
fn the_secure_preset_refreshes_adversarial_inputs() {
    let ctx = Context::new(&CkksParams::new(d16()).unwrap()).unwrap();
    let bits = worst(&ctx, &BootstrapParams::d16());
    assert!(bits > 16.0, "{bits} bits");
}
