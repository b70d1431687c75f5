//! Every configuration that is shipped can be used, and every mistake in one is answered with what to do.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

mod util;

use std::path::Path;

use util::Dir;

#[test]
fn every_shipped_configuration_passes_check() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "yaml") {
            let ran = Dir::new().succeeds(&["check", "--config", path.to_str().unwrap()]);
            assert!(
                ran.stdout.contains("keeps this configuration from running encrypted"),
                "{}: {}",
                path.display(),
                ran.stdout
            );
            count += 1;
        }
    }
    assert!(count >= 6, "{count}");
}

#[test]
fn a_name_is_looked_for_in_configs_and_a_near_one_is_suggested() {
    let dir = Dir::new();
    dir.write("configs/small.yaml", util::SMALL);
    dir.succeeds(&["check", "--config", "small"]);
    dir.succeeds(&["check", "--config", "small.yaml"]);
    dir.succeeds(&["check", "--config", "configs/small.yaml"]);
    dir.fails(
        &["check", "--config", "smal.yaml"],
        &["no configuration `smal.yaml`", "did you mean `small.yaml`?"],
    );
}

#[test]
fn arguments_before_a_command_are_refused() {
    let dir = Dir::new();
    dir.write("run.yaml", util::SMALL);
    dir.fails(
        &["--set", "model.name=nonsense", "check", "--config", "run.yaml"],
        &["before a command would be ignored", "write them behind it"],
    );
    dir.succeeds(&["--threads", "1", "check", "--config", "run.yaml"]);
}

/// The small run with one thing changed.
fn changed(from: &str, to: &str) -> String {
    assert!(util::SMALL.contains(from), "{from}");
    util::SMALL.replace(from, to)
}

#[test]
fn mistakes_name_key_place_need_and_remedy() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("seed: 3", "sead: 3", &["`sead` (line 2, column", "unknown setting", "did you mean `seed`?"]),
        ("batch: 16", "bach: 16", &["`data.bach`", "did you mean `batch`?"]),
        ("ramp: 0.4", "rampp: 0.4", &["`phases[2].rampp`", "did you mean `ramp`?"]),
        ("features: 0.1", "feature: 0.1", &["`phases[2].distill.feature`", "did you mean `features`?"]),
        (
            "epochs: 4",
            "epochs: -3",
            &["`phases[0].epochs` (line 6, column", "whole number from 1 to", "found -3"],
        ),
        ("epochs: 4", "epochs: many", &["`phases[0].epochs`", "found the text `many`"]),
        ("epochs: 4", "epochs: 1.5", &["`phases[0].epochs`", "found 1.5"]),
        (", epochs: 4", "", &["`phases[0].epochs`", "is missing"]),
        ("batch: 16", "batch: 0", &["`data.batch`", "found 0"]),
        ("batch: 16", "batch: [1]", &["`data.batch`", "the list [1]"]),
        (
            "interval: [-6, 6]",
            "interval: [6, -6]",
            &["`phases[1].interval`", "the lower first", "write `[-6, 6]`"],
        ),
        ("interval: [-6, 6]", "interval: 6", &["`phases[1].interval`", "two numbers"]),
        ("ramp: 0.4", "ramp: 1.4", &["`phases[2].ramp`", "from 0 to 1", "found 1.4"]),
        (
            "ramp: 0.4",
            "clamp_off: 1.0",
            &["`phases[2].clamp_off`", "no effect without `clamp`", "`clamp: 10`"],
        ),
        ("features: 0.1", "temperature: 0", &["`phases[2].distill.temperature`", "above 0", "found 0"]),
        ("name: cnn-s", "name: cnn-x", &["`model.name`", "did you mean `cnn-s`?"]),
        ("name: digits", "name: digit", &["`data.name`", "did you mean `digits`?"]),
        ("name: digits", "name: digits, validation: 0.9", &["`data.validation`", "at most 0.5", "found 0.9"]),
        ("kind: range_aware", "kind: range", &["`phases[1].kind`", "needs one of pretrain"]),
        (
            "kind: pretrain",
            "kind: polish",
            &["`phases[0].kind`", "still has ReLU here", "put a `replace` phase before"],
        ),
        ("epochs: 4", "epochs: 4, start: small", &["`phases[0].start`", "`run:NAME`", "found `small`"]),
        (
            "epochs: 4",
            "epochs: 4, dropout: 0.1",
            &["`phases[0].dropout`", "blocks of transformers", "`cnn-s` has none"],
        ),
        (
            "interval: [-6, 6]",
            "interval: [0, 0]",
            &["`phases[1].interval`", "the lower first", "write `[-8, 8]`"],
        ),
        (
            "features: 0.1",
            "attention: 0.1",
            &["`phases[2].distill.attention`", "`cnn-s` has none", "`features`"],
        ),
        (
            "name: cnn-s",
            "name: cnn-s, activation: poly2-branch",
            &["`model.activation`", "residual blocks", "write `poly2`"],
        ),
        ("epochs: 4", "epochs: 4, augment: { cutout: 8 }", &["`augment.cutout`", "less than 8", "found: 8"]),
        ("epochs: 4", "epochs: 4, augment: { noise: 0.1 }", &["`augment`", "needs text", "remove `noise`"]),
        ("name: digits", "name: digits, dir: nowhere", &["`dir`", "files", "`digits`"]),
        (
            "phases:",
            "verify: { encrypted: 500 }\nphases:",
            &["`verify.encrypted`", "500 test samples", "found 360 in `digits`"],
        ),
        (
            "kind: replace",
            "kind: polish, start: file:x.pth",
            &["`phases[2].start`", "`none` or `run:NAME`", "found `file:x.pth`"],
        ),
        ("name: small", "name: ../small", &["`name`", "folder"]),
        ("phases:", "he: { security: 80 }\nphases:", &["`he.security`", "needs 128 bits, found 80"]),
        ("phases:", "he: { bootstrap: always }\nphases:", &["`he.bootstrap`", "auto", "found `always`"]),
        (
            "phases:",
            "verify: { samples: 40, packed: 20, encrypted: 30 }\nphases:",
            &["`verify.encrypted`", "at most the 20 of `packed`", "found 30"],
        ),
        ("name: small", "name: small\nname: again", &["not valid YAML", "duplicate"]),
        ("model: {", "model: [", &["not valid YAML"]),
    ];
    for (from, to, parts) in cases {
        let dir = Dir::new();
        dir.write("run.yaml", &changed(from, to));
        dir.fails(&["train", "--config", "run.yaml"], parts);
        assert!(!dir.join("runs").exists(), "{to}: something was written");
    }
}

#[test]
fn all_mistakes_come_at_once_in_the_order_of_the_file() {
    let dir = Dir::new();
    let text =
        changed("seed: 3", "seed: -1").replace("ramp: 0.4", "ramp: 2").replace("ema: 0.9", "emma: 0.9");
    dir.write("run.yaml", &text);
    let ran = dir.fails(&["--config", "run.yaml"], &["3 settings"]);
    let at = |key: &str| ran.stderr.find(key).unwrap_or(usize::MAX);
    assert!(at("`seed`") < at("[2].ramp") && at("[2].ramp") < at("[3].emma"), "{}", ran.stderr);
}

#[test]
fn overrides_are_typed_and_checked_like_the_file() {
    let dir = Dir::new();
    dir.write("run.yaml", util::SMALL);
    let args = |set: &'static str| ["train", "--config", "run.yaml", "--set", set];
    dir.fails(&args("phases.0.epochs=-1"), &["`phases[0].epochs` (--set)", "found -1"]);
    dir.fails(&args("data.bacth=4"), &["`data.bacth` (--set)", "did you mean `batch`?"]);
    dir.fails(&args("phases.9.epochs=1"), &["`9` is no entry of the list, which has 4"]);
    dir.fails(&args("nothing"), &["there is no `=`"]);
}

#[test]
fn a_network_that_ends_with_relu_fails_the_check() {
    let dir = Dir::new();
    let text: Vec<&str> =
        util::SMALL.lines().filter(|l| !l.contains("replace") && !l.contains("polish")).collect();
    dir.write("run.yaml", &text.join("\n"));
    dir.fails(&["check", "--config", "run.yaml"], &["ends with ReLU", "add a `replace` phase"]);
}

#[test]
fn a_network_is_priced_before_it_is_trained() {
    let dir = Dir::new();
    dir.write("run.yaml", util::SMALL);
    let ran = dir.succeeds(&["estimate", "--config", "run.yaml", "--json"]);
    let price: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(price["levels"], 5);
    assert!(price["seconds"].as_f64().unwrap() > 0.0 && price["bits"].as_f64().unwrap() >= 12.0);
    dir.fails(&["estimate", "--config", "nothing.yaml"], &["no configuration `nothing.yaml`"]);
}

#[test]
fn usage_mistakes_exit_with_two() {
    let dir = Dir::new();
    for args in [
        &["train", "--confg", "x"][..],
        &["check"],
        &["estimate"],
        &["estimate", "--config", "a", "--model", "b"],
        &["train", "--device", "tpu"],
        &["--threads", "0", "train"],
    ] {
        assert_eq!(dir.run(args).code, Some(2), "{args:?}");
    }
    dir.fails(&["train"], &["no configuration", "--config quickstart"]);
}

#[test]
fn devices_of_other_builds_name_their_feature() {
    let dir = Dir::new();
    dir.write("run.yaml", util::SMALL);
    let built = [
        ("ndarray", cfg!(feature = "ndarray")),
        ("wgpu", cfg!(feature = "wgpu")),
        ("cuda", cfg!(feature = "cuda")),
    ];
    for (name, here) in built {
        if !here {
            let build = format!("cargo build --release --features {name}");
            dir.fails(
                &["train", "--config", "run.yaml", "--device", name],
                &["not part of this build", &build],
            );
        }
    }
}

#[test]
fn a_configuration_that_needs_a_teacher_says_so_before_it_looks_for_data() {
    let dir = Dir::new();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/resnet20_poly.yaml");
    let file = ["`file:resnet20-12fca82f.th`: no such file", "--data-dir", "hetrain distill --config"];
    let start = ["`resnet20_poly` begins with `replace`", "hetrain distill --config", "--teacher"];
    let text = std::fs::read_to_string(config).unwrap();
    for (text, parts) in [(text.replace("file:resnet20-12fca82f.th", "previous"), start), (text, file)] {
        dir.write("run.yaml", &text);
        let ran = dir.fails(&["train", "--config", "run.yaml"], &parts);
        // There is no CIFAR-10 here, and that is not what it complains of.
        assert!(!ran.stderr.contains("cifar") && !dir.join("runs").exists(), "{}", ran.stderr);
    }
}

#[test]
fn an_architecture_without_data_is_priced_and_not_trained() {
    let dir = Dir::new();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/bert_base.yaml");
    let config = config.to_str().unwrap();
    let ran = dir.succeeds(&["estimate", "--config", config, "--set", "model.blocks=2"]);
    for part in ["37.7 million parameters", "blocks.1.out", "one image", "with `--max-memory`"] {
        assert!(ran.stdout.contains(part), "{part} is missing in\n{}", ran.stdout);
    }
    dir.fails(
        &["train", "--config", config],
        &["`input`: describes a network without data", "hetrain estimate"],
    );
    assert!(!dir.join("runs").exists());
    let wrong = ["estimate", "--config", config, "--set", "input=[30522,128]", "--set", "model.heads=5"];
    dir.fails(&wrong, &["`input`", "[channels, height, width]", "5 heads do not divide the width 768"]);
}
