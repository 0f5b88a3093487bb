//! From a graph to steps: fused kernels, elementwise groups, and single operations, level by level.

use std::collections::{BTreeSet, HashMap, HashSet};

use brisk_graph::prim::{Conv, Prim, Reduce, Window};
use brisk_graph::{DType, Graph, Id, Op, Shape, Tensor};
use brisk_kernels::conv::Conv2d;
use brisk_kernels::pool::Pool2d;

use crate::device::Error;
use crate::elementwise::{Group, is_access, is_elementwise};
use crate::place::{Place, Places};
use crate::step::{Copy, Kernel, Loc, Ref, Step, V, Val};

/// Everything that runs, in order, before memory is planned.
pub struct Lowered {
    /// All values.
    pub vals: Vec<Val>,
    /// Tensors that the plan holds.
    pub constants: Vec<Tensor>,
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
const RECOMPUTE: usize = 16;

/// Lowers a graph of primitives and of named operations with kernels.
pub fn lower(graph: &Graph, places: &Places, trace: bool) -> Result<Lowered, Error> {
    let mut lowering = Lowering::new(graph, places, trace);
    lowering.run()?;
    Ok(lowering.out)
}

struct Lowering<'a> {
    graph: &'a Graph,
    places: &'a Places,
    trace: bool,
    users: Vec<Vec<usize>>,
    root: Vec<bool>,
    /// By-sample values that a later region or a whole operation reads.
    kept: Vec<bool>,
    /// The value of a node that everyone can see.
    global: HashMap<usize, V>,
    packed: HashMap<(usize, &'static str, Conv2d), V>,
    out: Lowered,
}

/// Steps of one list being made: a region, or the whole operations before it.
struct List {
    /// The nodes, in order.
    nodes: Vec<usize>,
    member: HashSet<usize>,
    /// Values that only this list sees.
    local: HashMap<usize, V>,
    by_tile: bool,
    /// Nodes that a pattern has taken.
    taken: HashSet<usize>,
    units: Vec<Unit>,
    unit_of: HashMap<usize, usize>,
}

enum Unit {
    Elementwise { nodes: Vec<usize>, dims: Vec<usize> },
    Single(usize),
    Pool { map: usize, index: usize },
    ConvPool(ConvPool),
    ConvPoolGrad(ConvPool),
    ConvBias { conv: usize, bias: Option<usize>, relu: bool, result: usize },
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
    fn new(graph: &'a Graph, places: &'a Places, trace: bool) -> Lowering<'a> {
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
        let out =
            Lowered { vals: vec![], constants: vec![], blocks: vec![], outputs: vec![], updates: vec![] };
        let kept = vec![false; graph.nodes.len()];
        Lowering {
            graph,
            places,
            trace,
            users,
            root,
            kept,
            global: HashMap::new(),
            packed: HashMap::new(),
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
                Some(Prim::Iota(axis, shape, dtype)) => {
                    let inner: usize = shape[axis + 1..].iter().product();
                    let values: Vec<f64> =
                        (0..shape.elements()).map(|i| (i / inner % shape[*axis]) as f64).collect();
                    Tensor::from_f64s(*dtype, shape, &values)?
                }
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
            let cheap = is_elementwise(&node.op)
                || matches!(self.prim(n), Some(Prim::Broadcast(_) | Prim::Reshape(_)));
            let mut from = BTreeSet::new();
            let mut cost = match self.prim(n) {
                Some(Prim::Unary(_)) => 3,
                Some(Prim::Reshape(_) | Prim::Broadcast(_)) => 0,
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
            let inside: HashSet<usize> = members.iter().copied().collect();
            let mut needed: HashSet<usize> = HashSet::new();
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
            local: HashMap::new(),
            by_tile,
            taken: HashSet::new(),
            units: Vec::new(),
            unit_of: HashMap::new(),
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
            self.unit_steps(&mut list, u, &mut packs, &mut steps)?;
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

    // ---- patterns ----

    /// The single user of a node that nobody else sees, if it is in the list.
    fn sole_user(&self, list: &List, n: usize) -> Option<usize> {
        match (self.users[n].as_slice(), self.root[n], self.kept[n]) {
            (&[u], false, false) if list.member.contains(&u) && !list.taken.contains(&u) => Some(u),
            _ => None,
        }
    }

    fn is_fill(&self, n: usize, value: f64) -> bool {
        matches!(self.prim(n), Some(Prim::Fill(v, ..)) if v.0 == value)
    }

    /// `Some(bias)` if `n` adds a vector over the channels to `conv`.
    fn bias_of(&self, n: usize, conv: usize) -> Option<usize> {
        let Some(Prim::Binary(brisk_graph::prim::Binary::Add)) = self.prim(n) else { return None };
        let other = match (self.input(n, 0), self.input(n, 1)) {
            (a, b) if a == conv && b != conv => b,
            (a, b) if b == conv && a != conv => a,
            _ => return None,
        };
        let Some(Prim::Broadcast(_)) = self.prim(other) else { return None };
        let bias = self.input(other, 0);
        let channels = self.shape(conv).last();
        let fits = self.shape(bias).elements() == channels && self.shape(bias).last() == channels;
        (fits && self.places.place[bias] != Place::Sample).then_some(bias)
    }

    fn is_relu_of(&self, n: usize, x: usize) -> bool {
        matches!(self.prim(n), Some(Prim::Binary(brisk_graph::prim::Binary::Max)))
            && ((self.input(n, 0) == x && self.is_fill(self.input(n, 1), 0.0))
                || (self.input(n, 1) == x && self.is_fill(self.input(n, 0), 0.0)))
    }

    fn conv_pool(&mut self, list: &mut List) {
        for at in 0..list.nodes.len() {
            let pool = list.nodes[at];
            if let Some(Prim::MaxPool(window)) = self.prim(pool)
                && let Some(found) = self.match_conv_pool(list, pool, window)
            {
                let forward = list.units.len();
                list.units.push(Unit::ConvPool(found.clone()));
                for &n in &found.nodes {
                    list.taken.insert(n);
                    list.unit_of.insert(n, forward);
                }
                if let Some(backward) = &found.backward {
                    let unit = list.units.len();
                    for &n in &backward.nodes {
                        list.taken.insert(n);
                        list.unit_of.insert(n, unit);
                    }
                    list.units.push(Unit::ConvPoolGrad(found));
                }
            }
        }
    }

    fn match_conv_pool(&self, list: &List, pool: usize, window: &Window) -> Option<ConvPool> {
        if window.padding != [[0, 0], [0, 0]] || !list.member.contains(&pool) {
            return None;
        }
        let map = self.input(pool, 0);
        // Backwards from the pooling: rectification, bias, convolution.
        let mut top = map;
        let mut relu = false;
        let mut nodes = vec![pool, map];
        if let Some(Prim::Binary(brisk_graph::prim::Binary::Max)) = self.prim(top) {
            let below =
                [self.input(top, 0), self.input(top, 1)].into_iter().find(|&i| self.is_relu_of(top, i))?;
            if self.sole_user(list, below) != Some(top) {
                return None;
            }
            (top, relu) = (below, true);
            nodes.push(top);
        }
        let mut bias = None;
        if let Some(Prim::Binary(_)) = self.prim(top) {
            let conv = [self.input(top, 0), self.input(top, 1)]
                .into_iter()
                .find(|&i| matches!(self.prim(i), Some(Prim::Conv(_))))?;
            bias = Some(self.bias_of(top, conv)?);
            if self.sole_user(list, conv) != Some(top) {
                return None;
            }
            top = conv;
            nodes.push(top);
        }
        let Some(Prim::Conv(conv)) = self.prim(top) else { return None };
        if conv.groups != 1 || self.root[map] || self.kept[map] || !list.member.contains(&top) {
            return None;
        }
        let mut found = ConvPool { conv: top, bias, relu, pool, index: None, nodes, backward: None };
        // Who else reads the full map: the index, and the mask of the rectification's gradient.
        let mut mask = None;
        for &user in &self.users[map] {
            match self.prim(user) {
                _ if user == pool => {}
                Some(Prim::MaxPoolIndex(w)) if w == window => found.index = Some(user),
                Some(Prim::Compare(brisk_graph::prim::Compare::Less))
                    if relu && self.is_fill(self.input(user, 0), 0.0) && self.input(user, 1) == map =>
                {
                    mask = Some(user)
                }
                _ => return None,
            }
        }
        let Some(index) = found.index else { return mask.is_none().then_some(found) };
        found.nodes.push(index);
        let scattered = self.sole_user(list, index)?;
        let Some(Prim::MaxPoolGrad(..)) = self.prim(scattered) else { return None };
        let mut gradient = scattered;
        let mut nodes = vec![scattered];
        if relu {
            let mask = mask?;
            let select = self.sole_user(list, scattered)?;
            let fits = matches!(self.prim(select), Some(Prim::Select))
                && self.input(select, 0) == mask
                && self.input(select, 1) == scattered
                && self.is_fill(self.input(select, 2), 0.0);
            if !fits || self.sole_user(list, mask) != Some(select) {
                return None;
            }
            nodes.extend([mask, select]);
            gradient = select;
        }
        if self.root[gradient] || self.kept[gradient] {
            return None;
        }
        let mut back =
            Backward { dy: self.input(scattered, 0), kernel: None, bias: None, input: None, nodes };
        let (x, kernel) = (self.input(top, 0), self.input(top, 1));
        for &user in &self.users[gradient] {
            let slot = match self.prim(user) {
                Some(Prim::Reduce(Reduce::Sum, axes)) if *axes == [0, 1, 2] => &mut back.bias,
                Some(Prim::ConvGradKernel(c, _)) if c == conv && self.input(user, 0) == x => &mut back.kernel,
                Some(Prim::ConvGradInput(c, _)) if c == conv && self.input(user, 1) == kernel => {
                    &mut back.input
                }
                _ => return None,
            };
            if !list.member.contains(&user) || slot.replace(user).is_some() {
                return None;
            }
            back.nodes.push(user);
        }
        back.kernel?;
        found.backward = Some(back);
        Some(found)
    }

    fn conv_bias(&mut self, list: &mut List) {
        for at in 0..list.nodes.len() {
            let conv = list.nodes[at];
            if list.taken.contains(&conv) || !matches!(self.prim(conv), Some(Prim::Conv(_))) {
                continue;
            }
            let (mut result, mut bias, mut relu) = (conv, None, false);
            let mut nodes = vec![conv];
            if let Some(add) = self.sole_user(list, result)
                && let Some(vector) = self.bias_of(add, conv)
            {
                (result, bias) = (add, Some(vector));
                nodes.push(add);
            }
            if let Some(max) = self.sole_user(list, result)
                && self.is_relu_of(max, result)
            {
                (result, relu) = (max, true);
                nodes.push(max);
            }
            let unit = list.units.len();
            list.units.push(Unit::ConvBias { conv, bias, relu, result });
            for n in nodes {
                list.taken.insert(n);
                list.unit_of.insert(n, unit);
            }
        }
    }

    // ---- units ----

    /// The iteration space of a node that an elementwise group may hold.
    fn space(&self, list: &List, n: usize) -> Option<Vec<usize>> {
        let node = &self.graph.nodes[n];
        if is_elementwise(&node.op) {
            return Some(node.shape.to_vec());
        }
        if is_access(&node.op) {
            // Its users read through it, unless one of them is no elementwise operation.
            return Some(node.shape.to_vec());
        }
        match self.prim(n) {
            Some(Prim::Reduce(Reduce::Sum, axes)) => {
                let from = self.shape(self.input(n, 0));
                let all = axes.len() == from.rank() && from.rank() > 0;
                let columns = from.rank() >= 2
                    && axes.len() == from.rank() - 1
                    && axes[axes.len() - 1] == axes.len() - 1;
                let mixes = !list.by_tile || self.places.place[n] == Place::Sum;
                (mixes && (all || columns)).then(|| from.to_vec())
            }
            _ => None,
        }
    }

    /// Whether somebody needs an access written out.
    fn needs_memory(&self, list: &List, n: usize) -> bool {
        self.root[n]
            || self.kept[n]
            || self.users[n].iter().any(|&u| {
                let same_list = list.member.contains(&u);
                let reads_through = self.space_of_user(list, u, n);
                (same_list || self.places.place[n] == Place::Whole) && !reads_through
            })
    }

    fn space_of_user(&self, list: &List, user: usize, n: usize) -> bool {
        if list.taken.contains(&user)
            && !list.unit_of.get(&user).is_some_and(|&u| matches!(list.units[u], Unit::Elementwise { .. }))
        {
            // A pattern knows its biases and zeros.
            return is_access(&self.graph.nodes[n].op)
                && !matches!(self.prim(user), Some(Prim::MaxPoolGrad(..)));
        }
        let op = &self.graph.nodes[user].op;
        let sum = matches!(self.prim(user), Some(Prim::Reduce(Reduce::Sum, _))) && {
            let by_tile = self.places.place[user] != Place::Whole;
            let probe = List { by_tile, ..List::empty() };
            self.space(&probe, user).is_some()
        };
        is_elementwise(op)
            || sum
            || matches!((self.prim(user), self.prim(n)), (Some(Prim::Broadcast(_)), Some(Prim::Fill(..))))
    }

    fn units(&mut self, list: &mut List) {
        for at in 0..list.nodes.len() {
            let n = list.nodes[at];
            if list.taken.contains(&n) || matches!(self.prim(n), Some(Prim::Reshape(_))) {
                continue;
            }
            let op = &self.graph.nodes[n].op;
            if is_access(op) && !self.needs_memory(list, n) {
                continue;
            }
            let unit = list.units.len();
            list.unit_of.insert(n, unit);
            let Some(dims) = self.space(list, n) else {
                list.units.push(Unit::Single(n));
                self.join_pools(list, n);
                continue;
            };
            list.units.push(Unit::Elementwise { nodes: vec![n], dims: dims.clone() });
            if self.trace || is_access(op) {
                continue;
            }
            // Join the groups of what it reads, and groups that read the same.
            let mut candidates: Vec<usize> = Vec::new();
            for id in &self.graph.nodes[n].inputs {
                let i = id.index();
                if is_access(&self.graph.nodes[i].op) {
                    continue;
                }
                candidates.extend(list.unit_of.get(&i));
                if self.shape(i)[..] == dims[..] {
                    candidates
                        .extend(self.users[i].iter().filter(|&&u| u < n).filter_map(|u| list.unit_of.get(u)));
                }
            }
            candidates.sort_unstable();
            candidates.dedup();
            for c in candidates.into_iter().rev() {
                let own = list.unit_of[&n];
                if c == own {
                    continue;
                }
                let fits = matches!(&list.units[c], Unit::Elementwise { nodes, dims: d } if *d == dims
                    && !nodes.iter().any(|&m| is_access(&self.graph.nodes[m].op)) && nodes.len() < 200);
                if fits && !self.path_between(list, c, own) && !self.path_between(list, own, c) {
                    let Unit::Elementwise { nodes, .. } = std::mem::replace(&mut list.units[c], Unit::Merged)
                    else {
                        continue;
                    };
                    list.unit_of.extend(nodes.iter().map(|&m| (m, own)));
                    if let Unit::Elementwise { nodes: mine, .. } = &mut list.units[own] {
                        mine.extend(nodes);
                        mine.sort_unstable();
                    }
                }
            }
        }
    }

    /// A max pooling and the index of its winners are one unit.
    fn join_pools(&self, list: &mut List, index: usize) {
        let Some(Prim::MaxPoolIndex(window)) = self.prim(index) else { return };
        let twin = |&u: &usize| matches!(self.prim(u), Some(Prim::MaxPool(w)) if w == window);
        let map = self.users[self.input(index, 0)].iter().copied().find(twin);
        if let Some(map) = map
            && let Some(&unit) = list.unit_of.get(&map)
            && matches!(list.units[unit], Unit::Single(_))
        {
            list.units.pop();
            list.units[unit] = Unit::Pool { map, index };
            list.unit_of.insert(index, unit);
        }
    }

    /// The nodes that a unit computes.
    fn unit_nodes(&self, list: &List, unit: usize) -> Vec<usize> {
        match &list.units[unit] {
            Unit::Elementwise { nodes, .. } => nodes.clone(),
            Unit::Single(n) => vec![*n],
            Unit::Pool { map, index } => vec![*map, *index],
            Unit::ConvPool(c) => c.nodes.clone(),
            Unit::ConvPoolGrad(c) => c.backward.iter().flat_map(|b| b.nodes.clone()).collect(),
            Unit::ConvBias { conv, result, .. } => vec![*conv, *result],
            Unit::Merged => vec![],
        }
    }

    /// The units that a unit reads from, in the same list.
    fn sources(&self, list: &List, unit: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        for n in self.unit_nodes(list, unit) {
            self.source_units(list, n, &mut found);
        }
        if let Unit::ConvPoolGrad(c) = &list.units[unit] {
            found.insert(list.unit_of[&c.pool]);
            self.source_units(list, c.conv, &mut found);
        }
        found.remove(&unit);
        found
    }

    fn source_units(&self, list: &List, n: usize, found: &mut BTreeSet<usize>) {
        for id in &self.graph.nodes[n].inputs {
            let i = id.index();
            match list.unit_of.get(&i) {
                Some(&u) => {
                    found.insert(u);
                }
                // Reshapes and accesses that are no units: look through them.
                None if list.member.contains(&i) => self.source_units(list, i, found),
                None => {}
            }
        }
    }

    /// Whether `to` depends on `from` through some unit between them.
    fn path_between(&self, list: &List, from: usize, to: usize) -> bool {
        let mut open: Vec<usize> = self.sources(list, to).into_iter().filter(|&u| u != from).collect();
        let mut seen: HashSet<usize> = open.iter().copied().collect();
        while let Some(u) = open.pop() {
            for s in self.sources(list, u) {
                if s == from {
                    return true;
                }
                if seen.insert(s) {
                    open.push(s);
                }
            }
        }
        false
    }

    /// The units in an order in which they can run: always the ready one whose first node is earliest.
    fn order(&self, list: &List) -> Vec<usize> {
        let alive: Vec<usize> =
            (0..list.units.len()).filter(|&u| !matches!(list.units[u], Unit::Merged)).collect();
        let first = |u: usize| self.unit_nodes(list, u).into_iter().max().unwrap_or(0);
        let mut waits: HashMap<usize, usize> = HashMap::new();
        let mut feeds: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut ready = BTreeSet::new();
        for &u in &alive {
            let sources = self.sources(list, u);
            if sources.is_empty() {
                ready.insert((first(u), u));
            }
            waits.insert(u, sources.len());
            sources.into_iter().for_each(|s| feeds.entry(s).or_default().push(u));
        }
        let mut order = Vec::new();
        while let Some((_, u)) = ready.pop_first() {
            order.push(u);
            for &next in feeds.get(&u).into_iter().flatten() {
                if let Some(count) = waits.get_mut(&next) {
                    *count -= 1;
                    if *count == 0 {
                        ready.insert((first(next), next));
                    }
                }
            }
        }
        debug_assert_eq!(order.len(), alive.len(), "units wait for each other in a circle");
        order
    }

    // ---- steps ----

    /// The value of a node, as this list sees it.
    fn read(&mut self, list: &List, n: usize) -> V {
        let n = self.resolve(n);
        match list.local.get(&n).or_else(|| self.global.get(&n)) {
            Some(&v) => v,
            None => self.val_for(n),
        }
    }

    /// The value that a unit of this list writes for a node.
    fn write(&mut self, list: &mut List, n: usize) -> V {
        let v = self.val_for(n);
        let own = !list.by_tile
            || self.places.place[n] == Place::Sum
            || self.kept[n] && !self.global.contains_key(&n);
        if own {
            self.global.insert(n, v);
        } else {
            list.local.insert(n, v);
        }
        v
    }

    fn sample_ref(&self, list: &List, n: usize, val: V) -> Ref {
        Ref { val, by_sample: list.by_tile && self.places.place[n] == Place::Sample }
    }

    fn pack(
        &mut self,
        list: &List,
        conv: &Conv2d,
        kernel: usize,
        kind: &'static str,
        packs: &mut Vec<Step>,
    ) -> V {
        let kernel_root = self.resolve(kernel);
        let key = (kernel_root, kind, conv.clone());
        if let Some(&v) = self.packed.get(&key) {
            return v;
        }
        let (length, call) = match kind {
            "forward" => (conv.pack_len(), Kernel::Pack(conv.clone())),
            "transposed" => (conv.pack_transposed_len(), Kernel::PackTransposed(conv.clone())),
            _ => (conv.kernel_len(), Kernel::PackPoolGrad(conv.clone())),
        };
        let from = self.read(list, kernel);
        let v = self.new_val(length, DType::F32, Loc::None, None);
        packs.push(Step {
            kernel: call,
            inputs: vec![Ref { val: from, by_sample: false }],
            outputs: vec![Ref { val: v, by_sample: false }],
            scratch: (0, 0),
            node: Id(kernel as u32),
        });
        self.packed.insert(key, v);
        v
    }

    fn unit_steps(
        &mut self,
        list: &mut List,
        unit: usize,
        packs: &mut Vec<Step>,
        steps: &mut Vec<Step>,
    ) -> Result<(), Error> {
        let whole = |val: V| Ref { val, by_sample: false };
        let step = |kernel, inputs, outputs, node: usize| Step {
            kernel,
            inputs,
            outputs,
            scratch: (0, 0),
            node: Id(node as u32),
        };
        match std::mem::replace(&mut list.units[unit], Unit::Merged) {
            Unit::Merged => {}
            Unit::Single(n) => self.single(list, n, packs, steps)?,
            Unit::Pool { map, index } => {
                let Some(Prim::MaxPool(window)) = self.prim(map) else { return Ok(()) };
                let x = self.input(map, 0);
                let pool = pool2d(window, self.shape(x), self.shape(map));
                let from = self.read(list, x);
                let inputs = vec![self.sample_ref(list, x, from)];
                let mut outputs = Vec::new();
                for n in [map, index] {
                    let v = self.write(list, n);
                    outputs.push(self.sample_ref(list, n, v));
                }
                steps.push(step(Kernel::MaxPool { pool, map: true, index: true }, inputs, outputs, map));
            }
            Unit::Elementwise { nodes, dims } => {
                let inside: HashSet<usize> = nodes.iter().copied().collect();
                let mut stores = Vec::new();
                for &n in &nodes {
                    let seen = self.users[n].iter().any(|u| {
                        (list.member.contains(u) && !inside.contains(u))
                            || (!list.by_tile && !list.member.contains(u))
                    });
                    let clone = self.global.contains_key(&n);
                    let sum = matches!(self.prim(n), Some(Prim::Reduce(..)));
                    if seen || sum || (!clone && (self.kept[n] || self.root[n])) {
                        let v = self.write(list, n);
                        stores.push((n, v));
                    }
                }
                let last = nodes[nodes.len() - 1];
                let mut outside = HashMap::new();
                for &n in &nodes {
                    for id in &self.graph.nodes[n].inputs {
                        let i = id.index();
                        let through = match self.prim(i) {
                            Some(Prim::Broadcast(_)) => self.input(i, 0),
                            _ => i,
                        };
                        for j in [i, through] {
                            // A stretched value is read through; what it stretches must be somewhere.
                            let stretched = j == through && j != i;
                            if stretched || !inside.contains(&j) && !is_access(&self.graph.nodes[j].op) {
                                let v = self.read(list, j);
                                outside.insert(j, (v, self.places.place[j]));
                            }
                        }
                    }
                }
                let group = Group {
                    graph: self.graph,
                    batch: list.by_tile.then_some(self.places.batch),
                    dims,
                    nodes,
                    stores,
                    outside: &|n| {
                        let (v, place) = outside[&n];
                        (v, if list.by_tile { place } else { Place::Whole })
                    },
                };
                let (kernel, inputs, outputs) = group.lower().map_err(|m| self.fault(last, m))?;
                steps.push(step(kernel, inputs, outputs, last));
            }
            Unit::ConvBias { conv, bias, relu, result } => {
                let Some(Prim::Conv(c)) = self.prim(conv) else { return Ok(()) };
                let geometry = conv2d(
                    c,
                    self.shape(self.input(conv, 0)),
                    self.shape(self.input(conv, 1)),
                    self.shape(conv),
                );
                let packed = self.pack(list, &geometry, self.input(conv, 1), "forward", packs);
                let x = self.read(list, self.input(conv, 0));
                let mut inputs = vec![self.sample_ref(list, self.input(conv, 0), x), whole(packed)];
                if let Some(bias) = bias {
                    inputs.push(whole(self.read(list, bias)));
                }
                let y = self.write(list, result);
                let outputs = vec![self.sample_ref(list, result, y)];
                steps.push(step(Kernel::Conv { conv: geometry, relu }, inputs, outputs, result));
            }
            Unit::ConvPool(c) => {
                let (conv, pool) = self.conv_pool_geometry(&c);
                let packed = self.pack(list, &conv, self.input(c.conv, 1), "forward", packs);
                let x = self.read(list, self.input(c.conv, 0));
                let mut inputs = vec![self.sample_ref(list, self.input(c.conv, 0), x), whole(packed)];
                if let Some(bias) = c.bias {
                    inputs.push(whole(self.read(list, bias)));
                }
                let y = self.write(list, c.pool);
                let mut outputs = vec![self.sample_ref(list, c.pool, y)];
                let index = match c.index {
                    Some(index) => self.write(list, index),
                    None => self.new_val(self.shape(c.pool).elements(), DType::U8, Loc::None, None),
                };
                outputs.push(self.sample_ref(list, c.pool, index));
                steps.push(step(Kernel::ConvPool { conv, pool, relu: c.relu }, inputs, outputs, c.pool));
            }
            Unit::ConvPoolGrad(c) => {
                let (conv, pool) = self.conv_pool_geometry(&c);
                let (Some(back), Some(index)) = (&c.backward, c.index) else { return Ok(()) };
                let Some(kernel_gradient) = back.kernel else { return Ok(()) };
                let packed = self.pack(list, &conv, self.input(c.conv, 1), "pool gradient", packs);
                let mut inputs = Vec::new();
                let x_node = self.input(c.conv, 0);
                let x = self.read(list, x_node);
                inputs.push(self.sample_ref(list, x_node, x));
                inputs.push(whole(packed));
                for n in [c.pool, index, back.dy] {
                    let v = self.read(list, n);
                    inputs.push(self.sample_ref(list, n, v));
                }
                let raw = self.new_val(conv.kernel_len(), DType::F32, Loc::None, Some(kernel_gradient));
                let bias = match back.bias {
                    Some(n) => self.write(list, n),
                    None => self.new_val(conv.out_c, DType::F32, Loc::None, None),
                };
                let mut outputs = vec![whole(raw), whole(bias)];
                if let Some(input) = back.input {
                    let v = self.write(list, input);
                    outputs.push(self.sample_ref(list, input, v));
                }
                let dw = self.write(list, kernel_gradient);
                steps.push(step(
                    Kernel::ConvPoolGrad { conv: conv.clone(), pool, relu: c.relu },
                    inputs,
                    outputs,
                    kernel_gradient,
                ));
                steps.push(step(Kernel::Unpack(conv), vec![whole(raw)], vec![whole(dw)], kernel_gradient));
            }
        }
        Ok(())
    }

    fn conv_pool_geometry(&self, c: &ConvPool) -> (Conv2d, Pool2d) {
        let x = self.shape(self.input(c.conv, 0));
        let (map, pooled) = (self.shape(c.conv), self.shape(c.pool));
        let default = Conv::default();
        let conv = match self.prim(c.conv) {
            Some(Prim::Conv(conv)) => conv,
            _ => &default,
        };
        let geometry = conv2d(conv, x, self.shape(self.input(c.conv, 1)), map);
        let pool = match self.prim(c.pool) {
            Some(Prim::MaxPool(window)) => pool2d(window, map, pooled),
            _ => Pool2d::global(1, 1, 1),
        };
        (geometry, pool)
    }

    fn fault(&self, n: usize, message: String) -> Error {
        let node = &self.graph.nodes[n];
        let scope = node.scope.to_string();
        Error::Graph(brisk_graph::Error::Operands { scope, op: node.op.name(), message })
    }

    fn single(
        &mut self,
        list: &mut List,
        n: usize,
        packs: &mut Vec<Step>,
        steps: &mut Vec<Step>,
    ) -> Result<(), Error> {
        let node = &self.graph.nodes[n];
        let sample = list.by_tile;
        let by_sample = |i: usize, this: &Self| {
            let operand = this.input(n, i);
            // Operands that have something for every sample, whether computed by tile or not.
            let per_sample = match &node.op {
                Op::Named(def, _) => def.kernel.as_ref().is_some_and(|k| k.by_row.get(i) == Some(&true)),
                Op::Prim(Prim::Concat(_) | Prim::MaxPoolGrad(..) | Prim::MaxPoolTake(_)) => true,
                Op::Prim(Prim::MatMul { .. }) => node.shape.rank() > 2,
                _ => false,
            };
            sample && (this.places.place[operand] == Place::Sample || per_sample)
        };
        let inputs: Vec<usize> = node.inputs.iter().map(|id| id.index()).collect();
        let mut refs = Vec::new();
        for (i, &input) in inputs.iter().enumerate() {
            let val = self.read(list, input);
            refs.push(Ref { val, by_sample: by_sample(i, self) });
        }
        let shape = &node.shape;
        let of = |i: usize| self.shape(inputs[i]);
        let prim = match &node.op {
            Op::Named(def, attrs) => {
                let kernel = Kernel::Named { def, attrs: attrs.clone(), columns: shape.last() };
                self.push(list, n, kernel, refs, steps);
                return Ok(());
            }
            Op::Prim(prim) => prim,
        };
        let kernel = match prim {
            Prim::Reduce(..) | Prim::ArgMax(_) if self.graph.nodes[inputs[0]].dtype != DType::F32 => {
                return Err(self.fault(n, "takes f32; cast first".into()));
            }
            Prim::MatMul { ta, tb } => {
                let rank = shape.rank();
                let a = of(0);
                let k = a[if *ta { rank - 2 } else { rank - 1 }];
                let batch = shape[..rank - 2].iter().product();
                Kernel::MatMul { batch, m: shape[rank - 2], n: shape[rank - 1], k, ta: *ta, tb: *tb }
            }
            Prim::Conv(c) => {
                let conv = conv2d(c, of(0), of(1), shape);
                refs[1].val = self.pack(list, &conv, inputs[1], "forward", packs);
                Kernel::Conv { conv, relu: false }
            }
            Prim::ConvGradInput(c, _) => {
                let conv = conv2d(c, shape, of(1), of(0));
                refs[1].val = self.pack(list, &conv, inputs[1], "transposed", packs);
                Kernel::ConvGradInput(conv)
            }
            Prim::ConvGradKernel(c, _) => Kernel::ConvGradKernel(conv2d(c, of(0), shape, of(1))),
            Prim::MaxPool(w) => Kernel::MaxPool { pool: pool2d(w, of(0), shape), map: true, index: false },
            Prim::MaxPoolIndex(w) => {
                Kernel::MaxPool { pool: pool2d(w, of(0), shape), map: false, index: true }
            }
            Prim::MaxPoolGrad(w, _) => Kernel::MaxPoolGrad(pool2d(w, shape, of(0))),
            Prim::MaxPoolTake(w) => Kernel::MaxPoolTake(pool2d(w, of(0), shape)),
            Prim::SumPool(w) => Kernel::SumPool(pool2d(w, of(0), shape)),
            Prim::SumPoolGrad(w, _) => Kernel::SumPoolGrad(pool2d(w, shape, of(0))),
            Prim::Take => Kernel::Take(of(0)[1..].iter().product()),
            Prim::ScatterAdd(_) => Kernel::ScatterAdd(shape[1..].iter().product()),
            Prim::Random(stream, _) => Kernel::Random(*stream),
            Prim::ArgMax(axis) => {
                let x = of(0);
                Kernel::ArgMax([x[..*axis].iter().product(), x[*axis], x[axis + 1..].iter().product()])
            }
            Prim::Reduce(kind, axes) => return self.reduce(list, n, *kind, axes, refs[0], steps),
            Prim::Transpose(perm) => {
                let strides = of(0).strides();
                let from_strides = perm.iter().map(|&p| strides[p] as isize).collect();
                copy(shape, 0, from_strides, shape, 0, None)
            }
            Prim::Slice { start, step, .. } => {
                let strides = of(0).strides();
                let from = start.iter().zip(&strides).map(|(s, t)| s * t).sum();
                let from_strides = step.iter().zip(&strides).map(|(s, t)| (s * t) as isize).collect();
                copy(shape, from, from_strides, shape, 0, None)
            }
            Prim::Reverse(axes) => {
                let strides = of(0).strides();
                let from = axes.iter().map(|&a| (shape[a].max(1) - 1) * strides[a]).sum();
                let sign =
                    |a: usize| if axes.contains(&a) { -(strides[a] as isize) } else { strides[a] as isize };
                copy(shape, from, (0..shape.rank()).map(sign).collect(), shape, 0, None)
            }
            Prim::Pad { low, inner, value, .. } => {
                let x = of(0);
                let strides = shape.strides();
                let to = low.iter().zip(&strides).map(|(l, s)| l * s).sum();
                let to_strides = inner.iter().zip(&strides).map(|(i, s)| ((i + 1) * s) as isize).collect();
                Kernel::Copy {
                    fill: Some(value.0),
                    copies: vec![Copy { dims: x.to_vec(), from: 0, from_strides: signed(x), to, to_strides }],
                }
            }
            Prim::Concat(axis) => {
                let strides = shape.strides();
                let mut start = 0;
                let mut copies = Vec::new();
                for &input in &inputs {
                    let x = self.shape(input);
                    let to = start * strides[*axis];
                    start += x[*axis];
                    copies.push(Copy {
                        dims: x.to_vec(),
                        from: 0,
                        from_strides: signed(x),
                        to,
                        to_strides: signed(shape),
                    });
                }
                Kernel::Copy { fill: None, copies }
            }
            _ => return Err(self.fault(n, "has no kernel".into())),
        };
        self.push(list, n, kernel, refs, steps);
        Ok(())
    }

    fn push(&mut self, list: &mut List, n: usize, kernel: Kernel, inputs: Vec<Ref>, steps: &mut Vec<Step>) {
        let v = self.write(list, n);
        let outputs = vec![self.sample_ref(list, n, v)];
        steps.push(Step { kernel, inputs, outputs, scratch: (0, 0), node: Id(n as u32) });
    }

    /// One contiguous run of axes after another, from the last.
    fn reduce(
        &mut self,
        list: &mut List,
        n: usize,
        kind: Reduce,
        axes: &[usize],
        mut from: Ref,
        steps: &mut Vec<Step>,
    ) -> Result<(), Error> {
        let mut dims = self.shape(self.input(n, 0)).to_vec();
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for &a in axes {
            match runs.last_mut() {
                Some(run) if run.1 == a => run.1 += 1,
                _ => runs.push((a, a + 1)),
            }
        }
        while let Some((start, end)) = runs.pop() {
            let [outer, middle, inner] =
                [&dims[..start], &dims[start..end], &dims[end..]].map(|d| d.iter().product::<usize>());
            dims.drain(start..end);
            let kernel = Kernel::Reduce(kind, [outer, middle, inner]);
            if runs.is_empty() {
                self.push(list, n, kernel, vec![from], steps);
            } else {
                let val = self.new_val(outer * inner, self.graph.nodes[n].dtype, Loc::None, Some(n));
                let to = Ref { val, by_sample: list.by_tile };
                steps.push(Step {
                    kernel,
                    inputs: vec![from],
                    outputs: vec![to],
                    scratch: (0, 0),
                    node: Id(n as u32),
                });
                from = to;
            }
        }
        Ok(())
    }
}

impl List {
    fn empty() -> List {
        List {
            nodes: vec![],
            member: HashSet::new(),
            local: HashMap::new(),
            by_tile: false,
            taken: HashSet::new(),
            units: vec![],
            unit_of: HashMap::new(),
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
