//! Everything that can go wrong between a configuration, a file of weights and a graph.

use std::fmt;
use std::path::PathBuf;

use hetrain_export::ExportError;

/// Errors of building, loading, saving and lowering models.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The model cannot be built for this input or number of classes.
    #[error(
        "model `{model}`: {what} does not fit: needs {needs}, got {got}\n  help: choose another `model.name`, or data of another shape"
    )]
    Config {
        /// Name of the model.
        model: &'static str,
        /// What does not fit.
        what: &'static str,
        /// What is needed.
        needs: String,
        /// What there is.
        got: String,
    },
    /// Weights do not fit the model; every problem is listed.
    #[error(
        "{path}: the weights do not fit model `{model}`:{}\n  help: `model` and the data's shape must be those the file was made with",
        list(problems)
    )]
    Weights {
        /// The file.
        path: PathBuf,
        /// Name of the model.
        model: &'static str,
        /// All that was found wrong.
        problems: Vec<WeightProblem>,
    },
    /// The file is not one of weights, or is cut short or changed.
    #[error(
        "{path}: cannot be read as {format}: {why}\n  help: weights are `.safetensors`, or a PyTorch `state_dict` saved by `torch.save` (`.pt`, `.pth`, `.th`); download or copy the file again if it is one"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// The format expected.
        format: &'static str,
        /// What was found.
        why: String,
    },
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Statistics do not belong to this model's activations.
    #[error(
        "activation statistics do not fit: needs {needs}, got {got}\n  help: collect them on the same model (`collect_ranges`, forward passes, `take_ranges`)"
    )]
    Stats {
        /// What is needed.
        needs: String,
        /// What there is.
        got: String,
    },
    /// An operator is between its original and its polynomial, so it is neither in a graph.
    #[error(
        "`{name}` is {blend} of the way from its original to its polynomial: only 0 and 1 can be exported\n  help: let the `replace` phase run to its end (`ramp` epochs), then export"
    )]
    HalfReplaced {
        /// Name of the operator.
        name: String,
        /// Its blend.
        blend: f32,
    },
    /// An operator that only its polynomial form lets into a graph has not been replaced.
    #[error(
        "`{name}` is {original}, which is no polynomial\n  help: a `replace` phase puts its polynomial there; name its kind in `operators`, or leave `operators` out"
    )]
    Original {
        /// Name of the operator.
        name: String,
        /// What it is.
        original: &'static str,
    },
    /// Values of a tensor could not be brought to the host.
    #[error("tensor `{name}` cannot be read from the device: {why}")]
    Device {
        /// Name of the tensor.
        name: String,
        /// The reason given by the device.
        why: String,
    },
    /// The graph refuses a node.
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// One tensor that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightProblem {
    /// The model needs it, the file has it not.
    Missing {
        /// Name in the file.
        name: String,
        /// Shape needed.
        needs: Vec<usize>,
    },
    /// It has another shape.
    Shape {
        /// Name in the file.
        name: String,
        /// Shape needed.
        needs: Vec<usize>,
        /// Shape in the file.
        got: Vec<usize>,
    },
    /// The model has no place for it.
    Unexpected {
        /// Name in the file.
        name: String,
        /// Shape in the file.
        got: Vec<usize>,
    },
    /// It holds another kind of number.
    Kind {
        /// Name in the file.
        name: String,
        /// Kind in the file.
        got: String,
    },
    /// It holds NaN or infinity.
    NotFinite {
        /// Name in the file.
        name: String,
    },
}

impl fmt::Display for WeightProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { name, needs } => write!(f, "`{name}` is missing: needs {needs:?}"),
            Self::Shape { name, needs, got } => {
                write!(f, "`{name}` has another shape: needs {needs:?}, got {got:?}")
            }
            Self::Unexpected { name, got } => write!(f, "`{name}` {got:?} has no place in the model"),
            Self::Kind { name, got } => {
                write!(f, "`{name}` needs floating-point numbers of 32 or 64 bits, got {got}")
            }
            Self::NotFinite { name } => write!(f, "`{name}` holds values that are not finite"),
        }
    }
}

fn list(problems: &[WeightProblem]) -> String {
    problems.iter().map(|p| format!("\n  {p}")).collect()
}
