//! Values as they are, variables, calls, branches and loops.

use brisk_onnx::{Attribute, Elem};

use super::super::TfType;
use super::call::{Call, Made, Run};
use super::value::Value;

pub(super) const OPS: &[(&str, Run)] = &[
    ("CheckNumerics", first),
    ("Const", |c| Ok(vec![c.walk.constant(c.node)?])),
    ("EnsureShape", first),
    ("Identity", first),
    ("IdentityN", |c| Ok(std::mem::take(&mut c.inputs))),
    ("If", branch),
    ("NoOp", |_| Ok(vec![])),
    ("PartitionedCall", call),
    ("Placeholder", |_| {
        Err("it is an input of the graph, but none of the signature; name it in the signature".into())
    }),
    ("PlaceholderWithDefault", first),
    ("PreventGradient", first),
    ("ReadVariableOp", |c| match c.value(0)? {
        Value::Variable(number) => Ok(vec![c.walk.parameter(*number)?]),
        _ => Err("operand 0: expected a variable".into()),
    }),
    ("ResourceGather", |c| match c.value(0)? {
        Value::Variable(number) => {
            let table = c.walk.parameter(*number)?;
            let at = c.x(1)?;
            if c.int("batch_dims", 0)? != 0 {
                return Err("attribute \"batch_dims\": expected 0".into());
            }
            c.done("Gather", &[table.name()?, &at], vec![])
        }
        _ => Err("operand 0: expected a variable".into()),
    }),
    ("Snapshot", first),
    ("StatefulPartitionedCall", call),
    ("StatelessIf", branch),
    ("StatelessWhile", turns),
    ("StopGradient", first),
    ("VarHandleOp", |c| Ok(vec![Value::Variable(c.walk.variables.number(c.node)?)])),
    ("Variable", variable),
    ("VariableV2", variable),
    ("While", turns),
];

fn first(c: &mut Call<'_, '_>) -> Made {
    Ok(vec![c.value(0)?.clone()])
}

/// In old graphs a variable is its value.
fn variable(c: &mut Call<'_, '_>) -> Made {
    let number = c.walk.variables.number(c.node)?;
    Ok(vec![c.walk.parameter(number)?])
}

fn call(c: &mut Call<'_, '_>) -> Made {
    let called = c.called("f")?;
    c.walk.function(&called, std::mem::take(&mut c.inputs))
}

fn names(values: &[Value]) -> Result<Vec<String>, String> {
    values.iter().map(|v| v.name().map(String::from)).collect()
}

fn branch(c: &mut Call<'_, '_>) -> Made {
    const BOOL: TfType = TfType(10);
    let mut condition = c.x(0)?;
    if c.elem("Tcond", BOOL)? != Elem::Bool {
        condition = c.cast(&condition, Elem::Bool)?;
    }
    let mut graphs = Vec::new();
    for name in ["then_branch", "else_branch"] {
        let called = c.called(name)?;
        c.walk.emit.open();
        let outputs = c.walk.function(&called, c.inputs.iter().skip(1).cloned().collect())?;
        let graph = c.walk.emit.close(vec![], names(&outputs)?);
        graphs.push((name, graph));
    }
    let count = graphs.iter().map(|(_, g)| g.outputs.len()).min().unwrap_or(0);
    let attributes = graphs.into_iter().map(|(name, g)| (name, Attribute::Graph(Box::new(g)))).collect();
    let made = c.walk.emit.call(&c.node.name, "If", &[&condition], attributes, count)?;
    Ok(made.into_iter().map(Value::of).collect())
}

/// What a turn leaves as it is, variables among it, is no value of the loop.
fn turns(c: &mut Call<'_, '_>) -> Made {
    let (condition, body) = (c.called("cond")?, c.called("body")?);
    let (name, function) = c.walk.find(&body)?;
    if function.inputs.len() != c.inputs.len() || function.outputs.len() != c.inputs.len() {
        return Err(format!(
            "function {name:?} does not take and give the {} values of the loop",
            c.inputs.len()
        ));
    }
    let mut fixed = Vec::new();
    for ((input, argument), output) in c.inputs.iter().zip(&function.inputs).zip(&function.outputs) {
        let mut value = &output.1;
        // Through what gives a value as it is.
        while let Some(node) = function.graph.node(&value.node).filter(|n| n.op == "Identity") {
            c.walk.emit.step(1)?;
            let Some(before) = node.inputs.first() else { break };
            value = before;
        }
        fixed.push(value.node == argument.0 || matches!(input, Value::Variable(_)));
    }
    let initial = std::mem::take(&mut c.inputs);
    let changing = |values: &[Value]| -> Result<Vec<String>, String> {
        values.iter().zip(&fixed).filter(|(_, f)| !**f).map(|(v, _)| v.name().map(String::from)).collect()
    };
    let begin = changing(&initial)?;
    let go = one(c.walk.function(&condition, initial.clone())?)?;
    // Within the loop.
    let mut inputs = vec![c.walk.emit.unique("turn"), c.walk.emit.unique("go")];
    let mut inner = initial.clone();
    for (value, _) in inner.iter_mut().zip(&fixed).filter(|(_, f)| !**f) {
        let name = c.walk.emit.unique(&c.node.name);
        inputs.push(name.clone());
        *value = Value::of(name);
    }
    c.walk.emit.open();
    let mut after = c.walk.function(&body, inner.clone())?;
    for ((value, before), _) in after.iter_mut().zip(&inner).zip(&fixed).filter(|(_, f)| **f) {
        *value = before.clone();
    }
    let mut outputs = vec![one(c.walk.function(&condition, after.clone())?)?];
    outputs.extend(changing(&after)?);
    let body = c.walk.emit.close(inputs, outputs);
    let operands: Vec<&str> = ["", &go].into_iter().chain(begin.iter().map(String::as_str)).collect();
    let attributes = vec![("body", Attribute::Graph(Box::new(body)))];
    let made = c.walk.emit.call(&c.node.name, "Loop", &operands, attributes, begin.len())?;
    let mut made = made.into_iter().map(Value::of);
    let mut result = |(value, fixed): (Value, &bool)| if *fixed { Some(value) } else { made.next() };
    initial.into_iter().zip(&fixed).map(|v| result(v).ok_or_else(|| "a value is lost".to_string())).collect()
}

/// The only result of a condition.
fn one(values: Vec<Value>) -> Result<String, String> {
    match &values[..] {
        [one] => one.name().map(String::from),
        many => Err(format!("expected a condition of one result, found {}", many.len())),
    }
}
