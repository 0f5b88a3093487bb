//! Runs Brisk and its peers in alternation, so that a change in the machine's mood meets all of them alike.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::results::{self, Figure, Figures, Results, Run, Verdict};
use crate::rows::{self, ROWS, Row, Side};
use crate::{report, venv};

/// Measure Brisk against PyTorch, Keras, JAX and ONNX Runtime, row by row
#[derive(Args)]
pub struct Peers {
    /// What to measure, such as train-cifar10-cnn-b32,infer-minilm-b1-int8 [default: all rows]
    #[arg(long, value_delimiter = ',', value_parser = rows::find)]
    rows: Vec<&'static Row>,
    /// Which sides to run, where a row has them [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Side>,
    /// Threads each side may use
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// How many times each side runs
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Two short rounds: a look, not a measurement
    #[arg(long)]
    quick: bool,
    /// Also write the tables to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Also write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Put what was measured into bench/ratios.json, and its tables into docs/benchmarks.md
    #[arg(long, conflicts_with_all = ["quick", "only", "check"])]
    record: bool,
    /// Compare with bench/ratios.json, and fail if a row fell
    #[arg(long, conflicts_with = "only")]
    check: bool,
    /// By what share a ratio may be worse than the committed one
    #[arg(long, default_value_t = 0.1, requires = "check")]
    tolerance: f64,
}

/// The committed results.
pub fn committed() -> PathBuf {
    venv::root().join("bench/ratios.json")
}

/// The page that shows them.
pub fn page() -> PathBuf {
    venv::root().join("docs/benchmarks.md")
}

/// The programs of the sides, which are made once.
struct Programs {
    brisk: PathBuf,
    python: PathBuf,
}

impl Peers {
    pub fn run(&self) -> Result<()> {
        let rows: Vec<_> = if self.rows.is_empty() { ROWS.iter().collect() } else { self.rows.clone() };
        let sides = |row: &Row| -> Vec<Side> {
            let all = std::iter::once(&Side::Brisk).chain(row.peers).copied();
            all.filter(|s| self.only.is_empty() || self.only.contains(s)).collect()
        };
        let wanted: Vec<Side> = rows.iter().flat_map(|r| sides(r)).collect();
        let programs = Programs {
            python: if wanted.iter().any(|&s| s != Side::Brisk) { venv::ensure()? } else { PathBuf::new() },
            brisk: if wanted.contains(&Side::Brisk) { build_brisk()? } else { PathBuf::new() },
        };
        let mut measured = Results::new();
        for &row in &rows {
            let figures = self.measure(row, &sides(row), &programs);
            if figures.sides.is_empty() {
                eprintln!("{}: nothing could be measured", row.name());
            } else {
                measured.insert(row.name(), figures);
            }
        }
        if measured.is_empty() {
            bail!("nothing could be measured: see the messages above");
        }
        println!("{}", report::render(&measured));
        if let Some(path) = &self.out {
            std::fs::write(path, report::render(&measured))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        if let Some(path) = &self.json {
            results::write(path, &measured)?;
        }
        if self.check {
            return self.check(&rows, &measured);
        }
        if self.record {
            let mut all = results::read(&committed())?;
            for (row, figures) in measured {
                match figures.ratio {
                    Some(_) => _ = all.insert(row, figures),
                    None => eprintln!("{row}: not recorded, without a ratio"),
                }
            }
            results::write(&committed(), &all)?;
            report::insert(&page(), &report::render(&all))?;
        }
        Ok(())
    }

    /// All sides of a row in turn, so many rounds. A side that fails is left out.
    fn measure(&self, row: &Row, sides: &[Side], programs: &Programs) -> Figures {
        let rounds = if self.quick { 2 } else { self.rounds };
        let steps = if self.quick { (row.steps / 4).max(1) } else { row.steps };
        let mut runs = vec![Vec::<Run>::new(); sides.len()];
        let mut failed = vec![false; sides.len()];
        for round in 1..=rounds {
            for (i, &side) in sides.iter().enumerate() {
                if failed[i] {
                    continue;
                }
                let side_name = side.to_possible_value().map_or(String::new(), |v| v.get_name().to_owned());
                let label = format!("{} {side_name} round {round}/{rounds}", row.name());
                let command = row.command(side, steps, self.threads, &programs.brisk, &programs.python);
                match run(command) {
                    Ok(run) => {
                        eprintln!("{label}: {:.3} ms, {:.0} MB", run.step_ms_median, run.peak_rss_mb);
                        runs[i].push(run);
                    }
                    Err(error) => {
                        eprintln!("{label}: left out of this row: {error:#}");
                        failed[i] = true;
                        runs[i].clear();
                    }
                }
            }
        }
        let figures = sides.iter().zip(&runs).filter_map(|(&side, runs)| Figure::new(side, runs));
        Figures::new(figures.collect(), self.threads, rounds)
    }

    fn check(&self, rows: &[&Row], measured: &Results) -> Result<()> {
        let committed = results::read(&committed())?;
        let names: Vec<String> = rows.iter().map(|r| r.name()).collect();
        let compared = results::compare(&names, measured, &committed, self.tolerance);
        println!("{}", report::verdicts(&compared));
        let machine = crate::machine::name();
        if let Some(other) = committed.values().find(|f| f.machine != machine) {
            println!("The committed ratios are of another machine: {}", other.machine);
        }
        let bad = compared.iter().filter(|c| matches!(c.verdict, Verdict::Fell | Verdict::Missing));
        let bad: Vec<&str> = bad.map(|c| c.row.as_str()).collect();
        if !bad.is_empty() {
            bail!(
                "{} of {} rows fell by more than {:.0} %, or could not be measured: {}. Measure them again on a quiet \
                 machine; if the change is wanted, `cargo xtask peers --record --rows {}`",
                bad.len(),
                rows.len(),
                self.tolerance * 100.0,
                bad.join(", "),
                bad.join(","),
            );
        }
        Ok(())
    }
}

fn run(mut command: Command) -> Result<Run> {
    let output = command.output().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}", output.status, stderr.trim().lines().next_back().unwrap_or("no message"));
    }
    serde_json::from_str(stdout.trim())
        .with_context(|| format!("expected one JSON object, found {:?}", stdout.trim()))
}

/// Builds the release binary; its path.
pub fn build_brisk() -> Result<PathBuf> {
    build(&["--package", "brisk-cli"])?;
    Ok(release().join("brisk"))
}

/// `cargo build --release` of something.
pub fn build(what: &[&str]) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    venv::check(cargo.args(["build", "--release"]).args(what).current_dir(venv::root()))
}

/// Where release builds lie.
pub fn release() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    venv::root().join(Path::new(&target)).join("release")
}
