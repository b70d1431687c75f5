//! Dense layer.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::module::linear;
use hetrain_export::{GraphBuilder, NodeId, Op, Tensor as GraphTensor};

use crate::lower::{sketch, to_graph};
use crate::{LayerError, Lower, WeightInit};

/// `y = x·W + b`.
#[derive(Module, Debug)]
pub struct Dense {
    /// Matrix `[in, out]`.
    pub weight: Param<Tensor<2>>,
    /// Bias `[out]`; absent where a batch norm follows.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Dense {
    /// A layer without bias, followed by a batch norm and an activation.
    pub fn hidden(features: [usize; 2], init: &mut WeightInit) -> Self {
        Self { weight: init.weights(features, features[0], 2.0), bias: None }
    }

    /// A last layer, with bias.
    pub fn head(features: [usize; 2], init: &mut WeightInit) -> Self {
        let weight = init.weights(features, features[0], 1.0);
        Self { weight, bias: Some(init.constant(features[1], 0.0)) }
    }

    /// Multiply.
    ///
    /// # Shapes
    /// - input `[batch, in]`, output `[batch, out]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        linear(x, self.weight.val(), self.bias.as_ref().map(Param::val))
    }
}

impl Lower for Dense {
    /// Maps are flattened first, channel-major.
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        let x = match graph.shape(x).len() {
            1 => x,
            _ => graph.push(&format!("{name}.flatten"), Op::Flatten, &[x])?,
        };
        let weight = match sketch(&self.weight, |[fan_in, _]| fan_in) {
            Some(([fan_in, out], value)) => GraphTensor::constant([out, fan_in], value),
            None => to_graph(name, self.weight.val().transpose())?,
        };
        let bias = self.bias.as_ref().map(|b| to_graph(name, b.val())).transpose()?;
        Ok(graph.linear(name, x, weight, bias)?)
    }

    fn depth(&self) -> usize {
        1
    }
}
