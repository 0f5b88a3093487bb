//! Normalization over the last axis, and batch normalization folded into a scale and a shift.

/// `y = (x - mean) rstd gain + bias` over rows of `cols`, `rstd = 1 / sqrt(variance + eps)`, the variance without
/// Bessel's correction.
///
/// `gain` and `bias` are `[cols]`, or empty for 1 and 0. `mean` and `rstd` are `[rows]`, or empty if not wanted.
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
    assert!(cols > 0 && x.len() % cols == 0 && x.len() == y.len(), "layer_norm: lengths");
    for r in 0..x.len() / cols {
        let row = &x[r * cols..][..cols];
        let m = row.iter().sum::<f32>() / cols as f32;
        let var = row.iter().map(|v| (v - m) * (v - m)).sum::<f32>() / cols as f32;
        let s = 1.0 / (var + eps).sqrt();
        for j in 0..cols {
            let g = gain.get(j).copied().unwrap_or(1.0);
            y[r * cols + j] = (row[j] - m) * s * g + bias.get(j).copied().unwrap_or(0.0);
        }
        if !mean.is_empty() {
            mean[r] = m;
        }
        if !rstd.is_empty() {
            rstd[r] = s;
        }
    }
}

/// The gradient of [`layer_norm`]. With `h = (x - mean) rstd` and `g = dy gain`:
/// `dx = rstd (g - mean(g) - h mean(g h))`; `dgain += sum over rows of dy h`; `dbias += sum over rows of dy`.
///
/// `gain` may be empty (1), as may `dgain` and `dbias` (not wanted).
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
    assert!(
        cols > 0 && x.len() % cols == 0 && x.len() == dy.len() && x.len() == dx.len(),
        "layer_norm_grad: lengths"
    );
    for r in 0..x.len() / cols {
        let (m, s) = (mean[r], rstd[r]);
        let h = |j: usize| (x[r * cols + j] - m) * s;
        let g = |j: usize| dy[r * cols + j] * gain.get(j).copied().unwrap_or(1.0);
        let mg = (0..cols).map(g).sum::<f32>() / cols as f32;
        let mgh = (0..cols).map(|j| g(j) * h(j)).sum::<f32>() / cols as f32;
        for j in 0..cols {
            dx[r * cols + j] = s * (g(j) - mg - h(j) * mgh);
            if !dgain.is_empty() {
                dgain[j] += dy[r * cols + j] * h(j);
            }
            if !dbias.is_empty() {
                dbias[j] += dy[r * cols + j];
            }
        }
    }
}

/// `y = x rstd gain` over rows of `cols`, `rstd = 1 / sqrt(mean(x²) + eps)`.
///
/// `gain` is `[cols]` or empty for 1; `rstd` is `[rows]`, or empty if not wanted.
pub fn rms_norm(cols: usize, x: &[f32], gain: &[f32], eps: f32, y: &mut [f32], rstd: &mut [f32]) {
    assert!(cols > 0 && x.len() % cols == 0 && x.len() == y.len(), "rms_norm: lengths");
    for r in 0..x.len() / cols {
        let row = &x[r * cols..][..cols];
        let s = 1.0 / (row.iter().map(|v| v * v).sum::<f32>() / cols as f32 + eps).sqrt();
        for j in 0..cols {
            y[r * cols + j] = row[j] * s * gain.get(j).copied().unwrap_or(1.0);
        }
        if !rstd.is_empty() {
            rstd[r] = s;
        }
    }
}

/// The gradient of [`rms_norm`]. With `h = x rstd` and `g = dy gain`: `dx = rstd (g - h mean(g h))`;
/// `dgain += sum over rows of dy h`. `gain` may be empty (1), as may `dgain` (not wanted).
pub fn rms_norm_grad(
    cols: usize,
    x: &[f32],
    gain: &[f32],
    rstd: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dgain: &mut [f32],
) {
    assert!(
        cols > 0 && x.len() % cols == 0 && x.len() == dy.len() && x.len() == dx.len(),
        "rms_norm_grad: lengths"
    );
    for r in 0..x.len() / cols {
        let h = |j: usize| x[r * cols + j] * rstd[r];
        let g = |j: usize| dy[r * cols + j] * gain.get(j).copied().unwrap_or(1.0);
        let mgh = (0..cols).map(|j| g(j) * h(j)).sum::<f32>() / cols as f32;
        for j in 0..cols {
            dx[r * cols + j] = rstd[r] * (g(j) - h(j) * mgh);
            if !dgain.is_empty() {
                dgain[j] += dy[r * cols + j] * h(j);
            }
        }
    }
}

/// Batch normalization at inference as `y = x scale + shift`, per channel:
/// `scale = gain / sqrt(variance + eps)`, `shift = bias - mean scale`. `gain` and `bias` may be empty (1 and 0).
pub fn fold_batch_norm(
    gain: &[f32],
    bias: &[f32],
    mean: &[f32],
    variance: &[f32],
    eps: f32,
    scale: &mut [f32],
    shift: &mut [f32],
) {
    for c in 0..scale.len() {
        scale[c] = gain.get(c).copied().unwrap_or(1.0) / (variance[c] + eps).sqrt();
        shift[c] = bias.get(c).copied().unwrap_or(0.0) - mean[c] * scale[c];
    }
}
