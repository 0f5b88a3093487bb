//! Products of operands in 16 or 8 bits, on CPUs that have instructions for them: AVX512-BF16 and AVX512-VNNI.
//!
//! A 32-bit word holds two or four terms of an element's sum, and one instruction adds up a word's products in each of 16
//! lanes. Both operands are packed: `b` as panels of [`WIDTH`] columns, a panel's rows of words one after another; the rows of `a` each
//! as a run of words (or, where `a` is stored transposed, six rows by six rows).

use std::arch::x86_64::*;

use super::Precision;
use super::packed::{B, Product};
use crate::simd::{self, Level};

/// Rows of `c` in registers.
const ROWS: usize = 6;
/// Vectors of columns in registers.
const VECTORS: usize = 4;
/// Columns in a panel.
pub const WIDTH: usize = 16 * VECTORS;
/// Words that are added up in registers before they go to `c`.
const DEPTH: usize = 512;
/// Rows of `a` that are packed at a time.
const HEIGHT: usize = 768;
/// Words of each row of a panel that are under way from the second-level cache while one is used.
const AHEAD: usize = 8;

/// Whether this machine multiplies operands of a precision so.
pub fn supported(level: Level, precision: Precision) -> bool {
    match precision {
        Precision::F32 => false,
        Precision::Bf16 => level == Level::Avx512 && simd::has_bf16(),
        Precision::Int8 => level == Level::Avx512 && simd::has_vnni(),
    }
}

/// Terms in a word.
fn terms(precision: Precision) -> usize {
    if precision == Precision::Int8 { 4 } else { 2 }
}

/// Words of a packed panel of `k` rows. Eight-bit ones are followed by the scale of each column and the sum of its numbers.
pub fn panel_len(precision: Precision, k: usize) -> usize {
    let tables = if precision == Precision::Int8 { 2 } else { 0 };
    (k.div_ceil(terms(precision)) + tables) * WIDTH
}

/// `c (+)= a b`.
///
/// # Safety
///
/// [`supported`], and `c` as [`super::matmul_into`] demands; the operands are as long as their sizes say.
pub unsafe fn product(precision: Precision, call: &Product<'_>, scratch: &mut Vec<f32>) {
    for from in (0..call.m).step_by(HEIGHT) {
        let part = Product {
            m: HEIGHT.min(call.m - from),
            a: &call.a[from * call.a_strides.0..],
            // SAFETY: row `from` is one of c.
            c: unsafe { call.c.add(from * call.c_row_stride) },
            ..*call
        };
        // SAFETY: as the caller promises.
        unsafe {
            match precision {
                Precision::Int8 => int8(&part, scratch),
                _ => bf16(&part, scratch),
            }
        }
    }
}

/// Packs one panel: the columns of `b` from its start on, at most [`WIDTH`] of them.
///
/// # Safety
///
/// [`supported`].
pub unsafe fn pack(
    precision: Precision,
    k: usize,
    columns: usize,
    b: &[f32],
    strides: (usize, usize),
    into: &mut [f32],
) {
    match precision {
        Precision::Int8 => pack_int8(k, columns, b, strides, into),
        // SAFETY: as the caller promises.
        _ => unsafe { pack_bf16(k, columns, b, strides, into) },
    }
}

/// Where the words of a row of `a` are: row `i` begins at `start(i)`, its words lie `step` apart.
#[derive(Clone, Copy)]
struct Rows {
    words: usize,
    /// Distance of rows, or of six rows if they lie six by six: never a multiple of a page, which would crowd them into the same sets of a
    /// cache.
    row: usize,
    by_six: bool,
}

impl Rows {
    fn start(&self, i: usize) -> usize {
        if self.by_six { i / ROWS * self.row + i % ROWS } else { i * self.row }
    }

    fn step(&self) -> usize {
        if self.by_six { ROWS } else { 1 }
    }

    fn between(&self) -> usize {
        if self.by_six { 1 } else { self.row }
    }

    fn len(&self, rows: usize) -> usize {
        if self.by_six { rows.div_ceil(ROWS) * self.row } else { rows * self.row }
    }

    fn contiguous(words: usize) -> Rows {
        let lines = words.div_ceil(16) | 1;
        Rows { words, row: lines * 16, by_six: false }
    }

    fn by_six(words: usize) -> Rows {
        let lines = (words * ROWS).div_ceil(16) | 1;
        Rows { words, row: lines * 16, by_six: true }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn bf16(call: &Product<'_>, scratch: &mut Vec<f32>) {
    let &Product { m, n, k, a, a_strides, c_row_stride, .. } = call;
    let depth = k.div_ceil(k.div_ceil(2 * DEPTH)).next_multiple_of(2);
    let words = depth / 2;
    let layout = |words| match a_strides {
        (1, column) if column > 1 => Rows::by_six(words),
        _ => Rows::contiguous(words),
    };
    let (own, panel) = (layout(words).len(m), words * WIDTH);
    if scratch.len() < own + panel {
        scratch.resize(own + panel, 0.0);
    }
    let (rows, panel) = scratch.split_at_mut(own);
    for from in (0..k).step_by(depth) {
        let terms = depth.min(k - from);
        let layout = layout(terms.div_ceil(2));
        // SAFETY: this function's features; the rows of `a` end where the caller has checked.
        unsafe { pack_rows(m, terms, &a[from * a_strides.1..], a_strides, layout, rows) };
        let accumulate = call.accumulate || from > 0;
        for first in (0..n).step_by(WIDTH) {
            let columns = WIDTH.min(n - first);
            let b = match call.b {
                B::Packed(panels) => {
                    &panels[first / WIDTH * panel_len(Precision::Bf16, k) + from / 2 * WIDTH..]
                }
                B::Strided(b, strides) => {
                    let b = &b[from * strides.0 + first * strides.1..];
                    // SAFETY: this function's features.
                    unsafe { pack_bf16(terms, columns, b, strides, panel) };
                    &*panel
                }
            };
            assert!(b.len() >= layout.words * WIDTH, "matmul: a panel is too short");
            // SAFETY: columns from `first` on lie in c.
            let c = unsafe { call.c.add(first) };
            let mut i = 0;
            while i < m {
                let at = &rows[layout.start(i)..];
                let tall = tall(m - i);
                // SAFETY: `tall` rows from row `i` on lie in c and in the packed rows, `columns` columns in c.
                unsafe {
                    let c = c.add(i * c_row_stride);
                    let vectors = columns.div_ceil(16);
                    match (tall, vectors) {
                        (ROWS, 1) => {
                            store_bf16::<ROWS, 1>(layout, at, b, c, c_row_stride, columns, accumulate)
                        }
                        (ROWS, 2) => {
                            store_bf16::<ROWS, 2>(layout, at, b, c, c_row_stride, columns, accumulate)
                        }
                        (ROWS, _) => {
                            store_bf16::<ROWS, 4>(layout, at, b, c, c_row_stride, columns, accumulate)
                        }
                        (4, 1) => store_bf16::<4, 1>(layout, at, b, c, c_row_stride, columns, accumulate),
                        (4, _) => store_bf16::<4, 4>(layout, at, b, c, c_row_stride, columns, accumulate),
                        (2, 1) => store_bf16::<2, 1>(layout, at, b, c, c_row_stride, columns, accumulate),
                        (2, _) => store_bf16::<2, 4>(layout, at, b, c, c_row_stride, columns, accumulate),
                        (_, 1) => store_bf16::<1, 1>(layout, at, b, c, c_row_stride, columns, accumulate),
                        _ => store_bf16::<1, 4>(layout, at, b, c, c_row_stride, columns, accumulate),
                    }
                }
                i += tall;
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn int8(call: &Product<'_>, scratch: &mut Vec<f32>) {
    let &Product { m, n, k, a, a_strides, c_row_stride, accumulate, .. } = call;
    let B::Packed(panels) = call.b else { panic!("matmul: a matrix in 8 bits comes packed") };
    let layout = Rows::contiguous(k.div_ceil(4));
    let own = layout.len(m);
    if scratch.len() < own + 2 * m {
        scratch.resize(own + 2 * m, 0.0);
    }
    let (rows, scales) = scratch.split_at_mut(own);
    for i in 0..m {
        // SAFETY: this function's features.
        let (scale, zero) = unsafe {
            quantize_row(k, &a[i * a_strides.0..], a_strides.1, &mut rows[i * layout.row..][..layout.words])
        };
        (scales[2 * i], scales[2 * i + 1]) = (scale, zero as f32);
    }
    for first in (0..n).step_by(WIDTH) {
        let columns = WIDTH.min(n - first);
        let b = &panels[first / WIDTH * panel_len(Precision::Int8, k)..][..panel_len(Precision::Int8, k)];
        // SAFETY: columns from `first` on lie in c.
        let c = unsafe { call.c.add(first) };
        let mut i = 0;
        while i < m {
            let (at, scales) = (&rows[layout.start(i)..], &scales[2 * i..]);
            let tall = tall(m - i);
            // SAFETY: `tall` rows from row `i` on lie in c and in the packed rows, `columns` columns in c.
            unsafe {
                let c = c.add(i * c_row_stride);
                match (tall, columns.div_ceil(16)) {
                    (ROWS, 1) => {
                        store_int8::<ROWS, 1>(layout, at, scales, b, c, c_row_stride, columns, accumulate)
                    }
                    (ROWS, 2) => {
                        store_int8::<ROWS, 2>(layout, at, scales, b, c, c_row_stride, columns, accumulate)
                    }
                    (ROWS, _) => {
                        store_int8::<ROWS, 4>(layout, at, scales, b, c, c_row_stride, columns, accumulate)
                    }
                    (4, _) => store_int8::<4, 4>(layout, at, scales, b, c, c_row_stride, columns, accumulate),
                    (2, _) => store_int8::<2, 4>(layout, at, scales, b, c, c_row_stride, columns, accumulate),
                    _ => store_int8::<1, 4>(layout, at, scales, b, c, c_row_stride, columns, accumulate),
                }
            }
            i += tall;
        }
    }
}

/// Of so many rows, how many go into registers at once.
fn tall(rows: usize) -> usize {
    match rows {
        ROWS.. => ROWS,
        4.. => 4,
        2.. => 2,
        _ => 1,
    }
}

/// Sums of products of words: `R` rows by `V` vectors of columns.
macro_rules! block {
    ($name:ident, $features:literal, $dot:expr) => {
        /// # Safety
        ///
        /// The features; `a` holds `R` rows of `layout`'s words from its start on, `b` as many rows of a panel.
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn $name<const R: usize, const V: usize>(
            layout: Rows,
            a: &[f32],
            b: &[f32],
        ) -> [[__m512i; V]; R] {
            let (row, step) = (layout.between(), layout.step());
            debug_assert!((R - 1) * row + (layout.words - 1) * step < a.len());
            debug_assert!(layout.words * WIDTH <= b.len());
            let mut sums = [[_mm512_setzero_si512(); V]; R];
            let (mut a, mut b) = (a.as_ptr().cast::<i32>(), b.as_ptr());
            for _ in 0..layout.words {
                // SAFETY: as the caller promises; a prefetch may name any address.
                unsafe {
                    let mut columns = [_mm512_setzero_si512(); V];
                    for v in 0..V {
                        simd::prefetch(b.wrapping_add(AHEAD * WIDTH + v * 16));
                        columns[v] = _mm512_loadu_si512(b.add(v * 16).cast());
                    }
                    for r in 0..R {
                        let x = _mm512_set1_epi32(a.add(r * row).read());
                        for v in 0..V {
                            sums[r][v] = $dot(sums[r][v], x, columns[v]);
                        }
                    }
                }
                a = a.wrapping_add(step);
                b = b.wrapping_add(WIDTH);
            }
            sums
        }
    };
}

/// # Safety
///
/// AVX512-BF16.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn dot_bf16(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
    // SAFETY: vectors of 512 bits all three; only the names of their types differ.
    let same = |x| unsafe { std::mem::transmute::<__m512i, __m512bh>(x) };
    let (a, b) = (same(a), same(b));
    _mm512_castps_si512(_mm512_dpbf16_ps(_mm512_castsi512_ps(sum), a, b))
}

block!(block_bf16, "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16", dot_bf16);
block!(block_int8, "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni", _mm512_dpbusd_epi32);

/// The lanes of vector `v` that hold columns.
fn mask(columns: usize, v: usize) -> __mmask16 {
    match columns.saturating_sub(v * 16) {
        16.. => !0,
        few => (1 << few) - 1,
    }
}

/// # Safety
///
/// As of [`block_bf16`]; `columns` floats of `R` rows of `c` may be written.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn store_bf16<const R: usize, const V: usize>(
    layout: Rows,
    a: &[f32],
    b: &[f32],
    c: *mut f32,
    c_row: usize,
    columns: usize,
    accumulate: bool,
) {
    // SAFETY: as the caller promises; lanes past the last column are neither read nor written.
    unsafe {
        let sums = block_bf16::<R, V>(layout, a, b);
        for r in 0..R {
            for v in 0..V {
                let (mask, at) = (mask(columns, v), c.add(r * c_row).wrapping_add(v * 16));
                let mut sum = _mm512_castsi512_ps(sums[r][v]);
                if accumulate {
                    sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, at));
                }
                _mm512_mask_storeu_ps(at, mask, sum);
            }
        }
    }
}

/// # Safety
///
/// As of [`block_int8`]; `b` is a whole panel with its tables, `scales` has scale and zero of `R` rows; `columns` floats of `R` rows of `c` may
/// be written.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn store_int8<const R: usize, const V: usize>(
    layout: Rows,
    a: &[f32],
    scales: &[f32],
    b: &[f32],
    c: *mut f32,
    c_row: usize,
    columns: usize,
    accumulate: bool,
) {
    let tables = layout.words * WIDTH;
    assert!(b.len() >= tables + 2 * WIDTH && scales.len() >= 2 * R, "matmul: a panel without its tables");
    // SAFETY: as the caller promises; lanes past the last column are neither read nor written.
    unsafe {
        let sums = block_int8::<R, V>(layout, a, b);
        for v in 0..V {
            let by_column = _mm512_loadu_ps(b.as_ptr().add(tables + v * 16));
            let totals = _mm512_loadu_si512(b.as_ptr().add(tables + WIDTH + v * 16).cast());
            let mask = mask(columns, v);
            for r in 0..R {
                let at = c.add(r * c_row).wrapping_add(v * 16);
                let shift = _mm512_mullo_epi32(totals, _mm512_set1_epi32(scales[2 * r + 1] as i32));
                let sum = _mm512_cvtepi32_ps(_mm512_sub_epi32(sums[r][v], shift));
                let mut sum = _mm512_mul_ps(_mm512_mul_ps(sum, by_column), _mm512_set1_ps(scales[2 * r]));
                if accumulate {
                    sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, at));
                }
                _mm512_mask_storeu_ps(at, mask, sum);
            }
        }
    }
}

/// The first lanes, `count` of them.
fn lanes(count: usize) -> __mmask16 {
    mask(count, 0)
}

/// Two terms of each lane as a word.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn join(low: __m512, high: __m512) -> __m512i {
    // SAFETY: 256 bits both.
    let half = |x| unsafe { std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x)) };
    let (low, high) = (_mm512_cvtepu16_epi32(half(low)), _mm512_cvtepu16_epi32(half(high)));
    _mm512_or_si512(low, _mm512_slli_epi32::<16>(high))
}

/// The words of `count` (at most 32) terms one after another.
///
/// # Safety
///
/// The features; `count` floats may be read.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn words_of(from: *const f32, count: usize) -> __m512i {
    // SAFETY: as the caller promises: lanes past the last term are not read; 512 bits both.
    unsafe {
        let low = _mm512_maskz_loadu_ps(lanes(count), from);
        let high = _mm512_maskz_loadu_ps(lanes(count.saturating_sub(16)), from.wrapping_add(16));
        std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
    }
}

/// The rows of `a` as words.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn pack_rows(
    m: usize,
    terms: usize,
    a: &[f32],
    (row, column): (usize, usize),
    layout: Rows,
    into: &mut [f32],
) {
    assert!((m - 1) * row + (terms - 1) * column < a.len(), "matmul: a is too short");
    if layout.by_six {
        for p in 0..layout.words {
            for i in (0..m).step_by(8 * ROWS) {
                let count = (8 * ROWS).min(m - i);
                let mut words = [0.0f32; 8 * ROWS];
                for v in 0..3 {
                    let mask = mask(count, v);
                    let term = |p: usize| {
                        let mask = if p < terms { mask } else { 0 };
                        // SAFETY: lanes of rows below `m` of terms below `terms`.
                        unsafe {
                            _mm512_maskz_loadu_ps(mask, a.as_ptr().wrapping_add(p * column + i + v * 16))
                        }
                    };
                    let joined = join(term(2 * p), term(2 * p + 1));
                    // SAFETY: 16 words of 48.
                    unsafe { _mm512_storeu_si512(words.as_mut_ptr().add(v * 16).cast(), joined) };
                }
                for (q, words) in words.chunks_exact(ROWS).enumerate().take(count.div_ceil(ROWS)) {
                    into[layout.start(i + q * ROWS) + p * ROWS..][..ROWS].copy_from_slice(words);
                }
            }
        }
        return;
    }
    for i in 0..m {
        let into = &mut into[i * layout.row..][..layout.row];
        for p in (0..layout.words).step_by(16) {
            let count = (terms - 2 * p).min(32);
            let at = i * row + 2 * p * column;
            // SAFETY: the terms of row `i` from `2 p` on; rows are whole vectors long.
            unsafe {
                let words = if column == 1 {
                    words_of(a.as_ptr().add(at), count)
                } else {
                    let mut some = [0.0; 32];
                    (0..count).for_each(|q| some[q] = a[at + q * column]);
                    words_of(some.as_ptr(), 32)
                };
                _mm512_storeu_si512(into[p..][..16].as_mut_ptr().cast(), words);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
unsafe fn pack_bf16(
    terms: usize,
    columns: usize,
    b: &[f32],
    (row, column): (usize, usize),
    into: &mut [f32],
) {
    assert!((terms - 1) * row + (columns - 1) * column < b.len(), "matmul: b is too short");
    let words = terms.div_ceil(2);
    let into = &mut into[..words * WIDTH];
    if column == 1 {
        for (p, into) in into.chunks_exact_mut(WIDTH).enumerate() {
            for v in 0..VECTORS {
                let term = |p: usize| {
                    let mask = if p < terms { mask(columns, v) } else { 0 };
                    // SAFETY: lanes of columns below `columns` of a row below `terms`.
                    unsafe { _mm512_maskz_loadu_ps(mask, b.as_ptr().wrapping_add(p * row + v * 16)) }
                };
                let joined = join(term(2 * p), term(2 * p + 1));
                // SAFETY: 16 words of 64.
                unsafe { _mm512_storeu_si512(into.as_mut_ptr().add(v * 16).cast(), joined) };
            }
        }
        return;
    }
    for v in 0..VECTORS {
        for p in (0..words).step_by(16) {
            let count = (terms - 2 * p).min(32);
            let mut lines = [_mm512_setzero_si512(); 16];
            for (j, line) in lines.iter_mut().enumerate() {
                let j = v * 16 + j;
                if j >= columns {
                    break;
                }
                let at = 2 * p * row + j * column;
                // SAFETY: the terms of column `j` from `2 p` on.
                *line = unsafe {
                    if row == 1 {
                        words_of(b.as_ptr().add(at), count)
                    } else {
                        let mut some = [0.0; 32];
                        (0..count).for_each(|q| some[q] = b[at + q * row]);
                        words_of(some.as_ptr(), 32)
                    }
                };
            }
            transpose(&mut lines);
            for (q, line) in lines.iter().enumerate().take(words - p) {
                let into = &mut into[(p + q) * WIDTH + v * 16..][..16];
                // SAFETY: 16 words.
                unsafe { _mm512_storeu_si512(into.as_mut_ptr().cast(), *line) };
            }
        }
    }
}

/// Sixteen by sixteen words.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: &mut [__m512i; 16]) {
    let (mut pairs, mut fours) = (*rows, *rows);
    for i in 0..8 {
        let (a, b) = (rows[2 * i], rows[2 * i + 1]);
        (pairs[2 * i], pairs[2 * i + 1]) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    }
    for i in 0..4 {
        for j in 0..2 {
            let (a, b) = (pairs[4 * i + j], pairs[4 * i + j + 2]);
            fours[4 * i + 2 * j] = _mm512_unpacklo_epi64(a, b);
            fours[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(a, b);
        }
    }
    // Lane `l` of `fours[4 i + j]` has rows `4 i..` of column `4 l + j`.
    for j in 0..4 {
        let [a, b, c, d] = [fours[j], fours[4 + j], fours[8 + j], fours[12 + j]];
        let (even, even2) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0x88>(c, d));
        let (odd, odd2) = (_mm512_shuffle_i32x4::<0xdd>(a, b), _mm512_shuffle_i32x4::<0xdd>(c, d));
        rows[j] = _mm512_shuffle_i32x4::<0x88>(even, even2);
        rows[8 + j] = _mm512_shuffle_i32x4::<0xdd>(even, even2);
        rows[4 + j] = _mm512_shuffle_i32x4::<0x88>(odd, odd2);
        rows[12 + j] = _mm512_shuffle_i32x4::<0xdd>(odd, odd2);
    }
}

/// A row in eight bits: number `q` stands for `(q - zero) scale`. Gives `scale`, NaN if something is not finite, and `zero`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn quantize_row(k: usize, a: &[f32], column: usize, into: &mut [f32]) -> (f32, u8) {
    assert!((k - 1) * column < a.len() && into.len() * 4 >= k, "matmul: a is too short");
    let into = into.as_mut_ptr().cast::<u8>();
    let load = |p: usize| {
        let mask = lanes(k - p);
        // SAFETY: terms below `k`.
        unsafe {
            if column == 1 {
                _mm512_maskz_loadu_ps(mask, a.as_ptr().add(p))
            } else {
                let mut some = [0.0; 16];
                (p..k.min(p + 16)).for_each(|q| some[q - p] = a[q * column]);
                _mm512_loadu_ps(some.as_ptr())
            }
        }
    };
    let (mut low, mut high, mut bad) = (_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps());
    for p in (0..k).step_by(16) {
        let x = load(p);
        low = _mm512_min_ps(low, x);
        high = _mm512_max_ps(high, x);
        // 0 x: NaN for what is not finite.
        bad = _mm512_fmadd_ps(x, _mm512_setzero_ps(), bad);
    }
    let range = super::rounded::Range::new(_mm512_reduce_min_ps(low), _mm512_reduce_max_ps(high));
    let broken = _mm512_reduce_add_ps(bad).is_nan();
    let (inverse, zero) = (_mm512_set1_ps(range.inverse), _mm512_set1_ps(f32::from(range.zero)));
    for p in (0..k).step_by(16) {
        let x = _mm512_cvtps_epi32(_mm512_fmadd_ps(load(p), inverse, zero));
        let x = _mm512_cvtusepi32_epi8(_mm512_max_epi32(x, _mm512_setzero_si512()));
        // SAFETY: as many bytes as there are terms.
        unsafe { _mm_mask_storeu_epi8(into.add(p).cast(), lanes(k - p), x) };
    }
    // The last word's places past `k` meet zeros in `b`.
    (if broken { f32::NAN } else { range.scale }, range.zero)
}

fn pack_int8(k: usize, columns: usize, b: &[f32], (row, column): (usize, usize), into: &mut [f32]) {
    assert!((k - 1) * row + (columns - 1) * column < b.len(), "matmul: b is too short");
    let words = k.div_ceil(4);
    let into = &mut into[..(words + 2) * WIDTH];
    into.fill(0.0);
    let (numbers, tables) = into.split_at_mut(words * WIDTH);
    for j in 0..columns {
        let of = |p: usize| b[p * row + j * column];
        let scale = super::rounded::column_scale((0..k).map(of));
        let mut total = 0i32;
        for p in 0..words {
            let mut word = [0u8; 4];
            for (q, place) in word.iter_mut().enumerate().take(k - 4 * p) {
                let number = super::rounded::number(of(4 * p + q), scale);
                total += i32::from(number);
                *place = number as u8;
            }
            numbers[p * WIDTH + j] = f32::from_bits(u32::from_le_bytes(word));
        }
        tables[j] = scale;
        tables[WIDTH + j] = f32::from_bits(total as u32);
    }
}
