//! `hetrain decrypt`: the client reads the result.

use std::sync::Arc;

use anyhow::Context as _;
use he_infer::{ckks, wire};

use super::{Context, encrypt::client, keygen::read, plan::Planned};
use crate::{cli::DecryptArgs, progress::tell};

/// Run the command.
///
/// # Errors
/// Keys or ciphertexts of another model, I/O.
pub fn run(context: &Context, args: &DecryptArgs) -> anyhow::Result<()> {
    let planned = Planned::for_keys(context, &args.model, &args.keys)?;
    let engine = Arc::new(ckks::Context::new(&planned.program.chain.params)?);
    let client = client(&planned, &engine, &args.keys)?;
    let result = read(&args.input, |file| wire::read_ciphertexts(file, &engine))?;
    let logits = client.decrypt(&result, args.samples).with_context(|| args.input.display().to_string())?;
    if args.json {
        return Ok(tell(&serde_json::to_string(&logits)?)?);
    }
    for logits in &logits {
        let class = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(i, _)| i);
        let name =
            planned.artifact.provenance.classes.get(class).cloned().unwrap_or_else(|| class.to_string());
        let values: Vec<String> = logits.iter().map(|v| format!("{v:.4}")).collect();
        tell(&format!("class {name}  logits {}", values.join(" ")))?;
    }
    Ok(())
}
