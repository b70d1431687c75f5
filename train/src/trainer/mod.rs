//! The training loop: phases in order, every epoch validated, the best network of each phase kept, state stored so that
//! an interrupted run continues exactly.

mod epoch;
mod step;

use std::{path::Path, sync::atomic::AtomicBool, time::Instant};

use burn::{module::Module, tensor::Device};
use hetrain_layers::HeModel;

use crate::{
    checkpoint::{State, Store, Stored},
    config::{OtherNetwork, PhaseKind, RunConfig, Statistics},
    data::TrainingData,
    error::RunError,
    evaluate::{Evaluation, evaluate},
    metrics::Lines,
    optim::{Updater, number_parameters},
    phases::Phase,
    run_dir::RunDir,
    teacher,
};

/// Everything a run is trained with.
pub struct Trainer<'a> {
    /// Its folder.
    pub run: &'a RunDir,
    /// Its configuration.
    pub config: &'a RunConfig,
    /// Its data.
    pub data: &'a TrainingData,
    /// Folder of other runs, for teachers.
    pub runs: &'a Path,
    /// Where tensors live.
    pub device: &'a Device,
    /// Set when the user wants to stop.
    pub stop: &'a AtomicBool,
    /// Steps of the whole command, phases included, as shown to the user.
    pub stages: usize,
}

/// A phase while it runs.
struct Running<'a> {
    phase: Phase<'a>,
    state: State,
    model: HeModel,
    average: Option<HeModel>,
    teacher: Option<HeModel>,
    updater: Updater,
    stored: Instant,
}

impl Trainer<'_> {
    /// Run every phase that is not done; the best network of each is then in the run's checkpoints.
    ///
    /// # Errors
    /// [`RunError`]; the run can be continued after each of them.
    pub fn run(&self) -> Result<(), RunError> {
        let store = Store::new(self.run.checkpoints());
        store.sweep()?;
        let mut stored = self.stored()?;
        self.run.trains(self.config)?;
        store.keep_vocabulary(&self.data.splits)?;
        let mut state = stored.as_ref().map(|s| s.state.clone()).unwrap_or_default();
        let mut metrics = Lines::open(&self.run.metrics(), state.metrics_bytes)?;
        while let Some(settings) = self.config.phases.get(state.phase) {
            let phase = Phase { index: state.phase, settings, steps_per_epoch: self.steps_per_epoch() };
            let running = self.start(&store, phase, state, stored.take())?;
            state = self.phase(&store, running, &mut metrics)?;
        }
        Ok(())
    }

    /// Where the run stands; `None` in a fresh one.
    ///
    /// # Errors
    /// [`RunError::Checkpoint`] when no run with this configuration and data can stand there, [`RunError::Mismatch`] when its text
    /// had another vocabulary; I/O.
    pub fn stored(&self) -> Result<Option<Stored>, RunError> {
        let store = Store::new(self.run.checkpoints());
        let stored = store.latest()?;
        if let Some(stored) = &stored {
            store.check_vocabulary(&self.data.splits)?;
            // Of a text every position counts.
            let images = self.config.data.batch.min(self.data.train.len()) * self.data.train.targets();
            let activations = self.fresh()?.operators();
            let checked =
                stored.state.check(&self.config.phases, self.steps_per_epoch(), images, activations);
            checked.map_err(|why| RunError::Checkpoint { path: stored.file(), why })?;
        }
        Ok(stored)
    }

    fn steps_per_epoch(&self) -> usize {
        (self.data.train.len() / self.config.data.batch).max(1)
    }

    /// Begin a phase, or bring one back from where it was interrupted.
    fn start<'b>(
        &self,
        store: &Store,
        phase: Phase<'b>,
        state: State,
        stored: Option<Stored>,
    ) -> Result<Running<'b>, RunError> {
        let settings = phase.settings;
        let teacher = if settings.distill.teaches() { self.teacher(store, phase.index)? } else { None };
        let stored = stored.filter(|s| s.state.begun);
        let (model, average) = match &stored {
            Some(stored) => {
                let model = self.filled(&stored.weights())?;
                model.set_runtime(&state.runtime);
                let average = match settings.ema {
                    Some(_) => Some(self.filled(&stored.average())?.deep_copy().valid()),
                    None => None,
                };
                (number_parameters(model), average.map(number_parameters))
            }
            None => {
                let model = self.previous(store, phase.index)?;
                let model = number_parameters(phase.begin(model, |m| Ok(self.measure(m)?.ranges))?);
                let average = settings.ema.map(|_| model.deep_copy().valid());
                (model, average)
            }
        };
        let model = match settings.statistics {
            Statistics::Batch => model,
            Statistics::Fixed => model.with_fixed_statistics(),
        };
        let mut updater = Updater::new(settings, &model);
        if let Some(stored) = &stored {
            let path = stored.optimizer();
            let bytes = std::fs::read(&path).map_err(crate::error::io(&path))?;
            updater = updater.with_state(bytes).map_err(|why| RunError::Checkpoint { path, why })?;
        }
        Ok(Running { phase, state, model, average, teacher, updater, stored: Instant::now() })
    }

    /// The untrained network on the training device.
    fn fresh(&self) -> Result<HeModel, RunError> {
        Ok(self.data.model_config(self.config).init(&self.device.clone().autodiff(), self.config.seed)?)
    }

    /// The network with the weights in a file of this program.
    fn filled(&self, path: &Path) -> Result<HeModel, RunError> {
        let mut model = self.fresh()?;
        model.load(path)?;
        Ok(model)
    }

    /// The best network of phase `index`, on the training device.
    ///
    /// # Errors
    /// [`RunError::Unfinished`] when the phase has none, [`RunError::Lost`] when it had, [`RunError::Mismatch`] when its text had
    /// another vocabulary.
    pub fn best(&self, store: &Store, index: usize) -> Result<HeModel, RunError> {
        let unfinished = |what: String| RunError::Unfinished {
            run: self.run.name(),
            what,
            help: format!("train it: `hetrain train --resume {}`", self.run.handle()),
        };
        store.check_vocabulary(&self.data.splits)?;
        let settings =
            self.config.phases.get(index).ok_or_else(|| unfinished(format!("phase {}", index + 1)))?;
        let best = store
            .best(index, settings.kind, &self.run.handle())?
            .ok_or_else(|| unfinished(format!("result of phase {} (`{}`)", index + 1, settings.kind)))?;
        let model = self.filled(&store.best_weights(index, settings.kind))?;
        model.set_runtime(&best.runtime);
        Ok(model)
    }

    /// What phase `index` starts from: the phase before, the outside teacher, or fresh weights, with another network's
    /// features if it asks for them.
    fn previous(&self, store: &Store, index: usize) -> Result<HeModel, RunError> {
        if let Some(settings) = self.config.phases.get(index).filter(|p| p.start != OtherNetwork::None) {
            let mut model = self.fresh()?;
            teacher::features(
                &settings.start,
                self.runs,
                self.data,
                &mut model,
                settings.kind.ends_polynomial(),
            )?;
            return Ok(model);
        }
        if let Some(before) = index.checked_sub(1) {
            return self.best(store, before);
        }
        match self.config.phases.first() {
            Some(p) if p.kind != PhaseKind::Pretrain => {
                let device = self.device.clone().autodiff();
                teacher::outside(
                    &p.teacher,
                    self.runs,
                    self.data,
                    &self.data.model_config(self.config),
                    &device,
                )?
                .ok_or_else(|| RunError::NoStart { run: self.run.name(), kind: p.kind.name() })
            }
            _ => self.fresh(),
        }
    }

    /// The original network the polynomial one comes from: of the last phase that has one, or the teacher from outside.
    ///
    /// # Errors
    /// As [`Trainer::best`].
    pub fn original(&self, store: &Store) -> Result<Option<HeModel>, RunError> {
        self.original_before(store, self.config.phases.len())
    }

    /// The same of the phases before phase `end`.
    fn original_before(&self, store: &Store, end: usize) -> Result<Option<HeModel>, RunError> {
        match self.config.phases.iter().take(end).rposition(|p| !p.kind.ends_polynomial()) {
            Some(index) => self.best(store, index).map(Some),
            None => match self.config.phases.first() {
                Some(p) => teacher::outside(
                    &p.teacher,
                    self.runs,
                    self.data,
                    &self.data.model_config(self.config),
                    self.device,
                ),
                None => Ok(None),
            },
        }
    }

    /// The teacher of phase `index`, ready for evaluation.
    fn teacher(&self, store: &Store, index: usize) -> Result<Option<HeModel>, RunError> {
        let Some(settings) = self.config.phases.get(index) else { return Ok(None) };
        let model = match &settings.teacher {
            OtherNetwork::None => None,
            OtherNetwork::Previous => self.original_before(store, index)?,
            outside => teacher::outside(
                outside,
                self.runs,
                self.data,
                &self.data.model_config(self.config),
                self.device,
            )?,
        };
        Ok(model.map(|m| m.deep_copy().valid()))
    }

    fn measure(&self, model: &HeModel) -> Result<Evaluation, RunError> {
        evaluate(model, &self.data.calibration.set, &self.data.normalise, self.device)
    }
}
