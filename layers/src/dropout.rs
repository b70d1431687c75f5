//! Dropout: in training, values of a branch are zero at random (Srivastava et al. 2014), so that no feature counts on another.

use burn::tensor::{Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Drops values in one forward pass. Drawn on the host: one seed drops the same on every device, and a resumed run the same as one
/// that was never interrupted.
#[derive(Clone, Debug)]
pub struct Dropout {
    rate: f64,
    rng: ChaCha8Rng,
}

impl Dropout {
    /// Each value is zero with probability `rate`, from 0 to below 1, and else divided by `1 − rate`, so that means stay. Every
    /// `step` of a training with this `seed` drops others.
    pub fn new(rate: f64, seed: u64, step: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(step);
        Self { rate, rng }
    }

    /// Drop.
    pub(crate) fn apply<const D: usize>(&mut self, x: Tensor<D>) -> Tensor<D> {
        let shape = x.dims();
        let mut draws = vec![0_u8; 2 * shape.iter().product::<usize>()];
        self.rng.fill_bytes(&mut draws);
        // Two bytes each: rates are met within a hundred-thousandth.
        let (limit, kept) = ((self.rate * 65_536.0).round() as u32, (1.0 / (1.0 - self.rate)) as f32);
        let value = |draw: &[u8; 2]| if u32::from(u16::from_le_bytes(*draw)) < limit { 0.0 } else { kept };
        let mask: Vec<f32> = draws.as_chunks().0.iter().map(value).collect();
        let mask = Tensor::from_data(TensorData::new(mask, shape), &x.device());
        x * mask
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn means_stay_and_a_step_always_drops_the_same() {
        let run = |step| {
            let ones = Tensor::<2>::ones([100, 100], &Device::flex());
            Dropout::new(0.2, 7, step).apply(ones).into_data().try_to_vec::<f32>().unwrap()
        };
        let out = run(1);
        let zeros = out.iter().filter(|v| **v == 0.0).count();
        assert!(zeros.abs_diff(2_000) < 200, "{zeros} of 10 000");
        assert!(out.iter().all(|v| *v == 0.0 || *v == 1.25));
        assert_eq!(out, run(1));
        assert_ne!(out, run(2));
    }
}
