//! Running a network over a set without training it.

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor, TensorData},
};
use hetrain_datasets::{Batcher, ImageSet, Normalise};
use hetrain_layers::{HeModel, OperatorStats};

use crate::{
    data::pixels,
    error::RunError,
    loss::{correct, cross_entropy, scalar, targets, to_host},
};

/// Images per forward pass; the result does not depend on it.
const BATCH: usize = 250;

/// No classifier has such logits.
const WILD: f32 = 1e4;

/// One image in so many may escape. None would be better, but a network cannot be held to images unlike all it has seen.
const ESCAPES: usize = 1000;

/// What a network does on a set.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Share of images (of a text, of positions) whose largest logit is the label's.
    pub accuracy: f64,
    /// Mean cross-entropy of the images that did not escape.
    pub loss: f64,
    /// Images whose values left the range of a square, and grew from square to square beyond all logits. They count as wrong.
    pub escaped: usize,
    /// Images in all; of a text, positions.
    pub images: usize,
    /// Values seen at the activations' inputs, in forward order.
    pub ranges: Vec<OperatorStats>,
}

impl Evaluation {
    /// Whether few enough images escaped for the network to be of use: one in [`ESCAPES`].
    pub fn tame(&self) -> bool {
        self.loss.is_finite() && self.escaped * ESCAPES <= self.images
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
    let (mut hits, mut loss, mut escaped) = (0, 0.0, 0);
    for batch in batcher.epoch(0) {
        let labels = batch.labels.clone();
        let logits = model.forward(pixels(batch, device)).logits;
        let values = to_host(logits.clone())?;
        let wild = |row: &[f32]| row.iter().any(|v| !v.is_finite() || v.abs() > WILD);
        let rows = values.chunks_exact(set.classes).zip(&labels).enumerate();
        let (mut tame, mut known) = (Vec::new(), Vec::new());
        for (place, (row, label)) in rows.filter(|(_, (row, _))| !wild(row)) {
            tame.push(place as i64);
            known.push(*label);
            hits += correct(row, &[*label], set.classes);
        }
        escaped += labels.len() - tame.len();
        if !tame.is_empty() {
            let count = tame.len();
            let rows = Tensor::<1, Int>::from_data(TensorData::new(tame, [count]), device);
            let target = targets(&known, set.classes, 0.0, device);
            loss += scalar(cross_entropy(logits.select(0, rows), target))? * count as f64;
        }
    }
    let (images, ranges) = (set.labels.len(), model.take_ranges());
    let loss = if escaped < images { loss / (images - escaped) as f64 } else { f64::INFINITY };
    Ok(Evaluation { accuracy: hits as f64 / images.max(1) as f64, loss, escaped, images, ranges })
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::atomic::AtomicBool};

    use hetrain_datasets::DatasetConfig;
    use hetrain_layers::{ModelConfig, ModelName};

    use super::*;
    use crate::{checkpoint::Store, data::TrainingData, run_dir::RunDir, trainer::Trainer};

    #[test]
    fn images_that_escape_are_counted_and_wrong() {
        let set =
            hetrain_datasets::load(&DatasetConfig { name: "digits".into(), ..Default::default() }, None, 1);
        let set = set.unwrap().test.subset(&(0..20).collect::<Vec<_>>());
        let device = Device::flex();
        let config = ModelConfig::new(ModelName::CnnS, set.shape, set.classes);
        let model = config.init(&device, 1).unwrap();
        (0..model.operators()).for_each(|i| model.set_blend(i, 1.0));
        let seen = |std: f32| {
            evaluate(&model, &set, &Normalise { mean: vec![0.5], std: vec![std] }, &device).unwrap()
        };
        let usual = seen(0.5);
        assert!(usual.tame() && usual.escaped == 0 && usual.loss.is_finite());
        // Values of a million, squared twice: finite, but no logits.
        let wild = seen(1e-6);
        assert_eq!((wild.escaped, wild.images, wild.accuracy), (20, 20, 0.0));
        assert!(!wild.tame() && wild.loss.is_infinite());
    }

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
