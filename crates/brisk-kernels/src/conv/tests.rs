//! Every pass at every level of this machine against plain loops in f64.

use super::*;
use crate::pool::Pool2d;
use crate::simd::{Level, detected};
use proptest::prelude::*;

/// Runs `f` at each level that this machine has.
pub(crate) fn at_levels(mut f: impl FnMut()) {
    for level in [Level::Scalar, Level::Avx2, Level::Avx512] {
        if level <= detected() {
            vector::FORCED.set(Some(level));
            f();
        }
    }
    vector::FORCED.set(None);
}

/// Values in -1..1 from a hash of the position.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32) / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

pub(crate) fn close(got: &[f32], want: &[f64], scale: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(g) - w).abs() <= 2e-6 * scale * (1.0 + w.abs()), "{what}[{i}]: {g}, expected {w}");
    }
}

/// Calls `f(x offset, w offset, y offset)` for every product of the sum.
fn each_product(c: &Conv2d, n: usize, mut f: impl FnMut(usize, usize, usize)) {
    let (cin, cout) = (c.in_c / c.groups, c.out_c / c.groups);
    for i in 0..n {
        for oy in 0..c.out_h {
            for ox in 0..c.out_w {
                for co in 0..c.out_c {
                    for ky in 0..c.kernel[0] {
                        for kx in 0..c.kernel[1] {
                            let iy = (oy * c.stride[0] + ky * c.dilation[0]).wrapping_sub(c.pad[0]);
                            let ix = (ox * c.stride[1] + kx * c.dilation[1]).wrapping_sub(c.pad[1]);
                            if iy >= c.in_h || ix >= c.in_w {
                                continue;
                            }
                            for ci in 0..cin {
                                let x = ((i * c.in_h + iy) * c.in_w + ix) * c.in_c + co / cout * cin + ci;
                                let w = ((ky * c.kernel[1] + kx) * cin + ci) * c.out_c + co;
                                f(x, w, ((i * c.out_h + oy) * c.out_w + ox) * c.out_c + co);
                            }
                        }
                    }
                }
            }
        }
    }
}

fn forward_reference(c: &Conv2d, n: usize, x: &[f32], w: &[f32], bias: Option<&[f32]>) -> Vec<f64> {
    let mut y: Vec<f64> =
        (0..n * c.out_len()).map(|i| bias.map_or(0.0, |b| f64::from(b[i % c.out_c]))).collect();
    each_product(c, n, |xi, wi, yi| y[yi] += f64::from(x[xi]) * f64::from(w[wi]));
    y
}

fn check_conv(c: &Conv2d, n: usize, relu: bool, with_bias: bool) {
    let x = noise(n * c.in_len(), 1);
    let w = noise(c.kernel_len(), 2);
    let bias = noise(c.out_c, 3);
    let bias = with_bias.then_some(&bias[..]);
    let dy = noise(n * c.out_len(), 4);
    let mut want = forward_reference(c, n, &x, &w, bias);
    if relu {
        want.iter_mut().for_each(|v| *v = v.max(0.0));
    }
    let mut want_dw = vec![0.25f64; c.kernel_len()];
    let mut want_dx = vec![0.0f64; n * c.in_len()];
    each_product(c, n, |xi, wi, yi| {
        want_dw[wi] += f64::from(x[xi]) * f64::from(dy[yi]);
        want_dx[xi] += f64::from(w[wi]) * f64::from(dy[yi]);
    });
    let scale = (c.rows() as f64).sqrt() + 4.0;
    at_levels(|| {
        let mut packed = vec![f32::NAN; c.pack_len()];
        c.pack(&w, &mut packed);
        let mut y = vec![f32::NAN; n * c.out_len()];
        let mut scratch = vec![f32::NAN; c.forward_scratch(n)];
        c.forward(n, &x, &packed, bias, relu, &mut y, &mut scratch);
        close(&y, &want, scale, "y");
        let mut blocks = vec![f32::NAN; y.len()];
        for block in 0..c.blocks() {
            // SAFETY: `blocks` is a whole result.
            unsafe {
                let (one, y) = (block..block + 1, blocks.as_mut_ptr());
                c.forward_blocks(one, n, &x, &packed, bias, relu, y, &mut scratch);
            }
        }
        assert_eq!(blocks, y, "the same bits block by block");

        let mut dw = vec![0.25; c.kernel_len()];
        let mut scratch = vec![f32::NAN; c.grad_kernel_scratch(n)];
        c.grad_kernel(n, &x, &dy, &mut dw, &mut scratch);
        close(&dw, &want_dw, ((n * c.out_h * c.out_w) as f64).sqrt() + 4.0, "dw");

        let cut = c.rows() / 3;
        let mut parts = vec![0.25; c.kernel_len()];
        let (low, high) = parts.split_at_mut(cut * c.out_c);
        c.grad_kernel_part(0..cut, n, &x, &dy, low, &mut scratch);
        c.grad_kernel_part(cut..c.rows(), n, &x, &dy, high, &mut scratch);
        assert_eq!(parts, dw, "the same bits in parts");

        let mut packed = vec![f32::NAN; c.pack_transposed_len()];
        c.pack_transposed(&w, &mut packed);
        let mut dx = vec![f32::NAN; n * c.in_len()];
        let mut scratch = vec![f32::NAN; c.grad_input_scratch(n)];
        c.grad_input(n, &dy, &packed, &mut dx, &mut scratch);
        close(&dx, &want_dx, (c.cout() as f64 * 9.0).sqrt() + 4.0, "dx");
    });
}

/// The argmax and its place from the convolution in f64; ties and near-ties are left out by the caller's tolerance.
fn check_pooled(c: &Conv2d, p: &Pool2d, n: usize, relu: bool) {
    let x = noise(n * c.in_len(), 5);
    let w = noise(c.kernel_len(), 6);
    let bias = noise(c.out_c, 7);
    let dy = noise(n * p.out_len(), 8);
    let z = forward_reference(c, n, &x, &w, Some(&bias));
    let scale = (c.rows() as f64).sqrt() + 4.0;
    at_levels(|| {
        let mut packed = vec![f32::NAN; c.pack_len()];
        c.pack(&w, &mut packed);
        let mut y = vec![f32::NAN; n * p.out_len()];
        let mut index = vec![255; n * p.out_len()];
        let mut scratch = vec![f32::NAN; c.forward_pool_scratch(p, n)];
        c.forward_pool(p, n, &x, &packed, Some(&bias), relu, &mut y, &mut index, &mut scratch);

        let mut dz = vec![0.0f64; n * c.out_len()];
        let mut want = vec![0.0f64; y.len()];
        for at in 0..y.len() {
            let (co, at_pixel) = (at % c.out_c, at / c.out_c);
            let (ox, oy, i) =
                (at_pixel % p.out_w, at_pixel / p.out_w % p.out_h, at_pixel / p.out_w / p.out_h);
            let cell = |k: usize| {
                let (ky, kx) = (k / p.window[1], k % p.window[1]);
                ((i * c.out_h + oy * p.stride[0] + ky) * c.out_w + ox * p.stride[1] + kx) * c.out_c + co
            };
            let best = (0..p.window[0] * p.window[1]).map(|k| z[cell(k)]).fold(f64::MIN, f64::max);
            let winner = cell(usize::from(index[at]));
            assert!(best - z[winner] <= 1e-5 * scale, "index {at}: {} is not the maximum {best}", z[winner]);
            want[at] = if relu { best.max(0.0) } else { best };
            if !relu || y[at] > 0.0 {
                dz[winner] += f64::from(dy[at]);
            }
        }
        close(&y, &want, scale, "pooled y");

        let mut want_dw = vec![0.0f64; c.kernel_len()];
        let mut want_dx = vec![0.0f64; n * c.in_len()];
        let mut want_db = vec![1.0f64; c.out_c];
        dz.iter().enumerate().for_each(|(i, v)| want_db[i % c.out_c] += v);
        each_product(c, n, |xi, wi, yi| {
            want_dw[wi] += f64::from(x[xi]) * dz[yi];
            want_dx[xi] += f64::from(w[wi]) * dz[yi];
        });
        let mut wt = vec![f32::NAN; c.kernel_len()];
        c.pack_channel_major(&w, &mut wt);
        let mut acc = vec![0.0; c.kernel_len()];
        let mut db = vec![1.0; c.out_c];
        let mut dx = vec![f32::NAN; n * c.in_len()];
        let mut scratch = vec![f32::NAN; c.grad_pool_scratch(p, n)];
        let dx_out = Some(&mut dx[..]);
        c.grad_pool(p, n, &x, &wt, &y, &index, &dy, relu, &mut acc, &mut db, dx_out, &mut scratch);
        let mut dw = vec![0.0; c.kernel_len()];
        c.add_transposed(&acc, &mut dw);
        close(&dw, &want_dw, ((n * p.out_h * p.out_w) as f64).sqrt() + 4.0, "sparse dw");
        close(&db, &want_db, 8.0, "dbias");
        close(&dx, &want_dx, (c.cout() as f64 * 9.0).sqrt() + 4.0, "sparse dx");
    });
}

fn any_conv() -> impl Strategy<Value = Conv2d> {
    let channels = prop_oneof![
        (1usize..=20, 1usize..=40, Just(1usize)),
        (1usize..=5, 1usize..=5, 2usize..=4),
        (1usize..=1, 1usize..=1, 1usize..=37),
        (1usize..=1, 2usize..=2, 1usize..=5),
    ];
    let axis = || (1usize..=11, 1usize..=4, 1usize..=3, 1usize..=3, 0usize..=3, 0usize..=3);
    (axis(), axis(), channels).prop_map(|(y, x, (cin, cout, groups))| {
        let fit =
            |(size, kernel, stride, dilation, before, after): (usize, usize, usize, usize, usize, usize)| {
                let reach = (kernel - 1) * dilation + 1;
                let size = size.max(reach.saturating_sub(before + after));
                (size, (size + before + after - reach) / stride + 1, kernel, stride, dilation, before)
            };
        let (y, x) = (fit(y), fit(x));
        Conv2d {
            in_h: y.0,
            in_w: x.0,
            in_c: cin * groups,
            out_h: y.1,
            out_w: x.1,
            out_c: cout * groups,
            kernel: [y.2, x.2],
            stride: [y.3, x.3],
            dilation: [y.4, x.4],
            pad: [y.5, x.5],
            groups,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn any_convolution(c in any_conv(), n in 1usize..=3, relu: bool, bias: bool) {
        check_conv(&c, n, relu, bias);
    }

    #[test]
    fn any_pooled_convolution(
        c in any_conv(), n in 1usize..=3, relu: bool,
        window in prop::array::uniform2(1usize..=3), stride in prop::array::uniform2(1usize..=3),
    ) {
        let window = [window[0].min(c.out_h), window[1].min(c.out_w)];
        let p = Pool2d {
            in_h: c.out_h, in_w: c.out_w, c: c.out_c,
            out_h: (c.out_h - window[0]) / stride[0] + 1, out_w: (c.out_w - window[1]) / stride[1] + 1,
            window, stride, pad: [0, 0],
        };
        check_pooled(&c, &p, n, relu);
    }
}

pub(crate) fn square(size: usize, in_c: usize, out_c: usize, k: usize, stride: usize, pad: usize) -> Conv2d {
    let out = (size + 2 * pad - k) / stride + 1;
    Conv2d {
        in_h: size,
        in_w: size,
        in_c,
        out_h: out,
        out_w: out,
        out_c,
        kernel: [k, k],
        stride: [stride, stride],
        dilation: [1, 1],
        pad: [pad, pad],
        groups: 1,
    }
}

fn halved(c: &Conv2d) -> Pool2d {
    Pool2d {
        in_h: c.out_h,
        in_w: c.out_w,
        c: c.out_c,
        out_h: c.out_h / 2,
        out_w: c.out_w / 2,
        window: [2, 2],
        stride: [2, 2],
        pad: [0, 0],
    }
}

#[test]
fn the_articles_blocks() {
    for (c, n) in
        [(square(32, 3, 32, 3, 1, 0), 2), (square(15, 32, 64, 3, 1, 0), 3), (square(28, 1, 32, 3, 1, 0), 1)]
    {
        check_pooled(&c, &halved(&c), n, true);
        check_conv(&c, n, true, true);
    }
}

#[test]
fn residual_blocks() {
    check_conv(&square(8, 64, 64, 3, 1, 1), 2, false, false);
    check_conv(&square(8, 64, 128, 3, 2, 1), 2, false, false);
    check_conv(&square(8, 64, 128, 1, 2, 0), 2, false, false);
    check_conv(&square(4, 128, 130, 3, 1, 1), 3, true, true);
}

#[test]
fn more_than_64_channels_fill_several_mask_words() {
    let c = square(6, 5, 150, 3, 1, 1);
    check_pooled(&c, &halved(&c), 2, true);
}

#[test]
fn a_strip_is_a_row_of_windows_when_maps_are_wide() {
    let c = Conv2d { in_w: 303, out_w: 301, ..square(9, 2, 3, 3, 1, 0) };
    check_pooled(&c, &halved(&c), 1, false);
}

#[test]
fn nan_is_not_swallowed() {
    at_levels(|| {
        let c = square(4, 1, 1, 1, 1, 0);
        let mut packed = vec![0.0; c.pack_len()];
        c.pack(&[1.0], &mut packed);
        let mut x = [1.0; 16];
        x[5] = f32::NAN;
        let (mut y, mut index) = ([0.0; 4], [0; 4]);
        let mut scratch = vec![0.0; c.forward_pool_scratch(&halved(&c), 1)];
        c.forward_pool(&halved(&c), 1, &x, &packed, None, true, &mut y, &mut index, &mut scratch);
        assert!(y[0].is_nan() && index[0] == 3 && y[1..] == [1.0; 3]);
    });
}

#[test]
fn empty_axes_are_no_trouble() {
    check_conv(&Conv2d { in_h: 0, ..square(4, 2, 3, 3, 1, 2) }, 1, false, true);
    check_conv(&square(4, 2, 3, 3, 1, 1), 0, false, true);
    check_conv(&square(4, 0, 3, 3, 1, 1), 2, false, true);
}
