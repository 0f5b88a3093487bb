//! Matrix products on one thread, through the `gemm` family of crates; where its packing costs more than it gains
//! (up to four vectors of columns, `k` up to 16, two to four rows), a kernel that reads its operands where they lie.
//!
//! One call gives the same bits each time on one machine. But the kernel, and with it the order of additions, depends
//! on `m`, `n`, `k` and the strides: whoever cuts a product into several must cut it the same way whatever the number
//! of threads. `gemm` chooses its own instructions (AVX-512, FMA, NEON or none), whatever [`simd::level`] says, and
//! blocks by the machine's cache sizes, so that another machine may round differently.
#![allow(unsafe_code)]

use crate::simd::{self, Level};
use pulp::{Simd, WithSimd};

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
    matmul_at(level, m, n, k, a, a_strides, b, b_strides, c, c_row_stride, accumulate);
}

/// [`matmul`] into memory that others may write at once, between the rows.
///
/// # Safety
///
/// The `n` floats of each of the `m` rows from `c` on, `c_row_stride` apart, may be written, and nobody else reads or
/// writes them meanwhile; with `accumulate` they have values.
pub unsafe fn matmul_into(
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
        matmul_raw(simd::level(), m, n, k, a, a_strides, b, b_strides, c, c_row_stride, accumulate);
    }
}

fn matmul_at(
    level: Level,
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
        matmul_raw(level, m, n, k, a, a_strides, b, b_strides, c.as_mut_ptr(), c_row_stride, accumulate);
    }
}

/// # Safety
///
/// See [`matmul_into`].
unsafe fn matmul_raw(
    level: Level,
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
    let last = |rows: usize, cols: usize, (r, s): (usize, usize)| (rows - 1) * r + (cols - 1) * s;
    if k == 0 {
        if !accumulate {
            // SAFETY: the rows of c may be written.
            (0..m).for_each(|i| unsafe { std::ptr::write_bytes(c.add(i * c_row_stride), 0, n) });
        }
        return;
    }
    assert!(last(m, k, a_strides) < a.len(), "matmul: a is too short");
    assert!(last(k, n, b_strides) < b.len(), "matmul: b is too short");
    let narrow = n <= 4 * level.lanes().max(8);
    if b_strides.1 == 1 && (narrow || k <= 16 || (2..=4).contains(&m)) {
        let b_row = b_strides.0;
        simd::dispatch_at(level, Direct { m, n, k, a, a_strides, b, b_row, c, c_row_stride, accumulate });
    } else {
        // SAFETY: the farthest element of each operand lies in its slice, as checked above; c's rows may be written.
        unsafe {
            gemm_f32::gemm::f32::get_gemm_fn()(
                m,
                n,
                k,
                c,
                1,
                c_row_stride as isize,
                accumulate,
                a.as_ptr(),
                a_strides.1 as isize,
                a_strides.0 as isize,
                b.as_ptr(),
                b_strides.1 as isize,
                b_strides.0 as isize,
                1.0,
                1.0,
                false,
                false,
                false,
                gemm_common::Parallelism::None,
            );
        }
    }
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

/// Blocks of four rows and two vectors of columns in registers, straight from `b`'s rows.
struct Direct<'a> {
    m: usize,
    n: usize,
    k: usize,
    a: &'a [f32],
    a_strides: (usize, usize),
    b: &'a [f32],
    b_row: usize,
    /// Its rows may be written, see [`matmul_into`].
    c: *mut f32,
    c_row_stride: usize,
    accumulate: bool,
}

impl WithSimd for Direct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        let lanes = S::F32_LANES;
        let mut j = 0;
        while j < self.n {
            let width = self.n - j;
            let mut i = 0;
            while i < self.m {
                let tall = self.m - i >= 4;
                match (tall, width) {
                    (true, w) if w >= 2 * lanes => self.block::<S, 4, 2, false>(s, i, j),
                    (true, w) if w > lanes => self.block::<S, 4, 2, true>(s, i, j),
                    (true, w) if w == lanes => self.block::<S, 4, 1, false>(s, i, j),
                    (true, _) => self.block::<S, 4, 1, true>(s, i, j),
                    (false, w) if w >= 2 * lanes => self.block::<S, 1, 2, false>(s, i, j),
                    (false, w) if w > lanes => self.block::<S, 1, 2, true>(s, i, j),
                    (false, w) if w == lanes => self.block::<S, 1, 1, false>(s, i, j),
                    (false, _) => self.block::<S, 1, 1, true>(s, i, j),
                }
                i += if tall { 4 } else { 1 };
            }
            j += 2 * lanes;
        }
    }
}

impl Direct<'_> {
    /// `R` rows by `V` vectors at `(i, j)`; with `TAIL` the last vector is partial.
    #[inline(always)]
    fn block<S: Simd, const R: usize, const V: usize, const TAIL: bool>(&mut self, s: S, i: usize, j: usize) {
        let lanes = S::F32_LANES;
        let (ar, ac) = self.a_strides;
        let tail = self.n.min(j + V * lanes) - (j + (V - 1) * lanes);
        let mut acc = [[s.splat_f32s(0.0); V]; R];
        for p in 0..self.k {
            let mut b = [s.splat_f32s(0.0); V];
            for v in 0..V {
                let at = p * self.b_row + j + v * lanes;
                // A partial vector is read whole where `b` goes on: what lies past the row is not stored.
                let whole = !(TAIL && v == V - 1) || at + lanes <= self.b.len();
                // SAFETY: row p < k, columns below n, as `matmul_at` has checked; `whole` reads end inside `b`.
                b[v] = unsafe {
                    if whole {
                        self.b.as_ptr().add(at).cast::<S::f32s>().read()
                    } else {
                        s.partial_load_f32s(self.b.get_unchecked(at..at + tail))
                    }
                };
            }
            for r in 0..R {
                // SAFETY: row i + r < m, column p < k.
                let a = s.splat_f32s(unsafe { *self.a.get_unchecked((i + r) * ar + p * ac) });
                for v in 0..V {
                    acc[r][v] = s.mul_add_e_f32s(a, b[v], acc[r][v]);
                }
            }
        }
        for r in 0..R {
            for v in 0..V {
                let at = (i + r) * self.c_row_stride + j + v * lanes;
                let len = if TAIL && v == V - 1 { tail } else { lanes };
                // SAFETY: row i + r < m, columns below n: these places of c may be written.
                let c = unsafe { std::slice::from_raw_parts_mut(self.c.add(at), len) };
                let sum =
                    if self.accumulate { s.add_f32s(acc[r][v], s.partial_load_f32s(c)) } else { acc[r][v] };
                s.partial_store_f32s(c, sum);
            }
        }
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
                matmul_at(level, m, n, k, &a, sa, &b, sb, &mut c, n + gap, accumulate);
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

    #[test]
    #[should_panic(expected = "matmul: b is too short")]
    fn short_operands_are_refused() {
        matmul(2, 2, 2, &[0.0; 4], (2, 1), &[0.0; 3], (2, 1), &mut [0.0; 4], 2, false);
    }
}
