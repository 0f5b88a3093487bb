//! Arithmetic, element by element.

use brisk_onnx::{Attribute, Elem};

use super::call::{Call, Made, Operator, loss, op};
use crate::error::quoted;
use crate::onnx::emit::text;

pub(super) const OPS: &[Operator] = &[
    op("Activation", activation),
    op("BlockGrad", first),
    op("Cast", cast),
    op("Dropout", |c| match c.text("mode", "training") {
        "training" => first(c),
        other => Err(format!(
            "attribute \"mode\": expected training, found {}; save the model without dropout that answers with chance",
            quoted(other)
        )),
    }),
    op("ElementWiseSum", |c| c.same("Sum")),
    op("LeakyReLU", leaky),
    loss("LinearRegressionOutput", first),
    loss("LogisticRegressionOutput", |c| {
        let x = c.x(0)?;
        c.done("Sigmoid", &[&x], vec![])
    }),
    loss("MAERegressionOutput", first),
    op("MakeLoss", first),
    op("_Div", |c| c.same("Div")),
    op("_Maximum", |c| c.same("Max")),
    op("_Minimum", |c| c.same("Min")),
    op("_Minus", |c| c.same("Sub")),
    op("_Mul", |c| c.same("Mul")),
    op("_Plus", |c| c.same("Add")),
    op("_copy", first),
    op("_div_scalar", |c| scalar(c, "Div", false)),
    op("_DivScalar", |c| scalar(c, "Div", false)),
    op("_equal_scalar", |c| compared_to(c, "Equal")),
    op("_greater_equal_scalar", |c| compared_to(c, "GreaterOrEqual")),
    op("_greater_scalar", |c| compared_to(c, "Greater")),
    op("_lesser_equal_scalar", |c| compared_to(c, "LessOrEqual")),
    op("_lesser_scalar", |c| compared_to(c, "Less")),
    op("_maximum_scalar", |c| scalar(c, "Max", false)),
    op("_minimum_scalar", |c| scalar(c, "Min", false)),
    op("_minus_scalar", |c| scalar(c, "Sub", false)),
    op("_MinusScalar", |c| scalar(c, "Sub", false)),
    op("_mul_scalar", |c| scalar(c, "Mul", false)),
    op("_MulScalar", |c| scalar(c, "Mul", false)),
    op("_plus_scalar", |c| scalar(c, "Add", false)),
    op("_PlusScalar", |c| scalar(c, "Add", false)),
    op("_power_scalar", |c| scalar(c, "Pow", false)),
    op("_rdiv_scalar", |c| scalar(c, "Div", true)),
    op("_rminus_scalar", |c| scalar(c, "Sub", true)),
    op("_rpower_scalar", |c| scalar(c, "Pow", true)),
    op("abs", |c| c.same("Abs")),
    op("add_n", |c| c.same("Sum")),
    op("broadcast_add", |c| c.same("Add")),
    op("broadcast_div", |c| c.same("Div")),
    op("broadcast_equal", |c| compared(c, "Equal")),
    op("broadcast_greater", |c| compared(c, "Greater")),
    op("broadcast_greater_equal", |c| compared(c, "GreaterOrEqual")),
    op("broadcast_lesser", |c| compared(c, "Less")),
    op("broadcast_lesser_equal", |c| compared(c, "LessOrEqual")),
    op("broadcast_maximum", |c| c.same("Max")),
    op("broadcast_minimum", |c| c.same("Min")),
    op("broadcast_minus", |c| c.same("Sub")),
    op("broadcast_mul", |c| c.same("Mul")),
    op("broadcast_plus", |c| c.same("Add")),
    op("broadcast_power", |c| c.same("Pow")),
    op("broadcast_sub", |c| c.same("Sub")),
    op("cast", cast),
    op("ceil", |c| c.same("Ceil")),
    op("clip", |c| {
        let (x, low, high) =
            (c.x(0)?, c.float("a_min", f64::NEG_INFINITY)?, c.float("a_max", f64::INFINITY)?);
        let (low, high) = (c.number(low)?, c.number(high)?);
        c.done("Clip", &[&x, &low, &high], vec![])
    }),
    op("cos", |c| c.same("Cos")),
    op("elemwise_add", |c| c.same("Add")),
    op("elemwise_div", |c| c.same("Div")),
    op("elemwise_mul", |c| c.same("Mul")),
    op("elemwise_sub", |c| c.same("Sub")),
    op("erf", |c| c.same("Erf")),
    op("exp", |c| c.same("Exp")),
    op("floor", |c| c.same("Floor")),
    op("hard_sigmoid", |c| {
        let (x, alpha, beta) = (c.x(0)?, c.float("alpha", 0.2)?, c.float("beta", 0.5)?);
        let number = |v: f64| Attribute::Float(v as f32);
        c.done("HardSigmoid", &[&x], vec![("alpha", number(alpha)), ("beta", number(beta))])
    }),
    op("identity", first),
    op("log", |c| c.same("Log")),
    op("make_loss", first),
    op("negative", |c| c.same("Neg")),
    op("reciprocal", |c| c.same("Reciprocal")),
    op("relu", |c| c.same("Relu")),
    op("rsqrt", |c| {
        let x = c.x(0)?;
        let root = c.emit("Sqrt", &[&x], vec![])?;
        c.done("Reciprocal", &[&root], vec![])
    }),
    op("sigmoid", |c| c.same("Sigmoid")),
    op("sign", |c| c.same("Sign")),
    op("sin", |c| c.same("Sin")),
    op("softsign", |c| c.same("Softsign")),
    op("sqrt", |c| c.same("Sqrt")),
    op("square", |c| {
        let x = c.x(0)?;
        c.done("Mul", &[&x, &x], vec![])
    }),
    op("stop_gradient", first),
    op("tanh", |c| c.same("Tanh")),
    op("where", |c| {
        let (condition, a, b) = (c.x(0)?, c.x(1)?, c.x(2)?);
        let condition = c.cast(&condition, Elem::Bool)?;
        c.done("Where", &[&condition, &a, &b], vec![])
    }),
];

fn first(c: &mut Call<'_>) -> Made {
    Ok(vec![c.x(0)?])
}

fn scalar(c: &mut Call<'_>, name: &str, on_the_left: bool) -> Made {
    let (x, value) = (c.x(0)?, c.float("scalar", 1.0)?);
    let value = c.number(value)?;
    if on_the_left { c.done(name, &[&value, &x], vec![]) } else { c.done(name, &[&x, &value], vec![]) }
}

/// Comparisons yield 0 and 1 as floats.
fn compared(c: &mut Call<'_>, name: &str) -> Made {
    let (a, b) = (c.x(0)?, c.x(1)?);
    let truth = c.emit(name, &[&a, &b], vec![])?;
    Ok(vec![c.cast(&truth, Elem::Float)?])
}

fn compared_to(c: &mut Call<'_>, name: &str) -> Made {
    let (x, value) = (c.x(0)?, c.float("scalar", 1.0)?);
    let value = c.number(value)?;
    let truth = c.emit(name, &[&x, &value], vec![])?;
    Ok(vec![c.cast(&truth, Elem::Float)?])
}

fn cast(c: &mut Call<'_>) -> Made {
    let x = c.x(0)?;
    let elem = match c.text("dtype", "") {
        "float32" => Elem::Float,
        "float64" => Elem::Double,
        "float16" => Elem::Float16,
        "int8" => Elem::Int8,
        "uint8" => Elem::Uint8,
        "int32" => Elem::Int32,
        "int64" => Elem::Int64,
        "bool" => Elem::Bool,
        other => return Err(format!("attribute \"dtype\": {other:?} is no type that is known here")),
    };
    Ok(vec![c.cast(&x, elem)?])
}

fn activation(c: &mut Call<'_>) -> Made {
    let name = match c.text("act_type", "") {
        "relu" => "Relu",
        "sigmoid" => "Sigmoid",
        "tanh" => "Tanh",
        "softrelu" => "Softplus",
        "softsign" => "Softsign",
        "mish" => "Mish",
        "log_sigmoid" => {
            let x = c.x(0)?;
            let x = c.emit("Neg", &[&x], vec![])?;
            let y = c.emit("Softplus", &[&x], vec![])?;
            return c.done("Neg", &[&y], vec![]);
        }
        other => return Err(format!("attribute \"act_type\": {other:?} is no activation of MXNet")),
    };
    c.same(name)
}

fn leaky(c: &mut Call<'_>) -> Made {
    let (x, slope) = (c.x(0)?, c.float("slope", 0.25)?);
    let alpha = |v: f64| vec![("alpha", Attribute::Float(v as f32))];
    match c.text("act_type", "leaky") {
        "leaky" => c.done("LeakyRelu", &[&x], alpha(slope)),
        "elu" => c.done("Elu", &[&x], alpha(slope)),
        "selu" => c.done("Selu", &[&x], vec![]),
        "gelu" => c.done("Gelu", &[&x], vec![("approximate", text("none"))]),
        // Drawn at random in training, in the middle otherwise.
        "rrelu" => {
            let middle = (c.float("lower_bound", 0.125)? + c.float("upper_bound", 0.334)?) / 2.0;
            c.done("LeakyRelu", &[&x], alpha(middle))
        }
        "prelu" => {
            let gamma = c.x(1)?;
            let gamma = by_channel(c, &x, &gamma)?;
            c.done("PRelu", &[&x, &gamma], vec![])
        }
        other => Err(format!("attribute \"act_type\": {other:?} is no activation of MXNet")),
    }
}

/// Numbers for the channels (axis 1) of a value, with as many axes behind as it has.
fn by_channel(c: &mut Call<'_>, x: &str, numbers: &str) -> Result<String, String> {
    let behind = c.emit("Shape", &[x], vec![("start", Attribute::Int(2))])?;
    let count = c.emit("Shape", &[&behind], vec![])?;
    let (one, all) = (c.list(&[1])?, c.list(&[-1])?);
    let ones = c.emit("Expand", &[&one, &count], vec![])?;
    let shape = c.emit("Concat", &[&all, &ones], vec![("axis", Attribute::Int(0))])?;
    c.emit("Reshape", &[numbers, &shape], vec![])
}
