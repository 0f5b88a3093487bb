//! Pictures at any places, between their cells too.

use brisk_graph::prim::Binary;
use brisk_graph::{DType, Value};

use super::elementwise::round;
use super::{Operator, one};
use crate::Var;
use crate::call::Call;

pub(super) const OPS: &[Operator] = &[one("AffineGrid", affine_grid), one("GridSample", grid_sample)];

/// How a value between cells comes about.
#[derive(Clone, Copy, PartialEq)]
pub enum Between {
    Nearest,
    Linear,
    Cubic,
}

/// What stands around a picture.
#[derive(Clone, Copy, PartialEq)]
pub enum Around {
    Zeros,
    /// The nearest cell.
    Border,
    /// The picture itself, reflected at its end: at the middle of the last cell or at its edge.
    Reflection {
        at_middle: bool,
    },
}

/// Pictures with their channels last, as a table of cells.
pub struct Cells<'g> {
    rows: Value<'g>,
    sizes: Vec<usize>,
}

impl<'g> Cells<'g> {
    /// Of pictures `[n, channels, ...]`.
    pub fn new(x: &Var<'g>) -> Result<Cells<'g>, String> {
        let (shape, rank) = (x.shape(), x.rank());
        if rank < 3 || shape[2..].contains(&0) {
            return Err(format!("expected pictures [n, channels, ...], found {shape}"));
        }
        let (sizes, channels) = (shape[2..].to_vec(), shape[1]);
        let each = sizes.iter().product::<usize>();
        let count = shape[0].saturating_mul(each);
        if i32::try_from(count).is_err() {
            return Err(format!("pictures {shape} have too many cells"));
        }
        let perm: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).collect();
        let rows = x.transposed(&perm).floats().reshape([count, channels]);
        Ok(Cells { rows, sizes })
    }

    /// The sizes of a picture.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Some of the channels.
    pub fn channels(&self, start: usize, end: usize) -> Cells<'g> {
        Cells { rows: self.rows.slice(1, start, end), sizes: self.sizes.clone() }
    }

    /// Cells `[.., channels]` at known whole places of a picture, each `[..]`, i64.
    pub fn take(&self, picture: Value<'g>, places: &[Value<'g>]) -> Value<'g> {
        let index = places.iter().zip(&self.sizes).fold(picture, |sum, (&p, &size)| sum * size as f64 + p);
        self.rows.take(index.cast(DType::I32))
    }

    /// Values `[n, places, channels]` at places `[n, places]`, one for each axis of a picture.
    pub fn sample(&self, places: &[Value<'g>], how: Between, around: Around) -> Result<Value<'g>, String> {
        const MOST: usize = 256;
        let Some(first) = places.first() else { return Err("expected pictures with axes".into()) };
        let shape = first.shape();
        let picture = first.builder().iota(0, &shape, DType::I64);
        let taps: Vec<Vec<Tap<'g>>> =
            places.iter().zip(&self.sizes).map(|(&p, &size)| taps(p, size, how, around)).collect();
        if taps.iter().fold(1usize, |n, t| n.saturating_mul(t.len())) > MOST {
            return Err(format!("pictures of {} axes have too many neighbours", taps.len()));
        }
        // Every combination of a neighbour along each axis.
        let mut corners: Vec<(Vec<Value<'g>>, Option<Value<'g>>)> = vec![(Vec::new(), None)];
        for axis in taps {
            let extended = corners.iter().flat_map(|(places, weight)| {
                axis.iter().map(move |tap| {
                    let weight = match (*weight, tap.weight) {
                        (Some(a), Some(b)) => Some(a * b),
                        (a, b) => a.or(b),
                    };
                    ([&places[..], &[tap.place]].concat(), weight)
                })
            });
            corners = extended.collect();
        }
        let values = corners.into_iter().map(|(places, weight)| {
            let cells = self.take(picture, &places);
            weight.map_or(cells, |w| cells * w.expand(2).cast(cells.dtype()))
        });
        values.reduce(|a, b| a + b).ok_or_else(|| "expected a neighbour".into())
    }
}

/// A neighbour of a place along an axis, inside of the picture, and how much it counts.
struct Tap<'g> {
    place: Value<'g>,
    weight: Option<Value<'g>>,
}

fn taps<'g>(place: Value<'g>, size: usize, how: Between, around: Around) -> Vec<Tap<'g>> {
    let end = size as f64 - 1.0;
    let place = if how == Between::Nearest { round(place) } else { place };
    let place = match around {
        Around::Zeros => place,
        // A cubic goes on beyond the last cell, over cells like that one.
        Around::Border if how == Between::Cubic => place,
        Around::Border => place.max(0.0).min(end),
        Around::Reflection { at_middle } => reflected(place, size, at_middle),
    };
    let start = place.floor();
    let rest = place - start;
    let weighted: Vec<(f64, Option<Value<'g>>)> = match how {
        Between::Nearest => vec![(0.0, None)],
        Between::Linear => vec![(0.0, Some(1.0 - rest)), (1.0, Some(rest))],
        Between::Cubic => {
            [-1.0, 0.0, 1.0, 2.0].into_iter().map(|k| (k, Some(cubic((rest - k).abs(), k)))).collect()
        }
    };
    let tap = |(offset, weight): (f64, Option<Value<'g>>)| {
        let near = start + offset;
        let (near, weight) = match around {
            Around::Zeros => {
                let inside =
                    near.less(0.0).binary(Binary::Max, near.greater(end)).equal(0.0).cast(near.dtype());
                (near, Some(weight.map_or(inside, |w| w * inside)))
            }
            Around::Border => (near, weight),
            Around::Reflection { at_middle } => ((reflected(near, size, at_middle) + 0.5).floor(), weight),
        };
        Tap { place: near.max(0.0).min(end).cast(DType::I64), weight }
    };
    weighted.into_iter().map(tap).collect()
}

/// Keys's weight of a neighbour at a distance: the two nearest have one polynomial, the two beyond another.
fn cubic<'g>(distance: Value<'g>, k: f64) -> Value<'g> {
    const A: f64 = -0.75;
    let d = distance;
    match k == 0.0 || k == 1.0 {
        true => (d * (A + 2.0) - (A + 3.0)) * d * d + 1.0,
        false => ((d * A - 5.0 * A) * d + 8.0 * A) * d - 4.0 * A,
    }
}

/// Into the picture, back and forth between its ends.
fn reflected<'g>(place: Value<'g>, size: usize, at_middle: bool) -> Value<'g> {
    let (low, length) = if at_middle { (0.0, size as f64 - 1.0) } else { (-0.5, size as f64) };
    if length == 0.0 {
        return place.builder().fill_as(0.0, place.shape(), place.dtype());
    }
    let from_low = (place - low).abs();
    let turns = (from_low * (1.0 / length)).floor();
    let rest = from_low - turns * length;
    let even = (turns * 0.5).floor().equal(turns * 0.5);
    even.select(rest, length - rest) + low
}

fn grid_sample<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (x, grid) = (c.var(0)?, c.var(1)?);
    let at_middle = c.flag("align_corners", false)?;
    let how = match c.text("mode", "linear")? {
        "nearest" => Between::Nearest,
        "linear" | "bilinear" => Between::Linear,
        "cubic" | "bicubic" => Between::Cubic,
        other => return Err(format!("attribute mode: expected nearest, linear or cubic, found {other:?}")),
    };
    let around = match c.text("padding_mode", "zeros")? {
        "zeros" => Around::Zeros,
        "border" => Around::Border,
        "reflection" => Around::Reflection { at_middle },
        other => {
            return Err(format!(
                "attribute padding_mode: expected zeros, border or reflection, found {other:?}"
            ));
        }
    };
    let cells = Cells::new(&x)?;
    let (shape, to, r) = (x.shape(), grid.shape(), cells.sizes().len());
    if to.rank() != r + 2 || to[0] != shape[0] || to[r + 1] != r {
        return Err(format!("a grid {to} does not fit pictures {shape}"));
    }
    let out = &to[1..r + 1];
    let count: usize = out.iter().product();
    let all = grid.floats().reshape([shape[0], count, r]);
    // The first number is for the last axis. -1 and 1 are the ends.
    let place = |(i, &size): (usize, &usize)| {
        let v = all.slice(2, r - 1 - i, r - i).reshape([shape[0], count]);
        match at_middle {
            true => (v + 1.0) * 0.5 * (size as f64 - 1.0),
            false => ((v + 1.0) * size as f64 - 1.0) * 0.5,
        }
    };
    let places: Vec<Value<'g>> = cells.sizes().iter().enumerate().map(place).collect();
    let value = cells.sample(&places, how, around)?.cast(x.arithmetic());
    let value = value.reshape([&[shape[0]], out, &[shape[1]]].concat());
    let order = [0, r + 1].into_iter().chain(1..r + 1).collect();
    Ok(Var::turned(x.elem, value, order))
}

/// Where the cells of a picture come from, if it is turned, shifted and sheared.
fn affine_grid<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let theta = c.var(0)?;
    let at_middle = c.flag("align_corners", false)?;
    let size = |v: i64| usize::try_from(v).map_err(|_| format!("operand 1: {v} is no size"));
    let sizes = c.known_ints(1)?.into_iter().map(size).collect::<Result<Vec<_>, _>>()?;
    let ([n, _, out @ ..], [batch, rows, columns]) = (&sizes[..], &theta.shape()[..]) else {
        return Err(format!(
            "expected matrices [n, 2, 3] or [n, 3, 4] and sizes, found {} and {sizes:?}",
            theta.shape()
        ));
    };
    let r = out.len();
    if n != batch || r == 0 || *rows != r || *columns != r + 1 {
        return Err(format!("matrices {} and sizes {sizes:?} do not fit", theta.shape()));
    }
    let matrices = theta.floats();
    let dtype = matrices.dtype();
    // x, y, ... and 1: the last axis comes first.
    let whole = |axis: usize| {
        let i = c.b.iota(axis, out, dtype);
        match (at_middle, out[axis]) {
            (true, 1) => c.b.fill_as(0.0, out, dtype),
            (true, size) => i * (2.0 / (size as f64 - 1.0)) - 1.0,
            (false, size) => (i * 2.0 + 1.0) * (1.0 / size as f64) - 1.0,
        }
    };
    let mut parts: Vec<Value<'g>> = (0..r).rev().map(whole).collect();
    parts.push(c.b.fill_as(1.0, out, dtype));
    let parts: Vec<Value<'g>> = parts.into_iter().map(|v| v.expand(r)).collect();
    let count = parts[0].shape().elements();
    let base = c.b.concat(&parts, r).reshape([1, count, r + 1]).broadcast_to([*n, count, r + 1]);
    let grid = base.matmul(matrices.transpose(&[0, 2, 1]));
    Ok(Var::new(theta.elem, grid.reshape([&[*n], out, &[r]].concat())))
}
