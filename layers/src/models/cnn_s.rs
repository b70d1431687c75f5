//! Small convolutional network for 8x8 images: three linear layers and two squarings, five levels.

use burn::module::Module;

use super::config::features;
use super::{ModelConfig, Network, Part, Stage};
use crate::{ConvBlock, Dense, WeightInit};

/// Convolutions 3x3 to 16 and 32 channels, the second with stride 2, and a dense layer.
#[derive(Module, Debug)]
pub struct CnnS {
    conv1: ConvBlock,
    conv2: ConvBlock,
    fc: Dense,
}

impl CnnS {
    pub(crate) fn new(config: &ModelConfig, init: &mut WeightInit) -> Self {
        let flat = features(config.input, 32, &[(3, 1, 1), (3, 2, 1)]);
        Self {
            conv1: ConvBlock::new([config.input[0], 16], 3, 1, 1, init),
            conv2: ConvBlock::new([16, 32], 3, 2, 1, init),
            fc: Dense::head([flat, config.classes], init),
        }
    }
}

impl Network for CnnS {
    fn parts(&self) -> Vec<Part<'_>> {
        vec![
            Part::new("conv1", &self.conv1, true),
            Part::new("conv2", &self.conv2, true),
            Part::new("fc", &self.fc, false),
        ]
    }

    fn parts_mut(&mut self) -> Vec<&mut dyn Stage> {
        vec![&mut self.conv1, &mut self.conv2, &mut self.fc]
    }
}
