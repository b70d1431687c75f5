//! Measures this machine once, so that estimates are in its seconds.

use std::time::Instant;

use crate::HeError;
use crate::ckks::{self, Ciphertext, CkksError, CkksParams, Context, KeySpec, PlaintextMul};
use crate::math::backend::Backend;
use crate::math::modulus::Modulus;
use crate::math::ntt::Plan;
use crate::math::sampling::os_rng;
use crate::plan::CostTable;
use crate::slots::{CkksSlots, CostCounter, CostVec, SlotEvaluator, Tally};

/// Level at which costs are measured: the middle of the S14 preset, where small networks spend their time.
const LEVEL: usize = 5;
/// Rotations of one hoisted measurement.
const HOISTED: usize = 9;
/// Terms of one plaintext sum.
const TERMS: usize = 24;

/// Fastest of a few repetitions: other work on the machine only ever adds.
fn best<T>(repeat: usize, mut f: impl FnMut() -> Result<T, HeError>) -> Result<f64, HeError> {
    let mut best = f64::INFINITY;
    for _ in 0..repeat {
        let started = Instant::now();
        let value = f()?;
        best = best.min(started.elapsed().as_secs_f64());
        drop(value);
    }
    Ok(best)
}

/// Work counted by `f`.
fn count(
    context: &Context,
    f: impl Fn(&CostCounter, CostVec) -> Result<(), HeError>,
) -> Result<Tally, HeError> {
    let counter = CostCounter::of(context.literal());
    f(&counter, CostVec { level: LEVEL, scale: context.default_scale() })?;
    Ok(counter.tally())
}

/// Measure all costs on the current thread in about half a second; `machine` names the processor in tables.
///
/// # Errors
/// A system without randomness.
pub fn calibrate(machine: &str) -> Result<CostTable, HeError> {
    // One thread, whatever pool the caller is in.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    match pool {
        Ok(pool) => pool.install(|| measure(machine)),
        Err(_) => measure(machine),
    }
}

/// Seconds of one butterfly: a transform in place, in cache, as key switching does them.
fn butterfly(context: &Context) -> Result<f64, HeError> {
    let (n, q) = (context.n(), context.modulus_at(1).unwrap_or(3));
    let plan = Modulus::new(q).and_then(|m| Plan::new(n, m, Backend::detect()));
    let Some(plan) = plan else { return Err(CkksError::Tables { prime: q }.into()) };
    let mut data: Vec<u64> = (0..n as u64).collect();
    let seconds = best(50, || {
        plan.forward(&mut data);
        Ok(())
    })?;
    Ok(seconds / (0.5 * n as f64 * (n as f64).log2()))
}

fn measure(machine: &str) -> Result<CostTable, HeError> {
    let mut rng = os_rng()?;
    let context = Context::new(&CkksParams::new(ckks::s14())?)?;
    let n = context.n() as f64;
    let transform = 0.5 * n * n.log2();
    let secret = context.secret_key(&mut rng);
    let steps: Vec<i32> = (1..=HOISTED as i32).collect();
    let spec = KeySpec {
        relin_level: Some(LEVEL),
        rotations: steps.iter().map(|&s| (s, LEVEL)).collect(),
        ..KeySpec::default()
    };
    let started = Instant::now();
    let keys = context.eval_keys(&secret, &spec, &mut rng)?;
    let key_word = started.elapsed().as_secs_f64() / (context.key_bytes(&spec)?.memory as f64 / 8.0);
    let scale = context.default_scale();
    let values: Vec<f64> = (0..context.slots()).map(|i| (i as f64 * 0.37).sin()).collect();
    let plain = context.encode(&values, LEVEL, scale)?;
    let fresh = context.encrypt_symmetric(&plain, &secret, &mut rng)?;
    let x = context.expand_ciphertext(&fresh)?;
    let e = CkksSlots::new(&context, &keys);

    let butterfly = butterfly(&context)?;
    let pointwise =
        best(7, || e.add(&x, &x))? / (count(&context, |c, v| c.add(&v, &v).map(drop))?.pointwise as f64 * n);

    // One rotation and many hoisted ones: the difference is the price of applying a key, the rest that of decomposing.
    let once = best(5, || e.rotate(&x, 1))?;
    let many = best(3, || e.rotate_many(&x, &steps))?;
    let apply = (many - once) / (HOISTED as f64 - 1.0);
    let one = count(&context, |c, v| c.rotate(&v, 1).map(drop))?;
    let two = count(&context, |c, v| c.rotate_many(&v, &[1, 2]).map(drop))?;
    let applied = two.since(&one);
    let decomposed = one.since(&applied);
    let rest = |seconds: f64, t: &Tally| (seconds - t.ntts as f64 * transform * butterfly).max(0.0) / n;
    // Noise can swallow the difference; a multiply-add is never cheaper than a share of an addition in memory.
    let conversion_mac =
        (rest(once - apply, &decomposed) / decomposed.conversion_macs.max(1) as f64).max(pointwise * 0.1);
    let key_mac = ((rest(apply, &applied) - conversion_mac * applied.conversion_macs as f64)
        / applied.key_macs.max(1) as f64)
        .max(pointwise * 0.1);

    let encode_once = best(3, || Ok(context.encode_mul(&values, LEVEL, scale)?))?;
    let encode = (encode_once - (LEVEL + 1) as f64 * transform * butterfly).max(0.0) / transform;
    let factors: Vec<PlaintextMul> = (0..TERMS)
        .map(|i| Ok(context.encode_mul(values.get(i..).unwrap_or_default(), LEVEL, scale)?))
        .collect::<Result<_, HeError>>()?;
    let inputs: Vec<Ciphertext> = vec![x.clone(); TERMS];
    let terms: Vec<(&Ciphertext, &PlaintextMul)> = inputs.iter().zip(&factors).collect();
    let plain_mac = best(5, || e.dot_plain(&terms))? / (2.0 * TERMS as f64 * (LEVEL + 1) as f64 * n);

    let rows = vec![(0..TERMS).map(|i| (i, 0.5 + i as f64)).collect::<Vec<_>>(); TERMS];
    let sums = best(3, || Ok(context.matrix_const(&inputs, &rows, 1024.0)?))?;
    let scalar_mac = sums / (2.0 * (TERMS * TERMS) as f64 * (LEVEL + 1) as f64 * n);
    Ok(CostTable {
        machine: machine.into(),
        butterfly,
        conversion_mac,
        key_mac,
        plain_mac,
        scalar_mac,
        pointwise,
        encode,
        key_word,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cost_is_a_time() {
        let c = calibrate("test").unwrap();
        for (name, v) in [
            ("butterfly", c.butterfly),
            ("conversion", c.conversion_mac),
            ("key", c.key_mac),
            ("plain", c.plain_mac),
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
