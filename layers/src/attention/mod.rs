//! Self-attention: softmax at first (Vaswani et al. 2017, arXiv:1706.03762), then one of the forms below, none of which divides by
//! anything but through a polynomial.
//!
//! ```text
//! y = W_o·((M ⊙ weights(Q, K))·V)    per head, L positions, d features; s = Q·Kᵀ/√d
//! ```
//! `M` are trained factors of what stands where, [`Relative`]; softmax has their logarithms as summands of `s`. They take no level.
//!
//! The forms are compared in [`Weigh`].
//!
//! A position looks at `n`, with a mask all up to itself, else `L`; both are public. Norms over scores keep their training statistics from all scores, those of later positions
//! included: from moments, not from values. Norms, `1/√d` and affine parts of quadratics fold
//! into the projections, `1/√n` into the factors.

mod relative;
mod weigh;

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use hetrain_export::{Conv2dGeometry, GraphBuilder, NodeId, Op};

pub use relative::Relative;
pub(crate) use weigh::EPSILON;
pub use weigh::{AttentionKind, Weigh};
#[cfg(test)]
pub(crate) use weigh::{DECAY_DEGREE, INVERSE_DEGREE};

use crate::models::Tap;
use crate::operator::{Site, Switch};
use crate::{Conv, LayerError, Lower, WeightInit};

/// Attention of every pixel of a map to every other.
#[derive(Module, Debug)]
pub struct SelfAttention {
    /// Queries.
    pub query: Conv,
    /// Keys.
    pub key: Conv,
    /// Values.
    pub value: Conv,
    /// What it knows of where a key stands.
    pub relative: Relative,
    /// What replaces the softmax.
    pub weigh: Weigh,
    /// Output.
    pub out: Conv,
    /// Heads.
    pub heads: usize,
}

/// Queries `[batch, heads, L, d]`, keys `[batch, heads, d, L]`, values `[batch, heads, L, d]`.
pub(crate) struct Heads<'a> {
    pub(crate) query: Tensor<4>,
    pub(crate) key: Tensor<4>,
    pub(crate) value: Tensor<4>,
    /// Of pairs of positions.
    pub(crate) relative: &'a Relative,
}

impl Heads<'_> {
    /// Scores `s`, `[batch, heads, L, L]`.
    pub(crate) fn scores(&self) -> Tensor<4> {
        let [.., features] = self.query.dims();
        self.query.clone().matmul(self.key.clone()).mul_scalar(by_root(features))
    }

    /// What weights are multiplied with, 0 for what a position may not look at; `divided`: by who divides by sums of them.
    pub(crate) fn weighted(&self, weights: Tensor<4>, divided: bool) -> Tensor<4> {
        weights * self.relative.factors(divided)
    }

    /// Without gradients.
    fn detached(&self) -> Self {
        let [query, key, value] = [&self.query, &self.key, &self.value].map(|x| x.clone().detach());
        Self { query, key, value, relative: self.relative }
    }

    fn softmax(&self) -> Tensor<4> {
        let scores = self.scores() + self.relative.bias();
        let scores = match self.relative.mask() {
            Some(mask) => scores + mask.sub_scalar(1.0).mul_scalar(1e9),
            None => scores,
        };
        softmax(scores, 3)
    }
}

impl SelfAttention {
    /// `heads` heads that share `channels` channels of a map of `shape`.
    pub fn new(
        channels: usize,
        heads: usize,
        shape: [usize; 2],
        causal: bool,
        kind: AttentionKind,
        init: &mut WeightInit,
    ) -> Self {
        let mut project = || Conv::new([channels; 2], 1, 1, 0, init);
        let (query, key, value, out) = (project(), project(), project(), project());
        let relative = Relative::new(heads, shape, causal, init);
        let weigh = Weigh::new(kind, channels, heads, init);
        Self { query, key, value, relative, weigh, out, heads }
    }

    pub(crate) fn switches_mut(&mut self) -> Vec<&mut Switch> {
        self.weigh.form_mut().switches_mut()
    }

    pub(crate) fn sites<'a>(&'a self, name: &str, out: &mut Vec<Site<'a>>) {
        self.weigh.form().sites(&format!("{name}.weigh"), out);
    }

    /// Compute, and leave weights and penalties behind.
    ///
    /// # Shapes
    /// - input and output `[batch, channels, height, width]`
    pub(crate) fn forward(&self, x: Tensor<4>, tap: &mut Tap) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let (features, length) = (channels / self.heads, height * width);
        let split = |x: Tensor<4>| x.reshape([batch, self.heads, features, length]);
        let heads = Heads {
            query: split(self.query.forward(x.clone())).swap_dims(2, 3),
            key: split(self.key.forward(x.clone())),
            value: split(self.value.forward(x)).swap_dims(2, 3),
            relative: &self.relative,
        };
        let form = self.weigh.form();
        let switch = form.switch();
        let r = switch.blend();
        if r == 0.0 && heads.query.is_autodiff() {
            form.follow(&heads.detached());
        }
        let polynomial = switch.wanted().then(|| form.weights(&heads, &mut tap.penalties));
        let weights = match polynomial.filter(|_| r > 0.0) {
            Some(weights) if r >= 1.0 => weights,
            Some(weights) => heads.softmax().mul_scalar(1.0 - r) + weights.mul_scalar(r),
            None => heads.softmax(),
        };
        tap.attention.push(weights.clone());
        let mixed = weights.matmul(heads.value.clone());
        self.out.forward(mixed.swap_dims(2, 3).reshape([batch, channels, height, width]))
    }
}

/// `1/√n`.
pub(crate) fn by_root(n: usize) -> f32 {
    1.0 / (n as f32).sqrt()
}

impl Lower for SelfAttention {
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        let form = self.weigh.form();
        form.switch().replaced(&format!("{name}.weigh"), "a softmax")?;
        let shape = graph.shape(x);
        let channels = shape.first().copied().unwrap_or(0);
        let length = shape.iter().skip(1).product();
        let features = channels / self.heads;
        let at = |part: &str| format!("{name}.{part}");
        let [on_query, on_key, on_value] = form.scales(features, length, self.relative.is_causal());
        let project = |graph: &mut GraphBuilder, part: &str, conv: &Conv, factor: f32| {
            let weight = conv.times(&at(part), factor)?;
            let y = graph.conv2d(&at(part), x, weight, None, Conv2dGeometry::new(1, 0))?;
            let y = form.lower_mapped(graph, &at("weigh"), part, y)?;
            let shape = vec![self.heads, features, length];
            Ok::<_, LayerError>(graph.push(&at(&format!("{part}.split")), Op::Reshape { shape }, &[y])?)
        };
        let turned = Op::Transpose { axes: [0, 2, 1] };
        let query = project(graph, "query", &self.query, on_query)?;
        let query = graph.push(&at("query.turned"), turned.clone(), &[query])?;
        let key = project(graph, "key", &self.key, on_key)?;
        let value = project(graph, "value", &self.value, on_value)?;
        let value = graph.push(&at("value.turned"), turned.clone(), &[value])?;
        let mixed = weigh::lower_mixed(form, graph, name, [query, key, value], &self.relative)?;
        let mixed = graph.push(&at("mixed.turned"), turned, &[mixed])?;
        let mixed = graph.push(&at("mixed.joined"), Op::Reshape { shape }, &[mixed])?;
        self.out.lower(graph, &at("out"), mixed)
    }

    fn depth(&self) -> usize {
        // Projections, scores, weights, sum, output.
        4 + self.weigh.form().depth(self.relative.is_causal())
    }
}
