//! `hetrain verify-encrypted`: the accuracy ladder over a test set.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use burn::{module::Module, tensor::Device};
use hetrain_datasets::{Batcher, DatasetConfig, ImageSet, Splits};
use hetrain_layers::HeModel;

use super::{
    Context,
    plan::{Planned, memory_limit, run_config},
};
use crate::{
    alphabet::data_for,
    checkpoint::Store,
    cli::{HowArgs, PlanArgs, VerifyArgs},
    config::RunConfig,
    data::{TrainingData, pixels},
    evaluate::evaluate,
    loss::to_host,
    progress::say,
    report,
    run_dir::{RunDir, same_folder},
    trainer::Trainer,
    verify::{BurnLogits, BurnRungs, Job, Rung, climb, header, parallel_runs},
};

/// Run the command.
///
/// # Errors
/// A model without an encrypted run, data that does not fit, too little memory; I/O.
pub fn run(context: &Context, args: &VerifyArgs) -> anyhow::Result<()> {
    let planned = Planned::new(context, &args.plan)?;
    let config = run_config(&planned.path)?;
    let own_data = args.data.is_none();
    let folder = match &args.output {
        Some(folder) => folder.clone(),
        // Other artifacts may lie beside it.
        None if !planned.path.ends_with("model.hemodel") => planned.path.with_extension("ladder"),
        None => planned.path.parent().map(Path::to_path_buf).unwrap_or_default(),
    };
    refuse_other_model(&planned, &folder)?;
    match config {
        // The run's own folder has the networks of the first two rungs, its data and normalisation.
        Some(config) if own_data => {
            let own = planned.path.parent().unwrap_or(Path::new(""));
            let (run, _) = RunDir::open_for(&context.global.runs, own, args.output.as_deref())?;
            let data = TrainingData::load(&config, context.global.data_dir.as_deref())?;
            let device = context.global.device.open()?;
            in_run(context, planned, &run, &config, &data, &device, args, &folder)
        }
        _ => {
            let provenance = &planned.artifact.provenance;
            let name = args.data.as_deref().unwrap_or(&provenance.data);
            let (source, data_dir) = (DatasetConfig::named(name), context.global.data_dir.as_deref());
            let splits = data_for(&planned.artifact, &source, data_dir, provenance.seed)?;
            let none = BurnRungs { original: None, polynomial: None, nats: BTreeMap::new() };
            verify(context, planned, &splits, &none, args, &folder)
        }
    }
}

/// Verify a run right after its training, as its configuration asks.
///
/// # Errors
/// As [`run`].
pub fn after_training(
    context: &Context,
    run: &RunDir,
    config: &RunConfig,
    data: &TrainingData,
    device: &Device,
) -> anyhow::Result<()> {
    let Some(settings) = &config.verify else { return Ok(()) };
    let plan = PlanArgs { model: run.model(), how: HowArgs::default() };
    let planned = Planned::new(context, &plan)?;
    let args = VerifyArgs {
        plan,
        data: None,
        samples: Some(settings.encrypted as u64),
        clear_samples: settings.samples.map(|s| s as u64),
        packed_samples: settings.packed.map(|s| s as u64),
        max_memory: None,
        compare_layers: false,
        output: None,
    };
    in_run(context, planned, run, config, data, device, &args, run.path())
}

/// Results of another model must not be lost by the way. Those in a run's own folder go with the model that was there, which
/// the run itself replaced.
fn refuse_other_model(planned: &Planned, folder: &Path) -> anyhow::Result<()> {
    let own = planned.path.parent().unwrap_or(Path::new(""));
    let of_run = planned.path.ends_with("model.hemodel") && run_config(&planned.path)?.is_some();
    if of_run && same_folder(folder, own) {
        return Ok(());
    }
    let file = folder.join("ladder.jsonl");
    let digest = planned.artifact.digest()?;
    let Some(found) = header(&file)?.map(|h| h.model_digest).filter(|found| *found != digest) else {
        return Ok(());
    };
    // The name stands in the summary only, which may be missing, damaged or older.
    let named = report::read_ladder(folder).ok().flatten().filter(|l| l.model_digest == found);
    anyhow::bail!(
        "{}: holds results of another model\n  needs model {digest} ({})\n  found {found}{}\n  help: name another folder with `-o DIR`, or remove this file to lose them",
        file.display(),
        planned.path.display(),
        named.map_or_else(String::new, |l| format!(" ({})", l.model)),
    )
}

#[expect(clippy::too_many_arguments, reason = "a run with all its parts")]
fn in_run(
    context: &Context,
    planned: Planned,
    run: &RunDir,
    config: &RunConfig,
    data: &TrainingData,
    device: &Device,
    args: &VerifyArgs,
    folder: &Path,
) -> anyhow::Result<()> {
    let trainer =
        Trainer { run, config, data, runs: &context.global.runs, device, stop: &context.stop, stages: 0 };
    let store = Store::new(run.checkpoints());
    let logits = |model: HeModel| -> BurnLogits<'_> {
        let model = model.deep_copy().valid();
        Box::new(move |set: &ImageSet| {
            let batcher = Batcher::evaluation(set, 250, &data.normalise)?;
            let mut all = Vec::with_capacity(set.len());
            for batch in batcher.epoch(0) {
                let values = to_host(model.forward(pixels(batch, device)).logits)?;
                // Of a text the last position's: what the encrypted run answers.
                let rows = values.chunks(set.classes.max(1)).skip(set.targets() - 1).step_by(set.targets());
                all.extend(rows.map(|row| row.iter().map(|&v| f64::from(v)).collect()));
            }
            Ok(all)
        })
    };
    let last = config.phases.len().saturating_sub(1);
    let (original, polynomial) = (trainer.original(&store)?, trainer.best(&store, last)?);
    let mut nats = BTreeMap::new();
    if data.splits.test.targets() > 1 {
        let all = [(Rung::Original, original.as_ref()), (Rung::Polynomial, Some(&polynomial))];
        for (rung, model) in all.into_iter().filter_map(|(rung, model)| Some((rung, model?))) {
            nats.insert(rung, evaluate(model, &data.splits.test, &data.normalise, device)?.loss);
        }
    }
    let burn = BurnRungs { original: original.map(&logits), polynomial: Some(logits(polynomial)), nats };
    verify(context, planned, &data.splits, &burn, args, folder)
}

fn verify(
    context: &Context,
    mut planned: Planned,
    splits: &Splits,
    burn: &BurnRungs<'_>,
    args: &VerifyArgs,
    folder: &Path,
) -> anyhow::Result<()> {
    let (data, test) = (&splits.name, &splits.test);
    let within = |flag: &str, asked: Option<u64>| match asked {
        Some(n) if n as usize > test.len() => anyhow::bail!(
            "{flag} {n}: `{data}` has {} test images\n  help: ask for at most that many, or leave it out for all",
            test.len()
        ),
        asked => Ok(asked.map_or(test.len(), |n| n as usize)),
    };
    let (encrypted, samples) =
        (within("--samples", args.samples)?, within("--clear-samples", args.clear_samples)?);
    if samples < encrypted {
        anyhow::bail!(
            "--clear-samples {samples}: needs at least the {encrypted} encrypted images, which are compared with the clear ones\n  help: raise it, or lower `--samples`"
        );
    }
    let packed = args.packed_samples.map_or(samples, |n| n as usize);
    if !(encrypted..=samples).contains(&packed) {
        anyhow::bail!(
            "--packed-samples {packed}: needs at least the {encrypted} encrypted images and at most the {samples} in the clear, for the packed program stands between them\n  help: change it, or leave it out for all in the clear"
        );
    }
    let threads = context
        .global
        .threads
        .map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let max_bytes = memory_limit(args.max_memory)?;
    let (estimate, costs) = planned.fit(parallel_runs(&planned.program, threads, encrypted), max_bytes)?;
    say(&format!(
        "  plan: ring 2^{}, {} levels, {} rotation keys, {:.0} MB, about {:.2} s a run on one thread",
        estimate.log_n,
        estimate.levels,
        estimate.rotation_keys,
        estimate.peak_bytes as f64 / 1e6,
        estimate.seconds
    ));
    let job = Job {
        artifact: &planned.artifact,
        model: &planned.path,
        program: Arc::clone(&planned.program),
        options: planned.options,
        estimate,
        costs,
        data: data.clone(),
        test,
        characters_per_token: splits.vocabulary.as_ref().and_then(|v| v.characters_per_token(test)),
        samples,
        packed,
        encrypted,
        threads,
        max_bytes,
        batch: args.plan.how.batch.map(|b| b as usize),
        compare_layers: args.compare_layers,
        folder: folder.to_path_buf(),
        stop: &context.stop,
    };
    let summary = climb(&job, burn)?;
    say(&report::box_table(&summary));
    if let Some(text) = &summary.divergence {
        say(&format!("  rungs part: {text}"));
    }
    if folder.join("config.yaml").is_file() {
        say(&format!("  report: {}", report::write(folder)?.display()));
    }
    Ok(())
}
