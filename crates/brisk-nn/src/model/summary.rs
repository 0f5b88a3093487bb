//! The table that Keras prints.

use std::fmt::Write;

use super::Model;
use crate::Result;

impl Model {
    /// The table that Keras prints: layers, output shapes, parameters; for a branching model also what goes into each.
    ///
    /// ```
    /// use brisk_nn::{Dense, Sequential};
    /// let model = Sequential::new([784]).add(Dense::new(10)).build()?;
    /// assert!(model.summary()?.contains("Total params: 7,850 (30.66 KB)"));
    /// # Ok::<(), brisk_nn::Error>(())
    /// ```
    pub fn summary(&self) -> Result<String> {
        let counts = self.counts()?;
        let branching = self.inputs.len() > 1 || self.specs().iter().any(|s| !s.inputs.is_empty());
        let mut head = vec!["Layer (type)", "Output Shape", "Param #"];
        if branching {
            head.push("Connected to");
        }
        let mut rows = Vec::new();
        let (mut trainable, mut fixed) = (0usize, 0usize);
        for layer in &self.layers {
            let (own, other) = counts.get(&layer.name).copied().unwrap_or_default();
            (trainable, fixed) = (trainable.saturating_add(own), fixed.saturating_add(other));
            let size = |d: &Option<usize>| d.map_or("None".into(), |d| d.to_string());
            let sizes: Vec<String> =
                std::iter::once("None".into()).chain(layer.output.iter().map(size)).collect();
            let kind = layer.layer.kind();
            let mut row = vec![
                format!("{} ({kind})", layer.name),
                format!("({})", sizes.join(", ")),
                thousands(own.saturating_add(other)),
            ];
            if branching {
                row.push(layer.inputs.iter().map(|&s| self.source_name(s)).collect::<Vec<_>>().join(", "));
            }
            rows.push(row);
        }
        let mut text = table(&head, &rows);
        for (what, count) in
            [("Total", trainable.saturating_add(fixed)), ("Trainable", trainable), ("Non-trainable", fixed)]
        {
            let _ = writeln!(text, " {what} params: {} ({})", thousands(count), bytes(count as f64 * 4.0));
        }
        Ok(text)
    }
}

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..head.len())
        .map(|i| rows.iter().map(|r| r[i].chars().count()).chain([head[i].len()]).max().unwrap_or(0))
        .collect();
    let rule = |left: &str, line: &str, cross: &str, right: &str| {
        let lines: Vec<_> = widths.iter().map(|w| line.repeat(w + 2)).collect();
        format!("{left}{}{right}\n", lines.join(cross))
    };
    let line = |cells: &[String], bar: &str| {
        let cell = |(i, c): (usize, &String)| match i {
            2 => format!(" {c:>w$} ", w = widths[i]),
            _ => format!(" {c:<w$} ", w = widths[i]),
        };
        format!("{bar}{}{bar}\n", cells.iter().enumerate().map(cell).collect::<Vec<_>>().join(bar))
    };
    let head: Vec<String> = head.iter().map(|h| h.to_string()).collect();
    let mut text = rule("┏", "━", "┳", "┓") + &line(&head, "┃") + &rule("┡", "━", "╇", "┩");
    let between = rule("├", "─", "┼", "┤");
    text += &rows.iter().map(|r| line(r, "│")).collect::<Vec<_>>().join(&between);
    text + &rule("└", "─", "┴", "┘")
}

fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|g| std::str::from_utf8(g).ok()).collect();
    groups.join(",")
}

fn bytes(n: f64) -> String {
    let units = ["B", "KB", "MB", "GB", "TB"];
    let power = (0..units.len() - 1).take_while(|&p| n >= 1024f64.powi(p as i32 + 1)).count();
    format!("{:.2} {}", n / 1024f64.powi(power as i32), units[power])
}
