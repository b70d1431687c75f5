//! From a trained run to ciphertexts and back, and everything that can be wrong on the way.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

mod util;

use std::{fs, path::Path, sync::OnceLock};

use hetrain_export::{Artifact, Graph, Interval, Op, RangeStats};
use serde_json::Value;
use util::{Dir, SMALL, wait_for};

/// One small run for the whole file, verified at the end of its training.
fn trained() -> &'static Dir {
    static DIR: OnceLock<Dir> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = Dir::new();
        dir.write("run.yaml", &format!("{SMALL}verify: {{ samples: 40, packed: 20, encrypted: 10 }}\n"));
        dir.succeeds(&["--config", "run.yaml"]);
        dir
    })
}

/// A folder of its own with a copy of the artifact, changed.
fn copy(change: impl FnOnce(&mut Vec<u8>)) -> Dir {
    let dir = Dir::new();
    let mut bytes = fs::read(trained().join("runs/small/model.hemodel")).unwrap();
    change(&mut bytes);
    fs::write(dir.join("model.hemodel"), bytes).unwrap();
    dir
}

fn replace(bytes: &mut Vec<u8>, from: &str, to: &str) {
    let escape = |s: &str| s.replace('"', "\\\"").into_bytes();
    let (from, to) = (escape(from), escape(to));
    let at = bytes.windows(from.len()).position(|w| w == from).unwrap();
    bytes.splice(at..at + from.len(), to);
}

/// A way to spoil an artifact.
type Change = Box<dyn FnOnce(&mut Vec<u8>)>;

fn ladder(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The record of a sample on a rung, from `ladder.jsonl`.
fn record(dir: &Dir, rung: &str, sample: u64) -> Value {
    let text = dir.read("runs/small/ladder.jsonl");
    text.lines()
        .skip(1)
        .map(|l| serde_json::from_str::<Value>(l).unwrap())
        .find(|r| r["rung"] == rung && r["sample"] == sample)
        .unwrap()
}

fn logits(record: &Value) -> Vec<f64> {
    record["logits"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// Whether the largest logit is the label's.
fn correct(record: &Value) -> bool {
    let (logits, label) = (logits(record), record["label"].as_u64().unwrap() as usize);
    logits.iter().all(|v| *v <= logits[label])
}

#[test]
fn a_config_ends_in_an_accuracy_under_encryption() {
    let dir = trained();
    let summary = ladder(&dir.join("runs/small/ladder.json"));
    let rungs = summary["rungs"].as_array().unwrap();
    let names: Vec<&str> = rungs.iter().map(|r| r["rung"].as_str().unwrap()).collect();
    assert_eq!(names, ["original", "polynomial", "graph", "packed", "encrypted"]);
    for rung in &rungs[2..] {
        assert_eq!(rung["agree"], rung["samples"], "{rung}");
        assert_eq!(rung["excursions"], 0, "{rung}");
    }
    let samples: Vec<u64> = rungs.iter().map(|r| r["samples"].as_u64().unwrap()).collect();
    assert_eq!(samples, [40, 40, 40, 20, 10]);
    assert!(rungs[4]["bits"].as_f64().unwrap() > 12.0, "{}", rungs[4]);
    assert!(summary["divergence"].is_null(), "{}", summary["divergence"]);
    // The ten encrypted images need not be as hard as all twenty, so the clear program is counted on them alone.
    let clear = (0..10).filter(|&s| correct(&record(dir, "packed", s))).count() as u64;
    assert_eq!(rungs[4]["correct_before"], clear);
    let words = format!("on these 10 images the clear program has {clear}0.00 %");
    assert_eq!(rungs[4]["correct"], clear, "the ten agree, so `too` is right");
    let page = dir.read("runs/small/report.html");
    assert!(page.contains(&format!("{words} too.")), "{page}");
    assert!(
        page.contains("encrypted (CKKS)") && !page.contains("src=\"http") && !page.contains("href=\"http")
    );
}

#[test]
fn a_killed_verification_goes_on_where_it_stopped() {
    let dir = copy(|_| {});
    let args = [
        "verify-encrypted",
        "--model",
        "model.hemodel",
        "--samples",
        "24",
        "--clear-samples",
        "24",
        "--threads",
        "1",
    ];
    let mut child = dir.spawn(&args);
    let file = dir.join("ladder.jsonl");
    let done = || fs::read_to_string(&file).map_or(0, |t| t.matches("\"encrypted\"").count());
    wait_for("some encrypted images", || done() >= 3 || child.try_wait().unwrap().is_some());
    child.kill().unwrap();
    child.wait().unwrap();
    let before = done();
    assert!((3..24).contains(&before), "{before} images were done");
    let mut torn = fs::read(&file).unwrap();
    torn.extend_from_slice(b"{\"rung\":\"encr");
    fs::write(&file, torn).unwrap();
    let ran = dir.succeeds(&args);
    assert!(ran.stdout.contains("results of an earlier verification are kept"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("more than"), "{}", ran.stdout);
    assert_eq!(done(), 24, "no image twice, none missing");
    assert_eq!(ladder(&dir.join("ladder.json"))["rungs"][2]["agree"], 24);
}

#[test]
fn times_that_are_kept_stay_with_their_estimate_and_machine() {
    let dir = copy(|_| {});
    let args = ["verify-encrypted", "--model", "model.hemodel", "--samples", "2", "--clear-samples", "2"];
    dir.succeeds(&args);
    // As another machine, or this one before its clock was measured anew, would have written it.
    let mut before = ladder(&dir.join("ladder.json"));
    before["machine"] = "another machine".into();
    before["timing"]["estimated_seconds"] = 700.0.into();
    for node in before["nodes"].as_array_mut().unwrap() {
        node["seconds_estimated"] = 70.0.into();
    }
    dir.write("ladder.json", &before.to_string());
    dir.succeeds(&args);
    assert_eq!(ladder(&dir.join("ladder.json")), before, "nothing was measured");
    let ran = dir.succeeds(&[&args[..3], &["--samples", "1", "--clear-samples", "2"]].concat());
    for part in [
        "6 results of an earlier verification are kept, over 3 rungs\n",
        "2 encrypted results are already there, more than the 1 asked for; -o DIR measures anew\n",
    ] {
        assert!(ran.stdout.contains(part), "`{part}` is not in {}", ran.stdout);
    }
    // Where something is measured, all of it is of this machine and of one estimate.
    dir.succeeds(&[&args[..3], &["--samples", "3", "--clear-samples", "3"]].concat());
    let after = ladder(&dir.join("ladder.json"));
    let sum: f64 =
        after["nodes"].as_array().unwrap().iter().map(|n| n["seconds_estimated"].as_f64().unwrap()).sum();
    let whole = after["timing"]["estimated_seconds"].as_f64().unwrap();
    assert!((sum - whole).abs() < 1e-9 * whole && whole < 700.0, "{sum} {whole}");
    assert_ne!(after["machine"], before["machine"]);
}

#[test]
fn results_of_another_model_are_not_replaced_by_the_way() {
    let dir = copy(|_| {});
    // Another model: one whose ranges were measured on other data.
    let mut other = Artifact::read(&dir.join("model.hemodel")).unwrap();
    let ranges = other.graph.nodes().iter().map(|n| n.range.clone().unwrap());
    let ranges = ranges.map(|range| RangeStats { data_digest: "other".into(), ..range }).collect();
    other.graph.set_ranges(ranges);
    other.write(&dir.join("other.hemodel")).unwrap();
    let verify = |model: &'static str, more: &[&'static str]| {
        let args = ["verify-encrypted", "--model", model, "--samples", "1", "--clear-samples", "1"];
        [&args[..], more].concat()
    };
    dir.succeeds(&verify("model.hemodel", &["-o", "there"]));
    dir.succeeds(&verify("model.hemodel", &[]));
    let before = (dir.read("there/ladder.jsonl"), dir.read("there/ladder.json"));
    let [mine, theirs] = ["there/ladder.jsonl", "ladder.jsonl"].map(|file| {
        let header =
            dir.read(file).lines().next().map(|l| serde_json::from_str::<Value>(l).unwrap()).unwrap();
        format!("found {} (small)", header["model_digest"].as_str().unwrap())
    });
    assert_eq!(mine, theirs);
    let parts =
        ["there/ladder.jsonl: holds results of another model", "(other.hemodel)", &mine, "help:", "-o DIR"];
    dir.fails(&verify("other.hemodel", &["-o", "there"]), &parts);
    // By itself every model gets a folder of its own.
    dir.succeeds(&verify("other.hemodel", &[]));
    assert!(dir.join("other.ladder/ladder.json").is_file());
    assert!(before == (dir.read("there/ladder.jsonl"), dir.read("there/ladder.json")));
    dir.succeeds(&verify("model.hemodel", &["-o", "there"]));
    dir.succeeds(&verify("other.hemodel", &["-o", "elsewhere"]));
}

#[test]
fn images_that_escape_count_as_wrong_and_end_nothing() {
    let dir = copy(|_| {});
    // Values are a thousand times as large as the intervals of the squares and the ranges that were planned for.
    let mut model = Artifact::read(&dir.join("model.hemodel")).unwrap();
    let mut nodes = model.graph.nodes().to_vec();
    for node in nodes.iter_mut().skip(1) {
        let range = node.range.as_mut().unwrap();
        for value in [&mut range.min, &mut range.max, &mut range.mean, &mut range.std] {
            *value *= 1e-3;
        }
        if let Op::Square { intervals } = &mut node.op {
            intervals.iter_mut().for_each(|i| *i = Interval::new(i.lo * 1e-3, i.hi * 1e-3).unwrap());
        }
    }
    model.graph = Graph::from_parts(nodes, model.graph.tensors().clone()).unwrap();
    model.write(&dir.join("wild.hemodel")).unwrap();
    let ran = dir.succeeds(&[
        "verify-encrypted",
        "--model",
        "wild.hemodel",
        "--samples",
        "3",
        "--clear-samples",
        "3",
    ]);
    let summary = ladder(&dir.join("wild.ladder/ladder.json"));
    let encrypted = &summary["rungs"].as_array().unwrap()[2];
    assert_eq!((&encrypted["rung"], &encrypted["samples"]), (&"encrypted".into(), &3.into()));
    assert_eq!((&encrypted["agree"], &encrypted["bits"]), (&0.into(), &Value::Null), "{encrypted}");
    assert!(ran.stdout.contains("3 of 3 images leave an interval, the first is image 0"), "{}", ran.stdout);
}

#[test]
fn client_and_server_are_separate_processes_and_agree() {
    let dir = trained();
    let model = ["--model", "small"];
    let run = |args: &[&str]| dir.succeeds(&[&args[..1], &model, &args[1..]].concat());
    run(&["keygen", "-o", "client"]);
    run(&["encrypt", "--keys", "client", "--index", "3", "-o", "image.ct"]);
    // The server gets everything but the secret key.
    fs::create_dir_all(dir.join("server")).unwrap();
    for file in ["plan.json", "evaluation.keys"] {
        fs::copy(dir.join("client").join(file), dir.join("server").join(file)).unwrap();
    }
    run(&["infer", "--keys", "server", "--input", "image.ct", "-o", "result.ct"]);
    let ran = run(&["decrypt", "--keys", "client", "--input", "result.ct", "--json"]);
    let got: Vec<Vec<f64>> = serde_json::from_str(&ran.stdout).unwrap();
    let want = logits(&record(dir, "graph", 3));
    let range = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    assert!(got[0].iter().zip(&want).all(|(a, b)| (a - b).abs() < range / 4096.0), "{got:?} {want:?}");

    dir.fails(
        &["decrypt", "--model", "small", "--keys", "server", "--input", "result.ct"],
        &["secret.key", "help:"],
    );
    dir.fails(&["keygen", "--model", "small", "-o", "client"], &["there is a secret key already", "help:"]);
    dir.fails(
        &["encrypt", "--model", "small", "--keys", "client", "--index", "360", "-o", "x.ct"],
        &["360 test images", "no number 360"],
    );
    assert!(!dir.join("x.ct").exists());

    // A second key of the same parameters has another number.
    dir.succeeds(&["keygen", "--model", "small", "-o", "twin"]);
    dir.fails(
        &["decrypt", "--model", "small", "--keys", "twin", "--input", "result.ct"],
        &["result.ct: decrypt: the ciphertext belongs to key", "the secret key to key", "help:"],
    );
    dir.fails(
        &["infer", "--model", "small", "--keys", "twin", "--input", "image.ct", "-o", "x.ct"],
        &["twin/evaluation.keys and image.ct: infer: the ciphertext belongs to key", "help:"],
    );

    // Keys of another plan of the same model are foreign.
    dir.succeeds(&["keygen", "--model", "small", "--precision-bits", "18", "-o", "other"]);
    dir.fails(
        &["infer", "--model", "small", "--keys", "other", "--input", "image.ct", "-o", "x.ct"],
        &["image.ct", "parameters"],
    );
    let mut bytes = fs::read(dir.join("image.ct")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(dir.join("flipped.ct"), &bytes).unwrap();
    fs::write(dir.join("cut.ct"), &bytes[..middle]).unwrap();
    fs::write(dir.join("newer.ct"), {
        let mut b = bytes.clone();
        b[8] = 9;
        b
    })
    .unwrap();
    for (file, part) in [("flipped.ct", "flipped.ct"), ("cut.ct", "cut.ct"), ("newer.ct", "version")] {
        dir.fails(
            &["infer", "--model", "small", "--keys", "server", "--input", file, "-o", "x.ct"],
            &[file, part],
        );
    }
    let other = copy(|b| {
        // Another model: one with another name for a node.
        replace(b, "\"name\":\"fc\"", "\"name\":\"fd\"");
    });
    dir.fails(
        &[
            "infer",
            "--model",
            other.join("model.hemodel").to_str().unwrap(),
            "--keys",
            "server",
            "--input",
            "image.ct",
            "-o",
            "x.ct",
        ],
        &["model.hemodel"],
    );
    assert!(!dir.join("x.ct").exists());
}

#[test]
fn damaged_and_foreign_artifacts_are_refused() {
    let cases: [(&str, Change, &[&str]); 5] = [
        ("cut", Box::new(|b| b.truncate(b.len() - 100)), &["damaged", "help:"]),
        (
            "flip",
            Box::new(|b| {
                let n = b.len();
                b[n - 50] ^= 1;
            }),
            &["damaged", "digest", "help:"],
        ),
        (
            "newer",
            Box::new(|b| replace(b, "\"version\":2", "\"version\":7")),
            &["version 7", "up to 2", "help:"],
        ),
        (
            "op",
            Box::new(|b| replace(b, "\"flatten\",\"inputs", "\"softmax\",\"inputs")),
            &["`fc.flatten`", "`softmax`", "help:"],
        ),
        (
            "text",
            Box::new(|b| *b = b"hello, this is no model".to_vec()),
            &["not a hetrain artifact", "help:"],
        ),
    ];
    for (name, change, parts) in cases {
        let dir = copy(change);
        for command in [["estimate", "--model"], ["verify-encrypted", "--model"], ["check", "--model"]] {
            let ran = dir.run(&[command[0], command[1], "model.hemodel"]);
            ran.is_error(parts);
            assert!(ran.stderr.contains("model.hemodel"), "{name}: {}", ran.stderr);
        }
    }
    Dir::new().fails(&["estimate", "--model", "nowhere"], &["nowhere", "no such artifact or run", "help:"]);
}

#[test]
fn what_cannot_run_is_refused_before_it_starts() {
    let dir = copy(|_| {});
    dir.fails(
        &["verify-encrypted", "--model", "model.hemodel", "--max-memory", "0.01"],
        &["0.01 GB are allowed", "keys", "weights", "help:"],
    );
    dir.fails(
        &["estimate", "--model", "model.hemodel", "--precision-bits", "40"],
        &["no 128-bit parameter set", "5 levels", "40 bits", "help:"],
    );
    dir.fails(&["verify-encrypted", "--model", "model.hemodel", "--data", "mnist"], &["`mnist`", "help:"]);
    assert!(!dir.join("ladder.json").exists() && !dir.join("model.ladder").exists());
}

#[test]
fn estimate_prints_a_price_and_check_agrees() {
    let dir = copy(|_| {});
    let ran = dir.succeeds(&["estimate", "--model", "model.hemodel"]);
    for part in ["5 levels", "128-bit security", "conv2", "rotation keys", "memory:"] {
        assert!(ran.stdout.contains(part), "`{part}` is not in {}", ran.stdout);
    }
    let ran = dir.succeeds(&["estimate", "--model", "model.hemodel", "--layout", "batch", "--json"]);
    let price: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(price["rotation_keys"], 0);
    assert!(price["images_per_run"].as_u64().unwrap() >= 2048);
    dir.fails(
        &["estimate", "--model", "model.hemodel", "--layout", "batch", "--batch", "7"],
        &["--batch changes nothing", "--layout image"],
    );
    let ran = dir.succeeds(&["check", "--model", "model.hemodel"]);
    assert!(ran.stdout.contains("5 levels; nothing keeps it from running encrypted"), "{}", ran.stdout);
}
