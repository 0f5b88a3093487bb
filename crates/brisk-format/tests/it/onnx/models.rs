//! Cases of the suite as models of Brisk's, whose graph is made once for any number of rows.

use brisk_format::{OnnxFile, import_onnx};
use brisk_graph::Tensor;
use brisk_nn::Shapes;
use brisk_onnx::{Constant, Output};
use brisk_runtime::{Cpu, Device, Options};

use super::case::Case;
use super::suite::cases;

/// What a case's model, imported, says to its first set: `None` if it is no model of Brisk's.
fn said(device: &Cpu, case: &Case) -> Option<Result<Vec<Output>, String>> {
    let OnnxFile { model, parameters } = case.file.clone();
    let saved = import_onnx("case.onnx".as_ref(), OnnxFile { model, parameters }).ok()?;
    let task = saved.task();
    let given: Option<Vec<&Tensor>> = case.sets[0]
        .inputs
        .iter()
        .map(|input| match input {
            Some(Output::Tensor(Constant::Numbers(_, tensor))) => Some(tensor),
            _ => None,
        })
        .collect();
    let inputs = task.model.inputs();
    // The rows must be the same for all.
    let given = given?;
    let numbers = case.sets[0].outputs.iter().filter_map(|o| match o {
        Some(Output::Tensor(Constant::Numbers(elem, tensor))) if !elem.is_float() => Some(tensor),
        _ => None,
    });
    // A model takes and yields numbers as f32 does.
    let exact = |t: &Tensor| t.to_f64s().iter().all(|&v| v.is_nan() || f64::from(v as f32) == v);
    if !given.iter().copied().chain(numbers).all(exact) {
        return None;
    }
    let rows = given.first()?.shape().first().copied()?;
    if given.iter().any(|t| t.shape().first() != Some(&rows)) {
        return None;
    }
    let fitted: Vec<Tensor> = inputs
        .iter()
        .zip(&given)
        .map(|(i, t)| Tensor::from_f64s(i.dtype, t.shape(), &t.to_f64s()).unwrap())
        .collect();
    let named: Vec<_> = inputs.iter().map(|i| i.tensor()).zip(&fitted).collect();
    let mut state = saved.state.clone();
    let shapes: Shapes = named.iter().copied().collect();
    let graph = match task.predict_graph(shapes) {
        Ok(graph) => graph,
        Err(error) => return Some(Err(error.to_string())),
    };
    let mut program = device.compile(&graph, &Options::default()).unwrap();
    let found = program.run(&named, &mut state).unwrap();
    let outputs = found.into_iter().zip(&case.sets[0].outputs).map(|(tensor, expected)| match expected {
        // A model yields f32, whatever the graph does.
        Some(Output::Tensor(Constant::Numbers(elem, e))) => {
            let tensor = Tensor::from_f64s(e.dtype(), tensor.shape(), &tensor.to_f64s()).unwrap();
            Output::Tensor(Constant::Numbers(*elem, tensor))
        }
        _ => Output::Nothing,
    });
    Some(Ok(outputs.collect()))
}

#[test]
fn imported_cases_yield_what_the_suite_expects() {
    let (_dir, paths) = cases();
    let device = Cpu::new(1);
    let (mut asked, mut failed) = (0, Vec::new());
    for path in &paths {
        let case = Case::read(path).unwrap();
        let Some(found) = said(&device, &case) else { continue };
        asked += 1;
        if let Err(message) = found.and_then(|found| case.check(&case.sets[0], &found)) {
            failed.push(format!("{}: {message}", path.file_name().unwrap().display()));
        }
    }
    assert!(failed.is_empty(), "{} of {asked} failed:\n{}", failed.len(), failed.join("\n"));
    assert!(asked >= 100, "only {asked} of {} cases are models", paths.len());
}
