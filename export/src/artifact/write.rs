//! Writing: to a temporary file beside the target, then rename, so that no half-written artifact is ever found.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

use super::{ARTIFACT_VERSION, Artifact, Document, METADATA_KEY};
use crate::ExportError;

impl Artifact {
    /// The file's bytes.
    ///
    /// # Errors
    /// [`ExportError::Invalid`] when the graph cannot be serialised.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ExportError> {
        let invalid = |why: String| ExportError::Invalid { what: "artifact".into(), why };
        let document = Document {
            version: ARTIFACT_VERSION,
            digest: self.digest()?,
            provenance: self.provenance.clone(),
            nodes: self.graph.nodes().to_vec(),
        };
        let json = serde_json::to_string(&document).map_err(|e| invalid(e.to_string()))?;
        let bytes: Vec<(&str, &[usize], Vec<u8>)> = self
            .graph
            .tensors()
            .iter()
            .map(|(name, t)| {
                (name.as_str(), t.shape(), t.data().iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
            })
            .collect();
        let views = bytes
            .iter()
            .map(|(name, shape, data)| {
                TensorView::new(Dtype::F32, shape.to_vec(), data)
                    .map(|v| (*name, v))
                    .map_err(|e| invalid(e.to_string()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let metadata = HashMap::from([(METADATA_KEY.to_string(), json)]);
        safetensors::serialize(views, Some(metadata)).map_err(|e| invalid(e.to_string()))
    }

    /// Write to `path`; an existing file is replaced only by a complete new one.
    ///
    /// # Errors
    /// [`ExportError::Io`] naming the file.
    pub fn write(&self, path: &Path) -> Result<(), ExportError> {
        let bytes = self.to_bytes()?;
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".partial");
        let partial = path.with_file_name(name);
        let io = |source| ExportError::Io { path: path.to_path_buf(), source };
        let written = std::fs::File::create(&partial)
            .and_then(|mut f| f.write_all(&bytes).and_then(|()| f.sync_all()))
            .and_then(|()| std::fs::rename(&partial, path));
        written.map_err(|e| {
            // Nothing half-written stays behind; the first error is the one worth telling.
            let _ = std::fs::remove_file(&partial);
            io(e)
        })
    }
}
