//! `model.hemodel`: one safetensors file whose metadata holds the graph as JSON.
//!
//! ```text
//! safetensors header: { "__metadata__": { "hetrain": "<JSON: version, graph, provenance, digest>" }, tensors… } + f32 data
//! ```
//! Any safetensors reader opens it. The digest covers graph and tensors, so a flipped bit anywhere is found on loading.

mod read;
mod write;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{ExportError, Graph, Node};

/// The version written; all older ones keep loading. Since 2, nodes may say how errors of earlier nodes arrive at them.
pub const ARTIFACT_VERSION: u32 = 2;

/// Key of the JSON document in the safetensors metadata.
const METADATA_KEY: &str = "hetrain";

/// Where a model comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The run's name.
    pub run: String,
    /// Digest of the resolved config.
    pub config_digest: String,
    /// Seed of the run.
    pub seed: u64,
    /// Name of the data set.
    pub data: String,
    /// Digest of the training data.
    pub data_digest: String,
    /// Class names, where the data set has them.
    pub classes: Vec<String>,
    /// Of a text by byte pairs, where `classes` are its tokens: the first 256 are the bytes, and token `256 + k` is the two that
    /// merge `k` names, one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merges: Vec<[u16; 2]>,
    /// Of a text: what stands before one that is shorter than the network's window, a window of the training text. A polynomial
    /// network has never seen a run of the same letter, and leaves its intervals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lead: Vec<u16>,
    /// Program version that wrote the file.
    pub program: String,
}

/// A folded graph with the ranges seen on calibration data and its provenance.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    /// The folded graph.
    pub graph: Graph,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// The JSON document. `graph` stays untyped until the version is known to be one this program reads.
#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    digest: String,
    provenance: Provenance,
    nodes: Vec<Node>,
}

impl Artifact {
    /// Digest over graph and tensors: what "the same model" means.
    ///
    /// # Errors
    /// [`ExportError::Invalid`] when the graph cannot be serialised (a value is not finite).
    pub fn digest(&self) -> Result<String, ExportError> {
        digest(&self.graph)
    }
}

fn digest(graph: &Graph) -> Result<String, ExportError> {
    let nodes = serde_json::to_vec(graph.nodes())
        .map_err(|e| ExportError::Invalid { what: "graph".into(), why: e.to_string() })?;
    let mut hash = Sha256::new();
    hash.update(&nodes);
    for (name, tensor) in graph.tensors() {
        hash.update(name.as_bytes());
        for &extent in tensor.shape() {
            hash.update((extent as u64).to_le_bytes());
        }
        for v in tensor.data().iter() {
            hash.update(v.to_le_bytes());
        }
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests;
