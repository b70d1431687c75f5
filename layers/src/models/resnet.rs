//! ResNets for CIFAR (He et al. 2015, arXiv:1512.03385, §4.2): `6n + 2` layers with 16, 32 and 64 channels.
//!
//! Activation on the sum and option-A shortcuts, as in the public weights for PyTorch. ResNet-20 has 20 linear layers
//! and 19 activations on its longest path: 39 levels.

use burn::module::Module;

use super::{ModelConfig, Network, Part, Stage};
use crate::{AvgPool, BasicBlock, ConvBlock, Dense, WeightInit};

/// First convolution, three groups of residual blocks, mean over what is left of the image, dense layer.
#[derive(Module, Debug)]
pub struct Resnet {
    conv1: ConvBlock,
    layer1: Vec<BasicBlock>,
    layer2: Vec<BasicBlock>,
    layer3: Vec<BasicBlock>,
    pool: AvgPool,
    linear: Dense,
}

impl Resnet {
    pub(crate) fn new(config: &ModelConfig, blocks: usize, init: &mut WeightInit) -> Self {
        let [channels, side, _] = config.input;
        let conv1 = ConvBlock::new([channels, 16], 3, 1, 1, init);
        let mut group = |ci: usize, co: usize, stride: usize| -> Vec<BasicBlock> {
            (0..blocks)
                .map(|i| match i {
                    0 => BasicBlock::new([ci, co], stride, init),
                    _ => BasicBlock::new([co, co], 1, init),
                })
                .collect()
        };
        let (layer1, layer2, layer3) = (group(16, 16, 1), group(16, 32, 2), group(32, 64, 2));
        let linear = Dense::head([64, config.classes], init);
        Self { conv1, layer1, layer2, layer3, pool: AvgPool::new(side / 4), linear }
    }
}

impl Network for Resnet {
    fn parts(&self) -> Vec<Part<'_>> {
        let mut parts = vec![Part::new("conv1", &self.conv1, false)];
        for (group, blocks) in [("layer1", &self.layer1), ("layer2", &self.layer2), ("layer3", &self.layer3)]
        {
            for (i, block) in blocks.iter().enumerate() {
                parts.push(Part::new(format!("{group}.{i}"), block, i + 1 == blocks.len()));
            }
        }
        parts.push(Part::new("pool", &self.pool, false));
        parts.push(Part::new("linear", &self.linear, false));
        parts
    }

    fn parts_mut(&mut self) -> Vec<&mut dyn Stage> {
        let mut parts: Vec<&mut dyn Stage> = vec![&mut self.conv1];
        let blocks = self.layer1.iter_mut().chain(&mut self.layer2).chain(&mut self.layer3);
        parts.extend(blocks.map(|b| b as &mut dyn Stage));
        parts.push(&mut self.pool);
        parts.push(&mut self.linear);
        parts
    }
}
