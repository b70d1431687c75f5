//! The ReLU network learns to keep the inputs of its activations inside an interval: error of a polynomial, levels and
//! precision all depend on its width (Baruch et al. 2023, arXiv:2304.14836, sec. 3).

use hetrain_export::Interval;
use hetrain_layers::HeModel;

use crate::{config::PhaseSettings, error::RunError};

/// For people.
pub(super) const WHAT: &str = "ReLU, small ranges";

/// Set the interval of every activation.
pub(super) fn begin(settings: &PhaseSettings, model: HeModel) -> Result<HeModel, RunError> {
    set_ranges(settings, &model, |_| true)?;
    Ok(model)
}

/// Set the interval of the operators that `wanted` wants.
pub(super) fn set_ranges(
    settings: &PhaseSettings,
    model: &HeModel,
    wanted: impl Fn(usize) -> bool,
) -> Result<(), RunError> {
    if let Some([lo, hi]) = settings.interval {
        let interval = Interval::new(lo, hi)?;
        (0..model.operators()).filter(|&i| wanted(i)).for_each(|i| model.set_range(i, interval));
    }
    Ok(())
}
