//! Register tiles of the dense passes.

use super::Runs;
use super::depthwise::DepthBlock;
use super::vector::{Kernel, Vector};

/// Output pixels × one block of output channels.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub(super) depthwise: bool,
    /// First tap of the first pixel.
    pub(super) src: *const f32,
    pub(super) images: usize,
    pub(super) src_image: usize,
    /// Floats between pixels of the grid, down and across.
    pub(super) src_step: [usize; 2],
    pub(super) grid: [usize; 2],
    pub(super) runs: Runs,
    /// `[run][position in the run][channel]`, channels padded to whole vectors.
    pub(super) weights: *const f32,
    /// Null for none.
    pub(super) bias: *const f32,
    pub(super) relu: bool,
    pub(super) dst: *mut f32,
    pub(super) dst_image: usize,
    pub(super) dst_step: [usize; 2],
    /// Channels to write: at most two vectors (any number if depthwise).
    pub(super) width: usize,
}

/// Walks the pixels of a block in memory order, across rows and images.
pub(super) struct Pixels<'a> {
    block: &'a Block,
    at: [usize; 3],
    pub(super) left: usize,
}

impl<'a> Pixels<'a> {
    #[inline(always)]
    pub(super) fn new(block: &'a Block) -> Self {
        Self { block, at: [0; 3], left: block.images * block.grid[0] * block.grid[1] }
    }

    /// Offsets of the next pixel in the source and the destination.
    #[inline(always)]
    pub(super) fn next(&mut self) -> (usize, usize) {
        self.skip(1)
    }

    /// Pixels left in this row.
    #[inline(always)]
    fn in_row(&self) -> usize {
        self.block.grid[1] - self.at[2]
    }

    /// Takes `count` pixels of this row; offsets of the first.
    #[inline(always)]
    fn skip(&mut self, count: usize) -> (usize, usize) {
        let b = self.block;
        let [i, y, x] = self.at;
        self.left -= count;
        self.at[2] += count;
        if self.at[2] == b.grid[1] {
            self.at[2] = 0;
            self.at[1] += 1;
            if self.at[1] == b.grid[0] {
                self.at[1] = 0;
                self.at[0] += 1;
            }
        }
        (
            i * b.src_image + y * b.src_step[0] + x * b.src_step[1],
            i * b.dst_image + y * b.dst_step[0] + x * b.dst_step[1],
        )
    }
}

impl Kernel for Block {
    #[inline(always)]
    unsafe fn run<V: Vector, const M: usize>(self) {
        // SAFETY: the caller's.
        unsafe {
            if self.depthwise {
                DepthBlock(self).walk::<V>();
            } else if self.width > V::LANES {
                self.walk::<V, M, 2>();
            } else {
                self.walk::<V, M, 1>();
            }
        }
    }
}

impl Block {
    #[inline(always)]
    unsafe fn walk<V: Vector, const M: usize, const B: usize>(&self) {
        let mut pixels = Pixels::new(self);
        while pixels.left > 0 {
            let live = pixels.left.min(M);
            let mut src = [self.src; M];
            let mut dst = [self.dst; M];
            if live == M && pixels.in_row() >= M {
                let (from, to) = pixels.skip(M);
                for m in 0..M {
                    // SAFETY: the caller covers every pixel of the grid, and `M` of them follow in this row.
                    (src[m], dst[m]) = unsafe {
                        (self.src.add(from + m * self.src_step[1]), self.dst.add(to + m * self.dst_step[1]))
                    };
                }
            } else {
                for m in 0..live {
                    let (from, to) = pixels.next();
                    // SAFETY: the caller covers every pixel of the grid.
                    (src[m], dst[m]) = unsafe { (self.src.add(from), self.dst.add(to)) };
                }
            }
            // Short tiles repeat the first pixel of the grid and drop the result.
            // SAFETY: as above.
            unsafe {
                if live <= 3 {
                    self.tile::<V, 3, B>(&src, &dst, live);
                } else if M > 6 && live <= 6 {
                    self.tile::<V, 6, B>(&src, &dst, live);
                } else {
                    self.tile::<V, M, B>(&src, &dst, live);
                }
            }
        }
    }

    /// `M` pixels × `B` vectors of channels.
    #[inline(always)]
    unsafe fn tile<V: Vector, const M: usize, const B: usize>(&self, src: &[*const f32], dst: &[*mut f32], live: usize) {
        // SAFETY: the caller covers every run of every pixel, the weights, the bias and `width` channels of `dst`.
        unsafe {
            let mut start = [V::zero(); B];
            if !self.bias.is_null() {
                for b in 0..B {
                    start[b] = V::load_n(self.bias.add(b * V::LANES), self.width - b * V::LANES);
                }
            }
            let mut acc = [start; M];
            let mut pixel = [self.src; M];
            pixel.copy_from_slice(&src[..M]);
            let mut w = self.weights;
            // One flat loop over the runs: each begins where the last did, a tap or a row further.
            let (mut tx, len) = (0, self.runs.len);
            let next_row = self.runs.step[0] - (self.runs.taps[1] - 1) * self.runs.step[1];
            for _ in 0..self.runs.taps[0] * self.runs.taps[1] {
                for k in 0..len {
                    let mut row = [V::zero(); B];
                    for b in 0..B {
                        row[b] = V::load(w.add(b * V::LANES));
                    }
                    for m in 0..M {
                        let x = V::splat(*pixel[m].add(k));
                        for b in 0..B {
                            acc[m][b] = acc[m][b].fma(x, row[b]);
                        }
                    }
                    w = w.add(B * V::LANES);
                }
                tx += 1;
                let step = if tx == self.runs.taps[1] {
                    tx = 0;
                    next_row
                } else {
                    self.runs.step[1]
                };
                for m in 0..M {
                    pixel[m] = pixel[m].wrapping_add(step);
                }
            }
            if self.relu {
                for m in 0..M {
                    for b in 0..B {
                        acc[m][b] = acc[m][b].relu();
                    }
                }
            }
            if live == M && self.width == B * V::LANES {
                for m in 0..M {
                    for b in 0..B {
                        acc[m][b].store(dst[m].add(b * V::LANES));
                    }
                }
            } else {
                for m in 0..M {
                    if m < live {
                        for b in 0..B {
                            acc[m][b].store_n(dst[m].add(b * V::LANES), self.width - b * V::LANES);
                        }
                    }
                }
            }
        }
    }
}

/// Kernel rows × one block of output channels, summed over pixels.
pub(super) struct GradBlock {
    pub(super) src: *const f32,
    /// Offset of each pixel's first tap.
    pub(super) base: *const usize,
    pub(super) pixels: usize,
    pub(super) runs: Runs,
    /// `[pixel][channel]`, channels padded to whole vectors.
    pub(super) dy: *const f32,
    /// Row `rows[0]` of the kernel.
    pub(super) dw: *mut f32,
    pub(super) dw_row: usize,
    pub(super) rows: [usize; 2],
    pub(super) width: usize,
}

impl Kernel for GradBlock {
    #[inline(always)]
    unsafe fn run<V: Vector, const M: usize>(self) {
        // SAFETY: the caller's.
        unsafe {
            if self.width > V::LANES {
                self.walk::<V, M, 2>();
            } else {
                self.walk::<V, M, 1>();
            }
        }
    }
}

impl GradBlock {
    #[inline(always)]
    unsafe fn walk<V: Vector, const M: usize, const B: usize>(&self) {
        let len = self.runs.len;
        for run in self.rows[0] / len..self.rows[1].div_ceil(len) {
            let first = run * len;
            let mut k = self.rows[0].max(first);
            let end = self.rows[1].min(first + len);
            while k < end {
                let at = self.runs.offset(run) + k - first;
                // SAFETY: row k is in `rows`, and at least as many rows as the tile's are left in the run.
                unsafe {
                    let dw = self.dw.add((k - self.rows[0]) * self.dw_row);
                    k += match end - k {
                        m if m >= M => self.tile::<V, M, B>(at, dw),
                        m if M > 6 && m >= 6 => self.tile::<V, 6, B>(at, dw),
                        m if m >= 4 => self.tile::<V, 4, B>(at, dw),
                        3 => self.tile::<V, 3, B>(at, dw),
                        2 => self.tile::<V, 2, B>(at, dw),
                        _ => self.tile::<V, 1, B>(at, dw),
                    };
                }
            }
        }
    }

    /// `M` rows from offset `at` of a pixel × `B` vectors of channels; answers `M`.
    #[inline(always)]
    unsafe fn tile<V: Vector, const M: usize, const B: usize>(&self, at: usize, dw: *mut f32) -> usize {
        // SAFETY: the caller covers the run below every pixel, the panel, and `M` rows of `dw`.
        unsafe {
            let mut acc = [[V::zero(); B]; M];
            let src = self.src.add(at);
            let mut dy = self.dy;
            for p in 0..self.pixels {
                let x = src.add(*self.base.add(p));
                let mut row = [V::zero(); B];
                for b in 0..B {
                    row[b] = V::load(dy.add(b * V::LANES));
                }
                for m in 0..M {
                    let x = V::splat(*x.add(m));
                    for b in 0..B {
                        acc[m][b] = acc[m][b].fma(x, row[b]);
                    }
                }
                dy = dy.add(B * V::LANES);
            }
            for m in 0..M {
                for b in 0..B {
                    let n = self.width - b * V::LANES;
                    let to = dw.add(m * self.dw_row + b * V::LANES);
                    V::load_n(to, n).add(acc[m][b]).store_n(to, n);
                }
            }
        }
        M
    }
}
