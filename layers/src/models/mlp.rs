//! Multi-layer perceptron 784-128-128-10: three matrix products and two squarings, five levels.

use burn::module::Module;

use super::{ModelConfig, Network, Part, Stage};
use crate::{Dense, DenseBlock, WeightInit};

/// Width of the hidden layers.
const HIDDEN: usize = 128;

/// Two hidden dense layers and the last one.
#[derive(Module, Debug)]
pub struct Mlp {
    fc1: DenseBlock,
    fc2: DenseBlock,
    fc3: Dense,
}

impl Mlp {
    pub(crate) fn new(config: &ModelConfig, init: &mut WeightInit) -> Self {
        Self {
            fc1: DenseBlock::new([config.input.iter().product(), HIDDEN], init),
            fc2: DenseBlock::new([HIDDEN, HIDDEN], init),
            fc3: Dense::head([HIDDEN, config.classes], init),
        }
    }
}

impl Network for Mlp {
    fn parts(&self) -> Vec<Part<'_>> {
        vec![
            Part::new("fc1", &self.fc1, true),
            Part::new("fc2", &self.fc2, true),
            Part::new("fc3", &self.fc3, false),
        ]
    }

    fn parts_mut(&mut self) -> Vec<&mut dyn Stage> {
        vec![&mut self.fc1, &mut self.fc2, &mut self.fc3]
    }
}
