//! Chebyshev series: `p(t) = Σ cᵢ Tᵢ(t)` for `t ∈ [−1, 1]`.

use std::f64::consts::PI;

use crate::Interval;

/// Clenshaw's recurrence, stable for any degree.
pub(super) fn clenshaw(coeffs: &[f64], t: f64) -> f64 {
    let (mut b1, mut b2) = (0.0, 0.0);
    for &c in coeffs.iter().skip(1).rev() {
        (b1, b2) = (2.0 * t * b1 - b2 + c, b1);
    }
    t * b1 - b2 + coeffs.first().copied().unwrap_or(0.0)
}

/// Coefficients of the interpolant of `f` at the `degree + 1` Chebyshev nodes of `interval`.
pub(super) fn interpolate(f: impl Fn(f64) -> f64, degree: usize, interval: Interval) -> Vec<f64> {
    let n = degree + 1;
    let angle = |k: usize| PI * (k as f64 + 0.5) / n as f64;
    let values: Vec<f64> =
        (0..n).map(|k| f(interval.centre() + interval.half_width() * angle(k).cos())).collect();
    (0..n)
        .map(|j| {
            let sum: f64 = values.iter().enumerate().map(|(k, v)| v * (j as f64 * angle(k)).cos()).sum();
            sum * if j == 0 { 1.0 } else { 2.0 } / n as f64
        })
        .collect()
}
