//! Recurrent networks.

use brisk_graph::op::{self, Yield};
use brisk_graph::{DType, Value};

use super::activation::hard_sigmoid;
use super::{Operator, many};
use crate::call::Call;
use crate::{Item, Var};

pub(super) const OPS: &[Operator] = &[
    many("GRU", |c| recurrent(c, Cell::Gru)),
    many("LSTM", |c| recurrent(c, Cell::Lstm)),
    many("RNN", |c| recurrent(c, Cell::Simple)),
];

#[derive(Clone, Copy, PartialEq)]
enum Cell {
    Lstm,
    Gru,
    Simple,
}

impl Cell {
    fn gates(self) -> usize {
        match self {
            Cell::Lstm => 4,
            Cell::Gru => 3,
            Cell::Simple => 1,
        }
    }

    fn activations(self) -> &'static [&'static str] {
        match self {
            Cell::Lstm => &["Sigmoid", "Tanh", "Tanh"],
            Cell::Gru => &["Sigmoid", "Tanh"],
            Cell::Simple => &["Tanh"],
        }
    }

    /// ONNX's gates in the order of Brisk's: i o f c to i f g o.
    fn order(self) -> &'static [usize] {
        match self {
            Cell::Lstm => &[0, 2, 3, 1],
            Cell::Gru => &[0, 1, 2],
            Cell::Simple => &[0],
        }
    }
}

/// An activation with its numbers.
#[derive(Clone, PartialEq)]
struct Activation {
    name: String,
    alpha: Option<f64>,
    beta: Option<f64>,
}

impl Activation {
    fn apply<'g>(&self, x: Value<'g>) -> Result<Value<'g>, String> {
        let alpha = |default: f64| self.alpha.unwrap_or(default);
        let beta = |default: f64| self.beta.unwrap_or(default);
        Ok(match self.name.to_ascii_lowercase().as_str() {
            "sigmoid" => op::sigmoid(x),
            "tanh" => x.tanh(),
            "relu" => op::relu(x),
            "affine" => x * alpha(1.0) + beta(0.0),
            "leakyrelu" => x.max(0.0) + x.min(0.0) * alpha(0.01),
            "thresholdedrelu" => {
                x.greater(alpha(1.0)).select(x, x.builder().fill_as(0.0, x.shape(), x.dtype()))
            }
            "scaledtanh" => (x * beta(1.0)).tanh() * alpha(1.0),
            "hardsigmoid" => hard_sigmoid(x, alpha(0.2), beta(0.5)),
            "elu" => x.max(0.0) + (x.min(0.0).exp() - 1.0) * alpha(1.0),
            "softsign" => x / (1.0 + x.abs()),
            "softplus" => op::softplus(x),
            _ => return Err(format!("activation {:?} is not known", self.name)),
        })
    }
}

/// One direction: its weights and where it starts.
struct Direction<'g> {
    /// `[t, n, features]`, in the order of the direction's steps.
    x: Value<'g>,
    /// `[gates u, features]`
    w: Value<'g>,
    /// `[gates u, u]`
    r: Value<'g>,
    /// Of the input's product and of the state's, `[gates u]` each.
    bias: Option<[Value<'g>; 2]>,
    h: Value<'g>,
    c: Value<'g>,
    /// `[3 u]`: i, o, f.
    peepholes: Option<Value<'g>>,
    /// u8 `[t, n]`, in the order of the steps.
    mask: Option<Value<'g>>,
    activations: Vec<Activation>,
}

struct Options {
    cell: Cell,
    units: usize,
    clip: Option<f64>,
    couple: bool,
    linear_before_reset: bool,
}

fn recurrent<'g>(c: &mut Call<'_, 'g>, cell: Cell) -> Result<Vec<Item<'g>>, String> {
    let (x, w, r) = (c.var(0)?, c.var(1)?, c.var(2)?);
    let states = [c.optional(5)?, if cell == Cell::Lstm { c.optional(6)? } else { None }];
    for v in states.iter().flatten().chain([&x]) {
        if v.rank() != 3 {
            return Err(format!("expected three axes, found {}", v.shape()));
        }
    }
    let dtype = x.arithmetic();
    let batch_first = c.flag("layout", false)?;
    let x_value = if batch_first { x.transposed(&[1, 0, 2]) } else { x.clone() }.value().cast(dtype);
    let [t, n, _] = x_value.shape()[..] else {
        return Err(format!("expected three axes, found {}", x.shape()));
    };
    let (w, r) = (w.value().cast(dtype), r.value().cast(dtype));
    let [directions, _, units] = r.shape()[..] else {
        return Err(format!("R: expected three axes, found {}", r.shape()));
    };
    let direction = c.text("direction", "forward")?.to_ascii_lowercase();
    let wanted = match direction.as_str() {
        "forward" | "reverse" => 1,
        "bidirectional" => 2,
        other => {
            return Err(format!(
                "attribute direction: expected forward, reverse or bidirectional, found {other:?}"
            ));
        }
    };
    let gates = cell.gates().saturating_mul(units);
    if directions != wanted
        || w.rank() != 3
        || w.dim(0) != directions
        || w.dim(1) != gates
        || r.dim(1) != gates
    {
        return Err(format!(
            "weights {} and {} do not fit {direction} of {units} units",
            w.shape(),
            r.shape()
        ));
    }
    let options = Options {
        cell,
        units,
        clip: c.attribute("clip").is_some().then(|| c.float("clip", 0.0)).transpose()?.filter(|&v| v > 0.0),
        couple: c.flag("input_forget", false)?,
        linear_before_reset: c.flag("linear_before_reset", false)?,
    };
    let activations = activations(c, cell, directions)?;
    let lengths = match c.optional(4)? {
        Some(lengths) => {
            let step = c.b.iota(0, [t, n], DType::I64);
            Some(step.less(lengths.value().cast(DType::I64).reshape([1, n]).broadcast_to([t, n])))
        }
        None => None,
    };
    let start = |v: &Option<Var<'g>>, d: usize| -> Result<Value<'g>, String> {
        let Some(v) = v else { return Ok(c.b.fill_as(0.0, [n, units], dtype)) };
        let v = if batch_first { v.transposed(&[1, 0, 2]) } else { v.clone() };
        Ok(v.value().cast(dtype).slice(0, d, d + 1).reshape([n, units]))
    };
    let row = |v: Option<Var<'g>>, d: usize| v.map(|v| v.value().cast(dtype).slice(0, d, d + 1));
    let (mut all, mut last_h, mut last_c) = (Vec::new(), Vec::new(), Vec::new());
    for d in 0..directions {
        let reverse = direction == "reverse" || d == 1;
        let bias = row(c.optional(3)?, d).map(|b| {
            let both = b.reshape([2 * gates]);
            [both.slice(0, 0, gates), both.slice(0, gates, 2 * gates)]
        });
        let of_cell = cell == Cell::Lstm;
        let own = Direction {
            x: x_value,
            w: w.slice(0, d, d + 1).reshape([gates, w.last()]),
            r: r.slice(0, d, d + 1).reshape([gates, units]),
            bias,
            h: start(&states[0], d)?,
            c: start(&states[1], d)?,
            peepholes: if of_cell { row(c.optional(7)?, d).map(|p| p.reshape([3 * units])) } else { None },
            mask: lengths,
            activations: activations[d].clone(),
        };
        let (steps, h, cell_state) = match fast(&own, &options, reverse) {
            Some(found) => found,
            None => {
                // Each step of an LSTM is so many operations.
                c.afford(t.saturating_mul(64))?;
                unrolled(own, &options, reverse)?
            }
        };
        // What lies behind the end of a sequence is 0.
        let steps = match lengths {
            Some(mask) => steps * mask.cast(dtype).expand(2),
            None => steps,
        };
        all.push(steps.expand(1));
        last_h.push(h.expand(0));
        last_c.push(cell_state.expand(0));
    }
    let y = Var::new(x.elem, c.b.concat(&all, 1)); // [t, directions, n, u]
    let h = Var::new(x.elem, c.b.concat(&last_h, 0)); // [directions, n, u]
    let mut results = match batch_first {
        true => vec![y.transposed(&[2, 0, 1, 3]), h.transposed(&[1, 0, 2])],
        false => vec![y, h],
    };
    if cell == Cell::Lstm {
        let state = Var::new(x.elem, c.b.concat(&last_c, 0));
        results.push(if batch_first { state.transposed(&[1, 0, 2]) } else { state });
    }
    Ok(results.into_iter().map(Item::from).collect())
}

fn activations(c: &Call<'_, '_>, cell: Cell, directions: usize) -> Result<Vec<Vec<Activation>>, String> {
    let usual = cell.activations();
    let names = match c.texts("activations")?.filter(|l| !l.is_empty()) {
        Some(names) => names,
        None => (0..directions).flat_map(|_| usual.iter().map(|n| n.to_string())).collect(),
    };
    if names.len() != directions * usual.len() {
        return Err(format!("expected {} activations, found {}", directions * usual.len(), names.len()));
    }
    // Numbers are given in order for those that take some.
    let (mut alphas, mut betas) = (
        c.float_list("activation_alpha")?.unwrap_or_default().into_iter(),
        c.float_list("activation_beta")?.unwrap_or_default().into_iter(),
    );
    let with_alpha = ["affine", "leakyrelu", "thresholdedrelu", "scaledtanh", "hardsigmoid", "elu"];
    let with_beta = ["affine", "scaledtanh", "hardsigmoid"];
    let activation = |name: String| {
        let key = name.to_ascii_lowercase();
        let alpha = if with_alpha.contains(&key.as_str()) { alphas.next().map(f64::from) } else { None };
        let beta = if with_beta.contains(&key.as_str()) { betas.next().map(f64::from) } else { None };
        Activation { name, alpha, beta }
    };
    let all: Vec<Activation> = names.into_iter().map(activation).collect();
    Ok(all.chunks(usual.len()).map(<[Activation]>::to_vec).collect())
}

/// Columns `[features, gates u]` with the gates in Brisk's order.
fn columns<'g>(rows: Value<'g>, cell: Cell, units: usize) -> Value<'g> {
    ordered(rows, cell, units).transpose(&[1, 0])
}

fn ordered<'g>(rows: Value<'g>, cell: Cell, units: usize) -> Value<'g> {
    let b = rows.builder();
    let parts: Vec<_> = cell.order().iter().map(|&g| rows.slice(0, g * units, (g + 1) * units)).collect();
    if parts.len() == 1 { rows } else { b.concat(&parts, 0) }
}

/// By the operation that has a kernel: all steps `[t, n, u]`, and the last states. `None` for what it does not know.
fn fast<'g>(d: &Direction<'g>, o: &Options, reverse: bool) -> Option<(Value<'g>, Value<'g>, Value<'g>)> {
    let plain = d.activations.iter().map(|a| a.name.as_str()).eq(o.cell.activations().iter().copied());
    if !plain || o.clip.is_some() || o.couple || d.peepholes.is_some() || d.x.dtype() != DType::F32 {
        return None;
    }
    let b = d.x.builder();
    let (t, n, u) = (d.x.dim(0), d.x.dim(1), o.units);
    let x = d.x.transpose(&[1, 0, 2]);
    let mut gates = x.matmul(columns(d.w, o.cell, u));
    let mut after = None;
    if let Some([input, state]) = d.bias {
        let [input, state] = [input, state].map(|v| ordered(v, o.cell, u));
        match o.cell {
            Cell::Gru if o.linear_before_reset => {
                gates = gates + input;
                after = Some(state);
            }
            _ => gates = gates + (input + state),
        }
    }
    let r = columns(d.r, o.cell, u);
    let mask = match d.mask {
        Some(mask) => mask.transpose(&[1, 0]),
        None => b.fill_as(1.0, [n, t], DType::U8),
    };
    let run = |result: Yield| match o.cell {
        Cell::Lstm => op::lstm(gates, r, b.concat(&[d.h, d.c], 1), mask, result, reverse),
        Cell::Gru if !o.linear_before_reset => op::gru_reset_before(gates, r, d.h, mask, result, reverse),
        Cell::Gru => {
            let bias = after.unwrap_or_else(|| b.fill(0.0, [3 * u]));
            op::gru(gates, r, bias, d.h, mask, result, reverse)
        }
        Cell::Simple => op::simple_rnn(gates, r, d.h, mask, result, reverse),
    };
    let steps = run(Yield::Sequence).transpose(&[1, 0, 2]);
    let state = run(Yield::State);
    let (h, c) = match o.cell {
        Cell::Lstm => (state.slice(1, 0, u), state.slice(1, u, 2 * u)),
        _ => (state, state),
    };
    Some((steps, h, c))
}

/// Step by step, as ONNX writes it.
fn unrolled<'g>(
    d: Direction<'g>,
    o: &Options,
    reverse: bool,
) -> Result<(Value<'g>, Value<'g>, Value<'g>), String> {
    let b = d.x.builder();
    let (t, u) = (d.x.dim(0), o.units);
    let clip = |v: Value<'g>| match o.clip {
        Some(most) => v.max(-most).min(most),
        None => v,
    };
    let n = d.x.dim(1);
    let products = d.x.matmul(d.w.transpose(&[1, 0])); // [t, n, gates u]
    let zero = b.fill_as(0.0, [d.w.dim(0)], d.x.dtype());
    let [input_bias, state_bias] = d.bias.unwrap_or([zero, zero]);
    let r = d.r.transpose(&[1, 0]);
    let gate = |v: Value<'g>, g: usize| v.slice(v.rank().saturating_sub(1), g * u, (g + 1) * u);
    // What does not fit has another shape than the steps expect.
    b.check().map_err(|e| e.to_string())?;
    let (mut h, mut c) = (d.h, d.c);
    let mut steps = vec![h; t];
    let order: Vec<usize> = if reverse { (0..t).rev().collect() } else { (0..t).collect() };
    for step in order {
        let x = products.slice(0, step, step + 1).reshape([n, d.w.dim(0)]) + input_bias;
        let (new_h, new_c) = match o.cell {
            Cell::Simple => {
                let sum = x + h.matmul(r) + state_bias;
                (d.activations[0].apply(clip(sum))?, c)
            }
            Cell::Gru => {
                let f = |v| d.activations[0].apply(clip(v));
                let s = h.matmul(r.slice(1, 0, 2 * u)) + state_bias.slice(0, 0, 2 * u);
                let z = f(gate(x, 0) + gate(s, 0))?;
                let reset = f(gate(x, 1) + gate(s, 1))?;
                let (r_h, b_h) = (r.slice(1, 2 * u, 3 * u), gate(state_bias, 2));
                let state = match o.linear_before_reset {
                    true => reset * (h.matmul(r_h) + b_h),
                    false => (reset * h).matmul(r_h) + b_h,
                };
                let candidate = d.activations[1].apply(clip(gate(x, 2) + state))?;
                ((1.0 - z) * candidate + z * h, c)
            }
            Cell::Lstm => {
                let s = x + h.matmul(r) + state_bias;
                let peep = |k: usize, state: Value<'g>| match d.peepholes {
                    Some(p) => gate(p, k) * state,
                    None => b.fill_as(0.0, [n, u], state.dtype()),
                };
                let f = |v| d.activations[0].apply(clip(v));
                let i = f(gate(s, 0) + peep(0, c))?;
                let forget = if o.couple { 1.0 - i } else { f(gate(s, 2) + peep(2, c))? };
                let g = d.activations[1].apply(clip(gate(s, 3)))?;
                let new_c = forget * c + i * g;
                let out = f(gate(s, 1) + peep(1, new_c))?;
                (out * d.activations[2].apply(new_c)?, new_c)
            }
        };
        (h, c) = match d.mask {
            Some(mask) => {
                let live = mask.slice(0, step, step + 1).reshape([n, 1]).broadcast_to([n, u]);
                (live.select(new_h, h), live.select(new_c, c))
            }
            None => (new_h, new_c),
        };
        steps[step] = h;
    }
    let all: Vec<_> = steps.into_iter().map(|h| h.expand(0)).collect();
    if all.is_empty() {
        return Err("expected at least one step".into());
    }
    Ok((b.concat(&all, 0), h, c))
}
