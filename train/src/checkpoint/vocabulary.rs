//! What the tokens of a text stand for, beside the weights, which are worth nothing with others.

use std::fs;

use hetrain_datasets::Splits;
use serde::{Deserialize, Serialize};

use super::Store;
use crate::{
    error::{RunError, io},
    run_dir::write_atomic,
};

/// The file's content.
#[derive(Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Kept {
    classes: Vec<String>,
    merges: Vec<[u16; 2]>,
}

impl Kept {
    /// That of data that are a text.
    fn of(data: &Splits) -> Option<Self> {
        let vocabulary = data.vocabulary.as_ref()?;
        Some(Self { classes: vocabulary.names(), merges: vocabulary.merges().to_vec() })
    }
}

impl Store {
    /// Note the vocabulary of the text that the run is trained with.
    ///
    /// # Errors
    /// I/O.
    pub fn keep_vocabulary(&self, data: &Splits) -> Result<(), RunError> {
        let Some(kept) = Kept::of(data) else { return Ok(()) };
        let path = self.folder.join("vocabulary.json");
        let json = serde_json::to_vec(&kept).map_err(|e| io(&path)(e.into()))?;
        write_atomic(&path, &json)
    }

    /// Refuse a text with another vocabulary than the run was trained with; runs of programs that did not note it take any.
    ///
    /// # Errors
    /// [`RunError::Mismatch`], [`RunError::Checkpoint`], I/O.
    pub fn check_vocabulary(&self, data: &Splits) -> Result<(), RunError> {
        let path = self.folder.join("vocabulary.json");
        let Some(new) = Kept::of(data).filter(|_| path.is_file()) else { return Ok(()) };
        let json = fs::read(&path).map_err(io(&path))?;
        let old: Kept = serde_json::from_slice(&json)
            .map_err(|e| RunError::Checkpoint { path: path.clone(), why: e.to_string() })?;
        if old == new {
            return Ok(());
        }
        Err(RunError::Mismatch {
            what: format!("data set `{}`", data.name),
            needs: format!("the vocabulary that the network was trained with, {}", path.display()),
            found: "another".into(),
            help: "put the text back as it was, or train another run with `--set name=…`".into(),
        })
    }
}
