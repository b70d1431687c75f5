//! Seconds of nodes and of their refreshes at a level, counted by running their kernels on nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use hetrain_export::Graph;

use super::program::Step;
use super::refresh::{Refreshing, can_refresh};
use super::steps::Placed;
use crate::HeError;
use crate::ckks::{Held, ParamsLiteral};
use crate::kernels::{self, LinearWeights};
use crate::slots::{CostCounter, CostVec, SlotEvaluator, UnitCosts, reference};

/// Prices of nodes at levels.
pub(super) struct Prices<'a> {
    pub(super) graph: &'a Graph,
    steps: &'a [Placed],
    chain: &'a ParamsLiteral,
    /// Those built in, so that every machine makes the same plan.
    costs: &'a UnitCosts,
    /// Seconds of steps, which nodes that are alike share, at levels that were asked before.
    known: RefCell<BTreeMap<(*const Step, usize, usize), f64>>,
    /// Whether nodes can be refreshed, as far as was asked.
    refreshable: RefCell<BTreeMap<usize, bool>>,
}

impl<'a> Prices<'a> {
    pub(super) fn new(graph: &'a Graph, steps: &'a [Placed], chain: &'a ParamsLiteral) -> Self {
        Self {
            graph,
            steps,
            chain,
            costs: reference(),
            known: RefCell::default(),
            refreshable: RefCell::default(),
        }
    }

    /// Whether a node can be refreshed.
    pub(super) fn can_refresh(&self, id: usize) -> bool {
        *self.refreshable.borrow_mut().entry(id).or_insert_with(|| can_refresh(self.graph, id))
    }

    /// Seconds of refreshing a node's result on one thread.
    pub(super) fn refresh(&self, id: usize, refreshing: &Refreshing) -> f64 {
        let vectors = self.steps.get(id).map_or(1, |(layout, _)| layout.vectors());
        let [one, pair] = [&refreshing.cost.one, &refreshing.cost.pair].map(|work| self.costs.seconds(work));
        pair * (vectors / 2) as f64 + one * (vectors % 2) as f64
    }

    /// Seconds of one node on one thread.
    pub(super) fn node(&self, id: usize, level: usize) -> Result<f64, HeError> {
        let Some(placed) = self.steps.get(id) else { return Ok(0.0) };
        let key = (Arc::as_ptr(&placed.1), placed.0.vectors(), level);
        if let Some(seconds) = self.known.borrow().get(&key) {
            return Ok(*seconds);
        }
        let seconds = self.priced(placed, level)?;
        self.known.borrow_mut().insert(key, seconds);
        Ok(seconds)
    }

    fn priced(&self, (layout, step): &Placed, level: usize) -> Result<f64, HeError> {
        // As large programs hold their weights; for small ones bootstraps are not worth considering, whatever this adds.
        let e = CostCounter::of(self.chain).holding(Held::Coefficients);
        let x = CostVec { level, scale: self.chain.default_scale };
        let each = |f: &dyn Fn() -> Result<(), HeError>| (0..layout.vectors()).try_for_each(|_| f());
        match &**step {
            Step::Linear(map) => {
                let weights = LinearWeights::new(&e, map, level, 1.0, 1.0)?;
                let before = e.tally();
                kernels::linear(&e, &vec![x; map.babies.len()], map, &weights.without_bias())?;
                return Ok(self.costs.seconds(&e.tally().since(&before)));
            }
            Step::Square => each(&|| e.square(&x).map(drop))?,
            Step::Quadratic { .. } => each(&|| {
                let low = e.square(&x)?;
                let by = low.into();
                e.rescale(&e.dot_plain(&[(&low, &by), (&low, &by)])?).map(drop)
            })?,
            Step::Polynomial { poly: p, .. } => {
                each(&|| kernels::polynomial(&e, &x, p, &self.chain.q, self.chain.default_scale).map(drop))?
            }
            Step::Mul => each(&|| e.mul(&x, &x).map(drop))?,
            Step::Scores(tokens) => {
                let x = vec![x; tokens.groups()];
                drop(kernels::scores(&e, &x, &x, tokens)?);
            }
            Step::Mixed { tokens, factors } => {
                // Values lie a level higher, unless that is the top, where the difference does not matter.
                let ahead = usize::from(!factors.is_empty());
                let level = level.min(self.chain.q.len().saturating_sub(1 + ahead));
                let at = |level: usize| self.chain.q.get(level).map_or(1.0, |q| *q as f64);
                let x = CostVec { level, ..x };
                let values = vec![CostVec { level: level + ahead, ..x }; tokens.groups()];
                let scores = vec![x; tokens.groups() * tokens.turns().len()];
                let weights = kernels::mixed_weights(&e, factors, level + ahead, at(level + ahead))?;
                let before = e.tally();
                // Any scale does for counting, as long as it is that of the products.
                drop(kernels::mixed(
                    &e,
                    [&scores, &values],
                    tokens,
                    &weights,
                    x.scale * x.scale / at(level),
                )?);
                return Ok(self.costs.seconds(&e.tally().since(&before)));
            }
            Step::Add | Step::Bias(_) => each(&|| e.add(&x, &x).map(drop))?,
            Step::Input | Step::Alias | Step::Sums { .. } | Step::BiasConst(_) => {}
        }
        Ok(self.costs.seconds(&e.tally()))
    }
}
