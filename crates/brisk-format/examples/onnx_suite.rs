//! Runs ONNX's own conformance tests (`crates/brisk-onnx/suite/make.py` writes them) and says by operator how many pass.
//!
//!     cargo run --release -p brisk-format --example onnx_suite -- FOLDER [part of a name] [--all]

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use brisk_format::{read_onnx, read_onnx_value};
use brisk_graph::Data;
use brisk_onnx::{Attribute, Constant, Graph, Output, Session, Unknown};
use brisk_runtime::Cpu;

struct Case {
    kind: String,
    name: String,
    path: PathBuf,
}

enum Verdict {
    Passed,
    Failed(String),
    /// It uses an operator that Brisk does not have.
    Unknown(Vec<Unknown>),
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(folder) = arguments.first() else {
        eprintln!("usage: onnx_suite FOLDER [part of a name]");
        std::process::exit(2);
    };
    let filter = arguments.get(1).filter(|a| !a.starts_with("--")).cloned().unwrap_or_default();
    let mut cases = Vec::new();
    for kind in ["node", "simple", "pytorch-converted", "pytorch-operator", "real"] {
        let Ok(entries) = fs::read_dir(Path::new(folder).join(kind)) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.contains(&filter) {
                cases.push(Case { kind: kind.into(), name, path: entry.path() });
            }
        }
    }
    cases.sort_by(|a, b| (&a.kind, &a.name).cmp(&(&b.kind, &b.name)));
    std::panic::set_hook(Box::new(|_| {}));
    let device = Cpu::new(2);
    let mut by_kind: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    let mut by_operator: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    let mut missing: BTreeMap<String, usize> = BTreeMap::new();
    for case in &cases {
        let (operators, verdict) = match catch_unwind(AssertUnwindSafe(|| run(case, &device))) {
            Ok(found) => found,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|t| t.to_string()));
                (Vec::new(), Verdict::Failed(format!("PANIC {}", text.unwrap_or_default())))
            }
        };
        let passed = matches!(verdict, Verdict::Passed);
        for counts in [Some(by_kind.entry(&case.kind).or_default())].into_iter().flatten() {
            counts[0] += usize::from(passed);
            counts[1] += 1;
        }
        for operator in operators {
            let counts = by_operator.entry(operator).or_default();
            counts[0] += usize::from(passed);
            counts[1] += 1;
        }
        match verdict {
            Verdict::Passed => {}
            Verdict::Failed(message) => println!("FAILED {}/{}: {message}", case.kind, case.name),
            Verdict::Unknown(all) => all.into_iter().for_each(|u| *missing.entry(u.op).or_default() += 1),
        }
    }
    println!("\noperators that Brisk does not have: {missing:?}\n");
    for (operator, [passed, all]) in &by_operator {
        if passed < all {
            println!("{operator}: {passed} of {all}");
        }
    }
    let whole = by_operator.values().filter(|c| c[0] == c[1]).count();
    println!("\n{whole} of {} operators pass all of their cases", by_operator.len());
    for (kind, [passed, all]) in by_kind {
        println!("{kind}: {passed} of {all}");
    }
}

/// The operators that a case is about, and what came of it.
fn run(case: &Case, device: &Cpu) -> (Vec<String>, Verdict) {
    let failed = |e: String| (Vec::new(), Verdict::Failed(e));
    let file = match read_onnx(&case.path.join("model.onnx")) {
        Ok(file) => file,
        Err(e) => return failed(e.to_string()),
    };
    let mut operators = Vec::new();
    collect(&file.model.graph, &mut operators);
    operators.sort();
    operators.dedup();
    if let Err(brisk_onnx::Error::Operators(all)) = brisk_onnx::check(&file.model) {
        return (operators, Verdict::Unknown(all));
    }
    let [rtol, atol] = tolerance(&case.path);
    let mut session = Session::new(device, &file.model, file.parameters);
    for set in 0.. {
        let folder = case.path.join(format!("test_data_set_{set}"));
        if !folder.is_dir() {
            return (operators, if set == 0 { Verdict::Failed("no data".into()) } else { Verdict::Passed });
        }
        let read = |what: &str, ports: &[brisk_onnx::Port]| -> Result<Vec<Option<Output>>, String> {
            let mut found = Vec::new();
            for (i, port) in ports.iter().enumerate() {
                let path = folder.join(format!("{what}_{i}.pb"));
                found.push(match path.exists() {
                    true => Some(read_onnx_value(&path, &port.ty).map_err(|e| e.to_string())?),
                    false => None,
                });
            }
            Ok(found)
        };
        let inputs = match read("input", &file.model.graph.inputs) {
            Ok(inputs) => inputs,
            Err(e) => return (operators, Verdict::Failed(e)),
        };
        let expected = match read("output", &file.model.graph.outputs) {
            Ok(expected) => expected,
            Err(e) => return (operators, Verdict::Failed(e)),
        };
        let found = match session.run(inputs) {
            Ok(found) => found,
            Err(e) => return (operators, Verdict::Failed(e.to_string())),
        };
        for ((port, found), expected) in file.model.graph.outputs.iter().zip(found).zip(expected) {
            let Some(expected) = expected else { continue };
            if let Err(e) = compare(&found, &expected, rtol, atol) {
                return (operators, Verdict::Failed(format!("{}: {e}", port.name)));
            }
        }
    }
    (operators, Verdict::Passed)
}

fn collect(graph: &Graph, to: &mut Vec<String>) {
    for node in &graph.nodes {
        let domain = if node.domain.is_empty() { String::new() } else { format!("{}.", node.domain) };
        to.push(format!("{domain}{}", node.op));
        for attribute in node.attributes.values() {
            if let Attribute::Graph(graph) = attribute {
                collect(graph, to);
            }
        }
    }
}

/// The suite's own, for this case.
fn tolerance(case: &Path) -> [f64; 2] {
    let text = fs::read_to_string(case.join("tolerance.json")).unwrap_or_default();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    [("rtol", 1e-3), ("atol", 1e-7)].map(|(key, default)| value[key].as_f64().unwrap_or(default))
}

fn compare(found: &Output, expected: &Output, rtol: f64, atol: f64) -> Result<(), String> {
    match (found, expected) {
        (Output::Tensor(found), Output::Tensor(expected)) => tensors(found, expected, rtol, atol),
        (Output::Sequence(found), Output::Sequence(expected)) => {
            if found.len() != expected.len() {
                return Err(format!("expected {} elements, found {}", expected.len(), found.len()));
            }
            found.iter().zip(expected).try_for_each(|(f, e)| compare(f, e, rtol, atol))
        }
        (Output::Nothing, Output::Nothing) => Ok(()),
        _ => Err("expected another kind of value".into()),
    }
}

fn tensors(found: &Constant, expected: &Constant, rtol: f64, atol: f64) -> Result<(), String> {
    if found.elem() != expected.elem() || found.shape() != expected.shape() {
        return Err(format!(
            "expected {} {}, found {} {}",
            expected.elem(),
            expected.shape(),
            found.elem(),
            found.shape()
        ));
    }
    let (found, expected) = match (found, expected) {
        (Constant::Numbers(_, f), Constant::Numbers(_, e)) => (f, e),
        (f, e) => return if f == e { Ok(()) } else { Err(format!("expected {e:?}, found {f:?}")) },
    };
    if let (Data::I64(f), Data::I64(e)) = (found.data(), expected.data()) {
        return match f
            .iter()
            .zip(e)
            .position(|(f, e)| f != e && (*f as f64 - *e as f64).abs() > atol + rtol * (*e as f64).abs())
        {
            Some(i) => Err(format!("element {i}: expected {}, found {}", e[i], f[i])),
            None => Ok(()),
        };
    }
    let (f, e) = (found.to_f64s(), expected.to_f64s());
    let close = |f: f64, e: f64| f == e || f.is_nan() && e.is_nan() || (f - e).abs() <= atol + rtol * e.abs();
    match f.iter().zip(&e).position(|(f, e)| !close(*f, *e)) {
        Some(i) => Err(format!("element {i} of {}: expected {}, found {}", found.shape(), e[i], f[i])),
        None => Ok(()),
    }
}
