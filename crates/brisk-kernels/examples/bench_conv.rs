//! GFLOP/s of every convolution pass on one core, beside the core's measured peak.
//!
//! `cargo run --release -p brisk-kernels --example bench_conv [-- FILTER]`.

#![allow(unsafe_code)]

use brisk_kernels::conv::{Conv2d, Winograd, WinogradGrad};
use brisk_kernels::pool::Pool2d;
use brisk_kernels::simd::Level;
use std::hint::black_box;

fn square(size: usize, in_c: usize, out_c: usize, k: usize, stride: usize, pad: usize) -> Conv2d {
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

fn noise(len: usize) -> Vec<f32> {
    let mut state = len as u32 | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1u32 << 23) as f32 - 1.0
        })
        .collect()
}

/// Seconds of processor time that this thread has used, so that a busy machine disturbs less.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn now() -> f64 {
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
    }
    let mut time = [0i64; 2];
    // SAFETY: 3 is CLOCK_THREAD_CPUTIME_ID; `time` has timespec's layout on 64-bit Linux.
    unsafe { clock_gettime(3, &mut time) };
    time[0] as f64 + time[1] as f64 * 1e-9
}

#[cfg(not(target_os = "linux"))]
fn now() -> f64 {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed().as_secs_f64()
}

/// Seconds a call takes: the fifth fastest of 25 timings.
fn time(mut f: impl FnMut()) -> f64 {
    f();
    let start = now();
    f();
    let once = (now() - start).max(1e-7);
    let calls = (0.003 / once).ceil() as usize;
    let mut times: Vec<f64> = (0..25)
        .map(|_| {
            let start = now();
            for _ in 0..calls {
                f();
            }
            (now() - start) / calls as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[4]
}

/// Fused multiply-adds in registers alone: what no kernel can exceed.
#[allow(unsafe_code)]
fn peak() -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::*;
        #[target_feature(enable = "avx2,fma")]
        fn eight(rounds: usize) -> __m256 {
            let mut acc = [_mm256_setzero_ps(); 12];
            let (a, b) = (_mm256_set1_ps(black_box(0.5)), _mm256_set1_ps(black_box(0.25)));
            for _ in 0..rounds {
                for acc in &mut acc {
                    *acc = _mm256_fmadd_ps(*acc, a, b);
                }
            }
            acc.into_iter().fold(a, |s, v| _mm256_add_ps(s, v))
        }
        #[target_feature(enable = "avx512f")]
        fn sixteen(rounds: usize) -> __m512 {
            let mut acc = [_mm512_setzero_ps(); 12];
            let (a, b) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(0.25)));
            for _ in 0..rounds {
                for acc in &mut acc {
                    *acc = _mm512_fmadd_ps(*acc, a, b);
                }
            }
            acc.into_iter().fold(a, |s, v| _mm512_add_ps(s, v))
        }
        let rounds = 100_000;
        let lanes = match brisk_kernels::simd::level() {
            Level::Scalar => 0,
            level => level.lanes(),
        };
        if lanes > 0 {
            // SAFETY: the level says that the machine has these instructions.
            let seconds = time(|| unsafe {
                if lanes == 16 {
                    black_box(sixteen(rounds));
                } else {
                    black_box(eight(rounds));
                }
            });
            return (rounds * 12 * lanes * 2) as f64 / seconds / 1e9;
        }
    }
    f64::NAN
}

fn bench(name: &str, c: &Conv2d, n: usize, peak: f64) {
    let (x, w, dy, bias) =
        (noise(n * c.in_len()), noise(c.kernel_len()), noise(n * c.out_len()), noise(c.out_c));
    let (mut y, mut dw, mut dx) =
        (vec![0.0; n * c.out_len()], vec![0.0; c.kernel_len()], vec![0.0; n * c.in_len()]);
    let mut packed = vec![0.0; c.pack_len()];
    let mut packed_t = vec![0.0; c.pack_transposed_len()];
    c.pack(&w, &mut packed);
    c.pack_transposed(&w, &mut packed_t);
    let mut scratch =
        vec![0.0; c.forward_scratch(n).max(c.grad_kernel_scratch(n)).max(c.grad_input_scratch(n))];
    let flop = 2.0 * (n * c.out_h * c.out_w * c.kernel_len()) as f64;
    let report = |seconds: f64| {
        let g = flop / seconds / 1e9;
        format!("{:9.1} us {g:6.1} GF/s {:3.0} %", seconds * 1e6, 100.0 * g / peak)
    };
    let forward = time(|| c.forward(n, &x, &packed, Some(&bias), true, black_box(&mut y), &mut scratch));
    let kernel = time(|| c.grad_kernel(n, &x, &dy, black_box(&mut dw), &mut scratch));
    let input = time(|| c.grad_input(n, &dy, &packed_t, black_box(&mut dx), &mut scratch));
    println!(
        "{name:34} forward {}   grad_kernel {}   grad_input {}",
        report(forward),
        report(kernel),
        report(input)
    );
    if let Some(own) = Winograd::forward_of(c) {
        let mut packed = vec![0.0; own.pack_len()];
        let packing = time(|| own.pack(&w, black_box(&mut packed)));
        let mut scratch = vec![0.0; own.scratch(n)];
        let forward = time(|| own.run(n, &x, &packed, Some(&bias), true, black_box(&mut y), &mut scratch));
        println!("{:34} forward {}   packing {:.1} us", "  Winograd", report(forward), packing * 1e6);
    }
    if let Some(own) = WinogradGrad::of(c, n) {
        let mut scratch = vec![0.0; own.scratch(0..c.in_c, n)];
        let all = time(|| {
            // SAFETY: `dw` is a whole kernel.
            unsafe { own.run(0..c.in_c, n, &x, &dy, dw.as_mut_ptr(), &mut scratch) }
        });
        let part = time(|| {
            // SAFETY: as above.
            unsafe { own.run(0..32, n, &x, &dy, dw.as_mut_ptr(), &mut scratch) }
        });
        let parts = c.in_c as f64 / 32.0;
        println!("{:34} grad_kernel {}   by 32 channels {}", "  Winograd", report(all), report(part * parts));
    }
}

fn bench_pooled(name: &str, c: &Conv2d, n: usize, with_dx: bool, peak: f64) -> f64 {
    let p = Pool2d {
        in_h: c.out_h,
        in_w: c.out_w,
        c: c.out_c,
        out_h: c.out_h / 2,
        out_w: c.out_w / 2,
        window: [2, 2],
        stride: [2, 2],
        pad: [0, 0],
    };
    let (x, w, dy, bias) =
        (noise(n * c.in_len()), noise(c.kernel_len()), noise(n * p.out_len()), vec![-0.5; c.out_c]);
    let (mut y, mut index) = (vec![0.0; dy.len()], vec![0; dy.len()]);
    let (mut acc, mut db, mut dx) = (vec![0.0; c.kernel_len()], vec![0.0; c.out_c], vec![0.0; x.len()]);
    let (mut packed, mut wt) = (vec![0.0; c.pack_len()], vec![0.0; c.kernel_len()]);
    c.pack(&w, &mut packed);
    c.pack_channel_major(&w, &mut wt);
    let mut scratch = vec![0.0; c.forward_pool_scratch(&p, n).max(c.grad_pool_scratch(&p, n))];
    let forward = time(|| {
        c.forward_pool(&p, n, &x, &packed, Some(&bias), true, black_box(&mut y), &mut index, &mut scratch);
    });
    let kernel = time(|| {
        c.grad_pool(&p, n, &x, &wt, &y, &index, &dy, true, black_box(&mut acc), &mut db, None, &mut scratch);
    });
    let both = time(|| {
        let dx = Some(&mut dx[..]);
        c.grad_pool(&p, n, &x, &wt, &y, &index, &dy, true, black_box(&mut acc), &mut db, dx, &mut scratch);
    });
    let alive = y.iter().filter(|v| **v > 0.0).count() as f64 / y.len() as f64;
    let needed = (n * p.out_h * p.out_w * 4 * c.kernel_len()) as f64 * 2.0;
    let (us, per) = (1e6 / n as f64, n as f64);
    println!(
        "{name:34} an image: forward {:6.1} us ({:3.0} % of peak)   backward: dw {:6.1} us, dx {:6.1} us   ({:.0} % alive)",
        forward * us,
        100.0 * needed / forward / 1e9 / peak,
        kernel * us,
        (both - kernel) * us,
        100.0 * alive
    );
    (forward + if with_dx { both } else { kernel }) / per * 1e6
}

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    let peak = peak();
    println!(
        "level {:?}, peak (fused multiply-adds in registers) {peak:.1} GFLOP/s\n",
        brisk_kernels::simd::level()
    );
    for n in [1, 4] {
        let name = format!("article, {n} images a call");
        if !name.contains(&filter) {
            continue;
        }
        let first =
            bench_pooled(&format!("{name}: 32x32x3 -> 32"), &square(32, 3, 32, 3, 1, 0), n, false, peak);
        let second =
            bench_pooled(&format!("{name}: 15x15x32 -> 64"), &square(15, 32, 64, 3, 1, 0), n, true, peak);
        println!("{name}: {:.1} us for both blocks, forward and backward\n", first + second);
    }
    for (name, c, n) in [
        ("resnet 32x32x3->64 3x3", square(32, 3, 64, 3, 1, 1), 32),
        ("resnet 32x32x64 3x3", square(32, 64, 64, 3, 1, 1), 32),
        ("resnet 32x32x64->128 3x3 /2", square(32, 64, 128, 3, 2, 1), 32),
        ("resnet 32x32x64->128 1x1 /2", square(32, 64, 128, 1, 2, 0), 32),
        ("resnet 16x16x128 3x3", square(16, 128, 128, 3, 1, 1), 32),
        ("resnet 16x16x128->256 3x3 /2", square(16, 128, 256, 3, 2, 1), 32),
        ("resnet 8x8x256 3x3", square(8, 256, 256, 3, 1, 1), 32),
        ("resnet 8x8x256->512 3x3 /2", square(8, 256, 512, 3, 2, 1), 32),
        ("resnet 4x4x512 3x3", square(4, 512, 512, 3, 1, 1), 32),
        ("one image 4x4x512 3x3", square(4, 512, 512, 3, 1, 1), 1),
        ("four images 32x32x64 3x3", square(32, 64, 64, 3, 1, 1), 4),
        ("one image 32x32x64 3x3", square(32, 64, 64, 3, 1, 1), 1),
        ("four images 16x16x128 3x3", square(16, 128, 128, 3, 1, 1), 4),
        ("one image 16x16x128 3x3", square(16, 128, 128, 3, 1, 1), 1),
        ("four images 8x8x256 3x3", square(8, 256, 256, 3, 1, 1), 4),
        ("four images 4x4x512 3x3", square(4, 512, 512, 3, 1, 1), 4),
        ("lenet 28x28x1->6 5x5", square(28, 1, 6, 5, 1, 2), 32),
        ("imagenet 224x224x3->64 7x7 /2", square(224, 3, 64, 7, 2, 3), 1),
        ("imagenet 56x56x64->256 1x1", square(56, 64, 256, 1, 1, 0), 1),
        ("imagenet 56x56x256->64 1x1", square(56, 256, 64, 1, 1, 0), 1),
        ("imagenet 56x56x64 3x3", square(56, 64, 64, 3, 1, 1), 1),
        ("imagenet 28x28x128->512 1x1", square(28, 128, 512, 1, 1, 0), 1),
        ("imagenet 28x28x512->128 1x1", square(28, 512, 128, 1, 1, 0), 1),
        ("imagenet 56x56x128 3x3 /2", square(56, 128, 128, 3, 2, 1), 1),
        ("imagenet 28x28x128 3x3", square(28, 128, 128, 3, 1, 1), 1),
        ("imagenet 14x14x256->1024 1x1", square(14, 256, 1024, 1, 1, 0), 1),
        ("imagenet 14x14x1024->256 1x1", square(14, 1024, 256, 1, 1, 0), 1),
        ("imagenet 14x14x256 3x3", square(14, 256, 256, 3, 1, 1), 1),
        ("imagenet 7x7x512->2048 1x1", square(7, 512, 2048, 1, 1, 0), 1),
        ("imagenet 7x7x2048->512 1x1", square(7, 2048, 512, 1, 1, 0), 1),
        ("imagenet 7x7x512 3x3", square(7, 512, 512, 3, 1, 1), 1),
        ("depthwise 16x16x128 3x3", Conv2d { groups: 128, ..square(16, 128, 128, 3, 1, 1) }, 32),
    ] {
        if name.contains(&filter) {
            bench(name, &c, n, peak);
        }
    }
}
