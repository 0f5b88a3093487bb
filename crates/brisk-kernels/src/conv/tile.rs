//! Register tiles of the dense passes.

use super::depthwise::DepthBlock;
use super::vector::{Kernel, Vector};
use super::{GRAD_ROW, Runs};

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
    unsafe fn tile<V: Vector, const M: usize, const B: usize>(
        &self,
        src: &[*const f32],
        dst: &[*mut f32],
        live: usize,
    ) {
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

/// Copies `count` floats below each pixel into rows of [`GRAD_ROW`].
pub(super) struct CopyColumns {
    pub(super) src: *const f32,
    pub(super) base: *const usize,
    pub(super) pixels: usize,
    pub(super) count: usize,
    pub(super) to: *mut f32,
}

impl Kernel for CopyColumns {
    #[inline(always)]
    unsafe fn run<V: Vector, const M: usize>(self) {
        for p in 0..self.pixels {
            // SAFETY: the caller's.
            unsafe {
                let (from, to) = (self.src.add(*self.base.add(p)), self.to.add(p * GRAD_ROW));
                let mut k = 0;
                while k + V::LANES <= self.count {
                    V::load(from.add(k)).store(to.add(k));
                    k += V::LANES;
                }
                if k < self.count {
                    V::load_part(from.add(k), self.count - k).store_part(to.add(k), self.count - k);
                }
            }
        }
    }
}

/// Kernel rows × one block of output channels, summed over pixels.
pub(super) struct GradBlock {
    /// First position below a pixel at offset 0.
    pub(super) src: *const f32,
    /// Offset of each pixel; null where pixels are [`GRAD_ROW`] apart.
    pub(super) base: *const usize,
    pub(super) pixels: usize,
    /// `[pixel][channel]`, channels padded to whole vectors.
    pub(super) dy: *const f32,
    pub(super) dw: *mut f32,
    pub(super) dw_row: usize,
    /// Positions below each pixel, rows of `dw`.
    pub(super) count: usize,
    pub(super) width: usize,
}

impl Kernel for GradBlock {
    #[inline(always)]
    unsafe fn run<V: Vector, const M: usize>(self) {
        // SAFETY: the caller's.
        unsafe {
            match (self.width > V::LANES, self.base.is_null()) {
                (true, true) => self.walk::<V, M, 2, true>(),
                (true, false) => self.walk::<V, M, 2, false>(),
                (false, true) => self.walk::<V, M, 1, true>(),
                (false, false) => self.walk::<V, M, 1, false>(),
            }
        }
    }
}

impl GradBlock {
    #[inline(always)]
    unsafe fn walk<V: Vector, const M: usize, const B: usize, const ROWS: bool>(&self) {
        let mut k = 0;
        while k < self.count {
            // SAFETY: at least as many positions as the tile's are left.
            unsafe {
                k += match self.count - k {
                    m if m >= M => self.tile::<V, M, B, ROWS>(k),
                    m if M > 6 && m >= 6 => self.tile::<V, 6, B, ROWS>(k),
                    m if m >= 4 => self.tile::<V, 4, B, ROWS>(k),
                    3 => self.tile::<V, 3, B, ROWS>(k),
                    2 => self.tile::<V, 2, B, ROWS>(k),
                    _ => self.tile::<V, 1, B, ROWS>(k),
                };
            }
        }
    }

    /// `M` positions from `k` on × `B` vectors of channels; answers `M`.
    #[inline(always)]
    unsafe fn tile<V: Vector, const M: usize, const B: usize, const ROWS: bool>(&self, k: usize) -> usize {
        // SAFETY: the caller covers these positions below every pixel, the panel, and `M` rows of `dw`.
        unsafe {
            let dw = self.dw.add(k * self.dw_row);
            for m in 0..M {
                // A large gradient lies beyond L2: ask for it while the tile is summed.
                V::prefetch(dw.wrapping_add(m * self.dw_row));
            }
            let mut acc = [[V::zero(); B]; M];
            let src = self.src.add(k);
            let mut dy = self.dy;
            for p in 0..self.pixels {
                let x = src.add(if ROWS { p * GRAD_ROW } else { *self.base.add(p) });
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
