//! Bits of precision, measured and predicted.

use std::fmt;

use super::context::Context;
use super::params::ParamsLiteral;
use crate::math::sampling::ERROR_STD;

/// Bits of precision of a result: `-log2 |error|` over the slots.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrecisionStats {
    /// Bits of the worst slot.
    pub min_bits: f64,
    /// Mean of the bits.
    pub mean_bits: f64,
    /// Largest absolute error.
    pub max_error: f64,
    /// Root mean square error.
    pub rms_error: f64,
}

impl PrecisionStats {
    /// Compare slot by slot up to the shorter length; errors below `2^-60` count as 60 bits.
    #[must_use]
    pub fn new(want: &[f64], have: &[f64]) -> Self {
        let errors: Vec<f64> = want.iter().zip(have).map(|(a, b)| (a - b).abs()).collect();
        let count = errors.len().max(1) as f64;
        let bits = |e: &f64| -e.max(2f64.powi(-60)).log2();
        Self {
            min_bits: errors.iter().map(bits).fold(60.0, f64::min),
            mean_bits: errors.iter().map(bits).sum::<f64>() / count,
            max_error: errors.iter().copied().fold(0.0, f64::max),
            rms_error: (errors.iter().map(|e| e * e).sum::<f64>() / count).sqrt(),
        }
    }
}

impl fmt::Display for PrecisionStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "precision: min {:.1} bits, mean {:.1} bits, max error {:.3e}",
            self.min_bits, self.mean_bits, self.max_error
        )
    }
}

/// Predicted noise as standard deviation in the real part of a slot.
///
/// A coefficient deviation `d` becomes `sqrt(n/2) d / scale`. `h = 2n/3` is the expected weight of the uniform ternary
/// secret. Combine independent contributions with [`NoiseModel::sum`].
#[derive(Clone, Debug)]
pub struct NoiseModel {
    n: f64,
    /// Expected weight of the secret.
    h: f64,
    /// For keys of each level, the sum over digits of the square of digit over P.
    digits: Vec<f64>,
}

impl NoiseModel {
    /// Model of a context.
    #[must_use]
    pub fn new(ctx: &Context) -> Self {
        Self::of(ctx.literal())
    }

    /// Model of a parameter set.
    #[must_use]
    pub fn of(params: &ParamsLiteral) -> Self {
        let (n, sizes) = (f64::from(params.log_n).exp2(), params.sizes());
        Self { n, h: 2.0 * n / 3.0, digits: (0..sizes.q.len()).map(|l| sizes.digit_noise(l)).collect() }
    }

    /// Slot deviation from a coefficient variance at `scale`.
    #[must_use]
    pub fn slots(&self, coefficient_variance: f64, scale: f64) -> f64 {
        (self.n / 2.0 * coefficient_variance).sqrt() / scale
    }

    /// Fresh secret-key encryption.
    #[must_use]
    pub fn fresh(&self, scale: f64) -> f64 {
        self.slots(ERROR_STD * ERROR_STD, scale)
    }

    /// Fresh public-key encryption (over one special prime).
    #[must_use]
    pub fn fresh_public(&self, scale: f64) -> f64 {
        self.slots((1.0 + self.h) / 12.0 + 1.0 / 12.0, scale)
    }

    /// Rounding in a rescale or in the division by `P`; `scale` is the scale afterwards.
    #[must_use]
    pub fn rounding(&self, scale: f64) -> f64 {
        self.slots((1.0 + self.h) / 12.0, scale)
    }

    /// One key switch (rotation, relinearisation) with a key made for `level`, at `scale`.
    #[must_use]
    pub fn key_switch(&self, level: usize, scale: f64) -> f64 {
        let digits = self.digits.get(level).or(self.digits.last()).copied().unwrap_or(0.0);
        let product = digits * self.n * ERROR_STD * ERROR_STD / 12.0;
        self.slots(product + (1.0 + self.h) / 12.0, scale)
    }

    /// Rounding of an encoded plaintext.
    #[must_use]
    pub fn encoding(&self, scale: f64) -> f64 {
        self.slots(1.0 / 12.0, scale)
    }

    /// Root of the sum of squares: for independent parts. Parts that share noise can add up linearly: both from one ciphertext, or key
    /// switches with one key, whose noise is partly the same each time where digits are raised without correction. Where a bound is
    /// needed, as for published decryptions, add such deviations instead.
    #[must_use]
    pub fn sum(parts: &[f64]) -> f64 {
        parts.iter().map(|x| x * x).sum::<f64>().sqrt()
    }

    /// Predicted bits of precision for a slot deviation: `-log2(6 std)`.
    #[must_use]
    pub fn bits(std: f64) -> f64 {
        -(6.0 * std).log2()
    }
}
