//! What stands between linear layers: ReLU, a quadratic, or a blend on the way from one to the other.
//!
//! `y = (1 − r)·ReLU(x) + r·f(x)`; the ReLU branch is not computed at `r = 1`, nor the quadratic at `r = 0`.

mod curve;
mod fit;
mod hermite;
mod quadratic;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use burn::module::Module;
use burn::tensor::Tensor;
use hetrain_export::{GraphBuilder, Interval, NodeId, Op};
use serde::{Deserialize, Serialize};

pub use curve::{Curve, Gated};
pub use fit::fit_relu;
pub use hermite::Hermite;
pub use quadratic::{A_MIN, Quadratic};

use crate::pointwise;
use crate::{LayerError, Lower, RangeProbe, WeightInit};

/// What of an activation is neither parameter nor statistic, yet part of the network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivationState {
    /// 0 is ReLU, 1 the quadratic.
    pub blend: f32,
    /// Where inputs are to stay.
    pub interval: Interval,
}

/// Share of the quadratic, set from outside while training; clones see the same value.
#[derive(Clone, Debug)]
struct Blend(Arc<AtomicU32>);

impl Blend {
    fn new(r: f32) -> Self {
        Self(Arc::new(AtomicU32::new(r.to_bits())))
    }

    fn get(&self) -> f32 {
        f32::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, r: f32) {
        // NaN is no share of anything; the ReLU it falls back to is what every network starts from.
        let r = if r.is_nan() { 0.0 } else { r.clamp(0.0, 1.0) };
        self.0.store(r.to_bits(), Ordering::Relaxed);
    }
}

/// One activation: a quadratic per channel, the ReLU it replaces, and the probe on its input.
#[derive(Module, Debug)]
pub struct Activation {
    /// The quadratic.
    pub coef: Curve,
    #[module(skip)]
    blend: Blend,
    #[module(skip)]
    probe: RangeProbe,
}

impl Activation {
    /// ReLU at first, with the quadratic ready for inputs of mean 0 and deviation 1.
    pub fn new(channels: usize, init: &WeightInit) -> Self {
        Self::with(Curve::new(channels, init), channels)
    }

    /// The same, for the end of a residual block; see [`Self::join`].
    pub fn of_block(channels: usize, init: &WeightInit) -> Self {
        Self::with(Curve::of_block(channels, init), channels)
    }

    fn with(coef: Curve, channels: usize) -> Self {
        Self { coef, blend: Blend::new(0.0), probe: RangeProbe::new(channels) }
    }

    /// Share of the quadratic.
    pub fn blend(&self) -> f32 {
        self.blend.get()
    }

    /// Set the share of the quadratic, limited to `[0, 1]`.
    pub fn set_blend(&self, r: f32) {
        self.blend.set(r);
    }

    /// The probe on the input.
    pub fn probe(&self) -> &RangeProbe {
        &self.probe
    }

    /// Blend and interval.
    pub fn state(&self) -> ActivationState {
        ActivationState { blend: self.blend(), interval: self.probe.interval() }
    }

    /// Set blend and interval.
    pub fn set_state(&self, state: ActivationState) {
        self.set_blend(state.blend);
        self.probe.set_interval(state.interval);
    }

    /// Give this activation handles of its own, holding what the shared ones held.
    pub(crate) fn unshare(&mut self) {
        self.blend = Blend::new(self.blend.get());
        self.probe = self.probe.deep_copy();
    }

    /// Apply; range penalties that are switched on are appended to `penalties`.
    ///
    /// # Shapes
    /// - input and output `[batch, channels, ...]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>, penalties: &mut Vec<Tensor<1>>) -> Tensor<D> {
        let limit = self.probe.watch(&x, penalties);
        let r = self.blend.get();
        if r > 0.0 {
            let abc = self.coef.of_batch(&x, limit, r);
            return pointwise::curve(x, abc, 1.0 - r, limit);
        }
        pointwise::relu(x, limit)
    }

    /// End a residual block: activate the sum of its branch and its shortcut. A gated quadratic acts on the branch alone, and
    /// the way there is a blend of `ReLU(branch + shortcut)` and `shortcut + f(branch)`.
    ///
    /// # Shapes
    /// - inputs and output `[batch, channels, ...]`
    pub fn join<const D: usize>(
        &self,
        branch: Tensor<D>,
        shortcut: Tensor<D>,
        penalties: &mut Vec<Tensor<1>>,
    ) -> Tensor<D> {
        if !matches!(self.coef, Curve::Gated(_)) {
            return self.forward(branch + shortcut, penalties);
        }
        let limit = self.probe.watch(&branch, penalties);
        let r = self.blend.get();
        if r == 0.0 {
            return pointwise::relu(branch + shortcut, limit);
        }
        let abc = self.coef.of_batch(&branch, limit, 1.0);
        let gated = shortcut.clone() + pointwise::curve(branch.clone(), abc, 0.0, limit);
        if r == 1.0 {
            return gated;
        }
        pointwise::relu(branch + shortcut, limit).mul_scalar(1.0 - r) + gated.mul_scalar(r)
    }

    /// Append what [`Self::join`] computes.
    ///
    /// # Errors
    /// As [`Lower::lower`].
    pub(crate) fn lower_join(
        &self,
        graph: &mut GraphBuilder,
        block: &str,
        [branch, shortcut]: [NodeId; 2],
    ) -> Result<NodeId, LayerError> {
        let (sum, act) = (format!("{block}.add"), format!("{block}.act"));
        if matches!(self.coef, Curve::Gated(_)) && self.blend() > 0.0 {
            let gated = self.lower(graph, &act, branch)?;
            return Ok(graph.push(&sum, Op::Add, &[gated, shortcut])?);
        }
        let sum = graph.push(&sum, Op::Add, &[branch, shortcut])?;
        self.lower(graph, &act, sum)
    }
}

impl Lower for Activation {
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        let blend = self.blend();
        if blend <= 0.0 {
            Ok(graph.push(name, Op::Relu, &[x])?)
        } else if blend >= 1.0 {
            Ok(graph.quadratic(name, x, self.coef.coefficients(name)?, vec![self.probe.interval()])?)
        } else {
            Err(LayerError::HalfReplaced { name: name.into(), blend })
        }
    }

    /// As a quadratic.
    fn depth(&self) -> usize {
        1
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn run(act: &Activation, x: [f32; 3]) -> Vec<f32> {
        let x = Tensor::<2>::from_data([x], &Device::flex());
        act.forward(x, &mut Vec::new()).into_data().try_to_vec().unwrap()
    }

    #[test]
    fn the_ends_of_the_blend_are_relu_and_the_quadratic() {
        let act = Activation::new(3, &WeightInit::new(&Device::flex(), 0));
        let x = [-2.0, 0.5, 3.0];
        assert_eq!(run(&act, x), [0.0, 0.5, 3.0]);
        act.set_blend(1.0);
        let quadratic = run(&act, x);
        for (y, x) in quadratic.iter().zip(x) {
            assert!((y - (0.199_471_14 * x * x + 0.5 * x + 0.199_471_14)).abs() < 1e-5);
        }
        act.set_blend(0.25);
        for ((y, x), q) in run(&act, x).iter().zip(x).zip(quadratic) {
            assert!((y - (0.75 * x.max(0.0) + 0.25 * q)).abs() < 1e-5);
        }
    }

    #[test]
    fn clones_share_their_state_until_they_are_unshared() {
        let act = Activation::new(2, &WeightInit::new(&Device::flex(), 0));
        let mut copy = act.clone();
        act.set_blend(0.5);
        assert_eq!(copy.blend(), 0.5);
        copy.unshare();
        act.set_blend(1.0);
        assert_eq!(copy.blend(), 0.5);
        act.set_blend(f32::NAN);
        assert_eq!(act.blend(), 0.0);
    }

    #[test]
    fn a_half_replaced_activation_is_not_exported() {
        let act = Activation::new(2, &WeightInit::new(&Device::flex(), 0));
        act.set_blend(0.5);
        let mut graph = GraphBuilder::default();
        let x = graph.input("x", &[2]).unwrap();
        assert!(matches!(act.lower(&mut graph, "act", x), Err(LayerError::HalfReplaced { .. })));
    }
}
