//! The `hetrain` binary: parse, dispatch, exit code.
#![forbid(unsafe_code)]

mod allocator;
mod alphabet;
mod checkpoint;
mod cli;
mod commands;
mod config;
mod data;
mod device;
mod distill;
mod error;
mod evaluate;
mod loss;
mod metrics;
mod optim;
mod phases;
mod progress;
mod report;
mod run_dir;
mod teacher;
mod trainer;
mod verify;

use std::{
    io::Write,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::Parser;

/// How the remedy begins in every message.
const HELP: &str = "\n  help:";

fn main() -> ExitCode {
    allocator::keep_memory();
    let cli = cli::Cli::parse();
    let stop = Arc::new(AtomicBool::new(false));
    if let Err(e) = catch_signals(&stop) {
        complain(&format!("warning: ctrl-C will not leave a resumable run: {e}"));
    }
    match commands::run(cli, stop) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            complain(&format!("error: {}", message(&e)));
            let interrupted = matches!(
                e.downcast_ref(),
                Some(error::RunError::Interrupted { .. } | error::RunError::VerifyInterrupted { .. })
            );
            ExitCode::from(if interrupted { 130 } else { 1 })
        }
    }
}

/// Tell the user of a problem. Where nobody can be told (standard error is closed or full) the exit code has to do.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// An error and its causes, each told once (most messages hold their cause already), the remedy last.
fn message(e: &anyhow::Error) -> String {
    let mut text = e.chain().fold(String::new(), |mut text, cause| {
        let cause = cause.to_string();
        if text.is_empty() {
            return cause;
        }
        if !text.contains(&cause) {
            let end = text.find(HELP).unwrap_or(text.len());
            text.insert_str(end, &format!(": {cause}"));
        }
        text
    });
    if !text.contains("help:")
        && let Some(cause) = e.chain().find_map(|c| c.downcast_ref::<std::io::Error>())
    {
        text = format!("{text}{HELP} {}", error::io_help(cause));
    }
    text
}

/// The first ctrl-C asks to stop, the second stops. A file-size limit fails the write instead of ending the process.
fn catch_signals(stop: &Arc<AtomicBool>) -> Result<(), Box<dyn std::error::Error>> {
    #[cfg(unix)]
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    let stop = Arc::clone(stop);
    ctrlc::set_handler(move || {
        if stop.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })?;
    Ok(())
}
