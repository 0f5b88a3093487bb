//! Recording with little left: whatever takes time or memory in proportion to a number in a file is counted.

use brisk_graph::{Builder, Shape, Tensor, Value};
use serde_json::{Value as Json, json};

use super::*;
use crate::Parameter;

struct Plain<'g>(&'g Builder);

impl<'g> Host<'g> for Plain<'g> {
    fn builder(&self) -> &'g Builder {
        self.0
    }

    fn parameter(&mut self, _: &str, _: &Parameter) -> Result<Value<'g>, String> {
        Err("there are none".into())
    }

    fn look(&mut self, _: Value<'g>) -> Result<Option<Tensor>, String> {
        Ok(None)
    }

    fn random(&mut self, shape: &Shape) -> Result<Value<'g>, String> {
        let known = self.0.find_input("key");
        let key = known.unwrap_or_else(|| self.0.input("key", brisk_graph::Role::Scalar, [2], DType::I32));
        Ok(self.0.random(key, shape))
    }
}

/// Records a model that yields `y`, with so many steps and numbers left; gives it if it is known.
fn recorded_with(model: Json, steps: usize, numbers: usize) -> Result<Option<Tensor>, String> {
    let model: Model = serde_json::from_value(model).unwrap();
    let b = Builder::new();
    let budget = Budget::of(steps, numbers);
    let found = record_within(&model, &mut Plain(&b), Vec::new(), &budget).map_err(|e| e.to_string())?;
    Ok(if let Item::Tensor(y) = &found[0] { y.constant() } else { None })
}

fn graph(constants: &Json, nodes: &Json) -> Json {
    json!({"opsets": {"": 18, "ai.onnx.ml": 3, "ai.onnx.preview.training": 1, "own": 1}, "graph": {
        "outputs": [{"name": "y", "type": "unknown"}], "constants": constants, "nodes": nodes}})
}

fn port(name: &str) -> Json {
    json!({"name": name, "type": "unknown"})
}

/// A loop of so many turns with a body, in which `v` is carried.
fn turns(count: usize, mut constants: Json, carried: &str, body: Json) -> Json {
    constants["turns"] = json!(["int64", [], [count]]);
    let body = json!({"inputs": [port("i"), port("go"), port("v")], "outputs": [port("go"), port("w")], "nodes": body});
    let node = json!([{"op": "Loop", "inputs": ["turns", "", carried], "outputs": ["y"],
        "attributes": {"body": {"graph": body}}}]);
    graph(&constants, &node)
}

const MANY: usize = 1 << 20;

#[test]
fn numbers_that_are_computed_now_are_counted_together() {
    let ml = |op: &str, attributes: Json| json!({"op": op, "domain": "ai.onnx.ml", "inputs": ["m"], "outputs": ["w"], "attributes": attributes});
    let plain = |op: &str, inputs: &[&str], attributes: Json| json!({"op": op, "inputs": inputs, "outputs": ["w"], "attributes": attributes});
    let ints: Vec<usize> = (0..50).collect();
    let cases = [
        plain("Range", &["zero", "fifty", "one"], json!({})),
        plain("HannWindow", &["fifty"], json!({})),
        plain("Constant", &[], json!({"value_ints": {"ints": ints}})),
        plain("Constant", &[], json!({"value_strings": {"strings": ["a", "b", "c"]}})),
        plain("Pad", &["m", "pads"], json!({"mode": {"string": "edge"}})),
        plain("Resize", &["m", "", "scales"], json!({"mode": {"string": "linear"}})),
        plain("Resize", &["m", "", "scales"], json!({"mode": {"string": "nearest"}})),
        plain("AveragePool", &["picture"], json!({"kernel_shape": {"ints": [3]}, "pads": {"ints": [1, 1]}})),
        plain("DFT", &["signal"], json!({})),
        plain("NonZero", &["c"], json!({})),
        plain("Unique", &["c"], json!({})),
        plain("Cast", &["c"], json!({"to": {"int": 8}})),
        plain("Cast", &["digits"], json!({"to": {"int": 7}})),
        plain("StringConcat", &["digits", "digits"], json!({})),
        plain("Concat", &["digits", "digits"], json!({"axis": {"int": 0}})),
        plain("Gather", &["digits", "c"], json!({})),
        plain("StringSplit", &["digits"], json!({})),
        plain("StringNormalizer", &["digits"], json!({})),
        plain("Equal", &["digits", "digits"], json!({})),
        plain(
            "TfIdfVectorizer",
            &["c"],
            json!({"mode": {"string": "TF"}, "min_gram_length": {"int": 1},
            "max_gram_length": {"int": 1}, "max_skip_count": {"int": 0}, "ngram_counts": {"ints": [0]},
            "ngram_indexes": {"ints": [49]}, "pool_int64s": {"ints": [7]}}),
        ),
        ml("LinearRegressor", json!({"coefficients": {"floats": [1.0, 2.0]}})),
        ml("Scaler", json!({"offset": {"floats": [1.0, 2.0]}})),
        // Computed at once, and kept step by step.
        plain("Mod", &["wide", "wide"], json!({})),
    ];
    let constants = json!({"zero": ["int64", [], [0]], "fifty": ["int64", [], [50]], "one": ["int64", [], [1]],
        "pads": ["int64", [4], [0, 9, 0, 9]], "scales": ["float", [2], [3.0, 3.0]],
        "digits": ["string", [8], ["1", "2", "3", "4", "5", "6", "7", "8"]],
        "c": ["int64", [6], [1, 2, 3, 4, 5, 6]], "wide": ["int64", [100], vec![7; 100]], "m": ["float", [2, 2], [1.0, 2.0, 3.0, 4.0]],
        "picture": ["float", [1, 1, 4], [1.0, 2.0, 3.0, 4.0]], "signal": ["float", [1, 4, 1], [1.0, 2.0, 3.0, 4.0]]});
    for case in cases {
        let run = |count| recorded_with(turns(count, constants.clone(), "m", json!([case])), MANY, 2000);
        if let Err(error) = run(1) {
            panic!("{case}: {error}");
        }
        let error = run(1000).unwrap_err();
        assert!(error.contains("left of the 2000") || error.contains("texts may have"), "{case}: {error}");
    }
}

#[test]
fn steps_are_counted_whatever_they_are() {
    let none = || json!({"m": ["float", [2, 2], [1.0, 2.0, 3.0, 4.0]]});
    let few = 3000;
    let outputs: Vec<Json> = [port("go"), port("v")].into_iter().chain((0..100).map(|_| port("v"))).collect();
    let mut wide = turns(100, none(), "m", json!([]));
    wide["graph"]["nodes"][0]["attributes"]["body"]["graph"]["outputs"] = json!(outputs);
    let mut empty = turns(1000, none(), "m", json!([]));
    empty["graph"]["nodes"][0]["attributes"]["body"]["graph"]["outputs"][1] = port("v");
    let long = "n".repeat(1 << 16);
    let relu = json!({"op": "Relu", "inputs": ["v"], "outputs": ["w"]});
    let named = json!([{"op": "Relu", "inputs": ["v"], "outputs": [long]}, relu]);
    let with_list = json!([{"op": "Relu", "inputs": ["v"], "outputs": ["w"], "attributes": {"unused": {"floats": vec![1.0; 1 << 14]}}}]);
    // Each gradient is that of all before it, and again a sum.
    let mut last = "x".to_string();
    let mut nested = vec![
        json!({"op": "RandomUniform", "inputs": [], "outputs": ["x"], "attributes": {"shape": {"ints": [2, 2]}}}),
    ];
    for i in 0..40 {
        let (sum, gradient) = (format!("s{i}"), format!("g{i}"));
        nested.push(json!({"op": "Tanh", "inputs": [&last], "outputs": [format!("t{i}")]}));
        nested.push(json!({"op": "ReduceSum", "inputs": [format!("t{i}")], "outputs": [sum], "attributes": {"keepdims": {"int": 0}}}));
        nested.push(json!({"op": "Gradient", "domain": "ai.onnx.preview.training", "inputs": ["x"], "outputs": [gradient],
            "attributes": {"xs": {"strings": ["x"]}, "y": {"string": sum}}}));
        last = gradient;
    }
    nested.push(json!({"op": "Identity", "inputs": [last], "outputs": ["y"]}));
    let list = json!([{"op": "SequenceConstruct", "inputs": vec!["m"; 1000], "outputs": ["list"]},
        {"op": "SequenceErase", "inputs": ["list"], "outputs": ["l1"]},
        {"op": "Loop", "inputs": ["turns", "", "list"], "outputs": ["y"], "attributes": {"body": {"graph": {
            "inputs": [port("i"), port("go"), port("v")], "outputs": [port("go"), port("w")],
            "nodes": [{"op": "SequenceInsert", "inputs": ["v", "m"], "outputs": ["w"]}]}}}}]);
    let mut listed = none();
    listed["turns"] = json!(["int64", [], [300]]);
    let scattered = json!([{"op": "ConstantOfShape", "inputs": ["size"], "outputs": ["table"]},
        {"op": "ConstantOfShape", "inputs": ["size"], "outputs": ["at"]},
        {"op": "ScatterElements", "inputs": ["table", "at", "table"], "outputs": ["y"], "attributes": {"reduction": {"string": "max"}}}]);
    let places = json!({"size": ["int64", [1], [1000]]});
    let cases = [
        wide,
        empty,
        turns(1000, none(), "m", json!([relu])),
        turns(20, none(), "m", named),
        turns(20, none(), "m", with_list),
        graph(&places, &scattered),
        graph(&none(), &json!(nested)),
        graph(&listed, &list),
    ];
    for case in cases {
        let error = recorded_with(case.clone(), few, MANY).unwrap_err();
        let case = case.to_string();
        assert!(error.contains("more than 4194304 operations"), "{}: {error}", &case[..case.len().min(400)]);
    }
    // What is within is recorded.
    recorded_with(turns(50, none(), "m", json!([relu])), few, MANY).unwrap();
}

/// A function `own.NAME` of `x`, whose result is `y`.
fn function(name: &str, nodes: Json) -> Json {
    json!({"domain": "own", "name": name, "inputs": ["x"], "outputs": ["y"], "nodes": nodes})
}

fn call(name: &str, attributes: Json) -> Json {
    json!({"op": name, "domain": "own", "inputs": ["x"], "outputs": ["y"], "attributes": attributes})
}

fn with_functions(functions: Vec<Json>, first: Json) -> Json {
    let mut model = graph(&json!({"x": ["float", [2], [-1.0, 4.0]]}), &json!([first]));
    model["functions"] = json!(functions);
    model
}

/// Each function gives the next a graph that holds its own a hundred times.
#[test]
fn graphs_that_are_given_to_functions_are_not_copied() {
    let branch = |nodes: Vec<Json>| json!({"graph": {"outputs": [port("x")], "nodes": nodes}});
    let many = |i: usize| {
        (0..100)
            .map(|k| {
                json!({"op": "If", "inputs": ["yes"], "outputs": [format!("b{i}_{k}")],
                "attributes": {"then_branch": {"of": "a"}, "else_branch": {"of": "a"}}})
            })
            .collect::<Vec<_>>()
    };
    let mut functions: Vec<Json> = (0..20)
        .map(|i| {
            function(&format!("f{i}"), json!([call(&format!("f{}", i + 1), json!({"a": branch(many(i))}))]))
        })
        .collect();
    functions.push(function("f20", json!([{"op": "Relu", "inputs": ["x"], "outputs": ["y"]}])));
    let model = with_functions(functions.clone(), call("f0", json!({"a": branch(Vec::new())})));
    recorded_with(model, MANY, MANY).unwrap();
    // Where they are used they are counted.
    functions[20] = function(
        "f20",
        json!([{"op": "Constant", "inputs": [], "outputs": ["c"], "attributes": {"value_int": {"int": 1}}},
            {"op": "Cast", "inputs": ["c"], "outputs": ["yes"], "attributes": {"to": {"int": 9}}},
            {"op": "If", "inputs": ["yes"], "outputs": ["y"], "attributes": {"then_branch": {"of": "a"}, "else_branch": {"of": "a"}}}]),
    );
    let model = with_functions(functions, call("f0", json!({"a": branch(Vec::new())})));
    let error = recorded_with(model, MANY, MANY).unwrap_err();
    assert!(error.contains("deep") || error.contains("operations"), "{error}");
}

#[test]
fn an_attribute_is_that_of_the_call_in_which_it_is_written() {
    // The graph stands in `outer`, and is taken by `inner`, which has another `alpha`.
    let given = json!({"graph": {"outputs": [port("z")], "nodes": [
        {"op": "LeakyRelu", "inputs": ["x"], "outputs": ["z"], "attributes": {"alpha": {"of": "alpha"}}}]}});
    let constant =
        json!({"op": "Constant", "inputs": [], "outputs": ["c"], "attributes": {"value_int": {"int": 1}}});
    let truth = json!({"op": "Cast", "inputs": ["c"], "outputs": ["yes"], "attributes": {"to": {"int": 9}}});
    let choice = json!({"op": "If", "inputs": ["yes"], "outputs": ["y"], "attributes": {"then_branch": {"of": "body"}, "else_branch": {"of": "body"}}});
    let functions = vec![
        function("outer", json!([call("inner", json!({"alpha": {"float": 0.25}, "body": given}))])),
        function("inner", json!([constant, truth, choice])),
    ];
    let model = with_functions(functions, call("outer", json!({"alpha": {"float": 0.5}})));
    let first = |model| recorded_with(model, MANY, MANY).unwrap().expect("it is known").to_f64s()[0];
    assert_eq!(first(model), -0.5);
    // What neither the call nor the function says is left out, and an operator has its own.
    let leaky = json!([{"op": "LeakyRelu", "inputs": ["x"], "outputs": ["y"], "attributes": {"alpha": {"of": "alpha"}}}]);
    let model = with_functions(vec![function("f", leaky.clone())], call("f", json!({})));
    assert_eq!(first(model), -f64::from(0.01f32));
    let mut with_default = function("f", leaky);
    with_default["defaults"] = json!({"alpha": {"float": 0.125}});
    let model = with_functions(vec![with_default], call("f", json!({})));
    assert_eq!(first(model), -0.125);
}

#[test]
fn long_names_are_cut_where_they_are_told() {
    let b = Builder::new();
    let x = b.input("x", brisk_graph::Role::Batch, [2], DType::F32);
    let long = "n".repeat(1 << 20);
    let node = json!([{"op": "Relu", "name": long, "inputs": ["x"], "outputs": ["y"]}]);
    let mut model = graph(&json!({}), &node);
    model["graph"]["inputs"] = json!([port("x")]);
    let model: Model = serde_json::from_value(model).unwrap();
    let found = record(&model, &mut Plain(&b), vec![Some(Var::new(Elem::Float, x).into())]).unwrap();
    let Item::Tensor(y) = &found[0] else { panic!("a tensor") };
    let graph = b.finish(&[("y", y.value())], &[]).unwrap();
    assert!(graph.nodes.iter().all(|n| n.scope.len() <= 100));
}

/// As many operators that are not there as have to be told apart.
#[test]
fn operators_are_looked_up_by_name() {
    const COUNT: usize = 100_000;
    let node = |op: String| Node { op, outputs: vec!["y".into()], ..Node::default() };
    let mut model = Model::default();
    model.graph.nodes = (0..COUNT).map(|i| node(format!("Op{i}"))).collect();
    let Error::Operators(unknown) = check(&model).unwrap_err() else { panic!("operators") };
    assert_eq!(unknown.len(), COUNT);
    model.functions =
        (0..COUNT).map(|i| Function { name: format!("Op{i}"), ..Function::default() }).collect();
    check(&model).unwrap();
}
