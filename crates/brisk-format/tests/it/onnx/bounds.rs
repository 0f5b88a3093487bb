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

/// One node of a graph may be as many operations as a number in it says.
#[test]
fn nodes_that_are_many_operations_are_refused() {
    let made =
        |name: &str, sizes: &str| json!({"op": "ConstantOfShape", "inputs": [sizes], "outputs": [name]});
    let long = |name: &str, sizes: &[i64]| json!([name, ["int64", [sizes.len()], sizes]]);
    let call = |op: &str, inputs: &[&str], attributes: Value| json!({"op": op, "inputs": inputs, "outputs": ["y"], "attributes": attributes});
    let large = 1i64 << 23;
    let one = json!({"clip": {"float": 1.0}, "hidden_size": {"int": 1}});
    let groups = 1i64 << 20;
    // What is made of how many zeros, and the node that reads it.
    let cases = [
        (vec![long("v", &[large, 1, 1]), long("w", &[1, 4, 1])], call("LSTM", &["v", "w", "w"], one.clone())),
        (vec![long("v", &[large, 1, 1]), long("w", &[1, 1, 1])], call("RNN", &["v", "w", "w"], one)),
        (
            vec![long("v", &[1, 1, large, 1, 1]), long("w", &[1, 1, large, 1, 1])],
            call("Conv", &["v", "w"], json!({})),
        ),
        (
            vec![
                long("v", &[1, groups, 1, 1]),
                long("w", &[1, groups, 1, 1]),
                long("o", &[1, 2 * groups, 1, 1]),
            ],
            call("DeformConv", &["v", "w", "o"], json!({"offset_group": {"int": groups}})),
        ),
        (
            vec![long("v", &[1, 1 << 28]), long("w", &[1 << 28, 1])],
            call("MatMulInteger", &["v", "w"], json!({})),
        ),
        (vec![long("v", &[large])], call("SplitToSequence", &["v"], json!({}))),
        (
            vec![long("v", &[1, 1, 3, 3])],
            call(
                "MaxPool",
                &["v"],
                json!({"kernel_shape": {"ints": [3000, 3000]},
            "pads": {"ints": [2999, 2999, 2999, 2999]}, "dilations": {"ints": [1, 1]}, "storage_order": {"int": 1}}),
            ),
        ),
    ];
    for (values, mut node) in cases {
        let mut constants = json!({});
        let mut nodes = Vec::new();
        for value in values {
            let name = value[0].as_str().unwrap();
            constants[format!("s{name}")] = value[1].clone();
            nodes.push(made(name, &format!("s{name}")));
        }
        if node["op"] == "MaxPool" {
            node["outputs"] = json!(["y", "places"]);
        }
        nodes.push(node);
        assert_refused(constants, json!(nodes), &["node \"y\"", "more than 4194304 operations"]);
    }
}

#[test]
fn turns_without_nodes_are_counted() {
    let port = |name: &str| json!({"name": name, "type": "unknown"});
    let mut nodes = json!([]);
    for depth in 0..3 {
        let names = ["i", "go", "v"].map(|n| port(&format!("{n}{depth}")));
        let outer = if depth == 2 { "x".to_string() } else { format!("v{}", depth + 1) };
        let yields = if depth == 0 { "v0".to_string() } else { format!("w{}", depth - 1) };
        let body =
            json!({"inputs": names, "outputs": [port(&format!("go{depth}")), port(&yields)], "nodes": nodes});
        let result = if depth == 2 { "y".to_string() } else { format!("w{depth}") };
        nodes = json!([{"op": "Loop", "inputs": ["m", "", outer], "outputs": [result], "attributes": {"body": {"graph": body}}}]);
    }
    assert_refused(json!({"m": ["int64", [], [1 << 16]]}), nodes, &["operations"]);
}

/// What is not taken of an `If` is not gone through again in each turn.
#[test]
fn branches_that_are_not_taken_cost_nothing() {
    let port = |name: &str| json!({"name": name, "type": "unknown"});
    let dead: Vec<Value> =
        (0..5000).map(|i| json!({"op": "Relu", "inputs": ["v"], "outputs": [format!("d{i}")]})).collect();
    let branch = |nodes: Vec<Value>| json!({"graph": {"outputs": [port("v")], "nodes": nodes}});
    let choose = json!({"op": "If", "inputs": ["go"], "outputs": ["w"],
        "attributes": {"then_branch": branch(Vec::new()), "else_branch": branch(dead)}});
    let (constants, nodes) = turns(20_000, "go", json!([choose]));
    run(constants, nodes).unwrap();
}

#[test]
fn axes_are_not_looked_for_among_millions() {
    let constants = json!({"a": ["int64", [], [0]], "b": ["int64", [], [1 << 22]], "c": ["int64", [], [1]]});
    let nodes = json!([{"op": "Range", "inputs": ["a", "b", "c"], "outputs": ["axes"]},
        {"op": "Unsqueeze", "inputs": ["x", "axes"], "outputs": ["y"]}]);
    assert_refused(constants, nodes, &["4194304 axes are more than"]);
}

#[test]
fn lists_hold_no_lists() {
    let nest = json!({"op": "SequenceConstruct", "inputs": ["v"], "outputs": ["w"]});
    let (constants, nodes) = turns(1 << 16, "go", json!([nest]));
    assert_refused(constants, nodes, &["a sequence of sequences"]);
    let nest = json!({"op": "SequenceInsert", "inputs": ["v", "v"], "outputs": ["w"]});
    let (constants, mut nodes) = turns(1 << 16, "go", json!([nest]));
    nodes[0]["inputs"][2] = "list".into();
    let list = json!({"op": "SequenceConstruct", "inputs": ["x"], "outputs": ["list"]});
    assert_refused(constants, json!([list, nodes[0]]), &["a sequence of sequences"]);
}

/// The axes of a matrix are not those of a batch.
#[test]
fn what_is_turned_has_its_own_axes() {
    let turned = json!({"op": "Transpose", "inputs": ["x"], "outputs": ["t"]});
    let weights =
        json!({"w": ["float", [1, 4, 2], [0, 0, 0, 0, 0, 0, 0, 0]], "r": ["float", [1, 4, 1], [0, 0, 0, 0]]});
    let layer = json!({"op": "LSTM", "inputs": ["t", "w", "r"], "outputs": ["y"], "attributes": {"layout": {"int": 1}}});
    assert_refused(weights, json!([turned, layer]), &["expected three axes, found [2, 2]"]);
    let shape = json!({"s": ["int64", [4], [1, 1, 2, 2]], "w": ["float", [1, 1, 1, 1], [1.0]],
        "b": ["float", [1, 1, 1, 1, 3], [0, 0, 0]]});
    for last in [
        json!({"op": "Flatten", "inputs": ["c"], "outputs": ["y"], "attributes": {"axis": {"int": 5}}}),
        json!({"op": "Transpose", "inputs": ["c"], "outputs": ["y"]}),
    ] {
        let nodes = json!([{"op": "Reshape", "inputs": ["x", "s"], "outputs": ["p"]},
            {"op": "Conv", "inputs": ["p", "w", "b"], "outputs": ["c"]}, last]);
        assert_refused(shape.clone(), nodes, &["a bias for each of 1 channels"]);
    }
}

/// A parameter may have any name, also one like those of inputs.
#[test]
fn a_parameter_is_not_an_input() {
    let model: Model = serde_json::from_value(json!({"opsets": {"": 18}, "graph": {
        "inputs": [{"name": "x", "type": {"tensor": ["float", [{"size": 2}]]}}], "outputs": [{"name": "y", "type": "unknown"}],
        "parameters": {"input 0": {"elem": "float", "shape": [2], "trainable": true}},
        "nodes": [{"op": "Sub", "inputs": ["x", "input 0"], "outputs": ["y"]}]}}))
    .unwrap();
    let vector = |values: [f32; 2]| Tensor::new([2], values.to_vec()).unwrap();
    let state: State = [("input 0", vector([1.0, 2.0]))].into_iter().collect();
    let x = Output::Tensor(Constant::Numbers(Elem::Float, vector([5.0, 5.0])));
    let device = Cpu::new(1);
    let found = Session::new(&device, &model, state).run(vec![Some(x)]).unwrap();
    assert_eq!(found, [Output::Tensor(Constant::Numbers(Elem::Float, vector([4.0, 3.0])))]);
    assert_eq!(brisk_onnx::describe(&model).unwrap()[0].parameters, 2);
}

/// Sizes that are left open are told apart by their names.
#[test]
fn a_model_with_many_open_sizes_is_described() {
    let dims: Vec<Vec<Value>> =
        (0..20_000).map(|i| (0..8).map(|k| json!({"name": format!("n{i}.{k}")})).collect()).collect();
    let inputs: Vec<Value> = dims[..]
        .iter()
        .enumerate()
        .map(|(i, dims)| json!({"name": format!("x{i}"), "type": {"tensor": ["float", dims]}}))
        .collect();
    let model: Model = serde_json::from_value(json!({"opsets": {"": 18}, "graph": {"inputs": inputs,
        "outputs": [{"name": "y", "type": "unknown"}],
        "nodes": [{"op": "Shape", "inputs": ["x19999"], "outputs": ["y"]}]}}))
    .unwrap();
    assert_eq!(brisk_onnx::describe(&model).unwrap()[0].results[0].1.to_string(), "int64 [8]");
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
