//! `hetrain export`: the best polynomial network of a run as an artifact.

use std::path::Path;

use anyhow::bail;
use burn::module::Module;
use hetrain_export::{Artifact, ExportError, Graph, Provenance, RangeStats, Severity, check, fold, interp};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use rayon::prelude::*;

use super::Context;
use crate::{
    checkpoint::Store,
    cli::ExportArgs,
    data::{TrainingData, input_of},
    error::RunError,
    progress::say,
    run_dir::RunDir,
    trainer::Trainer,
};

/// Run the command.
///
/// # Errors
/// A run that is not finished, or whose network cannot run encrypted.
pub fn run(context: &Context, args: &ExportArgs) -> anyhow::Result<()> {
    let output = args.output.as_deref().and_then(Path::parent);
    let (run, config) = RunDir::open_for(&context.global.runs, &args.run, output)?;
    let data = TrainingData::load(&config, context.global.data_dir.as_deref())?;
    let device = context.global.device.open()?;
    let trainer = Trainer {
        run: &run,
        config: &config,
        data: &data,
        runs: &context.global.runs,
        device: &device,
        stop: &context.stop,
        stages: 1,
    };
    let path = args.output.clone().unwrap_or_else(|| run.model());
    say(&export(&trainer, &path)?);
    Ok(())
}

/// Write the best network of the last phase to `path`; a line about it.
///
/// # Errors
/// A phase that is not finished; ReLU left; calibration data that leaves an interval; I/O.
pub fn export(trainer: &Trainer<'_>, path: &Path) -> anyhow::Result<String> {
    let (config, data) = (trainer.config, trainer.data);
    let Some(last) = config.phases.len().checked_sub(1) else { bail!("the configuration has no phases") };
    let model = trainer.best(&Store::new(trainer.run.checkpoints()), last)?.deep_copy().valid();
    let (mean, std) = data.mean_std()?;
    let lowered = model.lower(&mean, &std)?;
    let mut graph = fold(&lowered)?;
    let errors: Vec<String> =
        check(&graph).iter().filter(|f| f.severity == Severity::Error).map(ToString::to_string).collect();
    if !errors.is_empty() {
        bail!("the network cannot run encrypted\n{}", errors.join("\n"));
    }
    let ranges = calibrate(&graph, data)?;
    graph.set_ranges(ranges);
    if let Err(folded) = interp::accept(&graph) {
        // Folding shifts the inputs of activations; the user thinks of them as they were trained.
        let mut trained = lowered;
        let ranges = calibrate(&trained, data)?;
        trained.set_ranges(ranges);
        interp::accept(&trained)?;
        return Err(folded.into());
    }
    graph.set_carried(carried(&graph, data)?);
    let levels = graph.depth().map_or_else(|| "unknown".to_string(), |d| d.to_string());
    let provenance = Provenance {
        run: trainer.run.name(),
        config_digest: config.digest()?,
        seed: config.seed,
        data: data.splits.name.clone(),
        data_digest: data.train.digest(),
        classes: data.splits.class_names.clone(),
        merges: data.splits.vocabulary.as_ref().map(|v| v.merges().to_vec()).unwrap_or_default(),
        lead: data.calibration.set.tokens_of(0).map(<[u16]>::to_vec).unwrap_or_default(),
        program: concat!("hetrain ", env!("CARGO_PKG_VERSION")).into(),
    };
    Artifact { graph, provenance }.write(path).map_err(|e| match e {
        ExportError::Io { path, source } => RunError::Io { path, source },
        other => other.into(),
    })?;
    Ok(format!("{} · {levels} levels", path.display()))
}

/// Values at every node over the calibration images, in f64, on all threads.
fn calibrate(graph: &Graph, data: &TrainingData) -> anyhow::Result<Vec<RangeStats>> {
    let set = &data.calibration.set;
    let interpreter = interp::Interpreter::new(graph)?;
    let indices: Vec<usize> = (0..set.len()).collect();
    // Equal parts whatever the number of threads, so that sums come out the same.
    let parts: Vec<Vec<RangeStats>> = indices
        .par_chunks(16)
        .map(|part| {
            let samples: Vec<Vec<f64>> = part.iter().map(|&i| input_of(set, i)).collect();
            interp::measure(&interpreter, samples.iter().map(Vec::as_slice), &data.calibration.digest)
        })
        .collect::<Result<_, _>>()?;
    let mut total = vec![RangeStats::empty(&data.calibration.digest); graph.nodes().len()];
    for part in &parts {
        for (sum, more) in total.iter_mut().zip(part) {
            merge(sum, more);
        }
    }
    Ok(total)
}

/// How errors travel, over a few of the calibration images: an evaluation for every second node of each.
fn carried(graph: &Graph, data: &TrainingData) -> anyhow::Result<interp::Carried> {
    const IMAGES: usize = 12;
    let interpreter = interp::Interpreter::new(graph)?;
    let set = &data.calibration.set;
    let chosen: Vec<usize> = (0..set.len()).step_by(set.len().div_ceil(IMAGES).max(1)).collect();
    let of_one = |&i: &usize| {
        let mut signs = ChaCha20Rng::seed_from_u64(i as u64);
        interp::carried(&interpreter, &input_of(set, i), || signs.random())
    };
    let each: Vec<interp::Carried> = chosen.par_iter().map(of_one).collect::<Result<_, _>>()?;
    Ok(interp::Carried::over(&each, graph.nodes().len()))
}

/// Statistics of two samples as those of one (Chan et al. 1979).
fn merge(sum: &mut RangeStats, more: &RangeStats) {
    let (a, b) = (sum.count as f64, more.count as f64);
    if more.count == 0 {
        return;
    }
    let delta = more.mean - sum.mean;
    let squares = sum.std * sum.std * a + more.std * more.std * b + delta * delta * a * b / (a + b);
    sum.mean += delta * b / (a + b);
    sum.std = (squares / (a + b)).sqrt();
    sum.count += more.count;
    sum.outside += more.outside;
    // NaN must not hide behind `f64::min`.
    sum.min = if more.min.is_nan() { more.min } else { sum.min.min(more.min) };
    sum.max = if more.max.is_nan() { more.max } else { sum.max.max(more.max) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_statistics_equal_those_of_all_values() {
        let values: Vec<f64> = (0..50).map(|i| (f64::from(i) * 0.9).cos() * 3.0).collect();
        let mut all = RangeStats::empty("d");
        all.update(&values);
        let mut sum = RangeStats::empty("d");
        for part in values.chunks(7) {
            let mut more = RangeStats::empty("d");
            more.update(part);
            merge(&mut sum, &more);
        }
        assert!((all.mean - sum.mean).abs() < 1e-12 && (all.std - sum.std).abs() < 1e-12);
        assert_eq!((all.min, all.max, all.count), (sum.min, sum.max, sum.count));
    }
}
