//! Instructions that kernels execute, where time is too noisy to compare.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::{machine, peers, venv};

/// Count the instructions of a few kernels with valgrind, and fail if they are more than in bench/instructions.json
#[derive(Args)]
pub struct Instructions {
    /// Write what was counted into bench/instructions.json
    #[arg(long)]
    record: bool,
    /// By what share a count may exceed the committed one
    #[arg(long, default_value_t = 0.02)]
    tolerance: f64,
}

/// What is committed.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Counts {
    /// The compiler that they belong to.
    rust: String,
    /// Instructions of one call, at the AVX2 level.
    kernels: BTreeMap<String, u64>,
}

fn committed() -> PathBuf {
    venv::root().join("bench/instructions.json")
}

impl Instructions {
    pub fn run(&self) -> Result<()> {
        if Command::new("valgrind").arg("--version").output().is_err() {
            bail!(
                "valgrind is needed to count instructions, and there is no program of this name: install it \
                 (Debian: apt install valgrind)"
            );
        }
        peers::build(&["--package", "brisk-kernels", "--example", "instructions"])?;
        let program = peers::release().join("examples/instructions");
        let names = Command::new(&program).output().context("cannot start the example")?.stdout;
        let mut counts = Counts { rust: machine::output("rustc", &["--version"]), ..Counts::default() };
        for name in String::from_utf8_lossy(&names).lines() {
            // What starting and making data takes is the same whatever the number of calls.
            let [one, two] = [1, 2].map(|calls| count(&program, name, calls));
            let call = two?.checked_sub(one?).filter(|&n| n > 0);
            let call = call.with_context(|| format!("{name}: two calls execute no more than one"))?;
            counts.kernels.insert(name.to_owned(), call);
        }
        if self.record {
            let text = serde_json::to_string_pretty(&counts)? + "\n";
            print!("{}", table(&compare(&counts, &counts, self.tolerance)));
            return std::fs::write(committed(), text).context("cannot write bench/instructions.json");
        }
        let text = std::fs::read_to_string(committed()).context(
            "cannot read bench/instructions.json: make it with `cargo xtask instructions --record`",
        )?;
        let known: Counts = serde_json::from_str(&text).context("bench/instructions.json")?;
        let rows = compare(&known, &counts, self.tolerance);
        print!("{}", table(&rows));
        if known.rust != counts.rust {
            println!(
                "The committed counts are of another compiler, {}; this is {}.",
                known.rust, counts.rust
            );
        }
        let more: Vec<&str> = rows.iter().filter(|r| r.failed).map(|r| r.name.as_str()).collect();
        if !more.is_empty() {
            bail!(
                "more instructions than bench/instructions.json allows, or no count: {}. If that is wanted, \
                 `cargo xtask instructions --record`",
                more.join(", ")
            );
        }
        Ok(())
    }
}

/// Instructions of the whole program when it calls a kernel so often. Valgrind knows nothing beyond AVX2.
fn count(program: &Path, kernel: &str, calls: usize) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    valgrind.arg(kernel).arg(calls.to_string()).env("BRISK_CPU", "avx2");
    let output = valgrind.output().context("cannot start valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("valgrind on {kernel}: {}: {}", output.status, said.trim());
    }
    collected(&said)
        .with_context(|| format!("valgrind on {kernel}: expected a line `Collected : N`, found {said:?}"))
}

/// The number in `==1== Collected : 123`.
fn collected(said: &str) -> Option<u64> {
    said.lines().find_map(|l| l.split_once("Collected : ")?.1.trim().parse().ok())
}

/// A kernel's counts.
#[derive(Debug, PartialEq)]
struct Row {
    name: String,
    committed: Option<u64>,
    counted: Option<u64>,
    failed: bool,
}

fn compare(committed: &Counts, counted: &Counts, tolerance: f64) -> Vec<Row> {
    let names: std::collections::BTreeSet<_> =
        committed.kernels.keys().chain(counted.kernels.keys()).collect();
    let row = |name: &String| {
        let (committed, counted) = (committed.kernels.get(name).copied(), counted.kernels.get(name).copied());
        let failed =
            committed.is_some_and(|c| counted.is_none_or(|n| n as f64 > c as f64 * (1.0 + tolerance)));
        Row { name: name.clone(), committed, counted, failed }
    };
    names.into_iter().map(row).collect()
}

fn table(rows: &[Row]) -> String {
    let mut text = format!("{:<16} {:>12} {:>12} {:>8}\n", "kernel", "committed", "now", "");
    for r in rows {
        let show = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let change = r.committed.zip(r.counted).map(|(c, n)| (n as f64 / c as f64 - 1.0) * 100.0);
        let change = change.map_or_else(String::new, |c| format!("{c:+.1} %"));
        let verdict = if r.failed { "  MORE" } else { "" };
        text += &format!(
            "{:<16} {:>12} {:>12} {change:>8}{verdict}\n",
            r.name,
            show(r.committed),
            show(r.counted)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(kernels: &[(&str, u64)]) -> Counts {
        let kernels = kernels.iter().map(|(name, n)| (name.to_string(), *n)).collect();
        Counts { rust: "rustc 1".into(), kernels }
    }

    #[test]
    fn more_instructions_fail_and_fewer_do_not() {
        let committed =
            counts(&[("equal", 100), ("fewer", 100), ("little", 100), ("more", 100), ("gone", 100)]);
        let counted = counts(&[("equal", 100), ("fewer", 50), ("little", 102), ("more", 103), ("new", 7)]);
        let rows = compare(&committed, &counted, 0.02);
        let failed: Vec<_> = rows.iter().filter(|r| r.failed).map(|r| r.name.as_str()).collect();
        assert_eq!(failed, ["gone", "more"]);
        let table = table(&rows);
        assert!(table.contains("+3.0 %  MORE") && table.contains("-50.0 %\n"), "{table}");
    }

    #[test]
    fn what_valgrind_says_is_read() {
        let said =
            "==7== Events    : Ir\n==7== Collected : 43123957\n==7== \n==7== I   refs:      43,123,957\n";
        assert_eq!(collected(said), Some(43_123_957));
        assert_eq!(collected("==7== an error"), None);
    }

    #[test]
    fn what_is_committed_can_be_read() {
        let text = std::fs::read_to_string(committed()).unwrap();
        assert!(!serde_json::from_str::<Counts>(&text).unwrap().kernels.is_empty());
    }
}
