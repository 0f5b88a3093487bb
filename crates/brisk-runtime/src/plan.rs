//! From steps to a plan: regions with their tiles and groups, and a place in memory for every value.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use brisk_graph::op::Cut;
use brisk_graph::{DType, Graph, Tensor};

use brisk_kernels::conv::Winograd;
use brisk_kernels::elementwise::Access;
use brisk_kernels::matmul::{self, Precision};

use crate::device::Error;
use crate::lower::{Block, Lowered};
use crate::machine::Machine;
use crate::matrices::Kept;
use crate::numbers::{Map, Set};
use crate::profile::Part;
use crate::step::{self, Kernel, Loc, Ref, Step, V, Val};

/// Steps that run between two joins of the threads.
pub enum Stage {
    /// Tile by tile, groups of tiles in parallel; sums are kept by group and added up at the end.
    Region {
        /// What each tile goes through.
        steps: Vec<usize>,
        /// Samples in a tile.
        tile: usize,
        /// Bytes that a tile takes in the arena.
        arena: usize,
        /// Tasks, each with an equal share of the samples.
        groups: usize,
        /// Bytes of a group's sums.
        sums: usize,
        /// The values that are sums.
        summed: Vec<V>,
    },
    /// Whole steps that do not need each other, and parts of them.
    Wave {
        /// `(step, part, parts)` of each task.
        tasks: Vec<(usize, usize, usize)>,
    },
}

impl Stage {
    /// Its steps, in order.
    pub fn steps(&self) -> Vec<usize> {
        match self {
            Stage::Region { steps, .. } => steps.clone(),
            Stage::Wave { tasks } => {
                let mut steps: Vec<usize> = tasks.iter().map(|t| t.0).collect();
                steps.dedup();
                steps
            }
        }
    }
}

/// A graph made ready to run.
pub struct Plan {
    /// All values.
    pub vals: Vec<Val>,
    /// All steps.
    pub steps: Vec<Step>,
    /// What runs, in order.
    pub stages: Vec<Stage>,
    /// Tensors that the plan holds.
    pub constants: Vec<Tensor>,
    /// Matrices of the state that it wants packed.
    pub kept: Vec<Kept>,
    /// Value of each output.
    pub outputs: Vec<V>,
    /// `(input number, value)`: what is copied into the state after the last stage.
    pub copies: Vec<(usize, V)>,
    /// The stage after which the guarded output is known.
    pub guard: Option<(usize, V)>,
    /// Number of samples; 1 if there are none.
    pub batch: usize,
    /// Bytes of each thread's arena.
    pub arena: usize,
    /// Bytes of shared memory, without the sums.
    pub shared: usize,
    /// Bytes of the groups' sums at most.
    pub sums: usize,
    /// What it was planned for.
    pub machine: Machine,
}

const ALIGN: usize = 64;
/// Sums of a region larger than this, together, are worth a pass of their own.
const LARGE_SUMS: usize = 768 << 10;
/// Groups of tiles in a region at most: a compromise of balance and of memory for sums.
const GROUPS: usize = 8;
/// Tokens for which it is worth to walk through weights larger than the cache.
const TOKENS: usize = 256;
/// So few tokens are not cut into tiles where nothing is summed up over them: each product is cut by its columns.
const FEW_TOKENS: usize = 64;
/// Elements that a task of an elementwise wave takes on at least.
const CHUNK: usize = 32 << 10;
/// The same of a wave over [few](Planner::few) samples, where somebody waits.
const SHORT_CHUNK: usize = 8 << 10;
/// Multiplications that a task takes on at least, where somebody waits.
const SHORT_PRODUCT: usize = 1 << 19;

/// Plans stages and memory.
pub fn plan(
    graph: &Graph,
    lowered: Lowered,
    batch: usize,
    guard: Option<&str>,
    trace: bool,
    machine: Machine,
) -> Result<Plan, Error> {
    let Lowered { vals, constants, kept, blocks, outputs, updates } = lowered;
    let escapes = escapes(&blocks, &outputs, &updates, trace);
    let mut planner = Planner {
        vals,
        steps: Vec::new(),
        stages: Vec::new(),
        batch: batch.max(1),
        machine,
        escapes,
        arena: 0,
        sums: 0,
    };
    let guarded = guard.and_then(|name| graph.outputs.iter().position(|o| o.0 == name)).map(|at| outputs[at]);
    for block in blocks {
        match block.by_tile && !planner.few(&block, trace) {
            true => planner.region(block),
            false => planner.waves(block, guarded),
        }
    }
    let guard = guarded.map(|v| {
        let known = planner.stages.iter().rposition(|s| planner.written(s).contains(&v));
        (known.unwrap_or(0), v)
    });
    let copies = planner.updates_in_place(graph, &outputs, &updates, guard.map(|g| g.0));
    let shared = planner.shared_memory(&outputs, &copies)?;
    let Planner { vals, steps, stages, arena, sums, .. } = planner;
    Ok(Plan {
        vals,
        steps,
        stages,
        constants,
        kept,
        outputs,
        copies,
        guard,
        batch: batch.max(1),
        arena,
        shared,
        sums,
        machine,
    })
}

struct Planner {
    vals: Vec<Val>,
    steps: Vec<Step>,
    stages: Vec<Stage>,
    batch: usize,
    machine: Machine,
    /// Values that more than one block sees.
    escapes: Set<V>,
    arena: usize,
    sums: usize,
}

impl Planner {
    /// The values that a stage writes for others to see.
    fn written(&self, stage: &Stage) -> Vec<V> {
        stage.steps().iter().flat_map(|&s| self.steps[s].outputs.iter().map(|o| o.val)).collect()
    }

    /// Whether the samples are too few to be work for several threads: then each step is cut, not the samples.
    fn few(&self, block: &Block, trace: bool) -> bool {
        let sums = || block.steps.iter().flat_map(|s| &s.outputs).any(|o| !o.by_sample);
        let rows = |s: &Step| match s.kernel {
            Kernel::MatMul { batch: 1, m, packed: true, .. } => m / self.batch,
            Kernel::Conv { .. } | Kernel::ConvPool { .. } | Kernel::Winograd { .. } => usize::MAX,
            _ => 0,
        };
        let most = if block.steps.iter().map(rows).max() == Some(1) { FEW_TOKENS } else { 1 };
        block.by_tile && !trace && self.batch <= most && !sums()
    }

    /// Whole steps, in waves of steps that do not need each other. The guarded value comes before everything that it
    /// does not need, so that the state is written only once it is known.
    fn waves(&mut self, block: Block, guarded: Option<V>) {
        let mut needed: Set<V> = guarded.into_iter().collect();
        let mut first: Vec<bool> = vec![false; block.steps.len()];
        for (i, step) in block.steps.iter().enumerate().rev() {
            first[i] = step.outputs.iter().any(|o| needed.contains(&o.val));
            if first[i] {
                needed.extend(step.inputs.iter().map(|r| r.val));
            }
        }
        let mut wave_of: Map<V, usize> = Map::default();
        let mut waves: Vec<Vec<usize>> = Vec::new();
        let (before, after): (Vec<_>, Vec<_>) = block.steps.into_iter().zip(first).partition(|s| s.1);
        let split = before.len();
        let mut start = 0;
        for (i, (mut step, _)) in before.into_iter().chain(after).enumerate() {
            if i == split {
                start = waves.len();
            }
            let wave =
                step.inputs.iter().filter_map(|r| wave_of.get(&r.val)).map(|w| w + 1).max().unwrap_or(0);
            let wave = wave.max(start);
            wave_of.extend(step.outputs.iter().map(|o| (o.val, wave)));
            let scratch = step.kernel.scratch(self.images(&step));
            step.scratch = (0, scratch);
            self.arena = self.arena.max(scratch * 4);
            self.steps.push(step);
            if waves.len() <= wave {
                waves.resize_with(wave + 1, Vec::new);
            }
            waves[wave].push(self.steps.len() - 1);
        }
        for wave in waves {
            let mut tasks = Vec::new();
            for s in wave {
                let parts = self.parts(&self.steps[s]);
                tasks.extend((0..parts).map(|p| (s, p, parts)));
            }
            self.stages.push(Stage::Wave { tasks });
        }
    }

    /// How many images a step works on in all: a sample may hold several.
    fn images(&self, step: &Step) -> usize {
        let elements = |r: Option<&Ref>| r.map_or(0, |r| self.vals[r.val].elements);
        let of = |elements: usize, each: usize| elements.checked_div(each).unwrap_or(0);
        match &step.kernel {
            Kernel::Conv { conv, .. } => of(elements(step.outputs.first()), conv.out_len()),
            Kernel::Winograd { conv, .. } => of(elements(step.outputs.first()), conv.conv().out_len()),
            Kernel::ConvPool { pool, .. } | Kernel::MaxPool { pool, .. } | Kernel::SumPool(pool) => {
                of(elements(step.outputs.first()), pool.out_len())
            }
            Kernel::ConvGradInput(conv) => of(elements(step.inputs.first()), conv.out_len()),
            Kernel::ConvGradKernel(conv) => of(elements(step.inputs.get(1)), conv.out_len()),
            Kernel::WinogradGrad(conv) => of(elements(step.inputs.get(1)), conv.conv().out_len()),
            _ => self.batch,
        }
    }

    /// Into how many tasks a whole step is cut. Depends on its size alone.
    fn parts(&self, step: &Step) -> usize {
        match &step.kernel {
            // Parts are rows of one image.
            Kernel::Conv { .. } | Kernel::Winograd { .. } | Kernel::ConvPool { .. }
                if self.images(step) != 1 =>
            {
                1
            }
            Kernel::Elementwise { dims, sums: false, .. } => {
                let chunk = if step.outputs[0].by_sample { SHORT_CHUNK } else { CHUNK };
                (dims.iter().product::<usize>() / chunk).clamp(1, 16)
            }
            Kernel::MatMul { m, n, k, packed: true, precision, .. } => {
                let faster = match precision {
                    // Products in f32 wait for memory: larger stretches of it are read faster.
                    Precision::F32 | Precision::Bf16 => 2,
                    Precision::Int8 => 4,
                };
                halves(m * n * k / faster, n.div_ceil(matmul::panel_width()))
            }
            Kernel::Conv { conv, .. } => {
                let pieces = if conv.by_blocks() { conv.blocks() } else { conv.out_h };
                halves(conv.out_len() * conv.rows() / 2, pieces)
            }
            Kernel::WinogradGrad(conv) => conv.parts(),
            Kernel::Winograd { conv, .. } => {
                let pieces = match conv.by_blocks() {
                    // Each part transforms all tiles.
                    true => conv.blocks().min(4),
                    false => conv.conv().out_h.div_ceil(Winograd::ROWS),
                };
                let conv = conv.conv();
                halves(conv.out_len() * conv.rows() / 4, pieces)
            }
            Kernel::ConvPool { conv, pool, .. } if pool.window[0] == pool.stride[0] => {
                halves(conv.out_len() * conv.rows() / 2, pool.out_h)
            }
            Kernel::MatMul { batch: 1, m, n, k, .. } => (m * n * k / (1 << 20)).clamp(1, 8),
            Kernel::PackMatrix { .. } => (self.vals[step.outputs[0].val].elements / CHUNK).clamp(1, 8),
            Kernel::ScatterAdd(_) => (self.vals[step.outputs[0].val].elements / CHUNK).clamp(1, 16),
            Kernel::MaxPool { pool, map: true, index: false } | Kernel::SumPool(pool)
                if self.images(step) == 1 =>
            {
                (pool.out_len() * pool.window[0] * pool.window[1] / SHORT_CHUNK)
                    .clamp(1, 8)
                    .min(pool.out_h.max(1))
            }
            Kernel::Copy { fill: None, copies } => {
                let elements = self.vals[step.outputs[0].val].elements;
                let most = step::rows(copies, elements).map_or(1, |(_, count, _)| count);
                (elements / SHORT_CHUNK).clamp(1, 8).min(most)
            }
            Kernel::Parted { .. } => {
                let elements = step.outputs.iter().map(|o| self.vals[o.val].elements).sum::<usize>();
                (elements >> 10).clamp(1, 32)
            }
            _ => 1,
        }
    }

    fn region(&mut self, block: Block) {
        let batch = self.batch;
        let sum_of = |steps: &[Step], vals: &[Val]| -> usize {
            steps.iter().flat_map(|s| &s.outputs).filter(|o| !o.by_sample).map(|o| vals[o.val].bytes()).sum()
        };
        let mut steps = block.steps;
        // Large gradients of weights get a pass of their own, parallel over their parts, instead of a copy for each group.
        let mut large: Vec<Step> =
            steps.extract_if(.., |s| matches!(s.kernel, Kernel::WinogradGrad(_))).collect();
        while sum_of(&steps, &self.vals) > LARGE_SUMS {
            let divisible = |s: &Step| {
                matches!(s.kernel, Kernel::ConvGradKernel(_) | Kernel::MatMul { .. } | Kernel::ScatterAdd(_))
                    && !s.outputs[0].by_sample
            };
            let largest = (0..steps.len())
                .filter(|&i| divisible(&steps[i]))
                .max_by_key(|&i| (self.vals[steps[i].outputs[0].val].bytes(), usize::MAX - i));
            match largest {
                Some(i) => large.push(steps.remove(i)),
                None => break,
            }
        }
        large.sort_by_key(|s| s.node);
        // What the passes after the region read must outlive its tiles; and so must what others read, which has a
        // place in shared memory given by `kept`.
        let first = self.steps.len();
        self.steps.extend(steps);
        let own: Vec<usize> = (first..self.steps.len()).collect();

        // Values that live in the arena: written by sample here and read only here.
        let mut inside: Map<V, (usize, usize)> = Map::default();
        for (at, &s) in own.iter().enumerate() {
            for o in self.steps[s].outputs.iter().filter(|o| o.by_sample) {
                inside.insert(o.val, (at, at));
            }
            for r in &self.steps[s].inputs {
                if let Some(life) = inside.get_mut(&r.val) {
                    life.1 = at;
                }
            }
        }
        for r in large.iter().flat_map(|s| &s.inputs) {
            inside.remove(&r.val);
        }
        inside.retain(|v, _| !self.escapes.contains(v));
        let weights: usize = own
            .iter()
            .flat_map(|&s| &self.steps[s].inputs)
            .filter(|r| !r.by_sample)
            .map(|r| self.vals[r.val].bytes())
            .sum();
        // Tokens: samples of one row each, that all go through weights larger than the cache.
        let heavy = weights > self.machine.l2 / 2;
        let rows = |&s: &usize| match self.steps[s].kernel {
            Kernel::MatMul { batch: 1, m, .. } if self.steps[s].outputs[0].by_sample => Some(m / batch),
            Kernel::Conv { .. } | Kernel::ConvPool { .. } | Kernel::Winograd { .. } => Some(usize::MAX),
            _ => None,
        };
        let tokens = heavy && own.iter().filter_map(rows).max() == Some(1);
        // So many samples a call of some kernels are worth their while.
        let wanted = own.iter().map(|&s| match &self.steps[s].kernel {
            Kernel::Named { def, .. } => match def.kernel.as_ref().map(|k| k.cut) {
                Some(Cut::Samples(least)) => least,
                _ => 1,
            },
            _ => 1,
        });
        let wanted = wanted.max().unwrap_or(1);
        let groups = match tokens {
            true => [8, 4, 2].into_iter().find(|g| batch / g >= TOKENS).unwrap_or(2).min(batch),
            // Two threads at least have something to do.
            false => (batch / wanted).clamp(2, GROUPS).min(batch),
        };
        let share = batch.div_ceil(groups);
        let mut tile = share;
        if !own.is_empty() {
            // As many samples as fit in the cache beside what they need; but when the weights do not fit anyway, enough
            // samples to make each pass over the weights worth it.
            let least = match (tokens, heavy) {
                (true, _) => share.min(TOKENS),
                (_, true) => share.min(8),
                _ => share.min(wanted),
            };
            while tile > least && self.layout(&own, &inside, tile, false) > self.machine.l2 / 2 {
                tile = tile.div_ceil(2);
            }
            let bytes = self.layout(&own, &inside, tile, true);
            self.arena = self.arena.max(bytes);
            let mut sums = 0;
            let mut summed = Vec::new();
            for &s in &own {
                for o in self.steps[s].outputs.clone().iter().filter(|o| !o.by_sample) {
                    self.vals[o.val].sum = Some(sums);
                    sums += self.vals[o.val].bytes().next_multiple_of(ALIGN);
                    summed.push(o.val);
                }
            }
            self.sums = self.sums.max(sums * groups);
            self.stages.push(Stage::Region { steps: own, tile, arena: bytes, groups, sums, summed });
        }
        let mut tasks = Vec::new();
        for mut step in large {
            let scratch = step.kernel.scratch(self.images(&step));
            step.scratch = (0, scratch);
            self.arena = self.arena.max(scratch * 4);
            let parts = match &step.kernel {
                Kernel::ConvGradKernel(conv) => conv.rows().div_ceil(48).min(16),
                Kernel::WinogradGrad(conv) => conv.parts(),
                // Each part packs its rows and columns anew: only large blocks are worth that. A power of two, so that
                // threads end together.
                Kernel::MatMul { m, n, k, .. } => {
                    let parts = ((m * n) >> 17).max(2).min((m * n * k) >> 22).clamp(1, 8);
                    1 << parts.ilog2()
                }
                Kernel::ScatterAdd(_) => self.parts(&step),
                _ => 1,
            };
            tasks.extend((0..parts).map(|part| (self.steps.len(), part, parts)));
            self.steps.push(step);
        }
        if !tasks.is_empty() {
            self.stages.push(Stage::Wave { tasks });
        }
    }

    /// Places the values inside a region, and the scratch memory of its steps, in the arena. Gives the bytes it takes.
    fn layout(&mut self, own: &[usize], inside: &Map<V, (usize, usize)>, tile: usize, commit: bool) -> usize {
        let mut items: Vec<Item<Slot>> = Vec::new();
        for (&v, &(from, to)) in inside {
            items.push(Item {
                what: Slot::Val(v),
                bytes: self.vals[v].bytes() / self.batch * tile,
                from,
                to,
            });
        }
        for (at, &s) in own.iter().enumerate() {
            let step = &self.steps[s];
            let floats = step.kernel.scratch(self.images(step) / self.batch * tile);
            if floats > 0 {
                items.push(Item { what: Slot::Scratch(s, floats), bytes: floats * 4, from: at, to: at });
            }
        }
        items.sort_by_key(|i| (std::cmp::Reverse(i.bytes), i.from, i.what));
        let (offsets, total) = allocate(&items);
        if commit {
            for (item, offset) in items.iter().zip(offsets) {
                match item.what {
                    Slot::Val(v) => self.vals[v].loc = Loc::Arena(offset),
                    Slot::Scratch(s, floats) => self.steps[s].scratch = (offset, floats),
                }
            }
        }
        total
    }

    /// Lets the last step of an update write into the state itself, where nobody reads the old value any more. The
    /// others are copied at the end.
    fn updates_in_place(
        &mut self,
        graph: &Graph,
        outputs: &[V],
        updates: &[V],
        guard: Option<usize>,
    ) -> Vec<(usize, V)> {
        let mut writer: Map<V, usize> = Map::default();
        let mut readers: Map<usize, Vec<(usize, usize)>> = Map::default();
        for (at, stage) in self.stages.iter().enumerate() {
            for s in stage.steps() {
                writer.extend(self.steps[s].outputs.iter().map(|o| (o.val, at)));
                for r in &self.steps[s].inputs {
                    if let Loc::Input(number) = self.vals[r.val].loc {
                        readers.entry(number).or_default().push((at, s));
                    }
                }
            }
        }
        let read_at_end: Set<usize> = outputs
            .iter()
            .chain(updates)
            .filter_map(|&v| match self.vals[v].loc {
                Loc::Input(number) => Some(number),
                _ => None,
            })
            .collect();
        let mut copies = Vec::new();
        let mut placed = Set::default();
        for (&(number, _), &v) in graph.updates.iter().zip(updates) {
            let at = writer.get(&v).copied();
            let in_place = at.is_some_and(|at| {
                let Stage::Wave { .. } = &self.stages[at] else { return false };
                let early = guard.is_some_and(|g| at <= g);
                let free = readers.get(&number).is_none_or(|r| {
                    r.iter().all(|&(stage, s)| stage < at || (stage == at && self.same_index(s, v, number)))
                });
                !early && free && !read_at_end.contains(&number) && self.vals[v].loc == Loc::None
            });
            if in_place && placed.insert(v) {
                self.vals[v].loc = Loc::Input(number);
            } else {
                copies.push((number, v));
            }
        }
        copies
    }

    /// Whether a step writes `v` and reads input `number` only at the index that it writes.
    fn same_index(&self, step: usize, v: V, number: usize) -> bool {
        let step = &self.steps[step];
        let Kernel::Elementwise { program, .. } = &step.kernel else { return false };
        let reads = step.inputs.iter().zip(program.operands());
        step.outputs.iter().any(|o| o.val == v)
            && reads.filter(|(r, _)| self.vals[r.val].loc == Loc::Input(number)).all(|(r, operand)| {
                operand.access == Access::Contiguous
                    || self.vals[r.val].elements == 1 && self.vals[v].elements == 1
            })
    }

    /// Places what stages hand to each other. Gives the bytes it takes.
    fn shared_memory(&mut self, outputs: &[V], copies: &[(usize, V)]) -> Result<usize, Error> {
        let mut life: Map<V, (usize, usize)> = Map::default();
        for (at, stage) in self.stages.iter().enumerate() {
            for s in stage.steps() {
                let step = &self.steps[s];
                for o in &step.outputs {
                    life.entry(o.val).and_modify(|l| l.1 = l.1.max(at)).or_insert((at, at));
                }
                for r in &step.inputs {
                    if self.vals[r.val].loc == Loc::None && !life.contains_key(&r.val) {
                        return Err(self.unplanned(r.val));
                    }
                    life.entry(r.val).and_modify(|l| l.1 = at);
                }
            }
        }
        let end = self.stages.len();
        for v in outputs.iter().chain(copies.iter().map(|c| &c.1)) {
            match life.get_mut(v) {
                Some(l) => l.1 = end,
                None if self.vals[*v].loc == Loc::None => return Err(self.unplanned(*v)),
                None => {}
            }
        }
        let mut items: Vec<Item<V>> = Vec::new();
        for (v, (from, to)) in life {
            if self.vals[v].loc == Loc::None {
                items.push(Item { what: v, bytes: self.vals[v].bytes(), from, to });
            }
        }
        items.sort_by_key(|i| (std::cmp::Reverse(i.bytes), i.from, i.what));
        let (offsets, total) = allocate(&items);
        for (item, offset) in items.iter().zip(offsets) {
            self.vals[item.what].loc = Loc::Shared(offset);
        }
        Ok(total)
    }

    fn unplanned(&self, v: V) -> Error {
        let what = self.vals[v].node.map_or("a value".into(), |id| format!("%{}", id.0));
        let message =
            format!("{what} is used but never computed: this is a mistake in Brisk, please report it");
        Error::Graph(brisk_graph::Error::Operands { scope: String::new(), op: "plan", message })
    }
}

/// Into how many tasks a product is cut over few samples: a power of two, so that two and four threads have equal shares.
fn halves(multiplications: usize, pieces: usize) -> usize {
    let most = (multiplications / SHORT_PRODUCT).min(pieces).clamp(1, 8);
    1 << most.ilog2()
}

/// Values by sample that another block, or somebody outside, reads.
fn escapes(blocks: &[Block], outputs: &[V], updates: &[V], trace: bool) -> Set<V> {
    let mut home: Map<V, usize> = Map::default();
    for (b, block) in blocks.iter().enumerate() {
        home.extend(block.steps.iter().flat_map(|s| &s.outputs).map(|o| (o.val, b)));
    }
    let mut found: Set<V> = outputs.iter().chain(updates).copied().collect();
    for (b, block) in blocks.iter().enumerate() {
        for r in block.steps.iter().flat_map(|s| &s.inputs) {
            if home.get(&r.val).is_some_and(|&h| h != b) {
                found.insert(r.val);
            }
        }
    }
    if trace {
        found.extend(home.into_keys());
    }
    found
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Val(V),
    Scratch(usize, usize),
}

/// Something that needs memory from one moment to another, both included.
struct Item<T> {
    what: T,
    bytes: usize,
    from: usize,
    to: usize,
}

/// An offset for each item, so that no two that live at once overlap: each at the lowest place that is free.
fn allocate<T>(items: &[Item<T>]) -> (Vec<usize>, usize) {
    let mut offsets: Vec<usize> = Vec::with_capacity(items.len());
    let mut total = 0;
    for (i, item) in items.iter().enumerate() {
        let mut others: Vec<(usize, usize)> = (0..i)
            .filter(|&j| items[j].from <= item.to && item.from <= items[j].to && items[j].bytes > 0)
            .map(|j| (offsets[j], offsets[j] + items[j].bytes))
            .collect();
        others.sort_unstable();
        let mut offset = 0;
        for (start, end) in others {
            if offset + item.bytes <= start {
                break;
            }
            offset = offset.max(end.next_multiple_of(ALIGN));
        }
        offsets.push(offset);
        total = total.max(offset + item.bytes);
    }
    (offsets, total.next_multiple_of(ALIGN))
}

/// The plan as text: what it costs at least, then stages in order, with their steps, tiles and memory.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |bytes: usize| format!("{:.1} KiB", bytes as f64 / 1024.0);
        let Machine { l1, l2, gflops, bandwidth_gbs } = self.machine;
        let fits = |bytes: usize| match bytes {
            _ if bytes <= l1 => "first-level cache",
            _ if bytes <= l2 => "second-level cache",
            _ => "no cache of a core",
        };
        write!(f, "machine: first-level cache {}, second-level {}", kib(l1), kib(l2))?;
        gflops.map_or(Ok(()), |g| write!(f, ", {g:.1} GFLOP/s"))?;
        bandwidth_gbs.map_or(Ok(()), |g| write!(f, ", {g:.1} GB/s"))?;
        writeln!(f)?;
        let flops =
            |steps: &[usize]| steps.iter().map(|&s| self.steps[s].kernel.least_flops(self.batch)).sum();
        let all: Vec<usize> = (0..self.steps.len()).collect();
        writeln!(f, "in all at least: {}", self.cost(flops(&all), self.least_bytes()))?;
        writeln!(
            f,
            "arena {} a thread, shared {}, sums {}",
            kib(self.arena),
            kib(self.shared),
            kib(self.sums)
        )?;
        for (at, stage) in self.stages.iter().enumerate() {
            let steps = stage.steps();
            match stage {
                Stage::Region { tile, arena, groups, sums, .. } => write!(
                    f,
                    "{at}: region of {} samples, tile {tile} of {} ({}), {groups} groups, sums {} a group",
                    self.batch,
                    kib(*arena),
                    fits(*arena),
                    kib(*sums)
                )?,
                Stage::Wave { tasks } => write!(f, "{at}: whole, {} tasks", tasks.len())?,
            }
            let flops = flops(&steps);
            writeln!(f, "; {}", self.cost(flops, self.traffic(&steps, |loc| !matches!(loc, Loc::Arena(_)))))?;
            steps.iter().try_for_each(|&s| writeln!(f, "    {}", self.show(s)))?;
        }
        if !self.copies.is_empty() {
            writeln!(f, "then {} values are copied into the state", self.copies.len())?;
        }
        Ok(())
    }
}

impl Plan {
    /// Arithmetic operations of contractions in a run, as if dense.
    pub fn flops(&self) -> f64 {
        self.steps.iter().map(|s| s.kernel.flops(self.batch)).sum()
    }

    /// Bytes that a run must read and write, however large caches are: inputs and state, each once.
    pub fn least_bytes(&self) -> f64 {
        let all: Vec<usize> = (0..self.steps.len()).collect();
        let outside = |loc| matches!(loc, Loc::Input(_) | Loc::Kept(_) | Loc::Constant(_));
        let results = self.outputs.iter().chain(self.copies.iter().map(|c| &c.1));
        let results: usize = results.map(|&v| self.vals[v].bytes()).sum();
        self.traffic(&all, outside) + results as f64
    }

    /// Bytes of the values in such places that steps read, and of those that they write, each once.
    fn traffic(&self, steps: &[usize], counts: impl Fn(Loc) -> bool) -> f64 {
        let mut read: BTreeMap<V, f64> = BTreeMap::new();
        let mut written: BTreeMap<V, f64> = BTreeMap::new();
        for step in steps.iter().map(|&s| &self.steps[s]) {
            for (i, r) in step.inputs.iter().enumerate() {
                let all = self.vals[r.val].bytes() as f64;
                let known = read.entry(r.val).or_default();
                *known = match step.kernel {
                    // Only the rows that are asked for.
                    Kernel::Take(_) if i == 0 => *known + self.vals[step.outputs[0].val].bytes() as f64,
                    _ => all,
                }
                .min(all);
            }
            written.extend(step.outputs.iter().map(|o| (o.val, self.vals[o.val].bytes() as f64)));
        }
        // What steps hand to each other is read where it was just written.
        read.retain(|v, _| !written.contains_key(v));
        let counted = read.iter().chain(&written).filter(|(v, _)| counts(self.vals[**v].loc));
        counted.map(|(_, bytes)| bytes).sum()
    }

    /// Arithmetic and bytes, and the times that they take at least on the machine.
    fn cost(&self, flops: f64, bytes: f64) -> String {
        let time = |amount: f64, speed: Option<f64>| {
            speed.map_or_else(String::new, |s| format!(" ({:.3} ms)", amount / s / 1e6))
        };
        let Machine { gflops, bandwidth_gbs, .. } = self.machine;
        let bytes_text = format!("{:.3} MB{}", bytes / 1e6, time(bytes, bandwidth_gbs));
        match flops > 0.0 {
            true => format!("{:.3} MFLOP{}, {bytes_text}", flops / 1e6, time(flops, gflops)),
            false => bytes_text,
        }
    }

    /// Bytes of the operands that part of a step reads, and of the results that it writes.
    pub fn part_bytes(&self, step: usize, part: Part) -> f64 {
        let step = &self.steps[step];
        let share = |r: &Ref| {
            let bytes = self.vals[r.val].bytes() as f64;
            match part {
                Part::Samples(n) if r.by_sample => bytes * n as f64 / self.batch as f64,
                Part::Samples(_) => bytes,
                Part::Of(_, parts) => bytes / parts as f64,
            }
        };
        let inputs = step.inputs.iter().enumerate().map(|(i, r)| match step.kernel {
            // Only the rows that are asked for.
            Kernel::Take(_) if i == 0 => share(&step.outputs[0]),
            _ => share(r),
        });
        inputs.chain(step.outputs.iter().map(share)).sum()
    }

    /// [`Plan::part_bytes`] of all parts of a run, for each step.
    pub fn step_bytes(&self) -> Vec<f64> {
        let mut bytes = vec![0.0; self.steps.len()];
        for stage in &self.stages {
            match stage {
                Stage::Region { steps, tile, groups, .. } => {
                    for group in 0..*groups {
                        let mut left = (group + 1) * self.batch / groups - group * self.batch / groups;
                        while left > 0 {
                            let n = left.min(*tile);
                            steps.iter().for_each(|&s| bytes[s] += self.part_bytes(s, Part::Samples(n)));
                            left -= n;
                        }
                    }
                }
                Stage::Wave { tasks } => {
                    for &(s, part, parts) in tasks {
                        bytes[s] += self.part_bytes(s, Part::Of(part, parts));
                    }
                }
            }
        }
        bytes
    }

    fn show(&self, step: usize) -> String {
        let step = &self.steps[step];
        let name = |r: &Ref| {
            let val = &self.vals[r.val];
            let kind = match val.loc {
                Loc::Input(_) => "in",
                Loc::Constant(_) => "const",
                Loc::Kept(_) => "kept",
                Loc::Arena(_) => "a",
                Loc::Shared(_) | Loc::None => "s",
            };
            let dtype = if val.dtype == DType::F32 { String::new() } else { format!(":{}", val.dtype) };
            format!(
                "{kind}{}[{}]{dtype}",
                r.val,
                if r.by_sample { val.elements / self.batch } else { val.elements }
            )
        };
        let list = |refs: &[Ref]| refs.iter().map(name).collect::<Vec<_>>().join(", ");
        let mut text = String::new();
        let _ = write!(text, "{} = {}({})", list(&step.outputs), step.kernel.name(), list(&step.inputs));
        text
    }
}
