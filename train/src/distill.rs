//! Losses against a teacher.

use burn::tensor::{
    Tensor,
    activation::{log_softmax, softmax},
};

/// Teacher logits beyond this say nothing more than "certain", and drive the student's ranges up.
const LOGIT_CAP: f64 = 20.0;

/// `T²·KL(softmax(teacher/T) ‖ softmax(student/T))`, mean over the batch (Hinton et al. 2015, arXiv:1503.02531).
///
/// # Shapes
/// - `student`, `teacher`: `[batch, classes]`; output `[1]`
pub fn logits(student: Tensor<2>, teacher: Tensor<2>, temperature: f64) -> Tensor<1> {
    let [batch, _] = student.dims();
    let teacher = teacher.clamp(-LOGIT_CAP, LOGIT_CAP).div_scalar(temperature);
    let p = softmax(teacher.clone(), 1);
    let difference = log_softmax(teacher, 1) - log_softmax(student.div_scalar(temperature), 1);
    (p * difference).sum().mul_scalar(temperature * temperature / batch.max(1) as f64)
}

/// Mean squared difference of the results at stage ends, each channel divided by the teacher's variance in it, mean
/// over the stages (Romero et al. 2015, arXiv:1412.6550, with normalisation).
///
/// `None` when there is no stage in common.
///
/// # Shapes
/// - each feature `[batch, channels, positions]`; output `[1]`
pub fn features(student: &[Tensor<3>], teacher: &[Tensor<3>]) -> Option<Tensor<1>> {
    let stages = student.len().min(teacher.len());
    let sum = student
        .iter()
        .zip(teacher)
        .map(|(s, t)| {
            let mean = t.clone().mean_dim(0).mean_dim(2);
            let spread = t.clone() - mean;
            let variance = (spread.clone() * spread).mean_dim(0).mean_dim(2).add_scalar(1e-5);
            let difference = s.clone() - t.clone();
            (difference.clone() * difference / variance).mean()
        })
        .reduce(|a, b| a + b)?;
    Some(sum.div_scalar(stages.max(1) as f64))
}

/// Mean squared difference of attention weights, over the mean square of the teacher's, mean over the attentions (as in Jiao et al. 2019,
/// arXiv:1909.10351, but for the division).
///
/// `None` when there is no attention in common.
///
/// # Shapes
/// - each `[batch, heads, query, key]`; output `[1]`
pub fn attention(student: &[Tensor<4>], teacher: &[Tensor<4>]) -> Option<Tensor<1>> {
    let count = student.len().min(teacher.len());
    let square = |x: Tensor<4>| (x.clone() * x).mean();
    let pairs = student.iter().zip(teacher);
    let sum = pairs.map(|(s, t)| square(s.clone() - t.clone()) / square(t.clone())).reduce(|a, b| a + b)?;
    Some(sum.div_scalar(count.max(1) as f64))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::loss::scalar;

    #[test]
    fn a_student_that_equals_its_teacher_has_no_loss() {
        let device = Device::flex();
        let a = Tensor::<2>::from_data([[1.0, -2.0, 0.5], [3.0, 0.0, 1.0]], &device);
        assert!(scalar(logits(a.clone(), a.clone(), 4.0)).unwrap().abs() < 1e-6);
        let b = Tensor::<2>::from_data([[0.0, -2.0, 0.5], [3.0, 0.0, 1.0]], &device);
        assert!(scalar(logits(b, a.clone(), 4.0)).unwrap() > 1e-3);
        let f = a.unsqueeze_dim::<3>(2);
        assert!(
            scalar(features(std::slice::from_ref(&f), std::slice::from_ref(&f)).unwrap()).unwrap().abs()
                < 1e-9
        );
        // Weights that are all zero explain nothing of the teacher's.
        let (map, none) = (f.clone().unsqueeze::<4>(), f.zeros_like().unsqueeze::<4>());
        let maps = |map: &Tensor<4>| std::slice::from_ref(map).to_vec();
        for (student, loss) in [(&map, 0.0), (&none, 1.0)] {
            let got = scalar(attention(&maps(student), &maps(&map)).unwrap()).unwrap();
            assert!((got - loss).abs() < 1e-6, "{got}");
        }
    }
}
