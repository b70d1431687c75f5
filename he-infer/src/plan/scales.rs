//! Which scale every node's result has: as large as its values leave room for, and where results meet or are bootstrapped, the one they must have.

use std::collections::{BTreeMap, BTreeSet};

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
    let mut found = BTreeSet::from([id]);
    let follows = |node: &Node| node.op == Op::Add || passes(&node.op);
    loop {
        let before = found.len();
        // There and back, until nothing is new: chains of any length are found in one round.
        let nodes = || graph.nodes().iter().enumerate().filter(|(_, n)| follows(n));
        for (id, node) in nodes().chain(nodes().rev()) {
            let all = || node.inputs.iter().map(|i| i.0).chain([id]);
            if all().any(|id| found.contains(&id)) {
                found.extend(all());
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// The first node that reads `id`, directly or through first readers that only rename or shift. One way through the nodes: readers
/// come after what they read.
fn first_reader(graph: &Graph, id: usize) -> Option<(usize, &Node)> {
    let mut at = id;
    for (reader, node) in graph.nodes().iter().enumerate().skip(id + 1) {
        if node.inputs.iter().any(|i| i.0 == at) {
            if !passes(&node.op) {
                return Some((reader, node));
            }
            at = reader;
        }
    }
    None
}

/// The reach of the polynomial that reads `id`, directly or through nodes that only rename or shift.
fn polynomial_reach(graph: &Graph, id: usize) -> Option<f64> {
    match &first_reader(graph, id)?.1.op {
        Op::Polynomial { poly } => Some(poly.interval().max_abs()),
        _ => None,
    }
}

/// Nodes that only rename or shift.
pub(super) fn passes(op: &Op) -> bool {
    op.only_names() || matches!(op, Op::Bias { .. })
}

/// The square or product that reads `id`, directly or through nodes that only rename or shift.
fn next_square(graph: &Graph, id: usize) -> Option<usize> {
    let (reader, node) = first_reader(graph, id)?;
    matches!(node.op, Op::Square { .. } | Op::Mul | Op::MatMul { .. } | Op::Distance { .. }).then_some(reader)
}

/// All readers of `id` and of what only renames or shifts it, by what they read.
fn all_readers(graph: &Graph, id: usize) -> BTreeMap<usize, Vec<usize>> {
    let mut found = BTreeMap::from([(id, Vec::new())]);
    for (reader, node) in graph.nodes().iter().enumerate().skip(id + 1) {
        for input in &node.inputs {
            if let Some(readers) = found.get_mut(&input.0) {
                readers.push(reader);
                if passes(&node.op) {
                    found.insert(reader, Vec::new());
                }
            }
        }
    }
    found
}

/// If `id` ends in an addition whose other operand already has a scale: that scale, so that the two can be added.
pub(super) fn partner_scale(graph: &Graph, id: usize, known: &[Predicted]) -> Option<f64> {
    let readers = all_readers(graph, id);
    // What lies behind a reader comes before the next one; a stack of our own, since there may be any number of them.
    let behind = |id: usize| readers.get(&id).into_iter().flatten().rev().map(move |&reader| (id, reader));
    let mut open: Vec<(usize, usize)> = behind(id).collect();
    while let Some((from, reader)) = open.pop() {
        let Some(node) = graph.nodes().get(reader) else { continue };
        if matches!(node.op, Op::Add | Op::Distance { .. }) {
            let other = node.inputs.iter().find(|i| i.0 != from).and_then(|other| known.get(other.0));
            if let Some(other) = other {
                return Some(other.scale);
            }
        }
        open.extend(behind(reader));
    }
    None
}

#[cfg(test)]
mod tests {
    use hetrain_export::{GraphBuilder, Interval, Tensor};

    use super::super::deviation::Deviations;
    use super::*;

    #[test]
    fn chains_that_only_rename_may_have_any_length() {
        const LENGTH: usize = 100_000;
        let mut b = GraphBuilder::default();
        let x = b.input("x", &[2]).unwrap();
        b.add_tensor("shift", Tensor::new([2], vec![1.0; 2]).unwrap()).unwrap();
        let weight = || Tensor::new([2, 2], vec![1.0; 4]).unwrap();
        let around = b.linear("around", x, weight(), None).unwrap();
        let layer = b.linear("layer", x, weight(), None).unwrap();
        let mut end = layer;
        for i in 0..LENGTH {
            let op = match i % 2 {
                0 => Op::Bias { shift: "shift".into() },
                _ => Op::Reshape { shape: vec![2] },
            };
            end = b.push(&format!("chain{i}"), op, &[end]).unwrap();
        }
        let sum = b.push("sum", Op::Add, &[end, around]).unwrap();
        let moved = b.push("moved", Op::Bias { shift: "shift".into() }, &[sum]).unwrap();
        b.push("square", Op::Square { intervals: vec![Interval::new(-9.0, 9.0).unwrap()] }, &[moved])
            .unwrap();
        let graph = b.finish().unwrap();
        assert_eq!(next_square(&graph, layer.0), None, "a sum comes first");
        assert_eq!(next_square(&graph, sum.0), Some(moved.0 + 1));
        let none = Deviations::default;
        let known = |scale| Predicted { scale, errors: none(), read: none(), reach: 1.0, fits: true };
        assert_eq!(partner_scale(&graph, layer.0, &[1.0, 3.0].map(known)), Some(3.0));
        assert_eq!(partner_scale(&graph, layer.0, &[1.0].map(known)), None);
        assert_eq!(same_scales(&graph, layer.0).len(), LENGTH + 4, "the chain, both layers, the sum, moved");
    }
}
