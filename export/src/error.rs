//! Everything that can go wrong between a trained module and a file that can be planned.

use std::path::PathBuf;

use crate::brief;

/// Errors of graph building, folding, evaluation and artifact files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// A node's operands do not fit its operation.
    #[error("shape mismatch at node `{node}` ({op}): needs {needs}, got {got:?}")]
    Shape {
        /// Name of the node.
        node: String,
        /// Operation.
        op: &'static str,
        /// What the operation needs, in words.
        needs: String,
        /// The shape found.
        got: Vec<usize>,
    },
    /// A node or a tensor without a value.
    #[error("{what} holds no value: its shape is {shape:?}\n  help: give every axis an extent of at least 1")]
    Empty {
        /// The node or the tensor.
        what: String,
        /// The shape found.
        shape: Vec<usize>,
    },
    /// A node of more values than a graph may hold in one place.
    #[error(
        "node `{node}` holds too many values: needs at most {limit}, its shape is {shape:?}\n  help: make the sample smaller: fewer pixels, tokens or channels"
    )]
    TooLarge {
        /// Name of the node.
        node: String,
        /// Most values of a node ([`crate::MAX_ELEMENTS`]).
        limit: usize,
        /// The shape found.
        shape: Vec<usize>,
    },
    /// A node refers to a tensor the graph does not hold.
    #[error("node `{node}` refers to tensor `{tensor}`, which the graph does not hold")]
    MissingTensor {
        /// Name of the node.
        node: String,
        /// Name of the tensor.
        tensor: String,
    },
    /// A node refers to a node that does not come before it.
    #[error("node `{node}` reads node number {input}, which does not come before it")]
    Order {
        /// Name of the node.
        node: String,
        /// The offending index.
        input: usize,
    },
    /// Two nodes share a name.
    #[error("two nodes are called `{0}`\n  help: node names identify rungs of the ladder; give each its own")]
    DuplicateName(String),
    /// The graph has no node.
    #[error("the graph is empty\n  help: a model needs an input and at least one operation")]
    EmptyGraph,
    /// A value is not finite.
    #[error(
        "tensor `{tensor}` holds a value that is not finite ({value})\n  help: the training diverged; resume from an earlier checkpoint with a lower learning rate or a stronger range penalty"
    )]
    NotFinite {
        /// Name of the tensor or node.
        tensor: String,
        /// The value.
        value: f64,
    },
    /// An interval or a polynomial that makes no sense.
    #[error("{what} is not valid: {why}")]
    Invalid {
        /// What is wrong.
        what: String,
        /// Why.
        why: String,
    },
    /// Calibration data leaves the interval an activation was trained for.
    #[error(
        "calibration data leaves the interval of node `{node}`: inputs reach [{}, {}], the interval is [{}, {}] ({count} of {total} values outside)\n  help: train longer with `range_weight`, or widen `interval` in the phase that replaces the activations",
        brief(*min, 4), brief(*max, 4), brief(*lo, 4), brief(*hi, 4)
    )]
    OutOfInterval {
        /// Name of the node.
        node: String,
        /// Smallest input seen.
        min: f64,
        /// Largest input seen.
        max: f64,
        /// Lower end of the interval.
        lo: f64,
        /// Upper end of the interval.
        hi: f64,
        /// Values outside.
        count: u64,
        /// Values seen.
        total: u64,
    },
    /// The graph holds operations that cannot run encrypted.
    #[error("the model cannot run encrypted:\n{0}")]
    Unfriendly(String),
    /// The file is not an artifact.
    #[error(
        "{path}: not a hetrain artifact: {why}\n  help: artifacts are written by `hetrain export` and are called `model.hemodel`"
    )]
    NotAnArtifact {
        /// The file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The file is cut short or changed.
    #[error(
        "{path}: artifact is damaged: {why}\n  help: export the run again (`hetrain export RUN`), or copy the file again"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The file was written by a newer program.
    #[error(
        "{path}: artifact has version {found}, this program reads up to {supported}\n  help: install a hetrain that reads artifact version {found}"
    )]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// Newest version this program reads.
        supported: u32,
    },
    /// The graph in the file uses an operation this program does not know.
    #[error(
        "{path}: node `{node}` uses the operation `{op}`, which this program does not support\n  help: supported operations are {known}"
    )]
    UnknownOp {
        /// The file.
        path: PathBuf,
        /// Name of the node.
        node: String,
        /// The operation.
        op: String,
        /// Operations this program supports.
        known: String,
    },
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}
