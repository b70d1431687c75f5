//! A small vision transformer (Dosovitskiy et al. 2020, arXiv:2010.11929) that runs encrypted: 64 patches, four blocks with
//! attention of four heads and a hidden layer, batch norms in place of layer norms (Yao et al. 2021), a mean over patches.
//!
//! Patches do not overlap, so the client can lay pixels out patch by patch, and the embedding costs what a dense layer per patch
//! costs. Two levels and eight for each block: 34.

use burn::module::Module;
use burn::nn::BatchNorm;
use hetrain_export::{GraphBuilder, NodeId};

use super::{Flow, ModelConfig, Network, Part, Stage, Tap};
use crate::norm::batch_norm;
use crate::pointwise;
use crate::transformer::{Block, Embedding};
use crate::{AvgPool, Conv, Dense, LayerError, Lower, WeightInit};

/// Patches in a row and in a column.
pub(crate) const SIDE: usize = 8;
const WIDTH: usize = 64;
const HEADS: usize = 4;
const BLOCKS: usize = 4;

/// One patch of pixels to one feature vector.
fn patches(channels: usize, side: usize, init: &mut WeightInit) -> Embedding {
    let patch = side.div_ceil(SIDE);
    let conv = Conv::new([channels, WIDTH], patch, patch, (patch * SIDE - side) / 2, init);
    Embedding::new(conv, [WIDTH, SIDE, SIDE], init)
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
    patches: Embedding,
    blocks: Vec<Block>,
    head: Head,
}

impl Vit {
    pub(crate) fn new(config: &ModelConfig, init: &mut WeightInit) -> Self {
        let [channels, side, _] = config.input;
        Self {
            patches: patches(channels, side, init),
            blocks: (0..BLOCKS).map(|_| Block::new(WIDTH, HEADS, false, init)).collect(),
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
