//! # Convolution in NHWC, direct: no im2col
//!
//! ```text
//! y[n, oy, ox, co] = bias[co] + sum over ky, kx, ci of
//!     x[n, oy·sy + ky·dy − top, ox·sx + kx·dx − left, g·cin + ci] · w[ky, kx, ci, co]      (0 outside x)
//! ```
//! with `cin = in_c / groups` and `g = co / (out_c / groups)`. Activations are `[n, h, w, c]`, kernels
//! `[kh, kw, in_c / groups, out_c]`, both row-major.
//!
//! In NHWC a row of the kernel's window is one contiguous run of `kw · in_c` floats (of `in_c / groups` when dilated
//! or grouped), and so is every row of the kernel. All passes are built on that:
//!
//! * forward and input gradient keep a tile of pixels × channels in registers and walk the runs below each pixel;
//!   a tile takes any pixels, across rows and images, so that 4×4 maps fill it too;
//! * the kernel gradient keeps a tile of run positions × channels in registers and walks the pixels;
//! * behind max pooling, where three quarters and more of the gradient are zero, only what survives is walked.
//!
//! Nothing here allocates: each pass has a `.._scratch(n)` that says how many floats it needs.

#![allow(unsafe_code)]

mod depthwise;
mod fused;
mod tile;
pub(crate) mod vector;
mod winograd;

#[cfg(test)]
pub(crate) mod tests;

use depthwise::DepthGrad;
use std::ops::Range;
use tile::{Block, CopyColumns, GradBlock};
use vector::{dispatch, lanes};

pub use winograd::{Winograd, WinogradGrad};

/// Pixels taken at a time for the kernel gradient: a tile's gradient panel and run positions stay in L1.
const GRAD_PIXELS: usize = 192;

/// Positions of a run that are copied at a time for the kernel gradient, and the row that holds them: an odd number of
/// cache lines, so that the pixels spread over all sets of L1 whatever the number of channels.
const GRAD_COLUMNS: usize = 96;
const GRAD_ROW: usize = 112;

/// A two-dimensional convolution: sizes only. Bottom and right padding follow from the output's size.
///
/// ```
/// use brisk_kernels::conv::Conv2d;
/// // 3×3 over one 4×4 image of one channel, valid, one output channel: sums of nine ones.
/// let conv = Conv2d {
///     in_h: 4, in_w: 4, in_c: 1, out_h: 2, out_w: 2, out_c: 1,
///     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1,
/// };
/// let mut packed = vec![0.0; conv.pack_len()];
/// conv.pack(&[1.0; 9], &mut packed);
/// let mut y = [0.0; 4];
/// let mut scratch = vec![0.0; conv.forward_scratch(1)];
/// conv.forward(1, &[1.0; 16], &packed, Some(&[0.5]), false, &mut y, &mut scratch);
/// assert_eq!(y, [9.5; 4]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// Input height.
    pub in_h: usize,
    /// Input width.
    pub in_w: usize,
    /// Input channels.
    pub in_c: usize,
    /// Output height.
    pub out_h: usize,
    /// Output width.
    pub out_w: usize,
    /// Output channels.
    pub out_c: usize,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Step between output pixels, in input pixels.
    pub stride: [usize; 2],
    /// Step between kernel taps, in input pixels.
    pub dilation: [usize; 2],
    /// Zeros above and to the left of the input. Those below and to the right follow from the output's size.
    pub pad: [usize; 2],
    /// Channel groups: each group of output channels sees its own group of input channels.
    pub groups: usize,
}

/// The part of an image, seen with its zero padding, that a pass reads.
#[derive(Clone, Copy)]
struct Region {
    /// Rows and columns of padding before the image (negative: the image is cropped).
    before: [isize; 2],
    size: [usize; 2],
}

/// Where a pass reads: the images themselves, or a padded copy.
#[derive(Clone, Copy)]
struct Source {
    ptr: *const f32,
    image: usize,
    row: usize,
}

impl Region {
    fn inside(&self, h: usize, w: usize) -> bool {
        self.before[0] <= 0
            && self.before[1] <= 0
            && self.size[0] as isize - self.before[0] <= h as isize
            && self.size[1] as isize - self.before[1] <= w as isize
    }

    fn pixels(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Writes the region of one `h`×`w`×`c` image to `out`.
    fn copy(&self, x: &[f32], h: usize, w: usize, c: usize, out: &mut [f32]) {
        let row = self.size[1] * c;
        let left = self.before[1].max(0) as usize;
        let from = (-self.before[1]).max(0) as usize;
        let columns = w.saturating_sub(from).min(self.size[1].saturating_sub(left));
        for (y, out) in out[..self.size[0] * row].chunks_exact_mut(row.max(1)).enumerate() {
            let iy = y as isize - self.before[0];
            if iy < 0 || iy >= h as isize || columns == 0 {
                out.fill(0.0);
                continue;
            }
            let start = (iy as usize * w + from) * c;
            let (head, rest) = out.split_at_mut(left * c);
            let (body, tail) = rest.split_at_mut(columns * c);
            head.fill(0.0);
            body.copy_from_slice(&x[start..start + columns * c]);
            tail.fill(0.0);
        }
    }

    /// The other way: overwrites the image `dx` with its part of `region`, and zeros what is not in it.
    fn copy_back(&self, region: &[f32], h: usize, w: usize, c: usize, dx: &mut [f32]) {
        let left = self.before[1].max(0) as usize;
        let from = (-self.before[1]).max(0) as usize;
        let columns = w.saturating_sub(from).min(self.size[1].saturating_sub(left));
        for (iy, dx) in dx[..h * w * c].chunks_exact_mut((w * c).max(1)).enumerate() {
            let y = iy as isize + self.before[0];
            dx.fill(0.0);
            if y >= 0 && y < self.size[0] as isize && columns > 0 {
                let start = (y as usize * self.size[1] + left) * c;
                dx[from * c..(from + columns) * c].copy_from_slice(&region[start..start + columns * c]);
            }
        }
    }

    /// `count` images, directly where they hold the whole region, else as padded copies in `scratch`.
    fn source(&self, x: &[f32], count: usize, [h, w, c]: [usize; 3], scratch: &mut [f32]) -> Source {
        if self.inside(h, w) {
            let skip = ((-self.before[0]) as usize * w + (-self.before[1]) as usize) * c;
            return Source { ptr: x[skip.min(x.len())..].as_ptr(), image: h * w * c, row: w * c };
        }
        let image = self.pixels() * c;
        let out = &mut scratch[..count * image];
        if h * w * c == 0 {
            out.fill(0.0);
        } else if image > 0 {
            for (x, out) in x.chunks_exact(h * w * c).zip(out.chunks_exact_mut(image)) {
                self.copy(x, h, w, c, out);
            }
        }
        Source { ptr: out.as_ptr(), image, row: self.size[1] * c }
    }
}

/// The taps of one axis that reach input positions `phase + t·stride`: as a stride-1 convolution of the output's
/// gradient, tap `j` of `count` reads position `t + first + j·step` and is kernel index `last − j·index_step`.
#[derive(Clone, Copy)]
struct Phase {
    count: usize,
    first: isize,
    step: usize,
    last: usize,
    index_step: usize,
    /// Input positions of this phase.
    grid: usize,
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Splits channels into blocks of two vectors (one vector where that suffices): `(first channel, channels)`.
fn blocks(channels: usize, lanes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..channels).step_by(2 * lanes).map(move |start| (start, (channels - start).min(2 * lanes)))
}

/// Floats in a packed row of a block that holds `width` channels.
fn block_row(width: usize, lanes: usize) -> usize {
    if width > lanes { 2 * lanes } else { lanes }
}

impl Conv2d {
    fn check(&self) {
        let [kh, kw] = self.kernel;
        assert!(kh > 0 && kw > 0, "a kernel of {kh}x{kw} has no taps");
        assert!(self.stride[0] > 0 && self.stride[1] > 0, "stride must be at least 1");
        assert!(self.dilation[0] > 0 && self.dilation[1] > 0, "dilation must be at least 1");
        assert!(
            self.groups > 0
                && self.in_c.is_multiple_of(self.groups)
                && self.out_c.is_multiple_of(self.groups),
            "{} groups do not divide {} input and {} output channels",
            self.groups,
            self.in_c,
            self.out_c
        );
    }

    fn cin(&self) -> usize {
        self.in_c / self.groups
    }

    fn cout(&self) -> usize {
        self.out_c / self.groups
    }

    /// Rows of the kernel as a matrix: `kh · kw · in_c / groups`.
    ///
    /// ```
    /// # let conv = brisk_kernels::conv::Conv2d { in_h: 8, in_w: 8, in_c: 3, out_h: 6, out_w: 6, out_c: 4,
    /// #     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1 };
    /// assert_eq!(conv.rows(), 27);
    /// ```
    pub fn rows(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.cin()
    }

    /// Floats in `w`: `rows() · out_c`.
    ///
    /// ```
    /// # let conv = brisk_kernels::conv::Conv2d { in_h: 8, in_w: 8, in_c: 3, out_h: 6, out_w: 6, out_c: 4,
    /// #     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1 };
    /// assert_eq!(conv.kernel_len(), 27 * 4);
    /// ```
    pub fn kernel_len(&self) -> usize {
        self.rows() * self.out_c
    }

    /// Floats in one input image.
    ///
    /// ```
    /// # let conv = brisk_kernels::conv::Conv2d { in_h: 8, in_w: 8, in_c: 3, out_h: 6, out_w: 6, out_c: 4,
    /// #     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1 };
    /// assert_eq!(conv.in_len(), 8 * 8 * 3);
    /// ```
    pub fn in_len(&self) -> usize {
        self.in_h * self.in_w * self.in_c
    }

    /// Floats in one output image.
    ///
    /// ```
    /// # let conv = brisk_kernels::conv::Conv2d { in_h: 8, in_w: 8, in_c: 3, out_h: 6, out_w: 6, out_c: 4,
    /// #     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1 };
    /// assert_eq!(conv.out_len(), 6 * 6 * 4);
    /// ```
    pub fn out_len(&self) -> usize {
        self.out_h * self.out_w * self.out_c
    }

    /// One filter for each channel: vectors run over the channels.
    fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.in_c && self.in_c == self.out_c
    }

    /// Taps that lie next to each other in memory are walked as one run.
    fn runs(&self, taps: [usize; 2], step: [usize; 2], row: usize, pixel: usize, len: usize) -> Runs {
        if step[1] == 1 && len == pixel {
            Runs { taps: [taps[0], 1], step: [step[0] * row, 0], len: taps[1] * len }
        } else {
            Runs { taps, step: [step[0] * row, step[1] * pixel], len }
        }
    }

    fn forward_runs(&self, source: &Source) -> Runs {
        self.runs(self.kernel, self.dilation, source.row, self.in_c, self.cin())
    }

    /// What the forward pass reads of an image.
    fn region(&self) -> Region {
        let size = [0, 1].map(|a| {
            let out = [self.out_h, self.out_w][a];
            if out == 0 {
                0
            } else {
                (out - 1) * self.stride[a] + (self.kernel[a] - 1) * self.dilation[a] + 1
            }
        });
        Region { before: self.pad.map(|p| p as isize), size }
    }

    /// What the input gradient reads of the output's gradient.
    fn grad_region(&self) -> Region {
        let axis = |a: usize, input: usize| {
            let (s, pad) = (self.stride[a] as isize, self.pad[a] as isize);
            let low = (pad - ((self.kernel[a] - 1) * self.dilation[a]) as isize).div_euclid(s);
            let high = (input.max(1) as isize - 1 + pad).div_euclid(s);
            (-low, (high - low + 1).max(0) as usize)
        };
        let (y, x) = (axis(0, self.in_h), axis(1, self.in_w));
        Region { before: [y.0, x.0], size: [y.1, x.1] }
    }

    fn phase(&self, axis: usize, phase: usize) -> Phase {
        let (s, d, k) = (self.stride[axis], self.dilation[axis], self.kernel[axis]);
        let (pad, input) = (self.pad[axis], [self.in_h, self.in_w][axis]);
        let g = gcd(s, d);
        let index_step = s / g;
        let grid = input.saturating_sub(phase).div_ceil(s);
        let reach = |tap: usize| (phase + pad) as isize - (tap * d) as isize;
        match (0..index_step.min(k)).find(|&tap| reach(tap).rem_euclid(s as isize) == 0) {
            None => Phase { count: 0, first: 0, step: 0, last: 0, index_step, grid },
            Some(tap) => {
                let count = (k - tap).div_ceil(index_step);
                let last = tap + (count - 1) * index_step;
                Phase {
                    count,
                    first: reach(last).div_euclid(s as isize),
                    step: d / g,
                    last,
                    index_step,
                    grid,
                }
            }
        }
    }

    /// Images taken at a time: few enough that what is read stays in L2, unless the weights do not fit there,
    /// in which case reading those once for many images counts more.
    fn chunk(&self, n: usize, image: usize, least: usize) -> usize {
        let budget = if self.kernel_len() > 64 << 10 { 512 << 10 } else { 48 << 10 };
        (budget / image.max(1)).max(least).clamp(1, n.max(1))
    }

    fn forward_chunk(&self, n: usize) -> usize {
        self.chunk(n, self.region().pixels() * self.in_c, 1)
    }

    fn grad_kernel_chunk(&self, n: usize) -> usize {
        let least = GRAD_PIXELS.div_ceil((self.out_h * self.out_w).max(1));
        self.chunk(n, self.region().pixels() * self.in_c, least)
    }

    fn grad_input_chunk(&self, n: usize) -> usize {
        self.chunk(n, self.grad_region().pixels() * self.out_c, 1)
    }

    /// The convolution that makes the rows `rows` of one image's output, and where in the image its input begins; packed kernels
    /// serve both.
    ///
    /// ```
    /// # let conv = brisk_kernels::conv::Conv2d { in_h: 8, in_w: 8, in_c: 3, out_h: 8, out_w: 8, out_c: 4,
    /// #     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [1, 1], groups: 1 };
    /// let (band, start) = conv.band(4..6);
    /// assert_eq!((band.out_h, band.in_h, start), (2, 5, 3 * 8 * 3));
    /// ```
    pub fn band(&self, rows: Range<usize>) -> (Conv2d, usize) {
        let top = rows.start * self.stride[0];
        let skip = top.saturating_sub(self.pad[0]).min(self.in_h);
        let pad = [self.pad[0].saturating_sub(top), self.pad[1]];
        let band = Conv2d { in_h: self.in_h - skip, out_h: rows.len(), pad, ..self.clone() };
        (band, skip * self.in_w * self.in_c)
    }

    // --- packing -----------------------------------------------------------------------------------------------

    /// Floats that [`pack`](Self::pack) writes. Depends on the CPU level in use, as does the layout.
    ///
    /// ```
    /// # let conv = brisk_kernels::conv::Conv2d { in_h: 8, in_w: 8, in_c: 3, out_h: 6, out_w: 6, out_c: 4,
    /// #     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1 };
    /// assert!(conv.pack_len() >= conv.kernel_len());
    /// ```
    pub fn pack_len(&self) -> usize {
        self.check();
        if self.is_depthwise() {
            return self.kernel_len();
        }
        self.groups * self.rows() * self.cout().next_multiple_of(lanes())
    }

    /// Packs a kernel for [`forward`](Self::forward): `[group][block of output channels][ky][kx][ci][channel]`,
    /// each block padded with zeros to whole vectors. Once for each new `w`.
    ///
    /// ```
    /// # let conv = brisk_kernels::conv::Conv2d { in_h: 8, in_w: 8, in_c: 3, out_h: 6, out_w: 6, out_c: 4,
    /// #     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1 };
    /// let mut packed = vec![0.0; conv.pack_len()];
    /// conv.pack(&vec![1.0; conv.kernel_len()], &mut packed);
    /// ```
    pub fn pack(&self, w: &[f32], packed: &mut [f32]) {
        self.check();
        assert_eq!(w.len(), self.kernel_len(), "kernel length");
        assert_eq!(packed.len(), self.pack_len(), "packed length");
        if self.is_depthwise() {
            packed.copy_from_slice(w);
            return;
        }
        let (rows, cout, lanes) = (self.rows(), self.cout(), lanes());
        let mut at = 0;
        for group in 0..self.groups {
            for (start, width) in blocks(cout, lanes) {
                let padded = block_row(width, lanes);
                for row in 0..rows {
                    let from = row * self.out_c + group * cout + start;
                    packed[at..at + width].copy_from_slice(&w[from..from + width]);
                    packed[at + width..at + padded].fill(0.0);
                    at += padded;
                }
            }
        }
    }

    /// Floats that [`pack_transposed`](Self::pack_transposed) writes.
    ///
    /// ```
    /// # let conv = brisk_kernels::conv::Conv2d { in_h: 8, in_w: 8, in_c: 3, out_h: 6, out_w: 6, out_c: 4,
    /// #     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1 };
    /// assert!(conv.pack_transposed_len() >= conv.kernel_len());
    /// ```
    pub fn pack_transposed_len(&self) -> usize {
        self.check();
        if self.is_depthwise() {
            return self.kernel_len();
        }
        self.groups * self.kernel[0] * self.kernel[1] * self.cout() * self.cin().next_multiple_of(lanes())
    }

    /// Packs a kernel for [`grad_input`](Self::grad_input): flipped, input and output channels exchanged, the taps
    /// sorted by the input positions (modulo the stride) that they reach.
    ///
    /// ```
    /// # let conv = brisk_kernels::conv::Conv2d { in_h: 8, in_w: 8, in_c: 3, out_h: 6, out_w: 6, out_c: 4,
    /// #     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1 };
    /// let mut packed = vec![0.0; conv.pack_transposed_len()];
    /// conv.pack_transposed(&vec![1.0; conv.kernel_len()], &mut packed);
    /// ```
    pub fn pack_transposed(&self, w: &[f32], packed: &mut [f32]) {
        self.check();
        assert_eq!(w.len(), self.kernel_len(), "kernel length");
        assert_eq!(packed.len(), self.pack_transposed_len(), "packed length");
        let (cin, cout, lanes) = (self.cin(), self.cout(), lanes());
        let mut at = 0;
        for group in 0..if self.is_depthwise() { 1 } else { self.groups } {
            for py in 0..self.stride[0] {
                for px in 0..self.stride[1] {
                    let (y, x) = (self.phase(0, py), self.phase(1, px));
                    let taps = (0..y.count).flat_map(|j| (0..x.count).map(move |i| (j, i))).map(|(j, i)| {
                        (y.last - j * y.index_step) * self.kernel[1] + x.last - i * x.index_step
                    });
                    if self.is_depthwise() {
                        for tap in taps {
                            packed[at..at + self.in_c].copy_from_slice(&w[tap * self.in_c..][..self.in_c]);
                            at += self.in_c;
                        }
                        continue;
                    }
                    for (start, width) in blocks(cin, lanes) {
                        let padded = block_row(width, lanes);
                        for tap in taps.clone() {
                            let out = &mut packed[at..at + cout * padded];
                            if width < padded {
                                out.fill(0.0);
                            }
                            for i in 0..width {
                                let from = &w[(tap * cin + start + i) * self.out_c + group * cout..][..cout];
                                for (out, &v) in out.chunks_exact_mut(padded).zip(from) {
                                    out[i] = v;
                                }
                            }
                            at += cout * padded;
                        }
                    }
                }
            }
        }
    }

    // --- forward -----------------------------------------------------------------------------------------------

    /// Floats of scratch that [`forward`](Self::forward) needs for `n` images.
    ///
    /// ```
    /// # let conv = brisk_kernels::conv::Conv2d { in_h: 8, in_w: 8, in_c: 3, out_h: 6, out_w: 6, out_c: 4,
    /// #     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1 };
    /// assert_eq!(conv.forward_scratch(4), 0); // without padding the images are read where they are
    /// ```
    pub fn forward_scratch(&self, n: usize) -> usize {
        self.check();
        let region = self.region();
        if region.inside(self.in_h, self.in_w) {
            return 0;
        }
        self.forward_chunk(n) * region.pixels() * self.in_c
    }

    /// `y = conv(x, w) + bias`, then `max(y, 0)` if `relu`. Shapes: `x [n, in_h, in_w, in_c]`,
    /// `y [n, out_h, out_w, out_c]` (overwritten), `bias [out_c]`.
    ///
    /// See [`Conv2d`] for an example.
    pub fn forward(
        &self,
        n: usize,
        x: &[f32],
        packed: &[f32],
        bias: Option<&[f32]>,
        relu: bool,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        assert_eq!(y.len(), n * self.out_len(), "y length");
        // SAFETY: `y` is a whole result.
        unsafe { self.forward_blocks(0..self.blocks(), n, x, packed, bias, relu, y.as_mut_ptr(), scratch) }
    }

    /// Blocks that the output channels are computed in.
    ///
    /// ```
    /// # let conv = brisk_kernels::conv::Conv2d { in_h: 8, in_w: 8, in_c: 3, out_h: 6, out_w: 6, out_c: 4,
    /// #     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1 };
    /// assert_eq!(conv.blocks(), 1);
    /// ```
    pub fn blocks(&self) -> usize {
        if self.is_depthwise() { 1 } else { self.groups * self.cout().div_ceil(2 * lanes()) }
    }

    /// Whether threads that share one image read less if each makes [blocks](Self::blocks) of channels rather than rows: with those
    /// each reads the whole image, with these the whole kernel.
    ///
    /// ```
    /// # let conv = brisk_kernels::conv::Conv2d { in_h: 7, in_w: 7, in_c: 256, out_h: 7, out_w: 7, out_c: 512,
    /// #     kernel: [1, 1], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1 };
    /// assert!(conv.by_blocks());
    /// ```
    pub fn by_blocks(&self) -> bool {
        self.blocks() > 1 && self.kernel_len() > self.in_len()
    }

    /// [`forward`](Self::forward) for some [`blocks`](Self::blocks) of the output channels; the bits are the same.
    ///
    /// # Safety
    ///
    /// `y` is a whole result, whose places of these channels nobody else reads or writes meanwhile.
    pub unsafe fn forward_blocks(
        &self,
        blocks: Range<usize>,
        n: usize,
        x: &[f32],
        packed: &[f32],
        bias: Option<&[f32]>,
        relu: bool,
        y: *mut f32,
        scratch: &mut [f32],
    ) {
        self.check();
        assert!(blocks.end <= self.blocks(), "blocks of channels");
        assert_eq!(x.len(), n * self.in_len(), "x length");
        assert_eq!(packed.len(), self.pack_len(), "packed length");
        assert!(bias.is_none_or(|b| b.len() == self.out_c), "bias length");
        assert!(scratch.len() >= self.forward_scratch(n), "scratch length");
        if n * self.out_len() == 0 {
            return;
        }
        let region = self.region();
        let chunk = self.forward_chunk(n);
        for start in (0..n).step_by(chunk) {
            let count = chunk.min(n - start);
            let x = &x[start * self.in_len()..][..count * self.in_len()];
            let source = region.source(x, count, [self.in_h, self.in_w, self.in_c], scratch);
            let grid = [self.out_h, self.out_w];
            // SAFETY: the result of these images is in `y`.
            let y = unsafe { y.add(start * self.out_len()) };
            let dst_step = [self.out_w * self.out_c, self.out_c];
            self.each_block(
                blocks.clone(),
                &source,
                count,
                [0, 0],
                grid,
                packed,
                bias,
                |mut block, channel, _| {
                    // SAFETY: `channel` is below out_c, so the pointer stays in `y`.
                    block.dst = unsafe { y.add(channel) };
                    block.dst_image = self.out_len();
                    block.dst_step = dst_step;
                    block.relu = relu;
                    // SAFETY: `source` covers every tap of every pixel (`region`), `packed` and `bias` have the
                    // lengths asserted above, `y` that which the caller promises, and `block.width` channels from `channel` on exist in `y`.
                    unsafe { dispatch(block) }
                },
            );
        }
    }

    /// Calls `f(block, first channel, padded width)` for blocks of output channels over output pixels
    /// `from .. from + grid` of `count` images; `f` says where the result goes.
    fn each_block(
        &self,
        blocks: Range<usize>,
        source: &Source,
        count: usize,
        from: [usize; 2],
        grid: [usize; 2],
        packed: &[f32],
        bias: Option<&[f32]>,
        mut f: impl FnMut(Block, usize, usize),
    ) {
        let lanes = lanes();
        let src_step = [self.stride[0] * source.row, self.stride[1] * self.in_c];
        let runs = self.forward_runs(source);
        let skip = from[0] * src_step[0] + from[1] * src_step[1];
        let depthwise = self.is_depthwise();
        let rows = self.rows();
        let (cout, width) = if depthwise { (self.out_c, self.out_c) } else { (self.cout(), 2 * lanes) };
        let each = cout.div_ceil(width.max(1)).max(1);
        for number in blocks {
            let (group, start) = (number / each, number % each * width);
            let packed = &packed[group * rows * cout.next_multiple_of(lanes) * usize::from(!depthwise)..];
            let channel = group * cout + start;
            let width = width.min(cout - start);
            let block = Block {
                depthwise,
                // SAFETY: the group's first channel of the first pixel asked for is inside the source.
                src: unsafe { source.ptr.add(skip + group * self.cin()) },
                images: count,
                src_image: source.image,
                src_step,
                grid,
                runs,
                weights: packed[start * rows..].as_ptr(),
                bias: bias.map_or(std::ptr::null(), |b| b[channel..].as_ptr()),
                relu: false,
                dst: std::ptr::null_mut(),
                dst_image: 0,
                dst_step: [0, 0],
                width,
            };
            f(block, channel, if depthwise { width } else { block_row(width, lanes) });
        }
    }

    // --- kernel gradient ---------------------------------------------------------------------------------------

    /// Floats of scratch that [`grad_kernel`](Self::grad_kernel) needs for `n` images.
    ///
    /// ```
    /// # let conv = brisk_kernels::conv::Conv2d { in_h: 8, in_w: 8, in_c: 3, out_h: 6, out_w: 6, out_c: 4,
    /// #     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1 };
    /// assert!(conv.grad_kernel_scratch(1) > 0);
    /// ```
    pub fn grad_kernel_scratch(&self, n: usize) -> usize {
        self.check();
        let region = self.region();
        let padded = if region.inside(self.in_h, self.in_w) {
            0
        } else {
            self.grad_kernel_chunk(n) * region.pixels() * self.in_c
        };
        padded + GRAD_PIXELS * (GRAD_ROW + self.cout().next_multiple_of(lanes()))
    }

    /// `dw += x^T · dy`: adds to `dw [kh, kw, in_c / groups, out_c]` the gradient of
    /// `sum(y · dy)` with `dy [n, out_h, out_w, out_c]`.
    ///
    /// ```
    /// # let conv = brisk_kernels::conv::Conv2d { in_h: 4, in_w: 4, in_c: 1, out_h: 2, out_w: 2, out_c: 1,
    /// #     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1 };
    /// let mut dw = [1.0; 9];
    /// let mut scratch = vec![0.0; conv.grad_kernel_scratch(1)];
    /// conv.grad_kernel(1, &[1.0; 16], &[1.0; 4], &mut dw, &mut scratch);
    /// assert_eq!(dw, [5.0; 9]); // each weight met four pixels
    /// ```
    pub fn grad_kernel(&self, n: usize, x: &[f32], dy: &[f32], dw: &mut [f32], scratch: &mut [f32]) {
        self.grad_kernel_part(0..self.rows(), n, x, dy, dw, scratch);
    }

    /// [`grad_kernel`](Self::grad_kernel) for some [`rows`](Self::rows) only: `dw` is the part
    /// `[rows.start · out_c .. rows.end · out_c]` of the whole. Each element is summed in the same order however
    /// the rows are split, so tasks may share one large gradient and the bits stay the same.
    ///
    /// ```
    /// # let conv = brisk_kernels::conv::Conv2d { in_h: 4, in_w: 4, in_c: 1, out_h: 2, out_w: 2, out_c: 1,
    /// #     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1 };
    /// let mut dw = [0.0; 4];
    /// let mut scratch = vec![0.0; conv.grad_kernel_scratch(1)];
    /// conv.grad_kernel_part(3..7, 1, &[1.0; 16], &[1.0; 4], &mut dw, &mut scratch);
    /// assert_eq!(dw, [4.0; 4]);
    /// ```
    pub fn grad_kernel_part(
        &self,
        rows: Range<usize>,
        n: usize,
        x: &[f32],
        dy: &[f32],
        dw: &mut [f32],
        scratch: &mut [f32],
    ) {
        self.check();
        assert!(rows.start <= rows.end && rows.end <= self.rows(), "rows {rows:?} of {}", self.rows());
        assert_eq!(x.len(), n * self.in_len(), "x length");
        assert_eq!(dy.len(), n * self.out_len(), "dy length");
        assert_eq!(dw.len(), rows.len() * self.out_c, "dw length");
        assert!(scratch.len() >= self.grad_kernel_scratch(n), "scratch length");
        if dy.is_empty() || dw.is_empty() {
            return;
        }
        let region = self.region();
        let chunk = self.grad_kernel_chunk(n);
        let (panel, scratch) = scratch.split_at_mut(GRAD_PIXELS * self.cout().next_multiple_of(lanes()));
        let (columns, scratch) = scratch.split_at_mut(GRAD_PIXELS * GRAD_ROW);
        let mut base = [0usize; GRAD_PIXELS];
        for start in (0..n).step_by(chunk) {
            let count = chunk.min(n - start);
            let x = &x[start * self.in_len()..][..count * self.in_len()];
            let dy = &dy[start * self.out_len()..][..count * self.out_len()];
            let source = region.source(x, count, [self.in_h, self.in_w, self.in_c], scratch);
            let src_step = [self.stride[0] * source.row, self.stride[1] * self.in_c];
            let runs = self.forward_runs(&source);
            let map = self.out_h * self.out_w;
            for first in (0..count * map).step_by(GRAD_PIXELS) {
                let pixels = GRAD_PIXELS.min(count * map - first);
                for (i, base) in base[..pixels].iter_mut().enumerate() {
                    let (image, at) = ((first + i) / map, (first + i) % map);
                    *base =
                        image * source.image + at / self.out_w * src_step[0] + at % self.out_w * src_step[1];
                }
                let dy = &dy[first * self.out_c..][..pixels * self.out_c];
                if self.is_depthwise() {
                    let kernel = DepthGrad {
                        src: source.ptr,
                        base: base.as_ptr(),
                        pixels,
                        runs,
                        dy: dy.as_ptr(),
                        dw: dw.as_mut_ptr(),
                        rows: [rows.start, rows.end],
                        channels: self.out_c,
                    };
                    // SAFETY: `source` covers every tap of the pixels in `base`; `dy` holds `pixels` rows and `dw`
                    // the taps in `rows`, each of `channels` floats.
                    unsafe { dispatch(kernel) };
                    continue;
                }
                for group in 0..self.groups {
                    self.grad_kernel_group(
                        &rows,
                        &source,
                        &runs,
                        &base[..pixels],
                        group,
                        dy,
                        dw,
                        panel,
                        columns,
                    );
                }
            }
        }
    }

    fn grad_kernel_group(
        &self,
        rows: &Range<usize>,
        source: &Source,
        runs: &Runs,
        base: &[usize],
        group: usize,
        dy: &[f32],
        dw: &mut [f32],
        panel: &mut [f32],
        columns: &mut [f32],
    ) {
        let (lanes, pixels) = (lanes(), base.len());
        for (start, width) in blocks(self.cout(), lanes) {
            let (channel, padded) = (group * self.cout() + start, block_row(width, lanes));
            let panel = &mut panel[start * pixels..][..pixels * padded];
            for (to, from) in panel.chunks_exact_mut(padded).zip(dy.chunks_exact(self.out_c)) {
                to[..width].copy_from_slice(&from[channel..channel + width]);
                to[width..].fill(0.0);
            }
        }
        // Copying pays when several blocks of output channels read the copy.
        let copies = self.cout() > 2 * lanes;
        let columns = columns.as_mut_ptr();
        for run in rows.start / runs.len..rows.end.div_ceil(runs.len) {
            let (first, last) = (rows.start.max(run * runs.len), rows.end.min((run + 1) * runs.len));
            for row in (first..last).step_by(if copies { GRAD_COLUMNS } else { runs.len }) {
                let count = if copies { GRAD_COLUMNS.min(last - row) } else { last - row };
                // SAFETY: the group's channels from position `row` of the run on are inside the source.
                let src =
                    unsafe { source.ptr.add(group * self.cin() + runs.offset(run) + row - run * runs.len) };
                if copies {
                    // SAFETY: `count` positions of the run follow below each pixel; the columns have a row for each.
                    unsafe { dispatch(CopyColumns { src, base: base.as_ptr(), pixels, count, to: columns }) };
                }
                for (start, width) in blocks(self.cout(), lanes) {
                    let kernel = GradBlock {
                        src: if copies { columns } else { src },
                        base: if copies { std::ptr::null() } else { base.as_ptr() },
                        pixels,
                        dy: panel[start * pixels..].as_ptr(),
                        dw: dw[(row - rows.start) * self.out_c + group * self.cout() + start..].as_mut_ptr(),
                        dw_row: self.out_c,
                        count,
                        width,
                    };
                    // SAFETY: `count` positions lie below each pixel or in its row of columns; the panel holds a padded
                    // row for each pixel; `dw` has `count` rows of out_c floats, of which `width` are written.
                    unsafe { dispatch(kernel) };
                }
            }
        }
    }

    // --- input gradient ----------------------------------------------------------------------------------------

    /// Floats of scratch that [`grad_input`](Self::grad_input) needs for `n` images.
    ///
    /// ```
    /// # let conv = brisk_kernels::conv::Conv2d { in_h: 8, in_w: 8, in_c: 3, out_h: 6, out_w: 6, out_c: 4,
    /// #     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1 };
    /// assert!(conv.grad_input_scratch(1) >= 10 * 10 * 4); // the gradient is padded by 2 all around
    /// ```
    pub fn grad_input_scratch(&self, n: usize) -> usize {
        self.check();
        let region = self.grad_region();
        if region.inside(self.out_h, self.out_w) {
            return 0;
        }
        self.grad_input_chunk(n) * region.pixels() * self.out_c
    }

    /// The gradient of `sum(y · dy)` by `x`, overwriting `dx [n, in_h, in_w, in_c]`, from
    /// `dy [n, out_h, out_w, out_c]` and the kernel packed by [`pack_transposed`](Self::pack_transposed).
    /// Used forward it is the transposed convolution, from `out` to `in`.
    ///
    /// ```
    /// # let conv = brisk_kernels::conv::Conv2d { in_h: 4, in_w: 4, in_c: 1, out_h: 2, out_w: 2, out_c: 1,
    /// #     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1 };
    /// let mut packed = vec![0.0; conv.pack_transposed_len()];
    /// conv.pack_transposed(&[1.0; 9], &mut packed);
    /// let mut dx = [f32::NAN; 16];
    /// let mut scratch = vec![0.0; conv.grad_input_scratch(1)];
    /// conv.grad_input(1, &[1.0; 4], &packed, &mut dx, &mut scratch);
    /// assert_eq!(dx[..8], [1.0, 2.0, 2.0, 1.0, 2.0, 4.0, 4.0, 2.0]);
    /// ```
    pub fn grad_input(&self, n: usize, dy: &[f32], packed: &[f32], dx: &mut [f32], scratch: &mut [f32]) {
        self.check();
        assert_eq!(dy.len(), n * self.out_len(), "dy length");
        assert_eq!(dx.len(), n * self.in_len(), "dx length");
        assert_eq!(packed.len(), self.pack_transposed_len(), "packed length");
        assert!(scratch.len() >= self.grad_input_scratch(n), "scratch length");
        if dx.is_empty() {
            return;
        }
        let region = self.grad_region();
        let chunk = self.grad_input_chunk(n);
        for start in (0..n).step_by(chunk) {
            let count = chunk.min(n - start);
            let dy = &dy[start * self.out_len()..][..count * self.out_len()];
            let dx = &mut dx[start * self.in_len()..][..count * self.in_len()];
            let source = region.source(dy, count, [self.out_h, self.out_w, self.out_c], scratch);
            self.grad_input_phases(count, &region, &source, packed, dx);
        }
    }

    fn grad_input_phases(
        &self,
        count: usize,
        region: &Region,
        source: &Source,
        packed: &[f32],
        dx: &mut [f32],
    ) {
        let depthwise = self.is_depthwise();
        let lanes = lanes();
        let (groups, cin, cout) =
            if depthwise { (1, self.in_c, 1) } else { (self.groups, self.cin(), self.cout()) };
        let full = if depthwise { cin } else { 2 * lanes };
        // More stride than kernel leaves positions that no tap reaches.
        if (0..2).any(|a| (0..self.stride[a]).any(|p| self.phase(a, p).count == 0)) {
            dx.fill(0.0);
        }
        let dst_step = [self.stride[0] * self.in_w * self.in_c, self.stride[1] * self.in_c];
        let mut packed = packed;
        for group in 0..groups {
            for py in 0..self.stride[0] {
                for px in 0..self.stride[1] {
                    let (y, x) = (self.phase(0, py), self.phase(1, px));
                    let rows = y.count * x.count * cout;
                    let used = rows * if depthwise { cin } else { cin.next_multiple_of(lanes) };
                    let (weights, rest) = packed.split_at(used);
                    packed = rest;
                    if rows == 0 || y.grid == 0 || x.grid == 0 {
                        continue;
                    }
                    let first = (y.first + region.before[0]) as usize * source.row
                        + (x.first + region.before[1]) as usize * self.out_c;
                    for start in (0..cin).step_by(full) {
                        let width = full.min(cin - start);
                        let to = (py * self.in_w + px) * self.in_c + group * cin + start;
                        let block = Block {
                            depthwise,
                            // SAFETY: `region` begins at or before the first tap of every phase.
                            src: unsafe { source.ptr.add(first + group * cout) },
                            images: count,
                            src_image: source.image,
                            src_step: [source.row, self.out_c],
                            grid: [y.grid, x.grid],
                            runs: self.runs(
                                [y.count, x.count],
                                [y.step, x.step],
                                source.row,
                                self.out_c,
                                cout,
                            ),
                            weights: weights[start * rows..].as_ptr(),
                            bias: std::ptr::null(),
                            relu: false,
                            dst: dx[to..].as_mut_ptr(),
                            dst_image: self.in_len(),
                            dst_step,
                            width,
                        };
                        // SAFETY: `region` covers every tap of every phase, `weights` holds this phase's taps, and
                        // the grid counts just the positions of `dx` that belong to the phase.
                        unsafe { dispatch(block) };
                    }
                }
            }
        }
    }
}

/// The contiguous runs of floats below an output pixel: `taps[0]` × `taps[1]` of `len`, `step` floats apart.
#[derive(Clone, Copy)]
pub(crate) struct Runs {
    pub(crate) taps: [usize; 2],
    pub(crate) step: [usize; 2],
    pub(crate) len: usize,
}

impl Runs {
    fn count(&self) -> usize {
        self.taps[0] * self.taps[1]
    }

    #[inline(always)]
    fn offset(&self, run: usize) -> usize {
        run / self.taps[1] * self.step[0] + run % self.taps[1] * self.step[1]
    }
}
