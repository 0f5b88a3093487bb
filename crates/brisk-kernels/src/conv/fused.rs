//! # Convolution, bias, relu and max pooling as one pass, and its sparse gradient
//!
//! Forward, only the convolution's outputs that a window reads are computed, a strip at a time, and only the pooled
//! map and one byte per pooled value (which cell of the window won) are kept.
//!
//! Backward, a pooled gradient reaches one convolution output, and none where relu held it at 0, so three quarters and
//! more of the dense gradient are zeros that are never touched:
//!
//! * `dw`: for each output channel the surviving (patch, gradient) pairs are listed; pieces of the channel's gradient
//!   stay in registers while the list is walked;
//! * `dx`: for each convolution output, a bit mask says which channels survived; a run of `dx` stays in registers
//!   while their kernels' runs are added.

use super::tile::Block;
use super::vector::{Kernel, Vector, dispatch, lanes};
use super::{Conv2d, Runs, Source};
use crate::pool::Pool2d;

/// Convolution outputs in a strip, unless one row of windows needs more.
const STRIP_PIXELS: usize = 256;

/// Floats of input images that the kernel gradient's inner loops walk at a time.
const L1_FLOATS: usize = 7 << 10;

/// How the pooled rows are cut into strips.
struct Strips {
    /// Convolution rows and columns that the windows of one image read.
    needed: [usize; 2],
    /// Either several whole images at a time ...
    images: usize,
    /// ... or this many pooled rows of one image.
    rows: usize,
    pixels: usize,
}

impl Conv2d {
    fn check_pool(&self, pool: &Pool2d) {
        self.check();
        pool.check();
        assert_eq!(
            [pool.in_h, pool.in_w, pool.c],
            [self.out_h, self.out_w, self.out_c],
            "the pooling must take what the convolution gives"
        );
        assert_eq!(pool.pad, [0, 0], "the pooling that rides on a convolution has no padding");
        for a in 0..2 {
            let (input, out) = ([pool.in_h, pool.in_w][a], [pool.out_h, pool.out_w][a]);
            assert!(
                out > 0 && (out - 1) * pool.stride[a] + pool.window[a] <= input,
                "a window leaves its input"
            );
        }
        assert!(pool.window[0] * pool.window[1] <= 256, "a window of more than 256 cells");
    }

    fn strips(&self, pool: &Pool2d) -> Strips {
        let need = |a: usize, out: usize| (out - 1) * pool.stride[a] + pool.window[a];
        let needed = [need(0, pool.out_h), need(1, pool.out_w)];
        let image = needed[0] * needed[1];
        if image <= STRIP_PIXELS {
            return Strips { needed, images: STRIP_PIXELS / image, rows: pool.out_h, pixels: STRIP_PIXELS };
        }
        let mut rows = 1;
        while rows < pool.out_h && need(0, rows + 1) * needed[1] <= STRIP_PIXELS {
            rows += 1;
        }
        Strips { needed, images: 1, rows, pixels: need(0, rows) * needed[1] }
    }

    /// Floats of scratch that [`forward_pool`](Self::forward_pool) needs for `n` images.
    ///
    /// See [`forward_pool`](Self::forward_pool) for an example.
    pub fn forward_pool_scratch(&self, pool: &Pool2d, n: usize) -> usize {
        self.check_pool(pool);
        let width = if self.is_depthwise() { self.out_c } else { 2 * lanes() };
        self.strips(pool).pixels * width + self.forward_scratch(n)
    }

    /// `y = max_pool(relu(conv(x, w) + bias))`, or without relu, in one pass.
    /// `y` and `index` are `[n, pool.out_h, pool.out_w, out_c]`, overwritten; `index` is the winner's place in its
    /// window, `ky · window_w + kx`, the first of equals. (Where relu gives 0 it is the winner before relu.)
    ///
    /// # Panics
    /// If lengths do not fit, the pooling does not take what the convolution gives, has padding, or has more than
    /// 256 cells.
    ///
    /// ```
    /// use brisk_kernels::{conv::Conv2d, pool::Pool2d};
    /// let conv = Conv2d {
    ///     in_h: 4, in_w: 4, in_c: 1, out_h: 4, out_w: 4, out_c: 1,
    ///     kernel: [1, 1], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1,
    /// };
    /// let pool = Pool2d { in_h: 4, in_w: 4, c: 1, out_h: 2, out_w: 2, window: [2, 2], stride: [2, 2], pad: [0, 0] };
    /// let x: Vec<f32> = (0..16).map(|i| i as f32).collect();
    /// let mut packed = vec![0.0; conv.pack_len()];
    /// conv.pack(&[1.0], &mut packed);
    /// let (mut y, mut index) = ([0.0; 4], [0; 4]);
    /// let mut scratch = vec![0.0; conv.forward_pool_scratch(&pool, 1)];
    /// conv.forward_pool(&pool, 1, &x, &packed, Some(&[-6.0]), true, &mut y, &mut index, &mut scratch);
    /// assert_eq!((y, index), ([0.0, 1.0, 7.0, 9.0], [3; 4]));
    ///
    /// // And back: only where y > 0, and only to the winners.
    /// let (mut acc, mut dbias, mut dx) = ([0.0], [0.0], [0.0; 16]);
    /// let mut scratch = vec![0.0; conv.grad_pool_scratch(&pool, 1)];
    /// conv.grad_pool(&pool, 1, &x, &[1.0], &y, &index, &[1.0; 4], true,
    ///     &mut acc, &mut dbias, Some(&mut dx), &mut scratch);
    /// assert_eq!((acc, dbias), ([7.0 + 13.0 + 15.0], [3.0]));
    /// assert_eq!((dx[5], dx[7], dx.iter().sum::<f32>()), (0.0, 1.0, 3.0));
    /// ```
    pub fn forward_pool(
        &self,
        pool: &Pool2d,
        n: usize,
        x: &[f32],
        packed: &[f32],
        bias: Option<&[f32]>,
        relu: bool,
        y: &mut [f32],
        index: &mut [u8],
        scratch: &mut [f32],
    ) {
        self.check_pool(pool);
        assert_eq!(x.len(), n * self.in_len(), "x length");
        assert_eq!(y.len(), n * pool.out_len(), "y length");
        assert_eq!(index.len(), y.len(), "index length");
        assert_eq!(packed.len(), self.pack_len(), "packed length");
        assert!(bias.is_none_or(|b| b.len() == self.out_c), "bias length");
        assert!(scratch.len() >= self.forward_pool_scratch(pool, n), "scratch length");
        if y.is_empty() {
            return;
        }
        let strips = self.strips(pool);
        let width = if self.is_depthwise() { self.out_c } else { 2 * lanes() };
        let (strip, scratch) = scratch.split_at_mut(strips.pixels * width);
        let region = self.region();
        let chunk = self.forward_chunk(n);
        for start in (0..n).step_by(chunk) {
            let count = chunk.min(n - start);
            let x = &x[start * self.in_len()..][..count * self.in_len()];
            let source = region.source(x, count, [self.in_h, self.in_w, self.in_c], scratch);
            let y = &mut y[start * pool.out_len()..][..count * pool.out_len()];
            let index = &mut index[start * pool.out_len()..][..count * pool.out_len()];
            self.forward_strips(pool, &strips, count, &source, packed, bias, relu, y, index, strip);
        }
    }

    fn forward_strips(
        &self,
        pool: &Pool2d,
        strips: &Strips,
        count: usize,
        source: &Source,
        packed: &[f32],
        bias: Option<&[f32]>,
        relu: bool,
        y: &mut [f32],
        index: &mut [u8],
        strip: &mut [f32],
    ) {
        for image in (0..count).step_by(strips.images) {
            let images = strips.images.min(count - image);
            for row in (0..pool.out_h).step_by(strips.rows) {
                let rows = strips.rows.min(pool.out_h - row);
                let source = Source {
                    // SAFETY: `image` is one of the source's.
                    ptr: unsafe { source.ptr.add(image * source.image) },
                    ..*source
                };
                let grid = [(rows - 1) * pool.stride[0] + pool.window[0], strips.needed[1]];
                self.each_block(
                    0..self.blocks(),
                    &source,
                    images,
                    [row * pool.stride[0], 0],
                    grid,
                    packed,
                    bias,
                    |mut block: Block, channel, padded| {
                        block.dst = strip.as_mut_ptr();
                        block.dst_image = grid[0] * grid[1] * padded;
                        block.dst_step = [grid[1] * padded, padded];
                        let to = image * pool.out_len() + row * pool.out_w * self.out_c + channel;
                        let winners = Winners {
                            strip: strip.as_ptr(),
                            images,
                            strip_image: block.dst_image,
                            strip_row: grid[1] * padded,
                            strip_pixel: padded,
                            window: pool.window,
                            stride: pool.stride,
                            grid: [rows, pool.out_w],
                            relu,
                            y: y[to..].as_mut_ptr(),
                            index: index[to..].as_mut_ptr(),
                            out_image: pool.out_len(),
                            out_row: pool.out_w * self.out_c,
                            out_pixel: self.out_c,
                            width: block.width,
                        };
                        // SAFETY: `source` covers all outputs that windows read; the strip holds `images` grids of
                        // padded pixels (`strips`); `y` and `index` have `width` channels from `channel` on.
                        unsafe {
                            dispatch(block);
                            dispatch(winners);
                        }
                    },
                );
            }
        }
    }

    // --- gradient ----------------------------------------------------------------------------------------------

    /// Writes `w` channel by channel, `[out_c][rows()]`: what [`grad_pool`](Self::grad_pool) reads for `dx`.
    ///
    /// ```
    /// # let conv = brisk_kernels::conv::Conv2d { in_h: 4, in_w: 4, in_c: 3, out_h: 4, out_w: 4, out_c: 2,
    /// #     kernel: [1, 1], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1 };
    /// let mut wt = [0.0; 6];
    /// conv.pack_channel_major(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &mut wt);
    /// assert_eq!(wt, [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
    /// ```
    pub fn pack_channel_major(&self, w: &[f32], wt: &mut [f32]) {
        self.check();
        assert_eq!(w.len(), self.kernel_len(), "kernel length");
        assert_eq!(wt.len(), self.kernel_len(), "packed length");
        let rows = self.rows();
        for (row, w) in w.chunks_exact(self.out_c.max(1)).enumerate() {
            for (channel, &w) in w.iter().enumerate() {
                wt[channel * rows + row] = w;
            }
        }
    }

    /// Adds a channel-major accumulator `[out_c][rows()]` to `dw [kh, kw, in_c / groups, out_c]`.
    ///
    /// ```
    /// # let conv = brisk_kernels::conv::Conv2d { in_h: 4, in_w: 4, in_c: 3, out_h: 4, out_w: 4, out_c: 2,
    /// #     kernel: [1, 1], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1 };
    /// let mut dw = [10.0; 6];
    /// conv.add_transposed(&[1.0, 3.0, 5.0, 2.0, 4.0, 6.0], &mut dw);
    /// assert_eq!(dw, [11.0, 12.0, 13.0, 14.0, 15.0, 16.0]);
    /// ```
    pub fn add_transposed(&self, acc: &[f32], dw: &mut [f32]) {
        self.check();
        assert_eq!(acc.len(), self.kernel_len(), "accumulator length");
        assert_eq!(dw.len(), self.kernel_len(), "dw length");
        let rows = self.rows();
        for (row, dw) in dw.chunks_exact_mut(self.out_c.max(1)).enumerate() {
            for (channel, dw) in dw.iter_mut().enumerate() {
                *dw += acc[channel * rows + row];
            }
        }
    }

    /// Floats of scratch that [`grad_pool`](Self::grad_pool) needs for `n` images.
    ///
    /// See [`forward_pool`](Self::forward_pool) for an example.
    pub fn grad_pool_scratch(&self, pool: &Pool2d, n: usize) -> usize {
        self.check_pool(pool);
        let region = self.region();
        let padded =
            if region.inside(self.in_h, self.in_w) { 0 } else { (n + 1) * region.pixels() * self.in_c };
        let lists = (2 + 2 * WIDEST) * (n * pool.out_h * pool.out_w + 1);
        let masks = 2 * pool.window[0] * pool.window[1] * pool.out_h * pool.out_w * self.mask_words();
        lists + masks + 1 + padded
    }

    /// Words of 64 channels in a pixel's mask, each group's channels beginning a word of their own.
    fn mask_words(&self) -> usize {
        self.groups * self.cout().div_ceil(64)
    }

    /// The gradient of [`forward_pool`](Self::forward_pool), from its results `y`, `index` and the pooled `dy`.
    ///
    /// * `acc += dw`, channel-major: `[out_c][rows()]`. Sum such accumulators as you like, and turn the sum into a
    ///   kernel gradient with [`add_transposed`](Self::add_transposed).
    /// * `dbias [out_c] += sum of the surviving dy`.
    /// * `dx [n, in_h, in_w, in_c]`, overwritten, if asked for; needs `wt` from
    ///   [`pack_channel_major`](Self::pack_channel_major).
    ///
    /// Everywhere `dz = dy` at the winner, and 0 where `relu` and `y <= 0`.
    ///
    /// See [`forward_pool`](Self::forward_pool) for an example.
    pub fn grad_pool(
        &self,
        pool: &Pool2d,
        n: usize,
        x: &[f32],
        wt: &[f32],
        y: &[f32],
        index: &[u8],
        dy: &[f32],
        relu: bool,
        acc: &mut [f32],
        dbias: &mut [f32],
        dx: Option<&mut [f32]>,
        scratch: &mut [f32],
    ) {
        self.check_pool(pool);
        assert_eq!(x.len(), n * self.in_len(), "x length");
        assert_eq!(wt.len(), self.kernel_len(), "kernel length");
        assert_eq!(y.len(), n * pool.out_len(), "y length");
        assert_eq!(index.len(), y.len(), "index length");
        assert_eq!(dy.len(), y.len(), "dy length");
        assert_eq!(acc.len(), self.kernel_len(), "accumulator length");
        assert_eq!(dbias.len(), self.out_c, "dbias length");
        assert!(dx.as_ref().is_none_or(|dx| dx.len() == x.len()), "dx length");
        assert!(scratch.len() >= self.grad_pool_scratch(pool, n), "scratch length");
        let cells = pool.window[0] * pool.window[1];
        // A maximum, not `all`: it runs in vectors.
        assert!(usize::from(index.iter().fold(0u8, |m, &i| m.max(i))) < cells, "an index outside the window");
        if n == 0 || self.in_len() == 0 || self.out_c == 0 {
            return;
        }
        let region = self.region();
        let map = pool.out_h * pool.out_w;
        let (list, scratch) = scratch.split_at_mut(2 * (n * map + 1));
        let (prepared, scratch) = scratch.split_at_mut(2 * WIDEST * (n * map + 1));
        let (mask, scratch) = scratch.split_at_mut(2 * cells * map * self.mask_words() + 1);
        let padded = if region.inside(self.in_h, self.in_w) { 0 } else { region.pixels() * self.in_c };
        let (inputs, padded_dx) = scratch.split_at_mut(n * padded);
        let source = region.source(x, n, [self.in_h, self.in_w, self.in_c], inputs);
        assert!(n * source.image <= u32::MAX as usize, "too many floats for one call");
        let pixel = [self.stride[0] * source.row, self.stride[1] * self.in_c];
        let mut cell = [0u32; 256];
        for k in 0..cells {
            cell[k] = (k / pool.window[1] * pixel[0] + k % pool.window[1] * pixel[1]) as u32;
        }
        assert!(cell.iter().all(|&c| c < 1 << 24), "a window over more than 2^24 floats");
        let common = Sparse {
            runs: self.forward_runs(&source),
            rows: self.rows(),
            cin: self.cin(),
            cout: self.cout(),
            channels: self.out_c,
            pooled: [pool.out_h, pool.out_w],
            cells,
            step: [pool.stride[0] * pixel[0], pool.stride[1] * pixel[1]],
            image: source.image,
            cell: cell.as_ptr(),
            relu,
        };
        // Each channel walks these images again: no more at a time than stay in L1.
        let together = (L1_FLOATS / source.image.max(1)).clamp(1, n);
        for i in (0..n).step_by(together) {
            let at = i * pool.out_len();
            let kernel = SparseKernelGrad {
                common,
                n: together.min(n - i),
                // SAFETY: image `i` is one of the source's.
                src: unsafe { source.ptr.add(i * source.image) },
                y: y[at..].as_ptr(),
                index: index[at..].as_ptr(),
                dy: dy[at..].as_ptr(),
                prepared: prepared.as_mut_ptr().cast(),
                list: list.as_mut_ptr().cast(),
                acc: acc.as_mut_ptr(),
                dbias: dbias.as_mut_ptr(),
            };
            // SAFETY: `source` covers every tap of every output below a window, indices are inside the window, the
            // list has room for every pooled pixel and one more, and the other lengths are those asserted.
            unsafe { dispatch(kernel) };
        }
        let Some(dx) = dx else { return };
        // Words of 64 bits in a slice of f32 that may begin between two of them.
        let skip = mask.as_ptr().align_offset(align_of::<u64>());
        let mask = mask[skip..].as_mut_ptr().cast::<u64>();
        for i in 0..n {
            let dx = &mut dx[i * self.in_len()..][..self.in_len()];
            let to = if padded == 0 { &mut *dx } else { &mut padded_dx[..padded] };
            to.fill(0.0);
            let at = i * pool.out_len();
            let kernel = SparseInputGrad {
                common,
                wt: wt.as_ptr(),
                y: y[at..].as_ptr(),
                index: index[at..].as_ptr(),
                dy: dy[at..].as_ptr(),
                mask,
                dx: to.as_mut_ptr(),
            };
            // SAFETY: as above; `to` has the source's shape for one image, the masks a word for each 64 channels of
            // each group, cell and pooled pixel.
            unsafe { dispatch(kernel) };
            if padded > 0 {
                region.copy_back(&padded_dx[..padded], self.in_h, self.in_w, self.in_c, dx);
            }
        }
    }
}

/// Max pooling of a strip.
struct Winners {
    strip: *const f32,
    images: usize,
    strip_image: usize,
    strip_row: usize,
    strip_pixel: usize,
    window: [usize; 2],
    stride: [usize; 2],
    /// Windows, down and across.
    grid: [usize; 2],
    relu: bool,
    y: *mut f32,
    index: *mut u8,
    out_image: usize,
    out_row: usize,
    out_pixel: usize,
    width: usize,
}

impl Kernel for Winners {
    #[inline(always)]
    unsafe fn run<V: Vector, const M: usize>(self) {
        // SAFETY: the caller's.
        unsafe {
            if self.window == [2, 2] {
                self.walk::<V>([2, 2]);
            } else {
                self.walk::<V>(self.window);
            }
        }
    }
}

impl Winners {
    #[inline(always)]
    unsafe fn walk<V: Vector>(&self, window: [usize; 2]) {
        for image in 0..self.images {
            for row in 0..self.grid[0] {
                // SAFETY: the caller covers every window's cells in the strip, and `width` channels of each output.
                unsafe {
                    let mut from =
                        self.strip.add(image * self.strip_image + row * self.stride[0] * self.strip_row);
                    let mut out = image * self.out_image + row * self.out_row;
                    for _ in 0..self.grid[1] {
                        for c in (0..self.width).step_by(V::LANES) {
                            let mut best = V::load(from.add(c));
                            let mut at = V::zero();
                            for ky in 0..window[0] {
                                for kx in 0..window[1] {
                                    if ky + kx == 0 {
                                        continue;
                                    }
                                    let x =
                                        V::load(from.add(ky * self.strip_row + kx * self.strip_pixel + c));
                                    (best, at) =
                                        V::later_max(best, at, x, V::splat((ky * window[1] + kx) as f32));
                                }
                            }
                            let best = if self.relu { best.relu() } else { best };
                            best.store_n(self.y.add(out + c), self.width - c);
                            at.store_bytes(self.index.add(out + c), (self.width - c).min(V::LANES));
                        }
                        from = from.add(self.stride[1] * self.strip_pixel);
                        out += self.out_pixel;
                    }
                }
            }
        }
    }
}

/// What both sparse gradients know.
#[derive(Clone, Copy)]
struct Sparse {
    runs: Runs,
    rows: usize,
    cin: usize,
    cout: usize,
    channels: usize,
    pooled: [usize; 2],
    cells: usize,
    /// Floats of the source between pooled pixels, down and across.
    step: [usize; 2],
    image: usize,
    /// Floats of the source from a window's first output to each of its cells.
    cell: *const u32,
    relu: bool,
}

/// Lanes of the widest vector: room for what is prepared at a time.
const WIDEST: usize = 16;

/// Patches of the source, and for each the gradient of the output above it (the bits of an f32).
#[derive(Clone, Copy)]
struct Patches {
    first: *const u32,
    /// From one to the next.
    next: usize,
    /// From a patch to its gradient.
    dz: usize,
    count: usize,
}

struct SparseKernelGrad {
    common: Sparse,
    n: usize,
    src: *const f32,
    y: *const f32,
    index: *const u8,
    dy: *const f32,
    prepared: *mut u32,
    list: *mut u32,
    acc: *mut f32,
    dbias: *mut f32,
}

impl Kernel for SparseKernelGrad {
    #[inline(always)]
    unsafe fn run<V: Vector, const M: usize>(self) {
        let s = &self.common;
        for channel in 0..s.channels {
            // SAFETY: the caller's.
            unsafe {
                if channel % V::LANES == 0 {
                    self.prepare::<V>(channel);
                }
                let list = self.survivors::<V>(channel % V::LANES);
                if list.count == 0 {
                    continue;
                }
                let src = self.src.add(channel / s.cout * s.cin);
                let acc = self.acc.add(channel * s.rows);
                let (runs, len) = (s.runs.count(), s.runs.len);
                let mut run = 0;
                while run < runs {
                    let vectors = len.div_ceil(V::LANES);
                    run += match (runs - run, vectors) {
                        (3.., 1) => self.piece::<V, 3, 1>(src, acc, list, run, 0),
                        (3.., 2) => self.piece::<V, 3, 2>(src, acc, list, run, 0),
                        (3.., 3) => self.piece::<V, 3, 3>(src, acc, list, run, 0),
                        (3.., 4) => self.piece::<V, 3, 4>(src, acc, list, run, 0),
                        _ => {
                            let mut v = 0;
                            while v < vectors {
                                let at = v * V::LANES;
                                v += match vectors - v {
                                    1 => self.columns::<V, 1>(src, acc, list, run, at),
                                    2 => self.columns::<V, 2>(src, acc, list, run, at),
                                    3 => self.columns::<V, 3>(src, acc, list, run, at),
                                    4..8 => self.columns::<V, 4>(src, acc, list, run, at),
                                    8..12 => self.columns::<V, 8>(src, acc, list, run, at),
                                    _ => self.columns::<V, 12>(src, acc, list, run, at),
                                };
                            }
                            1
                        }
                    };
                }
            }
        }
    }
}

impl SparseKernelGrad {
    /// For a vector of channels: every pooled pixel's patch and surviving gradient (0 where relu stopped it), and the bias
    /// gradient. A pixel takes two vectors: patches, then gradients.
    #[inline(always)]
    unsafe fn prepare<V: Vector>(&self, channel: usize) {
        let s = &self.common;
        let width = V::LANES.min(s.channels - channel);
        let mut to = self.prepared;
        let mut p = channel;
        // SAFETY: `p` walks these channels of the pooled maps, `to` the prepared pixels; these channels are the bias'.
        unsafe {
            let mut sum = V::zero();
            for image in 0..self.n {
                for row in 0..s.pooled[0] {
                    let mut base = (image * s.image + row * s.step[0]) as u32;
                    for _ in 0..s.pooled[1] {
                        let mut dz = V::load_n(self.dy.add(p), width);
                        if s.relu {
                            dz = dz.where_positive(V::load_n(self.y.add(p), width));
                        }
                        sum = sum.add(dz);
                        let winner = V::load_bytes(self.index.add(p), width);
                        let mut cell = V::zero();
                        if s.cells == 4 {
                            for k in 1..4 {
                                cell = cell.add(
                                    V::splat(*s.cell.add(k) as f32).where_equal(winner, V::splat(k as f32)),
                                );
                            }
                        } else {
                            for k in 1..s.cells {
                                cell = cell.add(
                                    V::splat(*s.cell.add(k) as f32).where_equal(winner, V::splat(k as f32)),
                                );
                            }
                        }
                        cell.store_offsets(base, to);
                        dz.store(to.add(V::LANES).cast());
                        to = to.add(2 * V::LANES);
                        p += s.channels;
                        base += s.step[1] as u32;
                    }
                }
            }
            let dbias = self.dbias.add(channel);
            V::load_n(dbias, width).add(sum).store_n(dbias, width);
        }
    }

    /// A prepared channel's patches. Zeros are dropped where that costs less than walking them.
    #[inline(always)]
    unsafe fn survivors<V: Vector>(&self, lane: usize) -> Patches {
        let pixels = self.n * self.common.pooled[0] * self.common.pooled[1];
        // SAFETY: these pixels are prepared; one slot of the list lies beyond `count`.
        unsafe {
            let from = self.prepared.add(lane);
            if self.common.rows <= 8 * V::LANES {
                return Patches { first: from, next: 2 * V::LANES, dz: V::LANES, count: pixels };
            }
            let mut count = 0;
            for p in 0..pixels {
                let at = *from.add(p * 2 * V::LANES);
                let dz = *from.add(p * 2 * V::LANES + V::LANES);
                *self.list.add(2 * count) = at;
                *self.list.add(2 * count + 1) = dz;
                count += usize::from(dz != 0);
            }
            Patches { first: self.list, next: 2, dz: 1, count }
        }
    }

    /// `C` vectors of one run; answers `C`.
    #[inline(always)]
    unsafe fn columns<V: Vector, const C: usize>(
        &self,
        src: *const f32,
        acc: *mut f32,
        list: Patches,
        run: usize,
        k: usize,
    ) -> usize {
        // SAFETY: the caller's.
        unsafe { self.piece::<V, 1, C>(src, acc, list, run, k) };
        C
    }

    /// `C` vectors from position `k` of each of `R` runs; answers `R`. The last vector may reach past the run.
    #[inline(always)]
    unsafe fn piece<V: Vector, const R: usize, const C: usize>(
        &self,
        src: *const f32,
        acc: *mut f32,
        list: Patches,
        run: usize,
        k: usize,
    ) -> usize {
        let s = &self.common;
        let last = (s.runs.len - k - (C - 1) * V::LANES).min(V::LANES);
        // SAFETY: the caller covers every run below the listed patches, and the channel's accumulator.
        unsafe {
            let mut sum = [[V::zero(); C]; R];
            let mut from = [src; R];
            let mut patch = list.first;
            for r in 0..R {
                from[r] = src.add(s.runs.offset(run + r) + k);
            }
            if last == V::LANES {
                for _ in 0..list.count {
                    let (at, dz) = (*patch, V::splat(f32::from_bits(*patch.add(list.dz))));
                    patch = patch.wrapping_add(list.next);
                    for r in 0..R {
                        let x = from[r].add(at as usize);
                        for c in 0..C {
                            sum[r][c] = sum[r][c].fma(V::load(x.add(c * V::LANES)), dz);
                        }
                    }
                }
            } else {
                for _ in 0..list.count {
                    let (at, dz) = (*patch, V::splat(f32::from_bits(*patch.add(list.dz))));
                    patch = patch.wrapping_add(list.next);
                    for r in 0..R {
                        let x = from[r].add(at as usize);
                        for c in 0..C - 1 {
                            sum[r][c] = sum[r][c].fma(V::load(x.add(c * V::LANES)), dz);
                        }
                        sum[r][C - 1] = sum[r][C - 1].fma(V::load_part(x.add((C - 1) * V::LANES), last), dz);
                    }
                }
            }
            for r in 0..R {
                for c in 0..C {
                    let to = acc.add((run + r) * s.runs.len + k + c * V::LANES);
                    let n = if c == C - 1 { last } else { V::LANES };
                    V::load_n(to, n).add(sum[r][c]).store_n(to, n);
                }
            }
        }
        R
    }
}

/// For one image.
struct SparseInputGrad {
    common: Sparse,
    wt: *const f32,
    y: *const f32,
    index: *const u8,
    dy: *const f32,
    mask: *mut u64,
    dx: *mut f32,
}

impl Kernel for SparseInputGrad {
    #[inline(always)]
    unsafe fn run<V: Vector, const M: usize>(self) {
        let s = &self.common;
        // SAFETY: the caller's.
        unsafe {
            self.masks::<V>();
            for run in 0..s.runs.count() {
                let vectors = s.runs.len.div_ceil(V::LANES);
                let mut v = 0;
                while v < vectors {
                    let at = v * V::LANES;
                    v += match vectors - v {
                        1 => self.piece::<V, 1>(run, at),
                        2 => self.piece::<V, 2>(run, at),
                        3 => self.piece::<V, 3>(run, at),
                        4..6 => self.piece::<V, 4>(run, at),
                        6..8 => self.piece::<V, 6>(run, at),
                        8..12 => self.piece::<V, 8>(run, at),
                        _ => self.piece::<V, 12>(run, at),
                    };
                }
            }
        }
    }
}

impl SparseInputGrad {
    /// For each pooled pixel, cell and group: which channels have their winner there, and survive.
    #[inline(always)]
    unsafe fn masks<V: Vector>(&self) {
        let s = &self.common;
        let groups = s.channels / s.cout;
        let words = s.cout.div_ceil(64);
        let per_pixel = s.cells * groups * words;
        for p in 0..s.pooled[0] * s.pooled[1] {
            // SAFETY: the caller has room for these words, and these channels.
            unsafe {
                let mask = self.mask.add(p * per_pixel);
                for cell in 0..s.cells {
                    let k = V::splat(cell as f32);
                    for group in 0..groups {
                        for word in 0..words {
                            let mut bits = 0;
                            for c in (word * 64..s.cout.min(word * 64 + 64)).step_by(V::LANES) {
                                let (at, n) =
                                    (p * s.channels + group * s.cout + c, (s.cout - c).min(V::LANES));
                                let winner = V::load_bytes(self.index.add(at), n);
                                let y = if s.relu { V::load_n(self.y.add(at), n) } else { k };
                                let mut some = winner.equal_bits(k, y, s.relu);
                                if n < V::LANES {
                                    some &= (1 << n) - 1;
                                }
                                bits |= some << (c % 64);
                            }
                            *mask.add((cell * groups + group) * words + word) = bits;
                        }
                    }
                }
            }
        }
    }

    /// Adds to `C` vectors from position `k` of a run, for every output; answers `C`.
    #[inline(always)]
    unsafe fn piece<V: Vector, const C: usize>(&self, run: usize, k: usize) -> usize {
        let s = &self.common;
        let (groups, words) = (s.channels / s.cout, s.cout.div_ceil(64));
        let last = (s.runs.len - k - (C - 1) * V::LANES).min(V::LANES);
        let mut p = 0;
        // SAFETY: the caller covers every run below every output, the kernel and the masks.
        unsafe {
            let mut mask = self.mask;
            let wt = self.wt.add(run * s.runs.len + k);
            let dx = self.dx.add(s.runs.offset(run) + k);
            for row in 0..s.pooled[0] {
                for column in 0..s.pooled[1] {
                    let dy = self.dy.add(p * s.channels);
                    let at = row * s.step[0] + column * s.step[1];
                    for cell in 0..s.cells {
                        for group in 0..groups {
                            let to = dx.add(at + *s.cell.add(cell) as usize + group * s.cin);
                            for word in 0..words {
                                let first = group * s.cout + word * 64;
                                let bits = *mask;
                                mask = mask.add(1);
                                if bits == 0 {
                                    continue;
                                }
                                let (dy, wt) = (dy.add(first), wt.add(first * s.rows));
                                if last == V::LANES {
                                    self.add::<V, C, true>(bits, dy, wt, to, last);
                                } else {
                                    self.add::<V, C, false>(bits, dy, wt, to, last);
                                }
                            }
                        }
                    }
                    p += 1;
                }
            }
        }
        C
    }

    #[inline(always)]
    unsafe fn add<V: Vector, const C: usize, const FULL: bool>(
        &self,
        mut bits: u64,
        dy: *const f32,
        wt: *const f32,
        to: *mut f32,
        last: usize,
    ) {
        // SAFETY: the caller's.
        unsafe {
            let mut sum = [V::zero(); C];
            for c in 0..C {
                let n = if FULL || c < C - 1 { V::LANES } else { last };
                sum[c] = V::load_n(to.add(c * V::LANES), n);
            }
            while bits != 0 {
                let channel = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let dz = V::splat(*dy.add(channel));
                let w = wt.add(channel * self.common.rows);
                for c in 0..C {
                    let n = if FULL || c < C - 1 { V::LANES } else { last };
                    sum[c] = sum[c].fma(V::load_n(w.add(c * V::LANES), n), dz);
                }
            }
            for c in 0..C {
                let n = if FULL || c < C - 1 { V::LANES } else { last };
                sum[c].store_n(to.add(c * V::LANES), n);
            }
        }
    }
}
