//! The networks, and what they all can do.

mod cnn64;
mod cnn_s;
mod config;
mod cryptonets;
mod lenet5;
mod mlp;
mod resnet;
mod resnet18;
mod stage;
mod text;
mod vgg;
mod vit;

use std::collections::BTreeMap;

use burn::module::{Flag, Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use hetrain_export::{Graph, GraphBuilder, Interval};

pub use config::{ActivationKind, BlockKind, ModelConfig, ModelName, NormKind, Size};
pub(crate) use stage::{Flow, Network, Part, Stage, Tap};

use crate::attention::EPSILON;
use crate::operator::{Site, Source};
use crate::weights::{self, Array};
use crate::{
    Dropout, Function, LayerError, Operator, OperatorState, OperatorStats, RangePenalty, RangeProbe, Switch,
};

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
    Gpt(text::Text),
    Bert(text::Text),
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
            Self::Bert(n) => n,
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
            Self::Bert(n) => n,
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
    /// Weights of every attention, `[batch, heads, query, key]`, for hint losses.
    pub attention: Vec<Tensor<4>>,
    /// Sum of the operators' range penalties; present on a training device while one is set.
    pub penalty: Option<Tensor<1>>,
}

/// A network that is teacher and polynomial student in one; every operator holds its mode.
///
/// Methods that set run-time state (blends, ranges, clamp, penalty, collection) take `&self`: clones, `valid()` and
/// `train()` share that state, [`HeModel::deep_copy`] does not. An `index` counts operators in forward order; one
/// beyond the last is ignored, or answered with the state of a fresh one.
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

    /// The same model whose batch norms, in training too, use the statistics they have and keep them: what is trained is what is
    /// exported. (A batch's own statistics hide an image that is far from the others, which then leaves every range when it is alone.) HerPN,
    /// and norms and attention that divide by running means, go on with those of batches.
    #[must_use]
    pub fn with_fixed_statistics(self) -> Self {
        struct Freeze;
        impl ModuleMapper for Freeze {
            fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
                flag.with_value(false)
            }
        }
        self.map(&mut Freeze)
    }

    /// Compute.
    ///
    /// # Shapes
    /// - input `[batch, channels, height, width]`, already normalised
    pub fn forward(&self, x: Tensor<4>) -> Forward {
        self.forward_dropping(x, None)
    }

    /// [`Self::forward`] in which the blocks of a transformer lose values of what they add; other networks lose none.
    pub fn forward_dropping(&self, x: Tensor<4>, dropout: Option<Dropout>) -> Forward {
        let mut tap = Tap { dropout, ..Tap::default() };
        let mut flow = Flow::Map(x);
        for part in self.net.network().parts() {
            flow = part.stage.forward(flow, &mut tap);
            if part.hint {
                tap.features.push(flow.hint());
            }
        }
        let penalty = tap.penalties.into_iter().reduce(|a, b| a + b);
        Forward { logits: flow.flat(), features: tap.features, attention: tap.attention, penalty }
    }

    fn list(&self) -> Vec<Site<'_>> {
        let mut out = Vec::new();
        for part in self.net.network().parts() {
            part.stage.operators(&part.name, &mut out);
        }
        out
    }

    fn switch(&self, index: usize) -> Option<&Switch> {
        self.list().into_iter().nth(index).map(|site| site.switch)
    }

    /// Path of the layer that gives the logits.
    pub(crate) fn last_layer(&self) -> Option<String> {
        self.net.network().parts().pop().map(|part| part.name)
    }

    /// Names of the operators in forward order: `conv1.act`, `layer1.0.conv1.act`, `blocks.0.norm1`.
    pub fn operator_names(&self) -> Vec<String> {
        self.list().into_iter().map(|site| site.name).collect()
    }

    /// Kinds of the operators in forward order.
    pub fn operator_kinds(&self) -> Vec<Operator> {
        self.list().into_iter().map(|site| site.switch.kind()).collect()
    }

    /// Number of operators.
    pub fn operators(&self) -> usize {
        self.list().len()
    }

    /// Share of the polynomial in one operator: 0 is the original only, 1 the polynomial only.
    pub fn set_blend(&self, index: usize, r: f32) {
        if let Some(switch) = self.switch(index) {
            switch.set_blend(r);
        }
    }

    /// Share of the polynomial in one operator.
    pub fn blend(&self, index: usize) -> f32 {
        self.switch(index).map_or(0.0, Switch::blend)
    }

    /// Limit what enters all polynomials to `±clamp` on a training device, never elsewhere; `None` ends it.
    pub fn set_training_clamp(&self, clamp: Option<f32>) {
        self.list().iter().for_each(|site| site.switch.probe().set_clamp(clamp));
    }

    /// Set where the inputs of one operator's polynomial are to stay.
    pub fn set_range(&self, index: usize, interval: Interval) {
        if let Some(switch) = self.switch(index) {
            switch.probe().set_interval(interval);
        }
    }

    /// Where the inputs of one operator's polynomial are to stay.
    pub fn range(&self, index: usize) -> Interval {
        self.switch(index).map_or(RangeProbe::INTERVAL, |s| s.probe().interval())
    }

    /// Whether one operator's polynomial is made for its interval, so that another interval makes another polynomial.
    pub fn follows_range(&self, index: usize) -> bool {
        self.list().get(index).is_some_and(|site| matches!(site.polynomial, Source::Interval(_)))
    }

    /// The interval for what enters one operator's polynomial after `seen` was: its range widened by `margin`, about its middle, or
    /// by factors where the function has a pole at zero. `None` if no interval bounds the operator, or nothing finite was seen.
    pub fn interval_for(&self, index: usize, seen: &OperatorStats, margin: f64) -> Option<Interval> {
        let site = self.list().into_iter().nth(index)?;
        let all = seen.overall();
        if !(all.min.is_finite() && all.max.is_finite()) {
            return None;
        }
        // A channel that never varies still needs an interval with two ends.
        let (lo, hi) = if all.min < all.max { (all.min, all.max) } else { (all.min - 1.0, all.max + 1.0) };
        match site.polynomial {
            // There is a least value, which was added.
            Source::Interval(Function::Inverse) if all.min > 0.0 => {
                Interval::new(EPSILON.min(all.min), all.max * margin).ok()
            }
            Source::Interval(Function::InverseRoot) if all.min > 0.0 => {
                Interval::new(all.min / margin, all.max * margin).ok()
            }
            Source::Interval(Function::Decay) => Interval::new(0.0, hi.max(1.0) * margin).ok(),
            _ => Interval::new(lo.min(0.0), hi.max(0.0)).ok().map(|seen| seen.widened(margin)),
        }
    }

    /// Switch the range penalty of all operators on, or off (as it is at first).
    pub fn set_penalty(&self, penalty: Option<RangePenalty>) {
        self.list().iter().for_each(|site| site.switch.probe().set_penalty(penalty));
    }

    /// Start collecting statistics of what enters the polynomials afresh, or stop and forget them. It looks at every value
    /// several times, so this is for calibration passes, not for training.
    pub fn collect_ranges(&self, on: bool) {
        self.list().iter().for_each(|site| site.switch.probe().collect(on));
    }

    /// The statistics since the start or the last call, one entry per operator in forward order.
    pub fn take_ranges(&self) -> Vec<OperatorStats> {
        let stats = |site: Site<'_>| OperatorStats { name: site.name, channels: site.switch.probe().take() };
        self.list().into_iter().map(stats).collect()
    }

    /// Blends and intervals in forward order.
    pub fn runtime(&self) -> Vec<OperatorState> {
        self.list().into_iter().map(|site| site.switch.state()).collect()
    }

    /// Set blends and intervals in forward order.
    pub fn set_runtime(&self, states: &[OperatorState]) {
        self.list().iter().zip(states).for_each(|(site, s)| site.switch.set_state(*s));
    }

    /// Set every trained quadratic among `kinds` to the least-squares fit of what it replaces over the measured inputs, channel by channel.
    ///
    /// # Errors
    /// [`LayerError::Stats`] when the statistics are of another model.
    pub fn fit_quadratics(mut self, stats: &[OperatorStats], kinds: &[Operator]) -> Result<Self, LayerError> {
        let mut table = BTreeMap::new();
        let list = self.list();
        if list.len() != stats.len() {
            return Err(LayerError::Stats {
                needs: format!("{} operators", list.len()),
                got: format!("{}", stats.len()),
            });
        }
        for (site, stats) in list.iter().zip(stats) {
            let (name, channels) = (&site.name, site.switch.probe().channels());
            if *name != stats.name || channels != stats.channels.len() {
                return Err(LayerError::Stats {
                    needs: format!("`{name}` with {channels} channels"),
                    got: format!("`{}` with {}", stats.name, stats.channels.len()),
                });
            }
            let Source::Trained(curve, function) = site.polynomial else { continue };
            if !kinds.contains(&site.switch.kind()) {
                continue;
            }
            for (part, data) in curve.fit(function, &stats.channels) {
                table.insert(format!("{name}.coef.{part}"), Array { shape: vec![data.len()], data });
            }
        }
        self.net = weights::replace(self.net, table);
        Ok(self)
    }

    /// The network as a graph on pixels in `[0, 1]`, the normalisation `(x − mean)/std` per input channel included.
    ///
    /// # Errors
    /// Operators that are not polynomials, weights that are not finite, a normalisation for other channels.
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

    /// Levels an encrypted evaluation of the folded graph consumes, every operator taken as a polynomial.
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
            part.switches_mut().into_iter().for_each(Switch::unshare);
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
