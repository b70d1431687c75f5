//! What transformers are made of: positions are the pixels of a map, features its channels, and a dense layer per position is a
//! convolution of one pixel.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use hetrain_export::{GraphBuilder, NodeId, Op, Tensor as GraphTensor};

use crate::attention::SelfAttention;
use crate::lower::to_host;
use crate::models::{Flow, Stage, Tap};
use crate::operator::Site;
use crate::{Conv, ConvBlock, LayerError, Lower, ModelConfig, Norm, Switch, WeightInit};

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

/// Attention and a hidden layer, each after a norm and beside a way around. The hidden layer has a batch norm before its activation from
/// the start, which costs nothing and bounds what enters the polynomial.
#[derive(Module, Debug)]
pub struct Block {
    /// Before attention.
    pub norm1: Norm,
    /// Attention.
    pub attention: SelfAttention,
    /// Before the hidden layer.
    pub norm2: Norm,
    /// Hidden layer, twice as wide.
    pub hidden: ConvBlock,
    /// Back to the width of the block.
    pub out: Conv,
}

impl Block {
    /// A block `width` wide with `heads` heads, its polynomials as `config` says; `causal`: positions see only themselves and those
    /// before.
    pub fn new(
        [width, heads]: [usize; 2],
        causal: bool,
        config: &ModelConfig,
        init: &mut WeightInit,
    ) -> Self {
        Self {
            norm1: Norm::new(width, config.norm, init),
            attention: SelfAttention::new(width, heads, causal, config.attention, init),
            norm2: Norm::new(width, config.norm, init),
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
        let norms = self.norm1.depth() + self.norm2.depth();
        norms + self.attention.depth() + self.hidden.depth() + self.out.depth()
    }
}

impl Stage for Block {
    fn forward(&self, x: Flow, tap: &mut Tap) -> Flow {
        let x = x.map();
        let y = self.norm1.forward(x.clone(), &mut tap.penalties);
        let x = self.attention.forward(y, &mut tap.penalties) + x;
        let y = self.norm2.forward(x.clone(), &mut tap.penalties);
        Flow::Map(self.out.forward(self.hidden.forward(y, &mut tap.penalties)) + x)
    }

    fn operators<'a>(&'a self, name: &str, out: &mut Vec<Site<'a>>) {
        out.push(self.norm1.site(format!("{name}.norm1")));
        self.attention.sites(&format!("{name}.attention"), out);
        out.push(self.norm2.site(format!("{name}.norm2")));
        self.hidden.operators(&format!("{name}.hidden"), out);
    }

    fn switches_mut(&mut self) -> Vec<&mut Switch> {
        let mut all = vec![self.norm1.switch_mut()];
        all.extend(self.attention.switches_mut());
        all.push(self.norm2.switch_mut());
        all.extend(self.hidden.switches_mut());
        all
    }
}
