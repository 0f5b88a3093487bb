//! `brisk import` of graphs: ONNX's own, and TensorFlow's and MXNet's, which become such.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;

use anyhow::Result;
use brisk_format::{OnnxFile, SavedModel, import_onnx};
use brisk_onnx::{OPSETS, Port};
use serde_json::json;

use super::Import;
use crate::printer::{Printer, thousands};

pub fn run(import: &Import, file: OnnxFile, printer: &Printer) -> Result<ExitCode> {
    let path = &import.path;
    if let Some(version) = file.model.opsets.get("").filter(|v| (1..*OPSETS.start()).contains(v)) {
        eprintln!(
            "warning: {}: it uses version {version} of ONNX's operators, and Brisk is tested with {} to {}: compare with --check",
            path.display(),
            OPSETS.start(),
            OPSETS.end()
        );
    }
    let (about, data) = (text(&file)?, data(&file));
    // Some models can be run, but are no models of Brisk's: their shapes follow from numbers.
    let model = import_onnx(path, file);
    let differences = model.as_ref().ok().map(|model| import.differences(model)).transpose()?.flatten();
    if !import.json {
        printer.line(about)?;
    }
    let model: SavedModel = model?;
    import.write(&model)?;
    if import.json {
        let mut data = data;
        data["differences"] = json!(differences);
        printer.json(&data)?;
    }
    import.verdict(differences.as_deref(), printer)
}

/// The operators, with how often each is called.
fn operators(file: &OnnxFile) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    file.model.graph.nodes.iter().for_each(|n| *counts.entry(n.op.as_str()).or_default() += 1);
    counts
}

fn parameters(file: &OnnxFile) -> usize {
    file.parameters.iter().map(|(_, t)| t.elements()).sum()
}

fn text(file: &OnnxFile) -> Result<String> {
    let mut text = String::new();
    let graph = &file.model.graph;
    let mut row = |name: &str, value: String| writeln!(text, "{name:<11} {value}");
    let ports = |all: &[Port]| {
        let each: Vec<_> = all.iter().map(|p| format!("{} ({})", p.name, p.ty)).collect();
        each.join(", ")
    };
    let opsets = file.model.opsets.iter();
    let opsets: Vec<_> = opsets
        .map(|(d, v)| format!("{}{v}", if d.is_empty() { String::new() } else { format!("{d} ") }))
        .collect();
    row("graph", graph.name.clone())?;
    row("versions", opsets.join(", "))?;
    row("inputs", ports(&graph.inputs))?;
    row("outputs", ports(&graph.outputs))?;
    row("nodes", thousands(graph.nodes.len()))?;
    let operators: Vec<_> = operators(file).into_iter().map(|(op, n)| format!("{n} {op}")).collect();
    row("operators", operators.join(", "))?;
    row("parameters", thousands(parameters(file)))?;
    Ok(text)
}

fn data(file: &OnnxFile) -> serde_json::Value {
    let ports = |all: &[Port]| -> Vec<_> {
        all.iter().map(|p| json!({"name": p.name, "type": p.ty.to_string()})).collect()
    };
    json!({
        "graph": file.model.graph.name,
        "opsets": file.model.opsets,
        "inputs": ports(&file.model.graph.inputs),
        "outputs": ports(&file.model.graph.outputs),
        "operators": operators(file),
        "parameters": parameters(file),
        "tensors": file.parameters.iter().map(|(n, t)| json!({"name": n, "shape": t.shape().dims()})).collect::<Vec<_>>(),
    })
}
