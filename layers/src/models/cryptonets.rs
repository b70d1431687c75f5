//! CryptoNets (Gilad-Bachrach et al. 2016): three linear layers and two squarings, five levels.

use burn::module::Module;

use super::config::features;
use super::{ModelConfig, Network, Part, Stage};
use crate::{ConvBlock, Dense, DenseBlock, WeightInit};

/// Convolution 5x5 to 5 channels with stride 2 (28x28 to 13x13), dense 845 to 100, dense to the classes.
#[derive(Module, Debug)]
pub struct Cryptonets {
    conv1: ConvBlock,
    fc1: DenseBlock,
    fc2: Dense,
}

impl Cryptonets {
    pub(crate) fn new(config: &ModelConfig, init: &mut WeightInit) -> Self {
        let flat = features(config.input, 5, &[(5, 2, 1)]);
        Self {
            conv1: ConvBlock::new([config.input[0], 5], 5, 2, 1, init),
            fc1: DenseBlock::new([flat, 100], init),
            fc2: Dense::head([100, config.classes], init),
        }
    }
}

impl Network for Cryptonets {
    fn parts(&self) -> Vec<Part<'_>> {
        vec![
            Part::new("conv1", &self.conv1, true),
            Part::new("fc1", &self.fc1, true),
            Part::new("fc2", &self.fc2, false),
        ]
    }

    fn parts_mut(&mut self) -> Vec<&mut dyn Stage> {
        vec![&mut self.conv1, &mut self.fc1, &mut self.fc2]
    }
}
