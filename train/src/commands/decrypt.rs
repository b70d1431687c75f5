//! `hetrain decrypt`: the client reads the result.

use std::{fs::File, io::BufReader, sync::Arc};

use anyhow::Context as _;
use he_infer::{ckks, wire};

use super::{Context, encrypt::client, plan::Planned};
use crate::{cli::DecryptArgs, progress::say};

/// Run the command.
///
/// # Errors
/// Keys or ciphertexts of another model, I/O.
pub fn run(context: &Context, args: &DecryptArgs) -> anyhow::Result<()> {
    let planned = Planned::for_keys(context, &args.model, &args.keys)?;
    let engine = Arc::new(ckks::Context::new(&planned.program.chain.params)?);
    let client = client(&planned, &engine, &args.keys)?;
    let file = File::open(&args.input).with_context(|| args.input.display().to_string())?;
    let result = wire::read_ciphertexts(BufReader::new(file), &engine)
        .with_context(|| args.input.display().to_string())?;
    let logits = client.decrypt(&result, args.samples)?;
    if args.json {
        say(&serde_json::to_string(&logits)?);
        return Ok(());
    }
    for logits in &logits {
        let class = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(i, _)| i);
        let name =
            planned.artifact.provenance.classes.get(class).cloned().unwrap_or_else(|| class.to_string());
        let values: Vec<String> = logits.iter().map(|v| format!("{v:.4}")).collect();
        say(&format!("class {name}  logits {}", values.join(" ")));
    }
    Ok(())
}
