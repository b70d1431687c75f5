//! Builds graphs, refusing operands that do not fit.

use std::collections::BTreeSet;

use super::{Conv2dGeometry, Graph, Node, NodeId, Op};
use crate::tensor::elements;
use crate::{ExportError, Interval, Polynomial, Tensor};

/// Most values of a node, so that no file of a few bytes asks for all memory: a planner keeps several numbers for each value.
///
/// The largest node that is planned here is the input of Llama 3 8B with 128 tokens, 128256 · 128 values, nearly 2^24.
pub const MAX_ELEMENTS: usize = 1 << 26;

/// Adds nodes one after the other; every method returns the new node's id and checks shapes.
#[derive(Default)]
pub struct GraphBuilder {
    pub(super) graph: Graph,
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
    /// Duplicate names, [`ExportError::Empty`], [`ExportError::TooLarge`].
    pub fn input(&mut self, name: &str, shape: &[usize]) -> Result<NodeId, ExportError> {
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
    /// Shapes that do not fit, are empty or too large, duplicate names, inputs or tensors that are missing.
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
    /// [`ExportError::NotFinite`], [`ExportError::Empty`].
    pub fn add_tensor(&mut self, name: &str, tensor: Tensor) -> Result<(), ExportError> {
        if tensor.is_empty() {
            return Err(ExportError::Empty {
                what: format!("tensor `{name}`"),
                shape: tensor.shape().to_vec(),
            });
        }
        if let Some(v) = tensor.not_finite() {
            return Err(ExportError::NotFinite { tensor: name.into(), value: f64::from(v) });
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

    /// Every node comes in here, so that no product of its extents overflows anywhere.
    fn insert(
        &mut self,
        name: &str,
        op: Op,
        inputs: Vec<NodeId>,
        shape: Vec<usize>,
    ) -> Result<NodeId, ExportError> {
        if shape.is_empty() || shape.contains(&0) {
            return Err(ExportError::Empty { what: format!("node `{name}`"), shape });
        }
        if elements(&shape).is_none_or(|n| n > MAX_ELEMENTS) {
            return Err(ExportError::TooLarge { node: name.into(), limit: MAX_ELEMENTS, shape });
        }
        if !self.names.insert(name.to_string()) {
            return Err(ExportError::DuplicateName(name.into()));
        }
        self.graph.nodes.push(Node {
            name: name.into(),
            op,
            inputs,
            shape,
            range: None,
            carried: Vec::new(),
            bent: None,
        });
        Ok(self.graph.output())
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
    fn shapes_of_no_or_too_many_values_are_refused_with_their_node() {
        let mut b = GraphBuilder::default();
        // Their product is 2^64, which is 0 in a machine word.
        let error = b.input("x", &[1 << 22, 1 << 21, 1 << 21]).unwrap_err();
        assert!(matches!(&error, ExportError::TooLarge { node, .. } if node == "x"), "{error}");
        for shape in [&[][..], &[3, 0, 1]] {
            assert!(matches!(b.input("x", shape), Err(ExportError::Empty { .. })), "{shape:?}");
        }
        assert!(b.input("x", &[MAX_ELEMENTS + 1]).is_err());
        let x = b.input("tokens of Llama 3", &[128_256, 128, 1]).unwrap();
        let nothing = Tensor::new([1, 0], Vec::new()).unwrap();
        assert!(matches!(b.linear("fc", x, nothing, None), Err(ExportError::Empty { .. })));
        // Two nodes that are small, whose product is not.
        let column = b.input("column", &[1, 1 << 14, 1]).unwrap();
        let row = b.push("row", Op::Transpose { axes: [0, 2, 1] }, &[column]).unwrap();
        let outer = b.push("outer", Op::MatMul { causal: false, factors: None }, &[column, row]);
        assert!(matches!(outer, Err(ExportError::TooLarge { .. })));
    }

    #[test]
    fn nan_weights_are_refused() {
        let mut b = GraphBuilder::default();
        let x = b.input("x", &[1]).unwrap();
        let w = Tensor::new([1, 1], vec![f32::NAN]).unwrap();
        assert!(matches!(b.linear("fc", x, w, None), Err(ExportError::NotFinite { .. })));
    }
}
