//! Arithmetic, element by element.

use std::f64::consts::{FRAC_PI_2, PI};

use brisk_graph::prim::Binary;
use brisk_graph::{DType, Value};

use super::{Operator, one};
use crate::call::Call;
use crate::{Elem, Var};

pub(super) const OPS: &[Operator] = &[
    one("Abs", abs),
    one("Acos", |c| unary(c, |x| FRAC_PI_2 - asin(x))),
    one("Acosh", |c| unary(c, |x| (x + ((x - 1.0) * (x + 1.0)).sqrt()).log())),
    one("Add", |c| arithmetic(c, Binary::Add)),
    one("Asin", |c| unary(c, asin)),
    one("Asinh", |c| unary(c, |x| x.sign() * (x.abs() + (x * x + 1.0).sqrt()).log())),
    one("Atan", |c| unary(c, atan)),
    one("Atanh", |c| unary(c, |x| ((1.0 + x) / (1.0 - x)).log() * 0.5)),
    one("Ceil", |c| unary(c, |x| -(-x).floor())),
    one("Clip", clip),
    one("Cos", |c| unary(c, Value::cos)),
    one("Cosh", |c| unary(c, |x| (x.exp() + (-x).exp()) * 0.5)),
    one("Div", |c| arithmetic(c, Binary::Div)),
    one("Erf", |c| unary(c, Value::erf)),
    one("Exp", |c| unary(c, Value::exp)),
    one("Floor", |c| unary(c, Value::floor)),
    one("Log", |c| unary(c, Value::log)),
    one("Max", |c| several(c, Binary::Max)),
    one("Mean", mean),
    one("Min", |c| several(c, Binary::Min)),
    one("Mod", modulo),
    one("Mul", |c| arithmetic(c, Binary::Mul)),
    one("Neg", neg),
    one("Pow", pow),
    one("Reciprocal", |c| unary(c, |x| 1.0 / x)),
    one("Round", |c| unary(c, round)),
    one("Sign", sign),
    one("Sin", |c| unary(c, Value::sin)),
    one("Sinh", |c| unary(c, sinh)),
    one("Sqrt", |c| unary(c, Value::sqrt)),
    one("Sub", |c| arithmetic(c, Binary::Sub)),
    one("Sum", |c| several(c, Binary::Add)),
    one("Tan", |c| unary(c, |x| x.sin() / x.cos())),
    one("Tanh", |c| unary(c, Value::tanh)),
];

/// A function of single floats.
pub fn unary<'g>(c: &mut Call<'_, 'g>, f: impl FnOnce(Value<'g>) -> Value<'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let dtype = x.arithmetic();
    match dtype.is_float() {
        true => Ok(x.map(|v| f(v.cast(dtype)))),
        false => Err(format!("expected floats, found {}", x.elem)),
    }
}

/// Values that are to be combined element by element, with their axes in one order, and what that order is.
pub fn aligned<'g>(vars: &[Var<'g>]) -> (Vec<Value<'g>>, Option<Vec<usize>>) {
    let rank = vars.iter().map(Var::rank).max().unwrap_or(0);
    let largest = vars.iter().filter(|v| v.rank() == rank).max_by_key(|v| v.shape().elements());
    let order = largest.and_then(|v| v.raw().1).map(<[usize]>::to_vec);
    let Some(order) = order else { return (vars.iter().map(Var::value).collect(), None) };
    let values = vars.iter().map(|v| {
        if v.rank() == rank {
            return v.value_in(Some(&order));
        }
        let mut dims = vec![1; rank - v.rank()];
        dims.extend_from_slice(&v.shape());
        Var::new(v.elem, v.value().reshape(dims)).value_in(Some(&order))
    });
    (values.collect(), Some(order))
}

/// A value whose axes are in an order that [`aligned`] found.
pub fn ordered<'g>(elem: Elem, value: Value<'g>, order: Option<Vec<usize>>) -> Var<'g> {
    match order {
        Some(axes) => Var::turned(elem, value, axes),
        None => Var::new(elem, value),
    }
}

/// Whole numbers after arithmetic, wrapped around at the ends of their type.
pub fn wrap(var: Var<'_>) -> Var<'_> {
    let Some((bits, signed)) = var.elem.bits().filter(|b| b.0 < 64) else { return var };
    let (all, half) = ((1i64 << bits) as f64, if signed { (1i64 << (bits - 1)) as f64 } else { 0.0 });
    // Bytes are carried as bytes.
    if var.raw().0.dtype() == DType::U8 {
        return var;
    }
    var.map(|v| {
        let mask = v.builder().fill_as(all - 1.0, v.shape(), DType::I64);
        (v + half).binary(Binary::And, mask) - half
    })
}

/// Two operands, element by element.
pub fn pair<'g>(a: &Var<'g>, b: &Var<'g>, op: Binary) -> Var<'g> {
    let dtype = a.arithmetic();
    let (values, order) = aligned(&[a.clone(), b.clone()]);
    let result = values[0].cast(dtype).binary(op, values[1].cast(dtype));
    wrap(ordered(a.elem, result, order))
}

fn arithmetic<'g>(c: &mut Call<'_, 'g>, op: Binary) -> Result<Var<'g>, String> {
    let (a, b) = (c.var(0)?, c.var(1)?);
    if a.elem == Elem::Uint64 && op == Binary::Div {
        return Ok(unsigned_division(&a, &b));
    }
    Ok(pair(&a, &b, op))
}

/// Of 64-bit numbers without a sign, which are carried as if they had one.
fn unsigned_division<'g>(a: &Var<'g>, b: &Var<'g>) -> Var<'g> {
    let (values, order) = aligned(&[a.clone(), b.clone()]);
    ordered(Elem::Uint64, unsigned_quotient(values[0].cast(DType::I64), values[1].cast(DType::I64)), order)
}

fn unsigned_quotient<'g>(a: Value<'g>, b: Value<'g>) -> Value<'g> {
    let one = |v: Value<'g>| v.builder().fill_as(1.0, v.shape(), DType::I64);
    // Half of `a` by `b`, twice, and what is missing.
    let top = a.builder().fill_as(-1.0, a.shape(), DType::I64);
    let low_bits = turn(top);
    let half = a.binary(Binary::Shr, one(a)).binary(Binary::And, low_bits);
    let quotient = (half / b) * 2.0;
    let rest = a - quotient * b;
    // Once more if the rest is not less, as numbers without a sign.
    let more = turn(rest).less(turn(b)).equal(0.0).cast(DType::I64);
    // By 2^63 and more, which is carried as less than 0, it goes once or not at all.
    let once = turn(a).less(turn(b)).equal(0.0).cast(DType::I64);
    b.less(0.0).select(once, quotient + more)
}

/// Any number of operands.
fn several<'g>(c: &mut Call<'_, 'g>, op: Binary) -> Result<Var<'g>, String> {
    let vars = c.vars()?;
    let [first, rest @ ..] = &vars[..] else { return Err("expected an operand".into()) };
    if first.elem == Elem::Uint64 && matches!(op, Binary::Max | Binary::Min) {
        return Ok(rest.iter().fold(first.clone(), |a, b| unsigned_order(&a, b, op)));
    }
    Ok(rest.iter().fold(first.clone(), |a, b| pair(&a, b, op)))
}

/// The highest bit turned: 64-bit numbers without a sign, which are carried as if they had one, are in order then.
pub fn turn(v: Value<'_>) -> Value<'_> {
    v.binary(Binary::Xor, v.builder().fill_as(i64::MIN as f64, v.shape(), DType::I64))
}

fn unsigned_order<'g>(a: &Var<'g>, b: &Var<'g>, op: Binary) -> Var<'g> {
    let (values, order) = aligned(&[a.clone(), b.clone()]);
    ordered(a.elem, turn(turn(values[0]).binary(op, turn(values[1]))), order)
}

fn mean<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let count = c.inputs.len() as f64;
    Ok(several(c, Binary::Add)?.map(|v| v * (1.0 / count)))
}

fn abs<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    match (x.elem.is_float(), x.elem.bits()) {
        (true, _) => unary(c, Value::abs),
        (_, Some((_, false))) => Ok(x),
        _ => Ok(wrap(x.map(|v| v.cast(DType::I64)).map(|v| v.max(0.0 - v)))),
    }
}

fn neg<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    match x.elem.is_float() {
        true => unary(c, |v| -v),
        false => Ok(wrap(x.map(|v| 0.0 - v.cast(DType::I64)))),
    }
}

fn sign<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    match x.elem.is_float() {
        true => unary(c, Value::sign),
        false => Ok(x.map(|v| {
            let v = v.cast(DType::I64);
            v.greater(0.0).cast(DType::I64) - v.less(0.0).cast(DType::I64)
        })),
    }
}

/// To the nearest whole number, of two the even one.
pub fn round<'g>(x: Value<'g>) -> Value<'g> {
    let floor = x.floor();
    let rest = x - floor;
    let even = (floor * 0.5).floor().equal(floor * 0.5).cast(x.dtype());
    // 1 for what is above the middle, and for odd numbers at it.
    let up = rest.equal(0.5).select(1.0 - even, rest.greater(0.5).cast(x.dtype()));
    floor + up
}

/// Without the cancellation of `e^x - e^-x` near 0.
fn sinh<'g>(x: Value<'g>) -> Value<'g> {
    let square = x * x;
    let series = x * (1.0 + square * (1.0 / 6.0 + square * (1.0 / 120.0 + square * (1.0 / 5040.0))));
    x.abs().less(0.5).select(series, (x.exp() - (-x).exp()) * 0.5)
}

/// By its polynomial on `[-1, 1]` (Abramowitz and Stegun 4.4.49, refined), and the complement beyond.
pub fn atan<'g>(x: Value<'g>) -> Value<'g> {
    let large = x.abs().greater(1.0);
    let t = large.select(1.0 / x, x);
    // tan(atan(t) / 2) brings the argument below tan(pi / 8), where the series ends soon.
    let h = t / (1.0 + (t * t + 1.0).sqrt());
    let s = h * h;
    let terms =
        [1.0, -1.0 / 3.0, 1.0 / 5.0, -1.0 / 7.0, 1.0 / 9.0, -1.0 / 11.0, 1.0 / 13.0, -1.0 / 15.0, 1.0 / 17.0];
    let [.., last] = terms;
    let start = s.builder().fill_as(last, s.shape(), s.dtype());
    let series = terms[..terms.len() - 1].iter().rev().fold(start, |sum, &term| sum * s + term);
    let angle = h * series * 2.0;
    large.select(x.sign() * FRAC_PI_2 - angle, angle)
}

fn asin<'g>(x: Value<'g>) -> Value<'g> {
    let cosine = ((1.0 - x) * (1.0 + x)).sqrt();
    let end = x.abs().equal(1.0);
    end.select(x * FRAC_PI_2, atan(x / cosine))
}

fn clip<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let dtype = x.arithmetic();
    let (low, high) = (c.optional(1)?, c.optional(2)?);
    if x.elem == Elem::Uint64 {
        let ends = [(low, Binary::Max), (high, Binary::Min)].into_iter();
        let ends = ends.filter_map(|(end, op)| end.map(|end| (end, op)));
        return Ok(ends.fold(x, |x, (end, op)| {
            let end = Var::new(x.elem, end.value().reshape([0; 0]));
            unsigned_order(&x, &end, op)
        }));
    }
    let old = c.opset < 11;
    let mut value = x.carried(dtype);
    match low {
        Some(low) => {
            let low = low.value().cast(dtype).reshape([0; 0]);
            value = value.map(|v| v.max(low));
        }
        None if old && c.attribute("min").is_some() => {
            let low = c.float("min", 0.0)?;
            value = value.map(|v| v.max(low));
        }
        None => {}
    }
    match high {
        Some(high) => {
            let high = high.value().cast(dtype).reshape([0; 0]);
            value = value.map(|v| v.min(high));
        }
        None if old && c.attribute("max").is_some() => {
            let high = c.float("max", 0.0)?;
            value = value.map(|v| v.min(high));
        }
        None => {}
    }
    Ok(value)
}

fn pow<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (a, b) = (c.var(0)?, c.var(1)?);
    if a.elem.is_float() {
        // Squares and roots are common, and much cheaper.
        if let Some(exponent) = b.constant().filter(|t| t.elements() == 1 && b.rank() <= a.rank()) {
            let dtype = a.arithmetic();
            match exponent.to_f64s()[0] {
                1.0 => return Ok(a),
                2.0 => return Ok(a.map(|v| v.cast(dtype).square())),
                0.5 => return Ok(a.map(|v| v.cast(dtype).sqrt())),
                _ => {}
            }
        }
        return Ok(pair(&a, &b, Binary::Pow));
    }
    if b.elem.is_float() {
        // The power is a float, then what is left of it.
        let (values, order) = aligned(&[a.clone(), b]);
        let power = values[0].cast(DType::F64).pow(values[1].cast(DType::F64));
        return Ok(wrap(ordered(a.elem, power.cast(DType::I64), order)));
    }
    Ok(pair(&a, &b, Binary::Pow))
}

/// The remainder with the sign of the divisor, or with that of the dividend (`fmod`).
fn modulo<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (a, b) = (c.var(0)?, c.var(1)?);
    let as_c = c.flag("fmod", false)?;
    let dtype = a.arithmetic();
    let (values, order) = aligned(&[a.clone(), b]);
    let (x, y) = (values[0].cast(dtype), values[1].cast(dtype));
    let mut rest = match dtype.is_float() {
        true => {
            let q = x / y;
            let whole = q.less(0.0).select(-(-q).floor(), q.floor());
            // An infinite divisor leaves everything.
            whole.equal(0.0).select(x.broadcast_to(q.shape()), x - whole * y)
        }
        false if a.elem == Elem::Uint64 => {
            let rest = x - unsigned_quotient(x, y) * y;
            return Ok(ordered(a.elem, rest, order));
        }
        false => x - (x / y) * y,
    };
    if !as_c {
        let y = y.broadcast_to(rest.shape());
        let other = rest.less(0.0).equal(y.less(0.0)).equal(0.0);
        let moved = other.select(rest + y, rest);
        let zero = if dtype.is_float() { y.sign() * 0.0 } else { rest };
        rest = rest.equal(0.0).select(zero, moved);
    }
    Ok(wrap(ordered(a.elem, rest, order)))
}

/// The angle of a turn.
pub const TURN: f64 = 2.0 * PI;
