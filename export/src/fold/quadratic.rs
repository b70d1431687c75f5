//! A quadratic as one pure squaring (`training-methods`: any quadratic costs exactly one product).
#![expect(clippy::indexing_slicing, reason = "indices follow shapes the builder has checked")]

use super::{Rewriter, bias_tensor, scale_rows, weights_of};
use crate::{ExportError, Graph, Interval, Op, Tensor};

/// Fold every quadratic whose input is a convolution or dense layer nobody else reads and whose leading coefficients are
/// positive; others stay and cost two levels.
pub(super) fn into_square(graph: &Graph) -> Result<Graph, ExportError> {
    let readers = graph.reader_counts();
    // The quadratic that reads layer `id`, with its coefficients per channel.
    let follower = |id: usize| -> Result<Option<(usize, Vec<f64>)>, ExportError> {
        let node = &graph.nodes[id];
        if readers[id] != 1 || !matches!(node.op, Op::Conv2d { .. } | Op::Linear { .. }) {
            return Ok(None);
        }
        let Some(reader) = graph.nodes.iter().position(|n| n.inputs.iter().any(|i| i.0 == id)) else {
            return Ok(None);
        };
        let Op::Quadratic { coeffs, .. } = &graph.nodes[reader].op else { return Ok(None) };
        let c = graph.tensor(&graph.nodes[reader], coeffs)?.to_f64();
        Ok(c.chunks_exact(3).all(|k| k[2] > 0.0).then_some((reader, c)))
    };
    let mut rewriter = Rewriter::new(graph);
    for (id, node) in graph.iter() {
        if let Some((_, c)) = follower(id.0)?
            && let Some((mut w, shape, mut b)) = weights_of(graph, node)?
        {
            let (scale, shift): (Vec<f64>, Vec<f64>) = c.chunks_exact(3).map(inner).unzip();
            scale_rows(&mut w, &mut b, &scale, &shift);
            let (weight, bias) = (Tensor::from_f64(shape, &w)?, bias_tensor(node, &b)?);
            let new = rewriter.linear(node, &rewriter.inputs(node), weight, Some(bias))?;
            rewriter.map.push(new);
        } else if let Op::Quadratic { intervals, .. } = &node.op
            && let Some((_, c)) = follower(node.inputs[0].0)?
        {
            let channels = c.len() / 3;
            let mapped: Vec<Interval> = c
                .chunks_exact(3)
                .enumerate()
                .map(|(i, k)| {
                    let (s, t) = inner(k);
                    let from = if intervals.len() == 1 { intervals[0] } else { intervals[i] };
                    // f32 rounding of weights must not push an end point out.
                    Interval { lo: s * from.lo + t, hi: s * from.hi + t }.widened(1.0 + 1e-6)
                })
                .collect();
            let rest: Vec<f64> = c.chunks_exact(3).map(|k| k[0] - k[1] * k[1] / (4.0 * k[2])).collect();
            let square = rewriter.builder.push(
                &node.name,
                Op::Square { intervals: mapped },
                &rewriter.inputs(node),
            )?;
            let shift = format!("{}.shift", node.name);
            rewriter.builder.add_tensor(&shift, Tensor::from_f64([channels], &rest)?)?;
            let new = rewriter.builder.push(&format!("{}.bias", node.name), Op::Bias { shift }, &[square])?;
            rewriter.map.push(new);
        } else {
            rewriter.copy(node)?;
        }
    }
    rewriter.finish()
}

/// `(√a, b/(2√a))` of `c + b x + a x²`: the affine map inside the square.
fn inner(k: &[f64]) -> (f64, f64) {
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
