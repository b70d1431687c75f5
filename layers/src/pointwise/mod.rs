//! What training does between convolutions, each in one pass over memory: batch norm, activation, range penalty.
//!
//! Burn composes them from operations of one thread that each read and write the whole batch, which took two thirds of the time
//! of a step of ResNet-20 once convolutions were direct. On other devices Burn's compositions stay. `docs/benchmarks.md` has the
//! difference.

mod flex;
mod kernel;
mod op;
mod series;

use burn::module::Module;
use burn::nn::BatchNorm;
use burn::tensor::activation::relu as relu_of;
use burn::tensor::{Device, Tensor};

use op::dispatched;
pub(crate) use series::Series;

use crate::norm::moved;

/// Whether the operations here have kernels of their own for `x`: images, on the processor.
fn direct<const D: usize>(x: &Tensor<D>) -> bool {
    D > 2 && x.device().without_autodiff() == Device::flex()
}

/// Batch norm as the module does it: by the batch's statistics, which move the running ones, on a training device, by
/// the running statistics elsewhere and where it is frozen.
///
/// # Shapes
/// - input and output `[batch, channels, ...]`
pub(crate) fn batch_norm<const D: usize>(bn: &BatchNorm, x: Tensor<D>) -> Tensor<D> {
    if !direct(&x) {
        return bn.forward(x);
    }
    if x.is_autodiff() && bn.training.is_enabled() {
        let (y, mean, variance) = dispatched::standardise(x, bn.gamma.val(), bn.beta.val(), bn.epsilon);
        for (running, new) in [(&bn.running_mean, mean), (&bn.running_var, variance)] {
            moved(running, new);
        }
        return y;
    }
    let [mean, variance] = [&bn.running_mean, &bn.running_var].map(|s| s.value_sync().to_device(&x.device()));
    let scale = bn.gamma.val() / (variance + bn.epsilon).sqrt();
    let shift = bn.beta.val() - mean * scale.clone();
    curve(x, [scale.zeros_like(), scale, shift], 0.0, None)
}

/// Let the running statistics of `bn` follow `x`, and nothing else: a result that nobody differentiates would keep its inputs in memory
/// for good.
pub(crate) fn follow<const D: usize>(bn: &BatchNorm, x: Tensor<D>) {
    batch_norm(&bn.clone().no_grad(), x.detach());
}

/// `a x² + b x + c + relu·max(x, 0)` of `x` limited to `±limit`, with coefficients `[channels]`.
///
/// # Shapes
/// - input and output `[batch, channels, ...]`
pub(crate) fn curve<const D: usize>(
    x: Tensor<D>,
    [a, b, c]: [Tensor<1>; 3],
    relu: f32,
    limit: Option<f32>,
) -> Tensor<D> {
    if direct(&x) {
        let coefficients = Tensor::stack(vec![a, b, c], 0);
        return dispatched::curve(x, coefficients, relu, limit.unwrap_or(f32::INFINITY));
    }
    let x = match limit {
        Some(limit) => x.clamp(-limit, limit),
        None => x,
    };
    let mut shape = [1; D];
    if let Some(channels) = shape.get_mut(1) {
        *channels = a.dims()[0];
    }
    let [a, b, c] = [a, b, c].map(|v| v.reshape(shape));
    let y = (x.clone() * a + b) * x.clone() + c;
    if relu == 0.0 { y } else { y + relu_of(x.mul_scalar(relu)) }
}

/// `max(x, 0)` of `x` limited to `±limit`.
pub(crate) fn relu<const D: usize>(x: Tensor<D>, limit: Option<f32>) -> Tensor<D> {
    if direct(&x) {
        let none = Tensor::zeros([x.dims().get(1).copied().unwrap_or(1)], &x.device());
        return curve(x, [none.clone(), none.clone(), none], 1.0, limit);
    }
    relu_of(match limit {
        Some(limit) => x.clamp(-limit, limit),
        None => x,
    })
}

/// The series of every element; `None` on devices where Burn's operations have to do.
pub(crate) fn series<const D: usize>(
    x: &Tensor<D>,
    series: impl FnOnce() -> Option<Series>,
) -> Option<Tensor<D>> {
    if !direct(x) {
        return None;
    }
    Some(dispatched::series(x.clone(), series()?))
}

/// `mean(e) + max(e)` of the distances `e` of `x` from `[lo, hi]`, `[1]`.
pub(crate) fn excess<const D: usize>(x: Tensor<D>, lo: f64, hi: f64) -> Tensor<1> {
    if direct(&x) {
        return dispatched::excess(x, lo as f32, hi as f32).sum();
    }
    let e = (x.clone() - x.clamp(lo, hi)).abs();
    e.clone().mean() + e.max()
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn::tensor::{TensorData, Tolerance};

    use super::*;
    use crate::WeightInit;

    fn values<const D: usize>(shape: [usize; D], by: f32, device: &Device) -> Tensor<D> {
        let values: Vec<f32> = (0..shape.iter().product()).map(|i| (i as f32 * by).sin() * 2.0).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    /// A loss with unequal weights, so that every gradient is different.
    fn loss<const D: usize>(y: Tensor<D>) -> Tensor<1> {
        let shape: [usize; D] = y.dims();
        (y.clone() * values(shape, 0.37, &y.device())).sum()
    }

    fn same<const D: usize>(got: Tensor<D>, want: Tensor<D>) {
        got.into_data().assert_approx_eq::<f32>(&want.into_data(), Tolerance::rel_abs(1e-4, 1e-4));
    }

    /// Rows that fill no block of lanes, and rows that do.
    const SHAPES: [[usize; 4]; 3] = [[4, 3, 5, 7], [3, 8, 8, 8], [40, 2, 1, 1]];

    #[test]
    fn batch_norm_is_burns() {
        let device = Device::flex().autodiff();
        for (shape, trains) in SHAPES.iter().flat_map(|&shape| [(shape, true), (shape, false)]) {
            let runs = [true, false].map(|ours| {
                let mut bn = crate::norm::batch_norm(shape[1], &WeightInit::new(&device, 0));
                bn.gamma = bn.gamma.map(|_| values([shape[1]], 1.1, &device).require_grad());
                batch_norm(&bn, values(shape, 0.9, &device).add_scalar(2.0));
                // Burn's frozen one does not see the update before.
                let _ = [&bn.running_mean, &bn.running_var].map(|s| s.value_sync());
                bn.training = bn.training.with_value(trains);
                (ours, bn)
            });
            let x = values(shape, 0.7, &device).add_scalar(3.0).require_grad();
            let [ours, burns] = runs.map(|(ours, bn)| {
                let y = if ours { batch_norm(&bn, x.clone()) } else { bn.forward(x.clone()) };
                let grads = loss(y.clone()).backward();
                let by = [
                    x.grad(&grads).unwrap().reshape([-1]),
                    bn.gamma.val().grad(&grads).unwrap(),
                    bn.beta.val().grad(&grads).unwrap(),
                ];
                let seen = [bn.running_mean.value_sync(), bn.running_var.value_sync()];
                let still = batch_norm(&bn.clone().valid(), x.clone().inner());
                let burns_still = bn.valid().forward(x.clone().inner());
                same(still, burns_still);
                (y, by, seen)
            });
            same(ours.0, burns.0);
            ours.1.into_iter().zip(burns.1).for_each(|(a, b)| same(a, b));
            ours.2.into_iter().zip(burns.2).for_each(|(a, b)| same(a, b));
        }
    }

    #[test]
    fn curves_and_penalties_are_burns() {
        let device = Device::flex().autodiff();
        for shape in SHAPES {
            let n = shape.iter().product::<usize>();
            let x = values(shape, 0.7, &device).require_grad();
            let abc =
                [0.3, 0.5, 0.9].map(|by| values([shape[1]], by, &device).add_scalar(0.1).require_grad());
            for (relu, limit) in [(0.0, None), (0.4, Some(1.5))] {
                // Two dimensions take Burn's way; there the positions have to be folded into the batch.
                let flat =
                    x.clone().permute([0, 2, 3, 1]).reshape([(n / shape[1]) as isize, shape[1] as isize]);
                let burns = curve::<2>(flat, abc.clone(), relu, limit);
                let [b, c, h, w] = shape;
                let burns = burns.reshape([b, h, w, c]).permute([0, 3, 1, 2]);
                let results = [curve(x.clone(), abc.clone(), relu, limit), burns].map(|y| {
                    let grads = loss(y.clone()).backward();
                    let by = abc.clone().map(|t| t.grad(&grads).unwrap());
                    (y, x.grad(&grads).unwrap(), by)
                });
                let [ours, burns] = results;
                same(ours.0, burns.0);
                same(ours.1, burns.1);
                ours.2.into_iter().zip(burns.2).for_each(|(a, b)| same(a, b));
            }
            let [ours, burns] =
                [excess(x.clone(), -1.0, 1.5), excess(x.clone().reshape([n as isize, 1]), -1.0, 1.5)].map(
                    |p| {
                        let grads = p.clone().mul_scalar(1.7).backward();
                        (p, x.grad(&grads).unwrap())
                    },
                );
            same(ours.0, burns.0);
            same(ours.1, burns.1);
        }
    }

    #[test]
    fn equal_maxima_share_the_gradient() {
        let device = Device::flex().autodiff();
        let x = Tensor::<3>::from_data([[[3.0, -1.0]], [[3.0, 0.5]]], &device).require_grad();
        let by = x.grad(&excess(x.clone(), -2.0, 1.0).backward()).unwrap();
        // Two of four are outside: a quarter each from the mean, half of one each from the maximum.
        same(by, Tensor::from_data([[[0.75, 0.0]], [[0.75, 0.0]]], &Device::flex()));
    }

    #[test]
    fn what_is_not_a_number_shows_in_the_penalty() {
        let x = Tensor::<3>::from_data([[[0.0, f32::NAN]]], &Device::flex().autodiff());
        assert!(excess(x, -1.0, 1.0).into_data().try_to_vec::<f32>().unwrap()[0].is_nan());
    }
}
