//! VGG-11 (Simonyan and Zisserman 2014, arXiv:1409.1556) with batch norm and one dense layer, as is usual for CIFAR.
//!
//! A maximum is no polynomial, so its five max-pools are average pools of the same size. Eight convolutions, eight
//! activations, four pools between convolutions and the dense layer, which takes the fifth pool over: 21 levels.

use burn::module::Module;

use super::{ModelConfig, Network, Part, Stage};
use crate::{AvgPool, ConvBlock, Dense, WeightInit};

/// Convolutions 3x3 to 64, 128, 256, 256, 512, 512, 512 and 512 channels, five halvings, dense layer.
#[derive(Module, Debug)]
pub struct Vgg11 {
    conv1: ConvBlock,
    pool1: AvgPool,
    conv2: ConvBlock,
    pool2: AvgPool,
    conv3: ConvBlock,
    conv4: ConvBlock,
    pool3: AvgPool,
    conv5: ConvBlock,
    conv6: ConvBlock,
    pool4: AvgPool,
    conv7: ConvBlock,
    conv8: ConvBlock,
    pool5: AvgPool,
    fc: Dense,
}

impl Vgg11 {
    pub(crate) fn new(config: &ModelConfig, init: &mut WeightInit) -> Self {
        let [channels, side, _] = config.input;
        let left = (side / 32).pow(2);
        let mut conv = |ci: usize, co: usize| ConvBlock::new([ci, co], 3, 1, 1, init);
        Self {
            conv1: conv(channels, 64),
            pool1: AvgPool::between(2),
            conv2: conv(64, 128),
            pool2: AvgPool::between(2),
            conv3: conv(128, 256),
            conv4: conv(256, 256),
            pool3: AvgPool::between(2),
            conv5: conv(256, 512),
            conv6: conv(512, 512),
            pool4: AvgPool::between(2),
            conv7: conv(512, 512),
            conv8: conv(512, 512),
            pool5: AvgPool::new(2),
            fc: Dense::head([512 * left, config.classes], init),
        }
    }
}

impl Network for Vgg11 {
    fn parts(&self) -> Vec<Part<'_>> {
        vec![
            Part::new("conv1", &self.conv1, false),
            Part::new("pool1", &self.pool1, true),
            Part::new("conv2", &self.conv2, false),
            Part::new("pool2", &self.pool2, true),
            Part::new("conv3", &self.conv3, false),
            Part::new("conv4", &self.conv4, false),
            Part::new("pool3", &self.pool3, true),
            Part::new("conv5", &self.conv5, false),
            Part::new("conv6", &self.conv6, false),
            Part::new("pool4", &self.pool4, true),
            Part::new("conv7", &self.conv7, false),
            Part::new("conv8", &self.conv8, false),
            Part::new("pool5", &self.pool5, true),
            Part::new("fc", &self.fc, false),
        ]
    }

    fn parts_mut(&mut self) -> Vec<&mut dyn Stage> {
        vec![
            &mut self.conv1,
            &mut self.pool1,
            &mut self.conv2,
            &mut self.pool2,
            &mut self.conv3,
            &mut self.conv4,
            &mut self.pool3,
            &mut self.conv5,
            &mut self.conv6,
            &mut self.pool4,
            &mut self.conv7,
            &mut self.conv8,
            &mut self.pool5,
            &mut self.fc,
        ]
    }
}
