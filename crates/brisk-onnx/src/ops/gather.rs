//! Elements by index.

use brisk_graph::prim::{Binary, Prim};
use brisk_graph::{DType, Shape, Tensor, Value};

use super::{Operator, many, one};
use crate::call::{Call, axis};
use crate::{Elem, Item, Var};

pub(super) const OPS: &[Operator] = &[
    many("Gather", gather),
    one("GatherElements", |c| {
        let (x, index) = (c.var(0)?, c.var(1)?);
        let at = axis(c.int("axis", 0)?, x.rank())?;
        gather_along(&x, at, index.value().cast(DType::I64))
    }),
    one("GatherND", gather_nd),
    one("OneHot", one_hot),
    one("Scatter", scatter_elements),
    one("ScatterElements", scatter_elements),
    one("ScatterND", scatter_nd),
    one("TensorScatter", tensor_scatter),
];

/// Indices that may be counted from the end, as i32.
fn from_front<'g>(index: &Var<'g>, size: usize) -> Value<'g> {
    let index = index.value();
    let wide = if index.dtype() == DType::I32 { index } else { index.cast(DType::I64) };
    let own = wide.less(0.0).select(wide + size as f64, wide);
    // What is outside stays outside as an i32.
    let own = if own.dtype() == DType::I64 { own.max(-1.0).min(size as f64) } else { own };
    own.cast(DType::I32)
}

/// Indices (i64) along an axis that may be counted from the end, from the front; and whether each is outside.
fn placed<'g>(index: Value<'g>, size: usize) -> (Value<'g>, Value<'g>) {
    let own = index.less(0.0).select(index + size as f64, index);
    (own, own.less(0.0).max(own.less(size as f64).equal(0.0)))
}

/// Numbers of rows (i64) as i32, where those outside are -1, which is the number of none.
fn rows_of<'g>(number: Value<'g>, outside: Value<'g>) -> Value<'g> {
    let none = number.builder().fill_as(-1.0, number.shape(), DType::I64);
    outside.select(none, number).cast(DType::I32)
}

/// Refuses a table of more rows than there are indices.
fn countable(rows: usize) -> Result<(), String> {
    match i32::try_from(rows) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("a table of {rows} places is too large for indices")),
    }
}

/// Rows of an axis at indices that are known now.
pub fn take_along<'g>(
    c: &Call<'_, 'g>,
    v: Value<'g>,
    at: usize,
    index: Vec<i32>,
) -> Result<Value<'g>, String> {
    let index = c.constant(Tensor::new([index.len()], index))?;
    if at == 0 {
        return Ok(v.take(index));
    }
    let mut perm: Vec<usize> = (0..v.rank()).collect();
    perm.swap(0, at);
    Ok(v.transpose(&perm).take(index).transpose(&perm))
}

fn gather<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    if let Item::Texts(..) = c.item(0)? {
        return super::text::gather(c).map(|t| vec![t]);
    }
    let (x, index) = (c.var(0)?, c.var(1)?);
    let at = axis(c.int("axis", 0)?, x.rank())?;
    let shape = x.shape();
    // One known place is a slice, which is a view and keeps samples apart.
    if let Some(known) = index.constant().filter(|t| t.elements() == 1) {
        let i = axis(known.to_f64s()[0] as i64, shape[at])
            .map_err(|_| format!("index {} is out of range for {} rows", known.to_f64s()[0], shape[at]))?;
        let row = x.value().slice(at, i, i + 1);
        let dims = [&shape[..at], &index.shape()[..], &shape[at + 1..]].concat();
        return Ok(vec![Var::new(x.elem, row.reshape(dims)).into()]);
    }
    let flat = from_front(&index, shape[at]);
    // The axis first, and back to its place with the axes of the indices.
    let perm: Vec<usize> = std::iter::once(at).chain((0..x.rank()).filter(|&a| a != at)).collect();
    let taken = x.transposed(&perm).value().take(flat);
    let k = index.rank();
    let back: Vec<usize> = (k..k + at).chain(0..k).chain(k + at..k + x.rank() - 1).collect();
    Ok(vec![Var::new(x.elem, taken.transpose(&back)).into()])
}

/// For every place of the indices (i64) the element of the same place, but along an axis the one that the index says.
pub fn gather_along<'g>(x: &Var<'g>, at: usize, index: Value<'g>) -> Result<Var<'g>, String> {
    let shape = x.shape();
    let to = index.shape();
    if to.rank() != shape.rank() || (0..to.rank()).any(|i| i != at && to[i] > shape[i]) {
        return Err(format!("indices {to} do not fit {shape}"));
    }
    let flat = flat_index(&shape, at, index)?;
    let all = x.value().reshape([shape.elements()]);
    Ok(Var::new(x.elem, all.take(flat)))
}

/// The number in row-major order of the element that an index along an axis means; -1 for one outside.
fn flat_index<'g>(shape: &Shape, at: usize, index: Value<'g>) -> Result<Value<'g>, String> {
    countable(shape.elements())?;
    let (b, to) = (index.builder(), index.shape());
    let strides = shape.strides();
    let (own, outside) = placed(index, shape[at]);
    let start = own * strides[at] as f64;
    let sum = (0..shape.rank())
        .filter(|&a| a != at && to[a] > 1)
        .fold(start, |sum, a| sum + b.iota(a, &to, DType::I64) * strides[a] as f64);
    Ok(rows_of(sum, outside))
}

/// Rows of the axes after the first so many, at indices `[.., k]`, as the numbers (i64) of such rows, and whether each is outside.
fn row_numbers<'g>(index: Value<'g>, sizes: &[usize]) -> (Value<'g>, Value<'g>) {
    let last = index.rank() - 1;
    let strides = Shape::from(sizes).strides();
    let lead = Shape::from(&index.shape()[..last]);
    let zero = |dtype| index.builder().fill_as(0.0, &lead, dtype);
    (0..sizes.len()).fold((zero(DType::I64), zero(DType::U8)), |(sum, outside), i| {
        let own = index.slice(last, i, i + 1).reshape(&lead).cast(DType::I64);
        let (own, beyond) = placed(own, sizes[i]);
        (sum + own * strides[i] as f64, outside.max(beyond))
    })
}

fn gather_nd<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (x, index) = (c.var(0)?, c.var(1)?);
    let batch = usize::try_from(c.int("batch_dims", 0)?).map_err(|_| "batch_dims must be at least 0")?;
    let (shape, to) = (x.shape(), index.shape());
    let k = to.last();
    if to.rank() == 0 || batch + k > shape.rank() || batch >= to.rank() {
        return Err(format!("indices {to} do not fit {shape}"));
    }
    let rows: usize = shape[..batch].iter().product();
    let picked = &shape[batch..batch + k];
    let width = &shape[batch + k..];
    let lead = &to[batch..to.rank() - 1];
    let count: usize = lead.iter().product();
    let (numbers, outside) = row_numbers(index.value().reshape([rows, count, k]), picked);
    let each: usize = picked.iter().product();
    countable(rows * each)?;
    let numbers = numbers + c.b.iota(0, [rows, count], DType::I64) * each as f64;
    let table = x.value().reshape([&[rows * each][..], width].concat());
    let taken = table.take(rows_of(numbers, outside).reshape([rows * count]));
    Ok(Var::new(x.elem, taken.reshape([&to[..to.rank() - 1], width].concat())))
}

/// How updates meet what is there.
#[derive(Clone, Copy, PartialEq)]
enum Meet {
    Replace,
    Add,
    Mul,
    Max,
    Min,
}

fn meet(c: &Call<'_, '_>) -> Result<Meet, String> {
    Ok(match c.text("reduction", "none")? {
        "none" => Meet::Replace,
        "add" => Meet::Add,
        "mul" => Meet::Mul,
        "max" => Meet::Max,
        "min" => Meet::Min,
        other => return Err(format!("attribute reduction: found {other:?}")),
    })
}

/// Rows of a table `[rows, width]` changed at indices `[n]` by updates `[n, width]`.
fn scatter<'g>(
    c: &Call<'_, 'g>,
    elem: Elem,
    table: Value<'g>,
    index: Value<'g>,
    updates: Value<'g>,
    how: Meet,
) -> Result<Value<'g>, String> {
    let (rows, n) = (table.dim(0), index.dim(0));
    let dtype = table.dtype();
    let updates = updates.cast(dtype);
    let added = |v: Value<'g>| c.b.prim(Prim::ScatterAdd(rows), &[index, v]);
    let ones = c.b.fill_as(1.0, [n], DType::F32);
    let touched = added(ones).greater(0.0).reshape([rows, 1]).broadcast_to(table.shape());
    Ok(match how {
        Meet::Add if elem != Elem::Bool => table + added(updates),
        // Bytes are added as whole numbers.
        Meet::Replace | Meet::Add => {
            let wide = if dtype == DType::U8 { DType::I64 } else { dtype };
            touched.select(added(updates.cast(wide)).cast(dtype), table)
        }
        Meet::Mul | Meet::Max | Meet::Min => {
            // One after another: the order of equals does not matter.
            const MOST: usize = 4096;
            if n > MOST {
                return Err(format!("expected at most {MOST} updates with this reduction, found {n}"));
            }
            c.afford(8 * n)?;
            let number = c.b.iota(0, table.shape(), DType::I32);
            let op = match how {
                Meet::Mul => Binary::Mul,
                Meet::Max => Binary::Max,
                _ => Binary::Min,
            };
            (0..n).fold(table, |table, i| {
                let own = index.slice(0, i, i + 1).reshape([1, 1]).broadcast_to(table.shape());
                let update = updates.slice(0, i, i + 1).broadcast_to(table.shape());
                number.equal(own).select(table.binary(op, update), table)
            })
        }
    })
}

fn scatter_elements<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (x, index, updates) = (c.var(0)?, c.var(1)?, c.var(2)?);
    let at = axis(c.int("axis", 0)?, x.rank())?;
    let how = meet(c)?;
    let (shape, to) = (x.shape(), index.shape());
    if to.rank() != shape.rank()
        || updates.shape() != to
        || (0..to.rank()).any(|i| i != at && to[i] > shape[i])
    {
        return Err(format!("indices {to} and updates {} do not fit {shape}", updates.shape()));
    }
    let flat = flat_index(&shape, at, index.value().cast(DType::I64))?.reshape([to.elements()]);
    let table = x.value().reshape([shape.elements(), 1]);
    let updates = updates.value().reshape([to.elements(), 1]);
    let value = scatter(c, x.elem, table, flat, updates, how)?;
    Ok(Var::new(x.elem, value.reshape(shape)))
}

fn scatter_nd<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (x, index, updates) = (c.var(0)?, c.var(1)?, c.var(2)?);
    let how = meet(c)?;
    let (shape, to) = (x.shape(), index.shape());
    let k = to.last();
    if to.rank() == 0 || k > shape.rank() {
        return Err(format!("indices {to} do not fit {shape}"));
    }
    let n: usize = to[..to.rank() - 1].iter().product();
    let (rows, width) = (shape[..k].iter().product::<usize>(), shape[k..].iter().product::<usize>());
    if updates.shape().elements() != n * width {
        return Err(format!("updates {} do not fit indices {to} into {shape}", updates.shape()));
    }
    countable(rows)?;
    let (numbers, outside) = row_numbers(index.value().reshape([n, k]), &shape[..k]);
    let value = scatter(
        c,
        x.elem,
        x.value().reshape([rows, width]),
        rows_of(numbers, outside),
        updates.value().reshape([n, width]),
        how,
    )?;
    Ok(Var::new(x.elem, value.reshape(shape)))
}

/// Writes new steps into a cache, for each sample from a place of its own on.
fn tensor_scatter<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (cache, update) = (c.var(0)?, c.var(1)?);
    let at = axis(c.int("axis", -2)?, cache.rank())?;
    let circular = c.word("mode", &["linear", "circular"])? == "circular";
    let (shape, new) = (cache.shape(), update.shape());
    if new.rank() != shape.rank() {
        return Err(format!("steps {new} do not fit into {shape}"));
    }
    let length = shape[at];
    let mut first = vec![1; cache.rank()];
    first[0] = shape[0];
    let start = match c.optional(2)? {
        Some(places) => places.value().cast(DType::I64).reshape(first).broadcast_to(&new),
        None => c.b.fill_as(0.0, &new, DType::I64),
    };
    let mut place = start + c.b.iota(at, &new, DType::I64);
    if circular {
        let size = c.b.fill_as(length as f64, &new, DType::I64);
        place = place - (place / size) * size;
    }
    c.b.check().map_err(|e| e.to_string())?;
    let flat = flat_index(&shape, at, place)?.reshape([new.elements()]);
    let value = scatter(
        c,
        cache.elem,
        cache.value().reshape([shape.elements(), 1]),
        flat,
        update.value().reshape([new.elements(), 1]),
        Meet::Replace,
    )?;
    Ok(Var::new(cache.elem, value.reshape(shape)))
}

fn one_hot<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (index, values) = (c.var(0)?, c.var(2)?);
    let depth = usize::try_from(c.known_ints(1)?.first().copied().unwrap_or(0))
        .map_err(|_| "depth must be at least 0")?;
    let rank = index.rank() + 1;
    let at = axis(c.int("axis", -1)?, rank)?;
    let shape = index.shape();
    let dims = [&shape[..at], &[depth], &shape[at..]].concat();
    let one = [&shape[..at], &[1], &shape[at..]].concat();
    let own = index.value().cast(DType::I64).reshape(one);
    let own = own.less(0.0).select(own + depth as f64, own).broadcast_to(&dims[..]);
    let hot = c.b.iota(at, &dims[..], DType::I64).equal(own);
    let pair = values.value();
    let [off, on] = [0, 1].map(|i| pair.slice(0, i, i + 1).reshape([0; 0]).broadcast_to(&dims[..]));
    Ok(Var::new(values.elem, hot.select(on, off)))
}
