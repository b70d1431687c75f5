//! Originals become polynomials: `(1 − r)·original(x) + r·f(x)` with `r` rising from 0 to 1 over the ramp, trained quadratics started
//! from the least-squares fit on the measured inputs (smooth replacement; AutoFHE and HE-friendly AlexNet, see Baruch et al. 2021,
//! arXiv:2107.12342), other polynomials made for the measured interval. A phase replaces all kinds of operators, or some.

use hetrain_export::Interval;
use hetrain_layers::{HeModel, OperatorStats};

use super::{Phase, widened};
use crate::{
    config::{Order, PhaseSettings},
    error::RunError,
};

/// For people.
pub(super) const WHAT: &str = "ReLU → quadratic";
/// The same for transformers.
pub(super) const WHAT_ELSE: &str = "original → polynomial";

/// The operators of a model that a phase replaces.
fn chosen(settings: &PhaseSettings, model: &HeModel) -> Vec<usize> {
    let kinds = model.operator_kinds().into_iter().enumerate();
    kinds.filter(|(_, kind)| settings.operators.contains(kind)).map(|(i, _)| i).collect()
}

/// Measure, fit, set intervals.
pub(super) fn begin(
    settings: &PhaseSettings,
    model: HeModel,
    measure: impl Fn(&HeModel) -> Result<Vec<OperatorStats>, RunError>,
) -> Result<HeModel, RunError> {
    let stats = measure(&model)?;
    let model = model.fit_quadratics(&stats, &settings.operators)?;
    // What is made for its interval may read what was just fitted: power attention divides by means of squares of quadratics.
    let stats = if chosen(settings, &model).into_iter().any(|i| model.follows_range(i)) {
        measure(&model)?
    } else {
        stats
    };
    for i in chosen(settings, &model) {
        let given = settings.interval.filter(|_| !model.follows_range(i));
        let measured = || stats.get(i).map_or(Ok(None), |seen| widened(&model, i, seen, settings.margin));
        let interval = match given {
            Some([lo, hi]) => Some(Interval::new(lo, hi)?),
            None => measured()?,
        };
        if let Some(interval) = interval {
            model.set_range(i, interval);
        }
        model.set_blend(i, 0.0);
    }
    Ok(model)
}

/// Steps until every operator is its polynomial; the last is of polynomials in any case.
pub(super) fn ramp_steps(phase: &Phase<'_>) -> usize {
    let steps = phase.steps();
    ((phase.settings.ramp * steps as f64).ceil() as usize).min(steps.saturating_sub(1))
}

/// Set every blend for `step`.
pub(super) fn blend(phase: &Phase<'_>, model: &HeModel, step: usize) {
    let chosen = chosen(phase.settings, model);
    let ramp = ramp_steps(phase);
    for (place, i) in chosen.iter().enumerate() {
        let r = share(phase.settings.order, place, chosen.len(), step, ramp);
        model.set_blend(*i, r as f32);
    }
}

/// Share of the polynomial in operator `index` of `count` at `step` of a ramp of `ramp` steps.
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
