//! Lists and optional values.

use std::rc::Rc;

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
        let items = list(c, 0)?.clone();
        let at = place(c, 1, items.len())?;
        items.get(at).cloned().map(|i| vec![i]).ok_or_else(|| format!("the sequence has no element {at}"))
    }),
    many("SequenceConstruct", |c| {
        let items = (0..c.inputs.len()).map(|i| element(c.item(i)?)).collect::<Result<_, _>>()?;
        Ok(vec![Item::Sequence(Rc::new(items))])
    }),
    many("SequenceEmpty", |_| Ok(vec![Item::Sequence(Rc::default())])),
    many("SequenceErase", |c| {
        let mut items = copied(c)?;
        let last = items.len().saturating_sub(1);
        let at = if c.has(1) { place(c, 1, items.len())? } else { last };
        if at >= items.len() {
            return Err(format!("the sequence has no element {at}"));
        }
        items.remove(at);
        Ok(vec![Item::Sequence(Rc::new(items))])
    }),
    many("SequenceInsert", |c| {
        let mut items = copied(c)?;
        let at = if c.has(2) { place(c, 2, items.len())? } else { items.len() };
        if at > items.len() {
            return Err(format!("the sequence has {} elements, cannot insert at {at}", items.len()));
        }
        items.insert(at, element(c.item(1)?)?);
        Ok(vec![Item::Sequence(Rc::new(items))])
    }),
    one("SequenceLength", |c| {
        let n = list(c, 0)?.len();
        c.make_ints([0; 0], vec![n as i64])
    }),
    many("SequenceMap", map),
    many("SplitToSequence", split),
];

fn list<'c, 'g>(c: &'c Call<'_, 'g>, i: usize) -> Result<&'c Rc<Vec<Item<'g>>>, String> {
    match c.item(i)? {
        Item::Sequence(items) => Ok(items),
        _ => Err(format!("operand {i}: expected a sequence")),
    }
}

/// What may stand in a list, in which there are no lists.
fn element<'g>(item: &Item<'g>) -> Result<Item<'g>, String> {
    match item {
        Item::Tensor(_) | Item::Texts(..) => Ok(item.clone()),
        Item::Sequence(_) => Err("a sequence of sequences; it may hold tensors".into()),
        Item::Nothing => Err("a sequence with an empty optional in it; it may hold tensors".into()),
    }
}

/// Takes the steps of going through the first operand, a list.
fn walked<'c, 'g>(c: &'c Call<'_, 'g>) -> Result<&'c [Item<'g>], String> {
    const PER_STEP: usize = 64;
    let items = list(c, 0)?;
    c.spend(items.len() / PER_STEP)?;
    Ok(items)
}

/// The first operand, a list that is to be changed.
fn copied<'g>(c: &Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    walked(c).map(<[_]>::to_vec)
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
    let vars: Vec<Var<'g>> = walked(c)?.iter().cloned().map(tensor).collect::<Result<_, _>>()?;
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
    // Each part is cut out, and perhaps laid out anew.
    let (parts, single) = match c.optional(1)? {
        None => {
            c.afford(2 * size)?;
            (vec![1; size], true)
        }
        Some(given) => {
            let list = crate::call::sizes(c.known_ints(1)?)?;
            match (given.rank(), &list[..]) {
                (0, &[each]) if each > 0 => {
                    c.afford(2 * size.div_ceil(each))?;
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
    Ok(vec![Item::Sequence(Rc::new(pieces.into_iter().map(Item::from).collect()))])
}

fn map<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let body = c.graph("body")?;
    let length = list(c, 0)?.len();
    let all: Vec<Item<'g>> = (0..c.inputs.len()).map(|i| c.item(i).cloned()).collect::<Result<_, _>>()?;
    let mut results = vec![Vec::new(); body.outputs.len()];
    for i in 0..length {
        let own = |item: &Item<'g>| match item {
            Item::Sequence(items) => items.get(i).cloned(),
            other => Some(other.clone()),
        };
        let outputs = record_inner(c, body, all.iter().map(own).collect())?;
        for (result, output) in results.iter_mut().zip(&outputs) {
            result.push(element(output)?);
        }
    }
    Ok(results.into_iter().map(|items| Item::Sequence(Rc::new(items))).collect())
}
