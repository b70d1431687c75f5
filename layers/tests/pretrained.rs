//! Public ResNet weights for CIFAR-10 give the logits PyTorch computed with them.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test helpers")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use hetrain_layers::{HeModel, LayerError, ModelConfig, ModelName};

fn data() -> PathBuf {
    std::env::var_os("HETRAIN_DATA").map(PathBuf::from).expect("HETRAIN_DATA names the data folder")
}

fn model(name: ModelName) -> HeModel {
    let config = ModelConfig::new(name, [3, 32, 32], 10);
    config.init(&Device::flex(), 3).unwrap()
}

/// The first four records of `test_batch.bin`: a label and 3072 bytes each.
fn images() -> Tensor<4> {
    let bytes = std::fs::read(data().join("cifar10/cifar-10-batches-bin/test_batch.bin")).unwrap();
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let pixels: Vec<f32> = bytes
        .chunks_exact(3073)
        .take(4)
        .flat_map(|r| r[1..].iter().enumerate())
        .map(|(i, &p)| (f32::from(p) / 255.0 - mean[i / 1024]) / std[i / 1024])
        .collect();
    Tensor::from_data(TensorData::new(pixels, [4, 3, 32, 32]), &Device::flex())
}

#[test]
#[ignore = "needs HETRAIN_DATA"]
fn public_weights_reproduce_their_logits() {
    let weights = data().join("weights");
    let expected: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&std::fs::read(weights.join("expected.json")).unwrap()).unwrap();
    let x = images();
    for (name, th) in [
        (ModelName::Resnet20, "resnet20-12fca82f.th"),
        (ModelName::Resnet32, "resnet32-d509ac18.th"),
        (ModelName::Resnet44, "resnet44-014dd654.th"),
        (ModelName::Resnet56, "resnet56-4bfd9763.th"),
    ] {
        let entry = &expected[name.as_str()];
        let want: Vec<Vec<f64>> =
            serde_json::from_value(entry["logits_of_first_4_images_of_test_batch.bin"].clone()).unwrap();
        let want: Vec<f64> = want.into_iter().flatten().collect();
        for file in [th.to_string(), format!("{name}-cifar10.safetensors")] {
            let mut model = model(name);
            model.load_pretrained(&weights.join(&file)).unwrap();
            let got = model.forward(x.clone()).logits.into_data().try_to_vec::<f32>().unwrap();
            let worst = got.iter().zip(&want).map(|(g, w)| (f64::from(*g) - w).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-4, "{file}: logits differ by {worst}");
            println!("{file}: largest difference {worst:.1e}");
        }
        let coefficients = 3 * model(name).take_ranges().iter().map(|s| s.channels.len()).sum::<usize>();
        assert_eq!(model(name).trainable() - coefficients, entry["parameters"].as_u64().unwrap() as usize);
    }
}

#[test]
#[ignore = "needs HETRAIN_DATA"]
fn damaged_pytorch_files_are_errors() {
    let whole = std::fs::read(data().join("weights/resnet20-12fca82f.th")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.th");
    let mut net = model(ModelName::Resnet20);
    let before = net.to_bytes().unwrap();
    let mut attempt = |bytes: &[u8], what: &str| {
        std::fs::write(&path, bytes).unwrap();
        let err = net.load_pretrained(&path).expect_err(what);
        assert!(matches!(err, LayerError::Format { .. } | LayerError::Weights { .. }), "{what}: {err}");
        assert!(err.to_string().contains("weights.th"), "{err}");
        assert_eq!(net.to_bytes().unwrap(), before, "{what}: the model has changed");
    };
    for cut in (0..400).chain((400..whole.len()).step_by(17_321)) {
        attempt(&whole[..cut], &format!("cut at {cut}"));
    }
    let mut magic = whole.clone();
    magic[5] ^= 0x40;
    attempt(&magic, "wrong magic");
    attempt(b"hello", "no PyTorch file at all");
    attempt(&[0; 100], "zeros");
}

#[test]
#[ignore = "needs HETRAIN_DATA"]
fn flipped_bytes_never_panic() {
    let whole = std::fs::read(data().join("weights/resnet20-12fca82f.th")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.th");
    let mut net = model(ModelName::Resnet20);
    // The pickles stand at the front; what follows are numbers, of which any is a weight.
    for at in (0..30_000).step_by(37) {
        let mut bytes = whole.clone();
        bytes[at] = bytes[at].wrapping_add(1 + (at % 251) as u8);
        std::fs::write(&path, &bytes).unwrap();
        let _ = net.load_pretrained(&path);
    }
}

#[test]
#[ignore = "needs HETRAIN_DATA"]
fn weights_of_another_depth_list_all_that_is_missing() {
    let err =
        model(ModelName::Resnet32).load_pretrained(&data().join("weights/resnet20-12fca82f.th")).unwrap_err();
    let LayerError::Weights { problems, .. } = &err else { panic!("{err}") };
    // Two blocks more in each of three groups, ten tensors in each.
    assert_eq!(problems.len(), 60);
    assert!(err.to_string().contains("`layer3.4.bn2.running_var` is missing: needs [64]"), "{err}");
}
