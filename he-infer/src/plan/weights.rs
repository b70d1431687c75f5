//! What is read of a graph's tensors: the weights of linear operations, one by one, and their biases.
#![expect(
    clippy::indexing_slicing,
    reason = "indices follow layouts and shapes that the graph builder has checked"
)]

use hetrain_export::{Graph, Node, Op};

use crate::HeError;

/// Every non-zero weight of a linear operation as `(output element, input element, weight)`.
pub(crate) fn for_each_weight(
    graph: &Graph,
    node: &Node,
    f: &mut dyn FnMut(usize, usize, f64),
) -> Result<(), HeError> {
    let input = node.inputs.first().and_then(|i| graph.node(*i)).map(|n| n.shape.clone()).unwrap_or_default();
    match &node.op {
        Op::Conv2d { weight, geometry: g, .. } => {
            let t = graph.tensor(node, weight)?;
            let data = t.data();
            let (co, ci, kh, kw) = (t.shape()[0], t.shape()[1], t.shape()[2], t.shape()[3]);
            let (h, w, ho, wo) = (input[1], input[2], node.shape[1], node.shape[2]);
            let tap = |o: usize, k: usize, axis: usize, size: usize| {
                (o * g.stride[axis] + k * g.dilation[axis]).checked_sub(g.padding[axis]).filter(|&i| i < size)
            };
            for o in 0..co {
                for c in 0..ci {
                    let channel = o / (co / g.groups) * ci + c;
                    for ky in 0..kh {
                        for kx in 0..kw {
                            let v = f64::from(data[((o * ci + c) * kh + ky) * kw + kx]);
                            if v == 0.0 {
                                continue;
                            }
                            for y in 0..ho {
                                let Some(iy) = tap(y, ky, 0, h) else { continue };
                                for x in 0..wo {
                                    let Some(ix) = tap(x, kx, 1, w) else { continue };
                                    f((o * ho + y) * wo + x, (channel * h + iy) * w + ix, v);
                                }
                            }
                        }
                    }
                }
            }
        }
        Op::Linear { weight, .. } => {
            let t = graph.tensor(node, weight)?;
            for (r, row) in t.data().chunks_exact(t.shape()[1]).enumerate() {
                for (c, &v) in row.iter().enumerate().filter(|(_, v)| **v != 0.0) {
                    f(r, c, f64::from(v));
                }
            }
        }
        Op::Affine { scale, .. } => {
            let s = graph.tensor(node, scale)?.to_f64();
            let plane = node.shape.iter().product::<usize>() / node.shape[0];
            for e in 0..plane * node.shape[0] {
                f(e, e, s[e / plane]);
            }
        }
        Op::RowSum { weight } => {
            let data = graph.tensor(node, weight)?.data();
            for i in 0..input.iter().product() {
                let v = f64::from(data[i % data.len()]);
                if v != 0.0 {
                    f(i / input[2], i, v);
                }
            }
        }
        Op::AvgPool { kernel, stride } => {
            let (h, w, ho, wo) = (input[1], input[2], node.shape[1], node.shape[2]);
            let share = 1.0 / (kernel[0] * kernel[1]) as f64;
            for o in 0..node.shape.iter().product() {
                let (c, y, x) = (o / (ho * wo), o / wo % ho, o % wo);
                for ky in 0..kernel[0] {
                    for kx in 0..kernel[1] {
                        f(o, (c * h + y * stride[0] + ky) * w + x * stride[1] + kx, share);
                    }
                }
            }
        }
        op => return Err(HeError::Unfriendly { node: node.name.clone(), op: op.name() }),
    }
    Ok(())
}

/// The bias of a linear operation per output element; `None` without one.
pub(crate) fn bias_values(graph: &Graph, node: &Node) -> Result<Option<Vec<f64>>, HeError> {
    let name = match &node.op {
        Op::Conv2d { bias, .. } | Op::Linear { bias, .. } => bias.as_deref(),
        Op::Affine { shift, .. } | Op::Bias { shift } => Some(shift.as_str()),
        _ => None,
    };
    let Some(name) = name else { return Ok(None) };
    let values = graph.tensor(node, name)?.to_f64();
    let elements: usize = node.shape.iter().product();
    let repeat = elements / values.len();
    Ok(Some((0..elements).map(|e| values[e / repeat]).collect()))
}

/// Pixels of a map between which a convolution does not mix: kernels of one pixel, without strides.
pub(super) fn separate_pixels(graph: &Graph, node: &Node) -> Option<usize> {
    let Op::Conv2d { weight, geometry: g, .. } = &node.op else { return None };
    let kernel = graph.tensors().get(weight)?.shape();
    let single = kernel[2..] == [1, 1] && g.stride == [1, 1] && g.padding == [0, 0] && g.groups == 1;
    single.then(|| node.shape[1] * node.shape[2])
}

/// [`for_each_weight`] for the first pixel of every channel only, where pixels are separate.
pub(super) fn for_each_channel_weight(
    graph: &Graph,
    node: &Node,
    pixels: usize,
    f: &mut dyn FnMut(usize, usize, f64),
) -> Result<(), HeError> {
    let Op::Conv2d { weight, .. } = &node.op else { return Ok(()) };
    let t = graph.tensor(node, weight)?;
    let (rows, columns) = (t.shape()[0], t.shape()[1]);
    if let Some(w) = t.as_constant() {
        let all = (0..rows).flat_map(|o| (0..columns).map(move |c| (o, c)));
        all.filter(|_| w != 0.0).for_each(|(o, c)| f(o * pixels, c * pixels, f64::from(w)));
        return Ok(());
    }
    for (o, row) in t.data().chunks_exact(columns).enumerate() {
        for (c, &w) in row.iter().enumerate().filter(|(_, w)| **w != 0.0) {
            f(o * pixels, c * pixels, f64::from(w));
        }
    }
    Ok(())
}

/// The one value of all weights of a convolution or dense layer that is only sketched.
pub(super) fn sketched(graph: &Graph, node: &Node) -> Option<f32> {
    let (Op::Conv2d { weight, .. } | Op::Linear { weight, .. }) = &node.op else { return None };
    graph.tensors().get(weight)?.as_constant()
}
