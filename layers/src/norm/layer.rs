//! Layer norm over the channels of every position, and what replaces it.

use burn::module::{Module, Param, RunningState};
use burn::nn::BatchNorm;
use burn::tensor::Tensor;
use hetrain_export::{Conv2dGeometry, GraphBuilder, NodeId, Op, Tensor as GraphTensor};

use super::{BN_EPSILON, batch_norm, moved};
use crate::activation::{Activation, Function};
use crate::lower::to_host;
use crate::operator::{Operator, Site, Source, Switch};
use crate::pointwise;
use crate::{LayerError, Lower, NormKind, WeightInit};

/// Degree of the polynomial for `1/√u`: five levels, within 2e-4 of the value for `u` that vary by a factor of 64.
pub(crate) const ROOT_DEGREE: usize = 31;

/// A factor and a summand per channel.
#[derive(Module, Debug)]
pub struct Scale {
    /// Factor, `[channels]`.
    pub gamma: Param<Tensor<1>>,
    /// Summand, `[channels]`.
    pub beta: Param<Tensor<1>>,
}

/// Division by the deviation of a position, by a polynomial.
#[derive(Module, Debug)]
pub struct Root {
    /// Factor and summand.
    pub scale: Scale,
    /// `1/√`.
    pub inverse: Activation,
    /// Whether the mean is taken off first.
    pub centred: bool,
}

/// Division by the usual deviation of positions.
#[derive(Module, Debug)]
pub struct Running {
    /// Factor and summand.
    pub scale: Scale,
    /// Mean of the variances, `[1]`.
    pub running_var: RunningState<Tensor<1>>,
}

/// The forms without an original.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a few per network")]
pub enum NormForm {
    /// Batch norm.
    Batch(BatchNorm),
    /// By the root of a polynomial.
    Root(Root),
    /// By running statistics.
    Running(Running),
    /// Not at all.
    Affine(Scale),
}

/// A layer norm and what replaces it; see the module's table.
#[derive(Module, Debug)]
pub struct Norm {
    /// What replaces it.
    pub form: NormForm,
    #[module(skip)]
    switch: Switch,
}

impl Norm {
    /// Layer norm over `channels` channels at first.
    pub fn new(channels: usize, kind: NormKind, init: &WeightInit) -> Self {
        let scale = || Scale { gamma: init.constant(channels, 1.0), beta: init.constant(channels, 0.0) };
        let root = |centred| {
            let inverse = Activation::fixed(Operator::Norm, Function::InverseRoot, ROOT_DEGREE, 1);
            NormForm::Root(Root { scale: scale(), inverse, centred })
        };
        let form = match kind {
            NormKind::Batch => NormForm::Batch(batch_norm(channels, init)),
            NormKind::Rms => root(false),
            NormKind::Layer => root(true),
            NormKind::Running => {
                let running_var = RunningState::new(Tensor::full([1], 1.0, init.device()));
                NormForm::Running(Running { scale: scale(), running_var })
            }
            NormKind::Affine => NormForm::Affine(scale()),
        };
        Self { form, switch: Switch::new(Operator::Norm, 0) }
    }

    fn switch(&self) -> &Switch {
        match &self.form {
            NormForm::Root(root) => root.inverse.switch(),
            _ => &self.switch,
        }
    }

    pub(crate) fn switch_mut(&mut self) -> &mut Switch {
        match &mut self.form {
            NormForm::Root(root) => root.inverse.switch_mut(),
            _ => &mut self.switch,
        }
    }

    pub(crate) fn site(&self, name: impl Into<String>) -> Site<'_> {
        let polynomial = match &self.form {
            NormForm::Root(_) => Source::Interval(Function::InverseRoot),
            _ => Source::Nothing,
        };
        Site { name: name.into(), switch: self.switch(), polynomial }
    }

    /// `γ` and `β`.
    fn scale(&self) -> [&Param<Tensor<1>>; 2] {
        match &self.form {
            NormForm::Batch(bn) => [&bn.gamma, &bn.beta],
            NormForm::Root(Root { scale, .. })
            | NormForm::Running(Running { scale, .. })
            | NormForm::Affine(scale) => [&scale.gamma, &scale.beta],
        }
    }

    /// `γ·x + β`.
    fn scaled(&self, x: Tensor<4>) -> Tensor<4> {
        let [gamma, beta] = self.scale().map(Param::val);
        pointwise::curve(x, [gamma.zeros_like(), gamma, beta], 0.0, None)
    }

    /// Apply; see [`Activation::forward`] for `penalties`.
    ///
    /// # Shapes
    /// - input and output `[batch, channels, height, width]`
    pub fn forward(&self, x: Tensor<4>, penalties: &mut Vec<Tensor<1>>) -> Tensor<4> {
        let r = self.switch().blend();
        if r == 0.0 && x.is_autodiff() {
            self.follow(x.clone().detach());
        }
        let polynomial = self.switch().wanted().then(|| self.polynomial(x.clone(), penalties));
        match polynomial.filter(|_| r > 0.0) {
            Some(y) if r >= 1.0 => y,
            Some(y) => self.original(x).mul_scalar(1.0 - r) + y.mul_scalar(r),
            None => self.original(x),
        }
    }

    /// While the layer norm is trained: running statistics follow from the start, so that they are there when they are needed.
    fn follow(&self, x: Tensor<4>) {
        match &self.form {
            NormForm::Batch(bn) => pointwise::follow(bn, x),
            NormForm::Running(running) => {
                moved(&running.running_var, mean_square(centred(x)).mean().reshape([1]));
            }
            NormForm::Root(_) | NormForm::Affine(_) => {}
        }
    }

    fn original(&self, x: Tensor<4>) -> Tensor<4> {
        let x = centred(x);
        let root = mean_square(x.clone()).add_scalar(BN_EPSILON).sqrt();
        self.scaled(x / root)
    }

    fn polynomial(&self, x: Tensor<4>, penalties: &mut Vec<Tensor<1>>) -> Tensor<4> {
        match &self.form {
            NormForm::Batch(bn) => pointwise::batch_norm(bn, x),
            NormForm::Root(root) => {
                let x = if root.centred { centred(x) } else { x };
                let by = root.inverse.polynomial(mean_square(x.clone()), penalties);
                self.scaled(x * by)
            }
            NormForm::Running(running) => {
                let x = centred(x);
                let state = &running.running_var;
                let var = if x.is_autodiff() {
                    // Of the batch, so that a change of it is felt at once; the running mean follows.
                    let var = mean_square(x.clone()).mean().reshape([1]);
                    moved(state, var.clone());
                    var
                } else {
                    state.value()
                };
                self.scaled(x / var.add_scalar(BN_EPSILON).sqrt().reshape([1, 1, 1, 1]))
            }
            NormForm::Affine(_) => self.scaled(x),
        }
    }
}

/// Mean over channels, taken off.
fn centred(x: Tensor<4>) -> Tensor<4> {
    let mean = x.clone().mean_dim(1);
    x - mean
}

/// Mean of squares over channels, `[batch, 1, height, width]`.
fn mean_square(x: Tensor<4>) -> Tensor<4> {
    (x.clone() * x).mean_dim(1)
}

/// A 1x1 convolution that takes the mean over channels off and multiplies.
fn centring(
    graph: &mut GraphBuilder,
    name: &str,
    x: NodeId,
    by: impl Fn(usize) -> f64,
) -> Result<NodeId, LayerError> {
    let channels = graph.shape(x).first().copied().unwrap_or(1);
    let mean = 1.0 / channels as f64;
    let weight = |o: usize, i: usize| by(o) * (f64::from(u8::from(o == i)) - mean);
    let weight: Vec<f64> =
        (0..channels).flat_map(|o| (0..channels).map(move |i| (o, i))).map(|(o, i)| weight(o, i)).collect();
    let weight = GraphTensor::from_f64([channels, channels, 1, 1], &weight)?;
    Ok(graph.conv2d(name, x, weight, None, Conv2dGeometry::new(1, 0))?)
}

impl Norm {
    /// Append it with `between` before its factors and summands, which a mean over positions may change places with.
    ///
    /// # Errors
    /// As [`Lower::lower`].
    pub(crate) fn lower_around(
        &self,
        graph: &mut GraphBuilder,
        name: &str,
        x: NodeId,
        between: impl FnOnce(&mut GraphBuilder, NodeId) -> Result<NodeId, LayerError>,
    ) -> Result<NodeId, LayerError> {
        self.switch().replaced(name, "a layer norm")?;
        if let NormForm::Batch(bn) = &self.form {
            let x = between(graph, x)?;
            return bn.lower(graph, name, x);
        }
        let host = |p: &Param<Tensor<1>>| -> Result<Vec<f64>, LayerError> {
            Ok(to_host(name, p.val())?.into_iter().map(f64::from).collect())
        };
        let [gamma, beta] = self.scale();
        let (gamma, beta) = (host(gamma)?, host(beta)?);
        let at = |part: &str| format!("{name}.{part}");
        let x = match &self.form {
            NormForm::Root(root) => {
                let x = if root.centred { centring(graph, &at("centre"), x, |_| 1.0)? } else { x };
                let square = graph.push(&at("square"), Op::Mul, &[x, x])?;
                let channels = graph.shape(x).first().copied().unwrap_or(1);
                let mean =
                    GraphTensor::from_f64([1, channels, 1, 1], &vec![1.0 / channels as f64; channels])?;
                let mean = graph.conv2d(&at("mean"), square, mean, None, Conv2dGeometry::new(1, 0))?;
                let by = root.inverse.lower_polynomial(graph, &at("inverse"), mean)?;
                graph.push(&at("product"), Op::Mul, &[x, by])?
            }
            NormForm::Running(running) => {
                let var = to_host(name, running.running_var.value_sync())?.first().copied().unwrap_or(1.0);
                let by = 1.0 / (f64::from(var) + BN_EPSILON).sqrt();
                centring(graph, &at("centre"), x, |_| by)?
            }
            _ => x,
        };
        let x = between(graph, x)?;
        Ok(graph.affine(name, x, &gamma, &beta)?)
    }
}

impl Lower for Norm {
    fn lower(&self, graph: &mut GraphBuilder, name: &str, x: NodeId) -> Result<NodeId, LayerError> {
        self.lower_around(graph, name, x, |_, x| Ok(x))
    }

    fn depth(&self) -> usize {
        match &self.form {
            NormForm::Batch(_) | NormForm::Affine(_) => 0,
            NormForm::Root(root) => 3 + root.inverse.depth() + usize::from(root.centred),
            NormForm::Running(_) => 1,
        }
    }
}
