//! Reverse-mode differentiation: one rule for each primitive.

use std::collections::HashMap;
use std::ops::Range;

use crate::graph::{Id, Op};
use crate::op::{Gradient, GradientOf, after};
use crate::prim::{Binary, Reduce, Scalar, Unary};
use crate::{Builder, DType, Error, Prim, Result, Role, Value};

/// The gradients of a scalar by some values, recorded in the same graph. Zeros where the scalar does not depend on
/// a value.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, grad};
/// let b = Builder::new();
/// let x = b.input("x", Role::Batch, [3], DType::F32);
/// let gradients = grad((x * x).sum_all(), &[x])?; // 2 x
/// assert_eq!(gradients[0].shape().dims(), [3]);
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn grad<'g>(scalar: Value<'g>, by: &[Value<'g>]) -> Result<Vec<Value<'g>>> {
    let b = scalar.builder();
    b.check()?;
    if scalar.shape().elements() != 1 || !scalar.dtype().is_float() {
        let message = format!("expected a float scalar, found {} {}", scalar.dtype(), scalar.shape());
        return Err(Error::Operands { scope: String::new(), op: "grad", message });
    }
    let seed = b.fill_as(1.0, scalar.shape(), scalar.dtype());
    grad_with(&[(scalar, seed)], by)
}

/// Like [`grad`], from given gradients by several values.
pub fn grad_with<'g>(from: &[(Value<'g>, Value<'g>)], by: &[Value<'g>]) -> Result<Vec<Value<'g>>> {
    backward(from, by, false)
}

/// Walks back from `from` to `by`. With `cut`, values of `by` count as independent: the walk ends at each of them, even
/// where one is computed from another.
fn backward<'g>(from: &[(Value<'g>, Value<'g>)], by: &[Value<'g>], cut: bool) -> Result<Vec<Value<'g>>> {
    let Some(b) = from.first().map(|f| f.0.builder()) else { return Ok(Vec::new()) };
    let last = from.iter().map(|f| f.0.id()).max().unwrap_or(Id(0));
    // Which nodes lie between: they depend on one of `by`, and something in `from` depends on them.
    let mut depends = vec![false; last.index() + 1];
    for i in 0..=last.index() {
        depends[i] = by.iter().any(|v| v.id().index() == i)
            || b.node(Id(i as u32)).inputs.iter().any(|id| depends[id.index()]);
    }
    let mut open = b.checkpoints();
    // What stands in for values of a checkpoint, once computed again.
    let mut again: HashMap<Id, Value<'g>> = HashMap::new();
    let mut gradients: HashMap<Id, Value<'g>> = HashMap::new();
    for &(value, dy) in from {
        accumulate(&mut gradients, value.id(), dy);
    }
    for i in (0..=last.index()).rev() {
        let id = Id(i as u32);
        let Some(&dy) = gradients.get(&id) else { continue };
        if !depends[i] || (cut && by.iter().any(|v| v.id() == id)) {
            continue;
        }
        let node = b.node(id);
        while open.last().is_some_and(|c| i < c.end) {
            let checkpoint = open.pop().unwrap_or_default();
            if checkpoint.contains(&i) {
                recompute(b, checkpoint, dy, &mut again);
            }
        }
        let value = |id: Id| again.get(&id).copied().unwrap_or_else(|| b.value(id));
        let inputs: Vec<_> = node.inputs.iter().map(|&id| value(id)).collect();
        let wanted: Vec<_> = node.inputs.iter().map(|id| depends[id.index()]).collect();
        if !wanted.contains(&true) {
            continue;
        }
        let parts = b.scope_of(&node.scope, || match &node.op {
            Op::Prim(prim) => rule(b, prim, &inputs, value(id), dy, &wanted),
            Op::Named(def, attrs) => match def.gradient {
                Gradient::Closed(closed) => {
                    closed(GradientOf { inputs: &inputs, output: value(id), dy, attrs })
                }
                Gradient::FromDecomposition => {
                    let result = (def.decompose)(b, &inputs, attrs);
                    let by: Vec<_> = inputs.iter().zip(&wanted).filter(|w| *w.1).map(|w| *w.0).collect();
                    let mut found = match grad_with_cut(result, dy, &by) {
                        Ok(found) => found.into_iter(),
                        Err(error) => {
                            b.fail(def.name, error.to_string());
                            vec![].into_iter()
                        }
                    };
                    wanted.iter().map(|&w| if w { found.next() } else { None }).collect()
                }
            },
        });
        for ((&input, part), wanted) in node.inputs.iter().zip(parts).zip(wanted) {
            if let (Some(part), true) = (part, wanted) {
                accumulate(&mut gradients, input, part);
            }
        }
    }
    b.check()?;
    let zero = |v: &Value<'g>| b.fill_as(0.0, v.shape(), v.dtype());
    Ok(by.iter().map(|v| gradients.get(&v.id()).copied().unwrap_or_else(|| zero(v))).collect())
}

/// Records a checkpoint's nodes once more, from what goes into it, and not before `dy` is known.
fn recompute<'g>(
    b: &'g Builder,
    checkpoint: Range<usize>,
    dy: Value<'g>,
    again: &mut HashMap<Id, Value<'g>>,
) {
    let start = checkpoint.start;
    let mut late: HashMap<Id, Value<'g>> = HashMap::new();
    for i in checkpoint {
        let id = Id(i as u32);
        let node = b.node(id);
        // What has a part for every sample comes in late, and with it all that depends on it; the rest is as it was.
        let mut depends = false;
        let inputs: Vec<_> = node
            .inputs
            .iter()
            .map(|&input| {
                let known = again.get(&input).copied();
                let value = b.value(input);
                let outside = input.index() < start && known.is_none();
                let samples = value.dtype().is_float()
                    && value.shape().rank() > 1
                    && value.shape().first() == dy.shape().first()
                    && !matches!(b.node(input).op, Op::Prim(Prim::Input(number, ..)) if b.role(number) != Role::Batch);
                let value = match known {
                    _ if outside && samples => *late.entry(input).or_insert_with(|| after(value, dy)),
                    Some(again) => again,
                    None => value,
                };
                depends |= value.id() != input;
                value
            })
            .collect();
        if depends {
            let copy = b.scope_of(&node.scope, || b.push(node.op.clone(), &inputs));
            again.insert(id, copy);
        }
    }
}

/// Gradients of a decomposition by its operands only, not by what those depend on.
fn grad_with_cut<'g>(result: Value<'g>, dy: Value<'g>, by: &[Value<'g>]) -> Result<Vec<Value<'g>>> {
    match by.iter().position(|v| v.id() == result.id()) {
        Some(own) => {
            let zero = |v: &Value<'g>| v.builder().fill_as(0.0, v.shape(), v.dtype());
            Ok(by.iter().enumerate().map(|(i, v)| if i == own { dy } else { zero(v) }).collect())
        }
        None => backward(&[(result, dy)], by, true),
    }
}

fn accumulate<'g>(gradients: &mut HashMap<Id, Value<'g>>, id: Id, part: Value<'g>) {
    gradients.entry(id).and_modify(|sum| *sum = *sum + part).or_insert(part);
}

/// The gradients by the operands of one primitive; `None` where there is none, or where it is not wanted.
fn rule<'g>(
    b: &'g Builder,
    prim: &Prim,
    x: &[Value<'g>],
    y: Value<'g>,
    dy: Value<'g>,
    wanted: &[bool],
) -> Vec<Option<Value<'g>>> {
    let want = |i: usize, gradient: &dyn Fn() -> Value<'g>| wanted[i].then(gradient);
    let none = || vec![None; x.len()];
    match prim {
        Prim::Input(..) | Prim::Constant(_) | Prim::Fill(..) | Prim::Iota(..) => none(),
        Prim::Compare(_) | Prim::ArgMax(_) | Prim::MaxPoolIndex(_) | Prim::Random(..) => none(),
        Prim::Unary(op) => {
            let x = x[0];
            let zero = || b.fill_as(0.0, x.shape(), x.dtype());
            vec![Some(match op {
                Unary::Neg => -dy,
                Unary::Abs => dy * x.sign(),
                Unary::Sign | Unary::Floor => zero(),
                Unary::Exp => dy * y,
                Unary::Log => dy / x,
                Unary::Sqrt => dy * 0.5 / y,
                Unary::Rsqrt => dy * -0.5 * y * y * y,
                Unary::Tanh => dy * (1.0 - y * y),
                Unary::Erf => dy * (std::f64::consts::FRAC_2_SQRT_PI * (-(x * x)).exp()),
                Unary::Sin => dy * x.cos(),
                Unary::Cos => -(dy * x.sin()),
                Unary::RoundBits { .. } => dy,
            })]
        }
        Prim::Binary(op) => {
            let (a, c) = (x[0], x[1]);
            // Equal operands share the gradient of their maximum.
            let share = |wins: Value<'g>| {
                let half = a.equal(c).cast(dy.dtype()) * 0.5;
                dy * (wins.cast(dy.dtype()) + half)
            };
            match op {
                Binary::Add => vec![Some(dy), Some(dy)],
                Binary::Sub => vec![Some(dy), want(1, &|| -dy)],
                Binary::Mul => vec![want(0, &|| dy * c), want(1, &|| dy * a)],
                Binary::Div => vec![want(0, &|| dy / c), want(1, &|| -(dy * y / c))],
                Binary::Max => vec![want(0, &|| share(a.greater(c))), want(1, &|| share(a.less(c)))],
                Binary::Min => vec![want(0, &|| share(a.less(c))), want(1, &|| share(a.greater(c)))],
                Binary::Pow => vec![want(0, &|| dy * c * a.pow(c - 1.0)), want(1, &|| dy * y * a.log())],
                // Of whole numbers.
                Binary::And | Binary::Or | Binary::Xor | Binary::Shl | Binary::Shr => vec![None, None],
            }
        }
        Prim::Select => {
            let zero = b.fill_as(0.0, dy.shape(), dy.dtype());
            vec![None, want(1, &|| x[0].select(dy, zero)), want(2, &|| x[0].select(zero, dy))]
        }
        Prim::Cast(_) => {
            vec![(x[0].dtype().is_float() && dy.dtype().is_float()).then(|| dy.cast(x[0].dtype()))]
        }
        Prim::Reshape(_) => vec![Some(dy.reshape(x[0].shape()))],
        Prim::Broadcast(shape) => {
            let from = x[0].shape();
            let added = shape.rank() - from.rank();
            let stretched = |i: &usize| *i < added || from[i - added] != shape[*i];
            vec![Some(dy.sum(&(0..shape.rank()).filter(stretched).collect::<Vec<_>>()).reshape(from))]
        }
        Prim::Transpose(perm) => {
            let mut inverse = vec![0; perm.len()];
            perm.iter().enumerate().for_each(|(i, &p)| inverse[p] = i);
            vec![Some(dy.transpose(&inverse))]
        }
        Prim::Slice { start, step, .. } => {
            let (from, to) = (x[0].shape(), dy.shape());
            if to.elements() == 0 {
                return vec![Some(b.fill_as(0.0, from, dy.dtype()))];
            }
            let covered = |i: usize| (to[i] - 1) * step[i] + 1;
            let high = (0..from.rank()).map(|i| from[i] - start[i] - covered(i)).collect();
            let inner = step.iter().map(|s| s - 1).collect();
            vec![Some(b.prim(Prim::Pad { low: start.clone(), high, inner, value: Scalar(0.0) }, &[dy]))]
        }
        Prim::Pad { low, inner, .. } => {
            let from = x[0].shape();
            if from.elements() == 0 {
                return vec![Some(b.fill_as(0.0, from, dy.dtype()))];
            }
            let step: Vec<_> = inner.iter().map(|i| i.saturating_add(1)).collect();
            let end = (0..from.rank()).map(|i| low[i] + (from[i] - 1) * step[i] + 1).collect();
            vec![Some(b.prim(Prim::Slice { start: low.clone(), end, step }, &[dy]))]
        }
        Prim::Concat(axis) => {
            let mut start = 0;
            let part = |(v, &wanted): (&Value<'g>, &bool)| {
                let end = start + v.dim(*axis);
                let part = wanted.then(|| dy.slice(*axis, start, end));
                start = end;
                part
            };
            x.iter().zip(wanted).map(part).collect()
        }
        Prim::Reverse(axes) => vec![Some(dy.reverse(axes))],
        Prim::Reduce(kind, axes) => {
            let from = x[0].shape();
            let kept: Vec<_> =
                (0..from.rank()).map(|i| if axes.contains(&i) { 1 } else { from[i] }).collect();
            let back = |v: Value<'g>| v.reshape(kept.clone()).broadcast_to(&from);
            vec![Some(match kind {
                Reduce::Sum => back(dy),
                Reduce::Max | Reduce::Min => {
                    let winners = x[0].equal(back(y)).cast(dy.dtype()); // equals share
                    winners * back(dy / winners.sum(axes))
                }
            })]
        }
        Prim::Take => {
            let rows = x[0].dim(0);
            vec![Some(b.prim(Prim::ScatterAdd(rows), &[x[1], dy])), None]
        }
        Prim::ScatterAdd(_) => vec![None, Some(dy.take(x[0]))],
        Prim::MatMul { ta, tb } => {
            let product = |a, c, ta, tb| b.prim(Prim::MatMul { ta, tb }, &[a, c]);
            let (a, c) = (x[0], x[1]);
            vec![
                want(0, &|| match ta {
                    false => product(dy, c, false, !tb),
                    true => product(c, dy, *tb, true),
                }),
                want(1, &|| match tb {
                    false => product(a, dy, !ta, false),
                    true => product(dy, a, true, *ta),
                }),
            ]
        }
        Prim::Conv(conv) => vec![
            want(0, &|| b.prim(Prim::ConvGradInput(*conv, [x[0].dim(1), x[0].dim(2)]), &[dy, x[1]])),
            want(1, &|| b.prim(Prim::ConvGradKernel(*conv, [x[1].dim(0), x[1].dim(1)]), &[x[0], dy])),
        ],
        Prim::ConvGradInput(conv, _) => vec![
            want(0, &|| dy.conv(x[1], *conv)),
            want(1, &|| b.prim(Prim::ConvGradKernel(*conv, [x[1].dim(0), x[1].dim(1)]), &[dy, x[0]])),
        ],
        Prim::ConvGradKernel(conv, _) => vec![
            want(0, &|| b.prim(Prim::ConvGradInput(*conv, [x[0].dim(1), x[0].dim(2)]), &[x[1], dy])),
            want(1, &|| x[0].conv(dy, *conv)),
        ],
        Prim::MaxPool(window) => {
            let index = b.prim(Prim::MaxPoolIndex(*window), &[x[0]]);
            vec![Some(b.prim(Prim::MaxPoolGrad(*window, [x[0].dim(1), x[0].dim(2)]), &[dy, index]))]
        }
        Prim::MaxPoolGrad(window, _) => vec![Some(b.prim(Prim::MaxPoolTake(*window), &[dy, x[1]])), None],
        Prim::MaxPoolTake(window) => {
            let size = [x[0].dim(1), x[0].dim(2)];
            vec![Some(b.prim(Prim::MaxPoolGrad(*window, size), &[dy, x[1]])), None]
        }
        Prim::SumPool(window) => {
            vec![Some(b.prim(Prim::SumPoolGrad(*window, [x[0].dim(1), x[0].dim(2)]), &[dy]))]
        }
        Prim::SumPoolGrad(window, _) => vec![Some(dy.sum_pool(*window))],
    }
}

/// The gradient graph of a function of float inputs, for tests: inputs as given, output `loss` and one gradient each.
///
/// ```
/// use brisk_graph::{DType, grad};
/// let g = grad::gradient_graph(&[[3].into()], DType::F64, |_, x| (x[0] * x[0]).sum_all())?;
/// assert_eq!(g.outputs.len(), 2);
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn gradient_graph(
    shapes: &[crate::Shape],
    dtype: DType,
    build: impl for<'g> Fn(&'g Builder, &[Value<'g>]) -> Value<'g>,
) -> Result<crate::Graph> {
    let b = Builder::new();
    let names: Vec<String> = (0..shapes.len()).map(|i| format!("x{i}")).collect();
    let inputs: Vec<_> = shapes.iter().zip(&names).map(|(s, n)| b.input(n, Role::Batch, s, dtype)).collect();
    let loss = build(&b, &inputs);
    let gradients = grad(loss, &inputs)?;
    let mut outputs = vec![("loss", loss)];
    outputs.extend(names.iter().map(|n| n.as_str()).zip(gradients));
    b.finish(&outputs, &[])
}
