//! ResNet-18 (He et al. 2015, arXiv:1512.03385) with the stem for small images: 3x3, stride 1, no pooling after it.
//!
//! Projections where shapes change (option B), parameters named as in torchvision's weights. 18 linear layers and 17
//! activations on the longest path: 35 levels, fewer than the 39 of ResNet-20, at forty times its weights.

use burn::module::Module;

use super::{ModelConfig, Network, Part, Stage};
use crate::{AvgPool, BasicBlock, ConvBlock, Dense, WeightInit};

/// First convolution, four groups of two residual blocks with 64, 128, 256 and 512 channels, mean over what is left of
/// the image, dense layer.
#[derive(Module, Debug)]
pub struct Resnet18 {
    conv1: ConvBlock,
    layer1: Vec<BasicBlock>,
    layer2: Vec<BasicBlock>,
    layer3: Vec<BasicBlock>,
    layer4: Vec<BasicBlock>,
    pool: AvgPool,
    fc: Dense,
}

impl Resnet18 {
    pub(crate) fn new(config: &ModelConfig, init: &mut WeightInit) -> Self {
        let [channels, side, _] = config.input;
        let group = |ci: usize, co: usize, stride: usize, init: &mut WeightInit| {
            vec![BasicBlock::projected([ci, co], stride, init), BasicBlock::projected([co, co], 1, init)]
        };
        Self {
            conv1: ConvBlock::new([channels, 64], 3, 1, 1, init),
            layer1: group(64, 64, 1, init),
            layer2: group(64, 128, 2, init),
            layer3: group(128, 256, 2, init),
            layer4: group(256, 512, 2, init),
            pool: AvgPool::new(side / 8),
            fc: Dense::head([512, config.classes], init),
        }
    }
}

impl Network for Resnet18 {
    fn parts(&self) -> Vec<Part<'_>> {
        let mut parts = vec![Part::new("conv1", &self.conv1, false)];
        let groups = [
            ("layer1", &self.layer1),
            ("layer2", &self.layer2),
            ("layer3", &self.layer3),
            ("layer4", &self.layer4),
        ];
        for (group, blocks) in groups {
            for (i, block) in blocks.iter().enumerate() {
                parts.push(Part::new(format!("{group}.{i}"), block, i + 1 == blocks.len()));
            }
        }
        parts.push(Part::new("pool", &self.pool, false));
        parts.push(Part::new("fc", &self.fc, false));
        parts
    }

    fn parts_mut(&mut self) -> Vec<&mut dyn Stage> {
        let mut parts: Vec<&mut dyn Stage> = vec![&mut self.conv1];
        let groups = [&mut self.layer1, &mut self.layer2, &mut self.layer3, &mut self.layer4];
        parts.extend(groups.into_iter().flatten().map(|b| b as &mut dyn Stage));
        parts.push(&mut self.pool);
        parts.push(&mut self.fc);
        parts
    }
}
