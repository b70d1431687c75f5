//! `hetrain train`: every phase of a config, then the artifact.

use anyhow::bail;
use burn::tensor::Device;

use super::{Context, export, verify_encrypted};
use crate::{
    cli::TrainArgs,
    config::{self, RunConfig},
    data::TrainingData,
    progress::say,
    run_dir::RunDir,
    teacher,
    trainer::Trainer,
};

/// Run the command.
///
/// # Errors
/// A configuration, data or run that cannot be used; training that diverged or was interrupted.
pub fn run(context: &Context, args: &TrainArgs) -> anyhow::Result<()> {
    let runs = &context.global.runs;
    let data_dir = context.global.data_dir.as_deref();
    match (&args.resume, &args.config) {
        (Some(name), _) => {
            let (run, config) = RunDir::open(runs, name)?;
            teacher::start(&config, runs, data_dir)?;
            let data = TrainingData::load(&config, data_dir)?;
            train(context, &run, &config, &data, &ready(context, &config, &data)?)
        }
        (None, Some(name)) => {
            let config = RunConfig::load(&config::find(name)?, &args.set)?;
            teacher::start(&config, runs, data_dir)?;
            // A run that cannot start leaves no folder.
            let data = TrainingData::load(&config, data_dir)?;
            let device = ready(context, &config, &data)?;
            train(context, &RunDir::prepare(runs, &config)?, &config, &data, &device)
        }
        (None, None) => {
            bail!(
                "no configuration\n  help: `hetrain train --config quickstart`, or `--resume RUN` to continue a run"
            )
        }
    }
}

/// The device, after all that a phase needs was seen to be there and to fit.
///
/// # Errors
/// A device that this build lacks, a network that does not exist for the data, teachers that do not fit.
pub fn ready(context: &Context, config: &RunConfig, data: &TrainingData) -> anyhow::Result<Device> {
    let device = context.global.device.open()?;
    let network = data.model_config(config);
    network.init(&device, config.seed)?;
    teacher::fit(config, &context.global.runs, data, &network, &device)?;
    Ok(device)
}

/// Train what is not trained yet, export, report.
///
/// # Errors
/// As [`run`].
pub fn train(
    context: &Context,
    run: &RunDir,
    config: &RunConfig,
    data: &TrainingData,
    device: &Device,
) -> anyhow::Result<()> {
    let polynomial = config.phases.last().is_some_and(|p| p.kind.ends_polynomial());
    let stages =
        config.phases.len() + usize::from(polynomial) + usize::from(polynomial && config.verify.is_some());
    let trainer =
        Trainer { run, config, data, runs: &context.global.runs, device, stop: &context.stop, stages };
    let model = data.model_config(config).init(device, config.seed)?;
    say(&format!(
        "{} · {}, {} parameters · {}",
        data.describe(),
        config.model.name,
        thousands(model.trainable()),
        context.global.device
    ));
    announce(&trainer)?;
    trainer.run()?;
    if !polynomial {
        say("no artifact: the network still has ReLU; add a `replace` phase to run it encrypted");
        return Ok(());
    }
    let summary = export::export(&trainer, &run.model())?;
    say(&format!("  [{}/{stages}] {:<11} {summary}", config.phases.len() + 1, "export"));
    if let Some(verify) = &config.verify {
        say(&format!("  [{stages}/{stages}] verify-encrypted, {} test images encrypted", verify.encrypted));
    }
    verify_encrypted::after_training(context, run, config, data, device)?;
    Ok(())
}

/// Say whether a run is continued.
fn announce(trainer: &Trainer<'_>) -> anyhow::Result<()> {
    let Some(stored) = trainer.stored()? else { return Ok(()) };
    let path = trainer.run.path().display();
    match trainer.config.phases.get(stored.state.phase) {
        None => say(&format!("  {path}: already trained with this configuration")),
        Some(phase) => say(&format!(
            "  {path}: continues in phase {} (`{}`), epoch {}, batch {}",
            stored.state.phase + 1,
            phase.kind,
            stored.state.epoch + 1,
            stored.state.batch
        )),
    }
    Ok(())
}

/// `12345` as `12 345`.
fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}
