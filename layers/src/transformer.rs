//! What transformers are made of: positions are the pixels of a map, features its channels, and a dense layer per position is a
//! convolution of one pixel.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use hetrain_export::{GraphBuilder, NodeId, Op, Tensor as GraphTensor};

use crate::attention::SelfAttention;
use crate::lower::to_host;
use crate::models::{Flow, Part, Stage, Tap};
use crate::operator::Site;
use crate::residual::ConvNorm;
use crate::{BlockKind, Conv, ConvBlock, LayerError, Lower, ModelConfig, Norm, Switch, WeightInit};

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
    /// Hidden layer.
    pub hidden: ConvBlock,
    /// What the hidden layer is multiplied with, in gated blocks.
    pub gate: Option<ConvNorm>,
    /// Back to the width of the block.
    pub out: Conv,
    /// Whether the hidden layer reads what attention reads.
    pub parallel: bool,
}

impl Block {
    /// A block of the size and with the polynomials that `config` says; `causal`: positions see only themselves and those before.
    pub fn new(shape: [usize; 2], causal: bool, config: &ModelConfig, init: &mut WeightInit) -> Self {
        let size = config.size();
        let (width, hidden) = (size.width, size.hidden());
        Self {
            norm1: Norm::new(width, config.norm, init),
            attention: SelfAttention::new(width, size.heads, shape, causal, config.attention, init),
            norm2: Norm::new(width, config.norm, init),
            hidden: ConvBlock::new([width, hidden], 1, 1, 0, init),
            gate: (size.block == BlockKind::Gated).then(|| ConvNorm::new([width, hidden], 1, 1, init)),
            out: Conv::new([hidden, width], 1, 1, 0, init),
            parallel: size.block == BlockKind::Parallel,
        }
    }
}

impl Lower for Block {
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        let at = |part: &str| format!("{name}.{part}");
        let y = self.norm1.lower(graph, &at("norm1"), x)?;
        let y = self.attention.lower(graph, &at("attention"), y)?;
        let sum = graph.push(&at("add1"), Op::Add, &[y, x])?;
        let x = self.norm2.lower(graph, &at("norm2"), if self.parallel { x } else { sum })?;
        let mut y = self.hidden.lower(graph, &at("hidden"), x)?;
        if let Some(gate) = &self.gate {
            let gate = gate.lower(graph, &at("gate"), x)?;
            y = graph.push(&at("gated"), Op::Mul, &[y, gate])?;
        }
        let y = self.out.lower(graph, &at("out"), y)?;
        Ok(graph.push(&at("add2"), Op::Add, &[y, sum])?)
    }

    fn depth(&self) -> usize {
        let gate = usize::from(self.gate.is_some());
        let attention = self.norm1.depth() + self.attention.depth();
        let hidden = self.norm2.depth() + self.hidden.depth() + gate + self.out.depth();
        if self.parallel { attention.max(hidden) } else { attention + hidden }
    }
}

impl Stage for Block {
    fn forward(&self, x: Flow, tap: &mut Tap) -> Flow {
        let x = x.map();
        let y = self.norm1.forward(x.clone(), &mut tap.penalties);
        let y = self.attention.forward(y, tap);
        let sum = tap.dropped(y) + x.clone();
        let x = if self.parallel { x } else { sum.clone() };
        let x = self.norm2.forward(x, &mut tap.penalties);
        let y = match &self.gate {
            Some(gate) => self.hidden.forward(x.clone(), &mut tap.penalties) * gate.forward(x),
            None => self.hidden.forward(x, &mut tap.penalties),
        };
        Flow::Map(tap.dropped(self.out.forward(y)) + sum)
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

impl<'a> Part<'a> {
    /// The parts of a transformer; blocks are hints.
    pub(crate) fn transformer(
        first: (&str, &'a dyn Stage),
        blocks: &'a [Block],
        head: &'a dyn Stage,
    ) -> Vec<Self> {
        let blocks =
            blocks.iter().enumerate().map(|(i, block)| Self::new(format!("blocks.{i}"), block, true));
        let (name, first) = first;
        std::iter::once(Self::new(name, first, false))
            .chain(blocks)
            .chain([Self::new("head", head, false)])
            .collect()
    }

    /// The same, to be changed.
    pub(crate) fn transformer_mut(
        first: &'a mut dyn Stage,
        blocks: &'a mut [Block],
        head: &'a mut dyn Stage,
    ) -> Vec<&'a mut dyn Stage> {
        let blocks = blocks.iter_mut().map(|b| b as &mut dyn Stage);
        std::iter::once(first).chain(blocks).chain([head]).collect()
    }
}
