//! Safetensors files: ours carry the configuration in their metadata.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use hetrain_export::Interval;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::Array;
use crate::{LayerError, ModelConfig, OperatorState, WeightProblem};

/// Metadata entry of our files. It is the only one: a map of several would be written in no fixed order.
const KEY: &str = "hetrain";

/// What our files keep beside tensors.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Meta {
    pub(super) model: ModelConfig,
    pub(super) activations: Vec<OperatorState>,
}

/// What a file holds.
pub(super) struct Found {
    pub(super) tensors: BTreeMap<String, Array>,
    /// Tensors that are not floating-point numbers we read, by name.
    pub(super) foreign: BTreeMap<String, String>,
    pub(super) meta: Option<Meta>,
}

/// Whether the bytes begin as safetensors do: a length, then a JSON object.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return false };
    rest.first() == Some(&b'{') && u64::from_le_bytes(*length) <= rest.len() as u64
}

/// The file as bytes, tensors in order of their names.
pub(super) fn write(tensors: &BTreeMap<String, Array>, meta: &Meta) -> Result<Vec<u8>, LayerError> {
    let device = |name: &str, why: String| LayerError::Device { name: name.into(), why };
    let bytes: Vec<(&String, &Array, Vec<u8>)> = tensors
        .iter()
        .map(|(name, a)| (name, a, a.data.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let mut views = Vec::with_capacity(bytes.len());
    for (name, array, data) in &bytes {
        let view = TensorView::new(Dtype::F32, array.shape.clone(), data)
            .map_err(|e| device(name, e.to_string()))?;
        views.push((name.as_str(), view));
    }
    let meta = serde_json::to_string(meta).map_err(|e| device(KEY, e.to_string()))?;
    safetensors::serialize(views, Some(HashMap::from([(KEY.to_string(), meta)])))
        .map_err(|e| device("safetensors", e.to_string()))
}

/// Read all tensors of 32 or 64 bits.
pub(super) fn read(bytes: &[u8], path: &Path) -> Result<Found, LayerError> {
    let fail = |why: String| LayerError::Format { path: path.into(), format: "safetensors", why };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| fail(e.to_string()))?;
    let file = SafeTensors::deserialize(bytes).map_err(|e| fail(e.to_string()))?;
    let meta = match header.metadata().as_ref().and_then(|m| m.get(KEY)) {
        Some(text) => Some(parse_meta(text).map_err(|e| fail(format!("its metadata: {e}")))?),
        None => None,
    };
    let mut found = Found { tensors: BTreeMap::new(), foreign: BTreeMap::new(), meta };
    for (name, view) in file.iter() {
        let data: Vec<f32> = match view.dtype() {
            Dtype::F32 => view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Dtype::F64 => {
                view.data().as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect()
            }
            other => {
                found.foreign.insert(name.to_string(), format!("{other:?}"));
                continue;
            }
        };
        found.tensors.insert(name.to_string(), Array { shape: view.shape().to_vec(), data });
    }
    Ok(found)
}

fn parse_meta(text: &str) -> Result<Meta, String> {
    let meta: Meta = serde_json::from_str(text).map_err(|e| e.to_string())?;
    for state in &meta.activations {
        Interval::new(state.interval.lo, state.interval.hi).map_err(|e| e.to_string())?;
    }
    Ok(meta)
}

impl Found {
    /// Why a tensor that is there cannot be used.
    pub(super) fn kind_problem(&self, name: &str) -> Option<WeightProblem> {
        self.foreign.get(name).map(|got| WeightProblem::Kind { name: name.into(), got: got.clone() })
    }
}
