//! Batch norm and input normalisation into the neighbouring convolution or dense layer.
#![expect(clippy::indexing_slicing, reason = "indices follow shapes the builder has checked")]

use super::{Rewriter, Weight, bias_tensor, scale_rows, weights_of};
use crate::interp::valid;
use crate::{ExportError, Graph, Node, Op};

/// `conv/dense → affine` becomes one layer, where nobody else reads the layer: `W' = sW`, `b' = sb + t`.
pub(super) fn into_preceding(graph: &Graph) -> Result<Graph, ExportError> {
    let readers = graph.reader_counts();
    // A layer followed by an affine is emitted at the affine's place, under the layer's name.
    let follower = |id: usize| {
        let node = &graph.nodes[id];
        let is_layer = matches!(node.op, Op::Conv2d { .. } | Op::Linear { .. });
        let reader = graph.nodes.iter().position(|n| n.inputs.iter().any(|i| i.0 == id))?;
        (is_layer && readers[id] == 1 && matches!(graph.nodes[reader].op, Op::Affine { .. }))
            .then_some(reader)
    };
    let mut rewriter = Rewriter::new(graph);
    for (id, node) in graph.iter() {
        if let Some((mut w, mut b)) = weights_of(graph, node)?
            && let Some(affine) = follower(id.0)
        {
            let (scale, shift) = affine_of(graph, &graph.nodes[affine])?;
            scale_rows(&mut w, &mut b, &scale, &shift);
            let (weight, bias) = (w.tensor()?, bias_tensor(node, &b)?);
            let new = rewriter.linear(node, &rewriter.inputs(node), weight, Some(bias))?;
            rewriter.map.push(new);
        } else if matches!(node.op, Op::Affine { .. })
            && let Some(layer) = node.inputs.first()
            && follower(layer.0) == Some(id.0)
        {
            let instead = rewriter.map[layer.0];
            rewriter.skip(instead);
        } else {
            rewriter.copy(node)?;
        }
    }
    rewriter.finish()
}

/// `affine → (flatten →) conv/dense` becomes one layer, where all readers of the affine are such layers and nothing before
/// it could take it (the sample itself, a pool, a sum, a product): `W' = W diag(s)`, `b' = b + W t`. Under zero padding the border sees fewer
/// taps, so the bias becomes one value per position.
pub(super) fn into_following(graph: &Graph) -> Result<Graph, ExportError> {
    let readers =
        |id: usize| graph.nodes.iter().enumerate().filter(move |(_, n)| n.inputs.iter().any(|i| i.0 == id));
    let layers_only =
        |id: usize| readers(id).all(|(_, n)| matches!(n.op, Op::Conv2d { .. } | Op::Linear { .. }));
    let absorbed = |id: usize| {
        let node = &graph.nodes[id];
        let before = node.inputs.first().map(|i| &graph.nodes[i.0].op);
        matches!(node.op, Op::Affine { .. })
            && before.is_some_and(|op| {
                op.only_names()
                    || matches!(op, Op::Input | Op::AvgPool { .. } | Op::Add | Op::Mul | Op::Bias { .. })
            })
            && id != graph.output().0
            && readers(id).all(|(r, n)| match n.op {
                Op::Conv2d { .. } | Op::Linear { .. } => true,
                Op::Flatten => r != graph.output().0 && layers_only(r),
                _ => false,
            })
    };
    // The absorbed affine a layer reads, directly or through a flattening.
    let taken = |node: &Node| {
        let source = node.inputs.first()?.0;
        let through = match graph.nodes[source].op {
            Op::Flatten => graph.nodes[source].inputs.first()?.0,
            _ => source,
        };
        absorbed(through).then_some(through)
    };
    let mut rewriter = Rewriter::new(graph);
    for (id, node) in graph.iter() {
        if absorbed(id.0) {
            let instead = rewriter.map[node.inputs[0].0];
            rewriter.skip(instead);
        } else if let Some((mut w, b)) = weights_of(graph, node)?
            && let Some(source) = taken(node)
        {
            let (mut scale, mut shift) = affine_of(graph, &graph.nodes[source])?;
            let in_shape = &graph.nodes[source].shape;
            if matches!(node.op, Op::Linear { .. }) {
                let plane = in_shape.iter().product::<usize>() / scale.len();
                let repeat =
                    |v: Vec<f64>| v.iter().flat_map(|x| std::iter::repeat_n(*x, plane)).collect::<Vec<f64>>();
                (scale, shift) = (repeat(scale), repeat(shift));
            }
            let b = absorb(node, in_shape, &mut w, b, &scale, &shift);
            let (weight, bias) = (w.tensor()?, bias_tensor(node, &b)?);
            let new = rewriter.linear(node, &rewriter.inputs(node), weight, Some(bias))?;
            rewriter.map.push(new);
        } else {
            rewriter.copy(node)?;
        }
    }
    rewriter.finish()
}

pub(super) fn affine_of(graph: &Graph, node: &Node) -> Result<(Vec<f64>, Vec<f64>), ExportError> {
    match &node.op {
        Op::Affine { scale, shift } => {
            Ok((graph.tensor(node, scale)?.to_f64(), graph.tensor(node, shift)?.to_f64()))
        }
        _ => Ok((Vec::new(), Vec::new())),
    }
}

/// The bias of a layer that takes over `scale·x + shift` on its input, and its weight in place.
fn absorb(
    node: &Node,
    in_shape: &[usize],
    weight: &mut Weight,
    b: Vec<f64>,
    scale: &[f64],
    shift: &[f64],
) -> Vec<f64> {
    if shift.iter().all(|t| *t == 0.0) && weight.scaled(scale) {
        return b;
    }
    let shape = weight.shape.clone();
    let w = weight.each();
    match &node.op {
        Op::Conv2d { geometry: g, .. } => {
            let (co, ci, kh, kw) = (shape[0], shape[1], shape[2], shape[3]);
            let (ho, wo) = (node.shape[1], node.shape[2]);
            let padded = g.padding != [0, 0];
            let positions = if padded || b.len() > co { ho * wo } else { 1 };
            let mut bias: Vec<f64> =
                (0..co * positions).map(|i| if b.len() == co { b[i / positions] } else { b[i] }).collect();
            for o in 0..co {
                for c in 0..ci {
                    let channel = o / (co / g.groups) * ci + c;
                    for ky in 0..kh {
                        for kx in 0..kw {
                            let v = &mut w[((o * ci + c) * kh + ky) * kw + kx];
                            let add = *v * shift[channel];
                            *v *= scale[channel];
                            if positions == 1 {
                                bias[o] += add;
                                continue;
                            }
                            let xs = valid(wo, in_shape[2], kx, g.stride[1], g.padding[1], g.dilation[1]);
                            for y in valid(ho, in_shape[1], ky, g.stride[0], g.padding[0], g.dilation[0]) {
                                bias[o * positions + y * wo..][xs.clone()].iter_mut().for_each(|b| *b += add);
                            }
                        }
                    }
                }
            }
            bias
        }
        _ => {
            let mut bias = b;
            for (row, b) in w.chunks_exact_mut(scale.len()).zip(&mut bias) {
                for ((v, s), t) in row.iter_mut().zip(scale).zip(shift) {
                    *b += *v * t;
                    *v *= s;
                }
            }
            bias
        }
    }
}
