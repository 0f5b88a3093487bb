//! Loops over slices of one length, tails included.

use pulp::Simd;

/// `out[i] = f(x[0][i], x[1][i], ...)`
#[inline(always)]
pub(crate) fn map<S: Simd, const N: usize>(
    s: S,
    x: [&[f32]; N],
    out: &mut [f32],
    f: impl Fn([S::f32s; N]) -> S::f32s,
) {
    update(
        s,
        out,
        x,
        #[inline(always)]
        |_, x| f(x),
    );
}

/// `out[i] = f(out[i], [x[0][i], x[1][i], ...])`
#[inline(always)]
pub(crate) fn update<S: Simd, const N: usize>(
    s: S,
    out: &mut [f32],
    x: [&[f32]; N],
    f: impl Fn(S::f32s, [S::f32s; N]) -> S::f32s,
) {
    let n = out.len();
    let (head, tail) = S::as_mut_simd_f32s(out);
    let mut v = [s.splat_f32s(0.0); N];
    let mut heads: [&[S::f32s]; N] = [&[]; N];
    let mut tails: [&[f32]; N] = [&[]; N];
    for k in 0..N {
        assert_eq!(x[k].len(), n);
        let (h, t) = S::as_simd_f32s(x[k]);
        heads[k] = &h[..head.len()];
        tails[k] = t;
    }
    for (i, out) in head.iter_mut().enumerate() {
        for k in 0..N {
            v[k] = heads[k][i];
        }
        *out = f(*out, v);
    }
    if !tail.is_empty() {
        for k in 0..N {
            v[k] = s.partial_load_f32s(tails[k]);
        }
        s.partial_store_f32s(tail, f(s.partial_load_f32s(tail), v));
    }
}

/// `sum over i of f(x[0][i], x[1][i], ...)`; `f` of zeros must be 0.
#[inline(always)]
pub(crate) fn sum_of<S: Simd, const N: usize>(
    s: S,
    x: [&[f32]; N],
    f: impl Fn([S::f32s; N]) -> S::f32s,
) -> f32 {
    let zero = s.splat_f32s(0.0);
    let mut v = [zero; N];
    let mut heads: [&[S::f32s]; N] = [&[]; N];
    let mut tails: [&[f32]; N] = [&[]; N];
    let vectors = x[0].len() / S::F32_LANES;
    for k in 0..N {
        assert_eq!(x[k].len(), x[0].len());
        let (h, t) = S::as_simd_f32s(x[k]);
        heads[k] = &h[..vectors];
        tails[k] = t;
    }
    let (mut a, mut b, mut c, mut d) = (zero, zero, zero, zero);
    let mut i = 0;
    while i + 4 <= vectors {
        let mut w = [[zero; N]; 4];
        for k in 0..N {
            for j in 0..4 {
                w[j][k] = heads[k][i + j];
            }
        }
        a = s.add_f32s(a, f(w[0]));
        b = s.add_f32s(b, f(w[1]));
        c = s.add_f32s(c, f(w[2]));
        d = s.add_f32s(d, f(w[3]));
        i += 4;
    }
    while i < vectors {
        for k in 0..N {
            v[k] = heads[k][i];
        }
        a = s.add_f32s(a, f(v));
        i += 1;
    }
    if !tails[0].is_empty() {
        for k in 0..N {
            v[k] = s.partial_load_f32s(tails[k]);
        }
        b = s.add_f32s(b, f(v));
    }
    s.reduce_sum_f32s(s.add_f32s(s.add_f32s(a, b), s.add_f32s(c, d)))
}
