//! Normalisation. Batch norm costs no level: at inference it is affine and folds into the layer before.

mod batch;

pub use batch::BN_EPSILON;
pub(crate) use batch::{batch_norm, moved};
