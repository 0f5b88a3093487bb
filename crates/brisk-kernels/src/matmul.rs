//! Matrix products on one thread. Where both operands are large, `b` is packed into panels, or comes so from [`pack`];
//! where packing costs more than it gains (up to four vectors of columns, `k` up to 16, up to four rows), its rows are
//! read where they lie.
//!
//! Each element of the result is a sum in the order of `k`, by stretches of at most 512, so that the bits do not
//! depend on how rows and columns are cut between calls; but up to three rows by a transposed `b` are sums by the lanes of a
//! vector. The bits do depend on the level: only some fuse a multiplication with its addition.
//!
//! Measured on two cores of Zen 4 against the `gemm` crate, which this replaced: 105 to 113 GFLOP/s a core on the
//! products of BERT's layers, of 117 that the core can do, where `gemm` reached 46 to 100 (`examples/kernel_speed.rs`).
#![allow(unsafe_code)]

mod direct;
mod dots;
mod packed;
mod rounded;
#[cfg(target_arch = "x86_64")]
mod transpose;
#[cfg(target_arch = "x86_64")]
mod words;

use crate::simd::{self, Level};
use direct::Direct;
use dots::Dots;
pub(crate) use packed::pack_panel;
use packed::{B, Pack, Product};

/// How the operands of a product are held while they are multiplied. Sums and results are f32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// Rounded to bfloat16: 8 bits of precision. Twice as fast as f32 on CPUs with AVX512-BF16; others round, and multiply in f32.
    Bf16,
    /// Eight bits, for a packed `b` only: each column of `b` has a scale, -127 to 127 of which its numbers are; each row of `a` a scale and a zero
    /// that are found when it is multiplied. Four times as fast as f32 on CPUs with AVX512-VNNI; others round, and multiply in f32.
    /// A row of `a` with something in it that is not finite gives NaN.
    Int8,
}

impl Precision {
    /// Every one.
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::Int8];

    /// The name in commands and reports.
    ///
    /// ```
    /// assert_eq!(brisk_kernels::matmul::Precision::Bf16.name(), "bf16");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
        }
    }
}

/// Columns in a panel of a packed matrix, at this machine's [`simd::level`].
///
/// ```
/// assert!(brisk_kernels::matmul::panel_width() >= 8);
/// ```
pub fn panel_width() -> usize {
    packed::width(simd::level())
}

/// How many f32 a panel of the packed form of a matrix with `k` rows takes at this machine's [`simd::level`].
///
/// ```
/// use brisk_kernels::matmul::{Precision, panel_len, panel_width};
/// assert_eq!(panel_len(Precision::F32, 3), 3 * panel_width());
/// ```
pub fn panel_len(precision: Precision, k: usize) -> usize {
    panel_len_at(simd::level(), precision, k)
}

fn panel_len_at(level: Level, precision: Precision, k: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    if words::supported(level, precision) {
        return words::panel_len(precision, k);
    }
    let _ = precision;
    k * packed::width(level)
}

/// How many f32 the packed form of a `[k, n]` matrix takes at this machine's [`simd::level`].
///
/// ```
/// use brisk_kernels::matmul::{Precision, packed_len};
/// assert!(packed_len(Precision::F32, 3, 5) >= 15);
/// ```
pub fn packed_len(precision: Precision, k: usize, n: usize) -> usize {
    packed_len_at(simd::level(), precision, k, n)
}

fn packed_len_at(level: Level, precision: Precision, k: usize, n: usize) -> usize {
    panel_len_at(level, precision, k) * n.div_ceil(packed::width(level))
}

/// Packs a `[k, n]` matrix for [`matmul_packed_into`]: its panels of [`panel_width`] columns from number `first` on, as many
/// as `into` has room for.
///
/// ```
/// use brisk_kernels::matmul::{Precision, matmul_packed_into, pack, packed_len};
/// let (a, b) = ([1.0, 2.0], [3.0, 4.0, 5.0, 6.0]); // b: [2, 2]
/// let mut packed = vec![0.0; packed_len(Precision::F32, 2, 2)];
/// pack(Precision::F32, 2, 2, &b, (2, 1), 0, &mut packed);
/// let mut c = [0.0; 2];
/// // SAFETY: c has one row of two.
/// unsafe { matmul_packed_into(Precision::F32, 1, 2, 2, &a, (2, 1), &packed, c.as_mut_ptr(), 2, false) };
/// assert_eq!(c, [13.0, 16.0]);
/// ```
pub fn pack(
    precision: Precision,
    k: usize,
    n: usize,
    b: &[f32],
    strides: (usize, usize),
    first: usize,
    into: &mut [f32],
) {
    pack_at(simd::level(), precision, k, n, b, strides, first, into);
}

fn pack_at(
    level: Level,
    precision: Precision,
    k: usize,
    n: usize,
    b: &[f32],
    strides: (usize, usize),
    first: usize,
    into: &mut [f32],
) {
    let (width, each) = (packed::width(level), panel_len_at(level, precision, k));
    let panels = into.len().checked_div(each).unwrap_or(0);
    assert!(first + panels <= n.div_ceil(width), "matmul: more panels than there are");
    if k == 0 || n == 0 {
        return;
    }
    assert!(last(k, n, strides) < b.len(), "matmul: b is too short");
    #[cfg(target_arch = "x86_64")]
    if words::supported(level, precision) {
        for (number, into) in into.chunks_exact_mut(each).enumerate() {
            let from = (first + number) * width;
            // SAFETY: the machine has the instructions.
            unsafe {
                words::pack(precision, k, width.min(n - from), &b[from * strides.1..], strides, into);
            }
        }
        return;
    }
    simd::dispatch_at(level, Pack { precision, k, n, b, strides, from: first, into });
}

/// [`matmul_into`] with a `b` that [`pack`] has packed whole.
///
/// # Safety
///
/// As of [`matmul_into`].
pub unsafe fn matmul_packed_into(
    precision: Precision,
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    a_strides: (usize, usize),
    b: &[f32],
    c: *mut f32,
    c_row_stride: usize,
    accumulate: bool,
) {
    // SAFETY: as the caller promises.
    unsafe {
        let (level, b) = (simd::level(), B::Packed(b));
        packed_raw(level, precision, m, n, k, a, a_strides, b, c, c_row_stride, accumulate);
    }
}

/// `c[i, j] = sum over p of a[i, p] b[p, j]`, plus the former `c[i, j]` if `accumulate`.
///
/// `a` is `[m, k]`, `b` is `[k, n]`, each with its `(row stride, column stride)`, so that a transposed operand costs
/// nothing; `c` is `[m, n]` with rows `c_row_stride` apart and adjacent columns. With `k` 0 the sum is 0.
/// Panics if an element lies outside its slice. The error is that of a sum of `k` products: at most `k eps sum |a b|`.
///
/// ```
/// let mut c = [0.0; 4];
/// // [[1, 2], [3, 4]] times its own transpose
/// let a = [1.0, 2.0, 3.0, 4.0];
/// brisk_kernels::matmul::matmul(2, 2, 2, &a, (2, 1), &a, (1, 2), &mut c, 2, false);
/// assert_eq!(c, [5.0, 11.0, 11.0, 25.0]);
/// ```
pub fn matmul(
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    a_strides: (usize, usize),
    b: &[f32],
    b_strides: (usize, usize),
    c: &mut [f32],
    c_row_stride: usize,
    accumulate: bool,
) {
    let level = simd::level();
    matmul_at(level, Precision::F32, m, n, k, a, a_strides, b, b_strides, c, c_row_stride, accumulate);
}

/// [`matmul`] into memory that others may write at once, between the rows. [`Precision::Int8`] is taken for f32: it wants a packed `b`.
///
/// # Safety
///
/// The `n` floats of each of the `m` rows from `c` on, `c_row_stride` apart, may be written, and nobody else reads or
/// writes them meanwhile; with `accumulate` they have values.
pub unsafe fn matmul_into(
    precision: Precision,
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    a_strides: (usize, usize),
    b: &[f32],
    b_strides: (usize, usize),
    c: *mut f32,
    c_row_stride: usize,
    accumulate: bool,
) {
    // SAFETY: as the caller promises.
    unsafe {
        matmul_raw(
            simd::level(),
            precision,
            m,
            n,
            k,
            a,
            a_strides,
            b,
            b_strides,
            c,
            c_row_stride,
            accumulate,
        );
    }
}

fn matmul_at(
    level: Level,
    precision: Precision,
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    a_strides: (usize, usize),
    b: &[f32],
    b_strides: (usize, usize),
    c: &mut [f32],
    c_row_stride: usize,
    accumulate: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(m == 1 || c_row_stride >= n, "matmul: rows of c overlap");
    assert!((m - 1) * c_row_stride + n <= c.len(), "matmul: c is too short");
    // SAFETY: all of c's rows lie in the slice.
    unsafe {
        let c = c.as_mut_ptr();
        matmul_raw(level, precision, m, n, k, a, a_strides, b, b_strides, c, c_row_stride, accumulate);
    }
}

/// # Safety
///
/// See [`matmul_into`].
unsafe fn matmul_raw(
    level: Level,
    precision: Precision,
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    a_strides: (usize, usize),
    b: &[f32],
    b_strides: (usize, usize),
    c: *mut f32,
    c_row_stride: usize,
    accumulate: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    let narrow = n <= 4 * level.lanes().max(8);
    let direct = b_strides.1 == 1 && (narrow || k <= 16 || m <= 4);
    let dots = b_strides.0 == 1 && a_strides.1 == 1 && m <= 3 && k > 16;
    if k == 0 || precision == Precision::Bf16 || !(direct || dots) {
        let precision = if precision == Precision::Int8 { Precision::F32 } else { precision };
        let b = B::Strided(b, b_strides);
        // SAFETY: as the caller promises.
        return unsafe {
            packed_raw(level, precision, m, n, k, a, a_strides, b, c, c_row_stride, accumulate)
        };
    }
    assert!(last(m, k, a_strides) < a.len(), "matmul: a is too short");
    assert!(last(k, n, b_strides) < b.len(), "matmul: b is too short");
    if !direct {
        let (a_row, b_row) = (a_strides.0, b_strides.1);
        return simd::dispatch_at(level, Dots { m, n, k, a, a_row, b, b_row, c, c_row_stride, accumulate });
    }
    let (b_row, depth) = (b_strides.0, packed::depth(k));
    for from in (0..k).step_by(depth) {
        let (a, b, k) = (&a[from * a_strides.1..], &b[from * b_row..], depth.min(k - from));
        let accumulate = accumulate || from > 0;
        simd::dispatch_at(level, Direct { m, n, k, a, a_strides, b, b_row, c, c_row_stride, accumulate });
    }
}

/// # Safety
///
/// See [`matmul_into`].
unsafe fn packed_raw(
    level: Level,
    precision: Precision,
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    a_strides: (usize, usize),
    b: B<'_>,
    c: *mut f32,
    c_row_stride: usize,
    accumulate: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !accumulate {
            // SAFETY: the rows of c may be written.
            (0..m).for_each(|i| unsafe { std::ptr::write_bytes(c.add(i * c_row_stride), 0, n) });
        }
        return;
    }
    assert!(last(m, k, a_strides) < a.len(), "matmul: a is too short");
    match b {
        B::Strided(b, strides) => assert!(last(k, n, strides) < b.len(), "matmul: b is too short"),
        B::Packed(b) => assert!(packed_len_at(level, precision, k, n) <= b.len(), "matmul: b is too short"),
    }
    let call = Product { precision, m, n, k, a, a_strides, b, c, c_row_stride, accumulate };
    if precision == Precision::F32 {
        return simd::dispatch_at(level, call);
    }
    #[cfg(target_arch = "x86_64")]
    if words::supported(level, precision) {
        // SAFETY: the machine has the instructions; the sizes are checked; c as the caller promises.
        return unsafe { packed::with_scratch(|scratch| words::product(precision, &call, scratch)) };
    }
    let mut rows = Vec::new();
    for from in (0..m).step_by(ROUNDED_ROWS) {
        let own = from..m.min(from + ROUNDED_ROWS);
        rows.clear();
        rows.extend(own.clone().flat_map(|i| (0..k).map(move |p| a[i * a_strides.0 + p * a_strides.1])));
        match precision {
            Precision::Int8 => rows.chunks_exact_mut(k).for_each(rounded::round_row),
            _ => rows.iter_mut().for_each(|x| *x = rounded::bf16(*x)),
        }
        // SAFETY: row `from` is one of c.
        let c = unsafe { c.add(from * c_row_stride) };
        simd::dispatch_at(level, Product { m: own.len(), a: &rows, a_strides: (k, 1), c, ..call });
    }
}

/// Rows that are rounded at a time, where the machine has no instructions for a precision.
const ROUNDED_ROWS: usize = 48;

/// Place of a matrix's last element.
fn last(rows: usize, columns: usize, (row, column): (usize, usize)) -> usize {
    (rows - 1) * row + (columns - 1) * column
}

/// [`matmul`] for each of `batch` triples, whose starts lie `a_batch`, `b_batch` and `c_batch` elements apart
/// (0 for an operand that all share; not for `c`).
///
/// ```
/// let mut c = [0.0; 2];
/// brisk_kernels::matmul::matmul_batched(
///     2, 1, 1, 2, &[1.0, 2.0, 3.0, 4.0], 2, (2, 1), &[1.0, 1.0], 0, (1, 1), &mut c, 1, 1, false,
/// );
/// assert_eq!(c, [3.0, 7.0]);
/// ```
pub fn matmul_batched(
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    a_batch: usize,
    a_strides: (usize, usize),
    b: &[f32],
    b_batch: usize,
    b_strides: (usize, usize),
    c: &mut [f32],
    c_batch: usize,
    c_row_stride: usize,
    accumulate: bool,
) {
    for i in 0..batch {
        let (a, b) = (&a[i * a_batch..], &b[i * b_batch..]);
        matmul(m, n, k, a, a_strides, b, b_strides, &mut c[i * c_batch..], c_row_stride, accumulate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::levels;
    use proptest::prelude::*;

    fn values(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 131 + 7) % 2003) as f32 / 1000.0 - 1.0).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn agrees_with_f64(
            m in 1usize..12, n in prop_oneof![1usize..40, 60usize..70], k in 0usize..40,
            a_t in any::<bool>(), b_t in any::<bool>(), gap in 0usize..3, accumulate in any::<bool>(),
        ) {
            let sa = if a_t { (1, m + gap) } else { (k + gap, 1) };
            let sb = if b_t { (1, k + gap) } else { (n + gap, 1) };
            let (a, b) = (values((m + gap) * (k + gap) + 1, 1), values((k + gap) * (n + gap) + 1, 2));
            let start = values(m * (n + gap), 3);
            for level in levels() {
                let mut c = start.clone();
                matmul_at(level, Precision::F32, m, n, k, &a, sa, &b, sb, &mut c, n + gap, accumulate);
                for i in 0..m {
                    for j in 0..n + gap {
                        let old = start[i * (n + gap) + j];
                        let got = c[i * (n + gap) + j];
                        if j >= n {
                            prop_assert_eq!(got, old, "wrote between rows");
                            continue;
                        }
                        let sum: f64 = (0..k).map(|p| f64::from(a[i * sa.0 + p * sa.1]) * f64::from(b[p * sb.0 + j * sb.1])).sum();
                        let want = sum + if accumulate { f64::from(old) } else { 0.0 };
                        prop_assert!((f64::from(got) - want).abs() < 1e-5, "{level:?} c[{i}, {j}] = {got}, not {want}");
                    }
                }
            }
        }
    }

    /// Sizes around every edge: groups of rows, vectors, panels, stretches of `k`, rows packed at a time.
    #[test]
    fn large_operands_agree_with_f64_however_they_are_cut() {
        let sizes = [
            (1, 65, 513),
            (4, 65, 513),
            (7, 128, 1025),
            (13, 40, 700),
            (97, 130, 96),
            (771, 70, 20),
            (6, 192, 33),
        ];
        for (m, n, k) in sizes {
            for (a_t, b_t) in [(false, false), (false, true), (true, false), (true, true)] {
                let sa = if a_t { (1, m + 1) } else { (k + 1, 1) };
                let sb = if b_t { (1, k + 2) } else { (n + 2, 1) };
                let (a, b) = (values((m + 1) * (k + 1), 1), values((k + 2) * (n + 2), 2));
                let start = values(m * (n + 3), 3);
                let want: Vec<f64> = (0..m * n)
                    .map(|at| {
                        let (i, j) = (at / n, at % n);
                        let term =
                            |p: usize| f64::from(a[i * sa.0 + p * sa.1]) * f64::from(b[p * sb.0 + j * sb.1]);
                        (0..k).map(term).sum::<f64>() + f64::from(start[i * (n + 3) + j])
                    })
                    .collect();
                for level in levels() {
                    let case = format!("{level:?} {m}x{n}x{k} {a_t} {b_t}");
                    let mut c = start.clone();
                    matmul_at(level, Precision::F32, m, n, k, &a, sa, &b, sb, &mut c, n + 3, true);
                    for (at, want) in want.iter().enumerate() {
                        let got = c[at / n * (n + 3) + at % n];
                        assert!((f64::from(got) - want).abs() < 2e-4, "{case} {at}: {got}, not {want}");
                    }
                    let gap = |i: usize| &start[i * (n + 3) + n..][..3];
                    assert!(
                        (0..m).all(|i| &c[i * (n + 3) + n..][..3] == gap(i)),
                        "{case}: wrote between rows"
                    );

                    // The same bits from a packed b, packed in two goes, by two blocks of rows.
                    let mut packed = vec![f32::NAN; packed_len_at(level, Precision::F32, k, n)];
                    let width = packed::width(level);
                    let half = n.div_ceil(width) / 2;
                    let (one, two) = packed.split_at_mut(half * k * width);
                    pack_at(level, Precision::F32, k, n, &b, sb, 0, one);
                    pack_at(level, Precision::F32, k, n, &b, sb, half, two);
                    let mut d = start.clone();
                    for rows in [0..m / 3, m / 3..m] {
                        let a = &a[rows.start * sa.0..];
                        let to = d[rows.start * (n + 3)..].as_mut_ptr();
                        // SAFETY: the rows lie in d.
                        unsafe {
                            let b = B::Packed(&packed);
                            packed_raw(level, Precision::F32, rows.len(), n, k, a, sa, b, to, n + 3, true);
                        }
                    }
                    let by_lanes = b_t && !a_t && m <= 3;
                    assert!(
                        by_lanes || c.iter().zip(&d).all(|(c, d)| c.to_bits() == d.to_bits()),
                        "{case}: other bits"
                    );
                }
            }
        }
    }

    /// Against f64 products of the rounded operands, at sizes around every edge: words, rows, vectors, panels, stretches.
    #[test]
    fn rounded_operands_agree_with_f64_products_of_rounded_operands() {
        let sizes =
            [(1, 1, 1), (3, 17, 5), (7, 65, 66), (6, 64, 32), (23, 40, 1027), (800, 33, 63), (5, 130, 2051)];
        for (m, n, k) in sizes {
            for (a_t, b_t) in [(false, false), (false, true), (true, false), (true, true)] {
                let sa = if a_t { (1, m + 1) } else { (k + 1, 1) };
                let sb = if b_t { (1, k + 2) } else { (n + 2, 1) };
                let (a, b) = (values((m + 1) * (k + 1), 1), values((k + 2) * (n + 2), 2));
                let start = values(m * (n + 3), 3);
                for precision in [Precision::Bf16, Precision::Int8] {
                    let row = |i: usize| {
                        let mut row: Vec<f32> = (0..k).map(|p| a[i * sa.0 + p * sa.1]).collect();
                        match precision {
                            Precision::Int8 => rounded::round_row(&mut row),
                            _ => row.iter_mut().for_each(|x| *x = rounded::bf16(*x)),
                        }
                        row
                    };
                    let column = |j: usize| {
                        let of = |p: usize| b[p * sb.0 + j * sb.1];
                        let scale = rounded::column_scale((0..k).map(of));
                        let round = |x| match precision {
                            Precision::Int8 => f32::from(rounded::number(x, scale)) * scale,
                            _ => rounded::bf16(x),
                        };
                        (0..k).map(|p| round(of(p))).collect::<Vec<_>>()
                    };
                    let columns: Vec<_> = (0..n).map(column).collect();
                    let dot = |a: &[f32], b: &[f32]| {
                        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
                    };
                    let want: Vec<f64> =
                        (0..m).flat_map(|i| columns.iter().map(move |c| dot(&row(i), c))).collect();
                    for level in levels() {
                        let case = format!("{level:?} {precision:?} {m}x{n}x{k} {a_t} {b_t}");
                        let mut packed = vec![f32::NAN; packed_len_at(level, precision, k, n)];
                        pack_at(level, precision, k, n, &b, sb, 0, &mut packed);
                        let mut c = start.clone();
                        // In two blocks of rows: the bits of an element do not depend on that.
                        for rows in [0..m / 3, m / 3..m] {
                            let a = &a[rows.start * sa.0..];
                            let to = c[rows.start * (n + 3)..].as_mut_ptr();
                            let b = B::Packed(&packed);
                            // SAFETY: the rows lie in c.
                            unsafe {
                                packed_raw(level, precision, rows.len(), n, k, a, sa, b, to, n + 3, true)
                            };
                        }
                        for (at, want) in want.iter().enumerate() {
                            let (i, j) = (at / n, at % n);
                            let want = want + f64::from(start[i * (n + 3) + j]);
                            let got = f64::from(c[i * (n + 3) + j]);
                            let error = 3e-4 + 3e-6 * want.abs();
                            assert!((got - want).abs() < error, "{case} {i} {j}: {got}, not {want}");
                        }
                        let gap = |i: usize| &start[i * (n + 3) + n..][..3];
                        assert!((0..m).all(|i| &c[i * (n + 3) + n..][..3] == gap(i)), "{case}: between rows");
                        if precision == Precision::Bf16 {
                            let mut d = start.clone();
                            matmul_at(level, precision, m, n, k, &a, sa, &b, sb, &mut d, n + 3, true);
                            assert_eq!(c, d, "{case}: other bits of an unpacked matrix");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_not_finite_spoils_its_own_row_only() {
        let (m, n, k) = (9, 70, 40);
        let (mut a, b) = (values(m * k, 1), values(k * n, 2));
        a[4 * k + 7] = f32::INFINITY;
        for level in levels() {
            for precision in [Precision::Bf16, Precision::Int8] {
                let mut packed = vec![0.0; packed_len_at(level, precision, k, n)];
                pack_at(level, precision, k, n, &b, (n, 1), 0, &mut packed);
                let mut c = vec![0.0; m * n];
                let (to, b) = (c.as_mut_ptr(), B::Packed(&packed));
                // SAFETY: `m` rows of `n`.
                unsafe { packed_raw(level, precision, m, n, k, &a, (k, 1), b, to, n, false) };
                for (i, row) in c.chunks_exact(n).enumerate() {
                    let finite = row.iter().all(|x| x.is_finite());
                    let none = row.iter().all(|x| !x.is_finite());
                    assert!(if i == 4 { none } else { finite }, "{level:?} {precision:?} row {i}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "matmul: b is too short")]
    fn short_operands_are_refused() {
        matmul(2, 2, 2, &[0.0; 4], (2, 1), &[0.0; 3], (2, 1), &mut [0.0; 4], 2, false);
    }
}
