//! A phase from its first epoch to its last: steps, checkpoints, validation, what is kept.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use burn::{module::Module, tensor::Tensor};
use hetrain_datasets::Batcher;
use hetrain_export::{Interval, brief};
use hetrain_layers::{HeModel, OperatorStats};
use serde_json::json;

use super::{Running, Trainer};
use crate::{
    checkpoint::{Best, State, Store},
    config::{KeepSetting, Statistics},
    data::pixels,
    error::RunError,
    evaluate::{Evaluation, evaluate},
    metrics::{ActivationRange, Event, Lines},
    optim::learning_rate,
    phases::{Phase, widened},
    progress::Progress,
};

/// Batches from which an average of networks takes its batch-norm statistics; the oldest then weighs half a percent.
const RECALIBRATION: usize = 50;

impl Trainer<'_> {
    /// Run a phase to its end; the state in which the next begins.
    pub(super) fn phase(
        &self,
        store: &Store,
        mut r: Running<'_>,
        metrics: &mut Lines,
    ) -> Result<State, RunError> {
        let phase = r.phase;
        let kind = phase.kind().name();
        let batcher = self.batcher(phase)?;
        let before = self.epochs_before(phase.index);
        let done = r.state.epoch * phase.steps_per_epoch + r.state.batch;
        let epochs = phase.settings.epochs;
        let mut progress = Progress::new(
            phase.index + 1,
            self.stages,
            kind,
            phase.what(self.config.model.name),
            epochs,
            phase.steps(),
            done,
        );
        let mut timing = Lines::open(&self.run.timing(), u64::MAX)?;
        let log_every = (phase.steps_per_epoch / 10).max(1);
        while r.state.epoch < epochs {
            let (clock, first) = (Instant::now(), r.state.batch);
            let mut lr = 0.0;
            while r.state.batch < phase.steps_per_epoch {
                let step = r.state.epoch * phase.steps_per_epoch + r.state.batch;
                lr =
                    learning_rate(phase.settings.optimizer.lr, &phase.settings.schedule, step, phase.steps());
                let batch = batcher.batch((before + r.state.epoch) as u64, r.state.batch);
                let (losses, gradient) = self.step(&mut r, batch, step, lr)?;
                if r.state.batch.is_multiple_of(log_every) {
                    let epoch = r.state.epoch;
                    metrics.write(&Event::Step {
                        phase: phase.index,
                        kind,
                        epoch,
                        step,
                        lr,
                        gradient,
                        losses,
                    })?;
                }
                r.state.batch += 1;
                progress.step();
                self.pause(store, &mut r, metrics, step)?;
            }
            let images = (phase.steps_per_epoch - first) * self.config.data.batch;
            let seconds = clock.elapsed().as_secs_f64();
            let summary = self.end_of_epoch(store, &mut r, metrics, lr)?;
            timing.write(
                &json!({ "phase": phase.index, "kind": kind, "epoch": r.state.epoch, "images": images,
                "seconds": seconds, "validation_seconds": clock.elapsed().as_secs_f64() - seconds }),
            )?;
            progress.epoch(r.state.epoch, &summary);
            r.state.epoch += 1;
            r.state.batch = 0;
            r.state.sums = Default::default();
            if r.state.epoch < epochs {
                self.store(store, &mut r, metrics)?;
            }
        }
        let best = self.end_of_phase(store, &r, metrics)?;
        let ranges = best.runtime.iter().map(|a| a.interval.max_abs()).fold(0.0, f64::max);
        let limit = if phase.kind().ends_polynomial() {
            format!("  intervals ≤ {}", brief(ranges, 3))
        } else {
            String::new()
        };
        let escaped = match best.escaped {
            0 => String::new(),
            n => format!("  {n} of {} validation images ESCAPE", self.data.validation.len()),
        };
        progress.finish(&format!("{}{limit}{escaped}", self.validated(best.accuracy, best.loss)));
        let state = State { phase: phase.index + 1, metrics_bytes: metrics.bytes(), ..State::default() };
        store.save(&state, None)?;
        Ok(state)
    }

    /// The training images in their order, augmented.
    fn batcher(&self, phase: Phase<'_>) -> Result<Batcher<'_>, RunError> {
        let (data, normalise) = (&self.config.data, &self.data.normalise);
        let augment = phase.settings.augment.as_ref().unwrap_or(&data.augment).clone();
        let augment = Some(augment).filter(|a| *a != hetrain_datasets::Augment::default());
        Ok(Batcher::new(&self.data.train, data.batch, self.config.seed, normalise, augment)?)
    }

    /// Epochs of the phases before phase `index`.
    pub(super) fn epochs_before(&self, index: usize) -> usize {
        self.config.phases.iter().take(index).map(|p| p.epochs).sum()
    }

    /// `average` with batch-norm statistics of its own. The average of its members' statistics is that of no network, and
    /// through a chain of squares a small difference grows (Izmailov et al. 2018, arXiv:1803.05407, sec. 3.2). Activations are
    /// clamped as in training: one wild image must not spoil the statistics of all.
    fn recalibrated(&self, average: &HeModel, phase: Phase<'_>, epoch: usize) -> Result<HeModel, RunError> {
        // Without gradients: their graphs would stay in memory, since nothing runs backwards here.
        let model = average.deep_copy().train().no_grad();
        phase.apply(&model, (epoch + 1) * phase.steps_per_epoch);
        model.set_training_clamp(phase.settings.clamp.map(|c| c as f32));
        model.set_penalty(None);
        let (batcher, epoch) = (self.batcher(phase)?, (self.epochs_before(phase.index) + epoch) as u64);
        for index in 0..RECALIBRATION.min(self.steps_per_epoch()) {
            model.forward(Tensor::from_inner(pixels(batcher.batch(epoch, index), self.device)));
        }
        let model = model.valid();
        model.set_runtime(&average.runtime());
        Ok(model)
    }

    /// Store state when it is time, and stop when the user wants to.
    fn pause(
        &self,
        store: &Store,
        r: &mut Running<'_>,
        metrics: &Lines,
        step: usize,
    ) -> Result<(), RunError> {
        let every = &self.config.checkpoint;
        let stop = self.stop.load(Ordering::Relaxed);
        let due = r.stored.elapsed() >= Duration::from_secs_f64(60.0 * every.minutes)
            || every.steps.is_some_and(|n| (step + 1).is_multiple_of(n));
        if stop || due {
            self.store(store, r, metrics)?;
        }
        if stop { Err(RunError::Interrupted { run: self.run.handle() }) } else { Ok(()) }
    }

    fn store(&self, store: &Store, r: &mut Running<'_>, metrics: &Lines) -> Result<(), RunError> {
        r.state.begun = true;
        r.state.metrics_bytes = metrics.bytes();
        r.state.runtime = r.model.runtime();
        store.save(&r.state, Some((&r.model, &r.updater, r.average.as_ref())))?;
        r.stored = Instant::now();
        Ok(())
    }

    /// Validate, keep the network if it is the best so far, write the epoch's line. Returns a summary for people.
    fn end_of_epoch(
        &self,
        store: &Store,
        r: &mut Running<'_>,
        metrics: &mut Lines,
        lr: f64,
    ) -> Result<String, RunError> {
        let phase = r.phase;
        let steps = (r.state.epoch + 1) * phase.steps_per_epoch;
        // The next step's blends: after the ramp they are exactly 1, which is what would be exported.
        phase.apply(&r.model, steps);
        let candidate = match &r.average {
            Some(a) => {
                a.set_runtime(&r.model.runtime());
                match phase.settings.statistics {
                    Statistics::Batch => self.recalibrated(a, phase, r.state.epoch)?,
                    Statistics::Fixed => a.clone(),
                }
            }
            None => r.model.clone(),
        };
        let seen = evaluate(&candidate, &self.data.validation, &self.data.normalise, self.device)?;
        // JSON knows no infinity, and an infinite loss is the worst.
        let best = Best {
            epoch: r.state.epoch,
            accuracy: seen.accuracy,
            loss: if seen.loss.is_finite() { seen.loss } else { f64::MAX },
            tame: seen.tame(),
            escaped: seen.escaped,
            runtime: r.model.runtime(),
        };
        let better = |before: &Best| match phase.settings.keep {
            KeepSetting::Best => best.beats(before),
            KeepSetting::Last => best.tame || !before.tame,
        };
        let keep = phase.may_keep(steps) && r.state.best.as_ref().is_none_or(better);
        if keep {
            store.keep(phase.index, phase.kind(), &candidate, &best)?;
            r.state.best = Some(best);
        }
        let runtime = r.model.runtime();
        let blend = runtime.iter().map(|a| f64::from(a.blend)).sum::<f64>() / runtime.len().max(1) as f64;
        let train_accuracy = r.state.sums.correct as f64 / r.state.sums.seen.max(1) as f64;
        let losses = r.state.sums.means();
        metrics.write(&Event::Epoch {
            phase: phase.index,
            kind: phase.kind().name(),
            epoch: r.state.epoch,
            step: steps,
            lr,
            blend,
            losses,
            train_accuracy,
            validation_accuracy: seen.accuracy,
            validation_loss: seen.loss,
            validation_nats_per_character: self.data.characters_per_token().map(|n| seen.loss / n),
            ranges: ranges(&seen, &r.model),
            best: keep,
        })?;
        Ok(format!("loss {:.4}  {}", losses.loss, self.validated(seen.accuracy, seen.loss)))
    }

    /// A validation for people: of a text, what counts is how surprising it is.
    fn validated(&self, accuracy: f64, loss: f64) -> String {
        let nats = match (self.data.validation.targets(), self.data.characters_per_token()) {
            (1, _) => String::new(),
            (_, None) => format!("  {loss:.4} nats a character"),
            (_, Some(characters)) => {
                format!("  {loss:.4} nats a token, {:.4} a character", loss / characters)
            }
        };
        format!("validation {:.2} %{nats}", 100.0 * accuracy)
    }

    /// Settle the intervals of the best network and write the phase's line.
    fn end_of_phase(&self, store: &Store, r: &Running<'_>, metrics: &mut Lines) -> Result<Best, RunError> {
        let phase = r.phase;
        let kind = phase.kind();
        let last = phase.index + 1 == self.config.phases.len();
        // A later phase may still tame a network from which many images escape; nobody wants it in the end.
        let Some(mut best) = r.state.best.clone().filter(|b| b.tame || !last) else {
            return Err(RunError::NothingToKeep { phase: phase.index, kind: kind.name() });
        };
        let model = self.best(store, phase.index)?;
        let seen = self.measure(&model)?;
        if kind.ends_polynomial() {
            for (i, stats) in seen.ranges.iter().enumerate() {
                // What is made for its interval keeps it, and so does what is still the original.
                if model.follows_range(i) || model.blend(i) < 1.0 {
                    continue;
                }
                if let Some(interval) = self.declared(phase.index, &model, i, stats)? {
                    model.set_range(i, interval);
                }
            }
        }
        best.runtime = model.runtime();
        store.keep_facts(phase.index, kind, &best)?;
        metrics.write(&Event::Phase {
            phase: phase.index,
            kind: kind.name(),
            epoch: best.epoch,
            validation_accuracy: best.accuracy,
            validation_loss: best.loss,
            ranges: ranges(&seen, &model),
        })?;
        Ok(best)
    }

    /// The interval an activation is exported with, if not the one it has: what was seen of it, widened by `margin`. A
    /// configured interval, which is where the penalty begins, stays if it is at least as wide.
    fn declared(
        &self,
        index: usize,
        model: &HeModel,
        operator: usize,
        seen: &OperatorStats,
    ) -> Result<Option<Interval>, RunError> {
        let phases = || self.config.phases.iter().take(index + 1).filter(|p| p.kind.ends_polynomial());
        let given = phases().rev().find_map(|p| p.interval);
        let Some(margin) = phases().next_back().map(|p| p.margin) else { return Ok(None) };
        let Some(wide) = widened(model, operator, seen, margin)? else { return Ok(None) };
        if let Some([lo, hi]) = given {
            // What a later phase has a penalty for, it need not declare yet.
            if index + 1 < self.config.phases.len() || (lo <= wide.lo && wide.hi <= hi) {
                return Ok(Some(Interval::new(lo, hi)?));
            }
        }
        Ok(Some(wide))
    }
}

/// What was seen, beside the intervals of `model`.
fn ranges(seen: &Evaluation, model: &HeModel) -> Vec<ActivationRange> {
    seen.ranges
        .iter()
        .zip(model.runtime())
        .map(|(stats, state)| {
            let all = stats.overall();
            let (lo, hi) = (state.interval.lo, state.interval.hi);
            ActivationRange { name: stats.name.clone(), min: all.min, max: all.max, lo, hi }
        })
        .collect()
}
