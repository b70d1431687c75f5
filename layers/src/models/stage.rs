//! A network as a list of stages: what forward, lowering and traversal walk over.

use burn::tensor::Tensor;

use crate::operator::Site;
use crate::{Dropout, Lower, Switch};

/// What passes from stage to stage.
pub(crate) enum Flow {
    /// `[batch, channels, height, width]`.
    Map(Tensor<4>),
    /// `[batch, features]`.
    Flat(Tensor<2>),
}

impl Flow {
    /// As maps; features become maps of one pixel.
    pub(crate) fn map(self) -> Tensor<4> {
        match self {
            Self::Map(x) => x,
            Self::Flat(x) => {
                let [batch, features] = x.dims();
                x.reshape([batch, features, 1, 1])
            }
        }
    }

    /// As features; maps are flattened channel-major.
    pub(crate) fn flat(self) -> Tensor<2> {
        match self {
            Self::Map(x) => x.flatten(1, 3),
            Self::Flat(x) => x,
        }
    }

    /// `[batch, channels, positions]` for hint losses.
    pub(crate) fn hint(&self) -> Tensor<3> {
        match self {
            Self::Map(x) => x.clone().flatten(2, 3),
            Self::Flat(x) => x.clone().unsqueeze_dim(2),
        }
    }
}

/// What a forward pass leaves beside its result, and what it drops on its way.
#[derive(Default)]
pub(crate) struct Tap {
    pub(crate) features: Vec<Tensor<3>>,
    pub(crate) attention: Vec<Tensor<4>>,
    pub(crate) penalties: Vec<Tensor<1>>,
    pub(crate) dropout: Option<Dropout>,
}

impl Tap {
    /// What is left of a branch before it is added to the way around.
    pub(crate) fn dropped<const D: usize>(&mut self, x: Tensor<D>) -> Tensor<D> {
        match &mut self.dropout {
            Some(dropout) => dropout.apply(x),
            None => x,
        }
    }
}

/// One step of a network.
pub(crate) trait Stage: Lower {
    /// Compute.
    fn forward(&self, x: Flow, tap: &mut Tap) -> Flow;

    /// Append the operators inside, in forward order.
    fn operators<'a>(&'a self, _name: &str, _out: &mut Vec<Site<'a>>) {}

    /// Their switches, in forward order.
    fn switches_mut(&mut self) -> Vec<&mut Switch> {
        Vec::new()
    }
}

/// A stage with its place in the network.
pub(crate) struct Part<'a> {
    /// Path of the module, which also names its nodes.
    pub(crate) name: String,
    /// The module.
    pub(crate) stage: &'a dyn Stage,
    /// Whether its result is compared with the teacher's by hint losses.
    pub(crate) hint: bool,
}

impl<'a> Part<'a> {
    pub(crate) fn new(name: impl Into<String>, stage: &'a dyn Stage, hint: bool) -> Self {
        Self { name: name.into(), stage, hint }
    }
}

/// A module that is a list of stages.
pub(crate) trait Network {
    /// The stages, in forward order.
    fn parts(&self) -> Vec<Part<'_>>;

    /// The same, to change.
    fn parts_mut(&mut self) -> Vec<&mut dyn Stage>;
}
