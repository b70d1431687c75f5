//! What a run is, with every default filled in: the values the rest of the program uses without checking again.

use std::fmt;

use he_infer::plan::Bootstrapping;
use hetrain_datasets::{Augment, DatasetConfig};
use hetrain_layers::{ActivationKind, AttentionKind, ModelConfig, ModelName, NormKind, Operator, Size};
use serde::Serialize;

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunConfig {
    /// Name of the run; its folder is `runs/NAME`.
    pub name: String,
    /// Seed of everything random: weights, order of samples, augmentation, validation slice.
    pub seed: u64,
    /// The network.
    pub model: ModelSettings,
    /// The data.
    pub data: DataSettings,
    /// The phases, in order.
    pub phases: Vec<PhaseSettings>,
    /// When state is written so that an interrupted run can go on.
    pub checkpoint: CheckpointSettings,
    /// What the encrypted run may assume.
    pub he: HeSettings,
    /// Verification at the end of training; none when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifySettings>,
}

/// A network without data, of which there is a price only.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// What it is called.
    pub name: String,
    /// The network.
    pub model: ModelSettings,
    /// `[channels, height, width]` of a sample.
    pub input: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// What the encrypted run may assume.
    pub he: HeSettings,
}

/// Choice of the network; input shape and classes come from the data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ModelSettings {
    /// The architecture.
    pub name: ModelName,
    /// What replaces ReLU or GELU: `poly2`, a trainable quadratic per channel.
    pub activation: ActivationKind,
    /// What only transformers have.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub transformer: Option<TransformerSettings>,
}

/// Choices for a transformer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TransformerSettings {
    /// What replaces softmax.
    pub attention: AttentionKind,
    /// What replaces layer norms.
    pub norm: NormKind,
    /// How large it is: `width`, `heads`, `blocks`.
    #[serde(flatten)]
    pub size: Size,
}

impl ModelSettings {
    /// Settings of the network for samples of this shape and as many classes.
    pub fn sized(&self, input: [usize; 3], classes: usize) -> ModelConfig {
        let usual =
            ModelConfig { activation: self.activation, ..ModelConfig::new(self.name, input, classes) };
        match self.transformer {
            Some(TransformerSettings { attention, norm, size }) => {
                ModelConfig { attention, norm, size: Some(size), ..usual }
            }
            None => usual,
        }
    }

    /// The kinds of operators that the network has to replace.
    pub fn operators(&self) -> Vec<Operator> {
        let all = Operator::ALL.map(|(_, kind)| kind);
        all.into_iter().filter(|k| self.name.is_transformer() || *k == Operator::Activation).collect()
    }
}

/// Share of the training data kept aside, where nothing else is said.
pub const VALIDATION: f64 = 0.1;

/// The data and how it is fed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DataSettings {
    /// Which data set, where, how read.
    #[serde(flatten)]
    pub source: DatasetConfig,
    /// Samples per step.
    pub batch: usize,
    /// Share of the training data kept aside to choose checkpoints by.
    pub validation: f64,
    /// Of what is kept aside, or of the part to choose by that some sets bring along, use this many samples, chosen by seed, each class
    /// in proportion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_limit: Option<usize>,
    /// Training samples on which activation ranges are measured.
    pub calibration: usize,
    /// Input normalisation.
    pub normalise: NormaliseSetting,
    /// Random changes of training images.
    pub augment: Augment,
}

/// Where mean and deviation of the input come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NormaliseSetting {
    /// Measured on the training data.
    Measure,
    /// Given, one value per channel.
    #[serde(untagged)]
    Given {
        /// Mean per channel, of pixels in `[0, 1]`.
        mean: Vec<f32>,
        /// Standard deviation per channel.
        std: Vec<f32>,
    },
}

/// The kinds of phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseKind {
    /// Ordinary training of the original network.
    Pretrain,
    /// The original network learns to keep the inputs of its activations small.
    RangeAware,
    /// Originals become polynomials.
    Replace,
    /// The polynomial network is trained on.
    Polish,
}

impl PhaseKind {
    /// Every kind with its name in files and messages.
    pub const ALL: [(&'static str, Self); 4] = [
        ("pretrain", Self::Pretrain),
        ("range_aware", Self::RangeAware),
        ("replace", Self::Replace),
        ("polish", Self::Polish),
    ];

    /// The name in files and messages.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, k)| *k == self).map_or("", |(n, _)| n)
    }

    /// Whether the network is no longer the original one at the end of the phase.
    pub fn ends_polynomial(self) -> bool {
        matches!(self, Self::Replace | Self::Polish)
    }
}

impl fmt::Display for PhaseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One phase.
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseSettings {
    /// What the phase does.
    pub kind: PhaseKind,
    /// Passes over the training data.
    pub epochs: usize,
    /// How weights are updated.
    pub optimizer: OptimizerSettings,
    /// How the learning rate changes.
    pub schedule: ScheduleSettings,
    /// Largest norm of the whole gradient; 0 for none.
    pub clip: f64,
    /// Share of the target spread over the other classes.
    pub label_smoothing: f64,
    /// Probability with which a value that a block of a transformer adds is zero while training.
    pub dropout: f64,
    /// Weight of the penalty on activation inputs outside their interval.
    pub range_weight: f64,
    /// Where activation inputs shall stay; measured when absent.
    pub interval: Option<[f64; 2]>,
    /// A measured range is widened by this factor to become the interval.
    pub margin: f64,
    /// Share of the phase over which originals become polynomials.
    pub ramp: f64,
    /// Which kinds of operators are replaced.
    pub operators: Vec<Operator>,
    /// Which activations change first.
    pub order: Order,
    /// Learning rate of the quadratics' coefficients, as a factor.
    pub coef_lr: f64,
    /// Whose features `pretrain` or `polish` begins with: weights of the same architecture, of which all but the last layer is taken.
    /// `polish` takes a polynomial network, so that originals can be replaced where data are plenty, and adapted where they are few.
    pub start: OtherNetwork,
    /// Who teaches.
    pub teacher: OtherNetwork,
    /// How.
    pub distill: DistillSettings,
    /// Activation inputs are clamped to this absolute value while training; not clamped when absent.
    pub clamp: Option<f64>,
    /// The clamp is removed after this share of the phase.
    pub clamp_off: f64,
    /// Decay of the running average of the weights, which is then what is validated and kept; none when absent.
    pub ema: Option<f64>,
    /// By what batch norms normalise while training.
    pub statistics: Statistics,
    /// Augmentation in this phase; that of the data when absent.
    pub augment: Option<Augment>,
    /// Which epoch's network is kept.
    pub keep: KeepSetting,
}

/// By what batch norms normalise while training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistics {
    /// Mean and variance of each batch, which the running ones follow.
    Batch,
    /// The running ones of the phase before, which stay: the network that is trained is the one that is exported.
    Fixed,
}

/// Which epoch's network a phase keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepSetting {
    /// The one that validates best.
    Best,
    /// The last from which hardly an image escapes. Where the network that a phase starts from has seen the validation images,
    /// those that were trained least remember them best.
    Last,
}

/// Order in which activations are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// All at once.
    Together,
    /// One after the other, from the output.
    LastFirst,
    /// One after the other, from the input.
    FirstLast,
}

/// Update rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Adam with the decay added to the gradient.
    Adam,
    /// Adam with the decay apart from the gradient.
    Adamw,
    /// Gradient descent with momentum.
    Sgd,
}

/// An update rule with its numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OptimizerSettings {
    /// The rule.
    pub kind: OptimizerKind,
    /// Peak learning rate.
    pub lr: f64,
    /// Momentum (of `sgd`; the first decay of Adam).
    pub momentum: f64,
    /// Decay of the weights; never applied to biases, batch norm and coefficients.
    pub weight_decay: f64,
}

/// Shapes of the learning rate over a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// Warm-up, then half a cosine down to zero.
    Cosine,
    /// Half a cosine up from a twenty-fifth, half a cosine down to zero.
    OneCycle,
    /// Warm-up, then unchanged.
    Constant,
    /// Warm-up, then a tenth at 60 % and a hundredth at 85 %.
    Step,
}

/// A learning-rate schedule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScheduleSettings {
    /// The shape.
    pub kind: ScheduleKind,
    /// Share of the phase over which the rate rises.
    pub warmup: f64,
}

/// Another network: whose outputs are imitated, or whose features are the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum OtherNetwork {
    /// Nobody: labels only.
    None,
    /// The best network of the phase before.
    Previous,
    /// The best original network of another run; where a polynomial one is asked for, its polynomial network.
    Run(String),
    /// A weights file: `.safetensors`, `.pth` or `.th`.
    File(String),
}

impl From<OtherNetwork> for String {
    fn from(t: OtherNetwork) -> Self {
        match t {
            OtherNetwork::None => "none".into(),
            OtherNetwork::Previous => "previous".into(),
            OtherNetwork::Run(v) => format!("run:{v}"),
            OtherNetwork::File(v) => format!("file:{v}"),
        }
    }
}

/// Weights of the distillation losses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DistillSettings {
    /// Softening of both outputs.
    pub temperature: f64,
    /// Share of the teacher in the loss; the labels have the rest.
    pub weight: f64,
    /// Weight of the differences at stage ends.
    pub features: f64,
    /// Weight of the differences between attention weights.
    pub attention: f64,
}

impl DistillSettings {
    /// Whether a teacher is needed.
    pub fn teaches(&self) -> bool {
        self.weight > 0.0 || self.features > 0.0 || self.attention > 0.0
    }
}

/// When state is written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointSettings {
    /// At the latest after this many minutes (and at every epoch end).
    pub minutes: f64,
    /// Also after this many steps; not by steps when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
}

/// What the encrypted run may assume.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeSettings {
    /// Bits of security.
    pub security: u32,
    /// Whether ciphertexts may be refreshed.
    pub bootstrap: Bootstrapping,
    /// Bits of the logits that shall survive.
    pub precision_bits: u32,
    /// How values share ciphertexts.
    pub layout: LayoutKind,
    /// What the client encrypts.
    #[serde(skip_serializing_if = "InputKind::is_sample")]
    pub input: InputKind,
}

/// What the client encrypts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// The sample: of a text, which token stands at each position.
    #[default]
    Sample,
    /// What the linear layers before anything else make of it, such as the embeddings of tokens.
    Embedded,
}

impl InputKind {
    fn is_sample(&self) -> bool {
        *self == Self::Sample
    }
}

/// How values share ciphertexts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LayoutKind {
    /// One image fills a ciphertext: least latency.
    Image,
    /// One slot per image, thousands of images at once: most throughput.
    Batch,
}

/// Verification at the end of training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerifySettings {
    /// Test samples in the clear rungs; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<usize>,
    /// Test samples in the packed program, which takes many times as long as the folded graph; those of the clear rungs when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packed: Option<usize>,
    /// Test samples in the encrypted rung.
    pub encrypted: usize,
}
