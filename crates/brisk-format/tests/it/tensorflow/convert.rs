//! Graphs of TensorFlow in ONNX's vocabulary answer what TensorFlow answered.

use std::path::Path;

use brisk_format::{
    OnnxFile, import_frozen_graph, import_onnx, import_saved_model, load_model, load_tensors, save_model,
};
use brisk_graph::Tensor;
use brisk_onnx::{Constant, Output, Port, Session, Type};
use brisk_runtime::{Cpu, State};

use crate::round_trips::says;

/// A model that TensorFlow wrote; see `tensorflow_graphs.py` there.
fn unpacked(name: &str) -> tempfile::TempDir {
    crate::unpacked(&format!("tensorflow_graphs/{name}.zip"))
}

fn read(dir: &Path) -> OnnxFile {
    match dir.join("frozen.pb").exists() {
        true => import_frozen_graph(&dir.join("frozen.pb")).unwrap(),
        false => import_saved_model(dir).unwrap(),
    }
}

pub fn given(port: &Port, values: &State) -> Output {
    let Type::Tensor(elem, _) = &port.ty else { panic!("{port:?}") };
    let tensor = values.get(&format!("input.{}", port.name)).unwrap().clone();
    let constant = match elem.is_float() {
        true => Constant::Numbers(*elem, tensor),
        false => {
            let ints = tensor.to_f64s().into_iter().map(|v| v as i64).collect();
            Constant::ints(*elem, &tensor.shape()[..], ints).unwrap()
        }
    };
    Output::Tensor(constant)
}

fn close(name: &str, found: &Tensor, expected: &Tensor) {
    assert_eq!(found.shape(), expected.shape(), "{name}");
    for (i, (f, e)) in found.to_f64s().into_iter().zip(expected.to_f64s()).enumerate() {
        assert!((f - e).abs() <= 1e-5 * e.abs().max(1.0), "{name}[{i}]: expected {e}, found {f}");
    }
}

/// What TensorFlow answered, and what Brisk does.
fn check(name: &str) {
    let dir = unpacked(name);
    let file = read(dir.path());
    let values = load_tensors(&dir.path().join("values.safetensors")).unwrap();
    let inputs = file.model.graph.inputs.iter().map(|p| Some(given(p, &values))).collect();
    let outputs: Vec<String> = file.model.graph.outputs.iter().map(|p| p.name.clone()).collect();
    let expected = values.iter().filter(|(n, _)| n.starts_with("output.")).count();
    assert_eq!(outputs.len(), expected, "{outputs:?}");
    let device = Cpu::new(1);
    let mut session = Session::new(&device, &file.model, file.parameters.clone());
    let found = session.run(inputs).unwrap_or_else(|e| panic!("{name}: {e}"));
    for (output, found) in outputs.iter().zip(found) {
        let Output::Tensor(Constant::Numbers(_, found)) = found else { panic!("{output}: {found:?}") };
        close(&format!("{name}: {output}"), &found, values.get(&format!("output.{output}")).unwrap());
    }
}

macro_rules! checks {
    ($($name:ident),*) => { $(#[test] fn $name() { check(stringify!($name)); })* };
}

checks!(
    cnn,
    resnet,
    segment,
    volumes,
    sequence,
    lstm,
    gru,
    bidirectional,
    masked,
    transformer,
    norms,
    several,
    zoo,
    control,
    pictures,
    session,
    frozen
);

#[test]
fn a_translated_model_is_kept_and_says_what_is_trained() {
    let dir = unpacked("cnn");
    let file = read(dir.path());
    let parameters = &file.model.graph.parameters;
    let trainable: Vec<bool> = ["kernel", "gamma", "moving_variance"]
        .map(|part| {
            let (_, found) = parameters.iter().find(|(name, _)| name.contains(part)).unwrap();
            found.trainable
        })
        .into();
    assert_eq!(trainable, [true, true, false], "{parameters:?}");
    assert_eq!(file.model.graph.inputs[0].name, "pixels");
    assert_eq!(file.model.graph.inputs[0].ty.to_string(), "float [?, 11, 9, 3]");
    let saved = import_onnx(dir.path(), file).unwrap();
    let kept = tempfile::tempdir().unwrap();
    save_model(&kept.path().join("model"), &saved).unwrap();
    let loaded = load_model(&kept.path().join("model")).unwrap();
    assert_eq!(loaded.state.len(), saved.state.len());
    let values = load_tensors(&dir.path().join("values.safetensors")).unwrap();
    let batch = vec![(saved.model.inputs()[0].tensor().into(), values.get("input.pixels").unwrap().clone())];
    close("cnn", &says(&loaded, &batch), &says(&saved, &batch));
}

#[test]
fn graphs_become_models_that_can_be_trained() {
    for name in ["resnet", "gru", "bidirectional", "transformer", "several", "session", "frozen"] {
        let dir = unpacked(name);
        let model = import_onnx(dir.path(), read(dir.path())).unwrap_or_else(|e| panic!("{name}: {e}"));
        let specs = model.model.param_specs().unwrap();
        let trainable = specs.iter().filter(|s| s.trainable && model.state.get(&s.name).is_some()).count();
        assert!(trainable > 1, "{name}");
        assert!(model.state.len() > 1, "{name}");
    }
}
