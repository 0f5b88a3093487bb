//! `docs/benchmarks.md`.

use std::fmt::Write;

use crate::machine;
use crate::peers::Run;

/// One side's figures for one preset: medians over the rounds.
pub struct Row {
    preset: String,
    brisk: bool,
    framework: String,
    version: String,
    variant: String,
    examples_per_second: f64,
    slowest: f64,
    fastest: f64,
    step_ms: f64,
    peak_mb: f64,
    start_mb: Option<f64>,
}

impl Row {
    /// Panics if there is no run.
    pub fn new(preset: &str, brisk: bool, runs: &[Run]) -> Row {
        let all = |of: fn(&Run) -> f64| runs.iter().map(of).collect::<Vec<_>>();
        let rates = all(|r| r.examples_per_second);
        let or = |field: &Option<String>, default: &str| field.clone().unwrap_or_else(|| default.to_owned());
        Row {
            preset: preset.to_owned(),
            brisk,
            framework: or(&runs[0].framework, "Brisk"),
            version: or(&runs[0].version, env!("CARGO_PKG_VERSION")),
            variant: or(&runs[0].variant, ""),
            slowest: rates.iter().copied().fold(f64::INFINITY, f64::min),
            fastest: rates.iter().copied().fold(0.0, f64::max),
            examples_per_second: median(rates),
            step_ms: median(all(|r| r.step_ms_median)),
            peak_mb: median(all(|r| r.peak_rss_mb)),
            start_mb: runs[0].rss_before_training_mb,
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { (values[middle - 1] + values[middle]) / 2.0 } else { values[middle] }
}

/// The whole page.
pub fn render(rows: &[Row], command: &str, batch_size: usize, threads: usize, rounds: usize) -> String {
    let mut text = format!(
        "# Benchmarks\n\n\
         Training steps on random images, f32, batch {batch_size}, {threads} threads: take a fresh batch, forward, backward, \
         update.\nThe sides ran in alternation, {rounds} rounds, each run in a process of its own; figures are medians over \
         the rounds, and the\nspread is the slowest and the fastest run. Written by `cargo xtask peers` on {}.\n\n{}",
        machine::today(),
        tables(rows),
    );
    text += "\n## Machine and versions\n\n| | |\n|---|---|\n";
    for (name, value) in machine::describe() {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    let _ = writeln!(text, "| Rust | {} |", machine::output("rustc", &["--version"]));
    let _ = writeln!(text, "| commit | {} |", machine::output("git", &["rev-parse", "--short", "HEAD"]));
    let mut seen = Vec::new();
    for row in rows {
        if !seen.contains(&&row.framework) {
            seen.push(&row.framework);
            let _ = writeln!(text, "| {} | {} |", row.framework, row.version);
        }
    }
    let _ = write!(
        text,
        "\n## Again\n\n    {command}\n\n\
         Python 3 with `venv` is needed; the peers are installed into `target/peers-venv` from\n\
         `bench/peers/requirements.txt`, and `bench/peers/peer_*.py` are the programs that ran. Of each peer's settings\n\
         (memory layout, compilation) its script takes the fastest found. Peers get their images as f32, ready to use.\n\
         PyTorch comes from the package index, which carries the build with accelerator support: part of its memory is that\n\
         build's libraries, so memory is given both at its peak and before the first step.\n"
    );
    text
}

/// The summary and one table a preset.
fn tables(rows: &[Row]) -> String {
    let mut presets: Vec<&str> = Vec::new();
    for row in rows {
        if !presets.contains(&row.preset.as_str()) {
            presets.push(&row.preset);
        }
    }
    let mut summary = String::from(
        "| preset | Brisk, examples/s | best peer, examples/s | Brisk / best peer | memory, Brisk / PyTorch |\n|---|---|---|---|---|\n",
    );
    let mut details = String::new();
    for preset in presets {
        let rows: Vec<_> = rows.iter().filter(|r| r.preset == preset).collect();
        let brisk = rows.iter().find(|r| r.brisk);
        let best = rows
            .iter()
            .filter(|r| !r.brisk)
            .max_by(|a, b| a.examples_per_second.total_cmp(&b.examples_per_second));
        let torch = rows.iter().find(|r| r.framework == "PyTorch");
        let ratio = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.2}"));
        let _ = writeln!(
            summary,
            "| {preset} | {} | {} | {} | {} |",
            brisk.map_or("-".to_owned(), |r| format!("{:.0}", r.examples_per_second)),
            best.map_or("-".to_owned(), |r| format!("{:.0} ({})", r.examples_per_second, r.framework)),
            ratio(brisk.zip(best).map(|(b, p)| b.examples_per_second / p.examples_per_second)),
            ratio(brisk.zip(torch).map(|(b, t)| b.peak_mb / t.peak_mb)),
        );
        let _ = write!(
            details,
            "\n## {preset}\n\n| | examples/s | spread | step, ms | peak memory, MB | before training, MB | settings |\n\
             |---|---|---|---|---|---|---|\n"
        );
        for row in &rows {
            let _ = writeln!(
                details,
                "| {} | {:.0} | {:.0} to {:.0} | {:.2} | {:.0} | {} | {} |",
                row.framework,
                row.examples_per_second,
                row.slowest,
                row.fastest,
                row.step_ms,
                row.peak_mb,
                row.start_mb.map_or("-".to_owned(), |mb| format!("{mb:.0}")),
                row.variant,
            );
        }
    }
    summary + &details
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn run(framework: Option<&str>, rate: f64, mb: f64) -> Run {
        Run {
            examples_per_second: rate,
            step_ms_median: 32e3 / rate,
            peak_rss_mb: mb,
            framework: framework.map(str::to_owned),
            version: None,
            variant: None,
            rss_before_training_mb: framework.map(|_| mb / 2.0),
        }
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn ratios_are_to_the_best_peer() {
        let rows = [
            Row::new("mlp", true, &[run(None, 100.0, 10.0), run(None, 120.0, 12.0), run(None, 90.0, 11.0)]),
            Row::new("mlp", false, &[run(Some("PyTorch"), 40.0, 700.0)]),
            Row::new("mlp", false, &[run(Some("JAX"), 50.0, 300.0)]),
            Row::new("lenet", false, &[run(Some("JAX"), 64.0, 300.0)]),
        ];
        expect![[r#"
            | preset | Brisk, examples/s | best peer, examples/s | Brisk / best peer | memory, Brisk / PyTorch |
            |---|---|---|---|---|
            | mlp | 100 | 50 (JAX) | 2.00 | 0.02 |
            | lenet | - | 64 (JAX) | - | - |

            ## mlp

            | | examples/s | spread | step, ms | peak memory, MB | before training, MB | settings |
            |---|---|---|---|---|---|---|
            | Brisk | 100 | 90 to 120 | 320.00 | 11 | - |  |
            | PyTorch | 40 | 40 to 40 | 800.00 | 700 | 350 |  |
            | JAX | 50 | 50 to 50 | 640.00 | 300 | 150 |  |

            ## lenet

            | | examples/s | spread | step, ms | peak memory, MB | before training, MB | settings |
            |---|---|---|---|---|---|---|
            | JAX | 64 | 64 to 64 | 500.00 | 300 | 150 |  |
        "#]]
        .assert_eq(&tables(&rows));
    }
}
