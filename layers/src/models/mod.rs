//! The networks, and what they all can do.

mod cnn64;
mod cnn_s;
mod config;
mod cryptonets;
mod gpt;
mod lenet5;
mod mlp;
mod resnet;
mod resnet18;
mod stage;
mod vgg;
mod vit;

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use hetrain_export::{Graph, GraphBuilder, Interval};

pub use config::{ActivationKind, ModelConfig, ModelName};
pub(crate) use stage::{Flow, Network, Part, Stage, Tap};

use crate::weights::{self, Array};
use crate::{Activation, ActivationState, ActivationStats, LayerError, RangePenalty, RangeProbe};

#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "one network per model; boxing would only hide its size")]
enum Net {
    Mlp(mlp::Mlp),
    CnnS(cnn_s::CnnS),
    Cnn64(cnn64::Cnn64),
    Cryptonets(cryptonets::Cryptonets),
    Lenet5(lenet5::Lenet5),
    Resnet(resnet::Resnet),
    Resnet18(resnet18::Resnet18),
    Vgg11(vgg::Vgg11),
    Vit(vit::Vit),
    Gpt(gpt::Gpt),
}

impl Net {
    fn network(&self) -> &dyn Network {
        match self {
            Self::Mlp(n) => n,
            Self::CnnS(n) => n,
            Self::Cnn64(n) => n,
            Self::Cryptonets(n) => n,
            Self::Lenet5(n) => n,
            Self::Resnet(n) => n,
            Self::Resnet18(n) => n,
            Self::Vgg11(n) => n,
            Self::Vit(n) => n,
            Self::Gpt(n) => n,
        }
    }

    fn network_mut(&mut self) -> &mut dyn Network {
        match self {
            Self::Mlp(n) => n,
            Self::CnnS(n) => n,
            Self::Cnn64(n) => n,
            Self::Cryptonets(n) => n,
            Self::Lenet5(n) => n,
            Self::Resnet(n) => n,
            Self::Resnet18(n) => n,
            Self::Vgg11(n) => n,
            Self::Vit(n) => n,
            Self::Gpt(n) => n,
        }
    }
}

/// What a forward pass gives.
#[derive(Clone, Debug)]
pub struct Forward {
    /// `[batch, classes]`; of a language model `[batch·positions, vocabulary]`.
    pub logits: Tensor<2>,
    /// Results of the hidden stages, `[batch, channels, positions]`, for hint losses.
    pub features: Vec<Tensor<3>>,
    /// Sum of the activations' range penalties; present on a training device while one is set.
    pub penalty: Option<Tensor<1>>,
}

/// A network that is ReLU teacher and polynomial student in one; every activation holds its mode.
///
/// Methods that set run-time state (blends, ranges, clamp, penalty, collection) take `&self`: clones, `valid()` and
/// `train()` share that state, [`HeModel::deep_copy`] does not. An `index` counts activations in forward order; one
/// beyond the last is ignored, or answered with the state of a fresh activation.
#[derive(Module, Debug)]
pub struct HeModel {
    net: Net,
    #[module(skip)]
    config: ModelConfig,
}

impl HeModel {
    /// The settings the model was made from.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Compute.
    ///
    /// # Shapes
    /// - input `[batch, channels, height, width]`, already normalised
    pub fn forward(&self, x: Tensor<4>) -> Forward {
        let mut tap = Tap::default();
        let mut flow = Flow::Map(x);
        for part in self.net.network().parts() {
            flow = part.stage.forward(flow, &mut tap);
            if part.hint {
                tap.features.push(flow.hint());
            }
        }
        let penalty = tap.penalties.into_iter().reduce(|a, b| a + b);
        Forward { logits: flow.flat(), features: tap.features, penalty }
    }

    fn list(&self) -> Vec<(String, &Activation)> {
        let mut out = Vec::new();
        for part in self.net.network().parts() {
            part.stage.activations(&part.name, &mut out);
        }
        out
    }

    fn activation(&self, index: usize) -> Option<&Activation> {
        self.list().into_iter().nth(index).map(|(_, a)| a)
    }

    /// Path of the layer that gives the logits.
    pub(crate) fn last_layer(&self) -> Option<String> {
        self.net.network().parts().pop().map(|part| part.name)
    }

    /// Names of the activations in forward order: `conv1.act`, `layer1.0.conv1.act`, `layer1.0.act`.
    pub fn activation_names(&self) -> Vec<String> {
        self.list().into_iter().map(|(name, _)| name).collect()
    }

    /// Number of activations.
    pub fn activations(&self) -> usize {
        self.list().len()
    }

    /// Share of the quadratic in one activation: 0 is ReLU only, 1 the quadratic only.
    pub fn set_blend(&self, index: usize, r: f32) {
        if let Some(a) = self.activation(index) {
            a.set_blend(r);
        }
    }

    /// Share of the quadratic in one activation.
    pub fn blend(&self, index: usize) -> f32 {
        self.activation(index).map_or(0.0, Activation::blend)
    }

    /// Limit the inputs of all activations to `±clamp` on a training device, never elsewhere; `None` ends it.
    pub fn set_training_clamp(&self, clamp: Option<f32>) {
        self.list().iter().for_each(|(_, a)| a.probe().set_clamp(clamp));
    }

    /// Set where the inputs of one activation are to stay.
    pub fn set_range(&self, index: usize, interval: Interval) {
        if let Some(a) = self.activation(index) {
            a.probe().set_interval(interval);
        }
    }

    /// Where the inputs of one activation are to stay.
    pub fn range(&self, index: usize) -> Interval {
        self.activation(index).map_or(RangeProbe::INTERVAL, |a| a.probe().interval())
    }

    /// Switch the range penalty of all activations on, or off (as it is at first).
    pub fn set_penalty(&self, penalty: Option<RangePenalty>) {
        self.list().iter().for_each(|(_, a)| a.probe().set_penalty(penalty));
    }

    /// Start collecting statistics of the activations' inputs afresh, or stop and forget them. It looks at every value
    /// several times, so this is for calibration passes, not for training.
    pub fn collect_ranges(&self, on: bool) {
        self.list().iter().for_each(|(_, a)| a.probe().collect(on));
    }

    /// The statistics since the start or the last call, one entry per activation in forward order.
    pub fn take_ranges(&self) -> Vec<ActivationStats> {
        self.list()
            .into_iter()
            .map(|(name, a)| ActivationStats { name, channels: a.probe().take() })
            .collect()
    }

    /// Blends and intervals in forward order.
    pub fn runtime(&self) -> Vec<ActivationState> {
        self.list().into_iter().map(|(_, a)| a.state()).collect()
    }

    /// Set blends and intervals in forward order.
    pub fn set_runtime(&self, states: &[ActivationState]) {
        self.list().iter().zip(states).for_each(|((_, a), s)| a.set_state(*s));
    }

    /// Set every quadratic to the least-squares fit of ReLU over the measured inputs, channel by channel.
    ///
    /// # Errors
    /// [`LayerError::Stats`] when the statistics are of another model.
    pub fn fit_quadratics(mut self, stats: &[ActivationStats]) -> Result<Self, LayerError> {
        let mut table = BTreeMap::new();
        let list = self.list();
        if list.len() != stats.len() {
            return Err(LayerError::Stats {
                needs: format!("{} activations", list.len()),
                got: format!("{}", stats.len()),
            });
        }
        for ((name, activation), stats) in list.iter().zip(stats) {
            let channels = activation.coef.channels();
            if *name != stats.name || channels != stats.channels.len() {
                return Err(LayerError::Stats {
                    needs: format!("`{name}` with {channels} channels"),
                    got: format!("`{}` with {}", stats.name, stats.channels.len()),
                });
            }
            for (part, data) in activation.coef.fit(&stats.channels) {
                table.insert(format!("{name}.coef.{part}"), Array { shape: vec![data.len()], data });
            }
        }
        self.net = weights::replace(self.net, table);
        Ok(self)
    }

    /// The network as a graph on pixels in `[0, 1]`, the normalisation `(x − mean)/std` per input channel included.
    ///
    /// # Errors
    /// Half-replaced activations, weights that are not finite, a normalisation for other channels.
    pub fn lower(&self, mean: &[f64], std: &[f64]) -> Result<Graph, LayerError> {
        let mut graph = GraphBuilder::default();
        let mut x = graph.input("input", &self.config.input)?;
        let scale: Vec<f64> = std.iter().map(|s| 1.0 / s).collect();
        let shift: Vec<f64> = mean.iter().zip(std).map(|(m, s)| -m / s).collect();
        x = graph.affine("normalise", x, &scale, &shift)?;
        for part in self.net.network().parts() {
            x = part.stage.lower(&mut graph, &part.name, x)?;
        }
        Ok(graph.finish()?)
    }

    /// Levels an encrypted evaluation of the folded graph consumes, every activation taken as a quadratic.
    pub fn depth(&self) -> usize {
        self.net.network().parts().iter().map(|p| p.stage.depth()).sum()
    }

    /// Number of trained values: parameters without running statistics.
    pub fn trainable(&self) -> usize {
        struct Count(usize);
        impl ModuleVisitor for Count {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0 += param.lazy_shape().num_elements();
            }
        }
        let mut count = Count(0);
        self.visit(&mut count);
        count.0 - weights::running_statistics(self)
    }

    /// A copy that shares nothing: neither running statistics (which `clone()` shares) nor run-time state.
    /// Parameter ids stay, so an optimiser's state fits either.
    pub fn deep_copy(&self) -> Self {
        let mut copy = self.own_statistics();
        for part in copy.net.network_mut().parts_mut() {
            part.activations_mut().into_iter().for_each(Activation::unshare);
        }
        copy
    }

    /// A copy with running statistics of its own, brought up to date, on the same kind of device.
    pub(crate) fn own_statistics(&self) -> Self {
        // `valid` makes new running states from the synchronised values; a clone would share them.
        let valid = self.valid();
        if weights::is_training(self) { valid.train() } else { valid }
    }
}
