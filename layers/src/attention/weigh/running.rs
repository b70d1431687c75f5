//! `(s + c)²/r√n`: a shifted square over what its sums are on average.

use burn::module::{Module, Param, RunningState};
use burn::tensor::Tensor;
use hetrain_export::{GraphBuilder, NodeId, Tensor as GraphTensor};

use super::{Heads, Weighing};
use crate::lower::to_host;
use crate::norm::moved;
use crate::operator::{Operator, Site, Source, Switch};
use crate::{LayerError, WeightInit};

/// What is added to scores before they are squared, at first.
const SHIFT: f32 = 2.0;

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

impl RunningSum {
    pub(super) fn new(heads: usize, init: &WeightInit) -> Self {
        Self {
            shift: init.constant(heads, SHIFT),
            running_sum: RunningState::new(Tensor::full([heads], 1.0, init.device())),
            switch: Switch::new(Operator::Attention, heads),
        }
    }

    /// `(s + c)²` with factors.
    fn shifted(&self, heads: &Heads<'_>, scores: Tensor<4>, shift: Tensor<1>) -> Tensor<4> {
        let count = scores.dims()[1];
        let shifted = scores + shift.reshape([1, count, 1, 1]);
        heads.weighted(shifted.clone() * shifted, false)
    }

    /// Their mean sums over keys, `[heads]`.
    fn sums(&self, squares: &Tensor<4>) -> Tensor<1> {
        squares.clone().sum_dim(3).mean_dim(2).mean_dim(0).reshape([squares.dims()[1]])
    }
}

impl Weighing for RunningSum {
    fn switch(&self) -> &Switch {
        &self.switch
    }

    fn switches_mut(&mut self) -> Vec<&mut Switch> {
        vec![&mut self.switch]
    }

    fn sites<'a>(&'a self, name: &str, out: &mut Vec<Site<'a>>) {
        out.push(Site { name: name.into(), switch: &self.switch, polynomial: Source::Nothing });
    }

    fn follow(&self, heads: &Heads<'_>) {
        moved(&self.running_sum, self.sums(&self.shifted(heads, heads.scores(), self.shift.val().detach())));
    }

    /// By the batch's sums while training, by the running ones elsewhere.
    fn weights(&self, heads: &Heads<'_>, penalties: &mut Vec<Tensor<1>>) -> Tensor<4> {
        let scores = heads.scores();
        let limit = self.switch.probe().watch(&scores, penalties);
        let scores = limit.map_or(scores.clone(), |limit| scores.clamp(-limit, limit));
        let squares = self.shifted(heads, scores, self.shift.val());
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

    fn lower_weights(
        &self,
        graph: &mut GraphBuilder,
        name: &str,
        scores: NodeId,
    ) -> Result<NodeId, LayerError> {
        let shift = to_host(name, self.shift.val())?;
        let sum = to_host(name, self.running_sum.value_sync())?;
        let rows = shift.iter().zip(&sum).flat_map(|(&c, &r)| [c * c / r, 2.0 * c / r, 1.0 / r]);
        let coeffs = GraphTensor::new([shift.len(), 3], rows.collect::<Vec<f32>>())?;
        Ok(graph.quadratic(name, scores, coeffs, vec![self.switch.probe().interval()])?)
    }
}
