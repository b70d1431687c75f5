//! Initial weights, drawn on the host so that one seed gives one network on every device.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

use crate::{ActivationKind, Function};

/// Draws Kaiming-normal weights (He et al. 2015, arXiv:1502.01852) from ChaCha20, in the order modules are made, and says which
/// activation they have and what is to replace it.
pub struct WeightInit {
    rng: ChaCha20Rng,
    device: Device,
    activation: ActivationKind,
    function: Function,
}

impl WeightInit {
    /// Start from `seed`; tensors are placed on `device`, free quadratics replace ReLU.
    pub fn new(device: &Device, seed: u64) -> Self {
        Self {
            rng: ChaCha20Rng::seed_from_u64(seed),
            device: device.clone(),
            activation: ActivationKind::Poly2,
            function: Function::Relu,
        }
    }

    /// Replace activations by `activation`.
    pub fn with_activation(self, activation: ActivationKind) -> Self {
        Self { activation, ..self }
    }

    /// Activations are `function` at first.
    pub fn with_function(self, function: Function) -> Self {
        Self { function, ..self }
    }

    /// What activations are at first.
    pub fn function(&self) -> Function {
        self.function
    }

    /// What replaces activations.
    pub fn activation(&self) -> ActivationKind {
        self.activation
    }

    /// Where tensors are placed.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Normal values of standard deviation `√(gain/fan_in)`; `gain` is 2 before a ReLU, 1 before nothing.
    pub fn kaiming<const D: usize>(
        &mut self,
        shape: [usize; D],
        fan_in: usize,
        gain: f64,
    ) -> Param<Tensor<D>> {
        let std = (gain / fan_in.max(1) as f64).sqrt();
        let values: Vec<f32> = (0..shape.iter().product::<usize>())
            .map(|_| {
                let z: f64 = StandardNormal.sample(&mut self.rng);
                (std * z) as f32
            })
            .collect();
        Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), &self.device))
    }

    /// The same value everywhere; takes nothing from the generator.
    pub fn constant(&self, len: usize, value: f32) -> Param<Tensor<1>> {
        Param::from_tensor(Tensor::full([len], value, &self.device))
    }
}
