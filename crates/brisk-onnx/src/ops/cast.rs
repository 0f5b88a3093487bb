//! Between element types.

use brisk_graph::{DType, Tensor};

use super::elementwise::wrap;
use super::{Operator, many, one};
use crate::call::Call;
use crate::item::round;
use crate::{Elem, Item, Var};

pub(super) const OPS: &[Operator] = &[
    many("Cast", |c| {
        let to = c.elem("to", Elem::Float)?;
        cast(c, to)
    }),
    many("CastLike", |c| {
        let to = match c.item(1)? {
            Item::Texts(..) => Elem::String,
            _ => c.var(1)?.elem,
        };
        cast(c, to)
    }),
    one("BitCast", bit_cast),
];

fn cast<'g>(c: &mut Call<'_, 'g>, to: Elem) -> Result<Vec<Item<'g>>, String> {
    let saturate = c.flag("saturate", true)?;
    if let Item::Texts(shape, texts) = c.item(0)? {
        let (shape, texts) = (shape.clone(), texts.clone());
        if to == Elem::String {
            return Ok(vec![Item::Texts(shape, texts)]);
        }
        c.room_for(texts.len())?;
        if to.bits().is_some() {
            let values = texts.iter().map(|t| whole(t)).collect::<Result<Vec<_>, _>>()?;
            let from = if to == Elem::Uint64 { to } else { Elem::Int64 };
            let read = Var::new(from, c.make_ints(shape, values)?.value());
            return Ok(vec![convert(&read, to, saturate).into()]);
        }
        let values = texts.iter().map(|t| number(t)).collect::<Result<Vec<_>, _>>()?;
        let read = c.constant(Tensor::from_f64s(DType::F64, shape, &values))?;
        return Ok(vec![convert(&Var::new(Elem::Double, read), to, saturate).into()]);
    }
    let x = c.var(0)?;
    if to == Elem::String {
        return super::text::from_numbers(c, &x).map(|t| vec![t]);
    }
    if to == Elem::Float8E8M0 && x.elem != to {
        return Ok(vec![to_powers(c, &x, saturate)?.into()]);
    }
    Ok(vec![convert(&x, to, saturate).into()])
}

fn number(text: &str) -> Result<f64, String> {
    text.trim().parse().map_err(|_| format!("the text {text:?} is no number"))
}

/// A whole number, as the bits that carry it; of one with a point what is before it.
fn whole(text: &str) -> Result<i64, String> {
    match text.trim().parse::<i128>() {
        Ok(exact) => Ok(exact as i64),
        Err(_) => number(text).map(|v| v as i64),
    }
}

/// The elements as another type. Of floats that are too large for an eight-bit float the largest one remains if `saturate` is set.
pub fn convert<'g>(x: &Var<'g>, to: Elem, saturate: bool) -> Var<'g> {
    let from = x.elem;
    if from == to {
        return x.clone();
    }
    if to == Elem::Bool {
        return x.map(|v| v.equal(0.0).equal(0.0)).of(to);
    }
    if let Some(format) = to.format() {
        // A double is rounded once.
        let wide = x.carried(if from == Elem::Double { DType::F64 } else { DType::F32 });
        let narrow = wide.map(|v| {
            let number = |n: f64| v.builder().fill_as(n, v.shape(), v.dtype());
            let rounded = round(v, format);
            let clamped = v.sign() * number(format.largest);
            let kept = match (to, saturate) {
                (Elem::Float16 | Elem::Bfloat16, _) => rounded,
                (_, true) | (Elem::Float4E2M1, _) => {
                    rounded.abs().less_equal(format.largest).select(rounded, clamped)
                }
                (_, false) => rounded,
            };
            // NaN stays what it is, where there is such a thing.
            let nan = if to == Elem::Float4E2M1 { number(-0.0) } else { v };
            v.equal(v).select(kept, nan)
        });
        return narrow.carried(DType::F32).of(to);
    }
    if to.is_float() {
        // Numbers without a sign are carried as if they had one.
        if from == Elem::Uint64 {
            return x
                .map(|v| {
                    let f = v.cast(to.dtype());
                    v.less(0.0).select(f + 18_446_744_073_709_551_616.0, f)
                })
                .of(to);
        }
        return x.carried(to.dtype()).of(to);
    }
    let whole = x.carried(DType::I64).of(to);
    wrap(whole)
}

/// To powers of two: up, down or to the nearest.
fn to_powers<'g>(c: &Call<'_, 'g>, x: &Var<'g>, saturate: bool) -> Result<Var<'g>, String> {
    let mode = c.word("round_mode", &["up", "down", "nearest"])?;
    let (least, most) = ((-127.0f64).exp2(), 127.0f64.exp2());
    let powers = x.carried(DType::F32).map(|v| {
        let number = |n: f64| v.builder().fill_as(n, v.shape(), v.dtype());
        let near = v.round_bits(1, -127);
        let power = match mode {
            "up" => near.less(v).select(near * 2.0, near),
            "down" => near.greater(v).select(near * 0.5, near),
            _ => near,
        };
        let bounded = match saturate {
            true => power.max(least).min(most),
            false => {
                let inside = least_or_more(power, least).min(power.less_equal(most));
                inside.select(power, number(f64::NAN))
            }
        };
        v.equal(v).select(bounded, v)
    });
    Ok(powers.of(Elem::Float8E8M0))
}

fn least_or_more(v: brisk_graph::Value<'_>, least: f64) -> brisk_graph::Value<'_> {
    v.less(least).equal(0.0)
}

/// The same bits as another type of the same width.
fn bit_cast<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let to = c.elem("to", Elem::Float)?;
    let x = c.var(0)?;
    let (from, tensor) = (x.elem, c.look(x.settled())?);
    let bits: Vec<u64> = match tensor.data() {
        brisk_graph::Data::I64(v) => v.iter().map(|&v| v as u64).collect(),
        brisk_graph::Data::U8(v) => v.iter().map(|&v| v.into()).collect(),
        brisk_graph::Data::I32(v) => v.iter().map(|&v| v as u64).collect(),
        brisk_graph::Data::F64(v) => v.iter().map(|v| v.to_bits()).collect(),
        brisk_graph::Data::F32(v) => match from {
            Elem::Float => v.iter().map(|v| v.to_bits().into()).collect(),
            Elem::Float16 => v.iter().map(|&v| half::f16::from_f32(v).to_bits().into()).collect(),
            Elem::Bfloat16 => v.iter().map(|&v| half::bf16::from_f32(v).to_bits().into()).collect(),
            other => return Err(format!("the bits of {other} are not known")),
        },
    };
    let width = |e: Elem| match e {
        Elem::Double => Some(64),
        Elem::Float => Some(32),
        Elem::Float16 | Elem::Bfloat16 => Some(16),
        Elem::Bool => Some(8),
        e => e.bits().map(|b| b.0),
    };
    if width(from).is_none() || width(from) != width(to) {
        return Err(format!("{from} and {to} have not the same width"));
    }
    let data: brisk_graph::Data = match to {
        Elem::Double => bits.iter().map(|&b| f64::from_bits(b)).collect::<Vec<_>>().into(),
        Elem::Float => bits.iter().map(|&b| f32::from_bits(b as u32)).collect::<Vec<_>>().into(),
        Elem::Float16 => {
            bits.iter().map(|&b| half::f16::from_bits(b as u16).to_f32()).collect::<Vec<_>>().into()
        }
        Elem::Bfloat16 => {
            bits.iter().map(|&b| half::bf16::from_bits(b as u16).to_f32()).collect::<Vec<_>>().into()
        }
        Elem::Bool | Elem::Uint8 => bits.iter().map(|&b| b as u8).collect::<Vec<_>>().into(),
        _ => bits.iter().map(|&b| b as i64).collect::<Vec<_>>().into(),
    };
    Ok(wrap(Var::new(to, c.constant(Tensor::new(tensor.shape(), data))?)))
}
