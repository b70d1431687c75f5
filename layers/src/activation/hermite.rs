//! HerPN (Park et al. 2022, AESPA, arXiv:2201.06699): the quadratic of ReLU's Hermite expansion, each basis normalised by itself.
//!
//! ```text
//! f(x) = γ·( N(x)/2 + N(x²)/√(4π) ) + β,   N(v) = (v − mean v)/√(var v + ε) over the batch, by running statistics at evaluation
//! ```
//! The constant of `(x² − 1)/√2` falls out of its normalisation; ε is scaled with it. `γ > 0` as for [`Quadratic`](super::Quadratic),
//! for the same reason. In the paper it replaces batch norm and ReLU; here the batch norm before it stays, since the
//! weights a network starts from have one, and folding makes it free.

use std::f64::consts::PI;

use burn::module::{Module, Param, RunningState};
use burn::tensor::Tensor;
use burn::tensor::activation::softplus;

use super::quadratic::{A_MIN, raw_of};
use crate::norm::{BN_EPSILON, moved};
use crate::{ChannelStats, WeightInit};

/// Scale and shift of one HerPN per channel, and the running statistics of its two bases.
#[derive(Module, Debug)]
pub struct Hermite {
    /// `softplus⁻¹(γ − A_MIN)`, `[channels]`.
    pub raw: Param<Tensor<1>>,
    /// `β`, `[channels]`.
    pub shift: Param<Tensor<1>>,
    /// Mean of `x`, `[channels]`.
    pub running_mean: RunningState<Tensor<1>>,
    /// Variance of `x`, `[channels]`.
    pub running_var: RunningState<Tensor<1>>,
    /// Mean of `x²`, `[channels]`.
    pub running_mean_square: RunningState<Tensor<1>>,
    /// Variance of `x²`, `[channels]`.
    pub running_var_square: RunningState<Tensor<1>>,
}

/// Means and variances of `x` and `x²`, `[channels]` each.
type Moments = [Tensor<1>; 4];

impl Hermite {
    /// The expansion of ReLU under N(0, 1).
    pub(super) fn new(channels: usize, init: &WeightInit) -> Self {
        let still = |v: f64| RunningState::new(Tensor::full([channels], v, init.device()));
        Self {
            raw: init.constant(channels, raw_of(1.0) as f32),
            shift: init.constant(channels, (1.0 / (2.0 * PI).sqrt()) as f32),
            running_mean: still(0.0),
            running_var: still(1.0),
            running_mean_square: still(1.0),
            running_var_square: still(2.0),
        }
    }

    /// Coefficients for a batch `x`: by its own moments, which move the running ones, on a training device; by the running
    /// ones elsewhere.
    pub(super) fn of_batch<const D: usize>(&self, x: &Tensor<D>, limit: Option<f32>) -> [Tensor<1>; 3] {
        if !x.is_autodiff() {
            return self.by(self.running().map(RunningState::value));
        }
        let x = match limit {
            Some(limit) => x.clone().clamp(-limit, limit),
            None => x.clone(),
        };
        let shape = x.dims();
        let (batch, channels) = (shape.first().copied().unwrap_or(1), shape.get(1).copied().unwrap_or(1));
        let x = x.reshape([batch as isize, channels as isize, -1]);
        let moments = |v: Tensor<3>| {
            let mean = v.clone().mean_dim(2).mean_dim(0);
            let var = (v - mean.clone()).square().mean_dim(2).mean_dim(0);
            [mean, var].map(|m| m.reshape([channels]))
        };
        let ([mean, var], [mean_square, var_square]) = (moments(x.clone()), moments(x.square()));
        let seen = [mean, var, mean_square, var_square];
        self.running().into_iter().zip(&seen).for_each(|(running, new)| moved(running, new.clone()));
        self.by(seen)
    }

    /// Coefficients by the running statistics, brought up to date.
    pub(super) fn still(&self) -> [Tensor<1>; 3] {
        self.by(self.running().map(RunningState::value_sync))
    }

    fn running(&self) -> [&RunningState<Tensor<1>>; 4] {
        [&self.running_mean, &self.running_var, &self.running_mean_square, &self.running_var_square]
    }

    /// `[a, b, c]` of the quadratic this is under the given moments.
    fn by(&self, [mean, var, mean_square, var_square]: Moments) -> [Tensor<1>; 3] {
        let gamma = softplus(self.raw.val(), 1.0).add_scalar(A_MIN);
        // (x² − 1)/√2 has half the variance of x²: √2 of the basis and of √(4π) meet in √(8π).
        let a = gamma.clone()
            / (var_square.mul_scalar(0.5).add_scalar(BN_EPSILON).sqrt().mul_scalar((8.0 * PI).sqrt()));
        let b = gamma.mul_scalar(0.5) / var.add_scalar(BN_EPSILON).sqrt();
        let c = self.shift.val() - b.clone() * mean - a.clone() * mean_square;
        [a, b, c]
    }

    /// The values, by field, that bring it near to ReLU over what was seen: the deviation as scale, ReLU's mean as shift.
    pub(super) fn fit(stats: &[ChannelStats]) -> [(&'static str, Vec<f32>); 6] {
        let column = |f: fn(&ChannelStats) -> f64| stats.iter().map(|s| f(s) as f32).collect();
        [
            ("raw", column(|s| raw_of(if s.count == 0 { 1.0 } else { s.var().sqrt() }))),
            ("shift", column(|s| s.positive[0] / s.count.max(1) as f64)),
            ("running_mean", column(ChannelStats::mean)),
            ("running_var", column(|s| if s.count == 0 { 1.0 } else { s.var() })),
            ("running_mean_square", column(|s| s.powers[1] / s.count.max(1) as f64)),
            ("running_var_square", column(square_var)),
        ]
    }
}

/// Variance of `x²`.
fn square_var(s: &ChannelStats) -> f64 {
    let n = s.count.max(1) as f64;
    if s.count == 0 { 2.0 } else { (s.powers[3] / n - (s.powers[1] / n).powi(2)).max(0.0) }
}
