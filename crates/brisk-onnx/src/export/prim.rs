//! What each primitive is in ONNX.

use brisk_graph::prim::{Binary, Compare, Reduce, Unary};
use brisk_graph::{DType, Id, Node, Op, Prim};

use super::constant;
use super::emit::{Body, Val, elem, ints};
use super::maps;
use super::movement;
use super::size::Size;
use super::walk::Walk;
use crate::{Attribute, Elem};

/// Writes a node. Those that only gradients have are an error.
pub(super) fn write(w: &mut Walk<'_>, id: Id, node: &Node, prim: &Prim) -> Result<Val, String> {
    match prim {
        Prim::Input(..) => Err("an input".into()),
        Prim::Constant(_) => constant::tensor(w, id),
        Prim::Fill(_, _, dtype) => constant::fill(w, id, *dtype),
        Prim::Iota(axis, _, dtype) => {
            let size = w.size(id, |n| n.shape.get(*axis).copied())?;
            let range = w.e.range(&size)?;
            let range = w.e.cast(&range, elem(*dtype));
            let ones = vec![Size::from(1); node.shape.rank().saturating_sub(axis + 1)];
            w.e.reshaped(&range, &[vec![size], ones].concat())
        }
        Prim::Unary(op) => unary(w, id, *op),
        Prim::Binary(op) => binary(w, id, node, *op),
        Prim::Compare(op) => compare(w, id, *op),
        Prim::Select => {
            let condition = w.operand(id, 0)?;
            let (mut a, mut b) = (w.operand(id, 1)?, w.operand(id, 2)?);
            if a.elem != b.elem {
                (a, b) = (w.e.cast(&a, elem(node.dtype)), w.e.cast(&b, elem(node.dtype)));
            }
            let condition = w.e.truth(&condition);
            let kind = a.elem;
            w.e.elementwise("Where", &[condition, a, b], vec![], kind)
        }
        Prim::Cast(dtype) => cast(w, id, *dtype),
        Prim::Reshape(_) => movement::reshape(w, id),
        Prim::Broadcast(_) => w.operand(id, 0),
        Prim::Transpose(perm) => movement::transpose(w, id, perm),
        Prim::Slice { step, .. } => movement::slice(w, id, step),
        Prim::Pad { inner, value, .. } => movement::pad(w, id, inner, value.0),
        Prim::Concat(axis) => movement::concat(w, id, *axis),
        Prim::Reverse(axes) => movement::reverse(w, id, axes),
        Prim::Reduce(op, axes) => reduce(w, id, *op, axes),
        Prim::ArgMax(axis) => {
            let x = w.number_operand(id, 0)?;
            let name = w.e.name(&x);
            let attrs = vec![("axis", Attribute::Int(*axis as i64)), ("keepdims", Attribute::Int(0))];
            let name = w.e.one("ArgMax", vec![name], attrs);
            let found = Val::made(name, w.dims(id)?, Elem::Int64);
            Ok(w.e.cast(&found, Elem::Int32))
        }
        Prim::Take => {
            let (table, rows) = (w.full_operand(id, 0)?, w.full_operand(id, 1)?);
            let inputs = vec![w.e.name(&table), w.e.name(&rows)];
            let name = w.e.one("Gather", inputs, vec![("axis", Attribute::Int(0))]);
            Ok(Val::made(name, w.dims(id)?, table.elem))
        }
        Prim::ScatterAdd(_) => scatter_add(w, id),
        Prim::MatMul { ta, tb } => matmul(w, id, *ta, *tb),
        Prim::Conv(conv) => maps::conv(w, id, conv),
        Prim::ConvGradInput(conv, _) => maps::conv_transpose(w, id, conv),
        Prim::MaxPool(window) => maps::max_pool(w, id, window),
        Prim::SumPool(window) => maps::sum_pool(w, id, window),
        Prim::ConvGradKernel(..)
        | Prim::MaxPoolIndex(_)
        | Prim::MaxPoolGrad(..)
        | Prim::MaxPoolTake(_)
        | Prim::SumPoolGrad(..) => Err("it is part of a gradient, for which ONNX has no operator; export a prediction".into()),
        Prim::Random(..) => {
            Err("it draws random numbers that follow from a key, for which ONNX has no operator; export a prediction".into())
        }
    }
}

fn unary(w: &mut Walk<'_>, id: Id, op: Unary) -> Result<Val, String> {
    let x = w.operand(id, 0)?;
    let kind = x.elem;
    let name = match op {
        Unary::Neg => "Neg",
        Unary::Abs => "Abs",
        Unary::Sign => "Sign",
        Unary::Exp => "Exp",
        Unary::Log => "Log",
        Unary::Sqrt => "Sqrt",
        Unary::Rsqrt => {
            let root = w.e.elementwise("Sqrt", &[x], vec![], kind)?;
            return w.e.elementwise("Reciprocal", &[root], vec![], kind);
        }
        Unary::Tanh => "Tanh",
        Unary::Erf => "Erf",
        Unary::Floor => "Floor",
        Unary::Sin => "Sin",
        Unary::Cos => "Cos",
        Unary::RoundBits { digits, lowest } => {
            let narrow = [Elem::Float16, Elem::Bfloat16]
                .into_iter()
                .find(|e| e.format().is_some_and(|f| (f.digits, f.lowest) == (digits, lowest)));
            let Some(narrow) = narrow else {
                return Err(format!("rounding to {digits} binary digits is not part of ONNX"));
            };
            let narrow = w.e.cast(&x, narrow);
            return Ok(w.e.cast(&narrow, kind));
        }
    };
    w.e.elementwise(name, &[x], vec![], kind)
}

fn binary(w: &mut Walk<'_>, id: Id, node: &Node, op: Binary) -> Result<Val, String> {
    if op == Binary::Add
        && let Some(val) = maps::with_bias(w, id)?
    {
        return Ok(val);
    }
    let (a, b) = (w.operand(id, 0)?, w.operand(id, 1)?);
    let name = match op {
        Binary::Add => "Add",
        Binary::Sub => "Sub",
        Binary::Mul => "Mul",
        Binary::Div => "Div",
        Binary::Max => "Max",
        Binary::Min => "Min",
        Binary::Pow => "Pow",
        Binary::And => "BitwiseAnd",
        Binary::Or => "BitwiseOr",
        Binary::Xor => "BitwiseXor",
        Binary::Shl => return shift(w, node, &a, &b, false),
        Binary::Shr => return shift(w, node, &a, &b, true),
    };
    let (a, b) = (w.e.arithmetic(&a), w.e.arithmetic(&b));
    let kind = a.elem;
    let y = w.e.elementwise(name, &[a, b], vec![], kind)?;
    Ok(w.e.cast(&y, elem(node.dtype)))
}

/// ONNX shifts numbers without a sign only.
fn shift(w: &mut Walk<'_>, node: &Node, a: &Val, b: &Val, right: bool) -> Result<Val, String> {
    let bits = 8 * node.dtype.size() as i64;
    let [a, b] = [a, b].map(|v| w.e.cast(v, Elem::Int64));
    let number = |w: &mut Walk<'_>, n: i64| w.e.scalar(n as f64, DType::I64);
    let (zero, ones, last) = (number(w, 0)?, number(w, -1)?, number(w, bits - 1)?);
    let two = |w: &mut Walk<'_>, op: &str, a: &Val, b: &Val, kind: Elem| {
        w.e.elementwise(op, &[a.clone(), b.clone()], vec![], kind)
    };
    let by = two(w, "Min", &b, &last, Elem::Int64)?;
    // A negative number with all its bits turned has none.
    let sign = two(w, "Less", &a, &zero, Elem::Bool)?;
    let sign = w.e.elementwise("Where", &[sign, ones, zero.clone()], vec![], Elem::Int64)?;
    let bits = if right { two(w, "BitwiseXor", &a, &sign, Elem::Int64)? } else { a };
    let [bits, by] = [bits, by].map(|v| w.e.cast(&v, Elem::Uint64));
    let direction = Attribute::String(if right { "RIGHT" } else { "LEFT" }.into());
    let moved = w.e.elementwise("BitShift", &[bits, by], vec![("direction", direction)], Elem::Uint64)?;
    let moved = w.e.cast(&moved, Elem::Int64);
    let y = match right {
        true => two(w, "BitwiseXor", &moved, &sign, Elem::Int64)?,
        false => {
            let all = two(w, "Less", &last, &b, Elem::Bool)?;
            w.e.elementwise("Where", &[all, zero, moved], vec![], Elem::Int64)?
        }
    };
    Ok(w.e.cast(&y, elem(node.dtype)))
}

fn compare(w: &mut Walk<'_>, id: Id, op: Compare) -> Result<Val, String> {
    let (a, b) = (w.operand(id, 0)?, w.operand(id, 1)?);
    let (a, b) = (w.e.arithmetic(&a), w.e.arithmetic(&b));
    let name = match op {
        Compare::Less => "Less",
        Compare::LessEqual => "LessOrEqual",
        Compare::Equal => "Equal",
    };
    w.e.elementwise(name, &[a, b], vec![], Elem::Bool)
}

fn cast(w: &mut Walk<'_>, id: Id, dtype: DType) -> Result<Val, String> {
    let x = w.operand(id, 0)?;
    match (x.elem, dtype) {
        // Truth values are bytes already.
        (Elem::Bool, DType::U8) => Ok(x),
        (Elem::Bool | Elem::Uint8, _) => Ok(w.e.cast(&x, elem(dtype))),
        (kind, DType::U8) => {
            let from = w.node(w.input(id, 0)?).dtype;
            let (low, high) = (w.e.scalar(0.0, from)?, w.e.scalar(255.0, from)?);
            let x = w.e.elementwise("Max", &[x, low], vec![], kind)?;
            let x = w.e.elementwise("Min", &[x, high], vec![], kind)?;
            Ok(w.e.cast(&x, Elem::Uint8))
        }
        _ => Ok(w.e.cast(&x, elem(dtype))),
    }
}

fn reduce(w: &mut Walk<'_>, id: Id, op: Reduce, axes: &[usize]) -> Result<Val, String> {
    let input = w.input(id, 0)?;
    let (x, dims) = (w.val(input)?, w.dims(input)?);
    let last = dims.len().saturating_sub(1);
    // What is left must stand in the same order.
    let stays = |x: &Val| x.turned && (axes.contains(&last) || (1..last).all(|a| axes.contains(&a)));
    let x = if stays(&x) && x.dims == dims { x } else { w.e.full(&x, &dims)? };
    let x = w.e.arithmetic(&x);
    let name = match op {
        Reduce::Sum => "ReduceSum",
        Reduce::Max => "ReduceMax",
        Reduce::Min => "ReduceMin",
    };
    if axes.is_empty() {
        return Ok(w.e.cast(&x, elem(w.node(id).dtype)));
    }
    let axes = maps::places(&x, axes);
    let inputs = vec![w.e.name(&x), w.e.list(axes.into_iter().map(|a| a as i64))?];
    let name = w.e.one(name, inputs, vec![("keepdims", Attribute::Int(0))]);
    let y = Val::made(name, w.dims(id)?, x.elem);
    Ok(w.e.cast(&y, elem(w.node(id).dtype)))
}

fn scatter_add(w: &mut Walk<'_>, id: Id) -> Result<Val, String> {
    let (index, updates) = (w.full_operand(id, 0)?, w.full_operand(id, 1)?);
    let dims = w.dims(id)?;
    let zero = w.e.scalar(0.0, w.node(id).dtype)?;
    let zeros = w.e.full(&zero, &dims)?;
    let index = w.e.cast(&index, Elem::Int64);
    let index = w.e.reshaped(&index, &[index.dims.clone(), vec![Size::from(1)]].concat())?;
    let inputs = [&zeros, &index, &updates].map(|v| w.e.name(v)).to_vec();
    let name = w.e.one("ScatterND", inputs, vec![("reduction", Attribute::String("add".into()))]);
    Ok(Val::made(name, dims, updates.elem))
}

fn matmul(w: &mut Walk<'_>, id: Id, ta: bool, tb: bool) -> Result<Val, String> {
    let dims = w.dims(id)?;
    if !ta
        && !tb
        && dims.len() == 2
        && let Some(val) = unflattened(w, id)?
    {
        return Ok(val);
    }
    let (a, b) = (w.full_operand(id, 0)?, w.full_operand(id, 1)?);
    let kind = a.elem;
    if dims.len() == 2 && (ta || tb) {
        let inputs = vec![w.e.name(&a), w.e.name(&b)];
        let flag = |on: bool| Attribute::Int(on.into());
        let name = w.e.one("Gemm", inputs, vec![("transA", flag(ta)), ("transB", flag(tb))]);
        return Ok(Val::made(name, dims, kind));
    }
    let mut inputs = Vec::new();
    for (val, turned) in [(a, ta), (b, tb)] {
        let name = w.e.name(&val);
        inputs.push(match turned {
            true => {
                let mut perm: Vec<usize> = (0..val.rank()).collect();
                perm.swap(val.rank() - 1, val.rank() - 2);
                w.e.one("Transpose", vec![name], vec![("perm", ints(perm))])
            }
            false => name,
        });
    }
    let name = w.e.one("MatMul", inputs, vec![]);
    Ok(Val::made(name, dims, kind))
}

/// A product of rows that were axes before, and become those again: ONNX's takes them as they are.
fn unflattened(w: &mut Walk<'_>, id: Id) -> Result<Option<Val>, String> {
    let graph = w.sampled.graph();
    let rows = w.input(id, 0)?;
    let Op::Prim(Prim::Reshape(_)) = w.node(rows).op else { return Ok(None) };
    let from = w.input(rows, 0)?;
    let reader = graph.nodes.iter().position(|n| n.inputs.contains(&id));
    let Some(after) = reader.filter(|_| w.read_once(id)).and_then(|r| u32::try_from(r).ok()).map(Id) else {
        return Ok(None);
    };
    let Op::Prim(Prim::Reshape(_)) = w.node(after).op else { return Ok(None) };
    let (before, wanted, inner) = (w.dims(from)?, w.dims(after)?, w.dims(rows)?);
    let same = before.len() == wanted.len()
        && before.len() > 2
        && before[..before.len() - 1] == wanted[..wanted.len() - 1]
        && before.last() == inner.last();
    if !same {
        return Ok(None);
    }
    let val = w.val(from)?;
    let x = w.e.full(&val, &before)?;
    let kernel = w.full_operand(id, 1)?;
    let inputs = vec![w.e.name(&x), w.e.name(&kernel)];
    let name = w.e.one("MatMul", inputs, vec![]);
    Ok(Some(Val { body: Body::Made(name), dims: wanted, elem: x.elem, turned: false }))
}
