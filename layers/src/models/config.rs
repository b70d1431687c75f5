//! Which network, for which data.

use std::fmt;

use burn::tensor::Device;
use hetrain_export::{Conv2dGeometry, conv_out_shape};
use serde::{Deserialize, Serialize};

use super::{
    HeModel, Net, cnn_s::CnnS, cnn64::Cnn64, cryptonets::Cryptonets, lenet5::Lenet5, mlp::Mlp,
    resnet::Resnet, resnet18::Resnet18, text, vgg::Vgg11, vit,
};
use crate::{AttentionKind, Function, LayerError, WeightInit};

/// The networks this crate knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelName {
    /// Dense 128, 128, classes.
    Mlp,
    /// Convolutions 3x3 to 16 and 32 channels (the second with stride 2), dense: for 8x8 images.
    CnnS,
    /// Convolutions 3x3 to 16, 32, 64 and 64 channels (all but the first with stride 2), mean, dense: for 64x64 images.
    Cnn64,
    /// Convolution 5x5 to 5 channels with stride 2, dense 100, dense (Gilad-Bachrach et al. 2016, CryptoNets).
    Cryptonets,
    /// Convolutions 5x5 to 32 and 64 channels with stride 2, dense 512, dense.
    Lenet5,
    /// ResNet of 20 layers for CIFAR (He et al. 2015), option-A shortcuts.
    Resnet20,
    /// The same with 32 layers.
    Resnet32,
    /// The same with 44 layers.
    Resnet44,
    /// The same with 56 layers.
    Resnet56,
    /// ResNet of 18 layers with 64 to 512 channels, projections on shortcuts, and a 3x3 stem for small images.
    Resnet18,
    /// VGG of 11 layers with batch norm and average pools (Simonyan and Zisserman 2014).
    Vgg11,
    /// Vision transformer on 64 patches, eight by eight, four blocks, 64 wide.
    Vit,
    /// Language model, four blocks, 128 wide.
    Gpt,
    /// Classifier of texts, four blocks, 128 wide, that looks both ways.
    Bert,
}

impl ModelName {
    /// Every network.
    pub const ALL: [Self; 14] = [
        Self::Mlp,
        Self::CnnS,
        Self::Cnn64,
        Self::Cryptonets,
        Self::Lenet5,
        Self::Resnet20,
        Self::Resnet32,
        Self::Resnet44,
        Self::Resnet56,
        Self::Resnet18,
        Self::Vgg11,
        Self::Vit,
        Self::Gpt,
        Self::Bert,
    ];

    /// The name in configurations and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mlp => "mlp",
            Self::CnnS => "cnn-s",
            Self::Cnn64 => "cnn64",
            Self::Cryptonets => "cryptonets",
            Self::Lenet5 => "lenet5",
            Self::Resnet20 => "resnet20",
            Self::Resnet32 => "resnet32",
            Self::Resnet44 => "resnet44",
            Self::Resnet56 => "resnet56",
            Self::Resnet18 => "resnet18",
            Self::Vgg11 => "vgg11",
            Self::Vit => "vit",
            Self::Gpt => "gpt",
            Self::Bert => "bert",
        }
    }

    /// Whether the network reads text and answers for every position of it.
    pub const fn reads_text(self) -> bool {
        matches!(self, Self::Gpt)
    }

    /// Whether the network consists of attention, layer norms and GELU at first.
    pub const fn is_transformer(self) -> bool {
        matches!(self, Self::Vit | Self::Gpt | Self::Bert)
    }

    /// Whether the network has residual blocks with an activation on the sum.
    pub const fn has_branches(self) -> bool {
        matches!(self, Self::Resnet18) || self.blocks().is_some()
    }

    /// The usual size of a transformer.
    pub const fn size(self) -> Size {
        let width = if matches!(self, Self::Vit) { 64 } else { 128 };
        Size { width, heads: 4, blocks: 4, hidden: None, block: BlockKind::Plain }
    }

    /// Residual blocks per resolution; `None` for networks that are no CIFAR ResNets.
    pub(crate) const fn blocks(self) -> Option<usize> {
        match self {
            Self::Resnet20 => Some(3),
            Self::Resnet32 => Some(5),
            Self::Resnet44 => Some(7),
            Self::Resnet56 => Some(9),
            _ => None,
        }
    }

    /// What the network halves or averages away to nothing: the side of a square image is a multiple of it. `None` where
    /// height and width are free.
    const fn side_step(self) -> Option<usize> {
        match self {
            Self::Mlp | Self::CnnS | Self::Cryptonets | Self::Lenet5 => None,
            Self::Vit | Self::Gpt | Self::Bert => None,
            Self::Resnet20 | Self::Resnet32 | Self::Resnet44 | Self::Resnet56 => Some(4),
            Self::Resnet18 | Self::Cnn64 => Some(8),
            Self::Vgg11 => Some(32),
        }
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What replaces ReLU, and GELU in transformers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActivationKind {
    /// A trainable quadratic per channel, one level.
    #[default]
    Poly2,
    /// The same, but the one that ends a residual block acts on its branch, behind a trainable gate, and not on the sum.
    Poly2Branch,
    /// The Hermite expansion of ReLU with its bases normalised ([`Hermite`](crate::Hermite)), one level.
    Herpn,
    /// The interpolant of degree 6 on a trained interval, three levels and one for the map of the interval.
    Poly6,
    /// That of degree 14, four levels and one.
    Poly14,
    /// That of degree 30, five levels and one.
    Poly30,
}

impl ActivationKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Poly2, Self::Poly2Branch, Self::Herpn, Self::Poly6, Self::Poly14, Self::Poly30];

    /// The name in configurations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Poly2 => "poly2",
            Self::Poly2Branch => "poly2-branch",
            Self::Herpn => "herpn",
            Self::Poly6 => "poly6",
            Self::Poly14 => "poly14",
            Self::Poly30 => "poly30",
        }
    }
}

/// What replaces layer norms ([`Norm`](crate::Norm) compares them).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormKind {
    /// Batch norm.
    #[default]
    Batch,
    /// Division by the root mean square, by a polynomial.
    Rms,
    /// Layer norm whose deviation is a polynomial's.
    Layer,
    /// Layer norm with the running mean of the deviations.
    Running,
    /// A trained factor and summand per channel.
    Affine,
}

impl NormKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Batch, Self::Rms, Self::Layer, Self::Running, Self::Affine];

    /// The name in configurations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Rms => "rms",
            Self::Layer => "layer",
            Self::Running => "running",
            Self::Affine => "affine",
        }
    }
}

/// How attention and the hidden layer of a block are put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlockKind {
    /// One after the other (Radford et al. 2019).
    #[default]
    Plain,
    /// Beside each other, added at once (Wang and Komatsuzaki 2021, GPT-J): fewer levels.
    Parallel,
    /// One after the other, the hidden layer multiplied with a second one (Shazeer 2020, arXiv:2002.05202): a level more.
    Gated,
}

impl BlockKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Parallel, Self::Gated];

    /// The name in configurations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Parallel => "parallel",
            Self::Gated => "gated",
        }
    }

    fn is_plain(&self) -> bool {
        *self == Self::Plain
    }
}

/// How large a transformer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Features of a position.
    pub width: usize,
    /// Heads that share them.
    pub heads: usize,
    /// Blocks.
    pub blocks: usize,
    /// Features of the hidden layers, if not twice the width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<usize>,
    /// What blocks are like.
    #[serde(default, skip_serializing_if = "BlockKind::is_plain")]
    pub block: BlockKind,
}

impl Size {
    /// Features of the hidden layers.
    pub fn hidden(&self) -> usize {
        self.hidden.unwrap_or(2 * self.width)
    }
}

/// Settings of [`HeModel`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The network.
    pub name: ModelName,
    /// `[channels, height, width]` of a sample.
    pub input: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// What replaces activations.
    #[serde(default)]
    pub activation: ActivationKind,
    /// What replaces softmax, in transformers.
    #[serde(default)]
    pub attention: AttentionKind,
    /// What replaces layer norms, in transformers.
    #[serde(default)]
    pub norm: NormKind,
    /// How large a transformer is, if not as usual.
    #[serde(default)]
    pub size: Option<Size>,
}

/// Largest extent or count accepted: beyond it sizes are a mistake, and their products could overflow.
const SIZE_MAX: usize = 4096;
/// The same for vocabularies and hidden layers.
const MANY_MAX: usize = 1 << 20;

impl ModelConfig {
    /// With the usual replacements.
    pub fn new(name: ModelName, input: [usize; 3], classes: usize) -> Self {
        let (activation, attention, norm, size) = Default::default();
        Self { name, input, classes, activation, attention, norm, size }
    }

    /// How large the transformer is.
    pub fn size(&self) -> Size {
        self.size.unwrap_or(self.name.size())
    }

    /// Whether the network exists for this input and number of classes.
    ///
    /// # Errors
    /// [`LayerError::Config`] with what is needed.
    pub fn check(&self) -> Result<(), LayerError> {
        let fail = |what, needs: String, got: String| {
            Err(LayerError::Config { model: self.name.as_str(), what, needs, got })
        };
        let [c, h, w] = self.input;
        let words = matches!(self.name, ModelName::Gpt | ModelName::Bert);
        let most = if words { MANY_MAX } else { SIZE_MAX };
        if self.classes < 2 || self.classes > most {
            return fail("number of classes", format!("2 to {most}"), self.classes.to_string());
        }
        if self.input.contains(&0) || c > most || h.max(w) > SIZE_MAX {
            let needs = format!("[channels, height, width] from 1 to {SIZE_MAX} ({most} channels)");
            return fail("input", needs, format!("{:?}", self.input));
        }
        let size @ Size { width, heads, blocks, .. } = self.size();
        if !(1..=MANY_MAX).contains(&size.hidden()) {
            return fail("hidden", format!("1 to {MANY_MAX}"), size.hidden().to_string());
        }
        if [width, heads, blocks].iter().any(|n| !(1..=SIZE_MAX).contains(n)) || width % heads != 0 {
            let needs = format!("a width that the heads divide, and 1 to {SIZE_MAX} of each");
            let got = format!("{width} wide, {heads} heads, {blocks} blocks");
            return fail("size", needs, got);
        }
        let fits = match self.name {
            ModelName::Cryptonets => after(self.input, 5, 2, 1).is_some(),
            ModelName::Gpt => w == 1 && c == self.classes,
            ModelName::Bert => w == 1,
            // Patches that hang over the border do so by the same on both sides.
            ModelName::Vit => h == w && h.div_ceil(vit::SIDE) * vit::SIDE % 2 == h % 2,
            _ => true,
        };
        if !fits {
            let needs = match self.name {
                ModelName::Vit => "a square image of an even side",
                ModelName::Gpt => "text: a channel for each class, and one column",
                ModelName::Bert => "text: a channel for each token, and one column",
                _ => "height and width of at least 3",
            };
            return fail("input", needs.into(), format!("{:?}", self.input));
        }
        if let Some(step) = self.name.side_step()
            && (h != w || h % step != 0)
        {
            let needs = format!("a square image, its side divisible by {step}");
            return fail("input", needs, format!("{:?}", self.input));
        }
        Ok(())
    }

    /// Build the network on `device`, weights drawn on the host from ChaCha20(`seed`): the same on every device.
    /// Every operator has its original form, trained quadratics are the fit to it on N(0, 1).
    ///
    /// # Errors
    /// [`LayerError::Config`].
    pub fn init(&self, device: &Device, seed: u64) -> Result<HeModel, LayerError> {
        self.build(WeightInit::new(device, seed))
    }

    /// The same network with weights that are shapes only, all of a layer of the same value, until somebody asks for them: what a
    /// network costs does not depend on their values, and large ones need not fit into memory.
    ///
    /// # Errors
    /// [`LayerError::Config`].
    pub fn sketch(&self, device: &Device) -> Result<HeModel, LayerError> {
        self.build(WeightInit::new(device, 0).sketch())
    }

    fn build(&self, init: WeightInit) -> Result<HeModel, LayerError> {
        self.check()?;
        let function = if self.name.is_transformer() { Function::Gelu } else { Function::Relu };
        let init = &mut init.with_activation(self.activation).with_function(function);
        let net = match self.name {
            ModelName::Mlp => Net::Mlp(Mlp::new(self, init)),
            ModelName::CnnS => Net::CnnS(CnnS::new(self, init)),
            ModelName::Cnn64 => Net::Cnn64(Cnn64::new(self, init)),
            ModelName::Cryptonets => Net::Cryptonets(Cryptonets::new(self, init)),
            ModelName::Lenet5 => Net::Lenet5(Lenet5::new(self, init)),
            ModelName::Resnet20 | ModelName::Resnet32 | ModelName::Resnet44 | ModelName::Resnet56 => {
                Net::Resnet(Resnet::new(self, self.name.blocks().unwrap_or(3), init))
            }
            ModelName::Resnet18 => Net::Resnet18(Resnet18::new(self, init)),
            ModelName::Vgg11 => Net::Vgg11(Vgg11::new(self, init)),
            ModelName::Vit => Net::Vit(vit::Vit::new(self, init)),
            ModelName::Gpt => Net::Gpt(text::Text::new(self, true, init)),
            ModelName::Bert => Net::Bert(text::Text::new(self, false, init)),
        };
        Ok(HeModel { net, config: self.clone() })
    }
}

/// `[height, width]` after a convolution, `None` if the kernel does not fit.
fn after([_, h, w]: [usize; 3], kernel: usize, stride: usize, padding: usize) -> Option<[usize; 2]> {
    conv_out_shape([h, w], [kernel; 2], &Conv2dGeometry::new(stride, padding))
}

/// Values left after convolutions of `(kernel, stride, padding)` ending in `channels` channels.
pub(crate) fn features(input: [usize; 3], channels: usize, convs: &[(usize, usize, usize)]) -> usize {
    let [c, h, w] = input;
    // `check` has refused inputs that do not fit.
    let [h, w] = convs.iter().fold([h, w], |[h, w], &(k, s, p)| after([c, h, w], k, s, p).unwrap_or([0, 0]));
    channels * h * w
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: ModelName, input: [usize; 3]) -> ModelConfig {
        ModelConfig::new(name, input, 10)
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused_in_words() {
        for (name, input) in [
            (ModelName::Cryptonets, [1, 2, 2]),
            (ModelName::Mlp, [1, 0, 28]),
            (ModelName::Resnet20, [3, 30, 30]),
            (ModelName::Resnet18, [3, 28, 28]),
            (ModelName::Cnn64, [1, 64, 56]),
            (ModelName::Vgg11, [3, 48, 48]),
            (ModelName::Vit, [3, 27, 27]),
            (ModelName::Lenet5, [usize::MAX, 28, 28]),
        ] {
            let err = config(name, input).init(&Device::flex(), 0).map(drop).unwrap_err().to_string();
            assert!(err.contains(name.as_str()) && err.contains("help:"), "{err}");
        }
        let one = ModelConfig { classes: 1, ..config(ModelName::Mlp, [1, 8, 8]) };
        assert!(one.check().is_err());
    }

    #[test]
    fn names_are_written_as_they_are_shown() {
        for name in ModelName::ALL {
            assert_eq!(serde_json::to_string(&name).unwrap(), format!("\"{name}\""));
        }
    }

    #[test]
    fn the_flattened_sizes_are_those_of_the_papers() {
        assert_eq!(features([1, 28, 28], 5, &[(5, 2, 1)]), 845);
        assert_eq!(features([1, 28, 28], 64, &[(5, 2, 2), (5, 2, 2)]), 3136);
    }
}
