//! Initial weights, drawn on the host so that one seed gives one network on every device.

use burn::module::{Param, ParamId};
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
    sketch: bool,
}

/// The value of all weights of a layer in a network that is only sketched: the deviation of usual ones before nothing.
pub(crate) fn sketched(fan_in: usize) -> f32 {
    (1.0 / fan_in.max(1) as f32).sqrt()
}

impl WeightInit {
    /// Start from `seed`; tensors are placed on `device`, free quadratics replace ReLU.
    pub fn new(device: &Device, seed: u64) -> Self {
        Self {
            rng: ChaCha20Rng::seed_from_u64(seed),
            device: device.clone(),
            activation: ActivationKind::Poly2,
            function: Function::Relu,
            sketch: false,
        }
    }

    /// Weights of layers are shapes until somebody asks for their values, which are all the same then: for networks larger than memory.
    pub fn sketch(self) -> Self {
        Self { sketch: true, ..self }
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

    /// The weights of a layer, as [`WeightInit::kaiming`] draws them, or as a sketch.
    pub fn weights<const D: usize>(
        &mut self,
        shape: [usize; D],
        fan_in: usize,
        gain: f64,
    ) -> Param<Tensor<D>> {
        if !self.sketch {
            return self.kaiming(shape, fan_in, gain);
        }
        let same = move |device: &Device, _| Tensor::full(shape, sketched(fan_in), device);
        Param::uninitialized(ParamId::new(), same, self.device.clone(), true, shape.into())
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
