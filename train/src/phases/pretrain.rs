//! Ordinary training of the ReLU network: the teacher of what follows, and the accuracy to compare with.

use hetrain_layers::HeModel;

/// For people.
pub(super) const WHAT: &str = "ReLU teacher";
/// The same for transformers.
pub(super) const WHAT_ELSE: &str = "the original";

/// Every activation is ReLU.
pub(super) fn begin(model: HeModel) -> HeModel {
    (0..model.operators()).for_each(|i| model.set_blend(i, 0.0));
    model
}
