//! Convolutional network for 64x64 images and few of them: five linear layers and four squarings, nine levels.
//!
//! 61 000 weights, and a mean over the image before the last layer: a few hundred samples are not learnt by heart at once,
//! and where in the image something is does not matter. Strides stand in for pools, which would cost a level each.

use burn::module::Module;

use super::{ModelConfig, Network, Part, Stage};
use crate::{AvgPool, ConvBlock, Dense, WeightInit};

/// Convolutions 3x3 to 16, 32, 64 and 64 channels, all but the first with stride 2, mean over what is left of the image,
/// dense layer.
#[derive(Module, Debug)]
pub struct Cnn64 {
    conv1: ConvBlock,
    conv2: ConvBlock,
    conv3: ConvBlock,
    conv4: ConvBlock,
    pool: AvgPool,
    fc: Dense,
}

impl Cnn64 {
    pub(crate) fn new(config: &ModelConfig, init: &mut WeightInit) -> Self {
        let [channels, side, _] = config.input;
        Self {
            conv1: ConvBlock::new([channels, 16], 3, 1, 1, init),
            conv2: ConvBlock::new([16, 32], 3, 2, 1, init),
            conv3: ConvBlock::new([32, 64], 3, 2, 1, init),
            conv4: ConvBlock::new([64, 64], 3, 2, 1, init),
            pool: AvgPool::new(side / 8),
            fc: Dense::head([64, config.classes], init),
        }
    }
}

impl Network for Cnn64 {
    fn parts(&self) -> Vec<Part<'_>> {
        vec![
            Part::new("conv1", &self.conv1, true),
            Part::new("conv2", &self.conv2, true),
            Part::new("conv3", &self.conv3, true),
            Part::new("conv4", &self.conv4, true),
            Part::new("pool", &self.pool, false),
            Part::new("fc", &self.fc, false),
        ]
    }

    fn parts_mut(&mut self) -> Vec<&mut dyn Stage> {
        vec![&mut self.conv1, &mut self.conv2, &mut self.conv3, &mut self.conv4, &mut self.pool, &mut self.fc]
    }
}
