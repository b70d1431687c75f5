//! Batch norm (Ioffe and Szegedy 2015, arXiv:1502.03167), Burn's own module with PyTorch's settings.

use burn::module::RunningState;
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::Tensor;
use hetrain_export::{GraphBuilder, NodeId};

use crate::lower::to_host;
use crate::{LayerError, Lower, WeightInit};

/// Added to the variance, as PyTorch does.
pub const BN_EPSILON: f64 = 1e-5;
/// Weight of the newest batch in the running statistics, as in PyTorch.
const MOMENTUM: f64 = 0.1;

/// A batch norm over `channels` channels: scale 1, shift 0, running mean 0, running variance 1.
pub(crate) fn batch_norm(channels: usize, init: &WeightInit) -> BatchNorm {
    BatchNormConfig::new(channels).with_epsilon(BN_EPSILON).with_momentum(MOMENTUM).init(init.device())
}

/// Move a running statistic towards that of a batch.
pub(crate) fn moved(running: &RunningState<Tensor<1>>, new: Tensor<1>) {
    let old = running.value_sync().mul_scalar(1.0 - MOMENTUM);
    running.update((old + new.detach().mul_scalar(MOMENTUM)).detach());
}

impl Lower for BatchNorm {
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        let gamma = to_host(name, self.gamma.val())?;
        let beta = to_host(name, self.beta.val())?;
        // `value()` would be one update behind.
        let mean = to_host(name, self.running_mean.value_sync())?;
        let var = to_host(name, self.running_var.value_sync())?;
        Ok(graph.batch_norm(name, x, &gamma, &beta, &mean, &var, self.epsilon)?)
    }

    fn depth(&self) -> usize {
        0
    }
}
