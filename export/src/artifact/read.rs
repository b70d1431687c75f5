//! Reading: version first, then digest, then every shape through the builder.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::Value;

use super::{ARTIFACT_VERSION, Artifact, Document, METADATA_KEY, digest};
use crate::{ExportError, Graph, Op, Tensor};

impl Artifact {
    /// Read `path`.
    ///
    /// # Errors
    /// [`ExportError::Io`], [`ExportError::NotAnArtifact`], [`ExportError::Damaged`], [`ExportError::NewerVersion`],
    /// [`ExportError::UnknownOp`].
    pub fn read(path: &Path) -> Result<Self, ExportError> {
        let bytes = std::fs::read(path).map_err(|source| ExportError::Io { path: path.into(), source })?;
        Self::from_bytes(&bytes, path)
    }

    /// Decode a file's bytes; `path` is only for messages.
    ///
    /// # Errors
    /// As [`Artifact::read`].
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, ExportError> {
        let foreign = |why: String| ExportError::NotAnArtifact { path: path.into(), why };
        let damaged = |why: String| ExportError::Damaged { path: path.into(), why };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| {
            // A file that starts like safetensors but ends early is ours and cut; anything else was never ours.
            if looks_like_safetensors(bytes) { damaged(e.to_string()) } else { foreign(e.to_string()) }
        })?;
        let json = header
            .metadata()
            .as_ref()
            .and_then(|m| m.get(METADATA_KEY))
            .ok_or_else(|| foreign("a safetensors file without hetrain metadata".into()))?;
        let value: Value = serde_json::from_str(json).map_err(|e| damaged(format!("metadata: {e}")))?;
        let version = value.get("version").and_then(Value::as_u64).and_then(|v| u32::try_from(v).ok());
        match version {
            None | Some(0) => return Err(damaged("metadata has no version".into())),
            Some(found) if found > ARTIFACT_VERSION => {
                return Err(ExportError::NewerVersion {
                    path: path.into(),
                    found,
                    supported: ARTIFACT_VERSION,
                });
            }
            Some(_) => {}
        }
        if let Some((node, op)) = unknown_op(&value) {
            return Err(ExportError::UnknownOp { path: path.into(), node, op, known: Op::NAMES.join(", ") });
        }
        let document: Document =
            serde_json::from_value(value).map_err(|e| damaged(format!("metadata: {e}")))?;
        let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(e.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            if view.dtype() != Dtype::F32 {
                return Err(damaged(format!("tensor `{name}` is {:?}, needs F32", view.dtype())));
            }
            let (values, _) = view.data().as_chunks::<4>();
            let data = values.iter().map(|b| f32::from_le_bytes(*b)).collect();
            tensors.insert(name, Tensor::new(view.shape(), data).map_err(|e| damaged(e.to_string()))?);
        }
        let graph = Graph::from_parts(document.nodes, tensors).map_err(|e| damaged(e.to_string()))?;
        let found = digest(&graph)?;
        if found != document.digest {
            return Err(damaged(format!("digest is {found}, the file says {}", document.digest)));
        }
        Ok(Self { graph, provenance: document.provenance })
    }
}

/// The first operation this program does not know, with its node: told apart from damage, since the remedy differs.
fn unknown_op(document: &Value) -> Option<(String, String)> {
    document.get("nodes")?.as_array()?.iter().find_map(|node| {
        let op = match node.get("op")? {
            Value::String(name) => name.as_str(),
            Value::Object(fields) => fields.keys().next()?.as_str(),
            _ => return None,
        };
        let name = node.get("name").and_then(Value::as_str).unwrap_or("?");
        (!Op::NAMES.contains(&op)).then(|| (name.to_string(), op.to_string()))
    })
}

/// Whether the first bytes are a plausible safetensors header: a length and an opening brace.
fn looks_like_safetensors(bytes: &[u8]) -> bool {
    bytes.get(8) == Some(&b'{')
}
