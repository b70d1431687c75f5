//! Running a network over a set without training it.

use burn::{module::Module, tensor::Device};
use hetrain_datasets::{Batcher, ImageSet, Normalise};
use hetrain_layers::{ActivationStats, HeModel};

use crate::{
    data::pixels,
    error::RunError,
    loss::{correct, cross_entropy, scalar, targets, to_host},
};

/// Images per forward pass; the result does not depend on it.
const BATCH: usize = 250;

/// What a network does on a set.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Share of images whose largest logit is the label's.
    pub accuracy: f64,
    /// Mean cross-entropy.
    pub loss: f64,
    /// Values seen at the activations' inputs, in forward order.
    pub ranges: Vec<ActivationStats>,
}

impl Evaluation {
    /// Whether no value was NaN or infinite.
    pub fn finite(&self) -> bool {
        self.loss.is_finite() && self.ranges.iter().all(|r| r.overall().max.is_finite())
    }
}

/// Evaluate `model` as it would be exported: batch norm by its running statistics, no clamp, blends as they stand.
///
/// # Errors
/// Data errors, [`RunError::Device`].
pub fn evaluate(
    model: &HeModel,
    set: &ImageSet,
    normalise: &Normalise,
    device: &Device,
) -> Result<Evaluation, RunError> {
    // A copy of its own, so that collecting does not show in the model that is being trained.
    let model = model.deep_copy().valid();
    model.collect_ranges(true);
    let batcher = Batcher::evaluation(set, BATCH, normalise)?;
    let (mut hits, mut loss) = (0, 0.0);
    for batch in batcher.epoch(0) {
        let labels = batch.labels.clone();
        let logits = model.forward(pixels(batch, device)).logits;
        let target = targets(&labels, set.classes, 0.0, device);
        loss += scalar(cross_entropy(logits.clone(), target))? * labels.len() as f64;
        hits += correct(&to_host(logits)?, &labels, set.classes);
    }
    let count = set.len().max(1) as f64;
    Ok(Evaluation { accuracy: hits as f64 / count, loss: loss / count, ranges: model.take_ranges() })
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::atomic::AtomicBool};

    use super::*;
    use crate::{checkpoint::Store, data::TrainingData, run_dir::RunDir, trainer::Trainer};

    #[test]
    #[ignore = "needs a finished run: HETRAIN_RUN=runs/NAME; reads its test set, so only for a last look"]
    fn print_the_test_accuracy_of_every_phase() {
        let Ok(run) = std::env::var("HETRAIN_RUN") else { return };
        let runs = PathBuf::from("runs");
        let (run, config) = RunDir::open(&runs, run.as_ref()).unwrap();
        let data = TrainingData::load(&config, None).unwrap();
        let (device, stop) = (Device::flex(), AtomicBool::new(false));
        let (runs, config) = (&runs, &config);
        let trainer =
            Trainer { run: &run, config, data: &data, runs, device: &device, stop: &stop, stages: 1 };
        for (i, phase) in config.phases.iter().enumerate() {
            let Ok(model) = trainer.best(&Store::new(run.checkpoints()), i) else { continue };
            let seen = evaluate(&model, &data.splits.test, &data.normalise, &device).unwrap();
            let right = (seen.accuracy * data.splits.test.len() as f64).round();
            println!("{}: {right} of {}", phase.kind, data.splits.test.len());
            for (r, s) in seen.ranges.iter().zip(model.runtime()) {
                let all = r.overall();
                println!("  {} [{:.3}, {:.3}] in {:?}", r.name, all.min, all.max, s.interval);
            }
        }
    }
}
