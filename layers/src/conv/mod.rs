//! Two-dimensional convolution.

mod direct;
mod geometry;
mod kernel;
mod op;

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use hetrain_export::{Conv2dGeometry, GraphBuilder, NodeId, Tensor as GraphTensor};

use crate::lower::{sketch, to_graph};
use crate::{LayerError, Lower, WeightInit};

/// A convolution with a square kernel and no bias: a batch norm always follows and brings the bias.
#[derive(Module, Debug)]
pub struct Conv {
    /// Kernel `[out, in, k, k]`.
    pub weight: Param<Tensor<4>>,
    /// Step in both directions.
    pub stride: usize,
    /// Zeros added on every side.
    pub padding: usize,
}

impl Conv {
    /// A convolution from `channels[0]` to `channels[1]` channels.
    pub fn new(
        channels: [usize; 2],
        kernel: usize,
        stride: usize,
        padding: usize,
        init: &mut WeightInit,
    ) -> Self {
        let [ci, co] = channels;
        let weight = init.weights([co, ci, kernel, kernel], ci * kernel * kernel, 2.0);
        Self { weight, stride, padding }
    }

    /// Convolve.
    ///
    /// # Shapes
    /// - input `[batch, in, height, width]`, output `[batch, out, height', width']`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        op::convolve(x, self.weight.val(), self.stride, self.padding)
    }

    /// The kernel times `factor`, as a tensor of a graph.
    pub(crate) fn times(&self, name: &str, factor: f32) -> Result<GraphTensor, LayerError> {
        match sketch(&self.weight, |[_, ci, ky, kx]| ci * ky * kx) {
            Some((shape, value)) => Ok(GraphTensor::constant(shape, factor * value)),
            None => to_graph(name, self.weight.val().mul_scalar(factor)),
        }
    }
}

impl Lower for Conv {
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        let weight = self.times(name, 1.0)?;
        Ok(graph.conv2d(name, x, weight, None, Conv2dGeometry::new(self.stride, self.padding))?)
    }

    fn depth(&self) -> usize {
        1
    }
}
