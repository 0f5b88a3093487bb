//! The product of operands that are too small for packing to pay: `b`'s rows are read where they lie.

use pulp::{Simd, WithSimd};

/// Blocks of four rows and two vectors of columns in registers, straight from `b`'s rows.
pub struct Direct<'a> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: &'a [f32],
    pub a_strides: (usize, usize),
    pub b: &'a [f32],
    pub b_row: usize,
    /// Its rows may be written, see [`super::matmul_into`].
    pub c: *mut f32,
    pub c_row_stride: usize,
    pub accumulate: bool,
}

impl WithSimd for Direct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        let lanes = S::F32_LANES;
        let mut j = 0;
        if self.m < 4 {
            while self.n - j >= 4 * lanes {
                for i in 0..self.m {
                    self.block::<S, 1, 4, false>(s, i, j);
                }
                j += 4 * lanes;
            }
        }
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
