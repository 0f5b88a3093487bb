//! Graphs that cannot be translated, or would take for ever.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use prost::Message;

use super::super::constant::Constants;
use super::super::graph::{TfFunction, TfGraph, TfInput};
use super::super::proto::{self, AttrValue, attr_value::Value};
use super::super::{TensorDim, TfEndpoint, TfSavedModel, TfSignature, TfType};
use super::convert;
use super::variables::Variables;

fn function_named(name: &str) -> AttrValue {
    let func = proto::NameAttrList { name: name.into(), attr: HashMap::new() };
    AttrValue { value: Some(Value::Func(func)) }
}

fn node(name: &str, op: &str, inputs: &[&str], attributes: Vec<(&str, AttrValue)>) -> Bytes {
    let node = proto::NodeDef {
        name: name.into(),
        op: op.into(),
        input: inputs.iter().map(|i| i.to_string()).collect(),
        attr: attributes.into_iter().map(|(n, a)| (n.to_string(), a)).collect(),
    };
    node.encode_to_vec().into()
}

fn call(name: &str, function: &str, input: &str) -> Bytes {
    node(name, "PartitionedCall", &[input], vec![("f", function_named(function))])
}

/// A function of `x` that gives the value `result`.
fn function(name: &str, nodes: Vec<Bytes>, result: &str) -> Bytes {
    let arg = |name: &str| proto::op_def::ArgDef { name: name.into(), r#type: 1 };
    let signature = proto::OpDef { name: name.into(), input_arg: vec![arg("x")], output_arg: vec![arg("y")] };
    let ret = HashMap::from([("y".to_string(), result.to_string())]);
    let function = proto::FunctionDef { signature: Some(signature), node_def: nodes, ret };
    function.encode_to_vec().into()
}

/// A model of one input, the node `x`, and one output, the node `y`.
fn model(nodes: Vec<Bytes>, functions: Vec<Bytes>) -> TfSavedModel {
    let mut constants = Constants::new("m.pb".as_ref());
    let placeholder = node("x", "Placeholder", &[], vec![]);
    let nodes = [placeholder].into_iter().chain(nodes).collect();
    let endpoint = |node: &str| {
        let value = Some(TfInput { node: node.into(), output: None, index: 0 });
        BTreeMap::from([(format!("the {node}"), TfEndpoint { value, dtype: TfType(1), shape: None })])
    };
    let signature = TfSignature { inputs: endpoint("x"), outputs: endpoint("y") };
    TfSavedModel {
        tensorflow_version: String::new(),
        graph: TfGraph::read(nodes, &HashSet::new(), &mut constants).unwrap(),
        functions: functions.into_iter().map(|f| TfFunction::read(f, &mut constants).unwrap()).collect(),
        signatures: BTreeMap::from([("serving_default".into(), signature)]),
        objects: Vec::new(),
        bound: BTreeMap::new(),
    }
}

fn said(model: &TfSavedModel) -> String {
    convert(model, Variables::default()).unwrap_err()
}

#[test]
fn a_sound_graph_is_translated() {
    let f = function("f", vec![node("r", "Relu", &["x"], vec![])], "r:activations:0");
    let file = convert(&model(vec![call("y", "f", "x")], vec![f]), Variables::default()).unwrap();
    let ops: Vec<&str> = file.model.graph.nodes.iter().map(|n| n.op.as_str()).collect();
    assert_eq!(ops, ["Relu", "Identity"]);
    assert_eq!(file.model.graph.nodes[0].inputs, ["the x"]);
    assert_eq!(file.model.graph.nodes[1].outputs, ["the y"]);
}

#[test]
fn all_unknown_operators_are_named() {
    let f =
        function("f", vec![node("b", "Frob", &["x"], vec![]), node("c", "Nix", &["b:y:0"], vec![])], "c:y:0");
    let unused = function("g", vec![node("d", "Else", &["x"], vec![])], "d:y:0");
    let found = said(&model(vec![node("a", "Frob", &["x"], vec![]), call("y", "f", "a")], vec![f, unused]));
    assert!(found.contains("Frob (nodes a, b); Nix (nodes c);"), "{found}");
}

#[test]
fn functions_may_not_call_themselves() {
    let f = function("f", vec![call("again", "f", "x")], "again:output:0");
    let found = said(&model(vec![call("y", "f", "x")], vec![f]));
    assert!(found.contains("functions call one another more than 24 deep"), "{found}");
    let turns =
        node("y", "While", &["x"], vec![("cond", function_named("f")), ("body", function_named("f"))]);
    let itself = |name: &str| {
        let turns = vec![("cond", function_named(name)), ("body", function_named(name))];
        function(name, vec![node("w", "While", &["x"], turns)], "w:output:0")
    };
    let found = said(&model(vec![turns], vec![itself("f")]));
    assert!(found.contains("functions call one another more than 24 deep"), "{found}");
}

#[test]
fn functions_that_call_others_twice_do_not_take_for_ever() {
    let name = |i: usize| format!("f{i}");
    let twice = |i: usize| {
        let calls = vec![call("a", &name(i + 1), "x"), call("b", &name(i + 1), "a:output:0")];
        function(&name(i), calls, "b:output:0")
    };
    let last = function(&name(22), vec![node("r", "Relu", &["x"], vec![])], "r:activations:0");
    let functions = (0..22).map(twice).chain([last]).collect();
    let found = said(&model(vec![call("y", "f0", "x")], functions));
    assert!(found.contains("steps to translate; export a smaller part"), "{found}");
}

#[test]
fn what_is_missing_is_named() {
    let found = said(&model(vec![call("y", "nowhere", "x")], vec![]));
    assert!(found.contains("node \"y\" (PartitionedCall): the model has no function \"nowhere\""), "{found}");
    let found = said(&model(vec![node("y", "AddV2", &["x", "x:7"], vec![])], vec![]));
    assert!(found.contains("there is no value 7 of \"x\""), "{found}");
    let found = said(&model(vec![node("y", "Conv2D", &["x"], vec![])], vec![]));
    assert!(found.contains("attribute \"padding\": expected SAME, VALID or EXPLICIT"), "{found}");
    let found = said(&model(vec![node("y", "VarHandleOp", &[], vec![])], vec![]));
    assert!(found.contains("has no variable \"y\""), "{found}");
    let huge = AttrValue { value: Some(Value::I(i64::MAX)) };
    let found = said(&model(vec![node("y", "Unpack", &["x"], vec![("num", huge)])], vec![]));
    assert!(found.contains("attribute \"num\": expected 0 to 65536"), "{found}");
    let wrong = AttrValue { value: Some(Value::F(1.0)) };
    let found = said(&model(vec![node("y", "MatMul", &["x", "x"], vec![("transpose_a", wrong)])], vec![]));
    assert!(found.contains("attribute \"transpose_a\": expected a truth value"), "{found}");
    let of = AttrValue { value: Some(Value::Placeholder("T".into())) };
    let found = said(&model(vec![node("y", "Cast", &["x"], vec![("DstT", of)])], vec![]));
    assert!(found.contains("is the attribute \"T\" of the function around it"), "{found}");
}

/// A constant of one or more axes.
fn constant(name: &str, dtype: i32, shape: &[i64], content: Vec<u8>) -> Bytes {
    let dim = shape.iter().map(|&size| TensorDim { size }).collect();
    let tensor = proto::TensorProto {
        dtype,
        tensor_shape: Some(proto::TensorShapeProto { dim, unknown_rank: false }),
        tensor_content: content.into(),
        ..Default::default()
    };
    node(name, "Const", &[], vec![("value", AttrValue { value: Some(Value::Tensor(tensor)) })])
}

#[test]
fn cells_that_mirror_others_are_as_many_as_there_are() {
    let said = |of: &str, mode: &'static str, pads: &[i64]| {
        let mode = AttrValue { value: Some(Value::S(mode.into())) };
        let numbers = pads.iter().flat_map(|p| p.to_le_bytes()).collect();
        let nodes = vec![
            constant("w", 1, &[2, 3], vec![0; 24]),
            constant("p", 9, &[pads.len() as i64 / 2, 2], numbers),
            node("m", "MirrorPad", &[of, "p"], vec![("mode", mode)]),
            node("y", "AddV2", &["x", "m"], vec![]),
        ];
        convert(&model(nodes, vec![]), Variables::default()).map(drop)
    };
    for (of, mode, pads) in [
        ("w", "SYMMETRIC", &[2, 0, 3, 3][..]),
        ("w", "REFLECT", &[1, 1, 0, 2]),
        ("x", "SYMMETRIC", &[7, 7]),
        ("x", "REFLECT", &[7, 7]),
    ] {
        said(of, mode, pads).unwrap_or_else(|m| panic!("{mode} {pads:?}: {m}"));
    }
    for (of, mode, pads, expected) in [
        ("w", "SYMMETRIC", &[2, 0, 4, 3][..], "expected 0 to 3 cells that mirror those of axis 1, found 4"),
        ("w", "REFLECT", &[1, 2, 0, 0], "expected 0 to 1 cells that mirror those of axis 0, found 2"),
        ("w", "REFLECT", &[0, 0, 0, -1], "expected 0 to 2 cells that mirror those of axis 1, found -1"),
        ("w", "SYMMETRIC", &[1, 1], "before and after each of 2 axes, found 2 numbers"),
        ("x", "SYMMETRIC", &[0, i64::MIN], "expected 0 or more cells that mirror those of axis 0, found -9"),
        ("x", "REFLECT", &[-1, 0], "expected 0 or more cells that mirror those of axis 0, found -1"),
    ] {
        let found = said(of, mode, pads).unwrap_err();
        assert!(found.contains(expected), "{mode} {pads:?}: {found}");
    }
}

#[test]
fn circles_and_signatures_without_inputs_are_refused() {
    let circle = vec![node("a", "Relu", &["y"], vec![]), node("y", "Relu", &["a"], vec![])];
    let found = said(&model(circle, vec![]));
    assert!(found.contains("read each other in a circle"), "{found}");
    let mut sound = model(vec![node("y", "Relu", &["x"], vec![])], vec![]);
    let signature = sound.signatures.remove("serving_default").unwrap();
    sound.signatures.extend([("a".into(), signature.clone()), ("b".into(), signature)]);
    let found = said(&sound);
    assert!(found.contains("no signature \"serving_default\", only [\"a\", \"b\"]"), "{found}");
}

/// A function of so many arguments, each of which goes through all of a row of nodes.
#[test]
fn loops_are_looked_through_in_steps() {
    const COUNT: usize = 2000;
    let arg = |i: usize| proto::op_def::ArgDef { name: format!("x{i}"), r#type: 1 };
    let result = |i: usize| proto::op_def::ArgDef { name: format!("y{i}"), r#type: 1 };
    let signature = proto::OpDef {
        name: "f".into(),
        input_arg: (0..COUNT).map(arg).collect(),
        output_arg: (0..COUNT).map(result).collect(),
    };
    let before = |i: usize| if i == 0 { "x0".to_string() } else { format!("n{}:output:0", i - 1) };
    let nodes = (0..COUNT).map(|i| node(&format!("n{i}"), "Identity", &[&before(i)], vec![])).collect();
    let ret = (0..COUNT).map(|i| (format!("y{i}"), before(COUNT))).collect();
    let function: Bytes =
        proto::FunctionDef { signature: Some(signature), node_def: nodes, ret }.encode_to_vec().into();
    let turns =
        node("y", "While", &["x"; COUNT], vec![("cond", function_named("f")), ("body", function_named("f"))]);
    let found = said(&model(vec![turns], vec![function]));
    assert!(found.contains("steps to translate; export a smaller part"), "{found}");
}

/// The results of a function count, also where they are all the same value.
#[test]
fn results_of_functions_are_counted() {
    const COUNT: usize = 1 << 11;
    let result = |i: usize| proto::op_def::ArgDef { name: format!("y{i}"), r#type: 1 };
    let signature = proto::OpDef {
        name: "f".into(),
        input_arg: vec![proto::op_def::ArgDef { name: "x".into(), r#type: 1 }],
        output_arg: (0..COUNT).map(result).collect(),
    };
    let ret = (0..COUNT).map(|i| (format!("y{i}"), "x".to_string())).collect();
    let function: Bytes =
        proto::FunctionDef { signature: Some(signature), node_def: vec![], ret }.encode_to_vec().into();
    let mut nodes: Vec<Bytes> = (0..COUNT)
        .map(|i| {
            call(&format!("c{i}"), "f", if i == 0 { "x".into() } else { format!("c{}", i - 1) }.as_str())
        })
        .collect();
    nodes.push(call("y", "f", &format!("c{}", COUNT - 1)));
    let found = said(&model(nodes, vec![function]));
    assert!(found.contains("steps to translate; export a smaller part"), "{found}");
}

#[test]
fn results_have_names_of_their_own() {
    let arg = |name: &str| proto::op_def::ArgDef { name: name.into(), r#type: 1 };
    let signature =
        proto::OpDef { name: "f".into(), input_arg: vec![arg("x")], output_arg: vec![arg(""), arg("")] };
    let ret = HashMap::from([(String::new(), "x".to_string())]);
    let function = proto::FunctionDef { signature: Some(signature), node_def: vec![], ret };
    let mut constants = Constants::new("m.pb".as_ref());
    let found = TfFunction::read(function.encode_to_vec().into(), &mut constants).unwrap_err();
    assert!(
        found.within("m").malformed("m.pb".as_ref(), "graph").to_string().contains("two results are called")
    );
}

/// A long text that stands for others that are left out.
#[test]
fn texts_that_are_left_out_are_few_and_short() {
    let constant = |text: &str| {
        let shape = proto::TensorShapeProto {
            dim: vec![proto::tensor_shape_proto::Dim { size: 64 }],
            unknown_rank: false,
        };
        let tensor = proto::TensorProto {
            dtype: 7,
            tensor_shape: Some(shape),
            string_val: vec![text.as_bytes().to_vec().into()],
            ..proto::TensorProto::default()
        };
        let value = AttrValue { value: Some(Value::Tensor(tensor)) };
        convert(&model(vec![node("y", "Const", &[], vec![("value", value)])], vec![]), Variables::default())
    };
    assert!(constant("short").is_ok());
    let found = constant(&"long".repeat(100)).unwrap_err();
    assert!(found.contains("a constant of 64 texts leaves out all but 1"), "{found}");
}
