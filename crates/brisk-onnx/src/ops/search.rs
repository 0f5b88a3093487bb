//! Orders, and elements whose number depends on the data.

use std::cmp::Ordering;

use brisk_graph::{DType, Data, Shape, Tensor};

use super::{Operator, many, one};
use crate::call::{Call, axis};
use crate::{Elem, Item, Var};

pub(super) const OPS: &[Operator] = &[
    one("Compress", compress),
    one("NonMaxSuppression", non_max_suppression),
    one("NonZero", non_zero),
    many("TopK", top_k),
    many("Unique", unique),
];

fn non_zero<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let tensor = c.look(x.value())?;
    let shape = tensor.shape().clone();
    let strides = shape.strides();
    let places: Vec<usize> =
        tensor.to_f64s().iter().enumerate().filter(|v| *v.1 != 0.0).map(|v| v.0).collect();
    c.room_for(shape.rank().saturating_mul(places.len()))?;
    let values = (0..shape.rank())
        .flat_map(|a| places.iter().map(move |p| (a, *p)))
        .map(|(a, p)| (p / strides[a] % shape[a]) as i64);
    c.make_ints([shape.rank(), places.len()], values.collect())
}

fn compress<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (x, condition) = (c.var(0)?, c.var(1)?);
    let kept = c.look(condition.value())?.to_f64s();
    let (value, at) = match c.attribute("axis") {
        Some(_) => (x.value(), axis(c.int("axis", 0)?, x.rank())?),
        None => (x.value().reshape([x.shape().elements()]), 0),
    };
    let size = value.dim(at);
    let index: Vec<i32> =
        kept.iter().enumerate().take(size).filter(|k| *k.1 != 0.0).map(|k| k.0 as i32).collect();
    Ok(Var::new(x.elem, super::gather::take_along(c, value, at, index)?))
}

/// Numbers in order; NaN stands last.
fn order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// The largest or smallest of each row, by the rank of each element: how many stand before it.
fn top_k<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let x = c.var(0)?;
    let at = axis(c.int("axis", -1)?, x.rank())?;
    let k = match c.has(1) {
        true => c.known_ints(1)?.first().copied().unwrap_or(0),
        false => c.int("k", 0)?,
    };
    let largest = c.flag("largest", true)?;
    let n = x.shape()[at];
    let k = usize::try_from(k).ok().filter(|&k| k <= n).ok_or_else(|| format!("cannot take {k} of {n}"))?;
    let mut perm: Vec<usize> = (0..x.rank()).filter(|&a| a != at).collect();
    perm.push(at);
    let mut back = vec![0; x.rank()];
    perm.iter().enumerate().for_each(|(i, &p)| back[p] = i);
    let rows = x.transposed(&perm).value();
    let lead = rows.shape()[..x.rank() - 1].to_vec();
    let count: usize = lead.iter().product();
    let flat = rows.reshape([count, n]).cast(x.arithmetic());
    const MOST: usize = 1 << 27;
    if count.saturating_mul(n).saturating_mul(n) > MOST {
        return Err(format!("rows of {n} elements are too long to be ranked"));
    }
    // What is carried as if it had a sign, in order.
    let flat = if x.elem == Elem::Uint64 { super::elementwise::turn(flat) } else { flat };
    let all = Shape::from([count, n, n]);
    let one = flat.reshape([count, n, 1]).broadcast_to(&all); // element i
    let other = flat.reshape([count, 1, n]).broadcast_to(&all); // element j
    let before = if largest { other.greater(one) } else { other.less(one) };
    let (i, j) = (c.b.iota(1, &all, DType::I32), c.b.iota(2, &all, DType::I32));
    let earlier = other.equal(one).min(j.less(i));
    let rank = before.max(earlier).cast(DType::F32).sum(&[2]); // [count, n]
    // The element of each rank: for every place the one that has it.
    let places = Shape::from([count, k, n]);
    let place = c.b.iota(1, &places, DType::F32);
    let hit = rank.reshape([count, 1, n]).broadcast_to(&places).equal(place).cast(DType::F32);
    let number = (hit * c.b.iota(2, &places, DType::F32)).sum(&[2]); // [count, k]
    let index = number.cast(DType::I64);
    let dims = [&lead[..], &[k]].concat();
    let start = c.b.iota(0, [count, k], DType::I64) * n as f64;
    let values = rows.reshape([count * n]).take((index + start).cast(DType::I32));
    let out = |elem, v: brisk_graph::Value<'g>| Var::new(elem, v.reshape(&dims[..])).transposed(&back).into();
    Ok(vec![out(x.elem, values), out(Elem::Int64, index)])
}

fn unique<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let x = c.var(0)?;
    let sorted = c.flag("sorted", true)?;
    let tensor = c.look(x.value())?;
    let at = match c.attribute("axis") {
        Some(_) => Some(axis(c.int("axis", 0)?, x.rank())?),
        None => None,
    };
    let shape = tensor.shape().clone();
    let (count, strides) = (tensor.elements(), shape.strides());
    let (size, stride) = at.map_or((count, 1), |a| (shape[a], strides[a]));
    c.room_for(count.saturating_mul(4).max(size))?;
    // What is compared: single elements, or everything at one place of the axis.
    let outer = count / size.saturating_mul(stride).max(1);
    let places =
        |i: usize| (0..outer).flat_map(move |o| (0..stride).map(move |k| (o * size + i) * stride + k));
    let mut groups = match tensor.data() {
        Data::I64(v) if x.elem == Elem::Uint64 => {
            groups(size, places, |a, b| (v[a] as u64).cmp(&(v[b] as u64)))
        }
        Data::I64(v) => groups(size, places, |a, b| v[a].cmp(&v[b])),
        _ => {
            let values = tensor.to_f64s();
            groups(size, places, |a, b| order(values[a], values[b]))
        }
    };
    if !sorted {
        groups.sort_by_key(|g| g[0]);
    }
    let mut inverse = vec![0i64; size];
    for (number, group) in groups.iter().enumerate() {
        group.iter().for_each(|&i| inverse[i] = number as i64);
    }
    let firsts: Vec<i64> = groups.iter().map(|g| g[0] as i64).collect();
    let counts: Vec<i64> = groups.iter().map(|g| g.len() as i64).collect();
    let index: Vec<i32> = firsts.iter().map(|&f| f as i32).collect();
    let value = match at {
        Some(a) => super::gather::take_along(c, x.value(), a, index)?,
        None => super::gather::take_along(c, x.value().reshape([count]), 0, index)?,
    };
    let n = groups.len();
    Ok(vec![
        Var::new(x.elem, value).into(),
        c.make_ints([n], firsts)?.into(),
        c.make_ints([size], inverse)?.into(),
        c.make_ints([n], counts)?.into(),
    ])
}

/// The numbers below `size` whose elements, at the places of each, are all equal; in the order of their elements.
fn groups<P: Iterator<Item = usize>>(
    size: usize,
    places: impl Fn(usize) -> P,
    compare: impl Fn(usize, usize) -> Ordering,
) -> Vec<Vec<usize>> {
    let compare = |a: &usize, b: &usize| {
        let pairs = places(*a).zip(places(*b));
        pairs.map(|(x, y)| compare(x, y)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    };
    let mut by_value: Vec<usize> = (0..size).collect();
    by_value.sort_by(compare);
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for i in by_value {
        match groups.last_mut() {
            Some(group) if compare(&group[0], &i).is_eq() => group.push(i),
            _ => groups.push(vec![i]),
        }
    }
    groups
}

/// Boxes that do not overlap too much with better ones of their class.
fn non_max_suppression<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (boxes, scores) = (c.var(0)?.value(), c.var(1)?.value());
    let number = |c: &mut Call<'_, 'g>, i: usize| -> Result<Option<f64>, String> {
        Ok(if c.has(i) { c.known_floats(i)?.first().copied() } else { None })
    };
    let most = number(c, 2)?.unwrap_or(0.0) as usize;
    let overlap = number(c, 3)?.unwrap_or(0.0);
    let lowest = number(c, 4)?;
    let centred = c.flag("center_point_box", false)?;
    let (boxes, scores): (Tensor, Tensor) = (c.look(boxes)?, c.look(scores)?);
    let ([n, count, 4], [m, classes, own]) = (&boxes.shape()[..], &scores.shape()[..]) else {
        return Err(format!(
            "expected boxes [n, boxes, 4] and scores, found {} and {}",
            boxes.shape(),
            scores.shape()
        ));
    };
    if n != m || count != own {
        return Err(format!("boxes {} and scores {} do not fit", boxes.shape(), scores.shape()));
    }
    let (corners, scores) = (boxes.to_f64s(), scores.to_f64s());
    let corner = |sample: usize, i: usize| -> [f64; 4] {
        let v = &corners[(sample * count + i) * 4..][..4];
        match centred {
            true => [v[1] - v[3] / 2.0, v[0] - v[2] / 2.0, v[1] + v[3] / 2.0, v[0] + v[2] / 2.0],
            false => [v[0].min(v[2]), v[1].min(v[3]), v[0].max(v[2]), v[1].max(v[3])],
        }
    };
    let shared = |a: [f64; 4], b: [f64; 4]| {
        let side = |i: usize| (a[i + 2].min(b[i + 2]) - a[i].max(b[i])).max(0.0);
        let area = |v: [f64; 4]| (v[2] - v[0]) * (v[3] - v[1]);
        let both = side(0) * side(1);
        let union = area(a) + area(b) - both;
        if union > 0.0 { both / union } else { 0.0 }
    };
    let mut found: Vec<i64> = Vec::new();
    let mut compared = 0;
    for sample in 0..*n {
        for class in 0..*classes {
            let score = |i: usize| scores[(sample * classes + class) * count + i];
            let mut open: Vec<usize> = (0..*count).filter(|&i| lowest.is_none_or(|l| score(i) > l)).collect();
            open.sort_by(|&a, &b| order(score(b), score(a)));
            let mut kept: Vec<usize> = Vec::new();
            for i in open {
                if kept.len() >= most {
                    break;
                }
                // Some boxes are compared in a step.
                const PER_STEP: usize = 256;
                compared += kept.len();
                c.spend(compared / PER_STEP)?;
                compared %= PER_STEP;
                if kept.iter().all(|&k| shared(corner(sample, k), corner(sample, i)) <= overlap) {
                    kept.push(i);
                }
            }
            found.extend(kept.iter().flat_map(|&i| [sample as i64, class as i64, i as i64]));
        }
    }
    c.make_ints([found.len() / 3, 3], found)
}
