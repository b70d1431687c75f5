//! What a person sees while a phase runs: a bar with the time left on a terminal, a line now and then elsewhere.

use std::{
    io::{IsTerminal, Write},
    path::Path,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::error::{RunError, io};

/// Shortest time between two lines where there is no terminal.
const QUIET: Duration = Duration::from_secs(10);

/// Progress of one phase.
pub struct Progress {
    bar: Option<ProgressBar>,
    head: String,
    epochs: usize,
    started: Instant,
    spoken: Instant,
}

impl Progress {
    /// Begin: `number` of `stages`, called `name`, doing `what`, in `steps` steps of which `done` are made.
    pub fn new(
        number: usize,
        stages: usize,
        name: &str,
        what: &str,
        epochs: usize,
        steps: usize,
        done: usize,
    ) -> Self {
        let head = format!("[{number}/{stages}] {name:<11} {what:<18}");
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(steps as u64), ProgressDrawTarget::stderr());
            let template = "  {prefix} {bar:16} {msg}  {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("█▓░"));
            }
            bar.set_prefix(head.clone());
            bar.set_position(done as u64);
            bar.reset_eta();
            bar
        });
        let now = Instant::now();
        Self { bar, head, epochs, started: now, spoken: now }
    }

    /// One more step was made.
    pub fn step(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// An epoch ended, `summary` says how.
    pub fn epoch(&mut self, epoch: usize, summary: &str) {
        let message = format!("{}/{}  {summary}", epoch + 1, self.epochs);
        match &self.bar {
            Some(bar) => bar.set_message(message),
            None if self.spoken.elapsed() >= QUIET && epoch + 1 < self.epochs => {
                self.spoken = Instant::now();
                say(&format!("  {} {message}", self.head));
            }
            None => {}
        }
    }

    /// The phase ended, `summary` says how.
    pub fn finish(self, summary: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let seconds = self.started.elapsed().as_secs_f64();
        say(&format!("  {} {}/{}  {summary}  {seconds:.1} s", self.head, self.epochs, self.epochs));
    }
}

/// Steps of a bar to an item.
const FINE: f64 = 1000.0;

/// Progress of work that is counted in items.
pub struct Count {
    bar: Option<ProgressBar>,
    what: String,
    total: usize,
    done: usize,
    /// What is done of items that are not, in items.
    part: f64,
    started: Instant,
    spoken: Instant,
}

impl Count {
    /// Begin `total` items of `what`.
    pub fn new(what: &str, total: usize) -> Self {
        let bar = (total > 0 && std::io::stderr().is_terminal()).then(|| {
            let length = FINE * total as f64;
            let bar = ProgressBar::with_draw_target(Some(length as u64), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("  {prefix:30} {bar:16} {msg}  {eta} left") {
                bar.set_style(style.progress_chars("█▓░"));
            }
            bar.set_prefix(what.to_string());
            bar
        });
        let now = Instant::now();
        Self { bar, what: what.into(), total, done: 0, part: 0.0, started: now, spoken: now }
    }

    /// `items` more are done.
    pub fn add(&mut self, items: usize) {
        self.done += items;
        self.part = (self.part - items as f64).max(0.0);
        self.show("");
    }

    /// This much of an item more is done, up to the place `at`.
    pub fn within(&mut self, items: f64, at: &str) {
        self.part += items;
        self.show(at);
    }

    fn show(&mut self, at: &str) {
        let (done, total) = (self.done as f64 + self.part, self.total as f64);
        if let Some(bar) = &self.bar {
            bar.set_position((FINE * done) as u64);
            bar.set_message(format!("{}/{} {at}", self.done, self.total));
        } else if self.spoken.elapsed() >= QUIET && self.done < self.total {
            self.spoken = Instant::now();
            let left = self.started.elapsed().as_secs_f64() / done.max(1e-3) * (total - done).max(0.0);
            let at = if at.is_empty() { String::new() } else { format!("{at}  ") };
            say(&format!("  {:<30} {}/{}  {at}about {left:.0} s left", self.what, self.done, self.total));
        }
    }

    /// All are done.
    pub fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.done > 0 {
            let seconds = self.started.elapsed().as_secs_f64();
            say(&format!("  {:<30} {}/{}  {seconds:.1} s", self.what, self.done, self.total));
        }
    }
}

/// Print a line that is the purpose of the command.
///
/// # Errors
/// I/O, but a reader that has read enough is none.
pub fn tell(line: &str) -> Result<(), RunError> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(io(Path::new("standard output"))(e)),
        _ => Ok(()),
    }
}

/// Print a line for the user.
pub fn say(line: &str) {
    // A closed pipe is no reason to stop training.
    let _ = writeln!(std::io::stdout(), "{line}");
}
