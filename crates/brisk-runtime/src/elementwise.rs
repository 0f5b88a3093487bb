//! Turning groups of elementwise nodes into programs of the block interpreter.

use std::sync::Arc;

use brisk_graph::prim::{Binary, Compare, Prim, Unary};
use brisk_graph::{DType, Graph, Op};
use brisk_kernels::elementwise::{self as ew, Access, Elem, Inst, Operand, Program, Reg};

use crate::host::on_host;
use crate::numbers::Map;
use crate::place::Place;
use crate::step::{Kernel, Ref, V};

/// True for nodes that a group may hold.
pub fn is_elementwise(graph: &Graph, n: usize) -> bool {
    let node = &graph.nodes[n];
    let chained = matches!(
        node.op,
        Op::Prim(Prim::Unary(_) | Prim::Binary(_) | Prim::Compare(_) | Prim::Select | Prim::Cast(_))
    );
    chained && !on_host(graph, node)
}

/// True for nodes that are no work of their own: their users read through them.
pub fn is_access(graph: &Graph, n: usize) -> bool {
    let node = &graph.nodes[n];
    let walks = match &node.op {
        Op::Prim(Prim::Fill(..)) => true,
        // With more axes than a chain can walk through, what is stretched is written out.
        Op::Prim(Prim::Broadcast(shape)) => shape.iter().filter(|d| **d > 1).count() <= ew::MAX_DIMS,
        _ => false,
    };
    walks && !on_host(graph, node)
}

/// A group to be turned into a program.
pub struct Group<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// Number of samples if the group runs by tile.
    pub batch: Option<usize>,
    /// The iteration space.
    pub dims: Vec<usize>,
    /// The nodes, in order: elementwise, accesses to be written out, and sums at the end.
    pub nodes: Vec<usize>,
    /// The nodes whose values somebody else needs, with their values.
    pub stores: Vec<(usize, V)>,
    /// The value of a node outside, and how it relates to samples.
    pub outside: &'a dyn Fn(usize) -> (V, Place),
}

/// Programs that were made, to be used again: updates of parameters are all alike.
#[derive(Default)]
pub struct Programs(Vec<(Vec<Inst>, Arc<Program>)>);

impl Programs {
    fn get(&mut self, insts: Vec<Inst>, operands: &[Operand]) -> Result<Arc<Program>, ew::ProgramError> {
        let known = self.0.iter().find(|(i, p)| *i == insts && p.operands() == operands);
        if let Some((_, program)) = known {
            return Ok(program.clone());
        }
        let program = Arc::new(Program::new(&insts, operands)?);
        self.0.push((insts, program.clone()));
        Ok(program)
    }
}

struct Source {
    node: usize,
    strides: Vec<isize>,
}

impl Group<'_> {
    /// The program, its inputs and its outputs.
    pub fn lower(&self, programs: &mut Programs) -> Result<(Kernel, Vec<Ref>, Vec<Ref>), String> {
        let graph = self.graph;
        let inside: Vec<usize> = self.nodes.clone();
        let sums = |n: usize| matches!(graph.nodes[n].op, Op::Prim(Prim::Reduce(..)));
        // What is read from memory: distinct (node, strides).
        let mut sources: Vec<Source> = Vec::new();
        let mut source_of = |node: usize, stretched: bool| {
            let shape = &graph.nodes[node].shape;
            let own = shape.strides();
            let added = self.dims.len() - shape.rank();
            let strides: Vec<isize> = (0..self.dims.len())
                .map(|d| match stretched && (d < added || shape[d - added] != self.dims[d]) {
                    true => 0,
                    false => own[d - added] as isize,
                })
                .collect();
            match sources.iter().position(|s| s.node == node && s.strides == strides) {
                Some(at) => at,
                None => {
                    sources.push(Source { node, strides });
                    sources.len() - 1
                }
            }
        };
        enum Arg {
            Node(usize),
            Source(usize),
            Const(f64),
        }
        let mut arguments: Map<usize, Vec<Arg>> = Map::default();
        let access =
            |node: usize, source_of: &mut dyn FnMut(usize, bool) -> usize| match &graph.nodes[node].op {
                Op::Prim(Prim::Fill(value, ..)) => Arg::Const(value.0),
                Op::Prim(Prim::Broadcast(_)) if is_access(graph, node) => {
                    let from = graph.nodes[node].inputs[0].index();
                    match &graph.nodes[from].op {
                        Op::Prim(Prim::Fill(value, ..)) => Arg::Const(value.0),
                        _ => Arg::Source(source_of(from, true)),
                    }
                }
                _ => Arg::Source(source_of(node, false)),
            };
        for &n in &self.nodes {
            let node = &graph.nodes[n];
            let arg = |id: &brisk_graph::Id| {
                let i = id.index();
                if inside.contains(&i) && !is_access(graph, i) {
                    Arg::Node(i)
                } else {
                    access(i, &mut source_of)
                }
            };
            let list = if is_access(graph, n) {
                vec![access(n, &mut source_of)]
            } else {
                node.inputs.iter().map(arg).collect()
            };
            arguments.insert(n, list);
        }

        // Fewer dimensions: neighbours that every source walks through in one stride become one. The last stays apart
        // if sums are kept by it.
        let keep_last = self.nodes.iter().any(|&n| sums(n) && graph.nodes[n].shape.rank() > 0);
        let mut dims = self.dims.clone();
        let mut d = dims.len();
        while d >= 2 {
            d -= 1;
            let frozen = keep_last && d == dims.len() - 1;
            let joins = |s: &Source| s.strides[d - 1] == s.strides[d] * dims[d] as isize || dims[d - 1] == 1;
            if !frozen && (dims[d] == 1 || sources.iter().all(joins)) {
                for s in &mut sources {
                    if dims[d] != 1 {
                        s.strides[d - 1] = s.strides[d];
                    }
                    s.strides.remove(d);
                }
                dims[d - 1] *= dims[d];
                dims.remove(d);
            }
        }
        if dims.is_empty() {
            dims.push(1);
            sources.iter_mut().for_each(|s| s.strides.push(0));
        }
        if dims.len() > ew::MAX_DIMS {
            return Err(format!("an elementwise group needs {} dimensions", dims.len()));
        }

        let mut operands = Vec::new();
        let mut inputs = Vec::new();
        for s in &sources {
            let (val, place) = (self.outside)(s.node);
            let elements = graph.nodes[s.node].shape.elements();
            let access = classify(&s.strides, &dims, elements);
            operands.push(Operand { elem: elem(graph.nodes[s.node].dtype)?, access });
            // A whole value that has something for every sample is read at the tile's own.
            let walks = self.batch.is_some() && s.strides[0] != 0 && elements > 1;
            inputs.push(Ref { val, by_sample: place == Place::Sample || walks });
        }
        let mut outputs = Vec::new();
        let mut target = |node: usize, val: V, by_sample: bool| -> Result<u16, String> {
            let sum = sums(node);
            let access = match (sum, graph.nodes[node].shape.rank()) {
                (true, 0) => Access::Scalar,
                (true, _) => Access::Row,
                (false, _) => Access::Contiguous,
            };
            operands.push(Operand { elem: elem(graph.nodes[node].dtype)?, access });
            outputs.push(Ref { val, by_sample });
            Ok(operands.len() as u16 - 1)
        };

        // Instructions, with registers freed after the last use.
        let mut last_use: Map<usize, usize> = Map::default();
        for (at, n) in self.nodes.iter().enumerate() {
            for arg in &arguments[n] {
                if let Arg::Node(i) = arg {
                    last_use.insert(*i, at);
                }
            }
        }
        let mut code = Code::default();
        let mut registers: Map<usize, Reg> = Map::default();
        for (at, &n) in self.nodes.iter().enumerate() {
            let node = &graph.nodes[n];
            let mut temporary = Vec::new();
            let mut args = Vec::new();
            for arg in &arguments[&n] {
                args.push(match arg {
                    Arg::Node(i) => registers[i],
                    Arg::Source(s) => {
                        let dst = code.register();
                        code.insts.push(Inst::Load { operand: *s as u16, dst });
                        temporary.push(dst);
                        dst
                    }
                    Arg::Const(value) => {
                        let dst = code.register();
                        code.insts.push(Inst::Const { value: *value as f32, dst });
                        temporary.push(dst);
                        dst
                    }
                });
            }
            let stores = self.stores.iter().filter(|s| s.0 == n);
            if sums(n) {
                for &(_, val) in stores {
                    let operand = target(n, val, false)?;
                    let src = args[0];
                    code.insts.push(match node.shape.rank() {
                        0 => Inst::SumAll { src, operand },
                        _ => Inst::SumColumns { src, operand },
                    });
                }
            } else {
                let from = node.inputs.first().map(|id| graph.node(*id).dtype);
                let dst = code.emit(&node.op, &args, from)?;
                for &(_, val) in stores {
                    let operand = target(n, val, self.batch.is_some())?;
                    code.insts.push(Inst::Store { src: dst, operand });
                }
                if temporary.contains(&dst) {
                    temporary.retain(|r| *r != dst);
                }
                registers.insert(n, dst);
            }
            code.free.extend(temporary);
            let mut dead: Vec<Reg> = Vec::new();
            registers.retain(|i, r| {
                let live = last_use.get(i).is_some_and(|&l| l > at);
                if !live {
                    dead.push(*r);
                }
                live
            });
            dead.sort_unstable();
            dead.dedup();
            dead.retain(|r| !registers.values().any(|live| live == r) && !code.free.contains(r));
            code.free.extend(dead);
        }
        let program = programs.get(code.insts, &operands).map_err(|e| e.to_string())?;
        let label = self.label();
        let sums = self.nodes.iter().any(|&n| sums(n));
        Ok((Kernel::Elementwise { program, dims, sums, label }, inputs, outputs))
    }

    fn label(&self) -> String {
        let names: Vec<_> = self.nodes.iter().map(|&n| self.graph.nodes[n].op.name()).collect();
        match names.len() {
            0..=6 => names.join("+"),
            n => format!("{}+...+{} ({n} operations)", names[..3].join("+"), names[n - 1]),
        }
    }
}

fn elem(dtype: DType) -> Result<Elem, String> {
    match dtype {
        DType::F32 => Ok(Elem::F32),
        DType::U8 => Ok(Elem::U8),
        DType::I32 => Ok(Elem::I32),
        DType::F64 | DType::I64 => Err(format!("elementwise chains take f32, i32 and u8, found {dtype}")),
    }
}

/// The simplest access that the strides amount to.
fn classify(strides: &[isize], dims: &[usize], elements: usize) -> Access {
    let last = dims.len() - 1;
    let mut row_major = 1;
    let mut contiguous = true;
    let mut per_row = strides[last] == 0 || dims[last] == 1;
    let mut rows = 1;
    for d in (0..dims.len()).rev() {
        contiguous &= dims[d] == 1 || strides[d] == row_major;
        row_major *= dims[d] as isize;
        if d < last {
            per_row &= dims[d] == 1 || strides[d] == rows;
            rows *= dims[d] as isize;
        }
    }
    let zero = |range: std::ops::Range<usize>| range.into_iter().all(|d| strides[d] == 0 || dims[d] == 1);
    if elements == 1 || zero(0..dims.len()) {
        Access::Scalar
    } else if contiguous {
        Access::Contiguous
    } else if zero(0..last) && strides[last] == 1 {
        Access::Row
    } else if per_row {
        Access::PerRow
    } else {
        let mut all = [0; ew::MAX_DIMS];
        all[..strides.len()].copy_from_slice(strides);
        Access::Strided(all)
    }
}

#[derive(Default)]
struct Code {
    insts: Vec<Inst>,
    free: Vec<Reg>,
    count: Reg,
}

impl Code {
    fn register(&mut self) -> Reg {
        self.free.pop().unwrap_or_else(|| {
            self.count += 1;
            self.count - 1
        })
    }

    fn unary(&mut self, op: ew::Unary, src: Reg) -> Reg {
        let dst = self.register();
        self.insts.push(Inst::Unary { op, src, dst });
        dst
    }

    fn binary(&mut self, op: ew::Binary, a: Reg, b: Reg) -> Reg {
        let dst = self.register();
        self.insts.push(Inst::Binary { op, a, b, dst });
        dst
    }

    fn constant(&mut self, value: f32) -> Reg {
        let dst = self.register();
        self.insts.push(Inst::Const { value, dst });
        dst
    }

    /// Towards zero, to a whole number.
    fn truncate(&mut self, src: Reg) -> Reg {
        let size = self.unary(ew::Unary::Abs, src);
        let floor = self.unary(ew::Unary::Floor, size);
        let sign = self.unary(ew::Unary::Sign, src);
        let dst = self.binary(ew::Binary::Mul, floor, sign);
        self.free.extend([size, floor, sign]);
        dst
    }

    fn emit(&mut self, op: &Op, args: &[Reg], from: Option<DType>) -> Result<Reg, String> {
        let Op::Prim(prim) = op else { return Err(format!("{} is no elementwise operation", op.name())) };
        let whole = from.is_some_and(|d| !d.is_float());
        Ok(match prim {
            Prim::Fill(..) | Prim::Broadcast(_) => args[0],
            Prim::Unary(op) => {
                let op = match op {
                    Unary::Neg => ew::Unary::Neg,
                    Unary::Abs => ew::Unary::Abs,
                    Unary::Sign => ew::Unary::Sign,
                    Unary::Exp => ew::Unary::Exp,
                    Unary::Log => ew::Unary::Log,
                    Unary::Sqrt => ew::Unary::Sqrt,
                    Unary::Rsqrt => ew::Unary::Rsqrt,
                    Unary::Tanh => ew::Unary::Tanh,
                    Unary::Erf => ew::Unary::Erf,
                    Unary::Floor => ew::Unary::Floor,
                    Unary::Sin => ew::Unary::Sin,
                    Unary::Cos => ew::Unary::Cos,
                    Unary::RoundBits { .. } => {
                        return Err(format!("{} is no operation of a chain", prim.name()));
                    }
                };
                self.unary(op, args[0])
            }
            Prim::Binary(op) => {
                let kernel = match op {
                    Binary::Add => ew::Binary::Add,
                    Binary::Sub => ew::Binary::Sub,
                    Binary::Mul => ew::Binary::Mul,
                    Binary::Div => ew::Binary::Div,
                    Binary::Max => ew::Binary::Max,
                    Binary::Min => ew::Binary::Min,
                    Binary::Pow => ew::Binary::Pow,
                    Binary::And | Binary::Or | Binary::Xor | Binary::Shl | Binary::Shr => {
                        return Err(format!("{} is no operation of a chain", prim.name()));
                    }
                };
                let result = self.binary(kernel, args[0], args[1]);
                match op {
                    Binary::Div if whole => {
                        let dst = self.truncate(result);
                        self.free.push(result);
                        dst
                    }
                    _ => result,
                }
            }
            Prim::Compare(op) => {
                let op = match op {
                    Compare::Less => ew::Binary::Lt,
                    Compare::LessEqual => ew::Binary::Le,
                    Compare::Equal => ew::Binary::Eq,
                };
                self.binary(op, args[0], args[1])
            }
            Prim::Select => {
                let dst = self.register();
                self.insts.push(Inst::Select { cond: args[0], a: args[1], b: args[2], dst });
                dst
            }
            Prim::Cast(to) => match to {
                DType::F32 | DType::F64 | DType::I64 => args[0],
                DType::I32 if whole => args[0],
                DType::I32 => self.truncate(args[0]),
                DType::U8 => {
                    let (low, high) = (self.constant(0.0), self.constant(255.0));
                    let truncated = self.truncate(args[0]);
                    let above = self.binary(ew::Binary::Max, truncated, low);
                    let dst = self.binary(ew::Binary::Min, above, high);
                    self.free.extend([low, high, truncated, above]);
                    dst
                }
            },
            _ => return Err(format!("{} is no elementwise operation", prim.name())),
        })
    }
}
