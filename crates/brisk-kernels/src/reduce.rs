//! Sums, extremes and products over a group of adjacent axes.
//!
//! A contiguous array is seen as `[outer, reduce, inner]`; the result is `[outer, inner]`.

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
pub fn reduce(op: Reduce, dims: [usize; 3], x: &[f32], out: &mut [f32], accumulate: bool) {
    let [outer, n, inner] = dims;
    assert_eq!(x.len(), outer * n * inner, "reduce: input length");
    assert_eq!(out.len(), outer * inner, "reduce: output length");
    let f = |a: f32, b: f32| match op {
        Reduce::Sum => a + b,
        Reduce::Prod => a * b,
        Reduce::Max => {
            if a.is_nan() || a > b {
                a
            } else {
                b
            }
        }
        Reduce::Min => {
            if a.is_nan() || a < b {
                a
            } else {
                b
            }
        }
    };
    if !accumulate {
        out.fill(match op {
            Reduce::Sum => 0.0,
            Reduce::Prod => 1.0,
            Reduce::Max => f32::NEG_INFINITY,
            Reduce::Min => f32::INFINITY,
        });
    }
    for o in 0..outer {
        for r in 0..n {
            for i in 0..inner {
                let out = &mut out[o * inner + i];
                *out = f(*out, x[(o * n + r) * inner + i]);
            }
        }
    }
}

/// `out[o, i]` = the first `r` at which `x[o, r, i]` is largest; a NaN counts as larger than any number.
pub fn argmax(dims: [usize; 3], x: &[f32], out: &mut [i32]) {
    let [outer, n, inner] = dims;
    assert!(n > 0, "argmax over an empty axis");
    assert_eq!(x.len(), outer * n * inner, "argmax: input length");
    assert_eq!(out.len(), outer * inner, "argmax: output length");
    for o in 0..outer {
        for i in 0..inner {
            let at = |r: usize| x[(o * n + r) * inner + i];
            let mut best = 0;
            for r in 1..n {
                if at(r) > at(best) || (at(r).is_nan() && !at(best).is_nan()) {
                    best = r;
                }
            }
            out[o * inner + i] = best as i32;
        }
    }
}

/// The sum of `x`.
pub fn sum(x: &[f32]) -> f32 {
    x.iter().sum()
}

/// The sum of the squares of `x`.
pub fn sum_squares(x: &[f32]) -> f32 {
    x.iter().map(|v| v * v).sum()
}

/// The inner product of two vectors of one length.
pub fn dot(x: &[f32], y: &[f32]) -> f32 {
    assert_eq!(x.len(), y.len(), "dot: lengths");
    x.iter().zip(y).map(|(a, b)| a * b).sum()
}
