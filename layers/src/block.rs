//! Linear layer, batch norm, activation: what hidden layers are made of. Two levels each.

use burn::module::Module;
use burn::nn::BatchNorm;
use burn::tensor::Tensor;
use hetrain_export::{GraphBuilder, NodeId};

use crate::models::{Flow, Stage, Tap};
use crate::norm::batch_norm;
use crate::operator::Site;
use crate::pointwise;
use crate::{Activation, Conv, Dense, LayerError, Lower, Switch, WeightInit};

/// Convolution, batch norm, activation.
#[derive(Module, Debug)]
pub struct ConvBlock {
    /// Convolution without bias.
    pub conv: Conv,
    /// Normalisation, which brings the bias.
    pub bn: BatchNorm,
    /// Activation.
    pub act: Activation,
}

impl ConvBlock {
    /// A block from `channels[0]` to `channels[1]` channels.
    pub fn new(
        channels: [usize; 2],
        kernel: usize,
        stride: usize,
        padding: usize,
        init: &mut WeightInit,
    ) -> Self {
        Self {
            conv: Conv::new(channels, kernel, stride, padding, init),
            bn: batch_norm(channels[1], init),
            act: Activation::new(channels[1], init),
        }
    }

    /// Apply the three; see [`Activation::forward`] for `penalties`.
    ///
    /// # Shapes
    /// - input `[batch, in, height, width]`, output `[batch, out, height', width']`
    pub fn forward(&self, x: Tensor<4>, penalties: &mut Vec<Tensor<1>>) -> Tensor<4> {
        self.act.forward(pointwise::batch_norm(&self.bn, self.conv.forward(x)), penalties)
    }
}

impl Lower for ConvBlock {
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        let x = self.conv.lower(graph, name, x)?;
        let x = self.bn.lower(graph, &format!("{name}.bn"), x)?;
        self.act.lower(graph, &format!("{name}.act"), x)
    }

    fn depth(&self) -> usize {
        self.conv.depth() + self.act.depth()
    }
}

impl Stage for ConvBlock {
    fn forward(&self, x: Flow, tap: &mut Tap) -> Flow {
        let y = self.forward(x.map(), &mut tap.penalties);
        Flow::Map(y)
    }

    fn operators<'a>(&'a self, name: &str, out: &mut Vec<Site<'a>>) {
        out.push(self.act.site(format!("{name}.act")));
    }

    fn switches_mut(&mut self) -> Vec<&mut Switch> {
        vec![self.act.switch_mut()]
    }
}

/// Dense layer, batch norm, activation.
#[derive(Module, Debug)]
pub struct DenseBlock {
    /// Matrix without bias.
    pub fc: Dense,
    /// Normalisation, which brings the bias.
    pub bn: BatchNorm,
    /// Activation.
    pub act: Activation,
}

impl DenseBlock {
    /// A block from `features[0]` to `features[1]` features.
    pub fn new(features: [usize; 2], init: &mut WeightInit) -> Self {
        Self {
            fc: Dense::hidden(features, init),
            bn: batch_norm(features[1], init),
            act: Activation::new(features[1], init),
        }
    }

    /// Apply the three; see [`Activation::forward`] for `penalties`.
    ///
    /// # Shapes
    /// - input `[batch, in]`, output `[batch, out]`
    pub fn forward(&self, x: Tensor<2>, penalties: &mut Vec<Tensor<1>>) -> Tensor<2> {
        self.act.forward(pointwise::batch_norm(&self.bn, self.fc.forward(x)), penalties)
    }
}

impl Lower for DenseBlock {
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        let x = self.fc.lower(graph, name, x)?;
        let x = self.bn.lower(graph, &format!("{name}.bn"), x)?;
        self.act.lower(graph, &format!("{name}.act"), x)
    }

    fn depth(&self) -> usize {
        self.fc.depth() + self.act.depth()
    }
}

impl Stage for DenseBlock {
    fn forward(&self, x: Flow, tap: &mut Tap) -> Flow {
        Flow::Flat(self.forward(x.flat(), &mut tap.penalties))
    }

    fn operators<'a>(&'a self, name: &str, out: &mut Vec<Site<'a>>) {
        out.push(self.act.site(format!("{name}.act")));
    }

    fn switches_mut(&mut self) -> Vec<&mut Switch> {
        vec![self.act.switch_mut()]
    }
}

impl Stage for Dense {
    fn forward(&self, x: Flow, _tap: &mut Tap) -> Flow {
        Flow::Flat(self.forward(x.flat()))
    }
}
