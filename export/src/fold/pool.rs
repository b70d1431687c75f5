//! `average pool → flatten → dense` becomes one dense layer: the pool is linear and its `1/k²` belongs in the matrix.
#![expect(clippy::indexing_slicing, reason = "indices follow shapes the builder has checked")]

use super::{Rewriter, weights_of};
use crate::{ExportError, Graph, NodeId, Op, Tensor};

/// Merge every such chain in which nobody else reads the pool or the flattening.
pub(super) fn into_linear(graph: &Graph) -> Result<Graph, ExportError> {
    let readers = graph.reader_counts();
    let chain = |dense: usize| -> Option<(usize, usize)> {
        let flat = graph.nodes[dense].inputs.first()?.0;
        let pool = graph.nodes[flat].inputs.first()?.0;
        let fits = matches!(graph.nodes[dense].op, Op::Linear { .. })
            && graph.nodes[flat].op == Op::Flatten
            && matches!(graph.nodes[pool].op, Op::AvgPool { .. })
            && readers[flat] == 1
            && readers[pool] == 1;
        fits.then_some((pool, flat))
    };
    let chains: Vec<Option<(usize, usize)>> =
        (0..graph.nodes.len()).map(|i| graph.nodes[i].inputs.first().and(chain(i))).collect();
    let pooled = |i: usize| chains.iter().flatten().any(|&(pool, _)| pool == i);
    let mut rewriter = Rewriter::new(graph);
    for (id, node) in graph.iter() {
        if pooled(id.0) {
            let instead = rewriter.map[node.inputs[0].0];
            rewriter.skip(instead);
        } else if let Some((pool, _)) = chains[id.0]
            && let Some((mut weight, b)) = weights_of(graph, node)?
            && let Op::AvgPool { kernel, stride } = graph.nodes[pool].op
        {
            let (from, to) = (&graph.nodes[graph.nodes[pool].inputs[0].0].shape, &graph.nodes[pool].shape);
            let shape = weight.shape.clone();
            let w = weight.each();
            let (rows, columns) = (shape[0], from.iter().product::<usize>());
            let mut spread = vec![0.0; rows * columns];
            let share = 1.0 / (kernel[0] * kernel[1]) as f64;
            for r in 0..rows {
                for (i, v) in w[r * shape[1]..(r + 1) * shape[1]].iter().enumerate() {
                    let (c, y, x) = (i / (to[1] * to[2]), i / to[2] % to[1], i % to[2]);
                    for ky in 0..kernel[0] {
                        for kx in 0..kernel[1] {
                            let (yy, xx) = (y * stride[0] + ky, x * stride[1] + kx);
                            spread[r * columns + (c * from[1] + yy) * from[2] + xx] += v * share;
                        }
                    }
                }
            }
            let inputs: Vec<NodeId> = rewriter.inputs(node);
            let weight = Tensor::from_f64([rows, columns], &spread)?;
            let new = rewriter.linear(node, &inputs, weight, Some(Tensor::from_f64([rows], &b)?))?;
            rewriter.map.push(new);
        } else {
            rewriter.copy(node)?;
        }
    }
    rewriter.finish()
}
