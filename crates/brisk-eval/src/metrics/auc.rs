/// Area under the ROC curve, exact, ties counted half (the Mann-Whitney statistic over average ranks).
///
/// `None` if either class is missing or a score is NaN. `score` and `positive` must be equally long.
///
/// ```
/// use brisk_eval::metrics::roc_auc;
///
/// assert_eq!(roc_auc(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true]), Some(0.75));
/// assert_eq!(roc_auc(&[0.5, 0.5], &[false, true]), Some(0.5));
/// assert_eq!(roc_auc(&[0.5, 0.5], &[true, true]), None);
/// ```
pub fn roc_auc(scores: &[f32], positive: &[bool]) -> Option<f64> {
    let mut pairs: Vec<(f32, bool)> = scores.iter().copied().zip(positive.iter().copied()).collect();
    let positives = pairs.iter().filter(|p| p.1).count() as u64;
    let negatives = pairs.len() as u64 - positives;
    if positives == 0 || negatives == 0 || pairs.iter().any(|p| p.0.is_nan()) {
        return None;
    }
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));

    // Twice the number of (negative, positive) pairs in the right order, ties counted once: whole numbers, so exact.
    let (mut twice_right, mut negatives_below) = (0u128, 0u64);
    for ties in pairs.chunk_by(|a, b| a.0 == b.0) {
        let tied_positives = ties.iter().filter(|p| p.1).count() as u64;
        let tied_negatives = ties.len() as u64 - tied_positives;
        twice_right += u128::from(tied_positives) * u128::from(2 * negatives_below + tied_negatives);
        negatives_below += tied_negatives;
    }
    Some(twice_right as f64 / 2.0 / (positives as f64 * negatives as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_of_either_sign_tie() {
        // total_cmp puts -0.0 below 0.0, but they are neighbours, so that grouping by equality still joins them.
        assert_eq!(roc_auc(&[0.0, -0.0], &[false, true]), Some(0.5));
        assert_eq!(roc_auc(&[f32::NEG_INFINITY, f32::INFINITY], &[false, true]), Some(1.0));
    }

    #[test]
    fn nothing_to_rank() {
        assert_eq!(roc_auc(&[], &[]), None);
        assert_eq!(roc_auc(&[f32::NAN, 0.5], &[false, true]), None);
    }
}
