//! A phase from its first epoch to its last: steps, checkpoints, validation, what is kept.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use hetrain_datasets::Batcher;
use hetrain_export::{Interval, brief};
use hetrain_layers::{ActivationStats, HeModel};
use serde_json::json;

use super::{Running, Trainer};
use crate::{
    checkpoint::{Best, State, Store},
    error::RunError,
    evaluate::{Evaluation, evaluate},
    metrics::{ActivationRange, Event, Lines, LossParts},
    optim::learning_rate,
    phases::widened,
    progress::Progress,
};

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
        let augment =
            Some(self.config.data.augment.clone()).filter(|a| *a != hetrain_datasets::Augment::default());
        let batcher = Batcher::new(
            &self.data.train,
            self.config.data.batch,
            self.config.seed,
            &self.data.normalise,
            augment,
        )?;
        let before: usize = self.config.phases.iter().take(phase.index).map(|p| p.epochs).sum();
        let done = r.state.epoch * phase.steps_per_epoch + r.state.batch;
        let epochs = phase.settings.epochs;
        let mut progress =
            Progress::new(phase.index + 1, self.stages, kind, phase.what(), epochs, phase.steps(), done);
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
        progress.finish(&format!("validation {:.2} %{limit}", 100.0 * best.accuracy));
        let state = State { phase: phase.index + 1, metrics_bytes: metrics.bytes(), ..State::default() };
        store.save(&state, None)?;
        Ok(state)
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
                a.clone()
            }
            None => r.model.clone(),
        };
        let seen = evaluate(&candidate, &self.data.validation, &self.data.normalise, self.device)?;
        let better = r.state.best.as_ref().is_none_or(|b| {
            seen.accuracy > b.accuracy || (seen.accuracy == b.accuracy && seen.loss < b.loss)
        });
        let keep = phase.may_keep(steps) && seen.finite() && better;
        if keep {
            let best = Best {
                epoch: r.state.epoch,
                accuracy: seen.accuracy,
                loss: seen.loss,
                runtime: r.model.runtime(),
            };
            store.keep(phase.index, phase.kind(), &candidate, &best)?;
            r.state.best = Some(best);
        }
        let runtime = r.model.runtime();
        let blend = runtime.iter().map(|a| f64::from(a.blend)).sum::<f64>() / runtime.len().max(1) as f64;
        let [loss, task, teacher, features, range] = r.state.sums.means();
        let train_accuracy = r.state.sums.correct as f64 / r.state.sums.seen.max(1) as f64;
        metrics.write(&Event::Epoch {
            phase: phase.index,
            kind: phase.kind().name(),
            epoch: r.state.epoch,
            step: steps,
            lr,
            blend,
            losses: LossParts { loss, task, teacher, features, range },
            train_accuracy,
            validation_accuracy: seen.accuracy,
            validation_loss: seen.loss,
            ranges: ranges(&seen, &r.model),
            best: keep,
        })?;
        Ok(format!("loss {loss:.4}  validation {:.2} %", 100.0 * seen.accuracy))
    }

    /// Settle the intervals of the best network and write the phase's line.
    fn end_of_phase(&self, store: &Store, r: &Running<'_>, metrics: &mut Lines) -> Result<Best, RunError> {
        let phase = r.phase;
        let kind = phase.kind();
        let Some(mut best) = r.state.best.clone() else {
            return Err(RunError::NothingToKeep { phase: phase.index, kind: kind.name() });
        };
        let model = self.best(store, phase.index)?;
        let seen = self.measure(&model)?;
        if kind.ends_polynomial() {
            for (i, stats) in seen.ranges.iter().enumerate() {
                if let Some(interval) = self.declared(phase.index, stats)? {
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
    /// configured interval, which is where the penalty begins, stays as long as nothing left it.
    fn declared(&self, index: usize, seen: &ActivationStats) -> Result<Option<Interval>, RunError> {
        let phases = || self.config.phases.iter().take(index + 1).filter(|p| p.kind.ends_polynomial());
        let all = seen.overall();
        let given = phases().rev().find_map(|p| p.interval);
        if given.is_some_and(|[lo, hi]| lo <= all.min && all.max <= hi) {
            return Ok(None);
        }
        phases().next_back().map(|p| widened(seen, p.margin)).transpose()
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
