//! The product of large operands: `b` as panels of columns, six rows of `c` by one panel in registers.
//!
//! A panel holds as many columns as registers allow (four vectors of AVX-512, two of AVX2), its rows one after another,
//! so that the innermost loop walks through it in one stream; `a` is read where it lies. Each element of `c` is added up
//! in the order of `k`, by stretches of at most [`DEPTH`], so that the bits depend neither on how rows and columns are cut
//! nor on who packed `b`.

use std::cell::RefCell;

use pulp::{Simd, WithSimd};

#[cfg(target_arch = "x86_64")]
use super::transpose;
use super::{Precision, rounded};
use crate::simd::{self, LINE, Level};

/// Rows of `c` in registers.
const ROWS: usize = 6;
/// Terms that are added up in registers before they go to `c`: as many rows of a panel fit in the second-level cache.
const DEPTH: usize = 512;

/// So few rows of `c` use a panel that it is not worth packing, if its rows are contiguous.
const FEW: usize = 64;
/// How many rows of a panel are under way from memory while one is used.
const AHEAD: usize = 32;
/// How many rows of a matrix are under way from memory while one is packed.
const ROWS_AHEAD: usize = 12;
/// How many terms ahead the first operand is fetched where it lies across.
const TERMS_AHEAD: usize = 16;
/// Columns in the widest panel.
const EDGE: usize = 64;

/// Vectors in a panel: with six rows, as many as there are registers for.
const fn vectors(lanes: usize) -> usize {
    match lanes {
        16 => 4,
        8 => 2,
        // No vectors of our own: so many that the compiler makes some.
        _ => 8,
    }
}

/// Columns in a panel.
pub fn width(level: Level) -> usize {
    level.lanes() * vectors(level.lanes())
}

/// Length of the stretches that `k` is cut into.
pub fn depth(k: usize) -> usize {
    k.div_ceil(k.div_ceil(DEPTH).max(1)).max(1)
}

/// The second operand.
#[derive(Clone, Copy)]
pub enum B<'a> {
    /// Where it lies, with its strides.
    Strided(&'a [f32], (usize, usize)),
    /// Packed by [`Pack`].
    Packed(&'a [f32]),
}

/// `c (+)= a b`; see [`super::matmul_into`].
#[derive(Clone, Copy)]
pub struct Product<'a> {
    /// What the numbers of `b` are rounded to, and those of `a` have been.
    pub precision: Precision,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: &'a [f32],
    pub a_strides: (usize, usize),
    pub b: B<'a>,
    /// `m` rows of `n` that may be written.
    pub c: *mut f32,
    pub c_row_stride: usize,
    pub accumulate: bool,
}

thread_local! {
    /// Memory for packing: each thread's own, kept from one product to the next.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with this thread's memory for packing.
pub fn with_scratch<R>(f: impl FnOnce(&mut Vec<f32>) -> R) -> R {
    let mut scratch = SCRATCH.take();
    let result = f(&mut scratch);
    SCRATCH.set(scratch);
    result
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        // Taken out and put back: inside a closure, loops lose their vectors.
        let mut scratch = SCRATCH.take();
        match S::F32_LANES {
            16 => self.run::<S, 4>(s, &mut scratch),
            8 => self.run::<S, 2>(s, &mut scratch),
            _ => self.run::<S, 8>(s, &mut scratch),
        }
        SCRATCH.set(scratch);
    }
}

impl Product<'_> {
    #[inline(always)]
    fn run<S: Simd, const V: usize>(&self, s: S, scratch: &mut Vec<f32>) {
        let (n, k) = (self.n, self.k);
        let (depth, width) = (depth(k), S::F32_LANES * V);
        if let B::Strided(..) = self.b
            && scratch.len() < depth * width
        {
            scratch.resize(depth * width, 0.0);
        }
        for from in (0..k).step_by(depth) {
            let terms = depth.min(k - from);
            let a = &self.a[from * self.a_strides.1..];
            for first in (0..n).step_by(width) {
                let columns = width.min(n - first);
                let (panel, stride) = match self.b {
                    B::Packed(panels) => (&panels[first * k + from * width..][..terms * width], width),
                    B::Strided(b, (row, 1))
                        if columns == width && self.m <= FEW && self.precision == Precision::F32 =>
                    {
                        (&b[from * row + first..][..(terms - 1) * row + width], row)
                    }
                    B::Strided(b, strides) => {
                        let b = &b[from * strides.0 + first * strides.1..];
                        pack_panel::<S>(terms, columns, width, b, strides, scratch);
                        round(self.precision, terms, width, scratch);
                        (&scratch[..terms * width], width)
                    }
                };
                // Few rows are done before the next panel could come.
                let next = match self.b {
                    B::Packed(panels) if self.m > 2 * ROWS => {
                        panels.as_ptr().wrapping_add((first + width) * k + from * width)
                    }
                    _ => std::ptr::null(),
                };
                // SAFETY: columns from `first` on lie in c.
                let c = unsafe { self.c.add(first) };
                let accumulate = self.accumulate || from > 0;
                let a_strides = self.a_strides;
                let block = Block {
                    terms,
                    a,
                    a_strides,
                    panel,
                    stride,
                    next,
                    c,
                    row: self.c_row_stride,
                    columns,
                    accumulate,
                };
                block.all::<S, V>(s, self.m);
            }
        }
    }
}

/// A panel's part of `c`.
struct Block<'a> {
    terms: usize,
    a: &'a [f32],
    a_strides: (usize, usize),
    panel: &'a [f32],
    /// Distance of the panel's rows.
    stride: usize,
    /// Where the next panel will be read, or null.
    next: *const f32,
    c: *mut f32,
    row: usize,
    columns: usize,
    accumulate: bool,
}

impl Block<'_> {
    #[inline(always)]
    fn all<S: Simd, const V: usize>(&self, s: S, rows: usize) {
        let lanes = S::F32_LANES;
        // A panel's last vectors may be empty: fewer of them are computed.
        match self.columns.div_ceil(lanes) {
            1 => self.some::<S, 1>(s, rows),
            2 if V > 2 => self.some::<S, 2>(s, rows),
            3 | 4 if V > 4 => self.some::<S, 4>(s, rows),
            _ => self.some::<S, V>(s, rows),
        }
    }

    #[inline(always)]
    fn some<S: Simd, const V: usize>(&self, s: S, rows: usize) {
        let mut i = 0;
        while i < rows {
            i += match rows - i {
                ROWS.. => self.block::<S, ROWS, V>(s, i),
                4.. => self.block::<S, 4, V>(s, i),
                2.. => self.block::<S, 2, V>(s, i),
                _ => self.block::<S, 1, V>(s, i),
            };
        }
    }

    /// `R` rows from row `i` on; gives `R`.
    #[inline(always)]
    fn block<S: Simd, const R: usize, const V: usize>(&self, s: S, i: usize) -> usize {
        let lanes = S::F32_LANES;
        let (row, column) = self.a_strides;
        let a = &self.a[i * row..];
        // The last elements that are read.
        assert!((R - 1) * row + (self.terms - 1) * column < a.len(), "matmul: a is too short");
        debug_assert!((self.terms - 1) * self.stride + V * lanes <= self.panel.len());
        let mut sums = [[s.splat_f32s(0.0); V]; R];
        let (mut b, mut a) = (self.panel.as_ptr(), a.as_ptr());
        let across = column > LINE;
        // The first rows fetch the panel from far away; the next ones find it near, and fetch the next panel, a line with each term.
        let (mut ahead, mut step) = (b.wrapping_add(AHEAD * self.stride), self.stride);
        if i > 0 {
            let line = LINE.max(lanes);
            let fetched = i.saturating_sub(ROWS) / ROWS * self.terms * line;
            (ahead, step) = match self.next.is_null() || fetched >= self.terms * V * lanes {
                true => (b, self.stride),
                false => (self.next.wrapping_add(fetched), line),
            };
        }
        for _ in 0..self.terms {
            simd::prefetch(ahead);
            if i == 0 {
                for v in 1..V {
                    simd::prefetch(ahead.wrapping_add(v * lanes));
                }
            }
            ahead = ahead.wrapping_add(step);
            if across {
                simd::prefetch(a.wrapping_add(TERMS_AHEAD * column));
            }
            // SAFETY: the panel has `V` vectors in each of `terms` rows; the last element of `a` that is read here lies in it. The pointers end at most one step past what they walk through.
            unsafe {
                let mut columns = [s.splat_f32s(0.0); V];
                for v in 0..V {
                    columns[v] = b.add(v * lanes).cast::<S::f32s>().read_unaligned();
                }
                for r in 0..R {
                    let x = s.splat_f32s(*a.add(r * row));
                    for v in 0..V {
                        sums[r][v] = s.mul_add_e_f32s(x, columns[v], sums[r][v]);
                    }
                }
                b = b.wrapping_add(self.stride);
                a = a.wrapping_add(column);
            }
        }
        // The loops over registers are so plain that they are unrolled whole: otherwise the sums would live in memory.
        let whole = V * lanes <= self.columns;
        let mut edge = [0.0; ROWS * EDGE];
        let (to, stride) = match whole {
            // SAFETY: row `i` is one of this part of c.
            true => (unsafe { self.c.add(i * self.row) }, self.row),
            false => (edge.as_mut_ptr(), EDGE),
        };
        for r in 0..R {
            for v in 0..V {
                // SAFETY: either `V` vectors of row `i + r` of c, which may be written, or of row `r` of `edge`.
                unsafe {
                    let at = to.add(r * stride + v * lanes).cast::<S::f32s>();
                    let sum = match self.accumulate {
                        true => s.add_f32s(sums[r][v], at.read_unaligned()),
                        false => sums[r][v],
                    };
                    at.write_unaligned(sum);
                }
            }
        }
        if !whole {
            for (r, sums) in edge.chunks_exact(EDGE).enumerate().take(R) {
                // SAFETY: `columns` of row `i + r` of this part of c may be written.
                let c =
                    unsafe { std::slice::from_raw_parts_mut(self.c.add((i + r) * self.row), self.columns) };
                match self.accumulate {
                    true => c.iter_mut().zip(sums).for_each(|(c, sum)| *c += sum),
                    false => c.copy_from_slice(&sums[..self.columns]),
                }
            }
        }
        R
    }
}

/// A few columns of `b` as a panel, filled up with zeros.
#[inline(always)]
pub fn pack_panel<S: Simd>(
    terms: usize,
    columns: usize,
    width: usize,
    b: &[f32],
    (row, column): (usize, usize),
    into: &mut [f32],
) {
    let into = &mut into[..terms * width];
    if column == 1 && columns == width {
        for (p, into) in into.chunks_exact_mut(width).enumerate() {
            // Rows lie far apart, often on pages of their own: the machine does not see them coming.
            let ahead = b.as_ptr().wrapping_add((p + ROWS_AHEAD) * row);
            for line in (0..width).step_by(LINE) {
                simd::prefetch(ahead.wrapping_add(line));
            }
            let from = S::as_simd_f32s(&b[p * row..][..width]).0;
            let into = S::as_mut_simd_f32s(into).0;
            // Not `copy_from_slice`, which calls a function for each row.
            #[allow(clippy::manual_memcpy)]
            for v in 0..into.len() {
                into[v] = from[v];
            }
        }
        return;
    }
    if column == 1 {
        for (p, into) in into.chunks_exact_mut(width).enumerate() {
            into[..columns].copy_from_slice(&b[p * row..][..columns]);
            into[columns..].fill(0.0);
        }
        return;
    }
    // Blocks of a cache line by a cache line: both sides walk through whole lines.
    for j in (0..width).step_by(LINE) {
        let count = LINE.min(width - j);
        let given = columns.saturating_sub(j).min(count);
        for p in (0..terms).step_by(LINE) {
            let few = LINE.min(terms - p);
            let whole = given == LINE && few == LINE && row == 1;
            #[cfg(target_arch = "x86_64")]
            if whole && simd::is_avx512::<S>() {
                let (from, to) = (&b[j * column + p..], &mut into[p * width + j..]);
                assert!((LINE - 1) * column + LINE <= from.len() && (LINE - 1) * width + LINE <= to.len());
                // SAFETY: the machine has AVX-512; the last elements of both lie inside.
                unsafe { transpose::transpose16(from.as_ptr(), column, to.as_mut_ptr(), width) };
                continue;
            }
            if whole {
                let mut lines = [[0.0; LINE]; LINE];
                for (i, line) in lines.iter_mut().enumerate() {
                    line.copy_from_slice(&b[(j + i) * column + p..][..LINE]);
                }
                for q in 0..LINE {
                    let into: &mut [f32] = &mut into[(p + q) * width + j..][..LINE];
                    for i in 0..LINE {
                        into[i] = lines[i][q];
                    }
                }
            } else {
                for q in p..p + few {
                    let into = &mut into[q * width + j..][..count];
                    for i in 0..given {
                        into[i] = b[q * row + (j + i) * column];
                    }
                    into[given..].fill(0.0);
                }
            }
        }
    }
}

/// The numbers of a panel as they stand in a precision.
fn round(precision: Precision, terms: usize, width: usize, panel: &mut [f32]) {
    let panel = &mut panel[..terms * width];
    match precision {
        Precision::F32 => {}
        Precision::Bf16 => panel.iter_mut().for_each(|x| *x = rounded::bf16(*x)),
        Precision::Int8 => {
            for j in 0..width {
                let scale = rounded::column_scale(panel.iter().skip(j).step_by(width).copied());
                let column = panel.iter_mut().skip(j).step_by(width);
                column.for_each(|x| *x = f32::from(rounded::number(*x, scale)) * scale);
            }
        }
    }
}

/// Packs panels `from..` of a `[k, n]` matrix, as many as `into` has room for.
pub struct Pack<'a> {
    pub precision: Precision,
    pub k: usize,
    pub n: usize,
    pub b: &'a [f32],
    pub strides: (usize, usize),
    pub from: usize,
    pub into: &'a mut [f32],
}

impl WithSimd for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let width = S::F32_LANES * vectors(S::F32_LANES);
        for (number, into) in self.into.chunks_exact_mut((self.k * width).max(1)).enumerate() {
            let first = (self.from + number) * width;
            let columns = width.min(self.n - first);
            pack_panel::<S>(self.k, columns, width, &self.b[first * self.strides.1..], self.strides, into);
            round(self.precision, self.k, width, into);
        }
    }
}
