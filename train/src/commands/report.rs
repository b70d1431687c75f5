//! `hetrain report`: one self-contained page about a run.

use super::Context;
use crate::{cli::ReportArgs, progress::say, report, run_dir::RunDir};

/// Run the command.
///
/// # Errors
/// A run that cannot be read.
pub fn run(context: &Context, args: &ReportArgs) -> anyhow::Result<()> {
    let folder = RunDir::find(&context.global.runs, &args.run)?;
    say(&report::write(&folder)?.display().to_string());
    Ok(())
}
