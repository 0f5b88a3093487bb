//! Sums, extremes and products over a group of adjacent axes.
//!
//! A contiguous array is seen as `[outer, reduce, inner]`; the result is `[outer, inner]`. Sums are blocked: along
//! the last axis blocks of 1024 are added up in `f64`, down columns blocks of 64 rows in `f32`.

use crate::simd::{self, Level};
use pulp::{Simd, WithSimd, bytemuck};
use std::marker::PhantomData;

/// What [`reduce`] does with the values it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduce {
    /// Their sum; 0 for none.
    Sum,
    /// The largest; minus infinity for none. One NaN makes the result NaN.
    Max,
    /// The smallest; infinity for none. One NaN makes the result NaN.
    Min,
    /// Their product; 1 for none.
    Prod,
}

/// `out[o, i] = op over r of x[o, r, i]`, with the former `out` as one more value if `accumulate`.
///
/// ```
/// use brisk_kernels::reduce::{Reduce, reduce};
/// let mut rows = [0.0; 2];
/// reduce(Reduce::Sum, [2, 3, 1], &[1., 2., 3., 4., 5., 6.], &mut rows, false);
/// assert_eq!(rows, [6.0, 15.0]);
/// let mut columns = [10.0, 0.0, 0.0];
/// reduce(Reduce::Max, [1, 2, 3], &[1., 2., 3., 4., 5., 6.], &mut columns, true);
/// assert_eq!(columns, [10.0, 5.0, 6.0]);
/// ```
pub fn reduce(op: Reduce, dims: [usize; 3], x: &[f32], out: &mut [f32], accumulate: bool) {
    reduce_at(simd::level(), op, dims, x, out, accumulate);
}

fn reduce_at(level: Level, op: Reduce, dims: [usize; 3], x: &[f32], out: &mut [f32], accumulate: bool) {
    let [outer, n, inner] = dims;
    assert_eq!(x.len(), outer * n * inner, "reduce: input length");
    assert_eq!(out.len(), outer * inner, "reduce: output length");
    macro_rules! run {
        ($op:ident) => {{
            if !accumulate {
                out.fill($op::EMPTY);
            }
            if !x.is_empty() {
                simd::dispatch_at(level, Axis::<$op> { n, inner, x, out, op: PhantomData });
            }
        }};
    }
    match op {
        Reduce::Sum => run!(Sum),
        Reduce::Max => run!(Max),
        Reduce::Min => run!(Min),
        Reduce::Prod => run!(Prod),
    }
}

/// An associative operation with a neutral element.
trait Fold: Copy {
    const EMPTY: f32;
    fn join<S: Simd>(s: S, a: S::f32s, b: S::f32s) -> S::f32s;
    /// Exactly as [`Fold::join`] does one lane.
    fn join1(a: f32, b: f32) -> f32;
    /// The same on results of whole blocks.
    fn join_blocks(a: f64, b: f64) -> f64;
}

macro_rules! folds {
    ($($name:ident $empty:expr, |$s:ident, $a:ident, $b:ident| $join:expr, $join1:expr;)*) => {
        $(#[derive(Clone, Copy)]
        struct $name;
        impl Fold for $name {
            const EMPTY: f32 = $empty;
            #[inline(always)]
            fn join<S: Simd>($s: S, $a: S::f32s, $b: S::f32s) -> S::f32s {
                $join
            }
            #[inline(always)]
            fn join1($a: f32, $b: f32) -> f32 {
                $join1
            }
            #[inline(always)]
            fn join_blocks($a: f64, $b: f64) -> f64 {
                $join1
            }
        })*
    };
}

folds! {
    Sum 0.0, |s, a, b| s.add_f32s(a, b), a + b;
    Prod 1.0, |s, a, b| s.mul_f32s(a, b), a * b;
    Max f32::NEG_INFINITY, |s, a, b| simd::max(s, a, b), if a.is_nan() || a > b { a } else { b };
    Min f32::INFINITY, |s, a, b| simd::min(s, a, b), if a.is_nan() || a < b { a } else { b };
}

/// One row with four vectors of partial results.
#[inline(always)]
fn fold_row<S: Simd, O: Fold>(s: S, x: &[f32]) -> f32 {
    let (head, tail) = S::as_simd_f32s(x);
    let empty = s.splat_f32s(O::EMPTY);
    let (mut a, mut b, mut c, mut d) = (empty, empty, empty, empty);
    let (fours, rest) = pulp::as_arrays::<4, _>(head);
    for [v0, v1, v2, v3] in fours {
        a = O::join(s, a, *v0);
        b = O::join(s, b, *v1);
        c = O::join(s, c, *v2);
        d = O::join(s, d, *v3);
    }
    for v in rest {
        a = O::join(s, a, *v);
    }
    let all = O::join(s, O::join(s, a, b), O::join(s, c, d));
    let lanes = bytemuck::cast_slice::<S::f32s, f32>(std::slice::from_ref(&all));
    lanes.iter().chain(tail).fold(O::EMPTY, |a, b| O::join1(a, *b))
}

/// Long rows by blocks, so that sums stay accurate.
#[inline(always)]
fn fold_blocks<S: Simd, O: Fold>(s: S, x: &[f32]) -> f32 {
    // Plain loops here and below: closures in iterators would be compiled without the vectors.
    let (first, mut rest) = x.split_at(x.len().min(1024));
    let mut all = f64::from(fold_row::<S, O>(s, first));
    while !rest.is_empty() {
        let (block, later) = rest.split_at(rest.len().min(1024));
        all = O::join_blocks(all, f64::from(fold_row::<S, O>(s, block)));
        rest = later;
    }
    all as f32
}

struct Axis<'a, O> {
    n: usize,
    inner: usize,
    x: &'a [f32],
    out: &'a mut [f32],
    op: PhantomData<O>,
}

impl<O: Fold> WithSimd for Axis<'_, O> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self { n, inner, x, out, op: _ } = self;
        if inner == 1 {
            for (row, out) in x.chunks_exact(n).zip(out) {
                *out = O::join1(*out, fold_blocks::<S, O>(s, row));
            }
            return;
        }
        // A tile of columns, down a block of rows at a time.
        const TILE: usize = 256;
        const ROWS: usize = 64;
        let mut tile = [0.0f32; TILE];
        for (x, out) in x.chunks_exact(n * inner).zip(out.chunks_exact_mut(inner)) {
            for (t, out) in out.chunks_mut(TILE).enumerate() {
                let acc = &mut tile[..out.len()];
                for block in x.chunks(ROWS * inner) {
                    acc.fill(O::EMPTY);
                    for row in block.chunks_exact(inner) {
                        join_into::<S, O>(s, acc, &row[t * TILE..][..out.len()]);
                    }
                    join_into::<S, O>(s, out, acc);
                }
            }
        }
    }
}

#[inline(always)]
fn join_into<S: Simd, O: Fold>(s: S, acc: &mut [f32], x: &[f32]) {
    let (acc, acc_tail) = S::as_mut_simd_f32s(acc);
    let (x, x_tail) = S::as_simd_f32s(x);
    for (a, x) in acc.iter_mut().zip(x) {
        *a = O::join(s, *a, *x);
    }
    for (a, x) in acc_tail.iter_mut().zip(x_tail) {
        *a = O::join1(*a, *x);
    }
}

/// `out[o, i]` = the first `r` at which `x[o, r, i]` is largest; a NaN counts as larger than any number.
///
/// ```
/// let mut best = [0; 2];
/// brisk_kernels::reduce::argmax([2, 3, 1], &[0., 5., 5., 9., 1., 2.], &mut best);
/// assert_eq!(best, [1, 0]);
/// ```
pub fn argmax(dims: [usize; 3], x: &[f32], out: &mut [i32]) {
    let [outer, n, inner] = dims;
    assert!(n > 0 && i32::try_from(n).is_ok(), "argmax over an axis of {n}");
    assert_eq!(x.len(), outer * n * inner, "argmax: input length");
    assert_eq!(out.len(), outer * inner, "argmax: output length");
    if inner == 1 {
        for (row, out) in x.chunks_exact(n).zip(out) {
            let best = simd::dispatch(Row::<Max>(row, Max));
            let first = row.iter().position(|v| *v == best || v.is_nan());
            *out = first.unwrap_or(0) as i32;
        }
        return;
    }
    for (x, out) in x.chunks_exact((n * inner).max(1)).zip(out.chunks_exact_mut(inner.max(1))) {
        out.fill(0);
        for r in 1..n {
            for (i, out) in out.iter_mut().enumerate() {
                let (v, best) = (x[r * inner + i], x[*out as usize * inner + i]);
                if v > best || (v.is_nan() && !best.is_nan()) {
                    *out = r as i32;
                }
            }
        }
    }
}

struct Row<'a, O>(&'a [f32], O);

impl<O: Fold> WithSimd for Row<'_, O> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) -> f32 {
        fold_blocks::<S, O>(s, self.0)
    }
}

/// The sum of `x`, by blocks.
///
/// ```
/// assert_eq!(brisk_kernels::reduce::sum(&[1.0, 2.0, 3.5]), 6.5);
/// ```
pub fn sum(x: &[f32]) -> f32 {
    simd::dispatch(Row(x, Sum))
}

/// The sum of the squares of `x`.
///
/// ```
/// assert_eq!(brisk_kernels::reduce::sum_squares(&[3.0, 4.0]), 25.0);
/// ```
pub fn sum_squares(x: &[f32]) -> f32 {
    dot(x, x)
}

/// The inner product of two vectors of one length, by blocks.
///
/// ```
/// assert_eq!(brisk_kernels::reduce::dot(&[1.0, 2.0], &[3.0, 4.0]), 11.0);
/// ```
pub fn dot(x: &[f32], y: &[f32]) -> f32 {
    assert_eq!(x.len(), y.len(), "dot: lengths");
    simd::dispatch(Dot(x, y))
}

struct Dot<'a>(&'a [f32], &'a [f32]);

impl WithSimd for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) -> f32 {
        let mut all = 0.0;
        for (x, y) in self.0.chunks(512).zip(self.1.chunks(512)) {
            all += f64::from(dot_row(s, x, y));
        }
        all as f32
    }
}

/// The inner product with four vectors of partial sums.
#[inline(always)]
pub(crate) fn dot_row<S: Simd>(s: S, x: &[f32], y: &[f32]) -> f32 {
    let (x, x_tail) = S::as_simd_f32s(x);
    let (y, y_tail) = S::as_simd_f32s(y);
    let zero = s.splat_f32s(0.0);
    let (mut a, mut b, mut c, mut d) = (zero, zero, zero, zero);
    let ((x4, x), (y4, y)) = (pulp::as_arrays::<4, _>(x), pulp::as_arrays::<4, _>(y));
    for ([x0, x1, x2, x3], [y0, y1, y2, y3]) in x4.iter().zip(y4) {
        a = s.mul_add_e_f32s(*x0, *y0, a);
        b = s.mul_add_e_f32s(*x1, *y1, b);
        c = s.mul_add_e_f32s(*x2, *y2, c);
        d = s.mul_add_e_f32s(*x3, *y3, d);
    }
    for (x, y) in x.iter().zip(y) {
        a = s.mul_add_e_f32s(*x, *y, a);
    }
    if !x_tail.is_empty() {
        b = s.mul_add_e_f32s(s.partial_load_f32s(x_tail), s.partial_load_f32s(y_tail), b);
    }
    s.reduce_sum_f32s(s.add_f32s(s.add_f32s(a, b), s.add_f32s(c, d)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::levels;
    use proptest::prelude::*;

    fn values(n: usize) -> Vec<f32> {
        (0..n).map(|i| (i * 7919 % 2003) as f32 / 1000.0 - 0.9).collect()
    }

    proptest! {
        #[test]
        fn agrees_with_plain_loops(outer in 1usize..4, n in 1usize..400, inner in prop_oneof![Just(1usize), 1usize..9, 250usize..300]) {
            let x = values(outer * n * inner);
            for level in levels() {
                for accumulate in [false, true] {
                    for (op, empty, f) in [
                        (Reduce::Sum, 0.0, (|a, b| a + b) as fn(f64, f64) -> f64),
                        (Reduce::Max, f64::NEG_INFINITY, f64::max),
                        (Reduce::Min, f64::INFINITY, f64::min),
                    ] {
                        let mut out = vec![0.25; outer * inner];
                        reduce_at(level, op, [outer, n, inner], &x, &mut out, accumulate);
                        for o in 0..outer {
                            for i in 0..inner {
                                let start = if accumulate { 0.25 } else { empty };
                                let at = |r: usize| f64::from(x[(o * n + r) * inner + i]);
                                let want = (0..n).fold(start, |a, r| f(a, at(r)));
                                let got = f64::from(out[o * inner + i]);
                                // Rounding grows with the terms, however they cancel; extremes are exact.
                                let size = if op == Reduce::Sum { 1.0 + (0..n).map(|r| at(r).abs()).sum::<f64>() } else { 0.0 };
                                prop_assert!((got - want).abs() <= 1e-6 * size, "{level:?} {op:?} {got} {want}");
                            }
                        }
                    }
                }
            }
            let mut best = vec![0; outer * inner];
            argmax([outer, n, inner], &x, &mut best);
            for o in 0..outer {
                for i in 0..inner {
                    let at = |r: usize| x[(o * n + r) * inner + i];
                    let want = (0..n).fold(0, |b, r| if at(r) > at(b) { r } else { b });
                    prop_assert_eq!(best[o * inner + i] as usize, want);
                }
            }
        }
    }

    #[test]
    fn nan_wins_and_products_multiply() {
        for level in levels() {
            for at in 0..20 {
                let mut x = values(20);
                x[at] = f32::NAN;
                for op in [Reduce::Max, Reduce::Min, Reduce::Sum, Reduce::Prod] {
                    for dims in [[1, 20, 1], [1, 2, 10]] {
                        let mut out = vec![0.0; dims[2]];
                        reduce_at(level, op, dims, &x, &mut out, false);
                        assert!(out[at % dims[2]].is_nan(), "{level:?} {op:?} {dims:?} {at}");
                    }
                }
                let mut best = [0];
                argmax([1, 20, 1], &x, &mut best);
                assert_eq!(best, [at as i32]);
            }
            let mut out = [0.0];
            reduce_at(level, Reduce::Prod, [1, 19, 1], &[1.5; 19], &mut out, false);
            assert!((out[0] / 1.5f32.powi(19) - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn long_sums_are_accurate() {
        let x = vec![0.1f32; 10_000_000];
        assert!((f64::from(sum(&x)) / (f64::from(0.1f32) * 1e7) - 1.0).abs() < 1e-5);
        assert!((f64::from(dot(&x, &x)) / (f64::from(0.1f32).powi(2) * 1e7) - 1.0).abs() < 1e-5);
        reduce(Reduce::Sum, [0, 3, 2], &[], &mut [], false);
        let mut none = [7.0; 2];
        reduce(Reduce::Sum, [2, 0, 1], &[], &mut none, false);
        assert_eq!(none, [0.0; 2]);
    }
}
