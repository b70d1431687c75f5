//! The cost model beside the clock.

use std::time::Instant;

use cpu_time::ProcessTime;
use he_infer::HeError;
use he_infer::bootstrap::{BootstrapCost, BootstrapParams, Bootstrapper};
use he_infer::ckks::{
    CkksParams, Context, Diagonals, Hoisting, KeySpec, ParamsLiteral, TransformPlan, d16, m15, s14,
};
use he_infer::plan::CostTable;
use he_infer::run::calibrate;
use he_infer::slots::{CkksSlots, CostCounter, CostVec, SlotEvaluator, transform_tally};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::common::{fastest, fresh, inputs};

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

fn compare(what: &str, log_n: u32, limbs: usize, predicted: f64, measured: f64) {
    println!("| {what} | {log_n} | {limbs} | {predicted:.2} | {measured:.2} | {:.2} |", predicted / measured);
}

fn ops(costs: &CostTable, literal: ParamsLiteral, levels: [usize; 2]) {
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
            op.run(&counter, &vector, &vec![vector.into(); weights.len()]).unwrap();
            compare(what, ctx.log_n(), level + 1, 1e3 * costs.seconds(&counter.tally()), measured);
        }
    }
}

/// What is refreshed in one go.
#[derive(Clone, Copy, Debug)]
enum Slots {
    Real,
    Pair,
    Complex,
}

fn bootstraps(costs: &CostTable, ctx: &Context, (name, params): (&str, &BootstrapParams), kinds: &[Slots]) {
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
    let (boot, keys, x) = (&boot, &keys, &x);
    let run = |kind: &Slots| -> Box<dyn FnMut() + '_> {
        match kind {
            Slots::Real => Box::new(|| drop(boot.bootstrap(x, keys).unwrap())),
            Slots::Pair => Box::new(|| drop(boot.bootstrap_pair([x, x], keys).unwrap())),
            Slots::Complex => Box::new(|| drop(boot.bootstrap_complex(x, keys).unwrap())),
        }
    };
    let mut work: Vec<_> = kinds.iter().map(run).collect();
    for (kind, measured) in kinds.iter().zip(fastest(&mut work)) {
        let tally = match kind {
            Slots::Real => &cost.one,
            Slots::Pair => &cost.pair,
            Slots::Complex => &cost.complex,
        };
        let what = format!("bootstrap, {name}, {kind:?}");
        compare(&what, ctx.log_n(), limbs, 1e3 * costs.seconds(tally), measured);
    }
    println!("priced in {pricing:.1} ms");
}

/// The matrices of a bootstrap, hoisted once and twice, with as many babies as the model chose (marked).
fn matrices(costs: &CostTable, ctx: &Context, params: &BootstrapParams) {
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

/// Every prediction and measurement.
pub fn model() {
    let begun = ProcessTime::now();
    let costs = calibrate("this machine", &[14, 15, 16]).unwrap();
    println!("\ncalibrated in {:.1} CPU s: {:#?}", begun.elapsed().as_secs_f64(), costs.rings);
    println!(
        "\n| operation | log N | limbs | predicted, ms | measured, CPU ms | ratio |\n|---|---|---|---|---|---|"
    );
    ops(&costs, s14(), [7, 5]);
    ops(&costs, m15(), [14, 7]);
    ops(&costs, d16(), [24, 10]);
    let deep = Context::new(&CkksParams::new(d16()).unwrap()).unwrap();
    matrices(&costs, &deep, &BootstrapParams::d16());
    let (full, sparse) = (BootstrapParams::d16(), BootstrapParams::d16_sparse(10));
    let double = full.clone().double_precision();
    bootstraps(&costs, &deep, ("d16", &full), &[Slots::Real, Slots::Pair, Slots::Complex]);
    bootstraps(&costs, &deep, ("sparse 2^10", &sparse), &[Slots::Real]);
    bootstraps(&costs, &deep, ("double", &double), &[Slots::Real]);
    bootstraps(&costs, &deep, ("raise first", &full.raise_first()), &[Slots::Complex]);
}
