//! Arithmetic, element by element, and reductions.

use super::super::call::{Call, Made};
use super::Rule::{self, Own, Same};
use crate::tensorflow::{TfAttribute, TfType};

pub(super) const OPS: &[(&str, Rule)] = &[
    ("ABS", Same("Abs")),
    ("ADD", Own(|c| fused(c, "AddV2"))),
    ("ADD_N", Same("AddN")),
    ("ARG_MAX", Own(|c| arg(c, "ArgMax"))),
    ("ARG_MIN", Own(|c| arg(c, "ArgMin"))),
    ("CAST", Own(cast)),
    ("CEIL", Same("Ceil")),
    ("COS", Same("Cos")),
    (
        "CUMSUM",
        Own(|c| {
            let flags = vec![("exclusive", c.flag(0)?), ("reverse", c.flag(1)?)];
            let flags = flags.into_iter().map(|(name, on)| (name, TfAttribute::Bool(on))).collect();
            c.same("Cumsum", flags)
        }),
    ),
    (
        "DEQUANTIZE",
        Own(|c| {
            let x = c.x(0)?;
            // Whole numbers have become floats already.
            if c.kind(0)? == TfType(1) {
                Ok(vec![x])
            } else {
                c.done("Cast", vec![x], vec![("DstT", TfAttribute::Type(TfType(1)))])
            }
        }),
    ),
    ("DIV", Own(|c| fused(c, if c.kind(0)? == TfType(1) { "RealDiv" } else { "TruncateDiv" }))),
    ("ELU", Same("Elu")),
    ("EQUAL", Same("Equal")),
    ("EXP", Same("Exp")),
    ("FLOOR", Same("Floor")),
    ("FLOOR_DIV", Same("FloorDiv")),
    ("FLOOR_MOD", Same("FloorMod")),
    (
        "GELU",
        Own(|c| {
            let approximate = TfAttribute::Bool(c.flag(0)?);
            c.same("Gelu", vec![("approximate", approximate)])
        }),
    ),
    ("GREATER", Same("Greater")),
    ("GREATER_EQUAL", Same("GreaterEqual")),
    ("HARD_SWISH", Same("HardSwish")),
    (
        "LEAKY_RELU",
        Own(|c| {
            let alpha = TfAttribute::Float(c.float(0)?);
            c.same("LeakyRelu", vec![("alpha", alpha)])
        }),
    ),
    ("LESS", Same("Less")),
    ("LESS_EQUAL", Same("LessEqual")),
    ("LOG", Same("Log")),
    ("LOGICAL_AND", Same("LogicalAnd")),
    ("LOGICAL_NOT", Same("LogicalNot")),
    ("LOGICAL_OR", Same("LogicalOr")),
    ("LOGISTIC", Same("Sigmoid")),
    ("LOG_SOFTMAX", Same("LogSoftmax")),
    ("MAXIMUM", Same("Maximum")),
    ("MEAN", Own(|c| reduce(c, "Mean"))),
    ("MINIMUM", Same("Minimum")),
    ("MUL", Own(|c| fused(c, "Mul"))),
    ("NEG", Same("Neg")),
    ("NOT_EQUAL", Same("NotEqual")),
    ("POW", Same("Pow")),
    ("PRELU", Same("PRelu")),
    // Whole numbers are carried as floats; behind an operator they are rounded to their places.
    ("QUANTIZE", Own(|c| Ok(vec![c.x(0)?]))),
    ("REDUCE_ALL", Own(|c| reduce(c, "All"))),
    ("REDUCE_ANY", Own(|c| reduce(c, "Any"))),
    ("REDUCE_MAX", Own(|c| reduce(c, "Max"))),
    ("REDUCE_MIN", Own(|c| reduce(c, "Min"))),
    ("REDUCE_PROD", Own(|c| reduce(c, "Prod"))),
    ("RELU", Same("Relu")),
    ("RELU6", Same("Relu6")),
    ("RELU_0_TO_1", Own(|c| clip(c, 0.0))),
    ("RELU_N1_TO_1", Own(|c| clip(c, -1.0))),
    ("ROUND", Same("Round")),
    ("RSQRT", Same("Rsqrt")),
    ("SELECT", Same("Select")),
    ("SELECT_V2", Same("SelectV2")),
    ("SIGN", Same("Sign")),
    ("SIN", Same("Sin")),
    (
        "SOFTMAX",
        Own(|c| {
            let (mut x, beta) = (c.x(0)?, c.float(0)?);
            if beta != 1.0 {
                let beta = c.maker.float(beta)?;
                x = c.node("Mul", vec![x, beta], vec![]);
            }
            c.done("Softmax", vec![x], vec![])
        }),
    ),
    ("SQRT", Same("Sqrt")),
    ("SQUARE", Same("Square")),
    ("SQUARED_DIFFERENCE", Same("SquaredDifference")),
    ("SUB", Own(|c| fused(c, "Sub"))),
    ("SUM", Own(|c| reduce(c, "Sum"))),
    ("TANH", Same("Tanh")),
    (
        "TOPK_V2",
        Own(|c| {
            let inputs = c.all()?;
            let node = c.node("TopKV2", inputs, vec![]);
            c.several(node, 2)
        }),
    ),
];

/// An activation may follow.
fn fused(c: &mut Call<'_, '_, '_>, op: &str) -> Made {
    let inputs = c.all()?;
    let y = c.node(op, inputs, vec![]);
    c.activated(y, 0)
}

fn clip(c: &mut Call<'_, '_, '_>, low: f32) -> Made {
    let x = c.x(0)?;
    Ok(vec![c.clipped(x, low, 1.0)?])
}

fn cast(c: &mut Call<'_, '_, '_>) -> Made {
    if c.tensor(0)?.quantization.is_some() && c.kind(0)? == TfType(1) && c.tensor(0)?.kind != 0 {
        return Err("it takes whole numbers as they are that stand for floats; dequantize them first".into());
    }
    let to = c.result()?;
    c.same("Cast", vec![("DstT", TfAttribute::Type(to))])
}

fn reduce(c: &mut Call<'_, '_, '_>, op: &str) -> Made {
    let keep = TfAttribute::Bool(c.flag(0)?);
    c.same(op, vec![("keep_dims", keep)])
}

fn arg(c: &mut Call<'_, '_, '_>, op: &str) -> Made {
    let to = c.result()?;
    c.same(op, vec![("output_type", TfAttribute::Type(to))])
}
