//! Training throughput: forward, cross-entropy, backward and optimiser step, in images per second and core.
//!
//! `RAYON_NUM_THREADS=1 cargo run --release -p hetrain-layers --example throughput [-- STEPS]` trains one step to warm
//! up and STEPS (10) measured ones of `lenet5` and `resnet20` with batches of 128. Images per CPU second is the figure
//! to compare: it hardly depends on what else the machine does.
#![expect(clippy::unwrap_used, reason = "an example ends at the first error")]

use std::time::Instant;

use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};
use cpu_time::ProcessTime;
use hetrain_layers::{ModelConfig, ModelName};

const BATCH: usize = 128;

fn main() {
    let steps: usize = std::env::args().nth(1).map_or(10, |s| s.parse().unwrap());
    let device = Device::flex().autodiff();
    println!("model      activation   images/s (wall)   images per CPU second");
    for (name, input) in [(ModelName::Lenet5, [1, 28, 28]), (ModelName::Resnet20, [3, 32, 32])] {
        for (mode, blend) in [("relu", 0.0), ("blend", 0.5), ("quadratic", 1.0)] {
            let config = ModelConfig::new(name, input, 10);
            let mut model = config.init(&device, 1).unwrap();
            (0..model.operators()).for_each(|i| model.set_blend(i, blend));
            let mut optimiser = SgdConfig::new().with_momentum(Some(MomentumConfig::new())).init();
            let loss = CrossEntropyLossConfig::new().init(&device);
            let [c, h, w] = input;
            let pixels: Vec<f32> = (0..BATCH * c * h * w).map(|i| (i as f32 * 0.37).sin()).collect();
            let x = Tensor::<4>::from_data(TensorData::new(pixels, [BATCH, c, h, w]), &device);
            let labels: Vec<i64> = (0..BATCH as i64).map(|i| i % 10).collect();
            let y = Tensor::<1, Int>::from_data(TensorData::new(labels, [BATCH]), &device);
            let (mut start, mut cpu) = (Instant::now(), ProcessTime::now());
            for step in 0..=steps {
                if step == 1 {
                    (start, cpu) = (Instant::now(), ProcessTime::now());
                }
                let value = loss.forward(model.forward(x.clone()).logits, y.clone());
                let grads = GradientsParams::from_grads(value.backward(), &model);
                model = optimiser.step(1e-4, model, grads);
            }
            let images = (steps * BATCH) as f64;
            let wall = images / start.elapsed().as_secs_f64();
            let per_cpu = images / cpu.elapsed().as_secs_f64();
            println!("{:<10} {mode:<12} {wall:<17.0} {per_cpu:.0}", name.as_str());
        }
    }
}
