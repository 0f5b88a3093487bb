//! Attention over texts of one length, some of whose last rows may belong to none.

use brisk_graph::op::Attrs;
use brisk_graph::prim::Scalar;
use brisk_graph::{DType, Id, Node, Op, Prim};

use super::emit::Val;
use super::movement::permute;
use super::size::Size;
use super::table::Form;
use super::walk::Walk;
use crate::{Attribute, Elem};

/// Rows of texts: those of text `i` are `i * each`, and so many after it.
struct Texts {
    each: Size,
    /// i32 `[texts, 1]`: how many there are; `None` for all.
    lengths: Option<Val>,
}

pub(super) fn write(w: &mut Walk<'_>, id: Id, form: &Form, attrs: &Attrs) -> Result<Val, String> {
    if attrs.get_float("rate") > 0.0 {
        return Err("it drops weights, as training does; export a prediction".into());
    }
    let count = |name| usize::try_from(attrs.get_int(name)).unwrap_or(0).max(1);
    let (heads, kv_heads) = (count("heads"), count("kv_heads"));
    let group = heads / kv_heads;
    let n = w.size(w.input(id, 3)?, |s| s.shape.first().copied())?;
    let (q_texts, k_texts) = (texts(w, id, 0, 3)?, texts(w, id, 1, 4)?);
    let (q, k, v) = (w.full_operand(id, 0)?, w.full_operand(id, 1)?, w.full_operand(id, 2)?);
    let kind = q.elem;
    let last = |w: &Walk<'_>, place: usize| Ok::<_, String>(w.node(w.input(id, place)?).shape.last());
    let (size, value_size) = (last(w, 0)? / heads, last(w, 2)? / kv_heads);
    // [texts, heads, rows, size]; heads of queries that share keys and values stand on an axis of their own.
    let shared = group > 1;
    let own = |each: &Size, heads: &[usize], size: usize| {
        let mut dims = vec![n.clone(), each.clone()];
        dims.extend(heads.iter().map(|&h| h.into()));
        dims.push(size.into());
        dims
    };
    let (q_heads, kv): (Vec<usize>, Vec<usize>) =
        if shared { (vec![kv_heads, group], vec![kv_heads, 1]) } else { (vec![heads], vec![heads]) };
    let order: &[usize] = if shared { &[0, 2, 3, 1, 4] } else { &[0, 2, 1, 3] };
    let turned: &[usize] = if shared { &[0, 2, 3, 4, 1] } else { &[0, 2, 3, 1] };
    let q = w.e.reshaped(&q, &own(&q_texts.each, &q_heads, size))?;
    let k = w.e.reshaped(&k, &own(&k_texts.each, &kv, size))?;
    let v = w.e.reshaped(&v, &own(&k_texts.each, &kv, value_size))?;
    let (q, k, v) = (permute(w, &q, order), permute(w, &k, turned), permute(w, &v, order));
    let scale = w.e.scalar(attrs.get_float("scale"), w.node(id).dtype)?;
    let q = w.e.elementwise("Mul", &[q, scale], vec![], kind)?;
    let product = |w: &mut Walk<'_>, a: &Val, b: &Val, last: Size| {
        let inputs = vec![w.e.name(a), w.e.name(b)];
        let name = w.e.one("MatMul", inputs, vec![]);
        let mut dims = a.dims.clone();
        dims.pop();
        dims.push(last);
        Val::made(name, dims, kind)
    };
    let mut scores = product(w, &q, &k, k_texts.each.clone());
    let seen = seen(w, id, attrs, &n, &q_texts, &k_texts, scores.rank())?;
    if let Some(seen) = &seen {
        let low = w.e.scalar(-1e30, w.node(id).dtype)?;
        scores = w.e.elementwise("Where", &[seen.clone(), scores, low], vec![], kind)?;
    }
    let inputs = vec![w.e.name(&scores)];
    let weights = w.e.one(form.name, inputs, vec![("axis", Attribute::Int(-1))]);
    let weights = Val::made(weights, scores.dims.clone(), kind);
    let mut y = product(w, &weights, &v, value_size.into());
    if let Some(some) = any(w, seen.as_ref(), &n, &q_texts, y.rank())? {
        let some = w.e.cast(&some, kind);
        y = w.e.elementwise("Mul", &[y, some], vec![], kind)?;
    }
    let back: &[usize] = if shared { &[0, 3, 1, 2, 4] } else { &[0, 2, 1, 3] };
    let y = permute(w, &y, back);
    let dims = w.dims(id)?;
    w.e.reshaped(&y, &dims)
}

/// The largest of each column over the rows of each text, 0 for a text without rows.
pub(super) fn segment_max(w: &mut Walk<'_>, id: Id, form: &Form, _: &Attrs) -> Result<Val, String> {
    let texts = texts(w, id, 0, 1)?;
    let (x, dims, dtype) = (w.full_operand(id, 0)?, w.dims(id)?, w.node(id).dtype);
    let [n, columns] = &dims[..] else { return Err("expected rows of columns".into()) };
    let mut x = w.e.reshaped(&x, &[n.clone(), texts.each.clone(), columns.clone()])?;
    if let Some(lengths) = &texts.lengths {
        let inside = inside(w, &texts.each, lengths)?;
        let inside = w.e.reshaped(&inside, &[n.clone(), texts.each.clone(), 1.into()])?;
        let low = w.e.scalar(f32::MIN.into(), dtype)?;
        let kind = x.elem;
        x = w.e.elementwise("Where", &[inside, x, low], vec![], kind)?;
    }
    let inputs = vec![w.e.name(&x), w.e.list([1])?];
    let name = w.e.one(form.name, inputs, vec![("keepdims", Attribute::Int(0))]);
    let largest = Val::made(name, dims, x.elem);
    let Some(lengths) = texts.lengths else { return Ok(largest) };
    let (none, zero) = (w.e.scalar(0.0, DType::I32)?, w.e.scalar(0.0, dtype)?);
    let some = w.e.elementwise("Less", &[none, lengths], vec![], Elem::Bool)?;
    w.e.elementwise("Where", &[some, largest, zero], vec![], x.elem)
}

/// The rows of an operand, as its segments cut them.
fn texts(w: &mut Walk<'_>, id: Id, rows: usize, place: usize) -> Result<Texts, String> {
    let (rows, segments) = (w.input(id, rows)?, w.input(id, place)?);
    let per_text: Option<Vec<usize>> = w.sampled.each(rows).zip(w.sampled.each(segments)).map(each).collect();
    let each = per_text.as_ref().and_then(|v| Size::fit(v, &w.symbols));
    let Some(each) = each else {
        return Err("its texts are not all of one length, nor filled up to one; give the model's inputs a fixed length".into());
    };
    let node = w.node(segments);
    let lengths = match &node.op {
        Op::Prim(Prim::Constant(_))
            if w.sampled.each(segments).zip(per_text.iter().flatten()).all(regular) =>
        {
            None
        }
        Op::Prim(Prim::Input(..)) if w.segments.contains(&segments) => {
            let val = w.full_operand(id, place)?;
            let inputs = vec![w.e.name(&val), w.e.list([1])?, w.e.list([2])?, w.e.list([1])?];
            let name = w.e.one("Slice", inputs, vec![]);
            Some(Val::made(name, vec![val.dims[0].clone(), 1.into()], val.elem))
        }
        // The first row of each text, and no more.
        Op::Prim(Prim::Concat(1)) if each.fixed() == Some(1) && numbered(w, node) => None,
        _ => {
            return Err(
                "where its texts begin is computed, which only works for packed texts and padded sequences"
                    .into(),
            );
        }
    };
    Ok(Texts { each, lengths })
}

/// Rows for each text, if they are as many for each.
fn each((rows, segments): (&Node, &Node)) -> Option<usize> {
    let (rows, texts) = (*rows.shape.first()?, *segments.shape.first()?);
    (texts > 0 && rows % texts == 0).then(|| rows / texts)
}

/// Whether segments are one after the other, of one length.
fn regular((node, &each): (&Node, &usize)) -> bool {
    let Op::Prim(Prim::Constant(tensor)) = &node.op else { return false };
    let values = tensor.to_f64s();
    values.chunks(2).enumerate().all(|(i, s)| s == [(i * each) as f64, each as f64])
}

/// Whether segments are `(i, 1)`.
fn numbered(w: &Walk<'_>, node: &Node) -> bool {
    let ops: Vec<&Op> = node.inputs.iter().map(|&i| &w.node(i).op).collect();
    match ops[..] {
        [Op::Prim(Prim::Iota(0, ..)), Op::Prim(Prim::Fill(one, ..))] => *one == Scalar(1.0),
        _ => false,
    }
}

/// Which keys each query sees (bool), as ONNX stretches it to the scores; `None` for all.
fn seen(
    w: &mut Walk<'_>,
    id: Id,
    attrs: &Attrs,
    n: &Size,
    q: &Texts,
    k: &Texts,
    rank: usize,
) -> Result<Option<Val>, String> {
    let mut all: Option<Val> = None;
    let wide = |first: Size, last: [Size; 2]| {
        let mut dims = vec![Size::from(1); rank - 2];
        dims[0] = first;
        dims.extend(last);
        dims
    };
    let both = |w: &mut Walk<'_>, a: Option<Val>, b: Val| match a {
        Some(a) => w.e.elementwise("And", &[a, b], vec![], Elem::Bool),
        None => Ok(b),
    };
    if let Some(lengths) = &k.lengths {
        let inside = inside(w, &k.each, lengths)?;
        let inside = w.e.reshaped(&inside, &wide(n.clone(), [1.into(), k.each.clone()]))?;
        all = Some(both(w, all, inside)?);
    }
    if attrs.get_int("masked") == 1 {
        let mask = w.full_operand(id, 5)?;
        let mask = w.e.truth(&mask);
        let mask = w.e.reshaped(&mask, &wide(n.clone(), [1.into(), k.each.clone()]))?;
        all = Some(both(w, all, mask)?);
    }
    if attrs.get_int("causal") == 1 {
        let (i, j) = (w.e.range(&q.each)?, w.e.range(&k.each)?);
        let i = w.e.reshaped(&i, &[q.each.clone(), 1.into()])?;
        let before = w.e.elementwise("LessOrEqual", &[j, i], vec![], Elem::Bool)?;
        all = Some(both(w, all, before)?);
    }
    Ok(all)
}

/// Which rows of texts are there (bool `[texts, rows]`).
fn inside(w: &mut Walk<'_>, each: &Size, lengths: &Val) -> Result<Val, String> {
    let row = w.e.range(each)?;
    w.e.elementwise("Less", &[row, lengths.clone()], vec![], Elem::Bool)
}

/// Which queries see anything, and are there (0 or 1); `None` for all.
fn any(
    w: &mut Walk<'_>,
    seen: Option<&Val>,
    n: &Size,
    q: &Texts,
    rank: usize,
) -> Result<Option<Val>, String> {
    let mut some = None;
    // What looks back sees itself.
    if let Some(seen) = seen.filter(|s| s.rank() > 2) {
        let number = w.e.cast(seen, Elem::Int32);
        let inputs = vec![w.e.name(&number), w.e.list([-1])?];
        let name = w.e.one("ReduceMax", inputs, vec![("keepdims", Attribute::Int(1))]);
        let mut dims = seen.dims.clone();
        dims.pop();
        dims.push(1.into());
        some = Some(Val::made(name, dims, Elem::Int32));
    }
    if let Some(lengths) = &q.lengths {
        let there = inside(w, &q.each, lengths)?;
        let there = w.e.cast(&there, Elem::Int32);
        let mut dims = vec![Size::from(1); rank - 2];
        dims[0] = n.clone();
        dims.extend([q.each.clone(), 1.into()]);
        let there = w.e.reshaped(&there, &dims)?;
        some = Some(match some {
            Some(some) => w.e.elementwise("Mul", &[some, there], vec![], Elem::Int32)?,
            None => there,
        });
    }
    Ok(some)
}
