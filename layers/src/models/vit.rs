//! A small vision transformer (Dosovitskiy et al. 2020, arXiv:2010.11929) that runs encrypted: 64 patches, four blocks with
//! attention of four heads and a hidden layer, batch norms in place of layer norms (Yao et al. 2021), a mean over patches.
//!
//! Patches do not overlap, so the client can lay pixels out patch by patch, and the embedding costs what a dense layer per patch
//! costs. Two levels and eight for each block: 34.

use burn::module::{Module, Param};
use burn::nn::BatchNorm;
use burn::tensor::Tensor;
use hetrain_export::{GraphBuilder, NodeId, Op, Tensor as GraphTensor};

use super::{Flow, ModelConfig, Network, Part, Stage, Tap};
use crate::attention::SelfAttention;
use crate::lower::to_host;
use crate::norm::batch_norm;
use crate::pointwise;
use crate::{Activation, AvgPool, Conv, ConvBlock, Dense, LayerError, Lower, WeightInit};

/// Patches in a row and in a column.
pub(crate) const SIDE: usize = 8;
const WIDTH: usize = 64;
const HEADS: usize = 4;
const BLOCKS: usize = 4;

/// One patch of pixels to one feature vector, and a trained summand for where the patch is.
#[derive(Module, Debug)]
pub struct Patches {
    /// Convolution whose step is its width.
    pub conv: Conv,
    /// `[channels, height, width]`.
    pub positions: Param<Tensor<3>>,
}

impl Patches {
    fn new(channels: usize, side: usize, init: &mut WeightInit) -> Self {
        let patch = side.div_ceil(SIDE);
        let conv = Conv::new([channels, WIDTH], patch, patch, (patch * SIDE - side) / 2, init);
        Self { conv, positions: init.kaiming([WIDTH, SIDE, SIDE], 2500, 1.0) }
    }
}

impl Lower for Patches {
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        let x = self.conv.lower(graph, &format!("{name}.conv"), x)?;
        let (name, shape) = (format!("{name}.positions"), self.positions.dims());
        graph.add_tensor(&name, GraphTensor::new(shape, to_host(&name, self.positions.val())?)?)?;
        Ok(graph.push(&name, Op::Bias { shift: name.clone() }, &[x])?)
    }

    fn depth(&self) -> usize {
        1
    }
}

impl Stage for Patches {
    fn forward(&self, x: Flow, _tap: &mut Tap) -> Flow {
        Flow::Map(self.conv.forward(x.map()) + self.positions.val().unsqueeze())
    }
}

/// Attention and a hidden layer, each after a batch norm and beside a way around.
#[derive(Module, Debug)]
pub struct Block {
    /// Before attention.
    pub norm1: BatchNorm,
    /// Attention.
    pub attention: SelfAttention,
    /// Before the hidden layer.
    pub norm2: BatchNorm,
    /// Hidden layer, twice as wide.
    pub hidden: ConvBlock,
    /// Back to the width of the block.
    pub out: Conv,
}

impl Block {
    fn new(init: &mut WeightInit) -> Self {
        Self {
            norm1: batch_norm(WIDTH, init),
            attention: SelfAttention::new(WIDTH, HEADS, init),
            norm2: batch_norm(WIDTH, init),
            hidden: ConvBlock::new([WIDTH, 2 * WIDTH], 1, 1, 0, init),
            out: Conv::new([2 * WIDTH, WIDTH], 1, 1, 0, init),
        }
    }
}

impl Lower for Block {
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        let at = |part: &str| format!("{name}.{part}");
        let y = self.norm1.lower(graph, &at("norm1"), x)?;
        let y = self.attention.lower(graph, &at("attention"), y)?;
        let x = graph.push(&at("add1"), Op::Add, &[y, x])?;
        let y = self.norm2.lower(graph, &at("norm2"), x)?;
        let y = self.hidden.lower(graph, &at("hidden"), y)?;
        let y = self.out.lower(graph, &at("out"), y)?;
        Ok(graph.push(&at("add2"), Op::Add, &[y, x])?)
    }

    fn depth(&self) -> usize {
        self.attention.depth() + self.hidden.depth() + self.out.depth()
    }
}

impl Stage for Block {
    fn forward(&self, x: Flow, tap: &mut Tap) -> Flow {
        let x = x.map();
        let y = pointwise::batch_norm(&self.norm1, x.clone());
        let x = self.attention.forward(y, &mut tap.penalties) + x;
        let y = pointwise::batch_norm(&self.norm2, x.clone());
        Flow::Map(self.out.forward(self.hidden.forward(y, &mut tap.penalties)) + x)
    }

    fn activations<'a>(&'a self, name: &str, out: &mut Vec<(String, &'a Activation)>) {
        out.push((format!("{name}.attention.act"), &self.attention.act));
        self.hidden.activations(&format!("{name}.hidden"), out);
    }

    fn activations_mut(&mut self) -> Vec<&mut Activation> {
        vec![&mut self.attention.act, &mut self.hidden.act]
    }
}

/// Mean over patches, batch norm, dense layer.
#[derive(Module, Debug)]
pub struct Head {
    /// Mean.
    pub pool: AvgPool,
    /// Normalisation.
    pub norm: BatchNorm,
    /// Classes.
    pub fc: Dense,
}

impl Lower for Head {
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        let x = self.pool.lower(graph, &format!("{name}.pool"), x)?;
        let x = self.norm.lower(graph, &format!("{name}.norm"), x)?;
        self.fc.lower(graph, &format!("{name}.fc"), x)
    }

    fn depth(&self) -> usize {
        1
    }
}

impl Stage for Head {
    fn forward(&self, x: Flow, _tap: &mut Tap) -> Flow {
        let x = pointwise::batch_norm(&self.norm, self.pool.forward(x.map()));
        Flow::Flat(self.fc.forward(x.flatten(1, 3)))
    }
}

/// Patches, blocks, head.
#[derive(Module, Debug)]
pub struct Vit {
    patches: Patches,
    blocks: Vec<Block>,
    head: Head,
}

impl Vit {
    pub(crate) fn new(config: &ModelConfig, init: &mut WeightInit) -> Self {
        let [channels, side, _] = config.input;
        Self {
            patches: Patches::new(channels, side, init),
            blocks: (0..BLOCKS).map(|_| Block::new(init)).collect(),
            head: Head {
                pool: AvgPool::new(SIDE),
                norm: batch_norm(WIDTH, init),
                fc: Dense::head([WIDTH, config.classes], init),
            },
        }
    }
}

impl Network for Vit {
    fn parts(&self) -> Vec<Part<'_>> {
        let blocks = self.blocks.iter().enumerate();
        let blocks = blocks.map(|(i, block)| Part::new(format!("blocks.{i}"), block, true));
        let patches = Part::new("patches", &self.patches, false);
        std::iter::once(patches).chain(blocks).chain([Part::new("head", &self.head, false)]).collect()
    }

    fn parts_mut(&mut self) -> Vec<&mut dyn Stage> {
        let mut parts: Vec<&mut dyn Stage> = vec![&mut self.patches];
        parts.extend(self.blocks.iter_mut().map(|b| b as &mut dyn Stage));
        parts.push(&mut self.head);
        parts
    }
}
