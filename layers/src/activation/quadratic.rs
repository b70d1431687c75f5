//! Trainable quadratic, one per channel: `f(x) = a x² + b x + c` with `a = A_MIN + softplus(raw) > 0`.
//!
//! A positive leading coefficient makes `a x² + b x + c = (√a·(x + b/2a))² + k` legal always, so folding turns the
//! activation into a pure square between two affine layers: one level, no plaintext product. The coefficients have
//! `.coef.` in their path so that a parameter group (their own learning rate) finds them.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::activation::softplus;

use crate::WeightInit;

/// Smallest leading coefficient: below it, the shift `b/2a` of the folded square grows and precision is lost.
pub const A_MIN: f64 = 0.02;

/// Least-squares quadratic of ReLU under N(0, 1), lowest degree first: `1/√(8π), 1/2, 1/√(8π)`.
pub(crate) const RELU_UNIT: [f64; 3] = [0.199_471_140_200_716_35, 0.5, 0.199_471_140_200_716_35];

/// The coefficients of one quadratic per channel.
#[derive(Module, Debug)]
pub struct Quadratic {
    /// `softplus⁻¹(a − A_MIN)`, `[channels]`.
    pub raw: Param<Tensor<1>>,
    /// `b`, `[channels]`.
    pub linear: Param<Tensor<1>>,
    /// `c`, `[channels]`.
    pub constant: Param<Tensor<1>>,
}

impl Quadratic {
    /// The fit to ReLU for inputs of mean 0 and deviation 1, which is what a fresh batch norm gives.
    pub fn new(channels: usize, init: &WeightInit) -> Self {
        let [c, b, a] = RELU_UNIT;
        Self {
            raw: init.constant(channels, raw_of(a) as f32),
            linear: init.constant(channels, b as f32),
            constant: init.constant(channels, c as f32),
        }
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.raw.lazy_shape().num_elements()
    }

    /// The leading coefficients `a`, `[channels]`.
    pub fn leading(&self) -> Tensor<1> {
        softplus(self.raw.val(), 1.0).add_scalar(A_MIN)
    }

    /// `a`, `b` and `c`, `[channels]` each.
    pub fn abc(&self) -> [Tensor<1>; 3] {
        [self.leading(), self.linear.val(), self.constant.val()]
    }
}

/// The trained value behind a leading coefficient; what is below [`A_MIN`] becomes barely above it.
pub(crate) fn raw_of(a: f64) -> f64 {
    let y = (a - A_MIN).max(1e-6);
    // ln(eʸ − 1) without overflow for large y.
    y + (-(-y).exp_m1()).ln()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::pointwise::curve;

    fn quadratic(device: &Device) -> Quadratic {
        let init = WeightInit::new(device, 0);
        let mut q = Quadratic::new(2, &init);
        q.raw = Param::from_data([0.3_f32, -1.0], device);
        q.linear = Param::from_data([0.5_f32, -0.25], device);
        q.constant = Param::from_data([0.1_f32, 2.0], device);
        q
    }

    #[test]
    fn a_fresh_quadratic_is_the_fit_to_relu() {
        let q = Quadratic::new(3, &WeightInit::new(&Device::flex(), 0));
        for (column, want) in q.abc().into_iter().rev().zip(RELU_UNIT) {
            for got in column.into_data().try_to_vec::<f32>().unwrap() {
                assert!((f64::from(got) - want).abs() < 1e-6, "{got} for {want}");
            }
        }
    }

    #[test]
    fn raw_inverts_softplus() {
        for a in [0.03, 0.2, 1.0, 30.0, 1000.0] {
            let r = raw_of(a);
            let softplus = if r > 30.0 { r } else { r.exp().ln_1p() };
            assert!((softplus + A_MIN - a).abs() < 1e-9 * a, "{a}");
        }
        assert!(raw_of(-1.0).is_finite());
    }

    #[test]
    fn gradients_equal_finite_differences() {
        let device = Device::flex().autodiff();
        let values: Vec<f32> = (0..12).map(|i| (i as f32 * 0.7).sin() * 2.0).collect();
        let x = Tensor::<4>::from_data(TensorData::new(values.clone(), [3, 2, 2, 1]), &device).require_grad();
        let q = quadratic(&device);
        // A loss with unequal weights, so that every gradient is different.
        let weights: Vec<f32> = (0..12).map(|i| 0.3 + 0.1 * i as f32).collect();
        let w = Tensor::<4>::from_data(TensorData::new(weights.clone(), [3, 2, 2, 1]), &device);
        let grads = (curve(x.clone(), q.abc(), 0.0, None) * w).sum().backward();
        let host = |t: Tensor<1>| t.into_data().try_to_vec::<f32>().unwrap();
        let raw = host(q.raw.val().inner());
        let (lin, con) = (host(q.linear.val().inner()), host(q.constant.val().inner()));

        let loss = |v: &[f32], raw: &[f32], b: &[f32], c: &[f32]| -> f64 {
            v.iter().enumerate().fold(0.0, |sum, (i, &x)| {
                let ch = i / 2 % 2;
                let a = A_MIN + f64::from(raw[ch]).exp().ln_1p();
                let x = f64::from(x);
                sum + f64::from(weights[i]) * (a * x * x + f64::from(b[ch]) * x + f64::from(c[ch]))
            })
        };
        let h = 1e-2_f32;
        let difference = |i: usize, which: usize| {
            let at = |sign: f32| {
                let mut parts = [values.clone(), raw.clone(), lin.clone(), con.clone()];
                parts[which][i] += sign * h;
                loss(&parts[0], &parts[1], &parts[2], &parts[3])
            };
            (at(1.0) - at(-1.0)) / (2.0 * f64::from(h))
        };
        let analytic = [
            x.grad(&grads).unwrap().into_data().try_to_vec::<f32>().unwrap(),
            host(q.raw.val().grad(&grads).unwrap()),
            host(q.linear.val().grad(&grads).unwrap()),
            host(q.constant.val().grad(&grads).unwrap()),
        ];
        for (which, grad) in analytic.iter().enumerate() {
            for (i, &g) in grad.iter().enumerate() {
                let d = difference(i, which);
                assert!(
                    (f64::from(g) - d).abs() < 2e-4 * d.abs().max(1.0),
                    "part {which}, element {i}: {g} and {d}"
                );
            }
        }
    }
}
