//! Results as Markdown, and their place in `docs/benchmarks.md`.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::results::{Compared, Figures, Results, Verdict};
use crate::rows::ROWS;

/// Where the part that is written by `cargo xtask peers --record` begins and ends.
const MARKERS: [&str; 2] = ["<!-- peers -->\n", "<!-- /peers -->\n"];

/// Rows in their order, then what is no row any more.
fn in_order(results: &Results) -> Vec<(&str, &Figures)> {
    let place = |name: &str| ROWS.iter().position(|r| r.name() == name).unwrap_or(usize::MAX);
    let mut rows: Vec<_> = results.iter().map(|(name, figures)| (name.as_str(), figures)).collect();
    rows.sort_by_key(|(name, _)| place(name));
    rows
}

fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    values.fold(Vec::new(), |mut seen, value| {
        if !seen.contains(&value) {
            seen.push(value);
        }
        seen
    })
}

/// A number with about three digits that count.
fn digits(value: f64) -> String {
    match value {
        v if v >= 99.5 => format!("{v:.0}"),
        v if v >= 9.95 => format!("{v:.1}"),
        v if v >= 0.995 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

/// The tables: a summary, all sides, machines and versions.
pub fn render(results: &Results) -> String {
    let rows = in_order(results);
    let mut text = String::from(
        "| row | Brisk, examples/s | step, ms | best peer, examples/s | step, ms | Brisk / best peer | memory, Brisk / leanest peer |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let dash = || "-".to_owned();
    for (name, figures) in &rows {
        let (brisk, best) = (figures.brisk(), figures.best_peer());
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} | {} |",
            brisk.map_or_else(dash, |f| digits(f.examples_per_second)),
            brisk.map_or_else(dash, |f| digits(f.step_ms)),
            best.map_or_else(dash, |f| format!("{} ({})", digits(f.examples_per_second), f.framework)),
            best.map_or_else(dash, |f| digits(f.step_ms)),
            figures.ratio.map_or_else(dash, |r| format!("{r:.2}")),
            figures.memory.map_or_else(dash, |r| format!("{r:.2}")),
        );
    }
    text += "\n| row | side | examples/s | step, ms | fastest and slowest run, ms | peak memory, MB | before the first step, MB |\n\
             |---|---|---|---|---|---|---|\n";
    for (name, figures) in &rows {
        for f in &figures.sides {
            let settings = if f.settings.is_empty() { String::new() } else { format!(", {}", f.settings) };
            let [fastest, slowest] = f.spread_ms;
            let _ = writeln!(
                text,
                "| {name} | {}{settings} | {} | {} | {} to {} | {:.0} | {} |",
                f.framework,
                digits(f.examples_per_second),
                digits(f.step_ms),
                digits(fastest),
                digits(slowest),
                f.peak_mb,
                f.start_mb.map_or_else(dash, |mb| format!("{mb:.0}")),
            );
        }
    }
    let all = || rows.iter().map(|r| r.1);
    let conditions = distinct(all().map(|f| (&f.machine, f.threads, f.rounds, &f.date, &f.commit)));
    text += "\n| machine | threads | runs of each side | date | commit |\n|---|---|---|---|---|\n";
    for (machine, threads, rounds, date, commit) in conditions {
        let _ = writeln!(text, "| {machine} | {threads} | {rounds} | {date} | {commit} |");
    }
    let versions = distinct(all().flat_map(|f| &f.sides).map(|s| format!("{} {}", s.framework, s.version)));
    let _ = writeln!(text, "\nVersions: {}.", versions.join(", "));
    text
}

/// Puts the tables between the markers of a page.
pub fn insert(path: &Path, tables: &str) -> Result<()> {
    let page = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let [begin, end] = MARKERS;
    let cut = page.split_once(begin).and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
    let (before, after) = cut.with_context(|| {
        let [begin, end] = MARKERS.map(str::trim_end);
        format!("{}: expected the lines {begin} and {end}, between which the tables stand", path.display())
    })?;
    std::fs::write(path, format!("{before}{begin}\n{tables}\n{end}{after}"))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// What became of each row, as a table.
pub fn verdicts(compared: &[Compared]) -> String {
    let mut text = String::from(
        "| row | Brisk / best peer, committed | now | memory, committed | now | |\n|---|---|---|---|---|---|\n",
    );
    for c in compared {
        let show = |f: &Option<Figures>, of: fn(&Figures) -> Option<f64>| {
            f.as_ref().and_then(of).map_or_else(|| "-".to_owned(), |v| format!("{v:.2}"))
        };
        let verdict = match c.verdict {
            Verdict::Held => "held",
            Verdict::Fell => "FELL",
            Verdict::Missing => "NOT MEASURED",
            Verdict::New => "new",
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {verdict} |",
            c.row,
            show(&c.committed, |f| f.ratio),
            show(&c.measured, |f| f.ratio),
            show(&c.committed, |f| f.memory),
            show(&c.measured, |f| f.memory),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::compare;
    use crate::results::tests::figures;
    use expect_test::expect;

    #[test]
    fn tables() {
        let alone = Figures { sides: figures(1.0, 1.0).sides[1..].to_vec(), ..figures(1.0, 1.0) };
        let alone = Figures { ratio: None, memory: None, date: "2026-11-25".into(), ..alone };
        let results = Results::from([
            ("train-mlp-b32".to_owned(), figures(0.5, 11.0)),
            ("train-lenet-b32".to_owned(), alone),
        ]);
        expect![[r#"
            | row | Brisk, examples/s | step, ms | best peer, examples/s | step, ms | Brisk / best peer | memory, Brisk / leanest peer |
            |---|---|---|---|---|---|---|
            | train-lenet-b32 | - | - | 1067 (PyTorch) | 30.0 | - | - |
            | train-mlp-b32 | 64000 | 0.500 | 1067 (PyTorch) | 30.0 | 60.00 | 0.04 |

            | row | side | examples/s | step, ms | fastest and slowest run, ms | peak memory, MB | before the first step, MB |
            |---|---|---|---|---|---|---|
            | train-lenet-b32 | PyTorch | 1067 | 30.0 | 30.0 to 30.0 | 700 | 350 |
            | train-lenet-b32 | JAX | 800 | 40.0 | 40.0 to 40.0 | 300 | 150 |
            | train-mlp-b32 | Brisk | 64000 | 0.500 | 0.250 to 1.00 | 11 | - |
            | train-mlp-b32 | PyTorch | 1067 | 30.0 | 30.0 to 30.0 | 700 | 350 |
            | train-mlp-b32 | JAX | 800 | 40.0 | 40.0 to 40.0 | 300 | 150 |

            | machine | threads | runs of each side | date | commit |
            |---|---|---|---|---|
            | a machine | 2 | 3 | 2026-11-25 | abc |
            | a machine | 2 | 3 | 2026-11-26 | abc |

            Versions: PyTorch 1.0, JAX 1.0, Brisk 0.1.0.
        "#]]
        .assert_eq(&render(&results));
    }

    #[test]
    fn verdicts_are_shown() {
        let committed = Results::from(["a", "b", "c"].map(|r| (r.to_owned(), figures(10.0, 30.0))));
        let measured = Results::from([
            ("a".to_owned(), figures(10.0, 30.0)),
            ("b".to_owned(), figures(20.0, 30.0)),
            ("d".to_owned(), figures(10.0, 30.0)),
        ]);
        let rows = ["a", "b", "c", "d"].map(str::to_owned);
        expect![[r#"
            | row | Brisk / best peer, committed | now | memory, committed | now | |
            |---|---|---|---|---|---|
            | a | 3.00 | 3.00 | 0.10 | 0.10 | held |
            | b | 3.00 | 1.50 | 0.10 | 0.10 | FELL |
            | c | 3.00 | - | 0.10 | - | NOT MEASURED |
            | d | - | 3.00 | - | 0.10 | new |
        "#]]
        .assert_eq(&verdicts(&compare(&rows, &measured, &committed, 0.1)));
    }

    #[test]
    fn only_what_stands_between_the_markers_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.md");
        std::fs::write(&path, "before\n\n<!-- peers -->\nold\n<!-- /peers -->\n\nafter\n").unwrap();
        for _ in 0..2 {
            insert(&path, "| new |\n").unwrap();
            let expected = "before\n\n<!-- peers -->\n\n| new |\n\n<!-- /peers -->\n\nafter\n";
            assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        }
        std::fs::write(&path, "nothing\n").unwrap();
        assert!(insert(&path, "").unwrap_err().to_string().contains("expected the lines <!-- peers -->"));
    }

    #[test]
    fn the_page_holds_what_is_committed() {
        let (results, page) = (crate::peers::committed(), crate::peers::page());
        let results = crate::results::read(&results).unwrap();
        let page = std::fs::read_to_string(page).unwrap();
        let [begin, end] = MARKERS;
        let part = page.split_once(begin).and_then(|p| p.1.split_once(end)).expect("markers").0;
        assert!(
            results.is_empty() || part.trim() == render(&results).trim(),
            "run `cargo xtask peers --record`"
        );
    }
}
