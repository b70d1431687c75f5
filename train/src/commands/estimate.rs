//! `hetrain estimate`: the price of an encrypted run before it is paid.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use he_infer::plan::{Program, plan};

use super::{
    Context,
    plan::{Planned, check_batch, options, price},
    untrained::untrained,
};
use crate::{
    cli::{EstimateArgs, PlanArgs},
    config::{self, RunConfig},
    data::TrainingData,
    device::DeviceName,
    progress::tell,
};

/// The plan of a network that is not trained yet.
fn architecture(
    context: &Context,
    name: &str,
    args: &EstimateArgs,
) -> anyhow::Result<(String, Arc<Program>)> {
    let path = config::find(name)?;
    let config = RunConfig::load(&path, &args.set)?;
    let data = TrainingData::load(&config, context.global.data_dir.as_deref())?;
    let model = data.model_config(&config).init(&DeviceName::Cpu.open()?, config.seed)?;
    let graph = Arc::new(untrained(&data, &model)?);
    let program = plan(graph, options(&args.how, Some(&config.he)))
        .with_context(|| format!("{}: cannot be planned", path.display()))?;
    Ok((format!("{}, untrained", path.display()), Arc::new(program)))
}

/// Run the command.
///
/// # Errors
/// A model that cannot be read or planned.
pub fn run(context: &Context, args: &EstimateArgs) -> anyhow::Result<()> {
    let (what, program) = match (&args.model, &args.config) {
        (Some(model), _) => {
            let planned = Planned::new(context, &PlanArgs { model: model.clone(), how: args.how.clone() })?;
            (planned.path.display().to_string(), planned.program)
        }
        (None, Some(name)) => architecture(context, name, args)?,
        (None, None) => bail!("nothing to price\n  help: name a `--config` or a `--model`"),
    };
    check_batch(&args.how, &program)?;
    let (e, costs) = price(&program, 1)?;
    if args.json {
        return Ok(tell(&serde_json::to_string_pretty(&e)?)?);
    }
    let mb = |b: u64| b as f64 / 1e6;
    tell(&format!(
        "{}: {} levels, ring 2^{}, modulus {:.0} of {:.0} bits, 128-bit security",
        what, e.levels, e.log_n, e.log_qp, e.log_qp_limit
    ))?;
    tell(&format!("costs: {}", costs.machine))?;
    tell(&format!(
        "  {:<24} {:<8} {:>9} {:>11} {:>9} {:>10} {:>10} {:>9} {:>10} {:>6}",
        "node",
        "",
        "levels",
        "ciphertexts",
        "rotations",
        "plaintexts",
        "bootstraps",
        "ms",
        "weights MB",
        "bits"
    ))?;
    for n in &e.nodes {
        tell(&format!(
            "  {:<24} {:<8} {:>9} {:>11} {:>9} {:>10} {:>10} {:>9.2} {:>10.1} {:>6.1}",
            n.name,
            n.op,
            format!("{} → {}", n.level_in, n.level_out),
            n.ciphertexts,
            n.rotations,
            n.plaintexts,
            n.bootstraps,
            1e3 * n.seconds,
            mb(n.weight_bytes),
            n.bits
        ))?;
    }
    tell(&format!(
        "run: {:.3} s on one thread for {}, {} bootstraps, {:.1} bits of the logits' range survive",
        e.seconds,
        match e.images_per_run {
            1 => "one image".to_string(),
            n => format!("up to {n} images"),
        },
        e.bootstraps,
        e.bits
    ))?;
    tell(&format!(
        "before it: {:.2} s for {} rotation keys and the weights; the encrypted input travels as {:.2} MB",
        e.preparation_seconds,
        e.rotation_keys,
        mb(e.input_bytes)
    ))?;
    tell(&format!(
        "memory: {:.0} MB = keys {:.0}, weights {:.0}, ciphertexts {:.0}, plan and tables {:.0}",
        mb(e.peak_bytes),
        mb(e.key_bytes),
        mb(e.weight_bytes),
        mb(e.working_bytes),
        mb(e.resident_bytes)
    ))?;
    Ok(())
}
