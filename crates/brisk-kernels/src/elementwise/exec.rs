//! Runs a plan block by block.

use super::lower::{Dst, Plan, SCRATCH, SPLAT, Src, Step};
use super::{Access, Binary, Buffer, Elem, Operand, Unary};
use crate::simd::{self, LINE, Level, each2};
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

/// One call of `Program::run`, its lengths checked.
#[derive(Clone)]
pub(super) struct Job<'a> {
    pub plan: &'a Plan,
    pub operands: &'a [Operand],
    pub dims: &'a [usize],
    pub cols: usize,
    pub buffers: &'a [Buffer],
    pub range: Range<usize>,
}

/// # Safety
/// As `Program::run`, with buffers long enough for their accesses.
pub(super) unsafe fn run(level: Level, job: Job<'_>) {
    simd::dispatch_at(level, Run(job));
}

/// Bytes of operands from which on they are not expected in a core's caches,
const FAR: usize = 1 << 20;
/// and how many of them are more than the machine fetches ahead by itself while blocks alternate.
const STREAMS: usize = 3;

struct Run<'a>(Job<'a>);

#[repr(C, align(64))]
struct Scratch(MaybeUninit<[f32; SCRATCH]>);

/// An argument of a loop: one value for each element, or (`step` 0) [`SPLAT`] copies of one value.
#[derive(Clone, Copy)]
struct Arg {
    ptr: *const f32,
    step: usize,
}

/// The block at hand.
#[derive(Clone, Copy)]
struct Block {
    start: usize,
    len: usize,
    /// Column of its first element.
    col: usize,
}

/// The scratch memory: slots, row copies, column sums (each one block long), then uniform values.
struct Frame<'a> {
    job: &'a Job<'a>,
    base: *mut f32,
    /// Whether rows are so short that a block holds whole ones, read from copies and summed block-wide.
    short_rows: bool,
}

impl WithSimd for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let job = &self.0;
        let plan = job.plan;
        let mut scratch = Scratch(MaybeUninit::uninit());
        let short_rows = job.cols <= plan.block;
        let frame = Frame { job, base: scratch.0.as_mut_ptr().cast(), short_rows };
        let whole = Block { start: 0, len: SPLAT, col: 0 };
        // SAFETY: the frame's memory is laid out by the plan; the operands are the caller's promise.
        unsafe {
            for step in &plan.prologue {
                frame.step(s, step, whole);
            }
            let chunk = match (plan.by_rows, short_rows) {
                (false, _) => plan.block,
                (true, true) => plan.block / job.cols * job.cols,
                (true, false) => job.cols.div_ceil(job.cols.div_ceil(plan.block)).next_multiple_of(64),
            };
            if plan.by_rows && short_rows {
                frame.begin_rows(chunk);
            }
            let lengths = plan.reads.iter().map(|&o| job.buffers[o as usize].len);
            let far = plan.reads.len() >= STREAMS && lengths.sum::<usize>() * size_of::<f32>() > FAR;
            let mut start = job.range.start;
            while start < job.range.end {
                let col = if plan.by_rows { start % job.cols } else { 0 };
                let mut len = chunk.min(job.range.end - start);
                if plan.by_rows && !short_rows {
                    len = len.min(job.cols - col);
                }
                let block = Block { start, len, col };
                for (number, step) in plan.steps.iter().enumerate() {
                    frame.step(s, step, block);
                    if far {
                        frame.fetch(start + len..job.range.end.min(start + 2 * len), number);
                    }
                }
                start += len;
            }
            if plan.by_rows && short_rows {
                frame.end_rows(chunk);
            }
        }
    }
}

impl Frame<'_> {
    fn slot(&self, i: usize) -> *mut f32 {
        self.base.wrapping_add(i * self.job.plan.block)
    }

    fn row(&self, i: usize) -> *mut f32 {
        self.slot(self.job.plan.slots + i)
    }

    fn sum(&self, i: usize) -> *mut f32 {
        self.row(self.job.plan.rows.len() + i)
    }

    fn uniform(&self, i: usize) -> *mut f32 {
        self.sum(self.job.plan.sums.len()).wrapping_add(i * SPLAT)
    }

    /// Fetches step `number`'s share of what the next block reads where it lies, so that memory works while this one is computed.
    #[inline(always)]
    fn fetch(&self, next: Range<usize>, number: usize) {
        let plan = self.job.plan;
        let lines = next.len().div_ceil(LINE);
        let share = |n: usize| next.start + n * lines / plan.steps.len() * LINE;
        for &o in &plan.reads {
            let operand = self.operand(o);
            for at in (share(number)..share(number + 1)).step_by(LINE) {
                simd::prefetch(operand.wrapping_add(at));
            }
        }
    }

    fn operand(&self, o: u16) -> *mut f32 {
        self.job.buffers[o as usize].ptr.cast()
    }

    /// Lays out each `Row` operand as the blocks will meet it (all begin in the same column), and clears the sums.
    unsafe fn begin_rows(&self, chunk: usize) {
        let (plan, cols) = (self.job.plan, self.job.cols);
        let phase = self.job.range.start % cols;
        let n = chunk.min(self.job.range.len());
        for (i, o) in plan.rows.iter().enumerate() {
            // SAFETY: the copies lie inside a block, the operand has `cols` elements, and filled parts are copied on.
            unsafe {
                let (row, operand) = (self.row(i), self.operand(*o));
                let first = n.min(cols - phase);
                row.copy_from_nonoverlapping(operand.add(phase), first);
                row.add(first).copy_from_nonoverlapping(operand, n.min(cols) - first);
                let mut done = n.min(cols);
                while done < n {
                    let more = done.min(n - done);
                    row.add(done).copy_from_nonoverlapping(row, more);
                    done += more;
                }
            }
        }
        for i in 0..plan.sums.len() {
            // SAFETY: n <= block.
            unsafe { std::slice::from_raw_parts_mut(self.sum(i), n).fill(0.0) };
        }
    }

    /// Adds the block-wide sums up, column by column.
    unsafe fn end_rows(&self, chunk: usize) {
        let (plan, cols) = (self.job.plan, self.job.cols);
        let phase = self.job.range.start % cols;
        let n = chunk.min(self.job.range.len());
        for (i, o) in plan.sums.iter().enumerate() {
            for first in 0..n.min(cols) {
                let mut sum = 0.0;
                for k in (first..n).step_by(cols) {
                    // SAFETY: k < n, all of which `begin_rows` filled.
                    sum += unsafe { *self.sum(i).add(k) };
                }
                // SAFETY: the operand has `cols` elements.
                unsafe { *self.operand(*o).add((phase + first) % cols) += sum };
            }
        }
    }

    #[inline(always)]
    fn arg(&self, src: Src, block: Block) -> Arg {
        match src {
            Src::Slot(i) => Arg { ptr: self.slot(i as usize), step: 1 },
            Src::Uniform(i) => Arg { ptr: self.uniform(i as usize), step: 0 },
            Src::InPlace(o) => Arg { ptr: self.operand(o).wrapping_add(block.start), step: 1 },
            Src::Row(i) if self.short_rows => Arg { ptr: self.row(i as usize), step: 1 },
            Src::Row(i) => {
                let o = self.job.plan.rows[i as usize];
                Arg { ptr: self.operand(o).wrapping_add(block.col), step: 1 }
            }
        }
    }

    #[inline(always)]
    fn dst(&self, dst: Dst, block: Block) -> *mut f32 {
        match dst {
            Dst::Slot(i) => self.slot(i as usize),
            Dst::Uniform(i) => self.uniform(i as usize),
            Dst::InPlace(o) => self.operand(o).wrapping_add(block.start),
        }
    }

    /// # Safety
    /// All that the step reads has been written; the block lies in the operands.
    #[inline(always)]
    unsafe fn step<S: Simd>(&self, s: S, step: &Step, block: Block) {
        let n = block.len;
        let arg = |src| self.arg(src, block);
        match *step {
            // SAFETY: a destination has room for the block.
            Step::Const(value, dst) => unsafe { fill(self.dst(dst, block), value, n) },
            // SAFETY: as above.
            Step::Load(o, dst) => unsafe { self.load(o, self.dst(dst, block), block) },
            Step::Unary(op, a, dst) => unary(s, op, [arg(a)], self.dst(dst, block), n),
            Step::Binary(op, a, b, dst) => binary(s, op, [arg(a), arg(b)], self.dst(dst, block), n),
            Step::Fma(a, b, c, dst) => {
                s.vectorize(Loop::<FmaOp, 3>::new([arg(a), arg(b), arg(c)], self.dst(dst, block), n))
            }
            Step::Select(a, b, c, dst) => {
                s.vectorize(Loop::<SelectOp, 3>::new([arg(a), arg(b), arg(c)], self.dst(dst, block), n));
            }
            Step::Store(a, o) if self.job.operands[o as usize] == Operand::f32(Access::Contiguous) => {
                s.vectorize(Loop::<CopyOp, 1>::new([arg(a)], self.operand(o).wrapping_add(block.start), n));
            }
            // SAFETY: the block lies in the operand.
            Step::Store(a, o) => unsafe { self.store(arg(a), o, block) },
            Step::SumColumns(a, o, i) => {
                let sum = if self.short_rows {
                    self.sum(i as usize)
                } else {
                    self.operand(o).wrapping_add(block.col)
                };
                let acc = Arg { ptr: sum, step: 1 };
                s.vectorize(Loop::<AddOp, 2>::new([acc, arg(a)], sum, n));
            }
            Step::SumAll(a, o) => {
                let sum = s.vectorize(Total { a: arg(a), n });
                // SAFETY: a scalar operand has one element.
                unsafe { *self.operand(o) += sum };
            }
        }
    }

    /// Brings `block.len` elements of an operand into `out`.
    #[inline(always)]
    unsafe fn load(&self, o: u16, out: *mut f32, block: Block) {
        let Operand { elem, access } = self.job.operands[o as usize];
        let ptr = self.job.buffers[o as usize].ptr;
        self.runs(access, block, |k, at, stride, n| {
            // SAFETY: `runs` stays in the operand and the block.
            unsafe {
                let out = out.add(k);
                match elem {
                    Elem::F32 => gather(ptr.cast::<f32>().add(at), stride, out, n, |v| v),
                    Elem::U8 => gather(ptr.add(at), stride, out, n, f32::from),
                    Elem::I32 => gather(ptr.cast::<i32>().add(at), stride, out, n, |v| v as f32),
                }
            }
        });
    }

    /// The other way round.
    #[inline(always)]
    unsafe fn store(&self, a: Arg, o: u16, block: Block) {
        let Operand { elem, access } = self.job.operands[o as usize];
        let ptr = self.job.buffers[o as usize].ptr;
        self.runs(access, block, |k, at, stride, n| {
            for i in 0..n {
                // SAFETY: `runs` stays in the operand and the block; a splat has at least one element.
                unsafe {
                    let (v, at) = (*a.ptr.add((k + i) * a.step), at + i * stride);
                    match elem {
                        Elem::F32 => *ptr.cast::<f32>().add(at) = v,
                        Elem::U8 => *ptr.add(at) = v as u8,
                        Elem::I32 => *ptr.cast::<i32>().add(at) = v as i32,
                    }
                }
            }
        });
    }

    /// Cuts a block into runs of one stride: `f(position in the block, element, stride, length)`.
    #[inline(always)]
    fn runs(&self, access: Access, block: Block, mut f: impl FnMut(usize, usize, usize, usize)) {
        let Job { dims, cols, .. } = *self.job;
        match access {
            Access::Contiguous => f(0, block.start, 1, block.len),
            Access::Scalar => f(0, 0, 0, block.len),
            Access::Row | Access::PerRow | Access::Strided(_) => {
                let mut k = 0;
                while k < block.len {
                    let (row, col) = ((block.start + k) / cols, (block.start + k) % cols);
                    let n = (cols - col).min(block.len - k);
                    match access {
                        Access::Row => f(k, col, 1, n),
                        Access::PerRow => f(k, row, 0, n),
                        Access::Strided(strides) if !dims.is_empty() => {
                            let last = dims.len() - 1;
                            let (mut rest, mut at) = (row, col * strides[last] as usize);
                            for d in (0..last).rev() {
                                at += rest % dims[d] * strides[d] as usize;
                                rest /= dims[d];
                            }
                            f(k, at, strides[last] as usize, n);
                        }
                        _ => f(k, 0, 0, n),
                    }
                    k += n;
                }
            }
        }
    }
}

/// # Safety
/// `out` is valid for `n` writes.
#[inline(always)]
unsafe fn fill(out: *mut f32, value: f32, n: usize) {
    for i in 0..n {
        // SAFETY: i < n.
        unsafe { *out.add(i) = value };
    }
}

/// # Safety
/// `src` is valid for `n` reads `stride` apart, `out` for `n` writes.
#[inline(always)]
unsafe fn gather<T: Copy>(src: *const T, stride: usize, out: *mut f32, n: usize, f: impl Fn(T) -> f32) {
    // SAFETY: i < n.
    unsafe {
        match stride {
            0 => fill(out, f(*src), n),
            1 => (0..n).for_each(|i| *out.add(i) = f(*src.add(i))),
            _ => (0..n).for_each(|i| *out.add(i) = f(*src.add(i * stride))),
        }
    }
}

/// A function of `N` vectors.
trait Op<const N: usize> {
    fn apply<S: Simd>(s: S, x: [S::f32s; N]) -> S::f32s;
}

/// `out[i] = O(args[i])` for a block. Arguments may be the same memory as `out`, element for element.
struct Loop<O, const N: usize> {
    args: [Arg; N],
    out: *mut f32,
    n: usize,
    op: PhantomData<O>,
}

impl<O, const N: usize> Loop<O, N> {
    #[inline(always)]
    fn new(args: [Arg; N], out: *mut f32, n: usize) -> Self {
        Self { args, out, n, op: PhantomData }
    }
}

/// # Safety
/// Each argument is valid for a vector from element `i`.
#[inline(always)]
unsafe fn vectors<S: Simd, const N: usize>(s: S, args: &[Arg; N], i: usize) -> [S::f32s; N] {
    let mut x = [s.splat_f32s(0.0); N];
    for k in 0..N {
        // SAFETY: promised; vectors have the alignment of one element.
        x[k] = unsafe { args[k].ptr.add(i * args[k].step).cast::<S::f32s>().read() };
    }
    x
}

impl<O: Op<N>, const N: usize> WithSimd for Loop<O, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self { args, out, n, .. } = self;
        let lanes = S::F32_LANES;
        // SAFETY: an argument is valid for n reads from its start (for SPLAT if its step is 0), and `out` for n writes;
        // vectors have the alignment of one element.
        unsafe {
            let mut i = 0;
            while i + 4 * lanes <= n {
                let y0 = O::apply(s, vectors(s, &args, i));
                let y1 = O::apply(s, vectors(s, &args, i + lanes));
                let y2 = O::apply(s, vectors(s, &args, i + 2 * lanes));
                let y3 = O::apply(s, vectors(s, &args, i + 3 * lanes));
                out.add(i).cast::<S::f32s>().write(y0);
                out.add(i + lanes).cast::<S::f32s>().write(y1);
                out.add(i + 2 * lanes).cast::<S::f32s>().write(y2);
                out.add(i + 3 * lanes).cast::<S::f32s>().write(y3);
                i += 4 * lanes;
            }
            while i + lanes <= n {
                out.add(i).cast::<S::f32s>().write(O::apply(s, vectors(s, &args, i)));
                i += lanes;
            }
            if i < n {
                let mut x = [s.splat_f32s(0.0); N];
                for k in 0..N {
                    let len = if args[k].step == 0 { lanes } else { n - i };
                    let rest = std::slice::from_raw_parts(args[k].ptr.add(i * args[k].step), len);
                    x[k] = s.partial_load_f32s(rest);
                }
                s.partial_store_f32s(std::slice::from_raw_parts_mut(out.add(i), n - i), O::apply(s, x));
            }
        }
    }
}

/// The sum of a block, in four vectors.
struct Total {
    a: Arg,
    n: usize,
}

impl WithSimd for Total {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) -> f32 {
        let Self { a, n } = self;
        let lanes = S::F32_LANES;
        let zero = s.splat_f32s(0.0);
        let (mut a0, mut a1, mut a2, mut a3) = (zero, zero, zero, zero);
        // SAFETY: as for `Loop`.
        unsafe {
            let mut i = 0;
            while i + 4 * lanes <= n {
                a0 = s.add_f32s(a0, vectors(s, &[a], i)[0]);
                a1 = s.add_f32s(a1, vectors(s, &[a], i + lanes)[0]);
                a2 = s.add_f32s(a2, vectors(s, &[a], i + 2 * lanes)[0]);
                a3 = s.add_f32s(a3, vectors(s, &[a], i + 3 * lanes)[0]);
                i += 4 * lanes;
            }
            while i + lanes <= n {
                a0 = s.add_f32s(a0, vectors(s, &[a], i)[0]);
                i += lanes;
            }
            let mut sum = s.reduce_sum_f32s(s.add_f32s(s.add_f32s(a0, a1), s.add_f32s(a2, a3)));
            for i in i..n {
                sum += *a.ptr.add(i * a.step);
            }
            sum
        }
    }
}

macro_rules! ops {
    ($n:literal: $($name:ident |$s:ident, $x:ident| $e:expr;)*) => {
        $(struct $name;
        impl Op<$n> for $name {
            #[inline(always)]
            fn apply<S: Simd>($s: S, $x: [S::f32s; $n]) -> S::f32s {
                $e
            }
        })*
    };
}

/// 1 or 0.
#[inline(always)]
fn truth<S: Simd>(s: S, mask: S::m32s) -> S::f32s {
    s.select_f32s(mask, s.splat_f32s(1.0), s.splat_f32s(0.0))
}

/// Not 0 (a NaN is not 0).
#[inline(always)]
fn true_lanes<S: Simd>(s: S, x: S::f32s) -> S::m32s {
    s.not_m32s(s.equal_f32s(x, s.splat_f32s(0.0)))
}

ops! { 1:
    CopyOp |_s, x| x[0];
    NegOp |s, x| s.neg_f32s(x[0]);
    AbsOp |s, x| s.abs_f32s(x[0]);
    SignOp |s, x| {
        let zero = s.splat_f32s(0.0);
        let y = s.select_f32s(s.greater_than_f32s(x[0], zero), s.splat_f32s(1.0), x[0]);
        let y = s.select_f32s(s.less_than_f32s(x[0], zero), s.splat_f32s(-1.0), y);
        s.select_f32s(s.equal_f32s(x[0], zero), zero, y)
    };
    ExpOp |s, x| simd::exp(s, x[0]);
    LogOp |s, x| simd::ln(s, x[0]);
    SqrtOp |s, x| simd::sqrt(s, x[0]);
    RsqrtOp |s, x| simd::rsqrt(s, x[0]);
    RecipOp |s, x| s.div_f32s(s.splat_f32s(1.0), x[0]);
    TanhOp |s, x| simd::tanh(s, x[0]);
    SigmoidOp |s, x| simd::sigmoid(s, x[0]);
    ErfOp |s, x| simd::erf(s, x[0]);
    FloorOp |s, x| simd::floor(s, x[0]);
    SinOp |s, x| simd::sin(s, x[0]);
    CosOp |s, x| simd::cos(s, x[0]);
    NotOp |s, x| truth(s, s.equal_f32s(x[0], s.splat_f32s(0.0)));
    ReluOp |s, x| {
        let zero = s.splat_f32s(0.0);
        s.select_f32s(s.less_than_or_equal_f32s(x[0], zero), zero, x[0])
    };
    SquareOp |s, x| s.mul_f32s(x[0], x[0]);
}

ops! { 2:
    AddOp |s, x| s.add_f32s(x[0], x[1]);
    SubOp |s, x| s.sub_f32s(x[0], x[1]);
    MulOp |s, x| s.mul_f32s(x[0], x[1]);
    DivOp |s, x| s.div_f32s(x[0], x[1]);
    MaxOp |s, x| simd::max(s, x[0], x[1]);
    MinOp |s, x| simd::min(s, x[0], x[1]);
    PowOp |_s, x| each2(x[0], x[1], f32::powf);
    RemOp |_s, x| each2(x[0], x[1], |a, b| a % b);
    LtOp |s, x| truth(s, s.less_than_f32s(x[0], x[1]));
    LeOp |s, x| truth(s, s.less_than_or_equal_f32s(x[0], x[1]));
    EqOp |s, x| truth(s, s.equal_f32s(x[0], x[1]));
    AndOp |s, x| truth(s, s.and_m32s(true_lanes(s, x[0]), true_lanes(s, x[1])));
    OrOp |s, x| truth(s, s.or_m32s(true_lanes(s, x[0]), true_lanes(s, x[1])));
}

ops! { 3:
    FmaOp |s, x| s.mul_add_e_f32s(x[0], x[1], x[2]);
    SelectOp |s, x| s.select_f32s(true_lanes(s, x[0]), x[1], x[2]);
}

#[inline(always)]
fn unary<S: Simd>(s: S, op: Unary, args: [Arg; 1], out: *mut f32, n: usize) {
    macro_rules! by_op {
        ($($op:ident $loop:ident),*) => {
            match op { $(Unary::$op => s.vectorize(Loop::<$loop, 1>::new(args, out, n)),)* }
        };
    }
    by_op!(
        Neg NegOp, Abs AbsOp, Sign SignOp, Exp ExpOp, Log LogOp, Sqrt SqrtOp, Rsqrt RsqrtOp, Recip RecipOp,
        Tanh TanhOp, Sigmoid SigmoidOp, Erf ErfOp, Floor FloorOp, Sin SinOp, Cos CosOp, Not NotOp, Relu ReluOp,
        Square SquareOp
    );
}

#[inline(always)]
fn binary<S: Simd>(s: S, op: Binary, args: [Arg; 2], out: *mut f32, n: usize) {
    macro_rules! by_op {
        ($($op:ident $loop:ident),*) => {
            match op { $(Binary::$op => s.vectorize(Loop::<$loop, 2>::new(args, out, n)),)* }
        };
    }
    by_op!(
        Add AddOp, Sub SubOp, Mul MulOp, Div DivOp, Max MaxOp, Min MinOp, Pow PowOp, Rem RemOp, Lt LtOp, Le LeOp,
        Eq EqOp, And AndOp, Or OrOp
    );
}
