//! What replaces softmax: names, and what every form says of itself. Each form is a file of its own, compared at [`Weigh`].
//!
//! Another form is a file with a struct that is a [`Weighing`], and its name here.

mod gaussian;
mod linear;
mod power;
mod running;
mod sigma;

use burn::module::Module;
use burn::tensor::Tensor;
use hetrain_export::{GraphBuilder, NodeId, Op, Tensor as GraphTensor};
use serde::{Deserialize, Serialize};

use super::{Heads, Relative, by_root};
use crate::lower::to_host;
use crate::operator::{Site, Switch};
use crate::{LayerError, WeightInit};

#[cfg(test)]
pub(crate) use gaussian::DECAY_DEGREE;
pub use gaussian::Gaussian;
pub use linear::Linear;
pub(crate) use power::EPSILON;
#[cfg(test)]
pub(crate) use power::INVERSE_DEGREE;
pub use power::Power;
pub use running::RunningSum;
pub use sigma::Sigma;

/// What replaces the softmax of attention ([`Weigh`] compares them).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttentionKind {
    /// A trained quadratic of normalised scores.
    #[default]
    Sigma,
    /// The square of a trained quadratic of normalised scores, divided by its mean.
    Power,
    /// `exp(−‖q − k‖²/2√k)`.
    Gaussian,
    /// A shifted square, divided by the running mean of its sums.
    Running,
    /// Products of trained quadratics of queries and keys.
    Linear,
}

impl AttentionKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Sigma, Self::Power, Self::Gaussian, Self::Running, Self::Linear];

    /// The name in configurations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sigma => "sigma",
            Self::Power => "power",
            Self::Gaussian => "gaussian",
            Self::Running => "running",
            Self::Linear => "linear",
        }
    }
}

/// The forms: `weights` of `y = W_o·((M ⊙ weights)·V)`, see [`SelfAttention`](crate::SelfAttention); `levels` are those of the whole attention.
///
/// | `attention` | weights | levels | bounded by | where it works, where it fails |
/// |---|---|---|---|---|
/// | `sigma` | `f(BN(s))/√n`, `f` a trained quadratic per head (Ramapuram et al. 2024, arXiv:2409.04431, with a quadratic) | 5 | the batch norm over heads | vision; no worse than softmax beside `M` in a small language model, one seed |
/// | `power` | `f²·p(ε + mean f²)/n`, `f` a trained quadratic of `BN(s)` per head, `p ≈ 1/x` (Zimerman et al. 2024, arXiv:2410.09457, with `(z + c)⁴` for `z⁴`, so that scores of −1 and 1 need not weigh the same) | 13, behind a mask 14 | means of fourth powers within a factor of about 100 | nearest to softmax, and no better than `sigma` where tried; the range of the means takes the bits |
/// | `gaussian` | `e^(−‖q−k‖²/2√d)/√n` by a polynomial of degree 15 | 9 | distances in the trained interval | fine-tuning; needs no division; distances must be kept small by a penalty |
/// | `running` | `(s + c)²/r√n`, `r` the running mean of its sums over keys | 5 | nothing but the range of `s` | shallow networks; the sum of the weights varies |
/// | `linear` | `φ(q)·φ(k)/√(dn)`, `φ` a trained quadratic per channel (Katharopoulos et al. 2020, arXiv:2006.16236) | 5 | the batch norms before `φ` | long sequences; weakest |
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a few per network")]
pub enum Weigh {
    /// A quadratic of scores.
    Sigma(Sigma),
    /// A square of a quadratic, divided by its mean.
    Power(Power),
    /// An exponential of distances.
    Gaussian(Gaussian),
    /// A square, divided by a running mean.
    Running(RunningSum),
    /// Quadratics of queries and keys.
    Linear(Linear),
}

impl Weigh {
    pub(super) fn new(kind: AttentionKind, channels: usize, heads: usize, init: &WeightInit) -> Self {
        match kind {
            AttentionKind::Sigma => Self::Sigma(Sigma::new(heads, init)),
            AttentionKind::Power => Self::Power(Power::new(heads, init)),
            AttentionKind::Gaussian => Self::Gaussian(Gaussian::new(heads)),
            AttentionKind::Running => Self::Running(RunningSum::new(heads, init)),
            AttentionKind::Linear => Self::Linear(Linear::new(channels, init)),
        }
    }

    pub(super) fn form(&self) -> &dyn Weighing {
        match self {
            Self::Sigma(form) => form,
            Self::Power(form) => form,
            Self::Gaussian(form) => form,
            Self::Running(form) => form,
            Self::Linear(form) => form,
        }
    }

    pub(super) fn form_mut(&mut self) -> &mut dyn Weighing {
        match self {
            Self::Sigma(form) => form,
            Self::Power(form) => form,
            Self::Gaussian(form) => form,
            Self::Running(form) => form,
            Self::Linear(form) => form,
        }
    }
}

/// What a form says of itself. `L` is the number of positions, `d` that of a head's features.
pub(crate) trait Weighing {
    /// What decides between softmax and this.
    fn switch(&self) -> &Switch;

    fn switches_mut(&mut self) -> Vec<&mut Switch>;

    /// Where it is a polynomial.
    fn sites<'a>(&'a self, name: &str, out: &mut Vec<Site<'a>>);

    /// While softmax is trained: let running statistics follow, so that they are there when they are needed. `heads` have no gradients.
    fn follow(&self, heads: &Heads<'_>);

    /// Weights with their factors, `[batch, heads, L, L]`.
    fn weights(&self, heads: &Heads<'_>, penalties: &mut Vec<Tensor<1>>) -> Tensor<4>;

    /// What queries, keys and values are multiplied with, by which other factors need no level.
    fn scales(&self, features: usize, _length: usize, _causal: bool) -> [f32; 3] {
        [by_root(features), 1.0, 1.0]
    }

    /// Whether weights are divided by sums of theirs.
    fn divides(&self) -> bool {
        false
    }

    /// What stands between a projection, `query`, `key` or `value`, and its use.
    fn lower_mapped(
        &self,
        _graph: &mut GraphBuilder,
        _name: &str,
        _part: &str,
        x: NodeId,
    ) -> Result<NodeId, LayerError> {
        Ok(x)
    }

    /// What scores are of queries and keys.
    fn product(&self, causal: bool) -> Op {
        Op::MatMul { causal, factors: None }
    }

    /// Weights from scores, before mask and factors.
    fn lower_weights(
        &self,
        graph: &mut GraphBuilder,
        name: &str,
        scores: NodeId,
    ) -> Result<NodeId, LayerError>;

    /// What sums of values are multiplied with, from weights behind the mask.
    fn lower_divisor(
        &self,
        _graph: &mut GraphBuilder,
        _name: &str,
        _weights: NodeId,
        _relative: &Relative,
    ) -> Result<Option<NodeId>, LayerError> {
        Ok(None)
    }

    /// Levels of the weights.
    fn depth(&self, _causal: bool) -> usize {
        1
    }
}

/// Append the two products and what is between them; see [`Weighing::weights`].
pub(super) fn lower_mixed(
    form: &dyn Weighing,
    graph: &mut GraphBuilder,
    name: &str,
    [query, key, value]: [NodeId; 3],
    relative: &Relative,
) -> Result<NodeId, LayerError> {
    let at = |part: &str| format!("{name}.{part}");
    let causal = relative.is_causal();
    let x = graph.push(&at("scores"), form.product(causal), &[query, key])?;
    let x = form.lower_weights(graph, &at("weigh"), x)?;
    let x = if causal { graph.push(&at("causal"), Op::Causal, &[x])? } else { x };
    let by = form.lower_divisor(graph, &at("weigh"), x, relative)?;
    let (factors, values) = (at("relative"), relative.factors(form.divides()));
    let [_, heads, length, _] = values.dims();
    graph.add_tensor(&factors, GraphTensor::new([heads, length, length], to_host(name, values)?)?)?;
    let product = Op::MatMul { causal: false, factors: Some(factors) };
    let mixed = graph.push(&at("mixed"), product, &[x, value])?;
    match by {
        Some(by) => Ok(graph.push(&at("divided"), Op::Mul, &[mixed, by])?),
        None => Ok(mixed),
    }
}
