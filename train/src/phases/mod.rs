//! The phases: what each does to the network before its first step, and what changes from step to step.
//!
//! | phase | network | before the first step | while it runs |
//! |---|---|---|---|
//! | `pretrain` | original: ReLU, or softmax, layer norm and GELU | fresh weights | |
//! | `range_aware` | original | intervals set | penalty outside them, on activations (attention and norms have no polynomial yet) |
//! | `replace` | original → polynomial | ranges measured, quadratics fitted, intervals set | blend rises, penalty, clamp at first |
//! | `polish` | polynomial | intervals set, if given | penalty, clamp at first |

mod polish;
mod pretrain;
mod range_aware;
mod replace;

use hetrain_export::Interval;
use hetrain_layers::{HeModel, ModelName, OperatorStats, RangePenalty};

use crate::{
    config::{PhaseKind, PhaseSettings},
    error::RunError,
};

/// One phase with the sizes that turn shares of it into steps.
#[derive(Clone, Copy, Debug)]
pub struct Phase<'a> {
    /// Number, from 0.
    pub index: usize,
    /// Settings.
    pub settings: &'a PhaseSettings,
    /// Steps of an epoch.
    pub steps_per_epoch: usize,
}

impl Phase<'_> {
    /// The kind.
    pub fn kind(&self) -> PhaseKind {
        self.settings.kind
    }

    /// Steps of the whole phase.
    pub fn steps(&self) -> usize {
        self.settings.epochs * self.steps_per_epoch
    }

    /// What the phase does to a network, for people.
    pub fn what(&self, network: ModelName) -> &'static str {
        match (self.kind(), network.is_transformer()) {
            (PhaseKind::Pretrain, false) => pretrain::WHAT,
            (PhaseKind::Pretrain, true) => pretrain::WHAT_ELSE,
            (PhaseKind::RangeAware, _) => range_aware::WHAT,
            (PhaseKind::Replace, false) => replace::WHAT,
            (PhaseKind::Replace, true) => replace::WHAT_ELSE,
            (PhaseKind::Polish, false) => polish::WHAT,
            (PhaseKind::Polish, true) => polish::WHAT_ELSE,
        }
    }

    /// Prepare `model` before the first step; `measure` gives the inputs of its activations on the calibration images.
    ///
    /// # Errors
    /// Those of measuring and fitting.
    pub fn begin(
        &self,
        model: HeModel,
        measure: impl Fn(&HeModel) -> Result<Vec<OperatorStats>, RunError>,
    ) -> Result<HeModel, RunError> {
        match self.kind() {
            PhaseKind::Pretrain => Ok(pretrain::begin(model)),
            PhaseKind::RangeAware => range_aware::begin(self.settings, model),
            PhaseKind::Replace => replace::begin(self.settings, model, measure),
            PhaseKind::Polish => polish::begin(self.settings, model),
        }
    }

    /// Set what depends on the step: blends, clamp, penalty.
    pub fn apply(&self, model: &HeModel, step: usize) {
        if self.kind() == PhaseKind::Replace {
            replace::blend(self, model, step);
        }
        let clamped = (step as f64) < self.settings.clamp_off * self.steps() as f64;
        model.set_training_clamp(self.settings.clamp.filter(|_| clamped).map(|c| c as f32));
        let watched = self.kind() != PhaseKind::Pretrain && self.settings.range_weight > 0.0;
        model.set_penalty(watched.then_some(RangePenalty::HingeAndWorst));
    }

    /// Whether the network after `steps` steps is of the kind the phase is to give: ReLU everywhere, or quadratics
    /// everywhere, trained so for at least a step.
    pub fn may_keep(&self, steps: usize) -> bool {
        match self.kind() {
            PhaseKind::Replace => steps > replace::ramp_steps(self),
            _ => true,
        }
    }
}

/// The interval of operator `index` after `stats` was seen, as [`HeModel::interval_for`] gives it, ends rounded outwards to three digits.
pub fn widened(
    model: &HeModel,
    index: usize,
    stats: &OperatorStats,
    margin: f64,
) -> Result<Option<Interval>, RunError> {
    let Some(wide) = model.interval_for(index, stats, margin) else { return Ok(None) };
    Ok(Some(Interval::new(-round_up(-wide.lo), round_up(wide.hi))?))
}

/// Up to three significant digits, never down.
fn round_up(x: f64) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let unit = 10f64.powf(x.abs().log10().floor() - 2.0);
    // The quotient by a whole power of ten is printed and read back exactly; the product of it is not.
    let digits = (x / unit).ceil();
    if unit < 1.0 { digits / (1.0 / unit).round() } else { digits * unit.round() }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use hetrain_layers::{ChannelStats, ModelConfig};

    use super::*;

    #[test]
    fn intervals_are_rounded_outwards() {
        assert_eq!(
            [round_up(5.3401), round_up(-5.3401), round_up(0.0012341), round_up(1234.1)],
            [5.35, -5.34, 0.00124, 1240.0]
        );
        let mut channel = ChannelStats::default();
        [-2.0, 4.0].into_iter().for_each(|v| channel.add(v));
        let stats = OperatorStats { name: "a".into(), channels: vec![channel] };
        let model = ModelConfig::new(ModelName::CnnS, [1, 8, 8], 2).init(&Device::flex(), 0).unwrap();
        assert_eq!(widened(&model, 0, &stats, 1.5).unwrap(), Some(Interval { lo: -3.5, hi: 5.5 }));
    }
}
