//! Affine maps and quadratics of a product of matrices, channel by channel, move into the layer its first operand comes from:
//! `(s·Q)·Kᵀ = s·(Q·Kᵀ)`. What remains is a free addition, and a pure square.
#![expect(clippy::indexing_slicing, reason = "indices follow shapes the builder has checked")]

use std::collections::BTreeMap;

use super::quadratic::{inner, squared};
use super::{Rewriter, affine::affine_of, bias_tensor, scale_rows, weights_of};
use crate::{ExportError, Graph, Op, interp};

/// What is done with a node.
enum Change {
    /// A layer whose rows are multiplied.
    Scaled(Vec<f64>),
    /// An affine map that the layer and the quadratic after it have taken over.
    Gone,
    /// An affine map of which the summand is left.
    Shifted(Vec<f64>),
    /// A quadratic that becomes a square of what is shifted: the summand, and its coefficients.
    Squared(Vec<f64>, Vec<f64>),
}

/// Move the factors of every such map.
pub(super) fn into_operands(graph: &Graph) -> Result<Graph, ExportError> {
    let changes = changes(graph)?;
    let mut rewriter = Rewriter::new(graph);
    for (id, node) in graph.iter() {
        match changes.get(&id.0) {
            Some(Change::Scaled(scale)) => {
                let Some((mut w, mut b)) = weights_of(graph, node)? else { continue };
                scale_rows(&mut w, &mut b, scale, &vec![0.0; scale.len()]);
                let (weight, bias) = (w.tensor()?, bias_tensor(node, &b)?);
                let new = rewriter.linear(node, &rewriter.inputs(node), weight, Some(bias))?;
                rewriter.map.push(new);
            }
            Some(Change::Gone) => {
                let instead = rewriter.inputs(node)[0];
                rewriter.skip(instead);
            }
            Some(Change::Shifted(shift)) => {
                let new = rewriter.bias(&node.name, rewriter.inputs(node)[0], shift)?;
                rewriter.map.push(new);
            }
            Some(Change::Squared(shift, coeffs)) => {
                let x = rewriter.bias(&format!("{}.inner", node.name), rewriter.inputs(node)[0], shift)?;
                let new = squared(&mut rewriter, node, coeffs, x)?;
                rewriter.map.push(new);
            }
            None => rewriter.copy(node)?,
        }
    }
    rewriter.finish()
}

fn changes(graph: &Graph) -> Result<BTreeMap<usize, Change>, ExportError> {
    let readers = graph.reader_counts();
    let reader = |id: usize| {
        let only = graph.nodes.iter().position(|n| n.inputs.iter().any(|i| i.0 == id))?;
        (readers[id] == 1).then_some(only)
    };
    let mut changes = BTreeMap::new();
    for (id, node) in graph.iter() {
        if !matches!(node.op, Op::MatMul { .. }) {
            continue;
        }
        let Some((layer, heads)) = operand(graph, node.inputs[0].0, &readers) else { continue };
        let affine = reader(id.0).filter(|&r| matches!(graph.nodes[r].op, Op::Affine { .. }));
        let quadratic = reader(affine.unwrap_or(id.0)).and_then(|r| match &graph.nodes[r].op {
            Op::Quadratic { coeffs, .. } => Some((r, coeffs)),
            _ => None,
        });
        let channels = node.shape[0];
        let (mut scale, mut shift) = match affine {
            Some(affine) => affine_of(graph, &graph.nodes[affine])?,
            None => (vec![1.0; channels], vec![0.0; channels]),
        };
        let mut last = affine.map(|a| (a, Change::Shifted(shift.clone())));
        if let Some((square, coeffs)) = quadratic {
            let c = graph.tensor(&graph.nodes[square], coeffs)?.to_f64();
            if c.chunks_exact(3).all(|k| k[2] > 0.0) {
                for ((s, t), k) in scale.iter_mut().zip(&mut shift).zip(c.chunks_exact(3)) {
                    let (factor, summand) = inner(k);
                    (*s, *t) = (factor * *s, factor * *t + summand);
                }
                if let Some(affine) = affine {
                    changes.insert(affine, Change::Gone);
                }
                last = Some((square, Change::Squared(shift, c)));
            }
        }
        if let Some((place, change)) = last {
            changes.insert(place, change);
            changes.insert(layer, Change::Scaled(heads.into_iter().map(|h| scale[h]).collect()));
        }
    }
    Ok(changes)
}

/// The layer that an operand only renames, and for each of its channels the channel of the operand it becomes; `None` if somebody
/// else reads it on the way, or a channel falls apart.
fn operand(graph: &Graph, id: usize, readers: &[usize]) -> Option<(usize, Vec<usize>)> {
    let plane = |id: usize| graph.nodes[id].shape.iter().skip(1).product::<usize>();
    let mut at = id;
    let mut order: Vec<usize> = (0..graph.nodes[id].shape.iter().product()).collect();
    loop {
        if readers[at] != 1 {
            return None;
        }
        let node = &graph.nodes[at];
        match node.op {
            Op::Conv2d { .. } => break,
            Op::Reshape { .. } => {}
            Op::Transpose { axes } => {
                let sources = interp::sources(&graph.nodes[node.inputs[0].0].shape, axes);
                order = order.into_iter().map(|e| sources[e]).collect();
            }
            _ => return None,
        }
        at = node.inputs[0].0;
    }
    let mut heads = vec![None; graph.nodes[at].shape[0]];
    for (e, source) in order.into_iter().enumerate() {
        let head = heads[source / plane(at)].get_or_insert(e / plane(id));
        if *head != e / plane(id) {
            return None;
        }
    }
    Some((at, heads.into_iter().collect::<Option<_>>()?))
}
