//! `report.html`: what a run folder holds, on one page that needs no network.
//!
//! ```text
//! config.yaml  metrics.jsonl  timing.jsonl  model.hemodel  ladder.json ──RunFiles──► sections ──► report.html
//! ```
//! Only `config.yaml` must exist; the page says what the run does not have yet. The same files give the same page: nothing
//! is taken from the clock.

mod curves;
mod html;
mod input;
pub mod ladder;
mod layers;
mod number;
mod page;
mod ranges;
mod sections;
mod svg;
mod table;

use std::path::{Path, PathBuf};

use crate::run_dir::write_atomic;

pub use ladder::{
    LadderSummary, NodeSummary, ParametersSummary, RungSummary, TimingSummary, read_ladder, write_ladder,
};
pub use table::box_table;

/// Write `report.html` into the run folder `run_dir`; its path.
///
/// # Errors
/// No `config.yaml`; a file that cannot be read or understood, named with its line where it has lines; I/O.
pub fn write(run_dir: &Path) -> anyhow::Result<PathBuf> {
    let files = input::RunFiles::read(run_dir)?;
    let path = run_dir.join("report.html");
    write_atomic(&path, page::render(&files)?.as_bytes())?;
    Ok(path)
}

#[cfg(test)]
mod tests;
