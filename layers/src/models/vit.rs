//! A small vision transformer (Dosovitskiy et al. 2020, arXiv:2010.11929) that runs encrypted: 64 patches, four blocks with
//! attention of four heads and a hidden layer, a mean over patches.
//!
//! Patches do not overlap, so the client can lay pixels out patch by patch, and the embedding costs what a dense layer per patch
//! costs. Two levels and, with batch norms and sigma-attention, eight for each block: 34.

use burn::module::Module;
use hetrain_export::{GraphBuilder, NodeId};

use super::{Flow, ModelConfig, Network, Part, Size, Stage, Tap};
use crate::operator::Site;
use crate::transformer::{Block, Embedding};
use crate::{AvgPool, Conv, Dense, LayerError, Lower, Norm, Switch, WeightInit};

/// Patches in a row and in a column.
pub(crate) const SIDE: usize = 8;

/// One patch of pixels to one feature vector.
fn patches([channels, width]: [usize; 2], side: usize, init: &mut WeightInit) -> Embedding {
    let patch = side.div_ceil(SIDE);
    let conv = Conv::new([channels, width], patch, patch, (patch * SIDE - side) / 2, init);
    Embedding::new(conv, [width, SIDE, SIDE], init)
}

/// Norm, mean over patches, dense layer.
#[derive(Module, Debug)]
pub struct Head {
    /// Mean.
    pub pool: AvgPool,
    /// Normalisation.
    pub norm: Norm,
    /// Classes.
    pub fc: Dense,
}

impl Lower for Head {
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        let pool = |graph: &mut GraphBuilder, x| self.pool.lower(graph, &format!("{name}.pool"), x);
        let x = self.norm.lower_around(graph, &format!("{name}.norm"), x, pool)?;
        self.fc.lower(graph, &format!("{name}.fc"), x)
    }

    fn depth(&self) -> usize {
        1 + self.norm.depth()
    }
}

impl Stage for Head {
    fn forward(&self, x: Flow, tap: &mut Tap) -> Flow {
        let x = self.pool.forward(self.norm.forward(x.map(), &mut tap.penalties));
        Flow::Flat(self.fc.forward(x.flatten(1, 3)))
    }

    fn operators<'a>(&'a self, name: &str, out: &mut Vec<Site<'a>>) {
        out.push(self.norm.site(format!("{name}.norm")));
    }

    fn switches_mut(&mut self) -> Vec<&mut Switch> {
        vec![self.norm.switch_mut()]
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
        let Size { width, blocks, .. } = config.size();
        Self {
            patches: patches([channels, width], side, init),
            blocks: (0..blocks).map(|_| Block::new([SIDE; 2], false, config, init)).collect(),
            head: Head {
                pool: AvgPool::new(SIDE),
                norm: Norm::new(width, config.norm, init),
                fc: Dense::head([width, config.classes], init),
            },
        }
    }
}

impl Network for Vit {
    fn parts(&self) -> Vec<Part<'_>> {
        Part::transformer(("patches", &self.patches), &self.blocks, &self.head)
    }

    fn parts_mut(&mut self) -> Vec<&mut dyn Stage> {
        Part::transformer_mut(&mut self.patches, &mut self.blocks, &mut self.head)
    }
}
