//! Running plans on the CPU.
#![allow(unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use brisk_graph::frozen::{self, Split};
use brisk_graph::op::{KernelCall, KernelInput};
use brisk_graph::prim::Reduce;
use brisk_graph::{DType, Data, Graph, Id, Op, Role, Shape, Tensor, decompose};
use brisk_kernels::conv::Winograd;
use brisk_kernels::elementwise::Buffer;
use brisk_kernels::matmul::Precision;
use brisk_kernels::parted::Parted;
use brisk_kernels::pool::Pool2d;
use brisk_kernels::{matmul, movement, random, reduce, simd};

use crate::Pool;
use crate::device::{Device, Error, Facts, Options, Program, Result, State};
use crate::host::{self, Elements};
use crate::lower::lower;
use crate::machine::Machine;
use crate::matrices::{Matrices, Packed};
use crate::place::places;
use crate::plan::{Plan, Stage, plan};
use crate::profile::{Event, Part, Profile, Timing};
use crate::prologue::{Kept, Prologue};
use crate::step::{self, Kernel, Loc, Ref, Step};

/// The processor: SIMD chosen at run time, a fixed set of threads.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, Tensor};
/// use brisk_runtime::{Cpu, Device, Options, State};
/// let b = Builder::new();
/// let x = b.input("x", Role::Batch, [2, 3], DType::F32);
/// let w = b.input("w", Role::State, [3], DType::F32);
/// let graph = b.finish(&[("y", (x * w).sum(&[1]))], &[])?;
/// let mut program = Cpu::new(2).compile(&graph, &Options::default())?;
/// let mut state = State::new();
/// state.insert("w", Tensor::new([3], vec![1.0f32, 2.0, 3.0])?);
/// let x = Tensor::new([2, 3], vec![1.0f32; 6])?;
/// let y = program.run(&[("x", &x)], &mut state)?;
/// assert_eq!(y[0].f32s()?, [6.0, 6.0]);
/// # Ok::<(), brisk_runtime::Error>(())
/// ```
#[derive(Clone)]
pub struct Cpu {
    /// What all programs of the device share: they run one at a time.
    workplace: Arc<Mutex<Workplace>>,
    /// What was computed once, from state that nobody has changed.
    kept: Arc<Mutex<Kept>>,
    threads: usize,
    machine: Machine,
    precision: Precision,
}

impl Cpu {
    /// A device of so many threads, at least one.
    pub fn new(threads: usize) -> Cpu {
        let threads = threads.max(1);
        let memory = Memory { shared: Block::new(0), sums: Block::new(0), arenas: Block::new(0) };
        let workplace = Workplace { pool: Pool::new(threads), memory, matrices: Matrices::default() };
        let workplace = Arc::new(Mutex::new(workplace));
        let kept = Arc::default();
        Cpu { workplace, kept, threads, machine: Machine::default(), precision: Precision::F32 }
    }

    /// The same device, rounding the operands of large matrix products: those of dense layers with at least 8,192 weights, and of
    /// the gradients of those. Everything else, weights and their updates included, stays f32. [`Precision::Int8`] only
    /// touches weights that a graph does not update: training is f32 with it.
    ///
    /// ```
    /// use brisk_runtime::{Cpu, Device, Precision};
    /// let device = Cpu::new(2).with_precision(Precision::Bf16);
    /// assert!(device.describe().ends_with("bf16"));
    /// ```
    pub fn with_precision(self, precision: Precision) -> Cpu {
        Cpu { precision, ..self }
    }

    /// What the operands of large matrix products are rounded to.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The same device, planning for a machine and explaining plans by its speeds.
    ///
    /// ```
    /// use brisk_runtime::{Cpu, Machine};
    /// let device = Cpu::new(2).with_machine(Machine { gflops: Some(100.0), ..Machine::default() });
    /// assert_eq!(device.machine().gflops, Some(100.0));
    /// ```
    pub fn with_machine(self, machine: Machine) -> Cpu {
        Cpu { machine, ..self }
    }

    /// What it knows of the machine.
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// A device of as many threads as the machine runs at once.
    pub fn all_threads() -> Cpu {
        Cpu::new(std::thread::available_parallelism().map_or(1, |n| n.get()))
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.threads
    }
}

impl Cpu {
    /// Compiles a graph; with `split` what follows from unchanging state becomes a program of its own, that runs once.
    fn compile_part(&self, graph: &Graph, options: &Options, split: bool) -> Result<Box<dyn Program>> {
        let start = Instant::now();
        // A kernel is written for f32.
        let kernel = |def: &'static brisk_graph::op::OpDef, node: &brisk_graph::Node| {
            def.kernel.is_some() && node.dtype == DType::F32
        };
        let mut graph = decompose(graph, kernel)?.compact();
        let parts = if split && !options.trace { frozen::split(&graph)? } else { None };
        let prologue = match parts {
            Some(Split { frozen, rest }) => {
                graph = rest;
                let program = self.compile_part(&frozen, &Options::default(), false)?;
                Some(Prologue::new(&frozen, self.precision, program))
            }
            None => None,
        };
        let found = places(&graph);
        let lowered = lower(&graph, &found, options.trace, self.precision)?;
        let plan = plan(&graph, lowered, found.batch, options.guard.as_deref(), options.trace, self.machine)?;
        let bytes = plan.shared + plan.sums + plan.arena * self.threads;
        let facts =
            Facts { flops: plan.flops(), arena_bytes: bytes, plan_ms: start.elapsed().as_secs_f64() * 1e3 };
        let profile = options.profile.then(|| Profile::new(plan.steps.len(), self.threads));
        let needed = graph.live();
        let needed = graph.inputs.iter().map(|i| needed[i.id.index()] || i.role == Role::State).collect();
        Ok(Box::new(CpuProgram {
            prologue,
            kept: self.kept.clone(),
            graph,
            plan,
            needed,
            workplace: self.workplace.clone(),
            threads: self.threads,
            trace: options.trace,
            guard: options.guard.clone(),
            facts,
            profile,
        }))
    }
}

impl Device for Cpu {
    fn compile(&self, graph: &Graph, options: &Options) -> Result<Box<dyn Program>> {
        self.compile_part(graph, options, true)
    }

    fn describe(&self) -> String {
        let level = format!("{:?}", simd::level()).to_lowercase();
        let precision = match self.precision {
            Precision::F32 => String::new(),
            other => format!(", {}", other.name()),
        };
        let threads = if self.threads == 1 { "thread" } else { "threads" };
        format!("cpu, {} {threads}, {level}{precision}", self.threads)
    }

    fn trim(&self) {
        self.kept.lock().unwrap_or_else(|e| e.into_inner()).forget_changed();
        self.workplace.lock().unwrap_or_else(|e| e.into_inner()).matrices.forget_changed();
    }
}

/// Memory that starts at a cache line.
struct Block(Vec<Line>);

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [u8; 64]);

impl Block {
    fn new(bytes: usize) -> Block {
        let mut lines = vec![Line([0; 64]); bytes.div_ceil(64)];
        huge_pages(&mut lines);
        Block(lines)
    }

    /// Makes it at least so large. What it held is gone.
    fn reserve(&mut self, bytes: usize) {
        if self.0.len() * size_of::<Line>() < bytes {
            self.0 = Vec::new();
            *self = Block::new(bytes);
        }
    }

    fn base(&mut self) -> Base {
        Base(self.0.as_mut_ptr().cast())
    }
}

/// Asks for memory that nobody has touched yet in pages of 2 MiB: products walk through columns, and would meet a new small page
/// with every row.
fn huge_pages(lines: &mut [Line]) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 2 << 20;
        let start = lines.as_mut_ptr().cast::<u8>();
        let skip = start.align_offset(PAGE);
        let len = size_of_val(lines).saturating_sub(skip) / PAGE * PAGE;
        if len > 0 {
            // SAFETY: whole pages inside the block. What they hold stays; only how they are backed changes. Where the system does not
            // know huge pages, small ones do.
            let _ = unsafe {
                rustix::mm::madvise(start.add(skip).cast(), len, rustix::mm::Advice::LinuxHugepage)
            };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = lines;
}

/// The start of some memory, to be handed to threads.
#[derive(Clone, Copy)]
struct Base(*mut u8);
// SAFETY: the plan keeps threads from writing where others read or write: each has its own arena, its groups' sums,
// its samples, or its part of a result.
unsafe impl Send for Base {}
// SAFETY: as above.
unsafe impl Sync for Base {}

/// Threads, and the memory that they work in, as large as the largest program needs it. It holds nothing from one run to the
/// next but packed forms of what nobody has changed.
struct Workplace {
    pool: Pool,
    memory: Memory,
    matrices: Matrices,
}

struct Memory {
    shared: Block,
    sums: Block,
    arenas: Block,
}

struct CpuProgram {
    /// What is done once, and where that is kept.
    prologue: Option<Prologue>,
    kept: Arc<Mutex<Kept>>,
    graph: Graph,
    plan: Plan,
    /// For each input of the graph, whether it must be given.
    needed: Vec<bool>,
    workplace: Arc<Mutex<Workplace>>,
    threads: usize,
    trace: bool,
    guard: Option<String>,
    facts: Facts,
    /// Only if somebody wants to know.
    profile: Option<Profile>,
}

impl Program for CpuProgram {
    fn run(&mut self, inputs: &[(&str, &Tensor)], state: &mut State) -> Result<Vec<Tensor>> {
        let own = match &mut self.prologue {
            Some(prologue) => prologue.made(state, &self.kept)?,
            None => Arc::default(),
        };
        let bound = self.bind(inputs, &own, state)?;
        let mut workplace = self.workplace.lock().unwrap_or_else(|e| e.into_inner());
        let Workplace { pool, memory, matrices } = &mut *workplace;
        matrices.forget_changed();
        let kept = self.plan.kept.iter().map(|k| {
            let name = &self.graph.inputs[k.input].name;
            let tensor = own.get(name).or_else(|| state.get(name));
            let tensor = tensor.ok_or_else(|| Error::Missing { name: name.clone() })?;
            Ok(matrices.get(tensor, &k.form, pool))
        });
        let kept = kept.collect::<Result<Vec<_>>>()?;
        memory.shared.reserve(self.plan.shared);
        memory.sums.reserve(self.plan.sums);
        memory.arenas.reserve(self.plan.arena * self.threads);
        if let Some(profile) = &mut self.profile {
            profile.begin();
        }
        let run = Run {
            graph: &self.graph,
            plan: &self.plan,
            inputs: &bound,
            kept: &kept,
            shared: memory.shared.base(),
            sums: memory.sums.base(),
            arenas: memory.arenas.base(),
            fault: Mutex::new(None),
            profile: self.profile.as_ref(),
        };
        if self.trace {
            for (input, _) in self.graph.inputs.iter().zip(&self.needed).filter(|n| *n.1) {
                run.check_finite(input.id, &format!("input {:?}", input.name))?;
            }
        }
        for (at, stage) in self.plan.stages.iter().enumerate() {
            run.stage(stage, pool)?;
            if self.trace {
                run.check_stage(stage)?;
            }
            if let (Some((known, v)), Some(output)) = (self.plan.guard, &self.guard)
                && known == at
            {
                let value = run.whole().read::<f32>(Ref { val: v, by_sample: false })[0];
                if !value.is_finite() {
                    return Err(Error::NotFinite { output: output.clone(), value });
                }
            }
        }
        run.finish()
    }

    fn explain(&self) -> String {
        self.plan.to_string()
    }

    fn facts(&self) -> Facts {
        self.facts
    }

    fn take_profile(&mut self) -> Vec<Timing> {
        self.profile.as_mut().map_or_else(Vec::new, |p| p.take(&self.plan))
    }

    fn events(&self) -> Vec<Event> {
        self.profile.as_ref().map_or_else(Vec::new, |p| p.events(&self.plan))
    }
}

impl CpuProgram {
    /// The address of every input. Checks types and shapes.
    fn bind(&self, inputs: &[(&str, &Tensor)], own: &State, state: &mut State) -> Result<Vec<Base>> {
        let mut bound = Vec::with_capacity(self.graph.inputs.len());
        for (number, input) in self.graph.inputs.iter().enumerate() {
            let node = self.graph.node(input.id);
            let fits = |tensor: &Tensor| {
                if *tensor.shape() == node.shape && tensor.dtype() == node.dtype {
                    return Ok(());
                }
                let show = |dtype: DType, shape: &Shape| format!("{dtype} {shape}");
                Err(Error::Mismatch {
                    name: input.name.clone(),
                    expected: show(node.dtype, &node.shape),
                    found: show(tensor.dtype(), tensor.shape()),
                })
            };
            let missing = || Error::Missing { name: input.name.clone() };
            let base = match input.role {
                Role::State if own.get(&input.name).is_some() => {
                    Base(own.get(&input.name).map_or(std::ptr::null_mut(), readable))
                }
                Role::State => {
                    let tensor = state.get_mut(&input.name).ok_or_else(missing)?;
                    fits(tensor)?;
                    match self.graph.updates.iter().any(|u| u.0 == number) {
                        true => Base(writable(tensor)?),
                        false => Base(readable(tensor)),
                    }
                }
                Role::Batch | Role::Scalar => match inputs.iter().find(|i| i.0 == input.name) {
                    Some((_, tensor)) => {
                        fits(tensor)?;
                        Base(readable(tensor))
                    }
                    None if self.needed[number] => return Err(missing()),
                    None => Base(std::ptr::null_mut()),
                },
            };
            bound.push(base);
        }
        Ok(bound)
    }
}

fn readable(tensor: &Tensor) -> *mut u8 {
    match tensor.data() {
        Data::F32(v) => v.as_ptr().cast_mut().cast(),
        Data::F64(v) => v.as_ptr().cast_mut().cast(),
        Data::I32(v) => v.as_ptr().cast_mut().cast(),
        Data::I64(v) => v.as_ptr().cast_mut().cast(),
        Data::U8(v) => v.as_ptr().cast_mut(),
    }
}

fn writable(tensor: &mut Tensor) -> Result<*mut u8> {
    Ok(match tensor.dtype() {
        DType::F32 => tensor.f32s_mut()?.as_mut_ptr().cast(),
        DType::F64 => tensor.f64s_mut()?.as_mut_ptr().cast(),
        DType::I32 => tensor.i32s_mut()?.as_mut_ptr().cast(),
        DType::I64 => tensor.i64s_mut()?.as_mut_ptr().cast(),
        DType::U8 => tensor.u8s_mut()?.as_mut_ptr(),
    })
}

/// One run of a plan.
struct Run<'a> {
    graph: &'a Graph,
    plan: &'a Plan,
    inputs: &'a [Base],
    kept: &'a [Packed],
    shared: Base,
    sums: Base,
    arenas: Base,
    /// The first step, in order of time, that met data it cannot work on.
    fault: Mutex<Option<(usize, String)>>,
    profile: Option<&'a Profile>,
}

impl<'a> Run<'a> {
    /// What a whole step sees.
    fn whole(&self) -> Frame<'_> {
        Frame { run: self, arena: self.arenas.0, sums: std::ptr::null_mut(), start: 0, n: self.plan.batch }
    }

    fn arena(&self, thread: usize) -> *mut u8 {
        // SAFETY: there are as many arenas as threads.
        unsafe { self.arenas.0.add(thread * self.plan.arena) }
    }

    fn note(&self, step: usize, result: Result<(), String>) {
        if let Err(message) = result {
            let mut fault: MutexGuard<'_, _> = self.fault.lock().unwrap_or_else(|e| e.into_inner());
            if fault.as_ref().is_none_or(|f: &(usize, String)| step < f.0) {
                *fault = Some((step, message));
            }
        }
    }

    /// Runs one part of step number `s`, by the clock if there is one.
    fn step(&self, frame: &Frame<'_>, s: usize, part: Part, thread: usize) {
        let start = self.profile.map(|profile| (profile, Instant::now()));
        let step = &self.plan.steps[s];
        self.note(
            s,
            match part {
                Part::Samples(_) => frame.step(step, 0, 1, true),
                Part::Of(part, parts) => frame.step(step, part, parts, false),
            },
        );
        if let Some((profile, start)) = start {
            profile.note(s, part, thread, start);
        }
    }

    fn stage(&self, stage: &Stage, pool: &mut Pool) -> Result<()> {
        let plan = self.plan;
        match stage {
            Stage::Region { steps, tile, groups, sums, summed, .. } => {
                let (batch, groups) = (plan.batch, *groups);
                pool.run(groups, &|group, thread| {
                    // SAFETY: each group has its own stretch of the sums' memory.
                    let base = unsafe { self.sums.0.add(group * sums) };
                    if *sums > 0 {
                        // SAFETY: as above; zero bytes are zeros of every type.
                        unsafe { std::ptr::write_bytes(base, 0, *sums) };
                    }
                    let (mut start, end) = (group * batch / groups, (group + 1) * batch / groups);
                    while start < end {
                        let n = (*tile).min(end - start);
                        let frame = Frame { run: self, arena: self.arena(thread), sums: base, start, n };
                        for &s in steps {
                            self.step(&frame, s, Part::Samples(n), thread);
                        }
                        start += n;
                    }
                });
                self.add_up(summed, groups, *sums, pool);
            }
            Stage::Wave { tasks } => pool.run(tasks.len(), &|task, thread| {
                let (s, part, parts) = tasks[task];
                let frame = Frame { arena: self.arena(thread), ..self.whole() };
                self.step(&frame, s, Part::Of(part, parts), thread);
            }),
        }
        match self.fault.lock().unwrap_or_else(|e| e.into_inner()).take() {
            Some((s, message)) => {
                let node = self.graph.node(plan.steps[s].node);
                Err(Error::Data { scope: node.scope.to_string(), op: node.op.name(), message })
            }
            None => Ok(()),
        }
    }

    /// Adds the groups' sums in the order of the groups.
    fn add_up(&self, summed: &[usize], groups: usize, stride: usize, pool: &mut Pool) {
        const PIECE: usize = 8 << 10;
        let mut pieces = Vec::new();
        for &v in summed {
            let elements = self.plan.vals[v].elements;
            pieces
                .extend((0..elements.div_ceil(PIECE)).map(|p| (v, p * PIECE, elements.min((p + 1) * PIECE))));
        }
        // Few small pieces are not worth waking anybody for.
        let tasks = if summed.iter().map(|&v| self.plan.vals[v].elements).sum::<usize>() < PIECE {
            1
        } else {
            pieces.len()
        };
        pool.run(tasks, &|task, _| {
            let own = if tasks == 1 { &pieces[..] } else { &pieces[task..task + 1] };
            for &(v, from, to) in own {
                let (total, _) = self.whole().place(Ref { val: v, by_sample: false });
                let offset = self.plan.vals[v].sum.unwrap_or(0);
                // SAFETY: the planner gave each sum its place in every group's stretch and one of its own; pieces are
                // disjoint; sums are f32.
                unsafe {
                    let out = std::slice::from_raw_parts_mut(total.cast::<f32>().add(from), to - from);
                    for group in 0..groups {
                        let part = self.sums.0.add(group * stride + offset).cast::<f32>();
                        let part = std::slice::from_raw_parts(part.add(from), to - from);
                        match group {
                            0 => out.copy_from_slice(part),
                            _ => out.iter_mut().zip(part).for_each(|(o, p)| *o += p),
                        }
                    }
                }
            }
        });
    }

    /// Copies what could not be updated in place, and takes out the outputs.
    fn finish(&self) -> Result<Vec<Tensor>> {
        let whole = self.whole();
        let outputs = self.graph.outputs.iter().zip(&self.plan.outputs).map(|((_, id), &v)| {
            let node = self.graph.node(*id);
            let r = Ref { val: v, by_sample: false };
            let data = match node.dtype {
                DType::F32 => Data::F32(whole.read::<f32>(r).to_vec()),
                DType::F64 => Data::F64(whole.read::<f64>(r).to_vec()),
                DType::I32 => Data::I32(whole.read::<i32>(r).to_vec()),
                DType::I64 => Data::I64(whole.read::<i64>(r).to_vec()),
                DType::U8 => Data::U8(whole.read::<u8>(r).to_vec()),
            };
            Ok(Tensor::new(node.shape.clone(), data)?)
        });
        let outputs = outputs.collect::<Result<Vec<_>>>()?;
        // All sources are read before anything is written: one may be another's target.
        let sources: Vec<Vec<u8>> = self
            .plan
            .copies
            .iter()
            .map(|&(_, v)| {
                let (from, _) = whole.place(Ref { val: v, by_sample: false });
                let bytes = self.plan.vals[v].bytes();
                // SAFETY: the value lies there whole.
                unsafe { std::slice::from_raw_parts(from, bytes).to_vec() }
            })
            .collect();
        for ((number, _), bytes) in self.plan.copies.iter().zip(sources) {
            // SAFETY: the state's memory is of the same shape and type, and was bound as writable.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.inputs[*number].0, bytes.len()) };
        }
        Ok(outputs)
    }

    fn check_stage(&self, stage: &Stage) -> Result<()> {
        for s in stage.steps() {
            for o in &self.plan.steps[s].outputs {
                if let Some(id) = self.plan.vals[o.val].node {
                    self.check_value(o.val, id, "value")?;
                }
            }
        }
        Ok(())
    }

    fn check_finite(&self, id: Id, what: &str) -> Result<()> {
        let place = |v: &step::Val| v.node == Some(id) && matches!(v.loc, Loc::Input(_));
        match self.plan.vals.iter().position(place) {
            Some(v) => self.check_value(v, id, what),
            None => Ok(()),
        }
    }

    fn check_value(&self, v: usize, id: Id, what: &str) -> Result<()> {
        let val = &self.plan.vals[v];
        if val.dtype != DType::F32 || matches!(val.loc, Loc::Arena(_) | Loc::None) {
            return Ok(());
        }
        let whole = self.whole();
        let values = whole.read::<f32>(Ref { val: v, by_sample: false });
        let bad = values.iter().filter(|x| !x.is_finite()).count();
        if bad == 0 {
            return Ok(());
        }
        let node = self.graph.node(id);
        let op = match &node.op {
            Op::Prim(prim) => prim.to_string(),
            Op::Named(def, _) => def.name.to_string(),
        };
        Err(Error::FirstBad {
            what: what.into(),
            scope: node.scope.to_string(),
            op,
            shape: node.shape.clone(),
            bad,
        })
    }
}

/// What a step sees: a tile of samples, and where everything lies.
struct Frame<'a> {
    run: &'a Run<'a>,
    arena: *mut u8,
    sums: *mut u8,
    start: usize,
    n: usize,
}

impl Frame<'_> {
    /// Address of a value's first element that this frame sees, and how many it sees.
    fn place(&self, r: Ref) -> (*mut u8, usize) {
        let val = &self.run.plan.vals[r.val];
        let per_sample = val.elements / self.run.plan.batch;
        let elements = if r.by_sample { per_sample * self.n } else { val.elements };
        let own = if r.by_sample { self.start * per_sample * val.dtype.size() } else { 0 };
        // SAFETY: the planner keeps every offset inside its block; samples are inside the value.
        let at = unsafe {
            match val.loc {
                Loc::Arena(offset) => self.arena.add(offset),
                Loc::Shared(offset) => self.run.shared.0.add(offset + own),
                Loc::Input(number) => self.run.inputs[number].0.add(own),
                Loc::Constant(number) => readable(&self.run.plan.constants[number]).add(own),
                Loc::Kept(number) => self.run.kept[number].as_ptr().cast::<u8>().cast_mut().add(own),
                Loc::None => unreachable!("the planner places every value that is used"),
            }
        };
        (at, elements)
    }

    fn read<T>(&self, r: Ref) -> &[T] {
        let (at, elements) = self.place(r);
        debug_assert_eq!(self.run.plan.vals[r.val].dtype.size(), size_of::<T>());
        // SAFETY: the value lies there, of that type, and nobody writes it while this step runs.
        unsafe { std::slice::from_raw_parts(at.cast(), elements) }
    }

    /// Where a result goes: this group's own sum, if it adds up over samples.
    fn target(&self, r: Ref, sums: bool) -> (*mut u8, usize) {
        match (self.run.plan.vals[r.val].sum, sums && !r.by_sample) {
            // SAFETY: the planner gave this sum its place in the group's stretch.
            (Some(offset), true) => (unsafe { self.sums.add(offset) }, self.run.plan.vals[r.val].elements),
            _ => self.place(r),
        }
    }

    #[allow(clippy::mut_from_ref)]
    fn write<T>(&self, r: Ref, sums: bool) -> &mut [T] {
        let (at, elements) = self.target(r, sums);
        debug_assert_eq!(self.run.plan.vals[r.val].dtype.size(), size_of::<T>());
        // SAFETY: the planner gives each result memory that nothing else uses meanwhile.
        unsafe { std::slice::from_raw_parts_mut(at.cast(), elements) }
    }

    /// A size along the samples' axis, as much of it as this frame sees.
    fn part(&self, size: usize) -> usize {
        size / self.run.plan.batch * self.n
    }

    /// Runs one part of a step. `tiled`: over this frame's samples, with sums kept by group.
    fn step(&self, step: &Step, part: usize, parts: usize, tiled: bool) -> Result<(), String> {
        let f = |i: usize| self.read::<f32>(step.inputs[i]);
        let out = |i: usize| self.write::<f32>(step.outputs[i], tiled);
        let scaled = |size: usize| if tiled { self.part(size) } else { size };
        let images = |r: Ref, each: usize| self.place(r).1.checked_div(each).unwrap_or(0);
        // SAFETY: the arena has room for the step's scratch memory at that offset, which nothing else uses meanwhile.
        let scratch = || unsafe {
            std::slice::from_raw_parts_mut(self.arena.add(step.scratch.0).cast::<f32>(), step.scratch.1)
        };
        match &step.kernel {
            Kernel::Elementwise { program, dims, .. } => {
                let mut space = [0; 8];
                space[..dims.len()].copy_from_slice(dims);
                space[0] = scaled(space[0]);
                let space = &space[..dims.len()];
                let total: usize = space.iter().product();
                let mut buffers = [Buffer { ptr: std::ptr::null_mut(), len: 0 }; 64];
                let count = step.inputs.len() + step.outputs.len();
                let mut many;
                let buffers = match buffers.get_mut(..count) {
                    Some(few) => few,
                    None => {
                        many = vec![Buffer { ptr: std::ptr::null_mut(), len: 0 }; count];
                        &mut many[..]
                    }
                };
                let places = step.inputs.iter().map(|&r| self.place(r));
                let targets = step.outputs.iter().map(|&r| self.target(r, tiled));
                for (buffer, (ptr, len)) in buffers.iter_mut().zip(places.chain(targets)) {
                    *buffer = Buffer { ptr, len };
                }
                if !tiled {
                    // Sums start from nothing.
                    for (&o, (buffer, operand)) in step
                        .outputs
                        .iter()
                        .zip(buffers.iter().zip(program.operands()).skip(step.inputs.len()))
                    {
                        if operand.access != brisk_kernels::elementwise::Access::Contiguous {
                            debug_assert_eq!(buffer.len, self.run.plan.vals[o.val].elements);
                            self.write::<f32>(o, false).fill(0.0);
                        }
                    }
                }
                let range = part * total / parts..(part + 1) * total / parts;
                // SAFETY: operands lie where the plan says; a result overlaps an operand only if both are walked
                // through at the same index (see `Planner::same_index`); parts are disjoint.
                unsafe { program.run(space, buffers, range) };
            }
            Kernel::MatMul { m, n, k, packed: true, precision, .. } => {
                let rows = if tiled { self.part(*m) } else { *m };
                let (c, elements) = self.target(step.outputs[0], tiled);
                assert!(rows * n <= elements, "a product inside its result");
                let panels = share(n.div_ceil(matmul::panel_width()), part, parts);
                let first = (panels.start * matmul::panel_width()).min(*n);
                let columns = (panels.end * matmul::panel_width()).min(*n) - first;
                let b = &f(1)[panels.start * matmul::panel_len(*precision, *k)..];
                // SAFETY: `columns` of `rows` rows of `n`, which nobody else uses meanwhile: parts have columns of their own.
                unsafe {
                    let c = c.cast::<f32>().add(first);
                    matmul::matmul_packed_into(*precision, rows, columns, *k, f(0), (*k, 1), b, c, *n, false);
                }
            }
            Kernel::MatMul { batch, m, n, k, ta, tb, packed: false, precision } => {
                self.matmul(step, *precision, [*batch, *m, *n, *k], [*ta, *tb], part, parts, tiled)
            }
            Kernel::PackMatrix { n, k, transposed, precision } => {
                let panels = n.div_ceil(matmul::panel_width());
                let own = share(panels, part, parts);
                let each = matmul::panel_len(*precision, *k);
                let into = self.piece(step.outputs[0], own.start * each, own.len() * each, tiled);
                let strides = if *transposed { (1, *k) } else { (*n, 1) };
                matmul::pack(*precision, *k, *n, f(0), strides, own.start, into);
            }
            Kernel::Pack(conv) => conv.pack(f(0), out(0)),
            Kernel::PackTransposed(conv) => conv.pack_transposed(f(0), out(0)),
            Kernel::PackPoolGrad(conv) => conv.pack_channel_major(f(0), out(0)),
            Kernel::Unpack(conv) => {
                let dw = out(0);
                dw.fill(0.0);
                conv.add_transposed(f(0), dw);
            }
            Kernel::Conv { conv, relu } => {
                let bias = step.inputs.get(2).map(|&r| self.read(r));
                let n = images(step.inputs[0], conv.in_len());
                if parts == 1 {
                    conv.forward(n, f(0), f(1), bias, *relu, out(0), scratch());
                    return Ok(());
                }
                // One image: each part has some channels of the result, or some rows.
                if conv.by_blocks() {
                    let blocks = share(conv.blocks(), part, parts);
                    let (y, elements) = self.target(step.outputs[0], tiled);
                    assert!(conv.out_len() <= elements, "an image inside its result");
                    // SAFETY: a whole image; parts have channels of their own.
                    unsafe { conv.forward_blocks(blocks, 1, f(0), f(1), bias, *relu, y.cast(), scratch()) };
                    return Ok(());
                }
                let rows = share(conv.out_h, part, parts);
                let row = conv.out_w * conv.out_c;
                let y = self.piece(step.outputs[0], rows.start * row, rows.len() * row, tiled);
                let (band, start) = conv.band(rows);
                band.forward(1, &f(0)[start..], f(1), bias, *relu, y, scratch());
            }
            Kernel::Winograd { conv, relu } => {
                let bias = step.inputs.get(2).map(|&r| self.read(r));
                let geometry = conv.conv();
                if parts == 1 {
                    let n = images(step.inputs[0], geometry.in_len());
                    conv.run(n, f(0), f(1), bias, *relu, out(0), scratch());
                    return Ok(());
                }
                // One image: each part has some channels of the result, or some rows of tiles.
                if conv.by_blocks() {
                    let blocks = share(conv.blocks(), part, parts);
                    let (y, elements) = self.target(step.outputs[0], tiled);
                    assert!(geometry.out_len() <= elements, "an image inside its result");
                    // SAFETY: a whole image; parts have channels of their own.
                    unsafe { conv.run_blocks(blocks, 1, f(0), f(1), bias, *relu, y.cast(), scratch()) };
                    return Ok(());
                }
                let tiles = share(geometry.out_h.div_ceil(Winograd::ROWS), part, parts);
                let rows = tiles.start * Winograd::ROWS..(tiles.end * Winograd::ROWS).min(geometry.out_h);
                let row = geometry.out_w * geometry.out_c;
                let y = self.piece(step.outputs[0], rows.start * row, rows.len() * row, tiled);
                let (band, start) = conv.band(rows);
                band.run(1, &f(0)[start..], f(1), bias, *relu, y, scratch());
            }
            Kernel::PackWinograd(conv) => conv.pack(f(0), out(0)),
            Kernel::WinogradGrad(conv) => {
                let n = images(step.inputs[0], conv.conv().in_len());
                let (dw, elements) = self.target(step.outputs[0], tiled);
                assert!(conv.conv().kernel_len() <= elements, "a kernel inside its result");
                // SAFETY: a whole kernel; parts have channels of their own.
                unsafe { conv.run(conv.channels(part, parts), n, f(0), f(1), dw.cast(), scratch()) };
            }
            Kernel::ConvGradInput(conv) => {
                conv.grad_input(images(step.inputs[0], conv.out_len()), f(0), f(1), out(0), scratch());
            }
            Kernel::ConvGradKernel(conv) => {
                let n = images(step.inputs[0], conv.in_len());
                let rows = share(conv.rows(), part, parts);
                let dw =
                    &mut self.piece(step.outputs[0], rows.start * conv.out_c, rows.len() * conv.out_c, tiled)
                        [..];
                if !tiled {
                    dw.fill(0.0);
                }
                conv.grad_kernel_part(rows, n, f(0), f(1), dw, scratch());
            }
            Kernel::ConvPool { conv, pool, relu } => {
                let bias = step.inputs.get(2).map(|&r| self.read(r));
                let n = images(step.inputs[0], conv.in_len());
                if parts == 1 {
                    let index = self.write::<u8>(step.outputs[1], tiled);
                    conv.forward_pool(pool, n, f(0), f(1), bias, *relu, out(0), index, scratch());
                    return Ok(());
                }
                let rows = share(pool.out_h, part, parts);
                let row = pool.out_w * pool.c;
                let y = self.piece(step.outputs[0], rows.start * row, rows.len() * row, tiled);
                let index = self.piece(step.outputs[1], rows.start * row, rows.len() * row, tiled);
                let (band, start) = conv.band(rows.start * pool.stride[0]..rows.end * pool.stride[0]);
                let pool = Pool2d { in_h: band.out_h, out_h: rows.len(), ..pool.clone() };
                band.forward_pool(&pool, 1, &f(0)[start..], f(1), bias, *relu, y, index, scratch());
            }
            Kernel::ConvPoolGrad { conv, pool, relu } => {
                let n = images(step.inputs[0], conv.in_len());
                let index = self.read::<u8>(step.inputs[3]);
                let dx = step.outputs.get(2).map(|&r| self.write::<f32>(r, tiled));
                conv.grad_pool(pool, n, f(0), f(1), f(2), index, f(4), *relu, out(0), out(1), dx, scratch());
            }
            Kernel::MaxPool { pool, map, index } => {
                let n = images(step.inputs[0], pool.in_len());
                let last = step.outputs[step.outputs.len() - 1];
                let index = index.then(|| self.write::<u8>(last, tiled));
                match map {
                    true if parts > 1 => {
                        let (band, start, y) = self.band(step, pool, part, parts);
                        band.max_pool(1, &f(0)[start..], y, None);
                    }
                    true => pool.max_pool(n, f(0), out(0), index),
                    false => {
                        let mut unused = vec![0.0; n * pool.out_len()];
                        pool.max_pool(n, f(0), &mut unused, index);
                    }
                }
            }
            Kernel::MaxPoolGrad(pool) => {
                let index = self.read::<u8>(step.inputs[1]);
                pool.max_pool_grad(images(step.inputs[0], pool.out_len()), f(0), index, out(0));
            }
            Kernel::MaxPoolTake(pool) => {
                let index = self.read::<u8>(step.inputs[1]);
                pool_take(pool, images(step.inputs[0], pool.in_len()), f(0), index, out(0));
            }
            Kernel::SumPool(pool) => {
                let y = if parts > 1 {
                    let (band, start, y) = self.band(step, pool, part, parts);
                    band.avg_pool(1, &f(0)[start..], y, true);
                    y
                } else {
                    let y = out(0);
                    pool.avg_pool(images(step.inputs[0], pool.in_len()), f(0), y, true);
                    y
                };
                let cells = (pool.window[0] * pool.window[1]) as f32;
                y.iter_mut().for_each(|v| *v *= cells);
            }
            Kernel::SumPoolGrad(pool) => {
                let dx = out(0);
                pool.avg_pool_grad(images(step.inputs[0], pool.out_len()), f(0), dx, true);
                let cells = (pool.window[0] * pool.window[1]) as f32;
                dx.iter_mut().for_each(|v| *v *= cells);
            }
            Kernel::Reduce(kind, [outer, middle, inner]) => {
                let sums = tiled && !step.outputs[0].by_sample;
                let dims = match sums {
                    true => [*outer, self.part(*middle), *inner],
                    false => [scaled(*outer), *middle, *inner],
                };
                let kind = match kind {
                    Reduce::Sum => reduce::Reduce::Sum,
                    Reduce::Max => reduce::Reduce::Max,
                    Reduce::Min => reduce::Reduce::Min,
                };
                reduce::reduce(kind, dims, f(0), out(0), sums);
            }
            Kernel::ArgMax([outer, middle, inner]) => {
                reduce::argmax(
                    [scaled(*outer), *middle, *inner],
                    f(0),
                    self.write::<i32>(step.outputs[0], tiled),
                );
            }
            Kernel::Copy { fill, copies } => match self.run.plan.vals[step.outputs[0].val].dtype {
                DType::F32 => self.copy::<f32>(step, fill.map(|v| v as f32), copies, part, parts, tiled),
                DType::F64 => self.copy::<f64>(step, *fill, copies, part, parts, tiled),
                DType::I32 => self.copy::<i32>(step, fill.map(|v| v as i32), copies, part, parts, tiled),
                DType::I64 => self.copy::<i64>(step, fill.map(|v| v as i64), copies, part, parts, tiled),
                DType::U8 => self.copy::<u8>(step, fill.map(|v| v as u8), copies, part, parts, tiled),
            },
            Kernel::Take(width) => {
                let index = self.read::<i32>(step.inputs[1]);
                movement::take(*width, f(0), index, out(0)).map_err(|e| e.to_string())?;
            }
            Kernel::ScatterAdd(width) if tiled => {
                movement::scatter_add(*width, out(0), self.read::<i32>(step.inputs[0]), f(1))
                    .map_err(|e| e.to_string())?;
            }
            Kernel::ScatterAdd(width) => {
                let rows = self.place(step.outputs[0]).1.checked_div(*width).unwrap_or(0);
                let own = part * rows / parts..(part + 1) * rows / parts;
                let table = self.piece(step.outputs[0], own.start * width, own.len() * width, tiled);
                table.fill(0.0);
                let index = self.read::<i32>(step.inputs[0]);
                movement::scatter_add_part(*width, rows, own.start, table, index, f(1))
                    .map_err(|e| e.to_string())?;
            }
            Kernel::Random(stream) => {
                let key = self.read::<i32>(step.inputs[0]);
                let values = out(0);
                let first =
                    if step.outputs[0].by_sample { self.start * (values.len() / self.n.max(1)) } else { 0 };
                let start = (u64::from(*stream) << 40) + first as u64;
                random::fill_uniform([key[0] as u32, key[1] as u32], start, values);
            }
            Kernel::Host { prim, shapes } => {
                let operands: Vec<_> = step.inputs.iter().map(|&r| self.elements(r)).collect();
                let to = step.outputs[0];
                match host::run(prim, &operands, shapes)? {
                    Data::F32(v) => self.write(to, tiled).copy_from_slice(&v),
                    Data::F64(v) => self.write(to, tiled).copy_from_slice(&v),
                    Data::I32(v) => self.write(to, tiled).copy_from_slice(&v),
                    Data::I64(v) => self.write(to, tiled).copy_from_slice(&v),
                    Data::U8(v) => self.write(to, tiled).copy_from_slice(&v),
                }
            }
            Kernel::Parted { def, attrs, shapes, results } => {
                let Some(kernel) = &def.kernel else { return Err("has no kernel".into()) };
                let inputs: Vec<_> = step.inputs.iter().map(|&r| self.kernel_input(r)).collect();
                let mut places = vec![None; results.iter().max().map_or(0, |r| r + 1)];
                for (&result, &output) in results.iter().zip(&step.outputs) {
                    let (at, len) = self.place(output);
                    // SAFETY: the planner gives each result memory that nothing else uses while this step runs; its calls
                    // at once are its parts.
                    places[result] = Some(unsafe { Parted::shared(at.cast(), len) });
                }
                (kernel.run)(KernelCall {
                    inputs: &inputs,
                    output: &mut [],
                    shapes,
                    columns: 0,
                    offset: 0,
                    attrs,
                    results: &places,
                    part,
                    parts,
                })?;
            }
            Kernel::Named { def, attrs, shapes, columns } => {
                let Some(kernel) = &def.kernel else { return Err("has no kernel".into()) };
                let inputs: Vec<_> = step.inputs.iter().map(|&r| self.kernel_input(r)).collect();
                let output = out(0);
                let offset =
                    if step.outputs[0].by_sample { self.start * (output.len() / self.n.max(1)) } else { 0 };
                let columns = *columns;
                (kernel.run)(KernelCall {
                    inputs: &inputs,
                    output,
                    shapes,
                    columns,
                    offset,
                    attrs,
                    results: &[],
                    part: 0,
                    parts: 1,
                })?;
            }
        }
        Ok(())
    }

    fn elements(&self, r: Ref) -> Elements<'_> {
        match self.run.plan.vals[r.val].dtype {
            DType::F32 => Elements::F32(self.read(r)),
            DType::F64 => Elements::F64(self.read(r)),
            DType::I32 => Elements::I32(self.read(r)),
            DType::I64 => Elements::I64(self.read(r)),
            DType::U8 => Elements::U8(self.read(r)),
        }
    }

    fn kernel_input(&self, r: Ref) -> KernelInput<'_> {
        match self.run.plan.vals[r.val].dtype {
            DType::U8 => KernelInput::U8(self.read(r)),
            DType::I32 => KernelInput::I32(self.read(r)),
            DType::F32 | DType::F64 | DType::I64 => KernelInput::F32(self.read(r)),
        }
    }

    /// A stretch of a result.
    #[allow(clippy::mut_from_ref)]
    fn piece<T>(&self, r: Ref, from: usize, len: usize, tiled: bool) -> &mut [T] {
        let (at, elements) = self.target(r, tiled);
        debug_assert_eq!(self.run.plan.vals[r.val].dtype.size(), size_of::<T>());
        assert!(from + len <= elements, "a part inside its result");
        // SAFETY: inside the result; parts of a step are disjoint.
        unsafe { std::slice::from_raw_parts_mut(at.cast::<T>().add(from), len) }
    }

    fn matmul(
        &self,
        step: &Step,
        precision: Precision,
        [batch, m, n, k]: [usize; 4],
        [ta, tb]: [bool; 2],
        part: usize,
        parts: usize,
        tiled: bool,
    ) {
        let (a, b) = (self.read::<f32>(step.inputs[0]), self.read::<f32>(step.inputs[1]));
        let sums = tiled && !step.outputs[0].by_sample;
        let (batch, m, k) = match (tiled, sums, batch) {
            (false, ..) => (batch, m, k),
            (true, true, _) => (batch, m, self.part(k)),
            (true, false, _) if step.inputs[1].by_sample => (self.part(batch), m, k),
            (true, false, _) => (batch, self.part(m), k),
        };
        let a_strides = if ta { (1, m) } else { (k, 1) };
        let b_strides = if tb { (1, k) } else { (n, 1) };
        if batch == 1 {
            let [down, across] = grid([m, n], parts);
            let (rows, columns) = (share(m, part / across, down), share(n, part % across, across));
            let a = &a[(rows.start * a_strides.0).min(a.len())..];
            let b = &b[(columns.start * b_strides.1).min(b.len())..];
            let (c, elements) = self.target(step.outputs[0], tiled);
            assert!(m * n <= elements, "a product inside its result");
            // SAFETY: a block inside the result; the blocks of a step's parts are disjoint.
            unsafe {
                let c = c.cast::<f32>().add(rows.start * n + columns.start);
                let (rows, columns) = (rows.len(), columns.len());
                matmul::matmul_into(precision, rows, columns, k, a, a_strides, b, b_strides, c, n, sums);
            }
        } else {
            let c = self.write::<f32>(step.outputs[0], tiled);
            matmul::matmul_batched(
                batch,
                m,
                n,
                k,
                a,
                m * k,
                a_strides,
                b,
                k * n,
                b_strides,
                c,
                m * n,
                n,
                false,
            );
        }
    }

    /// What a part makes of one image's pooling: its windows, where in the image its input begins, and its rows of the result.
    fn band(&self, step: &Step, pool: &Pool2d, part: usize, parts: usize) -> (Pool2d, usize, &mut [f32]) {
        let rows = share(pool.out_h, part, parts);
        let row = pool.out_w * pool.c;
        let y = self.piece(step.outputs[0], rows.start * row, rows.len() * row, false);
        let (band, start) = pool.band(rows);
        (band, start, y)
    }

    /// Of several parts, each makes some [rows](step::rows) of the result.
    fn copy<T: Copy>(
        &self,
        step: &Step,
        fill: Option<T>,
        copies: &[step::Copy],
        part: usize,
        parts: usize,
        tiled: bool,
    ) {
        let result = step.outputs[0];
        let rows = if parts > 1 { step::rows(copies, self.place(result).1) } else { None };
        let rows = rows.map(|(axis, count, row)| (axis, share(count, part, parts), row));
        let out = match &rows {
            Some((_, own, row)) => self.piece::<T>(result, own.start * row, own.len() * row, tiled),
            None => self.write::<T>(result, tiled),
        };
        if let Some(value) = fill {
            out.fill(value);
        }
        for (copy, &input) in copies.iter().zip(&step.inputs) {
            let mut dims = [0; movement::MAX_DIMS];
            let dims = &mut dims[..copy.dims.len()];
            dims.copy_from_slice(&copy.dims);
            let mut from = copy.from;
            if let Some((axis, own, _)) = &rows {
                dims[*axis] = own.len();
                from = from.wrapping_add_signed(own.start as isize * copy.from_strides[*axis]);
            } else if tiled && let Some(first) = dims.first_mut() {
                *first = self.part(*first);
            }
            let x = self.read::<T>(input);
            movement::copy_strided(dims, x, from, &copy.from_strides, out, copy.to, &copy.to_strides);
        }
    }
}

/// The stretch of `size` things that part `part` of `parts` has.
fn share(size: usize, part: usize, parts: usize) -> std::ops::Range<usize> {
    part * size / parts..(part + 1) * size / parts
}

/// Into how many stretches of rows and of columns a product is cut, `parts` blocks in all, as square as can be: each block
/// reads its rows of the one operand and its columns of the other.
fn grid([m, n]: [usize; 2], parts: usize) -> [usize; 2] {
    let ways = (1..=parts).filter(|d| parts.is_multiple_of(*d)).map(|down| [down, parts / down]);
    ways.min_by_key(|[down, across]| m.div_ceil(*down) + n.div_ceil(*across)).unwrap_or([1, 1])
}

fn pool_take(pool: &Pool2d, n: usize, x: &[f32], index: &[u8], y: &mut [f32]) {
    let c = pool.c;
    for (i, (y, &cell)) in y.iter_mut().zip(index).enumerate().take(n * pool.out_len()) {
        let (pixel, channel) = (i / c, i % c);
        let (oy, ox) = (pixel / pool.out_w % pool.out_h, pixel % pool.out_w);
        let image = pixel / (pool.out_h * pool.out_w);
        let (wy, wx) = (usize::from(cell) / pool.window[1], usize::from(cell) % pool.window[1]);
        let at = |out: usize, stride: usize, step: usize, pad: usize, size: usize| {
            (out * stride + step).checked_sub(pad).filter(|&i| i < size)
        };
        let iy = at(oy, pool.stride[0], wy, pool.pad[0], pool.in_h);
        let ix = at(ox, pool.stride[1], wx, pool.pad[1], pool.in_w);
        *y = match (iy, ix) {
            (Some(iy), Some(ix)) => x[((image * pool.in_h + iy) * pool.in_w + ix) * c + channel],
            _ => 0.0,
        };
    }
}
