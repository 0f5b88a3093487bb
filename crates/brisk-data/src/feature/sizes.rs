//! Few sizes of batches: a program is compiled for each, so that tokens are rounded up to one of few numbers.

/// The number of rows for some tokens in packed layout: the next multiple of 8, and beyond 128 the next of sixteen sizes
/// between a power of two and the next one (128, 136, ..., 256, 272, ..., 512, 544, ...). So there are 16 sizes for each doubling, and
/// at most 1/16 is added to more than 128 tokens. At least 8.
///
/// ```
/// use brisk_data::rounded_tokens;
/// assert_eq!([0, 3, 16, 17, 257, 513, 4000].map(rounded_tokens), [8, 8, 16, 24, 272, 544, 4096]);
/// ```
pub fn rounded_tokens(tokens: usize) -> usize {
    round_up(tokens)
}

/// The length of a padded batch whose longest text has so many tokens: one of the sizes of [`rounded_tokens`].
///
/// ```
/// use brisk_data::rounded_length;
/// assert_eq!([1, 9, 80, 129, 300].map(rounded_length), [8, 16, 80, 136, 304]);
/// ```
pub fn rounded_length(length: usize) -> usize {
    round_up(length)
}

fn round_up(n: usize) -> usize {
    // The largest power of two that is at most n, in sixteen parts.
    let power = n.checked_ilog2().map_or(1, |l| 1usize << l);
    let step = (if power < n { power } else { power / 2 } / 16).max(8);
    n.max(1).checked_next_multiple_of(step).unwrap_or(n)
}

/// The number of samples to take when there is room for `n`: the same if `n` is up to 8, otherwise rounded down to one of eight sizes
/// for each doubling, so that batches that are cut by tokens have few sizes too.
///
/// ```
/// use brisk_data::fewer_samples;
/// assert_eq!([1, 8, 9, 17, 35, 100].map(fewer_samples), [1, 8, 9, 16, 32, 96]);
/// ```
pub fn fewer_samples(n: usize) -> usize {
    let step = n.checked_ilog2().map_or(1, |l| (1usize << l) / 8).max(1);
    n - n % step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waste_is_small_and_sizes_are_few() {
        let mut sizes = std::collections::BTreeSet::new();
        for n in 0..20_000 {
            let r = rounded_tokens(n);
            assert!(r >= n && r.is_multiple_of(8) && rounded_tokens(r) == r, "{n} {r}");
            assert!(n < 128 || r - n <= n / 16, "{n} {r}");
            sizes.insert(r);
            assert!(fewer_samples(n) <= n && (n == 0 || fewer_samples(n) * 9 >= n * 8), "{n}");
        }
        assert!(sizes.len() <= 16 + 16 * 8, "{}", sizes.len());
    }
}
