//! `hetrain bench`: this machine's seconds per unit of work, kept for estimates.

use std::path::PathBuf;

use anyhow::Context as _;
use he_infer::{plan::CostTable, run::calibrate};

use crate::{progress::say, run_dir::write_atomic, verify::describe_machine};

/// Run the command.
///
/// # Errors
/// A machine without randomness, a cache folder that cannot be written.
pub fn run() -> anyhow::Result<()> {
    let costs = calibrate(&describe_machine())?;
    say(&format!("{}, nanoseconds per element on one thread", costs.machine));
    for (what, seconds) in [
        ("butterfly of a transform", costs.butterfly),
        ("multiply-add, base conversion", costs.conversion_mac),
        ("multiply-add, key", costs.key_mac),
        ("multiply-add, plaintext", costs.plain_mac),
        ("multiply-add, scalar (batch layout)", costs.scalar_mac),
        ("element-wise addition", costs.pointwise),
        ("butterfly of the encoder", costs.encode),
        ("word of a key", costs.key_word),
    ] {
        say(&format!("  {what:<36} {:8.4}", 1e9 * seconds));
    }
    match file() {
        Some(path) => {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            }
            write_atomic(&path, serde_json::to_string_pretty(&costs)?.as_bytes())?;
            say(&format!("estimates use {}", path.display()));
        }
        None => say("no cache folder (set HOME or XDG_CACHE_HOME): estimates measure anew each time"),
    }
    Ok(())
}

/// The kept costs of this machine, or a quick measurement, which `machine` then says.
///
/// # Errors
/// A machine without randomness.
pub fn costs() -> anyhow::Result<CostTable> {
    let machine = describe_machine();
    let kept =
        file().and_then(|p| std::fs::read_to_string(p).ok()).and_then(|t| serde_json::from_str(&t).ok());
    match kept {
        Some(table @ CostTable { .. }) if table.machine == machine => Ok(table),
        _ => Ok(calibrate(&format!("{machine}, measured just now; `hetrain bench` keeps it"))?),
    }
}

fn file() -> Option<PathBuf> {
    hetrain_datasets::cache_dir().map(|d| d.join("costs.json"))
}
