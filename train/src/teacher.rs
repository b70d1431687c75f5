//! Networks from outside the run: another run, or a file of weights.

use std::path::Path;

use burn::tensor::Device;
use hetrain_datasets::weights;
use hetrain_layers::{HeModel, ModelConfig};

use crate::{
    checkpoint::Store,
    config::{PhaseKind, PhaseSettings, RunConfig, TeacherSettings},
    data::TrainingData,
    error::RunError,
    run_dir::RunDir,
};

/// Load the teacher named by `settings` for a network `config`; a file is looked for in the data folders too; `None` for teachers inside the run.
///
/// # Errors
/// A run or file that does not exist or does not fit.
pub fn outside(
    settings: &TeacherSettings,
    runs: &Path,
    data: &TrainingData,
    config: &ModelConfig,
    device: &Device,
) -> Result<Option<HeModel>, RunError> {
    match settings {
        TeacherSettings::None | TeacherSettings::Previous => Ok(None),
        TeacherSettings::File(path) => {
            let mut model = config.init(device, 0)?;
            let path = Path::new(path);
            let found = weights(path, data.data_dir.as_deref());
            model.load_pretrained(&found.ok_or_else(|| RunError::NoWeights { path: path.into() })?)?;
            Ok(Some(model))
        }
        TeacherSettings::Run(name) => from_run(runs, name, config, device).map(Some),
    }
}

/// Whether the first phase of `config` has a network to start from, its own fresh one or a teacher from outside, and every
/// file of weights is there.
///
/// # Errors
/// [`RunError::NoStart`], [`RunError::NoWeights`].
pub fn start(config: &RunConfig, data_dir: Option<&Path>) -> Result<(), RunError> {
    for phase in &config.phases {
        if let TeacherSettings::File(path) = &phase.teacher
            && weights(Path::new(path), data_dir).is_none()
        {
            return Err(RunError::NoWeights { path: path.into() });
        }
    }
    match config.phases.first() {
        Some(PhaseSettings { kind, teacher: TeacherSettings::None | TeacherSettings::Previous, .. })
            if *kind != PhaseKind::Pretrain =>
        {
            Err(RunError::NoStart { run: config.name.clone(), kind: kind.name() })
        }
        _ => Ok(()),
    }
}

/// The best ReLU network of a run.
fn from_run(runs: &Path, name: &str, config: &ModelConfig, device: &Device) -> Result<HeModel, RunError> {
    let folder = RunDir::find(runs, Path::new(name))?;
    let run = RunConfig::load(&folder.join("config.yaml"), &[])?;
    let store = Store::new(folder.join("checkpoints"));
    for (index, phase) in run.phases.iter().enumerate().rev() {
        if phase.kind.ends_polynomial() {
            continue;
        }
        if let Some(best) = store.best(index, phase.kind, name)? {
            let own = ModelConfig { name: run.model.name, ..config.clone() };
            let mut model = own.init(device, 0)?;
            model.load(&store.best_weights(index, phase.kind))?;
            model.set_runtime(&best.runtime);
            return Ok(model);
        }
    }
    Err(RunError::Unfinished {
        run: name.into(),
        what: "ReLU network to teach with".into(),
        help: format!("finish its `pretrain` phase: `hetrain train --resume {name}`"),
    })
}
