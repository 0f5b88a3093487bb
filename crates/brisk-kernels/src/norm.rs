//! Normalization over the last axis, and batch normalization folded into a scale and a shift.
//!
//! Two passes for the statistics (the mean, then the squares of the differences), so that a large mean costs no digits.

use crate::simd::{self, map, sum_of, update};
use pulp::{Simd, WithSimd};

/// `y = (x - mean) rstd gain + bias` over rows of `cols`, `rstd = 1 / sqrt(variance + eps)`, the variance without
/// Bessel's correction.
///
/// `gain` and `bias` are `[cols]`, or empty for 1 and 0. `mean` and `rstd` are `[rows]`, or empty if not wanted.
///
/// ```
/// let (mut y, mut mean) = ([0.0; 2], [0.0]);
/// brisk_kernels::norm::layer_norm(2, &[1.0, 3.0], &[], &[], 0.0, &mut y, &mut mean, &mut []);
/// assert_eq!((y, mean), ([-1.0, 1.0], [2.0]));
/// ```
pub fn layer_norm(
    cols: usize,
    x: &[f32],
    gain: &[f32],
    bias: &[f32],
    eps: f32,
    y: &mut [f32],
    mean: &mut [f32],
    rstd: &mut [f32],
) {
    let rows = rows(cols, x);
    assert_eq!(y.len(), x.len(), "layer_norm: output length");
    optional("gain", gain, cols);
    optional("bias", bias, cols);
    optional("mean", mean, rows);
    optional("rstd", rstd, rows);
    simd::dispatch(LayerNorm { cols, x, gain, bias, eps, y, mean, rstd });
}

fn rows(cols: usize, x: &[f32]) -> usize {
    assert!(cols > 0 && x.len().is_multiple_of(cols), "norm: {} values are no rows of {cols}", x.len());
    x.len() / cols
}

fn optional(name: &str, x: &[f32], n: usize) {
    assert!(x.is_empty() || x.len() == n, "norm: {name} has {} values, not {n}", x.len());
}

struct LayerNorm<'a> {
    cols: usize,
    x: &'a [f32],
    gain: &'a [f32],
    bias: &'a [f32],
    eps: f32,
    y: &'a mut [f32],
    mean: &'a mut [f32],
    rstd: &'a mut [f32],
}

impl WithSimd for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self { cols, x, gain, bias, eps, y, mean, rstd } = self;
        for (r, (x, y)) in x.chunks_exact(cols).zip(y.chunks_exact_mut(cols)).enumerate() {
            let m = sum_of(
                s,
                [x],
                #[inline(always)]
                |[v]| v,
            ) / cols as f32;
            let mv = s.splat_f32s(m);
            let (head, tail) = x.split_at(cols / S::F32_LANES * S::F32_LANES);
            let squares = sum_of(
                s,
                [head],
                #[inline(always)]
                |[v]| {
                    let d = s.sub_f32s(v, mv);
                    s.mul_f32s(d, d)
                },
            );
            let variance = (squares + tail.iter().map(|v| (v - m) * (v - m)).sum::<f32>()) / cols as f32;
            let inverse = 1.0 / (variance + eps).sqrt();
            let rv = s.splat_f32s(inverse);
            match (gain.is_empty(), bias.is_empty()) {
                (true, true) => map(
                    s,
                    [x],
                    y,
                    #[inline(always)]
                    |[v]| normal(s, v, mv, rv),
                ),
                (false, true) => map(
                    s,
                    [x, gain],
                    y,
                    #[inline(always)]
                    |[v, g]| s.mul_f32s(normal(s, v, mv, rv), g),
                ),
                (true, false) => map(
                    s,
                    [x, bias],
                    y,
                    #[inline(always)]
                    |[v, b]| s.add_f32s(normal(s, v, mv, rv), b),
                ),
                (false, false) => map(
                    s,
                    [x, gain, bias],
                    y,
                    #[inline(always)]
                    |[v, g, b]| s.mul_add_e_f32s(normal(s, v, mv, rv), g, b),
                ),
            }
            if !mean.is_empty() {
                mean[r] = m;
            }
            if !rstd.is_empty() {
                rstd[r] = inverse;
            }
        }
    }
}

/// `(v - mean) rstd`
#[inline(always)]
fn normal<S: Simd>(s: S, v: S::f32s, mean: S::f32s, rstd: S::f32s) -> S::f32s {
    s.mul_f32s(s.sub_f32s(v, mean), rstd)
}

/// The gradient of [`layer_norm`]. With `h = (x - mean) rstd` and `g = dy gain`:
/// `dx = rstd (g - mean(g) - h mean(g h))`; `dgain += sum over rows of dy h`; `dbias += sum over rows of dy`.
///
/// `gain` may be empty (1), as may `dgain` and `dbias` (not wanted).
///
/// ```
/// let (mut dx, mut dgain) = ([0.0; 2], [0.0; 2]);
/// let (x, mean, rstd) = ([1.0, 3.0], [2.0], [1.0]);
/// brisk_kernels::norm::layer_norm_grad(2, &x, &[], &mean, &rstd, &[1.0, 1.0], &mut dx, &mut dgain, &mut []);
/// assert_eq!((dx, dgain), ([0.0, 0.0], [-1.0, 1.0]));
/// ```
pub fn layer_norm_grad(
    cols: usize,
    x: &[f32],
    gain: &[f32],
    mean: &[f32],
    rstd: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dgain: &mut [f32],
    dbias: &mut [f32],
) {
    let rows = rows(cols, x);
    assert!(dy.len() == x.len() && dx.len() == x.len(), "layer_norm_grad: gradient lengths");
    assert!(mean.len() == rows && rstd.len() == rows, "layer_norm_grad: one mean and rstd for each row");
    optional("gain", gain, cols);
    optional("dgain", dgain, cols);
    optional("dbias", dbias, cols);
    simd::dispatch(NormGrad { cols, x, gain, mean, rstd, dy, dx, dgain, dbias });
}

/// Both gradients: an empty `mean` means that none was subtracted.
struct NormGrad<'a> {
    cols: usize,
    x: &'a [f32],
    gain: &'a [f32],
    mean: &'a [f32],
    rstd: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    dgain: &'a mut [f32],
    dbias: &'a mut [f32],
}

impl WithSimd for NormGrad<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self { cols, x, gain, mean, rstd, dy, dx, dgain, dbias } = self;
        let n = cols as f32;
        for (r, (x, dx)) in x.chunks_exact(cols).zip(dx.chunks_exact_mut(cols)).enumerate() {
            let dy = &dy[r * cols..][..cols];
            let m = s.splat_f32s(mean.get(r).copied().unwrap_or(0.0));
            let rv = s.splat_f32s(rstd[r]);
            // g = dy gain goes into dx, which is then finished in place.
            if gain.is_empty() {
                dx.copy_from_slice(dy);
            } else {
                map(
                    s,
                    [dy, gain],
                    dx,
                    #[inline(always)]
                    |[d, g]| s.mul_f32s(d, g),
                );
            }
            let mean_g = if mean.is_empty() {
                0.0
            } else {
                sum_of(
                    s,
                    [&*dx],
                    #[inline(always)]
                    |[g]| g,
                ) / n
            };
            // Lanes past the end have g = 0.
            let mean_gh = sum_of(
                s,
                [&*dx, x],
                #[inline(always)]
                |[g, v]| s.mul_f32s(g, normal(s, v, m, rv)),
            ) / n;
            let (mg, mgh) = (s.splat_f32s(mean_g), s.splat_f32s(mean_gh));
            update(
                s,
                dx,
                [x],
                #[inline(always)]
                |g, [v]| s.mul_f32s(rv, s.sub_f32s(s.sub_f32s(g, mg), s.mul_f32s(normal(s, v, m, rv), mgh))),
            );
            if !dgain.is_empty() {
                update(
                    s,
                    dgain,
                    [dy, x],
                    #[inline(always)]
                    |acc, [d, v]| s.mul_add_e_f32s(d, normal(s, v, m, rv), acc),
                );
            }
            if !dbias.is_empty() {
                update(
                    s,
                    dbias,
                    [dy],
                    #[inline(always)]
                    |acc, [d]| s.add_f32s(acc, d),
                );
            }
        }
    }
}

/// `y = x rstd gain` over rows of `cols`, `rstd = 1 / sqrt(mean(x²) + eps)`.
///
/// `gain` is `[cols]` or empty for 1; `rstd` is `[rows]`, or empty if not wanted.
///
/// ```
/// let mut y = [0.0; 2];
/// brisk_kernels::norm::rms_norm(2, &[2.0, -2.0], &[1.0, 3.0], 0.0, &mut y, &mut []);
/// assert_eq!(y, [1.0, -3.0]);
/// ```
pub fn rms_norm(cols: usize, x: &[f32], gain: &[f32], eps: f32, y: &mut [f32], rstd: &mut [f32]) {
    let rows = rows(cols, x);
    assert_eq!(y.len(), x.len(), "rms_norm: output length");
    optional("gain", gain, cols);
    optional("rstd", rstd, rows);
    simd::dispatch(RmsNorm { cols, x, gain, eps, y, rstd });
}

struct RmsNorm<'a> {
    cols: usize,
    x: &'a [f32],
    gain: &'a [f32],
    eps: f32,
    y: &'a mut [f32],
    rstd: &'a mut [f32],
}

impl WithSimd for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self { cols, x, gain, eps, y, rstd } = self;
        for (r, (x, y)) in x.chunks_exact(cols).zip(y.chunks_exact_mut(cols)).enumerate() {
            let squares = sum_of(
                s,
                [x],
                #[inline(always)]
                |[v]| s.mul_f32s(v, v),
            );
            let inverse = 1.0 / (squares / cols as f32 + eps).sqrt();
            let rv = s.splat_f32s(inverse);
            if gain.is_empty() {
                map(
                    s,
                    [x],
                    y,
                    #[inline(always)]
                    |[v]| s.mul_f32s(v, rv),
                );
            } else {
                map(
                    s,
                    [x, gain],
                    y,
                    #[inline(always)]
                    |[v, g]| s.mul_f32s(s.mul_f32s(v, rv), g),
                );
            }
            if !rstd.is_empty() {
                rstd[r] = inverse;
            }
        }
    }
}

/// The gradient of [`rms_norm`]. With `h = x rstd` and `g = dy gain`: `dx = rstd (g - h mean(g h))`;
/// `dgain += sum over rows of dy h`. `gain` may be empty (1), as may `dgain` (not wanted).
///
/// ```
/// let mut dx = [0.0; 2];
/// brisk_kernels::norm::rms_norm_grad(2, &[1.0, 1.0], &[], &[1.0], &[1.0, 0.0], &mut dx, &mut []);
/// assert_eq!(dx, [0.5, -0.5]);
/// ```
pub fn rms_norm_grad(
    cols: usize,
    x: &[f32],
    gain: &[f32],
    rstd: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dgain: &mut [f32],
) {
    let rows = rows(cols, x);
    assert!(dy.len() == x.len() && dx.len() == x.len(), "rms_norm_grad: gradient lengths");
    assert_eq!(rstd.len(), rows, "rms_norm_grad: one rstd for each row");
    optional("gain", gain, cols);
    optional("dgain", dgain, cols);
    simd::dispatch(NormGrad { cols, x, gain, mean: &[], rstd, dy, dx, dgain, dbias: &mut [] });
}

/// Batch normalization at inference as `y = x scale + shift`, per channel:
/// `scale = gain / sqrt(variance + eps)`, `shift = bias - mean scale`. `gain` and `bias` may be empty (1 and 0).
///
/// ```
/// let (mut scale, mut shift) = ([0.0], [0.0]);
/// brisk_kernels::norm::fold_batch_norm(&[2.0], &[1.0], &[3.0], &[4.0], 0.0, &mut scale, &mut shift);
/// assert_eq!((scale, shift), ([1.0], [-2.0]));
/// ```
pub fn fold_batch_norm(
    gain: &[f32],
    bias: &[f32],
    mean: &[f32],
    variance: &[f32],
    eps: f32,
    scale: &mut [f32],
    shift: &mut [f32],
) {
    let n = scale.len();
    assert!(shift.len() == n && mean.len() == n && variance.len() == n, "fold_batch_norm: lengths");
    optional("gain", gain, n);
    optional("bias", bias, n);
    for c in 0..n {
        scale[c] = gain.get(c).copied().unwrap_or(1.0) / (variance[c] + eps).sqrt();
        shift[c] = bias.get(c).copied().unwrap_or(0.0) - mean[c] * scale[c];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{dispatch_at, levels};
    use proptest::prelude::*;

    fn values(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 131 + 7) % 2003) as f32 / 500.0 - 1.7).collect()
    }

    fn close(what: &str, got: &[f32], want: &[f64]) -> Result<(), TestCaseError> {
        prop_assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(want) {
            prop_assert!((f64::from(*g) - w).abs() <= 3e-5 * (1.0 + w.abs()), "{what}: {g} is not {w}");
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn agrees_with_f64(rows in 1usize..5, cols in prop_oneof![1usize..50, 120usize..140], affine in any::<bool>(), rms in any::<bool>()) {
            let (x, dy) = (values(rows * cols, 1), values(rows * cols, 2));
            let (gain, bias) = if affine { (values(cols, 3), values(cols, 4)) } else { (vec![], vec![]) };
            let eps = 1e-2;
            let n = cols as f64;
            let g = |j: usize| gain.get(j).map_or(1.0, |v| f64::from(*v));
            let (mut y, mut dx, mut dg, mut db) = (vec![], vec![], vec![0.5; cols], vec![0.5; cols]);
            let (mut means, mut rstds) = (vec![], vec![]);
            for r in 0..rows {
                let x: Vec<f64> = x[r * cols..][..cols].iter().map(|v| f64::from(*v)).collect();
                let d: Vec<f64> = dy[r * cols..][..cols].iter().map(|v| f64::from(*v)).collect();
                let m = if rms { 0.0 } else { x.iter().sum::<f64>() / n };
                let s = 1.0 / (x.iter().map(|v| (v - m) * (v - m)).sum::<f64>() / n + f64::from(eps)).sqrt();
                let h: Vec<f64> = x.iter().map(|v| (v - m) * s).collect();
                y.extend((0..cols).map(|j| h[j] * g(j) + if rms { 0.0 } else { bias.get(j).map_or(0.0, |v| f64::from(*v)) }));
                let mg = if rms { 0.0 } else { (0..cols).map(|j| d[j] * g(j)).sum::<f64>() / n };
                let mgh = (0..cols).map(|j| d[j] * g(j) * h[j]).sum::<f64>() / n;
                dx.extend((0..cols).map(|j| s * (d[j] * g(j) - mg - h[j] * mgh)));
                for j in 0..cols {
                    dg[j] += d[j] * h[j];
                    db[j] += d[j];
                }
                means.push(m);
                rstds.push(s);
            }
            for level in levels() {
                let (mut gy, mut gdx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
                let (mut gdg, mut gdb) = (vec![0.5; cols], vec![0.5; cols]);
                let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
                if rms {
                    dispatch_at(level, RmsNorm { cols, x: &x, gain: &gain, eps, y: &mut gy, rstd: &mut rstd });
                    mean.clear();
                } else {
                    dispatch_at(level, LayerNorm { cols, x: &x, gain: &gain, bias: &bias, eps, y: &mut gy, mean: &mut mean, rstd: &mut rstd });
                    close("mean", &mean, &means)?;
                }
                dispatch_at(level, NormGrad { cols, x: &x, gain: &gain, mean: &mean, rstd: &rstd, dy: &dy, dx: &mut gdx, dgain: &mut gdg, dbias: &mut gdb });
                close("rstd", &rstd, &rstds)?;
                close("y", &gy, &y)?;
                close("dx", &gdx, &dx)?;
                close("dgain", &gdg, &dg)?;
                close("dbias", &gdb, &db)?;
            }
        }
    }
}
