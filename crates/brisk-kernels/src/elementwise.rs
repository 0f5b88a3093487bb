//! Chains of elementwise operations in one pass, by an interpreter of L1-sized blocks.
//!
//! A [`Program`] is a list of [`Inst`]ructions over virtual registers, each standing for one value per element of an
//! iteration space of up to [`MAX_DIMS`] dimensions. Running it over a range of the flat space takes a block of elements
//! through all instructions before the next block, so that values in between stay in L1 and each operand is read and
//! written once. All arithmetic is `f32`; `u8` and `i32` are converted at loads and stores (an `i32` beyond 2^24 is
//! rounded; stores truncate and saturate as Rust's `as` does).
//!
//! NaN: `Max`, `Min`, `Relu` and `Sign` give NaN for NaN; comparisons give 0 or 1, and 0 where either side is NaN.
#![allow(unsafe_code)]

use std::ops::Range;

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
    /// Element `sum over d of index_d * stride_d`; strides of dimensions that the space lacks are ignored.
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
#[derive(Clone, Debug)]
pub struct Program {
    insts: Vec<Inst>,
    operands: Vec<Operand>,
    written: Vec<bool>,
}

impl Program {
    /// Checks `insts` against `operands` and prepares them. The only place that allocates.
    pub fn new(insts: &[Inst], operands: &[Operand]) -> Result<Self, ProgramError> {
        let mut written = vec![false; operands.len()];
        for i in insts {
            if let Inst::Store { operand, .. }
            | Inst::SumColumns { operand, .. }
            | Inst::SumAll { operand, .. } = *i
            {
                written[operand as usize] = true;
            }
        }
        Ok(Self { insts: insts.to_vec(), operands: operands.to_vec(), written })
    }

    /// The operands that it was made for.
    pub fn operands(&self) -> &[Operand] {
        &self.operands
    }

    /// Runs the elements `range` of the flat iteration space of `dims`. The buffers are those of the whole space.
    ///
    /// Panics if a buffer is too short for its access, or the range for the space.
    ///
    /// # Safety
    /// - Each buffer is valid for reads of its `len` elements of its operand's type, and for writes if the program writes
    ///   it; no one else writes what this reads, or touches what this writes, meanwhile. Two runs over disjoint ranges may
    ///   go on at once if the program has no `SumColumns` or `SumAll` (or different buffers for them).
    /// - A written buffer overlaps no other, except that a `Contiguous` one may be the very same memory as another
    ///   `Contiguous` one with elements of the same size, read at the same index before it is written.
    pub unsafe fn run(&self, dims: &[usize], buffers: &[Buffer], range: Range<usize>) {
        let cols = dims.last().copied().unwrap_or(1);
        let mut regs = vec![0.0f32; 1 + usize::from(u16::MAX)];
        for i in range {
            let at = |o: u16| match self.operands[o as usize].access {
                Access::Contiguous => i,
                Access::Scalar => 0,
                Access::Row => i % cols,
                Access::PerRow => i / cols,
                Access::Strided(strides) => {
                    let (mut rest, mut at) = (i, 0isize);
                    for d in (0..dims.len()).rev() {
                        at += (rest % dims[d]) as isize * strides[d];
                        rest /= dims[d];
                    }
                    at as usize
                }
            };
            let load = |o: u16| {
                let (b, at) = (buffers[o as usize], at(o));
                assert!(at < b.len);
                // SAFETY: below the length, which the caller vouches for.
                unsafe {
                    match self.operands[o as usize].elem {
                        Elem::F32 => *b.ptr.cast::<f32>().add(at),
                        Elem::U8 => f32::from(*b.ptr.add(at)),
                        Elem::I32 => *b.ptr.cast::<i32>().add(at) as f32,
                    }
                }
            };
            let store = |o: u16, v: f32| {
                let (b, at) = (buffers[o as usize], at(o));
                assert!(at < b.len);
                // SAFETY: as above.
                unsafe {
                    match self.operands[o as usize].elem {
                        Elem::F32 => *b.ptr.cast::<f32>().add(at) = v,
                        Elem::U8 => *b.ptr.add(at) = v as u8,
                        Elem::I32 => *b.ptr.cast::<i32>().add(at) = v as i32,
                    }
                }
            };
            for inst in &self.insts {
                match *inst {
                    Inst::Load { operand, dst } => regs[dst as usize] = load(operand),
                    Inst::Const { value, dst } => regs[dst as usize] = value,
                    Inst::Unary { op, src, dst } => regs[dst as usize] = unary(op, regs[src as usize]),
                    Inst::Binary { op, a, b, dst } => {
                        regs[dst as usize] = binary(op, regs[a as usize], regs[b as usize])
                    }
                    Inst::Fma { a, b, c, dst } => {
                        regs[dst as usize] = regs[a as usize] * regs[b as usize] + regs[c as usize]
                    }
                    Inst::Select { cond, a, b, dst } => {
                        regs[dst as usize] = regs[if regs[cond as usize] != 0.0 { a } else { b } as usize];
                    }
                    Inst::Store { src, operand } => store(operand, regs[src as usize]),
                    Inst::SumColumns { src, operand } | Inst::SumAll { src, operand } => {
                        store(operand, load(operand) + regs[src as usize]);
                    }
                }
            }
        }
    }

    /// [`Program::run`] over the whole space, on slices. Panics if a slice's type or mutability is not its operand's.
    pub fn run_slices(&self, dims: &[usize], slices: &mut [Slice<'_>]) {
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
        assert_eq!(buffers.len(), self.operands.len(), "one slice for each operand");
        // SAFETY: the slices are of the right types; those written are borrowed mutably, so nothing overlaps them.
        unsafe { self.run(dims, &buffers, 0..dims.iter().product()) }
    }
}

fn unary(op: Unary, x: f32) -> f32 {
    match op {
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sign => {
            if x == 0.0 {
                0.0
            } else {
                x.signum()
            }
        }
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Sqrt => x.sqrt(),
        Unary::Rsqrt => 1.0 / x.sqrt(),
        Unary::Recip => 1.0 / x,
        Unary::Tanh => x.tanh(),
        Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Unary::Erf => {
            let t = 1.0 / (1.0 + 0.5 * f64::from(x.abs()));
            let p = [
                1.00002368,
                0.37409196,
                0.09678418,
                -0.18628806,
                0.27886807,
                -1.13520398,
                1.48851587,
                -0.82215223,
                0.17087277,
            ];
            let p = p.iter().rev().fold(0.0, |a, c| a * t + c) * t;
            let r = 1.0 - t * (-f64::from(x * x) - 1.26551223 + p).exp();
            (if x < 0.0 { -r } else { r }) as f32
        }
        Unary::Floor => x.floor(),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Not => f32::from(x == 0.0),
        Unary::Relu => {
            if x <= 0.0 {
                0.0
            } else {
                x
            }
        }
        Unary::Square => x * x,
    }
}

fn binary(op: Binary, a: f32, b: f32) -> f32 {
    match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Max => {
            if a.is_nan() || a > b {
                a
            } else {
                b
            }
        }
        Binary::Min => {
            if a.is_nan() || a < b {
                a
            } else {
                b
            }
        }
        Binary::Pow => a.powf(b),
        Binary::Rem => a % b,
        Binary::Lt => f32::from(a < b),
        Binary::Le => f32::from(a <= b),
        Binary::Eq => f32::from(a == b),
        Binary::And => f32::from(a != 0.0 && b != 0.0),
        Binary::Or => f32::from(a != 0.0 || b != 0.0),
    }
}
