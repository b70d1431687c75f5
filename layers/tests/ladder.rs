//! Rungs one to three: a forward pass equals the lowered graph, and the folded one, evaluated in f64.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use hetrain_export::{Graph, Interval, fold, interp};
use hetrain_layers::{ActivationKind, HeModel, LayerError, ModelConfig, ModelName};

const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const STD: [f64; 3] = [0.229, 0.224, 0.225];

fn config(name: ModelName) -> ModelConfig {
    let input = match name {
        ModelName::CnnS => [1, 8, 8],
        ModelName::Mlp | ModelName::Cryptonets | ModelName::Lenet5 => [1, 28, 28],
        ModelName::Cnn64 => [1, 16, 16],
        ModelName::Resnet18 => [3, 8, 8],
        ModelName::Vgg11 => [3, 32, 32],
        // Patches that hang over the border.
        ModelName::Vit => [3, 12, 12],
        ModelName::Gpt => [10, 6, 1],
        // Smaller than CIFAR's 32, for speed.
        _ => [3, 16, 16],
    };
    ModelConfig { name, input, classes: 10, activation: ActivationKind::Poly2 }
}

/// Uneven values that repeat nowhere near.
fn wave(n: usize, seed: f32) -> Vec<f32> {
    (0..n).map(|i| ((i as f32 + seed) * 12.9898).sin() * 0.5 + 0.5).collect()
}

/// Moves every parameter and statistic away from its start.
struct Shake(f32);

impl ModuleMapper for Shake {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.0 += 1.0;
        let seed = self.0;
        param.map(|t| {
            let n = t.shape().num_elements();
            let factor = wave(n, seed).into_iter().map(|v| 0.8 + 0.4 * v).collect::<Vec<_>>();
            let offset = wave(n, seed + 0.5).into_iter().map(|v| 0.02 * v).collect::<Vec<_>>();
            let at = |v: Vec<f32>| Tensor::<D>::from_data(TensorData::new(v, t.shape()), &t.device());
            let (factor, offset) = (at(factor), at(offset));
            (t * factor + offset).detach()
        })
    }
}

/// A model with statistics from training passes, parameters of no special value, and this blend everywhere.
fn trained(name: ModelName, blend: f32) -> HeModel {
    trained_with(config(name), blend)
}

fn trained_with(config: ModelConfig, blend: f32) -> HeModel {
    let device = Device::flex().autodiff();
    let model = config.init(&device, 11).unwrap();
    let [c, h, w] = config.input;
    for step in 0..3 {
        let x = TensorData::new(wave(8 * c * h * w, step as f32), [8, c, h, w]);
        model.forward(Tensor::<4>::from_data(x, &device) * 3.0 - 1.0);
    }
    let model = model.valid().map(&mut Shake(0.0));
    (0..model.activations()).for_each(|i| model.set_blend(i, blend));
    model
}

fn logits(model: &HeModel, pixels: &[f32]) -> Vec<f64> {
    let [c, h, w] = model.config().input;
    let normalised: Vec<f32> = pixels
        .iter()
        .enumerate()
        .map(|(i, p)| (i / (h * w) % 3, p))
        .map(|(c, p)| ((f64::from(*p) - MEAN[c]) / STD[c]) as f32)
        .collect();
    let x = Tensor::<4>::from_data(TensorData::new(normalised, [1, c, h, w]), &Device::flex());
    let logits = model.forward(x).logits.into_data().try_to_vec::<f32>().unwrap();
    // A language model answers for every position, its graph for the last.
    logits[logits.len() - model.config().classes..].iter().map(|v| f64::from(*v)).collect()
}

fn output(graph: &Graph, pixels: &[f32]) -> Vec<f64> {
    let input: Vec<f64> = pixels.iter().map(|&v| f64::from(v)).collect();
    interp::evaluate(graph, &input).unwrap().pop().unwrap()
}

fn lower(model: &HeModel) -> Graph {
    let of =
        |values: [f64; 3]| -> Vec<f64> { values.into_iter().cycle().take(model.config().input[0]).collect() };
    model.lower(&of(MEAN), &of(STD)).unwrap()
}

fn assert_close(got: &[f64], want: &[f64], what: &str) {
    let scale = want.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f64::max);
    assert!(got.len() == want.len() && worst <= 1e-4 * scale, "{what}: {worst:e} of {scale:e}");
}

#[test]
fn the_lowered_graph_computes_what_the_model_does() {
    for name in ModelName::ALL {
        for blend in [0.0, 1.0] {
            let model = trained(name, blend);
            let graph = lower(&model);
            for seed in [0.1, 0.2] {
                let pixels = wave(model.config().input.iter().product(), seed);
                assert_close(
                    &output(&graph, &pixels),
                    &logits(&model, &pixels),
                    &format!("{name} at {blend}"),
                );
            }
        }
    }
}

#[test]
fn the_folded_graph_computes_what_the_model_does() {
    for name in ModelName::ALL {
        let model = trained(name, 1.0);
        let folded = fold(&lower(&model)).unwrap();
        let pixels = wave(model.config().input.iter().product(), 0.3);
        assert_close(&output(&folded, &pixels), &logits(&model, &pixels), name.as_str());
        assert_eq!(folded.depth(), Some(model.depth()), "levels of {name}");
    }
}

#[test]
fn every_activation_folds_to_one_level_in_residual_blocks() {
    for activation in ActivationKind::ALL {
        for name in [ModelName::Resnet20, ModelName::Resnet18] {
            let model = trained_with(ModelConfig { activation, ..config(name) }, 1.0);
            let graph = lower(&model);
            let folded = fold(&graph).unwrap();
            let pixels = wave(model.config().input.iter().product(), 0.3);
            let what = format!("{name} with {}", activation.as_str());
            assert_close(&output(&graph, &pixels), &logits(&model, &pixels), &what);
            assert_close(&output(&folded, &pixels), &logits(&model, &pixels), &what);
            assert_eq!(folded.depth(), Some(model.depth()), "levels of {what}");
        }
    }
}

#[test]
fn depths_are_those_the_planner_counts_on() {
    let depth = |name| config(name).init(&Device::flex(), 0).unwrap().depth();
    assert_eq!(
        [
            ModelName::Mlp,
            ModelName::CnnS,
            ModelName::Cryptonets,
            ModelName::Lenet5,
            ModelName::Cnn64,
            ModelName::Resnet20,
            ModelName::Resnet18,
            ModelName::Vgg11,
            ModelName::Vit,
            ModelName::Gpt
        ]
        .map(depth),
        [5, 5, 5, 7, 9, 39, 35, 21, 34, 34]
    );
}

#[test]
fn intervals_travel_with_the_activations() {
    let model = trained(ModelName::CnnS, 1.0);
    let interval = Interval::new(-3.0, 5.0).unwrap();
    model.set_range(1, interval);
    let graph = lower(&model);
    let node = graph.nodes().iter().find(|n| n.name == "conv2.act").unwrap();
    assert_eq!(node.op.intervals(), [interval]);
    assert_eq!(model.activation_names(), ["conv1.act", "conv2.act"]);
}

#[test]
fn half_replaced_models_are_not_lowered() {
    let model = trained(ModelName::Mlp, 0.5);
    let err = model.lower(&MEAN[..1], &STD[..1]).unwrap_err();
    assert!(matches!(&err, LayerError::HalfReplaced { name, .. } if name == "fc1.act"), "{err}");
}
