//! Losses over the embeddings of pairs and triples of texts, `[rows, size]`: the firsts of all, then the seconds, then the
//! thirds.

use brisk_graph::{DType, Value, op};

/// Rows of length 1; a row of zeros stays one.
fn normalized(x: Value<'_>) -> Value<'_> {
    x * (x.square().sum(&[1]) + 1e-24).rsqrt().expand(1)
}

/// The rows in equal parts.
fn parts<'g, const N: usize>(x: Value<'g>) -> [Value<'g>; N] {
    let n = x.dim(0) / N;
    std::array::from_fn(|i| x.slice(0, i * n, (i + 1) * n))
}

/// For each pair the cross-entropy of finding its second among those of all pairs, by their scaled cosine similarities;
/// `[2 n, size]` to `[n]`.
pub(super) fn multiple_negatives_ranking<'g>(p: Value<'g>, scale: f64) -> Value<'g> {
    let [anchors, positives] = parts(normalized(p));
    let scores = anchors.matmul(positives.transpose(&[1, 0])) * scale; // [n, n]
    let own = p.builder().iota(0, [anchors.dim(0)], DType::I32);
    op::sparse_cross_entropy(scores, own, 0.0)
}

/// `(cos(a, b) - y)²` for each pair; `[2 n, size]` and `[n, 1]` to `[n]`.
pub(super) fn cosine_similarity<'g>(p: Value<'g>, y: Value<'g>) -> Value<'g> {
    let [a, b] = parts(normalized(p));
    op::squared_error((a * b).sum(&[1]), y.reshape([y.dim(0)]))
}

/// `max(|a - p| - |a - n| + margin, 0)` for each triple; `[3 n, size]` to `[n]`.
pub(super) fn triplet<'g>(p: Value<'g>, margin: f64) -> Value<'g> {
    let [anchor, positive, negative] = parts(p);
    let distance = |other: Value<'g>| ((anchor - other).square().sum(&[1]) + 1e-24).sqrt();
    op::relu(distance(positive) - distance(negative) + margin)
}
