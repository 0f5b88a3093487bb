//! The vectors that the convolution and pooling kernels are written against, and the one place that picks a level.
//!
//! A kernel is a struct with its arguments and one generic `run`. [`dispatch`] enters it under the widest instruction
//! set that the machine (or `BRISK_CPU`) allows; everything inside is inlined into that entry.

use crate::simd::Level;

/// A few lanes of f32. All methods are `unsafe` because they need the instruction set that the type stands for.
pub(crate) trait Vector: Copy {
    const LANES: usize;
    unsafe fn splat(x: f32) -> Self;
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller has the instruction set.
        unsafe { Self::splat(0.0) }
    }
    unsafe fn load(p: *const f32) -> Self;
    unsafe fn store(self, p: *mut f32);
    /// The first `n < LANES` lanes; the others are 0 and their memory is not touched.
    unsafe fn load_part(p: *const f32, n: usize) -> Self;
    unsafe fn store_part(self, p: *mut f32, n: usize);
    /// `a * b + self`
    unsafe fn fma(self, a: Self, b: Self) -> Self;
    unsafe fn add(self, b: Self) -> Self;
    unsafe fn mul(self, b: Self) -> Self;
    /// `max(self, 0)`; NaN stays NaN.
    unsafe fn relu(self) -> Self;
    /// The running maximum and its position: where `x` is larger than `best`, or is NaN, `(x, k)`; elsewhere `(best, at)`.
    unsafe fn later_max(best: Self, at: Self, x: Self, k: Self) -> (Self, Self);
    /// `self` where `a == b`, 0 elsewhere.
    unsafe fn where_equal(self, a: Self, b: Self) -> Self;
    /// `self` where `a > 0`, 0 elsewhere.
    unsafe fn where_positive(self, a: Self) -> Self;
    /// Whole numbers below 2^24, each plus `base`.
    unsafe fn store_offsets(self, base: u32, p: *mut u32);
    /// One bit for each lane where `self == k` and, if `relu`, also `y > 0`.
    unsafe fn equal_bits(self, k: Self, y: Self, relu: bool) -> u64;
    /// Whole numbers 0..=255 to and from bytes; `n <= LANES` of them.
    unsafe fn store_bytes(self, p: *mut u8, n: usize);
    unsafe fn load_bytes(p: *const u8, n: usize) -> Self;

    /// Asks for the cache line at `p`, any address.
    #[inline(always)]
    unsafe fn prefetch(_p: *const f32) {}
    /// The first `min(n, LANES)` lanes.
    #[inline(always)]
    unsafe fn load_n(p: *const f32, n: usize) -> Self {
        // SAFETY: the caller's.
        unsafe { if n >= Self::LANES { Self::load(p) } else { Self::load_part(p, n) } }
    }
    #[inline(always)]
    unsafe fn store_n(self, p: *mut f32, n: usize) {
        // SAFETY: the caller's.
        unsafe { if n >= Self::LANES { self.store(p) } else { self.store_part(p, n) } }
    }
}

/// A kernel with its arguments. `run` must be `#[inline(always)]`, and so must all generic code that it calls.
/// `M` is how many rows (pixels) of accumulators, each two vectors wide, fit the registers.
pub(crate) trait Kernel {
    unsafe fn run<V: Vector, const M: usize>(self);
}

#[cfg(test)]
thread_local! {
    pub(crate) static FORCED: std::cell::Cell<Option<Level>> = const { std::cell::Cell::new(None) };
}

/// The level in use: [`crate::simd::level`], or what a test forces.
#[inline]
pub(crate) fn level() -> Level {
    #[cfg(test)]
    if let Some(level) = FORCED.get() {
        return level;
    }
    crate::simd::level()
}

/// f32 lanes of a vector at the level in use.
#[inline]
pub(crate) fn lanes() -> usize {
    match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => 16,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => 8,
        _ => 4,
    }
}

/// Runs `kernel` at the level in use.
///
/// # Safety
/// The kernel's own pointers must be valid.
#[inline]
pub(crate) unsafe fn dispatch<K: Kernel>(kernel: K) {
    // SAFETY: `level` names only what the machine supports; the rest is the caller's.
    unsafe {
        match level() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => x86::on_avx512(kernel),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => x86::on_avx2(kernel),
            _ => on_scalar(kernel),
        }
    }
}

#[inline(never)]
unsafe fn on_scalar<K: Kernel>(kernel: K) {
    // SAFETY: the caller's.
    unsafe { kernel.run::<Plain, 4>() }
}

/// Four floats in plain Rust: what every machine can do.
#[derive(Clone, Copy)]
pub(crate) struct Plain([f32; 4]);

impl Plain {
    #[inline(always)]
    fn zip(self, b: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self([f(self.0[0], b.0[0]), f(self.0[1], b.0[1]), f(self.0[2], b.0[2]), f(self.0[3], b.0[3])])
    }
}

// SAFETY (all blocks below): the caller vouches for the pointers; no instruction set is needed.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Vector for Plain {
    const LANES: usize = 4;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; 4])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        Self(unsafe { p.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        unsafe { p.cast::<[f32; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> Self {
        let mut v = [0.0; 4];
        for i in 0..n.min(4) {
            v[i] = unsafe { *p.add(i) };
        }
        Self(v)
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        for i in 0..n.min(4) {
            unsafe { *p.add(i) = self.0[i] };
        }
    }
    #[inline(always)]
    unsafe fn fma(self, a: Self, b: Self) -> Self {
        a.zip(b, |a, b| a * b).zip(self, |p, s| p + s)
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        self.zip(b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        self.zip(b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn relu(self) -> Self {
        self.zip(self, |a, _| if a < 0.0 { 0.0 } else { a })
    }
    #[inline(always)]
    unsafe fn later_max(best: Self, at: Self, x: Self, k: Self) -> (Self, Self) {
        let (mut b, mut i) = (best, at);
        for l in 0..4 {
            if x.0[l] > best.0[l] || x.0[l].is_nan() {
                b.0[l] = x.0[l];
                i.0[l] = k.0[l];
            }
        }
        (b, i)
    }
    #[inline(always)]
    unsafe fn where_equal(self, a: Self, b: Self) -> Self {
        let mut v = self;
        for l in 0..4 {
            v.0[l] = if a.0[l] == b.0[l] { self.0[l] } else { 0.0 };
        }
        v
    }
    #[inline(always)]
    unsafe fn where_positive(self, a: Self) -> Self {
        self.zip(a, |v, a| if a > 0.0 { v } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store_offsets(self, base: u32, p: *mut u32) {
        unsafe { p.cast::<[u32; 4]>().write_unaligned(self.0.map(|v| base + v as u32)) }
    }
    #[inline(always)]
    unsafe fn equal_bits(self, k: Self, y: Self, relu: bool) -> u64 {
        let lane = |l: usize| u64::from(self.0[l] == k.0[l] && (!relu || y.0[l] > 0.0)) << l;
        lane(0) | lane(1) | lane(2) | lane(3)
    }
    #[inline(always)]
    unsafe fn store_bytes(self, p: *mut u8, n: usize) {
        for i in 0..n.min(4) {
            unsafe { *p.add(i) = self.0[i] as u8 };
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(p: *const u8, n: usize) -> Self {
        let mut v = [0.0; 4];
        for i in 0..n.min(4) {
            v[i] = f32::from(unsafe { *p.add(i) });
        }
        Self(v)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Kernel, Vector};
    use std::arch::x86_64::*;

    /// # Safety
    /// The machine has AVX2 and FMA; the kernel's pointers are valid.
    #[target_feature(enable = "avx2,fma")]
    #[inline(never)]
    pub(super) unsafe fn on_avx2<K: Kernel>(kernel: K) {
        // SAFETY: the caller's.
        unsafe { kernel.run::<Avx2, 6>() }
    }

    /// # Safety
    /// The machine has AVX-512F, AVX2 and FMA; the kernel's pointers are valid.
    #[target_feature(enable = "avx512f,avx2,fma")]
    #[inline(never)]
    pub(super) unsafe fn on_avx512<K: Kernel>(kernel: K) {
        // SAFETY: the caller's.
        unsafe { kernel.run::<Avx512, 12>() }
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256);

    /// A window of eight into this, `8 - n` from its start, has its first `n` lanes set.
    static FIRST: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

    #[inline(always)]
    unsafe fn first(n: usize) -> __m256i {
        debug_assert!(n <= 8);
        // SAFETY: n <= 8, so eight values from there are inside the table.
        unsafe { _mm256_loadu_si256(FIRST.as_ptr().add(8 - n).cast()) }
    }

    // SAFETY (all blocks below): called only under `on_avx2`; the caller vouches for the pointers.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Vector for Avx2 {
        const LANES: usize = 8;
        #[inline(always)]
        unsafe fn prefetch(p: *const f32) {
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            Self(unsafe { _mm256_set1_ps(x) })
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            Self(unsafe { _mm256_loadu_ps(p) })
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe { _mm256_storeu_ps(p, self.0) }
        }
        #[inline(always)]
        unsafe fn load_part(p: *const f32, n: usize) -> Self {
            Self(unsafe { _mm256_maskload_ps(p, first(n)) })
        }
        #[inline(always)]
        unsafe fn store_part(self, p: *mut f32, n: usize) {
            unsafe { _mm256_maskstore_ps(p, first(n), self.0) }
        }
        #[inline(always)]
        unsafe fn fma(self, a: Self, b: Self) -> Self {
            Self(unsafe { _mm256_fmadd_ps(a.0, b.0, self.0) })
        }
        #[inline(always)]
        unsafe fn add(self, b: Self) -> Self {
            Self(unsafe { _mm256_add_ps(self.0, b.0) })
        }
        #[inline(always)]
        unsafe fn mul(self, b: Self) -> Self {
            Self(unsafe { _mm256_mul_ps(self.0, b.0) })
        }
        #[inline(always)]
        unsafe fn relu(self) -> Self {
            // The second operand is the answer when either is NaN.
            Self(unsafe { _mm256_max_ps(_mm256_setzero_ps(), self.0) })
        }
        #[inline(always)]
        unsafe fn later_max(best: Self, at: Self, x: Self, k: Self) -> (Self, Self) {
            unsafe {
                let larger = _mm256_cmp_ps::<_CMP_GT_OQ>(x.0, best.0);
                let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(x.0, x.0);
                let m = _mm256_or_ps(larger, nan);
                (Self(_mm256_blendv_ps(best.0, x.0, m)), Self(_mm256_blendv_ps(at.0, k.0, m)))
            }
        }
        #[inline(always)]
        unsafe fn where_equal(self, a: Self, b: Self) -> Self {
            Self(unsafe { _mm256_and_ps(self.0, _mm256_cmp_ps::<_CMP_EQ_OQ>(a.0, b.0)) })
        }
        #[inline(always)]
        unsafe fn where_positive(self, a: Self) -> Self {
            Self(unsafe { _mm256_and_ps(self.0, _mm256_cmp_ps::<_CMP_GT_OQ>(a.0, _mm256_setzero_ps())) })
        }
        #[inline(always)]
        unsafe fn store_offsets(self, base: u32, p: *mut u32) {
            unsafe {
                let v = _mm256_add_epi32(_mm256_cvttps_epi32(self.0), _mm256_set1_epi32(base as i32));
                _mm256_storeu_si256(p.cast(), v);
            }
        }
        #[inline(always)]
        unsafe fn equal_bits(self, k: Self, y: Self, relu: bool) -> u64 {
            unsafe {
                let equal = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(self.0, k.0));
                let alive = if relu {
                    _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(y.0, _mm256_setzero_ps()))
                } else {
                    255
                };
                u64::from((equal & alive) as u32)
            }
        }
        #[inline(always)]
        unsafe fn store_bytes(self, p: *mut u8, n: usize) {
            unsafe {
                let i = _mm256_cvttps_epi32(self.0);
                let w = _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256::<1>(i));
                let b = _mm_packus_epi16(w, w);
                if n >= 8 {
                    _mm_storel_epi64(p.cast(), b);
                } else {
                    let bytes = (_mm_cvtsi128_si64(b) as u64).to_le_bytes();
                    std::ptr::copy_nonoverlapping(bytes.as_ptr(), p, n);
                }
            }
        }
        #[inline(always)]
        unsafe fn load_bytes(p: *const u8, n: usize) -> Self {
            unsafe {
                let b = if n >= 8 {
                    _mm_loadl_epi64(p.cast())
                } else {
                    let mut bytes = [0u8; 8];
                    std::ptr::copy_nonoverlapping(p, bytes.as_mut_ptr(), n);
                    _mm_cvtsi64_si128(i64::from_le_bytes(bytes))
                };
                Self(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(b)))
            }
        }
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512);

    // SAFETY (all blocks below): called only under `on_avx512`; the caller vouches for the pointers.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Vector for Avx512 {
        const LANES: usize = 16;
        #[inline(always)]
        unsafe fn prefetch(p: *const f32) {
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            Self(unsafe { _mm512_set1_ps(x) })
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            Self(unsafe { _mm512_loadu_ps(p) })
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe { _mm512_storeu_ps(p, self.0) }
        }
        #[inline(always)]
        unsafe fn load_part(p: *const f32, n: usize) -> Self {
            Self(unsafe { _mm512_maskz_loadu_ps(((1u32 << n) - 1) as __mmask16, p) })
        }
        #[inline(always)]
        unsafe fn store_part(self, p: *mut f32, n: usize) {
            unsafe { _mm512_mask_storeu_ps(p, ((1u32 << n) - 1) as __mmask16, self.0) }
        }
        #[inline(always)]
        unsafe fn fma(self, a: Self, b: Self) -> Self {
            Self(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
        }
        #[inline(always)]
        unsafe fn add(self, b: Self) -> Self {
            Self(unsafe { _mm512_add_ps(self.0, b.0) })
        }
        #[inline(always)]
        unsafe fn mul(self, b: Self) -> Self {
            Self(unsafe { _mm512_mul_ps(self.0, b.0) })
        }
        #[inline(always)]
        unsafe fn relu(self) -> Self {
            Self(unsafe { _mm512_max_ps(_mm512_setzero_ps(), self.0) })
        }
        #[inline(always)]
        unsafe fn later_max(best: Self, at: Self, x: Self, k: Self) -> (Self, Self) {
            unsafe {
                let larger = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x.0, best.0);
                let m = larger | _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x.0, x.0);
                (Self(_mm512_mask_blend_ps(m, best.0, x.0)), Self(_mm512_mask_blend_ps(m, at.0, k.0)))
            }
        }
        #[inline(always)]
        unsafe fn where_equal(self, a: Self, b: Self) -> Self {
            Self(unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a.0, b.0), self.0) })
        }
        #[inline(always)]
        unsafe fn where_positive(self, a: Self) -> Self {
            Self(unsafe {
                _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a.0, _mm512_setzero_ps()), self.0)
            })
        }
        #[inline(always)]
        unsafe fn store_offsets(self, base: u32, p: *mut u32) {
            unsafe {
                let v = _mm512_add_epi32(_mm512_cvttps_epi32(self.0), _mm512_set1_epi32(base as i32));
                _mm512_storeu_si512(p.cast(), v);
            }
        }
        #[inline(always)]
        unsafe fn equal_bits(self, k: Self, y: Self, relu: bool) -> u64 {
            unsafe {
                let equal = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(self.0, k.0);
                let alive =
                    if relu { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(y.0, _mm512_setzero_ps()) } else { !0 };
                u64::from(equal & alive)
            }
        }
        #[inline(always)]
        unsafe fn store_bytes(self, p: *mut u8, n: usize) {
            unsafe {
                let b = _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(self.0));
                if n >= 16 {
                    _mm_storeu_si128(p.cast(), b);
                } else {
                    let mut bytes = [0u8; 16];
                    _mm_storeu_si128(bytes.as_mut_ptr().cast(), b);
                    std::ptr::copy_nonoverlapping(bytes.as_ptr(), p, n);
                }
            }
        }
        #[inline(always)]
        unsafe fn load_bytes(p: *const u8, n: usize) -> Self {
            unsafe {
                let mut bytes = [0u8; 16];
                std::ptr::copy_nonoverlapping(p, bytes.as_mut_ptr(), n.min(16));
                Self(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()))))
            }
        }
    }
}
