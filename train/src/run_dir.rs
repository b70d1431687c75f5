//! The folder of a run: where each file lies, who may write, and writes that cannot leave half a file.
//!
//! ```text
//! runs/NAME/config.yaml  metrics.jsonl  timing.jsonl  checkpoints/  model.hemodel  ladder.jsonl  report.html
//! ```

use std::{
    fs::{self, File, TryLockError},
    io::Write,
    path::{Path, PathBuf},
};

use crate::{
    config::RunConfig,
    error::{RunError, Seen, io},
};

/// A run's folder, locked as long as the value lives: for the one process that writes, or for those that only read.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    _lock: Option<File>,
}

impl RunDir {
    /// The folder for `config` below `runs`: made, or found with the same configuration.
    ///
    /// # Errors
    /// [`RunError::OtherRun`] when the folder holds a run that trains something else; [`RunError::Locked`]; I/O.
    pub fn prepare(runs: &Path, config: &RunConfig) -> Result<Self, RunError> {
        let path = runs.join(&config.name);
        fs::create_dir_all(path.join("checkpoints")).map_err(io(&path))?;
        let dir = Self::lock(path)?;
        let file = dir.config();
        let old = match dir.trained_with()? {
            Some(old) => Some(old),
            None if dir.has_state() && file.is_file() => Some(RunConfig::load(&file, &[])?),
            None => None,
        };
        let differs = old.map(|old| old.changes(config)).unwrap_or_default();
        if !differs.is_empty() {
            let name = config.name.clone();
            return Err(RunError::OtherRun { path: dir.path, name, differs });
        }
        write_config(&file, config)?;
        Ok(dir)
    }

    /// An existing run, to be written: a folder, or a name below `runs`.
    ///
    /// # Errors
    /// [`RunError::NoRun`], [`RunError::Locked`], [`RunError::Edited`], a configuration that cannot be read.
    pub fn open(runs: &Path, name: &Path) -> Result<(Self, RunConfig), RunError> {
        Self::lock(Self::find(runs, name)?)?.with_config()
    }

    /// An existing run for a command whose results go to the folder `output`, by default the run's own. A run whose results
    /// go elsewhere is only read, so its folder may be read-only.
    ///
    /// # Errors
    /// As [`RunDir::open`].
    pub fn open_for(runs: &Path, name: &Path, output: Option<&Path>) -> Result<(Self, RunConfig), RunError> {
        let path = Self::find(runs, name)?;
        let elsewhere = output.is_some_and(|output| !same_folder(output, &path));
        let dir = if elsewhere { Self::lock_shared(path)? } else { Self::lock(path)? };
        dir.with_config()
    }

    fn with_config(self) -> Result<(Self, RunConfig), RunError> {
        let dir = self;
        let config = RunConfig::load(&dir.config(), &[])?;
        let differs = dir.trained_with()?.map(|old| old.changes(&config)).unwrap_or_default();
        if !differs.is_empty() {
            return Err(RunError::Edited { path: dir.path, differs });
        }
        Ok((dir, config))
    }

    /// Note that what is stored from now on was trained with `config`.
    ///
    /// # Errors
    /// I/O.
    pub fn trains(&self, config: &RunConfig) -> Result<(), RunError> {
        write_config(&self.kept_config(), config)
    }

    /// The configuration the stored state was trained with; `None` where there is no state, which has nothing to protect,
    /// and in runs of programs that did not note it.
    fn trained_with(&self) -> Result<Option<RunConfig>, RunError> {
        let file = self.kept_config();
        if !self.has_state() || !file.is_file() {
            return Ok(None);
        }
        Ok(Some(RunConfig::load(&file, &[])?))
    }

    fn has_state(&self) -> bool {
        self.checkpoints().join("latest").is_file()
    }

    fn kept_config(&self) -> PathBuf {
        self.checkpoints().join("config.yaml")
    }

    /// Folder of the run `name`, without locking it.
    ///
    /// # Errors
    /// [`RunError::NoRun`].
    pub fn find(runs: &Path, name: &Path) -> Result<PathBuf, RunError> {
        let places = [runs.join(name), name.to_path_buf()];
        if let Some(found) = places.iter().find(|p| is_run(p)) {
            return Ok(found.clone());
        }
        let mut looked: Vec<PathBuf> =
            places.into_iter().map(|p| std::path::absolute(&p).unwrap_or(p)).collect();
        // A full path is the same below any folder.
        looked.dedup();
        let mut known: Vec<String> = fs::read_dir(runs)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|e| is_run(&e.path()))
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        known.sort();
        Err(RunError::NoRun { name: name.into(), seen: Seen { looked, known } })
    }

    fn lock(path: PathBuf) -> Result<Self, RunError> {
        let file = path.join(".lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&file).map_err(io(&file))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: Some(lock) }),
            Err(TryLockError::WouldBlock) => Err(RunError::Locked { path }),
            Err(TryLockError::Error(e)) => Err(io(&file)(e)),
        }
    }

    /// Keep writers away while this process reads. Nothing is made for it: without a lock file nobody writes yet, and where
    /// the system has no locks a reader can do no harm.
    fn lock_shared(path: PathBuf) -> Result<Self, RunError> {
        let lock = File::open(path.join(".lock")).ok();
        if let Some(lock) = &lock
            && let Err(TryLockError::WouldBlock) = lock.try_lock_shared()
        {
            return Err(RunError::Locked { path });
        }
        Ok(Self { path, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Name of the run.
    pub fn name(&self) -> String {
        self.path
            .file_name()
            .map_or_else(|| self.path.display().to_string(), |n| n.to_string_lossy().into_owned())
    }

    /// What `--resume` finds the run by.
    pub fn handle(&self) -> String {
        match self.path.parent() == Some(Path::new("runs")) {
            true => self.name(),
            false => self.path.display().to_string(),
        }
    }

    /// The resolved configuration.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.yaml")
    }

    /// What was measured while training, one JSON object a line; the same for every repetition of the run.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// Seconds per epoch and phase, one JSON object a line.
    pub fn timing(&self) -> PathBuf {
        self.path.join("timing.jsonl")
    }

    /// State to continue from, and the best network of each phase.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The artifact.
    pub fn model(&self) -> PathBuf {
        self.path.join("model.hemodel")
    }
}

fn is_run(folder: &Path) -> bool {
    folder.join("config.yaml").is_file()
}

/// Whether two paths lead to one folder; not when either does not exist.
pub fn same_folder(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| if path.as_os_str().is_empty() { Path::new(".") } else { path }.canonicalize();
    matches!((real(a), real(b)), (Ok(a), Ok(b)) if a == b)
}

fn write_config(file: &Path, config: &RunConfig) -> Result<(), RunError> {
    let yaml =
        config.to_yaml().map_err(|e| RunError::Checkpoint { path: file.into(), why: e.to_string() })?;
    write_atomic(file, yaml.as_bytes())
}

/// Replace the file at `path` by `bytes`: all of them or, after an error, none.
///
/// # Errors
/// I/O; the old file is then untouched and no temporary file stays.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    replace(path, |temp| {
        let mut file = File::create(temp).map_err(io(path))?;
        file.write_all(bytes).map_err(io(path))
    })
}

/// Let `write` make a file under a temporary name, then move it to `path` once it is safely on disk.
///
/// # Errors
/// I/O and the errors of `write`; the old file is then untouched and no temporary file stays.
pub fn replace(path: &Path, write: impl FnOnce(&Path) -> Result<(), RunError>) -> Result<(), RunError> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    // The extension stays last: writers choose the format by it.
    let temp = path.with_file_name(format!(".tmp-{}-{name}", std::process::id()));
    let done = write(&temp)
        .and_then(|()| File::open(&temp).and_then(|f| f.sync_all()).map_err(io(path)))
        .and_then(|()| fs::rename(&temp, path).map_err(io(path)));
    if done.is_err() {
        // The error above is the one to report; a temporary file that cannot be removed is only litter.
        let _ = fs::remove_file(&temp);
        return done;
    }
    sync_folder(path);
    Ok(())
}

/// Make a rename in the folder of `path` survive a power cut, where the system can.
pub fn sync_folder(path: &Path) {
    if let Some(folder) = path.parent()
        && let Ok(folder) = File::open(folder)
    {
        // Not every file system syncs folders; the file itself is already on disk.
        let _ = folder.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        write_atomic(&path, b"old").unwrap();
        let failed = replace(&path, |temp| {
            fs::write(temp, b"half").unwrap();
            Err(RunError::Locked { path: temp.into() })
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
