//! Activation functions.

use brisk_graph::{DType, Value, op};

use super::elementwise::{aligned, ordered, unary};
use super::{Operator, one};
use crate::Var;
use crate::call::{Call, axis};

pub(super) const OPS: &[Operator] = &[
    one("Celu", |c| {
        let alpha = c.float("alpha", 1.0)?;
        unary(c, |x| x.max(0.0) + ((x * (1.0 / alpha)).min(0.0).exp() - 1.0) * alpha)
    }),
    one("Elu", |c| {
        let alpha = c.float("alpha", 1.0)?;
        unary(c, |x| x.max(0.0) + (x.min(0.0).exp() - 1.0) * alpha)
    }),
    one("Gelu", |c| {
        let tanh = c.word("approximate", &["none", "tanh"])? == "tanh";
        unary(c, |x| op::gelu(x, tanh))
    }),
    one("HardSigmoid", |c| {
        let (alpha, beta) = (c.float("alpha", 0.2)?, c.float("beta", 0.5)?);
        unary(c, |x| hard_sigmoid(x, alpha, beta))
    }),
    one("HardSwish", |c| unary(c, |x| x * hard_sigmoid(x, 1.0 / 6.0, 0.5))),
    one("Hardmax", hardmax),
    one("LeakyRelu", |c| {
        let alpha = c.float("alpha", 0.01)?;
        unary(c, |x| x.max(0.0) + x.min(0.0) * alpha)
    }),
    one("LogSoftmax", |c| softmax(c, op::log_softmax)),
    one("Mish", |c| unary(c, |x| x * op::softplus(x).tanh())),
    one("PRelu", prelu),
    one("Relu", relu),
    one("Selu", |c| {
        let alpha = c.float("alpha", 1.673_263_192_176_818_8)?;
        let gamma = c.float("gamma", 1.050_701_022_148_132_3)?;
        unary(c, |x| (x.max(0.0) + (x.min(0.0).exp() - 1.0) * alpha) * gamma)
    }),
    one("Shrink", |c| {
        let (bias, lambd) = (c.float("bias", 0.0)?, c.float("lambd", 0.5)?);
        let x = c.var(0)?;
        let dtype = x.arithmetic();
        let shrunk = x.map(|v| {
            let v = v.cast(if dtype == DType::F64 { dtype } else { DType::F32 });
            let zero = v.builder().fill_as(0.0, v.shape(), v.dtype());
            v.less(-lambd).select(v + bias, v.greater(lambd).select(v - bias, zero))
        });
        Ok(shrunk.carried(dtype))
    }),
    one("Sigmoid", |c| unary(c, op::sigmoid)),
    one("Softmax", |c| softmax(c, op::softmax)),
    one("Softplus", |c| unary(c, op::softplus)),
    one("Softsign", |c| unary(c, |x| x / (1.0 + x.abs()))),
    one("Swish", |c| {
        let alpha = c.float("alpha", 1.0)?;
        unary(c, |x| x * op::sigmoid(x * alpha))
    }),
    one("ThresholdedRelu", |c| {
        let alpha = c.float("alpha", 1.0)?;
        unary(c, |x| x.greater(alpha).select(x, x.builder().fill_as(0.0, x.shape(), x.dtype())))
    }),
];

fn relu<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    match x.arithmetic() {
        // None without a sign is below 0.
        DType::I64 if x.elem.bits().is_some_and(|(_, signed)| !signed) => Ok(x),
        DType::I64 => Ok(x.map(|v| v.cast(DType::I64).max(0.0))),
        _ => unary(c, op::relu),
    }
}

pub fn hard_sigmoid<'g>(x: Value<'g>, alpha: f64, beta: f64) -> Value<'g> {
    (x * alpha + beta).max(0.0).min(1.0)
}

/// A function of rows along an axis; before version 13, along all axes from that one on.
fn softmax<'g>(c: &mut Call<'_, 'g>, f: impl FnOnce(Value<'g>) -> Value<'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    if !x.elem.is_float() {
        return Err(format!("expected floats, found {}", x.elem));
    }
    let old = c.opset < 13;
    along(&x, c.int("axis", if old { 1 } else { -1 })?, old, f)
}

/// Puts an axis last (or joins all from it on), applies a function of rows, and puts it back.
fn along<'g>(
    x: &Var<'g>,
    at: i64,
    joined: bool,
    f: impl FnOnce(Value<'g>) -> Value<'g>,
) -> Result<Var<'g>, String> {
    let (shape, rank) = (x.shape(), x.rank());
    if rank == 0 {
        return Ok(x.map(|v| f(v.cast(x.arithmetic()).reshape([1, 1])).reshape([0; 0])));
    }
    let at = if joined && at == rank as i64 { rank } else { axis(at, rank)? };
    let value = x.floats();
    if shape.elements() == 0 {
        return Ok(Var::new(x.elem, value));
    }
    if joined {
        let columns = shape[at..].iter().product::<usize>();
        let rows = shape.elements() / columns.max(1);
        return Ok(Var::new(x.elem, f(value.reshape([rows, columns])).reshape(&shape)));
    }
    let mut perm: Vec<usize> = (0..rank).filter(|&a| a != at).collect();
    perm.push(at);
    let rows = Var::new(x.elem, f(x.transposed(&perm).floats()));
    let mut back = vec![0; rank];
    perm.iter().enumerate().for_each(|(i, &p)| back[p] = i);
    Ok(rows.transposed(&back))
}

/// 1 for the first largest of each row, 0 for the others.
fn hardmax<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let old = c.opset < 13;
    along(&x, c.int("axis", if old { 1 } else { -1 })?, old, |rows| {
        let last = rows.rank() - 1;
        let (b, shape) = (rows.builder(), rows.shape());
        let best = rows.cast(DType::F32).argmax(last).expand(last).broadcast_to(&shape);
        b.iota(last, &shape, DType::I32).equal(best).cast(rows.dtype())
    })
}

fn prelu<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (x, slope) = (c.var(0)?, c.var(1)?);
    let dtype = x.arithmetic();
    // Before version 7 there is a number for each channel.
    let channels = x.shape().get(1).copied();
    let slope = match c.opset < 7 && slope.rank() == 1 && Some(slope.shape().elements()) == channels {
        true => {
            let mut dims = vec![1; x.rank() - 1];
            dims[0] = slope.shape().elements();
            Var::new(slope.elem, slope.value().reshape(dims))
        }
        false => slope,
    };
    let (values, order) = aligned(&[x.clone(), slope]);
    let (v, slope) = (values[0].cast(dtype), values[1].cast(dtype));
    let zero = v.builder().fill_as(0.0, v.shape(), dtype);
    Ok(ordered(x.elem, v.max(zero) + v.min(zero) * slope, order))
}
