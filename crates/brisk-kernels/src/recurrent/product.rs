//! A few rows times a packed matrix.
#![allow(unsafe_code)]

use pulp::Simd;

use crate::matmul::pack_panel;
use crate::simd;

/// Rows that one pass over the matrix serves at most: half of that many times all vectors of a panel fill the registers, all of them
/// times half of its vectors.
pub(super) const ROWS: usize = 8;
/// Rows of a panel that are fetched ahead.
const AHEAD: usize = 6;
/// The widest panel, in f32: four vectors of AVX-512.
const WIDEST: usize = 64;

/// How many f32 the packed form of a `[k, n]` matrix takes at most.
pub(super) fn packed_len(k: usize, n: usize) -> usize {
    k * n.next_multiple_of(WIDEST)
}

/// Vectors in a panel: as many as leave registers for half of [`ROWS`] rows.
const fn vectors(lanes: usize) -> usize {
    if lanes >= 16 { 4 } else { 2 }
}

/// A `[k, n]` matrix as panels of columns, each panel's rows one after another; the last one is filled up with zeros.
pub(super) struct Packed<'a> {
    panels: &'a [f32],
    k: usize,
    n: usize,
}

impl<'a> Packed<'a> {
    /// Packs a matrix given with its strides.
    #[inline(always)]
    pub fn new<S: Simd>(
        into: &'a mut [f32],
        k: usize,
        n: usize,
        from: &[f32],
        strides: (usize, usize),
    ) -> Packed<'a> {
        let width = S::F32_LANES * vectors(S::F32_LANES);
        let into = &mut into[..k * n.next_multiple_of(width)];
        for (panel, into) in into.chunks_exact_mut(k * width).enumerate() {
            let first = panel * width;
            pack_panel::<S>(k, width.min(n - first), width, &from[first * strides.1..], strides, into);
        }
        Packed { panels: into, k, n }
    }

    /// `c[row] += a[row] b` for a few rows, whose places in `a` and `c` the functions say. Each element is added up in the
    /// order of `k`, whatever the rows beside it.
    #[inline(always)]
    pub fn add_product<S: Simd>(
        &self,
        s: S,
        rows: &[usize],
        a: &[f32],
        a_at: impl Fn(usize) -> usize,
        c: &mut [f32],
        c_at: impl Fn(usize) -> usize,
    ) {
        let (mut from, mut to) = ([0; ROWS], [0; ROWS]);
        for (i, &row) in rows.iter().enumerate() {
            (from[i], to[i]) = (a_at(row), c_at(row));
            assert!(from[i] + self.k <= a.len() && to[i] + self.n <= c.len(), "recurrent: a row outside");
        }
        match vectors(S::F32_LANES) {
            4 => self.rows::<S, 4, 2>(s, rows.len(), a, from, c, to),
            _ => self.rows::<S, 2, 1>(s, rows.len(), a, from, c, to),
        }
    }

    /// `V` vectors in a panel, `H` in half of one.
    #[inline(always)]
    fn rows<S: Simd, const V: usize, const H: usize>(
        &self,
        s: S,
        rows: usize,
        a: &[f32],
        from: [usize; ROWS],
        c: &mut [f32],
        to: [usize; ROWS],
    ) {
        for (number, panel) in self.panels.chunks_exact(self.k * V * S::F32_LANES).enumerate() {
            let first = number * V * S::F32_LANES;
            match rows {
                0 => {}
                1 => self.block::<S, 1, V, V>(s, panel, first, 0, a, from, c, to),
                2 => self.block::<S, 2, V, V>(s, panel, first, 0, a, from, c, to),
                3 => self.block::<S, 3, V, V>(s, panel, first, 0, a, from, c, to),
                4 => self.block::<S, 4, V, V>(s, panel, first, 0, a, from, c, to),
                _ => {
                    for half in [0, H] {
                        match rows {
                            5 => self.block::<S, 5, V, H>(s, panel, first, half, a, from, c, to),
                            6 => self.block::<S, 6, V, H>(s, panel, first, half, a, from, c, to),
                            7 => self.block::<S, 7, V, H>(s, panel, first, half, a, from, c, to),
                            _ => self.block::<S, 8, V, H>(s, panel, first, half, a, from, c, to),
                        }
                    }
                }
            }
        }
    }

    /// `R` rows by `H` of a panel's `V` vectors, from vector `skip` on; the panel begins at column `first`.
    #[inline(always)]
    fn block<S: Simd, const R: usize, const V: usize, const H: usize>(
        &self,
        s: S,
        panel: &[f32],
        first: usize,
        skip: usize,
        a: &[f32],
        from: [usize; ROWS],
        c: &mut [f32],
        to: [usize; ROWS],
    ) {
        let lanes = S::F32_LANES;
        let first = first + skip * lanes;
        // The columns of vector `v`, fewer than its lanes (or none) at the end of a row.
        let columns = |v: usize| {
            let start = (first + v * lanes).min(self.n);
            start..(start + lanes).min(self.n)
        };
        let mut sums = [[s.splat_f32s(0.0); H]; R];
        let full = first + H * lanes <= self.n;
        for r in 0..R {
            let row = &c[to[r]..to[r] + self.n];
            if full {
                let whole = S::as_simd_f32s(&row[first..first + H * lanes]).0;
                sums[r].copy_from_slice(&whole[..H]);
            } else {
                for v in 0..H {
                    sums[r][v] = s.partial_load_f32s(&row[columns(v)]);
                }
            }
        }
        let mut place = panel[skip * lanes..].as_ptr();
        for p in 0..self.k {
            let mut b = [s.splat_f32s(0.0); H];
            for v in 0..H {
                simd::prefetch(place.wrapping_add((AHEAD * V + v) * lanes));
                // SAFETY: a panel has `k` rows of `V` vectors.
                b[v] = unsafe { place.add(v * lanes).cast::<S::f32s>().read_unaligned() };
            }
            for r in 0..R {
                // SAFETY: `add_product` has checked that `k` elements stand there.
                let x = s.splat_f32s(unsafe { *a.get_unchecked(from[r] + p) });
                for v in 0..H {
                    sums[r][v] = s.mul_add_e_f32s(x, b[v], sums[r][v]);
                }
            }
            place = place.wrapping_add(V * lanes);
        }
        for r in 0..R {
            let row = &mut c[to[r]..to[r] + self.n];
            if full {
                let whole = S::as_mut_simd_f32s(&mut row[first..first + H * lanes]).0;
                whole[..H].copy_from_slice(&sums[r]);
            } else {
                for v in 0..H {
                    s.partial_store_f32s(&mut row[columns(v)], sums[r][v]);
                }
            }
        }
    }
}
