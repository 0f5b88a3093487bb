//! Counter-based random numbers: Philox4x32-10 (Salmon and others, "Parallel random numbers: as easy as 1, 2, 3", 2011).
//!
//! Element `i` of a stream depends on the key and on `i` alone, so that any part can be made on any thread.
//! Bits and uniform numbers are the same on every machine; normal numbers may differ in their last digit between levels.

use crate::simd::{self, Level};
use pulp::{Simd, WithSimd, bytemuck};

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
/// `2^-24`
const ULP: f32 = 1.0 / 16_777_216.0;

/// Ten rounds of Philox4x32 on one counter.
///
/// ```
/// let words = brisk_kernels::random::philox([0, 0], [0; 4]);
/// assert_eq!(words, [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
/// ```
pub fn philox(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        let p0 = u64::from(c0) * u64::from(MULTIPLIERS[0]);
        let p1 = u64::from(c2) * u64::from(MULTIPLIERS[1]);
        (c0, c1, c2, c3) = ((p1 >> 32) as u32 ^ c1 ^ k0, p1 as u32, (p0 >> 32) as u32 ^ c3 ^ k1, p0 as u32);
        k0 = k0.wrapping_add(WEYL[0]);
        k1 = k1.wrapping_add(WEYL[1]);
    }
    [c0, c1, c2, c3]
}

/// Random word number `index` of the stream of `key`: word `index % 4` of [`philox`] at counter `index / 4`.
///
/// ```
/// assert_eq!(brisk_kernels::random::bits([0, 0], 3), 0x9b00dbd8);
/// ```
pub fn bits(key: [u32; 2], index: u64) -> u32 {
    let block = index / 4;
    philox(key, [block as u32, (block >> 32) as u32, 0, 0])[(index % 4) as usize]
}

/// `out[i] = bits(key, start + i)`.
///
/// ```
/// let mut words = [0; 5];
/// brisk_kernels::random::fill_bits([1, 2], 10, &mut words);
/// assert_eq!(words[4], brisk_kernels::random::bits([1, 2], 14));
/// ```
pub fn fill_bits(key: [u32; 2], start: u64, out: &mut [u32]) {
    fill::<Bits>(simd::level(), key, start, out);
}

/// `out[i] = (bits(key, start + i) >> 8) / 2^24`: uniform in `[0, 1)`, every value a multiple of `2^-24`.
///
/// ```
/// let mut u = [0.0; 1000];
/// brisk_kernels::random::fill_uniform([1, 2], 0, &mut u);
/// assert!(u.iter().all(|u| (0.0..1.0).contains(u)));
/// ```
pub fn fill_uniform(key: [u32; 2], start: u64, out: &mut [f32]) {
    fill::<Uniform>(simd::level(), key, start, out);
}

/// The word below which [`bits`] are exactly where [`fill_uniform`] gives a number below `u`, which is from 0 to below 1.
///
/// ```
/// use brisk_kernels::random::{bits, fill_uniform, word_of};
/// let mut x = [0.0; 100];
/// fill_uniform([1, 2], 0, &mut x);
/// assert!(x.iter().zip(0..).all(|(x, i)| (*x < 0.3) == (bits([1, 2], i) < word_of(0.3))));
/// ```
pub fn word_of(u: f32) -> u32 {
    ((f64::from(u) / f64::from(ULP)).ceil() as u32) << 8
}

/// Standard normal numbers (Box and Muller): elements `2j` and `2j + 1` are the two coordinates made of words
/// `2j` and `2j + 1`, so that element `start + i` depends on its number alone. At most 5.77 in absolute value.
///
/// ```
/// let (mut a, mut b) = ([0.0; 10], [0.0; 4]);
/// brisk_kernels::random::fill_normal([1, 2], 0, &mut a);
/// brisk_kernels::random::fill_normal([1, 2], 3, &mut b);
/// assert_eq!(a[3..7], b);
/// ```
pub fn fill_normal(key: [u32; 2], start: u64, out: &mut [f32]) {
    fill::<Normal>(simd::level(), key, start, out);
}

/// A uniformly random order of `0..n` (Fisher and Yates), the same for one key and `n`.
///
/// ```
/// let mut order = brisk_kernels::random::permutation([1, 2], 100);
/// order.sort();
/// assert!(order.into_iter().eq(0..100));
/// ```
pub fn permutation(key: [u32; 2], n: usize) -> Vec<u32> {
    let mut order: Vec<u32> =
        (0..u32::try_from(n).expect("a permutation of fewer than 2^32 items")).collect();
    for i in (1..n).rev() {
        // 64 random bits scaled to 0..=i: the bias is below 2^-32.
        let words = philox(key, [i as u32, 0, 0, 1]);
        let wide = u64::from(words[0]) << 32 | u64::from(words[1]);
        let j = ((u128::from(wide) * (i as u128 + 1)) >> 64) as usize;
        order.swap(i, j);
    }
    order
}

/// What becomes of a block's four words.
trait Make {
    type Item: bytemuck::Pod;
    /// Whether each item is made of one word, so that they may be put in order before.
    const SINGLE: bool;
    /// In place of the words' bits, those of the items.
    fn make<S: Simd>(s: S, words: [S::u32s; 4]) -> [S::u32s; 4];
}

struct Bits;
impl Make for Bits {
    type Item = u32;
    const SINGLE: bool = true;
    #[inline(always)]
    fn make<S: Simd>(_s: S, words: [S::u32s; 4]) -> [S::u32s; 4] {
        words
    }
}

struct Uniform;
impl Make for Uniform {
    type Item = f32;
    const SINGLE: bool = true;
    #[inline(always)]
    fn make<S: Simd>(s: S, [a, b, c, d]: [S::u32s; 4]) -> [S::u32s; 4] {
        let ulp = s.splat_f32s(ULP);
        let [a, b, c, d] = [top24(s, a), top24(s, b), top24(s, c), top24(s, d)];
        [
            s.transmute_u32s_f32s(s.mul_f32s(a, ulp)),
            s.transmute_u32s_f32s(s.mul_f32s(b, ulp)),
            s.transmute_u32s_f32s(s.mul_f32s(c, ulp)),
            s.transmute_u32s_f32s(s.mul_f32s(d, ulp)),
        ]
    }
}

struct Normal;
impl Make for Normal {
    type Item = f32;
    const SINGLE: bool = false;
    #[inline(always)]
    fn make<S: Simd>(s: S, [a, b, c, d]: [S::u32s; 4]) -> [S::u32s; 4] {
        let ([a, b], [c, d]) = (box_muller(s, a, b), box_muller(s, c, d));
        [a, b, c, d]
    }
}

#[inline(always)]
fn box_muller<S: Simd>(s: S, a: S::u32s, b: S::u32s) -> [S::u32s; 2] {
    // u in (0, 1], so that its logarithm is finite.
    let u = s.mul_f32s(s.add_f32s(top24(s, a), s.splat_f32s(1.0)), s.splat_f32s(ULP));
    let radius = s.sqrt_f32s(s.mul_f32s(simd::ln(s, u), s.splat_f32s(-2.0)));
    let angle = s.mul_f32s(top24(s, b), s.splat_f32s(std::f32::consts::TAU * ULP));
    let (x, y) = (s.mul_f32s(radius, simd::cos(s, angle)), s.mul_f32s(radius, simd::sin(s, angle)));
    [s.transmute_u32s_f32s(x), s.transmute_u32s_f32s(y)]
}

/// The upper 24 bits as a number, exactly.
#[inline(always)]
fn top24<S: Simd>(s: S, words: S::u32s) -> S::f32s {
    // Twelve bits at a time stand in the mantissa of 2^23.
    let base = s.splat_u32s(0x4b00_0000);
    let two23 = s.splat_f32s(8_388_608.0);
    let high = s.wrapping_dyn_shr_u32s(words, s.splat_u32s(20));
    let low = s.and_u32s(s.wrapping_dyn_shr_u32s(words, s.splat_u32s(8)), s.splat_u32s(0xfff));
    let high = s.sub_f32s(s.transmute_f32s_u32s(s.or_u32s(high, base)), two23);
    let low = s.sub_f32s(s.transmute_f32s_u32s(s.or_u32s(low, base)), two23);
    s.mul_add_e_f32s(high, s.splat_f32s(4096.0), low)
}

/// [`fill_bits`] inside a kernel.
#[inline(always)]
pub(crate) fn fill_bits_at<S: Simd>(s: S, key: [u32; 2], start: u64, out: &mut [u32]) {
    Fill::<Bits> { key, start, out, make: std::marker::PhantomData }.with_simd(s);
}

fn fill<M: Make>(level: Level, key: [u32; 2], start: u64, out: &mut [M::Item]) {
    simd::dispatch_at(
        level,
        Fill::<M> { key, start, out: bytemuck::cast_slice_mut(out), make: std::marker::PhantomData },
    );
}

struct Fill<'a, M> {
    key: [u32; 2],
    start: u64,
    out: &'a mut [u32],
    make: std::marker::PhantomData<M>,
}

impl<M: Make> WithSimd for Fill<'_, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self { key, start, mut out, .. } = self;
        let lanes = S::F32_LANES;
        let mut block = start / 4;
        let mut skip = (start % 4) as usize;
        let order = block_order(s);
        while !out.is_empty() {
            let words = match M::SINGLE.then(|| in_order::philox_vectors(s, key, block)).flatten() {
                Some(words) => M::make(s, words),
                None => s.interleave_shfl_f32s(M::make(s, philox_vector(s, key, block, order))),
            };
            block += lanes as u64;
            let flat: &[u32] = bytemuck::cast_slice(&words);
            if skip == 0 && out.len() >= 4 * lanes {
                let (now, later) = out.split_at_mut(4 * lanes);
                S::as_mut_simd_u32s(now).0.iter_mut().zip(words).for_each(|(to, from)| *to = from);
                out = later;
                continue;
            }
            let n = (flat.len() - skip).min(out.len());
            let (now, later) = out.split_at_mut(n);
            now.copy_from_slice(&flat[skip..][..n]);
            out = later;
            skip = 0;
        }
    }
}

/// Which block each lane has to work on, so that the words of all, interleaved as a CPU does it fastest, come in their order.
#[inline(always)]
fn block_order<S: Simd>(s: S) -> S::u32s {
    let mut numbers = [s.splat_u32s(0); 4];
    bytemuck::cast_slice_mut::<S::u32s, u32>(&mut numbers).iter_mut().zip(0..).for_each(|(n, i)| *n = i);
    s.wrapping_dyn_shr_u32s(s.deinterleave_shfl_f32s(numbers)[0], s.splat_u32s(2))
}

/// [`philox`] on as many consecutive counters as there are lanes, in an order.
#[inline(always)]
fn philox_vector<S: Simd>(s: S, key: [u32; 2], block: u64, order: S::u32s) -> [S::u32s; 4] {
    let (block_low, block_high) = (block as u32, (block >> 32) as u32);
    let low = s.add_u32s(s.splat_u32s(block_low), order);
    let high = match block_low.checked_add(S::F32_LANES as u32) {
        Some(_) => s.splat_u32s(block_high),
        None => {
            // Those that have come around belong to the next 2^32 blocks.
            let around = s.less_than_u32s(low, s.splat_u32s(block_low));
            s.select_u32s(around, s.splat_u32s(block_high.wrapping_add(1)), s.splat_u32s(block_high))
        }
    };
    let (mut c0, mut c1, mut c2, mut c3) = (low, high, s.splat_u32s(0), s.splat_u32s(0));
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        let (low0, high0) = s.widening_mul_u32s(c0, s.splat_u32s(MULTIPLIERS[0]));
        let (low1, high1) = s.widening_mul_u32s(c2, s.splat_u32s(MULTIPLIERS[1]));
        c0 = s.xor_u32s(s.xor_u32s(high1, c1), s.splat_u32s(k0));
        c1 = low1;
        c2 = s.xor_u32s(s.xor_u32s(high0, c3), s.splat_u32s(k1));
        c3 = low0;
        k0 = k0.wrapping_add(WEYL[0]);
        k1 = k1.wrapping_add(WEYL[1]);
    }
    [c0, c1, c2, c3]
}

/// Philox with products of 32 bits by 32 bits as AVX-512 has them, in lanes of 64 bits, which takes fewer instructions.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod in_order {
    use super::{MULTIPLIERS, Simd, WEYL};
    use crate::simd::is_avx512;
    use std::arch::x86_64::*;

    /// The words of 16 blocks in their order, if `S` is AVX-512.
    #[inline(always)]
    pub fn philox_vectors<S: Simd>(_: S, key: [u32; 2], block: u64) -> Option<[S::u32s; 4]> {
        // SAFETY: the machine has AVX-512; its vectors of words are 16 plain words, as `__m512i` is.
        is_avx512::<S>().then(|| unsafe { std::mem::transmute_copy(&sixteen(key, block)) })
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn sixteen(key: [u32; 2], block: u64) -> [__m512i; 4] {
        // Only the lower halves of the lanes count. The order is such that unpacking puts the blocks in theirs.
        let order = _mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0);
        let eight = |first: u64| {
            let counters = _mm512_add_epi64(_mm512_set1_epi64(first as i64), order);
            [counters, _mm512_srli_epi64::<32>(counters), _mm512_setzero_si512(), _mm512_setzero_si512()]
        };
        let mut counters = [eight(block), eight(block.wrapping_add(8))];
        let [m0, m1] = MULTIPLIERS.map(|m| _mm512_set1_epi32(m as i32));
        let [mut k0, mut k1] = key;
        for _ in 0..10 {
            let [x0, x1] = [k0, k1].map(|k| _mm512_set1_epi32(k as i32));
            // Two chains side by side, since each waits for its products.
            for c in &mut counters {
                let [c0, c1, c2, c3] = *c;
                let (p0, p1) = (_mm512_mul_epu32(c0, m0), _mm512_mul_epu32(c2, m1));
                let (h0, h1) = (_mm512_srli_epi64::<32>(p0), _mm512_srli_epi64::<32>(p1));
                // The XOR of three.
                let (c0, c2) = (
                    _mm512_ternarylogic_epi32::<0x96>(h1, c1, x0),
                    _mm512_ternarylogic_epi32::<0x96>(h0, c3, x1),
                );
                *c = [c0, p1, c2, p0];
            }
            k0 = k0.wrapping_add(WEYL[0]);
            k1 = k1.wrapping_add(WEYL[1]);
        }
        let [[a, b], [c, d]] = counters.map(|[c0, c1, c2, c3]| {
            let (a, b) = (
                _mm512_mask_shuffle_epi32::<0b10_00_00_00>(c0, 0xaaaa, c1),
                _mm512_mask_shuffle_epi32::<0b10_00_00_00>(c2, 0xaaaa, c3),
            );
            [_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b)]
        });
        [a, b, c, d]
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod in_order {
    pub fn philox_vectors<S: super::Simd>(_: S, _: [u32; 2], _: u64) -> Option<[S::u32s; 4]> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::levels;
    use proptest::prelude::*;

    #[test]
    fn known_answers() {
        // From the Random123 distribution, kat_vectors.
        let cases = [
            ([0, 0], [0; 4], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]),
            ([u32::MAX; 2], [u32::MAX; 4], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]),
            (
                [0xa4093822, 0x299f31d0],
                [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
                [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
            ),
        ];
        for (key, counter, want) in cases {
            assert_eq!(philox(key, counter), want);
        }
    }

    proptest! {
        #[test]
        fn each_element_stands_alone(key: [u32; 2], start in prop_oneof![0u64..100, (1u64 << 34) - 50..(1 << 34) + 50], n in 0usize..200) {
            for level in levels() {
                let (mut words, mut uniform, mut normal) = (vec![0; n], vec![0.0; n], vec![0.0; n]);
                fill::<Bits>(level, key, start, &mut words);
                fill::<Uniform>(level, key, start, &mut uniform);
                fill::<Normal>(level, key, start, &mut normal);
                for i in 0..n {
                    let at = start + i as u64;
                    prop_assert_eq!(words[i], bits(key, at));
                    prop_assert_eq!(uniform[i], (bits(key, at) >> 8) as f32 * ULP);
                    let radius = (-2.0 * (f64::from((bits(key, at & !1) >> 8) + 1) * f64::from(ULP)).ln()).sqrt();
                    let angle = f64::from(bits(key, at | 1) >> 8) * std::f64::consts::TAU * f64::from(ULP);
                    let want = radius * if at.is_multiple_of(2) { angle.cos() } else { angle.sin() };
                    prop_assert!((f64::from(normal[i]) - want).abs() < 4e-6, "{} {}", normal[i], want);
                    let mut one = [0.0];
                    fill::<Normal>(level, key, at, &mut one);
                    prop_assert_eq!(one[0].to_bits(), normal[i].to_bits());
                }
            }
        }
    }

    #[test]
    fn moments() {
        let n = 1_000_000;
        let mut x = vec![0.0; n];
        let moment = |x: &[f32], p: i32| x.iter().map(|v| f64::from(*v).powi(p)).sum::<f64>() / n as f64;
        fill_uniform([7, 8], 0, &mut x);
        assert!((moment(&x, 1) - 0.5).abs() < 2e-3 && (moment(&x, 2) - 1.0 / 3.0).abs() < 2e-3);
        fill_normal([7, 8], 0, &mut x);
        for (p, want) in [(1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)] {
            assert!((moment(&x, p) - want).abs() < 0.03, "moment {p}: {}", moment(&x, p));
        }
    }

    #[test]
    fn permutations_are_fair() {
        let mut counts = [[0; 5]; 5];
        for seed in 0..20_000 {
            for (i, v) in permutation([seed, 3], 5).iter().enumerate() {
                counts[i][*v as usize] += 1;
            }
        }
        assert!(counts.as_flattened().iter().all(|c| (3700..4300).contains(c)), "{counts:?}");
        assert!(permutation([0, 0], 0).is_empty() && permutation([0, 0], 1) == [0]);
    }
}
