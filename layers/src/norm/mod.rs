//! Normalisation.
//!
//! Convolutional networks have batch norm, which costs no level: at inference it is affine and folds into the layer before.
//! Transformers have layer norm (Ba et al. 2016, arXiv:1607.06450) at first, which divides every position by its own deviation, and
//! then one of these:
//!
//! | `norm` | computes | levels | needs | where it works |
//! |---|---|---|---|---|
//! | `batch` | statistics of the channel over all samples | 0 | statistics that are alike in training and use | vision (Yao et al. 2021); small language models |
//! | `rms` | `x·p(mean x²)`, `p ≈ 1/√` | 9 | mean squares within a factor of 64 | language |
//! | `layer` | the same of `x − mean x` | 10 | the same | language, and networks that were trained with layer norm |
//! | `running` | `(x − mean x)/√v`, `v` the running mean of the variances | 1 | positions of like variance | as `batch`, where batches are small |
//! | `affine` | nothing but `γ·x + β` | 0 | a teacher | shallow networks; costs most |
//!
//! All share `γ` and `β` with the layer norm they replace.

mod batch;
mod layer;

pub use batch::BN_EPSILON;
pub(crate) use batch::{batch_norm, moved};
#[cfg(test)]
pub(crate) use layer::ROOT_DEGREE;
pub use layer::{Norm, NormForm};
