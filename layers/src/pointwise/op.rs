//! The operations as Burn sees them.

use super::Series;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, Dispatch, backend_extension};

/// What the operations of this folder do on a backend; tensors are `[batch, channels, ...]` in single precision.
#[backend_extension(Flex, Autodiff)]
pub trait PointwiseBackend: Backend {
    /// Batch norm by the batch's own statistics: result, means and variances.
    fn standardise(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Gradients by `x`, `gamma` and `beta`.
    fn standardise_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        epsilon: f64,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// `a x² + b x + c + relu·max(x, 0)` of `x` limited to `±limit`, with coefficients `[3, channels]`: all `a`, `b`, `c`.
    fn curve(
        x: FloatTensor<Self>,
        coefficients: FloatTensor<Self>,
        relu: f32,
        limit: f32,
    ) -> FloatTensor<Self>;

    /// Gradients by `x` and the coefficients.
    fn curve_backward(
        x: FloatTensor<Self>,
        coefficients: FloatTensor<Self>,
        relu: f32,
        limit: f32,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// A series of every element.
    fn series(x: FloatTensor<Self>, series: Series) -> FloatTensor<Self>;

    /// Gradient by `x`.
    fn series_backward(x: FloatTensor<Self>, series: Series, grad: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Mean and maximum of the distances from `[lo, hi]`, `[2]`.
    fn excess(x: FloatTensor<Self>, lo: f32, hi: f32) -> FloatTensor<Self>;

    /// Gradient by `x`; `seen` is what [`Self::excess`] gave.
    fn excess_backward(
        x: FloatTensor<Self>,
        lo: f32,
        hi: f32,
        seen: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl<B: Backend + PointwiseBackend, C: CheckpointStrategy> PointwiseBackend for Autodiff<B, C> {
    fn standardise(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let nodes = [x.node(), gamma.node(), beta.node()];
        let (y, mean, variance) = match Standardise.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let saved = (prep.checkpoint(&x), prep.checkpoint(&gamma));
                let (x, gamma, beta) = (x.into_primitive(), gamma.into_primitive(), beta.into_primitive());
                let (y, mean, variance) = B::standardise(x, gamma, beta, epsilon);
                let state = (saved.0, saved.1, mean.clone(), variance.clone(), epsilon);
                (prep.finish(state, y), mean, variance)
            }
            OpsKind::UnTracked(prep) => {
                let (x, gamma, beta) = (x.into_primitive(), gamma.into_primitive(), beta.into_primitive());
                let (y, mean, variance) = B::standardise(x, gamma, beta, epsilon);
                (prep.finish(y), mean, variance)
            }
        };
        (y, Self::from_inner(mean), Self::from_inner(variance))
    }

    fn standardise_backward(
        _x: FloatTensor<Self>,
        _gamma: FloatTensor<Self>,
        _mean: FloatTensor<Self>,
        _variance: FloatTensor<Self>,
        _epsilon: f64,
        _grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("gradients of gradients are not taken")
    }

    fn curve(
        x: FloatTensor<Self>,
        coefficients: FloatTensor<Self>,
        relu: f32,
        limit: f32,
    ) -> FloatTensor<Self> {
        match CurveOp.prepare::<C>([x.node(), coefficients.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = (prep.checkpoint(&x), prep.checkpoint(&coefficients), relu, limit);
                let y = B::curve(x.into_primitive(), coefficients.into_primitive(), relu, limit);
                prep.finish(state, y)
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(B::curve(x.into_primitive(), coefficients.into_primitive(), relu, limit))
            }
        }
    }

    fn curve_backward(
        _x: FloatTensor<Self>,
        _coefficients: FloatTensor<Self>,
        _relu: f32,
        _limit: f32,
        _grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("gradients of gradients are not taken")
    }

    fn series(x: FloatTensor<Self>, series: Series) -> FloatTensor<Self> {
        match SeriesOp.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = (prep.checkpoint(&x), series.clone());
                prep.finish(state, B::series(x.into_primitive(), series))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::series(x.into_primitive(), series)),
        }
    }

    fn series_backward(
        _x: FloatTensor<Self>,
        _series: Series,
        _grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        unreachable!("gradients of gradients are not taken")
    }

    fn excess(x: FloatTensor<Self>, lo: f32, hi: f32) -> FloatTensor<Self> {
        match Excess.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let saved = prep.checkpoint(&x);
                let seen = B::excess(x.into_primitive(), lo, hi);
                prep.finish((saved, lo, hi, seen.clone()), seen)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::excess(x.into_primitive(), lo, hi)),
        }
    }

    fn excess_backward(
        _x: FloatTensor<Self>,
        _lo: f32,
        _hi: f32,
        _seen: FloatTensor<Self>,
        _grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        unreachable!("gradients of gradients are not taken")
    }
}

#[derive(Debug)]
struct Standardise;

impl<B: Backend + PointwiseBackend> Backward<B, 3> for Standardise {
    type State = (NodeId, NodeId, B::FloatTensorPrimitive, B::FloatTensorPrimitive, f64);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, gamma, mean, variance, epsilon) = ops.state;
        let x = checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(x);
        let gamma = checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(gamma);
        let by = B::standardise_backward(x, gamma, mean, variance, epsilon, grad);
        for (node, by) in ops.parents.into_iter().zip([by.0, by.1, by.2]) {
            if let Some(node) = node {
                grads.register::<B>(node.id, by);
            }
        }
    }
}

#[derive(Debug)]
struct CurveOp;

impl<B: Backend + PointwiseBackend> Backward<B, 2> for CurveOp {
    type State = (NodeId, NodeId, f32, f32);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, coefficients, relu, limit) = ops.state;
        let x = checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(x);
        let coefficients = checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(coefficients);
        let by = B::curve_backward(x, coefficients, relu, limit, grad);
        for (node, by) in ops.parents.into_iter().zip([by.0, by.1]) {
            if let Some(node) = node {
                grads.register::<B>(node.id, by);
            }
        }
    }
}

#[derive(Debug)]
struct SeriesOp;

impl<B: Backend + PointwiseBackend> Backward<B, 1> for SeriesOp {
    type State = (NodeId, Series);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, series) = ops.state;
        let x = checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(x);
        if let [Some(node)] = ops.parents {
            grads.register::<B>(node.id, B::series_backward(x, series, grad));
        }
    }
}

#[derive(Debug)]
struct Excess;

impl<B: Backend + PointwiseBackend> Backward<B, 1> for Excess {
    type State = (NodeId, f32, f32, B::FloatTensorPrimitive);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, lo, hi, seen) = ops.state;
        let x = checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(x);
        if let [Some(node)] = ops.parents {
            grads.register::<B>(node.id, B::excess_backward(x, lo, hi, seen, grad));
        }
    }
}

/// The operations on the backend of the day.
pub(super) mod dispatched {
    use super::*;
    use burn::tensor::Tensor;

    pub fn standardise<const D: usize>(
        x: Tensor<D>,
        gamma: Tensor<1>,
        beta: Tensor<1>,
        epsilon: f64,
    ) -> (Tensor<D>, Tensor<1>, Tensor<1>) {
        let (x, gamma, beta) = (x.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch());
        let (y, mean, variance) = <Dispatch as PointwiseBackend>::standardise(x, gamma, beta, epsilon);
        (Tensor::from_dispatch(y), Tensor::from_dispatch(mean), Tensor::from_dispatch(variance))
    }

    pub fn curve<const D: usize>(x: Tensor<D>, coefficients: Tensor<2>, relu: f32, limit: f32) -> Tensor<D> {
        let (x, coefficients) = (x.into_dispatch(), coefficients.into_dispatch());
        Tensor::from_dispatch(<Dispatch as PointwiseBackend>::curve(x, coefficients, relu, limit))
    }

    pub fn series<const D: usize>(x: Tensor<D>, series: Series) -> Tensor<D> {
        Tensor::from_dispatch(<Dispatch as PointwiseBackend>::series(x.into_dispatch(), series))
    }

    pub fn excess<const D: usize>(x: Tensor<D>, lo: f32, hi: f32) -> Tensor<1> {
        Tensor::from_dispatch(<Dispatch as PointwiseBackend>::excess(x.into_dispatch(), lo, hi))
    }
}
