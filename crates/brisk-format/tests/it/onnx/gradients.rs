//! Gradients of recorded operators against finite differences, in f64.

use brisk_graph::{Builder, Shape, Tensor, Value};
use brisk_onnx::{Elem, Host, Item, Model, Parameter, Var, record};
use brisk_testkit::{Random, check_gradient};
use serde_json::json;

/// Nothing but the graph: what must be seen stands in constants.
struct Plain<'g>(&'g Builder);

impl<'g> Host<'g> for Plain<'g> {
    fn builder(&self) -> &'g Builder {
        self.0
    }

    fn parameter(&mut self, name: &str, _: &Parameter) -> Result<Value<'g>, String> {
        Err(format!("{name:?} is not there"))
    }

    fn look(&mut self, _: Value<'g>) -> Result<Option<Tensor>, String> {
        Ok(None)
    }

    fn random(&mut self, _: &Shape) -> Result<Value<'g>, String> {
        Err("there are no random numbers".into())
    }
}

/// Checks the first result of an operator by each of its operands `x0`, `x1`, ..., doubles of these shapes.
fn check(
    op: &str,
    shapes: &[&[usize]],
    more: &[&str],
    constants: serde_json::Value,
    attributes: serde_json::Value,
) {
    let names: Vec<String> = (0..shapes.len()).map(|i| format!("x{i}")).collect();
    let inputs: Vec<&str> = names.iter().map(String::as_str).chain(more.iter().copied()).collect();
    let ports: Vec<_> = names.iter().map(|n| json!({"name": n, "type": "unknown"})).collect();
    let model: Model = serde_json::from_value(json!({"opsets": {"": 23}, "graph": {
        "inputs": ports, "outputs": [{"name": "y", "type": "unknown"}], "constants": constants,
        "nodes": [{"op": op, "inputs": inputs, "outputs": ["y"], "attributes": attributes}]}}))
    .unwrap();
    let mut random = Random::new(7);
    let operands: Vec<Tensor> = shapes.iter().map(|s| random.floats(*s, 0.2, 1.0)).collect();
    check_gradient(op, &operands, |b, x| {
        let items = x.iter().map(|&v| Some(Var::new(Elem::Double, v).into())).collect();
        match &record(&model, &mut Plain(b), items).unwrap()[0] {
            Item::Tensor(y) => y.value(),
            other => panic!("{op}: {other:?}"),
        }
    });
}

#[test]
fn convolutions() {
    let all =
        json!({"strides": {"ints": [2, 1]}, "pads": {"ints": [1, 0, 1, 2]}, "dilations": {"ints": [1, 2]}});
    check("Conv", &[&[2, 4, 5, 6], &[3, 4, 3, 2], &[3]], &[], json!({}), all);
    check("Conv", &[&[1, 4, 5, 5], &[4, 2, 3, 3]], &[], json!({}), json!({"group": {"int": 2}}));
    check("Conv", &[&[1, 2, 7], &[3, 2, 3]], &[], json!({}), json!({"auto_pad": {"string": "SAME_LOWER"}}));
    let all = json!({"strides": {"ints": [2, 2]}, "pads": {"ints": [1, 0, 0, 1]}, "output_padding": {"ints": [1, 0]}});
    check("ConvTranspose", &[&[2, 3, 3, 4], &[3, 2, 3, 3], &[2]], &[], json!({}), all);
    check("ConvTranspose", &[&[1, 4, 3, 3], &[4, 1, 2, 2]], &[], json!({}), json!({"group": {"int": 2}}));
}

#[test]
fn products() {
    check("MatMul", &[&[2, 3, 4], &[4, 5]], &[], json!({}), json!({}));
    check("MatMul", &[&[4], &[2, 4, 3]], &[], json!({}), json!({}));
    let all =
        json!({"transA": {"int": 1}, "transB": {"int": 1}, "alpha": {"float": 0.5}, "beta": {"float": 2.0}});
    check("Gemm", &[&[4, 3], &[5, 4], &[5]], &[], json!({}), all);
    check(
        "Einsum",
        &[&[2, 3, 4], &[2, 4, 5]],
        &[],
        json!({}),
        json!({"equation": {"string": "bij,bjk->bki"}}),
    );
}

#[test]
fn pools() {
    let all = json!({"kernel_shape": {"ints": [3, 2]}, "strides": {"ints": [2, 1]}, "pads": {"ints": [1, 0, 1, 1]}});
    check("AveragePool", &[&[2, 3, 5, 6]], &[], json!({}), all.clone());
    check("MaxPool", &[&[2, 3, 5, 6]], &[], json!({}), all.clone());
    check("LpPool", &[&[1, 2, 5, 6]], &[], json!({}), all);
    check("GlobalAveragePool", &[&[2, 3, 4, 5]], &[], json!({}), json!({}));
    check("GlobalMaxPool", &[&[2, 3, 4, 5]], &[], json!({}), json!({}));
}

#[test]
fn norms() {
    check("BatchNormalization", &[&[2, 3, 4, 4], &[3], &[3], &[3], &[3]], &[], json!({}), json!({}));
    check("LayerNormalization", &[&[2, 3, 4], &[4], &[4]], &[], json!({}), json!({}));
    check("RMSNormalization", &[&[2, 3, 4], &[4]], &[], json!({}), json!({}));
    check("InstanceNormalization", &[&[2, 3, 4, 5], &[3], &[3]], &[], json!({}), json!({}));
    check(
        "GroupNormalization",
        &[&[2, 4, 3, 3], &[4], &[4]],
        &[],
        json!({}),
        json!({"num_groups": {"int": 2}}),
    );
    check("LRN", &[&[2, 5, 3, 3]], &[], json!({}), json!({"size": {"int": 3}}));
    check("LpNormalization", &[&[3, 4]], &[], json!({}), json!({}));
}

#[test]
fn activations() {
    let plain = [
        "Sigmoid",
        "Tanh",
        "Softplus",
        "Softsign",
        "Elu",
        "Selu",
        "Celu",
        "Gelu",
        "Mish",
        "HardSwish",
        "Swish",
        "Relu",
        "LeakyRelu",
        "ThresholdedRelu",
        "HardSigmoid",
        "Softmax",
        "LogSoftmax",
        "Exp",
        "Log",
        "Sqrt",
        "Erf",
        "Sin",
        "Cos",
        "Atan",
    ];
    // At 1 the threshold would be a kink.
    let attributes = |op: &str| match op {
        "ThresholdedRelu" => json!({"alpha": {"float": 0.0}}),
        _ => json!({}),
    };
    for op in plain {
        check(op, &[&[3, 4]], &[], json!({}), attributes(op));
    }
    check("PRelu", &[&[3, 4], &[4]], &[], json!({}), json!({}));
    check("Pow", &[&[3, 4], &[4]], &[], json!({}), json!({}));
    check("Div", &[&[3, 4], &[3, 1]], &[], json!({}), json!({}));
}

#[test]
fn movements() {
    let scales = json!({"s": ["float", [4], [1.0, 1.0, 2.0, 1.5]]});
    for mode in ["nearest", "linear", "cubic"] {
        check("Resize", &[&[1, 2, 3, 4]], &["", "s"], scales.clone(), json!({"mode": {"string": mode}}));
    }
    let index = json!({"i": ["int64", [2, 2], [2, 0, -1, 2]]});
    check("Gather", &[&[2, 3, 4]], &["i"], index.clone(), json!({"axis": {"int": 1}}));
    check("GatherElements", &[&[3, 2]], &["i"], index, json!({}));
    check("Concat", &[&[2, 3], &[2, 1], &[2, 2]], &[], json!({}), json!({"axis": {"int": 1}}));
    let cut = json!({"a": ["int64", [2], [4, 0]], "b": ["int64", [2], [-10, 3]], "c": ["int64", [2], [0, 1]], "d": ["int64", [2], [-2, 2]]});
    check("Slice", &[&[5, 4]], &["a", "b", "c", "d"], cut, json!({}));
    for mode in ["constant", "edge", "reflect", "wrap"] {
        let pads = json!({"p": ["int64", [4], [1, -1, 2, 1]]});
        check("Pad", &[&[3, 4]], &["p"], pads, json!({"mode": {"string": mode}}));
    }
    check("ReduceLogSumExp", &[&[2, 3, 4]], &["a"], json!({"a": ["int64", [1], [1]]}), json!({}));
    check("CumSum", &[&[3, 4]], &["a"], json!({"a": ["int64", [], [1]]}), json!({"reverse": {"int": 1}}));
    check("Tile", &[&[2, 3]], &["r"], json!({"r": ["int64", [2], [2, 3]]}), json!({}));
}

#[test]
fn recurrences() {
    // Steps, a batch, and sizes of input and state: 3, 2, 4 and 3.
    for direction in ["forward", "reverse", "bidirectional"] {
        let d = if direction == "bidirectional" { 2 } else { 1 };
        let attributes = json!({"hidden_size": {"int": 3}, "direction": {"string": direction}});
        let shapes = |gates: usize| {
            [vec![3, 2, 4], vec![d, gates * 3, 4], vec![d, gates * 3, 3], vec![d, 2 * gates * 3]]
        };
        for (op, gates) in [("LSTM", 4), ("GRU", 3), ("RNN", 1)] {
            let shapes = shapes(gates);
            let shapes: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
            check(op, &shapes, &[], json!({}), attributes.clone());
        }
    }
}

#[test]
fn attention() {
    let heads = json!({"q_num_heads": {"int": 2}, "kv_num_heads": {"int": 2}, "is_causal": {"int": 1}});
    check("Attention", &[&[2, 3, 8], &[2, 3, 8], &[2, 3, 8]], &[], json!({}), heads);
    check(
        "Attention",
        &[&[1, 4, 3, 5], &[1, 2, 4, 5], &[1, 2, 4, 6], &[3, 4]],
        &[],
        json!({}),
        json!({"softcap": {"float": 2.0}}),
    );
}
