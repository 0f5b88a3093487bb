//! From instructions over virtual registers to steps over block-sized slots.
//!
//! Values that are the same for all elements are computed once a run. Contiguous `f32` operands are read where they are,
//! and a result that is stored is computed into its place, unless another operand still has to be read from there.

use super::{Access, Binary, Elem, Inst, Operand, ProgramError, Reg, Unary};
use std::collections::HashMap;

/// A value of the static single assignment form: its number is its place in the list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Node {
    Load(u16),
    Const(f32),
    Unary(Unary, usize),
    Binary(Binary, usize, usize),
    Fma(usize, usize, usize),
    Select(usize, usize, usize),
    Store(usize, u16),
    SumColumns(usize, u16),
    SumAll(usize, u16),
}

impl Node {
    fn sources(self) -> impl Iterator<Item = usize> {
        let (list, n) = match self {
            Self::Load(_) | Self::Const(_) => ([0; 3], 0),
            Self::Unary(_, a) | Self::Store(a, _) | Self::SumColumns(a, _) | Self::SumAll(a, _) => {
                ([a, 0, 0], 1)
            }
            Self::Binary(_, a, b) => ([a, b, 0], 2),
            Self::Fma(a, b, c) | Self::Select(a, b, c) => ([a, b, c], 3),
        };
        list.into_iter().take(n)
    }

    fn is_value(self) -> bool {
        !matches!(self, Self::Store(..) | Self::SumColumns(..) | Self::SumAll(..))
    }
}

/// Where a step finds an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Src {
    Slot(u16),
    Uniform(u16),
    /// The block's own elements of a contiguous `f32` operand.
    InPlace(u16),
    /// Number of a `Row` operand in [`Plan::rows`].
    Row(u16),
}

/// Where a step leaves its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dst {
    Slot(u16),
    Uniform(u16),
    InPlace(u16),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Const(f32, Dst),
    Load(u16, Dst),
    Unary(Unary, Src, Dst),
    Binary(Binary, Src, Src, Dst),
    Fma(Src, Src, Src, Dst),
    Select(Src, Src, Src, Dst),
    Store(Src, u16),
    /// The second number is that of the accumulator.
    SumColumns(Src, u16, u16),
    SumAll(Src, u16),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// Done once a run.
    pub prologue: Vec<Step>,
    /// Done for each block.
    pub steps: Vec<Step>,
    pub slots: usize,
    pub uniforms: usize,
    /// `Row` operands read through a block-long copy.
    pub rows: Vec<u16>,
    /// Contiguous `f32` operands that are read where they lie.
    pub reads: Vec<u16>,
    /// Operands of `SumColumns`.
    pub sums: Vec<u16>,
    /// Elements in a block.
    pub block: usize,
    /// Whether blocks must respect rows.
    pub by_rows: bool,
    /// Pairs of operands that must not share memory.
    pub apart: Vec<(u16, u16)>,
}

/// Floats of scratch memory that a run has on its stack.
pub(super) const SCRATCH: usize = 16 * 1024;
/// Copies of a uniform value that are kept, so that every vector can be loaded from there.
pub(super) const SPLAT: usize = 16;

/// Names each value once, checks every use, and says which operands are written.
pub(super) fn check(insts: &[Inst], operands: &[Operand]) -> Result<(Vec<Node>, Vec<bool>), ProgramError> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut current: HashMap<Reg, usize> = HashMap::new();
    let mut loads: HashMap<u16, usize> = HashMap::new();
    let mut written = vec![false; operands.len()];
    let mut summed = vec![false; operands.len()];
    for (instruction, inst) in insts.iter().enumerate() {
        let fail = |reason| Err(ProgramError { instruction, reason });
        let missing = ProgramError { instruction, reason: "reads a register that nothing has written" };
        let get = |r: Reg| current.get(&r).copied().ok_or(missing);
        let operand = |o: u16| {
            operands
                .get(o as usize)
                .ok_or(ProgramError { instruction, reason: "names an operand that is not there" })
        };
        let (node, dst) = match *inst {
            Inst::Load { operand: o, dst } => {
                operand(o)?;
                if let Some(&value) = loads.get(&o) {
                    current.insert(dst, value);
                    continue;
                }
                loads.insert(o, nodes.len());
                (Node::Load(o), Some(dst))
            }
            Inst::Const { value, dst } => (Node::Const(value), Some(dst)),
            Inst::Unary { op, src, dst } => (Node::Unary(op, get(src)?), Some(dst)),
            Inst::Binary { op: Binary::Pow, a, b, dst } if nodes[get(b)?] == Node::Const(2.0) => {
                (Node::Unary(Unary::Square, get(a)?), Some(dst))
            }
            Inst::Binary { op, a, b, dst } => (Node::Binary(op, get(a)?, get(b)?), Some(dst)),
            Inst::Fma { a, b, c, dst } => (Node::Fma(get(a)?, get(b)?, get(c)?), Some(dst)),
            Inst::Select { cond, a, b, dst } => (Node::Select(get(cond)?, get(a)?, get(b)?), Some(dst)),
            Inst::Store { src, operand: o } => {
                if !matches!(operand(o)?.access, Access::Contiguous | Access::Strided(_)) {
                    return fail("stores to an operand that is neither contiguous nor strided");
                }
                if std::mem::replace(&mut written[o as usize], true) {
                    return fail("writes an operand for the second time");
                }
                (Node::Store(get(src)?, o), None)
            }
            Inst::SumColumns { src, operand: o } | Inst::SumAll { src, operand: o } => {
                let all = matches!(inst, Inst::SumAll { .. });
                if *operand(o)? != Operand::f32(if all { Access::Scalar } else { Access::Row }) {
                    return fail("sums into an operand of another type or access than its kind of sum has");
                }
                if std::mem::replace(&mut written[o as usize], true) {
                    return fail("writes an operand for the second time");
                }
                summed[o as usize] = true;
                let src = get(src)?;
                (if all { Node::SumAll(src, o) } else { Node::SumColumns(src, o) }, None)
            }
        };
        if let Some(dst) = dst {
            current.insert(dst, nodes.len());
        }
        nodes.push(node);
    }
    if let Some(&o) = loads.keys().find(|o| summed[**o as usize]) {
        let instruction = insts.iter().position(|i| matches!(i, Inst::Load { operand, .. } if *operand == o));
        let reason = "loads an operand that is summed into";
        return Err(ProgramError { instruction: instruction.unwrap_or(0), reason });
    }
    fuse_multiply_add(&mut nodes);
    Ok((nodes, written))
}

/// `a b + c` in one step where the product has no other use. The product stays, for [`lower`] to drop as unused.
fn fuse_multiply_add(nodes: &mut [Node]) {
    let mut uses = vec![0; nodes.len()];
    nodes.iter().flat_map(|n| n.sources()).for_each(|v| uses[v] += 1);
    for i in 0..nodes.len() {
        let Node::Binary(Binary::Add, x, y) = nodes[i] else { continue };
        for (product, rest) in [(x, y), (y, x)] {
            if let (Node::Binary(Binary::Mul, a, b), 1) = (nodes[product], uses[product]) {
                nodes[i] = Node::Fma(a, b, rest);
                break;
            }
        }
    }
}

/// Plans the steps. With `shared`, an output may be the same memory as any contiguous input.
pub(super) fn lower(nodes: &[Node], operands: &[Operand], shared: bool) -> Result<Plan, ProgramError> {
    let mut plan = Plan::default();
    let in_place = |o: u16| operands[o as usize] == Operand::f32(Access::Contiguous);
    let stores = nodes.iter().filter(|n| matches!(n, Node::Store(..))).count();

    // What is used at all, and what is the same for all elements.
    let mut used = vec![false; nodes.len()];
    let mut uniform = vec![false; nodes.len()];
    for (i, n) in nodes.iter().enumerate().rev() {
        used[i] |= !n.is_value();
        if used[i] {
            n.sources().for_each(|v| used[v] = true);
        }
    }
    for (i, n) in nodes.iter().enumerate() {
        uniform[i] = match n {
            Node::Load(o) => operands[*o as usize].access == Access::Scalar,
            n => n.is_value() && n.sources().all(|v| uniform[v]),
        };
    }

    // Loads that need no step of their own. A plain copy of one does, if another store could come in between.
    let mut direct = vec![None; nodes.len()];
    for (i, n) in nodes.iter().enumerate() {
        if let (Node::Load(o), true) = (*n, used[i]) {
            let copied = nodes.iter().any(|n| matches!(n, Node::Store(v, _) if *v == i));
            if in_place(o) && !(copied && stores > 1) {
                direct[i] = Some(Src::InPlace(o));
                plan.reads.push(o);
            } else if operands[o as usize] == Operand::f32(Access::Row) {
                direct[i] = Some(Src::Row(plan.rows.len() as u16));
                plan.rows.push(o);
            }
        }
    }
    plan.by_rows = nodes.iter().zip(&used).any(|(n, used)| match n {
        Node::Load(o) => *used && matches!(operands[*o as usize].access, Access::Row | Access::PerRow),
        Node::SumColumns(..) => true,
        _ => false,
    });

    // The order of work: as given, stores last.
    let is_store = |i: &usize| matches!(nodes[*i], Node::Store(..));
    let work = |i: &usize| used[*i] && !uniform[*i] && direct[*i].is_none();
    let mut order: Vec<usize> = (0..nodes.len()).filter(|i| work(i) && !is_store(i)).collect();
    order.extend((0..nodes.len()).filter(is_store));
    let at: HashMap<usize, usize> = order.iter().enumerate().map(|(at, i)| (*i, at)).collect();
    let mut last_use: Vec<usize> = vec![0; nodes.len()];
    let mut last_read: Vec<Option<usize>> = vec![None; operands.len()];
    for (at, &i) in order.iter().enumerate() {
        if let Node::Load(o) = nodes[i] {
            last_read[o as usize] = Some(at);
        }
        for v in nodes[i].sources() {
            last_use[v] = at;
            if let Some(Src::InPlace(o)) = direct[v] {
                last_read[o as usize] = Some(at);
            }
        }
    }

    // Results that go where they are stored at once.
    let mut home: HashMap<usize, u16> = HashMap::new();
    for n in nodes {
        let Node::Store(v, o) = *n else { continue };
        let Some(&now) = at.get(&v) else { continue };
        let later = |x: usize| last_read[x].is_some_and(|read| read > now);
        let contiguous = |x: usize| operands[x].access == Access::Contiguous && operands[x].elem != Elem::U8;
        let rivals: Vec<u16> = (0..operands.len())
            .filter(|&x| x != o as usize && contiguous(x) && later(x))
            .map(|x| x as u16)
            .collect();
        let free = in_place(o) && !later(o as usize) && !matches!(nodes[v], Node::Load(_));
        if free && !home.contains_key(&v) && (rivals.is_empty() || !shared) {
            home.insert(v, o);
            plan.apart.extend(rivals.into_iter().map(|x| (o, x)));
        }
    }

    // Uniform values, then slots.
    let mut place: HashMap<usize, Src> = HashMap::new();
    for (i, n) in nodes.iter().enumerate() {
        if uniform[i] && used[i] {
            let dst = Dst::Uniform(plan.uniforms as u16);
            plan.prologue.push(compute(*n, &place, dst));
            place.insert(i, Src::Uniform(plan.uniforms as u16));
            plan.uniforms += 1;
        } else if let Some(src) = direct[i] {
            place.insert(i, src);
        }
    }
    let mut free: Vec<u16> = Vec::new();
    for (now, &i) in order.iter().enumerate() {
        let node = nodes[i];
        let step = match node {
            Node::Store(v, o) if home.get(&v) == Some(&o) => continue,
            Node::Store(v, o) => Step::Store(place[&v], o),
            Node::SumAll(v, o) => Step::SumAll(place[&v], o),
            Node::SumColumns(v, o) => {
                plan.sums.push(o);
                Step::SumColumns(place[&v], o, plan.sums.len() as u16 - 1)
            }
            _ => {
                // Arguments that end here free their slots first: a step may write over what it reads.
                release(node, now, &last_use, &place, &mut free);
                let dst = match home.get(&i) {
                    Some(&o) => {
                        let step = compute(node, &place, Dst::InPlace(o));
                        place.insert(i, Src::InPlace(o));
                        plan.steps.push(step);
                        continue;
                    }
                    None => free.pop().unwrap_or_else(|| {
                        plan.slots += 1;
                        plan.slots as u16 - 1
                    }),
                };
                let step = compute(node, &place, Dst::Slot(dst));
                place.insert(i, Src::Slot(dst));
                plan.steps.push(step);
                continue;
            }
        };
        release(node, now, &last_use, &place, &mut free);
        plan.steps.push(step);
    }

    // The largest block whose working set stays in L1, and whose scratch fits.
    let copies = plan.slots + plan.rows.len() + plan.sums.len();
    let streams = copies + operands.iter().filter(|o| o.access == Access::Contiguous).count();
    plan.block = if streams <= 8 { 1024 } else { 512 };
    while copies * plan.block + plan.uniforms * SPLAT > SCRATCH {
        plan.block /= 2;
        if plan.block < 64 {
            return Err(ProgramError {
                instruction: 0,
                reason: "too many values at once: split the program",
            });
        }
    }
    Ok(plan)
}

fn release(node: Node, now: usize, last_use: &[usize], place: &HashMap<usize, Src>, free: &mut Vec<u16>) {
    for v in node.sources() {
        if let (Some(Src::Slot(slot)), true) = (place.get(&v), last_use[v] == now)
            && !free.contains(slot)
        {
            free.push(*slot);
        }
    }
}

fn compute(node: Node, place: &HashMap<usize, Src>, dst: Dst) -> Step {
    match node {
        Node::Load(o) => Step::Load(o, dst),
        Node::Const(value) => Step::Const(value, dst),
        Node::Unary(op, a) => Step::Unary(op, place[&a], dst),
        Node::Binary(op, a, b) => Step::Binary(op, place[&a], place[&b], dst),
        Node::Fma(a, b, c) => Step::Fma(place[&a], place[&b], place[&c], dst),
        Node::Select(a, b, c) => Step::Select(place[&a], place[&b], place[&c], dst),
        Node::Store(..) | Node::SumColumns(..) | Node::SumAll(..) => unreachable!("a sink has no result"),
    }
}
