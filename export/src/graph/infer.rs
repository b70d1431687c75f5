//! The shape of an operation's result.

use super::{Conv2dGeometry, GraphBuilder, NodeId, Op, conv_out_shape};
use crate::tensor::elements;
use crate::{ExportError, Interval};

impl GraphBuilder {
    /// The result shape, or why the operands do not fit.
    pub(super) fn infer(&self, name: &str, op: &Op, inputs: &[NodeId]) -> Result<Vec<usize>, ExportError> {
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
                if shape.is_empty() || elements(shape) != elements(&x) {
                    return Err(bad(format!("an input of as many values as {shape:?}"), &x));
                }
                Ok(shape.clone())
            }
            Op::Causal => {
                let (c, [h, w]) = spatial()?;
                if h == w { Ok(vec![c, h, w]) } else { Err(bad("square matrices".into(), &x)) }
            }
            Op::Row { row } => {
                let (c, [h, w]) = spatial()?;
                if *row < h { Ok(vec![c, 1, w]) } else { Err(bad(format!("more than {row} rows"), &x)) }
            }
            Op::RowSum { weight } => {
                let (c, [h, w]) = spatial()?;
                let s = tensor_shape(weight)?;
                let fits = s == [h, w] || s == [c, h, w];
                if fits { Ok(vec![c, h, 1]) } else { Err(bad(format!("weights [{h}, {w}]"), &s)) }
            }
            Op::AvgPool { kernel, stride } | Op::MaxPool { kernel, stride } => {
                let (c, hw) = spatial()?;
                let g = Conv2dGeometry { stride: *stride, padding: [0; 2], dilation: [1; 2], groups: 1 };
                let [ho, wo] = conv_out_shape(hw, *kernel, &g)
                    .ok_or_else(|| bad(format!("windows {kernel:?} that fit"), &x))?;
                Ok(vec![c, ho, wo])
            }
            Op::Flatten => {
                Ok(vec![elements(&x).ok_or_else(|| bad("an input that can be counted".into(), &x))?])
            }
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
            Op::MatMul { causal, .. } | Op::Distance { causal } => {
                let (c, [m, k]) = spatial()?;
                if let Op::MatMul { factors: Some(factors), .. } = op {
                    let s = tensor_shape(factors)?;
                    if s != x {
                        return Err(bad(format!("factors {x:?}"), &s));
                    }
                }
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
