//! ONNX files that no exporter wrote: each ends with status 2 and one message.

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
    let shape = field(2, &field(1, &number(1, 2)));
    let ty = field(2, &field(1, &[number(1, 1), shape].concat()));
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
fn old_versions_are_warned_of() {
    let place = Place::empty();
    place.write("old.onnx", model(&[node("Relu", "x", "y")], 6));
    let done = place.brisk(&["import", "old.onnx"]).good();
    assert!(done.err.contains("warning: old.onnx: it uses version 6"), "{}", done.err);
}
