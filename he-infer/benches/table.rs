//! The table of docs/benchmarks.md: medians of CPU time (threads x wall would count waiting), one process, beside `tfhe-ntt`.
//!
//! `cargo bench -p he-infer --bench table [-- ntt|ops|bootstrap|variants|model ...]`; `--threads N` (default 1).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may stop")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use cpu_time::ProcessTime;
use he_infer::HeError;
use he_infer::bootstrap::{BootstrapCost, BootstrapParams, Bootstrapper, Order};
use he_infer::ckks::{
    Ciphertext, CkksParams, Context, Diagonals, EvalKeys, Hoisting, KeySpec, ParamsLiteral, PrecisionStats,
    SecretKey, TransformPlan, d16, m15, s14,
};
use he_infer::math::{backend::Backend, modulus::Modulus, ntt::Plan, primes};
use he_infer::plan::CostTable;
use he_infer::run::calibrate;
use he_infer::slots::{CkksSlots, CostCounter, CostVec, SlotEvaluator, transform_tally};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

/// Median CPU and wall milliseconds of at least seven runs and half a second.
fn measure<T>(mut f: impl FnMut() -> T) -> (f64, f64) {
    black_box(f());
    let (mut busy, mut wall) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    while busy.len() < 7 || begun.elapsed() < Duration::from_millis(500) {
        let (c, w) = (ProcessTime::now(), Instant::now());
        black_box(f());
        wall.push(w.elapsed().as_secs_f64() * 1e3);
        busy.push(c.elapsed().as_secs_f64() * 1e3);
    }
    let median = |mut v: Vec<f64>| {
        v.sort_by(f64::total_cmp);
        v[v.len() / 2]
    };
    (median(busy), median(wall))
}

fn row<T>(name: &str, f: impl FnMut() -> T) {
    let (busy, wall) = measure(f);
    println!("| {name} | {busy:.3} | {wall:.3} |");
}

fn ntt() {
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

fn fresh(
    ctx: &Context,
    secret: &SecretKey,
    values: &[f64],
    level: usize,
    rng: &mut ChaCha20Rng,
) -> Ciphertext {
    let plain = ctx.encode(values, level, ctx.default_scale()).unwrap();
    ctx.expand_ciphertext(&ctx.encrypt_symmetric(&plain, secret, rng).unwrap()).unwrap()
}

fn ops(name: &str, literal: ParamsLiteral, level: usize) {
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

/// Full-scale inputs that find different faults.
fn inputs(slots: usize) -> Vec<(&'static str, Vec<f64>)> {
    let at = |f: &dyn Fn(usize) -> f64| (0..slots).map(f).collect::<Vec<f64>>();
    vec![
        ("random", at(&|i| ((i as f64 * 12.9898).sin() * 43758.5453).fract())),
        ("constant", at(&|_| 1.0)),
        ("one-hot", at(&|i| f64::from(u8::from(i == 3)))),
        ("alternating", at(&|i| if i % 2 == 0 { 1.0 } else { -1.0 })),
    ]
}

/// The default bootstrap.
fn bootstrap() {
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

/// What networks spend their time on, written once for ciphertexts and for the counter.
#[derive(Clone, Copy)]
enum Op {
    Rotate,
    Multiply,
    Hoisted,
    Convolution,
}

/// A 3 by 3 kernel from one vector to this many.
const OUTPUTS: usize = 4;
const KERNEL: usize = 9;

impl Op {
    fn run<E: SlotEvaluator>(self, e: &E, x: &E::Vec, weights: &[E::Factor]) -> Result<(), HeError> {
        let steps: Vec<i32> = (0..KERNEL as i32).collect();
        match self {
            Op::Rotate => e.rotate(x, 1).map(drop),
            Op::Multiply => e.mul(x, x).map(drop),
            Op::Hoisted => e.rotate_many(x, &steps[1..]).map(drop),
            Op::Convolution => {
                let rotated = e.rotate_many(x, &steps)?;
                for row in weights.chunks(KERNEL) {
                    let sum = e.dot_plain(&rotated.iter().zip(row).collect::<Vec<_>>())?;
                    e.rescale(&sum)?;
                }
                Ok(())
            }
        }
    }
}

/// Fastest CPU milliseconds of each in at least seven rounds and two seconds: the model predicts an undisturbed machine. They take turns, so
/// that none finds its keys in the cache.
fn fastest(work: &mut [Box<dyn FnMut() + '_>]) -> Vec<f64> {
    work.iter_mut().for_each(|f| f());
    let (mut best, mut rounds, begun) = (vec![f64::INFINITY; work.len()], 0, Instant::now());
    while rounds < 7 || begun.elapsed() < Duration::from_secs(2) {
        for (f, best) in work.iter_mut().zip(&mut best) {
            let c = ProcessTime::now();
            f();
            *best = best.min(c.elapsed().as_secs_f64() * 1e3);
        }
        rounds += 1;
    }
    best
}

fn compare(what: &str, log_n: u32, limbs: usize, predicted: f64, measured: f64) {
    println!("| {what} | {log_n} | {limbs} | {predicted:.2} | {measured:.2} | {:.2} |", predicted / measured);
}

fn model_ops(costs: &CostTable, literal: ParamsLiteral, levels: [usize; 2]) {
    let ctx = Context::new(&CkksParams::new(literal).unwrap()).unwrap();
    let costs = costs.at(ctx.log_n());
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let secret = ctx.secret_key(&mut rng);
    let values: Vec<f64> = (0..ctx.slots()).map(|i| (i as f64).sin()).collect();
    for level in levels {
        let rotations = (1..KERNEL as i32).map(|s| (s, level)).collect();
        let spec = KeySpec { relin_level: Some(level), rotations, ..KeySpec::default() };
        let keys = ctx.eval_keys(&secret, &spec, &mut rng).unwrap();
        let x = fresh(&ctx, &secret, &values, level, &mut rng);
        let (e, scale) = (CkksSlots::new(&ctx, &keys), ctx.default_scale());
        let weights: Vec<_> =
            (0..OUTPUTS * KERNEL).map(|_| ctx.encode_mul(&values, level, scale).unwrap()).collect();
        let ops = [
            ("rotate", Op::Rotate),
            ("multiply + relinearise + rescale", Op::Multiply),
            ("8 hoisted rotations", Op::Hoisted),
            ("convolution, 9 rotations to 4 outputs", Op::Convolution),
        ];
        let (e, x, weights) = (&e, &x, &weights);
        let mut work =
            ops.map(|(_, op)| Box::new(move || op.run(e, x, weights).unwrap()) as Box<dyn FnMut()>);
        for ((what, op), measured) in ops.into_iter().zip(fastest(&mut work)) {
            let counter = CostCounter::of(ctx.literal());
            let vector = CostVec { level, scale };
            op.run(&counter, &vector, &vec![vector; weights.len()]).unwrap();
            compare(what, ctx.log_n(), level + 1, 1e3 * costs.seconds(&counter.tally()), measured);
        }
    }
}

fn model_bootstrap(costs: &CostTable, ctx: &Context, params: &BootstrapParams) {
    let begun = Instant::now();
    let cost = BootstrapCost::new(ctx.literal(), params).unwrap();
    let pricing = begun.elapsed().as_secs_f64() * 1e3;
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let secret = ctx.secret_key(&mut rng);
    let boot = Bootstrapper::new(ctx, params).unwrap();
    let keys = ctx.eval_keys(&secret, &boot.keys(), &mut rng).unwrap();
    let (_, values) = inputs(ctx.slots()).swap_remove(0);
    let x = fresh(ctx, &secret, &values, boot.input_level(), &mut rng);
    let (costs, limbs) = (costs.at(ctx.log_n()), ctx.max_level() + 1);
    let measured = fastest(&mut [
        Box::new(|| drop(boot.bootstrap(&x, &keys).unwrap())),
        Box::new(|| drop(boot.bootstrap_pair([&x, &x], &keys).unwrap())),
    ]);
    let priced = [("bootstrap", &cost.one), ("bootstrap of two", &cost.pair)];
    for ((what, tally), measured) in priced.into_iter().zip(measured) {
        compare(what, ctx.log_n(), limbs, 1e3 * costs.seconds(tally), measured);
    }
    println!("priced in {pricing:.1} ms");
}

/// The matrices of a bootstrap, hoisted once and twice, with as many babies as the model chose (marked).
fn model_matrices(costs: &CostTable, ctx: &Context, params: &BootstrapParams) {
    let costs = costs.at(ctx.log_n());
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let secret = ctx.secret_key(&mut rng);
    for m in BootstrapCost::new(ctx.literal(), params).unwrap().matrices {
        let diagonal = |i: usize| {
            let values = (0..m.sparsity.period).map(|j| ((i + j) as f64).sin());
            (values.clone().collect::<Vec<_>>(), values.collect::<Vec<_>>())
        };
        let diagonals = m.sparsity.present.iter().enumerate().map(|(i, p)| p.then(|| diagonal(i))).collect();
        let diagonals = Diagonals { stride: m.sparsity.stride, diagonals };
        let rotations = m.sparsity.rotations(m.plan, ctx.slots()).into_iter().map(|s| (s, m.level)).collect();
        let keys = ctx.eval_keys(&secret, &KeySpec { rotations, ..KeySpec::default() }, &mut rng).unwrap();
        let scale = ctx.default_scale();
        let x = fresh(ctx, &secret, &[0.5], m.level, &mut rng);
        let plans = [Hoisting::Double, Hoisting::Single].map(|h| TransformPlan { hoisting: h, ..m.plan });
        let maps = plans.map(|p| ctx.linear_transform(&diagonals, m.level, scale, scale, p).unwrap());
        let mut work = maps
            .each_ref()
            .map(|map| Box::new(|| drop(ctx.apply_transform(map, &x, &keys).unwrap())) as Box<dyn FnMut()>);
        for (plan, measured) in plans.into_iter().zip(fastest(&mut work)) {
            let tally = transform_tally(ctx.literal(), m.level, &m.sparsity, plan);
            let chosen = if plan == m.plan { "*" } else { "" };
            let (d, b) = (m.sparsity.diagonals(), plan.babies);
            let what = format!("{chosen}matrix of {d} diagonals, {b} babies, {:?} hoisting", plan.hoisting);
            compare(&what, ctx.log_n(), m.level + 1, 1e3 * costs.seconds(&tally), measured);
        }
    }
}

/// The cost model beside the clock.
fn model() {
    let begun = ProcessTime::now();
    let costs = calibrate("this machine", &[14, 15, 16]).unwrap();
    println!("\ncalibrated in {:.1} CPU s: {:#?}", begun.elapsed().as_secs_f64(), costs.rings);
    println!(
        "\n| operation | log N | limbs | predicted, ms | measured, CPU ms | ratio |\n|---|---|---|---|---|---|"
    );
    model_ops(&costs, s14(), [7, 5]);
    model_ops(&costs, m15(), [14, 7]);
    model_ops(&costs, d16(), [24, 10]);
    let deep = Context::new(&CkksParams::new(d16()).unwrap()).unwrap();
    model_matrices(&costs, &deep, &BootstrapParams::d16());
    model_bootstrap(&costs, &deep, &BootstrapParams::d16());
}

/// The variants: keys of one at a time.
fn variants() {
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

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let threads = args.iter().position(|a| a == "--threads").map_or(1, |i| args[i + 1].parse().unwrap());
    let wants = |name: &str| {
        args.iter().all(|a| !["ntt", "ops", "bootstrap", "variants", "model"].contains(&a.as_str()))
            || args.iter().any(|a| a == name)
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    println!("{threads} thread(s)");
    pool.install(|| {
        if wants("ntt") {
            ntt();
        }
        if wants("ops") {
            ops("log N 16 (D16)", d16(), 24);
            ops("log N 15 (M15)", m15(), 14);
            ops("log N 14 (S14)", s14(), 7);
        }
        if wants("bootstrap") {
            bootstrap();
        }
        if wants("model") {
            model();
        }
        if wants("variants") {
            variants();
        }
    });
}
