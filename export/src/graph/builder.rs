//! Builds graphs, refusing operands that do not fit.

use std::collections::BTreeSet;

use super::{Conv2dGeometry, Graph, Node, NodeId, Op};
use crate::{ExportError, Interval, Polynomial, Tensor};

/// Adds nodes one after the other; every method returns the new node's id and checks shapes.
#[derive(Default)]
pub struct GraphBuilder {
    graph: Graph,
    names: BTreeSet<String>,
}

/// Output height and width of a window of `kernel` taps over `[h, w]`; `None` when it does not fit once.
pub fn conv_out_shape(
    input: [usize; 2],
    kernel: [usize; 2],
    geometry: &Conv2dGeometry,
) -> Option<[usize; 2]> {
    let side = |i: usize, k: usize, s: usize, p: usize, d: usize| {
        let reach = d.checked_mul(k.checked_sub(1)?)?.checked_add(1)?;
        i.checked_add(p.checked_mul(2)?)?.checked_sub(reach)?.checked_div(s)?.checked_add(1)
    };
    let ([h, w], [kh, kw], g) = (input, kernel, geometry);
    Some([
        side(h, kh, g.stride[0], g.padding[0], g.dilation[0])?,
        side(w, kw, g.stride[1], g.padding[1], g.dilation[1])?,
    ])
}

impl GraphBuilder {
    /// The sample, `[channels, height, width]` or `[features]`.
    ///
    /// # Errors
    /// Duplicate names and empty shapes.
    pub fn input(&mut self, name: &str, shape: &[usize]) -> Result<NodeId, ExportError> {
        if shape.is_empty() || shape.contains(&0) {
            return Err(ExportError::Shape {
                node: name.into(),
                op: "input",
                needs: "positive extents".into(),
                got: shape.to_vec(),
            });
        }
        self.insert(name, Op::Input, Vec::new(), shape.to_vec())
    }

    /// Convolution; see [`Op::Conv2d`].
    ///
    /// # Errors
    /// Shapes that do not fit, duplicate names, values that are not finite.
    pub fn conv2d(
        &mut self,
        name: &str,
        x: NodeId,
        weight: Tensor,
        bias: Option<Tensor>,
        geometry: Conv2dGeometry,
    ) -> Result<NodeId, ExportError> {
        let weight = self.own(name, "weight", weight)?;
        let bias = bias.map(|b| self.own(name, "bias", b)).transpose()?;
        self.push(name, Op::Conv2d { weight, bias, geometry }, &[x])
    }

    /// Dense layer; see [`Op::Linear`]. `weight` is `[out, in]`.
    ///
    /// # Errors
    /// As [`GraphBuilder::conv2d`].
    pub fn linear(
        &mut self,
        name: &str,
        x: NodeId,
        weight: Tensor,
        bias: Option<Tensor>,
    ) -> Result<NodeId, ExportError> {
        let weight = self.own(name, "weight", weight)?;
        let bias = bias.map(|b| self.own(name, "bias", b)).transpose()?;
        self.push(name, Op::Linear { weight, bias }, &[x])
    }

    /// `scale·x + shift` per channel; see [`Op::Affine`].
    ///
    /// # Errors
    /// As [`GraphBuilder::conv2d`].
    pub fn affine(
        &mut self,
        name: &str,
        x: NodeId,
        scale: &[f64],
        shift: &[f64],
    ) -> Result<NodeId, ExportError> {
        let scale = self.own(name, "scale", Tensor::from_f64([scale.len()], scale)?)?;
        let shift = self.own(name, "shift", Tensor::from_f64([shift.len()], shift)?)?;
        self.push(name, Op::Affine { scale, shift }, &[x])
    }

    /// Batch norm at inference, from its statistics; becomes an [`Op::Affine`].
    ///
    /// # Errors
    /// As [`GraphBuilder::conv2d`].
    #[expect(clippy::too_many_arguments, reason = "the six quantities of a batch norm, in their usual order")]
    pub fn batch_norm(
        &mut self,
        name: &str,
        x: NodeId,
        gamma: &[f32],
        beta: &[f32],
        mean: &[f32],
        var: &[f32],
        epsilon: f64,
    ) -> Result<NodeId, ExportError> {
        let scale: Vec<f64> =
            gamma.iter().zip(var).map(|(&g, &v)| f64::from(g) / (f64::from(v) + epsilon).sqrt()).collect();
        let shift: Vec<f64> =
            beta.iter().zip(mean).zip(&scale).map(|((&b, &m), s)| f64::from(b) - f64::from(m) * s).collect();
        self.affine(name, x, &scale, &shift)
    }

    /// Mean over windows.
    ///
    /// # Errors
    /// As [`GraphBuilder::conv2d`].
    pub fn avg_pool(
        &mut self,
        name: &str,
        x: NodeId,
        kernel: [usize; 2],
        stride: [usize; 2],
    ) -> Result<NodeId, ExportError> {
        self.push(name, Op::AvgPool { kernel, stride }, &[x])
    }

    /// Trainable quadratic; `coeffs` is `[channels, 3]`, lowest degree first.
    ///
    /// # Errors
    /// As [`GraphBuilder::conv2d`].
    pub fn quadratic(
        &mut self,
        name: &str,
        x: NodeId,
        coeffs: Tensor,
        intervals: Vec<Interval>,
    ) -> Result<NodeId, ExportError> {
        let coeffs = self.own(name, "coeffs", coeffs)?;
        self.push(name, Op::Quadratic { coeffs, intervals }, &[x])
    }

    /// One polynomial for all elements.
    ///
    /// # Errors
    /// Duplicate names.
    pub fn polynomial(&mut self, name: &str, x: NodeId, poly: Polynomial) -> Result<NodeId, ExportError> {
        self.push(name, Op::Polynomial { poly }, &[x])
    }

    /// Any operation whose tensors the graph already holds.
    ///
    /// # Errors
    /// Shapes that do not fit, duplicate names, inputs or tensors that are missing.
    pub fn push(&mut self, name: &str, op: Op, inputs: &[NodeId]) -> Result<NodeId, ExportError> {
        if let Some(bad) = inputs.iter().find(|i| i.0 >= self.graph.nodes.len()) {
            return Err(ExportError::Order { node: name.into(), input: bad.0 });
        }
        let shape = self.infer(name, &op, inputs)?;
        self.insert(name, op, inputs.to_vec(), shape)
    }

    /// Keep `tensor` under exactly `name`.
    ///
    /// # Errors
    /// [`ExportError::NotFinite`].
    pub fn add_tensor(&mut self, name: &str, tensor: Tensor) -> Result<(), ExportError> {
        if let Some(v) = tensor.data().iter().find(|v| !v.is_finite()) {
            return Err(ExportError::NotFinite { tensor: name.into(), value: f64::from(*v) });
        }
        self.graph.tensors.insert(name.into(), tensor);
        Ok(())
    }

    /// Shape of a node's result; empty for an unknown node.
    pub fn shape(&self, id: NodeId) -> Vec<usize> {
        self.graph.node(id).map(|n| n.shape.clone()).unwrap_or_default()
    }

    /// The finished graph; its output is the last node.
    ///
    /// # Errors
    /// [`ExportError::EmptyGraph`].
    pub fn finish(self) -> Result<Graph, ExportError> {
        if self.graph.nodes.is_empty() { Err(ExportError::EmptyGraph) } else { Ok(self.graph) }
    }

    fn own(&mut self, node: &str, part: &str, tensor: Tensor) -> Result<String, ExportError> {
        let name = format!("{node}.{part}");
        self.add_tensor(&name, tensor)?;
        Ok(name)
    }

    fn insert(
        &mut self,
        name: &str,
        op: Op,
        inputs: Vec<NodeId>,
        shape: Vec<usize>,
    ) -> Result<NodeId, ExportError> {
        if !self.names.insert(name.to_string()) {
            return Err(ExportError::DuplicateName(name.into()));
        }
        self.graph.nodes.push(Node { name: name.into(), op, inputs, shape, range: None });
        Ok(self.graph.output())
    }

    /// The result shape, or why the operands do not fit.
    fn infer(&self, name: &str, op: &Op, inputs: &[NodeId]) -> Result<Vec<usize>, ExportError> {
        let bad = |needs: String, got: &[usize]| ExportError::Shape {
            node: name.into(),
            op: op.name(),
            needs,
            got: got.to_vec(),
        };
        if inputs.len() != op.arity() {
            return Err(bad(format!("{} inputs", op.arity()), &[inputs.len()]));
        }
        let tensor_shape = |t: &str| {
            self.graph
                .tensors
                .get(t)
                .map(|t| t.shape().to_vec())
                .ok_or_else(|| ExportError::MissingTensor { node: name.into(), tensor: t.into() })
        };
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|&i| self.shape(i)).collect();
        let x = shapes.first().cloned().unwrap_or_default();
        let channels = x.first().copied().unwrap_or(0);
        let per_channel = |t: &str| -> Result<(), ExportError> {
            let s = tensor_shape(t)?;
            if s == [channels] { Ok(()) } else { Err(bad(format!("`{t}` of shape [{channels}]"), &s)) }
        };
        let intervals_fit = |v: &[Interval]| {
            if v.len() == 1 || v.len() == channels {
                Ok(())
            } else {
                Err(bad(format!("one interval, or one for each of {channels} channels"), &[v.len()]))
            }
        };
        let spatial = || match x.as_slice() {
            &[c, h, w] => Ok((c, [h, w])),
            _ => Err(bad("an input [channels, height, width]".into(), &x)),
        };
        match op {
            Op::Input => Err(bad("to be made by `input`".into(), &x)),
            Op::Conv2d { weight, bias, geometry } => {
                let (c, hw) = spatial()?;
                let w = tensor_shape(weight)?;
                let &[co, ci, kh, kw] = w.as_slice() else {
                    return Err(bad("a kernel [out, in/groups, kh, kw]".into(), &w));
                };
                let g = geometry.groups;
                if g == 0 || ci.checked_mul(g) != Some(c) || co % g != 0 || co == 0 {
                    return Err(bad(format!("a kernel that fits {c} input channels in {g} groups"), &w));
                }
                let [ho, wo] = conv_out_shape(hw, [kh, kw], geometry)
                    .ok_or_else(|| bad(format!("an input the {kh}x{kw} kernel fits into"), &x))?;
                if let Some(b) = bias {
                    let b = tensor_shape(b)?;
                    if b != [co] && b != [co, ho, wo] {
                        return Err(bad(format!("a bias [{co}] or [{co}, {ho}, {wo}]"), &b));
                    }
                }
                Ok(vec![co, ho, wo])
            }
            Op::Linear { weight, bias } => {
                let w = tensor_shape(weight)?;
                let (&[out, inp], &[n]) = (w.as_slice(), x.as_slice()) else {
                    return Err(bad(format!("a flat input and a matrix [out, in], the matrix is {w:?}"), &x));
                };
                if inp != n || out == 0 {
                    return Err(bad(format!("{n} columns"), &w));
                }
                if let Some(b) = bias {
                    let b = tensor_shape(b)?;
                    if b != [out] {
                        return Err(bad(format!("a bias [{out}]"), &b));
                    }
                }
                Ok(vec![out])
            }
            Op::Affine { scale, shift } => {
                per_channel(scale)?;
                per_channel(shift)?;
                Ok(x)
            }
            Op::Bias { shift } => {
                if tensor_shape(shift)? != x {
                    per_channel(shift)?;
                }
                Ok(x)
            }
            Op::Transpose { axes } => {
                let (c, [h, w]) = spatial()?;
                let mut sorted = *axes;
                sorted.sort_unstable();
                if sorted != [0, 1, 2] {
                    return Err(bad("a permutation of 0, 1, 2".into(), axes));
                }
                Ok(axes.iter().filter_map(|&a| [c, h, w].get(a).copied()).collect())
            }
            Op::Reshape { shape } => {
                let elements = |s: &[usize]| s.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
                if shape.is_empty() || elements(shape) != elements(&x) {
                    return Err(bad(format!("an input of as many values as {shape:?}"), &x));
                }
                Ok(shape.clone())
            }
            Op::Causal => {
                let (c, [h, w]) = spatial()?;
                if h == w { Ok(vec![c, h, w]) } else { Err(bad("square matrices".into(), &x)) }
            }
            Op::RowSum { weight } => {
                let (c, [h, w]) = spatial()?;
                let s = tensor_shape(weight)?;
                if s == [h, w] { Ok(vec![c, h, 1]) } else { Err(bad(format!("weights [{h}, {w}]"), &s)) }
            }
            Op::AvgPool { kernel, stride } | Op::MaxPool { kernel, stride } => {
                let (c, hw) = spatial()?;
                let g = Conv2dGeometry { stride: *stride, padding: [0; 2], dilation: [1; 2], groups: 1 };
                let [ho, wo] = conv_out_shape(hw, *kernel, &g)
                    .ok_or_else(|| bad(format!("windows {kernel:?} that fit"), &x))?;
                Ok(vec![c, ho, wo])
            }
            Op::Flatten => Ok(vec![x.iter().product()]),
            Op::Add => {
                if let Some(other) = shapes.iter().find(|s| **s != x) {
                    return Err(bad(format!("two inputs of one shape, the first is {x:?}"), other));
                }
                Ok(x)
            }
            Op::Mul => {
                let b = shapes.get(1).cloned().unwrap_or_default();
                let fits = x.len() == b.len() && x.iter().zip(&b).all(|(x, b)| x == b || *b == 1);
                if fits { Ok(x) } else { Err(bad(format!("{x:?}, or extents of 1 in it"), &b)) }
            }
            Op::MatMul { causal } => {
                let (c, [m, k]) = spatial()?;
                match shapes.get(1).map(Vec::as_slice) {
                    Some(&[cb, kb, n]) if cb == c && kb == k && (n == m || !causal) => Ok(vec![c, m, n]),
                    other => Err(bad(format!("a second input [{c}, {k}, n]"), other.unwrap_or_default())),
                }
            }
            Op::Quadratic { coeffs, intervals } => {
                let s = tensor_shape(coeffs)?;
                if s != [channels, 3] {
                    return Err(bad(format!("coefficients [{channels}, 3]"), &s));
                }
                intervals_fit(intervals)?;
                Ok(x)
            }
            Op::Square { intervals } => {
                intervals_fit(intervals)?;
                Ok(x)
            }
            Op::Polynomial { .. } | Op::Relu => Ok(x),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_for_other_channels_is_refused_with_its_shape() {
        let mut b = GraphBuilder::default();
        let x = b.input("x", &[3, 8, 8]).unwrap();
        let w = Tensor::new([4, 2, 3, 3], vec![0.0; 72]).unwrap();
        let err = b.conv2d("conv", x, w, None, Conv2dGeometry::new(1, 1)).unwrap_err().to_string();
        assert!(err.contains("conv") && err.contains("[4, 2, 3, 3]"), "{err}");
    }

    #[test]
    fn strided_shapes_follow_the_usual_formula() {
        let g = Conv2dGeometry::new(2, 2);
        assert_eq!(conv_out_shape([28, 28], [5, 5], &g), Some([14, 14]));
        assert_eq!(conv_out_shape([2, 2], [5, 5], &Conv2dGeometry::new(1, 0)), None);
    }

    #[test]
    fn nan_weights_are_refused() {
        let mut b = GraphBuilder::default();
        let x = b.input("x", &[1]).unwrap();
        let w = Tensor::new([1, 1], vec![f32::NAN]).unwrap();
        assert!(matches!(b.linear("fc", x, w, None), Err(ExportError::NotFinite { .. })));
    }
}
