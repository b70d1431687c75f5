//! Language models: by character, and by tokens.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics")]

mod util;

use std::fs;

use util::{Dir, wait_for};

#[test]
fn a_text_trains_a_language_model() {
    let dir = Dir::new();
    let config = "\
name: small
seed: 1
model: { name: gpt }
data: { name: text, dir: ., length: 8, batch: 32, calibration: 64 }
phases:
  - { kind: pretrain, epochs: 1 }
  - { kind: replace, epochs: 2, ramp: 0.4, clamp: 10, range_weight: 0.1, augment: { noise: 0.1 }, distill: { features: 0.1, attention: 0.5 } }
checkpoint: { steps: 1 }
he: { precision_bits: 8 }
";
    dir.write("run.yaml", config);
    dir.write("input.txt", "too short");
    dir.fails(
        &["train", "--config", "run.yaml"],
        &["a text of at least 900 characters", "found: 9", "help:"],
    );
    let words = ["to be, ", "or not ", "that is ", "the question. "];
    let text: String = (0..200).filter_map(|i| words.get(i * i % 7 % 4)).copied().collect();
    dir.write("input.txt", &text);
    for (set, parts) in [
        ("model.name=lenet5", ["`model.name: lenet5`", "images", "text", "help:"]),
        ("data.augment.flip=true", ["`augment`", "images", "text", "noise: 0.02"]),
        ("model.heads=3", ["model.heads", "3 heads", "do not divide the width 128", "help:"]),
    ] {
        let only = ["--set", "phases.1.distill.attention=0"];
        dir.fails(&[&["train", "--config", "run.yaml", "--set", set], &only[..]].concat(), &parts);
    }
    let metrics = dir.join("runs/small/metrics.jsonl");
    let mut child = dir.spawn(&["train", "--config", "run.yaml"]);
    let mark = r#""kind":"replace","epoch":1,"step""#;
    wait_for(mark, || fs::read_to_string(&metrics).is_ok_and(|m| m.contains(mark)));
    child.kill().unwrap();
    child.wait().unwrap();
    let ran = dir.succeeds(&["train", "--resume", "small"]);
    assert!(ran.stdout.contains("continues in phase 2"), "{}", ran.stdout);
    assert!(ran.stdout.contains("nats a character") && ran.stdout.contains("34 levels"), "{}", ran.stdout);
    let lines = fs::read_to_string(&metrics).unwrap();
    let epoch = lines.lines().rfind(|line| line.contains(r#""event":"epoch""#)).unwrap();
    let losses: serde_json::Value = epoch.parse().unwrap();
    let positive = |part: &str| losses[part].as_f64().is_some_and(|loss| loss > 0.0);
    assert!(["teacher", "features", "attention"].into_iter().all(positive), "{losses}");
    let write = ["generate", "--model", "small", "--prompt", "to be, or", "--length", "40"];
    let [once, again] = [(); 2].map(|()| dir.succeeds(&write).stdout);
    assert_eq!(once, again);
    assert!(once.starts_with("to be, or") && once.trim_end_matches('\n').len() >= 40, "{once}");
    let judged = dir.succeeds(&["generate", "--model", "small", "--original", "--length", "40", "--judge"]);
    assert!(judged.stdout.contains("nats a letter under the original network, over 40 letters"));
    let unknown = ["generate", "--model", "small", "--prompt", "to be, 0r"];
    dir.fails(&unknown, &["'0' at position 7", "never seen", "help:"]);
    dir.fails(&["generate", "--model", "small", "--prompt", ""], &["the text is empty", "help:"]);
    fs::write(dir.join("input.txt"), [text.as_bytes(), b"\xff"].concat()).unwrap();
    dir.fails(&["train", "--config", "run.yaml"], &["input.txt", "utf-8", "help:"]);
}

#[test]
fn a_model_by_tokens_needs_no_text_to_be_used() {
    let dir = Dir::new();
    let config = "\
name: small
seed: 1
model: { name: gpt, width: 8, heads: 2, blocks: 1 }
data: { name: text, dir: ., length: 4, tokens: 270, batch: 32, calibration: 64 }
phases:
  - { kind: pretrain, epochs: 1, dropout: 0.1 }
  - { kind: replace, epochs: 2, ramp: 0.4, clamp: 10, range_weight: 0.1 }
he: { precision_bits: 8 }
";
    let words = ["to be, ", "or not ", "that is ", "the question. "];
    let text: String = (0..300).filter_map(|i| words.get(i * i % 7 % 4)).copied().collect();
    dir.write("run.yaml", config);
    dir.write("input.txt", &text);
    for (set, parts) in [
        ("data.tokens=256", ["data.tokens", "from 257 to 65536", "256", "help:"]),
        ("data.tokens=5000", ["`tokens`", "do not occur in it twice", "5000", "help:"]),
        ("data.rare=2", ["`rare`", "without `tokens`", "both", "help:"]),
    ] {
        dir.fails(&["train", "--config", "run.yaml", "--set", set], &parts);
    }
    let ran = dir.succeeds(&["train", "--config", "run.yaml"]).stdout;
    for part in ["270 tokens · windows of 4", "nats a token, ", " a character"] {
        assert!(ran.contains(part), "{ran}");
    }
    assert!(dir.read("runs/small/metrics.jsonl").contains("validation_nats_per_character"));
    let judge = ["generate", "--model", "small", "--original", "--length", "8", "--judge"];
    let judged = dir.succeeds(&judge).stdout;
    assert!(judged.contains(" a letter) under the original network, over 8 tokens"), "{judged}");
    // Weights are worth nothing with other tokens.
    dir.write("input.txt", &text.replace("that is", "who knows"));
    for args in [&["train", "--resume", "small"][..], &["export", "small"]] {
        dir.fails(args, &["data set `text`", "vocabulary.json", "another", "help:"]);
    }

    // Elsewhere, with the artifact alone.
    let alone = Dir::new();
    fs::copy(dir.join("runs/small/model.hemodel"), alone.join("m.hemodel")).unwrap();
    let write = ["generate", "--model", "m.hemodel", "--prompt", "Möge es", "--length", "20"];
    let [once, again] = [(); 2].map(|()| alone.succeeds(&write).stdout);
    assert!(once == again && once.starts_with("Möge es"), "{once}");
    alone.succeeds(&["keygen", "--model", "m.hemodel", "-o", "keys"]);
    let encrypt = ["encrypt", "--model", "m.hemodel", "--keys", "keys", "-o", "in.ct", "--text"];
    let text = |text| encrypt.into_iter().chain([text]).collect::<Vec<&str>>();
    alone.fails(&text("to be or not to be, 語"), &["reads 4 tokens, the text has", "help:"]);
    alone.succeeds(&text("to be"));
    alone.succeeds(&["infer", "--model", "m.hemodel", "--keys", "keys", "--input", "in.ct", "-o", "out.ct"]);
    let said = alone.succeeds(&["decrypt", "--model", "m.hemodel", "--keys", "keys", "--input", "out.ct"]);
    assert!(said.stdout.starts_with("class ") && said.stdout.contains("logits"), "{}", said.stdout);
    // Another text, in the model's tokens.
    alone.write("input.txt", &"Is it to be, the question, or is that not it? ".repeat(20));
    let verify = ["verify-encrypted", "--model", "m.hemodel", "--data-dir", ".", "--samples", "1"];
    let verified = alone.succeeds(&verify).stdout;
    assert!(verified.contains("nats a token (") && verified.contains(" bits a letter) after"), "{verified}");

    let mut bytes = fs::read(alone.join("m.hemodel")).unwrap();
    let merges = br#"\"merges\":[["#;
    let at = bytes.windows(merges.len()).position(|w| w == merges).unwrap() + merges.len();
    bytes[at..at + 2].fill(b'9');
    fs::write(alone.join("m.hemodel"), bytes).unwrap();
    alone.fails(&write, &["the model of run `small`", "vocabulary of a text", "token 256", "help:"]);
}
