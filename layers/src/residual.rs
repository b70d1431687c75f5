//! Residual block of ResNets (He et al. 2015, arXiv:1512.03385), activation on the sum.
//!
//! ```text
//! x ──► conv1 ─ bn ─ act ──► conv2 ─ bn ──► + ──► act
//! └───── shortcut, or 1x1 conv ─ bn ─────────┘
//! ```
//! Four levels: two convolutions and two squares. The affine part of the quadratic on the sum is taken over by the second
//! convolution and, as a product with a constant per channel, by the shortcut, which waits for its branch anyway.

use burn::module::Module;
use burn::nn::BatchNorm;
use burn::tensor::Tensor;
use burn::tensor::ops::PadMode;
use burn::tensor::s;
use hetrain_export::{Conv2dGeometry, GraphBuilder, NodeId, Tensor as GraphTensor};

use crate::models::{Flow, Stage, Tap};
use crate::norm::batch_norm;
use crate::operator::Site;
use crate::pointwise;
use crate::{Activation, Conv, ConvBlock, LayerError, Lower, Switch, WeightInit};

/// Convolution and batch norm without an activation.
#[derive(Module, Debug)]
pub struct ConvNorm {
    /// Convolution without bias.
    pub conv: Conv,
    /// Normalisation.
    pub bn: BatchNorm,
}

impl ConvNorm {
    /// A `kernel`-wide convolution from `channels[0]` to `channels[1]` channels.
    pub fn new(channels: [usize; 2], kernel: usize, stride: usize, init: &mut WeightInit) -> Self {
        Self {
            conv: Conv::new(channels, kernel, stride, kernel / 2, init),
            bn: batch_norm(channels[1], init),
        }
    }

    /// Apply the two.
    ///
    /// # Shapes
    /// - input `[batch, in, height, width]`, output `[batch, out, ⌈height/stride⌉, ⌈width/stride⌉]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        pointwise::batch_norm(&self.bn, self.conv.forward(x))
    }
}

impl Lower for ConvNorm {
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        let x = self.conv.lower(graph, name, x)?;
        self.bn.lower(graph, &format!("{name}.bn"), x)
    }

    fn depth(&self) -> usize {
        self.conv.depth()
    }
}

/// Option-A shortcut: every `stride`-th pixel, new channels zero, half of them on either side. No parameters.
#[derive(Module, Debug)]
pub struct Shortcut {
    /// Channels before.
    pub channels_in: usize,
    /// Channels after.
    pub channels_out: usize,
    /// Step over pixels.
    pub stride: usize,
}

impl Shortcut {
    fn pad_front(&self) -> usize {
        (self.channels_out - self.channels_in) / 2
    }

    fn is_identity(&self) -> bool {
        self.stride == 1 && self.channels_in == self.channels_out
    }

    /// Subsample and widen.
    ///
    /// # Shapes
    /// - input `[batch, in, height, width]`, output `[batch, out, ⌈height/stride⌉, ⌈width/stride⌉]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        if self.is_identity() {
            return x;
        }
        let step = self.stride as isize;
        let x = if step == 1 { x } else { x.slice(s![.., .., ..;step, ..;step]) };
        let front = self.pad_front();
        let back = self.channels_out - self.channels_in - front;
        x.pad([(0, 0), (front, back), (0, 0), (0, 0)], PadMode::Constant(0.0))
    }
}

impl Lower for Shortcut {
    /// A strided 1x1 convolution with weights 0 and 1; nothing for the identity.
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        if self.is_identity() {
            return Ok(x);
        }
        let (ci, co, front) = (self.channels_in, self.channels_out, self.pad_front());
        let one = |o: usize, i: usize| if o == i + front { 1.0 } else { 0.0 };
        let weight = (0..co).flat_map(|o| (0..ci).map(move |i| one(o, i))).collect::<Vec<f32>>();
        let weight = GraphTensor::new([co, ci, 1, 1], weight)?;
        Ok(graph.conv2d(name, x, weight, None, Conv2dGeometry::new(self.stride, 0))?)
    }

    fn depth(&self) -> usize {
        usize::from(!self.is_identity())
    }
}

/// Two 3x3 convolutions with a shortcut around them.
#[derive(Module, Debug)]
pub struct BasicBlock {
    /// First convolution, which takes the stride, with norm and activation.
    pub conv1: ConvBlock,
    /// Second convolution with norm.
    pub conv2: ConvNorm,
    /// The way around without parameters.
    pub shortcut: Shortcut,
    /// The way around that is trained (option B), in place of the other; named as in torchvision's weights.
    pub downsample: Option<ConvNorm>,
    /// Activation of the sum.
    pub act: Activation,
}

impl BasicBlock {
    /// A block from `channels[0]` to `channels[1]` channels, its way around without parameters.
    pub fn new(channels: [usize; 2], stride: usize, init: &mut WeightInit) -> Self {
        let [ci, co] = channels;
        Self {
            conv1: ConvBlock::new([ci, co], 3, stride, 1, init),
            conv2: ConvNorm::new([co, co], 3, 1, init),
            shortcut: Shortcut { channels_in: ci, channels_out: co, stride },
            downsample: None,
            act: Activation::of_block(co, init),
        }
    }

    /// The same with a trained way around where the shape changes.
    pub fn projected(channels: [usize; 2], stride: usize, init: &mut WeightInit) -> Self {
        let mut block = Self::new(channels, stride, init);
        if !block.shortcut.is_identity() {
            block.downsample = Some(ConvNorm::new(channels, 1, stride, init));
        }
        block
    }

    /// Apply; see [`Activation::forward`] for `penalties`.
    ///
    /// # Shapes
    /// - input `[batch, in, height, width]`, output `[batch, out, height/stride, width/stride]`
    pub fn forward(&self, x: Tensor<4>, penalties: &mut Vec<Tensor<1>>) -> Tensor<4> {
        let y = self.conv2.forward(self.conv1.forward(x.clone(), penalties));
        let x = match &self.downsample {
            Some(projection) => projection.forward(x),
            None => self.shortcut.forward(x),
        };
        self.act.join(y, x, penalties)
    }
}

impl Lower for BasicBlock {
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        let y = self.conv1.lower(graph, &format!("{name}.conv1"), x)?;
        let y = self.conv2.lower(graph, &format!("{name}.conv2"), y)?;
        let x = match &self.downsample {
            Some(projection) => projection.lower(graph, &format!("{name}.downsample"), x)?,
            None => self.shortcut.lower(graph, &format!("{name}.shortcut"), x)?,
        };
        self.act.lower_join(graph, name, [y, x])
    }

    fn depth(&self) -> usize {
        self.conv1.depth() + self.conv2.depth() + self.act.depth()
    }
}

impl Stage for BasicBlock {
    fn forward(&self, x: Flow, tap: &mut Tap) -> Flow {
        Flow::Map(self.forward(x.map(), &mut tap.penalties))
    }

    fn operators<'a>(&'a self, name: &str, out: &mut Vec<Site<'a>>) {
        self.conv1.operators(&format!("{name}.conv1"), out);
        out.push(self.act.site(format!("{name}.act")));
    }

    fn switches_mut(&mut self) -> Vec<&mut Switch> {
        vec![self.conv1.act.switch_mut(), self.act.switch_mut()]
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
            let block = BasicBlock::projected(channels, stride, init);
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
        let mut block = BasicBlock::projected([2, 2], 1, &mut WeightInit::new(&device, 0));
        block.conv2.bn.gamma = block.conv2.bn.gamma.map(|g| g.zeros_like());
        let x = Tensor::from_data([[[[1.0, -2.0]], [[-3.0, 4.0]]]], &device);
        let y = block.forward(x, &mut Vec::new()).into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(y, [1.0, 0.0, 0.0, 4.0]);
    }
}
