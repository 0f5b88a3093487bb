//! Recurrent networks.

use brisk_graph::evaluate::evaluate;
use brisk_graph::op::{self, Attrs};
use brisk_graph::prim::Binary;
use brisk_graph::{DType, Id, Op, Prim, Tensor};

use super::emit::{Body, Val};
use super::movement::permute;
use super::size::Size;
use super::table::Form;
use super::walk::Walk;
use crate::{Attribute, Elem};

/// What differs between the cells.
struct Cell {
    /// Brisk's gates in the order of ONNX's.
    order: &'static [usize],
    states: usize,
}

/// Brisk adds up the product of all steps outside; ONNX's operators want its factors.
struct Product {
    /// `[n, t, features]`
    x: Val,
    /// `[features, gates u]`, with its name.
    kernel: (String, Tensor),
    /// `[gates u]`, with its name.
    bias: Option<(String, Tensor)>,
}

/// Where steps are that count, if not all do.
struct Live {
    /// i32 `[n, t]`: 1 for those that do.
    mask: Val,
    /// i32 `[n, 1]`
    count: Val,
    /// i32 `[n, t]`: how many do up to and with each.
    before: Val,
    /// i64 `[n, t, 1]`: the steps that count in order, then the others.
    order: Val,
}

pub(super) fn write(w: &mut Walk<'_>, id: Id, form: &Form, attrs: &Attrs) -> Result<Val, String> {
    let cell = match form.name {
        "LSTM" => Cell { order: &[0, 3, 1, 2], states: 2 },
        "GRU" => Cell { order: &[0, 1, 2], states: 1 },
        _ => Cell { order: &[0], states: 1 },
    };
    let reverse = attrs.get_int("reverse") == 1;
    let product_dims = w.dims(w.input(id, 0)?)?;
    let [n, t, _] = &product_dims[..] else { return Err("expected sequences".into()) };
    let recurrent = w.full_operand(id, 1)?;
    let Body::Known(recurrent_name, recurrent) = recurrent.body else {
        return Err("its recurrent kernel is computed; merge what is added to it first".into());
    };
    let units = recurrent.shape()[0];
    let product = product(w, id)?;
    let initial = initial(w, id, n, units, &cell)?;
    let live = live(w, id, t)?;
    let x = match &live {
        Some(live) => picked(w, &product.x, &live.order)?,
        None => product.x,
    };
    let x = permute(w, &x, &[1, 0, 2]);
    let known = |w: &mut Walk<'_>, (name, tensor): (String, Tensor)| -> Result<String, String> {
        let tensor = gates(&tensor, &cell)?;
        Ok(w.e.name(&Val::known(format!("{name}/gates"), tensor)))
    };
    let mut inputs = vec![w.e.name(&x), known(w, product.kernel)?, known(w, (recurrent_name, recurrent))?];
    inputs.push(bias(w, id, product.bias, units, &cell)?);
    inputs.push(match &live {
        Some(live) => {
            let one = w.e.scalar(1.0, DType::I32)?;
            let some = w.e.elementwise("Max", &[live.count.clone(), one], vec![], Elem::Int32)?;
            let some = w.e.reshaped(&some, std::slice::from_ref(n))?;
            w.e.name(&some)
        }
        None => String::new(),
    });
    for state in &initial {
        let wide = w.e.reshaped(state, &[Size::from(1), n.clone(), units.into()])?;
        inputs.push(w.e.name(&wide));
    }
    while inputs.last().is_some_and(String::is_empty) {
        inputs.pop();
    }
    let direction = Attribute::String(if reverse { "reverse" } else { "forward" }.into());
    let mut attributes = vec![("hidden_size", Attribute::Int(units as i64)), ("direction", direction)];
    if form.name == "GRU" {
        let after = form.op == &op::GRU;
        attributes.push(("linear_before_reset", Attribute::Int(after.into())));
    }
    let outputs = w.e.node(form.name, inputs, attributes, 1 + cell.states);
    let zero = w.e.scalar(0.0, DType::F32)?;
    let start = |s: usize| initial.get(s).cloned().unwrap_or_else(|| zero.clone());
    if attrs.get_int("yield") == 1 {
        let y = Val::made(&*outputs[0], vec![t.clone(), 1.into(), n.clone(), units.into()], Elem::Float);
        let y = permute(w, &y, &[2, 0, 1, 3]);
        let y = w.e.reshaped(&y, &[n.clone(), t.clone(), units.into()])?;
        return match &live {
            Some(live) => spread(w, &y, live, start(0), [n, t], units, reverse),
            None => Ok(y),
        };
    }
    let count = if attrs.get_int("yield") == 2 { cell.states } else { 1 };
    let mut states = Vec::new();
    for (s, name) in outputs[1..=count].iter().enumerate() {
        let state = Val::made(name, vec![1.into(), n.clone(), units.into()], Elem::Float);
        let state = w.e.reshaped(&state, &[n.clone(), units.into()])?;
        states.push(match &live {
            // Where nothing counts, it stays as it was.
            Some(live) => {
                let none = w.e.scalar(0.0, DType::I32)?;
                let some = w.e.elementwise("Less", &[none, live.count.clone()], vec![], Elem::Bool)?;
                w.e.elementwise("Where", &[some, state, start(s)], vec![], Elem::Float)?
            }
            None => state,
        });
    }
    if states.len() == 1 {
        return states.pop().ok_or_else(|| "no state".into());
    }
    let names = states.iter().map(|s| w.e.name(s)).collect();
    let name = w.e.one("Concat", names, vec![("axis", Attribute::Int(1))]);
    Ok(Val::made(name, w.dims(id)?, Elem::Float))
}

/// The factors of the product of all steps; the product itself times one, if it is made in another way.
fn product(w: &mut Walk<'_>, id: Id) -> Result<Product, String> {
    let whole = w.input(id, 0)?;
    let known = |w: &Walk<'_>, id: Id, rank: usize| match w.val(id) {
        Ok(Val { body: Body::Known(name, tensor), .. }) if tensor.shape().rank() == rank => {
            Some((name, tensor))
        }
        _ => None,
    };
    let prim = |w: &Walk<'_>, id: Id| match &w.node(id).op {
        Op::Prim(prim) => Some(prim.clone()),
        Op::Named(..) => None,
    };
    let (mut rest, mut bias) = (whole, None);
    if prim(w, whole) == Some(Prim::Binary(Binary::Add)) {
        for (own, other) in [(0, 1), (1, 0)] {
            if let Some(found) = known(w, w.input(whole, other)?, 1) {
                (rest, bias) = (w.input(whole, own)?, Some(found));
            }
        }
    }
    let factors = |w: &Walk<'_>| {
        matches!(prim(w, rest)?, Prim::Reshape(_)).then_some(())?;
        let matmul = w.input(rest, 0).ok()?;
        (prim(w, matmul)? == Prim::MatMul { ta: false, tb: false }).then_some(())?;
        let (rows, kernel) = (w.input(matmul, 0).ok()?, w.input(matmul, 1).ok()?);
        matches!(prim(w, rows)?, Prim::Reshape(_)).then_some(())?;
        let from = w.input(rows, 0).ok()?;
        let (before, after) = (w.dims(from).ok()?, w.dims(rest).ok()?);
        (before.len() == 3 && before[..2] == after[..2] && w.dims(rows).ok()?.last() == before.last())
            .then_some(())?;
        Some((from, known(w, kernel, 2)?))
    };
    if let Some((from, kernel)) = factors(w) {
        let (val, dims) = (w.val(from)?, w.dims(from)?);
        return Ok(Product { x: w.e.full(&val, &dims)?, kernel, bias });
    }
    let x = w.full_operand(id, 0)?;
    let size = w.node(whole).shape.last();
    const MOST: usize = 1 << 13;
    if size > MOST {
        return Err(format!(
            "what goes into it is not a product with a kernel, and {size} numbers a step are too many for one"
        ));
    }
    let ones = (0..size * size).map(|i| if i % (size + 1) == 0 { 1.0 } else { 0.0 }).collect::<Vec<f32>>();
    let one = Tensor::new([size, size], ones).map_err(|e| e.to_string())?;
    // Gates are put in another order for each kind.
    let name = format!("one/{size}/{}", w.node(id).op.name());
    Ok(Product { x, kernel: (name, one), bias: None })
}

/// `[features, gates u]` as `[1, gates u, features]`, with ONNX's order of gates.
fn gates(tensor: &Tensor, cell: &Cell) -> Result<Tensor, String> {
    let (features, all) = (tensor.shape()[0], tensor.shape().last());
    let units = all / cell.order.len();
    let turned = evaluate(&Prim::Transpose(vec![1, 0]), std::slice::from_ref(tensor))?;
    let gate = |&g: &usize| {
        let slice =
            Prim::Slice { start: vec![g * units, 0], end: vec![(g + 1) * units, features], step: vec![1, 1] };
        evaluate(&slice, std::slice::from_ref(&turned))
    };
    let gates = cell.order.iter().map(gate).collect::<Result<Vec<_>, _>>()?;
    evaluate(&Prim::Concat(0), &gates)?.reshape([1, all, features]).map_err(|e| e.to_string())
}

/// The name of the biases of both products, `[1, 2 gates u]`; empty if there are none.
fn bias(
    w: &mut Walk<'_>,
    id: Id,
    of_input: Option<(String, Tensor)>,
    units: usize,
    cell: &Cell,
) -> Result<String, String> {
    let all = units * cell.order.len();
    let of_state = match w.input(id, 4) {
        Ok(_) => match w.vector(id, 4)?.body {
            Body::Known(name, tensor) => Some((name, tensor)),
            Body::Made(_) => return Err("its bias is computed".into()),
        },
        Err(_) => None,
    };
    let zeros = || Tensor::zeros(DType::F32, [all]);
    if let (None, None) = (&of_input, &of_state) {
        return Ok(String::new());
    }
    let row = |own: Option<(String, Tensor)>| -> Result<(String, Tensor), String> {
        let (name, tensor) = own.unwrap_or_else(|| (format!("zeros/{all}"), zeros()));
        let tensor = tensor.reshape([1, all]).map_err(|e| e.to_string())?;
        Ok((format!("{name}/gates"), gates(&tensor, cell)?.reshape([1, all]).map_err(|e| e.to_string())?))
    };
    let [a, b] = [row(of_input)?, row(of_state)?];
    if w.e.learned(&a.0) == w.e.learned(&b.0) {
        let name = format!("{}/{}", a.0, b.0);
        return Ok(w.e.name(&Val::known(name, evaluate(&Prim::Concat(1), &[a.1, b.1])?)));
    }
    // Zeros that training changed too would be a second bias.
    let names = [a, b].into_iter().map(|(name, tensor)| w.e.name(&Val::known(name, tensor))).collect();
    Ok(w.e.one("Concat", names, vec![("axis", Attribute::Int(1))]))
}

/// The states at the start, `[n, u]` each; none if they are zero.
fn initial(w: &mut Walk<'_>, id: Id, n: &Size, units: usize, cell: &Cell) -> Result<Vec<Val>, String> {
    let start = w.operand(id, 2)?;
    if start.tensor().is_some_and(|t| t.to_f64s().iter().all(|&v| v == 0.0)) {
        return Ok(Vec::new());
    }
    let start = w.full_operand(id, 2)?;
    let name = w.e.name(&start);
    let mut states = Vec::new();
    for s in 0..cell.states {
        let own = match cell.states {
            1 => name.clone(),
            _ => {
                let (from, to) = ((s * units) as i64, ((s + 1) * units) as i64);
                let inputs = vec![name.clone(), w.e.list([from])?, w.e.list([to])?, w.e.list([1])?];
                w.e.one("Slice", inputs, vec![])
            }
        };
        states.push(Val::made(own, vec![n.clone(), units.into()], Elem::Float));
    }
    Ok(states)
}

fn live(w: &mut Walk<'_>, id: Id, t: &Size) -> Result<Option<Live>, String> {
    let mask = w.operand(id, 3)?;
    if mask.tensor().is_some_and(|t| t.to_f64s().iter().all(|&v| v != 0.0)) {
        return Ok(None);
    }
    let mask = w.full_operand(id, 3)?;
    let mask = w.e.truth(&mask);
    let mask = w.e.cast(&mask, Elem::Int32);
    let axis = w.e.scalar(1.0, DType::I64)?;
    let inputs = vec![w.e.name(&mask), w.e.name(&axis)];
    let before = w.e.one("CumSum", inputs, vec![]);
    let before = Val { body: Body::Made(before), ..mask.clone() };
    let inputs = vec![w.e.name(&mask), w.e.list([1])?];
    let count = w.e.one("ReduceSum", inputs, vec![("keepdims", Attribute::Int(1))]);
    let count = Val::made(count, vec![mask.dims[0].clone(), 1.into()], Elem::Int32);
    // Those that count first, each group in its order.
    let places = w.e.range(t)?;
    let length = w.e.scalar_size(t)?;
    let length = w.e.cast(&Val::made(length, vec![], Elem::Int64), Elem::Int32);
    let rank = w.e.elementwise("Mul", &[mask.clone(), length], vec![], Elem::Int32)?;
    let rank = w.e.elementwise("Sub", &[rank, places], vec![], Elem::Int32)?;
    let inputs = vec![w.e.name(&rank), w.e.size(t)?];
    let order = w.e.node("TopK", inputs, vec![("axis", Attribute::Int(1))], 2).swap_remove(1);
    let order = Val { body: Body::Made(order), elem: Elem::Int64, ..mask.clone() };
    let order = w.e.reshaped(&order, &[order.dims.clone(), vec![1.into()]].concat())?;
    Ok(Some(Live { mask, count, before, order }))
}

/// Of each sample the rows of these numbers.
fn picked(w: &mut Walk<'_>, x: &Val, rows: &Val) -> Result<Val, String> {
    let inputs = vec![w.e.name(x), w.e.name(rows)];
    let name = w.e.one("GatherND", inputs, vec![("batch_dims", Attribute::Int(1))]);
    Ok(Val { body: Body::Made(name), ..x.clone() })
}

/// States after the steps that count, one after the other, at the places of all steps: each that does not has that of the one before
/// (behind it, in reverse).
fn spread(
    w: &mut Walk<'_>,
    y: &Val,
    live: &Live,
    start: Val,
    [n, t]: [&Size; 2],
    units: usize,
    reverse: bool,
) -> Result<Val, String> {
    let (zero, one) = (w.e.scalar(0.0, DType::I32)?, w.e.scalar(1.0, DType::I32)?);
    let arithmetic = |w: &mut Walk<'_>, op: &str, a: &Val, b: &Val| {
        w.e.elementwise(op, &[a.clone(), b.clone()], vec![], Elem::Int32)
    };
    let (row, there) = match reverse {
        false => {
            let row = arithmetic(w, "Sub", &live.before, &one)?;
            let there = w.e.elementwise("Less", &[zero.clone(), live.before.clone()], vec![], Elem::Bool)?;
            (row, there)
        }
        true => {
            let row = arithmetic(w, "Sub", &live.before, &live.mask)?;
            let there = w.e.elementwise("Less", &[row.clone(), live.count.clone()], vec![], Elem::Bool)?;
            let last = arithmetic(w, "Sub", &live.count, &one)?;
            (arithmetic(w, "Min", &row, &last)?, there)
        }
    };
    let row = arithmetic(w, "Max", &row, &zero)?;
    let row = w.e.cast(&row, Elem::Int64);
    let wide = [n.clone(), t.clone(), 1.into()];
    let (row, there) = (w.e.reshaped(&row, &wide)?, w.e.reshaped(&there, &wide)?);
    let found = picked(w, y, &row)?;
    let start = match start.dims.is_empty() {
        true => start,
        false => w.e.reshaped(&start, &[n.clone(), 1.into(), units.into()])?,
    };
    w.e.elementwise("Where", &[there, found, start], vec![], Elem::Float)
}
