//! A classifier of texts (Devlin et al. 2018, arXiv:1810.04805): as [`Gpt`](super::gpt::Gpt), but every position sees all others, and the
//! first one answers for the text. Norms come before what they normalise, as in later transformers.

use burn::module::Module;
use burn::tensor::s;
use hetrain_export::{GraphBuilder, NodeId, Op};

use super::{Flow, ModelConfig, Network, Part, Size, Stage, Tap};
use crate::operator::Site;
use crate::transformer::{Block, Embedding};
use crate::{Conv, Dense, LayerError, Lower, Norm, Switch, WeightInit};

/// Norm and a dense layer at the first position.
#[derive(Module, Debug)]
pub struct First {
    /// Normalisation.
    pub norm: Norm,
    /// Classes.
    pub fc: Dense,
}

impl Lower for First {
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        let x = graph.push(&format!("{name}.first"), Op::Row { row: 0 }, &[x])?;
        let x = self.norm.lower(graph, &format!("{name}.norm"), x)?;
        self.fc.lower(graph, &format!("{name}.fc"), x)
    }

    fn depth(&self) -> usize {
        1 + self.norm.depth()
    }
}

impl Stage for First {
    fn forward(&self, x: Flow, tap: &mut Tap) -> Flow {
        let x = x.map().slice(s![.., .., 0..1, ..]);
        Flow::Flat(self.fc.forward(self.norm.forward(x, &mut tap.penalties).flatten(1, 3)))
    }

    fn operators<'a>(&'a self, name: &str, out: &mut Vec<Site<'a>>) {
        out.push(self.norm.site(format!("{name}.norm")));
    }

    fn switches_mut(&mut self) -> Vec<&mut Switch> {
        vec![self.norm.switch_mut()]
    }
}

/// Embedding, blocks, head.
#[derive(Module, Debug)]
pub struct Bert {
    embedding: Embedding,
    blocks: Vec<Block>,
    head: First,
}

impl Bert {
    pub(crate) fn new(config: &ModelConfig, init: &mut WeightInit) -> Self {
        let [vocabulary, length, _] = config.input;
        let Size { width, blocks, .. } = config.size();
        let conv = Conv::new([vocabulary, width], 1, 1, 0, init);
        Self {
            embedding: Embedding::new(conv, [width, length, 1], init),
            blocks: (0..blocks).map(|_| Block::new(false, config, init)).collect(),
            head: First {
                norm: Norm::new(width, config.norm, init),
                fc: Dense::head([width, config.classes], init),
            },
        }
    }
}

impl Network for Bert {
    fn parts(&self) -> Vec<Part<'_>> {
        Part::transformer(("embedding", &self.embedding), &self.blocks, &self.head)
    }

    fn parts_mut(&mut self) -> Vec<&mut dyn Stage> {
        Part::transformer_mut(&mut self.embedding, &mut self.blocks, &mut self.head)
    }
}
