//! What transformers are made of: positions are the pixels of a map, features its channels, and a dense layer per position is a
//! convolution of one pixel.

use burn::module::{Module, Param};
use burn::nn::BatchNorm;
use burn::tensor::Tensor;
use hetrain_export::{GraphBuilder, NodeId, Op, Tensor as GraphTensor};

use crate::attention::SelfAttention;
use crate::lower::to_host;
use crate::models::{Flow, Stage, Tap};
use crate::norm::batch_norm;
use crate::pointwise;
use crate::{Activation, Conv, ConvBlock, LayerError, Lower, WeightInit};

/// What enters a transformer as features, and a trained summand for where it stands.
#[derive(Module, Debug)]
pub struct Embedding {
    /// To features.
    pub conv: Conv,
    /// `[channels, height, width]`.
    pub positions: Param<Tensor<3>>,
}

impl Embedding {
    /// Features by `conv`, a map of `shape`; summands are small at first.
    pub fn new(conv: Conv, shape: [usize; 3], init: &mut WeightInit) -> Self {
        Self { conv, positions: init.kaiming(shape, 2500, 1.0) }
    }
}

impl Lower for Embedding {
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

impl Stage for Embedding {
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
    /// A block `width` wide with `heads` heads; `causal`: positions see only themselves and those before.
    pub fn new(width: usize, heads: usize, causal: bool, init: &mut WeightInit) -> Self {
        Self {
            norm1: batch_norm(width, init),
            attention: SelfAttention::new(width, heads, causal, init),
            norm2: batch_norm(width, init),
            hidden: ConvBlock::new([width, 2 * width], 1, 1, 0, init),
            out: Conv::new([2 * width, width], 1, 1, 0, init),
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
