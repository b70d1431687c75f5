//! Functions that polynomials stand for.

use std::f64::consts::{FRAC_1_SQRT_2, PI};
use std::sync::OnceLock;

use burn::tensor::Tensor;
use burn::tensor::activation::{gelu, relu};
use hetrain_export::Interval;

use crate::RangeProbe;
use crate::attention::EPSILON;
use crate::pointwise::{self, Series};

/// A function of one variable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Function {
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// `x·Φ(x)` (Hendrycks and Gimpel 2016, arXiv:1606.08415).
    Gelu,
    /// `1/x`.
    Inverse,
    /// `1/√x`.
    InverseRoot,
    /// `e⁻ˣ`.
    Decay,
}

impl Function {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relu => "ReLU",
            Self::Gelu => "GELU",
            Self::Inverse => "a division",
            Self::InverseRoot => "an inverse square root",
            Self::Decay => "an exponential",
        }
    }

    /// Where its inputs usually are, before anybody has looked: those of activations have deviation 1, mean squares
    /// vary about 1, those of quadratics of such values about a half, distances are positive.
    pub(crate) fn usual(self) -> Interval {
        match self {
            Self::Relu | Self::Gelu => RangeProbe::INTERVAL,
            Self::Inverse => Interval { lo: EPSILON, hi: 2.56 },
            Self::InverseRoot => Interval { lo: 0.125, hi: 8.0 },
            Self::Decay => Interval { lo: 0.0, hi: 16.0 },
        }
    }

    /// The value at `x`.
    pub fn at(self, x: f64) -> f64 {
        match self {
            Self::Relu => x.max(0.0),
            Self::Gelu => 0.5 * x * libm::erfc(-x * FRAC_1_SQRT_2),
            Self::Inverse => 1.0 / x,
            Self::InverseRoot => 1.0 / x.sqrt(),
            Self::Decay => (-x).exp(),
        }
    }

    /// The values at all of `x`.
    pub fn of<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Relu => relu(x),
            Self::Gelu => pointwise::series(&x, gelu_series).unwrap_or_else(|| gelu(x)),
            Self::Inverse => x.recip(),
            Self::InverseRoot => x.sqrt().recip(),
            Self::Decay => x.neg().exp(),
        }
    }

    /// Least-squares quadratic under N(0, 1), lowest degree first; that of ReLU for functions that are no activations.
    pub(crate) fn unit_quadratic(self) -> [f64; 3] {
        // E[f], E[f·x] and E[f·(x² − 1)]/2 over the normal distribution, in closed form.
        match self {
            Self::Gelu => {
                let k = 1.0 / (2.0 * PI.sqrt());
                [0.25 * k, 0.5, 0.75 * k]
            }
            _ => super::quadratic::RELU_UNIT,
        }
    }
}

/// `x·Φ(x)`, `Φ` within 1e-7: 0 or 1 beyond ±6, a series between.
fn gelu_series() -> Option<Series> {
    static SERIES: OnceLock<Option<Series>> = OnceLock::new();
    let phi = |x: f64| 0.5 * libm::erfc(-x * FRAC_1_SQRT_2);
    SERIES.get_or_init(|| Series::product(phi, 63, Interval { lo: -6.0, hi: 6.0 })).clone()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::*;

    #[test]
    fn tensors_and_numbers_are_mapped_alike() {
        let xs = [0.3_f32, 1.0, 2.5, 7.0];
        for f in [Function::Relu, Function::Gelu, Function::Inverse, Function::InverseRoot, Function::Decay] {
            let y =
                f.of(Tensor::<1>::from_data(xs, &Device::flex())).into_data().try_to_vec::<f32>().unwrap();
            for (x, y) in xs.iter().zip(y) {
                assert!((f.at(f64::from(*x)) - f64::from(y)).abs() < 1e-5, "{f:?} at {x}");
            }
        }
    }

    #[test]
    fn the_quadratic_is_nearest_under_the_normal_distribution() {
        for f in [Function::Relu, Function::Gelu] {
            let [c, b, a] = f.unit_quadratic();
            // Residues are orthogonal to 1, x and x².
            let mut inner = [0.0; 3];
            for i in -4000..=4000 {
                let x = f64::from(i) / 500.0;
                let weight = (-x * x / 2.0).exp() / (2.0 * PI).sqrt() / 500.0;
                let rest = f.at(x) - (c + b * x + a * x * x);
                inner.iter_mut().zip([1.0, x, x * x]).for_each(|(sum, p)| *sum += weight * rest * p);
            }
            assert!(inner.iter().all(|v| v.abs() < 1e-5), "{f:?}: {inner:?}");
        }
    }
}
