//! LeNet in the shape other systems for encrypted inference are measured on: four linear layers and three squarings,
//! seven levels.

use burn::module::Module;

use super::config::features;
use super::{ModelConfig, Network, Part, Stage};
use crate::{ConvBlock, Dense, DenseBlock, WeightInit};

/// Convolutions 5x5 to 32 and 64 channels with stride 2 and padding 2 (28, 14, 7), dense 3 136 to 512, dense.
#[derive(Module, Debug)]
pub struct Lenet5 {
    conv1: ConvBlock,
    conv2: ConvBlock,
    fc1: DenseBlock,
    fc2: Dense,
}

impl Lenet5 {
    pub(crate) fn new(config: &ModelConfig, init: &mut WeightInit) -> Self {
        let flat = features(config.input, 64, &[(5, 2, 2), (5, 2, 2)]);
        Self {
            conv1: ConvBlock::new([config.input[0], 32], 5, 2, 2, init),
            conv2: ConvBlock::new([32, 64], 5, 2, 2, init),
            fc1: DenseBlock::new([flat, 512], init),
            fc2: Dense::head([512, config.classes], init),
        }
    }
}

impl Network for Lenet5 {
    fn parts(&self) -> Vec<Part<'_>> {
        vec![
            Part::new("conv1", &self.conv1, true),
            Part::new("conv2", &self.conv2, true),
            Part::new("fc1", &self.fc1, true),
            Part::new("fc2", &self.fc2, false),
        ]
    }

    fn parts_mut(&mut self) -> Vec<&mut dyn Stage> {
        vec![&mut self.conv1, &mut self.conv2, &mut self.fc1, &mut self.fc2]
    }
}
