//! Least-squares start of the quadratic from the measured distribution of its inputs.
//!
//! Minimises `E[(ReLU(x) − (a x² + b x + c))²]` over the sample, from moments alone. For N(0, σ²) the answer is
//! `a = 1/(σ√(8π)), b = 1/2, c = σ/√(8π)`.

use super::Function;
use super::quadratic::A_MIN;
use crate::ChannelStats;

/// Variance below which a channel says too little about the shape of ReLU over its inputs.
const VAR_MIN: f64 = 1e-4;
/// Determinant of the standardised normal equations below which they are treated as singular.
const DET_MIN: f64 = 1e-3;
/// Weight of the N(0, 1) sample mixed into a degenerate channel.
const PRIOR: f64 = 0.1;

/// Quadratic `[c, b, a]` nearest to ReLU over the values in `stats`, with `a ≥ A_MIN`.
///
/// A channel that is almost constant, or takes two values only, does not determine three coefficients; a tenth of a
/// standard normal sample is mixed in. A channel without values gets the fit to N(0, 1).
pub fn fit_relu(stats: &ChannelStats) -> [f64; 3] {
    let n = stats.count.max(1) as f64;
    let moments = Moments { powers: stats.powers.map(|s| s / n), positive: stats.positive.map(|s| s / n) };
    if stats.count == 0 {
        return Moments::UNIT.solve().unwrap_or(super::quadratic::RELU_UNIT);
    }
    moments.solve().or_else(|| moments.with_prior().solve()).unwrap_or(super::quadratic::RELU_UNIT)
}

/// Quadratic `[c, b, a]` nearest to `function` over the values in `stats`, with `a ≥ A_MIN`; for others than ReLU, whose moments the
/// statistics have, over a normal distribution with their mean and variance.
pub(crate) fn fit(function: Function, stats: &ChannelStats) -> [f64; 3] {
    if function == Function::Relu || stats.count == 0 {
        return if stats.count == 0 { function.unit_quadratic() } else { fit_relu(stats) };
    }
    let (m, s) = (stats.mean(), stats.var().max(VAR_MIN).sqrt());
    // Projections on 1, z and z² − 1 by the midpoint rule, which is exact to rounding for smooth functions under the normal.
    let (steps, end) = (256, 8.0);
    let (mut total, mut by) = (0.0, [0.0; 3]);
    for i in 0..steps {
        let z = end * (2.0 * (f64::from(i) + 0.5) / f64::from(steps) - 1.0);
        let (weight, value) = ((-z * z / 2.0).exp(), function.at(m + s * z));
        total += weight;
        by.iter_mut().zip([1.0, z, z * z - 1.0]).for_each(|(sum, p)| *sum += weight * value * p);
    }
    let [h0, h1, h2] = by.map(|v| v / total);
    // As for ReLU, the other two are the least-squares ones when `a` is held at its smallest value.
    let a = (0.5 * h2 / (s * s)).max(A_MIN);
    let (b, c) = (h1 / s - 2.0 * a * m, h0 - h1 / s * m - a * (s * s - m * m));
    [c, b, a]
}

/// Means of `x, x², x³, x⁴`, and of the same up to the third over the positive part.
#[derive(Clone, Copy)]
struct Moments {
    powers: [f64; 4],
    positive: [f64; 3],
}

impl Moments {
    /// Those of N(0, 1): `E[max(x, 0)ᵏ]` is `1/√(2π), 1/2, 2/√(2π)`.
    const UNIT: Self = Self {
        powers: [0.0, 1.0, 0.0, 3.0],
        positive: [0.398_942_280_401_432_7, 0.5, 0.797_884_560_802_865_4],
    };

    fn with_prior(mut self) -> Self {
        let mix = |v: &mut f64, u: f64| *v = (1.0 - PRIOR) * *v + PRIOR * u;
        self.powers.iter_mut().zip(Self::UNIT.powers).for_each(|(v, u)| mix(v, u));
        self.positive.iter_mut().zip(Self::UNIT.positive).for_each(|(v, u)| mix(v, u));
        self
    }

    /// Solve in `z = (x − m)/s`, where the normal equations are `[1 0 1; 0 1 g₃; 1 g₃ g₄]`.
    fn solve(self) -> Option<[f64; 3]> {
        let [m, m2, m3, m4] = self.powers;
        let [p1, p2, p3] = self.positive;
        let var = m2 - m * m;
        if var.is_nan() || var < VAR_MIN {
            return None;
        }
        let s = var.sqrt();
        let g3 = (m3 - 3.0 * m * m2 + 2.0 * m.powi(3)) / (s * var);
        let g4 = (m4 - 4.0 * m * m3 + 6.0 * m * m * m2 - 3.0 * m.powi(4)) / (var * var);
        let det = g4 - 1.0 - g3 * g3;
        if det.is_nan() || det < DET_MIN {
            return None;
        }
        let (r0, r1) = (p1, (p2 - m * p1) / s);
        let r2 = (p3 - 2.0 * m * p2 + m * m * p1) / var;
        // With `a` held at its smallest value, the other two still are the least-squares ones.
        let a = ((r2 - r0 - g3 * r1) / (det * var)).max(A_MIN);
        let w = a * var;
        let (u, v) = (r0 - w, (r1 - g3 * w) / s);
        let (b, c) = (v - 2.0 * a * m, u - v * m + a * m * m);
        (a.is_finite() && b.is_finite() && c.is_finite()).then_some([c, b, a])
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;
    use rand_distr::{Distribution, Normal};

    use super::*;

    fn gaussian(mean: f64, sigma: f64, n: usize) -> ChannelStats {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let normal = Normal::new(mean, sigma).unwrap();
        let mut stats = ChannelStats::default();
        (0..n).for_each(|_| stats.add(normal.sample(&mut rng)));
        stats
    }

    #[test]
    fn gaussian_inputs_give_the_closed_form() {
        for sigma in [0.5, 1.0, 3.0] {
            let [c, b, a] = fit_relu(&gaussian(0.0, sigma, 200_000));
            let k = 1.0 / (8.0 * std::f64::consts::PI).sqrt();
            // Five standard errors of the estimates for 200 000 values are below two per cent.
            assert!((a * sigma / k - 1.0).abs() < 0.02, "a {a} at {sigma}");
            assert!((b - 0.5).abs() < 0.005, "b {b} at {sigma}");
            assert!((c / (sigma * k) - 1.0).abs() < 0.02, "c {c} at {sigma}");
        }
    }

    #[test]
    fn gelu_is_fitted_under_the_normal_distribution_of_its_inputs() {
        for (mean, sigma) in [(0.0, 1.0), (0.4, 0.7), (-0.5, 2.0)] {
            let stats = gaussian(mean, sigma, 100_000);
            let best = fit(Function::Gelu, &stats);
            let mut rng = ChaCha20Rng::seed_from_u64(8);
            let normal = Normal::new(stats.mean(), stats.var().sqrt()).unwrap();
            let values: Vec<f64> = (0..200_000).map(|_| normal.sample(&mut rng)).collect();
            let error = |f: [f64; 3]| -> f64 {
                values.iter().map(|&x| (Function::Gelu.at(x) - f[0] - f[1] * x - f[2] * x * x).powi(2)).sum()
            };
            for i in 0..3 {
                for step in [-0.02, 0.02] {
                    let mut other = best;
                    other[i] += step;
                    assert!(error(other) > error(best), "coefficient {i} at N({mean}, {sigma}²)");
                }
            }
        }
        let unit = fit(Function::Gelu, &ChannelStats::default());
        assert!((unit[2] - 0.211_57).abs() < 1e-5 && (unit[0] - 0.070_52).abs() < 1e-5, "{unit:?}");
    }

    #[test]
    fn the_fit_is_a_minimum() {
        let (mut stats, values): (_, Vec<f64>) =
            (ChannelStats::default(), (0..1000).map(|i| (f64::from(i) * 0.37).sin() * 3.0 + 0.4).collect());
        values.iter().for_each(|&v| stats.add(v));
        let best = fit_relu(&stats);
        let error = |f: [f64; 3]| -> f64 {
            values.iter().map(|x| (x.max(0.0) - f[0] - f[1] * x - f[2] * x * x).powi(2)).sum()
        };
        for i in 0..3 {
            for step in [-1e-3, 1e-3] {
                let mut other = best;
                other[i] += step;
                assert!(error(other) > error(best), "coefficient {i}");
            }
        }
    }

    #[test]
    fn degenerate_channels_get_finite_coefficients_with_a_positive_leading_one() {
        let (mut constant, mut two, mut negative) =
            (ChannelStats::default(), ChannelStats::default(), ChannelStats::default());
        for i in 0..100 {
            constant.add(0.7);
            two.add(if i % 2 == 0 { -1.0 } else { 1.0 });
            negative.add(-5.0 - f64::from(i) / 100.0);
        }
        for stats in [ChannelStats::default(), constant, two, negative] {
            let fit = fit_relu(&stats);
            assert!(fit.iter().all(|v| v.is_finite()) && fit[2] >= A_MIN, "{fit:?}");
        }
    }
}
