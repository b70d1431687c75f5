//! A fresh folder and the real binary in it.
#![allow(dead_code, reason = "each test file uses its own part of these helpers")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// A temporary folder in which `hetrain` runs.
pub struct Dir(tempfile::TempDir);

/// What the program printed, and how it ended.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Dir {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.join(name)).unwrap()
    }

    /// The program with `args`, without the user's data and cache.
    pub fn command(&self, args: &[&str]) -> Command {
        self.isolate(Command::new(env!("CARGO_BIN_EXE_hetrain")), args)
    }

    /// The program with `args` in a shell that first runs `before`.
    pub fn shell(&self, before: &str, args: &[&str]) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{before}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_hetrain")]);
        self.isolate(command, args)
    }

    fn isolate(&self, mut command: Command, args: &[&str]) -> Command {
        command
            .args(args)
            .current_dir(self.path())
            .env_remove("HETRAIN_DATA")
            .env("XDG_CACHE_HOME", self.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        ran(self.command(args).output().unwrap())
    }

    /// Run and expect success.
    pub fn succeeds(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran
    }

    /// Run and expect an error that holds every one of `parts`.
    pub fn fails(&self, args: &[&str], parts: &[&str]) -> Ran {
        let ran = self.run(args);
        ran.is_error(parts);
        ran
    }

    pub fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).spawn().unwrap()
    }
}

impl Ran {
    /// An error of ours: exit code 1, one message with all of `parts`, no panic.
    pub fn is_error(&self, parts: &[&str]) {
        assert_eq!(self.code, Some(1), "{}{}", self.stdout, self.stderr);
        assert!(self.stderr.starts_with("error: "), "{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is not in: {}", self.stderr);
        }
    }
}

pub fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// End a process as a power cut would.
pub fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Wait until `done`, at most a minute.
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited a minute for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A small run on the embedded digits, stored every few steps.
pub const SMALL: &str = "\
name: small
seed: 3
model: { name: cnn-s }
data: { name: digits, batch: 16, train_limit: 400, calibration: 64, augment: { crop_padding: 1 } }
phases:
  - { kind: pretrain, epochs: 4 }
  - { kind: range_aware, epochs: 2, interval: [-6, 6] }
  - { kind: replace, epochs: 5, ramp: 0.4, distill: { features: 0.1 } }
  - { kind: polish, epochs: 2, ema: 0.9, clamp: 8 }
checkpoint: { steps: 7 }
";
