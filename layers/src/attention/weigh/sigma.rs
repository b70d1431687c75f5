//! `f(BN(s))/√n`: a quadratic of scores, not divided.

use burn::module::Module;
use burn::nn::BatchNorm;
use burn::tensor::Tensor;
use hetrain_export::{GraphBuilder, NodeId};

use super::{Heads, Weighing};
use crate::norm::batch_norm;
use crate::operator::{Operator, Site, Switch};
use crate::{Activation, LayerError, Lower, WeightInit, pointwise};

/// A trained quadratic of normalised scores.
#[derive(Module, Debug)]
pub struct Sigma {
    /// Normalisation of scores, per head.
    pub bn: BatchNorm,
    /// The quadratic, per head.
    pub act: Activation,
}

impl Sigma {
    pub(super) fn new(heads: usize, init: &WeightInit) -> Self {
        Self { bn: batch_norm(heads, init), act: Activation::inside(Operator::Attention, heads, init) }
    }
}

impl Weighing for Sigma {
    fn switch(&self) -> &Switch {
        self.act.switch()
    }

    fn switches_mut(&mut self) -> Vec<&mut Switch> {
        vec![self.act.switch_mut()]
    }

    fn sites<'a>(&'a self, name: &str, out: &mut Vec<Site<'a>>) {
        out.push(self.act.site(format!("{name}.act")));
    }

    fn follow(&self, heads: &Heads<'_>) {
        pointwise::follow(&self.bn, heads.scores());
    }

    fn weights(&self, heads: &Heads<'_>, penalties: &mut Vec<Tensor<1>>) -> Tensor<4> {
        let scores = pointwise::batch_norm(&self.bn, heads.scores());
        heads.weighted(self.act.polynomial(scores, penalties), false)
    }

    fn lower_weights(
        &self,
        graph: &mut GraphBuilder,
        name: &str,
        scores: NodeId,
    ) -> Result<NodeId, LayerError> {
        let x = self.bn.lower(graph, &format!("{name}.bn"), scores)?;
        self.act.lower_polynomial(graph, &format!("{name}.act"), x)
    }
}
