//! HE-friendly Burn modules and models that describe themselves as graph nodes.
//!
//! One network type serves as teacher and as polynomial student: every operator that is no polynomial (ReLU, GELU, layer norm,
//! softmax) holds its mode, a blend `(1 − r)·original(x) + r·polynomial(x)` whose `r` training moves from 0 to 1. A model lowers itself to an
//! [`hetrain_export::Graph`] through the trait [`Lower`]; nothing here knows about encryption.
//!
//! ```text
//! ModelConfig ──init──► HeModel ──forward──► Forward { logits, features, penalty }
//!                          │ └──lower──► Graph
//!                          └─ save, load (safetensors), load_pretrained (PyTorch names, .pth)
//! ```
//!
//! | module | computes | levels after folding |
//! |---|---|---|
//! | [`Conv`], [`Dense`] | convolution, matrix product | 1 |
//! | batch norm | `(x − μ)/√(v + ε)·γ + β` | 0, folds into the layer before |
//! | [`Activation`] | quadratic per channel, or a polynomial of degree 6, 14 or 30 | 1, folds into a pure square; 4, 5 or 6 |
//! | [`Norm`] | layer norm, or what replaces it | 0 to 10 |
//! | [`AvgPool`] | mean over windows | 0 before a dense layer, which takes it over; 1 elsewhere |
//! | [`SelfAttention`] | softmax attention, or what replaces it | 5 to 14 |
//! | residual sum with activation | `f(x + branch(x))` | those of the branch, and 2: no single layer before the sum can take `√a` |
#![forbid(unsafe_code)]

mod activation;
mod attention;
mod block;
mod conv;
mod dropout;
mod error;
mod init;
mod linear;
mod lower;
mod models;
mod norm;
mod operator;
mod pointwise;
mod pool;
mod probe;
mod residual;
mod transformer;
mod weights;

pub use activation::{A_MIN, Activation, Curve, Fixed, Form, Function, Gated, Hermite, Quadratic, fit_relu};
pub use attention::{AttentionKind, SelfAttention, Weigh};
pub use block::{ConvBlock, DenseBlock};
pub use conv::Conv;
pub use dropout::Dropout;
pub use error::{LayerError, WeightProblem};
pub use init::WeightInit;
pub use linear::Dense;
pub use lower::Lower;
pub use models::{ActivationKind, BlockKind, Forward, HeModel, ModelConfig, ModelName, NormKind, Size};
pub use norm::{BN_EPSILON, Norm, NormForm};
pub use operator::{Operator, OperatorState, Switch};
pub use pool::AvgPool;
pub use probe::{ChannelStats, OperatorStats, RangePenalty, RangeProbe};
pub use residual::{BasicBlock, ConvNorm, Shortcut};
pub use transformer::{Block, Embedding};
