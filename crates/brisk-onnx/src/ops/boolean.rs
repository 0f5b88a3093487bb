//! Comparisons, truth values and bits.

use brisk_graph::prim::Binary;
use brisk_graph::{DType, Tensor, Value};

use super::elementwise::{aligned, ordered, turn, wrap};
use super::{Operator, one};
use crate::call::{Call, widest};
use crate::{Elem, Item, Var};

pub(super) const OPS: &[Operator] = &[
    one("And", |c| truth(c, |a, b| a.min(b))),
    one("BitShift", shift),
    one("BitwiseAnd", |c| bits(c, Binary::And)),
    one("BitwiseNot", invert),
    one("BitwiseOr", |c| bits(c, Binary::Or)),
    one("BitwiseXor", |c| bits(c, Binary::Xor)),
    one("Equal", equal),
    one("Greater", |c| compare(c, |a, b| a.greater(b))),
    one("GreaterOrEqual", |c| compare(c, |a, b| b.less_equal(a))),
    one("IsInf", is_inf),
    one("IsNaN", |c| test(c, |v| v.equal(v).equal(0.0))),
    one("Less", |c| compare(c, |a, b| a.less(b))),
    one("LessOrEqual", |c| compare(c, |a, b| a.less_equal(b))),
    one("Not", |c| test(c, |v| v.equal(0.0))),
    one("Or", |c| truth(c, |a, b| a.max(b))),
    one("Where", select),
    one("Xor", |c| truth(c, |a, b| a.equal(b).equal(0.0))),
];

fn truth<'g>(
    c: &mut Call<'_, 'g>,
    f: impl FnOnce(Value<'g>, Value<'g>) -> Value<'g>,
) -> Result<Var<'g>, String> {
    let (values, order) = aligned(&[c.var(0)?, c.var(1)?]);
    Ok(ordered(Elem::Bool, f(values[0].cast(DType::U8), values[1].cast(DType::U8)), order))
}

fn compare<'g>(
    c: &mut Call<'_, 'g>,
    f: impl FnOnce(Value<'g>, Value<'g>) -> Value<'g>,
) -> Result<Var<'g>, String> {
    let (a, b) = (c.var(0)?, c.var(1)?);
    let (values, order) = aligned(&[a.clone(), b]);
    let dtype = widest(values[0].dtype(), values[1].dtype());
    let mut operands = [values[0].cast(dtype), values[1].cast(dtype)];
    if a.elem == Elem::Uint64 {
        operands = operands.map(|v| turn(v.cast(DType::I64)));
    }
    Ok(ordered(Elem::Bool, f(operands[0], operands[1]), order))
}

fn equal<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    if let (Item::Texts(a, x), Item::Texts(b, y)) = (c.item(0)?, c.item(1)?) {
        let shape = a.broadcast(b).ok_or_else(|| format!("shapes {a} and {b} do not fit"))?;
        c.room_for(shape.elements())?;
        let place = |i: usize, own: &brisk_graph::Shape| {
            let strides = own.strides();
            let all = shape.strides();
            let added = shape.rank() - own.rank();
            (0..own.rank())
                .map(|d| if own[d] == 1 { 0 } else { i / all[d + added] % own[d] * strides[d] })
                .sum::<usize>()
        };
        let same = |i: usize| u8::from(x.get(place(i, a)) == y.get(place(i, b)));
        let values: Vec<u8> = (0..shape.elements()).map(same).collect();
        return Ok(Var::new(Elem::Bool, c.constant(Tensor::new(&shape, values))?));
    }
    compare(c, |a, b| a.equal(b))
}

fn test<'g>(c: &mut Call<'_, 'g>, f: impl FnOnce(Value<'g>) -> Value<'g>) -> Result<Var<'g>, String> {
    Ok(c.var(0)?.map(f).of(Elem::Bool))
}

fn is_inf<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (up, down) = (c.flag("detect_positive", true)?, c.flag("detect_negative", true)?);
    test(c, |v| {
        let none = v.builder().fill_as(0.0, v.shape(), DType::U8);
        let above = if up { v.equal(f64::INFINITY) } else { none };
        let below = if down { v.equal(f64::NEG_INFINITY) } else { none };
        above.max(below)
    })
}

fn select<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (condition, a, b) = (c.var(0)?, c.var(1)?, c.var(2)?);
    let elem = a.elem;
    let (values, order) = aligned(&[condition, a, b]);
    let dtype = widest(values[1].dtype(), values[2].dtype());
    let value = values[0].cast(DType::U8).select(values[1].cast(dtype), values[2].cast(dtype));
    Ok(ordered(elem, value, order))
}

fn bits<'g>(c: &mut Call<'_, 'g>, op: Binary) -> Result<Var<'g>, String> {
    let (a, b) = (c.var(0)?, c.var(1)?);
    let (values, order) = aligned(&[a.clone(), b]);
    Ok(ordered(a.elem, values[0].cast(DType::I64).binary(op, values[1].cast(DType::I64)), order))
}

fn invert<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    Ok(wrap(c.var(0)?.map(|v| -1.0 - v.cast(DType::I64))))
}

fn shift<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let left = match c.text("direction", "")? {
        "LEFT" => true,
        "RIGHT" => false,
        other => return Err(format!("attribute direction: expected LEFT or RIGHT, found {other:?}")),
    };
    let (a, b) = (c.var(0)?, c.var(1)?);
    let Some((bits, signed)) = a.elem.bits() else {
        return Err(format!("expected whole numbers, found {}", a.elem));
    };
    let (values, order) = aligned(&[a.clone(), b]);
    let (x, by) = (values[0].cast(DType::I64), values[1].cast(DType::I64));
    let shape = x.shape().broadcast(&by.shape()).ok_or("the shapes do not fit")?;
    let (x, by) = (x.broadcast_to(&shape), by.broadcast_to(&shape));
    // So far that nothing but the sign is left.
    let far = by.less(0.0).max(by.less(f64::from(bits)).equal(0.0));
    let zero = c.b.fill_as(0.0, &shape, DType::I64);
    let inside = far.select(zero, by);
    let moved = match (left, signed) {
        (true, _) => far.select(zero, x.binary(Binary::Shl, inside)),
        (false, true) => x.binary(Binary::Shr, far.select(zero + 63.0, inside)),
        (false, false) => {
            // Carried with a sign, which must not come after the number.
            let one = c.b.fill_as(1.0, &shape, DType::I64);
            let kept = one.binary(Binary::Shl, 64.0 - inside) - 1.0;
            let moved = x.binary(Binary::Shr, inside).binary(Binary::And, kept);
            far.select(zero, inside.greater(0.0).select(moved, x))
        }
    };
    Ok(wrap(ordered(a.elem, moved, order)))
}
