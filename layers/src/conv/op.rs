//! The convolution as an operation of Burn: direct kernels on the processor's backend, Burn's own on any other.
//!
//! Burn 0.22 unrolls images into matrices on the processor and back in the gradients, which takes three quarters of the time of
//! training a ResNet. `docs/benchmarks.md` has the difference.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::ops::ModuleOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};

use super::geometry::Geometry;

/// Convolution with its gradients, in the processor's fastest way. Strides and paddings are equal in both directions; no bias, no
/// groups.
#[backend_extension(Flex, Autodiff)]
pub trait ConvBackend: Backend {
    /// `x` convolved with `weight`.
    fn convolve(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self> {
        Self::conv2d(x, weight, None, options(stride, padding))
    }

    /// Gradient by `x`.
    fn convolve_x_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self> {
        Self::conv2d_x_backward(x, weight, grad, options(stride, padding))
    }

    /// Gradient by `weight`.
    fn convolve_weight_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self> {
        Self::conv2d_weight_backward(x, weight, grad, options(stride, padding))
    }
}

fn options(stride: usize, padding: usize) -> ConvOptions<2> {
    ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1)
}

/// `x` convolved with `weight`, on whatever device they are.
///
/// # Shapes
/// - `x` `[batch, in, height, width]`, `weight` `[out, in, k, k]`, result `[batch, out, height', width']`
pub(super) fn convolve(x: Tensor<4>, weight: Tensor<4>, stride: usize, padding: usize) -> Tensor<4> {
    if x.device().without_autodiff() != Device::flex() {
        return conv2d(x, weight, None, options(stride, padding));
    }
    if weight.dims()[2..] == [1, 1] && stride == 1 && padding == 0 {
        return pointwise(x, weight);
    }
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(<Dispatch as ConvBackend>::convolve(x, weight, stride, padding))
}

/// A kernel of one pixel is a product of matrices over the pixels of all images: three to four times as fast as planes of 64 pixels, and
/// five times with 64 channels.
fn pointwise(x: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
    let ([n, ci, h, w], [co, ..]) = (x.dims(), weight.dims());
    let rows = x.reshape([n, ci, h * w]).swap_dims(1, 2).reshape([n * h * w, ci]);
    let y = rows.matmul(weight.reshape([co, ci]).transpose());
    y.reshape([n, h * w, co]).swap_dims(1, 2).reshape([n, co, h, w])
}

/// Contents of a tensor in row-major order, and its shape.
struct Host(FlexTensor);

impl Host {
    fn new(tensor: FlexTensor) -> Self {
        Self(tensor.to_contiguous())
    }

    fn values(&self) -> Option<&[f32]> {
        self.0.as_slice()
    }
}

/// Weights beyond which they leave the second-level cache between images, so that Burn's products of unrolled images are faster:
/// `cargo run --release -p hetrain-layers --example convolutions`.
const MANY: usize = 1 << 18;

/// The shapes if the direct kernels apply: a square kernel of not too many weights, values in single precision.
fn geometry(x: &FlexTensor, weight: &FlexTensor, stride: usize, padding: usize) -> Option<(usize, Geometry)> {
    let ([n, ci, h, w], [co, _, k, k_x]) = (x.shape().dims::<4>(), weight.shape().dims::<4>());
    let fits = k == k_x && n * ci * co > 0 && ci * co * k * k <= MANY;
    let geometry = Geometry::new([ci, h, w], [co, k], stride, padding).filter(|_| fits)?;
    Some((n, geometry))
}

impl ConvBackend for Flex {
    fn convolve(x: FlexTensor, weight: FlexTensor, stride: usize, padding: usize) -> FlexTensor {
        let direct = || {
            let (n, g) = geometry(&x, &weight, stride, padding)?;
            let (x, weight) = (Host::new(x.clone()), Host::new(weight.clone()));
            Some(made(g.forward(x.values()?, weight.values()?), [n, g.co, g.oh, g.ow]))
        };
        direct().unwrap_or_else(|| Self::conv2d(x, weight, None, options(stride, padding)))
    }

    fn convolve_x_backward(
        x: FlexTensor,
        weight: FlexTensor,
        grad: FlexTensor,
        stride: usize,
        padding: usize,
    ) -> FlexTensor {
        let direct = || {
            let (n, g) = geometry(&x, &weight, stride, padding)?;
            let (weight, grad) = (Host::new(weight.clone()), Host::new(grad.clone()));
            Some(made(g.backward_x(weight.values()?, grad.values()?), [n, g.ci, g.h, g.w]))
        };
        direct().unwrap_or_else(|| Self::conv2d_x_backward(x, weight, grad, options(stride, padding)))
    }

    fn convolve_weight_backward(
        x: FlexTensor,
        weight: FlexTensor,
        grad: FlexTensor,
        stride: usize,
        padding: usize,
    ) -> FlexTensor {
        let direct = || {
            let (_, g) = geometry(&x, &weight, stride, padding)?;
            let (x, grad) = (Host::new(x.clone()), Host::new(grad.clone()));
            Some(made(g.backward_weight(x.values()?, grad.values()?), [g.co, g.ci, g.kernel, g.kernel]))
        };
        direct().unwrap_or_else(|| Self::conv2d_weight_backward(x, weight, grad, options(stride, padding)))
    }
}

fn made(values: Vec<f32>, shape: [usize; 4]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

impl<B: Backend + ConvBackend, C: CheckpointStrategy> ConvBackend for Autodiff<B, C> {
    fn convolve(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self> {
        match Convolve.prepare::<C>([x.node(), weight.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = (prep.checkpoint(&x), prep.checkpoint(&weight), stride, padding);
                prep.finish(state, B::convolve(x.into_primitive(), weight.into_primitive(), stride, padding))
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(B::convolve(x.into_primitive(), weight.into_primitive(), stride, padding))
            }
        }
    }
}

#[derive(Debug)]
struct Convolve;

impl<B: Backend + ConvBackend> Backward<B, 2> for Convolve {
    type State = (NodeId, NodeId, usize, usize);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let [node_x, node_weight] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let (x, weight, stride, padding) = ops.state;
        let x = checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(x);
        let weight = checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(weight);
        if let Some(node) = node_x {
            let by_x = B::convolve_x_backward(x.clone(), weight.clone(), grad.clone(), stride, padding);
            grads.register::<B>(node.id, by_x);
        }
        if let Some(node) = node_weight {
            grads.register::<B>(node.id, B::convolve_weight_backward(x, weight, grad, stride, padding));
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tolerance;

    use super::*;

    /// Output and both gradients of a loss with unequal weights.
    fn run(
        f: impl Fn(Tensor<4>, Tensor<4>) -> Tensor<4>,
        x: &Tensor<4>,
        weight: &Tensor<4>,
    ) -> [TensorData; 3] {
        let (x, weight) = (x.clone().require_grad(), weight.clone().require_grad());
        let y = f(x.clone(), weight.clone());
        let shape = y.shape();
        let factors = (0..shape.num_elements()).map(|i| (i as f32 * 0.37).cos()).collect::<Vec<_>>();
        let factors = Tensor::<4>::from_data(TensorData::new(factors, shape), &y.device());
        let grads = (y.clone() * factors).sum().backward();
        [y.inner().into_data(), x.grad(&grads).unwrap().into_data(), weight.grad(&grads).unwrap().into_data()]
    }

    #[test]
    fn outputs_and_gradients_are_those_of_burn() {
        let device = Device::flex().autodiff();
        let values = |shape: [usize; 4], by: f32| {
            let values: Vec<f32> = (0..shape.iter().product()).map(|i| (i as f32 * by).sin()).collect();
            Tensor::<4>::from_data(TensorData::new(values, shape), &device)
        };
        // Channels that fill no block, odd sides, strides that leave pixels over, kernels as large as the image.
        for (n, ci, co, h, w, k, stride, padding) in [
            (2, 3, 16, 32, 32, 3, 1, 1),
            (5, 16, 32, 16, 16, 3, 2, 1),
            (3, 7, 9, 9, 13, 3, 2, 1),
            (2, 4, 5, 8, 7, 5, 1, 2),
            (2, 5, 3, 11, 10, 5, 3, 0),
            (1, 8, 10, 4, 4, 4, 1, 0),
            (40, 2, 3, 6, 6, 1, 2, 0),
            (70, 16, 16, 8, 8, 3, 1, 1),
            (33, 3, 4, 5, 7, 1, 1, 1),
        ] {
            let (x, weight) = (values([n, ci, h, w], 0.7), values([co, ci, k, k], 1.3));
            let got = run(|x, w| convolve(x, w, stride, padding), &x, &weight);
            let want = run(|x, w| conv2d(x, w, None, options(stride, padding)), &x, &weight);
            for (got, want) in got.iter().zip(&want) {
                got.assert_approx_eq::<f32>(want, Tolerance::rel_abs(1e-4, 1e-3));
            }
        }
    }
}
