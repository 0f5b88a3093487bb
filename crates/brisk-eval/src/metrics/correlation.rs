//! Correlation of two lists of numbers.

/// Pearson's correlation: how nearly one is a linear function of the other, -1 to 1. NaN for fewer than two pairs, or if either
/// never changes. Surplus numbers of the longer list are left out.
///
/// ```
/// use brisk_eval::metrics::pearson;
/// assert_eq!(pearson(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]), 1.0);
/// assert!((pearson(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 5.0]) - 0.8315218).abs() < 1e-6);
/// assert!(pearson(&[1.0, 1.0], &[1.0, 2.0]).is_nan());
/// ```
pub fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    let mean = |x: &[f64]| x.iter().sum::<f64>() / n as f64;
    let (ma, mb) = (mean(a), mean(b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(x, y)| f(x - ma, y - mb)).sum::<f64>();
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

/// Spearman's correlation: [`pearson`] of the ranks; equal numbers share the mean of theirs.
///
/// ```
/// use brisk_eval::metrics::spearman;
/// assert_eq!(spearman(&[1.0, 2.0, 3.0], &[1.0, 10.0, 100.0]), 1.0);
/// // Ranks 1, 2.5, 2.5, 4 and 1, 3, 2, 4.
/// assert!((spearman(&[1.0, 2.0, 2.0, 4.0], &[1.0, 3.0, 2.0, 5.0]) - 0.9486833).abs() < 1e-6);
/// ```
pub fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len().min(b.len());
    pearson(&ranks(&a[..n]), &ranks(&b[..n]))
}

fn ranks(x: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&i, &j| x[i].total_cmp(&x[j]));
    let mut ranks = vec![0.0; x.len()];
    let mut from = 0;
    for same in order.chunk_by(|&i, &j| x[i] == x[j]) {
        let rank = from as f64 + (same.len() as f64 + 1.0) / 2.0;
        same.iter().for_each(|&i| ranks[i] = rank);
        from += same.len();
    }
    ranks
}
