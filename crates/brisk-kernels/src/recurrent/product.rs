//! A few rows times a packed matrix.
#![allow(unsafe_code)]

use pulp::Simd;

/// Rows that one pass over the matrix serves at most.
pub(super) const ROWS: usize = 4;
/// The widest panel, in f32: four vectors of AVX-512.
const WIDEST: usize = 64;

/// How many f32 the packed form of a `[k, n]` matrix takes at most.
pub(super) fn packed_len(k: usize, n: usize) -> usize {
    k * n.next_multiple_of(WIDEST)
}

/// Vectors in a panel: as many as leave registers for [`ROWS`] rows.
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
        (row, column): (usize, usize),
    ) -> Packed<'a> {
        let width = S::F32_LANES * vectors(S::F32_LANES);
        let into = &mut into[..k * n.next_multiple_of(width)];
        for (panel, into) in into.chunks_exact_mut(k * width).enumerate() {
            let first = panel * width;
            let count = width.min(n - first);
            for p in 0..k {
                let to = &mut into[p * width..][..width];
                to[count..].fill(0.0);
                match column {
                    1 => to[..count].copy_from_slice(&from[p * row + first..][..count]),
                    _ => (0..count).for_each(|j| to[j] = from[p * row + (first + j) * column]),
                }
            }
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
        match rows.len() {
            0 => {}
            1 => self.rows::<S, 1>(s, a, from, c, to),
            2 => self.rows::<S, 2>(s, a, from, c, to),
            3 => self.rows::<S, 3>(s, a, from, c, to),
            _ => self.rows::<S, 4>(s, a, from, c, to),
        }
    }

    #[inline(always)]
    fn rows<S: Simd, const R: usize>(
        &self,
        s: S,
        a: &[f32],
        from: [usize; ROWS],
        c: &mut [f32],
        to: [usize; ROWS],
    ) {
        match vectors(S::F32_LANES) {
            4 => self.panels::<S, R, 4>(s, a, from, c, to),
            _ => self.panels::<S, R, 2>(s, a, from, c, to),
        }
    }

    #[inline(always)]
    fn panels<S: Simd, const R: usize, const V: usize>(
        &self,
        s: S,
        a: &[f32],
        from: [usize; ROWS],
        c: &mut [f32],
        to: [usize; ROWS],
    ) {
        let lanes = S::F32_LANES;
        for (number, panel) in self.panels.chunks_exact(self.k * V * lanes).enumerate() {
            let first = number * V * lanes;
            // The columns of vector `v`, fewer than its lanes (or none) at the end of a row.
            let columns = |v: usize| {
                let start = (first + v * lanes).min(self.n);
                start..(start + lanes).min(self.n)
            };
            let mut sums = [[s.splat_f32s(0.0); V]; R];
            let full = first + V * lanes <= self.n;
            for r in 0..R {
                let row = &c[to[r]..to[r] + self.n];
                if full {
                    let whole = S::as_simd_f32s(&row[first..first + V * lanes]).0;
                    sums[r].copy_from_slice(&whole[..V]);
                } else {
                    for v in 0..V {
                        sums[r][v] = s.partial_load_f32s(&row[columns(v)]);
                    }
                }
            }
            for p in 0..self.k {
                let mut b = [s.splat_f32s(0.0); V];
                for v in 0..V {
                    // SAFETY: a panel has `k` rows of `V` vectors.
                    b[v] =
                        unsafe { panel.as_ptr().add((p * V + v) * lanes).cast::<S::f32s>().read_unaligned() };
                }
                for r in 0..R {
                    // SAFETY: `add_product` has checked that `k` elements stand there.
                    let x = s.splat_f32s(unsafe { *a.get_unchecked(from[r] + p) });
                    for v in 0..V {
                        sums[r][v] = s.mul_add_e_f32s(x, b[v], sums[r][v]);
                    }
                }
            }
            for r in 0..R {
                let row = &mut c[to[r]..to[r] + self.n];
                if full {
                    let whole = S::as_mut_simd_f32s(&mut row[first..first + V * lanes]).0;
                    whole[..V].copy_from_slice(&sums[r]);
                } else {
                    for v in 0..V {
                        s.partial_store_f32s(&mut row[columns(v)], sums[r][v]);
                    }
                }
            }
        }
    }
}
