//! `metrics.jsonl`: what was measured while training. The same run writes the same bytes, interrupted or not; times of
//! day and durations are therefore in `timing.jsonl`.

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::error::{RunError, io};

/// Mean losses of a step or an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossParts {
    /// Weighted sum, which is minimised.
    pub loss: f64,
    /// Against the labels.
    pub task: f64,
    /// Against the teacher's logits.
    pub teacher: f64,
    /// Against the teacher's features.
    pub features: f64,
    /// Against the teacher's attention weights.
    pub attention: f64,
    /// Penalty on activation inputs outside their interval.
    pub range: f64,
}

impl LossParts {
    /// `f` of each loss here and there.
    pub fn combine(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            loss: f(self.loss, other.loss),
            task: f(self.task, other.task),
            teacher: f(self.teacher, other.teacher),
            features: f(self.features, other.features),
            attention: f(self.attention, other.attention),
            range: f(self.range, other.range),
        }
    }
}

/// Values at one activation's input.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ActivationRange {
    /// Name of the activation.
    pub name: String,
    /// Smallest value on the validation images.
    pub min: f64,
    /// Largest value on the validation images.
    pub max: f64,
    /// The interval, lower end.
    pub lo: f64,
    /// The interval, upper end.
    pub hi: f64,
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A training step, every few steps.
    Step {
        /// Number of the phase, from 0.
        phase: usize,
        /// Its kind.
        kind: &'static str,
        /// Epoch within the phase, from 0.
        epoch: usize,
        /// Step within the phase, from 0.
        step: usize,
        /// Learning rate.
        lr: f64,
        /// Norm of the gradient before clipping.
        gradient: f64,
        /// The losses.
        #[serde(flatten)]
        losses: LossParts,
    },
    /// The end of an epoch.
    Epoch {
        /// Number of the phase, from 0.
        phase: usize,
        /// Its kind.
        kind: &'static str,
        /// Epoch within the phase, from 0.
        epoch: usize,
        /// Steps of the phase made.
        step: usize,
        /// Learning rate of the last step.
        lr: f64,
        /// Mean share of the quadratic over the activations.
        blend: f64,
        /// Mean losses over the epoch.
        #[serde(flatten)]
        losses: LossParts,
        /// Share of training images (as augmented) that were right when seen.
        train_accuracy: f64,
        /// Share of validation images that are right.
        validation_accuracy: f64,
        /// Mean cross-entropy on the validation images.
        validation_loss: f64,
        /// Of a text by tokens of several characters, the same for each character.
        #[serde(skip_serializing_if = "Option::is_none")]
        validation_nats_per_character: Option<f64>,
        /// Activation inputs on the validation images.
        ranges: Vec<ActivationRange>,
        /// Whether this is the best network of the phase so far.
        best: bool,
    },
    /// The end of a phase.
    Phase {
        /// Number of the phase, from 0.
        phase: usize,
        /// Its kind.
        kind: &'static str,
        /// Epoch of the network that was kept, from 0.
        epoch: usize,
        /// Its share of validation images that are right.
        validation_accuracy: f64,
        /// Its mean cross-entropy on the validation images.
        validation_loss: f64,
        /// Its activation inputs on the calibration images.
        ranges: Vec<ActivationRange>,
    },
}

/// A file of JSON lines that can be cut back.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Lines {
    /// Open the file at `path` and forget everything after the first `keep` bytes.
    ///
    /// # Errors
    /// I/O.
    pub fn open(path: &Path, keep: u64) -> Result<Self, RunError> {
        let file = File::options().create(true).truncate(false).write(true).open(path).map_err(io(path))?;
        let mut lines = Self { path: path.into(), file, bytes: keep };
        let length = lines.file.metadata().map_err(io(path))?.len();
        lines.bytes = keep.min(length);
        lines.file.set_len(lines.bytes).map_err(io(path))?;
        lines.file.seek(SeekFrom::End(0)).map_err(io(path))?;
        Ok(lines)
    }

    /// Append a line; a line that cannot be written whole is taken back.
    ///
    /// # Errors
    /// I/O.
    pub fn write(&mut self, line: &impl Serialize) -> Result<(), RunError> {
        let path = self.path.clone();
        let mut text = serde_json::to_vec(line).map_err(|e| io(&path)(e.into()))?;
        text.push(b'\n');
        if let Err(e) = self.file.write_all(&text) {
            // The error of the write is the one to report.
            let _ = self.file.set_len(self.bytes);
            return Err(io(&path)(e));
        }
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// Length so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reopened_file_is_cut_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        let mut lines = Lines::open(&path, 0).unwrap();
        lines.write(&1).unwrap();
        let keep = lines.bytes();
        lines.write(&2).unwrap();
        drop(lines);
        Lines::open(&path, keep).unwrap().write(&3).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n3\n");
    }
}
