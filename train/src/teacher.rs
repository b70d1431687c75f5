//! Networks from outside the run: another run, or a file of weights.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use hetrain_datasets::weights;
use hetrain_layers::{HeModel, ModelConfig, ModelName};

use crate::{
    checkpoint::Store,
    config::{OtherNetwork, PhaseKind, PhaseSettings, RunConfig},
    data::TrainingData,
    error::RunError,
    run_dir::RunDir,
};

/// Load the teacher named by `settings` for a network `config`, the original network of a run with the polynomials of `config`; a file is
/// looked for in the data folders too; `None` for teachers inside the run.
///
/// # Errors
/// A run or file that does not exist or does not fit.
pub fn outside(
    settings: &OtherNetwork,
    runs: &Path,
    data: &TrainingData,
    config: &ModelConfig,
    device: &Device,
) -> Result<Option<HeModel>, RunError> {
    match settings {
        OtherNetwork::None | OtherNetwork::Previous => Ok(None),
        OtherNetwork::File(path) => {
            let mut model = config.init(device, 0)?;
            model.load_pretrained(&file(path, data.data_dir.as_deref())?)?;
            Ok(Some(model))
        }
        OtherNetwork::Run(name) => {
            let found = of_run(runs, name, false)?;
            found.store.check_vocabulary(&data.splits)?;
            let mut model = ModelConfig { name: found.model, ..config.clone() }.init(device, 0)?;
            model.load_original(&found.weights)?;
            Ok(Some(model))
        }
    }
}

/// Give `model` the features of the network named by `settings`: all its layers but the last. Of a run it is the original network, or
/// the `polynomial` one with its polynomials.
///
/// # Errors
/// A run or file that does not exist, or is of another architecture.
pub fn features(
    settings: &OtherNetwork,
    runs: &Path,
    data: &TrainingData,
    model: &mut HeModel,
    polynomial: bool,
) -> Result<(), RunError> {
    let path = match settings {
        OtherNetwork::None | OtherNetwork::Previous => return Ok(()),
        OtherNetwork::File(path) => file(path, data.data_dir.as_deref())?,
        OtherNetwork::Run(name) => of_run(runs, name, polynomial)?.weights,
    };
    Ok(model.load_features(&path)?)
}

fn file(path: &str, data_dir: Option<&Path>) -> Result<PathBuf, RunError> {
    let path = Path::new(path);
    weights(path, data_dir).ok_or_else(|| RunError::NoWeights { path: path.into() })
}

/// Whether the teachers from outside that the phases of `config` name fit: their weights the network they are said to be of, and that network
/// the student `network`, where more than logits is compared.
///
/// # Errors
/// As [`outside`]; [`RunError::Mismatch`].
pub fn fit(
    config: &RunConfig,
    runs: &Path,
    data: &TrainingData,
    network: &ModelConfig,
    device: &Device,
) -> Result<(), RunError> {
    for (index, phase) in config.phases.iter().enumerate() {
        let Some(teacher) = outside(&phase.teacher, runs, data, network, device)? else { continue };
        let (teacher, student) = (teacher.config().name, network.name);
        let compares = [("features", phase.distill.features), ("attention", phase.distill.attention)];
        if let Some((key, _)) = compares.iter().find(|(_, weight)| *weight > 0.0 && teacher != student) {
            return Err(RunError::Mismatch {
                what: format!("`phases[{index}].distill.{key}`"),
                needs: format!("a teacher of the student's architecture, `{student}`"),
                found: format!("`{teacher}`"),
                help: "remove it, so that only what the networks answer is compared".into(),
            });
        }
    }
    Ok(())
}

/// Whether every other network that the phases of `config` name is there.
///
/// # Errors
/// [`RunError::NoWeights`], [`RunError::NoRun`], [`RunError::Unfinished`].
pub fn others(config: &RunConfig, runs: &Path, data_dir: Option<&Path>) -> Result<(), RunError> {
    for phase in &config.phases {
        let polynomial = phase.kind.ends_polynomial();
        for (source, polynomial) in [(&phase.teacher, false), (&phase.start, polynomial)] {
            match source {
                OtherNetwork::None | OtherNetwork::Previous => {}
                OtherNetwork::File(path) => drop(file(path, data_dir)?),
                OtherNetwork::Run(name) => drop(of_run(runs, name, polynomial)?),
            }
        }
    }
    Ok(())
}

/// Whether the first phase of `config` has a network to start from, its own fresh one or a teacher from outside, and all others are
/// there.
///
/// # Errors
/// [`RunError::NoStart`], and as [`others`].
pub fn start(config: &RunConfig, runs: &Path, data_dir: Option<&Path>) -> Result<(), RunError> {
    others(config, runs, data_dir)?;
    match config.phases.first() {
        Some(PhaseSettings { kind, teacher: OtherNetwork::None | OtherNetwork::Previous, .. })
            if *kind != PhaseKind::Pretrain =>
        {
            Err(RunError::NoStart { run: config.name.clone(), kind: kind.name() })
        }
        _ => Ok(()),
    }
}

/// The best network of a run's last phase of a kind.
struct Found {
    model: ModelName,
    weights: PathBuf,
    store: Store,
}

/// The original network of run `name`, or its `polynomial` one.
fn of_run(runs: &Path, name: &str, polynomial: bool) -> Result<Found, RunError> {
    let folder = RunDir::find(runs, Path::new(name))?;
    let run = RunConfig::load(&folder.join("config.yaml"), &[])?;
    let store = Store::new(folder.join("checkpoints"));
    let ends = |kind: PhaseKind| kind.ends_polynomial() == polynomial;
    for (index, phase) in run.phases.iter().enumerate().rev().filter(|(_, p)| ends(p.kind)) {
        if store.best(index, phase.kind, name)?.is_some() {
            let weights = store.best_weights(index, phase.kind);
            return Ok(Found { model: run.model.name, weights, store });
        }
    }
    let what = if polynomial { "polynomial network" } else { "original network" };
    let help = match run.phases.first().map(|p| &p.teacher) {
        Some(OtherNetwork::Run(teacher)) if !run.phases.iter().any(|p| ends(p.kind)) => {
            format!("it was distilled from `{teacher}`; name that one")
        }
        _ => format!("finish the phases that train it: `hetrain train --resume {name}`"),
    };
    Err(RunError::Unfinished { run: name.into(), what: what.into(), help })
}
