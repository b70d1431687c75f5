//! `hetrain check`: everything that keeps a config or a model from running encrypted, at once.

use std::path::Path;

use anyhow::bail;
use he_infer::plan::{Chain, parameters};
use hetrain_datasets::DataError;
use hetrain_export::{Artifact, Severity, check, interp};

use super::{
    Context,
    plan::{Planned, find_model, options},
    sketch::Sketch,
};
use crate::{
    cli::{CheckArgs, HowArgs, PlanArgs},
    config::{self, Described},
    data::TrainingData,
    error::RunError,
    progress::say,
    teacher,
};

/// Run the command.
///
/// # Errors
/// What cannot be read; findings that are errors, after all were printed.
pub fn run(context: &Context, args: &CheckArgs) -> anyhow::Result<()> {
    match (&args.config, &args.model) {
        (Some(name), _) => config_file(context, name, &args.set),
        (None, Some(path)) => model_file(context, path),
        (None, None) => bail!("nothing to check\n  help: name a `--config` or a `--model`"),
    }
}

fn config_file(context: &Context, name: &str, changes: &[String]) -> anyhow::Result<()> {
    let path = config::find(name)?;
    let described = Described::load(&path, changes)?;
    if let Described::Run(config) = &described
        && !config.phases.last().is_some_and(|p| p.kind.ends_polynomial())
    {
        bail!(
            "{}: the network ends with ReLU, which is not a polynomial\n  help: add a `replace` phase; it trains a quadratic in its place, at 1 level",
            path.display()
        );
    }
    let data_dir = context.global.data_dir.as_deref();
    if let Described::Run(config) = &described {
        match TrainingData::load(config, data_dir) {
            Ok(data) => say(&format!("{}: {}", path.display(), data.describe())),
            Err(RunError::Data(missing @ DataError::Missing { .. })) => say(&format!("warning: {missing}")),
            Err(other) => return Err(other.into()),
        }
        if let Err(missing) = teacher::others(config, &context.global.runs, data_dir) {
            say(&format!("warning: {missing}"));
        }
    }
    match Sketch::new(&described, data_dir) {
        Ok(sketch) => {
            let model = &sketch.model;
            say(&format!(
                "{}: {} levels, {} operators to replace",
                model.config().name,
                model.depth(),
                model.operators()
            ));
            // Whether a secure parameter set holds the network, trained so that values keep the size batch norm gives them.
            say(&describe(&parameters(&sketch.graph()?, options(&HowArgs::default(), Some(&sketch.he)))?));
        }
        Err(RunError::Data(DataError::Missing { .. })) => {
            say("warning: without the data, shapes, levels and parameters were not checked");
            say("nothing else keeps this configuration from running encrypted");
            return Ok(());
        }
        Err(other) => return Err(other.into()),
    }
    say("nothing keeps this configuration from running encrypted");
    Ok(())
}

fn describe(chain: &Chain) -> String {
    let literal = chain.params.literal();
    format!("parameters: ring 2^{}, modulus {:.0} bits, 128-bit security", literal.log_n, literal.log_qp())
}

fn model_file(context: &Context, model: &Path) -> anyhow::Result<()> {
    let path = &find_model(context, model)?;
    let artifact = Artifact::read(path)?;
    let findings = check(&artifact.graph);
    for finding in &findings {
        say(&finding.to_string());
    }
    let errors = findings.iter().filter(|f| f.severity == Severity::Error).count();
    if errors > 0 {
        bail!("{}: {errors} of {} findings keep it from running encrypted", path.display(), findings.len());
    }
    interp::accept(&artifact.graph)?;
    let planned = Planned::new(context, &PlanArgs { model: path.clone(), how: HowArgs::default() })?;
    say(&describe(&planned.program.chain));
    let levels = artifact.graph.depth().map_or_else(|| "unknown".to_string(), |d| d.to_string());
    say(&format!("{}: {levels} levels; nothing keeps it from running encrypted", path.display()));
    Ok(())
}
