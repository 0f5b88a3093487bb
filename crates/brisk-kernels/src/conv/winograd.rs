//! 3x3 convolutions of stride 1 with a quarter of the multiplications.
//!
//! Each tile of 4x4 results is made from 6x6 inputs as `A^T [(G g G^T) * (B^T d B)] A`, where `*` multiplies element by element: summed over
//! input channels, that is 36 matrix products of tiles by channels. (Lavin and Gray, 2015, arXiv 1509.09308, F(4x4, 3x3), at the points 0, 1,
//! -1, 2, -2 and infinity.) In f32 the error is a few times that of the direct sum.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::Conv2d;
use crate::matmul::{self, Precision};
use crate::simd;

/// Distance of the matrices of two points that have so many numbers each: a multiple of a page would crowd a tile's points into the same sets
/// of a cache.
fn apart(numbers: usize) -> usize {
    const LINE: usize = 16;
    (numbers.div_ceil(LINE) | 1) * LINE
}

/// Results of a tile along an axis.
const OUT: usize = 4;
/// Inputs of a tile along an axis.
const IN: usize = 6;
/// Numbers of a transformed tile: as many products are made.
const POINTS: usize = IN * IN;
/// Channels come in multiples of the widest vector.
const CHANNELS: usize = 16;
/// Tiles of an image from which on threads share its rows; of fewer they share its channels.
const ROW_TILES: usize = 32;
/// Fewer tiles an image are not worth reading the transformed kernel, which is four times as large as the kernel.
const TILES: usize = 4;
/// The same of all images, for the gradient by the kernel.
const GRAD_TILES: usize = 32;
/// Tiles that are transformed at a time for that: so many terms each product sums.
const GRAD_BLOCK: usize = 64;

/// A convolution made so; also the gradient of one by its input, which is a convolution of the gradient by its result with the kernel turned.
///
/// ```
/// use brisk_kernels::conv::{Conv2d, Winograd};
/// let conv = Conv2d {
///     in_h: 16, in_w: 16, in_c: 32, out_h: 16, out_w: 16, out_c: 32,
///     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [1, 1], groups: 1,
/// };
/// let winograd = Winograd::forward_of(&conv).unwrap();
/// let (mut packed, mut scratch) = (vec![0.0; winograd.pack_len()], vec![0.0; winograd.scratch(1)]);
/// winograd.pack(&vec![0.5; conv.kernel_len()], &mut packed);
/// let mut y = vec![0.0; conv.out_len()];
/// winograd.run(1, &vec![1.0; conv.in_len()], &packed, None, false, &mut y, &mut scratch);
/// assert!((y[0] - 0.5 * 4.0 * 32.0).abs() < 1e-3); // a corner sees four pixels
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Winograd {
    /// What is computed; of a gradient, the convolution that it is.
    conv: Conv2d,
    /// It is a gradient: kernels come turned.
    turned: bool,
}

impl Winograd {
    /// Rows of results that a tile has: bands of whole tiles give the same bits as the whole.
    pub const ROWS: usize = OUT;

    /// The forward pass of a convolution, if it can be made so, and is worth it.
    ///
    /// See [`Winograd`] for an example.
    pub fn forward_of(conv: &Conv2d) -> Option<Winograd> {
        Winograd::suiting(conv).filter(|own| own.tiles() >= TILES)
    }

    fn suiting(conv: &Conv2d) -> Option<Winograd> {
        let suits = conv.kernel == [3, 3]
            && conv.stride == [1, 1]
            && conv.dilation == [1, 1]
            && conv.groups == 1
            && [conv.in_c, conv.out_c].iter().all(|&c| c >= 2 * CHANNELS && c.is_multiple_of(CHANNELS));
        suits.then(|| Winograd { conv: conv.clone(), turned: false })
    }

    /// The gradient of a convolution by its input.
    ///
    /// ```
    /// # use brisk_kernels::conv::{Conv2d, Winograd};
    /// # let conv = Conv2d { in_h: 16, in_w: 16, in_c: 32, out_h: 14, out_w: 14, out_c: 64,
    /// #     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1 };
    /// assert_eq!(Winograd::grad_input_of(&conv).unwrap().conv().out_c, 32);
    /// ```
    pub fn grad_input_of(conv: &Conv2d) -> Option<Winograd> {
        let turned = Conv2d {
            in_h: conv.out_h,
            in_w: conv.out_w,
            in_c: conv.out_c,
            out_h: conv.in_h,
            out_w: conv.in_w,
            out_c: conv.in_c,
            pad: [2usize.checked_sub(conv.pad[0])?, 2usize.checked_sub(conv.pad[1])?],
            ..conv.clone()
        };
        Winograd::forward_of(&turned).map(|own| Winograd { turned: true, ..own })
    }

    /// The convolution that is computed.
    ///
    /// See [`Winograd::grad_input_of`] for an example.
    pub fn conv(&self) -> &Conv2d {
        &self.conv
    }

    /// The same for some rows of one image's result, and where in the image its input begins; see [`Conv2d::band`].
    ///
    /// ```
    /// # use brisk_kernels::conv::{Conv2d, Winograd};
    /// # let conv = Conv2d { in_h: 16, in_w: 16, in_c: 32, out_h: 14, out_w: 14, out_c: 64,
    /// #     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1 };
    /// let (band, start) = Winograd::forward_of(&conv).unwrap().band(4..8);
    /// assert_eq!((band.conv().out_h, start), (4, 4 * 16 * 32));
    /// ```
    pub fn band(&self, rows: Range<usize>) -> (Winograd, usize) {
        let (conv, start) = self.conv.band(rows);
        (Winograd { conv, turned: self.turned }, start)
    }

    /// Tiles of an image, down and across.
    fn grid(&self) -> [usize; 2] {
        [self.conv.out_h.div_ceil(OUT), self.conv.out_w.div_ceil(OUT)]
    }

    fn tiles(&self) -> usize {
        self.grid().iter().product()
    }

    /// Tiles that are transformed at a time: what becomes of them stays near beside the kernel, which all of them are worth reading.
    fn block(&self, n: usize) -> usize {
        let wanted = if self.conv.in_c * self.conv.out_c <= 64 * 64 { 24 } else { 48 };
        wanted.min((n * self.tiles()).max(1))
    }

    fn point_len(&self) -> usize {
        apart(matmul::packed_len(Precision::F32, self.conv.in_c, self.conv.out_c))
    }

    /// f32 that [`pack`](Self::pack) writes. Depends on the CPU level in use.
    ///
    /// See [`Winograd`] for an example.
    pub fn pack_len(&self) -> usize {
        POINTS * self.point_len()
    }

    /// Transforms a kernel `[3, 3, in_c, out_c]` of the convolution that this was made of.
    ///
    /// See [`Winograd`] for an example.
    pub fn pack(&self, w: &[f32], packed: &mut [f32]) {
        let Conv2d { in_c, out_c, .. } = self.conv;
        assert_eq!(w.len(), 9 * in_c * out_c, "kernel length");
        assert_eq!(packed.len(), self.pack_len(), "packed length");
        if !out_c.is_multiple_of(matmul::panel_width()) {
            packed.fill(0.0);
        }
        simd::dispatch(Pack { own: self, w, packed });
    }

    /// f32 of scratch memory that [`run`](Self::run) takes for `n` images.
    ///
    /// See [`Winograd`] for an example.
    pub fn scratch(&self, n: usize) -> usize {
        let block = self.block(n);
        POINTS * (apart(block * self.conv.in_c) + apart(block * self.conv.out_c))
    }

    /// `y = conv(x, w) + bias`, then `max(y, 0)` if `relu`, with the shapes of [`Conv2d::forward`]. The bits of an image's result do not depend
    /// on the images beside it.
    ///
    /// See [`Winograd`] for an example.
    pub fn run(
        &self,
        n: usize,
        x: &[f32],
        packed: &[f32],
        bias: Option<&[f32]>,
        relu: bool,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        assert_eq!(y.len(), n * self.conv.out_len(), "y length");
        // SAFETY: `y` is a whole result.
        unsafe { self.run_blocks(0..self.blocks(), n, x, packed, bias, relu, y.as_mut_ptr(), scratch) }
    }

    /// Blocks that the output channels are computed in.
    ///
    /// See [`Conv2d::blocks`].
    pub fn blocks(&self) -> usize {
        self.conv.out_c.div_ceil(matmul::panel_width())
    }

    /// Whether threads that share one image do better if each makes [blocks](Self::blocks) of channels, with tiles that all of them
    /// transform, rather than rows of so few tiles that reading the kernel takes longer.
    ///
    /// See [`Conv2d::by_blocks`].
    pub fn by_blocks(&self) -> bool {
        self.blocks() > 1 && self.tiles() < ROW_TILES
    }

    /// [`run`](Self::run) for some [`blocks`](Self::blocks) of the output channels; the bits are the same.
    ///
    /// # Safety
    ///
    /// `y` is a whole result, whose places of these channels nobody else reads or writes meanwhile.
    pub unsafe fn run_blocks(
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
        let conv = &self.conv;
        assert_eq!(x.len(), n * conv.in_len(), "x length");
        assert_eq!(packed.len(), self.pack_len(), "packed length");
        assert!(bias.is_none_or(|b| b.len() == conv.out_c), "bias length");
        assert!(scratch.len() >= self.scratch(n), "scratch length");
        let width = matmul::panel_width();
        let channels = blocks.start * width..(blocks.end * width).min(conv.out_c);
        assert!(blocks.end <= self.blocks() && blocks.start <= blocks.end, "blocks of channels");
        let panels = blocks.start * matmul::panel_len(Precision::F32, conv.in_c)
            ..blocks.end * matmul::panel_len(Precision::F32, conv.in_c);
        let (block, all) = (self.block(n), n * self.tiles());
        let (inputs, products) = scratch.split_at_mut(POINTS * apart(block * conv.in_c));
        for from in (0..all).step_by(block) {
            let count = block.min(all - from);
            simd::dispatch(Inputs { own: self, from, count, channels: 0..conv.in_c, x, into: inputs });
            for point in 0..POINTS {
                let a = &inputs[point * apart(count * conv.in_c)..][..count * conv.in_c];
                let b = &packed[point * self.point_len()..][panels.clone()];
                let (k, n) = (conv.in_c, channels.len());
                let c = &mut products[point * apart(count * n)..][..count * n];
                let to = c.as_mut_ptr();
                // SAFETY: c has `count` rows of `n`.
                unsafe {
                    matmul::matmul_packed_into(Precision::F32, count, n, k, a, (k, 1), b, to, n, false);
                }
            }
            let channels = channels.clone();
            simd::dispatch(Outputs { own: self, from, count, channels, products, bias, relu, y });
        }
    }

    /// Image, row and column of a tile.
    fn tile(&self, number: usize) -> [usize; 3] {
        let [down, across] = self.grid();
        [number / (down * across), number / across % down, number % across]
    }
}

#[inline(always)]
fn load<S: Simd>(x: &[f32], at: usize) -> S::f32s {
    S::as_simd_f32s(&x[at..at + S::F32_LANES]).0[0]
}

#[inline(always)]
fn store<S: Simd>(x: &mut [f32], at: usize, v: S::f32s) {
    S::as_mut_simd_f32s(&mut x[at..at + S::F32_LANES]).0[0] = v;
}

/// `B^T d`.
#[inline(always)]
fn input_points<S: Simd>(s: S, d: [S::f32s; IN]) -> [S::f32s; IN] {
    let [two, four, five] = [2.0, 4.0, 5.0].map(|x| s.splat_f32s(x));
    // a - b c
    let less = |a, b, c| s.negate_mul_add_e_f32s(b, c, a);
    let (a, b) = (less(d[4], four, d[2]), less(d[3], four, d[1]));
    let (c, e) = (s.sub_f32s(d[4], d[2]), s.mul_f32s(two, s.sub_f32s(d[3], d[1])));
    [
        s.mul_add_e_f32s(four, d[0], less(d[4], five, d[2])),
        s.add_f32s(a, b),
        s.sub_f32s(a, b),
        s.add_f32s(c, e),
        s.sub_f32s(c, e),
        s.mul_add_e_f32s(four, d[1], less(d[5], five, d[3])),
    ]
}

/// `A^T m`.
#[inline(always)]
fn outputs<S: Simd>(s: S, m: [S::f32s; IN]) -> [S::f32s; OUT] {
    let [two, four, eight] = [2.0, 4.0, 8.0].map(|x| s.splat_f32s(x));
    let (a, b) = (s.add_f32s(m[1], m[2]), s.sub_f32s(m[1], m[2]));
    let (c, e) = (s.add_f32s(m[3], m[4]), s.sub_f32s(m[3], m[4]));
    [
        s.add_f32s(m[0], s.add_f32s(a, c)),
        s.mul_add_e_f32s(two, e, b),
        s.mul_add_e_f32s(four, c, a),
        s.add_f32s(s.mul_add_e_f32s(eight, e, b), m[5]),
    ]
}

/// `G g`.
#[inline(always)]
fn kernel_points<S: Simd>(s: S, g: [S::f32s; 3]) -> [S::f32s; IN] {
    let [quarter, sixth, twelfth, least] =
        [1.0 / 4.0, -1.0 / 6.0, 1.0 / 12.0, 1.0 / 24.0].map(|x| s.splat_f32s(x));
    let even = s.mul_f32s(sixth, s.add_f32s(g[0], g[2]));
    let odd = s.mul_f32s(sixth, g[1]);
    let outer = s.mul_add_e_f32s(least, g[0], s.mul_f32s(s.sub_f32s(s.splat_f32s(0.0), sixth), g[2]));
    let inner = s.mul_f32s(twelfth, g[1]);
    [
        s.mul_f32s(quarter, g[0]),
        s.add_f32s(even, odd),
        s.sub_f32s(even, odd),
        s.add_f32s(outer, inner),
        s.sub_f32s(outer, inner),
        g[2],
    ]
}

struct Inputs<'a> {
    own: &'a Winograd,
    from: usize,
    count: usize,
    channels: Range<usize>,
    x: &'a [f32],
    /// `[point][tile][channel]`
    into: &'a mut [f32],
}

impl WithSimd for Inputs<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let conv = &self.own.conv;
        let Conv2d { in_h, in_w, in_c, pad, .. } = *conv;
        for t in 0..self.count {
            let [image, down, across] = self.own.tile(self.from + t);
            let x = &self.x[image * conv.in_len()..][..conv.in_len()];
            // The tile's first row and column, in the image with its padding.
            let (top, left) = (down * OUT, across * OUT);
            let inside = |at: usize, pad: usize, size: usize| at.checked_sub(pad).filter(|&i| i < size);
            for channel in self.channels.clone().step_by(S::F32_LANES) {
                let mut d = [[s.splat_f32s(0.0); IN]; IN];
                for i in 0..IN {
                    let Some(row) = inside(top + i, pad[0], in_h) else { continue };
                    for j in 0..IN {
                        if let Some(column) = inside(left + j, pad[1], in_w) {
                            d[i][j] = load::<S>(x, (row * in_w + column) * in_c + channel);
                        }
                    }
                }
                for j in 0..IN {
                    let points = input_points(s, [d[0][j], d[1][j], d[2][j], d[3][j], d[4][j], d[5][j]]);
                    for i in 0..IN {
                        d[i][j] = points[i];
                    }
                }
                for i in 0..IN {
                    let points = input_points(s, d[i]);
                    for j in 0..IN {
                        let point = (i * IN + j) * apart(self.count * self.channels.len());
                        let at = point + t * self.channels.len() + channel - self.channels.start;
                        store::<S>(self.into, at, points[j]);
                    }
                }
            }
        }
    }
}

struct Outputs<'a> {
    own: &'a Winograd,
    from: usize,
    count: usize,
    channels: Range<usize>,
    /// `[point][tile][channel]`
    products: &'a [f32],
    bias: Option<&'a [f32]>,
    relu: bool,
    /// The whole result, of which these channels are written.
    y: *mut f32,
}

impl WithSimd for Outputs<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let conv = &self.own.conv;
        let Conv2d { out_h, out_w, out_c, .. } = *conv;
        let zero = s.splat_f32s(0.0);
        for t in 0..self.count {
            let [image, down, across] = self.own.tile(self.from + t);
            for channel in self.channels.clone().step_by(S::F32_LANES) {
                let bias = self.bias.map_or(zero, |b| load::<S>(b, channel));
                let mut m = [[zero; IN]; OUT];
                for j in 0..IN {
                    let mut column = [zero; IN];
                    for i in 0..IN {
                        let point = (i * IN + j) * apart(self.count * self.channels.len());
                        let at = point + t * self.channels.len() + channel - self.channels.start;
                        column[i] = load::<S>(self.products, at);
                    }
                    let column = outputs(s, column);
                    for i in 0..OUT {
                        m[i][j] = column[i];
                    }
                }
                for i in 0..OUT {
                    let row = down * OUT + i;
                    if row >= out_h {
                        break;
                    }
                    let results = outputs(s, m[i]);
                    for j in 0..OUT {
                        let column = across * OUT + j;
                        if column < out_w {
                            let v = s.add_f32s(results[j], bias);
                            let v = if self.relu { s.max_f32s(v, zero) } else { v };
                            let at = ((image * out_h + row) * out_w + column) * out_c + channel;
                            // SAFETY: the caller's result has that pixel, and a whole vector of channels, which come in multiples of
                            // the widest.
                            let to = unsafe { std::slice::from_raw_parts_mut(self.y.add(at), S::F32_LANES) };
                            store::<S>(to, 0, v);
                        }
                    }
                }
            }
        }
    }
}

struct Pack<'a> {
    own: &'a Winograd,
    w: &'a [f32],
    packed: &'a mut [f32],
}

impl WithSimd for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Conv2d { in_c, out_c, .. } = self.own.conv;
        let (width, each) = (matmul::panel_width(), self.own.point_len());
        for to in (0..out_c).step_by(S::F32_LANES) {
            for from in 0..in_c {
                let mut g = [[s.splat_f32s(0.0); 3]; 3];
                for i in 0..3 {
                    for j in 0..3 {
                        g[i][j] = match self.own.turned {
                            false => load::<S>(self.w, ((i * 3 + j) * in_c + from) * out_c + to),
                            true => {
                                // Of the kernel that is turned, `to` is an input channel and `from` an output channel.
                                let tap = (2 - i) * 3 + 2 - j;
                                let mut some = [0.0; CHANNELS];
                                for (k, v) in some.iter_mut().enumerate().take(S::F32_LANES) {
                                    *v = self.w[(tap * out_c + to + k) * in_c + from];
                                }
                                load::<S>(&some, 0)
                            }
                        };
                    }
                }
                let mut rows = [[s.splat_f32s(0.0); 3]; IN];
                for j in 0..3 {
                    let column = kernel_points(s, [g[0][j], g[1][j], g[2][j]]);
                    for i in 0..IN {
                        rows[i][j] = column[i];
                    }
                }
                for i in 0..IN {
                    let points = kernel_points(s, rows[i]);
                    for j in 0..IN {
                        let at = (i * IN + j) * each + (to / width * in_c + from) * width + to % width;
                        store::<S>(self.packed, at, points[j]);
                    }
                }
            }
        }
    }
}

/// The gradient of a convolution by its kernel, made so: `G^T [sum over tiles of (B^T d B) * (A dy A^T)] G`, summed for all images before
/// it is transformed back.
///
/// ```
/// use brisk_kernels::conv::{Conv2d, WinogradGrad};
/// let conv = Conv2d {
///     in_h: 16, in_w: 16, in_c: 32, out_h: 16, out_w: 16, out_c: 32,
///     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [1, 1], groups: 1,
/// };
/// let own = WinogradGrad::of(&conv, 2).unwrap();
/// let (x, dy) = (vec![1.0; 2 * conv.in_len()], vec![0.5; 2 * conv.out_len()]);
/// let (mut dw, mut scratch) = (vec![0.0; conv.kernel_len()], vec![0.0; own.scratch(0..32, 2)]);
/// // SAFETY: `dw` is a whole kernel that nobody else writes.
/// unsafe { own.run(0..32, 2, &x, &dy, dw.as_mut_ptr(), &mut scratch) };
/// assert!((dw[4 * 32 * 32] - 0.5 * 2.0 * 256.0).abs() < 0.1); // the tap in the middle meets every pixel
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WinogradGrad {
    own: Winograd,
}

impl WinogradGrad {
    /// The gradient for a batch of `n` images, if it can be made so, and is worth it.
    ///
    /// See [`WinogradGrad`] for an example.
    pub fn of(conv: &Conv2d, n: usize) -> Option<WinogradGrad> {
        let own = Winograd::suiting(conv)?;
        (n * own.tiles() >= GRAD_TILES).then_some(WinogradGrad { own })
    }

    /// The convolution.
    ///
    /// ```
    /// # use brisk_kernels::conv::{Conv2d, WinogradGrad};
    /// # let conv = Conv2d { in_h: 16, in_w: 16, in_c: 32, out_h: 14, out_w: 14, out_c: 64,
    /// #     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1 };
    /// assert_eq!(WinogradGrad::of(&conv, 8).unwrap().conv(), &conv);
    /// ```
    pub fn conv(&self) -> &Conv2d {
        &self.own.conv
    }

    /// Into how many parts the work is worth cutting: each transforms the gradient anew.
    ///
    /// ```
    /// # use brisk_kernels::conv::{Conv2d, WinogradGrad};
    /// # let conv = Conv2d { in_h: 16, in_w: 16, in_c: 256, out_h: 14, out_w: 14, out_c: 64,
    /// #     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1 };
    /// assert_eq!(WinogradGrad::of(&conv, 8).unwrap().parts(), 4);
    /// ```
    pub fn parts(&self) -> usize {
        (self.own.conv.in_c / 64).clamp(2, 16)
    }

    /// The input channels of part `part` of `parts`.
    ///
    /// ```
    /// # use brisk_kernels::conv::{Conv2d, WinogradGrad};
    /// # let conv = Conv2d { in_h: 16, in_w: 16, in_c: 96, out_h: 14, out_w: 14, out_c: 64,
    /// #     kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1 };
    /// assert_eq!(WinogradGrad::of(&conv, 8).unwrap().channels(1, 2), 48..96);
    /// ```
    pub fn channels(&self, part: usize, parts: usize) -> Range<usize> {
        let groups = self.own.conv.in_c / CHANNELS;
        part * groups / parts * CHANNELS..(part + 1) * groups / parts * CHANNELS
    }

    fn block(&self, n: usize) -> usize {
        GRAD_BLOCK.min((n * self.own.tiles()).max(1))
    }

    /// f32 of scratch memory that [`run`](Self::run) takes for some input channels of `n` images.
    ///
    /// See [`WinogradGrad`] for an example.
    pub fn scratch(&self, channels: Range<usize>, n: usize) -> usize {
        let out_c = self.own.conv.out_c;
        let block = self.block(n);
        let panels = matmul::packed_len(Precision::F32, block, out_c);
        POINTS * (apart(channels.len() * block) + apart(channels.len() * out_c) + apart(panels))
    }

    /// Overwrites `dw[.., channels, ..]` of a kernel's gradient `[3, 3, in_c, out_c]`; see [`Conv2d::grad_kernel`]. Each element is summed in
    /// the same order whatever the channels of a call.
    ///
    /// # Safety
    ///
    /// `dw` is a whole kernel, whose places of these channels nobody else reads or writes meanwhile.
    pub unsafe fn run(
        &self,
        channels: Range<usize>,
        n: usize,
        x: &[f32],
        dy: &[f32],
        dw: *mut f32,
        scratch: &mut [f32],
    ) {
        let conv = &self.own.conv;
        assert_eq!(x.len(), n * conv.in_len(), "x length");
        assert_eq!(dy.len(), n * conv.out_len(), "dy length");
        assert!(channels.end <= conv.in_c && scratch.len() >= self.scratch(channels.clone(), n), "channels");
        assert!(channels.start.is_multiple_of(CHANNELS) && channels.end.is_multiple_of(CHANNELS), "channels");
        let (block, all, m, out_c) = (self.block(n), n * self.own.tiles(), channels.len(), conv.out_c);
        let (sums, scratch) = scratch.split_at_mut(POINTS * apart(m * out_c));
        let (inputs, gradients) = scratch.split_at_mut(POINTS * apart(block * m));
        if all == 0 {
            sums.fill(0.0);
        }
        for from in (0..all).step_by(block) {
            let count = block.min(all - from);
            let each = apart(matmul::packed_len(Precision::F32, count, out_c));
            let own = &self.own;
            simd::dispatch(Inputs { own, from, count, channels: channels.clone(), x, into: inputs });
            if !out_c.is_multiple_of(matmul::panel_width()) {
                gradients[..POINTS * each].fill(0.0);
            }
            simd::dispatch(Gradients { own, from, count, dy, into: gradients });
            for point in 0..POINTS {
                let a = &inputs[point * apart(count * m)..][..count * m];
                let b = &gradients[point * each..][..each];
                let c = &mut sums[point * apart(m * out_c)..][..m * out_c];
                let to = c.as_mut_ptr();
                // SAFETY: c has `m` rows of `out_c`.
                unsafe {
                    let more = from > 0;
                    matmul::matmul_packed_into(
                        Precision::F32,
                        m,
                        out_c,
                        count,
                        a,
                        (1, m),
                        b,
                        to,
                        out_c,
                        more,
                    );
                }
            }
        }
        // SAFETY: as the caller promises, the places of these channels are this call's.
        let dw = unsafe { dw.add(channels.start * out_c) };
        simd::dispatch(Kernel { sums, len: m * out_c, dw, tap: conv.in_c * out_c });
    }
}

/// `A y`.
#[inline(always)]
fn gradient_points<S: Simd>(s: S, y: [S::f32s; OUT]) -> [S::f32s; IN] {
    let [two, four, eight] = [2.0, 4.0, 8.0].map(|x| s.splat_f32s(x));
    let (a, b) = (s.add_f32s(y[0], y[2]), s.add_f32s(y[1], y[3]));
    let c = s.mul_add_e_f32s(four, y[2], y[0]);
    let e = s.mul_add_e_f32s(eight, y[3], s.mul_f32s(two, y[1]));
    [y[0], s.add_f32s(a, b), s.sub_f32s(a, b), s.add_f32s(c, e), s.sub_f32s(c, e), y[3]]
}

struct Gradients<'a> {
    own: &'a Winograd,
    from: usize,
    count: usize,
    dy: &'a [f32],
    /// A packed matrix of tiles by channels for each point.
    into: &'a mut [f32],
}

impl WithSimd for Gradients<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let conv = &self.own.conv;
        let Conv2d { out_h, out_w, out_c, .. } = *conv;
        let (width, count) = (matmul::panel_width(), self.count);
        let each = apart(matmul::packed_len(Precision::F32, count, out_c));
        for t in 0..count {
            let [image, down, across] = self.own.tile(self.from + t);
            let dy = &self.dy[image * conv.out_len()..][..conv.out_len()];
            for channel in (0..out_c).step_by(S::F32_LANES) {
                let mut d = [[s.splat_f32s(0.0); OUT]; IN];
                for i in 0..OUT {
                    let row = down * OUT + i;
                    for j in 0..OUT {
                        let column = across * OUT + j;
                        if row < out_h && column < out_w {
                            d[i][j] = load::<S>(dy, (row * out_w + column) * out_c + channel);
                        }
                    }
                }
                for j in 0..OUT {
                    let points = gradient_points(s, [d[0][j], d[1][j], d[2][j], d[3][j]]);
                    for i in 0..IN {
                        d[i][j] = points[i];
                    }
                }
                let place = (channel / width * count + t) * width + channel % width;
                for i in 0..IN {
                    let points = gradient_points(s, d[i]);
                    for j in 0..IN {
                        store::<S>(self.into, (i * IN + j) * each + place, points[j]);
                    }
                }
            }
        }
    }
}

/// `G^T z`.
#[inline(always)]
fn taps<S: Simd>(s: S, z: [S::f32s; IN]) -> [S::f32s; 3] {
    let [quarter, sixth, twelfth, least] =
        [1.0 / 4.0, 1.0 / 6.0, 1.0 / 12.0, 1.0 / 24.0].map(|x| s.splat_f32s(x));
    let (near, far) = (s.add_f32s(z[1], z[2]), s.add_f32s(z[3], z[4]));
    let (near_odd, far_odd) = (s.sub_f32s(z[2], z[1]), s.sub_f32s(z[3], z[4]));
    let sixth_near = s.mul_f32s(sixth, near);
    [
        s.sub_f32s(s.mul_add_e_f32s(quarter, z[0], s.mul_f32s(least, far)), sixth_near),
        s.mul_add_e_f32s(sixth, near_odd, s.mul_f32s(twelfth, far_odd)),
        s.add_f32s(s.sub_f32s(s.mul_f32s(sixth, far), sixth_near), z[5]),
    ]
}

struct Kernel<'a> {
    /// `[point][channels in by channels out]`
    sums: &'a [f32],
    /// Numbers of a point.
    len: usize,
    /// `len` floats may be written from here on, and from each of nine taps, `tap` floats apart.
    dw: *mut f32,
    tap: usize,
}

impl WithSimd for Kernel<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        for at in (0..self.len).step_by(S::F32_LANES) {
            let mut rows = [[s.splat_f32s(0.0); 3]; IN];
            for i in 0..IN {
                let mut z = [s.splat_f32s(0.0); IN];
                for j in 0..IN {
                    z[j] = load::<S>(self.sums, (i * IN + j) * apart(self.len) + at);
                }
                rows[i] = taps(s, z);
            }
            for j in 0..3 {
                let column =
                    taps(s, [rows[0][j], rows[1][j], rows[2][j], rows[3][j], rows[4][j], rows[5][j]]);
                for i in 0..3 {
                    // SAFETY: `at` and the lanes after it are below `len`, which is a multiple of them.
                    unsafe {
                        let to = self.dw.add((i * 3 + j) * self.tap + at);
                        to.cast::<S::f32s>().write_unaligned(column[i]);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::noise;

    /// Maps that tiles fit and do not fit, with and without padding; several images, in one call and in several.
    #[test]
    fn equals_the_direct_sum() {
        let cases =
            [(16, 16, 32, 32, 1, 2), (17, 19, 32, 48, 0, 3), (13, 22, 80, 32, 1, 1), (18, 16, 64, 64, 2, 2)];
        for (h, w, in_c, out_c, pad, n) in cases {
            let conv = Conv2d {
                in_h: h,
                in_w: w,
                in_c,
                out_h: h + 2 * pad - 2,
                out_w: w + 2 * pad - 2,
                out_c,
                kernel: [3, 3],
                stride: [1, 1],
                dilation: [1, 1],
                pad: [pad, pad],
                groups: 1,
            };
            let (x, kernel) = (noise(n * conv.in_len(), 1), noise(conv.kernel_len(), 2));
            let (bias, dy) = (noise(out_c, 3), noise(n * conv.out_len(), 4));
            let close = |got: &[f32], want: &[f32], what: &str| {
                let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                for (i, (got, want)) in got.iter().zip(want).enumerate() {
                    assert!((got - want).abs() < 2e-5 * largest, "{what} {conv:?} {i}: {got}, not {want}");
                }
            };
            for relu in [false, true] {
                let mut packed = vec![0.0; conv.pack_len()];
                conv.pack(&kernel, &mut packed);
                let (mut want, mut scratch) =
                    (vec![0.0; n * conv.out_len()], vec![0.0; conv.forward_scratch(n)]);
                conv.forward(n, &x, &packed, Some(&bias), relu, &mut want, &mut scratch);
                let own = Winograd::forward_of(&conv).unwrap();
                let mut packed = vec![f32::NAN; own.pack_len()];
                own.pack(&kernel, &mut packed);
                let mut scratch = vec![f32::NAN; own.scratch(n)];
                let mut got = vec![f32::NAN; n * conv.out_len()];
                own.run(n, &x, &packed, Some(&bias), relu, &mut got, &mut scratch);
                close(&got, &want, "forward");
                let mut again = vec![f32::NAN; got.len()];
                for (x, y) in x.chunks(conv.in_len()).zip(again.chunks_mut(conv.out_len())) {
                    own.run(1, x, &packed, Some(&bias), relu, y, &mut scratch);
                }
                assert_eq!(got, again, "image by image");
                // Bands of whole tiles give the same bits.
                let mut bands = vec![f32::NAN; conv.out_len()];
                for rows in [0..8, 8..conv.out_h] {
                    let (band, start) = own.band(rows.clone());
                    let row = conv.out_w * out_c;
                    let y = &mut bands[rows.start * row..rows.end * row];
                    let mut scratch = vec![f32::NAN; band.scratch(1)];
                    band.run(1, &x[start..conv.in_len()], &packed, Some(&bias), relu, y, &mut scratch);
                }
                assert_eq!(got[..conv.out_len()], bands, "band by band");
                let mut blocks = vec![f32::NAN; got.len()];
                for block in 0..own.blocks() {
                    // SAFETY: `blocks` is a whole result.
                    unsafe {
                        let (one, y) = (block..block + 1, blocks.as_mut_ptr());
                        own.run_blocks(one, n, &x, &packed, Some(&bias), relu, y, &mut scratch);
                    }
                }
                assert_eq!(got, blocks, "block by block");
            }
            let mut packed = vec![0.0; conv.pack_transposed_len()];
            conv.pack_transposed(&kernel, &mut packed);
            let (mut want, mut scratch) =
                (vec![0.0; n * conv.in_len()], vec![0.0; conv.grad_input_scratch(n)]);
            conv.grad_input(n, &dy, &packed, &mut want, &mut scratch);
            let own = Winograd::grad_input_of(&conv).unwrap();
            let mut packed = vec![f32::NAN; own.pack_len()];
            own.pack(&kernel, &mut packed);
            let mut got = vec![f32::NAN; n * conv.in_len()];
            own.run(n, &dy, &packed, None, false, &mut got, &mut vec![f32::NAN; own.scratch(n)]);
            close(&got, &want, "gradient");

            let mut want = vec![0.0; conv.kernel_len()];
            conv.grad_kernel(n, &x, &dy, &mut want, &mut vec![0.0; conv.grad_kernel_scratch(n)]);
            let own = WinogradGrad::of(&conv, 2 * GRAD_TILES).unwrap();
            for parts in [1, 2] {
                let mut got = vec![f32::NAN; conv.kernel_len()];
                for part in 0..parts {
                    let channels = own.channels(part, parts);
                    let mut scratch = vec![f32::NAN; own.scratch(channels.clone(), n)];
                    // SAFETY: `got` is a whole kernel.
                    unsafe { own.run(channels, n, &x, &dy, got.as_mut_ptr(), &mut scratch) };
                }
                close(&got, &want, "gradient by the kernel");
            }
        }
    }

    #[test]
    fn only_what_suits_is_made_so() {
        let conv = Conv2d {
            in_h: 16,
            in_w: 16,
            in_c: 32,
            out_h: 16,
            out_w: 16,
            out_c: 32,
            kernel: [3, 3],
            stride: [1, 1],
            dilation: [1, 1],
            pad: [1, 1],
            groups: 1,
        };
        assert!(Winograd::forward_of(&conv).is_some());
        for other in [
            Conv2d { kernel: [1, 1], pad: [0, 0], ..conv.clone() },
            Conv2d { stride: [2, 2], out_h: 8, out_w: 8, ..conv.clone() },
            Conv2d { dilation: [2, 2], pad: [2, 2], ..conv.clone() },
            Conv2d { groups: 2, ..conv.clone() },
            Conv2d { in_c: 40, ..conv.clone() },
            Conv2d { in_c: 3, ..conv.clone() },
            Conv2d { in_h: 4, in_w: 4, out_h: 4, out_w: 4, ..conv.clone() },
        ] {
            assert_eq!(Winograd::forward_of(&other), None);
        }
        assert_eq!(Winograd::grad_input_of(&Conv2d { pad: [3, 3], out_h: 20, out_w: 20, ..conv }), None);
    }
}
