//! Rungs one to three: a forward pass equals the lowered graph, and the folded one, evaluated in f64.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use hetrain_export::{Graph, Interval, fold, interp};
use hetrain_layers::{
    ActivationKind, AttentionKind, BlockKind, HeModel, LayerError, ModelConfig, ModelName, NormKind, Size,
};

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
        ModelName::Gpt | ModelName::Bert => [10, 6, 1],
        // Smaller than CIFAR's 32, for speed.
        _ => [3, 16, 16],
    };
    ModelConfig::new(name, input, 10)
}

/// Uneven values that repeat nowhere near.
fn wave(n: usize, seed: f32) -> Vec<f32> {
    (0..n).map(|i| ((i as f32 + seed) * 12.9898).sin() * 0.5 + 0.5).collect()
}

/// Moves every parameter and statistic away from its start, and makes parabolas flat and branches small: else the values of an
/// untrained network grow from layer to layer, to infinity.
#[derive(Default)]
struct Shake {
    count: f32,
    path: Vec<String>,
}

impl ModuleMapper for Shake {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.count += 1.0;
        let (seed, name) = (self.count, self.path.last().cloned().unwrap_or_default());
        param.map(|t| {
            let n = t.shape().num_elements();
            let factor = wave(n, seed).into_iter().map(|v| 0.8 + 0.4 * v).collect::<Vec<_>>();
            let offset = wave(n, seed + 0.5).into_iter().map(|v| 0.02 * v).collect::<Vec<_>>();
            let at = |v: Vec<f32>| Tensor::<D>::from_data(TensorData::new(v, t.shape()), &t.device());
            let (factor, mut offset) = (at(factor), at(offset));
            if matches!(name.as_str(), "offsets" | "queries") {
                offset = offset * 40.0;
            }
            let t = match name.as_str() {
                "raw" => t.full_like(-4.0),
                "linear" => t * 0.6,
                "gamma" => t * 0.4,
                _ => t,
            };
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
    for step in 0..3 {
        model.forward(batch(&model, step as f32, &device));
    }
    let model = model.valid().map(&mut Shake::default());
    let model = if blend == 1.0 { settled(model.train()) } else { model };
    (0..model.operators()).for_each(|i| model.set_blend(i, blend));
    model
}

/// `model` with the statistics and intervals of its polynomial form. Those of the original let values grow from layer to layer, to infinity.
fn settled(model: HeModel) -> HeModel {
    let device = Device::flex().autodiff();
    for step in 0..40 {
        // First the statistics that follow the original, and intervals by them; then slowly, as in training.
        let blend = (step as f32 - 20.0) / 10.0;
        (0..model.operators()).for_each(|i| model.set_blend(i, blend));
        model.collect_ranges(step >= 15);
        model.forward(batch(&model, step as f32, &device));
        set_ranges(&model);
    }
    let model = model.valid();
    model.collect_ranges(true);
    model.forward(batch(&model, 0.2, &Device::flex()));
    set_ranges(&model);
    model
}

/// Intervals for what was seen, if anything was.
fn set_ranges(model: &HeModel) {
    for (i, stats) in model.take_ranges().iter().enumerate() {
        if let Some(interval) = model.interval_for(i, stats, 2.0) {
            model.set_range(i, interval);
        }
    }
    model.collect_ranges(false);
}

/// Images as the network takes them.
fn normalised([c, h, w]: [usize; 3], pixels: &[f32], device: &Device) -> Tensor<4> {
    let of = |(i, p): (usize, &f32)| {
        let c = i / (h * w) % c % 3;
        ((f64::from(*p) - MEAN[c]) / STD[c]) as f32
    };
    let values: Vec<f32> = pixels.iter().enumerate().map(of).collect();
    Tensor::from_data(TensorData::new(values, [pixels.len() / (c * h * w), c, h, w]), device)
}

/// Some images.
fn batch(model: &HeModel, seed: f32, device: &Device) -> Tensor<4> {
    let shape = model.config().input;
    normalised(shape, &wave(8 * shape.iter().product::<usize>(), seed), device)
}

fn logits(model: &HeModel, pixels: &[f32]) -> Vec<f64> {
    let x = normalised(model.config().input, pixels, &Device::flex());
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
    let finite = got.iter().chain(want).all(|v| v.is_finite());
    assert!(finite && got.len() == want.len() && worst <= 1e-4 * scale, "{what}: {worst:e} of {scale:e}");
}

#[test]
fn the_lowered_graph_computes_what_the_model_does() {
    for name in ModelName::ALL {
        for blend in [0.0, 1.0] {
            let model = trained(name, blend);
            if blend == 0.0 && name.is_transformer() {
                let err = model.lower(&MEAN[..1], &STD[..1]).unwrap_err();
                assert!(matches!(err, LayerError::Original { .. } | LayerError::Export(_)), "{err}");
                continue;
            }
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

/// Every replacement of softmax and of layer norm, and a polynomial of higher degree in place of GELU.
fn variants(name: ModelName) -> Vec<ModelConfig> {
    let usual = config(name);
    let attention = AttentionKind::ALL.map(|attention| ModelConfig { attention, ..usual.clone() });
    let norm = NormKind::ALL.map(|norm| ModelConfig { norm, ..usual.clone() });
    let activation = [ActivationKind::Poly6].map(|activation| ModelConfig { activation, ..usual.clone() });
    let blocks = [BlockKind::Parallel, BlockKind::Gated].map(|block| {
        let size = Some(Size { block, hidden: Some(12), ..name.size() });
        ModelConfig { size, ..usual.clone() }
    });
    attention.into_iter().chain(norm).chain(activation).chain(blocks).collect()
}

fn described(config: &ModelConfig) -> String {
    let ModelConfig { name, attention, norm, activation, .. } = config;
    format!("{name}, {attention:?}, {norm:?}, {activation:?}, {:?}", config.size().block)
}

const SEEDS: [f32; 2] = [0.1, 0.3];

fn sample(model: &HeModel, seed: f32) -> Vec<f32> {
    wave(model.config().input.iter().product(), seed)
}

#[test]
fn every_replacement_in_transformers_is_lowered_and_folded_as_it_computes() {
    for name in [ModelName::Vit, ModelName::Gpt, ModelName::Bert] {
        for config in variants(name) {
            let what = described(&config);
            let model = trained_with(config, 1.0);
            // The intervals of what is evaluated, block by block: a polynomial of degree 31 leaves nothing of what is outside.
            for _ in 0..5 {
                model.collect_ranges(true);
                SEEDS.iter().for_each(|&seed| drop(logits(&model, &sample(&model, seed))));
                set_ranges(&model);
            }
            let graph = lower(&model);
            let folded = fold(&graph).unwrap();
            for seed in SEEDS {
                let pixels = sample(&model, seed);
                let want = logits(&model, &pixels);
                assert!(want.iter().all(|v| v.is_finite()), "{what}: {want:?}");
                assert_close(&output(&graph, &pixels), &want, &what);
                assert_close(&output(&folded, &pixels), &want, &format!("{what}, folded"));
            }
            assert_eq!(folded.depth(), Some(model.depth()), "levels of {what}");
        }
    }
}

#[test]
fn gradients_through_every_replacement_equal_finite_differences() {
    let device = Device::flex().autodiff();
    for config in variants(ModelName::Gpt) {
        let what = described(&config);
        let size = Size { width: 8, heads: 2, blocks: 1, ..config.size() };
        let model = trained_with(ModelConfig { size: Some(size), ..config }, 1.0).train();
        for blend in [0.0, 0.5, 1.0] {
            (0..model.operators()).for_each(|i| model.set_blend(i, blend));
            // A loss with unequal weights, in f64 sums so that differences keep their digits.
            let logits = |x: Tensor<4>| model.forward(x).logits;
            let loss = |x: Tensor<4>| -> f64 {
                let values = logits(x).into_data().try_to_vec::<f32>().unwrap();
                values.iter().enumerate().map(|(i, v)| f64::from(*v) * (i as f64 * 0.7).sin()).sum()
            };
            let x = batch(&model, 0.4, &device).require_grad();
            let y = logits(x.clone());
            let weights: Vec<f32> =
                (0..y.shape().num_elements()).map(|i| (i as f64 * 0.7).sin() as f32).collect();
            let weights = Tensor::<2>::from_data(TensorData::new(weights, y.shape()), &device);
            let grads = (y * weights).sum().backward();
            let by = x.grad(&grads).unwrap();
            let mut steepest = 0.0f64;
            for seed in [0.9, 1.7] {
                let along = batch(&model, seed, &device);
                let slope = (by.clone() * along.clone().inner()).sum().into_scalar::<f32>();
                let h = 1e-2;
                let at = |step: f32| loss(x.clone().detach() + along.clone().mul_scalar(step));
                let difference = (at(h) - at(-h)) / f64::from(2.0 * h);
                let close = (f64::from(slope) - difference).abs() < 3e-2 * difference.abs().max(0.1);
                assert!(close, "{what} at {blend}: {slope} and {difference}");
                steepest = steepest.max(difference.abs());
            }
            assert!(steepest > 0.1, "{what} at {blend} is flat: {steepest}");
        }
    }
}

#[test]
fn every_activation_folds_to_one_level_in_residual_blocks() {
    for activation in [ActivationKind::Poly2, ActivationKind::Poly2Branch, ActivationKind::Herpn] {
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
            ModelName::Gpt,
            ModelName::Bert
        ]
        .map(depth),
        [5, 5, 5, 7, 9, 39, 35, 21, 34, 34, 34]
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
    assert_eq!(model.operator_names(), ["conv1.act", "conv2.act"]);
}

#[test]
fn half_replaced_models_are_not_lowered() {
    let model = trained(ModelName::Mlp, 0.5);
    let err = model.lower(&MEAN[..1], &STD[..1]).unwrap_err();
    assert!(matches!(&err, LayerError::HalfReplaced { name, .. } if name == "fc1.act"), "{err}");
}
