//! Sixteen rows of sixteen f32 across, in registers of AVX-512.

use std::arch::x86_64::*;

/// `to[q * to_stride + i] = from[i * from_stride + q]` for `i` and `q` below 16.
///
/// # Safety
///
/// The machine has AVX-512F; the elements named may be read and written, and do not overlap.
#[inline]
#[target_feature(enable = "avx512f")]
pub unsafe fn transpose16(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    let mut rows = [_mm512_setzero_ps(); 16];
    for i in 0..16 {
        // SAFETY: row `i`, as the caller promises.
        rows[i] = unsafe { _mm512_loadu_ps(from.add(i * from_stride)) };
    }
    // Fours of rows: in each quarter of a register, one column of them.
    let mut fours = [_mm512_setzero_ps(); 16];
    for g in 0..4 {
        let [a, b, c, d] = [rows[4 * g], rows[4 * g + 1], rows[4 * g + 2], rows[4 * g + 3]];
        let (ab, cd) = (_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d));
        fours[g] = _mm512_shuffle_ps::<0b01_00_01_00>(ab, cd);
        fours[4 + g] = _mm512_shuffle_ps::<0b11_10_11_10>(ab, cd);
        let (ab, cd) = (_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d));
        fours[8 + g] = _mm512_shuffle_ps::<0b01_00_01_00>(ab, cd);
        fours[12 + g] = _mm512_shuffle_ps::<0b11_10_11_10>(ab, cd);
    }
    // Register `4 c + g` has, in quarter `q`, column `4 q + c` of the rows of four `g`. Quarters of the same column come together.
    for c in 0..4 {
        let [a, b, d, e] = [fours[4 * c], fours[4 * c + 1], fours[4 * c + 2], fours[4 * c + 3]];
        let (low, high) =
            (_mm512_shuffle_f32x4::<0b10_00_10_00>(a, b), _mm512_shuffle_f32x4::<0b10_00_10_00>(d, e));
        let (low_odd, high_odd) =
            (_mm512_shuffle_f32x4::<0b11_01_11_01>(a, b), _mm512_shuffle_f32x4::<0b11_01_11_01>(d, e));
        let columns = [
            _mm512_shuffle_f32x4::<0b10_00_10_00>(low, high),
            _mm512_shuffle_f32x4::<0b10_00_10_00>(low_odd, high_odd),
            _mm512_shuffle_f32x4::<0b11_01_11_01>(low, high),
            _mm512_shuffle_f32x4::<0b11_01_11_01>(low_odd, high_odd),
        ];
        for q in 0..4 {
            // SAFETY: row `4 q + c` of the result, as the caller promises.
            unsafe { _mm512_storeu_ps(to.add((4 * q + c) * to_stride), columns[q]) };
        }
    }
}
