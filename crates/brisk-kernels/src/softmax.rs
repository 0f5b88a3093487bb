//! Softmax, log-softmax and the cross-entropies, row by row.
//!
//! Each row's largest value is subtracted first, so that nothing overflows; errors are a few ulp relative to the row's
//! largest result. A row with a NaN, or of minus infinities alone, gives NaN.

use crate::movement::IndexError;
use crate::reduce::dot_row;
use crate::simd::{self, map, update};
use pulp::{Simd, WithSimd};

/// `out[r, j] = exp(x[r, j]) / sum over i of exp(x[r, i])`, rows of `cols`.
///
/// ```
/// let mut y = [0.0; 2];
/// brisk_kernels::softmax::softmax(2, &[3.0, 3.0], &mut y);
/// assert_eq!(y, [0.5, 0.5]);
/// ```
pub fn softmax(cols: usize, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "softmax: lengths");
    out.copy_from_slice(x);
    softmax_in_place(cols, out);
}

/// [`softmax`] with the result in the place of its input.
///
/// ```
/// let mut y = [0.0; 4];
/// brisk_kernels::softmax::softmax_in_place(4, &mut y);
/// assert_eq!(y, [0.25; 4]);
/// ```
pub fn softmax_in_place(cols: usize, x: &mut [f32]) {
    assert!(cols > 0 && x.len().is_multiple_of(cols), "softmax: whole rows");
    simd::dispatch(Masked::whole(cols, x));
}

/// The largest of a row, NaNs apart: they reach the result through the sum of the exponentials.
#[inline(always)]
fn row_max<S: Simd>(s: S, row: &[f32]) -> f32 {
    let (head, tail) = S::as_simd_f32s(row);
    let low = s.splat_f32s(f32::NEG_INFINITY);
    let (mut a, mut b) = (low, low);
    let (twos, rest) = pulp::as_arrays::<2, _>(head);
    for [v, w] in twos {
        a = s.select_f32s(s.greater_than_f32s(*v, a), *v, a);
        b = s.select_f32s(s.greater_than_f32s(*w, b), *w, b);
    }
    for v in rest {
        a = s.select_f32s(s.greater_than_f32s(*v, a), *v, a);
    }
    let max = s.reduce_max_f32s(s.select_f32s(s.greater_than_f32s(a, b), a, b));
    tail.iter().fold(max, |a, b| if *b > a { *b } else { a })
}

/// `x = exp(x - max)`; their sum.
#[inline(always)]
fn exp_sum_in_place<S: Simd>(s: S, row: &mut [f32], max: f32) -> f32 {
    let (head, tail) = S::as_mut_simd_f32s(row);
    let max = s.splat_f32s(max);
    let zero = s.splat_f32s(0.0);
    let (mut a, mut b) = (zero, zero);
    let (twos, rest) = pulp::as_arrays_mut::<2, _>(head);
    for [v, w] in twos {
        *v = simd::exp_negative(s, s.sub_f32s(*v, max));
        *w = simd::exp_negative(s, s.sub_f32s(*w, max));
        a = s.add_f32s(a, *v);
        b = s.add_f32s(b, *w);
    }
    for v in rest {
        *v = simd::exp_negative(s, s.sub_f32s(*v, max));
        a = s.add_f32s(a, *v);
    }
    let mut sum = s.reduce_sum_f32s(s.add_f32s(a, b));
    if !tail.is_empty() {
        let y = simd::exp_negative(s, s.sub_f32s(s.partial_load_f32s(tail), max));
        s.partial_store_f32s(tail, y);
        sum += tail.iter().sum::<f32>();
    }
    sum
}

/// The sum of `exp(x - max)`.
#[inline(always)]
fn exp_sum<S: Simd>(s: S, row: &[f32], max: f32) -> f32 {
    let (head, tail) = S::as_simd_f32s(row);
    let max = s.splat_f32s(max);
    let zero = s.splat_f32s(0.0);
    let (mut a, mut b) = (zero, zero);
    let (twos, rest) = pulp::as_arrays::<2, _>(head);
    for [v, w] in twos {
        a = s.add_f32s(a, simd::exp_negative(s, s.sub_f32s(*v, max)));
        b = s.add_f32s(b, simd::exp_negative(s, s.sub_f32s(*w, max)));
    }
    for v in rest {
        a = s.add_f32s(a, simd::exp_negative(s, s.sub_f32s(*v, max)));
    }
    if !tail.is_empty() {
        // Lanes past the end are minus infinity, whose exponential is 0.
        let mut lanes = [s.splat_f32s(f32::NEG_INFINITY)];
        let flat = pulp::bytemuck::cast_slice_mut::<S::f32s, f32>(&mut lanes);
        flat[..tail.len()].copy_from_slice(tail);
        b = s.add_f32s(b, simd::exp_negative(s, s.sub_f32s(lanes[0], max)));
    }
    s.reduce_sum_f32s(s.add_f32s(a, b))
}

/// `x = x factor`
#[inline(always)]
fn scale<S: Simd>(s: S, row: &mut [f32], factor: f32) {
    let (head, tail) = S::as_mut_simd_f32s(row);
    let f = s.splat_f32s(factor);
    for v in head {
        *v = s.mul_f32s(*v, f);
    }
    for v in tail {
        *v *= factor;
    }
}

/// `ln(sum of exp(x))`
#[inline(always)]
fn log_sum_exp<S: Simd>(s: S, row: &[f32]) -> f32 {
    let max = row_max(s, row);
    max + exp_sum(s, row, max).ln()
}

/// `out[r, j] = x[r, j] - ln(sum over i of exp(x[r, i]))`, rows of `cols`.
///
/// ```
/// let mut y = [0.0; 2];
/// brisk_kernels::softmax::log_softmax(2, &[1.0, 1.0], &mut y);
/// assert!((y[0] + 2f32.ln()).abs() < 1e-6);
/// ```
pub fn log_softmax(cols: usize, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "log_softmax: lengths");
    assert!(cols > 0 && x.len().is_multiple_of(cols), "log_softmax: whole rows");
    simd::dispatch(LogSoftmax { cols, x, out });
}

struct LogSoftmax<'a> {
    cols: usize,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for LogSoftmax<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        for (x, out) in self.x.chunks_exact(self.cols).zip(self.out.chunks_exact_mut(self.cols)) {
            let lse = s.splat_f32s(log_sum_exp(s, x));
            map(
                s,
                [x],
                out,
                #[inline(always)]
                |[v]| s.sub_f32s(v, lse),
            );
        }
    }
}

/// [`softmax`] of `scale x` in place, over the places that may be seen: where `mask` (one byte a column, empty for all) is not 0
/// and, with `causal`, up to column `causal + r` of row `r`. The others become 0; so does a row that sees nothing.
///
/// ```
/// let mut y = [1.0, 1.0, 5.0, 1.0, 1.0, 5.0];
/// brisk_kernels::softmax::softmax_masked(3, &mut y, 1.0, &[1, 1, 0], Some(0));
/// assert_eq!(y, [1.0, 0.0, 0.0, 0.5, 0.5, 0.0]);
/// ```
pub fn softmax_masked(cols: usize, x: &mut [f32], scale: f32, mask: &[u8], causal: Option<usize>) {
    assert!(cols > 0 && x.len().is_multiple_of(cols), "softmax_masked: whole rows");
    assert!(mask.is_empty() || mask.len() == cols, "softmax_masked: a byte for each column");
    simd::dispatch(Masked { cols, x, factor: scale, mask, causal });
}

/// Rows whose sums are found side by side: each sum waits for its lanes, the next one need not.
const TOGETHER: usize = 8;

struct Masked<'a> {
    cols: usize,
    x: &'a mut [f32],
    factor: f32,
    mask: &'a [u8],
    causal: Option<usize>,
}

impl<'a> Masked<'a> {
    /// Every place may be seen, as it is.
    fn whole(cols: usize, x: &'a mut [f32]) -> Masked<'a> {
        Masked { cols, x, factor: 1.0, mask: &[], causal: None }
    }
}

impl WithSimd for Masked<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let cols = self.cols;
        let (mut largest, mut sums) = ([0.0; TOGETHER], [0.0; TOGETHER]);
        for (block, rows) in self.x.chunks_mut(cols * TOGETHER).enumerate() {
            let seen = |r: usize| self.causal.map_or(cols, |from| cols.min(from + block * TOGETHER + r + 1));
            for (r, (row, max)) in rows.chunks_exact_mut(cols).zip(&mut largest).enumerate() {
                let (row, rest) = row.split_at_mut(seen(r));
                rest.fill(0.0);
                if self.factor != 1.0 {
                    scale(s, row, self.factor);
                }
                for (x, &m) in row.iter_mut().zip(self.mask) {
                    *x = if m == 0 { f32::NEG_INFINITY } else { *x };
                }
                *max = row_max(s, row);
            }
            for (r, ((row, &max), sum)) in
                rows.chunks_exact_mut(cols).zip(&largest).zip(&mut sums).enumerate()
            {
                let row = &mut row[..seen(r)];
                *sum = 1.0;
                if max == f32::NEG_INFINITY && !self.mask.is_empty() && row.iter().all(|x| *x == max) {
                    row.fill(0.0);
                } else {
                    *sum = exp_sum_in_place(s, row, max);
                }
            }
            for (r, (row, sum)) in rows.chunks_exact_mut(cols).zip(&sums).enumerate() {
                scale(s, &mut row[..seen(r)], 1.0 / sum);
            }
        }
    }
}

/// `dx = scale (left dx - y sum(left dx))`, row by row: the gradient of `softmax(scale x)` with the result `y`, in the place of the one
/// by what dropout has left of `y`; `left` is `y` where there is none.
///
/// ```
/// let (y, mut dx) = ([0.5, 0.5], [1.0, 0.0]);
/// brisk_kernels::softmax::softmax_grad_in_place(2, &y, &y, &mut dx, 2.0);
/// assert_eq!(dx, [0.5, -0.5]);
/// ```
pub fn softmax_grad_in_place(cols: usize, y: &[f32], left: &[f32], dx: &mut [f32], scale: f32) {
    assert!(
        y.len() == dx.len() && left.len() == dx.len() && cols > 0 && y.len().is_multiple_of(cols),
        "softmax_grad_in_place: whole rows"
    );
    simd::dispatch(GradInPlace { cols, y, left, dx, factor: scale });
}

struct GradInPlace<'a> {
    cols: usize,
    y: &'a [f32],
    left: &'a [f32],
    dx: &'a mut [f32],
    factor: f32,
}

impl WithSimd for GradInPlace<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let factor = s.splat_f32s(self.factor);
        let rows = self.y.chunks_exact(self.cols).zip(self.left.chunks_exact(self.cols));
        for ((y, left), dx) in rows.zip(self.dx.chunks_exact_mut(self.cols)) {
            let dot = s.splat_f32s(-dot_row(s, left, dx));
            update(
                s,
                dx,
                [y, left],
                #[inline(always)]
                |dx, [y, left]| s.mul_f32s(factor, s.mul_add_e_f32s(y, dot, s.mul_f32s(left, dx))),
            );
        }
    }
}

/// The gradient of [`softmax`]: with `y` its result, `dx = y (dy - sum(y dy))`, row by row.
///
/// ```
/// let mut dx = [0.0; 2];
/// brisk_kernels::softmax::softmax_grad(2, &[0.5, 0.5], &[1.0, 0.0], &mut dx);
/// assert_eq!(dx, [0.25, -0.25]);
/// ```
pub fn softmax_grad(cols: usize, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert!(y.len() == dy.len() && y.len() == dx.len(), "softmax_grad: lengths");
    assert!(cols > 0 && y.len().is_multiple_of(cols), "softmax_grad: whole rows");
    simd::dispatch(Grad { cols, y, dy, dx, log: false });
}

/// The gradient of [`log_softmax`]: with `y` its result, `dx = dy - exp(y) sum(dy)`, row by row.
///
/// ```
/// let (y, mut dx) = ([0.5f32.ln(); 2], [0.0; 2]);
/// brisk_kernels::softmax::log_softmax_grad(2, &y, &[1.0, 0.0], &mut dx);
/// assert!((dx[0] - 0.5).abs() < 1e-6 && (dx[1] + 0.5).abs() < 1e-6);
/// ```
pub fn log_softmax_grad(cols: usize, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert!(y.len() == dy.len() && y.len() == dx.len(), "log_softmax_grad: lengths");
    assert!(cols > 0 && y.len().is_multiple_of(cols), "log_softmax_grad: whole rows");
    simd::dispatch(Grad { cols, y, dy, dx, log: true });
}

struct Grad<'a> {
    cols: usize,
    y: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    log: bool,
}

impl WithSimd for Grad<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let cols = self.cols;
        let rows =
            self.y.chunks_exact(cols).zip(self.dy.chunks_exact(cols)).zip(self.dx.chunks_exact_mut(cols));
        for ((y, dy), dx) in rows {
            if self.log {
                let sum = s.splat_f32s(-dy.iter().sum::<f32>());
                map(
                    s,
                    [y, dy],
                    dx,
                    #[inline(always)]
                    |[y, dy]| s.mul_add_e_f32s(simd::exp(s, y), sum, dy),
                );
            } else {
                let dot = s.splat_f32s(dot_row(s, y, dy));
                map(
                    s,
                    [y, dy],
                    dx,
                    #[inline(always)]
                    |[y, dy]| s.mul_f32s(y, s.sub_f32s(dy, dot)),
                );
            }
        }
    }
}

/// Cross-entropy of rows of `cols` logits against class numbers, and its gradient in the same pass.
///
/// With `t = (1 - smoothing) onehot(label) + smoothing / cols`: `loss[r] = -sum t log_softmax(logits[r])`, and
/// `dlogits[r] = softmax(logits[r]) - t` (not divided by the batch). A label outside `0..cols` is an error, found
/// before anything is written.
///
/// ```
/// use brisk_kernels::softmax::sparse_cross_entropy;
/// let (mut loss, mut grad) = ([0.0], [0.0; 2]);
/// sparse_cross_entropy(2, &[2.0, 2.0], &[1], 0.0, &mut loss, Some(&mut grad))?;
/// assert!((loss[0] - 2f32.ln()).abs() < 1e-6);
/// assert_eq!(grad, [0.5, -0.5]);
/// let wrong = sparse_cross_entropy(2, &[2.0, 2.0], &[2], 0.0, &mut loss, None);
/// assert_eq!(wrong.unwrap_err().to_string(), "index 2 at position 0 is out of range 0..2");
/// # Ok::<(), brisk_kernels::movement::IndexError>(())
/// ```
pub fn sparse_cross_entropy(
    cols: usize,
    logits: &[f32],
    labels: &[i32],
    smoothing: f32,
    loss: &mut [f32],
    dlogits: Option<&mut [f32]>,
) -> Result<(), IndexError> {
    assert!(cols > 0 && logits.len() == labels.len() * cols, "cross_entropy: {cols} logits for each label");
    check(cols, logits, loss, dlogits.as_deref());
    if let Some(position) = labels.iter().position(|l| !usize::try_from(*l).is_ok_and(|l| l < cols)) {
        return Err(IndexError { position, index: labels[position], bound: cols });
    }
    simd::dispatch(CrossEntropy { cols, logits, targets: Targets::Labels(labels), smoothing, loss, dlogits });
    Ok(())
}

/// Cross-entropy of rows of `cols` logits against target distributions, and its gradient in the same pass.
///
/// With `t = (1 - smoothing) target + smoothing / cols`: `loss[r] = sum(t) lse - sum(t logits)`, and
/// `dlogits[r] = sum(t) softmax(logits[r]) - t` (not divided by the batch).
///
/// ```
/// use brisk_kernels::softmax::categorical_cross_entropy;
/// let mut loss = [0.0];
/// categorical_cross_entropy(2, &[2.0, 2.0], &[0.3, 0.7], 0.0, &mut loss, None);
/// assert!((loss[0] - 2f32.ln()).abs() < 1e-6);
/// ```
pub fn categorical_cross_entropy(
    cols: usize,
    logits: &[f32],
    targets: &[f32],
    smoothing: f32,
    loss: &mut [f32],
    dlogits: Option<&mut [f32]>,
) {
    assert!(cols > 0 && logits.len() == targets.len(), "cross_entropy: one target for each logit");
    check(cols, logits, loss, dlogits.as_deref());
    simd::dispatch(CrossEntropy { cols, logits, targets: Targets::Soft(targets), smoothing, loss, dlogits });
}

fn check(cols: usize, logits: &[f32], loss: &[f32], dlogits: Option<&[f32]>) {
    assert_eq!(logits.len(), loss.len() * cols, "cross_entropy: one loss for each row");
    assert!(dlogits.is_none_or(|d| d.len() == logits.len()), "cross_entropy: gradient length");
}

#[derive(Clone, Copy)]
enum Targets<'a> {
    Labels(&'a [i32]),
    Soft(&'a [f32]),
}

struct CrossEntropy<'a> {
    cols: usize,
    logits: &'a [f32],
    targets: Targets<'a>,
    smoothing: f32,
    loss: &'a mut [f32],
    dlogits: Option<&'a mut [f32]>,
}

impl WithSimd for CrossEntropy<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self { cols, logits, targets, smoothing, loss, mut dlogits } = self;
        let keep = 1.0 - smoothing;
        let even = smoothing / cols as f32;
        for (r, (x, loss)) in logits.chunks_exact(cols).zip(loss).enumerate() {
            let max = row_max(s, x);
            let mut grad = dlogits.as_mut().map(|d| &mut d[r * cols..][..cols]);
            let sum = match &mut grad {
                Some(d) => {
                    d.copy_from_slice(x);
                    exp_sum_in_place(s, d, max)
                }
                None => exp_sum(s, x, max),
            };
            let lse = max + sum.ln();
            // All terms relative to the log-sum, which keeps digits that sums of large logits would lose.
            let mean = if smoothing == 0.0 { 0.0 } else { x.iter().map(|v| lse - v).sum::<f32>() * even };
            match targets {
                Targets::Labels(labels) => {
                    let label = labels[r] as usize;
                    *loss = keep * (lse - x[label]) + mean;
                    if let Some(d) = grad {
                        let (f, e) = (s.splat_f32s(1.0 / sum), s.splat_f32s(-even));
                        update(
                            s,
                            d,
                            [],
                            #[inline(always)]
                            |v, []| s.mul_add_e_f32s(v, f, e),
                        );
                        d[label] -= keep;
                    }
                }
                Targets::Soft(t) => {
                    let t = &t[r * cols..][..cols];
                    *loss = keep
                        * x.iter()
                            .zip(t)
                            .map(|(x, t)| if *t == 0.0 { 0.0 } else { t * (lse - x) })
                            .sum::<f32>()
                        + mean;
                    if let Some(d) = grad {
                        let total = keep * t.iter().sum::<f32>() + smoothing;
                        let (f, e, k) = (s.splat_f32s(total / sum), s.splat_f32s(-even), s.splat_f32s(-keep));
                        update(
                            s,
                            d,
                            [t],
                            #[inline(always)]
                            |v, [t]| s.mul_add_e_f32s(t, k, s.mul_add_e_f32s(v, f, e)),
                        );
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Level, dispatch_at, levels};
    use proptest::prelude::*;

    fn values(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 31) % 2003) as f32 / 150.0 - 6.0).collect()
    }

    fn softmax64(x: &[f32]) -> (Vec<f64>, f64) {
        let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let e: Vec<f64> = x.iter().map(|v| f64::from(v - max).exp()).collect();
        let sum: f64 = e.iter().sum();
        (e.iter().map(|v| v / sum).collect(), f64::from(max) + sum.ln())
    }

    fn close(got: &[f32], want: &[f64], bound: f64) -> Result<(), TestCaseError> {
        for (g, w) in got.iter().zip(want) {
            prop_assert!((f64::from(*g) - w).abs() <= bound * (1.0 + w.abs()), "{g} is not {w}");
        }
        Ok(())
    }

    fn all(level: Level, cols: usize, x: &[f32]) -> Result<(), TestCaseError> {
        let want: Vec<f64> = x.chunks(cols).flat_map(|r| softmax64(r).0).collect();
        let want_log: Vec<f64> = x
            .chunks(cols)
            .flat_map(|r| {
                let l = softmax64(r).1;
                r.iter().map(move |v| f64::from(*v) - l)
            })
            .collect();
        let mut y = x.to_vec();
        dispatch_at(level, Masked::whole(cols, &mut y));
        close(&y, &want, 1e-6)?;
        let mut log = x.to_vec();
        dispatch_at(level, LogSoftmax { cols, x, out: &mut log });
        close(&log, &want_log, 2e-6)?;

        let dy = values(x.len(), 5);
        let mut dx = vec![0.0; x.len()];
        let rows = || want.chunks(cols).zip(dy.chunks(cols));
        dispatch_at(level, Grad { cols, y: &y, dy: &dy, dx: &mut dx, log: false });
        let want_dx: Vec<f64> = rows()
            .flat_map(|(y, dy)| {
                let dot: f64 = y.iter().zip(dy).map(|(a, b)| a * f64::from(*b)).sum();
                y.iter().zip(dy).map(move |(y, d)| y * (f64::from(*d) - dot)).collect::<Vec<_>>()
            })
            .collect();
        close(&dx, &want_dx, 5e-6)?;
        dispatch_at(level, Grad { cols, y: &log, dy: &dy, dx: &mut dx, log: true });
        let want_dx: Vec<f64> = rows()
            .flat_map(|(y, dy)| {
                let sum: f64 = dy.iter().map(|v| f64::from(*v)).sum();
                y.iter().zip(dy).map(move |(y, d)| f64::from(*d) - y * sum).collect::<Vec<_>>()
            })
            .collect();
        close(&dx, &want_dx, 1e-5 * cols as f64)?;

        let labels: Vec<i32> = (0..x.len() / cols).map(|r| (r * 7 % cols) as i32).collect();
        let hot: Vec<f32> =
            labels.iter().flat_map(|l| (0..cols).map(move |c| f32::from(c == *l as usize))).collect();
        let soft = values(x.len(), 9).iter().map(|v| (v + 7.0) / 20.0).collect::<Vec<_>>();
        for (targets, t) in
            [(Targets::Labels(&labels), &hot), (Targets::Soft(&hot), &hot), (Targets::Soft(&soft), &soft)]
        {
            for smoothing in [0.0, 0.1] {
                let t: Vec<f64> =
                    t.iter().map(|t| f64::from(*t * (1.0 - smoothing) + smoothing / cols as f32)).collect();
                let want_loss: Vec<f64> = t
                    .chunks(cols)
                    .zip(want_log.chunks(cols))
                    .map(|(t, l)| -t.iter().zip(l).map(|(t, l)| t * l).sum::<f64>())
                    .collect();
                let want_grad: Vec<f64> = t
                    .chunks(cols)
                    .zip(want.chunks(cols))
                    .flat_map(|(t, y)| {
                        let sum: f64 = t.iter().sum();
                        t.iter().zip(y).map(move |(t, y)| sum * y - t).collect::<Vec<_>>()
                    })
                    .collect();
                let (mut loss, mut grad) = (vec![0.0; labels.len()], vec![0.0; x.len()]);
                dispatch_at(
                    level,
                    CrossEntropy { cols, logits: x, targets, smoothing, loss: &mut loss, dlogits: None },
                );
                close(&loss, &want_loss, 1e-5)?;
                loss.fill(0.0);
                dispatch_at(
                    level,
                    CrossEntropy {
                        cols,
                        logits: x,
                        targets,
                        smoothing,
                        loss: &mut loss,
                        dlogits: Some(&mut grad),
                    },
                );
                close(&loss, &want_loss, 1e-5)?;
                close(&grad, &want_grad, 1e-5)?;
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn agrees_with_f64(rows in 1usize..5, cols in prop_oneof![1usize..40, 100usize..140], seed in 0usize..1000) {
            for level in levels() {
                all(level, cols, &values(rows * cols, seed))?;
            }
        }
    }

    #[test]
    fn extreme_rows() {
        for level in levels() {
            for cols in [3usize, 9, 20] {
                let mut x = vec![-3e38f32; cols];
                x[1] = 3e38;
                dispatch_at(level, Masked::whole(cols, &mut x));
                assert!(x[1] == 1.0 && x[0] == 0.0 && x[cols - 1] == 0.0, "{x:?}");
                let mut x = vec![f32::NEG_INFINITY; cols];
                x[cols - 1] = 0.0;
                dispatch_at(level, Masked::whole(cols, &mut x));
                assert!(x[cols - 1] == 1.0 && x[0] == 0.0, "{x:?}");
                for at in 0..cols {
                    let mut x = vec![0.0; cols];
                    x[at] = f32::NAN;
                    dispatch_at(level, Masked::whole(cols, &mut x));
                    assert!(x.iter().all(|v| v.is_nan()), "{x:?}");
                }
            }
        }
    }
}
