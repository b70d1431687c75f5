//! `hetrain estimate`: the price of an encrypted run before it is paid.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use he_infer::plan::{Program, plan};

use super::{
    Context,
    plan::{Planned, check_batch, options, price},
    sketch::Sketch,
};
use crate::{
    cli::{EstimateArgs, PlanArgs},
    config::{self, Described},
    progress::tell,
};

/// The plan of a network that is not trained yet.
fn architecture(
    context: &Context,
    name: &str,
    args: &EstimateArgs,
) -> anyhow::Result<(String, Arc<Program>)> {
    let path = config::find(name)?;
    let described = Described::load(&path, &args.set)?;
    let sketch = Sketch::new(&described, context.global.data_dir.as_deref())?;
    let program = plan(Arc::new(sketch.graph()?), options(&args.how, Some(&sketch.he)))
        .with_context(|| format!("{}: cannot be planned", path.display()))?;
    let parameters = sketch.model.trainable() as f64 / 1e6;
    Ok((format!("{}, untrained, {parameters:.1} million parameters", path.display()), Arc::new(program)))
}

/// Run the command.
///
/// # Errors
/// A model that cannot be read or planned.
pub fn run(context: &Context, args: &EstimateArgs) -> anyhow::Result<()> {
    let (what, mut program) = match (&args.model, &args.config) {
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
    let mut least = None;
    while Arc::make_mut(&mut program).shrink() {
        least = Some(price(&program, 1)?.0);
    }
    if let Some(least) = least.filter(|least| least.peak_bytes < e.peak_bytes) {
        tell(&format!(
            "with `--max-memory`: at least {:.0} MB, weights encoded layer by layer as they are needed, {:.3} s",
            mb(least.peak_bytes),
            least.seconds
        ))?;
    }
    Ok(())
}
