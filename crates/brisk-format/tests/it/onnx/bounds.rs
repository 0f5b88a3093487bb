//! Models that would take memory or time without end: each is refused when it is run, with an error that says so.

use std::time::{Duration, Instant};

use brisk_graph::Tensor;
use brisk_onnx::{Constant, Elem, Error, Model, Output, Session};
use brisk_runtime::{Cpu, State};
use serde_json::{Value, json};

/// What a graph makes of `x`, a float [2, 2], where every other name is a constant.
fn run(constants: Value, nodes: Value) -> Result<Vec<Output>, Error> {
    let model: Model = serde_json::from_value(json!({"opsets": {"": 18}, "graph": {
        "inputs": [{"name": "x", "type": "unknown"}], "outputs": [{"name": "y", "type": "unknown"}],
        "constants": constants, "nodes": nodes}}))
    .unwrap();
    let device = Cpu::new(1);
    let x = Tensor::new([2, 2], vec![0.5f32, -1.0, 2.0, 3.0]).unwrap();
    let x = Output::Tensor(Constant::Numbers(Elem::Float, x));
    Session::new(&device, &model, State::new()).run(vec![Some(x)])
}

#[track_caller]
fn assert_refused(constants: Value, nodes: Value, says: &[&str]) {
    let error = refused(constants, nodes);
    for part in says {
        assert!(error.contains(part), "expected {part:?} in: {error}");
    }
}

/// The error that running ends with, which is soon.
#[track_caller]
fn refused(constants: Value, nodes: Value) -> String {
    let start = Instant::now();
    let error = match run(constants, nodes) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it was run"),
    };
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}: {error}", start.elapsed());
    error
}

/// A single node, whose operands after the first are constants `a`, `b`, ...
fn assert_node_refused(op: &str, inputs: &[&str], attributes: Value, constants: Value) {
    let node = json!([{"op": op, "inputs": inputs, "outputs": ["y"], "attributes": attributes}]);
    let error = refused(constants, node);
    let size = ["more than", "too large", "is no size", "expected a number between"]
        .iter()
        .any(|s| error.contains(s));
    assert!(error.contains(&format!("node \"y\" ({op})")) && size, "{error}");
}

#[test]
fn values_out_of_proportion_are_refused() {
    let wide = json!(["int64", [2], [1 << 20, 1 << 20]]);
    let none = || json!({});
    assert_node_refused("ConstantOfShape", &["a"], none(), json!({"a": wide}));
    assert_node_refused("ConstantOfShape", &["a"], none(), json!({"a": ["int64", [1], [1_000_000_000]]}));
    assert_node_refused("Expand", &["x", "a"], none(), json!({"a": ["int64", [3], [1_000_000_000, 2, 2]]}));
    assert_node_refused("Tile", &["x", "a"], none(), json!({"a": wide}));
    assert_node_refused("Tile", &["x", "a"], none(), json!({"a": ["int64", [2], [i64::MAX, i64::MAX]]}));
    let ends =
        |elem: &str| json!({"a": [elem, [], [0]], "b": [elem, [], [4_000_000_000u64]], "c": [elem, [], [1]]});
    assert_node_refused("Range", &["a", "b", "c"], none(), ends("int64"));
    assert_node_refused("Range", &["a", "b", "c"], none(), ends("float"));
    assert_node_refused("Resize", &["x", "", "a"], none(), json!({"a": ["float", [2], [1e9, 1.0]]}));
    assert_node_refused("Resize", &["x", "", "", "a"], none(), json!({"a": wide}));
    assert_node_refused(
        "Resize",
        &["x", "", "a"],
        json!({"mode": {"string": "cubic"}}),
        json!({"a": ["float", [2], [5e8, 1.0]]}),
    );
    assert_node_refused("Upsample", &["x", "a"], none(), json!({"a": ["float", [2], [4e4, 4e4]]}));
    for mode in ["constant", "edge", "reflect", "wrap"] {
        let mode = json!({"mode": {"string": mode}});
        assert_node_refused(
            "Pad",
            &["x", "a"],
            mode.clone(),
            json!({"a": ["int64", [4], [0, 1_000_000_000, 0, 0]]}),
        );
        assert_node_refused(
            "Pad",
            &["x", "a"],
            mode,
            json!({"a": ["int64", [4], [0, i64::MAX, 0, i64::MAX]]}),
        );
    }
    let hot = json!({"i": ["int64", [2], [0, 1]], "a": ["int64", [], [1_000_000_000]], "v": ["float", [2], [0.0, 1.0]]});
    assert_node_refused("OneHot", &["i", "a", "v"], none(), hot);
    assert_node_refused("RandomNormal", &[], json!({"shape": {"ints": [1 << 20, 1 << 20]}}), none());
    assert_node_refused("RandomUniform", &[], json!({"shape": {"ints": [1_000_000_000]}}), none());
    assert_node_refused("Multinomial", &["x"], json!({"sample_size": {"int": 1i64 << 40}}), none());
    assert_node_refused("CenterCropPad", &["x", "a"], none(), json!({"a": wide}));
    for window in ["HannWindow", "HammingWindow", "BlackmanWindow"] {
        assert_node_refused(window, &["a"], none(), json!({"a": ["int64", [], [1_000_000_000]]}));
    }
}

#[test]
fn what_grows_step_by_step_is_refused_too() {
    let names = ["x", "a", "b", "c", "d", "e", "f", "g", "h", "y"];
    let double = |w: &[&str]| json!({"op": "Tile", "inputs": [w[0], "r"], "outputs": [w[1]]});
    let nodes: Vec<Value> = names.windows(2).map(double).collect();
    let says = ["(Tile)", "elements", "more than"];
    assert_refused(json!({"r": ["int64", [2], [16, 16]]}), json!(nodes), &says);
    // A matrix of identity is read from one that is large.
    let nodes = json!([{"op": "ConstantOfShape", "inputs": ["r"], "outputs": ["big"]},
        {"op": "EyeLike", "inputs": ["big"], "outputs": ["y"]}]);
    assert_refused(
        json!({"r": ["int64", [2], [100_000, 100_000]]}),
        nodes,
        &["(ConstantOfShape)", "elements"],
    );
    // An outer product.
    let nodes = json!([{"op": "ConstantOfShape", "inputs": ["r"], "outputs": ["row"]},
        {"op": "ConstantOfShape", "inputs": ["c"], "outputs": ["column"]},
        {"op": "Add", "inputs": ["row", "column"], "outputs": ["y"]}]);
    let sizes = json!({"r": ["int64", [2], [1, 1_000_000]], "c": ["int64", [2], [1_000_000, 1]]});
    assert_refused(sizes, nodes, &["(Add)", "elements"]);
}

#[test]
fn many_large_values_are_refused_together() {
    let made: Vec<Value> = (0..64)
        .map(|i| {
            json!({"op": "RandomUniform", "inputs": [], "outputs": [format!("v{i}")],
            "attributes": {"shape": {"ints": [1 << 26]}}})
        })
        .collect();
    let all: Vec<String> = (0..64).map(|i| format!("v{i}")).collect();
    let mut nodes = made;
    nodes.push(json!({"op": "SequenceConstruct", "inputs": all, "outputs": ["y"]}));
    assert_refused(json!({}), json!(nodes), &["bytes", "more than"]);
}

/// A loop whose body makes `y` of `v`.
fn turns(most: i64, condition: &str, body: Value) -> (Value, Value) {
    let port = |name: &str| json!({"name": name, "type": "unknown"});
    let graph = json!({"inputs": [port("i"), port("go"), port("v")], "outputs": [port(condition), port("w")],
        "nodes": body});
    let nodes = json!([{"op": "Loop", "inputs": ["m", "", "x"], "outputs": ["y"],
        "attributes": {"body": {"graph": graph}}}]);
    (json!({"m": ["int64", [], [most]]}), nodes)
}

#[test]
fn loops_without_end_are_refused() {
    let step = json!({"op": "Relu", "inputs": ["v"], "outputs": ["w"]});
    for most in [1 << 40, i64::MAX] {
        let go = json!({"op": "Identity", "inputs": ["go"], "outputs": ["on"]});
        let (constants, nodes) = turns(most, "on", json!([go, step]));
        assert_refused(constants, nodes, &["node \"y\" (Loop)", "more than"]);
    }
    // One that must be looked at.
    let body = json!([step, {"op": "ReduceSum", "inputs": ["w"], "outputs": ["s"], "attributes": {"keepdims": {"int": 0}}},
        {"op": "Cast", "inputs": ["s"], "outputs": ["on"], "attributes": {"to": {"int": 9}}}]);
    let (constants, nodes) = turns(1 << 40, "on", body);
    assert_refused(constants, nodes, &["node \"y\" (Loop)", "more than"]);
    // One whose values grow.
    let body = json!([{"op": "Concat", "inputs": ["v", "v"], "outputs": ["w"], "attributes": {"axis": {"int": 0}}},
        {"op": "Identity", "inputs": ["go"], "outputs": ["on"]}]);
    let (constants, nodes) = turns(1 << 40, "on", body);
    assert_refused(constants, nodes, &["(Concat)", "elements"]);
}

#[test]
fn texts_and_lists_that_grow_are_refused() {
    let go = json!({"op": "Identity", "inputs": ["go"], "outputs": ["on"]});
    let axis = json!({"axis": {"int": 0}});
    let twice = json!({"op": "Concat", "inputs": ["v", "v"], "outputs": ["w"], "attributes": axis});
    let longer = json!({"op": "StringConcat", "inputs": ["v", "v"], "outputs": ["w"]});
    for step in [twice, longer] {
        let (mut constants, mut nodes) = turns(1 << 40, "on", json!([go, step]));
        constants["t"] = json!(["string", [1], ["abc"]]);
        nodes[0]["inputs"][2] = "t".into();
        assert_refused(constants, nodes, &["node \"y\" (Loop)", "texts"]);
    }
    let more = json!({"op": "SequenceInsert", "inputs": ["v", "x"], "outputs": ["w"]});
    let (constants, mut nodes) = turns(1 << 40, "on", json!([go, more]));
    nodes[0]["inputs"][2] = "list".into();
    let list = json!({"op": "SequenceConstruct", "inputs": ["x"], "outputs": ["list"]});
    assert_refused(constants, json!([list, nodes[0]]), &["node \"y\" (Loop)", "more than"]);
}

/// A value of so many elements may be there, but not lists of its places beside it.
#[test]
fn an_axis_is_not_resized_to_more_places_than_a_picture_has() {
    for mode in ["nearest", "linear"] {
        let attributes = json!({"mode": {"string": mode}});
        let node =
            json!([{"op": "Resize", "inputs": ["x", "", "a"], "outputs": ["y"], "attributes": attributes}]);
        let scales = json!({"a": ["float", [2], [5e7, 1.0]]});
        assert_refused(
            scales,
            node,
            &["node \"y\" (Resize): an axis may be resized to 16777216 places, found 100000000"],
        );
    }
}

#[test]
fn scales_that_are_no_numbers_are_refused() {
    for scale in ["NaN", "inf", "-inf"] {
        let node = json!([{"op": "Resize", "inputs": ["x", "", "a"], "outputs": ["y"]}]);
        assert_refused(json!({"a": ["float", [2], [scale, "1"]]}), node, &["node \"y\" (Resize)", "scale"]);
    }
    for scale in [0.0, -1.0] {
        let node = json!([{"op": "Resize", "inputs": ["x", "", "a"], "outputs": ["y"]}]);
        assert_refused(json!({"a": ["float", [2], [scale, 1.0]]}), node, &["node \"y\" (Resize)", "scale"]);
    }
    let ends = json!({"a": ["float", [], ["NaN"]], "b": ["float", [], [1.0]], "c": ["float", [], [0.0]]});
    for inputs in [["a", "b", "b"], ["b", "a", "b"], ["b", "b", "a"], ["b", "b", "c"]] {
        let node = json!([{"op": "Range", "inputs": inputs, "outputs": ["y"]}]);
        assert_refused(ends.clone(), node, &["node \"y\" (Range)"]);
    }
}

#[test]
fn sizes_below_zero_are_refused() {
    for (op, inputs) in [
        ("ConstantOfShape", &["a"][..]),
        ("Reshape", &["x", "a"]),
        ("Expand", &["x", "a"]),
        ("Tile", &["x", "a"]),
    ] {
        let node = json!([{"op": op, "inputs": inputs, "outputs": ["y"]}]);
        assert_refused(json!({"a": ["int64", [2], [-7, 2]]}), node, &["node \"y\"", "-7 is no size"]);
    }
    for value in [i64::MIN, -1000] {
        // What is cut off is not there.
        let node = json!([{"op": "Pad", "inputs": ["x", "a"], "outputs": ["y"]}]);
        let pads = json!({"a": ["int64", [4], [0, value, 0, 0]]});
        if let Ok(outputs) = run(pads, node) {
            let Output::Tensor(y) = &outputs[0] else { panic!("a tensor") };
            assert_eq!(y.shape().dims(), [2, 0]);
        }
    }
}
