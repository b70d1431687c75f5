//! `φ(q)·φ(k)/√(dn)`: nothing of weights themselves, a quadratic of queries and one of keys.

use burn::module::Module;
use burn::nn::BatchNorm;
use burn::tensor::Tensor;
use hetrain_export::{GraphBuilder, NodeId};

use super::{Heads, Weighing, by_root};
use crate::norm::batch_norm;
use crate::operator::{Operator, Site, Switch};
use crate::{Activation, LayerError, Lower, WeightInit, pointwise};

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

impl Linear {
    pub(super) fn new(channels: usize, init: &WeightInit) -> Self {
        let quadratic = || Activation::inside(Operator::Attention, channels, init);
        let (query_bn, key_bn) = (batch_norm(channels, init), batch_norm(channels, init));
        Self { query_bn, query: quadratic(), key_bn, key: quadratic() }
    }
}

impl Weighing for Linear {
    fn switch(&self) -> &Switch {
        self.query.switch()
    }

    fn switches_mut(&mut self) -> Vec<&mut Switch> {
        vec![self.query.switch_mut(), self.key.switch_mut()]
    }

    fn sites<'a>(&'a self, name: &str, out: &mut Vec<Site<'a>>) {
        out.extend([self.query.site(format!("{name}.query")), self.key.site(format!("{name}.key"))]);
    }

    fn follow(&self, heads: &Heads<'_>) {
        let (query, key) = joined(heads);
        pointwise::follow(&self.query_bn, query);
        pointwise::follow(&self.key_bn, key);
    }

    fn weights(&self, heads: &Heads<'_>, penalties: &mut Vec<Tensor<1>>) -> Tensor<4> {
        let [batch, count, length, features] = heads.query.dims();
        let (query, key) = joined(heads);
        let query = self.query.polynomial(pointwise::batch_norm(&self.query_bn, query), penalties);
        let key = self.key.polynomial(pointwise::batch_norm(&self.key_bn, key), penalties);
        let split = |x: Tensor<3>| x.reshape([batch, count, features, length]);
        let weights = split(query).swap_dims(2, 3).matmul(split(key));
        heads.weighted(weights.mul_scalar(by_root(features)), false)
    }

    fn scales(&self, features: usize, _length: usize, _causal: bool) -> [f32; 3] {
        [1.0, 1.0, by_root(features)]
    }

    fn lower_mapped(
        &self,
        graph: &mut GraphBuilder,
        name: &str,
        part: &str,
        x: NodeId,
    ) -> Result<NodeId, LayerError> {
        let (bn, act) = match part {
            "query" => (&self.query_bn, &self.query),
            "key" => (&self.key_bn, &self.key),
            _ => return Ok(x),
        };
        let x = bn.lower(graph, &format!("{name}.{part}_bn"), x)?;
        act.lower_polynomial(graph, &format!("{name}.{part}"), x)
    }

    fn lower_weights(
        &self,
        _graph: &mut GraphBuilder,
        _name: &str,
        scores: NodeId,
    ) -> Result<NodeId, LayerError> {
        Ok(scores)
    }
}

/// Queries and keys of all heads, `[batch, channels, L]`.
fn joined(heads: &Heads<'_>) -> (Tensor<3>, Tensor<3>) {
    let [batch, count, length, features] = heads.query.dims();
    let joined = |x: Tensor<4>| x.reshape([batch, count * features, length]);
    (joined(heads.query.clone().swap_dims(2, 3)), joined(heads.key.clone()))
}
