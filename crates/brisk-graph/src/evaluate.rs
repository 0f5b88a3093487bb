//! One primitive on host tensors, exactly in their own types: what folds constants while a graph is built, and what a
//! device falls back on for element types that it has no kernels for.

use brisk_kernels::movement::copy_strided;

use crate::interpret::{Array, primitive};
use crate::prim::{Binary, Compare, Reduce};
use crate::{DType, Data, Prim, Shape, Tensor};

/// The result of a primitive. Whole numbers wrap around at the ends of their type; floats are computed in f64 and rounded once.
///
/// An error says what is wrong with the operands: a division by zero, an index out of range.
///
/// ```
/// use brisk_graph::evaluate::evaluate;
/// use brisk_graph::prim::{Binary, Prim};
/// use brisk_graph::Tensor;
/// let x = Tensor::new([2], vec![i64::MAX, 5])?;
/// let y = Tensor::new([2], vec![1i64, 7])?;
/// let sum = evaluate(&Prim::Binary(Binary::Add), &[x, y])?;
/// assert_eq!(sum.i64s()?, [i64::MIN, 12]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn evaluate(prim: &Prim, inputs: &[Tensor]) -> Result<Tensor, String> {
    let operands: Vec<_> = inputs.iter().map(|t| (t.shape(), t.dtype())).collect();
    let (shape, dtype) = prim.infer(&operands)?;
    if let Some(tensor) = source(prim) {
        return tensor.map_err(|e| e.to_string());
    }
    if let Some(data) = moved(prim, inputs, &shape)? {
        return Tensor::new(shape, data).map_err(|e| e.to_string());
    }
    let whole = inputs.iter().all(|t| !t.dtype().is_float());
    if whole && let Some(values) = whole_numbers(prim, inputs, &shape)? {
        return Tensor::new(shape, narrow(values, dtype)).map_err(|e| e.to_string());
    }
    let kinds: Vec<DType> = inputs.iter().map(Tensor::dtype).collect();
    let arrays: Vec<Array> =
        inputs.iter().map(|t| Array { shape: t.shape().clone(), data: t.to_f64s() }).collect();
    let found = primitive(prim, &arrays.iter().collect::<Vec<_>>(), &kinds, &shape, &[])?;
    Tensor::from_f64s(dtype, shape, &found.data).map_err(|e| e.to_string())
}

/// What is made of nothing.
fn source(prim: &Prim) -> Option<crate::Result<Tensor>> {
    match prim {
        Prim::Constant(tensor) => Some(Ok(tensor.clone())),
        Prim::Fill(value, shape, dtype) => {
            Some(Tensor::from_f64s(*dtype, shape, &vec![value.0; shape.elements()]))
        }
        Prim::Iota(axis, shape, dtype) => {
            let inner: usize = shape[axis + 1..].iter().product();
            let values: Vec<f64> = (0..shape.elements()).map(|i| (i / inner % shape[*axis]) as f64).collect();
            Some(Tensor::from_f64s(*dtype, shape, &values))
        }
        _ => None,
    }
}

/// Calls a body with the elements of each tensor, all of one type, and gives its result that type again.
macro_rules! by_type {
    ($first:expr, $inputs:expr, |$x:ident: $t:ident| $body:expr) => {{
        macro_rules! arm {
            ($variant:ident, $type:ty) => {{
                type $t = $type;
                let mut $x: Vec<&[$t]> = Vec::new();
                for tensor in $inputs {
                    if let Data::$variant(v) = tensor.data() {
                        $x.push(v);
                    }
                }
                Data::$variant($body)
            }};
        }
        match $first.dtype() {
            DType::F32 => arm!(F32, f32),
            DType::F64 => arm!(F64, f64),
            DType::I32 => arm!(I32, i32),
            DType::I64 => arm!(I64, i64),
            DType::U8 => arm!(U8, u8),
        }
    }};
}

/// What only moves elements: the same for all types.
fn moved(prim: &Prim, inputs: &[Tensor], shape: &Shape) -> Result<Option<Data>, String> {
    let view = |offset: usize, strides: Vec<isize>| {
        by_type!(inputs[0], &inputs[..1], |x: T| {
            let mut out = vec![T::default(); shape.elements()];
            copy_strided(shape, x[0], offset, &strides, &mut out, 0, &signed(shape));
            out
        })
    };
    Ok(Some(match prim {
        Prim::Reshape(_) => inputs[0].data().clone(),
        Prim::Broadcast(_) => view(0, inputs[0].shape().strides_in(shape)),
        Prim::Transpose(perm) => {
            let own = inputs[0].shape().strides();
            view(0, perm.iter().map(|&p| own[p] as isize).collect())
        }
        Prim::Slice { start, step, .. } => {
            let own = inputs[0].shape().strides();
            let offset = start.iter().zip(&own).map(|(s, o)| s * o).sum();
            view(offset, step.iter().zip(&own).map(|(s, o)| (s * o) as isize).collect())
        }
        Prim::Reverse(axes) => {
            let own = inputs[0].shape().strides();
            let offset = axes.iter().map(|&a| shape[a].saturating_sub(1) * own[a]).sum();
            let stride =
                |(a, s): (usize, &usize)| if axes.contains(&a) { -(*s as isize) } else { *s as isize };
            view(offset, own.iter().enumerate().map(stride).collect())
        }
        Prim::Concat(axis) => by_type!(inputs[0], inputs, |x: T| {
            let mut out = Vec::with_capacity(shape.elements());
            let outer: usize = shape[..*axis].iter().product();
            let run = |t: &Tensor| t.shape()[*axis..].iter().product::<usize>();
            for i in 0..outer {
                for (part, tensor) in x.iter().zip(inputs) {
                    let n = run(tensor);
                    out.extend_from_slice(&part[i * n..(i + 1) * n]);
                }
            }
            out
        }),
        Prim::Select => {
            let Data::U8(condition) = inputs[0].data() else { return Ok(None) };
            by_type!(inputs[1], &inputs[1..], |x: T| {
                let pairs = x[0].iter().zip(x[1]);
                let values = condition.iter().zip(pairs);
                values.map(|(&c, (&a, &b)): (_, (&T, &T))| if c != 0 { a } else { b }).collect()
            })
        }
        Prim::Take => {
            let (rows, index) = (inputs[0].shape()[0], inputs[1].i32s().map_err(|e| e.to_string())?);
            let width = inputs[0].shape()[1..].iter().product::<usize>();
            if let Some(bad) = index.iter().find(|&&i| usize::try_from(i).map_or(true, |i| i >= rows)) {
                return Err(format!("index {bad} is out of range for {rows} rows"));
            }
            by_type!(inputs[0], &inputs[..1], |x: T| {
                let row = |&i: &i32| -> &[T] { &x[0][i as usize * width..(i as usize + 1) * width] };
                index.iter().flat_map(row).copied().collect()
            })
        }
        Prim::Cast(to) if *to == inputs[0].dtype() => inputs[0].data().clone(),
        _ => return Ok(None),
    }))
}

fn signed(shape: &Shape) -> Vec<isize> {
    shape.strides().into_iter().map(|s| s as isize).collect()
}

/// Arithmetic of whole numbers, in 64 bits; `None` for what is no such thing.
fn whole_numbers(prim: &Prim, x: &[Tensor], shape: &Shape) -> Result<Option<Vec<i64>>, String> {
    let wide = |i: usize| -> Vec<i64> {
        match x[i].data() {
            Data::I64(v) => v.clone(),
            Data::I32(v) => v.iter().map(|&v| v.into()).collect(),
            Data::U8(v) => v.iter().map(|&v| v.into()).collect(),
            Data::F32(_) | Data::F64(_) => Vec::new(),
        }
    };
    Ok(Some(match prim {
        Prim::Binary(op) => {
            let bits = 8 * x[0].dtype().size() as i64;
            let pairs = wide(0).into_iter().zip(wide(1));
            pairs.map(|(a, b)| whole(*op, a, b, bits)).collect::<Result<_, _>>()?
        }
        Prim::Compare(op) => {
            let pairs = wide(0).into_iter().zip(wide(1));
            let truth = |(a, b): (i64, i64)| match op {
                Compare::Less => i64::from(a < b),
                Compare::LessEqual => i64::from(a <= b),
                Compare::Equal => i64::from(a == b),
            };
            pairs.map(truth).collect()
        }
        // Narrower whole numbers are what the low bits say, as in C; bytes stay within their bounds.
        Prim::Cast(DType::U8) => wide(0).into_iter().map(|v| v.clamp(0, 255)).collect(),
        Prim::Cast(DType::I32 | DType::I64) => wide(0),
        Prim::Reduce(kind, axes) => {
            let from = x[0].shape();
            let start = match kind {
                Reduce::Sum => 0,
                Reduce::Max => i64::MIN,
                Reduce::Min => i64::MAX,
            };
            let mut out = vec![start; shape.elements()];
            let kept = shape.strides();
            let mut next = 0;
            let strides: Vec<usize> = (0..from.rank())
                .map(|a| match axes.contains(&a) {
                    true => 0,
                    false => {
                        next += 1;
                        kept[next - 1]
                    }
                })
                .collect();
            let own = from.strides();
            for (i, v) in wide(0).into_iter().enumerate() {
                let place: usize = (0..from.rank()).map(|a| i / own[a] % from[a] * strides[a]).sum();
                let slot = &mut out[place];
                *slot = match kind {
                    Reduce::Sum => slot.wrapping_add(v),
                    Reduce::Max => v.max(*slot),
                    Reduce::Min => v.min(*slot),
                };
            }
            out
        }
        Prim::ScatterAdd(rows) => {
            let (index, updates) = (wide(0), wide(1));
            let width = shape[1..].iter().product::<usize>();
            let mut out = vec![0i64; shape.elements()];
            for (k, &i) in index.iter().enumerate() {
                let row = usize::try_from(i).ok().filter(|i| i < rows);
                let Some(row) = row else { return Err(format!("index {i} is out of range for {rows} rows")) };
                let from = &updates[k * width..(k + 1) * width];
                out[row * width..].iter_mut().zip(from).for_each(|(o, u)| *o = o.wrapping_add(*u));
            }
            out
        }
        _ => return Ok(None),
    }))
}

/// One operation on whole numbers of so many bits.
fn whole(op: Binary, a: i64, b: i64, bits: i64) -> Result<i64, String> {
    Ok(match op {
        Binary::Add => a.wrapping_add(b),
        Binary::Sub => a.wrapping_sub(b),
        Binary::Mul => a.wrapping_mul(b),
        Binary::Div if b == 0 => return Err("a whole number is divided by zero".into()),
        Binary::Div => a.wrapping_div(b),
        Binary::Max => a.max(b),
        Binary::Min => a.min(b),
        Binary::Pow => power(a, b),
        Binary::And => a & b,
        Binary::Or => a | b,
        Binary::Xor => a ^ b,
        Binary::Shl => {
            if (0..bits).contains(&b) {
                a << b
            } else {
                0
            }
        }
        Binary::Shr => a >> b.clamp(0, 63),
    })
}

/// `a ^ b`, wrapping; of negative exponents what is left of the fraction.
fn power(a: i64, b: i64) -> i64 {
    match (a, b) {
        (1, _) => 1,
        (-1, b) => {
            if b % 2 == 0 {
                1
            } else {
                -1
            }
        }
        (_, b) if b < 0 => 0,
        (mut base, mut exponent) => {
            let mut result = 1i64;
            while exponent > 0 {
                if exponent & 1 == 1 {
                    result = result.wrapping_mul(base);
                }
                base = base.wrapping_mul(base);
                exponent >>= 1;
            }
            result
        }
    }
}

fn narrow(values: Vec<i64>, dtype: DType) -> Data {
    match dtype {
        DType::F32 => Data::F32(values.into_iter().map(|v| v as f32).collect()),
        DType::F64 => Data::F64(values.into_iter().map(|v| v as f64).collect()),
        DType::I32 => Data::I32(values.into_iter().map(|v| v as i32).collect()),
        DType::I64 => Data::I64(values),
        DType::U8 => Data::U8(values.into_iter().map(|v| v as u8).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interpret::interpret;
    use crate::{Builder, Role};

    /// What the interpreter says of a primitive on small whole numbers is what is evaluated.
    #[test]
    fn agrees_with_the_interpreter() {
        let x = Tensor::from_f64s(
            DType::I64,
            [2, 3, 2],
            &(0..12).map(|i| f64::from(i * 5 % 7 - 3)).collect::<Vec<_>>(),
        )
        .unwrap();
        let y = Tensor::from_f64s(
            DType::I64,
            [2, 3, 2],
            &(0..12).map(|i| f64::from(i % 4 + 1)).collect::<Vec<_>>(),
        )
        .unwrap();
        let binary = [
            Binary::Add,
            Binary::Sub,
            Binary::Mul,
            Binary::Div,
            Binary::Max,
            Binary::Min,
            Binary::And,
            Binary::Or,
            Binary::Xor,
            Binary::Shl,
            Binary::Shr,
        ];
        let mut cases: Vec<(Prim, Vec<Tensor>)> =
            binary.map(|op| (Prim::Binary(op), vec![x.clone(), y.clone()])).into();
        for op in [Compare::Less, Compare::LessEqual, Compare::Equal] {
            cases.push((Prim::Compare(op), vec![x.clone(), y.clone()]));
        }
        for kind in [Reduce::Sum, Reduce::Max, Reduce::Min] {
            cases.push((Prim::Reduce(kind, vec![0, 2]), vec![x.clone()]));
            cases.push((Prim::Reduce(kind, vec![1]), vec![x.clone()]));
        }
        let index = Tensor::new([2], vec![2i32, 0]).unwrap();
        let by_row = Tensor::new([2, 2], vec![1i64, 2, 3, 4]).unwrap();
        for (prim, operands) in [
            (Prim::Transpose(vec![2, 0, 1]), vec![x.clone()]),
            (Prim::Slice { start: vec![0, 1, 0], end: vec![2, 3, 2], step: vec![1, 2, 1] }, vec![x.clone()]),
            (Prim::Reverse(vec![1, 2]), vec![x.clone()]),
            (Prim::Broadcast([4, 2, 3, 2].into()), vec![x.clone()]),
            (Prim::Concat(1), vec![x.clone(), y.clone()]),
            (Prim::Cast(DType::U8), vec![x.clone()]),
            (Prim::Cast(DType::F32), vec![x.clone()]),
            (Prim::ArgMax(1), vec![x.clone()]),
            (Prim::ScatterAdd(3), vec![index.clone(), by_row.clone()]),
            (Prim::Take, vec![Tensor::new([3, 2], vec![1i64, 2, 3, 4, 5, 6]).unwrap(), index]),
        ] {
            cases.push((prim, operands));
        }
        for (prim, operands) in cases {
            let b = Builder::new();
            let named = operands.iter().enumerate();
            let values: Vec<_> =
                named.map(|(i, t)| b.input(&i.to_string(), Role::State, t.shape(), t.dtype())).collect();
            let graph = b.finish(&[("y", b.prim(prim.clone(), &values))], &[]).unwrap();
            let expected = interpret(&graph, &operands).unwrap();
            let found = evaluate(&prim, &operands).unwrap();
            assert_eq!(
                (found.shape(), found.to_f64s()),
                (&expected[0].shape, expected[0].data.clone()),
                "{prim}"
            );
        }
    }

    #[test]
    fn whole_numbers_are_exact() {
        let of = |v: Vec<i64>| Tensor::new([v.len()], v).unwrap();
        let apply = |op, a: i64, b: i64| {
            evaluate(&Prim::Binary(op), &[of(vec![a]), of(vec![b])]).map(|t| t.i64s().unwrap()[0])
        };
        assert_eq!(apply(Binary::Add, (1 << 53) + 1, 1), Ok((1 << 53) + 2));
        assert_eq!(apply(Binary::Pow, 3, 5), Ok(243));
        assert_eq!(apply(Binary::Pow, -1, -3), Ok(-1));
        assert_eq!(apply(Binary::Div, -7, 2), Ok(-3));
        assert_eq!(apply(Binary::Shl, 1, 64), Ok(0));
        assert!(apply(Binary::Div, 1, 0).unwrap_err().contains("zero"));
        let bytes = Tensor::new([1], vec![200u8]).unwrap();
        let sum = evaluate(&Prim::Binary(Binary::Add), &[bytes.clone(), bytes]).unwrap();
        assert_eq!(sum.u8s().unwrap(), [144]);
    }
}
