//! Quantized numbers. They are carried as floats, which hold up to 24 bits exactly, so that chains of them stay fast.

use brisk_graph::{DType, Value};

use super::conv::{Windows, convolve_with};
use super::elementwise::round;
use super::{Operator, many, one};
use crate::call::{Call, axis};
use crate::{Elem, Item, Var};

pub(super) const OPS: &[Operator] = &[
    one("ConvInteger", conv_integer),
    one("DequantizeLinear", dequantize),
    many("DynamicQuantizeLinear", dynamic),
    one("MatMulInteger", matmul_integer),
    one("QLinearConv", qlinear_conv),
    one("QLinearMatMul", qlinear_matmul),
    one("QuantizeLinear", quantize),
];

/// So many products of bytes add up exactly in f32.
const EXACT: usize = 256;

/// A scale or zero point, to stand beside values of a shape: one number, one for each place of an axis, or one for each block of it.
fn beside<'g>(v: &Var<'g>, shape: &[usize], at: i64, block: i64, dtype: DType) -> Result<Value<'g>, String> {
    let own = v.shape();
    let value = v.value().cast(dtype);
    if own.elements() == 1 {
        return Ok(value.reshape([0; 0]));
    }
    if block > 0 && own.rank() == shape.len() {
        let at = axis(at, shape.len())?;
        let (mut split, mut wide) = (own.to_vec(), own.to_vec());
        split.insert(at + 1, 1);
        wide.insert(at + 1, block as usize);
        let mut whole = own.to_vec();
        whole[at] = whole[at].saturating_mul(block as usize);
        return Ok(value.reshape(split).broadcast_to(wide).reshape(whole).slice(at, 0, shape[at]));
    }
    if own.rank() == 1 {
        let at = axis(at, shape.len())?;
        let mut dims = vec![1; shape.len()];
        dims[at] = own.elements();
        return Ok(value.reshape(dims));
    }
    Ok(value)
}

/// What whole numbers of so many bits are computed in.
fn wide(elem: Elem) -> DType {
    match elem.bits() {
        Some((bits, _)) if bits > 16 => DType::F64,
        _ => DType::F32,
    }
}

fn quantize<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (x, scale, zero) = (c.var(0)?, c.var(1)?, c.optional(2)?);
    let to = match (&zero, c.attribute("output_dtype").is_some() && c.int("output_dtype", 0)? != 0) {
        (_, true) => c.elem("output_dtype", Elem::Uint8)?,
        (Some(zero), false) => zero.elem,
        (None, false) => Elem::Uint8,
    };
    let saturate = c.flag("saturate", true)?;
    let shape = x.shape();
    let (at, block) = (c.int("axis", 1)?, c.int("block_size", 0)?);
    let scale = beside(&scale, &shape, at, block, DType::F32)?;
    let ratio = x.value().cast(DType::F32) / scale;
    let zero = zero.map(|z| beside(&z, &shape, at, block, DType::F32)).transpose()?;
    if let Some((low, high)) = to.range() {
        let mut whole = round(ratio);
        if let Some(zero) = zero {
            whole = whole + zero;
        }
        return Ok(Var::new(to, whole.max(low).min(high)));
    }
    let sum = zero.map_or(ratio, |zero| ratio + zero);
    Ok(super::cast::convert(&Var::new(Elem::Float, sum), to, saturate))
}

fn dequantize<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (x, scale, zero) = (c.var(0)?, c.var(1)?, c.optional(2)?);
    let elem = match c.int("output_dtype", 0)? {
        0 => scale.elem,
        _ => c.elem("output_dtype", Elem::Float)?,
    };
    let shape = x.shape();
    let (at, block) = (c.int("axis", 1)?, c.int("block_size", 0)?);
    let dtype = wide(x.elem);
    let mut value = x.value().cast(dtype);
    if let Some(zero) = zero {
        value = value - beside(&zero, &shape, at, block, dtype)?;
    }
    Ok(Var::new(elem, value.cast(DType::F32) * beside(&scale, &shape, at, block, DType::F32)?))
}

fn dynamic<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let x = c.var(0)?.value().cast(DType::F32);
    let all: Vec<usize> = (0..x.rank()).collect();
    let (low, high) = (x.reduce_min(&all).min(0.0), x.reduce_max(&all).max(0.0));
    let range = (high - low) / 255.0;
    let one = c.b.fill(1.0, range.shape());
    let scale = range.equal(0.0).select(one, range);
    let zero = round((0.0 - low) / scale).max(0.0).min(255.0);
    let y = (round(x / scale) + zero).max(0.0).min(255.0);
    let bytes = |v| Var::new(Elem::Uint8, v).into();
    Ok(vec![bytes(y), Var::new(Elem::Float, scale).into(), bytes(zero)])
}

/// An operand less its zero point, which is one number or one for each place of an axis.
fn centred<'g>(x: &Var<'g>, zero: Option<&Var<'g>>, at: i64) -> Result<Value<'g>, String> {
    let value = x.value().cast(DType::F32);
    match zero {
        Some(zero) => Ok(value - beside(zero, &x.shape(), at, 0, DType::F32)?),
        None => Ok(value),
    }
}

/// A product of whole numbers that are floats, exact as long as its sums stay below 2^24 for each stretch; the stretches are added up in
/// i64.
fn exact_product<'g>(c: &Call<'_, 'g>, a: Value<'g>, b: Value<'g>) -> Result<Value<'g>, String> {
    let k = a.last();
    // A stretch of each, their product, and its sum with those before.
    c.afford((k / EXACT).saturating_mul(8))?;
    if a.rank() == 0 || b.rank() == 0 {
        return Err(format!("cannot multiply {} and {}", a.shape(), b.shape()));
    }
    let (ra, rb) = (a.rank() - 1, if b.rank() == 1 { 0 } else { b.rank() - 2 });
    let mut sum: Option<Value<'g>> = None;
    for start in (0..k.max(1)).step_by(EXACT) {
        let end = (start + EXACT).min(k);
        let part = super::linear::matmul(a.slice(ra, start, end), b.slice(rb, start, end))?;
        let part = part.cast(DType::I64);
        sum = Some(sum.map_or(part, |sum| sum + part));
    }
    sum.ok_or_else(|| "an empty product".into())
}

fn matmul_integer<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (a, b) = (c.var(0)?, c.var(1)?);
    let (za, zb) = (c.optional(2)?, c.optional(3)?);
    let (a, b) = (centred(&a, za.as_ref(), -2)?, centred(&b, zb.as_ref(), -1)?);
    Ok(Var::new(Elem::Int32, exact_product(c, a, b)?))
}

/// A scale, to stand beside the rows (`at` -2) or columns (-1) of a product.
fn requantized<'g>(
    sum: Value<'g>,
    scale: Value<'g>,
    (y_scale, y_zero): (Var<'g>, Var<'g>),
) -> Result<Var<'g>, String> {
    let to = y_zero.elem;
    let ratio = sum.cast(DType::F32) * scale / y_scale.value().cast(DType::F32).reshape([0; 0]);
    let zero = y_zero.value().cast(DType::F32).reshape([0; 0]);
    let (low, high) = to.range().ok_or_else(|| format!("{to} is no type of quantized numbers"))?;
    Ok(Var::new(to, (round(ratio) + zero).max(low).min(high)))
}

fn qlinear_matmul<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let v: Vec<Var<'g>> = c.vars()?;
    let [a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero] = &v[..] else {
        return Err(format!("expected 8 operands, found {}", v.len()));
    };
    let product = exact_product(c, centred(a, Some(a_zero), -2)?, centred(b, Some(b_zero), -1)?)?;
    let shape = product.shape();
    let scale = beside(a_scale, &shape, -2, 0, DType::F32)? * beside(b_scale, &shape, -1, 0, DType::F32)?;
    requantized(product, scale, (y_scale.clone(), y_zero.clone()))
}

/// The sums of a convolution of whole numbers that are floats, exact in stretches of channels; `[n, channels, ...]` as i64.
fn exact_conv<'g>(c: &Call<'_, 'g>, x: &Var<'g>, w: &Var<'g>) -> Result<Value<'g>, String> {
    let kernel = w.shape();
    let groups = c.int("group", 1)?.max(1) as usize;
    let windows = Windows::of(c, x.shape().get(2..).unwrap_or(&[]), kernel.get(2..).unwrap_or(&[]).to_vec())?;
    let taps: usize = kernel.iter().skip(2).product();
    let each = (EXACT / taps.max(1)).max(1);
    let channels = kernel.get(1).copied().unwrap_or(0);
    if groups > 1 || channels <= each {
        let dtype = if channels.saturating_mul(taps) <= EXACT { DType::F32 } else { DType::F64 };
        return Ok(convolve_with(c, x, w, &windows, groups, dtype)?.value().cast(DType::I64));
    }
    // Of each stretch of channels a convolution, which is one for each slice of a volume.
    let slices = if kernel.rank() == 5 { kernel[2] } else { 1 };
    c.afford((channels / each).saturating_mul(slices.saturating_mul(6).saturating_add(10)))?;
    let mut sum: Option<Value<'g>> = None;
    for start in (0..channels).step_by(each) {
        let end = (start + each).min(channels);
        let part = |v: &Var<'g>| Var::new(v.elem, v.value().slice(1, start, end));
        let y = convolve_with(c, &part(x), &part(w), &windows, 1, DType::F32)?.value().cast(DType::I64);
        sum = Some(sum.map_or(y, |sum| sum + y));
    }
    sum.ok_or_else(|| "an empty convolution".into())
}

fn conv_integer<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (x, w) = (c.var(0)?, c.var(1)?);
    let (zx, zw) = (c.optional(2)?, c.optional(3)?);
    let x = Var::new(x.elem, centred(&x, zx.as_ref(), 1)?);
    let w = Var::new(w.elem, centred(&w, zw.as_ref(), 0)?);
    Ok(Var::new(Elem::Int32, exact_conv(c, &x, &w)?))
}

fn qlinear_conv<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (x, x_scale, x_zero) = (c.var(0)?, c.var(1)?, c.var(2)?);
    let (w, w_scale, w_zero) = (c.var(3)?, c.var(4)?, c.var(5)?);
    let (y_scale, y_zero, bias) = (c.var(6)?, c.var(7)?, c.optional(8)?);
    let x = Var::new(x.elem, centred(&x, Some(&x_zero), 1)?);
    let w = Var::new(w.elem, centred(&w, Some(&w_zero), 0)?);
    let mut sum = exact_conv(c, &x, &w)?;
    let shape = sum.shape();
    if let Some(bias) = bias {
        sum = sum + beside(&bias, &shape, 1, 0, DType::I64)?;
    }
    let scale = beside(&x_scale, &shape, 1, 0, DType::F32)? * beside(&w_scale, &shape, 1, 0, DType::F32)?;
    requantized(sum, scale, (y_scale, y_zero))
}
