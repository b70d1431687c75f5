//! A quadratic as one pure squaring (`training-methods`: any quadratic costs exactly one product).
#![expect(clippy::indexing_slicing, reason = "indices follow shapes the builder has checked")]

use std::collections::BTreeMap;

use super::{Rewriter, bias_tensor, scale_rows, weights_of};
use crate::{ExportError, Graph, Interval, Node, NodeId, Op};

/// Where the inner affine maps of quadratics go.
#[derive(Default)]
struct Inner {
    /// Scale and shift per channel that a convolution or dense layer takes over.
    layers: BTreeMap<usize, (Vec<f64>, Vec<f64>)>,
    /// Sums whose other sides are scaled.
    sums: BTreeMap<usize, Vec<f64>>,
    /// Quadratics that become squares, with their coefficients.
    squares: BTreeMap<usize, Vec<f64>>,
}

impl Inner {
    /// A quadratic with positive leading coefficients is folded if it alone reads a layer, or a sum with a layer on one side at least.
    /// The layers of a sum take the map over; a side that is none, such as the way around a residual block, gets an affine map of
    /// its own, which costs one level beside a branch that costs more.
    fn of(graph: &Graph) -> Result<Self, ExportError> {
        let readers = graph.reader_counts();
        let alone = |id: usize| readers[id] == 1;
        let layer =
            |id: &usize| alone(*id) && matches!(graph.nodes[*id].op, Op::Conv2d { .. } | Op::Linear { .. });
        let mut found = Self::default();
        for (id, node) in graph.iter() {
            let Op::Quadratic { coeffs, .. } = &node.op else { continue };
            let c = graph.tensor(node, coeffs)?.to_f64();
            let source = node.inputs[0].0;
            if !alone(source) || c.chunks_exact(3).any(|k| k[2] <= 0.0) {
                continue;
            }
            let (scale, shift): (Vec<f64>, Vec<f64>) = c.chunks_exact(3).map(inner).unzip();
            let sum = graph.nodes[source].op == Op::Add;
            let sides: Vec<usize> = match sum {
                true => graph.nodes[source].inputs.iter().map(|i| i.0).collect(),
                false => vec![source],
            };
            let Some(first) = sides.iter().copied().find(layer) else { continue };
            for side in sides.into_iter().filter(layer) {
                let shift = if side == first { shift.clone() } else { vec![0.0; shift.len()] };
                found.layers.insert(side, (scale.clone(), shift));
            }
            if sum {
                found.sums.insert(source, scale);
            }
            found.squares.insert(id.0, c);
        }
        Ok(found)
    }
}

/// Fold quadratics into squares; those that cannot be stay and cost two levels.
pub(super) fn into_square(graph: &Graph) -> Result<Graph, ExportError> {
    let found = Inner::of(graph)?;
    let mut rewriter = Rewriter::new(graph);
    for (id, node) in graph.iter() {
        if let Some((scale, shift)) = found.layers.get(&id.0)
            && let Some((mut w, mut b)) = weights_of(graph, node)?
        {
            scale_rows(&mut w, &mut b, scale, shift);
            let (weight, bias) = (w.tensor()?, bias_tensor(node, &b)?);
            let new = rewriter.linear(node, &rewriter.inputs(node), weight, Some(bias))?;
            rewriter.map.push(new);
        } else if let Some(scale) = found.sums.get(&id.0) {
            let mut sides = rewriter.inputs(node);
            for (i, (side, old)) in sides.iter_mut().zip(&node.inputs).enumerate() {
                if !found.layers.contains_key(&old.0) {
                    let name = format!("{}.scale{i}", node.name);
                    *side = rewriter.builder.affine(&name, *side, scale, &vec![0.0; scale.len()])?;
                }
            }
            let new = rewriter.builder.push(&node.name, Op::Add, &sides)?;
            rewriter.map.push(new);
        } else if matches!(node.op, Op::Quadratic { .. })
            && let Some(c) = found.squares.get(&id.0)
        {
            let x = rewriter.inputs(node)[0];
            let new = squared(&mut rewriter, node, c, x)?;
            rewriter.map.push(new);
        } else {
            rewriter.copy(node)?;
        }
    }
    rewriter.finish()
}

/// Emit the quadratic `node` with coefficients `c` as a square of `x`, in which its inner maps are, and a free addition.
pub(super) fn squared(
    rewriter: &mut Rewriter<'_>,
    node: &Node,
    c: &[f64],
    x: NodeId,
) -> Result<NodeId, ExportError> {
    let intervals = node.op.intervals();
    let mapped = |(i, k): (usize, &[f64])| -> Result<Interval, ExportError> {
        let (s, t) = inner(k);
        let from = if intervals.len() == 1 { intervals[0] } else { intervals[i] };
        // f32 rounding of weights must not push an end point out.
        Ok(Interval::new(s * from.lo + t, s * from.hi + t)?.widened(1.0 + 1e-6))
    };
    let intervals = c.chunks_exact(3).enumerate().map(mapped).collect::<Result<_, _>>()?;
    let rest: Vec<f64> = c.chunks_exact(3).map(|k| k[0] - k[1] * k[1] / (4.0 * k[2])).collect();
    let square = rewriter.builder.push(&node.name, Op::Square { intervals }, &[x])?;
    rewriter.bias(&format!("{}.bias", node.name), square, &rest)
}

/// `(√a, b/(2√a))` of `c + b x + a x²`: the affine map inside the square.
pub(super) fn inner(k: &[f64]) -> (f64, f64) {
    (k[2].sqrt(), k[1] / (2.0 * k[2].sqrt()))
}

#[cfg(test)]
mod tests {
    use crate::{Conv2dGeometry, Graph, GraphBuilder, Interval, Op, Tensor, fold, interp};

    fn noise(n: usize, seed: u64) -> Vec<f32> {
        let mut s = seed;
        (0..n)
            .map(|_| {
                s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                ((s >> 40) as f32) / (1u64 << 23) as f32 - 1.0
            })
            .collect()
    }

    /// Normalise → conv → BN → quadratic → conv (padded) → BN → quadratic → pool → flatten → dense.
    fn network() -> Graph {
        let i = || Interval::new(-9.0, 9.0).unwrap();
        let mut b = GraphBuilder::default();
        let x = b.input("image", &[2, 8, 8]).unwrap();
        let x = b.affine("normalise", x, &[3.0, 0.5], &[-0.4, 0.2]).unwrap();
        let w = Tensor::new([4, 2, 3, 3], noise(72, 1)).unwrap();
        let x =
            b.conv2d("conv1", x, w, Some(Tensor::new([4], noise(4, 2)).unwrap()), Conv2dGeometry::new(1, 1));
        let bn = |b: &mut GraphBuilder, name: &str, x, s| {
            let var: Vec<f32> = noise(4, s + 3).iter().map(|v| v.abs() + 0.3).collect();
            b.batch_norm(name, x, &noise(4, s), &noise(4, s + 1), &noise(4, s + 2), &var, 1e-5).unwrap()
        };
        let x = bn(&mut b, "bn1", x.unwrap(), 10);
        let coeffs = |s| {
            let mut c = noise(12, s);
            c.iter_mut().skip(2).step_by(3).for_each(|a| *a = a.abs() + 0.1);
            Tensor::new([4, 3], c).unwrap()
        };
        let x = b.quadratic("act1", x, coeffs(20), vec![i()]).unwrap();
        let w = Tensor::new([4, 4, 3, 3], noise(144, 4)).unwrap();
        let x = b.conv2d("conv2", x, w, None, Conv2dGeometry::new(2, 1)).unwrap();
        let x = bn(&mut b, "bn2", x, 30);
        let x = b.quadratic("act2", x, coeffs(21), vec![i(); 4]).unwrap();
        let x = b.avg_pool("pool", x, [2, 2], [2, 2]).unwrap();
        let x = b.push("flatten", Op::Flatten, &[x]).unwrap();
        b.linear("fc", x, Tensor::new([5, 16], noise(80, 5)).unwrap(), None).unwrap();
        b.finish().unwrap()
    }

    #[test]
    fn folding_keeps_the_function_and_saves_the_levels() {
        let graph = network();
        let folded = fold(&graph).unwrap();
        assert_eq!(graph.depth(), Some(11));
        assert_eq!(folded.depth(), Some(5), "conv, square, conv, square, dense");
        let image: Vec<f64> = noise(128, 9).iter().map(|&v| f64::from(v).abs()).collect();
        let a = interp::evaluate(&graph, &image).unwrap().pop().unwrap();
        let b = interp::evaluate(&folded, &image).unwrap().pop().unwrap();
        let scale = a.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        for (x, y) in a.iter().zip(&b) {
            assert!((x - y).abs() < 1e-5 * scale, "{x} {y}");
        }
    }

    /// Two residual blocks after a convolution: one with an identity around it, one with a strided convolution.
    #[test]
    fn quadratics_on_sums_cost_one_level() {
        let i = || vec![Interval::new(-9.0, 9.0).unwrap()];
        let mut b = GraphBuilder::default();
        let coeffs = |s| {
            let mut c = noise(12, s);
            c.iter_mut().skip(2).step_by(3).for_each(|a| *a = a.abs() + 0.1);
            Tensor::new([4, 3], c).unwrap()
        };
        let conv = |b: &mut GraphBuilder, name: &str, x, ci: usize, stride: usize, seed| {
            let w = noise(4 * ci * 9, seed).iter().map(|w| 0.3 * w).collect::<Vec<_>>();
            let w = Tensor::new([4, ci, 3, 3], w).unwrap();
            b.conv2d(name, x, w, None, Conv2dGeometry::new(stride, 1)).unwrap()
        };
        let x = b.input("image", &[2, 8, 8]).unwrap();
        let x = conv(&mut b, "stem", x, 2, 1, 1);
        let mut x = b.quadratic("stem.act", x, coeffs(20), i()).unwrap();
        for (block, stride) in [("a", 1), ("b", 2)] {
            let y = conv(&mut b, &format!("{block}.1"), x, 4, stride, 5);
            let y = b.quadratic(&format!("{block}.act1"), y, coeffs(21), i()).unwrap();
            let y = conv(&mut b, &format!("{block}.2"), y, 4, 1, 6);
            if stride == 2 {
                x = conv(&mut b, &format!("{block}.around"), x, 4, 2, 7);
            }
            let sum = b.push(&format!("{block}.add"), Op::Add, &[y, x]).unwrap();
            x = b.quadratic(&format!("{block}.act2"), sum, coeffs(22), i()).unwrap();
        }
        let graph = b.finish().unwrap();
        let folded = fold(&graph).unwrap();
        assert_eq!((graph.depth(), folded.depth()), (Some(15), Some(10)));
        assert_eq!(fold(&folded).unwrap(), folded, "nothing is left to fold");
        let image: Vec<f64> = noise(128, 9).iter().map(|&v| f64::from(v).abs()).collect();
        let last = |g| interp::evaluate(g, &image).unwrap().pop().unwrap();
        let (a, b) = (last(&graph), last(&folded));
        let scale = a.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        for (x, y) in a.iter().zip(&b) {
            assert!((x - y).abs() < 1e-5 * scale, "{x} {y}");
        }
    }

    #[test]
    fn normalisation_passes_a_flattening() {
        let mut b = GraphBuilder::default();
        let x = b.input("image", &[2, 2, 3]).unwrap();
        let x = b.affine("normalise", x, &[3.0, 0.5], &[-0.4, 0.2]).unwrap();
        let x = b.push("flatten", Op::Flatten, &[x]).unwrap();
        b.linear("fc", x, Tensor::new([3, 12], noise(36, 5)).unwrap(), None).unwrap();
        let graph = b.finish().unwrap();
        let folded = fold(&graph).unwrap();
        assert_eq!(folded.depth(), Some(1));
        let image: Vec<f64> = noise(12, 7).iter().map(|&v| f64::from(v)).collect();
        let last = |g| interp::evaluate(g, &image).unwrap().pop().unwrap();
        for (x, y) in last(&graph).iter().zip(last(&folded)) {
            assert!((x - y).abs() < 1e-6, "{x} {y}");
        }
    }

    #[test]
    fn normalisation_passes_a_kernel_that_is_larger_than_its_map() {
        let mut b = GraphBuilder::default();
        let x = b.input("image", &[2, 1, 2]).unwrap();
        let x = b.affine("normalise", x, &[3.0, 0.5], &[-0.4, 0.2]).unwrap();
        let w = Tensor::new([3, 2, 7, 7], noise(294, 5)).unwrap();
        b.conv2d("conv", x, w, None, Conv2dGeometry::new(1, 3)).unwrap();
        let graph = b.finish().unwrap();
        let folded = fold(&graph).unwrap();
        assert_eq!(folded.depth(), Some(1));
        let last = |g| interp::evaluate(g, &[0.3, 0.9, -0.5, 0.7]).unwrap().pop().unwrap();
        for (x, y) in last(&graph).iter().zip(last(&folded)) {
            assert!((x - y).abs() < 1e-6, "{x} {y}");
        }
    }

    #[test]
    fn excursions_survive_folding() {
        let graph = network();
        let folded = fold(&graph).unwrap();
        let image: Vec<f64> = noise(128, 9).iter().map(|&v| 4.0 * f64::from(v)).collect();
        let count = |g: &Graph| -> u64 {
            let v = interp::evaluate(g, &image).unwrap();
            g.iter().map(|(id, _)| interp::excursions(g, id, &v)).sum()
        };
        assert!(count(&graph) > 0);
        assert_eq!(count(&graph), count(&folded));
    }
}
