//! Lists and optional values.

use brisk_graph::DType;

use super::{Operator, many, one};
use crate::call::{Call, axis};
use crate::record::record_inner;
use crate::{Elem, Item, Var};

pub(super) const OPS: &[Operator] = &[
    one("ConcatFromSequence", concat),
    many("Optional", |c| Ok(vec![if c.has(0) { c.item(0)?.clone() } else { Item::Nothing }])),
    many("OptionalGetElement", |c| match c.item(0)? {
        Item::Nothing => Err("the optional is empty".into()),
        item => Ok(vec![item.clone()]),
    }),
    one("OptionalHasElement", |c| {
        let there = c.has(0) && !matches!(c.item(0)?, Item::Nothing);
        Ok(Var::new(Elem::Bool, c.b.fill_as(there.into(), [0; 0], DType::U8)))
    }),
    many("SequenceAt", |c| {
        let items = list(c, 0)?;
        let at = place(c, 1, items.len())?;
        items.get(at).cloned().map(|i| vec![i]).ok_or_else(|| format!("the sequence has no element {at}"))
    }),
    many("SequenceConstruct", |c| {
        let items = (0..c.inputs.len()).map(|i| c.item(i).cloned()).collect::<Result<_, _>>()?;
        Ok(vec![Item::Sequence(items)])
    }),
    many("SequenceEmpty", |_| Ok(vec![Item::Sequence(Vec::new())])),
    many("SequenceErase", |c| {
        let mut items = list(c, 0)?;
        let last = items.len().saturating_sub(1);
        let at = if c.has(1) { place(c, 1, items.len())? } else { last };
        if at >= items.len() {
            return Err(format!("the sequence has no element {at}"));
        }
        items.remove(at);
        Ok(vec![Item::Sequence(items)])
    }),
    many("SequenceInsert", |c| {
        let mut items = list(c, 0)?;
        let at = if c.has(2) { place(c, 2, items.len())? } else { items.len() };
        if at > items.len() {
            return Err(format!("the sequence has {} elements, cannot insert at {at}", items.len()));
        }
        items.insert(at, c.item(1)?.clone());
        Ok(vec![Item::Sequence(items)])
    }),
    one("SequenceLength", |c| {
        let n = list(c, 0)?.len();
        c.make_ints([0; 0], vec![n as i64])
    }),
    many("SequenceMap", map),
    many("SplitToSequence", split),
];

fn list<'g>(c: &Call<'_, 'g>, i: usize) -> Result<Vec<Item<'g>>, String> {
    match c.item(i)? {
        Item::Sequence(items) => Ok(items.clone()),
        _ => Err(format!("operand {i}: expected a sequence")),
    }
}

/// A place in a list, which may be counted from the end.
fn place(c: &mut Call<'_, '_>, i: usize, length: usize) -> Result<usize, String> {
    let at = c.known_ints(i)?.first().copied().ok_or("expected a place")?;
    let from_front = if at < 0 { at + length as i64 } else { at };
    usize::try_from(from_front).map_err(|_| format!("the sequence has no element {at}"))
}

fn concat<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let tensor = |item| match item {
        Item::Tensor(v) => Ok(v),
        _ => Err("expected a sequence of tensors".to_string()),
    };
    let vars: Vec<Var<'g>> = list(c, 0)?.into_iter().map(tensor).collect::<Result<_, _>>()?;
    let new = c.flag("new_axis", false)?;
    let rank = vars.first().map_or(0, Var::rank);
    let at = axis(c.int("axis", 0)?, rank + usize::from(new))?;
    let vars: Vec<Var<'g>> = match new {
        true => vars.iter().map(|v| Var::new(v.elem, v.value().expand(at))).collect(),
        false => vars,
    };
    super::movement::join(c, &vars, at)
}

fn split<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let x = c.var(0)?;
    let at = axis(c.int("axis", 0)?, x.rank())?;
    let size = x.shape()[at];
    let keep = c.flag("keepdims", true)?;
    let (parts, single) = match c.optional(1)? {
        None => (vec![1; size], true),
        Some(given) => {
            let list = crate::call::sizes(c.known_ints(1)?)?;
            match (given.rank(), &list[..]) {
                (0, &[each]) if each > 0 => {
                    ((0..size.div_ceil(each)).map(|i| each.min(size - i * each)).collect(), false)
                }
                _ => (list, false),
            }
        }
    };
    if parts.iter().sum::<usize>() != size {
        return Err(format!("parts {parts:?} do not make up {size}"));
    }
    let mut pieces = super::movement::pieces(&x, at, &parts);
    if single && !keep {
        let mut dims = x.shape().to_vec();
        dims.remove(at);
        pieces = pieces.iter().map(|v| Var::new(v.elem, v.value().reshape(&dims[..]))).collect();
    }
    Ok(vec![Item::Sequence(pieces.into_iter().map(Item::from).collect())])
}

fn map<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let body = c.graph("body")?.clone();
    let length = list(c, 0)?.len();
    let all: Vec<Item<'g>> = (0..c.inputs.len()).map(|i| c.item(i).cloned()).collect::<Result<_, _>>()?;
    let mut results = vec![Vec::new(); body.outputs.len()];
    for i in 0..length {
        let own = |item: &Item<'g>| match item {
            Item::Sequence(items) => items.get(i).cloned(),
            other => Some(other.clone()),
        };
        let outputs = record_inner(c, &body, all.iter().map(own).collect())?;
        results.iter_mut().zip(outputs).for_each(|(r, o)| r.push(o));
    }
    Ok(results.into_iter().map(Item::Sequence).collect())
}
