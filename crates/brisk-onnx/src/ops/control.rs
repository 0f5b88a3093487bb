//! Control flow. What is known while the graph is made is unrolled; a condition that is not is looked at, or both branches are made.

use brisk_graph::{DType, Value};

use super::{Operator, many};
use crate::call::{Call, axis};
use crate::record::{Body, record_inner};
use crate::{Elem, Item, Var};

pub(super) const OPS: &[Operator] = &[many("If", branch), many("Loop", turns), many("Scan", scan)];

/// How often a loop may turn.
const MOST_TURNS: i64 = 1 << 16;

fn branch<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let condition = c.var(0)?;
    let (yes, no) = (c.graph("then_branch")?, c.graph("else_branch")?);
    let value = condition.value();
    let known = match value.constant() {
        Some(tensor) => Some(tensor),
        None => c.try_look(value)?,
    };
    if let Some(tensor) = known {
        let chosen = if tensor.to_f64s().first().is_some_and(|&v| v != 0.0) { yes } else { no };
        return record_inner(c, chosen, Vec::new());
    }
    // Both, and one of them is taken.
    let (a, b) = (record_inner(c, yes, Vec::new())?, record_inner(c, no, Vec::new())?);
    let condition = value.cast(DType::U8).reshape([0; 0]);
    let choose = |(a, b): (Item<'g>, Item<'g>)| {
        match (a, b) {
        (Item::Tensor(a), Item::Tensor(b)) if a.shape() == b.shape() && a.elem == b.elem => {
            let dtype = crate::call::widest(a.value().dtype(), b.value().dtype());
            let value = condition.select(a.value().cast(dtype), b.value().cast(dtype));
            Ok(Var::new(a.elem, value).into())
        }
        _ => Err("its branches yield values of different shapes, and which is taken is only known when the model runs; \
                  only `predict` and `bench` run such a model"
            .to_string()),
    }
    };
    a.into_iter().zip(b).map(choose).collect()
}

/// Results of the turns of a loop, stacked.
struct Stack<'g> {
    turns: Vec<Var<'g>>,
}

impl<'g> Stack<'g> {
    fn push(&mut self, item: Item<'g>) -> Result<(), String> {
        match item {
            Item::Tensor(var) => {
                self.turns.push(var);
                Ok(())
            }
            _ => Err("only tensors can be collected over the turns of a loop".into()),
        }
    }

    fn finish(
        self,
        c: &Call<'_, 'g>,
        at: i64,
        reverse: bool,
        empty: Option<Var<'g>>,
    ) -> Result<Item<'g>, String> {
        let mut turns = self.turns;
        if reverse {
            turns.reverse();
        }
        let Some(first) = turns.first().cloned() else {
            return empty
                .map(Item::from)
                .ok_or_else(|| "a loop without turns collects nothing of a known shape".into());
        };
        let at = axis(at, first.rank() + 1)?;
        let parts: Vec<Var<'g>> = turns.iter().map(|v| Var::new(v.elem, v.value().expand(at))).collect();
        super::movement::join(c, &parts, at).map(Item::from)
    }
}

/// Replaces what must be looked at again and again by what it is.
fn seen<'g>(c: &mut Call<'_, 'g>, item: Item<'g>) -> Result<Item<'g>, String> {
    let Item::Tensor(var) = item else { return Ok(item) };
    let value = var.value();
    if value.constant().is_some() {
        return Ok(var.into());
    }
    Ok(match c.try_look(value)? {
        Some(tensor) => Var::new(var.elem, c.constant(Ok(tensor))?).into(),
        None => var.into(),
    })
}

fn turns<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let body = c.graph("body")?;
    let most = if c.has(0) { c.known_ints(0)?.first().copied().unwrap_or(0) } else { i64::MAX };
    let mut go = match c.has(1) {
        true => c.known_ints(1)?.first().copied().unwrap_or(1) != 0,
        false => true,
    };
    let mut carried: Vec<Item<'g>> =
        (2..c.inputs.len()).map(|i| c.item(i).cloned()).collect::<Result<_, _>>()?;
    let collected =
        body.outputs.len().checked_sub(1 + carried.len()).ok_or("its body has too few outputs")?;
    let mut stacks: Vec<Stack<'g>> = (0..collected).map(|_| Stack { turns: Vec::new() }).collect();
    let mut turn = 0;
    while go && turn < most {
        if turn >= MOST_TURNS {
            return Err(format!(
                "it turns more than {MOST_TURNS} times; loops have at most so many turns here"
            ));
        }
        let number: Item<'g> = c.make_ints([0; 0], vec![turn])?.into();
        let on = Var::new(Elem::Bool, c.b.fill_as(1.0, [0; 0], DType::U8)).into();
        let inputs = [number, on].into_iter().chain(carried).map(Some).collect();
        let mut outputs = record_inner(c, body, inputs)?.into_iter();
        let condition = match outputs.next() {
            Some(Item::Tensor(condition)) => condition.value(),
            _ => return Err("its body yields no condition".into()),
        };
        let depends = condition.constant().is_none();
        carried = outputs.by_ref().take(body.outputs.len() - 1 - collected).collect();
        for (stack, item) in stacks.iter_mut().zip(outputs) {
            stack.push(item)?;
        }
        go = c.look(condition)?.to_f64s().first().is_some_and(|&v| v != 0.0);
        if depends {
            carried = carried.into_iter().map(|item| seen(c, item)).collect::<Result<_, _>>()?;
        }
        turn += 1;
    }
    for (i, stack) in stacks.into_iter().enumerate() {
        // The shape of a turn's result, where the body says it.
        let port = &body.outputs[1 + carried.len().min(body.outputs.len() - 1 - collected) + i];
        let empty = match &port.ty {
            crate::Type::Tensor(elem, dims) => {
                let size = |d: &crate::Dim| if let crate::Dim::Size(n) = d { *n } else { 0 };
                let dims: Vec<usize> = std::iter::once(0).chain(dims.iter().flatten().map(size)).collect();
                Some(Var::new(*elem, c.b.fill_as(0.0, dims, elem.dtype())))
            }
            _ => None,
        };
        carried.push(stack.finish(c, 0, false, empty)?);
    }
    Ok(carried)
}

fn scan<'g>(c: &mut Call<'_, 'g>) -> Result<Vec<Item<'g>>, String> {
    let body = c.graph("body")?;
    let scanned =
        usize::try_from(c.int("num_scan_inputs", 0)?).map_err(|_| "num_scan_inputs must be at least 0")?;
    if scanned > c.inputs.len() {
        return Err("num_scan_inputs is larger than the number of inputs".into());
    }
    // Version 8 has the lengths of sequences first, and a batch around everything.
    if c.opset < 9 {
        return scan_batch(c, body, scanned);
    }
    let inputs: Vec<Item<'g>> = (0..c.inputs.len()).map(|i| c.item(i).cloned()).collect::<Result<_, _>>()?;
    let axes = c.ints("scan_input_axes")?.unwrap_or_else(|| vec![0; scanned]);
    let turned = c.ints("scan_input_directions")?.unwrap_or_else(|| vec![0; scanned]);
    let states =
        inputs.len().checked_sub(scanned).ok_or("num_scan_inputs is larger than the number of inputs")?;
    let outputs = body.outputs.len().checked_sub(states).ok_or("its body has too few outputs")?;
    let out_axes = c.ints("scan_output_axes")?.unwrap_or_else(|| vec![0; outputs]);
    let out_turned = c.ints("scan_output_directions")?.unwrap_or_else(|| vec![0; outputs]);
    if axes.len() != scanned
        || turned.len() != scanned
        || out_axes.len() != outputs
        || out_turned.len() != outputs
    {
        return Err("its axes and directions do not fit its inputs and outputs".into());
    }
    let mut sequences = Vec::new();
    for (i, item) in inputs[states..].iter().enumerate() {
        let Item::Tensor(var) = item else { return Err("only tensors can be scanned".into()) };
        sequences.push((var.clone(), axis(axes[i], var.rank())?, turned[i] != 0));
    }
    let (mut all, stacks) = steps(c, body, inputs[..states].to_vec(), &sequences)?;
    for (i, stack) in stacks.into_iter().enumerate() {
        all.push(stack.finish(c, out_axes[i], out_turned[i] != 0, None)?);
    }
    Ok(all)
}

type Scanned<'g> = (Var<'g>, usize, bool);

/// Calls a body for each step of sequences.
fn steps<'g>(
    c: &mut Call<'_, 'g>,
    body: Body<'_>,
    mut state: Vec<Item<'g>>,
    sequences: &[Scanned<'g>],
) -> Result<(Vec<Item<'g>>, Vec<Stack<'g>>), String> {
    let Some((first, at, _)) = sequences.first() else { return Err("nothing is scanned".into()) };
    let length = first.shape().get(*at).copied().ok_or("a sequence without steps")?;
    if sequences.iter().any(|(v, at, _)| v.shape().get(*at) != Some(&length)) {
        return Err("the sequences have different lengths".into());
    }
    if length as i64 > MOST_TURNS {
        return Err(format!("sequences may have {MOST_TURNS} steps, found {length}"));
    }
    let states = state.len();
    let collected = body.outputs.len().saturating_sub(states);
    let mut stacks: Vec<Stack<'g>> = (0..collected).map(|_| Stack { turns: Vec::new() }).collect();
    for step in 0..length {
        let part = |(v, at, turned): &Scanned<'g>| {
            let i = if *turned { length - 1 - step } else { step };
            let mut dims = v.shape().to_vec();
            dims.remove(*at);
            let value: Value<'g> = v.value().slice(*at, i, i + 1).reshape(dims);
            Item::from(Var::new(v.elem, value))
        };
        let inputs = state.into_iter().chain(sequences.iter().map(part)).map(Some).collect();
        let mut outputs = record_inner(c, body, inputs)?.into_iter();
        state = outputs.by_ref().take(states).collect();
        for (stack, item) in stacks.iter_mut().zip(outputs) {
            stack.push(item)?;
        }
    }
    Ok((state, stacks))
}

fn scan_batch<'g>(c: &mut Call<'_, 'g>, body: Body<'_>, scanned: usize) -> Result<Vec<Item<'g>>, String> {
    if c.has(0) {
        return Err("sequences of different lengths in one Scan are not known; convert the model to version 9 or newer".into());
    }
    let vars: Vec<Var<'g>> = (1..c.inputs.len()).map(|i| c.var(i)).collect::<Result<_, _>>()?;
    let states =
        vars.len().checked_sub(scanned).ok_or("num_scan_inputs is larger than the number of inputs")?;
    let turned = c.ints("directions")?.unwrap_or_else(|| vec![0; scanned]);
    let n = vars.first().map_or(0, |v| v.shape().first().copied().unwrap_or(0));
    if let Some(bad) = vars.iter().find(|v| v.shape().first() != Some(&n)) {
        return Err(format!("expected {n} samples along the first axis, found {}", bad.shape()));
    }
    let mut samples: Vec<Vec<Var<'g>>> = Vec::new();
    for i in 0..n {
        c.spend(1 + vars.len() + body.outputs.len())?;
        let one = |v: &Var<'g>| {
            let dims = v.shape()[1..].to_vec();
            Var::new(v.elem, v.value().slice(0, i, i + 1).reshape(dims))
        };
        let own: Vec<Var<'g>> = vars.iter().map(one).collect();
        let sequences: Vec<Scanned<'g>> = own[states..]
            .iter()
            .enumerate()
            .map(|(k, v)| (v.clone(), 0, turned.get(k).is_some_and(|&d| d != 0)))
            .collect();
        let state = own[..states].iter().cloned().map(Item::from).collect();
        let (mut all, stacks) = steps(c, body, state, &sequences)?;
        for stack in stacks {
            all.push(stack.finish(c, 0, false, None)?);
        }
        let tensor = |item| match item {
            Item::Tensor(v) => Ok(v),
            _ => Err("only tensors can be scanned".to_string()),
        };
        samples.push(all.into_iter().map(tensor).collect::<Result<_, _>>()?);
    }
    (0..body.outputs.len())
        .map(|k| {
            let turns = samples.iter().filter_map(|s| s.get(k).cloned()).collect();
            Stack { turns }.finish(c, 0, false, None)
        })
        .collect()
}
