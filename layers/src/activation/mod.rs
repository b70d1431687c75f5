//! What stands between linear layers: ReLU or GELU, a polynomial, or a blend on the way from one to the other.
//!
//! `y = (1 − r)·original(x) + r·f(x)`; the original is not computed at `r = 1`, nor the polynomial at `r = 0`.

mod curve;
mod fit;
mod fixed;
mod function;
mod hermite;
mod quadratic;

use burn::module::Module;
use burn::tensor::Tensor;
use hetrain_export::{GraphBuilder, NodeId, Op};

pub use curve::{Curve, Gated};
pub(crate) use fit::fit;
pub use fit::fit_relu;
pub use fixed::Fixed;
pub use function::Function;
pub use hermite::Hermite;
pub use quadratic::{A_MIN, Quadratic};

use crate::operator::{Site, Source};
use crate::pointwise;
use crate::{ActivationKind, LayerError, Lower, Operator, RangeProbe, Switch, WeightInit};

/// The polynomial of an activation.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a few per network")]
pub enum Form {
    /// A quadratic whose coefficients are trained.
    Trained(Curve),
    /// A polynomial that follows from the interval.
    Fixed(Fixed),
}

impl Form {
    /// Of the kind that the network is to have, or the quadratic given, where that is trained.
    fn new(init: &WeightInit, curve: impl FnOnce() -> Curve) -> Self {
        let fixed = |degree| Self::Fixed(Fixed::new(init.function(), degree));
        match init.activation() {
            ActivationKind::Poly6 => fixed(6),
            ActivationKind::Poly14 => fixed(14),
            ActivationKind::Poly30 => fixed(30),
            _ => Self::Trained(curve()),
        }
    }
}

/// One activation: a polynomial, the function it replaces, and the probe on its input.
#[derive(Module, Debug)]
pub struct Activation {
    /// The polynomial.
    pub coef: Form,
    #[module(skip)]
    original: Function,
    #[module(skip)]
    switch: Switch,
}

impl Activation {
    /// The network's activation at first, with the polynomial ready for inputs of mean 0 and deviation 1.
    pub fn new(channels: usize, init: &WeightInit) -> Self {
        Self::with(
            Form::new(init, || Curve::new(channels, init)),
            init.function(),
            Operator::Activation,
            channels,
        )
    }

    /// The same, for the end of a residual block; see [`Self::join`].
    pub fn of_block(channels: usize, init: &WeightInit) -> Self {
        Self::with(
            Form::new(init, || Curve::of_block(channels, init)),
            init.function(),
            Operator::Activation,
            channels,
        )
    }

    /// A trained quadratic in an operator of this kind, whose original is somebody else's affair.
    pub(crate) fn inside(kind: Operator, channels: usize, init: &WeightInit) -> Self {
        let curve = Curve::Quadratic(Quadratic::new(channels, init));
        Self::with(Form::Trained(curve), Function::Relu, kind, channels)
    }

    /// `function` by a polynomial of this degree in an operator of this kind, for `channels` channels.
    pub(crate) fn fixed(kind: Operator, function: Function, degree: usize, channels: usize) -> Self {
        let new = Self::with(Form::Fixed(Fixed::new(function, degree)), function, kind, channels);
        new.probe().set_interval(function.usual());
        new
    }

    fn with(coef: Form, original: Function, kind: Operator, channels: usize) -> Self {
        Self { coef, original, switch: Switch::new(kind, channels) }
    }

    /// Its switch.
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// Its switch, to change.
    pub(crate) fn switch_mut(&mut self) -> &mut Switch {
        &mut self.switch
    }

    /// Share of the polynomial.
    pub fn blend(&self) -> f32 {
        self.switch.blend()
    }

    /// Set the share of the polynomial, limited to `[0, 1]`.
    pub fn set_blend(&self, r: f32) {
        self.switch.set_blend(r);
    }

    /// The probe on the input.
    pub fn probe(&self) -> &RangeProbe {
        self.switch.probe()
    }

    /// Apply; range penalties that are switched on are appended to `penalties`.
    ///
    /// # Shapes
    /// - input and output `[batch, channels, ...]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>, penalties: &mut Vec<Tensor<1>>) -> Tensor<D> {
        let limit = self.probe().watch(&x, penalties);
        self.blended(x, self.blend(), limit)
    }

    /// Apply the polynomial alone, whatever its share; see [`Self::forward`].
    pub(crate) fn polynomial<const D: usize>(
        &self,
        x: Tensor<D>,
        penalties: &mut Vec<Tensor<1>>,
    ) -> Tensor<D> {
        let limit = self.probe().watch(&x, penalties);
        self.blended(x, 1.0, limit)
    }

    fn blended<const D: usize>(&self, x: Tensor<D>, r: f32, limit: Option<f32>) -> Tensor<D> {
        if let (Form::Trained(curve), Function::Relu, true) = (&self.coef, self.original, r > 0.0) {
            // In one pass over memory.
            let abc = curve.of_batch(&x, limit, r);
            return pointwise::curve(x, abc, 1.0 - r, limit);
        }
        let limited = || match limit {
            Some(limit) => x.clone().clamp(-limit, limit),
            None => x.clone(),
        };
        let original = (r < 1.0).then(|| match self.original {
            Function::Relu => pointwise::relu(x.clone(), limit),
            function => function.of(limited()),
        });
        let polynomial = (r > 0.0).then(|| match &self.coef {
            Form::Fixed(fixed) => fixed.forward(limited(), self.probe().interval()),
            Form::Trained(curve) => {
                let abc = curve.of_batch(&x, limit, 1.0);
                pointwise::curve(x.clone(), abc, 0.0, limit)
            }
        });
        match (original, polynomial) {
            (Some(original), Some(polynomial)) => original.mul_scalar(1.0 - r) + polynomial.mul_scalar(r),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => x,
        }
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
        let Some(gated) = self.gated() else { return self.forward(branch + shortcut, penalties) };
        let limit = self.probe().watch(&branch, penalties);
        let r = self.blend();
        if r == 0.0 {
            return pointwise::relu(branch + shortcut, limit);
        }
        let abc = gated.of_batch(&branch, limit, 1.0);
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
        if self.gated().is_some() && self.blend() > 0.0 {
            let gated = self.lower(graph, &act, branch)?;
            return Ok(graph.push(&sum, Op::Add, &[gated, shortcut])?);
        }
        let sum = graph.push(&sum, Op::Add, &[branch, shortcut])?;
        self.lower(graph, &act, sum)
    }
}

impl Activation {
    /// The quadratic, if it stands behind a gate.
    fn gated(&self) -> Option<&Curve> {
        match &self.coef {
            Form::Trained(curve @ Curve::Gated(_)) => Some(curve),
            _ => None,
        }
    }

    /// It as an operator of a network.
    pub(crate) fn site(&self, name: impl Into<String>) -> Site<'_> {
        let polynomial = match &self.coef {
            Form::Trained(curve) => Source::Trained(curve, self.original),
            Form::Fixed(_) => Source::Interval(self.original),
        };
        Site { name: name.into(), switch: &self.switch, polynomial }
    }

    /// Append the polynomial alone, whatever its share.
    ///
    /// # Errors
    /// As [`Lower::lower`].
    pub(crate) fn lower_polynomial(
        &self,
        graph: &mut GraphBuilder,
        name: &str,
        x: NodeId,
    ) -> Result<NodeId, LayerError> {
        let interval = self.probe().interval();
        match &self.coef {
            Form::Fixed(fixed) => {
                Ok(graph.push(name, Op::Polynomial { poly: fixed.polynomial(interval)? }, &[x])?)
            }
            Form::Trained(curve) => {
                Ok(graph.quadratic(name, x, curve.coefficients(name)?, vec![interval])?)
            }
        }
    }
}

impl Lower for Activation {
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        if self.blend() <= 0.0 && self.original == Function::Relu {
            return Ok(graph.push(name, Op::Relu, &[x])?);
        }
        self.switch.replaced(name, self.original.name())?;
        self.lower_polynomial(graph, name, x)
    }

    /// As a polynomial.
    fn depth(&self) -> usize {
        match &self.coef {
            Form::Fixed(fixed) => fixed.depth(),
            Form::Trained(_) => 1,
        }
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
        copy.switch_mut().unshare();
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
