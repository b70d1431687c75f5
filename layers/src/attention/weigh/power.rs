//! `f²·p(ε + mean f²)/n`: the square of a quadratic of scores, divided by its mean through a polynomial.

use burn::module::Module;
use burn::nn::BatchNorm;
use burn::tensor::Tensor;
use hetrain_export::{GraphBuilder, NodeId, Op, Tensor as GraphTensor};

use super::{Heads, Relative, Weighing, by_root};
use crate::lower::to_host;
use crate::norm::batch_norm;
use crate::operator::{Operator, Site, Switch};
use crate::{Activation, Function, LayerError, Lower, WeightInit, pointwise};

/// Added to the mean of squares, which is 0.5 for normal scores and the quadratic nearest to ReLU: it bounds the quotient, and the interval
/// of the division.
pub(crate) const EPSILON: f64 = 0.04;
/// Degree of the division: five levels, within 0.4 % of the value over a factor of 100.
pub(crate) const INVERSE_DEGREE: usize = 31;

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

impl Power {
    pub(super) fn new(heads: usize, init: &WeightInit) -> Self {
        Self {
            bn: batch_norm(heads, init),
            act: Activation::inside(Operator::Attention, heads, init),
            inverse: Activation::fixed(Operator::Attention, Function::Inverse, INVERSE_DEGREE, heads),
        }
    }
}

impl Weighing for Power {
    fn switch(&self) -> &Switch {
        self.act.switch()
    }

    fn switches_mut(&mut self) -> Vec<&mut Switch> {
        vec![self.act.switch_mut(), self.inverse.switch_mut()]
    }

    fn sites<'a>(&'a self, name: &str, out: &mut Vec<Site<'a>>) {
        out.extend([self.act.site(format!("{name}.act")), self.inverse.site(format!("{name}.inverse"))]);
    }

    fn follow(&self, heads: &Heads<'_>) {
        pointwise::follow(&self.bn, heads.scores());
    }

    fn weights(&self, heads: &Heads<'_>, penalties: &mut Vec<Tensor<1>>) -> Tensor<4> {
        let z = pointwise::batch_norm(&self.bn, heads.scores());
        let root = self.act.polynomial(z, penalties);
        let power = heads.weighted(root.clone() * root, true);
        let mean = power.clone().sum_dim(3) / heads.relative.counts();
        let by = self.inverse.polynomial(mean.add_scalar(EPSILON), penalties);
        power * (by / heads.relative.counts())
    }

    fn scales(&self, features: usize, length: usize, causal: bool) -> [f32; 3] {
        // Behind a mask every row has its own number of positions, which the divisor holds.
        [by_root(features), 1.0, if causal { 1.0 } else { 1.0 / length as f32 }]
    }

    fn divides(&self) -> bool {
        true
    }

    fn lower_weights(
        &self,
        graph: &mut GraphBuilder,
        name: &str,
        scores: NodeId,
    ) -> Result<NodeId, LayerError> {
        let x = self.bn.lower(graph, &format!("{name}.bn"), scores)?;
        let x = self.act.lower_polynomial(graph, &format!("{name}.act"), x)?;
        Ok(graph.push(&format!("{name}.power"), Op::Mul, &[x, x])?)
    }

    /// `1/(ε + mean)` by the polynomial; behind a mask also over the number of positions.
    fn lower_divisor(
        &self,
        graph: &mut GraphBuilder,
        name: &str,
        weights: NodeId,
        relative: &Relative,
    ) -> Result<Option<NodeId>, LayerError> {
        let means = relative.factors(true) / relative.counts();
        let [_, heads, length, _] = means.dims();
        let weight = format!("{name}.mean.weight");
        graph.add_tensor(&weight, GraphTensor::new([heads, length, length], to_host(name, means)?)?)?;
        let mean = graph.push(&format!("{name}.mean"), Op::RowSum { weight }, &[weights])?;
        let shift = format!("{name}.epsilon");
        graph.add_tensor(&shift, GraphTensor::from_f64([heads], &vec![EPSILON; heads])?)?;
        let mean = graph.push(&shift, Op::Bias { shift: shift.clone() }, &[mean])?;
        let by = self.inverse.lower_polynomial(graph, &format!("{name}.inverse"), mean)?;
        if !relative.is_causal() {
            return Ok(Some(by));
        }
        // Over the number of positions, which differs from row to row; elsewhere the values have the factor.
        let counts = to_host(name, relative.counts().recip())?;
        let weight = format!("{name}.count.weight");
        graph.add_tensor(&weight, GraphTensor::new([length, 1], counts)?)?;
        Ok(Some(graph.push(&format!("{name}.count"), Op::RowSum { weight }, &[by])?))
    }

    fn depth(&self, causal: bool) -> usize {
        // Two squares, the mean, the division, which the product with the values waits for; the product with it takes that one's place.
        2 + 1 + self.inverse.depth() + usize::from(causal)
    }
}
