//! `hetrain bench`: this machine's seconds per unit of work, kept for estimates.

use std::path::PathBuf;

use anyhow::Context as _;
use he_infer::{
    plan::{CostTable, UnitCosts},
    run::{RINGS, calibrate},
};

use crate::{progress::say, run_dir::write_atomic, verify::describe_machine};

/// Run the command.
///
/// # Errors
/// A machine without randomness, a cache folder that cannot be written.
pub fn run() -> anyhow::Result<()> {
    let costs = calibrate(&describe_machine(), &RINGS)?;
    say(&format!("{}, nanoseconds per element on one thread", costs.machine));
    let line = |what: &str, cell: &dyn Fn(&UnitCosts) -> String| {
        say(&format!("  {what:<40}{}", costs.rings.iter().map(cell).collect::<String>()));
    };
    line("ring degree", &|ring| format!("{:>9}", format!("2^{}", ring.log_n)));
    type Unit = fn(&UnitCosts) -> f64;
    let units: [(&str, Unit); 9] = [
        ("butterfly of a transform", |c| c.butterfly),
        ("multiply-add, base conversion", |c| c.conversion_mac),
        ("multiply-add, key", |c| c.key_mac),
        ("multiply-add, plaintext", |c| c.plain_mac),
        ("multiply-add, plaintext of a linear map", |c| c.spread_mac),
        ("multiply-add, scalar (batch layout)", |c| c.scalar_mac),
        ("other element-wise work", |c| c.pointwise),
        ("butterfly of the encoder", |c| c.encode),
        ("word of a key", |c| c.key_word),
    ];
    for (what, unit) in units {
        line(what, &|ring| format!("{:9.4}", 1e9 * unit(ring)));
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

/// The kept costs of this machine, or a quick measurement at ring degree `2^log_n`, which `machine` then says, with the reason
/// if a file is there that cannot be used.
///
/// # Errors
/// A machine without randomness.
pub fn costs(log_n: u32) -> anyhow::Result<CostTable> {
    let machine = describe_machine();
    let kept = file().and_then(|p| std::fs::read_to_string(p).ok());
    let why = match kept.map(|text| serde_json::from_str::<CostTable>(&text)) {
        Some(Ok(table)) if table.machine == machine && !table.rings.is_empty() => return Ok(table),
        Some(Ok(_)) => " (the kept costs are another machine's)",
        Some(Err(_)) => " (the kept costs are of another version of hetrain)",
        None => "",
    };
    Ok(calibrate(&format!("{machine}, measured just now{why}; `hetrain bench` keeps it"), &[log_n])?)
}

fn file() -> Option<PathBuf> {
    hetrain_datasets::cache_dir().map(|d| d.join("costs.json"))
}
