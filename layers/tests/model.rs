//! What a trainer relies on: seeds, copies, files, statistics, penalties.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use burn::module::Module;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Tensor, TensorData};
use hetrain_export::Interval;
use hetrain_layers::{
    ActivationKind, AttentionKind, HeModel, LayerError, ModelConfig, ModelName, NormKind, Operator,
    RangePenalty, WeightProblem,
};

fn config(name: ModelName) -> ModelConfig {
    let input = match name {
        ModelName::CnnS => [1, 8, 8],
        ModelName::Vgg11 => [3, 32, 32],
        _ => [3, 16, 16],
    };
    ModelConfig::new(name, input, 10)
}

fn batch(model: &HeModel, device: &Device, scale: f32) -> Tensor<4> {
    let [c, h, w] = model.config().input;
    let values: Vec<f32> = (0..6 * c * h * w).map(|i| (i as f32 * 0.713).sin() * scale).collect();
    Tensor::from_data(TensorData::new(values, [6, c, h, w]), device)
}

fn host<const D: usize>(t: Tensor<D>) -> Vec<f32> {
    t.into_data().try_to_vec().unwrap()
}

#[test]
fn one_seed_gives_one_network() {
    let bytes = |seed| config(ModelName::CnnS).init(&Device::flex(), seed).unwrap().to_bytes().unwrap();
    assert_eq!(bytes(5), bytes(5));
    assert_ne!(bytes(5), bytes(6));
}

#[test]
fn a_file_restores_the_model_exactly() {
    let device = Device::flex().autodiff();
    for name in [ModelName::CnnS, ModelName::Resnet20, ModelName::Resnet18] {
        let model = config(name).init(&device, 1).unwrap();
        model.forward(batch(&model, &device, 2.0));
        model.set_blend(0, 0.25);
        model.set_range(1, Interval::new(-3.0, 4.5).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        model.save(&path).unwrap();
        assert_eq!(ModelConfig::read_from(&path).unwrap().as_ref(), Some(model.config()));

        let mut other = config(name).init(&device, 2).unwrap();
        // An update of statistics that is still pending must not come back after loading.
        other.forward(batch(&other, &device, 9.0));
        other.load(&path).unwrap();
        assert_eq!(other.to_bytes().unwrap(), model.to_bytes().unwrap());
        assert_eq!((other.blend(0), other.range(1)), (0.25, model.range(1)));
        let x = batch(&model, &Device::flex(), 1.0);
        assert_eq!(host(other.valid().forward(x.clone()).logits), host(model.valid().forward(x).logits));
        let grads = other.forward(batch(&other, &device, 1.0)).logits.sum().backward();
        let grads = GradientsParams::from_grads(grads, &other);
        assert!(grads.len() > 8, "loaded parameters are still trained: {}", grads.len());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }
}

/// An original network does not depend on what is to replace its parts.
#[test]
fn an_original_is_loaded_between_networks_of_other_polynomials() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let gpt = ModelConfig::new(ModelName::Gpt, [7, 4, 1], 7);
    let resnet = config(ModelName::Resnet20);
    let herpn = ModelConfig { activation: ActivationKind::Herpn, ..resnet.clone() };
    let all = AttentionKind::ALL.into_iter().zip(NormKind::ALL);
    let others = all.map(|(attention, norm)| ModelConfig { attention, norm, ..gpt.clone() });
    for (from, to) in others.map(|to| (gpt.clone(), to)).chain([(resnet, herpn)]) {
        for (from, to) in [(&from, &to), (&to, &from)] {
            let (original, mut other) = (from.init(&device, 1).unwrap(), to.init(&device, 2).unwrap());
            original.save(&path).unwrap();
            other.set_blend(0, 1.0);
            other.load_original(&path).unwrap();
            let x = batch(&original, &device, 1.0);
            assert_eq!(host(original.forward(x.clone()).logits), host(other.forward(x).logits), "{to:?}");
        }
    }
    let mut wide = ModelConfig { name: ModelName::Bert, ..gpt }.init(&device, 3).unwrap();
    let error = wide.load_original(&path).unwrap_err();
    assert!(matches!(error, LayerError::Weights { .. }), "{error}");
}

#[test]
fn an_optimiser_step_keeps_the_state_and_moves_the_coefficients() {
    let device = Device::flex().autodiff();
    let model = config(ModelName::CnnS).init(&device, 1).unwrap();
    (0..2).for_each(|i| model.set_blend(i, 0.5));
    let before = model.to_bytes().unwrap();
    let grads = model.forward(batch(&model, &device, 1.0)).logits.powi_scalar(2).sum().backward();
    let grads = GradientsParams::from_grads(grads, &model);
    // Two convolutions, two batch norms, two quadratics, matrix and bias.
    assert_eq!(grads.len(), 2 + 4 + 6 + 2);
    let mut optimiser = SgdConfig::new().init();
    let handle = model.clone();
    let model = optimiser.step(0.1, model, grads);
    assert_ne!(model.to_bytes().unwrap(), before);
    handle.set_blend(1, 1.0);
    assert_eq!(model.blend(1), 1.0);
}

#[test]
fn a_deep_copy_shares_nothing() {
    let device = Device::flex().autodiff();
    let model = config(ModelName::Resnet20).init(&device, 1).unwrap();
    model.forward(batch(&model, &device, 1.0));
    let (copy, clone) = (model.deep_copy(), model.clone());
    let before = copy.to_bytes().unwrap();
    assert_eq!(before, model.to_bytes().unwrap());
    model.forward(batch(&model, &device, 5.0));
    model.set_blend(0, 1.0);
    model.set_range(0, Interval::new(-1.0, 1.0).unwrap());
    assert_eq!(copy.to_bytes().unwrap(), before);
    assert_eq!(clone.to_bytes().unwrap(), model.to_bytes().unwrap(), "a plain clone does share");
    assert!(copy.forward(batch(&copy, &device, 1.0)).logits.is_autodiff());
    let fixed = model.valid().deep_copy();
    assert!(!fixed.forward(batch(&fixed, &Device::flex(), 1.0)).logits.is_autodiff());
}

#[test]
fn loading_lists_every_problem_and_changes_nothing() {
    use safetensors::tensor::{Dtype, TensorView};
    let mut model = config(ModelName::CnnS).init(&Device::flex(), 1).unwrap();
    let before = model.to_bytes().unwrap();
    let file = safetensors::SafeTensors::deserialize(&before).unwrap();
    let nan = f32::NAN.to_le_bytes().repeat(16);
    let mut tensors: Vec<(String, TensorView<'_>)> = file
        .iter()
        .filter(|(name, _)| *name != "fc.bias")
        .map(|(name, view)| {
            let view = match name {
                "conv1.bn.gamma" => TensorView::new(Dtype::F32, vec![8], &nan[..32]).unwrap(),
                "conv1.bn.beta" => TensorView::new(Dtype::F32, vec![16], &nan).unwrap(),
                "conv1.bn.running_mean" => TensorView::new(Dtype::I32, vec![16], &nan).unwrap(),
                _ => view,
            };
            (name.to_string(), view)
        })
        .collect();
    tensors.push(("extra".into(), TensorView::new(Dtype::F32, vec![2, 2], &nan[..16]).unwrap()));
    let bytes = safetensors::serialize(tensors, None).unwrap();
    let err = model.load_bytes(&bytes, Path::new("bad.safetensors")).unwrap_err();
    let LayerError::Weights { problems, .. } = &err else { panic!("{err}") };
    let text = err.to_string();
    for part in [
        "bad.safetensors",
        "cnn-s",
        "`fc.bias` is missing: needs [10]",
        "`extra` [2, 2] has no place",
        "`conv1.bn.gamma` has another shape: needs [16], got [8]",
        "`conv1.bn.beta` holds values that are not finite",
        "`conv1.bn.running_mean` needs floating-point",
        "help:",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    assert_eq!(problems.len(), 5);
    assert!(problems.contains(&WeightProblem::Missing { name: "fc.bias".into(), needs: vec![10] }));
    assert_eq!(model.to_bytes().unwrap(), before);
}

#[test]
fn damaged_files_are_errors() {
    let mut model = config(ModelName::CnnS).init(&Device::flex(), 1).unwrap();
    let whole = model.to_bytes().unwrap();
    let path = Path::new("cut.safetensors");
    for cut in (0..whole.len()).step_by(251) {
        let err = model.load_bytes(&whole[..cut], path).unwrap_err().to_string();
        assert!(err.contains("cut.safetensors") && err.contains("help:"), "{err}");
    }
    for at in 0..2000 {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x15;
        // Some flips leave a valid file, none may panic.
        let _ = model.load_bytes(&bytes, path);
    }
    assert!(matches!(model.load(Path::new("/nowhere/x.safetensors")), Err(LayerError::Io { .. })));
    assert!(matches!(model.save(Path::new("/nowhere/x.safetensors")), Err(LayerError::Io { .. })));
}

#[test]
fn penalties_punish_what_is_outside_and_cost_nothing_when_off() {
    let device = Device::flex().autodiff();
    let model = config(ModelName::CnnS).init(&device, 1).unwrap();
    let x = batch(&model, &device, 1.0);
    assert!(model.forward(x.clone()).penalty.is_none());
    model.collect_ranges(true);
    model.forward(x.clone());
    let seen = model.take_ranges();
    let worst = |hi: f64| -> f64 {
        seen.iter().map(|s| s.overall()).map(|s| (s.max - hi).max(-hi - s.min).max(0.0)).sum()
    };
    let set = |hi: f64| {
        let interval = Interval::new(-hi, hi).unwrap();
        (0..2).for_each(|i| model.set_range(i, interval));
    };
    let penalty = || model.forward(x.clone()).penalty.unwrap();
    for kind in [RangePenalty::Hinge, RangePenalty::Worst, RangePenalty::HingeAndWorst, RangePenalty::Barrier]
    {
        model.set_penalty(Some(kind));
        set(100.0);
        assert_eq!(host(penalty()), [0.0], "{kind:?} inside");
        set(1.0);
        let outside = penalty();
        assert!(host(outside.clone())[0] > 0.0, "{kind:?} outside");
        let grads = GradientsParams::from_grads(outside.backward(), &model);
        assert!(grads.len() >= 5, "{kind:?} reaches {} parameters", grads.len());
    }
    model.set_penalty(Some(RangePenalty::Worst));
    let got = f64::from(host(penalty())[0]);
    assert!((got - worst(1.0)).abs() < 1e-4, "{got} and {}", worst(1.0));
    model.set_penalty(Some(RangePenalty::Power { exponent: 4 }));
    set(2.0);
    let wide = host(penalty())[0];
    set(1.0);
    // The fourth power of half the interval is a sixteenth.
    assert!((host(penalty())[0] / wide - 16.0).abs() < 1e-3);
    let fixed = model.valid();
    assert!(fixed.forward(batch(&fixed, &Device::flex(), 1.0)).penalty.is_none());
}

#[test]
fn the_clamp_acts_in_training_only() {
    let device = Device::flex().autodiff();
    let model = config(ModelName::CnnS).init(&device, 1).unwrap();
    (0..2).for_each(|i| model.set_blend(i, 1.0));
    let train = || host(model.forward(batch(&model, &device, 1.0)).logits.inner());
    let free = train();
    model.set_training_clamp(Some(0.5));
    assert_ne!(train(), free);
    let fixed = model.valid();
    let eval = || host(fixed.forward(batch(&fixed, &Device::flex(), 1.0)).logits);
    let clamped = eval();
    model.set_training_clamp(None);
    assert_eq!(eval(), clamped);
    assert_eq!(train(), free);
}

#[test]
fn statistics_lead_to_a_better_start() {
    let device = Device::flex();
    let model = config(ModelName::CnnS).init(&device, 1).unwrap();
    let x = batch(&model, &device, 4.0);
    let relu = host(model.forward(x.clone()).logits);
    model.collect_ranges(true);
    model.forward(x.clone());
    let stats = model.take_ranges();
    assert_eq!(stats[0].channels.len(), 16);
    assert_eq!(stats[0].channels[0].count, 6 * 64);
    assert_eq!(stats[1].name, "conv2.act");
    let error = |model: &HeModel| -> f32 {
        model.set_blend(0, 1.0);
        model.set_blend(1, 1.0);
        let logits = host(model.forward(x.clone()).logits);
        model.set_blend(0, 0.0);
        model.set_blend(1, 0.0);
        logits.iter().zip(&relu).map(|(a, b)| (a - b).powi(2)).sum()
    };
    let before = error(&model);
    assert!(matches!(
        model.clone().fit_quadratics(&stats[..1], &[Operator::Activation]),
        Err(LayerError::Stats { .. })
    ));
    let fitted = model.fit_quadratics(&stats, &[Operator::Activation]).unwrap();
    // Statistics of the second activation are those behind a ReLU, so the fit is not the best, only far better.
    assert!(error(&fitted) < 0.5 * before, "{} and {before}", error(&fitted));
}

#[test]
fn features_are_the_ends_of_stages() {
    let cases: [(ModelName, &[[usize; 3]], usize); 4] = [
        (ModelName::Resnet20, &[[6, 16, 256], [6, 32, 64], [6, 64, 16]], 19),
        (ModelName::Resnet18, &[[6, 64, 256], [6, 128, 64], [6, 256, 16], [6, 512, 4]], 17),
        (ModelName::Vgg11, &[[6, 64, 256], [6, 128, 64], [6, 256, 16], [6, 512, 4], [6, 512, 1]], 8),
        (ModelName::Cnn64, &[[6, 16, 256], [6, 32, 64], [6, 64, 16], [6, 64, 4]], 4),
    ];
    for (name, ends, activations) in cases {
        let model = config(name).init(&Device::flex(), 1).unwrap();
        let out = model.forward(batch(&model, &Device::flex(), 1.0));
        let shapes: Vec<[usize; 3]> = out.features.iter().map(Tensor::dims).collect();
        assert_eq!(shapes, ends, "{name}");
        assert_eq!(out.logits.dims(), [6, 10]);
        assert_eq!(model.operators(), activations, "{name}");
    }
}

#[test]
fn a_resnet_18_asks_for_the_names_of_torchvision() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("empty.safetensors");
    let nothing: [(&str, safetensors::tensor::TensorView<'_>); 0] = [];
    std::fs::write(&path, safetensors::serialize(nothing, None).unwrap()).unwrap();
    let mut model = config(ModelName::Resnet18).init(&Device::flex(), 1).unwrap();
    let err = model.load_pretrained(&path).unwrap_err();
    let LayerError::Weights { problems, .. } = &err else { panic!("{err}") };
    for (name, needs) in [
        ("conv1.weight", vec![64, 3, 3, 3]),
        ("bn1.running_var", vec![64]),
        ("layer1.0.conv1.weight", vec![64, 64, 3, 3]),
        ("layer4.1.bn2.bias", vec![512]),
        ("layer2.0.downsample.0.weight", vec![128, 64, 1, 1]),
        ("layer4.0.downsample.1.running_mean", vec![512]),
        ("fc.weight", vec![10, 512]),
        ("fc.bias", vec![10]),
    ] {
        assert!(problems.contains(&WeightProblem::Missing { name: name.into(), needs }), "{name} in:\n{err}");
    }
    // 20 convolutions, as many batch norms of four tensors, matrix and bias; nothing for the identities.
    assert_eq!(problems.len(), 20 + 80 + 2);
}
