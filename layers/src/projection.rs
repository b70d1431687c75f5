//! Residual block whose way around is trained where shapes differ: option B of He et al. 2015 (arXiv:1512.03385).
//!
//! ```text
//! x ──► conv1 ─ bn ─ act ──► conv2 ─ bn ──► + ──► act
//! └──── 1x1 convolution ─ bn, or nothing ────┘
//! ```
//! Four levels, as [`BasicBlock`](crate::BasicBlock): the projection is one layer beside a branch of three levels, and takes
//! over its part of the quadratic on the sum, which the identity needs a product of its own for.

use burn::module::Module;
use burn::nn::BatchNorm;
use burn::tensor::Tensor;
use hetrain_export::{GraphBuilder, NodeId};

use crate::models::{Flow, Stage, Tap};
use crate::norm::batch_norm;
use crate::pointwise;
use crate::{Activation, Conv, ConvBlock, ConvNorm, LayerError, Lower, WeightInit};

/// 1x1 convolution and batch norm: the way around a block that changes resolution or width.
#[derive(Module, Debug)]
pub struct Projection {
    /// Convolution without bias, which takes the stride.
    pub conv: Conv,
    /// Normalisation.
    pub bn: BatchNorm,
}

impl Projection {
    /// A projection from `channels[0]` to `channels[1]` channels.
    pub fn new(channels: [usize; 2], stride: usize, init: &mut WeightInit) -> Self {
        Self { conv: Conv::new(channels, 1, stride, 0, init), bn: batch_norm(channels[1], init) }
    }

    /// Project.
    ///
    /// # Shapes
    /// - input `[batch, in, height, width]`, output `[batch, out, ⌈height/stride⌉, ⌈width/stride⌉]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        pointwise::batch_norm(&self.bn, self.conv.forward(x))
    }
}

impl Lower for Projection {
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        let x = self.conv.lower(graph, name, x)?;
        self.bn.lower(graph, &format!("{name}.bn"), x)
    }

    fn depth(&self) -> usize {
        self.conv.depth()
    }
}

/// Two 3x3 convolutions, and around them the input itself or its projection.
#[derive(Module, Debug)]
pub struct ProjectedBlock {
    /// First convolution, which takes the stride, with norm and activation.
    pub conv1: ConvBlock,
    /// Second convolution with norm.
    pub conv2: ConvNorm,
    /// The way around, under the name it has in PyTorch's weights; absent where the input fits as it is.
    pub downsample: Option<Projection>,
    /// Activation of the sum.
    pub act: Activation,
}

impl ProjectedBlock {
    /// A block from `channels[0]` to `channels[1]` channels.
    pub fn new(channels: [usize; 2], stride: usize, init: &mut WeightInit) -> Self {
        let [ci, co] = channels;
        let fits = stride == 1 && ci == co;
        Self {
            conv1: ConvBlock::new(channels, 3, stride, 1, init),
            conv2: ConvNorm { conv: Conv::new([co, co], 3, 1, 1, init), bn: batch_norm(co, init) },
            downsample: (!fits).then(|| Projection::new(channels, stride, init)),
            act: Activation::of_block(co, init),
        }
    }

    /// Apply; see [`Activation::forward`] for `penalties`.
    ///
    /// # Shapes
    /// - input `[batch, in, height, width]`, output `[batch, out, ⌈height/stride⌉, ⌈width/stride⌉]`
    pub fn forward(&self, x: Tensor<4>, penalties: &mut Vec<Tensor<1>>) -> Tensor<4> {
        let y = self.conv1.forward(x.clone(), penalties);
        let y = pointwise::batch_norm(&self.conv2.bn, self.conv2.conv.forward(y));
        let x = match &self.downsample {
            Some(projection) => projection.forward(x),
            None => x,
        };
        self.act.join(y, x, penalties)
    }
}

impl Lower for ProjectedBlock {
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        let y = self.conv1.lower(graph, &format!("{name}.conv1"), x)?;
        let y = self.conv2.conv.lower(graph, &format!("{name}.conv2"), y)?;
        let y = self.conv2.bn.lower(graph, &format!("{name}.conv2.bn"), y)?;
        let x = match &self.downsample {
            Some(projection) => projection.lower(graph, &format!("{name}.downsample"), x)?,
            None => x,
        };
        self.act.lower_join(graph, name, [y, x])
    }

    fn depth(&self) -> usize {
        self.conv1.depth() + self.conv2.conv.depth() + self.act.depth()
    }
}

impl Stage for ProjectedBlock {
    fn forward(&self, x: Flow, tap: &mut Tap) -> Flow {
        Flow::Map(self.forward(x.map(), &mut tap.penalties))
    }

    fn activations<'a>(&'a self, name: &str, out: &mut Vec<(String, &'a Activation)>) {
        self.conv1.activations(&format!("{name}.conv1"), out);
        out.push((format!("{name}.act"), &self.act));
    }

    fn activations_mut(&mut self) -> Vec<&mut Activation> {
        vec![&mut self.conv1.act, &mut self.act]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn only_a_block_that_changes_shape_projects() {
        let init = &mut WeightInit::new(&Device::flex(), 0);
        for (channels, stride, projects) in [([4, 4], 1, false), ([4, 4], 2, true), ([4, 8], 1, true)] {
            let block = ProjectedBlock::new(channels, stride, init);
            assert_eq!(block.downsample.is_some(), projects, "{channels:?} by {stride}");
            // An odd side: branch and projection must round alike.
            let x = Tensor::ones([2, 4, 5, 5], &Device::flex());
            let side = 5_usize.div_ceil(stride);
            assert_eq!(block.forward(x, &mut Vec::new()).dims(), [2, channels[1], side, side]);
        }
    }

    #[test]
    fn a_branch_of_zeros_leaves_the_activation_of_the_way_around() {
        let device = Device::flex();
        let mut block = ProjectedBlock::new([2, 2], 1, &mut WeightInit::new(&device, 0));
        block.conv2.bn.gamma = block.conv2.bn.gamma.map(|g| g.zeros_like());
        let x = Tensor::from_data([[[[1.0, -2.0]], [[-3.0, 4.0]]]], &device);
        let y = block.forward(x, &mut Vec::new()).into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(y, [1.0, 0.0, 0.0, 4.0]);
    }
}
