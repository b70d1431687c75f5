//! The contract between training and encrypted inference.
//!
//! Training (`hetrain-layers`, Burn) lowers a model to a [`Graph`]; [`fold()`] turns it into the few operations an encrypted
//! run pays for; [`interp`] evaluates it in f64 and is the truth every executor is compared with; [`Artifact`] keeps it on
//! disk. This crate knows neither Burn nor cryptography.
//!
//! ```text
//! module ──lower──► Graph ──fold──► Graph ──calibrate──► Artifact (model.hemodel) ──► planner
//! ```
#![forbid(unsafe_code)]

mod artifact;
mod error;
mod fold;
mod graph;
pub mod interp;
mod poly;
mod range;
mod tensor;

pub use artifact::{ARTIFACT_VERSION, Artifact, Provenance};
pub use error::ExportError;
pub use fold::fold;
pub use graph::{
    Conv2dGeometry, Finding, Graph, GraphBuilder, MAX_ELEMENTS, Node, NodeId, Op, Severity, check,
    conv_out_shape,
};
pub use poly::{Basis, Polynomial};
pub use range::{Interval, RangeStats, brief};
pub use tensor::Tensor;
