//! Runs are interrupted in every way, and end as if nothing had happened.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]
#![cfg(unix)]

mod util;

use std::{fs, process::Command, time::Duration};

use util::{Dir, SMALL, ran, wait_for};

/// The files that must not depend on interruptions.
const RESULTS: [&str; 4] = [
    "metrics.jsonl",
    "checkpoints/3-replace.safetensors",
    "checkpoints/4-polish.safetensors",
    "model.hemodel",
];

fn results(dir: &Dir) -> Vec<Vec<u8>> {
    RESULTS.iter().map(|f| fs::read(dir.join("runs/small").join(f)).unwrap()).collect()
}

fn reference() -> Dir {
    let dir = Dir::new();
    dir.write("run.yaml", SMALL);
    dir.succeeds(&["--config", "run.yaml"]);
    dir
}

fn leftovers(dir: &Dir) -> Vec<String> {
    let names = fs::read_dir(dir.join("runs/small/checkpoints")).unwrap();
    names.map(|e| e.unwrap().file_name().into_string().unwrap()).filter(|n| n.starts_with(".tmp")).collect()
}

#[test]
fn a_run_killed_in_the_middle_of_epochs_continues_exactly() {
    let whole = reference();
    let dir = Dir::new();
    dir.write("run.yaml", SMALL);
    let metrics = dir.join("runs/small/metrics.jsonl");
    for (kills, phase) in
        [r#""phase":0,"kind":"pretrain""#, r#""phase":2,"kind":"replace""#, r#""phase":3,"kind":"polish""#]
            .iter()
            .enumerate()
    {
        let mark = &format!(r#"{phase},"epoch":1,"step""#);
        let args: &[&str] =
            if kills == 0 { &["--config", "run.yaml"] } else { &["train", "--resume", "small"] };
        let mut child = dir.spawn(args);
        wait_for(mark, || {
            fs::read_to_string(&metrics).is_ok_and(|m| m.contains(mark))
                || child.try_wait().unwrap().is_some()
        });
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), None, "the run ended before it could be killed");
    }
    // Lines after the last checkpoint are there now and must be cut; a torn line too.
    let mut torn = fs::read(&metrics).unwrap();
    torn.extend_from_slice(b"{\"event\":\"st");
    fs::write(&metrics, torn).unwrap();
    let last = dir.succeeds(&["train", "--resume", "runs/small"]);
    assert!(last.stdout.contains("continues in phase 4 (`polish`)"), "{}", last.stdout);
    assert!(results(&dir) == results(&whole), "a continued run differs from a whole one");
}

#[test]
fn ctrl_c_leaves_a_run_that_continues_exactly() {
    let whole = reference();
    let dir = Dir::new();
    dir.write("run.yaml", SMALL);
    let child = dir.spawn(&["--config", "run.yaml"]);
    let metrics = dir.join("runs/small/metrics.jsonl");
    wait_for("the first epoch", || fs::read_to_string(&metrics).is_ok_and(|m| m.contains(r#""epoch":1"#)));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let ended = ran(child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(ended.stderr.contains("hetrain train --resume small"), "{}", ended.stderr);
    // The same command again also continues.
    let again = dir.succeeds(&["--config", "run.yaml"]);
    assert!(again.stdout.contains("continues in phase"), "{}", again.stdout);
    assert!(results(&dir) == results(&whole));
}

#[test]
fn a_finished_run_is_not_trained_again() {
    let dir = reference();
    let before = results(&dir);
    let again = dir.succeeds(&["--config", "run.yaml"]);
    assert!(again.stdout.contains("already trained"), "{}", again.stdout);
    assert!(results(&dir) == before);
    dir.fails(
        &["train", "--config", "run.yaml", "--set", "seed=4"],
        &["another configuration", "`seed`", "--set name=", "--resume small"],
    );
    assert!(results(&dir) == before);
    // Exporting elsewhere writes the same artifact.
    dir.succeeds(&["export", "small", "-o", "copy.hemodel"]);
    assert!(fs::read(dir.join("copy.hemodel")).unwrap() == before[3]);
    let checked = dir.succeeds(&["check", "--model", "copy.hemodel"]);
    assert!(checked.stdout.contains("5 levels"), "{}", checked.stdout);
}

#[test]
fn an_unknown_run_is_answered_with_full_paths_and_the_runs_there_are() {
    let dir = Dir::new();
    for name in ["two", "one"] {
        dir.write(&format!("runs/{name}/config.yaml"), SMALL);
    }
    // Neither is a run: a file, and a folder of results that were verified elsewhere.
    dir.write("runs/notes.txt", "");
    dir.write("runs/verified/ladder.json", "{}");
    dir.write("run.yaml", SMALL);
    let here = dir.path().canonicalize().unwrap().display().to_string();
    let looked = format!("\n  looked at: {here}/runs/smal, {here}/smal\n  runs here: one, two\n  help: ");
    for (args, what) in [
        (&["export", "smal"][..], "no run `smal`"),
        (&["train", "--resume", "smal"], "no run `smal`"),
        (&["report", "smal"], "no run `smal`"),
        (&["estimate", "--model", "smal"], "smal: no such artifact or run"),
        (
            &["distill", "--config", "run.yaml", "--teacher", "smal"],
            "--teacher smal: neither a file nor a run",
        ),
    ] {
        dir.fails(args, &[what, &looked]);
    }
    // A full path is looked at once, wherever runs are.
    let verified = format!("{here}/runs/verified");
    dir.fails(&["report", &verified], &[&format!("\n  looked at: {verified}\n  runs here: one, two\n")]);
    dir.fails(&["report", "smal", "--runs", "no"], &[&format!("{here}/no/smal, "), "runs here: none\n"]);
}

#[test]
fn a_configuration_changed_after_training_is_noticed() {
    let dir = reference();
    let (config, before) = (dir.read("runs/small/config.yaml"), results(&dir));
    let changed = config.replace("epochs: 5", "epochs: 6").replace("batch: 16", "batch: 8");
    dir.write("runs/small/config.yaml", &changed);
    let parts = [
        "runs/small/config.yaml: changed since",
        "`data.batch` (16, now 8)",
        "`phases[2].epochs` (5, now 6)",
        "hetrain train --config runs/small/config.yaml --set name=",
        "remove runs/small/checkpoints/latest",
    ];
    dir.fails(&["train", "--resume", "small"], &parts);
    dir.fails(&["export", "small"], &parts);
    assert!(results(&dir) == before);
    // The remedies: the old configuration, which is put back, or training again.
    dir.succeeds(&["--config", "run.yaml"]);
    assert_eq!(dir.read("runs/small/config.yaml"), config);
    dir.write("runs/small/config.yaml", &changed);
    fs::remove_file(dir.join("runs/small/checkpoints/latest")).unwrap();
    dir.succeeds(&["train", "--resume", "small"]);
    dir.succeeds(&["train", "--resume", "small"]);
    assert!(results(&dir) != before);
    // What the encrypted run may assume and how much is verified do not change what was trained.
    let before = results(&dir);
    let later = changed.replace("precision_bits: 12", "precision_bits: 10")
        + "verify: { samples: 2, encrypted: 1 }\n";
    assert_ne!(later, changed);
    dir.write("runs/small/config.yaml", &later);
    let again = dir.succeeds(&["train", "--resume", "small"]);
    assert!(again.stdout.contains("already trained") && results(&dir) == before, "{}", again.stdout);
    // Runs of programs that did not note their configuration go on.
    fs::remove_file(dir.join("runs/small/checkpoints/config.yaml")).unwrap();
    dir.succeeds(&["train", "--resume", "small"]);
}

#[test]
fn a_phase_that_is_added_goes_on_from_the_others() {
    let dir = reference();
    let before = results(&dir);
    let more =
        "  - { kind: polish, epochs: 1, augment: { crop_padding: 1, zoom: 0.2, light: 0.3 } }\ncheckpoint";
    dir.write("run.yaml", &SMALL.replace("checkpoint", more));
    let ran = dir.succeeds(&["--config", "run.yaml"]);
    assert!(ran.stdout.contains("1/1") && !ran.stdout.contains("4/4"), "{}", ran.stdout);
    assert!(results(&dir) != before);
    // Taking it away again is another configuration.
    dir.write("run.yaml", SMALL);
    dir.fails(&["--config", "run.yaml"], &["another configuration", "`phases[4]"]);
}

#[test]
fn the_part_to_choose_by_can_be_cut() {
    let dir = Dir::new();
    dir.write("run.yaml", SMALL);
    let once =
        ["train", "--config", "run.yaml", "--set", "phases.0.epochs=1", "--set", "data.validation_limit=20"];
    let said = dir.succeeds(&once).stdout;
    assert!(said.contains("360 to train on, 20 to choose by"), "{said}");
}

#[test]
fn the_last_epoch_is_kept_where_that_is_asked_for() {
    let dir = Dir::new();
    dir.write("run.yaml", SMALL);
    // Nothing is learnt, so one of the four epochs does not validate better than all before it.
    let still = ["--set", "phases.0.optimizer.lr=1e-12"];
    for (keep, all) in [("best", false), ("last", true)] {
        let (name, keep) = (format!("name={keep}"), format!("phases.0.keep={keep}"));
        let args = ["train", "--config", "run.yaml", "--set", &name, "--set", &keep];
        dir.succeeds(&args.into_iter().chain(still).collect::<Vec<_>>());
        let metrics = dir.read(&format!("runs/{}/metrics.jsonl", &name[5..]));
        let epochs = metrics.lines().filter(|l| l.contains("\"pretrain\"") && l.contains("\"best\":true"));
        assert_eq!(epochs.count() == 4, all, "{keep}");
    }
}

#[test]
fn a_lost_result_is_recovered_as_the_message_says() {
    let dir = reference();
    let before = results(&dir);
    let remedy = ["help:", "remove runs/small/checkpoints/latest", "`hetrain train --resume small`"];
    let checkpoints = dir.join("runs/small/checkpoints");
    let away = |name: &str| fs::rename(checkpoints.join(name), dir.join(name)).unwrap();
    let back = |name: &str| fs::rename(dir.join(name), checkpoints.join(name)).unwrap();
    for name in ["4-polish.json", "4-polish.safetensors"] {
        away(name);
        for args in [&["export", "small"][..], &["train", "--resume", "small"]] {
            let ran = dir.fails(args, &remedy);
            assert!(
                ran.stderr.contains(&format!("small/checkpoints/{name}: no such file")),
                "{}",
                ran.stderr
            );
        }
        back(name);
    }
    // A teacher is not replaced by a lesser one.
    away("2-range_aware.json");
    let teach = ["distill", "--config", "run.yaml", "--set", "name=student", "--teacher", "small"];
    dir.fails(&teach, &["2-range_aware.json: no such file", "`hetrain train --resume small`"]);
    away("4-polish.json");
    fs::remove_file(checkpoints.join("latest")).unwrap();
    dir.succeeds(&["train", "--resume", "small"]);
    assert!(results(&dir) == before);
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_one_before() {
    let whole = reference();
    let dir = Dir::new();
    dir.write("run.yaml", SMALL);
    let mut child = dir.spawn(&["--config", "run.yaml"]);
    let latest = dir.join("runs/small/checkpoints/latest");
    wait_for("a checkpoint", || latest.exists());
    std::thread::sleep(Duration::from_millis(30));
    child.kill().unwrap();
    child.wait().unwrap();
    // Small files fit, weights do not: the write fails in its middle.
    let limited = ran(dir.shell("ulimit -f 24", &["train", "--resume", "small"]).output().unwrap());
    limited.is_error(&["runs/small/checkpoints/", "make room", "--resume"]);
    assert!(leftovers(&dir).is_empty(), "{:?}", leftovers(&dir));
    dir.succeeds(&["train", "--resume", "small"]);
    assert!(
        results(&dir) == results(&whole),
        "what the failed write left behind was not the state before it"
    );
}

#[test]
fn two_processes_do_not_write_one_run() {
    let dir = Dir::new();
    dir.write("run.yaml", SMALL);
    let mut child = dir.spawn(&["--config", "run.yaml"]);
    wait_for("the first process", || dir.join("runs/small/metrics.jsonl").exists());
    dir.fails(&["--config", "run.yaml"], &["another process works on this run"]);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn divergence_is_reported_and_keeps_the_run() {
    let dir = Dir::new();
    let wild = "{ kind: pretrain, epochs: 4, clip: 0, optimizer: { kind: sgd, lr: 1e30 } }";
    dir.write("run.yaml", &SMALL.replace("{ kind: pretrain, epochs: 4 }", wild));
    let ran = dir.run(&["--config", "run.yaml"]);
    ran.is_error(&["phase 1 (`pretrain`)", "lower the phase's `optimizer.lr`"]);
}

#[test]
fn an_interval_that_is_left_is_declared_as_wide_as_what_was_seen() {
    let dir = Dir::new();
    let tight = "ramp: 0.4, interval: [-0.5, 0.5], range_weight: 0";
    dir.write("run.yaml", &SMALL.replace("ramp: 0.4", tight));
    dir.succeeds(&["--config", "run.yaml"]);
    let lines = dir.read("runs/small/metrics.jsonl");
    let end = lines
        .lines()
        .rfind(|l| l.contains(r#""event":"phase""#) && l.contains(r#""kind":"polish""#))
        .unwrap();
    let end: serde_json::Value = serde_json::from_str(end).unwrap();
    for range in end["ranges"].as_array().unwrap() {
        let [min, max, lo, hi] = ["min", "max", "lo", "hi"].map(|k| range[k].as_f64().unwrap());
        assert!(lo < min && max < hi && hi > 0.5, "{range}");
    }
    assert!(dir.join("runs/small/model.hemodel").exists());
}
