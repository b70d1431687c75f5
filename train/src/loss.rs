//! Losses against labels, and reading results back to the host.

use burn::tensor::{Device, Tensor, TensorData, activation::log_softmax};

use crate::error::RunError;

/// Target distributions: `1 − s` on the label and `s` spread evenly over all classes (Szegedy et al. 2016,
/// arXiv:1512.00567).
///
/// # Shapes
/// - output `[batch, classes]`
pub fn targets(labels: &[i64], classes: usize, smoothing: f64, device: &Device) -> Tensor<2> {
    let floor = (smoothing / classes as f64) as f32;
    let mut values = vec![floor; labels.len() * classes];
    for (row, &label) in values.chunks_exact_mut(classes).zip(labels) {
        if let Some(v) = usize::try_from(label).ok().and_then(|l| row.get_mut(l)) {
            *v += (1.0 - smoothing) as f32;
        }
    }
    Tensor::from_data(TensorData::new(values, [labels.len(), classes]), device)
}

/// Mean over the batch of `−Σ target·log softmax(logits)`.
///
/// # Shapes
/// - `logits`, `targets`: `[batch, classes]`; output `[1]`
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let [batch, _] = logits.dims();
    (log_softmax(logits, 1) * targets).sum().neg().div_scalar(batch.max(1) as f64)
}

/// Values of a tensor on the host, row-major.
///
/// # Errors
/// [`RunError::Device`].
pub fn to_host<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, RunError> {
    tensor
        .into_data()
        .convert::<f32>()
        .try_into_vec::<f32>()
        .map_err(|e| RunError::Device { why: format!("{e:?}") })
}

/// The one value of a tensor.
///
/// # Errors
/// [`RunError::Device`].
pub fn scalar(tensor: Tensor<1>) -> Result<f64, RunError> {
    Ok(to_host(tensor)?.first().map_or(f64::NAN, |v| f64::from(*v)))
}

/// How many rows of `logits` have their largest value at the label; a row with a value that is not finite has not.
pub fn correct(logits: &[f32], labels: &[i64], classes: usize) -> usize {
    logits
        .chunks_exact(classes)
        .zip(labels)
        .filter(|(row, label)| {
            let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i as i64);
            row.iter().all(|v| v.is_finite()) && best == Some(**label)
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cross_entropy_of_even_logits_is_the_log_of_the_classes() {
        let device = Device::flex();
        let t = targets(&[1, 3], 4, 0.1, &device);
        let loss = scalar(cross_entropy(Tensor::zeros([2, 4], &device), t)).unwrap();
        assert!((loss - 4f64.ln()).abs() < 1e-6, "{loss}");
    }

    #[test]
    fn a_row_with_nan_is_never_correct() {
        assert_eq!(correct(&[0.0, 1.0, f32::NAN, 2.0, 5.0, 1.0], &[1, 1, 0], 2), 2);
    }
}
