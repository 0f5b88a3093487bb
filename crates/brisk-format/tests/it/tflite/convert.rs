//! Models that TensorFlow's converter wrote.

use brisk_format::{import_onnx, import_tflite, load_model, load_tensors, save_model};
use brisk_graph::{DType, Tensor};
use brisk_onnx::{Constant, Dim, Elem, Output, Session, Type};
use brisk_runtime::Cpu;

use super::unpacked;
use crate::round_trips::says;
use crate::tensorflow::convert::given;

/// How far an answer may lie from what TensorFlow Lite's interpreter said.
#[derive(Clone, Copy)]
enum Near {
    /// To so much, of numbers above one in proportion.
    Floats(f64),
    /// Whole numbers: so many steps.
    Steps(f64),
}

fn close(name: &str, found: &Tensor, expected: &Tensor, near: Near) {
    assert_eq!(found.shape(), expected.shape(), "{name}");
    let mut most = 0f64;
    for (i, (f, e)) in found.to_f64s().into_iter().zip(expected.to_f64s()).enumerate() {
        let (distance, allowed) = match near {
            Near::Floats(allowed) => ((f - e).abs() / e.abs().max(1.0), allowed),
            Near::Steps(allowed) => ((f - e).abs(), allowed),
        };
        most = most.max(distance);
        assert!(distance <= allowed, "{name}[{i}]: expected {e}, found {f}");
    }
    println!("{name}: {most:.1e}");
}

fn check(name: &str, near: Near) {
    let dir = unpacked(name);
    let file = import_tflite(&dir.path().join("model.tflite")).unwrap();
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
        close(&format!("{name}: {output}"), &found, values.get(&format!("output.{output}")).unwrap(), near);
    }
}

macro_rules! checks {
    ($($name:ident: $near:expr),* $(,)?) => { $(#[test] fn $name() { check(stringify!($name), $near); })* };
}

checks!(
    cnn: Near::Floats(1e-5),
    depthwise: Near::Floats(1e-5),
    float16: Near::Floats(1e-5),
    dense: Near::Floats(1e-5),
    one_row: Near::Floats(1e-5),
    steps: Near::Floats(1e-5),
    lstm: Near::Floats(1e-5),
    long_lstm: Near::Floats(1e-5),
    pictures: Near::Floats(1e-5),
    zoo: Near::Floats(1e-5),
    more: Near::Floats(1e-5),
    control: Near::Floats(1e-5),
    // Of the smallest difference that its outputs can have.
    whole_numbers: Near::Steps(1.0),
    // Its outputs have steps of 1/256.
    whole_weights: Near::Floats(1.0 / 256.0),
    // The interpreter rounds activations to eight bits, row by row; here they stay floats.
    dynamic_range: Near::Floats(0.04),
);

#[test]
fn a_model_is_kept_and_asked_about_any_number_of_rows() {
    let dir = unpacked("cnn");
    let path = dir.path().join("model.tflite");
    let file = import_tflite(&path).unwrap();
    assert_eq!(file.model.graph.inputs[0].name, "pixels");
    assert_eq!(file.model.graph.inputs[0].ty.to_string(), "float [?, 11, 9, 3]");
    assert!(file.model.graph.parameters.values().all(|p| p.trainable));
    let saved = import_onnx(&path, file).unwrap();
    let kept = tempfile::tempdir().unwrap();
    save_model(&kept.path().join("model"), &saved).unwrap();
    let loaded = load_model(&kept.path().join("model")).unwrap();
    let input = saved.model.inputs()[0].tensor().to_string();
    let mut first = Vec::new();
    for rows in [1, 3] {
        let pixels: Vec<f64> =
            (0..rows * 11 * 9 * 3).map(|i| f64::from((i * 37 % 101) as u8) / 101.0).collect();
        let pixels = Tensor::from_f64s(DType::F32, [rows, 11, 9, 3], &pixels).unwrap();
        let batch = vec![(input.clone(), pixels)];
        let expected = says(&saved, &batch);
        assert_eq!(expected.shape()[0], rows);
        close("cnn", &says(&loaded, &batch), &expected, Near::Floats(1e-6));
        first.push(expected.to_f64s()[..expected.to_f64s().len() / rows].to_vec());
    }
    // A row is answered alike, whichever are beside it.
    for (alone, beside) in first[0].iter().zip(&first[1]) {
        assert!((alone - beside).abs() <= 1e-5, "{first:?}");
    }
}

#[test]
fn a_model_for_one_row_is_one_for_several() {
    let dir = unpacked("one_row");
    let mut file = import_tflite(&dir.path().join("model.tflite")).unwrap();
    let values = load_tensors(&dir.path().join("values.safetensors")).unwrap();
    let port = &mut file.model.graph.inputs[0];
    assert_eq!(port.ty.to_string(), "float [1, 4, 5, 2]");
    let row = values.get(&format!("input.{}", port.name)).unwrap().to_f64s();
    let (rows, dims) = (3, [3, 4, 5, 2]);
    port.ty = Type::Tensor(Elem::Float, Some(dims.map(Dim::Size).to_vec()));
    let input = Tensor::from_f64s(DType::F32, dims, &row.repeat(rows)).unwrap();
    let input = Output::Tensor(Constant::Numbers(Elem::Float, input));
    let device = Cpu::new(1);
    let found = Session::new(&device, &file.model, file.parameters).run(vec![Some(input)]).unwrap();
    let [Output::Tensor(Constant::Numbers(_, found))] = &found[..] else { panic!("{found:?}") };
    let expected = values.get("output.output_0").unwrap().to_f64s().repeat(rows);
    let expected = Tensor::from_f64s(DType::F32, [rows, 3], &expected).unwrap();
    close("one_row", found, &expected, Near::Floats(1e-5));
}

#[test]
fn models_become_ones_that_can_be_trained() {
    for name in
        ["cnn", "depthwise", "float16", "dense", "lstm", "long_lstm", "whole_numbers", "dynamic_range"]
    {
        let path = unpacked(name);
        let path = path.path().join("model.tflite");
        let model =
            import_onnx(&path, import_tflite(&path).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let specs = model.model.param_specs().unwrap();
        let trained: Vec<&str> = specs.iter().filter(|s| s.trainable).map(|s| s.name.as_str()).collect();
        assert!(trained.len() > 1, "{name}: only {trained:?} of {} are trained", specs.len());
        assert!(trained.iter().all(|name| model.state.get(name).is_some()), "{name}: {trained:?}");
    }
}
