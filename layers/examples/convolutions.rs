//! Convolutions of ResNets, VGG and small networks, forward and two gradients, ours beside Burn's: billions of multiply-adds per CPU second.
//!
//! `RAYON_NUM_THREADS=1 cargo run --release -p hetrain-layers --example convolutions`

use burn::module::{Param, ParamId};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};
use cpu_time::ProcessTime;
use hetrain_layers::{Conv, WeightInit};

const BATCH: usize = 128;

fn main() {
    let device = Device::flex().autodiff();
    println!("channels, side, kernel, stride   ours: forward, by x, by weight   Burn's");
    for (ci, co, side, k, stride) in [
        (3, 16, 32, 3, 1),
        (16, 16, 32, 3, 1),
        (16, 32, 32, 3, 2),
        (32, 32, 16, 3, 1),
        (64, 64, 8, 3, 1),
        (64, 64, 32, 3, 1),
        (64, 128, 32, 3, 2),
        (128, 128, 16, 3, 1),
        (128, 256, 16, 3, 2),
        (256, 256, 8, 3, 1),
        (256, 512, 8, 3, 2),
        (512, 512, 4, 3, 1),
        (512, 512, 2, 3, 1),
    ] {
        let conv = Conv::new([ci, co], k, stride, k / 2, &mut WeightInit::new(&device, 1));
        let weight = Tensor::<4>::from_data(conv.weight.val().into_data(), &device);
        let values: Vec<f32> = (0..BATCH * ci * side * side).map(|i| (i as f32 * 0.37).sin()).collect();
        let x = Tensor::<4>::from_data(TensorData::new(values, [BATCH, ci, side, side]), &device);
        let out = side.div_ceil(stride);
        let macs = (BATCH * co * ci * k * k * out * out) as f64;
        // Forward, gradient by the input, gradient by the weights.
        let rates = |f: &dyn Fn(Tensor<4>, Tensor<4>) -> Tensor<4>| {
            let seconds = |[by_x, by_weight]: [bool; 2]| {
                let once = || {
                    let start = ProcessTime::now();
                    let tracked = |t: &Tensor<4>, by| if by { t.clone().require_grad() } else { t.clone() };
                    let y = f(tracked(&x, by_x), tracked(&weight, by_weight)).sum();
                    if by_x || by_weight {
                        y.backward();
                    }
                    start.elapsed().as_secs_f64()
                };
                (0..3).map(|_| once()).fold(f64::INFINITY, f64::min)
            };
            let forward = seconds([false; 2]);
            let [by_x, by_weight] = [[true, false], [false, true]].map(|by| seconds(by) - forward);
            [forward, by_x, by_weight].map(|s| format!("{:5.1}", macs / s / 1e9)).join(" ")
        };
        let ours =
            rates(&|x, w| Conv { weight: Param::initialized(ParamId::new(), w), ..conv.clone() }.forward(x));
        let options = ConvOptions::new([stride; 2], [k / 2; 2], [1; 2], 1);
        let burns = rates(&|x, w| conv2d(x, w, None, options.clone()));
        println!("{ci:>4} -> {co:>3}, {side:>2}, {k}, {stride}      {ours}      {burns}");
    }
}
