//! The trained quadratic, in the forms it is trained in.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;
use hetrain_export::Tensor as GraphTensor;

use super::function::Function;
use super::hermite::Hermite;
use super::quadratic::{Quadratic, raw_of};
use crate::lower::to_host;
use crate::{ActivationKind, ChannelStats, LayerError, WeightInit};

/// A quadratic per channel; every form is exported as `a x² + b x + c` with `a > 0`. The field that holds it is called `coef`, so
/// that a parameter group (a learning rate of its own) finds it.
#[derive(Module, Debug)]
pub enum Curve {
    /// Free coefficients.
    Quadratic(Quadratic),
    /// Coefficients that follow the distribution of the inputs.
    Hermite(Hermite),
    /// Free coefficients behind a gate, on the branch of a residual block.
    Gated(Gated),
}

/// `σ(gate)·f`: how much of a branch is added (`training-methods`: gates keep variance from growing with depth).
#[derive(Module, Debug)]
pub struct Gated {
    /// `f`.
    pub curve: Quadratic,
    /// One number for the block, `[1]`; 0, a half, at first.
    pub gate: Param<Tensor<1>>,
}

impl Curve {
    /// The form for an activation between two layers.
    pub(super) fn new(channels: usize, init: &WeightInit) -> Self {
        match init.activation() {
            ActivationKind::Herpn => Self::Hermite(Hermite::new(channels, init)),
            _ => Self::Quadratic(Quadratic::new(channels, init)),
        }
    }

    /// The form for the activation that ends a residual block.
    pub(super) fn of_block(channels: usize, init: &WeightInit) -> Self {
        match init.activation() {
            ActivationKind::Poly2Branch => {
                Self::Gated(Gated { curve: Quadratic::new(channels, init), gate: init.constant(1, 0.0) })
            }
            _ => Self::new(channels, init),
        }
    }

    /// Number of channels.
    pub(crate) fn channels(&self) -> usize {
        match self {
            Self::Quadratic(q) => q.channels(),
            Self::Gated(g) => g.curve.channels(),
            Self::Hermite(h) => h.raw.lazy_shape().num_elements(),
        }
    }

    /// `weight·a`, `weight·b`, `weight·c` for a batch `x` limited to `±limit`, `[channels]` each.
    pub(super) fn of_batch<const D: usize>(
        &self,
        x: &Tensor<D>,
        limit: Option<f32>,
        weight: f32,
    ) -> [Tensor<1>; 3] {
        let abc = match self {
            Self::Quadratic(q) => q.abc(),
            Self::Gated(g) => g.abc(),
            Self::Hermite(h) => h.of_batch(x, limit),
        };
        if weight == 1.0 { abc } else { abc.map(|v| v.mul_scalar(weight)) }
    }

    /// Coefficients `[channels, 3]`, lowest degree first.
    ///
    /// # Errors
    /// [`LayerError::Device`].
    pub fn coefficients(&self, name: &str) -> Result<GraphTensor, LayerError> {
        let [a, b, c] = match self {
            Self::Quadratic(q) => q.abc(),
            Self::Gated(g) => g.abc(),
            Self::Hermite(h) => h.still(),
        };
        let columns = [to_host(name, c)?, to_host(name, b)?, to_host(name, a)?];
        let channels = self.channels();
        let rows = (0..channels).flat_map(|i| columns.iter().filter_map(move |c| c.get(i).copied()));
        Ok(GraphTensor::new([channels, 3], rows.collect::<Vec<f32>>())?)
    }

    /// The values, by path below this, that bring it nearest to `function` over what was seen.
    pub(crate) fn fit(&self, function: Function, stats: &[ChannelStats]) -> Vec<(String, Vec<f32>)> {
        let quadratic = |prefix: &str| {
            let fits: Vec<[f64; 3]> = stats.iter().map(|s| super::fit(function, s)).collect();
            let column = |f: fn(&[f64; 3]) -> f64| fits.iter().map(|v| f(v) as f32).collect();
            vec![
                (format!("{prefix}raw"), column(|&[_, _, a]| raw_of(a))),
                (format!("{prefix}linear"), column(|&[_, b, _]| b)),
                (format!("{prefix}constant"), column(|&[c, _, _]| c)),
            ]
        };
        match self {
            Self::Quadratic(_) => quadratic(""),
            Self::Gated(_) => quadratic("curve."),
            Self::Hermite(_) => Hermite::fit(stats).map(|(part, values)| (part.into(), values)).into(),
        }
    }
}

impl Gated {
    fn abc(&self) -> [Tensor<1>; 3] {
        let gate = sigmoid(self.gate.val());
        self.curve.abc().map(|v| v * gate.clone())
    }
}

#[cfg(test)]
mod tests {
    use burn::module::RunningState;
    use burn::tensor::{Device, TensorData, Tolerance};
    use hetrain_export::{GraphBuilder, interp};

    use super::*;
    use crate::Activation;

    fn wave(shape: [usize; 4], by: f32, device: &Device) -> Tensor<4> {
        let values: Vec<f32> =
            (0..shape.iter().product()).map(|i| (i as f32 * by).sin() * 1.5 + 0.3).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    fn of_kind(kind: ActivationKind, channels: usize, device: &Device) -> Activation {
        Activation::of_block(channels, &WeightInit::new(device, 0).with_activation(kind))
    }

    #[test]
    fn every_form_is_exported_as_it_computes() {
        let device = Device::flex().autodiff();
        for kind in ActivationKind::ALL {
            let act = of_kind(kind, 3, &device);
            act.set_blend(1.0);
            for step in 0..3 {
                let [branch, shortcut] = [0.7, 0.9].map(|by| wave([4, 3, 2, 2], by + step as f32, &device));
                act.join(branch, shortcut, &mut Vec::new());
            }
            let act = act.valid();
            let [branch, shortcut] = [0.31, 0.57].map(|by| wave([1, 3, 2, 2], by, &Device::flex()));
            let mut graph = GraphBuilder::default();
            let x = graph.input("x", &[6, 2, 2]).unwrap();
            // The two inputs as halves of one: a graph has one input.
            let half = |g: &mut GraphBuilder, name: &str, first: usize| {
                let weight: Vec<f32> = (0..18).map(|i| f32::from(u8::from(i % 6 == i / 6 + first))).collect();
                let weight = GraphTensor::new([3, 6, 1, 1], weight).unwrap();
                g.conv2d(name, x, weight, None, hetrain_export::Conv2dGeometry::new(1, 0)).unwrap()
            };
            let sides = [half(&mut graph, "branch", 0), half(&mut graph, "shortcut", 3)];
            act.lower_join(&mut graph, "block", sides).unwrap();
            let pixels = Tensor::cat(vec![branch.clone(), shortcut.clone()], 1).into_data();
            let pixels: Vec<f64> = pixels.try_to_vec::<f32>().unwrap().into_iter().map(f64::from).collect();
            let got = interp::evaluate(&graph.finish().unwrap(), &pixels).unwrap().pop().unwrap();
            let want = act.join(branch, shortcut, &mut Vec::new()).into_data().try_to_vec::<f32>().unwrap();
            for (got, want) in got.iter().zip(want) {
                assert!((got - f64::from(want)).abs() < 1e-4, "{kind:?}: {got} and {want}");
            }
        }
    }

    #[test]
    fn gradients_of_every_form_equal_finite_differences() {
        let device = Device::flex().autodiff();
        let shape = [3, 2, 2, 2];
        for kind in ActivationKind::ALL {
            for blend in [0.5, 1.0] {
                let act = of_kind(kind, 2, &device);
                act.set_blend(blend);
                let loss = |branch: Tensor<4>| {
                    let y = act.join(branch, wave(shape, 0.4, &device), &mut Vec::new());
                    (y * wave(shape, 0.9, &device)).sum()
                };
                let x = wave(shape, 0.7, &device).require_grad();
                let grads = loss(x.clone()).backward();
                let by = x.grad(&grads).unwrap().into_data().try_to_vec::<f32>().unwrap();
                let h = 1e-2;
                for (i, by) in by.into_iter().enumerate() {
                    let at = |step: f32| {
                        let mut values = x.clone().into_data().try_to_vec::<f32>().unwrap();
                        values[i] += step;
                        loss(Tensor::from_data(TensorData::new(values, shape), &device)).into_scalar::<f32>()
                    };
                    let difference = (at(h) - at(-h)) / (2.0 * h);
                    assert!(
                        (by - difference).abs() < 2e-2,
                        "{kind:?} at {blend}, {i}: {by} and {difference}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_hermite_form_normalises_its_bases() {
        let device = Device::flex().autodiff();
        let act = of_kind(ActivationKind::Herpn, 1, &device);
        act.set_blend(1.0);
        // Of a scaled input it makes the same: only the batch's own distribution counts.
        let x = wave([64, 1, 4, 4], 0.77, &device);
        let [one, ten] =
            [1.0, 10.0].map(|by| act.forward(x.clone().mul_scalar(by), &mut Vec::new()).into_data());
        one.assert_approx_eq::<f32>(&ten, Tolerance::rel_abs(1e-3, 1e-3));
    }

    #[test]
    fn fitted_to_a_gaussian_the_hermite_form_is_the_fit_to_relu() {
        use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
        use rand_distr::{Distribution, Normal};
        let device = Device::flex();
        let (mut rng, normal) = (ChaCha20Rng::seed_from_u64(7), Normal::new(0.0, 2.0).unwrap());
        let mut stats = ChannelStats::default();
        (0..200_000).for_each(|_| stats.add(normal.sample(&mut rng)));
        let fit = Hermite::fit(std::slice::from_ref(&stats)).map(|(_, v)| Tensor::from_data([v[0]], &device));
        let [raw, shift, mean, var, mean_square, var_square] = fit;
        let h = Hermite {
            raw: Param::from_tensor(raw),
            shift: Param::from_tensor(shift),
            running_mean: RunningState::new(mean),
            running_var: RunningState::new(var),
            running_mean_square: RunningState::new(mean_square),
            running_var_square: RunningState::new(var_square),
        };
        let k = 1.0 / (8.0 * std::f64::consts::PI).sqrt();
        for (got, want) in h.still().into_iter().zip([k / 2.0, 0.5, 2.0 * k]) {
            let got = f64::from(got.into_scalar::<f32>());
            assert!((got / want - 1.0).abs() < 0.03, "{got} for {want}");
        }
    }
}
