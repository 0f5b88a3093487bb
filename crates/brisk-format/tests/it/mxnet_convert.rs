//! Graphs of MXNet in ONNX's vocabulary answer what its documentation says.

use std::fs;
use std::path::{Path, PathBuf};

use brisk_format::{OnnxFile, Result, import_mxnet, import_onnx, load_tensors};
use brisk_graph::Tensor;
use brisk_onnx::{Constant, Elem, Output, Session};
use brisk_runtime::Cpu;

use crate::mxnet::{V2, array, list};

/// A model that was written by hand; see `mxnet_graphs.py` there.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../brisk-testkit/goldens/mxnet_graphs").join(name)
}

fn check(name: &str) -> OnnxFile {
    let (symbol, parameters) = (format!("{name}-symbol.json"), format!("{name}.params"));
    let file = import_mxnet(&golden(&symbol), &golden(&parameters)).unwrap();
    let values = load_tensors(&golden(&format!("{name}.safetensors"))).unwrap();
    let given = |name: &String| {
        let tensor = values.get(&format!("input.{name}")).unwrap().clone();
        Some(Output::Tensor(Constant::Numbers(Elem::Float, tensor)))
    };
    let inputs = file.model.graph.inputs.iter().map(|p| given(&p.name)).collect();
    let device = Cpu::new(1);
    let found = Session::new(&device, &file.model, file.parameters.clone()).run(inputs).unwrap();
    assert_eq!(found.len(), values.iter().filter(|(n, _)| n.starts_with("output.")).count());
    for (port, found) in file.model.graph.outputs.iter().zip(found) {
        let Output::Tensor(Constant::Numbers(_, found)) = found else { panic!("{found:?}") };
        let expected = values.get(&format!("output.{}", port.name)).unwrap();
        assert_eq!(found.shape(), expected.shape(), "{}", port.name);
        for (i, (f, e)) in found.to_f64s().into_iter().zip(expected.to_f64s()).enumerate() {
            let near = (f - e).abs() <= 1e-5 * e.abs().max(1.0);
            assert!(near, "{}[{i}]: expected {e}, found {f}", port.name);
        }
    }
    file
}

#[test]
fn a_network_answers_without_its_label() {
    let file = check("network");
    let inputs = &file.model.graph.inputs;
    assert_eq!(inputs.len(), 1, "{inputs:?}");
    assert_eq!(inputs[0].ty.to_string(), "float [?, 4, ?, ?]", "as the weights say");
    let trainable = |name: &str| file.model.graph.parameters[name].trainable;
    assert!(trainable("conv_weight") && !trainable("bn1_mean"));
}

#[test]
fn layers_are_what_the_documentation_says() {
    let file = check("layers");
    assert_eq!(file.model.graph.inputs[0].ty.to_string(), "float [?, 3, 6, 5]", "as its node says");
    import_onnx("layers".as_ref(), file).unwrap();
}

#[test]
fn operators_are_what_the_documentation_says() {
    check("operators");
}

/// A graph of MXNet with the parameters of `network`.
fn import(nodes: &str, heads: &str) -> Result<OnnxFile> {
    import_with(nodes, heads, &golden("network.params"))
}

fn import_with(nodes: &str, heads: &str, parameters: &Path) -> Result<OnnxFile> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("net-symbol.json");
    fs::write(&path, format!(r#"{{"nodes": [{nodes}], "arg_nodes": [], "heads": {heads}}}"#)).unwrap();
    import_mxnet(&path, parameters)
}

/// What an operator with these attributes says of two inputs.
fn says(op: &str, attributes: &str, a: Tensor, b: Tensor) -> Tensor {
    let nodes = format!(
        r#"{{"op": "null", "name": "a", "inputs": []}}, {{"op": "null", "name": "b", "inputs": []}},
            {{"op": "{op}", "name": "y", "attrs": {{{attributes}}}, "inputs": [[0, 0, 0], [1, 0, 0]]}}"#
    );
    let file = import(&nodes, "[[2, 0, 0]]").unwrap();
    let inputs = [a, b].map(|t| Some(Output::Tensor(Constant::Numbers(Elem::Float, t))));
    let device = Cpu::new(1);
    let found = Session::new(&device, &file.model, file.parameters.clone()).run(inputs.to_vec()).unwrap();
    let [Output::Tensor(Constant::Numbers(_, found))] = &found[..] else { panic!("{found:?}") };
    found.clone()
}

fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(shape, values.to_vec()).unwrap()
}

#[test]
fn indices_out_of_range_are_as_the_mode_says() {
    let rows = || tensor(&[4, 2], &[10.0, 11.0, 20.0, 21.0, 30.0, 31.0, 40.0, 41.0]);
    let at = || tensor(&[3], &[-1.0, 2.0, 9.0]);
    let clip = tensor(&[3, 2], &[10.0, 11.0, 30.0, 31.0, 40.0, 41.0]);
    assert_eq!(says("take", "", rows(), at()), clip);
    assert_eq!(says("take", r#""mode": "clip""#, rows(), at()), clip);
    let wrap = tensor(&[3, 2], &[40.0, 41.0, 30.0, 31.0, 20.0, 21.0]);
    assert_eq!(says("take", r#""mode": "wrap""#, rows(), at()), wrap);
    let columns = tensor(&[2, 1], &[11.0, 21.0]);
    let two = tensor(&[2, 2], &[10.0, 11.0, 20.0, 21.0]);
    assert_eq!(says("take", r#""axis": "-1""#, two, tensor(&[1], &[5.0])), columns);
}

#[test]
fn a_dot_of_more_axes_goes_along_the_last_and_the_first() {
    let expected = [7.0, 10.0, 15.0, 22.0];
    let (plain, turned) = ([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]);
    let (ta, tb) = (r#""transpose_a": "True""#, r#""transpose_b": "True""#);
    for (attributes, a, b) in [
        ("".into(), tensor(&[1, 2, 2], &plain), tensor(&[2, 1, 2], &plain)),
        (ta.into(), tensor(&[2, 1, 2], &turned), tensor(&[2, 1, 2], &plain)),
        (tb.into(), tensor(&[1, 2, 2], &plain), tensor(&[1, 2, 2], &turned)),
        (format!("{ta}, {tb}"), tensor(&[2, 1, 2], &turned), tensor(&[1, 2, 2], &turned)),
    ] {
        let attributes: String = attributes;
        assert_eq!(says("dot", &attributes, a, b), tensor(&[1, 2, 1, 2], &expected), "{attributes}");
    }
    let vector = says("dot", "", tensor(&[2, 2], &plain), tensor(&[2], &[1.0, 10.0]));
    assert_eq!(vector, tensor(&[2], &[21.0, 43.0]));
}

#[test]
fn scales_that_are_ones_are_there_once() {
    let node = |i: usize| {
        format!(
            r#", {{"op": "BatchNorm", "name": "n{i}", "inputs": [[{}, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0], [4, 0, 0]]}}"#,
            if i == 0 { 0 } else { 4 + i }
        )
    };
    let nodes = ["x", "bn0_gamma", "bn0_beta", "bn0_mean", "bn0_var"]
        .map(|name| format!(r#"{{"op": "null", "name": "{name}", "inputs": []}}"#));
    let nodes = nodes.join(", ") + &(0..100).map(node).collect::<String>();
    let file = import(&nodes, "[[104, 0, 0]]").unwrap();
    let ones = file.model.graph.parameters.keys().filter(|name| name.starts_with("ones"));
    assert_eq!(ones.count(), 1);
}

#[test]
fn whole_numbers_stay_what_they_are() {
    let big = (1i64 << 53) + 1;
    let dir = tempfile::tempdir().unwrap();
    let parameters = dir.path().join("net.params");
    fs::write(&parameters, list(&[array(V2, 6, &[1], &big.to_le_bytes())], &["arg:big"])).unwrap();
    let nodes =
        r#"{"op": "null", "name": "big", "inputs": []}, {"op": "_copy", "name": "y", "inputs": [[0, 0, 0]]}"#;
    let file = import_with(nodes, "[[1, 0, 0]]", &parameters).unwrap();
    let expected = Constant::ints(Elem::Int64, [1], vec![big]).unwrap();
    assert_eq!(file.model.graph.constants.get("big"), Some(&expected));
}

#[test]
fn what_cannot_be_translated_is_said() {
    let x = r#"{"op": "null", "name": "x", "inputs": []}"#;
    let fails = |nodes: &str, heads: &str, expected: &str| {
        let said = import(&format!("{x}{nodes}"), heads).unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
    };
    let unknown = r#",{"op": "Frob", "name": "a", "inputs": [[0, 0, 0]]}, {"op": "Frob", "name": "b", "inputs": [[1, 0, 0]]},
        {"op": "RNN", "name": "c", "inputs": [[2, 0, 0]]}"#;
    fails(
        unknown,
        "[[3, 0, 0]]",
        "operators of MXNet that have no translation: Frob (nodes a, b); RNN (nodes c)",
    );
    let node = |op: &str, attrs: &str| {
        format!(r#",{{"op": "{op}", "name": "n", "attrs": {{{attrs}}}, "inputs": [[0, 0, 0]]}}"#)
    };
    fails(&node("tanh", ""), "[[1, 5, 0]]", "output \"n_output5\" is one that its operator does not have");
    fails(&node("FullyConnected", ""), "[[1, 0, 0]]", "node \"n\" (FullyConnected): operand 1 is missing");
    fails(&node("clip", r#""a_min": "low""#), "[[1, 0, 0]]", "\"a_min\": expected a number, found \"low\"");
    fails(&node("Pooling", ""), "[[1, 0, 0]]", "attribute \"kernel\" is missing");
    fails(
        &node("Pooling", r#""kernel": "(2, 2)", "layout": "NHWC""#),
        "[[1, 0, 0]]",
        "expected channels first, as NCHW, found NHWC",
    );
    fails(
        &node("Dropout", r#""mode": "always""#),
        "[[1, 0, 0]]",
        "\"mode\": expected training, found \"always\"",
    );
    fails(&node("SliceChannel", r#""num_outputs": "99999999999""#), "[[1, 0, 0]]", "expected 1 to 65536");
}

#[test]
fn an_output_may_be_there_twice() {
    let nodes =
        r#"{"op": "null", "name": "x", "inputs": []}, {"op": "tanh", "name": "n", "inputs": [[0, 0, 0]]}"#;
    let file = import(nodes, "[[1, 0, 0], [1, 0, 0]]").unwrap();
    let names: Vec<&str> = file.model.graph.outputs.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names, ["n_output", "n_output_1"]);
}
