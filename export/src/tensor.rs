//! A named array of weights, as it stands in the artifact.

use crate::ExportError;

/// A dense row-major array of `f32`, the precision weights are trained and stored in.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Tensor {
    /// Make a tensor of `shape` from row-major `data`.
    ///
    /// # Errors
    /// [`ExportError::Invalid`] when the number of values is not the product of `shape`.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Result<Self, ExportError> {
        let shape = shape.into();
        if shape.iter().product::<usize>() != data.len() {
            return Err(ExportError::Invalid {
                what: "tensor".into(),
                why: format!(
                    "shape {shape:?} needs {} values, got {}",
                    shape.iter().product::<usize>(),
                    data.len()
                ),
            });
        }
        Ok(Self { shape, data })
    }

    /// A vector rounded from `f64`.
    pub fn from_f64(shape: impl Into<Vec<usize>>, data: &[f64]) -> Result<Self, ExportError> {
        Self::new(shape, data.iter().map(|&v| v as f32).collect())
    }

    /// Extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Values, row-major.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// Values widened to `f64`.
    pub fn to_f64(&self) -> Vec<f64> {
        self.data.iter().map(|&v| f64::from(v)).collect()
    }
}
