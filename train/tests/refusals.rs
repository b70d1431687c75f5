//! Small mistakes around a finished run: places, keys, ciphertexts and outputs that cannot be used.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

mod util;

use std::{fs, sync::OnceLock};

use util::{Dir, SMALL, kill, ran, wait_for};

/// One small run, exported, with a client's keys and an encrypted image.
fn served() -> &'static Dir {
    static DIR: OnceLock<Dir> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = Dir::new();
        dir.write("run.yaml", SMALL);
        dir.succeeds(&["--config", "run.yaml"]);
        dir.succeeds(&["keygen", "--model", "small", "-o", "keys"]);
        dir.succeeds(&["encrypt", "--model", "small", "--keys", "keys", "-o", "image.ct"]);
        dir
    })
}

#[test]
fn places_that_do_not_exist_are_not_replaced_by_others() {
    let dir = Dir::new();
    dir.write("run.yaml", SMALL);
    dir.fails(&["--config", "run.yaml", "--data-dir", "nowhere"], &["--data-dir nowhere", "help:"]);
    let parts = ["nothing.th: neither a file nor a run", "runs", "help:"];
    dir.fails(&["distill", "--config", "run.yaml", "--teacher", "nothing.th"], &parts);
    let many = dir.run(&["--config", "run.yaml", "--threads", "65535"]);
    assert_eq!(many.code, Some(2), "{}", many.stderr);
    let mut unset = dir.command(&["check", "--config", "run.yaml"]);
    assert_eq!(unset.env("HETRAIN_DATA", "").status().unwrap().code(), Some(0));
}

#[test]
fn checks_take_runs_and_do_not_promise_what_they_did_not_look_at() {
    let dir = served();
    assert!(dir.succeeds(&["check", "--model", "small"]).stdout.contains("nothing keeps it"));
    dir.fails(&["check", "--model", "nothing"], &["nothing", "help:"]);
    dir.write("away.yaml", &SMALL.replace("name: digits", "name: mnist"));
    let unseen = dir.succeeds(&["check", "--config", "away.yaml"]).stdout;
    assert!(
        unseen.contains("warning: ") && unseen.contains("`mnist`") && unseen.contains(" levels"),
        "{unseen}"
    );
    // What it costs depends on the size of the images, not on the images.
    assert!(dir.succeeds(&["estimate", "--config", "away.yaml"]).stdout.contains("memory: "));
    dir.write("folder.yaml", &SMALL.replace("name: digits", "name: image-folder"));
    let unseen = dir.succeeds(&["check", "--config", "folder.yaml"]).stdout;
    assert!(unseen.contains("were not checked") && !unseen.contains("\nnothing keeps"), "{unseen}");
    dir.write("start.yaml", &SMALL.replace("epochs: 4", "epochs: 4, start: run:nobody"));
    let start = dir.succeeds(&["check", "--config", "start.yaml"]).stdout;
    assert!(start.contains("warning: ") && start.contains("nobody"), "{start}");
    dir.fails(&["--config", "start.yaml"], &["nobody", "help:"]);
}

#[test]
fn ciphertexts_and_keys_are_what_they_should_be_and_nothing_more() {
    let dir = served();
    let mut longer = fs::read(dir.join("image.ct")).unwrap();
    longer.push(0);
    fs::write(dir.join("longer.ct"), longer).unwrap();
    let infer = ["infer", "--model", "small", "--keys", "keys", "-o", "out.ct", "--input"];
    dir.fails(&[&infer[..], &["longer.ct"]].concat(), &["longer.ct: there are bytes after the end", "help:"]);
    dir.fails(&[&infer[..], &["none.ct"]].concat(), &["none.ct: ", "help:"]);
    let encrypt = ["encrypt", "--model", "small", "--keys", "keys", "-o"];
    dir.fails(
        &[&encrypt[..], &["out.ct", "--index", "1,2"]].concat(),
        &["1 image(s) at once, got 2", "help:"],
    );
    let nowhere = dir.fails(&[&encrypt[..], &["no/out.ct"]].concat(), &["no/out.ct: ", "folder", "help:"]);
    assert!(!nowhere.stderr.contains(".tmp"), "{}", nowhere.stderr);
    dir.write("small.png", "no picture");
    dir.fails(&[&encrypt[..], &["out.ct", "--image", "small.png"]].concat(), &["small.png: ", "help:"]);
    let strange = ["encrypt", "--model", "small", "--keys", "nokeys", "-o", "out.ct"];
    let ran = dir.fails(&strange, &["nokeys/plan.json: ", "help: `hetrain keygen`"]);
    assert!(ran.stderr.trim_end().ends_with("never secret.key"), "the remedy comes last: {}", ran.stderr);
    assert!(!dir.join("out.ct").exists());
}

#[cfg(unix)]
#[test]
fn outputs_that_cannot_be_written_say_why_and_leave_nothing() {
    let dir = served();
    let limited = |args: &[&str]| ran(dir.shell("ulimit -f 20", args).output().unwrap());
    limited(&["keygen", "--model", "small", "-o", "limited"]).is_error(&["evaluation.keys", "make room"]);
    assert_eq!(fs::read_dir(dir.join("limited")).unwrap().count(), 0);
    limited(&["encrypt", "--model", "small", "--keys", "keys", "-o", "limited.ct"])
        .is_error(&["limited.ct", "make room"]);
    limited(&["export", "small", "-o", "limited.hemodel"]).is_error(&["limited.hemodel", "make room"]);
    assert!(!dir.join("limited.ct").exists() && !dir.join("limited.hemodel").exists());
    dir.fails(&["keygen", "--model", "small", "-o", "run.yaml"], &["run.yaml", "help:"]);
    // Where even the message cannot be written, the exit code still tells.
    let silent = dir.shell("exec 2>/dev/full", &["--config", "nothing"]).status().unwrap();
    assert_eq!(silent.code(), Some(1));
    dir.succeeds(&["infer", "--model", "small", "--keys", "keys", "--input", "image.ct", "-o", "result.ct"]);
    let decrypt = ["decrypt", "--model", "small", "--keys", "keys", "--input", "result.ct"];
    assert_eq!(dir.shell("exec >/dev/full", &decrypt).status().unwrap().code(), Some(1));
}

#[test]
fn a_pointer_to_no_state_is_a_damaged_checkpoint() {
    let dir = Dir::new();
    dir.write("run.yaml", SMALL);
    dir.succeeds(&["--config", "run.yaml"]);
    for text in ["", "nonsense", "state-99"] {
        dir.write("runs/small/checkpoints/latest", text);
        dir.fails(&["train", "--resume", "small"], &["checkpoints/latest: checkpoint is damaged", "help:"]);
    }
}

#[test]
fn a_position_that_cannot_be_is_a_damaged_checkpoint() {
    let dir = Dir::new();
    dir.write("run.yaml", SMALL);
    let child = dir.spawn(&["--config", "run.yaml"]);
    let latest = dir.join("runs/small/checkpoints/latest");
    wait_for("a checkpoint", || latest.exists());
    kill(child);
    let file = format!("runs/small/checkpoints/{}/state.json", dir.read("runs/small/checkpoints/latest"));
    let good: serde_json::Value = serde_json::from_str(&dir.read(&file)).unwrap();
    for (key, value, words) in [
        ("batch", 9_999_999_u64, "it stands after batch 9999999, an epoch has 22"),
        ("epoch", 77, "it stands in epoch 78, the phase has 4"),
        ("phase", 9, "it stands in phase 10, the run has 4"),
    ] {
        let mut bad = good.clone();
        bad[key] = value.into();
        dir.write(&file, &bad.to_string());
        let parts =
            ["state.json: checkpoint is damaged", words, "help: remove the run's `checkpoints/latest`"];
        dir.fails(&["train", "--resume", "small"], &parts);
    }
    let mut bad = good.clone();
    bad["batch"] = (good["batch"].as_u64().unwrap() + 1).into();
    dir.write(&file, &bad.to_string());
    dir.fails(&["train", "--resume", "small"], &["state.json: checkpoint is damaged", "its sums are of"]);
    dir.write(&file, &good.to_string());
    dir.succeeds(&["train", "--resume", "small"]);
}

/// The small run in a folder of its own, as `name`.
#[cfg(unix)]
fn copied(name: &std::ffi::OsStr) -> Dir {
    let dir = Dir::new();
    fs::create_dir(dir.join("runs")).unwrap();
    let copy = std::process::Command::new("cp")
        .arg("-r")
        .arg(served().join("runs/small"))
        .arg(dir.join("runs").join(name))
        .status();
    assert!(copy.unwrap().success());
    dir
}

#[cfg(unix)]
#[test]
fn a_run_that_is_only_read_may_be_read_only() {
    let dir = copied("small".as_ref());
    let chmod = |mode: &str| {
        let mut chmod = std::process::Command::new("chmod");
        assert!(chmod.args(["-R", mode]).arg(dir.join("runs")).status().unwrap().success());
    };
    let names = || {
        let mut names: Vec<_> =
            fs::read_dir(dir.join("runs/small")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    fs::remove_file(dir.join("runs/small/.lock")).unwrap();
    let before = names();
    chmod("a-w");
    let verify =
        ["verify-encrypted", "--model", "small", "--samples", "1", "--clear-samples", "2", "-o", "there"];
    let ran = [
        dir.run(&["estimate", "--model", "small"]),
        dir.run(&["check", "--model", "small"]),
        dir.run(&verify),
        dir.run(&["export", "small", "-o", "copy.hemodel"]),
    ];
    chmod("u+w");
    for ran in ran {
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }
    // The superuser may write anywhere, but there was no need.
    assert_eq!(names(), before);
    assert!(dir.join("there/ladder.json").is_file() && dir.join("copy.hemodel").is_file());
}

#[cfg(unix)]
#[test]
fn runs_are_found_by_names_that_are_no_text() {
    let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"caf\xe9");
    let dir = copied(name);
    let run =
        |before: &[&str], after: &[&str]| ran(dir.command(before).arg(name).args(after).output().unwrap());
    let verify = ["--samples", "1", "--clear-samples", "2", "-o", "there"];
    for ran in [
        run(&["estimate", "--model"], &[]),
        run(&["check", "--model"], &[]),
        run(&["verify-encrypted", "--model"], &verify),
        run(&["export"], &["-o", "copy.hemodel"]),
        run(&["report"], &[]),
        run(&["train", "--resume"], &[]),
    ] {
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }
    fs::remove_dir_all(dir.join("runs").join(name)).unwrap();
    run(&["estimate", "--model"], &[]).is_error(&["caf\u{fffd}: no such artifact or run", "help:"]);
    run(&["train", "--resume"], &[]).is_error(&["no run `caf\u{fffd}`", "help:"]);
}
