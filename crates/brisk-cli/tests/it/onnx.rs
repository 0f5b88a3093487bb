//! ONNX files that no exporter wrote: each ends with status 2 and one message.

use brisk_format::{load_npz, save_npz};
use brisk_graph::Tensor;

use crate::support::Place;

/// A field of a protobuf message that holds bytes.
fn field(number: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).unwrap();
    // Lengths below 128 are one byte.
    assert!(length < 128);
    [&[number << 3 | 2, length], body].concat()
}

/// A field of a protobuf message that holds a small number.
fn number(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}

fn node(op: &str, input: &str, output: &str) -> Vec<u8> {
    field(1, &[field(1, input.as_bytes()), field(2, output.as_bytes()), field(4, op.as_bytes())].concat())
}

/// A model from `x`, floats [2], to `y`.
fn model(nodes: &[Vec<u8>], version: u8) -> Vec<u8> {
    of_shape(&[2], nodes, version)
}

/// A model from `x`, floats of a shape, to `y`.
fn of_shape(shape: &[u8], nodes: &[Vec<u8>], version: u8) -> Vec<u8> {
    let dims: Vec<u8> = shape.iter().flat_map(|&n| field(1, &number(1, n))).collect();
    let ty = field(2, &field(1, &[number(1, 1), field(2, &dims)].concat()));
    let port = |number, name: &[u8]| field(number, &[field(1, name), ty.clone()].concat());
    let graph = [nodes.concat(), port(11, b"x"), port(12, b"y")].concat();
    [number(1, 8), field(7, &graph), field(8, &number(2, version))].concat()
}

#[test]
fn files_with_faults_are_refused() {
    let place = Place::empty();
    let good = model(&[node("Relu", "x", "y")], 13);
    place.write("good.onnx", &good);
    place.brisk(&["import", "good.onnx"]).good();
    let cut = &good[..good.len() / 2];
    let unknown = model(&[node("Frobnicate", "x", "h"), node("Twist", "h", "y")], 13);
    let cycle = model(&[node("Relu", "y", "h"), node("Relu", "h", "y")], 13);
    let cases: [(&[u8], &[&str]); 7] = [
        (b"", &["no inputs"]),
        (b"no protobuf at all", &["not a sound ONNX file", "export the model again"]),
        (cut, &["not a sound ONNX file"]),
        (&unknown, &["Frobnicate (nodes h); Twist (nodes y)", "docs/onnx.md"]),
        (&cycle, &["node \"h\" (Relu)", "made nowhere before it"]),
        (&model(&[node("Relu", "x", "y")], 0), &["version 0 of ONNX's operators", "7 to 28"]),
        (&model(&[node("Relu", "x", "y")], 99), &["version 99 of ONNX's operators", "7 to 28"]),
    ];
    for (bytes, says) in cases {
        place.write("bad.onnx", bytes);
        let done = place.brisk(&["import", "bad.onnx", "--output", "bad"]);
        done.fails(2, &[&["bad.onnx"], says].concat());
        assert!(!place.at("bad").exists(), "a model was left behind");
    }
}

#[test]
fn graphs_made_for_so_many_rows_answer_for_others() {
    let place = Place::empty();
    // Reshape to the two whole numbers of the initializer `to`.
    let to: Vec<u8> = [2i64, 3].iter().flat_map(|n| n.to_le_bytes()).collect();
    let to = field(5, &[number(1, 2), number(2, 7), field(8, b"to"), field(9, &to)].concat());
    let reshape = field(1, &[field(1, b"x"), field(1, b"to"), field(2, b"h"), field(4, b"Reshape")].concat());
    place.write("two.onnx", of_shape(&[2, 3], &[reshape, to, node("Relu", "h", "y")], 13));
    place.brisk(&["import", "two.onnx", "--output", "two"]).good();
    for rows in [1, 2, 4, 5] {
        let x: Vec<f32> = (0..rows * 3).map(|i| i as f32 - 4.0).collect();
        let y: Vec<f32> = x.iter().map(|x| x.max(0.0)).collect();
        for (name, port, values) in [("x.npz", "x", x), ("y.npz", "y", y)] {
            save_npz(&place.at(name), &[(port, &Tensor::new([rows, 3], values).unwrap())]).unwrap();
        }
        let check = ["import", "two.onnx", "--check", "x.npz", "y.npz", "--tolerance", "0"];
        place.brisk(&check).good();
        for model in ["two.onnx", "two"] {
            place.brisk(&["predict", model, "--input", "x.npz", "--output", "said.npz"]).good();
            let [said, y] = ["said.npz", "y.npz"].map(|file| load_npz(&place.at(file)).unwrap());
            assert_eq!(said["y"].f32s().unwrap(), y["y"].f32s().unwrap(), "{model} of {rows} rows");
        }
    }
}

#[test]
fn old_versions_are_warned_of() {
    let place = Place::empty();
    place.write("old.onnx", model(&[node("Relu", "x", "y")], 6));
    let done = place.brisk(&["import", "old.onnx"]).good();
    assert!(done.err.contains("warning: old.onnx: it uses version 6"), "{}", done.err);
}
