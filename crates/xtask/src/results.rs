//! Figures of rows: what was measured, what is committed, and how the two compare.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::rows::Side;

/// What every side prints with `--json`; `framework`, `version` and `variant` only the peers.
#[derive(Clone, Debug, Deserialize)]
pub struct Run {
    pub examples_per_second: f64,
    pub step_ms_median: f64,
    pub peak_rss_mb: f64,
    pub framework: Option<String>,
    pub version: Option<String>,
    pub variant: Option<String>,
    /// Resident memory before the first step: what importing the framework costs.
    pub rss_before_training_mb: Option<f64>,
}

/// Rows by name.
pub type Results = BTreeMap<String, Figures>;

/// The figures of one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// How many times as fast as its best peer Brisk is, by median steps.
    pub ratio: Option<f64>,
    /// Brisk's peak memory over that of its leanest peer.
    pub memory: Option<f64>,
    pub date: String,
    pub machine: String,
    pub commit: String,
    pub threads: usize,
    pub rounds: usize,
    pub sides: Vec<Figure>,
}

/// One side's figures: medians over the rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub side: Side,
    pub framework: String,
    pub version: String,
    pub settings: String,
    pub examples_per_second: f64,
    pub step_ms: f64,
    /// The median steps of the fastest and of the slowest run.
    pub spread_ms: [f64; 2],
    pub peak_mb: f64,
    pub start_mb: Option<f64>,
}

impl Figure {
    /// Of a side's runs; none if there are none.
    pub fn new(side: Side, runs: &[Run]) -> Option<Figure> {
        let first = runs.first()?;
        let all = |of: fn(&Run) -> f64| runs.iter().map(of).collect::<Vec<_>>();
        let steps = all(|r| r.step_ms_median);
        let or = |field: &Option<String>, default: &str| field.clone().unwrap_or_else(|| default.to_owned());
        Some(Figure {
            side,
            framework: or(&first.framework, "Brisk"),
            version: or(&first.version, env!("CARGO_PKG_VERSION")),
            settings: or(&first.variant, ""),
            examples_per_second: round(median(all(|r| r.examples_per_second)), 1),
            spread_ms: [
                round(steps.iter().copied().fold(f64::INFINITY, f64::min), 4),
                round(steps.iter().copied().fold(0.0, f64::max), 4),
            ],
            step_ms: round(median(steps), 4),
            peak_mb: round(median(all(|r| r.peak_rss_mb)), 1),
            start_mb: first.rss_before_training_mb,
        })
    }
}

impl Figures {
    /// Of what was measured here and now.
    pub fn new(sides: Vec<Figure>, threads: usize, rounds: usize) -> Figures {
        let mut figures = Figures {
            ratio: None,
            memory: None,
            date: crate::machine::today(),
            machine: crate::machine::name(),
            commit: crate::machine::output("git", &["rev-parse", "--short", "HEAD"]),
            threads,
            rounds,
            sides,
        };
        let brisk = figures.brisk();
        figures.ratio = brisk.zip(figures.best_peer()).map(|(b, p)| round(p.step_ms / b.step_ms, 3));
        let leanest = figures.peers().map(|p| p.peak_mb).min_by(f64::total_cmp);
        figures.memory = figures.brisk().zip(leanest).map(|(b, mb)| round(b.peak_mb / mb, 3));
        figures
    }

    pub fn brisk(&self) -> Option<&Figure> {
        self.sides.iter().find(|f| f.side == Side::Brisk)
    }

    fn peers(&self) -> impl Iterator<Item = &Figure> {
        self.sides.iter().filter(|f| f.side != Side::Brisk)
    }

    /// The peer whose median step is shortest.
    pub fn best_peer(&self) -> Option<&Figure> {
        self.peers().min_by(|a, b| a.step_ms.total_cmp(&b.step_ms))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { (values[middle - 1] + values[middle]) / 2.0 } else { values[middle] }
}

fn round(value: f64, digits: i32) -> f64 {
    (value * 10f64.powi(digits)).round() / 10f64.powi(digits)
}

/// Reads a file of results; there are none if there is no file.
pub fn read(path: &Path) -> Result<Results> {
    if !path.exists() {
        return Ok(Results::new());
    }
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| format!("{}: expected results by row", path.display()))
}

/// Writes a file of results.
pub fn write(path: &Path, results: &Results) -> Result<()> {
    let text = serde_json::to_string_pretty(results)? + "\n";
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// What has become of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Held,
    /// Slower, or larger, than what is committed by more than the tolerance.
    Fell,
    /// Committed, but it could not be measured.
    Missing,
    /// Measured, but nothing is committed to compare it with.
    New,
}

/// A row beside what is committed of it.
pub struct Compared {
    pub row: String,
    pub verdict: Verdict,
    pub committed: Option<Figures>,
    pub measured: Option<Figures>,
}

/// Compares rows that were to be measured with what is committed.
pub fn compare(rows: &[String], measured: &Results, committed: &Results, tolerance: f64) -> Vec<Compared> {
    let compared = |row: &String| {
        let (committed, measured) = (committed.get(row), measured.get(row));
        let ratio = |f: &Figures| f.ratio.map(|r| (r, f.memory.unwrap_or(0.0)));
        let verdict = match (committed.and_then(ratio), measured.and_then(ratio)) {
            (Some(_), None) => Verdict::Missing,
            (None, _) => Verdict::New,
            (Some((ratio, memory)), Some((now, memory_now))) => {
                let slower = now < ratio * (1.0 - tolerance);
                let larger = memory_now > memory * (1.0 + tolerance);
                if slower || larger { Verdict::Fell } else { Verdict::Held }
            }
        };
        let (committed, measured) = (committed.cloned(), measured.cloned());
        Compared { row: row.clone(), verdict, committed, measured }
    };
    rows.iter().map(compared).collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A run of a side that steps for so long.
    pub fn run(framework: Option<&str>, ms: f64, mb: f64) -> Run {
        Run {
            examples_per_second: 32e3 / ms,
            step_ms_median: ms,
            peak_rss_mb: mb,
            framework: framework.map(str::to_owned),
            version: framework.map(|_| "1.0".to_owned()),
            variant: None,
            rss_before_training_mb: framework.map(|_| mb / 2.0),
        }
    }

    /// Brisk against two peers.
    pub fn figures(ms: f64, mb: f64) -> Figures {
        let side = |side, runs: &[Run]| Figure::new(side, runs).unwrap();
        let sides = vec![
            side(Side::Brisk, &[run(None, ms, mb), run(None, 2.0 * ms, mb), run(None, ms / 2.0, mb)]),
            side(Side::Torch, &[run(Some("PyTorch"), 30.0, 700.0)]),
            side(Side::Jax, &[run(Some("JAX"), 40.0, 300.0)]),
        ];
        Figures {
            date: "2026-11-26".into(),
            machine: "a machine".into(),
            commit: "abc".into(),
            ..Figures::new(sides, 2, 3)
        }
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn ratios_are_to_the_fastest_and_the_leanest_peer() {
        let found = figures(10.0, 30.0);
        assert_eq!((found.ratio, found.memory), (Some(3.0), Some(0.1)));
        assert_eq!(found.brisk().unwrap().spread_ms, [5.0, 20.0]);
        assert_eq!(found.best_peer().unwrap().framework, "PyTorch");
        let alone = Figures::new(found.sides[1..].to_vec(), 2, 3);
        assert_eq!((alone.ratio, alone.memory), (None, None));
    }

    #[test]
    fn the_gate_names_what_fell() {
        let of = |rows: &[(&str, f64, f64)]| -> Results {
            rows.iter().map(|(name, ms, mb)| (name.to_string(), figures(*ms, *mb))).collect()
        };
        let committed = of(&[
            ("held", 10.0, 30.0),
            ("faster", 10.0, 30.0),
            ("slower", 10.0, 30.0),
            ("larger", 10.0, 30.0),
            ("gone", 10.0, 30.0),
            ("not asked for", 10.0, 30.0),
        ]);
        let mut measured = of(&[
            ("held", 10.9, 32.0),
            ("faster", 5.0, 10.0),
            ("slower", 11.5, 30.0),
            ("larger", 10.0, 34.0),
            ("new", 10.0, 30.0),
        ]);
        measured.insert("gone".into(), Figures::new(vec![], 2, 3));
        let rows = ["held", "faster", "slower", "larger", "gone", "new"].map(str::to_owned);
        let verdicts = compare(&rows, &measured, &committed, 0.1).into_iter().map(|c| c.verdict);
        use Verdict::*;
        assert_eq!(verdicts.collect::<Vec<_>>(), [Held, Held, Fell, Fell, Missing, New]);
        let strict = compare(&rows[..1], &measured, &committed, 0.05);
        assert_eq!(strict[0].verdict, Fell);
    }

    #[test]
    fn files_hold_results() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ratios.json");
        assert!(read(&path).unwrap().is_empty());
        let results = Results::from([("row".to_owned(), figures(10.0, 30.0))]);
        write(&path, &results).unwrap();
        assert_eq!(read(&path).unwrap(), results);
        std::fs::write(&path, "{").unwrap();
        assert!(format!("{:#}", read(&path).unwrap_err()).contains("expected results by row"));
    }
}
