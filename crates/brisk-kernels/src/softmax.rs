//! Softmax, log-softmax and the cross-entropies, row by row.

use crate::movement::IndexError;

/// `out[r, j] = exp(x[r, j]) / sum over i of exp(x[r, i])`, rows of `cols`.
pub fn softmax(cols: usize, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "softmax: lengths");
    out.copy_from_slice(x);
    softmax_in_place(cols, out);
}

/// [`softmax`] with the result in the place of its input.
pub fn softmax_in_place(cols: usize, x: &mut [f32]) {
    assert!(cols > 0 && x.len() % cols == 0, "softmax: whole rows");
    for row in x.chunks_exact_mut(cols) {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for v in row.iter_mut() {
            *v = (*v - max).exp();
            sum += *v;
        }
        for v in row {
            *v /= sum;
        }
    }
}

/// `out[r, j] = x[r, j] - ln(sum over i of exp(x[r, i]))`, rows of `cols`.
pub fn log_softmax(cols: usize, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "log_softmax: lengths");
    assert!(cols > 0 && x.len() % cols == 0, "log_softmax: whole rows");
    for (row, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(cols)) {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let lse = max + row.iter().map(|v| (v - max).exp()).sum::<f32>().ln();
        for (v, o) in row.iter().zip(out) {
            *o = v - lse;
        }
    }
}

/// The gradient of [`softmax`]: with `y` its result, `dx = y (dy - sum(y dy))`, row by row.
pub fn softmax_grad(cols: usize, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert!(y.len() == dy.len() && y.len() == dx.len(), "softmax_grad: lengths");
    for ((y, dy), dx) in y.chunks_exact(cols).zip(dy.chunks_exact(cols)).zip(dx.chunks_exact_mut(cols)) {
        let dot: f32 = y.iter().zip(dy).map(|(a, b)| a * b).sum();
        for ((y, dy), dx) in y.iter().zip(dy).zip(dx) {
            *dx = y * (dy - dot);
        }
    }
}

/// The gradient of [`log_softmax`]: with `y` its result, `dx = dy - exp(y) sum(dy)`, row by row.
pub fn log_softmax_grad(cols: usize, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert!(y.len() == dy.len() && y.len() == dx.len(), "log_softmax_grad: lengths");
    for ((y, dy), dx) in y.chunks_exact(cols).zip(dy.chunks_exact(cols)).zip(dx.chunks_exact_mut(cols)) {
        let sum: f32 = dy.iter().sum();
        for ((y, dy), dx) in y.iter().zip(dy).zip(dx) {
            *dx = dy - y.exp() * sum;
        }
    }
}

/// Cross-entropy of rows of `cols` logits against class numbers, and its gradient in the same pass.
///
/// With `t = (1 - smoothing) onehot(label) + smoothing / cols`: `loss[r] = -sum t log_softmax(logits[r])`, and
/// `dlogits[r] = softmax(logits[r]) - t` (not divided by the batch). A label outside `0..cols` is an error, found
/// before anything is written.
pub fn sparse_cross_entropy(
    cols: usize,
    logits: &[f32],
    labels: &[i32],
    smoothing: f32,
    loss: &mut [f32],
    mut dlogits: Option<&mut [f32]>,
) -> Result<(), IndexError> {
    assert!(
        cols > 0 && logits.len() == labels.len() * cols && loss.len() == labels.len(),
        "cross_entropy: lengths"
    );
    assert!(dlogits.as_ref().is_none_or(|d| d.len() == logits.len()), "cross_entropy: gradient length");
    if let Some(position) = labels.iter().position(|l| !(0..cols as i64).contains(&i64::from(*l))) {
        return Err(IndexError { position, index: labels[position], bound: cols });
    }
    for (r, (row, &label)) in logits.chunks_exact(cols).zip(labels).enumerate() {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let lse = max + row.iter().map(|v| (v - max).exp()).sum::<f32>().ln();
        let mean = row.iter().sum::<f32>() / cols as f32;
        loss[r] = lse - (1.0 - smoothing) * row[label as usize] - smoothing * mean;
        if let Some(d) = &mut dlogits {
            let d = &mut d[r * cols..][..cols];
            for (v, d) in row.iter().zip(&mut *d) {
                *d = (v - lse).exp() - smoothing / cols as f32;
            }
            d[label as usize] -= 1.0 - smoothing;
        }
    }
    Ok(())
}

/// Cross-entropy of rows of `cols` logits against target distributions, and its gradient in the same pass.
///
/// With `t = (1 - smoothing) target + smoothing / cols`: `loss[r] = sum(t) lse - sum(t logits)`, and
/// `dlogits[r] = sum(t) softmax(logits[r]) - t` (not divided by the batch).
pub fn categorical_cross_entropy(
    cols: usize,
    logits: &[f32],
    targets: &[f32],
    smoothing: f32,
    loss: &mut [f32],
    mut dlogits: Option<&mut [f32]>,
) {
    assert!(
        cols > 0 && logits.len() == targets.len() && logits.len() == loss.len() * cols,
        "cross_entropy: lengths"
    );
    assert!(dlogits.as_ref().is_none_or(|d| d.len() == logits.len()), "cross_entropy: gradient length");
    let soft = |t: f32| (1.0 - smoothing) * t + smoothing / cols as f32;
    for (r, (row, target)) in logits.chunks_exact(cols).zip(targets.chunks_exact(cols)).enumerate() {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let lse = max + row.iter().map(|v| (v - max).exp()).sum::<f32>().ln();
        loss[r] = row.iter().zip(target).map(|(v, t)| soft(*t) * (lse - v)).sum();
        let total: f32 = target.iter().map(|t| soft(*t)).sum();
        if let Some(d) = &mut dlogits {
            for ((v, t), d) in row.iter().zip(target).zip(&mut d[r * cols..]) {
                *d = total * (v - lse).exp() - soft(*t);
            }
        }
    }
}
