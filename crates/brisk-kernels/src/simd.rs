//! The one place where a CPU's instruction set is chosen, and the mathematical functions that every kernel shares.
//!
//! Kernels are written once, generic over [`pulp::Simd`], and handed to [`dispatch`], which runs them at the
//! machine's [`level`]: AVX-512 or AVX2 with FMA on x86-64, plain Rust elsewhere. The environment variable
//! `BRISK_CPU` (`scalar`, `avx2`, `avx512`) lowers the level, never raises it. NEON has its place in [`Level`]'s
//! order between `Scalar` and `Avx2`: one more variant, one more arm in [`dispatch_at`].
//!
//! For one level, results are the same bits for every alignment of the slices, and on every machine but where a kernel
//! calls the platform's own functions (powers, sines of angles beyond 2048, the logarithm of a softmax's sum).

use pulp::{Simd, WithSimd};
use std::sync::OnceLock;

mod math;
mod slices;

pub use math::*;
pub(crate) use slices::*;

/// A set of instructions that kernels are compiled for, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// No explicit vectors; what the compiler makes of it for the baseline CPU.
    Scalar,
    /// AVX2 with FMA (x86-64-v3): 8 lanes of `f32`.
    Avx2,
    /// AVX-512 F, BW, CD, DQ, VL (x86-64-v4): 16 lanes of `f32`.
    Avx512,
}

impl Level {
    /// The name that `BRISK_CPU` takes and reports print.
    ///
    /// ```
    /// assert_eq!(brisk_kernels::simd::Level::Avx2.name(), "avx2");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// How many `f32` one vector holds.
    ///
    /// ```
    /// assert_eq!(brisk_kernels::simd::Level::Avx2.lanes(), 8);
    /// ```
    pub fn lanes(self) -> usize {
        match self {
            Self::Scalar => 1,
            Self::Avx2 => 8,
            Self::Avx512 => 16,
        }
    }
}

/// The best level that this CPU runs, whatever `BRISK_CPU` says.
///
/// ```
/// use brisk_kernels::simd;
/// assert!(simd::level() <= simd::detected());
/// ```
pub fn detected() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        if pulp::x86::V4::try_new().is_some() {
            return Level::Avx512;
        }
        if pulp::x86::V3::try_new().is_some() {
            return Level::Avx2;
        }
    }
    Level::Scalar
}

/// The level that kernels run at: [`detected`], lowered by `BRISK_CPU`. Found once, then cached.
///
/// A value of `BRISK_CPU` that names no level is ignored.
///
/// ```
/// println!("kernels run at level {}", brisk_kernels::simd::level().name());
/// ```
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let best = detected();
        let wish = std::env::var("BRISK_CPU").unwrap_or_default().to_ascii_lowercase();
        let wish = [Level::Scalar, Level::Avx2, Level::Avx512].into_iter().find(|l| l.name() == wish);
        wish.map_or(best, |w| w.min(best))
    })
}

/// Whether the CPU multiplies bfloat16 numbers itself (AVX512-BF16); not at a [`level`] below AVX-512.
///
/// ```
/// use brisk_kernels::simd::{Level, has_bf16, level};
/// assert!(!has_bf16() || level() == Level::Avx512);
/// ```
pub fn has_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return level() == Level::Avx512 && std::arch::is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Whether the CPU multiplies numbers of eight bits itself (AVX512-VNNI); not at a [`level`] below AVX-512.
///
/// ```
/// use brisk_kernels::simd::{Level, has_vnni, level};
/// assert!(!has_vnni() || level() == Level::Avx512);
/// ```
pub fn has_vnni() -> bool {
    #[cfg(target_arch = "x86_64")]
    return level() == Level::Avx512 && std::arch::is_x86_feature_detected!("avx512vnni");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Every level that this machine can run, for tests that compare them.
///
/// ```
/// assert!(brisk_kernels::simd::levels().any(|l| l == brisk_kernels::simd::Level::Scalar));
/// ```
pub fn levels() -> impl Iterator<Item = Level> {
    [Level::Scalar, Level::Avx2, Level::Avx512].into_iter().filter(|l| *l <= detected())
}

/// f32 of a cache line.
pub(crate) const LINE: usize = 16;

/// Asks for a cache line that will be read soon, where the machine can be asked. Any address will do.
#[inline(always)]
#[allow(unsafe_code)]
pub(crate) fn prefetch(place: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults, whatever the address; SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Whether a kernel is being compiled for AVX-512, so that it may use what only that has.
#[inline(always)]
pub(crate) fn is_avx512<S: Simd>() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::any::TypeId::of::<S>() == std::any::TypeId::of::<pulp::x86::V4>();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Runs `kernel` with the vectors of [`level`].
///
/// ```
/// use pulp::{Simd, WithSimd};
/// struct Sum<'a>(&'a [f32]);
/// impl WithSimd for Sum<'_> {
///     type Output = f32;
///     #[inline(always)]
///     fn with_simd<S: Simd>(self, s: S) -> f32 {
///         let (head, tail) = S::as_simd_f32s(self.0);
///         let sum = head.iter().fold(s.splat_f32s(0.0), |a, v| s.add_f32s(a, *v));
///         s.reduce_sum_f32s(sum) + tail.iter().sum::<f32>()
///     }
/// }
/// assert_eq!(brisk_kernels::simd::dispatch(Sum(&[1.0; 100])), 100.0);
/// ```
#[inline]
pub fn dispatch<K: WithSimd>(kernel: K) -> K::Output {
    dispatch_at(level(), kernel)
}

/// Runs `kernel` with the vectors of `level`, or of the best level below it that the CPU has.
#[inline]
pub fn dispatch_at<K: WithSimd>(level: Level, kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if level >= Level::Avx512
            && let Some(simd) = pulp::x86::V4::try_new()
        {
            return Simd::vectorize(simd, kernel);
        }
        if level >= Level::Avx2
            && let Some(simd) = pulp::x86::V3::try_new()
        {
            return Simd::vectorize(simd, kernel);
        }
    }
    let _ = level;
    Simd::vectorize(pulp::Scalar::new(), kernel)
}
