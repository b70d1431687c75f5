//! `e^(−‖q−k‖²/2√d)/√n` by a polynomial: no weight is greater than 1.

use burn::module::Module;
use burn::tensor::Tensor;
use hetrain_export::{GraphBuilder, NodeId, Op};

use super::{Heads, Weighing, by_root};
use crate::operator::{Operator, Site, Switch};
use crate::{Activation, Function, LayerError, Lower};

/// Degree of the exponential: four levels, within 6e-7 for distances up to 16, 3e-4 up to 32.
pub(crate) const DECAY_DEGREE: usize = 15;

/// A Gaussian of distances.
#[derive(Module, Debug)]
pub struct Gaussian {
    /// The exponential.
    pub decay: Activation,
}

impl Gaussian {
    pub(super) fn new(heads: usize) -> Self {
        Self { decay: Activation::fixed(Operator::Attention, Function::Decay, DECAY_DEGREE, heads) }
    }

    /// `‖q − k‖²/2√d`, `[batch, heads, L, L]`.
    fn distances(&self, heads: &Heads<'_>, penalties: &mut Vec<Tensor<1>>) -> Tensor<4> {
        let [.., features] = heads.query.dims();
        let spread = 0.5 * by_root(features);
        let norm = |x: &Tensor<4>, axis: usize| (x.clone() * x.clone()).sum_dim(axis).mul_scalar(spread);
        let (query, key) = (norm(&heads.query, 3), norm(&heads.key, 2));
        // Encrypted, there are slots of no query, where only a key is, and what a position may not look at is at the origin: both must stay
        // in the interval too.
        self.decay.probe().watch(&key, penalties);
        if heads.relative.is_causal() {
            self.decay.probe().watch(&query, penalties);
        }
        query + key - heads.scores()
    }
}

impl Weighing for Gaussian {
    fn switch(&self) -> &Switch {
        self.decay.switch()
    }

    fn switches_mut(&mut self) -> Vec<&mut Switch> {
        vec![self.decay.switch_mut()]
    }

    fn sites<'a>(&'a self, name: &str, out: &mut Vec<Site<'a>>) {
        out.push(self.decay.site(format!("{name}.decay")));
    }

    fn follow(&self, _heads: &Heads<'_>) {}

    fn weights(&self, heads: &Heads<'_>, penalties: &mut Vec<Tensor<1>>) -> Tensor<4> {
        let distances = self.distances(heads, penalties);
        heads.weighted(self.decay.polynomial(distances, penalties), false)
    }

    fn scales(&self, features: usize, _length: usize, _causal: bool) -> [f32; 3] {
        let spread = (2.0 * (features as f32).sqrt()).sqrt().recip();
        [spread, spread, 1.0]
    }

    fn product(&self, causal: bool) -> Op {
        Op::Distance { causal }
    }

    fn lower_weights(
        &self,
        graph: &mut GraphBuilder,
        name: &str,
        scores: NodeId,
    ) -> Result<NodeId, LayerError> {
        self.decay.lower_polynomial(graph, &format!("{name}.decay"), scores)
    }

    fn depth(&self, _causal: bool) -> usize {
        self.decay.depth()
    }
}
