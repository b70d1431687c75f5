//! One file per command, each a readable list of steps.

pub mod bench;
pub mod check;
pub mod decrypt;
pub mod distill;
pub mod download;
pub mod encrypt;
pub mod estimate;
pub mod export;
pub mod generate;
pub mod infer;
pub mod keygen;
pub mod plan;
pub mod report;
pub mod sketch;
pub mod train;
pub mod verify_encrypted;

use std::sync::{Arc, atomic::AtomicBool};

use crate::cli::{Cli, Command, GlobalArgs, TrainArgs};

/// What every command may use.
#[derive(Clone, Debug)]
pub struct Context {
    /// Arguments every command takes.
    pub global: GlobalArgs,
    /// Set when the user pressed ctrl-C.
    pub stop: Arc<AtomicBool>,
}

/// Run the command that was asked for.
///
/// # Errors
/// Whatever the command reports.
pub fn run(cli: Cli, stop: Arc<AtomicBool>) -> anyhow::Result<()> {
    if cli.command.is_some() && cli.train != TrainArgs::default() {
        anyhow::bail!(
            "`--config`, `--set` and `--resume` before a command would be ignored\n  help: write them behind it: `hetrain check --config quickstart`"
        );
    }
    let context = Context { global: cli.global, stop };
    if let Some(dir) = context.global.data_dir.as_ref().filter(|d| !d.is_dir()) {
        // Looking on in other places would be using other data than was named.
        anyhow::bail!(
            "--data-dir {}: no such folder\n  help: name the folder that holds the data sets",
            dir.display()
        );
    }
    if let Some(threads) = context.global.threads {
        rayon::ThreadPoolBuilder::new().num_threads(usize::from(threads)).build_global()?;
    }
    match cli.command {
        None => train::run(&context, &cli.train),
        Some(Command::Train(args)) => train::run(&context, &args),
        Some(Command::Distill(args)) => distill::run(&context, &args),
        Some(Command::Check(args)) => check::run(&context, &args),
        Some(Command::Export(args)) => export::run(&context, &args),
        Some(Command::Estimate(args)) => estimate::run(&context, &args),
        Some(Command::VerifyEncrypted(args)) => verify_encrypted::run(&context, &args),
        Some(Command::Report(args)) => report::run(&context, &args),
        Some(Command::Bench) => bench::run(),
        Some(Command::Keygen(args)) => keygen::run(&context, &args),
        Some(Command::Generate(args)) => generate::run(&context, &args),
        Some(Command::Encrypt(args)) => encrypt::run(&context, &args),
        Some(Command::Infer(args)) => infer::run(&context, &args),
        Some(Command::Decrypt(args)) => decrypt::run(&context, &args),
        Some(Command::Download(args)) => download::run(&args),
    }
}
