//! State from which a run continues exactly, and the best network of each phase.
//!
//! ```text
//! checkpoints/1-pretrain.safetensors  1-pretrain.json     best network of phase 1: weights; accuracy, blends, intervals
//! checkpoints/state-7/                                    weights, average, optimizer.bpk, state.json
//! checkpoints/latest                                      names the newest whole state folder
//! checkpoints/config.yaml                                 what the state was trained with, so that a change is noticed
//! checkpoints/vocabulary.json                             of a text, what its tokens stand for, to the same end
//! ```
//! A state folder is written under a temporary name, then renamed, then `latest` is replaced, then older folders go. A
//! write that fails at any point leaves the folder `latest` names untouched.

mod state;
mod vocabulary;

use std::{
    fs,
    path::{Path, PathBuf},
};

use hetrain_layers::HeModel;
use serde::Serialize;

pub use state::{Best, State};

use self::state::{VERSION, Versioned};
use crate::{
    config::PhaseKind,
    error::{RunError, io, writing},
    optim::Updater,
    run_dir::{replace, sync_folder, write_atomic},
};

/// The folder `checkpoints/` of a run.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

/// The files of a stored state.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Everything but tensors.
    pub state: State,
    /// The folder with the tensors.
    pub folder: PathBuf,
}

impl Stored {
    /// Everything but tensors.
    pub fn file(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    /// Weights and running statistics.
    pub fn weights(&self) -> PathBuf {
        self.folder.join("weights.safetensors")
    }

    /// The running average of the weights.
    pub fn average(&self) -> PathBuf {
        self.folder.join("average.safetensors")
    }

    /// State of the optimiser.
    pub fn optimizer(&self) -> PathBuf {
        self.folder.join("optimizer.bpk")
    }
}

impl Store {
    /// The checkpoints in `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Weights of the best network of phase `index`.
    pub fn best_weights(&self, index: usize, kind: PhaseKind) -> PathBuf {
        self.folder.join(format!("{}-{kind}.safetensors", index + 1))
    }

    fn best_facts(&self, index: usize, kind: PhaseKind) -> PathBuf {
        self.folder.join(format!("{}-{kind}.json", index + 1))
    }

    /// Keep `model` as the best of phase `index`.
    ///
    /// # Errors
    /// I/O; what was kept before is then untouched.
    pub fn keep(&self, index: usize, kind: PhaseKind, model: &HeModel, best: &Best) -> Result<(), RunError> {
        let path = self.best_weights(index, kind);
        replace(&path, |temp| model.save(temp).map_err(writing(&path)))?;
        self.keep_facts(index, kind, best)
    }

    /// Change what is noted about the best network of phase `index`.
    ///
    /// # Errors
    /// I/O.
    pub fn keep_facts(&self, index: usize, kind: PhaseKind, best: &Best) -> Result<(), RunError> {
        write_json(&self.best_facts(index, kind), best)
    }

    /// What is noted about the best network of phase `index`, whose weights are there; `None` when the phase has none yet.
    /// `run` is what `--resume` finds the run by.
    ///
    /// # Errors
    /// [`RunError::Lost`] when the run has finished the phase and a file of it is gone; I/O, [`RunError::Checkpoint`].
    pub fn best(&self, index: usize, kind: PhaseKind, run: &str) -> Result<Option<Best>, RunError> {
        let (facts, weights) = (self.best_facts(index, kind), self.best_weights(index, kind));
        if facts.is_file() && weights.is_file() {
            return read_json(&facts).map(Some);
        }
        if self.latest()?.is_none_or(|s| s.state.phase <= index) {
            return Ok(None);
        }
        let path = if facts.is_file() { weights } else { facts };
        Err(RunError::Lost { path, latest: self.folder.join("latest"), run: run.into() })
    }

    /// The newest whole state; `None` in a fresh run.
    ///
    /// # Errors
    /// I/O, [`RunError::Checkpoint`].
    pub fn latest(&self) -> Result<Option<Stored>, RunError> {
        let pointer = self.folder.join("latest");
        let name = match fs::read_to_string(&pointer) {
            Ok(name) => name,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io(&pointer)(e)),
        };
        let folder = self.folder.join(name.trim());
        let file = folder.join("state.json");
        if !name.trim().starts_with("state-") || !file.is_file() {
            let why = format!("it names `{}`, which is no stored state", name.trim());
            return Err(RunError::Checkpoint { path: pointer, why });
        }
        // Before the rest, which another version may have in another form.
        let Versioned { version } = read_json(&file)?;
        if version != VERSION {
            let why = format!("it has version {version}, this program reads {VERSION}");
            return Err(RunError::Checkpoint { path: file, why });
        }
        let state: State = read_json(&file)?;
        Ok(Some(Stored { state, folder }))
    }

    /// Store `state`, with tensors when its phase has begun.
    ///
    /// # Errors
    /// I/O; the state stored before is then untouched.
    pub fn save(
        &self,
        state: &State,
        tensors: Option<(&HeModel, &Updater, Option<&HeModel>)>,
    ) -> Result<(), RunError> {
        let old = fs::read_to_string(self.folder.join("latest")).unwrap_or_default();
        let number: u64 = old.trim().strip_prefix("state-").and_then(|n| n.parse().ok()).unwrap_or(0);
        let name = format!("state-{}", number + 1);
        let temp = self.folder.join(format!(".tmp-{name}"));
        let target = self.folder.join(&name);
        let written = self.fill(&temp, state, tensors).and_then(|()| {
            remove(&target)?;
            fs::rename(&temp, &target).map_err(io(&target))?;
            sync_folder(&target);
            write_atomic(&self.folder.join("latest"), name.as_bytes())
        });
        if written.is_err() {
            // The error of the write is the one to report.
            let _ = fs::remove_dir_all(&temp);
            return written;
        }
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let other = entry.file_name().to_string_lossy().into_owned();
            if other != name && (other.starts_with("state-") || other.starts_with(".tmp-")) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Remove what a killed process left half-written; only the process that holds the run may call this.
    ///
    /// # Errors
    /// I/O.
    pub fn sweep(&self) -> Result<(), RunError> {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(".tmp-") {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    fn fill(
        &self,
        temp: &Path,
        state: &State,
        tensors: Option<(&HeModel, &Updater, Option<&HeModel>)>,
    ) -> Result<(), RunError> {
        remove(temp)?;
        fs::create_dir(temp).map_err(io(temp))?;
        let stored = Stored { state: State { version: VERSION, ..state.clone() }, folder: temp.into() };
        if let Some((model, updater, average)) = tensors {
            let path = stored.weights();
            model.save(&path).map_err(writing(&path))?;
            sync(&path)?;
            if let Some(average) = average {
                let path = stored.average();
                average.save(&path).map_err(writing(&path))?;
                sync(&path)?;
            }
            let path = stored.optimizer();
            let bytes = updater.to_bytes().map_err(|why| RunError::Checkpoint { path: path.clone(), why })?;
            write_atomic(&path, &bytes)?;
        }
        write_json(&stored.file(), &stored.state)
    }
}

fn remove(path: &Path) -> Result<(), RunError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io(path)(e)),
        _ => Ok(()),
    }
}

fn sync(path: &Path) -> Result<(), RunError> {
    fs::File::open(path).and_then(|f| f.sync_all()).map_err(io(path))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), RunError> {
    let text = serde_json::to_vec_pretty(value).map_err(|e| io(path)(e.into()))?;
    write_atomic(path, &text)
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, RunError> {
    let text = fs::read(path).map_err(io(path))?;
    serde_json::from_slice(&text).map_err(|e| RunError::Checkpoint { path: path.into(), why: e.to_string() })
}
