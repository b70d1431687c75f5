//! A client, a server that cannot read what it computes on, and a bootstrap in between, at 128-bit security:
//!
//! ```text
//! cargo run --release -p he-infer --example refresh -- [STEPS]
//! ```
//! The server iterates x ← 1 − 1.4 x² on 32 768 numbers, which stay in [-1, 1] and never die out. A step takes two levels, so
//! when those of the request are used up, a bootstrap gives thirteen back. It takes seconds and 4 GB.

use std::error::Error;
use std::time::Instant;

use he_infer::bootstrap::{BootstrapParams, Bootstrapper};
use he_infer::ckks::{
    Ciphertext, CkksParams, Context, EvalKeys, KeyForm, KeySpec, PrecisionStats, d16, os_rng,
};
use he_infer::wire;

/// `1 - 1.4 x^2`, two levels lower, at the scale it came with.
fn step(ctx: &Context, keys: &EvalKeys, x: &Ciphertext) -> Result<Ciphertext, Box<dyn Error>> {
    let level = x.level();
    // Scales multiply and are divided by the primes of the levels; the constant's scale makes the product come out at x's own.
    let prime = |level| ctx.modulus_at(level).map(|prime| prime as f64).ok_or("no level left");
    let primes = prime(level)? * prime(level - 1)?;
    let scaled = ctx.rescale(&ctx.mul_const(x, -1.4, primes / x.scale())?)?;
    let product = ctx.mul_rescale(&scaled, &ctx.drop_to_level(x, level - 1)?, keys)?;
    let mut next = ctx.add_const(&product, 1.0)?;
    next.set_exact_scale(x.scale())?;
    Ok(next)
}

fn main() -> Result<(), Box<dyn Error>> {
    let steps: usize = std::env::args().nth(1).map_or(Ok(12), |steps| steps.parse())?;
    // Public, and the same on both sides.
    let ctx = Context::new(&CkksParams::new(d16())?)?;
    let boot = Bootstrapper::new(&ctx, &BootstrapParams::d16())?;

    // The client keeps `secret` and sends two files: keys, whose public halves travel as seeds, and a ciphertext.
    let start = Instant::now();
    let mut rng = os_rng()?;
    let secret = ctx.secret_key(&mut rng);
    let keys = ctx.eval_keys(&secret, &KeySpec { form: KeyForm::Seeded, ..boot.keys() }, &mut rng)?;
    let mut values: Vec<f64> = (0..ctx.slots()).map(|i| (i as f64).sin()).collect();
    let plain = ctx.encode(&values, boot.output_level(), ctx.default_scale())?;
    let (mut key_file, mut request) = (Vec::new(), Vec::new());
    wire::write_eval_keys(&mut key_file, &ctx, &keys)?;
    wire::write_seeded_ciphertexts(&mut request, &ctx, &[ctx.encrypt_symmetric(&plain, &secret, &mut rng)?])?;
    drop(keys);
    println!(
        "client: keys {} MB, request {} kB, {:.1?}",
        key_file.len() >> 20,
        request.len() >> 10,
        start.elapsed()
    );

    // The server has those bytes, and nothing else.
    let keys = wire::read_eval_keys(&mut key_file.as_slice(), &ctx, KeyForm::Seeded)?;
    drop(key_file);
    let received = wire::read_seeded_ciphertexts(&mut request.as_slice(), &ctx)?;
    let mut x = ctx.expand_ciphertext(received.first().ok_or("an empty request")?)?;
    let start = Instant::now();
    let mut refreshed = 0;
    for _ in 0..steps {
        if x.level() < boot.input_level() + 2 {
            x = boot.bootstrap(&x, &keys)?;
            refreshed += 1;
        }
        x = step(&ctx, &keys, &x)?;
    }
    let mut answer = Vec::new();
    wire::write_ciphertexts(&mut answer, &ctx, &[x])?;
    println!(
        "server: {steps} steps, {refreshed} bootstraps, {:.1?}, answer {} kB",
        start.elapsed(),
        answer.len() >> 10
    );

    // The client reads the answer, and here compares it with the clear.
    let received = wire::read_ciphertexts(&mut answer.as_slice(), &ctx)?;
    let result = ctx.decrypt(&secret, received.first().ok_or("an empty answer")?)?;
    for _ in 0..steps {
        values.iter_mut().for_each(|v| *v = 1.0 - 1.4 * *v * *v);
    }
    let stats = PrecisionStats::new(&values, &result);
    println!("client: largest error {:.1e}, {:.1} bits in the mean slot", stats.max_error, stats.mean_bits);
    Ok(())
}
