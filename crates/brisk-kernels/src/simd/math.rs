//! Vectorized `f32` functions, generic over [`Simd`]: no tables, no branches on values (but for huge angles).
//!
//! Error bounds in units in the last place (ulp) of the exact result, held against `f64` by the tests here at every
//! level the machine has: a million numbers of all exponents, and a grid near 0 (sines: a grid up to 3100). Each function gives the same bits for a value wherever it stands in a vector.

use pulp::{Simd, bytemuck};

/// `1.5 * 2^23`: adding it rounds to the nearest integer, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;

/// A polynomial by Horner's rule, highest coefficient first.
#[inline(always)]
fn poly<S: Simd, const N: usize>(s: S, x: S::f32s, coefficients: [f32; N]) -> S::f32s {
    let mut sum = s.splat_f32s(coefficients[0]);
    for c in &coefficients[1..] {
        sum = s.mul_add_e_f32s(sum, x, s.splat_f32s(*c));
    }
    sum
}

/// `x` where it is NaN, `y` elsewhere.
#[inline(always)]
fn keep_nan<S: Simd>(s: S, x: S::f32s, y: S::f32s) -> S::f32s {
    s.select_f32s(s.equal_f32s(x, x), y, x)
}

/// The bits of `a` with the sign of `sign`; `a` must not be negative.
#[inline(always)]
fn with_sign<S: Simd>(s: S, a: S::f32s, sign: S::f32s) -> S::f32s {
    s.or_f32s(a, s.and_f32s(sign, s.splat_f32s(-0.0)))
}

/// The power of two with the exponent that is an integer in `[-126, 127]`.
#[inline(always)]
fn exp2_int<S: Simd>(s: S, n: S::f32s) -> S::f32s {
    let biased = s.transmute_u32s_f32s(s.add_f32s(n, s.splat_f32s(ROUND + 127.0)));
    s.transmute_f32s_u32s(s.wrapping_dyn_shl_u32s(biased, s.splat_u32s(23)))
}

/// `x` as `n ln 2 + r` with `|r| <= ln 2 / 2`: `n` and `e^r`.
#[inline(always)]
fn exp_parts<S: Simd>(s: S, x: S::f32s) -> (S::f32s, S::f32s) {
    let round = s.splat_f32s(ROUND);
    let n = s.sub_f32s(s.mul_add_e_f32s(x, s.splat_f32s(std::f32::consts::LOG2_E), round), round);
    // ln 2 in two parts, the first so short that its multiples are exact.
    let r = s.mul_add_e_f32s(n, s.splat_f32s(-0.693_359_4), x);
    let r = s.mul_add_e_f32s(n, s.splat_f32s(2.121_944_4e-4), r);
    let p = poly(s, r, [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1]);
    let p = s.add_f32s(s.mul_add_e_f32s(p, s.mul_f32s(r, r), r), s.splat_f32s(1.0));
    (n, p)
}

/// `e^x`: at most 2 ulp; 0 and infinity beyond the range, NaN for NaN, denormal results included.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let clamped = s.max_f32s(s.min_f32s(x, s.splat_f32s(89.0)), s.splat_f32s(-104.0));
    let (n, p) = exp_parts(s, clamped);
    // 2^n in two factors: it may itself be out of range where the product is not.
    let round = s.splat_f32s(ROUND);
    let half = s.sub_f32s(s.mul_add_e_f32s(n, s.splat_f32s(0.5), round), round);
    let scaled = s.mul_f32s(s.mul_f32s(p, exp2_int(s, half)), exp2_int(s, s.sub_f32s(n, half)));
    keep_nan(s, x, scaled)
}

/// `e^x` for `x <= 0`, a little cheaper: at most 2 ulp; 0 below -87.3 (no denormal results), NaN for NaN.
#[inline(always)]
pub fn exp_negative<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let (n, p) = exp_parts(s, s.max_f32s(x, s.splat_f32s(-87.336_54)));
    let scaled = s.mul_f32s(p, exp2_int(s, n));
    let scaled = s.select_f32s(s.less_than_f32s(x, s.splat_f32s(-87.336_54)), s.splat_f32s(0.0), scaled);
    keep_nan(s, x, scaled)
}

/// Natural logarithm: at most 2 ulp; minus infinity at 0, NaN below, denormal arguments included.
#[inline(always)]
pub fn ln<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let tiny = s.less_than_f32s(x, s.splat_f32s(f32::MIN_POSITIVE));
    let scaled = s.select_f32s(tiny, s.mul_f32s(x, s.splat_f32s(8_388_608.0)), x);
    // x = 2^e m with m in [sqrt(1/2), sqrt(2)).
    let sqrt_half = s.splat_u32s(0x3f35_04f3);
    let bits = s.add_u32s(s.transmute_u32s_f32s(scaled), s.splat_u32s(0x3f80_0000 - 0x3f35_04f3));
    let biased = s.or_u32s(s.wrapping_dyn_shr_u32s(bits, s.splat_u32s(23)), s.splat_u32s(0x4b00_0000));
    let bias =
        s.select_f32s(tiny, s.splat_f32s(8_388_608.0 + 127.0 + 23.0), s.splat_f32s(8_388_608.0 + 127.0));
    let e = s.sub_f32s(s.transmute_f32s_u32s(biased), bias);
    let m = s.transmute_f32s_u32s(s.add_u32s(s.and_u32s(bits, s.splat_u32s(0x007f_ffff)), sqrt_half));
    let r = s.sub_f32s(m, s.splat_f32s(1.0));
    let r2 = s.mul_f32s(r, r);
    let p = poly(
        s,
        r,
        [
            7.037_683_6e-2,
            -1.151_461e-1,
            1.167_699_9e-1,
            -1.242_014_1e-1,
            1.424_932_3e-1,
            -1.666_805_8e-1,
            2.000_071_5e-1,
            -2.499_999_4e-1,
            3.333_333e-1,
        ],
    );
    let y = s.mul_f32s(s.mul_f32s(p, r), r2);
    let y = s.mul_add_e_f32s(e, s.splat_f32s(-2.121_944_4e-4), y);
    let y = s.mul_add_e_f32s(r2, s.splat_f32s(-0.5), y);
    let y = s.mul_add_e_f32s(e, s.splat_f32s(0.693_359_4), s.add_f32s(r, y));
    let infinity = s.splat_f32s(f32::INFINITY);
    let y = s.select_f32s(s.equal_f32s(x, infinity), infinity, y);
    let zero = s.splat_f32s(0.0);
    let y = s.select_f32s(s.equal_f32s(x, zero), s.splat_f32s(f32::NEG_INFINITY), y);
    let y = s.select_f32s(s.less_than_f32s(x, zero), s.splat_f32s(f32::NAN), y);
    keep_nan(s, x, y)
}

/// Hyperbolic tangent: at most 2 ulp; NaN for NaN.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let a = s.abs_f32s(x);
    let z = s.mul_f32s(a, a);
    let p = poly(s, z, [-0.005_704_988_7, 2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1]);
    let small = s.mul_add_e_f32s(s.mul_f32s(p, z), a, a);
    // 1 - 2 / (e^2a + 1); past 10 the result is 1 in f32, and the exponent needs no second factor.
    let (n, e) = exp_parts(s, s.min_f32s(s.add_f32s(a, a), s.splat_f32s(20.0)));
    let one = s.splat_f32s(1.0);
    let e = s.mul_add_e_f32s(e, exp2_int(s, n), one);
    let large = s.sub_f32s(one, s.div_f32s(s.splat_f32s(2.0), e));
    let y = s.select_f32s(s.less_than_f32s(a, s.splat_f32s(0.625)), small, large);
    keep_nan(s, x, with_sign(s, y, x))
}

/// `1 / (1 + e^-x)`: at most 3 ulp (0 for `x` below -87.3); NaN for NaN.
#[inline(always)]
pub fn sigmoid<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let one = s.splat_f32s(1.0);
    let e = exp_negative(s, s.or_f32s(x, s.splat_f32s(-0.0)));
    let top = s.select_f32s(s.less_than_f32s(x, s.splat_f32s(0.0)), e, one);
    s.div_f32s(top, s.add_f32s(one, e))
}

/// The error function: at most 2 ulp; NaN for NaN.
#[inline(always)]
pub fn erf<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    // Polynomials by N. Juffa: odd below 475 / 512, `1 - e^p` above; from 4 on erf is 1 in f32.
    let a = s.min_f32s(s.abs_f32s(x), s.splat_f32s(4.0));
    let z = s.mul_f32s(a, a);
    let p = poly(
        s,
        z,
        [-5.967_617e-4, 4.991_194_2e-3, -2.676_813_5e-2, 1.128_199_2e-1, -3.761_253_3e-1, 1.283_791_7e-1],
    );
    let small = s.mul_add_e_f32s(p, a, a);
    let p = poly(
        s,
        a,
        [
            -1.728_534_7e-5,
            3.831_971_3e-4,
            -3.883_964_4e-3,
            2.425_462_2e-2,
            -1.067_778_8e-1,
            -6.348_467e-1,
            -1.287_175_1e-1,
        ],
    );
    let (n, e) = exp_parts(s, s.sub_f32s(s.mul_f32s(p, a), a));
    let one = s.splat_f32s(1.0);
    let large = s.sub_f32s(one, s.mul_f32s(e, exp2_int(s, n)));
    let y = s.select_f32s(s.less_than_or_equal_f32s(a, s.splat_f32s(0.927_734_4)), small, large);
    keep_nan(s, x, with_sign(s, y, x))
}

/// `√x`, correctly rounded; NaN below 0.
#[inline(always)]
pub fn sqrt<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    s.sqrt_f32s(x)
}

/// `1 / √x` by a square root and a division: at most 1.5 ulp.
#[inline(always)]
pub fn rsqrt<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    s.div_f32s(s.splat_f32s(1.0), s.sqrt_f32s(x))
}

/// The largest integer not above `x`.
#[inline(always)]
pub fn floor<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    // Numbers from 2^23 up are integers; for smaller ones adding and subtracting 2^23 rounds.
    let big = with_sign(s, s.splat_f32s(8_388_608.0), x);
    let near = s.sub_f32s(s.add_f32s(x, big), big);
    let down = s.select_f32s(s.greater_than_f32s(near, x), s.splat_f32s(1.0), s.splat_f32s(0.0));
    let y = with_sign(s, s.abs_f32s(s.sub_f32s(near, down)), x);
    s.select_f32s(s.less_than_f32s(s.abs_f32s(x), s.splat_f32s(8_388_608.0)), y, x)
}

/// The larger of two; NaN if either is.
#[inline(always)]
pub fn max<S: Simd>(s: S, a: S::f32s, b: S::f32s) -> S::f32s {
    keep_nan(s, a, s.select_f32s(s.greater_than_f32s(a, b), a, b))
}

/// The smaller of two; NaN if either is.
#[inline(always)]
pub fn min<S: Simd>(s: S, a: S::f32s, b: S::f32s) -> S::f32s {
    keep_nan(s, a, s.select_f32s(s.less_than_f32s(a, b), a, b))
}

/// Sine: at most 2 ulp, or 1e-7 absolutely near its zeros; NaN for infinities and NaN.
#[inline(always)]
pub fn sin<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    sin_quadrant(s, x, 0, f32::sin)
}

/// Cosine: at most 2 ulp, or 1e-7 absolutely near its zeros; NaN for infinities and NaN.
#[inline(always)]
pub fn cos<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    sin_quadrant(s, x, 1, f32::cos)
}

/// `sin(x + quadrant π / 2)`; `exact` is the same for one number, for angles too large to reduce in f32.
#[inline(always)]
fn sin_quadrant<S: Simd>(s: S, x: S::f32s, quadrant: u32, exact: fn(f32) -> f32) -> S::f32s {
    let round = s.splat_f32s(ROUND);
    let shifted = s.mul_add_e_f32s(x, s.splat_f32s(std::f32::consts::FRAC_2_PI), round);
    let n = s.sub_f32s(shifted, round);
    let quadrant = s.add_u32s(s.transmute_u32s_f32s(shifted), s.splat_u32s(quadrant));
    // π / 2 in three parts, short enough that multiples of the first two are exact for the angles let through.
    let r = s.mul_add_e_f32s(n, s.splat_f32s(-1.570_312_5), x);
    let r = s.mul_add_e_f32s(n, s.splat_f32s(-4.837_513e-4), r);
    let r = s.mul_add_e_f32s(n, s.splat_f32s(-7.549_79e-8), r);
    let z = s.mul_f32s(r, r);
    let sine = poly(s, z, [-1.951_529_6e-4, 8.332_161e-3, -1.666_665_5e-1]);
    let sine = s.mul_add_e_f32s(s.mul_f32s(sine, z), r, r);
    let cosine = poly(s, z, [2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2]);
    let cosine = s.mul_add_e_f32s(
        s.mul_f32s(cosine, z),
        z,
        s.mul_add_e_f32s(z, s.splat_f32s(-0.5), s.splat_f32s(1.0)),
    );
    let one = s.splat_u32s(1);
    let odd = s.equal_u32s(s.and_u32s(quadrant, one), one);
    let y = s.select_f32s(odd, cosine, sine);
    let sign = s.wrapping_dyn_shl_u32s(s.and_u32s(quadrant, s.splat_u32s(2)), s.splat_u32s(30));
    let y = s.transmute_f32s_u32s(s.xor_u32s(s.transmute_u32s_f32s(y), sign));
    let fine = s.less_than_or_equal_f32s(s.abs_f32s(x), s.splat_f32s(2048.0));
    if s.first_true_m32s(s.not_m32s(fine)) < S::F32_LANES {
        return s.select_f32s(fine, y, each(x, exact));
    }
    y
}

/// `f` of each lane, for functions not worth a vector version.
#[inline(always)]
pub fn each<V: bytemuck::Pod>(mut x: V, f: impl Fn(f32) -> f32) -> V {
    for lane in bytemuck::cast_slice_mut::<V, f32>(std::slice::from_mut(&mut x)) {
        *lane = f(*lane);
    }
    x
}

/// `f` of each pair of lanes.
#[inline(always)]
pub fn each2<V: bytemuck::Pod>(mut a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
    let b = bytemuck::cast_slice::<V, f32>(std::slice::from_ref(&b));
    for (a, b) in bytemuck::cast_slice_mut::<V, f32>(std::slice::from_mut(&mut a)).iter_mut().zip(b) {
        *a = f(*a, *b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{dispatch_at, levels};
    use pulp::WithSimd;

    macro_rules! over_slice {
        ($($f:ident),*) => {
            #[derive(Clone, Copy, Debug)]
            #[allow(non_camel_case_types)]
            enum F { $($f),* }
            struct Run<'a>(F, &'a mut [f32]);
            impl WithSimd for Run<'_> {
                type Output = ();
                #[inline(always)]
                fn with_simd<S: Simd>(self, s: S) {
                    for chunk in self.1.chunks_mut(S::F32_LANES) {
                        let x = s.partial_load_f32s(chunk);
                        let y = match self.0 { $(F::$f => $f(s, x)),* };
                        s.partial_store_f32s(chunk, y);
                    }
                }
            }
        };
    }
    over_slice!(exp, exp_negative, ln, tanh, sigmoid, erf, sqrt, rsqrt, floor, sin, cos);

    /// The error function in f64, by its series and, further out, its continued fraction.
    pub(crate) fn erf64(x: f64) -> f64 {
        let a = x.abs();
        if a < 2.5 {
            let (mut term, mut sum) = (a, a);
            for n in 1..80 {
                term *= -a * a / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            return (sum * 2.0 / std::f64::consts::PI.sqrt()).copysign(x);
        }
        let mut f = a;
        for k in (1..80).rev() {
            f = a + f64::from(k) / 2.0 / f;
        }
        (1.0 - (-a * a).exp() / f / std::f64::consts::PI.sqrt()).copysign(x)
    }

    type Exact = fn(f64) -> f64;

    fn ulp(y: f64) -> f64 {
        let y = y.abs().max(f64::from(f32::MIN_POSITIVE)) as f32;
        f64::from(f32::from_bits(y.to_bits() + 1)) - f64::from(y)
    }

    /// The largest error in ulp over many numbers of each exponent between the bounds.
    fn worst(level: crate::simd::Level, f: F, exact: fn(f64) -> f64, from: f32, to: f32) -> (f64, f32) {
        let mut x = vec![];
        for bits in (0..u32::MAX).step_by(4127) {
            let v = f32::from_bits(bits);
            if v >= from && v <= to {
                x.push(v);
            }
        }
        for i in 0..20_000 {
            let v = from.max(-20.0) + (to.min(20.0) - from.max(-20.0)) * i as f32 / 20_000.0;
            x.push(v);
        }
        let mut y = x.clone();
        dispatch_at(level, Run(f, &mut y));
        let error = |x: f32, y: f32| {
            let e = exact(f64::from(x));
            if e as f32 == y || (e.is_nan() && y.is_nan()) { 0.0 } else { (f64::from(y) - e).abs() / ulp(e) }
        };
        x.iter()
            .zip(&y)
            .map(|(x, y)| (error(*x, *y), *x))
            .fold((0.0, 0.0), |a, b| if b.0 > a.0 || b.0.is_nan() { b } else { a })
    }

    #[test]
    fn errors_stay_within_their_bounds() {
        let max = f32::MAX;
        let cases: [(F, Exact, f32, f32, f64); 9] = [
            (F::exp, f64::exp, -200.0, 200.0, 2.0),
            (F::exp_negative, f64::exp, -87.3, 0.0, 2.0),
            (F::ln, f64::ln, 0.0, max, 2.0),
            (F::tanh, f64::tanh, -max, max, 2.0),
            (F::sigmoid, |x| 1.0 / (1.0 + (-x).exp()), -87.0, max, 3.0),
            (F::erf, erf64, -max, max, 2.0),
            (F::sqrt, f64::sqrt, 0.0, max, 0.5),
            (F::rsqrt, |x| 1.0 / x.sqrt(), 1e-37, max, 1.5),
            (F::floor, f64::floor, -max, max, 0.0),
        ];
        for level in levels() {
            for (f, exact, from, to, bound) in cases {
                let (error, at) = worst(level, f, exact, from, to);
                println!("{level:?} {f:?}: {error:.2} ulp at {at:e}");
                assert!(error <= bound, "{level:?} {f:?}: {error} ulp at {at:e}");
            }
        }
    }

    #[test]
    fn sines_are_close() {
        for level in levels() {
            for (f, exact) in [(F::sin, f64::sin as fn(f64) -> f64), (F::cos, f64::cos)] {
                let x: Vec<f32> =
                    (0..200_000).map(|i| (i - 100_000) as f32 * 0.031).chain([1e6, -3e9, 1e30]).collect();
                let mut y = x.clone();
                dispatch_at(level, Run(f, &mut y));
                for (x, y) in x.iter().zip(&y) {
                    let e = exact(f64::from(*x));
                    assert!(
                        (f64::from(*y) - e).abs() <= (2.0 * ulp(e)).max(1e-7),
                        "{level:?} {f:?}({x}) = {y}, not {e}"
                    );
                }
            }
        }
    }

    #[test]
    fn special_values() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        let cases: [(F, &[(f32, f32)]); 9] = [
            (
                F::exp,
                &[(inf, inf), (-inf, 0.0), (nan, nan), (0.0, 1.0), (-0.0, 1.0), (89.5, inf), (-105.0, 0.0)],
            ),
            (F::exp_negative, &[(-inf, 0.0), (nan, nan), (0.0, 1.0), (-0.0, 1.0)]),
            (
                F::ln,
                &[(inf, inf), (0.0, -inf), (-0.0, -inf), (-1.0, nan), (-inf, nan), (nan, nan), (1.0, 0.0)],
            ),
            (F::tanh, &[(inf, 1.0), (-inf, -1.0), (nan, nan), (0.0, 0.0), (-0.0, -0.0), (1e-40, 1e-40)]),
            (F::sigmoid, &[(inf, 1.0), (-inf, 0.0), (nan, nan), (0.0, 0.5)]),
            (F::erf, &[(inf, 1.0), (-inf, -1.0), (nan, nan), (0.0, 0.0), (-0.0, -0.0)]),
            (F::sqrt, &[(inf, inf), (-1.0, nan), (nan, nan), (0.0, 0.0)]),
            (
                F::floor,
                &[(inf, inf), (-inf, -inf), (nan, nan), (-0.0, -0.0), (-0.5, -1.0), (0.99999994, 0.0)],
            ),
            (F::sin, &[(inf, nan), (nan, nan), (0.0, 0.0)]),
        ];
        for level in levels() {
            for (f, pairs) in cases {
                for &(x, want) in pairs {
                    let mut y = [x; 3];
                    dispatch_at(level, Run(f, &mut y));
                    for y in y {
                        assert!(
                            y.to_bits() == want.to_bits() || (y.is_nan() && want.is_nan()),
                            "{level:?} {f:?}({x}) = {y}"
                        );
                    }
                }
            }
        }
    }
}
