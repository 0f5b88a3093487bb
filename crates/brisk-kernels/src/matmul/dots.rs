//! The product of a few rows by a transposed matrix: inner products of rows with rows, both contiguous.

use pulp::{Simd, WithSimd};

/// Columns of `b` taken at once.
const FEW: usize = 4;

/// `c (+)= a bᵀ`
pub struct Dots<'a> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: &'a [f32],
    pub a_row: usize,
    /// `[n, k]`
    pub b: &'a [f32],
    pub b_row: usize,
    /// Its rows may be written, see [`super::matmul_into`].
    pub c: *mut f32,
    pub c_row_stride: usize,
    pub accumulate: bool,
}

impl WithSimd for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        for i in 0..self.m {
            let a = &self.a[i * self.a_row..][..self.k];
            let mut j = 0;
            while j < self.n {
                let count = if self.n - j >= FEW { FEW } else { 1 };
                let sums = match count {
                    FEW => self.dots::<S, FEW>(s, a, j),
                    _ => [self.dots::<S, 1>(s, a, j)[0]; FEW],
                };
                for (d, sum) in sums.into_iter().enumerate().take(count) {
                    // SAFETY: row `i < m` and column `j + d < n` of c.
                    let c = unsafe { &mut *self.c.add(i * self.c_row_stride + j + d) };
                    *c = if self.accumulate { *c + sum } else { sum };
                }
                j += count;
            }
        }
    }
}

impl Dots<'_> {
    /// The products of a row with `D` rows of `b` from row `j` on.
    #[inline(always)]
    fn dots<S: Simd, const D: usize>(&self, s: S, a: &[f32], j: usize) -> [f32; D] {
        let (head, tail) = S::as_simd_f32s(a);
        let mut sums = [s.splat_f32s(0.0); D];
        let mut rows = [&self.b[..0]; D];
        for d in 0..D {
            rows[d] = &self.b[(j + d) * self.b_row..][..self.k];
        }
        for (p, &x) in head.iter().enumerate() {
            for d in 0..D {
                // SAFETY: `rows[d]` is as long as `a`, which has so many vectors.
                let y = unsafe { rows[d].as_ptr().cast::<S::f32s>().add(p).read_unaligned() };
                sums[d] = s.mul_add_e_f32s(x, y, sums[d]);
            }
        }
        let rest = s.partial_load_f32s(tail);
        let mut out = [0.0; D];
        for d in 0..D {
            let y = s.partial_load_f32s(&rows[d][self.k - tail.len()..]);
            out[d] = s.reduce_sum_f32s(s.mul_add_e_f32s(rest, y, sums[d]));
        }
        out
    }
}
