//! Depthwise passes: one filter for each channel, vectors over the channels.

use super::Runs;
use super::tile::{Block, Pixels};
use super::vector::{Kernel, Vector};

/// A [`Block`] whose weights are `[tap][channel]`.
pub(super) struct DepthBlock(pub(super) Block);

impl DepthBlock {
    #[inline(always)]
    pub(super) unsafe fn walk<V: Vector>(&self) {
        let mut pixels = Pixels::new(&self.0);
        while pixels.left > 0 {
            let live = pixels.left.min(4);
            let mut src = [self.0.src; 4];
            let mut dst = [self.0.dst; 4];
            for m in 0..live {
                let (from, to) = pixels.next();
                // SAFETY: the caller covers every pixel of the grid.
                (src[m], dst[m]) = unsafe { (self.0.src.add(from), self.0.dst.add(to)) };
            }
            let mut c = 0;
            // SAFETY: the caller covers `width` channels of source, weights, bias and destination.
            unsafe {
                while c + V::LANES <= self.0.width {
                    self.tile::<V, true>(&src, &dst, live, c);
                    c += V::LANES;
                }
                if c < self.0.width {
                    self.tile::<V, false>(&src, &dst, live, c);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<V: Vector, const FULL: bool>(
        &self,
        src: &[*const f32; 4],
        dst: &[*mut f32; 4],
        live: usize,
        c: usize,
    ) {
        let b = &self.0;
        let n = if FULL { V::LANES } else { b.width - c };
        // SAFETY: the caller's.
        unsafe {
            let mut acc = [if b.bias.is_null() { V::zero() } else { V::load_n(b.bias.add(c), n) }; 4];
            let mut w = b.weights.add(c);
            for ty in 0..b.runs.taps[0] {
                for tx in 0..b.runs.taps[1] {
                    let at = ty * b.runs.step[0] + tx * b.runs.step[1] + c;
                    let row = V::load_n(w, n);
                    for m in 0..4 {
                        acc[m] = acc[m].fma(V::load_n(src[m].add(at), n), row);
                    }
                    w = w.add(b.width);
                }
            }
            for m in 0..4 {
                if m < live {
                    let v = if b.relu { acc[m].relu() } else { acc[m] };
                    v.store_n(dst[m].add(c), n);
                }
            }
        }
    }
}

/// `dw[tap][c] += sum over pixels of x[pixel + tap][c] · dy[pixel][c]`
pub(super) struct DepthGrad {
    pub(super) src: *const f32,
    pub(super) base: *const usize,
    pub(super) pixels: usize,
    pub(super) runs: Runs,
    pub(super) dy: *const f32,
    pub(super) dw: *mut f32,
    /// Taps to do; `dw` begins with the first.
    pub(super) rows: [usize; 2],
    pub(super) channels: usize,
}

impl Kernel for DepthGrad {
    #[inline(always)]
    unsafe fn run<V: Vector, const M: usize>(self) {
        let mut tap = self.rows[0];
        while tap < self.rows[1] {
            // SAFETY: the caller's.
            tap += unsafe {
                match self.rows[1] - tap {
                    1 => self.taps::<V, 1>(tap),
                    2 => self.taps::<V, 2>(tap),
                    3 => self.taps::<V, 3>(tap),
                    4 => self.taps::<V, 4>(tap),
                    _ => self.taps::<V, 5>(tap),
                }
            };
        }
    }
}

impl DepthGrad {
    #[inline(always)]
    unsafe fn taps<V: Vector, const T: usize>(&self, tap: usize) -> usize {
        let mut c = 0;
        // SAFETY: the caller's.
        unsafe {
            while c + V::LANES <= self.channels {
                self.tile::<V, T, true>(tap, c);
                c += V::LANES;
            }
            if c < self.channels {
                self.tile::<V, T, false>(tap, c);
            }
        }
        T
    }

    #[inline(always)]
    unsafe fn tile<V: Vector, const T: usize, const FULL: bool>(&self, tap: usize, c: usize) {
        let n = if FULL { V::LANES } else { self.channels - c };
        // SAFETY: the caller covers every tap of every pixel, `dy`, and taps `tap .. tap + T` of `dw`.
        unsafe {
            let mut acc = [V::zero(); T];
            let mut at = [0; T];
            for t in 0..T {
                at[t] = self.runs.offset(tap + t) + c;
            }
            for p in 0..self.pixels {
                let dy = V::load_n(self.dy.add(p * self.channels + c), n);
                let x = self.src.add(*self.base.add(p));
                for t in 0..T {
                    acc[t] = acc[t].fma(V::load_n(x.add(at[t]), n), dy);
                }
            }
            for t in 0..T {
                let to = self.dw.add((tap + t - self.rows[0]) * self.channels + c);
                V::load_n(to, n).add(acc[t]).store_n(to, n);
            }
        }
    }
}
