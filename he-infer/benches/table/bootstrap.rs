//! The default bootstrap, and its variants.

use std::time::Instant;

use cpu_time::ProcessTime;
use he_infer::bootstrap::{BootstrapParams, Bootstrapper, Order};
use he_infer::ckks::{Ciphertext, CkksParams, Context, EvalKeys, PrecisionStats, d16};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::common::{fresh, inputs, measure, row};

/// The default bootstrap.
pub fn bootstrap() {
    let ctx = Context::new(&CkksParams::new(d16()).unwrap()).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let secret = ctx.secret_key(&mut rng);
    let (c, w) = (ProcessTime::now(), Instant::now());
    let boot = Bootstrapper::new(&ctx, &BootstrapParams::d16()).unwrap();
    println!("\nD16 bootstrapping, {} levels after it", boot.output_level() - boot.input_level());
    println!(
        "matrices: {:.2} s CPU, {:.2} s, {:.0} MB",
        c.elapsed().as_secs_f64(),
        w.elapsed().as_secs_f64(),
        boot.bytes() as f64 / 1e6
    );
    let (c, w) = (ProcessTime::now(), Instant::now());
    let keys: EvalKeys = ctx.eval_keys(&secret, &boot.keys(), &mut rng).unwrap();
    let bytes = ctx.key_bytes(&boot.keys()).unwrap();
    println!(
        "keys: {} of them, {:.2} s CPU, {:.2} s, {:.2} GB in memory, {:.2} GB in a file",
        keys.len(),
        c.elapsed().as_secs_f64(),
        w.elapsed().as_secs_f64(),
        bytes.memory as f64 / 1e9,
        bytes.stored as f64 / 1e9
    );
    for (name, values) in inputs(ctx.slots()) {
        let x = fresh(&ctx, &secret, &values, boot.input_level(), &mut rng);
        let y = boot.bootstrap(&x, &keys).unwrap();
        println!("{name:>12}: {}", PrecisionStats::new(&values, &ctx.decrypt(&secret, &y).unwrap()));
    }
    let (_, values) = inputs(ctx.slots()).swap_remove(0);
    let x = fresh(&ctx, &secret, &values, boot.input_level(), &mut rng);
    println!("\n| bootstrap | CPU ms | wall ms |\n|---|---|---|");
    row("one ciphertext", || boot.bootstrap(&x, &keys));
    row("two real ciphertexts", || boot.bootstrap_pair([&x, &x], &keys));
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().filter(|l| l.starts_with("VmHWM")).for_each(|l| println!("peak memory: {l}"));
}

/// The variants: keys of one at a time.
pub fn variants() {
    let ctx = Context::new(&CkksParams::new(d16()).unwrap()).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let secret = ctx.secret_key(&mut rng);
    println!("\n| D16 | CPU s | wall s | levels | worst bits | predicted | keys | GB of keys |");
    println!("|---|---|---|---|---|---|---|---|");
    let (full, sparse) = (BootstrapParams::d16(), BootstrapParams::d16_sparse(10));
    let all = ctx.slots();
    for (name, params, complex, slots) in [
        ("real", full.clone(), false, all),
        ("real, double precision", full.clone().double_precision(), false, all),
        ("complex", full.clone(), true, all),
        ("complex, raise first", full.raise_first(), true, all),
        ("2^10 real values", sparse.clone(), false, 1 << 10),
        ("2^10, double precision", sparse.double_precision(), false, 1 << 10),
    ] {
        let boot = Bootstrapper::new(&ctx, &params).unwrap();
        let keys: EvalKeys = ctx.eval_keys(&secret, &boot.keys(), &mut rng).unwrap();
        let refresh = |x: &Ciphertext| match complex {
            true => boot.bootstrap_complex(x, &keys).unwrap(),
            false => boot.bootstrap(x, &keys).unwrap(),
        };
        let (mut worst, mut last) = (f64::INFINITY, None);
        let inputs = inputs(slots);
        for pair in inputs.windows(2).chain([&[inputs[3].clone(), inputs[0].clone()][..]]) {
            let fill = |v: &[f64], by: f64| v.iter().map(|x| x * by).cycle().take(all).collect::<Vec<f64>>();
            // Complex numbers of absolute value 1 at most.
            let (re, im) = match complex {
                true => (fill(&pair[0].1, 0.5f64.sqrt()), fill(&pair[1].1, 0.5f64.sqrt())),
                false => (fill(&pair[0].1, 1.0), vec![0.0; all]),
            };
            let plain = ctx.encode_complex(&re, &im, boot.input_level(), ctx.default_scale()).unwrap();
            let x =
                ctx.expand_ciphertext(&ctx.encrypt_symmetric(&plain, &secret, &mut rng).unwrap()).unwrap();
            let (have_re, have_im) = ctx.decrypt_complex(&secret, &refresh(&x)).unwrap();
            worst = worst.min(PrecisionStats::new(&re, &have_re).min_bits);
            worst = if complex { worst.min(PrecisionStats::new(&im, &have_im).min_bits) } else { worst };
            last = Some(x);
        }
        let (deviation, systematic) = boot.error();
        // Laplace-distributed, and from both halves in complex slots.
        let largest = (all as f64).ln() / 2f64.sqrt();
        let both = if complex && params.order == Order::SlotsFirst { 2f64.sqrt() } else { 1.0 };
        let (busy, wall) = measure(|| last.as_ref().map(refresh));
        println!(
            "| {name} | {:.2} | {:.2} | {} | {worst:.1} | {:.1} | {} | {:.2} |",
            busy / 1e3,
            wall / 1e3,
            boot.output_level() - boot.input_level(),
            -(largest * both * deviation + systematic).log2(),
            keys.len(),
            ctx.key_bytes(&boot.keys()).unwrap().memory as f64 / 1e9
        );
    }
}
