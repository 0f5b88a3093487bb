//! Fourier transforms, and windows for them.

use std::cmp::Ordering;

use brisk_graph::{DType, Tensor, Value};

use super::elementwise::TURN;
use super::gather::take_along;
use super::{Operator, one};
use crate::call::{Call, axis};
use crate::{Elem, Var};

pub(super) const OPS: &[Operator] = &[
    one("BlackmanWindow", |c| window(c, |x| 0.42 - 0.5 * x.cos() + 0.08 * (2.0 * x).cos())),
    one("DFT", dft),
    one("HammingWindow", |c| window(c, |x| 25.0 / 46.0 - 21.0 / 46.0 * x.cos())),
    one("HannWindow", |c| window(c, |x| 0.5 - 0.5 * x.cos())),
    one("MelWeightMatrix", mel_weight_matrix),
    one("STFT", stft),
];

/// The longest transform, window and table.
const MOST: usize = 1 << 22;
/// The longest transform that is one product with a matrix.
const MOST_AT_ONCE: usize = 1 << 11;

/// One size that must be known, between two limits.
fn size_at(c: &mut Call<'_, '_>, operand: usize, least: i64) -> Result<usize, String> {
    let found = c.known_ints(operand)?;
    let fits = |v: i64| (least..=MOST as i64).contains(&v);
    match found[..] {
        [size] if fits(size) => Ok(size as usize),
        _ => Err(format!("operand {operand}: expected a number between {least} and {MOST}, found {found:?}")),
    }
}

/// A function of a turn, at the places of a window.
fn window<'g>(c: &mut Call<'_, 'g>, f: impl Fn(f64) -> f64) -> Result<Var<'g>, String> {
    let elem = c.elem("output_datatype", Elem::Float)?;
    let size = size_at(c, 0, 0)?;
    let turn = if c.flag("periodic", true)? { size } else { size.saturating_sub(1) };
    let values: Vec<f64> = (0..size).map(|i| f(TURN * i as f64 / turn.max(1) as f64)).collect();
    known(c, elem, &[size], &values)
}

fn known<'g>(c: &Call<'_, 'g>, elem: Elem, dims: &[usize], values: &[f64]) -> Result<Var<'g>, String> {
    Ok(Var::new(elem, c.constant(Tensor::from_f64s(elem.dtype(), dims, values))?))
}

/// A spectrum of rows `[.., n]`: its real part, and its imaginary part if it has one.
#[derive(Clone, Copy)]
struct Complex<'g> {
    re: Value<'g>,
    im: Option<Value<'g>>,
}

impl<'g> Complex<'g> {
    /// The same function of both parts.
    fn map(self, f: impl Fn(Value<'g>) -> Value<'g>) -> Complex<'g> {
        Complex { re: f(self.re), im: self.im.map(f) }
    }

    /// Times known numbers, by a product that is linear in its left side.
    fn times(
        self,
        cos: Value<'g>,
        sin: Value<'g>,
        f: impl Fn(Value<'g>, Value<'g>) -> Value<'g>,
    ) -> Complex<'g> {
        match self.im {
            None => Complex { re: f(self.re, cos), im: Some(f(self.re, sin)) },
            Some(im) => Complex { re: f(self.re, cos) - f(im, sin), im: Some(f(self.re, sin) + f(im, cos)) },
        }
    }
}

/// `exp(sign 2 pi i j k / n)` for `j` below `rows` and `k` below `columns`.
fn roots<'g>(
    c: &Call<'_, 'g>,
    elem: Elem,
    rows: usize,
    columns: usize,
    n: usize,
    sign: f64,
) -> Result<[Value<'g>; 2], String> {
    c.room_for((2 * rows).saturating_mul(columns))?;
    let angles =
        || (0..rows).flat_map(|j| (0..columns).map(move |k| sign * TURN * (j * k % n) as f64 / n as f64));
    let table = |f: fn(f64) -> f64| {
        let values: Vec<f64> = angles().map(f).collect();
        known(c, elem, &[rows, columns], &values)
    };
    Ok([table(f64::cos)?.value(), table(f64::sin)?.value()])
}

/// The transform of rows `[count, n]`: of a length with divisors by those of shorter ones (Cooley and Tukey, 1965).
fn transform<'g>(c: &Call<'_, 'g>, x: Complex<'g>, sign: f64) -> Result<Complex<'g>, String> {
    const SHORT: usize = 32;
    let (count, n) = (x.re.dim(0), x.re.dim(1));
    let elem = if x.re.dtype() == DType::F64 { Elem::Double } else { Elem::Float };
    let divisor = (2..).take_while(|d| d * d <= n).filter(|d| n.is_multiple_of(*d)).last();
    let a = match divisor {
        Some(a) if n > SHORT => a,
        _ if n <= MOST_AT_ONCE => {
            let [cos, sin] = roots(c, elem, n, n, n, sign)?;
            return Ok(x.times(cos, sin, Value::matmul));
        }
        _ => {
            return Err(format!("cannot transform {n} places: a prime length may be at most {MOST_AT_ONCE}"));
        }
    };
    let b = n / a;
    // Place j1 b + j2 goes in, frequency k2 a + k1 comes out.
    let columns = x.map(|v| v.reshape([count, a, b]).transpose(&[0, 2, 1]).reshape([count * b, a]));
    let inner = transform(c, columns, sign)?.map(|v| v.reshape([count, b, a]));
    let [cos, sin] = roots(c, elem, b, a, n, sign)?;
    let twisted = inner.times(cos, sin, |x, y| x * y);
    let rows = twisted.map(|v| v.transpose(&[0, 2, 1]).reshape([count * a, b]));
    Ok(transform(c, rows, sign)?.map(|v| v.reshape([count, a, b]).transpose(&[0, 2, 1]).reshape([count, n])))
}

/// What a transform is asked for.
struct Wanted {
    length: usize,
    inverse: bool,
    onesided: bool,
}

/// The transform of an axis of real (`[.., 1]`) or complex (`[.., 2]`) numbers.
fn fourier<'g>(c: &Call<'_, 'g>, x: Value<'g>, at: usize, wanted: &Wanted) -> Result<Value<'g>, String> {
    let shape = x.shape();
    let last = shape.rank() - 1;
    let complex = match shape[last] {
        1 => false,
        2 => true,
        other => {
            return Err(format!(
                "expected real (1) or complex numbers (2) along the last axis, found {other}"
            ));
        }
    };
    let &Wanted { length: n, inverse, onesided } = wanted;
    if onesided && complex && !inverse {
        return Err("the spectrum of complex numbers has two sides; onesided must be 0".into());
    }
    if n == 0 || n > MOST {
        return Err(format!("expected a length between 1 and {MOST}, found {n}"));
    }
    // The axis last, as rows of the right length: of one side of a spectrum if that is what comes in.
    let mut perm: Vec<usize> = (0..last).filter(|&a| a != at).collect();
    perm.push(at);
    let lead: Vec<usize> = perm[..last - 1].iter().map(|&a| shape[a]).collect();
    let count = lead.iter().product();
    let half = n / 2 + 1;
    let taken = if inverse && onesided { half } else { n };
    let part = |i: usize| {
        let dims: Vec<usize> = shape[..last].to_vec();
        let rows = x.slice(last, i, i + 1).reshape(dims).transpose(&perm).reshape([count, shape[at]]);
        match shape[at] {
            size if size >= taken => rows.slice(1, 0, taken),
            size => rows.pad(&[0, 0], &[0, taken - size], 0.0),
        }
    };
    let mut rows = Complex { re: part(0), im: complex.then(|| part(1)) };
    if inverse && onesided {
        // The other side mirrors it.
        let other = |v: Value<'g>| v.slice(1, 1, n - half + 1).reverse(&[1]);
        let whole = |v: Value<'g>, mirrored: Value<'g>| c.b.concat(&[v, mirrored], 1);
        rows = Complex { re: whole(rows.re, other(rows.re)), im: rows.im.map(|im| whole(im, -other(im))) };
    }
    let sign = if inverse { 1.0 } else { -1.0 };
    let mut found = transform(c, rows, sign)?;
    if inverse {
        found = found.map(|v| v * (1.0 / n as f64));
    }
    if onesided && !inverse {
        found = found.map(|v| v.slice(1, 0, half));
    }
    let mut back = vec![0; last];
    perm.iter().enumerate().for_each(|(i, &p)| back[p] = i);
    let placed = |v: Value<'g>| v.reshape([&lead[..], &[v.dim(1)]].concat()).transpose(&back).expand(last);
    Ok(match found.im {
        Some(im) if !(inverse && onesided) => c.b.concat(&[placed(found.re), placed(im)], last),
        _ => placed(found.re),
    })
}

fn dft<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let rank = x.rank();
    let at = match c.opset < 20 {
        true => c.int("axis", 1)?,
        false if c.has(2) => c.known_ints(2)?.first().copied().unwrap_or(-2),
        false => -2,
    };
    let at = axis(at, rank)?;
    if rank < 2 || at == rank - 1 {
        return Err(format!("cannot transform axis {at} of {}", x.shape()));
    }
    let (inverse, onesided) = (c.flag("inverse", false)?, c.flag("onesided", false)?);
    let length = match c.has(1) {
        true => size_at(c, 1, 1)?,
        false if inverse && onesided => 2 * x.shape()[at].saturating_sub(1),
        false => x.shape()[at],
    };
    let value = fourier(c, x.floats(), at, &Wanted { length, inverse, onesided })?;
    Ok(Var::new(x.elem, value.cast(x.arithmetic())))
}

/// Transforms of pieces of a signal.
fn stft<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (x, window) = (c.var(0)?, c.optional(2)?);
    let [n, signal, parts] = x.shape()[..] else {
        return Err(format!("expected [n, length, 1 or 2], found {}", x.shape()));
    };
    let step = size_at(c, 1, 1)?;
    let length = match (c.has(3), &window) {
        (true, _) => size_at(c, 3, 1)?,
        (false, Some(window)) => window.shape().elements(),
        (false, None) => signal,
    };
    if length == 0 || length > signal {
        return Err(format!("pieces of {length} do not fit in a signal of {signal}"));
    }
    let frames = (signal - length) / step + 1;
    if frames.saturating_mul(length) > MOST << 4 {
        return Err(format!("{frames} pieces of {length} are too many"));
    }
    let places: Vec<i32> =
        (0..frames).flat_map(|f| (0..length).map(move |i| (f * step + i) as i32)).collect();
    let mut pieces = take_along(c, x.floats(), 1, places)?.reshape([n, frames, length, parts]);
    if let Some(window) = window {
        if window.shape()[..] != [length] {
            return Err(format!("expected a window of {length}, found {}", window.shape()));
        }
        pieces = pieces * window.floats().cast(pieces.dtype()).reshape([length, 1]);
    }
    let wanted = Wanted { length, inverse: false, onesided: c.flag("onesided", true)? };
    let value = fourier(c, pieces, 2, &wanted)?;
    Ok(Var::new(x.elem, value.cast(x.arithmetic())))
}

/// Triangles over the bins of a spectrum, with equal distances on the mel scale.
fn mel_weight_matrix<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let elem = c.elem("output_datatype", Elem::Float)?;
    let (bands, length, rate) = (size_at(c, 0, 0)?, size_at(c, 1, 1)?, size_at(c, 2, 1)?);
    let mut edge = |i: usize| -> Result<f64, String> {
        match c.known_floats(i)?[..] {
            [hertz] if hertz.is_finite() && hertz >= 0.0 => Ok(2595.0 * (hertz / 700.0).ln_1p() / 10f64.ln()),
            ref other => Err(format!("operand {i}: expected a frequency, found {other:?}")),
        }
    };
    let (low, high) = (edge(3)?, edge(4)?);
    let bins = length / 2 + 1;
    if bins.saturating_mul(bands) > MOST {
        return Err(format!("{bins} bins in {bands} bands are too many"));
    }
    let step = (high - low) / (bands + 2) as f64;
    let place = |i: usize| {
        let hertz = 700.0 * ((low + i as f64 * step) / 2595.0 * 10f64.ln()).exp_m1();
        ((length + 1) as f64 * hertz / rate as f64).floor() as i64
    };
    let mut values = vec![0.0; bins * bands];
    for band in 0..bands {
        let (left, centre, right) = (place(band), place(band + 1), place(band + 2));
        for bin in left.max(0)..=centre.max(right.saturating_sub(1)).min(bins as i64 - 1) {
            let value = match bin.cmp(&centre) {
                Ordering::Less => (bin - left) as f64 / (centre - left) as f64,
                Ordering::Equal => 1.0,
                Ordering::Greater => (right - bin) as f64 / (right - centre) as f64,
            };
            values[bin as usize * bands + band] = value;
        }
    }
    known(c, elem, &[bins, bands], &values)
}
