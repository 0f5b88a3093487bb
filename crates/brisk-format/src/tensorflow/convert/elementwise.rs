//! Arithmetic, element by element.

use brisk_onnx::{Attribute, Elem};

use super::super::TfType;
use super::call::{Call, Made, Run};
use super::value::Value;

macro_rules! renamed {
    ($($name:literal => $onnx:literal),* $(,)?) => { [$(($name, |c: &mut Call<'_, '_>| c.same($onnx))),*] };
}

/// Operators that ONNX has too.
const RENAMED: [(&str, Run); 54] = renamed! {
    "Abs" => "Abs", "Acos" => "Acos", "Acosh" => "Acosh", "Add" => "Add", "AddN" => "Sum", "AddV2" => "Add",
    "Asin" => "Asin", "Asinh" => "Asinh", "Atan" => "Atan", "Atanh" => "Atanh", "BitwiseAnd" => "BitwiseAnd",
    "BitwiseOr" => "BitwiseOr", "BitwiseXor" => "BitwiseXor", "Ceil" => "Ceil", "Cos" => "Cos", "Cosh" => "Cosh",
    "Div" => "Div", "Elu" => "Elu", "Equal" => "Equal", "Erf" => "Erf", "Exp" => "Exp", "Floor" => "Floor",
    "Greater" => "Greater", "GreaterEqual" => "GreaterOrEqual", "Invert" => "BitwiseNot", "IsInf" => "IsInf",
    "IsNan" => "IsNaN", "Less" => "Less", "LessEqual" => "LessOrEqual", "Log" => "Log", "LogicalAnd" => "And",
    "LogicalNot" => "Not", "LogicalOr" => "Or", "Maximum" => "Max", "Minimum" => "Min", "Mul" => "Mul",
    "Neg" => "Neg", "Pow" => "Pow", "RealDiv" => "Div", "Reciprocal" => "Reciprocal", "Relu" => "Relu",
    "Rint" => "Round", "Round" => "Round", "Selu" => "Selu", "Sigmoid" => "Sigmoid", "Sign" => "Sign",
    "Sin" => "Sin", "Sinh" => "Sinh", "Softplus" => "Softplus", "Softsign" => "Softsign", "Sqrt" => "Sqrt",
    "Sub" => "Sub", "Tan" => "Tan", "Tanh" => "Tanh",
};

const OWN: [(&str, Run); 26] = [
    ("BiasAdd", bias_add),
    ("Cast", |c| {
        let (x, to) = (c.x(0)?, c.elem("DstT", TfType(0))?);
        let known = c.value(0)?.tensor()?.clone();
        let name = c.cast(&x, to)?;
        // What is known of whole numbers stays so.
        let ints = if matches!(to, Elem::Int32 | Elem::Int64) { known.ints } else { None };
        Ok(vec![Value::Tensor(super::value::Tensor { name, ints, dims: known.dims })])
    }),
    ("ClipByValue", |c| {
        let (x, low, high) = (c.x(0)?, c.x(1)?, c.x(2)?);
        let x = c.emit("Min", &[&x, &high], vec![])?;
        c.done("Max", &[&x, &low], vec![])
    }),
    ("DivNoNan", |c| {
        let (a, b, zero) = (c.x(0)?, c.x(1)?, c.number("T", 0.0)?);
        let none = c.emit("Equal", &[&b, &zero], vec![])?;
        let y = c.emit("Div", &[&a, &b], vec![])?;
        c.done("Where", &[&none, &zero, &y], vec![])
    }),
    ("Erfc", |c| {
        let (x, one) = (c.x(0)?, c.number("T", 1.0)?);
        let erf = c.emit("Erf", &[&x], vec![])?;
        c.done("Sub", &[&one, &erf], vec![])
    }),
    ("Expm1", |c| {
        let (x, one) = (c.x(0)?, c.number("T", 1.0)?);
        let y = c.emit("Exp", &[&x], vec![])?;
        c.done("Sub", &[&y, &one], vec![])
    }),
    ("FloorDiv", floor_div),
    ("FloorMod", |c| {
        let (a, b) = (c.x(0)?, c.x(1)?);
        if !c.elem("T", TfType(1))?.is_float() {
            return c.done("Mod", &[&a, &b], vec![]);
        }
        let times = c.emit("Div", &[&a, &b], vec![])?;
        let times = c.emit("Floor", &[&times], vec![])?;
        let whole = c.emit("Mul", &[&times, &b], vec![])?;
        c.done("Sub", &[&a, &whole], vec![])
    }),
    ("Inv", |c| c.same("Reciprocal")),
    ("IsFinite", |c| {
        let x = c.x(0)?;
        let (infinite, nan) = (c.emit("IsInf", &[&x], vec![])?, c.emit("IsNaN", &[&x], vec![])?);
        let either = c.emit("Or", &[&infinite, &nan], vec![])?;
        c.done("Not", &[&either], vec![])
    }),
    ("LeakyRelu", |c| {
        let (x, alpha) = (c.x(0)?, c.float("alpha", 0.2)?);
        c.done("LeakyRelu", &[&x], vec![("alpha", Attribute::Float(alpha))])
    }),
    ("Log1p", |c| {
        let (x, one) = (c.x(0)?, c.number("T", 1.0)?);
        let y = c.emit("Add", &[&x, &one], vec![])?;
        c.done("Log", &[&y], vec![])
    }),
    ("LogSoftmax", |c| softmax(c, "LogSoftmax")),
    ("Mod", truncate_mod),
    ("NotEqual", |c| {
        let (a, b) = (c.x(0)?, c.x(1)?);
        let same = c.emit("Equal", &[&a, &b], vec![])?;
        c.done("Not", &[&same], vec![])
    }),
    ("Relu6", |c| {
        let (x, low, high) = (c.x(0)?, c.number("T", 0.0)?, c.number("T", 6.0)?);
        c.done("Clip", &[&x, &low, &high], vec![])
    }),
    ("Rsqrt", |c| {
        let x = c.x(0)?;
        let root = c.emit("Sqrt", &[&x], vec![])?;
        c.done("Reciprocal", &[&root], vec![])
    }),
    ("Select", select),
    ("SelectV2", |c| c.same("Where")),
    ("Softmax", |c| softmax(c, "Softmax")),
    ("Square", |c| {
        let x = c.x(0)?;
        c.done("Mul", &[&x, &x], vec![])
    }),
    ("SquaredDifference", |c| {
        let (a, b) = (c.x(0)?, c.x(1)?);
        let d = c.emit("Sub", &[&a, &b], vec![])?;
        c.done("Mul", &[&d, &d], vec![])
    }),
    ("TruncateDiv", |c| c.same("Div")),
    ("TruncateMod", truncate_mod),
    ("Xlogy", |c| {
        let (x, y, zero) = (c.x(0)?, c.x(1)?, c.number("T", 0.0)?);
        let none = c.emit("Equal", &[&x, &zero], vec![])?;
        let log = c.emit("Log", &[&y], vec![])?;
        let product = c.emit("Mul", &[&x, &log], vec![])?;
        c.done("Where", &[&none, &zero, &product], vec![])
    }),
    ("LogicalXor", |c| c.same("Xor")),
];

pub(super) const OPS: &[(&str, Run)] = &{
    let mut all = [RENAMED[0]; RENAMED.len() + OWN.len()];
    let mut i = 0;
    while i < all.len() {
        all[i] = if i < RENAMED.len() { RENAMED[i] } else { OWN[i - RENAMED.len()] };
        i += 1;
    }
    all
};

fn bias_add(c: &mut Call<'_, '_>) -> Made {
    let (x, mut bias) = (c.x(0)?, c.x(1)?);
    if c.text("data_format", "NHWC")? == "NCHW" {
        let axes = c.list(&[1, 2])?;
        bias = c.emit("Unsqueeze", &[&bias, &axes], vec![])?;
    }
    c.done("Add", &[&x, &bias], vec![])
}

fn floor_div(c: &mut Call<'_, '_>) -> Made {
    let (a, b) = (c.x(0)?, c.x(1)?);
    if c.elem("T", TfType(1))?.is_float() {
        let times = c.emit("Div", &[&a, &b], vec![])?;
        return c.done("Floor", &[&times], vec![]);
    }
    let rest = c.emit("Mod", &[&a, &b], vec![])?;
    let whole = c.emit("Sub", &[&a, &rest], vec![])?;
    c.done("Div", &[&whole, &b], vec![])
}

fn truncate_mod(c: &mut Call<'_, '_>) -> Made {
    let (a, b) = (c.x(0)?, c.x(1)?);
    c.done("Mod", &[&a, &b], vec![("fmod", Attribute::Int(1))])
}

fn softmax(c: &mut Call<'_, '_>, op: &str) -> Made {
    let x = c.x(0)?;
    c.done(op, &[&x], vec![("axis", Attribute::Int(-1))])
}

/// A list of conditions chooses rows: it gets as many axes as they have.
fn select(c: &mut Call<'_, '_>) -> Made {
    let (condition, a, b) = (c.x(0)?, c.x(1)?, c.x(2)?);
    let (own, all) = (c.emit("Shape", &[&condition], vec![])?, c.emit("Shape", &[&a], vec![])?);
    let (own_rank, rank) = (c.emit("Size", &[&own], vec![])?, c.emit("Size", &[&all], vec![])?);
    let missing = c.emit("Sub", &[&rank, &own_rank], vec![])?;
    let (flat, one) = (c.list(&[1])?, c.list(&[1])?);
    let missing = c.emit("Reshape", &[&missing, &flat], vec![])?;
    let ones = c.emit("Expand", &[&one, &missing], vec![])?;
    let shape = c.emit("Concat", &[&own, &ones], vec![("axis", Attribute::Int(0))])?;
    let condition = c.emit("Reshape", &[&condition, &shape], vec![])?;
    c.done("Where", &[&condition, &a, &b], vec![])
}
