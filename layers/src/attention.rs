//! Self-attention whose scores pass an activation instead of a softmax (sigma-attention), so that no division is left.
//!
//! ```text
//! A = σ(BN(Q·Kᵀ/√k))·V/√L        per head, L positions, k features
//! ```
//! The factor `1/√L` keeps the sum of `L` weighted values at the size of one; batch norm over heads keeps scores inside the
//! interval of σ, which is ReLU at first and a quadratic per head in the end, like every [`Activation`]. Positions are the
//! pixels of a map, features its channels.
//!
//! With a mask, batch norm still takes its training statistics from all scores, those of later positions included: from moments, not from
//! values.
//!
//! Five levels: projections, scores, σ, sum, output. Norms, `1/√k` and the affine part of the quadratic fold into the queries'
//! projection, `1/√L` into that of the values.

use burn::module::Module;
use burn::nn::BatchNorm;
use burn::tensor::Tensor;
use hetrain_export::{Conv2dGeometry, GraphBuilder, NodeId, Op};

use crate::lower::to_graph;
use crate::norm::batch_norm;
use crate::pointwise;
use crate::{Activation, Conv, LayerError, Lower, WeightInit};

/// Attention of every pixel of a map to every other.
#[derive(Module, Debug)]
pub struct SelfAttention {
    /// Queries.
    pub query: Conv,
    /// Keys.
    pub key: Conv,
    /// Values.
    pub value: Conv,
    /// Normalisation of scores, per head.
    pub bn: BatchNorm,
    /// What weighs values: an activation of the scores, per head.
    pub act: Activation,
    /// Output.
    pub out: Conv,
    /// Heads.
    pub heads: usize,
    /// Whether a position sees only itself and those before it.
    pub causal: bool,
}

impl SelfAttention {
    /// `heads` heads that share `channels` channels.
    pub fn new(channels: usize, heads: usize, causal: bool, init: &mut WeightInit) -> Self {
        let mut project = || Conv::new([channels; 2], 1, 1, 0, init);
        let (query, key, value, out) = (project(), project(), project(), project());
        let (bn, act) = (batch_norm(heads, init), Activation::new(heads, init));
        Self { query, key, value, bn, act, out, heads, causal }
    }

    /// Apply; see [`Activation::forward`] for `penalties`.
    ///
    /// # Shapes
    /// - input and output `[batch, channels, height, width]`
    pub fn forward(&self, x: Tensor<4>, penalties: &mut Vec<Tensor<1>>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let (features, length) = (channels / self.heads, height * width);
        let split = |x: Tensor<4>| x.reshape([batch, self.heads, features, length]);
        let query = split(self.query.forward(x.clone())).swap_dims(2, 3);
        let key = split(self.key.forward(x.clone()));
        let value = split(self.value.forward(x)).swap_dims(2, 3);
        let scores = query.matmul(key).mul_scalar(by_root(features));
        let weights = self.act.forward(pointwise::batch_norm(&self.bn, scores), penalties);
        let weights = if self.causal {
            let mask = Tensor::<2>::ones([length, length], &weights.device()).tril(0);
            weights * mask.unsqueeze()
        } else {
            weights
        };
        let mixed = weights.matmul(value).mul_scalar(by_root(length));
        self.out.forward(mixed.swap_dims(2, 3).reshape([batch, channels, height, width]))
    }
}

/// `1/√n`.
fn by_root(n: usize) -> f32 {
    1.0 / (n as f32).sqrt()
}

/// A 1x1 convolution with all weights multiplied by `factor`.
fn scaled(
    graph: &mut GraphBuilder,
    name: &str,
    conv: &Conv,
    factor: f32,
    x: NodeId,
) -> Result<NodeId, LayerError> {
    let weight = to_graph(name, conv.weight.val().mul_scalar(factor))?;
    Ok(graph.conv2d(name, x, weight, None, Conv2dGeometry::new(1, 0))?)
}

impl Lower for SelfAttention {
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        let shape = graph.shape(x);
        let channels = shape.first().copied().unwrap_or(0);
        let length = shape.iter().skip(1).product();
        let features = channels / self.heads;
        let at = |part: &str| format!("{name}.{part}");
        let split = |graph: &mut GraphBuilder, part: &str, conv: &Conv, factor: f32| {
            let y = scaled(graph, &at(part), conv, factor, x)?;
            let shape = vec![self.heads, features, length];
            Ok::<_, LayerError>(graph.push(&at(&format!("{part}.split")), Op::Reshape { shape }, &[y])?)
        };
        let turned = Op::Transpose { axes: [0, 2, 1] };
        let query = split(graph, "query", &self.query, by_root(features))?;
        let query = graph.push(&at("query.turned"), turned.clone(), &[query])?;
        let key = split(graph, "key", &self.key, 1.0)?;
        let value = split(graph, "value", &self.value, by_root(length))?;
        let value = graph.push(&at("value.turned"), turned.clone(), &[value])?;
        let scores = graph.push(&at("scores"), Op::MatMul { causal: self.causal }, &[query, key])?;
        let scores = self.bn.lower(graph, &at("bn"), scores)?;
        let weights = self.act.lower(graph, &at("act"), scores)?;
        let weights = match self.causal {
            true => graph.push(&at("causal"), Op::Causal, &[weights])?,
            false => weights,
        };
        let mixed = graph.push(&at("mixed"), Op::MatMul { causal: false }, &[weights, value])?;
        let mixed = graph.push(&at("mixed.turned"), turned, &[mixed])?;
        let mixed = graph.push(&at("mixed.joined"), Op::Reshape { shape }, &[mixed])?;
        self.out.lower(graph, &at("out"), mixed)
    }

    fn depth(&self) -> usize {
        5
    }
}
