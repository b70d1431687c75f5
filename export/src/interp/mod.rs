//! Reference evaluation of a graph in f64, node by node: the truth every executor is compared with.
//!
//! Plain loops over the definition of each operation. Cost: one multiply-add per weight and output position.
#![expect(clippy::indexing_slicing, reason = "indices follow shapes the builder has checked")]

mod carried;
mod windows;

pub use carried::{Carried, carried};
pub(crate) use windows::valid;
use windows::{conv2d, pool};

use crate::{ExportError, Graph, Interval, Node, NodeId, Op, RangeStats};

/// A graph with its weights widened to f64, ready to evaluate samples.
pub struct Interpreter<'g> {
    graph: &'g Graph,
    weights: Vec<Vec<Vec<f64>>>,
}

/// Evaluate one sample; one vector per node, in node order.
///
/// # Errors
/// [`ExportError::Shape`] when `input` has not the input node's size, [`ExportError::MissingTensor`].
pub fn evaluate(graph: &Graph, input: &[f64]) -> Result<Vec<Vec<f64>>, ExportError> {
    Interpreter::new(graph)?.run(input)
}

impl<'g> Interpreter<'g> {
    /// Widen the weights of `graph`.
    ///
    /// # Errors
    /// [`ExportError::MissingTensor`].
    pub fn new(graph: &'g Graph) -> Result<Self, ExportError> {
        let weights = graph
            .nodes()
            .iter()
            .map(|n| n.op.tensors().into_iter().map(|t| Ok(graph.tensor(n, t)?.to_f64())).collect())
            .collect::<Result<_, ExportError>>()?;
        Ok(Self { graph, weights })
    }

    /// Evaluate one sample; one vector per node, in node order.
    ///
    /// # Errors
    /// [`ExportError::Shape`] when `input` has not the input node's size.
    pub fn run(&self, input: &[f64]) -> Result<Vec<Vec<f64>>, ExportError> {
        let mut values: Vec<Vec<f64>> = Vec::with_capacity(self.graph.nodes().len());
        for (node, weights) in self.graph.nodes().iter().zip(&self.weights) {
            let value = self.node(node, weights, input, &values)?;
            values.push(value);
        }
        Ok(values)
    }

    /// The last node's value only.
    ///
    /// # Errors
    /// As [`Interpreter::run`].
    pub fn logits(&self, input: &[f64]) -> Result<Vec<f64>, ExportError> {
        Ok(self.run(input)?.pop().unwrap_or_default())
    }

    fn node(
        &self,
        node: &Node,
        weights: &[Vec<f64>],
        input: &[f64],
        values: &[impl AsRef<[f64]>],
    ) -> Result<Vec<f64>, ExportError> {
        let size: usize = node.shape.iter().product();
        let arg = |i: usize| values[node.inputs[i].0].as_ref();
        let in_shape = |i: usize| self.graph.nodes()[node.inputs[i].0].shape.as_slice();
        let plane = size / node.shape[0];
        let per_channel = |f: &dyn Fn(usize, f64) -> f64| {
            arg(0).iter().enumerate().map(|(i, &x)| f(i / plane, x)).collect::<Vec<f64>>()
        };
        Ok(match &node.op {
            Op::Input => {
                if input.len() != size {
                    return Err(ExportError::Shape {
                        node: node.name.clone(),
                        op: "input",
                        needs: format!("{size} values ({:?})", node.shape),
                        got: vec![input.len()],
                    });
                }
                input.to_vec()
            }
            Op::Conv2d { bias, geometry, .. } => {
                let bias = bias.as_ref().map(|_| weights[1].as_slice());
                let s = in_shape(0);
                let kernel = self.kernel_shape(node)?;
                conv2d(arg(0), [s[0], s[1], s[2]], &weights[0], kernel, bias, geometry, &node.shape)
            }
            Op::Linear { bias, .. } => {
                let x = arg(0);
                let rows = weights[0].chunks_exact(x.len());
                rows.enumerate()
                    .map(|(r, w)| {
                        let b = if bias.is_some() { weights[1][r] } else { 0.0 };
                        b + dot(w, x)
                    })
                    .collect()
            }
            Op::Affine { .. } => per_channel(&|c, x| weights[0][c] * x + weights[1][c]),
            Op::Bias { .. } if weights[0].len() == size => {
                arg(0).iter().zip(&weights[0]).map(|(x, b)| x + b).collect()
            }
            Op::Bias { .. } => per_channel(&|c, x| x + weights[0][c]),
            Op::AvgPool { kernel, stride } => {
                pool(arg(0), in_shape(0), *kernel, *stride, &node.shape, 0.0, |a, x| {
                    a + x / (kernel[0] * kernel[1]) as f64
                })
            }
            Op::MaxPool { kernel, stride } => {
                pool(arg(0), in_shape(0), *kernel, *stride, &node.shape, f64::NEG_INFINITY, f64::max)
            }
            Op::Flatten | Op::Reshape { .. } => arg(0).to_vec(),
            Op::Transpose { axes } => {
                sources(in_shape(0), *axes).into_iter().map(|source| arg(0)[source]).collect()
            }
            Op::Causal => {
                let n = node.shape[2];
                let kept = |(i, &x): (usize, &f64)| if i % n <= i / n % n { x } else { 0.0 };
                arg(0).iter().enumerate().map(kept).collect()
            }
            Op::Row { row } => {
                let (h, w) = (in_shape(0)[1], in_shape(0)[2]);
                arg(0).chunks_exact(h * w).flat_map(|plane| &plane[row * w..][..w]).copied().collect()
            }
            Op::RowSum { .. } => {
                let rows = arg(0).chunks_exact(in_shape(0)[2]);
                rows.zip(weights[0].chunks_exact(in_shape(0)[2]).cycle()).map(|(x, w)| dot(x, w)).collect()
            }
            Op::Mul => {
                let other = |i: usize| arg(1)[repeated(&node.shape, in_shape(1), i)];
                arg(0).iter().enumerate().map(|(i, x)| x * other(i)).collect()
            }
            Op::MatMul { causal, .. } | Op::Distance { causal } => {
                let product = matches!(node.op, Op::MatMul { .. });
                let term = |x: f64, y: f64| if product { x * y } else { (x - y) * (x - y) };
                let (k, n) = (in_shape(1)[1], in_shape(1)[2]);
                let b = |i: usize| &arg(1)[i * k * n..][..k * n];
                let factors = weights.first();
                let times = |(i, x): (usize, &f64)| factors.map_or(*x, |f| x * f[i]);
                let first: Vec<f64> = arg(0).iter().enumerate().map(times).collect();
                let rows = first.chunks_exact(k).enumerate();
                rows.flat_map(|(r, row)| {
                    let mut out = vec![0.0; n];
                    let kept = if *causal { r % node.shape[1] + 1 } else { n };
                    for (x, other) in row.iter().zip(b(r / node.shape[1]).chunks_exact(n)) {
                        out.iter_mut().zip(other).take(kept).for_each(|(o, y)| *o += term(*x, *y));
                    }
                    out
                })
                .collect()
            }
            Op::Add => arg(0).iter().zip(arg(1)).map(|(a, b)| a + b).collect(),
            Op::Quadratic { .. } => per_channel(&|c, x| {
                let k = &weights[0][3 * c..3 * c + 3];
                k[0] + x * (k[1] + x * k[2])
            }),
            Op::Square { .. } => arg(0).iter().map(|x| x * x).collect(),
            Op::Polynomial { poly } => arg(0).iter().map(|&x| poly.eval(x)).collect(),
            Op::Relu => arg(0).iter().map(|x| x.max(0.0)).collect(),
        })
    }

    fn kernel_shape(&self, node: &Node) -> Result<[usize; 4], ExportError> {
        let name = node.op.tensors()[0];
        let s = self.graph.tensor(node, name)?.shape();
        Ok([s[0], s[1], s[2], s[3]])
    }
}

/// Which element of a tensor of shape `small` belongs to element `index` of one of shape `large`: extents of 1 repeat.
pub fn repeated(large: &[usize], small: &[usize], index: usize) -> usize {
    let (mut rest, mut at, mut step) = (index, 0, 1);
    for (&n, &m) in large.iter().zip(small).rev() {
        at += if m == 1 { 0 } else { rest % n * step };
        step *= m;
        rest /= n;
    }
    at
}

/// Where each element of a transposed tensor comes from: `shape` and result are row-major.
pub fn sources(shape: &[usize], axes: [usize; 3]) -> Vec<usize> {
    let strides = [shape[1] * shape[2], shape[2], 1];
    let [n, m, l] = axes.map(|a| shape[a]);
    let [s, t, u] = axes.map(|a| strides[a]);
    (0..n * m * l).map(|i| i / (m * l) * s + i / l % m * t + i % l * u).collect()
}

/// Eight running sums, so that the compiler may use vector registers.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut acc = [0.0; 8];
    let (ca, cb) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f64 = ca.remainder().iter().zip(cb.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in ca.zip(cb) {
        for i in 0..8 {
            acc[i] += x[i] * y[i];
        }
    }
    acc.iter().sum::<f64>() + tail
}

/// How many inputs of `node` lie outside its intervals, given the values of all nodes.
pub fn excursions(graph: &Graph, id: NodeId, values: &[Vec<f64>]) -> u64 {
    let Some(node) = graph.node(id) else { return 0 };
    let intervals = node.op.intervals();
    let (Some(first), Some(input)) = (intervals.first(), node.inputs.first()) else { return 0 };
    let x = &values[input.0];
    let plane = x.len() / node.shape[0].max(1);
    let interval =
        |i: usize| -> &Interval { if intervals.len() == 1 { first } else { &intervals[i / plane] } };
    x.iter().enumerate().filter(|&(i, &v)| !interval(i).contains(v)).count() as u64
}

/// Values seen at every node over `samples`; excursions are counted at the nodes that have intervals.
///
/// # Errors
/// As [`Interpreter::run`].
pub fn measure<'a>(
    interpreter: &Interpreter<'_>,
    samples: impl Iterator<Item = &'a [f64]>,
    data_digest: &str,
) -> Result<Vec<RangeStats>, ExportError> {
    let graph = interpreter.graph;
    let mut stats = vec![RangeStats::empty(data_digest); graph.nodes().len()];
    for sample in samples {
        let values = interpreter.run(sample)?;
        for (id, _) in graph.iter() {
            stats[id.0].update(&values[id.0]);
            stats[id.0].outside += excursions(graph, id, &values);
        }
    }
    Ok(stats)
}

/// Refuse a graph whose recorded ranges show inputs outside an interval.
///
/// # Errors
/// [`ExportError::OutOfInterval`] naming the first such node; [`ExportError::NotFinite`] for NaN and infinities.
pub fn accept(graph: &Graph) -> Result<(), ExportError> {
    for node in graph.nodes() {
        let Some(range) = &node.range else { continue };
        if !(range.min.is_finite() && range.max.is_finite()) {
            return Err(ExportError::NotFinite { tensor: node.name.clone(), value: range.max });
        }
        if range.outside > 0 {
            let input = node.inputs.first().and_then(|i| graph.node(*i)).and_then(|n| n.range.as_ref());
            let intervals = node.op.intervals();
            return Err(ExportError::OutOfInterval {
                node: node.name.clone(),
                min: input.map_or(f64::NAN, |r| r.min),
                max: input.map_or(f64::NAN, |r| r.max),
                lo: intervals.iter().map(|i| i.lo).fold(f64::INFINITY, f64::min),
                hi: intervals.iter().map(|i| i.hi).fold(f64::NEG_INFINITY, f64::max),
                count: range.outside,
                total: input.map_or(0, |r| r.count),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conv2dGeometry, GraphBuilder, Tensor};

    /// The definition of a convolution, written without any cleverness.
    fn direct(
        x: &[f64],
        s: [usize; 3],
        w: &[f64],
        k: [usize; 4],
        g: &Conv2dGeometry,
        out: &[usize],
    ) -> Vec<f64> {
        let at = |c: usize, y: isize, xx: isize| {
            let inside = y >= 0 && xx >= 0 && (y as usize) < s[1] && (xx as usize) < s[2];
            if inside { x[(c * s[1] + y as usize) * s[2] + xx as usize] } else { 0.0 }
        };
        let mut r = Vec::new();
        for o in 0..out[0] {
            for y in 0..out[1] {
                for xx in 0..out[2] {
                    let mut acc = 0.0;
                    for c in 0..k[1] {
                        for ky in 0..k[2] {
                            for kx in 0..k[3] {
                                let yy =
                                    (y * g.stride[0] + ky * g.dilation[0]) as isize - g.padding[0] as isize;
                                let xi =
                                    (xx * g.stride[1] + kx * g.dilation[1]) as isize - g.padding[1] as isize;
                                acc += w[((o * k[1] + c) * k[2] + ky) * k[3] + kx]
                                    * at(o / (out[0] / g.groups) * k[1] + c, yy, xi);
                            }
                        }
                    }
                    r.push(acc);
                }
            }
        }
        r
    }

    /// Two heads of causal attention with squared weights, against sums written out.
    #[test]
    fn attention_from_products_and_transposes_equals_its_definition() {
        let (heads, width, length) = (2, 3, 4);
        let d = heads * width;
        let mut b = GraphBuilder::default();
        let x = b.input("x", &[d, length, 1]).unwrap();
        let positions: Vec<f32> = (0..d * length).map(|i| (i % 5) as f32).collect();
        b.add_tensor("positions", Tensor::new([d, length, 1], positions.clone()).unwrap()).unwrap();
        let y = b.push("embedded", Op::Bias { shift: "positions".into() }, &[x]).unwrap();
        // [d, L, 1] → [heads, width, L]
        let split = b.push("split", Op::Reshape { shape: vec![heads, width, length] }, &[y]).unwrap();
        let turned = b.push("turned", Op::Transpose { axes: [0, 2, 1] }, &[split]).unwrap();
        let scores = b.push("scores", Op::MatMul { causal: false, factors: None }, &[turned, split]).unwrap();
        let squares =
            b.push("squares", Op::Square { intervals: vec![Interval::new(-1e9, 1e9).unwrap()] }, &[scores]);
        let masked = b.push("masked", Op::Causal, &[squares.unwrap()]).unwrap();
        let weights = (0..length * length).map(|i| 1.0 + i as f32).collect();
        b.add_tensor("w", Tensor::new([length, length], weights).unwrap()).unwrap();
        let sums = b.push("sums", Op::RowSum { weight: "w".into() }, &[masked]).unwrap();
        let mixed = b.push("mixed", Op::MatMul { causal: false, factors: None }, &[masked, turned]).unwrap();
        b.push("scaled", Op::Mul, &[mixed, sums]).unwrap();
        let graph = b.finish().unwrap();
        let sample: Vec<f64> = (0..d * length).map(|i| ((i * 7 % 11) as f64) - 5.0).collect();
        let got = evaluate(&graph, &sample).unwrap().pop().unwrap();
        let at = |h: usize, k: usize, t: usize| {
            let i = (h * width + k) * length + t;
            sample[i] + f64::from(positions[i])
        };
        let mut want = Vec::new();
        for h in 0..heads {
            for t in 0..length {
                let weight = |s: usize| (0..width).map(|k| at(h, k, t) * at(h, k, s)).sum::<f64>().powi(2);
                let total: f64 = (0..=t).map(|s| weight(s) * (1 + t * length + s) as f64).sum();
                for k in 0..width {
                    want.push((0..=t).map(|s| weight(s) * at(h, k, s)).sum::<f64>() * total);
                }
            }
        }
        assert_eq!(got, want);
        assert_eq!((graph.output_shape(), graph.depth()), (&[heads, length, width][..], Some(4)));
        let stored = Graph::from_parts(graph.nodes().to_vec(), graph.tensors().clone()).unwrap();
        assert_eq!(stored, graph);
    }

    #[test]
    fn convolution_equals_its_definition() {
        for (stride, padding, dilation, groups, k, [h, w]) in [
            (1, 1, 1, 1, 3, [7, 6]),
            (2, 2, 1, 1, 5, [7, 6]),
            (2, 0, 1, 2, 1, [7, 6]),
            (1, 3, 2, 2, 3, [7, 6]),
            (3, 1, 1, 4, 2, [7, 6]),
            // Kernels that reach beyond the map: some taps see nothing of it.
            (1, 2, 1, 1, 5, [1, 1]),
            (1, 3, 1, 1, 7, [2, 2]),
            (2, 3, 1, 2, 7, [1, 4]),
            (2, 4, 2, 1, 5, [3, 1]),
        ] {
            let g = Conv2dGeometry {
                stride: [stride; 2],
                padding: [padding; 2],
                dilation: [dilation; 2],
                groups,
            };
            let (ci, co) = (4, 8);
            let x: Vec<f64> = (0..ci * h * w).map(|i| ((i * 37 % 23) as f64) - 11.0).collect();
            let weight: Vec<f32> =
                (0..co * ci / groups * k * k).map(|i| ((i * 29 % 17) as f32) - 8.0).collect();
            let mut b = GraphBuilder::default();
            let id = b.input("x", &[ci, h, w]).unwrap();
            let wt = Tensor::new([co, ci / groups, k, k], weight.clone()).unwrap();
            b.conv2d("c", id, wt, None, g).unwrap();
            let graph = b.finish().unwrap();
            let got = evaluate(&graph, &x).unwrap().pop().unwrap();
            let w64: Vec<f64> = weight.iter().map(|&v| f64::from(v)).collect();
            let want = direct(&x, [ci, h, w], &w64, [co, ci / groups, k, k], &g, graph.output_shape());
            assert_eq!(
                got, want,
                "stride {stride} padding {padding} dilation {dilation} groups {groups} {h}x{w}"
            );
        }
    }
}
