//! Everything that can go wrong between an artifact and a decrypted result.

use hetrain_export::ExportError;

use crate::ckks::CkksError;
use crate::wire::WireError;

/// Errors of planning and running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeError {
    /// Images that cannot share ciphertexts.
    #[error(
        "{images} images to a run: the image layout takes 1, 2, 4, … of them, at most {slots}\n  help: choose a power of two, or the batch layout for thousands of images"
    )]
    Together {
        /// Images asked for.
        images: usize,
        /// Slots of a ciphertext.
        slots: usize,
    },
    /// A program that can be priced and not run.
    #[error(
        "node `{node}`: the weights are only sketched, so the program has a price and no results\n  help: train the network, and run the artifact"
    )]
    Sketched {
        /// The node's name.
        node: String,
    },
    /// A client that is to compute layers of which there are none.
    #[error(
        "the network does not begin with a linear layer that everything else reads, so the client has nothing to compute\n  help: set `he.input: sample`"
    )]
    NoFirstLayers,
    /// The engine refused an operation.
    #[error(transparent)]
    Ckks(#[from] CkksError),
    /// A file could not be read or written.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The operating system gives no randomness.
    #[error(
        "the operating system gives no randomness: {0}\n  help: keys are never made without it; check /dev/urandom"
    )]
    Randomness(#[from] rand::rngs::SysError),
    /// The artifact or graph is not sound.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A rescaling at level 0: a bug in the plan, or a program run with other parameters.
    #[error("no level left to rescale at level {level}")]
    NoLevelLeft {
        /// The level.
        level: usize,
    },
    /// Two operands whose levels or scales differ.
    #[error(
        "{what}: operands at (level, scale) {left:?} and {right:?} do not fit\n  help: the planner could not bring two branches of the graph to one scale; put a linear layer before the addition"
    )]
    Operands {
        /// The operation.
        what: &'static str,
        /// Level and scale of the left operand.
        left: (usize, f64),
        /// Level and scale of the right operand.
        right: (usize, f64),
    },
    /// An observer ended the run, because its user wants to stop.
    #[error("the run was stopped")]
    Stopped,
    /// A sum of nothing.
    #[error("a sum needs at least one term")]
    EmptySum,
    /// The graph holds an operation that has no encrypted form.
    #[error(
        "node `{node}`: {op} cannot run encrypted here\n  help: attention needs the image layout (`he.layout: image`, `--layout image`); `hetrain check` lists every node that no layout holds, with its remedy"
    )]
    Unfriendly {
        /// The node.
        node: String,
        /// The operation.
        op: &'static str,
    },
    /// A node that should have range statistics has none.
    #[error(
        "node `{node}` has no range statistics\n  help: export the model again; `hetrain export` measures ranges on calibration data"
    )]
    NoRange {
        /// The node.
        node: String,
    },
    /// No secure parameter set holds the depth.
    #[error(
        "no 128-bit parameter set up to ring degree 2^{max_log_n} holds {depth} levels at {bits} bits of precision ({found})\n  help: allow bootstraps if they are off (`he.bootstrap: auto`; the image layout has them), use fewer layers, quadratics (1 level each), smaller ranges, or lower `he.precision_bits`"
    )]
    TooDeep {
        /// Levels needed.
        depth: usize,
        /// Bits of precision asked for.
        bits: u32,
        /// Largest ring degree tried.
        max_log_n: u32,
        /// What the largest ring would give.
        found: String,
    },
    /// The run would need more memory than allowed.
    #[error("the run needs about {need_gb:.2} GB ({parts}), {limit_gb:.2} GB are allowed\n  help: {help}")]
    Memory {
        /// Gigabytes needed.
        need_gb: f64,
        /// Gigabytes allowed.
        limit_gb: f64,
        /// What takes them.
        parts: String,
        /// What would fit.
        help: String,
    },
    /// Input of the wrong size.
    #[error("the model takes {need} values per image ({shape:?}), got {got}")]
    InputSize {
        /// Values needed.
        need: usize,
        /// Shape of the input.
        shape: Vec<usize>,
        /// Values found.
        got: usize,
    },
    /// More images than a ciphertext holds, or none.
    #[error(
        "a run of this program takes at least 1 and at most {max} images at once, got {got}\n  help: plan the batch layout (`he.layout: batch`, `--layout batch`) for more images, or make several runs"
    )]
    BatchSize {
        /// Images a run can take.
        max: usize,
        /// Images given.
        got: usize,
    },
    /// A value that is not a number, or a pixel that is not finite.
    #[error("value number {index} of the input is not finite ({value})")]
    NotFinite {
        /// Position.
        index: usize,
        /// The value.
        value: f64,
    },
    /// An input far beyond all calibration data, for which the plan leaves no room under the modulus.
    #[error(
        "value number {index} of the input is {value}, the plan leaves room for magnitudes up to {limit:.3}\n  help: scale inputs as the data the model was calibrated with"
    )]
    TooLarge {
        /// Position.
        index: usize,
        /// The value.
        value: f64,
        /// Largest magnitude with room.
        limit: f64,
    },
    /// A decryption that cannot be a result of the model.
    #[error(
        "the result decrypts to values up to {found:.1e}, the model's reach {usual:.1e}\n  help: the server returned something else, or the input was no image like those the model was calibrated with"
    )]
    Implausible {
        /// Largest value found.
        found: f64,
        /// Largest value on calibration data.
        usual: f64,
    },
    /// Ciphertexts that do not belong to this program.
    #[error(
        "the ciphertexts do not fit the program: {why}\n  help: encrypt again with the keys and the model of this program"
    )]
    Foreign {
        /// What differs.
        why: String,
    },
}
