//! Weights in and out of a model, by name.
//!
//! Own files are safetensors with one metadata entry: the configuration and the activations' blends and intervals.
//! Foreign weights are safetensors with PyTorch's names, or what `torch.save` writes. Loading is strict and all or
//! nothing: every tensor that is missing, misshapen, unexpected or not finite is listed, and the model stays as it was.

mod apply;
mod fit;
mod pth;
mod safetensors;

use std::fs;
use std::io::Write;
use std::path::Path;

pub(crate) use apply::{Array, collect, is_training, replace, running_statistics};

use self::fit::{Naming, fit};
use self::safetensors::{Found, Meta};
use crate::{HeModel, LayerError, ModelConfig};

impl HeModel {
    /// All parameters and running statistics as a safetensors file; equal models give equal bytes.
    ///
    /// # Errors
    /// [`LayerError::Device`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, LayerError> {
        let meta = Meta { model: self.config().clone(), activations: self.runtime() };
        // `valid` brings the running statistics up to date, which a plain visit would not.
        safetensors::write(&collect(&burn::module::Module::valid(self))?, &meta)
    }

    /// Write [`HeModel::to_bytes`] to `path`. The file appears whole or not at all; one that was there stays until then.
    ///
    /// # Errors
    /// [`LayerError::Io`] (a full disk, say), [`LayerError::Device`].
    pub fn save(&self, path: &Path) -> Result<(), LayerError> {
        let bytes = self.to_bytes()?;
        let io = |source| LayerError::Io { path: path.into(), source };
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        let write = || -> std::io::Result<()> {
            let mut file = fs::File::create(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, path)
        };
        write().map_err(|e| {
            // The error that matters is the first one; a leftover is only untidy.
            let _ = fs::remove_file(&temporary);
            io(e)
        })
    }

    /// Load a file written by [`HeModel::save`]: parameters, running statistics, blends and intervals. Parameter ids
    /// and what is trained stay; running statistics are no longer shared with clones, blends and intervals still are.
    ///
    /// # Errors
    /// [`LayerError::Weights`] with every problem, [`LayerError::Format`], [`LayerError::Io`].
    pub fn load(&mut self, path: &Path) -> Result<(), LayerError> {
        self.load_bytes(&read(path)?, path)
    }

    /// As [`HeModel::load`], from bytes; `path` is named in errors.
    ///
    /// # Errors
    /// As [`HeModel::load`].
    pub fn load_bytes(&mut self, bytes: &[u8], path: &Path) -> Result<(), LayerError> {
        let found = safetensors::read(bytes, path)?;
        self.take_in(found, Naming::Own, None, path)
    }

    /// Load foreign weights: safetensors or a PyTorch file (`.pt`, `.pth`, `.th`) with PyTorch's names, `module.` and
    /// `state_dict.` prefixes allowed. Coefficients of the quadratics stay as they are where the file has none. A file
    /// of our own is loaded as by [`HeModel::load`].
    ///
    /// # Errors
    /// As [`HeModel::load`].
    pub fn load_pretrained(&mut self, path: &Path) -> Result<(), LayerError> {
        let (found, naming) = open(path)?;
        self.take_in(found, naming, None, path)
    }

    /// Load a file written by [`HeModel::save`] whose polynomials may be others: what the original network computes with, which this one then
    /// is.
    ///
    /// # Errors
    /// As [`HeModel::load`].
    pub fn load_original(&mut self, path: &Path) -> Result<(), LayerError> {
        let found = safetensors::read(&read(path)?, path)?;
        self.take_in(Found { meta: None, ..found }, Naming::Original, None, path)?;
        (0..self.operators()).for_each(|i| self.set_blend(i, 0.0));
        Ok(())
    }

    /// Start from another network's features: load a file as [`HeModel::load_pretrained`] does, but leave the last layer,
    /// which knows the other network's classes, as it is.
    ///
    /// # Errors
    /// As [`HeModel::load`].
    pub fn load_features(&mut self, path: &Path) -> Result<(), LayerError> {
        let head = self.last_layer();
        let (found, naming) = open(path)?;
        self.take_in(found, naming, head.as_deref(), path)
    }

    /// `apart`: the layer that keeps what it has.
    fn take_in(
        &mut self,
        found: Found,
        naming: Naming,
        apart: Option<&str>,
        path: &Path,
    ) -> Result<(), LayerError> {
        let model = self.config().name.as_str();
        let fresh = self.own_statistics();
        let activations = found.meta.as_ref().map(|m| m.activations.clone());
        let table = fit(collect(&fresh)?, found, naming, apart).map_err(|problems| LayerError::Weights {
            path: path.into(),
            model,
            problems,
        })?;
        if let Some(states) = activations {
            if states.len() != self.operators() {
                return Err(LayerError::Format {
                    path: path.into(),
                    format: "hetrain weights",
                    why: format!(
                        "it has {} operator states, the model has {}",
                        states.len(),
                        self.operators()
                    ),
                });
            }
            self.set_runtime(&states);
        }
        *self = replace(fresh, table);
        Ok(())
    }
}

impl ModelConfig {
    /// The configuration kept in a file written by [`HeModel::save`]; `None` for other safetensors files.
    ///
    /// # Errors
    /// [`LayerError::Format`], [`LayerError::Io`].
    pub fn read_from(path: &Path) -> Result<Option<Self>, LayerError> {
        Ok(safetensors::read(&read(path)?, path)?.meta.map(|m| m.model))
    }
}

/// A file of weights of any kind, and whose names it has.
fn open(path: &Path) -> Result<(Found, Naming), LayerError> {
    let bytes = read(path)?;
    let named = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors"));
    if !named && !safetensors::looks_like(&bytes) {
        drop(bytes);
        return Ok((pth::read(path)?, Naming::Pytorch));
    }
    let found = safetensors::read(&bytes, path)?;
    let naming = if found.meta.is_some() { Naming::Own } else { Naming::Pytorch };
    Ok((found, naming))
}

fn read(path: &Path) -> Result<Vec<u8>, LayerError> {
    let io = |source| LayerError::Io { path: path.into(), source };
    // A named pipe would be waited for forever.
    if !fs::metadata(path).map_err(io)?.is_file() {
        let why = "it is no regular file".into();
        return Err(LayerError::Format { path: path.into(), format: "weights", why });
    }
    fs::read(path).map_err(io)
}
