//! Which scale every node's result has: as large as its values leave room for, and where results meet or are bootstrapped, the one they must have.

use std::collections::BTreeSet;

use hetrain_export::{Graph, Node, Op};

use super::facts::Facts;
use super::levels::Levels;
use super::noise::{HEADROOM, Nominal, Predicted};
use super::sine::Refresh;
use crate::HeError;

/// What scales are chosen by.
#[derive(Clone, Copy)]
pub(super) struct Scaling<'a> {
    pub(super) graph: &'a Graph,
    pub(super) facts: &'a [Facts],
    pub(super) levels: &'a [Levels],
    pub(super) chain: &'a Nominal,
}

#[expect(clippy::indexing_slicing, reason = "facts, levels and nodes have one entry per node")]
impl Scaling<'_> {
    /// The prime a rescaling at `level` divides by.
    pub(super) fn q(&self, level: usize) -> Result<f64, HeError> {
        self.chain.primes.get(level).copied().ok_or(HeError::NoLevelLeft { level })
    }

    /// Bits of the modulus of `level`.
    pub(super) fn log_q(&self, level: usize) -> f64 {
        self.chain.primes.iter().take(level + 1).map(|p| p.log2()).sum()
    }

    /// The scale a node that can choose gives its result.
    pub(super) fn free(&self, id: usize) -> Result<f64, HeError> {
        let (chain, bound) = (self.chain, self.facts[id].bound);
        if let Some(scale) = self.refreshed(id) {
            return Ok(scale);
        }
        let limit = match next_square(self.graph, id) {
            // A square right at the bottom must still fit q_0.
            Some(s) if self.levels[s].result == 0 => {
                0.5 * (self.q(self.levels[s].operands)?.log2() + self.log_q(0) - HEADROOM.log2() - 1.0)
            }
            _ => self.log_q(self.levels[id].result) - HEADROOM.log2() - 1.0,
        };
        Ok(match polynomial_reach(self.graph, id) {
            Some(reach) => chain.scale_bits.min(limit).exp2() / reach,
            None => chain.amplitude.min(limit).exp2() / bound,
        })
    }

    /// The scale a layer gives its result: that of what it is added to, else what the square behind it needs, else its own choice.
    pub(super) fn of_layer(&self, id: usize, known: &[Predicted]) -> Result<f64, HeError> {
        if let Some(scale) = partner_scale(self.graph, id, known) {
            return Ok(scale);
        }
        self.before_square(id, known)?.map_or_else(|| self.free(id), Ok)
    }

    /// The scale of a layer whose square must have a scale that it cannot choose.
    fn before_square(&self, id: usize, known: &[Predicted]) -> Result<Option<f64>, HeError> {
        let Some(square) = next_square(self.graph, id) else { return Ok(None) };
        if !matches!(self.graph.nodes()[square].op, Op::Square { .. }) {
            return Ok(None);
        }
        let must = partner_scale(self.graph, square, known).or_else(|| self.refreshed(square));
        must.map(|scale| Ok((scale * self.q(self.levels[square].operands)?).sqrt())).transpose()
    }

    /// The scale at which a bootstrap takes the node's result.
    fn refreshed(&self, id: usize) -> Option<f64> {
        let bound = refreshed_bound(self.graph, self.facts, self.levels, id)?;
        Some(self.chain.refresh?.scale / Refresh::divisor(bound))
    }
}

/// The largest bound of the bootstrapped nodes that must have the same scale as `id`.
pub(super) fn refreshed_bound(graph: &Graph, facts: &[Facts], levels: &[Levels], id: usize) -> Option<f64> {
    let refreshed = |id: &usize| levels.get(*id).is_some_and(|l| l.refreshed);
    let bounds = same_scales(graph, id).into_iter().filter(refreshed).filter_map(|id| facts.get(id));
    bounds.map(|f| f.bound).reduce(f64::max)
}

/// The nodes whose scale is that of `id`, because they are added to it or are it under another name: around residual blocks, the
/// whole way through a network.
pub(super) fn same_scales(graph: &Graph, id: usize) -> BTreeSet<usize> {
    let (mut found, mut open) = (BTreeSet::from([id]), vec![id]);
    let follows = |node: &Node| node.op == Op::Add || passes(&node.op);
    while let Some(id) = open.pop() {
        let inputs = graph.nodes().get(id).filter(|n| follows(n)).into_iter().flat_map(|n| &n.inputs);
        let readers = graph.iter().filter(|(_, n)| follows(n) && n.inputs.iter().any(|i| i.0 == id));
        for next in inputs.map(|i| i.0).chain(readers.map(|(reader, _)| reader.0)) {
            if found.insert(next) {
                open.push(next);
            }
        }
    }
    found
}

/// The reach of the polynomial that reads `id`, directly or through nodes that only rename or shift.
fn polynomial_reach(graph: &Graph, id: usize) -> Option<f64> {
    let (reader, node) =
        graph.nodes().iter().enumerate().find(|(_, n)| n.inputs.iter().any(|i| i.0 == id))?;
    match &node.op {
        Op::Polynomial { poly } => Some(poly.interval().max_abs()),
        op if passes(op) => polynomial_reach(graph, reader),
        _ => None,
    }
}

/// Nodes that only rename or shift.
pub(super) fn passes(op: &Op) -> bool {
    op.only_names() || matches!(op, Op::Bias { .. })
}

/// The square or product that reads `id`, directly or through nodes that only rename or shift.
fn next_square(graph: &Graph, id: usize) -> Option<usize> {
    let (reader, node) =
        graph.nodes().iter().enumerate().find(|(_, n)| n.inputs.iter().any(|i| i.0 == id))?;
    match &node.op {
        Op::Square { .. } | Op::Mul | Op::MatMul { .. } | Op::Distance { .. } => Some(reader),
        op if passes(op) => next_square(graph, reader),
        _ => None,
    }
}

/// If `id` ends in an addition whose other operand already has a scale: that scale, so that the two can be added.
pub(super) fn partner_scale(graph: &Graph, id: usize, known: &[Predicted]) -> Option<f64> {
    graph.nodes().iter().enumerate().find_map(|(reader, node)| {
        if !node.inputs.iter().any(|i| i.0 == id) {
            None
        } else if matches!(node.op, Op::Add | Op::Distance { .. }) {
            let other = node.inputs.iter().find(|i| i.0 != id)?;
            known.get(other.0).map(|p| p.scale)
        } else if passes(&node.op) {
            partner_scale(graph, reader, known)
        } else {
            None
        }
    })
}
