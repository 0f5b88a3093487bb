//! Tensors and numbers that stand in the graph itself.

use brisk_graph::evaluate::evaluate;
use brisk_graph::{DType, Id, Node, Op, Prim, Tensor};

use super::emit::{Val, elem};
use super::size::Size;
use super::walk::Walk;
use crate::Elem;

/// A tensor that stands in the graph: the same for all sizes, but for rows that repeat, or a part of the one for the longest sequences.
pub(super) fn tensor(w: &mut Walk<'_>, id: Id) -> Result<Val, String> {
    let scope = if w.e.scope.is_empty() { "graph" } else { &w.e.scope };
    let name = format!("{scope}/constant");
    let name = w.e.unique(&name);
    if let Some(Some(tensor)) = w.sampled.same(id, of) {
        return Ok(Val::known(name, tensor));
    }
    let mut dims = w.dims(id)?;
    let tensors: Vec<Tensor> = w.sampled.each(id).filter_map(of).collect();
    let repeats = |&axis: &usize| tensors.iter().all(|t| repeats(t, axis));
    let axes: Vec<usize> = (0..dims.len()).filter(repeats).collect();
    axes.iter().for_each(|&a| dims[a] = 1.into());
    let parts = tensors.iter().map(|t| first(t, &axes)).collect::<Result<Vec<_>, _>>()?;
    if let Some(part) = parts.first().filter(|p| parts.iter().all(|other| other == *p)) {
        return Ok(Val::known(name, part.clone()));
    }
    let grown = grown(w, id, &dims, &parts, &axes);
    let Some((axis, whole)) = grown else {
        return Err("a constant of it differs with the sizes of what comes in; give the model's inputs a fixed length".into());
    };
    let whole = Val::known(name, whole);
    let inputs = vec![w.e.name(&whole), w.e.list([0])?, w.e.size(&dims[axis])?, w.e.list([axis as i64])?];
    let name = w.e.one("Slice", inputs, vec![]);
    Ok(Val::made(name, dims, whole.elem))
}

fn of(node: &Node) -> Option<Tensor> {
    match &node.op {
        Op::Prim(Prim::Constant(tensor)) => Some(tensor.clone()),
        _ => None,
    }
}

/// Whether all that stands along an axis is the same.
fn repeats(tensor: &Tensor, axis: usize) -> bool {
    let (size, inner) = (tensor.shape()[axis], tensor.shape()[axis + 1..].iter().product::<usize>());
    let values = tensor.to_f64s();
    size > 0
        && values
            .chunks((size * inner).max(1))
            .all(|all| all.chunks(inner.max(1)).all(|row| *row == all[..row.len()]))
}

/// What stands first along some axes.
fn first(tensor: &Tensor, axes: &[usize]) -> Result<Tensor, String> {
    let shape = tensor.shape();
    let end = (0..shape.rank()).map(|a| if axes.contains(&a) { 1 } else { shape[a] }).collect();
    let slice = Prim::Slice { start: vec![0; shape.rank()], end, step: vec![1; shape.rank()] };
    evaluate(&slice, std::slice::from_ref(tensor))
}

/// Of a constant that grows along an axis with one free length, each a part of the longer one, that axis and the one for the longest
/// sequences; of axes along which all is the same, what stands first.
fn grown(w: &Walk<'_>, id: Id, dims: &[Size], parts: &[Tensor], axes: &[usize]) -> Option<(usize, Tensor)> {
    let free: Vec<usize> = (0..dims.len()).filter(|&a| dims[a].fixed().is_none()).collect();
    let &[axis] = &free[..] else { return None };
    dims[axis].as_symbol().filter(|&s| s > 0)?;
    let whole = first(&of(w.sampled.longest()?.node(id))?, axes).ok()?;
    let begins = |part: &Tensor| {
        let outer: usize = part.shape()[..axis].iter().product();
        let rows = |t: &Tensor| t.elements() / outer.max(1);
        let (own, all) = (rows(part), rows(&whole));
        let (part, whole) = (part.to_f64s(), whole.to_f64s());
        own <= all && (0..outer).all(|o| part[o * own..(o + 1) * own] == whole[o * all..o * all + own])
    };
    parts.iter().all(begins).then_some((axis, whole))
}

/// One number everywhere; it may be a size, or one divided by a size, as a mean has it.
pub(super) fn fill(w: &mut Walk<'_>, id: Id, dtype: DType) -> Result<Val, String> {
    let value = |node: &Node| match &node.op {
        Op::Prim(Prim::Fill(value, ..)) => Some(value.0),
        _ => None,
    };
    let bits = |node: &Node| value(node).map(f64::to_bits);
    if let Some(Some(bits)) = w.sampled.same(id, bits) {
        return w.e.scalar(f64::from_bits(bits), dtype);
    }
    let values: Vec<f64> = w.sampled.each(id).filter_map(value).collect();
    let whole = |values: Vec<f64>| {
        let near = |v: &f64| (v - v.round()).abs() < 1e-6 * v.abs() && *v >= 1.0;
        values.iter().all(near).then(|| values.iter().map(|v| v.round() as usize).collect::<Vec<_>>())
    };
    for (values, reciprocal) in [(values.clone(), false), (values.iter().map(|v| 1.0 / v).collect(), true)] {
        let Some(size) = whole(values).and_then(|v| Size::fit(&v, &w.symbols)) else { continue };
        let name = w.e.scalar_size(&size)?;
        let number = w.e.cast(&Val::made(name, vec![], Elem::Int64), elem(dtype));
        if !reciprocal {
            return Ok(number);
        }
        return w.e.elementwise("Reciprocal", &[number], vec![], elem(dtype));
    }
    Err(format!(
        "numbers such as {values:?} follow from the sizes of what comes in; give the model's inputs a fixed length"
    ))
}
