//! Results on stdout.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use serde::Serialize;

/// Writes results to stdout: text for people, or JSON for machines.
#[derive(Clone, Copy)]
pub struct Printer {
    json: bool,
}

impl Printer {
    /// JSON if asked for.
    pub fn new(json: bool) -> Printer {
        Printer { json }
    }

    /// For people.
    pub fn text() -> Printer {
        Printer { json: false }
    }

    /// A result: its text or its JSON.
    pub fn data(self, value: &(impl Serialize + Display)) -> io::Result<()> {
        match self.json {
            true => self.json(value),
            false => self.line(value),
        }
    }

    /// A line of text, or several; a line end is added where it is missing.
    pub fn line(self, text: impl Display) -> io::Result<()> {
        let text = plain(&text.to_string());
        self.write(text.strip_suffix('\n').unwrap_or(&text))
    }

    /// Indented JSON.
    pub fn json(self, value: &impl Serialize) -> io::Result<()> {
        self.write(&serde_json::to_string_pretty(value)?)
    }

    /// JSON on one line.
    pub fn json_line(self, value: &impl Serialize) -> io::Result<()> {
        self.write(&serde_json::to_string(value)?)
    }

    fn write(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
            // Whoever reads has seen enough, as `head` does.
            Err(e) if e.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
            result => result,
        }
    }
}

/// A text that commands no terminal: names in a file from elsewhere may hold anything.
pub fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

/// `12345` as `12,345`.
pub fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A path as a shell takes it.
pub fn shell(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_string(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_printed_commands_the_terminal() {
        assert_eq!(plain("a\tb\n\x1b[2J\u{9b}31m数"), "a\tb\n\u{fffd}[2J\u{fffd}31m数");
    }

    #[test]
    fn numbers_and_paths_are_readable() {
        assert_eq!([0, 999, 1000, 1234567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(shell("runs/a-1"), "runs/a-1");
        assert_eq!(shell("my run's"), r"'my run'\''s'");
    }
}
