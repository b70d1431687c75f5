//! A named array of weights, as it stands in the artifact.

use std::borrow::Cow;

use crate::ExportError;

/// A dense row-major array of `f32`, the precision weights are trained and stored in.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    values: Values,
}

#[derive(Clone, Debug, PartialEq)]
enum Values {
    Each(Vec<f32>),
    Same(f32),
}

/// How many values a shape holds; `None` for more than can be counted.
pub(crate) fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent))
}

impl Tensor {
    /// Make a tensor of `shape` from row-major `data`.
    ///
    /// # Errors
    /// [`ExportError::Invalid`] when the number of values is not the product of `shape`.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Result<Self, ExportError> {
        let shape = shape.into();
        if elements(&shape) != Some(data.len()) {
            return Err(ExportError::Invalid {
                what: "tensor".into(),
                why: format!("shape {shape:?} needs as many values, got {}", data.len()),
            });
        }
        Ok(Self { shape, values: Values::Each(data) })
    }

    /// The same value everywhere, which takes no memory: the weights of networks that are larger than memory and exist as shapes only.
    pub fn constant(shape: impl Into<Vec<usize>>, value: f32) -> Self {
        Self { shape: shape.into(), values: Values::Same(value) }
    }

    /// A vector rounded from `f64`.
    pub fn from_f64(shape: impl Into<Vec<usize>>, data: &[f64]) -> Result<Self, ExportError> {
        Self::new(shape, data.iter().map(|&v| v as f32).collect())
    }

    /// Extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// The value, of a tensor made by [`Tensor::constant`].
    pub fn as_constant(&self) -> Option<f32> {
        match self.values {
            Values::Same(value) => Some(value),
            Values::Each(_) => None,
        }
    }

    /// Values, row-major.
    pub fn data(&self) -> Cow<'_, [f32]> {
        match &self.values {
            Values::Each(data) => Cow::Borrowed(data),
            Values::Same(value) => Cow::Owned(vec![*value; self.len()]),
        }
    }

    /// Values widened to `f64`.
    pub fn to_f64(&self) -> Vec<f64> {
        self.data().iter().map(|&v| f64::from(v)).collect()
    }

    /// A value that is not finite, if there is one.
    pub(crate) fn not_finite(&self) -> Option<f32> {
        match &self.values {
            Values::Each(data) => data.iter().copied().find(|v| !v.is_finite()),
            Values::Same(value) => Some(*value).filter(|v| !v.is_finite()),
        }
    }
}
