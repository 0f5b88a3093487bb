//! Progress on the terminal, in the layout of Keras 3.
//!
//! [`Progress`] is the training loop's; [`TaskProgress`] is a bar for anything else that takes its time, such as a download.

use std::{
    io::{self, IsTerminal, Stderr, Write},
    time::{Duration, Instant},
};

/// The width of the bar, as in Keras; narrower where the terminal is.
const BAR: usize = 20;
/// The least time between two drawings.
const INTERVAL: Duration = Duration::from_millis(50);
/// Assumed where the terminal does not tell.
const DEFAULT_WIDTH: usize = 80;

/// Shows the epochs of a training run.
///
/// On a terminal a line that is redrawn in place, otherwise one plain line for each epoch:
/// ```text
/// Epoch 1/10
///  57/188 ━━━━━━━━━━━━━━━━━━━━ 1s 12ms/step - accuracy: 0.8123 - loss: 0.5123
///
/// Epoch 1/10 - 188/188 - 3s - 12ms/step - accuracy: 0.8123 - loss: 0.5123 - val_accuracy: 0.8201 - val_loss: 0.4911
/// ```
/// Drawing is limited to once in 50 ms, so that [`step`](Self::step) costs next to nothing. Failures to write are ignored:
/// a closed stderr must not end a training run.
///
/// ```
/// use brisk_train::Progress;
///
/// let mut progress = Progress::with_writer(Vec::new(), 1, false, 80);
/// progress.epoch(1, 188);
/// progress.step(57, &[("accuracy", 0.8123), ("loss", 0.5123)]);
/// progress.step(188, &[("accuracy", 0.8200), ("loss", 0.5000)]);
/// progress.finish(&[("val_loss", 0.49)]);
/// let text = String::from_utf8_lossy(progress.get_ref());
/// assert!(text.starts_with("Epoch 1/1 - 188/188 - 0s - "));
/// assert!(text.ends_with("/step - accuracy: 0.8200 - loss: 0.5000 - val_loss: 0.4900\n"));
/// ```
#[derive(Debug)]
pub struct Progress<W: Write = Stderr> {
    screen: Screen<W>,
    total_epochs: usize,
    epoch: usize,
    steps: usize,
    step: usize,
    started: Instant,
    after_first_step: Option<Instant>,
    values: Vec<(String, f64)>,
}

impl Progress {
    /// On stderr, where the caller knows what it is.
    pub fn new(total_epochs: usize, is_terminal: bool, width: usize) -> Self {
        Self::with_writer(io::stderr(), total_epochs, is_terminal, width)
    }

    /// On stderr, found out: whether it is a terminal, how wide, and whether colours are wanted (`NO_COLOR`, `TERM=dumb`).
    pub fn stderr(total_epochs: usize) -> Self {
        let mut progress = Self::new(total_epochs, io::stderr().is_terminal(), DEFAULT_WIDTH);
        progress.screen.detect();
        progress
    }
}

impl<W: Write> Progress<W> {
    /// On any writer.
    pub fn with_writer(out: W, total_epochs: usize, is_terminal: bool, width: usize) -> Self {
        Progress {
            screen: Screen::new(out, is_terminal, width),
            total_epochs,
            epoch: 0,
            steps: 0,
            step: 0,
            started: Instant::now(),
            after_first_step: None,
            values: Vec::new(),
        }
    }

    /// Whether to use bold and colour; by default yes on a terminal.
    pub fn color(mut self, color: bool) -> Self {
        self.screen.color = color;
        self
    }

    /// Begins epoch `n` (from 1) of `steps` steps; 0 if their number is not known.
    pub fn epoch(&mut self, n: usize, steps: usize) {
        self.screen.end_line();
        self.screen.measure();
        (self.epoch, self.steps, self.step) = (n, steps, 0);
        (self.started, self.after_first_step) = (Instant::now(), None);
        self.values.clear();
        if self.screen.is_terminal {
            self.screen.write(&format!("Epoch {n}/{}\n", self.total_epochs));
        }
    }

    /// Reports that `k` steps of the epoch are done, with values to show as they are (means so far, in Keras).
    pub fn step(&mut self, k: usize, values: &[(&str, f64)]) {
        let now = Instant::now();
        self.step = k;
        self.set(values);
        if self.after_first_step.is_none() && k == 1 {
            self.after_first_step = Some(now);
        }
        if self.screen.is_due(now) {
            let line = self.line(now, false);
            self.screen.draw(&line, now);
        }
    }

    /// Ends the epoch: the same line once more with further values, or the only line where stderr is no terminal.
    pub fn finish(&mut self, values: &[(&str, f64)]) {
        let now = Instant::now();
        self.set(values);
        if self.screen.is_terminal {
            let line = self.line(now, true);
            self.screen.draw(&line, now);
            self.screen.end_line();
            return;
        }
        let (elapsed, each) = (now - self.started, self.time_per_step(now));
        let count = count(self.step, self.steps);
        let mut line =
            format!("Epoch {}/{} - {count} - {:.0}s -", self.epoch, self.total_epochs, elapsed.as_secs_f64());
        line.push_str(&per_step(each));
        self.values.iter().for_each(|(name, v)| line.push_str(&metric(name, *v)));
        line.push('\n');
        self.screen.write(&line);
    }

    /// Writes a line of its own, such as why training stops, without spoiling the bar.
    pub fn println(&mut self, text: &str) {
        self.screen.println(text);
    }

    /// The writer.
    pub fn get_ref(&self) -> &W {
        &self.screen.out
    }

    fn set(&mut self, values: &[(&str, f64)]) {
        for &(name, value) in values {
            match self.values.iter_mut().find(|(n, _)| n == name) {
                Some(slot) => slot.1 = value,
                None => self.values.push((name.to_owned(), value)),
            }
        }
    }

    /// The first step, which also plans and warms up, does not count where there are more.
    fn time_per_step(&self, now: Instant) -> f64 {
        match (self.step, self.after_first_step) {
            (0, _) => 0.0,
            (k, Some(first)) if k > 1 => (now - first).as_secs_f64() / (k - 1) as f64,
            (k, _) => (now - self.started).as_secs_f64() / k as f64,
        }
    }

    fn line(&self, now: Instant, last: bool) -> Line {
        let each = self.time_per_step(now);
        let left = self.steps.saturating_sub(self.step);
        let time = match last || self.steps == 0 {
            true => format!("{:.0}s", (now - self.started).as_secs_f64()),
            false => eta(each * left as f64),
        };
        Line {
            head: count(self.step, self.steps),
            share: (self.steps > 0).then(|| self.step as f64 / self.steps as f64),
            time,
            tail: std::iter::once(per_step(each))
                .chain(self.values.iter().map(|(n, v)| metric(n, *v)))
                .collect(),
            last,
        }
    }
}

/// What a [`TaskProgress`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, shown as kB, MB, GB.
    Bytes,
    /// Things, by their plural: `Items("images")`.
    Items(&'static str),
}

/// A bar for a single long task; where stderr is no terminal, one line when it is done.
///
/// ```
/// use brisk_train::{TaskProgress, Unit};
///
/// let mut task = TaskProgress::with_writer(Vec::new(), "Checking", 6000, Unit::Items("images"), false, 80);
/// for _ in 0..6000 {
///     task.add(1);
/// }
/// task.finish();
/// assert_eq!(String::from_utf8_lossy(task.get_ref()), "Checking: 6000 images in 0s\n");
/// ```
#[derive(Debug)]
pub struct TaskProgress<W: Write = Stderr> {
    screen: Screen<W>,
    label: String,
    total: u64,
    done: u64,
    unit: Unit,
    started: Instant,
}

impl TaskProgress {
    /// On stderr. `total` is 0 if it is not known.
    pub fn stderr(label: impl Into<String>, total: u64, unit: Unit) -> Self {
        let mut task =
            Self::with_writer(io::stderr(), label, total, unit, io::stderr().is_terminal(), DEFAULT_WIDTH);
        task.screen.detect();
        task
    }
}

impl<W: Write> TaskProgress<W> {
    /// On any writer.
    pub fn with_writer(
        out: W,
        label: impl Into<String>,
        total: u64,
        unit: Unit,
        is_terminal: bool,
        width: usize,
    ) -> Self {
        let screen = Screen::new(out, is_terminal, width);
        TaskProgress { screen, label: label.into(), total, done: 0, unit, started: Instant::now() }
    }

    /// Reports that `n` more are done.
    pub fn add(&mut self, n: u64) {
        self.set(self.done.saturating_add(n));
    }

    /// Reports how many are done.
    pub fn set(&mut self, done: u64) {
        self.done = done;
        let now = Instant::now();
        if self.screen.is_due(now) {
            let line = self.line(now, false);
            self.screen.draw(&line, now);
        }
    }

    /// Sets the total, once it is known.
    pub fn set_total(&mut self, total: u64) {
        self.total = total;
    }

    /// Ends the task.
    pub fn finish(&mut self) {
        let now = Instant::now();
        if self.screen.is_terminal {
            let line = self.line(now, true);
            self.screen.draw(&line, now);
            self.screen.end_line();
            return;
        }
        let (done, seconds) = (self.unit.show(self.done), (now - self.started).as_secs_f64());
        self.screen.write(&format!("{}: {done} in {seconds:.0}s\n", self.label));
    }

    /// The writer.
    pub fn get_ref(&self) -> &W {
        &self.screen.out
    }

    fn line(&self, now: Instant, last: bool) -> Line {
        let seconds = (now - self.started).as_secs_f64();
        let rate = if seconds > 0.0 { self.done as f64 / seconds } else { 0.0 };
        let (time, done) = match (self.total, last) {
            (0, _) | (_, true) => (format!("{seconds:.0}s"), self.unit.show(self.done)),
            (total, false) if rate > 0.0 => (
                eta(total.saturating_sub(self.done) as f64 / rate),
                format!("{}/{}", self.unit.number(self.done), self.unit.show(total)),
            ),
            (total, false) => {
                ("-".into(), format!("{}/{}", self.unit.number(self.done), self.unit.show(total)))
            }
        };
        Line {
            head: format!("{} {done}", self.label),
            share: (self.total > 0).then(|| self.done as f64 / self.total as f64),
            time,
            tail: vec![format!(" {}/s", self.unit.show(rate as u64))],
            last,
        }
    }
}

impl Unit {
    fn number(self, n: u64) -> String {
        match self {
            Unit::Items(_) => n.to_string(),
            Unit::Bytes => self.show(n),
        }
    }

    fn show(self, n: u64) -> String {
        match (self, n) {
            (Unit::Items(name), _) => format!("{n} {name}"),
            (Unit::Bytes, 0..1_000) => format!("{n} B"),
            (Unit::Bytes, 1_000..1_000_000) => format!("{:.0} kB", n as f64 / 1e3),
            (Unit::Bytes, 1_000_000..1_000_000_000) => format!("{:.1} MB", n as f64 / 1e6),
            (Unit::Bytes, _) => format!("{:.2} GB", n as f64 / 1e9),
        }
    }
}

mod screen;
use screen::{Line, Screen, count, eta, metric, per_step};

#[cfg(test)]
mod tests;
