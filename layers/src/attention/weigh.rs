//! What replaces softmax; the table is in the module above.

use burn::module::{Module, Param, RunningState};
use burn::nn::BatchNorm;
use burn::tensor::Tensor;
use hetrain_export::{GraphBuilder, NodeId, Op, Tensor as GraphTensor};

use super::{Heads, Relative, by_root};
use crate::lower::to_host;
use crate::norm::{batch_norm, moved};
use crate::operator::{Operator, Site, Source, Switch};
use crate::pointwise;
use crate::{Activation, AttentionKind, Function, LayerError, Lower, WeightInit};

/// Added to the mean of squares, which is 0.5 for normal scores and the quadratic nearest to ReLU: it bounds the quotient, and the interval
/// of the division.
const EPSILON: f64 = 0.04;
/// Degree of the division: five levels, within 0.4 % of the value over a factor of 100.
pub(crate) const INVERSE_DEGREE: usize = 31;
/// Degree of the exponential: four levels, within 6e-7 for distances up to 16, 3e-4 up to 32.
pub(crate) const DECAY_DEGREE: usize = 15;
/// What is added to scores before they are squared, at first.
const SHIFT: f32 = 2.0;

/// A trained quadratic of normalised scores.
#[derive(Module, Debug)]
pub struct Sigma {
    /// Normalisation of scores, per head.
    pub bn: BatchNorm,
    /// The quadratic, per head.
    pub act: Activation,
}

/// The square of a trained quadratic of normalised scores, over its mean.
#[derive(Module, Debug)]
pub struct Power {
    /// Normalisation of scores, per head.
    pub bn: BatchNorm,
    /// The quadratic, per head.
    pub act: Activation,
    /// The division.
    pub inverse: Activation,
}

/// A Gaussian of distances.
#[derive(Module, Debug)]
pub struct Gaussian {
    /// The exponential.
    pub decay: Activation,
}

/// A square of shifted scores over the running mean of its sums.
#[derive(Module, Debug)]
pub struct RunningSum {
    /// What is added to scores, `[heads]`.
    pub shift: Param<Tensor<1>>,
    /// Mean of the sums over keys, `[heads]`.
    pub running_sum: RunningState<Tensor<1>>,
    #[module(skip)]
    switch: Switch,
}

/// Products of quadratics.
#[derive(Module, Debug)]
pub struct Linear {
    /// Normalisation of queries, per channel.
    pub query_bn: BatchNorm,
    /// Quadratic of queries, per channel.
    pub query: Activation,
    /// Normalisation of keys, per channel.
    pub key_bn: BatchNorm,
    /// Quadratic of keys, per channel.
    pub key: Activation,
}

/// The forms.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a few per network")]
pub enum Weigh {
    /// See [`Sigma`].
    Sigma(Sigma),
    /// See [`Power`].
    Power(Power),
    /// See [`Gaussian`].
    Gaussian(Gaussian),
    /// See [`RunningSum`].
    Running(RunningSum),
    /// See [`Linear`].
    Linear(Linear),
}

impl Weigh {
    pub(super) fn new(kind: AttentionKind, channels: usize, heads: usize, init: &WeightInit) -> Self {
        let attention = Operator::Attention;
        match kind {
            AttentionKind::Sigma => Self::Sigma(Sigma {
                bn: batch_norm(heads, init),
                act: Activation::inside(attention, heads, init),
            }),
            AttentionKind::Power => Self::Power(Power {
                bn: batch_norm(heads, init),
                act: Activation::inside(attention, heads, init),
                inverse: Activation::fixed(attention, Function::Inverse, INVERSE_DEGREE, heads),
            }),
            AttentionKind::Gaussian => Self::Gaussian(Gaussian {
                decay: Activation::fixed(attention, Function::Decay, DECAY_DEGREE, heads),
            }),
            AttentionKind::Running => Self::Running(RunningSum {
                shift: init.constant(heads, SHIFT),
                running_sum: RunningState::new(Tensor::full([heads], 1.0, init.device())),
                switch: Switch::new(attention, heads),
            }),
            AttentionKind::Linear => Self::Linear(Linear {
                query_bn: batch_norm(channels, init),
                query: Activation::inside(attention, channels, init),
                key_bn: batch_norm(channels, init),
                key: Activation::inside(attention, channels, init),
            }),
        }
    }

    /// What decides between softmax and this.
    pub(super) fn switch(&self) -> &Switch {
        match self {
            Self::Sigma(s) => s.act.switch(),
            Self::Power(p) => p.act.switch(),
            Self::Gaussian(g) => g.decay.switch(),
            Self::Running(r) => &r.switch,
            Self::Linear(l) => l.query.switch(),
        }
    }

    pub(super) fn switches_mut(&mut self) -> Vec<&mut Switch> {
        match self {
            Self::Sigma(s) => vec![s.act.switch_mut()],
            Self::Power(p) => vec![p.act.switch_mut(), p.inverse.switch_mut()],
            Self::Gaussian(g) => vec![g.decay.switch_mut()],
            Self::Running(r) => vec![&mut r.switch],
            Self::Linear(l) => vec![l.query.switch_mut(), l.key.switch_mut()],
        }
    }

    pub(super) fn sites<'a>(&'a self, name: &str, out: &mut Vec<Site<'a>>) {
        let at = |part: &str| format!("{name}.{part}");
        match self {
            Self::Sigma(s) => out.push(s.act.site(at("act"))),
            Self::Power(p) => out.extend([p.act.site(at("act")), p.inverse.site(at("inverse"))]),
            Self::Gaussian(g) => out.push(g.decay.site(at("decay"))),
            Self::Running(r) => {
                out.push(Site { name: name.into(), switch: &r.switch, polynomial: Source::Nothing });
            }
            Self::Linear(l) => out.extend([l.query.site(at("query")), l.key.site(at("key"))]),
        }
    }

    /// While softmax is trained: let running statistics follow, so that they are there when they are needed.
    pub(super) fn follow(&self, heads: &Heads<'_>) {
        if !heads.query.is_autodiff() {
            return;
        }
        let still = Heads {
            query: heads.query.clone().detach(),
            key: heads.key.clone().detach(),
            value: heads.value.clone().detach(),
            relative: heads.relative,
        };
        match self {
            Self::Sigma(Sigma { bn, .. }) | Self::Power(Power { bn, .. }) => {
                pointwise::follow(bn, still.scores());
            }
            Self::Gaussian(_) => {}
            Self::Running(r) => {
                moved(&r.running_sum, r.sums(&r.shifted(&still, r.shift.val().detach())));
            }
            Self::Linear(l) => {
                let (query, key) = joined(&still);
                pointwise::follow(&l.query_bn, query);
                pointwise::follow(&l.key_bn, key);
            }
        }
    }

    /// Weights, `[batch, heads, L, L]`.
    pub(super) fn weights(&self, heads: &Heads<'_>, penalties: &mut Vec<Tensor<1>>) -> Tensor<4> {
        let [.., features] = heads.query.dims();
        let weights = match self {
            Self::Sigma(s) => {
                let scores = pointwise::batch_norm(&s.bn, heads.scores());
                s.act.polynomial(scores, penalties)
            }
            Self::Power(p) => {
                let z = pointwise::batch_norm(&p.bn, heads.scores());
                let root = p.act.polynomial(z, penalties);
                let power = heads.weighted(root.clone() * root, true);
                let mean = power.clone().sum_dim(3) / heads.relative.counts();
                let by = p.inverse.polynomial(mean.add_scalar(EPSILON), penalties);
                return power * (by / heads.relative.counts());
            }
            Self::Gaussian(g) => {
                let distances = g.distances(heads, penalties);
                g.decay.polynomial(distances, penalties)
            }
            Self::Running(r) => return r.weights(heads),
            Self::Linear(l) => {
                let (query, key) = l.normalised(heads);
                let query = l.query.polynomial(query, penalties);
                let key = l.key.polynomial(key, penalties);
                let (query, key) = (l.split(query, heads).swap_dims(2, 3), l.split(key, heads));
                query.matmul(key).mul_scalar(by_root(features))
            }
        };
        heads.weighted(weights, false)
    }

    /// What queries, keys and values are multiplied with, by which other factors need no level.
    pub(super) fn scales(&self, features: usize, length: usize, causal: bool) -> [f32; 3] {
        let spread = (2.0 * (features as f32).sqrt()).sqrt().recip();
        match self {
            Self::Power(_) if !causal => [by_root(features), 1.0, 1.0 / length as f32],
            Self::Sigma(_) | Self::Power(_) | Self::Running(_) => [by_root(features), 1.0, 1.0],
            Self::Gaussian(_) => [spread, spread, 1.0],
            Self::Linear(_) => [1.0, 1.0, by_root(features)],
        }
    }

    /// Whether weights are divided by sums of theirs.
    pub(super) fn divides(&self) -> bool {
        matches!(self, Self::Power(_))
    }

    /// What stands between a projection and its use: a quadratic in linear attention, nothing elsewhere.
    pub(super) fn lower_mapped(
        &self,
        graph: &mut GraphBuilder,
        name: &str,
        part: &str,
        x: NodeId,
    ) -> Result<NodeId, LayerError> {
        let Self::Linear(l) = self else { return Ok(x) };
        let (bn, act) = match part {
            "query" => (&l.query_bn, &l.query),
            "key" => (&l.key_bn, &l.key),
            _ => return Ok(x),
        };
        let x = bn.lower(graph, &format!("{name}.{part}_bn"), x)?;
        act.lower_polynomial(graph, &format!("{name}.{part}"), x)
    }

    /// Append the two products and what is between them; see [`Weigh::weights`].
    pub(super) fn lower_mixed(
        &self,
        graph: &mut GraphBuilder,
        name: &str,
        [query, key, value]: [NodeId; 3],
        relative: &Relative,
    ) -> Result<NodeId, LayerError> {
        let at = |part: &str| format!("{name}.{part}");
        let causal = relative.is_causal();
        let product = match self {
            Self::Gaussian(_) => Op::Distance { causal },
            _ => Op::MatMul { causal, factors: None },
        };
        let x = graph.push(&at("scores"), product, &[query, key])?;
        let mut by = None;
        let x = match self {
            Self::Sigma(s) => {
                let x = s.bn.lower(graph, &at("weigh.bn"), x)?;
                s.act.lower_polynomial(graph, &at("weigh.act"), x)?
            }
            Self::Power(p) => {
                let x = p.bn.lower(graph, &at("weigh.bn"), x)?;
                let x = p.act.lower_polynomial(graph, &at("weigh.act"), x)?;
                let x = graph.push(&at("weigh.power"), Op::Mul, &[x, x])?;
                let x = if causal { graph.push(&at("causal"), Op::Causal, &[x])? } else { x };
                by = Some(p.lower_inverse(graph, &at("weigh"), x, relative)?);
                x
            }
            Self::Gaussian(g) => g.decay.lower_polynomial(graph, &at("weigh.decay"), x)?,
            Self::Running(r) => r.lower_squares(graph, &at("weigh"), x)?,
            Self::Linear(_) => x,
        };
        let masked = causal && by.is_none();
        let x = if masked { graph.push(&at("causal"), Op::Causal, &[x])? } else { x };
        let (factors, values) = (at("relative"), relative.factors(self.divides()));
        let [_, heads, length, _] = values.dims();
        graph.add_tensor(&factors, GraphTensor::new([heads, length, length], to_host(name, values)?)?)?;
        let product = Op::MatMul { causal: false, factors: Some(factors) };
        let mixed = graph.push(&at("mixed"), product, &[x, value])?;
        match by {
            Some(by) => Ok(graph.push(&at("divided"), Op::Mul, &[mixed, by])?),
            None => Ok(mixed),
        }
    }

    /// Levels of the weights.
    pub(super) fn depth(&self, causal: bool) -> usize {
        match self {
            Self::Sigma(_) | Self::Running(_) | Self::Linear(_) => 1,
            // Two squares, the mean, the division, which the product with the values waits for; the product with it takes that one's place.
            Self::Power(p) => 2 + 1 + p.inverse.depth() + usize::from(causal),
            Self::Gaussian(g) => g.decay.depth(),
        }
    }
}

impl Power {
    /// `1/(ε + mean)` by the polynomial; behind a mask also over the number of positions.
    fn lower_inverse(
        &self,
        graph: &mut GraphBuilder,
        name: &str,
        x: NodeId,
        relative: &Relative,
    ) -> Result<NodeId, LayerError> {
        let causal = relative.is_causal();
        let means = relative.factors(true) / relative.counts();
        let [_, heads, length, _] = means.dims();
        let weight = format!("{name}.mean.weight");
        graph.add_tensor(&weight, GraphTensor::new([heads, length, length], to_host(name, means)?)?)?;
        let mean = graph.push(&format!("{name}.mean"), Op::RowSum { weight }, &[x])?;
        let shift = format!("{name}.epsilon");
        graph.add_tensor(&shift, GraphTensor::from_f64([heads], &vec![EPSILON; heads])?)?;
        let mean = graph.push(&shift, Op::Bias { shift: shift.clone() }, &[mean])?;
        let by = self.inverse.lower_polynomial(graph, &format!("{name}.inverse"), mean)?;
        if !causal {
            return Ok(by);
        }
        // Over the number of positions, which differs from row to row; elsewhere the values have the factor.
        let counts = to_host(name, relative.counts().recip())?;
        let weight = format!("{name}.count.weight");
        graph.add_tensor(&weight, GraphTensor::new([length, 1], counts)?)?;
        Ok(graph.push(&format!("{name}.count"), Op::RowSum { weight }, &[by])?)
    }
}

impl Gaussian {
    /// `‖q − k‖²/2√d`, `[batch, heads, L, L]`.
    fn distances(&self, heads: &Heads<'_>, penalties: &mut Vec<Tensor<1>>) -> Tensor<4> {
        let [.., features] = heads.query.dims();
        let spread = 0.5 * by_root(features);
        let norm = |x: &Tensor<4>, axis: usize| (x.clone() * x.clone()).sum_dim(axis).mul_scalar(spread);
        let (query, key) = (norm(&heads.query, 3), norm(&heads.key, 2));
        if heads.relative.is_causal() {
            // Encrypted, what a position may not look at is at the origin, and must stay in the interval too.
            self.decay.probe().watch(&query, penalties);
        }
        query + key - heads.scores()
    }
}

impl RunningSum {
    /// `(s + c)²/r` with factors, by the batch's sums while training, by the running ones elsewhere.
    fn weights(&self, heads: &Heads<'_>) -> Tensor<4> {
        let squares = self.shifted(heads, self.shift.val());
        let count = squares.dims()[1];
        let sum = if squares.is_autodiff() {
            let sum = self.sums(&squares);
            moved(&self.running_sum, sum.clone());
            sum
        } else {
            self.running_sum.value()
        };
        squares / sum.reshape([1, count, 1, 1])
    }

    /// `(s + c)²` with factors.
    fn shifted(&self, heads: &Heads<'_>, shift: Tensor<1>) -> Tensor<4> {
        let scores = heads.scores();
        let count = scores.dims()[1];
        let shifted = scores + shift.reshape([1, count, 1, 1]);
        heads.weighted(shifted.clone() * shifted, false)
    }

    /// Their mean sums over keys, `[heads]`.
    fn sums(&self, squares: &Tensor<4>) -> Tensor<1> {
        squares.clone().sum_dim(3).mean_dim(2).mean_dim(0).reshape([squares.dims()[1]])
    }

    fn lower_squares(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        let shift = to_host(name, self.shift.val())?;
        let sum = to_host(name, self.running_sum.value_sync())?;
        let rows = shift.iter().zip(&sum).flat_map(|(&c, &r)| [c * c / r, 2.0 * c / r, 1.0 / r]);
        let coeffs = GraphTensor::new([shift.len(), 3], rows.collect::<Vec<f32>>())?;
        Ok(graph.quadratic(name, x, coeffs, vec![self.switch.probe().interval()])?)
    }
}

impl Linear {
    /// Normalised queries and keys, `[batch, channels, L]`.
    fn normalised(&self, heads: &Heads<'_>) -> (Tensor<3>, Tensor<3>) {
        let (query, key) = joined(heads);
        (pointwise::batch_norm(&self.query_bn, query), pointwise::batch_norm(&self.key_bn, key))
    }

    fn split(&self, x: Tensor<3>, heads: &Heads<'_>) -> Tensor<4> {
        let [batch, count, length, features] = heads.query.dims();
        x.reshape([batch, count, features, length])
    }
}

/// Queries and keys of all heads, `[batch, channels, L]`.
fn joined(heads: &Heads<'_>) -> (Tensor<3>, Tensor<3>) {
    let [batch, count, length, features] = heads.query.dims();
    let joined = |x: Tensor<4>| x.reshape([batch, count * features, length]);
    (joined(heads.query.clone().swap_dims(2, 3)), joined(heads.key.clone()))
}
