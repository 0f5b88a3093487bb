//! One line that is drawn over and over, and how its parts are written.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use super::{BAR, DEFAULT_WIDTH, INTERVAL};

/// Where the line is drawn.
#[derive(Debug)]
pub(super) struct Screen<W: Write> {
    pub out: W,
    pub is_terminal: bool,
    pub color: bool,
    width: usize,
    is_stderr: bool,
    drawn: usize, // visible characters of the line on the screen; 0: the cursor is at the start of a fresh line
    last: Option<Instant>,
}

/// The parts of a line.
pub(super) struct Line {
    pub head: String,
    /// How much is done; without it there is no bar.
    pub share: Option<f64>,
    pub time: String,
    /// Further parts, each with its own leading space, the least important last.
    pub tail: Vec<String>,
    /// The last drawing of this line: it is complete, even if it wraps.
    pub last: bool,
}

impl<W: Write> Screen<W> {
    pub fn new(out: W, is_terminal: bool, width: usize) -> Self {
        Screen { out, is_terminal, color: is_terminal, width, is_stderr: false, drawn: 0, last: None }
    }

    /// Follows stderr's width and the user's wish for colours.
    pub fn detect(&mut self) {
        self.is_stderr = true;
        let set = |name| std::env::var_os(name).filter(|v: &std::ffi::OsString| !v.is_empty());
        self.color = self.is_terminal && set("NO_COLOR").is_none() && set("TERM").is_none_or(|t| t != "dumb");
        self.measure();
    }

    /// Looks up the width anew.
    pub fn measure(&mut self) {
        if self.is_stderr && self.is_terminal {
            let size = terminal_size::terminal_size_of(std::io::stderr());
            self.width = size.map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0));
        }
    }

    /// Whether it is time to draw again.
    pub fn is_due(&self, now: Instant) -> bool {
        self.is_terminal && self.last.is_none_or(|last| now.saturating_duration_since(last) >= INTERVAL)
    }

    /// Draws the line over the former one.
    pub fn draw(&mut self, line: &Line, now: Instant) {
        let (text, visible) = line.render(self.width, self.color);
        let rest = " ".repeat(self.drawn.saturating_sub(visible));
        self.write(&format!("\r{text}{rest}"));
        // A complete line may have wrapped; nothing is drawn over it any more.
        (self.drawn, self.last) = (visible.max(1), Some(now));
    }

    /// Leaves the line as it is and goes to a fresh one.
    pub fn end_line(&mut self) {
        if self.drawn > 0 {
            self.write("\n");
        }
        (self.drawn, self.last) = (0, None);
    }

    /// Writes a line; a half-drawn bar gives way and comes back with its next drawing.
    pub fn println(&mut self, text: &str) {
        let clear = if self.drawn > 0 { format!("\r{}\r", " ".repeat(self.drawn)) } else { String::new() };
        self.write(&format!("{clear}{text}\n"));
        (self.drawn, self.last) = (0, None);
    }

    pub fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

/// What comes next, an error perhaps, starts on a fresh line.
impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        self.end_line();
    }
}

impl Line {
    /// The text and how many characters of it are visible: Keras's layout, or less of it where the terminal is narrow. First the
    /// bar shrinks, then parts go from the end, then from the head.
    pub fn render(&self, width: usize, color: bool) -> (String, usize) {
        let length = |s: &str| s.chars().count();
        let room = if self.last { usize::MAX } else { width.saturating_sub(1) }; // a full line would wrap on some terminals
        let mut tail = &self.tail[..];
        let fixed = |tail: &[String]| {
            let bar_spaces = if self.share.is_some() { 2 } else { 1 };
            length(&self.head)
                + bar_spaces
                + length(&self.time)
                + tail.iter().map(|t| length(t)).sum::<usize>()
        };
        let least_bar = if self.share.is_some() { 5 } else { 0 };
        while fixed(tail) + least_bar > room && !tail.is_empty() {
            tail = &tail[..tail.len() - 1];
        }
        if fixed(tail) + least_bar > room {
            let head: String = self.head.chars().take(room).collect();
            let visible = length(&head);
            return (head, visible);
        }

        let sgr = |code: &str, text: &str| {
            if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
        };
        let mut text = format!("{} ", sgr("1", &self.head));
        let mut visible = fixed(tail);
        if let Some(share) = self.share {
            let bar = BAR.min(room - visible);
            let full = ((bar as f64 * share) as usize).min(bar);
            if full > 0 {
                text.push_str(&sgr("32", &"━".repeat(full)));
            }
            // Without colour, what is still to do must look different.
            text.push_str(&sgr("37", &if color { "━" } else { "─" }.repeat(bar - full)));
            text.push(' ');
            visible += bar;
        }
        text.push_str(&sgr("1", &self.time));
        text.extend(tail.iter().map(String::as_str));
        (text, visible)
    }
}

/// ` 57/188`; without a total `     57/Unknown`.
pub(super) fn count(step: usize, steps: usize) -> String {
    if steps == 0 {
        return format!("{step:>7}/Unknown");
    }
    let digits = steps.ilog10() as usize + 1;
    format!("{step:>digits$}/{steps}")
}

/// Time left: `59s`, `1:33`, `2:05:00`.
pub(super) fn eta(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds).map_or(0, |d| d.as_secs());
    match (whole / 3600, whole / 60, whole % 60) {
        _ if seconds <= 60.0 => format!("{whole}s"),
        (_, m, s) if seconds <= 3600.0 => format!("{m}:{s:02}"),
        (h, m, s) => format!("{h}:{:02}:{s:02}", m % 60),
    }
}

/// ` 12ms/step`.
pub(super) fn per_step(seconds: f64) -> String {
    match seconds {
        0.0 | 1.0.. => format!(" {seconds:.0}s/step"),
        1e-3.. => format!(" {:.0}ms/step", seconds * 1e3),
        _ => format!(" {:.0}us/step", seconds * 1e6),
    }
}

/// ` - loss: 0.5123`; small values as ` - loss: 5.1230e-04`.
pub(super) fn metric(name: &str, value: f64) -> String {
    if !value.is_finite() {
        let text = if value.is_nan() { "nan".into() } else { value.to_string() };
        return format!(" - {name}: {text}");
    }
    if value.abs() > 1e-3 {
        return format!(" - {name}: {value:.4}");
    }
    let text = format!("{value:.4e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
    format!(" - {name}: {digits}e{sign}{exponent:0>2}")
}
