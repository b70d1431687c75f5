//! `hetrain keygen`: the client's secret key, and the public keys one model needs.

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter},
    path::Path,
    sync::Arc,
};

use anyhow::Context as _;
use he_infer::{
    ckks,
    math::sampling::os_rng,
    run::Client,
    wire::{self, WireError},
};

use super::{
    Context,
    plan::{Planned, check_batch, memory_limit},
};
use crate::{
    cli::KeygenArgs,
    error::{RunError, io},
    progress::say,
    run_dir::{replace, write_atomic},
    verify::resident_memory,
};

/// Run the command.
///
/// # Errors
/// A folder that already holds a secret key; I/O.
pub fn run(context: &Context, args: &KeygenArgs) -> anyhow::Result<()> {
    let planned = Planned::new(context, &args.plan)?;
    check_batch(&args.plan.how, &planned.program)?;
    let secret = args.output.join("secret.key");
    if secret.exists() {
        anyhow::bail!(
            "{}: there is a secret key already, and results encrypted under it would be lost\n  help: choose another folder, or remove it",
            secret.display()
        );
    }
    let need = planned.program.key_bytes() + resident_memory().unwrap_or(0);
    let free = memory_limit(None)?;
    if need > free {
        anyhow::bail!(
            "the keys need about {:.1} GB of memory, {:.1} GB are free\n  help: stop other programs, or lower `--precision-bits` or `--batch`",
            need as f64 / 1e9,
            free as f64 / 1e9
        );
    }
    // Not before: what is refused leaves nothing.
    std::fs::create_dir_all(&args.output).with_context(|| args.output.display().to_string())?;
    let engine = Arc::new(ckks::Context::new(&planned.program.chain.params)?);
    let mut rng = os_rng().context("the operating system gives no randomness")?;
    let client = Client::generate(Arc::clone(&planned.program), Arc::clone(&engine), &mut rng);
    let keys = client.evaluation_keys(&mut rng)?;
    let public = args.output.join("evaluation.keys");
    save(&public, |out| wire::write_eval_keys(out, &engine, &keys))?;
    write_atomic(&args.output.join("plan.json"), serde_json::to_string_pretty(&planned.file()?)?.as_bytes())?;
    // The secret key comes last: a folder with one is complete.
    save(&secret, |out| wire::write_secret_key(out, &engine, client.secret()))?;
    let size = std::fs::metadata(&public).map(|m| m.len()).unwrap_or(0);
    say(&format!("{}: keep it; whoever has it reads everything", secret.display()));
    say(&format!("{} ({:.1} MB) and plan.json: for the server", public.display(), size as f64 / 1e6));
    Ok(())
}

/// Read a file of the engine's format, and nothing after it.
///
/// # Errors
/// I/O; a file that is damaged, of other parameters, or longer than what it holds.
pub fn read<T>(
    path: &Path,
    read: impl FnOnce(&mut BufReader<File>) -> Result<T, WireError>,
) -> anyhow::Result<T> {
    let mut reader = BufReader::new(File::open(path).map_err(io(path))?);
    let value = read(&mut reader).with_context(|| path.display().to_string())?;
    if !reader.fill_buf().map_err(io(path))?.is_empty() {
        anyhow::bail!("{}: there are bytes after the end\n  help: transfer it again", path.display());
    }
    Ok(value)
}

/// Write a file of the engine's format, all of it or nothing, readable by its owner only from the first moment.
///
/// # Errors
/// I/O.
pub fn save(
    path: &Path,
    write: impl FnOnce(BufWriter<File>) -> Result<(), WireError>,
) -> Result<(), RunError> {
    replace(path, |temp| {
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(temp).map_err(io(path))?;
        write(BufWriter::with_capacity(1 << 20, file)).map_err(|e| match e {
            WireError::Io(source) => io(path)(source),
            other => io(path)(std::io::Error::other(other.to_string())),
        })
    })
}
