//! PyTorch files: the zip of today, and the legacy stream of pickles and raw storages of 2019.
//!
//! Burn's reader interprets the pickle without executing anything: it knows tensors and plain containers, no code.

use std::collections::BTreeMap;
use std::path::Path;

use burn::store::{ModuleStore, PytorchStore};
use burn::tensor::{DType, TensorData};

use super::Array;
use super::safetensors::Found;
use crate::LayerError;

/// Read all floating-point tensors of a file, prefixes of wrappers removed.
pub(super) fn read(path: &Path) -> Result<Found, LayerError> {
    let fail = |why: String| LayerError::Format { path: path.into(), format: "PyTorch weights", why };
    let mut store = PytorchStore::from_file(path).map_indices_contiguous(false);
    let tensors = store.get_all_tensors().map_err(|e| fail(e.to_string()))?;
    let mut found = Found { tensors: BTreeMap::new(), foreign: BTreeMap::new(), meta: None };
    for (name, tensor) in tensors {
        let key = strip(name).to_string();
        if !matches!(tensor.dtype, DType::F32 | DType::F64) {
            found.foreign.insert(key, format!("{:?}", tensor.dtype));
            continue;
        }
        let (_, dtype, shape, _, bytes) =
            tensor.clone().into_parts().map_err(|e| fail(format!("`{name}`: {e}")))?;
        let shape = shape.as_slice().to_vec();
        let data = TensorData::from_bytes(bytes, shape.clone(), dtype)
            .try_to_vec_as::<f32>()
            .map_err(|e| fail(format!("`{name}`: {e:?}")))?;
        if shape.iter().product::<usize>() != data.len() {
            return Err(fail(format!("`{name}` has shape {shape:?} but {} values", data.len())));
        }
        found.tensors.insert(key, Array { shape, data });
    }
    if found.tensors.is_empty() {
        return Err(fail("it holds no floating-point tensors".into()));
    }
    Ok(found)
}

/// What training scripts wrap a `state_dict` in.
fn strip(mut name: &str) -> &str {
    for prefix in ["state_dict.", "model_state_dict.", "model.", "module."] {
        name = name.strip_prefix(prefix).unwrap_or(name);
    }
    name
}
