//! # Pooling in NHWC
//!
//! ```text
//! max_pool:  y[n, oy, ox, c] = max  over ky, kx of x[n, oy·sy + ky − top, ox·sx + kx − left, c]
//! avg_pool:  y[n, oy, ox, c] = mean over ky, kx of the same
//! ```
//! Cells outside the input never win a maximum; a mean counts them (as zeros) or leaves them out, as asked.
//! Vectors run over the channels. Global pooling is a window as large as the input ([`Pool2d::global`]).

#![allow(unsafe_code)]

use std::ops::Range;

use crate::conv::vector::{Kernel, Vector, dispatch};

/// A two-dimensional pooling window: sizes only. Bottom and right padding follow from the output's size.
///
/// ```
/// use brisk_kernels::pool::Pool2d;
/// let pool = Pool2d { in_h: 2, in_w: 4, c: 1, out_h: 1, out_w: 2, window: [2, 2], stride: [2, 2], pad: [0, 0] };
/// let x = [1.0, 2.0, 5.0, 5.0, 4.0, 3.0, 5.0, 5.0];
/// let (mut y, mut index) = ([0.0; 2], [0; 2]);
/// pool.max_pool(1, &x, &mut y, Some(&mut index));
/// assert_eq!((y, index), ([4.0, 5.0], [2, 0])); // row-major in the window; the first of equals wins
/// let mut dx = [9.0; 8];
/// pool.max_pool_grad(1, &[1.0, 2.0], &index, &mut dx);
/// assert_eq!(dx, [0.0, 0.0, 2.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pool2d {
    /// Input height.
    pub in_h: usize,
    /// Input width.
    pub in_w: usize,
    /// Channels.
    pub c: usize,
    /// Output height.
    pub out_h: usize,
    /// Output width.
    pub out_w: usize,
    /// Window height and width.
    pub window: [usize; 2],
    /// Step between windows.
    pub stride: [usize; 2],
    /// Cells above and to the left of the input; less than the window.
    pub pad: [usize; 2],
}

/// The cells of one window that lie inside the input.
#[derive(Clone, Copy)]
struct Cells {
    /// First and end row of the window, then column.
    y: [usize; 2],
    x: [usize; 2],
    /// Input pixel under cell (0, 0) of the window; it may lie outside.
    corner: [isize; 2],
}

impl Pool2d {
    /// One window as large as the input.
    ///
    /// ```
    /// use brisk_kernels::pool::Pool2d;
    /// let mut y = [0.0; 2];
    /// Pool2d::global(2, 1, 2).avg_pool(1, &[1.0, 2.0, 3.0, 4.0], &mut y, true);
    /// assert_eq!(y, [2.0, 3.0]);
    /// ```
    pub fn global(h: usize, w: usize, c: usize) -> Self {
        Self { in_h: h, in_w: w, c, out_h: 1, out_w: 1, window: [h, w], stride: [1, 1], pad: [0, 0] }
    }

    /// Floats in one input image.
    ///
    /// ```
    /// assert_eq!(brisk_kernels::pool::Pool2d::global(4, 4, 3).in_len(), 48);
    /// ```
    pub fn in_len(&self) -> usize {
        self.in_h * self.in_w * self.c
    }

    /// Floats in one output image.
    ///
    /// ```
    /// assert_eq!(brisk_kernels::pool::Pool2d::global(4, 4, 3).out_len(), 3);
    /// ```
    pub fn out_len(&self) -> usize {
        self.out_h * self.out_w * self.c
    }

    /// Panics unless every window has a cell inside the input.
    pub(crate) fn check(&self) {
        for a in 0..2 {
            let (input, out) = ([self.in_h, self.in_w][a], [self.out_h, self.out_w][a]);
            assert!(self.window[a] > 0 && self.stride[a] > 0, "window and stride must be at least 1");
            assert!(
                self.pad[a] < self.window[a],
                "padding {} must be less than the window {}",
                self.pad[a],
                self.window[a]
            );
            assert!(
                out == 0 || (input > 0 && (out - 1) * self.stride[a] < input + self.pad[a]),
                "{out} windows with stride {} and padding {} run out of {input} cells",
                self.stride[a],
                self.pad[a]
            );
        }
    }

    /// The pooling that makes the rows `rows` of one image's output, and where in the image its input begins.
    ///
    /// ```
    /// # let pool = brisk_kernels::pool::Pool2d { in_h: 8, in_w: 8, c: 3, out_h: 8, out_w: 8, window: [3, 3], stride: [1, 1],
    /// #     pad: [1, 1] };
    /// let (band, start) = pool.band(4..6);
    /// assert_eq!((band.out_h, band.in_h, start), (2, 5, 3 * 8 * 3));
    /// ```
    pub fn band(&self, rows: Range<usize>) -> (Pool2d, usize) {
        let top = rows.start * self.stride[0];
        let skip = top.saturating_sub(self.pad[0]).min(self.in_h);
        let pad = [self.pad[0].saturating_sub(top), self.pad[1]];
        let band = Pool2d { in_h: self.in_h - skip, out_h: rows.len(), pad, ..self.clone() };
        (band, skip * self.in_w * self.c)
    }

    fn check_index(&self, index: &[u8], n: usize) {
        let cells = self.window[0] * self.window[1];
        assert!(cells <= 256, "a window of {cells} cells: an index byte tells at most 256 apart");
        assert_eq!(index.len(), n * self.out_len(), "index length");
    }

    #[inline(always)]
    fn cells(&self, oy: usize, ox: usize) -> Cells {
        let clip = |a: usize, o: usize, input: usize| {
            let corner = (o * self.stride[a]) as isize - self.pad[a] as isize;
            let first = (-corner).max(0) as usize;
            let end = (input as isize - corner).clamp(0, self.window[a] as isize) as usize;
            (corner, [first, end])
        };
        let (cy, y) = clip(0, oy, self.in_h);
        let (cx, x) = clip(1, ox, self.in_w);
        Cells { y, x, corner: [cy, cx] }
    }

    /// `y = max`, overwritten, and for each output its place in the window, `ky · window_w + kx`. The first of equals
    /// wins; NaN wins over all.
    ///
    /// # Panics
    /// If lengths do not fit, or if `index` is asked for and the window has more than 256 cells.
    ///
    /// See [`Pool2d`] for an example.
    pub fn max_pool(&self, n: usize, x: &[f32], y: &mut [f32], index: Option<&mut [u8]>) {
        self.check();
        assert_eq!(x.len(), n * self.in_len(), "x length");
        assert_eq!(y.len(), n * self.out_len(), "y length");
        let index = index.map_or(std::ptr::null_mut(), |index| {
            self.check_index(index, n);
            index.as_mut_ptr()
        });
        // SAFETY: the lengths are those asserted, and `cells` keeps to the input.
        unsafe { dispatch(Max { pool: self, n, x: x.as_ptr(), y: y.as_mut_ptr(), index }) };
    }

    /// The gradient of [`max_pool`](Self::max_pool): `dx`, overwritten, is `dy` at the winners and 0 elsewhere
    /// (summed where windows overlap).
    ///
    /// See [`Pool2d`] for an example.
    pub fn max_pool_grad(&self, n: usize, dy: &[f32], index: &[u8], dx: &mut [f32]) {
        self.check();
        assert_eq!(dx.len(), n * self.in_len(), "dx length");
        assert_eq!(dy.len(), n * self.out_len(), "dy length");
        self.check_index(index, n);
        if !self.tiles() {
            dx.fill(0.0);
        }
        // SAFETY: the lengths are those asserted, and `cells` keeps to the input.
        unsafe {
            dispatch(MaxGrad { pool: self, n, dy: dy.as_ptr(), index: index.as_ptr(), dx: dx.as_mut_ptr() })
        };
    }

    /// `y = mean` over the window, overwritten. `count_padding`: cells of the padding count as zeros; otherwise the
    /// mean is over the cells inside the input.
    ///
    /// ```
    /// use brisk_kernels::pool::Pool2d;
    /// let pool = Pool2d { in_h: 1, in_w: 2, c: 1, out_h: 1, out_w: 2, window: [1, 2], stride: [1, 1], pad: [0, 1] };
    /// let mut y = [0.0; 2];
    /// pool.avg_pool(1, &[2.0, 4.0], &mut y, true);
    /// assert_eq!(y, [1.0, 3.0]);
    /// pool.avg_pool(1, &[2.0, 4.0], &mut y, false);
    /// assert_eq!(y, [2.0, 3.0]);
    /// ```
    pub fn avg_pool(&self, n: usize, x: &[f32], y: &mut [f32], count_padding: bool) {
        self.check();
        assert_eq!(x.len(), n * self.in_len(), "x length");
        assert_eq!(y.len(), n * self.out_len(), "y length");
        // SAFETY: the lengths are those asserted, and `cells` keeps to the input.
        unsafe { dispatch(Avg { pool: self, n, x: x.as_ptr(), y: y.as_mut_ptr(), count_padding }) };
    }

    /// The gradient of [`avg_pool`](Self::avg_pool): `dx`, overwritten, is the sum over the windows of `dy` divided by
    /// what the mean divided by.
    ///
    /// ```
    /// let pool = brisk_kernels::pool::Pool2d::global(1, 2, 1);
    /// let mut dx = [9.0; 2];
    /// pool.avg_pool_grad(1, &[3.0], &mut dx, true);
    /// assert_eq!(dx, [1.5, 1.5]);
    /// ```
    pub fn avg_pool_grad(&self, n: usize, dy: &[f32], dx: &mut [f32], count_padding: bool) {
        self.check();
        assert_eq!(dx.len(), n * self.in_len(), "dx length");
        assert_eq!(dy.len(), n * self.out_len(), "dy length");
        if !self.tiles() {
            dx.fill(0.0);
        }
        // SAFETY: the lengths are those asserted, and `cells` keeps to the input.
        unsafe { dispatch(AvgGrad { pool: self, n, dy: dy.as_ptr(), dx: dx.as_mut_ptr(), count_padding }) };
    }

    /// Every input cell lies in exactly one window, so gradients are written, not added.
    fn tiles(&self) -> bool {
        self.window == self.stride
            && self.out_h * self.window[0] >= self.in_h + self.pad[0]
            && self.out_w * self.window[1] >= self.in_w + self.pad[1]
    }

    /// Calls `f(cells, input image offset, output offset)` for each window.
    #[inline(always)]
    fn each(&self, n: usize, mut f: impl FnMut(Cells, usize, usize)) {
        let mut out = 0;
        for image in 0..n {
            for oy in 0..self.out_h {
                for ox in 0..self.out_w {
                    f(self.cells(oy, ox), image * self.in_len(), out);
                    out += self.c;
                }
            }
        }
    }

    #[inline(always)]
    fn divisor(&self, cells: &Cells, count_padding: bool) -> f32 {
        let count = if count_padding {
            self.window[0] * self.window[1]
        } else {
            (cells.y[1] - cells.y[0]) * (cells.x[1] - cells.x[0])
        };
        1.0 / count as f32
    }

    /// Offset in the image of a cell that lies inside.
    #[inline(always)]
    fn offset(&self, cells: &Cells, ky: usize, kx: usize) -> usize {
        let y = (cells.corner[0] + ky as isize) as usize;
        let x = (cells.corner[1] + kx as isize) as usize;
        (y * self.in_w + x) * self.c
    }
}

struct Max<'a> {
    pool: &'a Pool2d,
    n: usize,
    x: *const f32,
    y: *mut f32,
    index: *mut u8,
}

impl Kernel for Max<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const M: usize>(self) {
        let p = self.pool;
        p.each(self.n, |cells, image, out| {
            for c in (0..p.c).step_by(V::LANES) {
                let n = p.c - c;
                // SAFETY: `cells` are inside the image; lanes from `c` on are inside the pixel.
                unsafe {
                    let x = self.x.add(image + c);
                    let mut best = V::load_n(x.add(p.offset(&cells, cells.y[0], cells.x[0])), n);
                    let mut at = V::splat((cells.y[0] * p.window[1] + cells.x[0]) as f32);
                    for ky in cells.y[0]..cells.y[1] {
                        for kx in cells.x[0]..cells.x[1] {
                            let v = V::load_n(x.add(p.offset(&cells, ky, kx)), n);
                            let k = V::splat((ky * p.window[1] + kx) as f32);
                            (best, at) = V::later_max(best, at, v, k);
                        }
                    }
                    best.store_n(self.y.add(out + c), n);
                    if !self.index.is_null() {
                        at.store_bytes(self.index.add(out + c), n.min(V::LANES));
                    }
                }
            }
        });
    }
}

struct MaxGrad<'a> {
    pool: &'a Pool2d,
    n: usize,
    dy: *const f32,
    index: *const u8,
    dx: *mut f32,
}

impl Kernel for MaxGrad<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const M: usize>(self) {
        let p = self.pool;
        let write = p.tiles();
        p.each(self.n, |cells, image, out| {
            for c in (0..p.c).step_by(V::LANES) {
                let n = p.c - c;
                // SAFETY: `cells` are inside the image; lanes from `c` on are inside the pixel.
                unsafe {
                    let dx = self.dx.add(image + c);
                    let dy = V::load_n(self.dy.add(out + c), n);
                    let at = V::load_bytes(self.index.add(out + c), n.min(V::LANES));
                    for ky in cells.y[0]..cells.y[1] {
                        for kx in cells.x[0]..cells.x[1] {
                            let to = dx.add(p.offset(&cells, ky, kx));
                            let v = dy.where_equal(at, V::splat((ky * p.window[1] + kx) as f32));
                            let v = if write { v } else { V::load_n(to, n).add(v) };
                            v.store_n(to, n);
                        }
                    }
                }
            }
        });
    }
}

struct Avg<'a> {
    pool: &'a Pool2d,
    n: usize,
    x: *const f32,
    y: *mut f32,
    count_padding: bool,
}

impl Kernel for Avg<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const M: usize>(self) {
        let p = self.pool;
        p.each(self.n, |cells, image, out| {
            let scale = p.divisor(&cells, self.count_padding);
            for c in (0..p.c).step_by(V::LANES) {
                let n = p.c - c;
                // SAFETY: `cells` are inside the image; lanes from `c` on are inside the pixel.
                unsafe {
                    let x = self.x.add(image + c);
                    let mut sum = V::zero();
                    for ky in cells.y[0]..cells.y[1] {
                        for kx in cells.x[0]..cells.x[1] {
                            sum = sum.add(V::load_n(x.add(p.offset(&cells, ky, kx)), n));
                        }
                    }
                    sum.mul(V::splat(scale)).store_n(self.y.add(out + c), n);
                }
            }
        });
    }
}

struct AvgGrad<'a> {
    pool: &'a Pool2d,
    n: usize,
    dy: *const f32,
    dx: *mut f32,
    count_padding: bool,
}

impl Kernel for AvgGrad<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const M: usize>(self) {
        let p = self.pool;
        let write = p.tiles();
        p.each(self.n, |cells, image, out| {
            let scale = p.divisor(&cells, self.count_padding);
            for c in (0..p.c).step_by(V::LANES) {
                let n = p.c - c;
                // SAFETY: `cells` are inside the image; lanes from `c` on are inside the pixel.
                unsafe {
                    let dx = self.dx.add(image + c);
                    let v = V::load_n(self.dy.add(out + c), n).mul(V::splat(scale));
                    for ky in cells.y[0]..cells.y[1] {
                        for kx in cells.x[0]..cells.x[1] {
                            let to = dx.add(p.offset(&cells, ky, kx));
                            let v = if write { v } else { V::load_n(to, n).add(v) };
                            v.store_n(to, n);
                        }
                    }
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::{at_levels, close, noise};
    use proptest::prelude::*;

    fn any_pool() -> impl Strategy<Value = Pool2d> {
        let axis = || (1usize..=9, 1usize..=4, 1usize..=4, 0usize..=3, 0usize..=3);
        (axis(), axis(), 1usize..=37).prop_map(|(y, x, c)| {
            let fit = |(size, window, stride, before, after): (usize, usize, usize, usize, usize)| {
                let before = before.min(window - 1);
                let size = size.max(window.saturating_sub(before));
                let mut out = (size + before + after.min(window - 1) - window) / stride + 1;
                while (out - 1) * stride >= size + before {
                    out -= 1;
                }
                (size, out, window, stride, before)
            };
            let (y, x) = (fit(y), fit(x));
            Pool2d {
                in_h: y.0,
                in_w: x.0,
                c,
                out_h: y.1,
                out_w: x.1,
                window: [y.2, x.2],
                stride: [y.3, x.3],
                pad: [y.4, x.4],
            }
        })
    }

    /// Calls `f(output offset, cell, input offset)` for all cells inside the input.
    fn each_cell(p: &Pool2d, n: usize, mut f: impl FnMut(usize, usize, usize)) {
        for out in 0..n * p.out_len() {
            let (c, pixel) = (out % p.c, out / p.c);
            let (ox, oy, i) = (pixel % p.out_w, pixel / p.out_w % p.out_h, pixel / p.out_w / p.out_h);
            for k in 0..p.window[0] * p.window[1] {
                let iy = (oy * p.stride[0] + k / p.window[1]).wrapping_sub(p.pad[0]);
                let ix = (ox * p.stride[1] + k % p.window[1]).wrapping_sub(p.pad[1]);
                if iy < p.in_h && ix < p.in_w {
                    f(out, k, ((i * p.in_h + iy) * p.in_w + ix) * p.c + c);
                }
            }
        }
    }

    fn check(p: &Pool2d, n: usize, count_padding: bool) {
        // Few values, so that there are ties.
        let x: Vec<f32> = noise(n * p.in_len(), 1).iter().map(|v| (v * 4.0).round()).collect();
        let dy = noise(n * p.out_len(), 2);
        let mut best: Vec<(f32, usize, usize)> = vec![(f32::MIN, 0, 0); dy.len()];
        let mut mean = vec![(0.0f64, 0usize); dy.len()];
        each_cell(p, n, |out, k, at| {
            if x[at] > best[out].0 {
                best[out] = (x[at], k, at);
            }
            mean[out].0 += f64::from(x[at]);
            mean[out].1 += 1;
        });
        let count = |out: usize| if count_padding { p.window[0] * p.window[1] } else { mean[out].1 } as f64;
        let want_mean: Vec<f64> = (0..dy.len()).map(|out| mean[out].0 / count(out)).collect();
        let (mut want_max_dx, mut want_avg_dx) = (vec![0.0f64; x.len()], vec![0.0f64; x.len()]);
        for out in 0..dy.len() {
            want_max_dx[best[out].2] += f64::from(dy[out]);
        }
        each_cell(p, n, |out, _, at| want_avg_dx[at] += f64::from(dy[out]) / count(out));
        at_levels(|| {
            let (mut y, mut index) = (vec![f32::NAN; dy.len()], vec![255; dy.len()]);
            p.max_pool(n, &x, &mut y, Some(&mut index));
            assert!(y.iter().zip(&best).all(|(y, b)| *y == b.0), "max");
            assert!(index.iter().zip(&best).all(|(i, b)| usize::from(*i) == b.1), "index");
            y.fill(f32::NAN);
            p.max_pool(n, &x, &mut y, None);
            assert!(y.iter().zip(&best).all(|(y, b)| *y == b.0), "max without index");
            let mut dx = vec![f32::NAN; x.len()];
            p.max_pool_grad(n, &dy, &index, &mut dx);
            close(&dx, &want_max_dx, 1.0, "max dx");
            p.avg_pool(n, &x, &mut y, count_padding);
            close(&y, &want_mean, 1.0, "mean");
            dx.fill(f32::NAN);
            p.avg_pool_grad(n, &dy, &mut dx, count_padding);
            close(&dx, &want_avg_dx, 1.0, "mean dx");
        });
    }

    proptest! {
        #[test]
        fn any_pooling(p in any_pool(), n in 1usize..=3, count_padding: bool) {
            check(&p, n, count_padding);
        }
    }

    proptest! {
        #[test]
        fn rows_of_an_image_are_what_the_whole_has_there(p in any_pool(), cut in 0.0f64..1.0) {
            let x = noise(p.in_len(), 1);
            let row = p.out_w * p.c;
            let (mut max, mut mean) = (vec![0.0; p.out_len()], vec![0.0; p.out_len()]);
            p.max_pool(1, &x, &mut max, None);
            p.avg_pool(1, &x, &mut mean, true);
            let cut = (cut * p.out_h as f64) as usize;
            for rows in [0..cut, cut..p.out_h] {
                let (band, start) = p.band(rows.clone());
                let mut y = vec![0.0; band.out_len()];
                let whole = rows.start * row..rows.end * row;
                band.max_pool(1, &x[start..], &mut y, None);
                prop_assert_eq!(&y, &max[whole.clone()]);
                band.avg_pool(1, &x[start..], &mut y, true);
                prop_assert_eq!(&y, &mean[whole]);
            }
        }
    }

    #[test]
    fn global_pooling() {
        check(&Pool2d::global(7, 5, 19), 2, true);
    }

    #[test]
    #[should_panic(expected = "an index byte tells at most 256 apart")]
    fn an_index_of_a_large_window_is_refused() {
        Pool2d::global(17, 16, 1).max_pool(1, &[0.0; 272], &mut [0.0], Some(&mut [0]));
    }

    #[test]
    fn a_large_window_without_index_is_fine() {
        let mut y = [0.0];
        Pool2d::global(17, 16, 1).max_pool(1, &[-2.0; 272], &mut y, None);
        assert_eq!(y, [-2.0]);
    }
}
