//! Everything that can go wrong while a run is made, continued or exported.

use std::path::PathBuf;

use crate::config::ConfigError;

/// Errors of the training engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The network, its weights or its graph.
    #[error(transparent)]
    Layer(#[from] hetrain_layers::LayerError),
    /// The data.
    #[error(transparent)]
    Data(#[from] hetrain_datasets::DataError),
    /// The graph or the artifact.
    #[error(transparent)]
    Export(#[from] hetrain_export::ExportError),
    /// A file of the run cannot be read or written.
    #[error("{}: {source}\n  help: {}", path.display(), io_help(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The folder belongs to a run with another configuration.
    #[error("{}: holds a run with another configuration, which differs in {}\n  help: give this run another name with `--set name=…`, continue the old one with `--resume {name}`, or remove the folder", path.display(), differs.join(", "))]
    OtherRun {
        /// The folder.
        path: PathBuf,
        /// Name of the run.
        name: String,
        /// Settings that differ.
        differs: Vec<String>,
    },
    /// The configuration in a run's folder was changed after its training began.
    #[error("{}: changed since the run's training began: {}\n  help: undo the change; or train it as another run, `hetrain train --config {} --set name=…`; or remove {} to train this one again from the start", path.join("config.yaml").display(), differs.join(", "), path.join("config.yaml").display(), path.join("checkpoints/latest").display())]
    Edited {
        /// Folder of the run.
        path: PathBuf,
        /// Settings that differ.
        differs: Vec<String>,
    },
    /// Another process writes the run.
    #[error("{}: another process works on this run\n  help: wait until it ends, or give this run another name with `--set name=…`", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// There is no such run.
    #[error("no run `{}`\n{seen}\n  help: runs are the folders that `hetrain train` makes below `runs/`, each with its config.yaml; `--runs DIR` looks elsewhere", name.display())]
    NoRun {
        /// What was asked for.
        name: PathBuf,
        /// Where it was looked for, and what is there.
        seen: Seen,
    },
    /// A checkpoint cannot be understood.
    #[error("{}: checkpoint is damaged: {why}\n  help: remove the run's `checkpoints/latest` to train the run again from the start", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// A file of a finished phase is gone.
    #[error("{}: no such file, though the run has finished the phase\n  help: put the file back from a copy; without one remove {}, and `hetrain train --resume {run}` trains the run again from the start", path.display(), latest.display())]
    Lost {
        /// The file.
        path: PathBuf,
        /// The pointer to the run's state.
        latest: PathBuf,
        /// What `--resume` finds the run by.
        run: String,
    },
    /// The run lacks the result of a phase.
    #[error("run `{run}` has no {what}\n  help: {help}")]
    Unfinished {
        /// Name of the run.
        run: String,
        /// What is missing.
        what: String,
        /// The remedy.
        help: String,
    },
    /// The loss is NaN or infinite.
    #[error("phase {} (`{kind}`), step {step}: {what} is {value}\n  help: training diverged; lower the phase's `optimizer.lr`, or raise `range_weight` or set `clamp` so that activation inputs stay small; the run's last checkpoint is whole", phase + 1)]
    Diverged {
        /// Number of the phase, from 0.
        phase: usize,
        /// Its kind.
        kind: &'static str,
        /// Step within the phase.
        step: usize,
        /// What is not finite.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// No epoch of a phase could be kept.
    #[error("phase {} (`{kind}`): from the network of every epoch, more than one validation image in a thousand escaped the ranges of its squares, to infinity or near it\n  help: lower the phase's `optimizer.lr`, raise `range_weight`, or train more `epochs` after the `ramp`; or add a `polish` phase with `statistics: fixed` and an `interval` for its penalty, and give the same command: it goes on from here", phase + 1)]
    NothingToKeep {
        /// Number of the phase, from 0.
        phase: usize,
        /// Its kind.
        kind: &'static str,
    },
    /// A file of weights is nowhere.
    #[error("teacher `file:{}`: no such file, neither here nor in a data folder or its weights/\n  help: name its data folder with `--data-dir` or $HETRAIN_DATA, or another teacher: `hetrain distill --config … --teacher RUN|FILE`", path.display())]
    NoWeights {
        /// As the configuration names it.
        path: PathBuf,
    },
    /// The first phase changes a network that nobody gives.
    #[error(
        "run `{run}` begins with `{kind}`, which needs a network to start from, and there is none\n  help: name the teacher, which is also the start: `hetrain distill --config … --teacher RUN|FILE`; or set the phase's `teacher: run:NAME` or `file:PATH`, or put a `pretrain` phase first"
    )]
    NoStart {
        /// Name of the run.
        run: String,
        /// Kind of its first phase.
        kind: &'static str,
    },
    /// The configuration and the data do not fit.
    #[error("{what}: needs {needs}, found {found}\n  help: {help}")]
    Mismatch {
        /// The setting or quantity.
        what: String,
        /// What is needed.
        needs: String,
        /// What there is.
        found: String,
        /// The remedy.
        help: String,
    },
    /// The device is not part of this build.
    #[error(
        "device `{name}` is not part of this build\n  help: build with `cargo build --release --features {name}`, or use `--device cpu`"
    )]
    DeviceMissing {
        /// The device, which is also the name of the feature.
        name: &'static str,
    },
    /// A tensor could not be brought to the host.
    #[error("values cannot be read from the device: {why}\n  help: run with `--device cpu`")]
    Device {
        /// The reason given by the device.
        why: String,
    },
    /// The user pressed ctrl-C during verification.
    #[error("interrupted\n  help: run the same command again; the samples in {folder} are kept")]
    VerifyInterrupted {
        /// Where the finished samples are.
        folder: PathBuf,
    },
    /// The user pressed ctrl-C.
    #[error("interrupted\n  help: continue with `hetrain train --resume {run}`")]
    Interrupted {
        /// Name of the run.
        run: String,
    },
}

/// Where a run was looked for, and the runs there are instead.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Full paths that were looked at.
    pub looked: Vec<PathBuf>,
    /// Names of the runs.
    pub known: Vec<String>,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let looked: Vec<String> = self.looked.iter().map(|p| p.display().to_string()).collect();
        let known = if self.known.is_empty() { "none".into() } else { self.known.join(", ") };
        write!(f, "  looked at: {}\n  runs here: {known}", looked.join(", "))
    }
}

/// What can be done about an I/O error.
pub fn io_help(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::StorageFull
        | std::io::ErrorKind::QuotaExceeded
        | std::io::ErrorKind::FileTooLarge => {
            "make room (disk full, quota, or file-size limit); what was written before is whole, continue with `--resume` or run the command again"
        }
        std::io::ErrorKind::PermissionDenied => "check the permissions of the file and its folder",
        std::io::ErrorKind::NotFound => "check that the file, and the folder it is to be in, exist",
        std::io::ErrorKind::IsADirectory => "this is a folder; name a file",
        std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::NotADirectory => {
            "there is a file where a folder is needed; name another place"
        }
        _ => "check that the file exists and the disk is healthy",
    }
}

/// Attach the path to an I/O error.
pub fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> RunError + '_ {
    move |source| RunError::Io { path: path.to_path_buf(), source }
}

/// Writing weights to `path`, which may go through a temporary file: the error names the file that was meant.
pub fn writing(path: &std::path::Path) -> impl FnOnce(hetrain_layers::LayerError) -> RunError + '_ {
    move |e| match e {
        hetrain_layers::LayerError::Io { source, .. } => RunError::Io { path: path.to_path_buf(), source },
        other => RunError::Layer(other),
    }
}
