//! Runs ONNX's own conformance tests (`crates/brisk-onnx/suite/make.py` writes them), says which fail, and writes `docs/onnx.md`.
//!
//!     cargo run --release -p brisk-format --example onnx_suite -- SUITE [part of a name]
//!     cargo run --release -p brisk-format --example onnx_suite -- SUITE --docs docs/onnx.md

mod case;
mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use brisk_runtime::Cpu;

use case::Case;

/// Cases that pass, of all.
#[derive(Clone, Copy, Default)]
struct Count {
    passed: usize,
    all: usize,
}

/// What came of the suite.
#[derive(Default)]
struct Found {
    /// By the folders that cases stand in.
    kinds: BTreeMap<String, Count>,
    /// By domain and name of operators that a case calls outside of inner graphs. Those that write an operator in terms of others are
    /// not counted for these, nor are those that call one that is missing.
    operators: BTreeMap<(String, String), Count>,
    /// Operators that Brisk does not have, with how many cases call them.
    missing: BTreeMap<String, usize>,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (suite, part, docs) = match arguments[..] {
        [suite] => (suite, "", None),
        [suite, "--docs", docs] => (suite, "", Some(docs)),
        [suite, part] => (suite, part, None),
        _ => {
            eprintln!("usage: onnx_suite SUITE [part of a name | --docs FILE]");
            return Ok(ExitCode::from(2));
        }
    };
    let found = run(Path::new(suite), part)?;
    for (kind, Count { passed, all }) in &found.kinds {
        println!("{kind}: {passed} of {all}");
    }
    if let Some(docs) = docs {
        fs::write(docs, page::write(&found)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn run(suite: &Path, part: &str) -> std::io::Result<Found> {
    std::panic::set_hook(Box::new(|_| {}));
    let device = Cpu::new(2);
    let mut found = Found::default();
    for kind in ["node", "simple", "pytorch-converted", "pytorch-operator", "real"] {
        let entries = fs::read_dir(suite.join(kind))?.collect::<Result<Vec<_>, _>>()?;
        let mut paths: Vec<PathBuf> = entries.into_iter().map(|e| e.path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !name.contains(part) {
                continue;
            }
            let (mut called, mut missing) = (BTreeSet::new(), Vec::new());
            let run = AssertUnwindSafe(|| {
                let case = Case::read(&path)?;
                called.extend(case.file.model.graph.nodes.iter().map(|n| (n.domain.clone(), n.op.clone())));
                if let Err(brisk_onnx::Error::Operators(unknown)) = brisk_onnx::check(&case.file.model) {
                    missing.extend(unknown.into_iter().map(|u| u.op));
                }
                case.run(&device)
            });
            let result = catch_unwind(run).unwrap_or_else(|_| Err("PANIC".into()));
            if let Err(message) = &result {
                println!("FAILED {kind}/{name}: {message}");
            }
            let count = |counts: &mut Count| {
                counts.passed += usize::from(result.is_ok());
                counts.all += 1;
            };
            count(found.kinds.entry(kind.into()).or_default());
            for operator in &missing {
                *found.missing.entry(operator.clone()).or_default() += 1;
            }
            if missing.is_empty() && !name.contains("_expanded") {
                called.into_iter().for_each(|op| count(found.operators.entry(op).or_default()));
            }
        }
    }
    Ok(found)
}
