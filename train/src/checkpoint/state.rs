//! Where a run stands; everything but tensors.

use hetrain_export::Interval;
use hetrain_layers::OperatorState;
use serde::{Deserialize, Serialize};

use crate::{config::PhaseSettings, metrics::LossParts};

/// Version of the files, so that a later program can tell.
pub(super) const VERSION: u32 = 2;

/// What every version of [`State`] has.
#[derive(Deserialize)]
pub(super) struct Versioned {
    /// Its version.
    pub(super) version: u32,
}

/// The network of a phase that was kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Epoch within the phase, from 0.
    pub epoch: usize,
    /// Share of validation images that are right.
    pub accuracy: f64,
    /// Mean cross-entropy on the validation images.
    pub loss: f64,
    /// Whether few enough validation images escaped ([`crate::evaluate::Evaluation::tame`]).
    #[serde(default = "yes", alias = "finite")]
    pub tame: bool,
    /// Validation images that escaped.
    #[serde(default)]
    pub escaped: usize,
    /// Blends and intervals of the activations.
    pub runtime: Vec<OperatorState>,
}

fn yes() -> bool {
    true
}

impl Best {
    /// Whether this network is to be kept instead of `other`.
    pub fn beats(&self, other: &Self) -> bool {
        let rank = |b: &Self| (b.tame, b.accuracy, -b.loss);
        rank(self) > rank(other)
    }
}

/// Sums over the epoch so far; JSON gives them back exactly (serde_json's feature `float_roundtrip`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sums {
    /// Losses times images.
    pub losses: LossParts,
    /// Images that were right.
    pub correct: usize,
    /// Images seen.
    pub seen: usize,
}

impl Sums {
    /// Take in a step's losses over `images` images, `correct` of them right.
    pub fn add(&mut self, losses: &LossParts, images: usize, correct: usize) {
        self.losses = self.losses.combine(losses, |sum, loss| sum + loss * images as f64);
        self.correct += correct;
        self.seen += images;
    }

    /// Mean losses.
    pub fn means(&self) -> LossParts {
        self.losses.combine(&LossParts::default(), |sum, _| sum / self.seen.max(1) as f64)
    }
}

/// Where a run stands; everything but tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Version of this structure.
    pub version: u32,
    /// Number of the phase, from 0; as many as there are phases when all are done.
    pub phase: usize,
    /// Epoch within the phase, from 0.
    pub epoch: usize,
    /// Next batch of the epoch.
    pub batch: usize,
    /// Whether the phase has begun, so that tensors are stored.
    pub begun: bool,
    /// Sums over the epoch so far.
    pub sums: Sums,
    /// Batches in a row that were left out because their gradient was not finite.
    #[serde(default)]
    pub skipped: usize,
    /// Length of `metrics.jsonl`.
    pub metrics_bytes: u64,
    /// The best network of this phase so far.
    pub best: Option<Best>,
    /// Blends and intervals of the activations.
    pub runtime: Vec<OperatorState>,
}

impl State {
    /// Why no run with these `phases`, `steps` updates of `images` images an epoch, and `activations` can stand here.
    ///
    /// # Errors
    /// The contradiction, in words.
    pub fn check(
        &self,
        phases: &[PhaseSettings],
        steps: usize,
        images: usize,
        activations: usize,
    ) -> Result<(), String> {
        let (epoch, batch, seen) = (self.epoch, self.batch, self.sums.seen);
        if self.phase > phases.len() || (self.begun && self.phase == phases.len()) {
            return Err(format!("it stands in phase {}, the run has {}", self.phase + 1, phases.len()));
        }
        if !self.begun && (epoch, batch, seen) != (0, 0, 0) {
            return Err(format!("phase {} has not begun, yet it stands in its middle", self.phase + 1));
        }
        // After the last phase there is nothing left to contradict.
        let Some(phase) = phases.get(self.phase) else { return Ok(()) };
        if epoch >= phase.epochs {
            return Err(format!("it stands in epoch {}, the phase has {}", epoch + 1, phase.epochs));
        }
        if batch > steps {
            return Err(format!("it stands after batch {batch}, an epoch has {steps}"));
        }
        if seen != batch * images || self.sums.correct > seen {
            let (right, due) = (self.sums.correct, batch * images);
            return Err(format!(
                "its sums are of {seen} images, {right} of them right, but {batch} batches hold {due}"
            ));
        }
        if self.begun && self.runtime.len() != activations {
            let found = self.runtime.len();
            return Err(format!("it has {found} activations, the network has {activations}"));
        }
        for a in self.runtime.iter().chain(self.best.iter().flat_map(|b| &b.runtime)) {
            Interval::new(a.interval.lo, a.interval.hi).map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunConfig;

    #[test]
    fn positions_that_no_run_has_are_refused() {
        let text = "name: a\nmodel: { name: cnn-s }\ndata: { name: digits }\nphases: [{ kind: pretrain, epochs: 3 }]\n";
        let phases = RunConfig::parse(text, "t", &[]).unwrap().phases;
        let check = |s: State| s.check(&phases, 10, 16, 1);
        let activation = OperatorState { blend: 0.0, interval: Interval { lo: -1.0, hi: 1.0 } };
        let sums = Sums { seen: 64, correct: 60, ..Sums::default() };
        let good =
            State { epoch: 2, batch: 4, begun: true, sums, runtime: vec![activation], ..State::default() };
        for s in [good.clone(), State::default(), State { phase: 1, ..State::default() }] {
            assert_eq!(check(s), Ok(()));
        }
        let twisted = OperatorState { interval: Interval { lo: 1.0, hi: -1.0 }, ..activation };
        for (bad, words) in [
            (State { phase: 2, ..State::default() }, "in phase 3, the run has 1"),
            (State { phase: 1, ..good.clone() }, "in phase 2, the run has 1"),
            (State { phase: 1, batch: 2, ..State::default() }, "phase 2 has not begun"),
            (State { epoch: 3, ..good.clone() }, "in epoch 4, the phase has 3"),
            (State { batch: 11, ..good.clone() }, "after batch 11, an epoch has 10"),
            (State { batch: 5, ..good.clone() }, "64 images, 60 of them right, but 5 batches hold 80"),
            (State { sums: Sums { correct: 65, ..sums }, ..good.clone() }, "65 of them right"),
            (State { begun: false, ..good.clone() }, "has not begun"),
            (State { runtime: Vec::new(), ..good.clone() }, "0 activations, the network has 1"),
            (State { runtime: vec![twisted], ..good }, "interval [1"),
        ] {
            let why = check(bad).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
    }
}
