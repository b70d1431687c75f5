//! `hetrain distill`: a polynomial student from a ReLU teacher, which is also its start.

use std::path::Path;

use anyhow::bail;
use burn::module::Module;
use hetrain_datasets::weights;

use super::{Context, train};
use crate::{
    cli::DistillArgs,
    config::{self, OtherNetwork, PhaseKind, RunConfig},
    data::TrainingData,
    error::RunError,
    evaluate::evaluate,
    progress::say,
    run_dir::RunDir,
    teacher,
};

/// Run the command.
///
/// # Errors
/// A teacher that cannot be found or does not fit; otherwise as `train`.
pub fn run(context: &Context, args: &DistillArgs) -> anyhow::Result<()> {
    let mut config = RunConfig::load(&config::find(&args.config)?, &args.set)?;
    let file = weights(Path::new(&args.teacher), context.global.data_dir.as_deref());
    let source = if file.is_some() {
        OtherNetwork::File(args.teacher.clone())
    } else {
        match RunDir::find(&context.global.runs, Path::new(&args.teacher)) {
            Ok(_) => OtherNetwork::Run(args.teacher.clone()),
            Err(RunError::NoRun { seen, .. }) => bail!(
                "--teacher {}: neither a file nor a run\n{seen}\n  help: name weights (.safetensors, .pth, .th), or a run that `hetrain train` made",
                args.teacher
            ),
            Err(other) => return Err(other.into()),
        }
    };
    config.phases.retain(|p| p.kind != PhaseKind::Pretrain);
    if config.phases.is_empty() {
        bail!(
            "{}: has no phase but `pretrain`\n  help: add a `replace` phase, in which the student is distilled",
            args.config
        );
    }
    for (index, phase) in config.phases.iter_mut().enumerate() {
        // Who teaches the first is also the start; a later phase that is to have no teacher has none.
        if index == 0 || phase.teacher != OtherNetwork::None {
            phase.teacher = source.clone();
        }
    }
    teacher::others(&config, &context.global.runs, context.global.data_dir.as_deref())?;
    let data = TrainingData::load(&config, context.global.data_dir.as_deref())?;
    let device = context.global.device.open()?;
    let model = teacher::outside(&source, &context.global.runs, &data, &data.model_config(&config), &device)?;
    if let Some(model) = model {
        let model = model.deep_copy().valid();
        let mut sets = vec![("validation", &data.validation)];
        // A file's weights were made elsewhere: nothing in this run is chosen by what the test images say of them.
        if matches!(source, OtherNetwork::File(_)) {
            sets.push(("test", &data.splits.test));
        }
        for (name, set) in sets {
            let seen = evaluate(&model, set, &data.normalise, &device)?;
            let right = (seen.accuracy * set.len() as f64).round();
            let percent = 100.0 * seen.accuracy;
            say(&format!(
                "teacher {}: {right} of {} {name} images right ({percent:.2} %)",
                args.teacher,
                set.len()
            ));
        }
    }
    let device = train::ready(context, &config, &data)?;
    train::train(context, &RunDir::prepare(&context.global.runs, &config)?, &config, &data, &device)
}
