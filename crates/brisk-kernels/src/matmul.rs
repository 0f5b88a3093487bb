//! Matrix products on one thread.

/// `c[i, j] = sum over p of a[i, p] b[p, j]`, plus the former `c[i, j]` if `accumulate`.
///
/// `a` is `[m, k]`, `b` is `[k, n]`, each with its `(row stride, column stride)`, so that a transposed operand costs
/// nothing; `c` is `[m, n]` with rows `c_row_stride` apart and adjacent columns.
pub fn matmul(
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    a_strides: (usize, usize),
    b: &[f32],
    b_strides: (usize, usize),
    c: &mut [f32],
    c_row_stride: usize,
    accumulate: bool,
) {
    for i in 0..m {
        for j in 0..n {
            let mut sum = 0.0;
            for p in 0..k {
                sum += a[i * a_strides.0 + p * a_strides.1] * b[p * b_strides.0 + j * b_strides.1];
            }
            let c = &mut c[i * c_row_stride + j];
            *c = if accumulate { *c + sum } else { sum };
        }
    }
}

/// [`matmul`] for each of `batch` triples, whose starts lie `a_batch`, `b_batch` and `c_batch` elements apart
/// (0 for an operand that all share; not for `c`).
pub fn matmul_batched(
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    a_batch: usize,
    a_strides: (usize, usize),
    b: &[f32],
    b_batch: usize,
    b_strides: (usize, usize),
    c: &mut [f32],
    c_batch: usize,
    c_row_stride: usize,
    accumulate: bool,
) {
    for i in 0..batch {
        let (a, b) = (&a[i * a_batch..], &b[i * b_batch..]);
        matmul(m, n, k, a, a_strides, b, b_strides, &mut c[i * c_batch..], c_row_stride, accumulate);
    }
}
