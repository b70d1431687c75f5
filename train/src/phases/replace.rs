//! ReLU becomes a quadratic: `(1 − r)·ReLU(x) + r·f(x)` with `r` rising from 0 to 1 over the ramp, `f` started from the
//! least-squares fit to ReLU on the measured inputs (smooth replacement; AutoFHE and HE-friendly AlexNet, see
//! Baruch et al. 2021, arXiv:2107.12342).

use hetrain_export::Interval;
use hetrain_layers::{ActivationStats, HeModel};

use super::{Phase, widened};
use crate::{
    config::{Order, PhaseSettings},
    error::RunError,
};

/// For people.
pub(super) const WHAT: &str = "ReLU → quadratic";

/// Measure, fit, set intervals.
pub(super) fn begin(
    settings: &PhaseSettings,
    model: HeModel,
    measure: impl FnOnce(&HeModel) -> Result<Vec<ActivationStats>, RunError>,
) -> Result<HeModel, RunError> {
    let stats = measure(&model)?;
    let model = model.fit_quadratics(&stats)?;
    for (i, seen) in stats.iter().enumerate() {
        let interval = match settings.interval {
            Some([lo, hi]) => Interval::new(lo, hi)?,
            None => widened(seen, settings.margin)?,
        };
        model.set_range(i, interval);
        model.set_blend(i, 0.0);
    }
    Ok(model)
}

/// Steps until every activation is its quadratic.
pub(super) fn ramp_steps(phase: &Phase<'_>) -> usize {
    (phase.settings.ramp * phase.steps() as f64).ceil() as usize
}

/// Set every blend for `step`.
pub(super) fn blend(phase: &Phase<'_>, model: &HeModel, step: usize) {
    let count = model.activations();
    let ramp = ramp_steps(phase);
    for i in 0..count {
        let r = share(phase.settings.order, i, count, step, ramp);
        model.set_blend(i, r as f32);
    }
}

/// Share of the quadratic in activation `index` of `count` at `step` of a ramp of `ramp` steps.
fn share(order: Order, index: usize, count: usize, step: usize, ramp: usize) -> f64 {
    if step >= ramp {
        return 1.0;
    }
    let done = step as f64 / ramp as f64;
    let turn = match order {
        Order::Together => return done,
        Order::FirstLast => index,
        Order::LastFirst => count - 1 - index,
    };
    (done * count as f64 - turn as f64).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_activation_after_the_other_from_either_end() {
        let at = |order, step| -> Vec<f64> { (0..2).map(|i| share(order, i, 2, step, 100)).collect() };
        assert_eq!(at(Order::Together, 50), [0.5, 0.5]);
        assert_eq!(at(Order::FirstLast, 25), [0.5, 0.0]);
        assert_eq!(at(Order::LastFirst, 75), [0.5, 1.0]);
        assert_eq!(at(Order::LastFirst, 100), [1.0, 1.0]);
    }
}
