//! Unit costs from measured operations: regularised least squares in relative errors.

use crate::plan::UnitCosts;
use crate::slots::{Tally, reference};

/// An operation that was counted and timed.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) work: Tally,
    /// Seconds.
    pub(super) seconds: f64,
}

/// Weight of the reference costs' ratios, in samples: they decide what the samples leave open.
const PRIOR: f64 = 0.02;
/// No unit is cheaper than this share of what the reference costs' ratios say.
const FLOOR: f64 = 0.2;
const SWEEPS: usize = 2000;

/// The units that are fitted.
const UNITS: [fn(&mut UnitCosts) -> &mut f64; 6] = [
    |c| &mut c.butterfly,
    |c| &mut c.conversion_mac,
    |c| &mut c.key_mac,
    |c| &mut c.plain_mac,
    |c| &mut c.spread_mac,
    |c| &mut c.pointwise,
];

/// Costs `c` that minimise `Σ (predicted / measured - 1)² + PRIOR Σ (c / (s reference) - 1)²`, where `s` is how much slower
/// than the reference this machine is on the whole. By coordinate descent: the problem is convex and tiny.
pub(super) fn fit(log_n: u32, samples: &[Sample]) -> UnitCosts {
    let mut base = UnitCosts { log_n, ..reference().clone() };
    let mut ratios: Vec<f64> = samples.iter().map(|s| s.seconds / base.seconds(&s.work)).collect();
    ratios.sort_by(f64::total_cmp);
    let slower = ratios.get(ratios.len() / 2).copied().unwrap_or(1.0);
    UNITS.iter().for_each(|unit| *unit(&mut base) *= slower);
    // Share of each sample's time that a unit at its base cost would take.
    let shares: Vec<Vec<f64>> = UNITS
        .iter()
        .map(|unit| {
            let mut only = base.clone();
            UNITS.iter().for_each(|u| *u(&mut only) = 0.0);
            let mut full = base.clone();
            *unit(&mut only) = *unit(&mut full);
            samples.iter().map(|s| only.seconds(&s.work) / s.seconds).collect()
        })
        .collect();
    let mut factors = [1.0; UNITS.len()];
    let mut left: Vec<f64> = samples.iter().map(|s| 1.0 - base.seconds(&s.work) / s.seconds).collect();
    for _ in 0..SWEEPS {
        for (factor, share) in factors.iter_mut().zip(&shares) {
            let square: f64 = share.iter().map(|a| a * a).sum();
            let towards: f64 = share.iter().zip(&left).map(|(a, r)| a * (r + a * *factor)).sum();
            let next = ((towards + PRIOR) / (square + PRIOR)).max(FLOOR);
            left.iter_mut().zip(share).for_each(|(r, a)| *r -= a * (next - *factor));
            *factor = next;
        }
    }
    UNITS.iter().zip(factors).for_each(|(unit, factor)| *unit(&mut base) *= factor);
    base
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_found_again_from_the_times_they_predict() {
        let mut truth = UnitCosts { log_n: 14, ..reference().clone() };
        for (i, unit) in UNITS.iter().enumerate() {
            *unit(&mut truth) *= 1.5 + 0.3 * i as f64;
        }
        let work = |i: u64| Tally {
            ntts: 40 + 7 * i,
            conversion_macs: 100 + 90 * (i % 3),
            key_macs: 60 + 80 * (i % 4),
            plain_macs: 500 * (i % 2),
            spread_macs: 400 * (i % 5),
            pointwise: 10 + 20 * (i % 7),
            ..Tally::default()
        };
        let samples: Vec<Sample> =
            (0..40).map(|i| Sample { seconds: truth.seconds(&work(i)), work: work(i) }).collect();
        let found = fit(14, &samples);
        for s in &samples {
            assert!((found.seconds(&s.work) / s.seconds - 1.0).abs() < 0.02);
        }
    }
}
