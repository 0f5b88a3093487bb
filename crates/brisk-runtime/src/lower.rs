//! From a graph to steps: fused kernels, elementwise groups, and single operations, level by level.

mod emit;
mod pattern;
mod unit;

use std::collections::BTreeSet;

use brisk_graph::evaluate::evaluate;
use brisk_graph::op::LAYER_NORM;
use brisk_graph::prim::{Conv, Prim, Reduce, Window};
use brisk_graph::{DType, Graph, Id, Op, Role, Shape, Tensor};
use brisk_kernels::conv::{Conv2d, Winograd, WinogradGrad};
use brisk_kernels::matmul::Precision;
use brisk_kernels::pool::Pool2d;

use crate::device::Error;
use crate::elementwise::{Group, Programs, is_access, is_elementwise};
use crate::host::on_host;
use crate::matrices::{Form, Kept};
use crate::numbers::{Map, Set};
use crate::place::{Place, Places};
use crate::step::{Copy, Kernel, Loc, Ref, Step, V, Val};

/// Everything that runs, in order, before memory is planned.
pub struct Lowered {
    /// All values.
    pub vals: Vec<Val>,
    /// Tensors that the plan holds.
    pub constants: Vec<Tensor>,
    /// Matrices of the state that are wanted packed.
    pub kept: Vec<Kept>,
    /// What runs, in order.
    pub blocks: Vec<Block>,
    /// Value of each output of the graph.
    pub outputs: Vec<V>,
    /// Next value of each update of the graph.
    pub updates: Vec<V>,
}

/// Steps that run together.
pub struct Block {
    /// In an order that respects who needs whom.
    pub steps: Vec<Step>,
    /// By tile of samples, or once.
    pub by_tile: bool,
}

/// Costs of recomputing a value in a later region rather than keeping it: up to so many operations.
const RECOMPUTE: usize = 24;
/// A matrix that changes from step to step is packed for all tiles if the batch has at least so many rows ...
const PACKED_ROWS: usize = 64;
/// ... one that does not is packed once, for so many ...
const KEPT_ROWS: usize = 5;
/// ... and both have so many elements. A product with a smaller matrix is made in f32.
const PACKED_ELEMENTS: usize = 8 << 10;

/// Lowers a graph of primitives and of named operations with kernels.
pub fn lower(graph: &Graph, places: &Places, trace: bool, precision: Precision) -> Result<Lowered, Error> {
    let mut lowering = Lowering::new(graph, places, trace, precision);
    lowering.run()?;
    Ok(lowering.out)
}

struct Lowering<'a> {
    graph: &'a Graph,
    places: &'a Places,
    trace: bool,
    /// Of large products.
    precision: Precision,
    users: Vec<Vec<usize>>,
    root: Vec<bool>,
    /// By-sample values that a later region or a whole operation reads.
    kept: Vec<bool>,
    /// The value of a node that everyone can see.
    global: Map<usize, V>,
    /// Kernels of convolutions in packed form.
    packed: Map<(usize, Packing), V>,
    /// Matrices in packed form, each as it is or transposed.
    packed_matrices: Map<(usize, bool), V>,
    programs: Programs,
    out: Lowered,
}

/// How a convolution's kernel is packed.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Packing {
    Forward(Conv2d),
    Transposed(Conv2d),
    PoolGrad(Conv2d),
    Winograd(Winograd),
}

/// Steps of one list being made: a region, or the whole operations before it.
struct List {
    /// The nodes, in order.
    nodes: Vec<usize>,
    member: Set<usize>,
    /// Values that only this list sees.
    local: Map<usize, V>,
    by_tile: bool,
    /// Nodes that a pattern has taken.
    taken: Set<usize>,
    units: Vec<Unit>,
    unit_of: Map<usize, usize>,
}

enum Unit {
    Elementwise {
        nodes: Vec<usize>,
        dims: Vec<usize>,
    },
    Single(usize),
    Pool {
        map: usize,
        index: usize,
    },
    /// Results of one kernel that cuts itself.
    Siblings(Vec<usize>),
    ConvPool(ConvPool),
    ConvPoolGrad(ConvPool),
    ConvBias {
        conv: usize,
        bias: Option<usize>,
        relu: bool,
        result: usize,
    },
    Merged,
}

#[derive(Clone)]
struct ConvPool {
    conv: usize,
    bias: Option<usize>,
    relu: bool,
    pool: usize,
    index: Option<usize>,
    nodes: Vec<usize>,
    backward: Option<Backward>,
}

#[derive(Clone)]
struct Backward {
    dy: usize,
    kernel: Option<usize>,
    bias: Option<usize>,
    input: Option<usize>,
    nodes: Vec<usize>,
}

impl<'a> Lowering<'a> {
    fn new(graph: &'a Graph, places: &'a Places, trace: bool, precision: Precision) -> Lowering<'a> {
        let live = graph.live();
        let mut users = vec![Vec::new(); graph.nodes.len()];
        for (i, node) in graph.nodes.iter().enumerate().filter(|n| live[n.0]) {
            for id in &node.inputs {
                if users[id.index()].last() != Some(&i) {
                    users[id.index()].push(i);
                }
            }
        }
        let mut root = vec![false; graph.nodes.len()];
        graph.roots().for_each(|id| root[id.index()] = true);
        let out = Lowered {
            vals: vec![],
            constants: vec![],
            kept: vec![],
            blocks: vec![],
            outputs: vec![],
            updates: vec![],
        };
        let kept = vec![false; graph.nodes.len()];
        Lowering {
            graph,
            places,
            trace,
            precision,
            users,
            root,
            kept,
            global: Map::default(),
            packed: Map::default(),
            packed_matrices: Map::default(),
            programs: Programs::default(),
            out,
        }
    }

    fn prim(&self, node: usize) -> Option<&'a Prim> {
        match &self.graph.nodes[node].op {
            Op::Prim(prim) => Some(prim),
            Op::Named(..) => None,
        }
    }

    fn input(&self, node: usize, i: usize) -> usize {
        self.graph.nodes[node].inputs[i].index()
    }

    fn shape(&self, node: usize) -> &'a Shape {
        &self.graph.nodes[node].shape
    }

    fn new_val(&mut self, elements: usize, dtype: DType, loc: Loc, node: Option<usize>) -> V {
        let node = node.map(|n| Id(n as u32));
        self.out.vals.push(Val { elements, dtype, loc, sum: None, node });
        self.out.vals.len() - 1
    }

    fn val_for(&mut self, node: usize) -> V {
        self.new_val(self.shape(node).elements(), self.graph.nodes[node].dtype, Loc::None, Some(node))
    }

    fn run(&mut self) -> Result<(), Error> {
        let live = self.graph.live();
        let nodes = self.graph.nodes.len();
        for (number, input) in self.graph.inputs.iter().enumerate() {
            let node = self.graph.node(input.id);
            let val =
                self.new_val(node.shape.elements(), node.dtype, Loc::Input(number), Some(input.id.index()));
            self.global.insert(input.id.index(), val);
        }
        for n in (0..nodes).filter(|&n| live[n]) {
            let constant = match self.prim(n) {
                Some(Prim::Constant(tensor)) => tensor.clone(),
                Some(prim @ Prim::Iota(..)) => evaluate(prim, &[]).map_err(|m| self.fault(n, m))?,
                _ => continue,
            };
            self.out.constants.push(constant);
            let loc = Loc::Constant(self.out.constants.len() - 1);
            let val = self.new_val(self.shape(n).elements(), self.graph.nodes[n].dtype, loc, Some(n));
            self.global.insert(n, val);
        }

        let levels = (0..nodes).filter(|&n| live[n] && self.places.place[n] != Place::Whole);
        let levels = levels.map(|n| self.places.level[n] + 1).max().unwrap_or(0);
        let mut regions = self.regions(&live, levels);
        let mut due = self.due_levels(&live, levels, &regions);

        for level in 0..=levels {
            let whole: Vec<usize> = (0..nodes).filter(|&n| due[n] == Some(level)).collect();
            whole.iter().for_each(|&n| due[n] = None);
            self.list(whole, false)?;
            if level < levels {
                self.list(std::mem::take(&mut regions[level]), true)?;
            }
        }
        self.out.outputs =
            self.graph.outputs.iter().map(|o| self.global[&self.resolve(o.1.index())]).collect();
        self.out.updates =
            self.graph.updates.iter().map(|u| self.global[&self.resolve(u.1.index())]).collect();
        Ok(())
    }

    /// A reshape is no work: its value is its operand's.
    fn resolve(&self, mut node: usize) -> usize {
        while let Some(Prim::Reshape(_)) = self.prim(node) {
            node = self.input(node, 0);
        }
        node
    }

    /// The nodes of each region: its own, and cheap ones of earlier levels that it computes again rather than have them
    /// kept. Marks what is kept.
    fn regions(&mut self, live: &[bool], levels: usize) -> Vec<Vec<usize>> {
        let nodes = self.graph.nodes.len();
        let graph = self.graph;
        let is_source = |n: usize| {
            matches!(graph.nodes[n].op, Op::Prim(Prim::Input(..) | Prim::Constant(_) | Prim::Iota(..)))
        };
        // For each by-sample node: the one value that it can be computed again from, and in how many operations.
        let mut anchor: Vec<Option<(Option<usize>, usize)>> = vec![None; nodes];
        for n in (0..nodes).filter(|&n| live[n] && self.places.place[n] == Place::Sample) {
            let node = &self.graph.nodes[n];
            let norm = matches!(&node.op, Op::Named(def, _) if def.name == LAYER_NORM.name);
            let cheap = norm
                || is_elementwise(graph, n)
                || matches!(self.prim(n), Some(Prim::Broadcast(_) | Prim::Reshape(_) | Prim::Random(..)));
            let mut from = BTreeSet::new();
            let mut cost = match self.prim(n) {
                Some(Prim::Unary(_)) => 3,
                Some(Prim::Reshape(_) | Prim::Broadcast(_)) => 0,
                None => 4,
                _ => 1,
            };
            for id in &node.inputs {
                let i = id.index();
                if self.places.place[i] == Place::Sample {
                    match anchor[i] {
                        Some((base, c)) => {
                            from.extend(base);
                            cost += c;
                        }
                        None => {
                            from.insert(i);
                        }
                    }
                }
            }
            if cheap && !is_source(n) && from.len() <= 1 && cost <= RECOMPUTE && !self.trace {
                anchor[n] = Some((from.first().copied(), cost));
            }
        }
        let mut regions: Vec<Vec<usize>> = Vec::new();
        for level in 0..levels {
            let own = |n: &usize| {
                live[*n] && self.places.place[*n] != Place::Whole && self.places.level[*n] == level
            };
            let mut members: BTreeSet<usize> = (0..nodes).filter(|n| own(n) && !is_source(*n)).collect();
            let mut open: Vec<usize> = members.iter().copied().collect();
            while let Some(n) = open.pop() {
                for id in &self.graph.nodes[n].inputs {
                    let i = id.index();
                    let earlier = self.places.place[i] == Place::Sample && self.places.level[i] < level;
                    if earlier && !is_source(i) && !members.contains(&i) {
                        if anchor[i].is_some() {
                            members.insert(i);
                            open.push(i);
                        } else {
                            self.kept[i] = true;
                        }
                    }
                }
            }
            regions.push(members.into_iter().collect());
        }
        for n in (0..nodes).filter(|&n| live[n] && self.places.place[n] == Place::Sample) {
            let whole_user = self.users[n].iter().any(|&u| self.places.place[u] == Place::Whole);
            if self.root[n] || whole_user || self.trace {
                let from = self.resolve(n);
                self.kept[from] = true;
                self.kept[n] = true;
            }
        }
        // What is kept of a reshape is its operand, where that is by sample in the same region.
        for n in (0..nodes).rev() {
            if self.kept[n] && matches!(self.prim(n), Some(Prim::Reshape(_))) {
                let from = self.resolve(n);
                self.kept[from] = self.kept[from] || self.places.place[from] == Place::Sample;
            }
        }
        // What only later regions compute again is no work here.
        for (level, members) in regions.iter_mut().enumerate() {
            let inside: Set<usize> = members.iter().copied().collect();
            let mut needed: Set<usize> = Set::default();
            for &n in members.iter().rev() {
                let own = self.places.level[n] == level;
                let read = self.users[n].iter().any(|u| inside.contains(u) && needed.contains(u));
                if read || own && (self.kept[n] || self.root[n] || self.places.place[n] == Place::Sum) {
                    needed.insert(n);
                }
            }
            members.retain(|n| needed.contains(n));
        }
        regions
    }

    /// For each whole node that is work: the level before whose region it runs, as late as its users allow.
    fn due_levels(&self, live: &[bool], levels: usize, regions: &[Vec<usize>]) -> Vec<Option<usize>> {
        let nodes = self.graph.nodes.len();
        let mut due = vec![levels; nodes];
        for (level, members) in regions.iter().enumerate().rev() {
            for &n in members {
                for id in &self.graph.nodes[n].inputs {
                    due[id.index()] = due[id.index()].min(level);
                }
            }
        }
        for n in (0..nodes).rev().filter(|&n| live[n] && self.places.place[n] == Place::Whole) {
            for id in &self.graph.nodes[n].inputs {
                due[id.index()] = due[id.index()].min(due[n]);
            }
        }
        (0..nodes).map(|n| (live[n] && self.places.place[n] == Place::Whole).then_some(due[n])).collect()
    }

    fn list(&mut self, nodes: Vec<usize>, by_tile: bool) -> Result<(), Error> {
        let skip =
            |n: &usize| !matches!(self.prim(*n), Some(Prim::Input(..) | Prim::Constant(_) | Prim::Iota(..)));
        let nodes: Vec<usize> = nodes.into_iter().filter(skip).collect();
        if nodes.is_empty() {
            return Ok(());
        }
        let member = nodes.iter().copied().collect();
        let mut list = List {
            nodes,
            member,
            local: Map::default(),
            by_tile,
            taken: Set::default(),
            units: Vec::new(),
            unit_of: Map::default(),
        };
        if by_tile && !self.trace {
            self.conv_pool(&mut list);
            self.conv_bias(&mut list);
        }
        self.units(&mut list);
        let order = self.order(&list);
        let mut packs = Vec::new();
        let mut steps = Vec::new();
        for u in order {
            let (mut own_packs, mut own) = (Vec::new(), Vec::new());
            self.unit_steps(&mut list, u, &mut own_packs, &mut own)?;
            // What a whole step needs packed may have been made just before it.
            if by_tile {
                packs.extend(own_packs)
            } else {
                steps.extend(own_packs)
            }
            steps.extend(own);
        }
        // Kernels are packed, and channel-major gradients unpacked, outside the tiles.
        if !packs.is_empty() {
            self.out.blocks.push(Block { steps: packs, by_tile: false });
        }
        let (steps, after): (Vec<_>, Vec<_>) =
            steps.into_iter().partition(|s| !matches!(s.kernel, Kernel::Unpack(_)));
        if !steps.is_empty() {
            self.out.blocks.push(Block { steps, by_tile });
        }
        if !after.is_empty() {
            self.out.blocks.push(Block { steps: after, by_tile: false });
        }
        Ok(())
    }
}

impl List {
    fn empty() -> List {
        List {
            nodes: vec![],
            member: Set::default(),
            local: Map::default(),
            by_tile: false,
            taken: Set::default(),
            units: vec![],
            unit_of: Map::default(),
        }
    }
}

fn signed(shape: &Shape) -> Vec<isize> {
    shape.strides().into_iter().map(|s| s as isize).collect()
}

fn copy(
    dims: &Shape,
    from: usize,
    from_strides: Vec<isize>,
    out: &Shape,
    to: usize,
    fill: Option<f64>,
) -> Kernel {
    Kernel::Copy {
        fill,
        copies: vec![Copy { dims: dims.to_vec(), from, from_strides, to, to_strides: signed(out) }],
    }
}

/// The kernel's view of a convolution from maps `x` to maps `y`.
fn conv2d(conv: &Conv, x: &Shape, kernel: &Shape, y: &Shape) -> Conv2d {
    Conv2d {
        in_h: x[1],
        in_w: x[2],
        in_c: x[3],
        out_h: y[1],
        out_w: y[2],
        out_c: y[3],
        kernel: [kernel[0], kernel[1]],
        stride: conv.stride,
        dilation: conv.dilation,
        pad: [conv.padding[0][0], conv.padding[1][0]],
        groups: conv.groups,
    }
}

fn pool2d(window: &Window, x: &Shape, y: &Shape) -> Pool2d {
    Pool2d {
        in_h: x[1],
        in_w: x[2],
        c: x[3],
        out_h: y[1],
        out_w: y[2],
        window: window.size,
        stride: window.stride,
        pad: [window.padding[0][0], window.padding[1][0]],
    }
}
