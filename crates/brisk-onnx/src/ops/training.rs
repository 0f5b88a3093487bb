//! Steps of optimizers, for models that bring their own training.

use brisk_graph::{DType, Value, grad};

use super::{Operator, many};
use crate::call::Call;
use crate::{Item, Var};

const DOMAIN: &str = "ai.onnx.preview.training";

pub(super) const OPS: &[Operator] = &[
    many("Adagrad", adagrad).of(DOMAIN),
    many("Adam", adam).of(DOMAIN),
    many("Gradient", gradient).of(DOMAIN),
    many("Momentum", momentum).of(DOMAIN),
];

/// The learning rate, the number of steps before, and for each tensor its value, its gradient and its slots.
fn tensors<'g>(c: &Call<'_, 'g>, slots: usize) -> Result<(Value<'g>, Value<'g>, Vec<Vec<Var<'g>>>), String> {
    let each = slots + 2;
    let vars = c.vars()?;
    let [rate, steps, rest @ ..] = &vars[..] else {
        return Err("expected a learning rate and a number of steps".into());
    };
    if rest.is_empty() || !rest.len().is_multiple_of(each) {
        return Err(format!("expected {each} operands for each tensor, found {}", rest.len()));
    }
    let scalar = |v: &Var<'g>, what: &str| match v.shape().elements() {
        1 => Ok(v.value().cast(DType::F32).reshape([0; 0])),
        _ => Err(format!("expected one {what}, found {}", v.shape())),
    };
    let count = rest.len() / each;
    let group = |i: usize| -> Result<Vec<Var<'g>>, String> {
        let own: Vec<Var<'g>> = rest.iter().skip(i).step_by(count).cloned().collect();
        match own.iter().all(|v| v.shape() == own[0].shape()) {
            true => Ok(own),
            false => Err(format!("tensor {i} and its slots have different shapes")),
        }
    };
    let groups = (0..count).map(group).collect::<Result<_, _>>()?;
    Ok((scalar(rate, "learning rate")?, scalar(steps, "number of steps")?, groups))
}

/// First all first results, then all second ones.
fn by_result<'g>(all: Vec<Vec<Var<'g>>>) -> Vec<Item<'g>> {
    let results = all.first().map_or(0, Vec::len);
    (0..results).flat_map(|i| all.iter().filter_map(move |own| own.get(i).cloned().map(Item::from))).collect()
}

/// What a step makes of the values of one tensor: the new value, then the new slots.
fn each<'g>(groups: Vec<Vec<Var<'g>>>, f: impl Fn(&[Value<'g>]) -> Vec<Value<'g>>) -> Vec<Item<'g>> {
    let step = |own: Vec<Var<'g>>| -> Vec<Var<'g>> {
        let dtype = own[0].arithmetic();
        let values: Vec<Value<'g>> = own.iter().map(|v| v.value().cast(dtype)).collect();
        f(&values).into_iter().map(|v| Var::new(own[0].elem, v)).collect()
    };
    by_result(groups.into_iter().map(step).collect())
}

/// Of one number by tensors before it, at their values; those named as constants (`zs`) are no different from any other.
fn gradient<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let list = |name: &str| c.texts(name).map(Option::unwrap_or_default);
    let (by, held) = (list("xs")?, list("zs")?);
    let vars = c.vars()?;
    if vars.len() != by.len() + held.len() {
        let (found, named) = (vars.len(), by.len() + held.len());
        return Err(format!("it names {named} tensors (xs and zs), and has {found} operands"));
    }
    for (name, var) in by.iter().chain(&held).zip(&vars) {
        if c.named(name)?.value().id() != var.value().id() {
            return Err(format!(
                "the operand for {name:?} is another value than {name:?} itself: gradients elsewhere are not supported"
            ));
        }
    }
    let y = c.named(c.text("y", "")?)?.value();
    let dtype = if y.dtype().is_float() { y.dtype() } else { DType::F32 };
    let values: Vec<Value<'g>> = vars[..by.len()].iter().map(Var::value).collect();
    // Everything so far may be gone through, and each operation have several in the gradient.
    const EACH: usize = 8;
    c.afford(c.scope.budget.recorded().saturating_mul(EACH))?;
    let gradients = grad(y.cast(dtype).reshape([0; 0]), &values).map_err(|e| e.to_string())?;
    Ok(vars.iter().zip(gradients).map(|(var, value)| Var::new(var.elem, value).into()).collect())
}

fn adagrad<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let (rate, steps, groups) = tensors(c, 1)?;
    let (decay, epsilon) = (c.float("decay_factor", 0.0)?, c.float("epsilon", 1e-6)?);
    let norm = c.float("norm_coefficient", 0.0)?;
    let rate = rate / (steps * decay + 1.0);
    Ok(each(groups, |v| {
        let gradient = v[0] * norm + v[1];
        let sum = v[2] + gradient.square();
        vec![v[0] - rate.cast(sum.dtype()) * gradient / (sum.sqrt() + epsilon), sum]
    }))
}

fn adam<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let (rate, steps, groups) = tensors(c, 2)?;
    let (alpha, beta, epsilon) = (c.float("alpha", 0.9)?, c.float("beta", 0.999)?, c.float("epsilon", 1e-6)?);
    let (norm, post) = (c.float("norm_coefficient", 0.0)?, c.float("norm_coefficient_post", 0.0)?);
    // What is known of the means at the start is corrected; before the first step nothing is.
    let rest = |base: f64| 1.0 - c.b.fill(base, [0; 0]).pow(steps);
    let one = c.b.fill(1.0, [0; 0]);
    let first = steps.greater(0.0);
    let corrected = rate * first.select(rest(beta).sqrt(), one) / first.select(rest(alpha), one);
    Ok(each(groups, |v| {
        let gradient = v[0] * norm + v[1];
        let mean = v[2] * alpha + gradient * (1.0 - alpha);
        let square = v[3] * beta + gradient.square() * (1.0 - beta);
        let new = v[0] - corrected.cast(mean.dtype()) * mean / (square.sqrt() + epsilon);
        vec![new * (1.0 - post), mean, square]
    }))
}

fn momentum<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let (rate, steps, groups) = tensors(c, 1)?;
    let (alpha, beta) = (c.float("alpha", 0.0)?, c.float("beta", 1.0)?);
    let norm = c.float("norm_coefficient", 0.0)?;
    let nesterov = match c.text("mode", "")? {
        "standard" => false,
        "nesterov" => true,
        other => return Err(format!("attribute mode: expected standard or nesterov, found {other:?}")),
    };
    let number = |v: f64| c.b.fill(v, [0; 0]);
    let beta = steps.greater(0.0).select(number(beta), number(1.0));
    Ok(each(groups, |v| {
        let gradient = v[0] * norm + v[1];
        let velocity = v[2] * alpha + gradient * beta.cast(gradient.dtype());
        let way = if nesterov { gradient + velocity * alpha } else { velocity };
        vec![v[0] - way * rate.cast(way.dtype()), velocity]
    }))
}
