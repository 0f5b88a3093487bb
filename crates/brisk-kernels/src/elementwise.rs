//! Chains of elementwise operations in one pass, by an interpreter of L1-sized blocks.
//!
//! A [`Program`] is a list of [`Inst`]ructions over virtual registers, each standing for one value per element of an
//! iteration space of up to [`MAX_DIMS`] dimensions. Running it over a range of the flat space takes a block of elements
//! through all instructions before the next block, so that values in between stay in L1 and each operand is read and
//! written once. A product with one use, in a sum, becomes a fused multiply-add. All arithmetic is `f32`; `u8` and `i32` are converted at loads and stores (an `i32` beyond 2^24 is
//! rounded; stores truncate and saturate as Rust's `as` does).
//!
//! NaN: `Max`, `Min`, `Relu` and `Sign` give NaN for NaN; comparisons give 0 or 1, and 0 where either side is NaN.
#![allow(unsafe_code)]

use crate::simd::{self, Level};
use std::ops::Range;

mod exec;
mod lower;
#[cfg(test)]
mod tests;

use lower::Plan;

/// The most dimensions that an iteration space has.
pub const MAX_DIMS: usize = 5;

/// The type of an operand's elements in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Elem {
    /// 32-bit float.
    F32,
    /// Unsigned byte.
    U8,
    /// 32-bit signed integer.
    I32,
}

impl Elem {
    /// Bytes in memory.
    pub const fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F32 | Self::I32 => 4,
        }
    }
}

/// Which element of an operand belongs to flat index `i` of a space of `dims`, with `cols` the last of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Element `i`.
    Contiguous,
    /// Element 0, for all.
    Scalar,
    /// Element `i % cols`: a vector of the last axis, such as a bias.
    Row,
    /// Element `i / cols`: one value for each row, such as a mean.
    PerRow,
    /// Element `sum over d of index_d * stride_d`; strides of dimensions that the space lacks are
    /// ignored, none is negative (`movement::copy_strided` reverses).
    Strided([isize; MAX_DIMS]),
}

/// One operand as the program sees it; the [`Buffer`] comes at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operand {
    /// Its element type.
    pub elem: Elem,
    /// Its layout against the iteration space.
    pub access: Access,
}

impl Operand {
    /// An `f32` operand.
    pub const fn f32(access: Access) -> Self {
        Self { elem: Elem::F32, access }
    }
}

/// A function of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    /// `-x`
    Neg,
    /// `|x|`
    Abs,
    /// -1, 0 or 1; NaN for NaN
    Sign,
    /// `e^x`
    Exp,
    /// natural logarithm
    Log,
    /// `√x`
    Sqrt,
    /// `1 / √x`
    Rsqrt,
    /// `1 / x`
    Recip,
    /// hyperbolic tangent
    Tanh,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// the error function
    Erf,
    /// the largest integer not above `x`
    Floor,
    /// sine
    Sin,
    /// cosine
    Cos,
    /// 1 if `x` is 0, else 0
    Not,
    /// `max(x, 0)`; NaN for NaN
    Relu,
    /// `x²`
    Square,
}

/// A function of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a b`
    Mul,
    /// `a / b`
    Div,
    /// the larger; NaN if either is
    Max,
    /// the smaller; NaN if either is
    Min,
    /// `a^b`
    Pow,
    /// `a - b trunc(a / b)`, the sign of `a`, as Rust's and C's `%`
    Rem,
    /// `a < b`
    Lt,
    /// `a <= b`
    Le,
    /// `a == b`
    Eq,
    /// 1 if neither is 0, else 0
    And,
    /// 1 if either is not 0, else 0
    Or,
}

/// A virtual register.
pub type Reg = u16;

/// One step of a program. A register may be written more than once; a read sees the last write before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Inst {
    /// `dst = operand[i]`, the value before any store of this program
    Load {
        /// from
        operand: u16,
        /// to
        dst: Reg,
    },
    /// `dst = value`
    Const {
        /// the value
        value: f32,
        /// to
        dst: Reg,
    },
    /// `dst = op(src)`
    Unary {
        /// the function
        op: Unary,
        /// its argument
        src: Reg,
        /// to
        dst: Reg,
    },
    /// `dst = op(a, b)`
    Binary {
        /// the function
        op: Binary,
        /// left argument
        a: Reg,
        /// right argument
        b: Reg,
        /// to
        dst: Reg,
    },
    /// `dst = a b + c`, rounded once where the machine can
    Fma {
        /// factor
        a: Reg,
        /// factor
        b: Reg,
        /// addend
        c: Reg,
        /// to
        dst: Reg,
    },
    /// `dst = if cond != 0 { a } else { b }`
    Select {
        /// the condition
        cond: Reg,
        /// value if not zero
        a: Reg,
        /// value if zero
        b: Reg,
        /// to
        dst: Reg,
    },
    /// `operand[i] = src`; the operand is `Contiguous` or `Strided` with no element twice
    Store {
        /// the value
        src: Reg,
        /// to
        operand: u16,
    },
    /// `operand[i % cols] += src`: sums over all axes but the last, on top of what is there; an `f32` `Row` operand
    SumColumns {
        /// the value
        src: Reg,
        /// to
        operand: u16,
    },
    /// `operand[0] += sum of src`, on top of what is there; an `f32` `Scalar` operand
    SumAll {
        /// the value
        src: Reg,
        /// to
        operand: u16,
    },
}

/// Why a list of instructions makes no program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramError {
    /// The instruction at fault.
    pub instruction: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl std::fmt::Display for ProgramError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "instruction {}: {}", self.instruction, self.reason)
    }
}

impl std::error::Error for ProgramError {}

/// Where an operand lies in memory: its element 0 and its length in elements.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    /// Element 0, aligned for its type.
    pub ptr: *mut u8,
    /// Number of elements.
    pub len: usize,
}

impl Buffer {
    /// A buffer that is only read.
    pub fn read<T>(slice: &[T]) -> Self {
        Self { ptr: slice.as_ptr().cast_mut().cast(), len: slice.len() }
    }

    /// A buffer that may be written.
    pub fn write<T>(slice: &mut [T]) -> Self {
        Self { ptr: slice.as_mut_ptr().cast(), len: slice.len() }
    }
}

/// An operand of [`Program::run_slices`].
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Slice<'a> {
    F32(&'a [f32]),
    F32Mut(&'a mut [f32]),
    U8(&'a [u8]),
    U8Mut(&'a mut [u8]),
    I32(&'a [i32]),
    I32Mut(&'a mut [i32]),
}

/// A checked list of instructions, ready to run any number of times.
///
/// `out = max(x + bias, 0)` over a `[2, 3]` space:
/// ```
/// use brisk_kernels::elementwise::{Access, Binary, Inst, Operand, Program, Slice, Unary};
/// let operands = [Access::Contiguous, Access::Row, Access::Contiguous].map(Operand::f32);
/// let program = Program::new(
///     &[
///         Inst::Load { operand: 0, dst: 0 },
///         Inst::Load { operand: 1, dst: 1 },
///         Inst::Binary { op: Binary::Add, a: 0, b: 1, dst: 2 },
///         Inst::Unary { op: Unary::Relu, src: 2, dst: 2 },
///         Inst::Store { src: 2, operand: 2 },
///     ],
///     &operands,
/// )?;
/// let (x, bias, mut out) = ([1., 2., 3., 4., 5., 6.], [0., -3., 1.], [0.; 6]);
/// program.run_slices(&[2, 3], &mut [Slice::F32(&x), Slice::F32(&bias), Slice::F32Mut(&mut out)]);
/// assert_eq!(out, [1., 0., 4., 4., 2., 7.]);
/// # Ok::<(), brisk_kernels::elementwise::ProgramError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Program {
    operands: Vec<Operand>,
    written: Vec<bool>,
    /// Writes each result as early as it may if no two operands share memory.
    fast: Plan,
    /// Right even where an output is the same memory as an input.
    shared: Plan,
}

impl Program {
    /// Checks `insts` against `operands` and prepares them. The only place that allocates.
    pub fn new(insts: &[Inst], operands: &[Operand]) -> Result<Self, ProgramError> {
        let (values, written) = lower::check(insts, operands)?;
        let fast = lower::lower(&values, operands, false)?;
        let shared = lower::lower(&values, operands, true)?;
        Ok(Self { operands: operands.to_vec(), written, fast, shared })
    }

    /// The operands that it was made for.
    pub fn operands(&self) -> &[Operand] {
        &self.operands
    }

    /// For each operand, whether the program writes it.
    pub fn written(&self) -> &[bool] {
        &self.written
    }

    /// Runs the elements `range` of the flat iteration space of `dims`. The buffers are those of the whole space.
    ///
    /// Results other than sums do not depend on how a space is cut into ranges.
    /// Panics if a buffer is too short for its access, or the range for the space.
    ///
    /// # Safety
    /// - Each buffer is aligned and valid for reads of its `len` elements of its operand's type, and for writes if the
    ///   program writes it; no one else writes what this reads, or touches what this writes, meanwhile. Two runs over
    ///   disjoint ranges may go on at once if the program has no `SumColumns` or `SumAll` (or has other buffers for them).
    /// - A written buffer overlaps no other, except that a `Contiguous` one may be the very same memory as another
    ///   `Contiguous` one with elements of the same size: each element is read before it is written.
    pub unsafe fn run(&self, dims: &[usize], buffers: &[Buffer], range: Range<usize>) {
        // SAFETY: the caller's promise.
        unsafe { self.run_at(simd::level(), dims, buffers, range) }
    }

    /// # Safety
    /// As [`Program::run`].
    unsafe fn run_at(&self, level: Level, dims: &[usize], buffers: &[Buffer], range: Range<usize>) {
        let total = dims.iter().product();
        let cols = dims.last().copied().unwrap_or(1);
        assert!(dims.len() <= MAX_DIMS, "at most {MAX_DIMS} dimensions");
        assert!(range.end <= total, "range {range:?} in a space of {total}");
        assert_eq!(buffers.len(), self.operands.len(), "one buffer for each operand");
        if range.is_empty() {
            return;
        }
        for (i, (b, o)) in buffers.iter().zip(&self.operands).enumerate() {
            let need = match o.access {
                Access::Contiguous => range.end,
                Access::Scalar => 1,
                Access::Row => cols,
                Access::PerRow => (range.end - 1) / cols + 1,
                Access::Strided(strides) => {
                    assert!(
                        strides.iter().take(dims.len()).all(|s| *s >= 0),
                        "operand {i}: a negative stride"
                    );
                    1 + dims.iter().zip(strides).map(|(d, s)| (d - 1) * s as usize).sum::<usize>()
                }
            };
            assert!(b.len >= need, "operand {i}: {need} elements needed, {} given", b.len);
        }
        let clash = |&(a, b): &(u16, u16)| {
            let span = |o: u16| {
                let b = &buffers[o as usize];
                (b.ptr as usize, b.ptr as usize + b.len * self.operands[o as usize].elem.size())
            };
            let ((a0, a1), (b0, b1)) = (span(a), span(b));
            a0 < b1 && b0 < a1
        };
        let plan = if self.fast.apart.iter().any(clash) { &self.shared } else { &self.fast };
        let job = exec::Job { plan, operands: &self.operands, dims, cols, buffers, range };
        // SAFETY: lengths are checked above; validity and aliasing are the caller's promise.
        unsafe { exec::run(level, job) }
    }

    /// [`Program::run`] over the whole space, on slices. Panics if a slice's type or mutability is not its operand's.
    pub fn run_slices(&self, dims: &[usize], slices: &mut [Slice<'_>]) {
        assert_eq!(slices.len(), self.operands.len(), "one slice for each operand");
        let buffers: Vec<Buffer> = slices
            .iter_mut()
            .zip(self.operands.iter().zip(&self.written))
            .map(|(s, (o, written))| match (s, o.elem, written) {
                (Slice::F32(s), Elem::F32, false) => Buffer::read(s),
                (Slice::F32Mut(s), Elem::F32, _) => Buffer::write(s),
                (Slice::U8(s), Elem::U8, false) => Buffer::read(s),
                (Slice::U8Mut(s), Elem::U8, _) => Buffer::write(s),
                (Slice::I32(s), Elem::I32, false) => Buffer::read(s),
                (Slice::I32Mut(s), Elem::I32, _) => Buffer::write(s),
                (s, elem, _) => panic!("{s:?} is no slice of {elem:?} with the right mutability"),
            })
            .collect();
        // SAFETY: the slices are of the right types; those written are borrowed mutably, so nothing overlaps them.
        unsafe { self.run(dims, &buffers, 0..dims.iter().product()) }
    }
}
