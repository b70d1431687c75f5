//! A small language model (Radford et al. 2019): four blocks of 128 features and four heads.
//!
//! Its input is text as a map of one column, a channel for each character of the vocabulary. It answers for every position; lowered,
//! for the last one only, which is what a client wants to know. Two levels and, with batch norms and sigma-attention, eight for each
//! block: 34.

use burn::module::Module;
use burn::tensor::Tensor;
use hetrain_export::{GraphBuilder, NodeId, Op};

use super::{Flow, ModelConfig, Network, Part, Size, Stage, Tap};
use crate::operator::Site;
use crate::transformer::{Block, Embedding};
use crate::{Conv, Dense, LayerError, Lower, Norm, Switch, WeightInit};

/// Norm and a dense layer at every position.
#[derive(Module, Debug)]
pub struct NextToken {
    /// Normalisation.
    pub norm: Norm,
    /// Vocabulary.
    pub fc: Dense,
}

impl Lower for NextToken {
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        let row = graph.shape(x).get(1).map_or(0, |rows| rows.saturating_sub(1));
        let x = graph.push(&format!("{name}.last"), Op::Row { row }, &[x])?;
        let x = self.norm.lower(graph, &format!("{name}.norm"), x)?;
        self.fc.lower(graph, &format!("{name}.fc"), x)
    }

    fn depth(&self) -> usize {
        1 + self.norm.depth()
    }
}

impl Stage for NextToken {
    /// Logits `[batch·positions, vocabulary]`.
    fn forward(&self, x: Flow, tap: &mut Tap) -> Flow {
        let x = self.norm.forward(x.map(), &mut tap.penalties);
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
pub struct Gpt {
    embedding: Embedding,
    blocks: Vec<Block>,
    head: NextToken,
}

impl Gpt {
    pub(crate) fn new(config: &ModelConfig, init: &mut WeightInit) -> Self {
        let [vocabulary, length, _] = config.input;
        let Size { width, blocks, .. } = config.size();
        let conv = Conv::new([vocabulary, width], 1, 1, 0, init);
        Self {
            embedding: Embedding::new(conv, [width, length, 1], init),
            blocks: (0..blocks).map(|_| Block::new(true, config, init)).collect(),
            head: NextToken {
                norm: Norm::new(width, config.norm, init),
                fc: Dense::head([width, config.classes], init),
            },
        }
    }
}

impl Network for Gpt {
    fn parts(&self) -> Vec<Part<'_>> {
        Part::transformer(("embedding", &self.embedding), &self.blocks, &self.head)
    }

    fn parts_mut(&mut self) -> Vec<&mut dyn Stage> {
        Part::transformer_mut(&mut self.embedding, &mut self.blocks, &mut self.head)
    }
}
