//! Pooling.

use brisk_graph::prim::{Prim, Window};
use brisk_graph::{DType, Tensor, Value};

use super::conv::Windows;
use super::{Operator, many, one};
use crate::call::Call;
use crate::{Elem, Item, Var};

pub(super) const OPS: &[Operator] = &[
    one("AveragePool", average),
    one("GlobalAveragePool", |c| global(c, |v, a| v.mean(a))),
    one("GlobalLpPool", |c| {
        let p = c.int("p", 2)? as f64;
        global(c, |v, a| v.abs().pow(p).sum(a).pow(1.0 / p))
    }),
    one("GlobalMaxPool", |c| global(c, |v, a| v.reduce_max(a))),
    one("LpPool", lp),
    many("MaxPool", max),
    one("MaxUnpool", max_unpool),
];

fn global<'g>(
    c: &mut Call<'_, 'g>,
    f: impl FnOnce(Value<'g>, &[usize]) -> Value<'g>,
) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let rank = x.rank();
    if rank < 3 {
        return Err(format!("expected [n, channels, ...], found {}", x.shape()));
    }
    // Channels last, if they are so already.
    let (value, order) = x.raw();
    let dtype = x.arithmetic();
    let dims = || (0..rank).map(|i| if i < 2 { x.shape()[i] } else { 1 }).collect::<Vec<_>>();
    Ok(Var::new(
        x.elem,
        match order {
            Some(order) if order[0] == 0 && order[1] == rank - 1 => {
                f(value.cast(dtype), &(1..rank - 1).collect::<Vec<_>>()).reshape(dims())
            }
            _ => f(x.value().cast(dtype), &(2..rank).collect::<Vec<_>>()).reshape(dims()),
        },
    ))
}

/// A pooling: its windows, with pads that make up whole windows, and how many there are along each axis.
struct Pooling {
    windows: Windows,
    out: Vec<usize>,
    /// The pads that were asked for.
    asked: Vec<[usize; 2]>,
}

fn pooling(c: &Call<'_, '_>, x: &Var<'_>) -> Result<Pooling, String> {
    let shape = x.shape();
    if shape.rank() < 3 {
        return Err(format!("expected [n, channels, ...], found {shape}"));
    }
    let size = c.sizes("kernel_shape")?.ok_or("attribute kernel_shape is missing")?;
    if size.contains(&0) {
        return Err(format!("a window of {size:?}"));
    }
    let mut windows = Windows::of(c, &shape[2..], size)?;
    let up = c.flag("ceil_mode", false)?;
    let asked = windows.pads.clone();
    let mut out = Vec::new();
    for i in 0..windows.size.len() {
        let (n, stride) = (shape[2 + i], windows.stride[i]);
        let reach = windows.dilation[i].saturating_mul(windows.size[i] - 1).saturating_add(1);
        let [before, after] = windows.pads[i];
        let whole = n.saturating_add(before).saturating_add(after);
        c.room_for(whole)?;
        let room = whole.checked_sub(reach);
        let room = room.ok_or_else(|| format!("a window of {reach} does not fit in {n}"))?;
        let mut count = if up { room.div_ceil(stride) } else { room / stride } + 1;
        // A window begins inside, or in the pad before; there is one at least.
        if up && count > 1 && (count - 1) * stride >= n + before {
            count -= 1;
        }
        windows.pads[i][1] = ((count - 1) * stride + reach).saturating_sub(n + before);
        c.room_for(count.saturating_mul(windows.size[i]))?;
        out.push(count);
    }
    Ok(Pooling { windows, out, asked })
}

impl Pooling {
    /// The window of a primitive, where there is one for it.
    fn window(&self) -> Option<Window> {
        let w = &self.windows;
        let wide = |v: &[usize], one: usize| match *v {
            [a] => Some([one, a]),
            [a, b] => Some([a, b]),
            _ => None,
        };
        let padding = match w.pads[..] {
            [a] => [[0, 0], a],
            [a, b] => [a, b],
            _ => return None,
        };
        let window = Window { size: wide(&w.size, 1)?, stride: wide(&w.stride, 1)?, padding };
        let fits = (0..2).all(|i| padding[i].iter().all(|&p| p < window.size[i]));
        (fits && w.dilation.iter().all(|&d| d == 1)).then_some(window)
    }

    /// Every tap of the window: its place in it, and its cells `[n, channels, out...]` of maps with a number around.
    fn taps<'g>(
        &self,
        c: &Call<'_, 'g>,
        value: Value<'g>,
        fill: f64,
    ) -> Result<Vec<(Vec<usize>, Value<'g>)>, String> {
        let w = &self.windows;
        let n = w.size.len();
        let count = w.size.iter().copied().fold(1, usize::saturating_mul);
        // What is done to each is a few operations, for places some along each axis.
        c.afford(count.saturating_mul(8 + 4 * n))?;
        let (mut low, mut high) = (vec![0; n + 2], vec![0; n + 2]);
        for i in 0..n {
            [low[2 + i], high[2 + i]] = w.pads[i];
        }
        let padded = value.pad(&low, &high, fill);
        let all = padded.shape();
        let tap = |number: usize| {
            let mut place = vec![0; n];
            let mut rest = number;
            for i in (0..n).rev() {
                place[i] = rest % w.size[i];
                rest /= w.size[i];
            }
            let (mut start, mut end, mut step) = (vec![0; n + 2], all.to_vec(), vec![1; n + 2]);
            for i in 0..n {
                start[2 + i] = place[i] * w.dilation[i];
                end[2 + i] = start[2 + i] + (self.out[i] - 1) * w.stride[i] + 1;
                step[2 + i] = w.stride[i];
            }
            (place, value.builder().prim(Prim::Slice { start, end, step }, &[padded]))
        };
        Ok((0..count).map(tap).collect())
    }

    /// Sums over windows, channels last if a primitive makes them.
    fn sums<'g>(&self, c: &Call<'_, 'g>, x: &Var<'g>) -> Result<Var<'g>, String> {
        let dtype = x.arithmetic();
        if let (Some(window), DType::F32) = (self.window(), dtype) {
            return Ok(pictures(x, |v| v.sum_pool(window)));
        }
        let taps = self.taps(c, x.value().cast(dtype), 0.0)?;
        let sum = taps.into_iter().map(|t| t.1).reduce(|a, b| a + b).ok_or("an empty window")?;
        Ok(Var::new(x.elem, sum))
    }
}

/// A function of maps `[n, h, w, c]`, of pictures with one or two axes.
fn pictures<'g>(x: &Var<'g>, f: impl FnOnce(Value<'g>) -> Value<'g>) -> Var<'g> {
    match x.rank() {
        3 => {
            let v = x.transposed(&[0, 2, 1]).floats();
            let s = v.shape();
            let y = f(v.reshape([s[0], 1, s[1], s[2]]));
            let t = y.shape();
            Var::turned(x.elem, y.reshape([t[0], t[2], t[3]]), vec![0, 2, 1])
        }
        _ => Var::turned(x.elem, f(x.transposed(&[0, 2, 3, 1]).floats()), vec![0, 3, 1, 2]),
    }
}

/// So many windows are counted in a step.
const PER_STEP: usize = 256;

fn average<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let pool = pooling(c, &x)?;
    let with_pads = c.flag("count_include_pad", false)?;
    let sums = pool.sums(c, &x)?;
    // How many cells each window has, as a product of axes.
    let shape = x.shape();
    let w = &pool.windows;
    pool.out.iter().try_for_each(|&count| c.spend(count / PER_STEP))?;
    let counts: Vec<Vec<f64>> = (0..w.size.len())
        .map(|i| {
            let (n, [before, after]) = (shape[2 + i] as i64, pool.asked[i]);
            let (low, high) = if with_pads { (-(before as i64), n + after as i64) } else { (0, n) };
            (0..pool.out[i])
                .map(|o| {
                    let start = (o * w.stride[i]) as i64 - before as i64;
                    // How many cells of the window stand before a place.
                    let cells_before = |place: i64| {
                        let room = usize::try_from(place - start).unwrap_or(0);
                        room.div_ceil(w.dilation[i]).min(w.size[i])
                    };
                    cells_before(high).saturating_sub(cells_before(low)).max(1) as f64
                })
                .collect()
        })
        .collect();
    let uniform = counts.iter().all(|axis| axis.iter().all(|&n| n == axis[0]));
    if uniform {
        let cells: f64 = counts.iter().map(|axis| axis[0]).product();
        return Ok(sums.map(|v| v * (1.0 / cells)));
    }
    let rank = shape.rank();
    let mut factors = sums;
    for (i, axis) in counts.iter().enumerate() {
        let mut dims = vec![1; rank];
        dims[2 + i] = axis.len();
        let inverse: Vec<f64> = axis.iter().map(|n| 1.0 / n).collect();
        let inverse = c.constant(Tensor::from_f64s(factors.arithmetic(), dims, &inverse))?;
        let inverse = Var::new(factors.elem, inverse);
        factors = super::elementwise::pair(&factors, &inverse, brisk_graph::prim::Binary::Mul);
    }
    Ok(factors)
}

fn lp<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let p = c.int("p", 2)? as f64;
    let pool = pooling(c, &x)?;
    let dtype = x.arithmetic();
    let powers = x.map(|v| v.cast(dtype).abs().pow(p));
    Ok(pool.sums(c, &powers)?.map(|v| v.pow(1.0 / p)))
}

fn max<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let x = c.var(0)?;
    let pool = pooling(c, &x)?;
    let wants_places = c.node.outputs.get(1).is_some_and(|name| !name.is_empty());
    let dtype = if x.elem == Elem::Double { DType::F64 } else { DType::F32 };
    if let (Some(window), DType::F32, false) = (pool.window(), dtype, wants_places) {
        return Ok(vec![pictures(&x, |v| v.max_pool(window)).into()]);
    }
    let taps = pool.taps(c, x.value().cast(dtype), f64::NEG_INFINITY)?;
    let shape = x.shape();
    let maps = &shape[2..];
    let by_column = c.int("storage_order", 0)? == 1;
    let mut strides = vec![1usize; maps.len()];
    match by_column {
        false => {
            (0..maps.len().saturating_sub(1)).rev().for_each(|i| strides[i] = strides[i + 1] * maps[i + 1])
        }
        true => (1..maps.len()).for_each(|i| strides[i] = strides[i - 1] * maps[i - 1]),
    }
    let area: usize = maps.iter().product();
    let mut best: Option<(Value<'g>, Value<'g>)> = None;
    for (place, cells) in taps {
        let to = cells.shape();
        // The number of the cell in its whole tensor.
        let mut number = c.b.iota(0, &to, DType::I64) * (shape[1] * area) as f64
            + c.b.iota(1, &to, DType::I64) * area as f64;
        for i in 0..maps.len() {
            let start = (place[i] * pool.windows.dilation[i]) as f64 - pool.windows.pads[i][0] as f64;
            let at = c.b.iota(2 + i, &to, DType::I64) * pool.windows.stride[i] as f64 + start;
            number = number + at * strides[i] as f64;
        }
        best = Some(match best {
            None => (cells, number),
            Some((most, place)) => {
                let larger = cells.greater(most);
                (cells.max(most), larger.select(number, place))
            }
        });
    }
    let (most, place) = best.ok_or("an empty window")?;
    Ok(vec![Var::new(x.elem, most).into(), Var::new(Elem::Int64, place).into()])
}

/// Puts values where a pooling found them.
fn max_unpool<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (x, places) = (c.var(0)?, c.var(1)?);
    let shape = x.shape();
    let n = shape.rank().saturating_sub(2);
    let size = c.sizes("kernel_shape")?.ok_or("attribute kernel_shape is missing")?;
    let stride = c.sizes("strides")?.unwrap_or_else(|| vec![1; n]);
    let pads = c.sizes("pads")?.unwrap_or_else(|| vec![0; 2 * n]);
    if n == 0 || size.len() != n || stride.len() != n || pads.len() != 2 * n {
        return Err(format!("its windows do not fit {shape}"));
    }
    let own: Vec<usize> = (0..n)
        .map(|i| {
            let reach = (shape[2 + i].max(1) - 1).saturating_mul(stride[i]).saturating_add(size[i]);
            reach.saturating_sub(pads[i].saturating_add(pads[n + i]))
        })
        .collect();
    let whole = [&shape[..2], &own].concat();
    c.room_for(whole.iter().fold(1, |n: usize, &d| n.saturating_mul(d.max(1))))?;
    let to = match c.has(2) {
        true => crate::call::sizes(c.known_ints(2)?)?,
        false => whole.clone(),
    };
    let elements: usize = whole.iter().copied().fold(1, usize::saturating_mul);
    let cells = shape.elements();
    let index = places.indices().reshape([cells]);
    let values = x.floats().reshape([cells, 1]);
    let spread = c.b.prim(Prim::ScatterAdd(elements), &[index, values]).reshape(&whole[..]);
    if to == whole {
        return Ok(Var::new(x.elem, spread));
    }
    if to.len() != whole.len() || to.iter().zip(&whole).any(|(t, w)| t < w) {
        return Err(format!("cannot put {whole:?} into {to:?}"));
    }
    let more: Vec<usize> = to.iter().zip(&whole).map(|(t, w)| t - w).collect();
    Ok(Var::new(x.elem, spread.pad(&vec![0; whole.len()], &more, 0.0)))
}
