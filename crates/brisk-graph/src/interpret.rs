//! The reference interpreter: every primitive in the plainest way, in f64, one element at a time.
//!
//! The oracle of all tests, and a specification that can be read. Its only cleverness is to have none.

use crate::graph::{Graph, Id, Op};
use crate::prim::{Binary, Compare, Conv, Reduce, Unary, Window};
use crate::{DType, Error, Prim, Result, Shape, Tensor, decompose};

/// A value while it is interpreted: everything is f64.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its shape.
    pub shape: Shape,
    /// Its elements, row-major.
    pub data: Vec<f64>,
}

impl Array {
    /// From a function of the index.
    fn from_fn(shape: &Shape, mut f: impl FnMut(&[usize]) -> f64) -> Array {
        let mut index = vec![0; shape.rank()];
        let mut data = Vec::with_capacity(shape.elements());
        for _ in 0..shape.elements() {
            data.push(f(&index));
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                if index[axis] < shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Array { shape: shape.clone(), data }
    }

    fn at(&self, index: &[usize]) -> f64 {
        self.data[self.place(index)]
    }

    fn place(&self, index: &[usize]) -> usize {
        index.iter().zip(&self.shape[..]).fold(0, |flat, (i, size)| flat * size + i)
    }

    /// A zero array and, for each index of another shape, additions into it.
    fn scatter(shape: &Shape, over: &Shape, mut f: impl FnMut(&[usize], &mut Array)) -> Array {
        let mut out = Array { shape: shape.clone(), data: vec![0.0; shape.elements()] };
        Array::from_fn(over, |index| {
            f(index, &mut out);
            0.0
        });
        out
    }

    fn add(&mut self, index: &[usize], value: f64) {
        let place = self.place(index);
        self.data[place] += value;
    }
}

/// The outputs and then the updates of a graph, for its inputs in order.
///
/// Named operations are decomposed; floats are computed in f64 whatever their type says.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, Tensor, interpret::interpret};
/// let b = Builder::new();
/// let x = b.input("x", Role::Batch, [3], DType::F32);
/// let graph = b.finish(&[("y", (x * x).sum_all())], &[])?;
/// let y = interpret(&graph, &[Tensor::new([3], vec![1.0f32, 2.0, 3.0])?])?;
/// assert_eq!(y[0].data, [14.0]);
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn interpret(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Array>> {
    let graph = decompose(graph, |_, _| false)?;
    let fault = |op: &'static str, message: String| Error::Operands { scope: String::new(), op, message };
    if inputs.len() != graph.inputs.len() {
        return Err(fault(
            "interpret",
            format!("expected {} inputs, found {}", graph.inputs.len(), inputs.len()),
        ));
    }
    for (input, tensor) in graph.inputs.iter().zip(inputs) {
        let expected = graph.node(input.id);
        if &expected.shape != tensor.shape() {
            let name = &input.name;
            return Err(fault(
                "interpret",
                format!("{name}: expected {}, found {}", expected.shape, tensor.shape()),
            ));
        }
    }
    let mut values: Vec<Array> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let Op::Prim(prim) = &node.op else { unreachable!("named operations were decomposed") };
        let operands: Vec<&Array> = node.inputs.iter().map(|id| &values[id.index()]).collect();
        let kinds: Vec<DType> = node.inputs.iter().map(|&id| graph.node(id).dtype).collect();
        let value =
            primitive(prim, &operands, &kinds, &node.shape, inputs).map_err(|m| fault(prim.name(), m))?;
        values.push(value);
    }
    Ok(graph.roots().map(|id: Id| values[id.index()].clone()).collect())
}

/// One primitive.
pub(crate) fn primitive(
    prim: &Prim,
    x: &[&Array],
    kinds: &[DType],
    shape: &Shape,
    inputs: &[Tensor],
) -> Result<Array, String> {
    let map = |f: &dyn Fn(f64) -> f64| Array {
        shape: shape.clone(),
        data: x[0].data.iter().map(|&v| f(v)).collect(),
    };
    let zip = |f: &dyn Fn(f64, f64) -> f64| {
        let pairs = x[0].data.iter().zip(&x[1].data);
        Array { shape: shape.clone(), data: pairs.map(|(&a, &b)| f(a, b)).collect() }
    };
    let truth = |b: bool| if b { 1.0 } else { 0.0 };
    Ok(match prim {
        Prim::Input(number, ..) => Array { shape: shape.clone(), data: inputs[*number].to_f64s() },
        Prim::Constant(tensor) => Array { shape: shape.clone(), data: tensor.to_f64s() },
        Prim::Fill(value, ..) => Array::from_fn(shape, |_| value.0),
        Prim::Iota(axis, ..) => Array::from_fn(shape, |i| i[*axis] as f64),
        Prim::Unary(op) => map(&|v| unary(*op, v)),
        Prim::Binary(op) => zip(&|a, b| match op {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div if kinds[0].is_float() => a / b,
            Binary::Div => (a / b).trunc(),
            Binary::Max if a.is_nan() || b.is_nan() => f64::NAN,
            Binary::Max => a.max(b),
            Binary::Min if a.is_nan() || b.is_nan() => f64::NAN,
            Binary::Min => a.min(b),
            Binary::Pow => a.powf(b),
            Binary::And => (a as i64 & b as i64) as f64,
            Binary::Or => (a as i64 | b as i64) as f64,
            Binary::Xor => (a as i64 ^ b as i64) as f64,
            Binary::Shl => a * b.exp2(),
            Binary::Shr => (a / b.exp2()).floor(),
        }),
        Prim::Compare(op) => zip(&|a, b| {
            truth(match op {
                Compare::Less => a < b,
                Compare::LessEqual => a <= b,
                Compare::Equal => a == b,
            })
        }),
        Prim::Select => Array::from_fn(shape, |i| if x[0].at(i) != 0.0 { x[1].at(i) } else { x[2].at(i) }),
        Prim::Cast(to) => match to {
            DType::F32 | DType::F64 => x[0].clone(),
            DType::I32 => map(&|v| v as i32 as f64),
            DType::I64 => map(&|v| v as i64 as f64),
            DType::U8 => map(&|v| v as u8 as f64),
        },
        Prim::Reshape(_) => Array { shape: shape.clone(), data: x[0].data.clone() },
        Prim::Broadcast(_) => {
            let added = shape.rank() - x[0].shape.rank();
            Array::from_fn(shape, |i| {
                let from = i[added..].iter().zip(&x[0].shape[..]);
                x[0].at(&from.map(|(&i, &size)| if size == 1 { 0 } else { i }).collect::<Vec<_>>())
            })
        }
        Prim::Transpose(perm) => Array::from_fn(shape, |i| {
            let mut from = vec![0; perm.len()];
            perm.iter().zip(i).for_each(|(&p, &i)| from[p] = i);
            x[0].at(&from)
        }),
        Prim::Slice { start, step, .. } => Array::from_fn(shape, |i| {
            x[0].at(&(0..i.len()).map(|a| start[a] + i[a] * step[a]).collect::<Vec<_>>())
        }),
        Prim::Pad { low, inner, value, .. } => Array::from_fn(shape, |i| {
            let from = (0..i.len()).map(|a| {
                let step = inner[a].saturating_add(1);
                let inside = i[a].checked_sub(low[a])?;
                (inside % step == 0 && inside / step < x[0].shape[a]).then_some(inside / step)
            });
            from.collect::<Option<Vec<_>>>().map_or(value.0, |from| x[0].at(&from))
        }),
        Prim::Concat(axis) => Array::from_fn(shape, |i| {
            let mut i = i.to_vec();
            for part in x {
                if i[*axis] < part.shape[*axis] {
                    return part.at(&i);
                }
                i[*axis] -= part.shape[*axis];
            }
            f64::NAN
        }),
        Prim::Reverse(axes) => Array::from_fn(shape, |i| {
            let turned = |a: usize| if axes.contains(&a) { shape[a] - 1 - i[a] } else { i[a] };
            x[0].at(&(0..i.len()).map(turned).collect::<Vec<_>>())
        }),
        Prim::Reduce(kind, axes) => {
            let start = match kind {
                Reduce::Sum => 0.0,
                Reduce::Max => f64::NEG_INFINITY,
                Reduce::Min => f64::INFINITY,
            };
            let mut out = Array::from_fn(shape, |_| start);
            Array::from_fn(&x[0].shape, |i| {
                let kept: Vec<_> = (0..i.len()).filter(|a| !axes.contains(a)).map(|a| i[a]).collect();
                let (place, v) = (out.place(&kept), x[0].at(i));
                let old = out.data[place];
                out.data[place] = match kind {
                    Reduce::Sum => old + v,
                    _ if old.is_nan() || v.is_nan() => f64::NAN,
                    Reduce::Max => old.max(v),
                    Reduce::Min => old.min(v),
                };
                0.0
            });
            out
        }
        Prim::ArgMax(axis) => Array::from_fn(shape, |i| {
            let mut from = i.to_vec();
            from.insert(*axis, 0);
            let mut best = (0, f64::NEG_INFINITY);
            for k in 0..x[0].shape[*axis] {
                from[*axis] = k;
                let v = x[0].at(&from);
                if v > best.1 {
                    best = (k, v);
                }
            }
            best.0 as f64
        }),
        Prim::Take => {
            let rank = x[1].shape.rank();
            check_rows(x[1], x[0].shape[0])?;
            Array::from_fn(shape, |i| x[0].at(&[&[x[1].at(&i[..rank]) as usize], &i[rank..]].concat()))
        }
        Prim::ScatterAdd(rows) => {
            let rank = x[0].shape.rank();
            check_rows(x[0], *rows)?;
            Array::scatter(shape, &x[1].shape, |i, out| {
                out.add(&[&[x[0].at(&i[..rank]) as usize], &i[rank..]].concat(), x[1].at(i));
            })
        }
        Prim::MatMul { ta, tb } => {
            let rank = shape.rank();
            let k = x[0].shape[if *ta { rank - 2 } else { rank - 1 }];
            let place = |lead: &[usize], i, j, t: bool| [lead, &if t { [j, i] } else { [i, j] }].concat();
            Array::from_fn(shape, |i| {
                let (lead, m, n) = (&i[..rank - 2], i[rank - 2], i[rank - 1]);
                (0..k).map(|k| x[0].at(&place(lead, m, k, *ta)) * x[1].at(&place(lead, k, n, *tb))).sum()
            })
        }
        Prim::Conv(conv) => Array::from_fn(shape, |i| {
            let mut sum = 0.0;
            taps(conv, &x[0].shape, &x[1].shape, i, |at, k| sum += x[0].at(&at) * x[1].at(&k));
            sum
        }),
        Prim::ConvGradInput(conv, _) => Array::scatter(shape, &x[0].shape, |i, out| {
            taps(conv, shape, &x[1].shape, i, |at, k| out.add(&at, x[0].at(i) * x[1].at(&k)));
        }),
        Prim::ConvGradKernel(conv, _) => Array::scatter(shape, &x[1].shape, |i, out| {
            taps(conv, &x[0].shape, shape, i, |at, k| out.add(&k, x[1].at(i) * x[0].at(&at)));
        }),
        Prim::MaxPool(window) => Array::from_fn(shape, |i| best(window, x[0], i).1),
        Prim::MaxPoolIndex(window) => Array::from_fn(shape, |i| best(window, x[0], i).0 as f64),
        Prim::MaxPoolGrad(window, _) => Array::scatter(shape, &x[0].shape, |i, out| {
            cells(window, shape, i, |n, at| {
                if n as f64 == x[1].at(i) {
                    out.add(&at, x[0].at(i));
                }
            });
        }),
        Prim::MaxPoolTake(window) => Array::from_fn(shape, |i| {
            let mut found = 0.0;
            cells(window, &x[0].shape, i, |n, at| {
                if n as f64 == x[1].at(i) {
                    found = x[0].at(&at);
                }
            });
            found
        }),
        Prim::SumPool(window) => Array::from_fn(shape, |i| {
            let mut sum = 0.0;
            cells(window, &x[0].shape, i, |_, at| sum += x[0].at(&at));
            sum
        }),
        Prim::SumPoolGrad(window, _) => Array::scatter(shape, &x[0].shape, |i, out| {
            cells(window, shape, i, |_, at| out.add(&at, x[0].at(i)));
        }),
        Prim::Random(stream, _) => {
            let key = [x[0].data[0] as i32 as u32, x[0].data[1] as i32 as u32];
            let mut data = vec![0.0f32; shape.elements()];
            brisk_kernels::random::fill_uniform(key, u64::from(*stream) << 40, &mut data);
            Array { shape: shape.clone(), data: data.into_iter().map(f64::from).collect() }
        }
    })
}

fn check_rows(index: &Array, rows: usize) -> Result<(), String> {
    match index.data.iter().find(|&&i| i < 0.0 || i as usize >= rows) {
        Some(i) => Err(format!("index {i} is out of range for {rows} rows")),
        None => Ok(()),
    }
}

fn unary(op: Unary, v: f64) -> f64 {
    match op {
        Unary::Neg => -v,
        Unary::Abs => v.abs(),
        Unary::Sign if v == 0.0 => 0.0,
        Unary::Sign => v.signum(),
        Unary::Exp => v.exp(),
        Unary::Log => v.ln(),
        Unary::Sqrt => v.sqrt(),
        Unary::Rsqrt => 1.0 / v.sqrt(),
        Unary::Tanh => v.tanh(),
        Unary::Erf => erf(v),
        Unary::Floor => v.floor(),
        Unary::Sin => v.sin(),
        Unary::Cos => v.cos(),
        Unary::RoundBits { digits, lowest } => round_bits(v, digits, lowest),
    }
}

/// See [`Unary::RoundBits`].
fn round_bits(v: f64, digits: u8, lowest: i16) -> f64 {
    if v == 0.0 || !v.is_finite() {
        return v;
    }
    let exponent = (v.to_bits() >> 52 & 0x7ff) as i32 - 1023;
    let step = f64::from((exponent + 1 - i32::from(digits)).max(lowest.into())).exp2();
    (v / step).round_ties_even() * step
}

/// The error function to about 1e-15: its Taylor series near zero, a continued fraction of its complement beyond.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a < 2.5 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term.abs() > 1e-18 * sum.abs() && n < 200.0 {
            n += 1.0;
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        return sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    if a > 6.0 {
        return if x.is_nan() { x } else { x.signum() };
    }
    let fraction = (1..80).rev().fold(a, |tail, n| a + n as f64 / 2.0 / tail);
    x.signum() * (1.0 - (-a * a).exp() / fraction * std::f64::consts::FRAC_2_SQRT_PI / 2.0)
}

/// Where a tap or a cell of a window at `out` lies on an axis of `size`; `None` in the padding.
fn inside(out: usize, stride: usize, step: usize, pad: usize, size: usize) -> Option<usize> {
    (out * stride + step).checked_sub(pad).filter(|&i| i < size)
}

/// Calls `f(place in the maps, place in the kernel)` for each tap that makes output `[n, y, x, filter]`.
fn taps(conv: &Conv, maps: &Shape, kernel: &Shape, out: &[usize], mut f: impl FnMut([usize; 4], [usize; 4])) {
    let channels = kernel[2];
    let group = out[3] / (kernel[3] / conv.groups);
    for ky in 0..kernel[0] {
        for kx in 0..kernel[1] {
            let y = inside(out[1], conv.stride[0], ky * conv.dilation[0], conv.padding[0][0], maps[1]);
            let x = inside(out[2], conv.stride[1], kx * conv.dilation[1], conv.padding[1][0], maps[2]);
            if let (Some(y), Some(x)) = (y, x) {
                for c in 0..channels {
                    f([out[0], y, x, group * channels + c], [ky, kx, c, out[3]]);
                }
            }
        }
    }
}

/// Calls `f(number in the window, place in the maps)` for each cell of the window of output `[n, y, x, c]`.
fn cells(window: &Window, maps: &Shape, out: &[usize], mut f: impl FnMut(usize, [usize; 4])) {
    for wy in 0..window.size[0] {
        for wx in 0..window.size[1] {
            let y = inside(out[1], window.stride[0], wy, window.padding[0][0], maps[1]);
            let x = inside(out[2], window.stride[1], wx, window.padding[1][0], maps[2]);
            if let (Some(y), Some(x)) = (y, x) {
                f(wy * window.size[1] + wx, [out[0], y, x, out[3]]);
            }
        }
    }
}

/// Number in the window and value of the largest cell, the first of equals; NaN wins.
fn best(window: &Window, maps: &Array, out: &[usize]) -> (usize, f64) {
    let mut best = None;
    cells(window, &maps.shape, out, |n, at| {
        let v = maps.at(&at);
        if best.is_none_or(|(_, b): (usize, f64)| v > b || (v.is_nan() && !b.is_nan())) {
            best = Some((n, v));
        }
    });
    best.unwrap_or((0, f64::NEG_INFINITY))
}
