//! Data and weights that are missing, cut short or wrong.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

mod util;

use std::{fs, path::Path};

use util::{Dir, SMALL};

/// Idx files of a few 8x8 images, as `data/mnist`.
fn idx(dir: &Dir, images: usize, change: impl Fn(&str, &mut Vec<u8>)) {
    let folder = dir.join("data/mnist");
    fs::create_dir_all(&folder).unwrap();
    for (part, count) in [("train", images), ("t10k", 20)] {
        let mut pixels = vec![0, 0, 8, 3];
        [count as u32, 8, 8].iter().for_each(|n| pixels.extend(n.to_be_bytes()));
        pixels.extend((0..count * 64).map(|i| (i * 31 % 251) as u8));
        let mut labels = vec![0, 0, 8, 1];
        labels.extend((count as u32).to_be_bytes());
        labels.extend((0..count).map(|i| (i % 10) as u8));
        for (kind, mut bytes) in [("images-idx3", pixels), ("labels-idx1", labels)] {
            let name = format!("{part}-{kind}-ubyte");
            change(&name, &mut bytes);
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
}

fn mnist(dir: &Dir) -> Vec<String> {
    dir.write("run.yaml", &SMALL.replace("name: digits", "name: mnist"));
    ["train", "--config", "run.yaml", "--data-dir", "data"].map(String::from).into()
}

fn fails(dir: &Dir, args: &[String], parts: &[&str]) {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    dir.fails(&args, parts);
}

#[test]
fn missing_data_says_what_where_and_how() {
    let dir = Dir::new();
    let args = mnist(&dir);
    fs::create_dir(dir.join("data")).unwrap();
    fails(&dir, &args, &["`mnist`", "train-images-idx3-ubyte", "looked in data", "help:", "--data-dir"]);
}

#[test]
fn a_drop_in_set_of_another_size_trains() {
    let dir = Dir::new();
    idx(&dir, 200, |_, _| {});
    let args = mnist(&dir);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let ran = dir.succeeds(&args);
    assert!(ran.stdout.contains("mnist 8x8, 10 classes"), "{}", ran.stdout);
}

#[test]
fn damaged_data_is_refused_by_name() {
    let dir = Dir::new();
    let args = mnist(&dir);
    idx(&dir, 200, |name, bytes| {
        if name == "train-images-idx3-ubyte" {
            bytes.truncate(1000);
        }
    });
    fails(&dir, &args, &["train-images-idx3-ubyte: truncated", "need: 12816 bytes", "found: 1000 bytes"]);
    idx(&dir, 200, |name, bytes| {
        if name == "train-images-idx3-ubyte" {
            bytes[3] = 7;
        }
    });
    fails(&dir, &args, &["train-images-idx3-ubyte: wrong magic number", "0x00000803", "0x00000807"]);
    idx(&dir, 200, |name, bytes| {
        if name == "train-labels-idx1-ubyte" {
            bytes[8 + 5] = 77;
        }
    });
    fails(&dir, &args, &["train-labels-idx1-ubyte: label 77 in record 5", "0 to 9"]);
    assert!(!dir.join("runs/small/metrics.jsonl").exists());
}

#[cfg(unix)]
#[test]
fn a_pipe_in_place_of_a_data_file_is_refused_and_not_waited_for() {
    let dir = Dir::new();
    let args = mnist(&dir);
    idx(&dir, 200, |_, _| {});
    let pipe = dir.join("data/mnist/train-labels-idx1-ubyte");
    fs::remove_file(&pipe).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fails(&dir, &args, &["train-labels-idx1-ubyte: a named pipe", "need: a regular file", "help:"]);
}

/// A safetensors file with these tensors of zeros.
fn weights(path: &Path, tensors: &[(&str, &[usize])]) {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape) in tensors {
        let bytes = 4 * shape.iter().product::<usize>();
        header.insert(
            (*name).into(),
            serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [end, end + bytes] }),
        );
        end += bytes;
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.resize(file.len() + end, 0);
    fs::write(path, file).unwrap();
}

#[test]
fn weights_that_do_not_fit_are_listed_all_together() {
    let dir = Dir::new();
    dir.write("run.yaml", SMALL);
    let args = ["distill", "--config", "run.yaml", "--teacher", "teacher.safetensors"];
    dir.fails(&args, &["teacher.safetensors: neither a file nor a run", "help:"]);
    weights(&dir.join("teacher.safetensors"), &[("fc.weight", &[10, 3]), ("stranger", &[2])]);
    dir.fails(&args, &["teacher.safetensors", "`fc.weight`", "[10, 3]", "`stranger`", "is missing", "help:"]);
    fs::write(dir.join("teacher.safetensors"), b"not weights at all").unwrap();
    dir.fails(&args, &["teacher.safetensors", "help:"]);
    assert!(!dir.join("runs/small/metrics.jsonl").exists());
}

#[test]
fn a_run_teaches_another() {
    let dir = Dir::new();
    dir.write("run.yaml", SMALL);
    dir.succeeds(&["train", "--config", "run.yaml"]);
    let ran =
        dir.succeeds(&["distill", "--config", "run.yaml", "--teacher", "small", "--set", "name=student"]);
    assert!(ran.stdout.contains("teacher small: "), "{}", ran.stdout);
    assert!(dir.join("runs/student/model.hemodel").is_file());
    // What is written back can be read again, the teacher included.
    assert!(dir.read("runs/student/config.yaml").contains("run:small"));
    dir.succeeds(&["export", "student"]);
    // Another begins with its features: after a first step nearly without a rate, its first layer is still the same, its last is not.
    let weights = |file: &str, layer: &str| {
        let bytes = fs::read(dir.join(&format!("runs/{file}.safetensors"))).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let values = file.tensor(layer).unwrap().data().as_chunks::<4>().0.to_vec();
        values.into_iter().map(f32::from_le_bytes).collect::<Vec<_>>()
    };
    let near = |from: &str, to: &str, layer: &str| {
        let pairs = std::iter::zip(
            weights(&format!("small/checkpoints/{from}"), layer),
            weights(&format!("heir/checkpoints/{to}"), layer),
        );
        pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-5)
    };
    let heir = ["name=heir", "seed=9", "phases.0.start=run:small", "phases.0.optimizer.lr=1e-9"];
    // The polynomial network of the other run, its polynomials included.
    let polynomial = ["phases.3.start=run:small", "phases.3.optimizer.lr=1e-9"];
    let set = heir.iter().chain(&polynomial).flat_map(|s| ["--set", s]);
    dir.succeeds(&["train", "--config", "run.yaml"].into_iter().chain(set).collect::<Vec<_>>());
    for (from, to) in [("2-range_aware", "1-pretrain"), ("4-polish", "4-polish")] {
        assert!(near(from, to, "conv1.conv.weight") && !near(from, to, "fc.weight"));
    }
    assert!(near("4-polish", "4-polish", "conv1.act.coef.linear"));
    let nobody =
        ["train", "--config", "run.yaml", "--set", "name=other", "--set", "phases.0.start=run:nobody"];
    dir.fails(&nobody, &["nobody", "help:"]);
}
