//! The quadratic network is trained on, usually with a small learning rate and an average of its weights.

use hetrain_layers::HeModel;

use super::range_aware;
use crate::{config::PhaseSettings, error::RunError};

/// For people.
pub(super) const WHAT: &str = "quadratic";
/// The same for transformers.
pub(super) const WHAT_ELSE: &str = "polynomial";

/// Every activation is its quadratic; intervals stay unless new ones are given. Polynomials that were made for their interval keep it: for
/// another they would be other polynomials.
pub(super) fn begin(settings: &PhaseSettings, model: HeModel) -> Result<HeModel, RunError> {
    (0..model.operators()).for_each(|i| model.set_blend(i, 1.0));
    range_aware::set_ranges(settings, &model, |i| !model.follows_range(i))?;
    Ok(model)
}
