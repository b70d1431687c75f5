//! The data of a run, cut and measured as its configuration says.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use hetrain_datasets::{Calibration, ImageBatch, ImageSet, Normalise, Splits, load, validation_split};
use hetrain_layers::ModelConfig;

use crate::{
    config::{NormaliseSetting, RunConfig, VALIDATION},
    error::RunError,
};

/// Images to learn from, to choose by, and to measure ranges on. The test images lie in `splits` and nothing here reads
/// them.
pub struct TrainingData {
    /// Everything as loaded; `train` still holds the validation slice.
    pub splits: Splits,
    /// Images to learn from.
    pub train: ImageSet,
    /// Images by which checkpoints are chosen.
    pub validation: ImageSet,
    /// Training images on which ranges are measured.
    pub calibration: Calibration,
    /// Input normalisation.
    pub normalise: Normalise,
    /// The data folder named on the command line.
    pub data_dir: Option<PathBuf>,
}

impl TrainingData {
    /// Load and cut the data of `config`; files are looked for below `data_dir` first.
    ///
    /// # Errors
    /// Data errors; settings that do not fit the data.
    pub fn load(config: &RunConfig, data_dir: Option<&Path>) -> Result<Self, RunError> {
        let splits = load(&config.data.source, data_dir, config.seed)?;
        let (train, validation) = match &splits.validation {
            // The share it has by default cannot be told from one that was written.
            Some(own) if config.data.validation != VALIDATION => {
                return Err(RunError::Mismatch {
                    what: "`data.validation`".into(),
                    needs: "data of which nothing is set aside yet".into(),
                    found: format!("`{}`, which has {} samples to choose by", splits.name, own.len()),
                    help: "remove it; `validation_limit` uses fewer of them".into(),
                });
            }
            Some(own) => (splits.train.clone(), own.clone()),
            None => validation_split(&splits.train, config.data.validation, config.seed),
        };
        let validation = match config.data.validation_limit {
            Some(limit) if limit < validation.len() => {
                validation_split(&validation, limit as f64 / validation.len() as f64, config.seed).1
            }
            _ => validation,
        };
        if validation.is_empty() || train.len() < config.data.batch.min(2) {
            return Err(RunError::Mismatch {
                what: "`data.validation`".into(),
                needs: "training and validation images".into(),
                found: format!("{} and {}", train.len(), validation.len()),
                help: "change the share `data.validation`, or use more data".into(),
            });
        }
        kind(config)?;
        let text = config.data.source.is_text();
        let changes = || {
            std::iter::once(&config.data.augment)
                .chain(config.phases.iter().filter_map(|p| p.augment.as_ref()))
        };
        if changes().any(|a| if text { a.of_images() } else { a.of_texts() }) {
            let [needs, found, help] = if text {
                ["images", "text", "remove it; letters may be replaced, with `augment: { noise: 0.02 }`"]
            } else {
                ["text", "images", "remove `noise`, which is for texts; images have `light`"]
            };
            let [needs, found, help] = [needs, found, help].map(String::from);
            return Err(RunError::Mismatch { what: "`augment`".into(), needs, found, help });
        }
        changes().try_for_each(|a| a.check(train.shape))?;
        enough_to_verify(config, &splits)?;
        let normalise = match &config.data.normalise {
            // A text's zeros and ones are no brightness; a rare character would become a thousand.
            NormaliseSetting::Measure if text => Normalise { mean: vec![0.0], std: vec![1.0] },
            NormaliseSetting::Measure => Normalise::measure(&train),
            NormaliseSetting::Given { mean, std } => Normalise { mean: mean.clone(), std: std.clone() },
        };
        normalise.per_channel(train.shape[0])?;
        let calibration = Calibration::sample(&train, config.data.calibration, config.seed);
        let data_dir = data_dir.map(Path::to_path_buf);
        Ok(Self { splits, train, validation, calibration, normalise, data_dir })
    }

    /// Settings of the network for this data.
    pub fn model_config(&self, config: &RunConfig) -> ModelConfig {
        config.model.sized(self.train.shape, self.train.classes)
    }

    /// Mean and deviation per channel, as lowering wants them.
    ///
    /// # Errors
    /// A normalisation for other channels.
    pub fn mean_std(&self) -> Result<(Vec<f64>, Vec<f64>), RunError> {
        let pairs = self.normalise.per_channel(self.train.shape[0])?;
        Ok(pairs.into_iter().map(|(m, s)| (f64::from(m), f64::from(s))).unzip())
    }

    /// Characters of the validation text for each of its tokens; `None` where each is one, and of images.
    pub fn characters_per_token(&self) -> Option<f64> {
        self.splits.vocabulary.as_ref()?.characters_per_token(&self.validation)
    }

    /// One line about the data: `digits 8x8, 10 classes, 1293 + 144 training and validation images`.
    pub fn describe(&self) -> String {
        let [c, h, w] = self.train.shape;
        if self.train.targets() > 1 {
            return format!(
                "{}, {c} {} · windows of {h}: {} to train on, {} to choose by",
                self.splits.name,
                match &self.splits.vocabulary {
                    Some(vocabulary) if !vocabulary.is_of_characters() => "tokens",
                    _ => "characters",
                },
                self.train.len(),
                self.validation.len()
            );
        }
        let colour = if c == 1 { String::new() } else { format!("x{c}") };
        format!(
            "{} {h}x{w}{colour}, {} classes · {} to train on, {} to choose by",
            self.splits.name,
            self.train.classes,
            self.train.len(),
            self.validation.len()
        )
    }
}

/// Whether there are as many test samples as are to be verified after training.
fn enough_to_verify(config: &RunConfig, splits: &Splits) -> Result<(), RunError> {
    let Some(verify) = &config.verify else { return Ok(()) };
    let asked =
        [("samples", verify.samples), ("packed", verify.packed), ("encrypted", Some(verify.encrypted))];
    let there = splits.test.len();
    match asked.into_iter().find_map(|(key, n)| Some((key, n.filter(|n| *n > there)?))) {
        None => Ok(()),
        Some((key, asked)) => Err(RunError::Mismatch {
            what: format!("`verify.{key}`"),
            needs: format!("{asked} test samples"),
            found: format!("{there} in `{}`", splits.name),
            help: format!("write `verify: {{ {key}: {there} }}` or less, or raise `data.test_limit`"),
        }),
    }
}

/// Whether the network reads what the data are, texts or images.
///
/// # Errors
/// [`RunError::Mismatch`].
pub fn kind(config: &RunConfig) -> Result<(), RunError> {
    let text = config.data.source.is_text();
    if text == config.model.name.reads_text() {
        return Ok(());
    }
    let kind = |text: bool| if text { "text" } else { "images" };
    Err(RunError::Mismatch {
        what: format!("`model.name: {}`", config.model.name),
        needs: kind(!text).into(),
        found: format!("{} ({})", kind(text), config.data.source.name),
        help: "choose another network or other data: `gpt` reads texts, all others images".into(),
    })
}

/// Image `index` as a graph takes it, in `[0, 1]`.
pub fn input_of(set: &ImageSet, index: usize) -> Vec<f64> {
    let white = f64::from(set.white);
    set.pixels_of(index).unwrap_or_default().iter().map(|&p| f64::from(p) / white).collect()
}

/// The pixels of a batch on `device`, `[batch, channels, height, width]`.
pub fn pixels(batch: ImageBatch, device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(batch.pixels, batch.shape), device)
}
