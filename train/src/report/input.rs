//! What the report reads from a run folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::UNIX_EPOCH;

use anyhow::{Context, anyhow};
use hetrain_export::Artifact;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::ladder::{LadderSummary, read_ladder};

/// Everything known about a run.
pub struct RunFiles {
    /// The configuration as written in the folder.
    pub config_text: String,
    /// The parts of it that the page names.
    pub config: Config,
    /// When `metrics.jsonl` was last written, in seconds since 1970.
    pub trained_at: Option<u64>,
    /// Phases that were begun, in order.
    pub phases: Vec<Phase>,
    /// The exported model.
    pub artifact: Option<Artifact>,
    /// The verification.
    pub ladder: Option<LadderSummary>,
}

/// The parts of `config.yaml` that the page names; all others are only shown.
#[derive(Debug, Deserialize)]
pub struct Config {
    /// Name of the run.
    pub name: String,
    /// Its seed.
    pub seed: Option<u64>,
    /// The network.
    pub model: Named,
    /// The data.
    pub data: Named,
}

/// A section with a name.
#[derive(Debug, Deserialize)]
pub struct Named {
    /// The name.
    pub name: String,
}

/// One phase of training.
#[derive(Debug, Default)]
pub struct Phase {
    /// Its kind.
    pub kind: String,
    /// Steps that were written down, as `(epochs since the phase began, minimised loss)`.
    pub steps: Vec<(f64, f64)>,
    /// Epochs that ended.
    pub epochs: Vec<Epoch>,
    /// The end, if it was reached.
    pub end: Option<PhaseEnd>,
    /// Seconds spent, repeated epochs of interrupted runs included.
    pub seconds: f64,
}

/// A line of `metrics.jsonl`; fields that a page can do without may be missing or null (as NaN is).
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    Step { phase: usize, kind: String, step: usize, loss: Option<f64> },
    Epoch(Epoch),
    Phase(PhaseEnd),
}

/// The end of an epoch.
#[derive(Debug, Deserialize)]
pub struct Epoch {
    /// Number of the phase, from 0.
    pub phase: usize,
    /// Its kind.
    pub kind: String,
    /// Epoch within the phase, from 0.
    pub epoch: usize,
    /// Steps of the phase made.
    pub step: Option<usize>,
    /// Minimised loss.
    pub loss: Option<f64>,
    /// Loss against the labels.
    pub task: Option<f64>,
    /// Share of right training images.
    pub train_accuracy: Option<f64>,
    /// Share of right validation images.
    pub validation_accuracy: Option<f64>,
    /// Cross-entropy on the validation images.
    pub validation_loss: Option<f64>,
    /// Activation inputs on the validation images.
    #[serde(default)]
    pub ranges: Vec<ActivationRange>,
}

/// The end of a phase.
#[derive(Debug, Deserialize)]
pub struct PhaseEnd {
    /// Number of the phase, from 0.
    pub phase: usize,
    /// Its kind.
    pub kind: String,
    /// Epoch of the network that was kept.
    pub epoch: Option<usize>,
    /// Its share of right validation images.
    pub validation_accuracy: Option<f64>,
    /// Its cross-entropy on the validation images.
    pub validation_loss: Option<f64>,
    /// Its activation inputs on the calibration images.
    #[serde(default)]
    pub ranges: Vec<ActivationRange>,
}

/// Values at one activation's input.
#[derive(Clone, Debug, Deserialize)]
pub struct ActivationRange {
    /// Name of the activation.
    pub name: String,
    /// Smallest value; missing when it was not finite.
    pub min: Option<f64>,
    /// Largest value.
    pub max: Option<f64>,
    /// Lower end of the interval.
    pub lo: Option<f64>,
    /// Upper end.
    pub hi: Option<f64>,
}

/// A line of `timing.jsonl`.
#[derive(Debug, Deserialize)]
struct TimingLine {
    phase: usize,
    seconds: f64,
    #[serde(default)]
    validation_seconds: f64,
}

impl RunFiles {
    /// Read the folder `run`.
    ///
    /// # Errors
    /// No `config.yaml`; files that cannot be read or understood, by name and line.
    pub fn read(run: &Path) -> anyhow::Result<Self> {
        let path = run.join("config.yaml");
        let config_text = read_optional(&path)?.ok_or_else(|| {
            anyhow!("{}: no such file\n  help: give the folder of a run, `runs/NAME`", path.display())
        })?;
        let config = serde_saphyr::from_str(&config_text).map_err(|e| {
            anyhow!("{}: {e}\n  help: the report needs the config a run writes itself", path.display())
        })?;
        let metrics = run.join("metrics.jsonl");
        let trained_at = std::fs::metadata(&metrics).and_then(|m| m.modified()).ok();
        let model = run.join("model.hemodel");
        Ok(Self {
            config_text,
            config,
            trained_at: trained_at.and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map(|d| d.as_secs()),
            phases: phases(lines(&metrics)?, lines(&run.join("timing.jsonl"))?),
            artifact: model.try_exists()?.then(|| Artifact::read(&model)).transpose()?,
            ladder: read_ladder(run)?,
        })
    }
}

/// Text of a file; none when there is no such file.
///
/// # Errors
/// I/O, text that is not UTF-8.
pub fn read_optional(path: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| path.display().to_string()),
    }
}

/// A file of JSON lines; nothing when it is missing.
fn lines<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    let text = read_optional(path)?.unwrap_or_default();
    let parse = |(number, line)| {
        serde_json::from_str(line).map_err(|e| {
            anyhow!(
                "{}: line {}: {e}\n  help: each line must be one whole JSON object; remove the line if the file was \
                 edited or cut",
                path.display(),
                number + 1
            )
        })
    };
    text.lines().enumerate().map(parse).collect()
}

/// Sort lines into phases.
fn phases(lines: Vec<Line>, timing: Vec<TimingLine>) -> Vec<Phase> {
    let mut phases: BTreeMap<usize, Phase> = BTreeMap::new();
    for line in lines {
        match line {
            Line::Step { phase, kind, step, loss } => {
                let phase = begun(&mut phases, phase, kind);
                phase.steps.extend(loss.map(|loss| (step as f64, loss)));
            }
            Line::Epoch(epoch) => begun(&mut phases, epoch.phase, epoch.kind.clone()).epochs.push(epoch),
            Line::Phase(end) => {
                let phase = begun(&mut phases, end.phase, end.kind.clone());
                phase.end = Some(end);
            }
        }
    }
    for line in timing {
        if let Some(phase) = phases.get_mut(&line.phase) {
            phase.seconds += line.seconds + line.validation_seconds;
        }
    }
    for phase in phases.values_mut() {
        let per_epoch = phase.steps_per_epoch();
        phase.steps.iter_mut().for_each(|(x, _)| *x /= per_epoch);
    }
    phases.into_values().collect()
}

fn begun(phases: &mut BTreeMap<usize, Phase>, number: usize, kind: String) -> &mut Phase {
    phases.entry(number).or_insert_with(|| Phase { kind, ..Phase::default() })
}

impl Phase {
    /// Steps of an epoch; before the first epoch ended, the steps made so far.
    fn steps_per_epoch(&self) -> f64 {
        let ended = self.epochs.iter().rev().find_map(|e| e.step.map(|s| s as f64 / (e.epoch + 1) as f64));
        let begun = self.steps.last().map_or(1.0, |(step, _)| step + 1.0);
        ended.unwrap_or(begun).max(1.0)
    }

    /// Epochs on the page, a begun one included.
    pub fn width(&self) -> f64 {
        let ended = self.epochs.last().map_or(0, |e| e.epoch + 1) as f64;
        let begun = self.steps.last().map_or(0.0, |(x, _)| *x);
        ended.max(begun.floor() + f64::from(begun > ended)).max(1.0)
    }
}
