//! Measures this machine once, so that estimates are in its seconds.
//!
//! Operations of the engine are timed at two levels of each ring and counted by running the same lines on [`CostCounter`];
//! the unit costs are those that explain the times best (`fit`). So whatever the counts leave out, like reading keys and
//! tables from memory, is spread over the units that go with it.

mod fit;

use cpu_time::ThreadTime;

use crate::HeError;
use crate::ckks::{
    self, Ciphertext, CkksParams, Context, Diagonals, EvalKeys, Hoisting, KeySpec, LinearTransform,
    ParamsLiteral, PlaintextMul, TransformPlan,
};
use crate::math::sampling::os_rng;
use crate::plan::{CostTable, UnitCosts};
use crate::slots::{CkksSlots, CostCounter, CostVec, SlotEvaluator, Tally, transform_tally};
use fit::{Sample, fit};

/// Ring degrees (log₂) at which costs can be measured.
pub const RINGS: [u32; 4] = [13, 14, 15, 16];
/// Rotations of one hoisted measurement; as many keys alternate, as they do in programs.
const STEPS: [i32; 4] = [1, 2, 3, 4];
/// Vectors of a plaintext sum: a 3 by 3 kernel.
const TERMS: usize = 9;
/// Rounds over all operations at ring degree `2^16`, doubled for each halving. The fastest time of each operation counts, since
/// other work on the machine only ever adds; operations take turns, so that none finds its keys in the cache.
const ROUNDS: usize = 5;

/// What is measured at one ring degree: a preset, cut off above the second of two levels to save tables and keys.
struct Setting {
    literal: ParamsLiteral,
    levels: [usize; 2],
}

fn setting(log_n: u32) -> Setting {
    let (mut literal, levels) = match log_n {
        ..=13 => (ckks::s13d(), [2, 4]),
        14 => (ckks::s14(), [3, 6]),
        15 => (ckks::m15(), [4, 12]),
        _ => (ckks::d16(), [5, 20]),
    };
    literal.q.truncate(levels[1] + 1);
    Setting { literal, levels }
}

/// Measure costs at the ring degrees `2^log_n` asked for (the nearest of [`RINGS`]) on the current thread: tenths of a second each,
/// at 16 some seconds and half a gigabyte. `machine` names the processor in tables.
///
/// # Errors
/// A system without randomness.
pub fn calibrate(machine: &str, log_n: &[u32]) -> Result<CostTable, HeError> {
    let wanted = |ring: &u32| log_n.iter().any(|l| (*l).clamp(13, 16) == *ring);
    let measure = || RINGS.into_iter().filter(wanted).map(ring).collect::<Result<Vec<_>, _>>();
    // One thread, whatever pool the caller is in.
    let rings = match rayon::ThreadPoolBuilder::new().num_threads(1).build() {
        Ok(pool) => pool.install(measure),
        Err(_) => measure(),
    }?;
    Ok(CostTable { machine: machine.into(), rings })
}

/// CPU seconds of this thread in `f`: on a busy machine the wall would count waiting.
fn time<T>(f: impl FnOnce() -> Result<T, HeError>) -> Result<f64, HeError> {
    let started = ThreadTime::now();
    let value = f()?;
    let seconds = started.elapsed().as_secs_f64();
    drop(value);
    Ok(seconds)
}

/// Fastest of a few repetitions.
fn best<T>(repeat: usize, mut f: impl FnMut() -> Result<T, HeError>) -> Result<f64, HeError> {
    (0..repeat).try_fold(f64::INFINITY, |best, _| Ok(time(&mut f)?.min(best)))
}

/// Operations written once for ciphertexts and for the counter.
#[derive(Clone, Copy, Debug)]
enum Probe {
    Add,
    Rescale,
    Rotate,
    Hoisted,
    Product,
    Sum,
}

/// In this order: a rotation after much else has gone through the caches, as in a program.
const PROBES: [Probe; 6] =
    [Probe::Rotate, Probe::Product, Probe::Rescale, Probe::Hoisted, Probe::Add, Probe::Sum];

impl Probe {
    fn run<E: SlotEvaluator>(self, e: &E, x: &[E::Vec], factors: &[E::Factor]) -> Result<(), HeError> {
        let first = x.first().ok_or(HeError::EmptySum)?;
        match self {
            Probe::Add => e.add(first, first).map(drop),
            Probe::Rescale => e.rescale(first).map(drop),
            Probe::Rotate => STEPS.iter().take(1).try_for_each(|s| e.rotate(first, *s).map(drop)),
            Probe::Hoisted => e.rotate_many(first, &STEPS).map(drop),
            Probe::Product => e.mul(first, first).map(drop),
            Probe::Sum => factors
                .chunks(TERMS)
                .try_for_each(|row| e.dot_plain(&x.iter().zip(row).collect::<Vec<_>>()).map(drop)),
        }
    }
}

/// A linear map and how it is carried out.
struct MapProbe {
    diagonals: Diagonals,
    plan: TransformPlan,
}

impl MapProbe {
    /// `count` diagonals of the given period in sums of four.
    fn new(count: usize, period: usize, hoisting: Hoisting) -> Self {
        let diagonal = |i: usize| (vec![0.5 + i as f64 / 64.0; period], vec![0.25; period]);
        let diagonals = (0..count).map(|i| Some(diagonal(i))).collect();
        Self { diagonals: Diagonals { stride: 1, diagonals }, plan: TransformPlan { babies: 4, hoisting } }
    }
}

/// Everything prepared at one level.
struct Bench<'a> {
    context: &'a Context,
    keys: EvalKeys,
    level: usize,
    inputs: Vec<Ciphertext>,
    factors: Vec<PlaintextMul>,
    maps: Vec<(LinearTransform, Tally)>,
}

impl Bench<'_> {
    /// Time every operation once, keeping the fastest.
    fn round(&self, samples: &mut [Sample]) -> Result<(), HeError> {
        let e = CkksSlots::new(self.context, &self.keys);
        let first = self.inputs.first().ok_or(HeError::EmptySum)?;
        let mut samples = samples.iter_mut();
        for (probe, sample) in PROBES.iter().zip(&mut samples) {
            sample.seconds = sample.seconds.min(time(|| probe.run(&e, &self.inputs, &self.factors))?);
        }
        for ((map, _), sample) in self.maps.iter().zip(&mut samples) {
            let seconds = time(|| Ok(self.context.apply_transform(map, first, &self.keys)?))?;
            sample.seconds = sample.seconds.min(seconds);
        }
        Ok(())
    }

    /// Samples without times.
    fn counted(&self) -> Result<Vec<Sample>, HeError> {
        let vector = CostVec { level: self.level, scale: self.context.default_scale() };
        let (x, factors) = (vec![vector; self.inputs.len()], vec![vector.into(); self.factors.len()]);
        let mut samples = Vec::new();
        for probe in PROBES {
            let counter = CostCounter::of(self.context.literal());
            probe.run(&counter, &x, &factors)?;
            samples.push(Sample { work: counter.tally(), seconds: f64::INFINITY });
        }
        let maps = self.maps.iter().map(|(_, t)| Sample { work: t.clone(), seconds: f64::INFINITY });
        samples.extend(maps);
        Ok(samples)
    }
}

/// Unit costs at one of [`RINGS`].
fn ring(log_n: u32) -> Result<UnitCosts, HeError> {
    let mut rng = os_rng()?;
    let Setting { literal, levels } = setting(log_n);
    let context = Context::new(&CkksParams::new(literal)?)?;
    let secret = context.secret_key(&mut rng);
    let (n, scale) = (context.n() as f64, context.default_scale());
    let transform = 0.5 * n * f64::from(log_n);
    let values: Vec<f64> = (0..context.slots()).map(|i| (i as f64 * 0.37).sin()).collect();
    let (mut benches, mut key_word) = (Vec::new(), f64::INFINITY);
    for (i, level) in levels.into_iter().enumerate() {
        let rotations = STEPS.iter().map(|&s| (s, level)).collect();
        let spec = KeySpec { relin_level: Some(level), rotations, ..KeySpec::default() };
        let started = ThreadTime::now();
        let keys = context.eval_keys(&secret, &spec, &mut rng)?;
        let words = context.key_bytes(&spec)?.stored as f64 / 8.0;
        key_word = key_word.min(started.elapsed().as_secs_f64() / words);
        let plain = context.encode(&values, level, scale)?;
        let x = context.expand_ciphertext(&context.encrypt_symmetric(&plain, &secret, &mut rng)?)?;
        // Plaintext sums only at the lower level, where networks spend their time.
        let terms = if i == 0 { TERMS } else { 1 };
        let factors = (0..2 * TERMS * (1 - i))
            .map(|i| Ok(context.encode_mul(values.get(i..).unwrap_or_default(), level, scale)?));
        let period = context.slots();
        let maps = [
            MapProbe::new(8, period, Hoisting::Double),
            MapProbe::new(20, 64, Hoisting::Double),
            MapProbe::new(12, period, Hoisting::Single),
        ];
        let maps = maps.into_iter().take(3 - i).map(|m| {
            let work = transform_tally(context.literal(), level, &m.diagonals.sparsity(), m.plan);
            Ok((context.linear_transform(&m.diagonals, level, scale, scale, m.plan)?, work))
        });
        benches.push(Bench {
            context: &context,
            keys,
            level,
            inputs: vec![x; terms],
            factors: factors.collect::<Result<_, HeError>>()?,
            maps: maps.collect::<Result<_, HeError>>()?,
        });
    }
    let mut samples: Vec<Vec<Sample>> = benches.iter().map(Bench::counted).collect::<Result<_, _>>()?;
    for _ in 0..ROUNDS << (16 - log_n.min(16)) {
        for (bench, samples) in benches.iter().zip(&mut samples) {
            bench.round(samples)?;
        }
    }
    let samples: Vec<Sample> = samples.into_iter().flatten().filter(|s| s.work != Tally::default()).collect();
    let mut costs = fit(log_n, &samples);
    costs.key_word = key_word;
    let level = levels[0];
    let encode = best(3, || Ok(context.encode_mul(&values, level, scale)?))?;
    costs.encode = (encode / transform - (level + 1) as f64 * costs.butterfly).max(0.1 * costs.butterfly);
    let inputs = benches.first().map(|b| b.inputs.clone()).unwrap_or_default();
    let rows = vec![(0..TERMS).map(|i| (i, 0.5 + i as f64)).collect::<Vec<_>>(); 4 * TERMS];
    let sums = best(3, || Ok(context.matrix_const(&inputs, &rows, 1024.0)?))?;
    costs.scalar_mac = sums / (8.0 * (TERMS * TERMS) as f64 * (level + 1) as f64 * n);
    Ok(costs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cost_is_a_time() {
        let table = calibrate("test", &[14]).unwrap();
        let c = table.at(14);
        for (name, v) in [
            ("butterfly", c.butterfly),
            ("conversion", c.conversion_mac),
            ("key", c.key_mac),
            ("plain", c.plain_mac),
            ("spread", c.spread_mac),
            ("scalar", c.scalar_mac),
            ("pointwise", c.pointwise),
            ("encode", c.encode),
            ("key word", c.key_word),
        ] {
            assert!((0.0..1e-6).contains(&v), "{name}: {v}");
        }
        assert!(c.butterfly > 0.0);
    }
}
