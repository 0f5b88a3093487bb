//! What others make of exported models.
//!
//! `BRISK_PYTHON=... cargo nextest run -p brisk-format --run-ignored only onnx_export::outside`

use std::fs;
use std::process::Command;

use brisk_format::{OnnxOptions, export_onnx, save_tensors};

use super::{Case, cases, texts};

/// ONNX's own checks, and ONNX Runtime's outputs, of all models of these tests. `BRISK_PYTHON` is a Python that has both.
#[test]
#[ignore = "needs a Python with onnx, onnxruntime and safetensors in BRISK_PYTHON"]
fn onnx_runtime_gives_the_same() {
    let python = std::env::var("BRISK_PYTHON").expect("BRISK_PYTHON");
    let layers = cases::layers().into_iter().map(|l| l.1);
    let all: Vec<(&str, Vec<Case>)> = vec![
        ("layers", layers.collect()),
        ("sequences", cases::sequences()),
        ("masked", cases::masked()),
        ("texts", texts::all()),
        ("presets", cases::presets()),
    ];
    let dir = tempfile::tempdir().unwrap();
    let mut count = 0;
    for (kind, case) in all.iter().flat_map(|(kind, cases)| cases.iter().map(move |c| (kind, c))) {
        let folder = dir.path().join(format!("{kind} {count} {}", case.name));
        fs::create_dir(&folder).unwrap();
        let report = export_onnx(&folder.join("model.onnx"), &case.saved, &OnnxOptions::default()).unwrap();
        for (i, question) in case.questions.iter().enumerate() {
            let named = |ports: &[brisk_onnx::Port], what: &str| -> Vec<String> {
                ports.iter().map(|p| format!("{what}.{}", p.name)).collect()
            };
            let names = [named(&report.inputs, "input"), named(&report.outputs, "output")].concat();
            // Files have no i64; the script gives what the model asks for.
            let plain = |t: &brisk_graph::Tensor| match t.dtype() {
                brisk_graph::DType::I64 => {
                    brisk_graph::Tensor::from_f64s(brisk_graph::DType::I32, t.shape(), &t.to_f64s()).unwrap()
                }
                _ => t.clone(),
            };
            let tensors = question.inputs.iter().chain(&question.outputs).map(plain);
            save_tensors(&folder.join(format!("{i}.safetensors")), &names.into_iter().zip(tensors).collect())
                .unwrap();
        }
        count += 1;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/onnx_export.py");
    let output = Command::new(python).arg(script).arg(dir.path()).output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains(&format!("{count} models agree")));
}
