//! Updating the weights: Burn's optimisers with parameter groups, the norm of the whole gradient clipped.

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamGroup, ParamId},
    optim::{
        AdamConfig, AdamWConfig, DynOptimizer, GradientsParams, LearningRate, ModuleOptimizer, Optimizer,
        SgdConfig, decay::WeightDecayConfig, momentum::MomentumConfig,
    },
    tensor::{Device, Tensor},
};
use hetrain_layers::HeModel;

use crate::{
    config::{OptimizerKind, OptimizerSettings, PhaseSettings, ScheduleKind, ScheduleSettings},
    error::RunError,
    loss::scalar,
};

/// Number the parameters in the order of the modules: optimiser state is kept by id, and fresh ids are random.
pub fn number_parameters(model: HeModel) -> HeModel {
    struct Number(u64);
    impl ModuleMapper for Number {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            self.0 += 1;
            let (_, value, mapper) = param.consume();
            Param::from_mapped_value(ParamId::from(self.0), value, mapper)
        }
    }
    model.map(&mut Number(0))
}

/// Parameters by treatment: coefficients of quadratics, and what must not decay (biases, batch norm).
#[derive(Default)]
struct Groups {
    path: Vec<String>,
    coefficients: Vec<ParamId>,
    undecayed: Vec<ParamId>,
}

impl ModuleVisitor for Groups {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.path.iter().any(|p| p == "coef") {
            self.coefficients.push(param.id);
        } else if self.path.last().is_none_or(|p| p != "weight") {
            self.undecayed.push(param.id);
        }
    }
}

/// An optimiser whose learning rate is a multiple of the others'.
#[derive(Clone)]
struct Scaled<O> {
    inner: O,
    factor: f64,
}

impl<O: Optimizer> Optimizer for Scaled<O> {
    type State<const D: usize> = O::State<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        self.inner.step(lr * self.factor, tensor, grad, state)
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        O::to_device(state, device)
    }
}

/// The update rule of a phase.
pub struct Updater {
    optimizer: ModuleOptimizer,
    clip: f64,
}

impl Updater {
    /// The rule of `settings` for `model`, whose parameters have been numbered.
    pub fn new(settings: &PhaseSettings, model: &HeModel) -> Self {
        let mut groups = Groups::default();
        model.visit(&mut groups);
        let o = &settings.optimizer;
        let optimizer = match o.kind {
            OptimizerKind::Sgd => grouped(|d| sgd(o, d), o.weight_decay, settings.coef_lr, groups),
            OptimizerKind::Adam => grouped(|d| adam(o, d), o.weight_decay, settings.coef_lr, groups),
            OptimizerKind::Adamw => grouped(|d| adamw(o, d), o.weight_decay, settings.coef_lr, groups),
        };
        Self { optimizer, clip: settings.clip }
    }

    /// State as bytes (burnpack).
    ///
    /// # Errors
    /// What the format refuses, in words.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        self.optimizer.into_bytes().map(|b| b.to_vec()).map_err(|e| e.to_string())
    }

    /// The same rule with the state in `bytes`.
    ///
    /// # Errors
    /// What the format refuses, in words.
    pub fn with_state(mut self, bytes: Vec<u8>) -> Result<Self, String> {
        self.optimizer = self
            .optimizer
            .from_bytes(burn::tensor::Bytes::from_bytes_vec(bytes))
            .map_err(|e| e.to_string())?;
        Ok(self)
    }

    /// Update `model`; returns it and the gradient's norm before clipping. A norm that is not finite changes nothing.
    ///
    /// # Errors
    /// [`RunError::Device`].
    pub fn step(
        &mut self,
        lr: f64,
        model: HeModel,
        mut grads: GradientsParams,
    ) -> Result<(HeModel, f64), RunError> {
        let norm = gradient_norm(&model, &grads)?;
        if !norm.is_finite() {
            return Ok((model, norm));
        }
        if self.clip > 0.0 && norm > self.clip {
            model.visit(&mut Scale { grads: &mut grads, factor: self.clip / norm });
        }
        Ok((self.optimizer.step(lr, model, grads), norm))
    }
}

fn grouped<O>(make: impl Fn(f64) -> O, decay: f64, coefficients_lr: f64, groups: Groups) -> ModuleOptimizer
where
    O: Optimizer,
    Scaled<O>: DynOptimizer,
{
    let coefficients = Scaled { inner: make(0.0), factor: coefficients_lr };
    ModuleOptimizer::from(make(decay))
        .with_group(ParamGroup::from_ids(groups.undecayed), make(0.0), None)
        .with_group(ParamGroup::from_ids(groups.coefficients), coefficients, None)
}

fn sgd(o: &OptimizerSettings, decay: f64) -> burn::optim::Sgd {
    let momentum = MomentumConfig::new().with_momentum(o.momentum).with_dampening(0.0);
    SgdConfig::new()
        .with_weight_decay((decay > 0.0).then(|| WeightDecayConfig::new(decay as f32)))
        .with_momentum((o.momentum > 0.0).then_some(momentum))
        .build()
}

fn adam(o: &OptimizerSettings, decay: f64) -> burn::optim::Adam {
    AdamConfig::new()
        .with_beta_1(o.momentum as f32)
        .with_epsilon(1e-8)
        .with_weight_decay((decay > 0.0).then(|| WeightDecayConfig::new(decay as f32)))
        .build()
}

fn adamw(o: &OptimizerSettings, decay: f64) -> burn::optim::AdamW {
    AdamWConfig::new()
        .with_beta_1(o.momentum as f32)
        .with_epsilon(1e-8)
        .with_weight_decay(decay as f32)
        .build()
}

/// Norm of the whole gradient.
fn gradient_norm(model: &HeModel, grads: &GradientsParams) -> Result<f64, RunError> {
    struct Squares<'a> {
        grads: &'a GradientsParams,
        sums: Vec<Tensor<1>>,
    }
    impl ModuleVisitor for Squares<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(g) = self.grads.get::<D>(param.id) {
                self.sums.push((g.clone() * g).sum());
            }
        }
    }
    let mut squares = Squares { grads, sums: Vec::new() };
    model.visit(&mut squares);
    if squares.sums.is_empty() {
        return Ok(0.0);
    }
    Ok(scalar(Tensor::cat(squares.sums, 0).sum())?.sqrt())
}

struct Scale<'a> {
    grads: &'a mut GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(g) = self.grads.remove::<D>(param.id) {
            self.grads.register(param.id, g.mul_scalar(self.factor));
        }
    }
}

/// Learning rate at `step` of `total`.
pub fn learning_rate(peak: f64, schedule: &ScheduleSettings, step: usize, total: usize) -> f64 {
    let done = step as f64 / total.max(1) as f64;
    let rising = if schedule.warmup > 0.0 { (done / schedule.warmup).min(1.0) } else { 1.0 };
    let falling = ((done - schedule.warmup) / (1.0 - schedule.warmup)).clamp(0.0, 1.0);
    let cosine = |x: f64| 0.5 * (1.0 - (std::f64::consts::PI * x).cos());
    let factor = match schedule.kind {
        // A warm-up from exactly zero would waste the first step.
        ScheduleKind::Constant => rising.max(1e-2),
        ScheduleKind::Cosine => rising.max(1e-2) * (1.0 - cosine(falling)),
        ScheduleKind::OneCycle => (0.04 + 0.96 * cosine(rising)) * (1.0 - cosine(falling)),
        ScheduleKind::Step => {
            rising.max(1e-2)
                * if done >= 0.85 {
                    0.01
                } else if done >= 0.6 {
                    0.1
                } else {
                    1.0
                }
        }
    };
    peak * factor
}

/// Running average of a model: `a ← d·a + (1 − d)·w` for parameters and batch-norm statistics, `d` growing to `decay`.
pub fn average(average: HeModel, model: &HeModel, decay: f64, step: usize) -> HeModel {
    // Tensors are matched by their order: running statistics keep random ids, which loading does not bring back.
    #[derive(Default)]
    struct Collect {
        values: GradientsParams,
        count: u64,
    }
    impl ModuleVisitor for Collect {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.count += 1;
            self.values.register(ParamId::from(self.count), param.val());
        }
    }
    struct Mix {
        new: GradientsParams,
        count: u64,
        decay: f64,
    }
    impl ModuleMapper for Mix {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, old, mapper) = param.consume();
            self.count += 1;
            let value = match self.new.remove::<D>(ParamId::from(self.count)) {
                Some(new) => old.mul_scalar(self.decay) + new.mul_scalar(1.0 - self.decay),
                None => old,
            };
            Param::from_mapped_value(id, value, mapper)
        }
    }
    let mut collect = Collect::default();
    model.valid().visit(&mut collect);
    // Early on the average would remember the first weights for a whole `1/(1 − decay)` steps.
    let decay = decay.min((1.0 + step as f64) / (10.0 + step as f64));
    average.map(&mut Mix { new: collect.values, count: 0, decay })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_rise_to_the_peak_and_fall_to_zero() {
        for kind in [ScheduleKind::Cosine, ScheduleKind::OneCycle] {
            let s = ScheduleSettings { kind, warmup: 0.25 };
            let at = |step| learning_rate(2.0, &s, step, 400);
            assert!(at(0) < 0.1 && (at(100) - 2.0).abs() < 1e-9 && at(399) < 1e-3, "{kind:?}");
            assert!(
                (0..100).all(|i| at(i) <= at(i + 1)) && (100..399).all(|i| at(i) >= at(i + 1)),
                "{kind:?}"
            );
        }
    }
}
