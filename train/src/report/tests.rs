use std::fs;
use std::path::Path;

use hetrain_export::{Artifact, GraphBuilder, Interval, Op, Provenance, RangeStats, Tensor};

use super::ladder::LADDER_FILE;
use super::*;

fn rung(rung: &str, title: &str, correct: usize) -> RungSummary {
    let (rung, title) = (rung.into(), title.into());
    RungSummary {
        rung,
        title,
        samples: 360,
        correct,
        agree: None,
        correct_before: None,
        max_logit_error: None,
        bits: None,
        excursions: 0,
        nats: None,
        nats_everywhere: None,
    }
}

fn ladder() -> LadderSummary {
    let below = |mut r: RungSummary, agree: usize, error: f64| {
        r.agree = Some(agree);
        r.max_logit_error = Some(error);
        r
    };
    let mut encrypted = below(rung("encrypted", "encrypted (CKKS)", 351), 360, 3.4e-4);
    encrypted.bits = Some(15.62);
    LadderSummary {
        characters_per_token: None,
        model: "cnn-s".into(),
        model_digest: artifact().digest().unwrap(),
        data: "digits".into(),
        machine: "test processor <fast> & \"cheap\"".into(),
        threads: 2,
        rungs: vec![
            rung("original", "original (Burn)", 360),
            rung("polynomial", "polynomial (Burn)", 351),
            below(rung("graph", "folded graph (f64)", 351), 360, 1.2e-6),
            below(rung("packed", "packed program (clear slots)", 351), 360, 4.0e-13),
            encrypted,
        ],
        parameters: ParametersSummary {
            log_n: 13,
            log_qp: 209.3,
            log_qp_limit: 214.0,
            levels: 5,
            scale_bits: 26,
            security: 128,
            packing: "image".into(),
            rotation_keys: 31,
            predicted_bits: 13.9,
        },
        nodes: vec![
            node("image", "input", 5, 5, 0.0),
            node("fc1", "linear", 5, 4, 0.031),
            node("act", "square", 4, 3, 0.004),
        ],
        timing: TimingSummary {
            key_seconds: 0.4,
            weights_seconds: 0.2,
            encode_encrypt_seconds: 0.003,
            infer_seconds: 0.0357,
            decrypt_seconds: 0.001,
            seconds_per_image: 0.0397,
            images_per_run: 1,
            key_bytes: 23_456_789,
            peak_bytes: 187_000_000,
            estimated_seconds: 0.041,
            estimated_peak_bytes: 201_000_000,
        },
        divergence: None,
    }
}

fn node(name: &str, op: &str, level_in: usize, level_out: usize, seconds: f64) -> NodeSummary {
    NodeSummary {
        name: name.into(),
        op: op.into(),
        level_in,
        level_out,
        ciphertexts: 1,
        rotations: 7,
        seconds_estimated: 1.2 * seconds,
        seconds_measured: Some(seconds),
        bits_predicted: 14.0,
        bits_measured: Some(15.0),
    }
}

fn artifact() -> Artifact {
    let mut b = GraphBuilder::default();
    let x = b.input("image", &[4]).unwrap();
    let x = b.linear("fc1", x, Tensor::new([2, 4], vec![0.5; 8]).unwrap(), None).unwrap();
    b.push("act", Op::Square { intervals: vec![Interval::new(-2.0, 3.0).unwrap()] }, &[x]).unwrap();
    let mut graph = b.finish().unwrap();
    let mut range = RangeStats::empty("data");
    range.update(&[-1.25, 1.0]);
    graph.set_ranges(vec![range; 3]);
    Artifact { graph, provenance: Provenance::default() }
}

/// A run with `metrics` that was never exported nor verified.
fn run(metrics: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = "name: \"<i>run</i>\"\nseed: 1\nmodel: {name: cnn-s}\ndata: {name: digits, batch: 32}\n";
    fs::write(dir.path().join("config.yaml"), config).unwrap();
    fs::write(dir.path().join("metrics.jsonl"), metrics).unwrap();
    dir
}

const METRICS: &str = r#"{"event":"step","phase":0,"kind":"pretrain","epoch":0,"step":0,"loss":2.5}
{"event":"epoch","phase":0,"kind":"pretrain","epoch":0,"step":40,"loss":1.5,"validation_accuracy":0.9,"validation_loss":null,"ranges":[{"name":"conv1.act","min":-9.5,"max":3.0,"lo":-8.0,"hi":8.0}],"new":1}
{"event":"phase","phase":0,"kind":"pretrain","epoch":0,"validation_accuracy":0.9}
"#;

fn page(dir: &Path) -> String {
    fs::read_to_string(write(dir).unwrap()).unwrap()
}

#[test]
fn the_box_is_aligned() {
    let want = "  ┌ accuracy ladder ─────────────┬──────────┬───────────┬─────────────────────┐
  │ original (Burn)              │ 100.00 % │           │                     │
  │ polynomial (Burn)            │  97.50 % │ agree     │ max |Δlogit|        │
  │ folded graph (f64)           │  97.50 % │ 100.00 %  │ 1.2e-6              │
  │ packed program (clear slots) │  97.50 % │ 100.00 %  │ 4.0e-13             │
  │ encrypted (CKKS)             │  97.50 % │ 100.00 %  │ 3.4e-4  (15.6 bits) │
  └──────────────────────────────┴──────────┴───────────┴─────────────────────┘
  latency 35.7 ms/image with 2 threads (--threads 1 -o DIR measures one alone) · keys 23.5 MB · peak memory 187 MB";
    assert_eq!(box_table(&ladder()), want);
    // One image had all threads, or one thread had one image: nothing ran beside it.
    for (threads, samples, words) in [(2, 1, "2 threads"), (1, 360, "1 thread")] {
        let mut alone = ladder();
        (alone.threads, alone.rungs[4].samples) = (threads, samples);
        let text = box_table(&alone);
        assert!(text.contains(&format!("latency 35.7 ms/image with {words} · keys")), "{text}");
        assert_eq!(text.contains("(CKKS), 1 image "), samples == 1, "{text}");
    }
}

#[test]
fn the_box_tells_of_what_went_wrong() {
    let mut bad = ladder();
    bad.rungs[1].agree = Some(351);
    bad.rungs[2].max_logit_error = Some(0.0);
    bad.rungs[4].samples = 100;
    bad.rungs[4].correct = 9;
    bad.rungs[4].agree = Some(9);
    bad.rungs[4].correct_before = Some(98);
    bad.rungs[4].max_logit_error = Some(f64::NAN);
    bad.rungs[4].excursions = 1;
    let text = box_table(&bad);
    assert!(
        text.contains("│ encrypted (CKKS), 100 images │   9.00 % │   9.00 %  │ NaN  (15.6 bits)"),
        "{text}"
    );
    assert!(text.contains("┘\n  warning: "), "{text}");
    assert!(text.contains("\n  on these 100 images the clear program has 98.00 %\n  latency"), "{text}");
    assert!(text.contains("\n  warning: 1 value left their interval in: encrypted (CKKS)\n"), "{text}");
    assert!(text.contains("│ 100.00 % │ agree     │ max |Δlogit|        │\n"), "{text}");
    assert!(text.contains("│ 100.00 %  │ 0                   │\n"), "{text}");
    let widths: Vec<usize> = text.lines().take(7).map(|l| l.chars().count()).collect();
    assert!(widths.iter().all(|w| *w == widths[0]), "{text}");
    // A heading that has no row above its column gets one.
    bad.rungs[0].agree = Some(1);
    assert!(
        box_table(&bad).lines().nth(1).unwrap().ends_with("│          │ agree     │ max |Δlogit|        │")
    );
    bad.rungs.pop();
    assert!(
        box_table(&bad)
            .ends_with("not run encrypted; estimated latency 41.0 ms/image · estimated peak memory 201 MB")
    );
}

#[test]
fn what_is_not_finite_survives_the_file() {
    let dir = tempfile::tempdir().unwrap();
    assert!(read_ladder(dir.path()).unwrap().is_none());
    let mut bad = ladder();
    bad.rungs[4].max_logit_error = Some(f64::INFINITY);
    bad.parameters.predicted_bits = f64::NEG_INFINITY;
    write_ladder(dir.path(), &bad).unwrap();
    assert_eq!(read_ladder(dir.path()).unwrap(), Some(bad));
    let path = dir.path().join(LADDER_FILE);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"threads\"", "\"thread\"")).unwrap();
    let error = format!("{:#}", read_ladder(dir.path()).unwrap_err());
    assert!(error.contains("ladder.json") && error.contains("thread"), "{error}");
}

#[test]
fn a_page_needs_only_a_config() {
    let dir = run("");
    fs::remove_file(dir.path().join("metrics.jsonl")).unwrap();
    let page = page(dir.path());
    assert!(
        page.contains("Verification has not been run") && page.contains("Nothing has been trained"),
        "{page}"
    );
    assert!(page.contains("<h1>&lt;i&gt;run&lt;/i&gt;</h1>") && !page.contains("<i>run"));
    fs::remove_file(dir.path().join("config.yaml")).unwrap();
    assert!(write(dir.path()).unwrap_err().to_string().contains("config.yaml: no such file"));
}

#[test]
fn a_full_page_shows_everything_and_loads_nothing() {
    let dir = run(METRICS);
    artifact().write(&dir.path().join("model.hemodel")).unwrap();
    write_ladder(dir.path(), &ladder()).unwrap();
    fs::write(dir.path().join("timing.jsonl"), "{\"phase\":0,\"seconds\":1.5,\"validation_seconds\":0.5}\n")
        .unwrap();
    let text = page(dir.path());
    for part in [
        "97.50 %",
        "test processor &lt;fast&gt; &amp; &quot;cheap&quot;",
        "conv1.act",
        "class=\"bad\"",
        "−9.50 … 3.00 in −8.00 … 8.00",
        "−1.25 … 1.00 in −2.00 … 3.00",
        "2<sup>13</sup>",
        "2.00 s",
        "35.7 ms",
    ] {
        assert!(text.contains(part), "{part}");
    }
    for outside in ["http:", "https:", "<script", "src=", "@import", "NaN"] {
        assert!(!text.contains(outside), "{outside}");
    }
    assert!(!text.contains("another model"));
    assert_eq!(text, page(dir.path()));
    let mut other = ladder();
    other.model_digest = "0".into();
    write_ladder(dir.path(), &other).unwrap();
    assert!(page(dir.path()).contains("another model"));
}

#[test]
fn a_malformed_line_is_named() {
    for (line, need) in [("{\"event\":\"epo", "EOF"), ("{\"event\":\"epok\",\"phase\":0}", "unknown variant")]
    {
        let dir = run(&format!("{METRICS}{line}"));
        let error = write(dir.path()).unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl: line 4: ") && error.contains(need), "{error}");
    }
}
