//! Transformers that read text as a map of one column, a channel for each character or token of the vocabulary: a language model (Radford
//! et al. 2019), which looks back and answers for every position, and a classifier (Devlin et al. 2018, arXiv:1810.04805), which looks
//! both ways and answers at the first. Norms come before what they normalise in both.
//!
//! Lowered, the language model answers for the last position only, which is what a client wants to know. Two levels and, with batch norms
//! and sigma-attention, eight for each block: 34 with the usual four.

use burn::module::Module;
use burn::tensor::{Tensor, s};
use hetrain_export::{GraphBuilder, NodeId, Op};

use super::{Flow, ModelConfig, Network, Part, Size, Stage, Tap};
use crate::operator::Site;
use crate::transformer::{Block, Embedding};
use crate::{Conv, Dense, LayerError, Lower, Norm, Switch, WeightInit};

/// Norm and a dense layer at every position, or the first only.
#[derive(Module, Debug)]
pub struct Answer {
    /// Normalisation.
    pub norm: Norm,
    /// Vocabulary, or classes.
    pub fc: Dense,
    /// Whether every position answers.
    pub every: bool,
}

impl Lower for Answer {
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        let last = graph.shape(x).get(1).map_or(0, |rows| rows.saturating_sub(1));
        let (part, row) = if self.every { ("last", last) } else { ("first", 0) };
        let x = graph.push(&format!("{name}.{part}"), Op::Row { row }, &[x])?;
        let x = self.norm.lower(graph, &format!("{name}.norm"), x)?;
        self.fc.lower(graph, &format!("{name}.fc"), x)
    }

    fn depth(&self) -> usize {
        1 + self.norm.depth()
    }
}

impl Stage for Answer {
    /// Logits `[batch·positions, vocabulary]`, or `[batch, classes]`.
    fn forward(&self, x: Flow, tap: &mut Tap) -> Flow {
        let x = if self.every { x.map() } else { x.map().slice(s![.., .., 0..1, ..]) };
        let x = self.norm.forward(x, &mut tap.penalties);
        let [batch, channels, length, _] = x.dims();
        let rows: Tensor<3> = x.reshape([batch, channels, length]).swap_dims(1, 2);
        Flow::Flat(self.fc.forward(rows.reshape([batch * length, channels])))
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
pub struct Text {
    embedding: Embedding,
    blocks: Vec<Block>,
    head: Answer,
}

impl Text {
    /// A language model, or a classifier.
    pub(crate) fn new(config: &ModelConfig, foretells: bool, init: &mut WeightInit) -> Self {
        let [vocabulary, length, _] = config.input;
        let Size { width, blocks, .. } = config.size();
        let conv = Conv::new([vocabulary, width], 1, 1, 0, init);
        Self {
            embedding: Embedding::new(conv, [width, length, 1], init),
            blocks: (0..blocks).map(|_| Block::new([length, 1], foretells, config, init)).collect(),
            head: Answer {
                norm: Norm::new(width, config.norm, init),
                fc: Dense::head([width, config.classes], init),
                every: foretells,
            },
        }
    }
}

impl Network for Text {
    fn parts(&self) -> Vec<Part<'_>> {
        Part::transformer(("embedding", &self.embedding), &self.blocks, &self.head)
    }

    fn parts_mut(&mut self) -> Vec<&mut dyn Stage> {
        Part::transformer_mut(&mut self.embedding, &mut self.blocks, &mut self.head)
    }
}
