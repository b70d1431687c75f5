//! `hetrain download`: a public data set into the cache folder, held to its checksum.

use crate::cli::DownloadArgs;

/// Run the command.
///
/// # Errors
/// A name without a public source, a network that fails, a checksum that differs.
#[cfg(feature = "download")]
pub fn run(args: &DownloadArgs) -> anyhow::Result<()> {
    use crate::progress::{Count, say};
    let Some(cache) = hetrain_datasets::cache_dir() else {
        anyhow::bail!("no cache folder\n  help: set HOME or XDG_CACHE_HOME");
    };
    let mut count: Option<(String, u64, Count)> = None;
    let path = hetrain_datasets::download_from(&args.name, &cache, args.from.as_deref(), &mut |p| {
        if count.as_ref().is_none_or(|(file, ..)| *file != p.file) {
            count = Some((p.file.clone(), 0, Count::new(&p.file, p.total.unwrap_or(0) as usize)));
        }
        if let Some((_, done, count)) = &mut count {
            count.add((p.done - *done) as usize);
            *done = p.done;
        }
    })?;
    say(&path.display().to_string());
    Ok(())
}

/// Run the command in a build without it.
///
/// # Errors
/// Always, naming the build that has it.
#[cfg(not(feature = "download"))]
pub fn run(args: &DownloadArgs) -> anyhow::Result<()> {
    let known = hetrain_datasets::known().iter().find(|k| k.name == args.name);
    let by_hand = known.map_or(String::new(), |k| format!(", or fetch it by hand: {}", k.address));
    anyhow::bail!(
        "this build cannot download `{}`\n  help: build with `cargo build --release --features download`{by_hand}",
        args.name
    )
}
