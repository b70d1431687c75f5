//! Run configurations: found, read, checked, written back.
//!
//! ```text
//! YAML ──tree──► values with lines ──--set──► resolve ──► RunConfig ──► runs/NAME/config.yaml
//! ```

mod changes;
mod model;
mod phase;
mod resolve;
mod section;
mod sequence;
mod tree;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use model::*;
pub use section::{Mistake, nearest};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no such file.
    #[error("no configuration `{name}`\n  looked at: {}\n  help: {}", list(looked), hint(known, name))]
    NotFound {
        /// What was asked for.
        name: String,
        /// Files looked at.
        looked: Vec<PathBuf>,
        /// Names in `configs/`.
        known: Vec<String>,
    },
    /// The file cannot be read.
    #[error("{}: {source}\n  help: check that the file is readable text", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is no YAML.
    #[error("{origin}: not valid YAML: {why}\n  help: see configs/quickstart.yaml for the form")]
    Syntax {
        /// The file, or the `--set`.
        origin: String,
        /// Reason with position.
        why: String,
    },
    /// A `--set` cannot be applied.
    #[error("--set {assignment}: {why}\n  help: write `--set data.batch=32` or `--set phases.0.epochs=3`")]
    Override {
        /// The text after `--set`.
        assignment: String,
        /// What is wrong with it.
        why: String,
    },
    /// Settings that cannot be used, all of them.
    #[error("{origin}: {} that cannot be used{}", count(mistakes.len()), lines(mistakes))]
    Mistakes {
        /// The file.
        origin: String,
        /// Every mistake.
        mistakes: Vec<Mistake>,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn hint(known: &[String], name: &str) -> String {
    let names: Vec<&str> = known.iter().map(String::as_str).collect();
    match nearest(name, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "give the path of a YAML file".into(),
        None => format!("give the path of a YAML file, or one of {}", names.join(", ")),
    }
}

fn count(n: usize) -> String {
    if n == 1 { "one setting".into() } else { format!("{n} settings") }
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|m| format!("\n  {m}")).collect()
}

/// The file meant by `name`: a path, or a name in `configs/` with or without `.yaml`.
///
/// # Errors
/// [`ConfigError::NotFound`] with the places looked at and the nearest name.
pub fn find(name: &str) -> Result<PathBuf, ConfigError> {
    let folder = Path::new("configs");
    let looked = vec![PathBuf::from(name), folder.join(name), folder.join(format!("{name}.yaml"))];
    if let Some(found) = looked.iter().find(|p| p.is_file()) {
        return Ok(found.clone());
    }
    let mut known: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|n| n.ends_with(".yaml"))
        .collect();
    known.sort();
    Err(ConfigError::NotFound { name: name.into(), looked, known })
}

/// What a configuration describes.
pub enum Described {
    /// A run.
    Run(Box<RunConfig>),
    /// A network without data.
    Architecture(Architecture),
}

impl Described {
    /// Read the file at `path`, of either kind, with the `--set` assignments in `overrides` applied.
    ///
    /// # Errors
    /// As [`RunConfig::load`].
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let origin = path.display().to_string();
        let root = changed(&read(path)?, &origin, overrides)?;
        let mistakes = |mistakes| ConfigError::Mistakes { origin, mistakes };
        if root.get("input").is_some() && root.get("data").is_none() {
            return resolve::architecture(&root).map(Self::Architecture).map_err(mistakes);
        }
        resolve::resolve(&root).map(|run| Self::Run(Box::new(run))).map_err(mistakes)
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Io { path: path.into(), source })
}

/// The tree of a text with assignments applied.
fn changed(text: &str, origin: &str, overrides: &[String]) -> Result<tree::Node, ConfigError> {
    let mut root = tree::Node::parse(text, origin)?;
    for assignment in overrides {
        root.set(assignment)?;
    }
    Ok(root)
}

impl RunConfig {
    /// Read the file at `path` with the `--set` assignments in `overrides` applied.
    ///
    /// # Errors
    /// [`ConfigError`]; mistakes in values come all together.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        Self::parse(&read(path)?, &path.display().to_string(), overrides)
    }

    /// Read a configuration from text; `origin` names it in messages.
    ///
    /// # Errors
    /// As [`RunConfig::load`].
    pub fn parse(text: &str, origin: &str, overrides: &[String]) -> Result<Self, ConfigError> {
        let root = changed(text, origin, overrides)?;
        resolve::resolve(&root).map_err(|mistakes| ConfigError::Mistakes { origin: origin.into(), mistakes })
    }

    /// The resolved configuration as YAML; reading it gives the same configuration again.
    ///
    /// # Errors
    /// A value YAML cannot express, which resolving has excluded.
    pub fn to_yaml(&self) -> Result<String, serde_saphyr::SerializeError> {
        serde_saphyr::to_string(self)
    }

    /// SHA-256 of everything that decides what is trained, in hexadecimal. Name, checkpoint times, the encrypted run and
    /// verification do not.
    ///
    /// # Errors
    /// As [`RunConfig::to_yaml`].
    pub fn digest(&self) -> Result<String, serde_saphyr::SerializeError> {
        let hash = Sha256::digest(self.decisive().to_yaml()?.as_bytes());
        Ok(hash.iter().map(|b| format!("{b:02x}")).collect())
    }
}
