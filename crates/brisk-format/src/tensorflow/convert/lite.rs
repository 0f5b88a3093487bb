//! Operators that TensorFlow Lite has and TensorFlow has not, by names of their own.

use brisk_onnx::{Attribute, Elem};

use super::super::TfType;
use super::call::{Call, Made, Run};
use super::value::Value;
use crate::onnx::emit::text;

pub(super) const OPS: &[(&str, Run)] = &[
    ("DequantizeLinear", |c| {
        let (x, scale, zero) = (c.x(0)?, c.x(1)?, c.x(2)?);
        c.done("DequantizeLinear", &[&x, &scale, &zero], vec![])
    }),
    ("Gelu", |c| {
        let (x, approximate) = (c.x(0)?, if c.flag("approximate", false)? { "tanh" } else { "none" });
        c.done("Gelu", &[&x], vec![("approximate", text(approximate))])
    }),
    ("HardSwish", |c| c.same("HardSwish")),
    ("PRelu", |c| c.same("PRelu")),
    ("QuantizeLinear", |c| {
        let (x, scale, zero) = (c.x(0)?, c.x(1)?, c.x(2)?);
        let to = c.elem("T", TfType::default())?;
        c.done("QuantizeLinear", &[&x, &scale, &zero], vec![("output_dtype", Attribute::Int(to as i64))])
    }),
    ("SequenceLSTM", lstm),
];

/// Gates in TensorFlow Lite's order (input, forget, cell, output), each with weights `[units, ...]`.
struct Gates {
    weights: [String; 4],
    recurrent: [String; 4],
    bias: [String; 4],
}

/// The operands are a sequence, then weights, recurrent weights and biases.
fn lstm(c: &mut Call<'_, '_>) -> Made {
    let four = |c: &Call<'_, '_>, first: usize| -> Result<[String; 4], String> {
        Ok([c.x(first)?, c.x(first + 1)?, c.x(first + 2)?, c.x(first + 3)?])
    };
    let gates = Gates { weights: four(c, 1)?, recurrent: four(c, 5)?, bias: four(c, 9)? };
    let (mut x, time_first) = (c.x(0)?, c.flag("time_major", false)?);
    let turned = || vec![("perm", Attribute::Ints(vec![1, 0, 2]))];
    if !time_first {
        x = c.emit("Transpose", &[&x], turned())?;
    }
    let clip = c.float("cell_clip", 0.0)?;
    let mut y = if clip > 0.0 { clipped(c, &x, gates, clip)? } else { whole(c, &x, gates)? };
    if !time_first {
        y = c.emit("Transpose", &[&y], turned())?;
    }
    Ok(vec![Value::of(y)])
}

/// The gates one below the other, in ONNX's order (input, output, forget, cell).
fn joined(c: &mut Call<'_, '_>, [i, f, g, o]: &[String; 4]) -> Result<String, String> {
    c.emit("Concat", &[i, o, f, g], vec![("axis", Attribute::Int(0))])
}

fn whole(c: &mut Call<'_, '_>, x: &str, gates: Gates) -> Result<String, String> {
    let [w, r, b] = [joined(c, &gates.weights)?, joined(c, &gates.recurrent)?, joined(c, &gates.bias)?];
    // The other biases, of the recurrent product.
    let zeros = c.emit("Sub", &[&b, &b], vec![])?;
    let b = c.emit("Concat", &[&b, &zeros], vec![("axis", Attribute::Int(0))])?;
    let direction = c.list(&[0])?;
    let mut operands = Vec::new();
    for part in [w, r, b] {
        operands.push(c.emit("Unsqueeze", &[&part, &direction], vec![])?);
    }
    let [w, r, b] = &operands[..] else { return Err("expected three operands".into()) };
    let units = c.int("units", 0)?;
    let y = c.emit("LSTM", &[x, w, r, b], vec![("hidden_size", Attribute::Int(units))])?;
    let direction = c.list(&[1])?;
    c.emit("Squeeze", &[&y, &direction], vec![])
}

/// Cells that are cut off at a number, step by step.
fn clipped(c: &mut Call<'_, '_>, x: &str, gates: Gates, clip: f32) -> Result<String, String> {
    let [w, r, b] = [joined(c, &gates.weights)?, joined(c, &gates.recurrent)?, joined(c, &gates.bias)?];
    let turned = || vec![("perm", Attribute::Ints(vec![1, 0]))];
    let (w, r) = (c.emit("Transpose", &[&w], turned())?, c.emit("Transpose", &[&r], turned())?);
    let x = c.emit("MatMul", &[x, &w], vec![])?;
    let x = c.emit("Add", &[&x, &b], vec![])?;
    let (low, high) =
        (c.walk.emit.scalar(Elem::Float, (-clip).into())?, c.walk.emit.scalar(Elem::Float, clip.into())?);
    let first = c.walk.emit.ints(&[], &[0])?;
    let first = c.emit("Gather", &[&x, &first], vec![])?;
    let [part, ..] = parted(c, &first)?;
    let zeros = c.emit("Sub", &[&part, &part], vec![])?;
    let inputs = ["h", "c", "x"].map(|name| c.walk.emit.unique(name));
    let [h, cell, step] = &inputs;
    c.walk.emit.open();
    let z = c.emit("MatMul", &[h, &r], vec![])?;
    let z = c.emit("Add", &[&z, step], vec![])?;
    let [i, o, f, g] = parted(c, &z)?;
    let [i, o, f] = [
        c.emit("Sigmoid", &[&i], vec![])?,
        c.emit("Sigmoid", &[&o], vec![])?,
        c.emit("Sigmoid", &[&f], vec![])?,
    ];
    let g = c.emit("Tanh", &[&g], vec![])?;
    let (kept, new) = (c.emit("Mul", &[&f, cell], vec![])?, c.emit("Mul", &[&i, &g], vec![])?);
    let cell = c.emit("Add", &[&kept, &new], vec![])?;
    let cell = c.emit("Clip", &[&cell, &low, &high], vec![])?;
    let seen = c.emit("Tanh", &[&cell], vec![])?;
    let h = c.emit("Mul", &[&o, &seen], vec![])?;
    let result = c.emit("Identity", &[&h], vec![])?;
    let body = c.walk.emit.close(inputs.to_vec(), vec![h, cell, result]);
    let attributes = vec![("body", Attribute::Graph(Box::new(body))), ("num_scan_inputs", Attribute::Int(1))];
    let made = c.walk.emit.call(&c.node.name, "Scan", &[&zeros, &zeros, &x], attributes, 3)?;
    made.into_iter().nth(2).ok_or_else(|| "it has no result".into())
}

/// The four gates of a row.
fn parted(c: &mut Call<'_, '_>, x: &str) -> Result<[String; 4], String> {
    let attributes = vec![("axis", Attribute::Int(-1)), ("num_outputs", Attribute::Int(4))];
    let made = c.walk.emit.call(&c.node.name, "Split", &[x], attributes, 4)?;
    made.try_into().map_err(|_| "it has no four gates".into())
}
