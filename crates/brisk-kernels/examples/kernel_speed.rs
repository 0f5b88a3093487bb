//! Throughput of the elementwise, row and matrix kernels on one thread:
//! `cargo run --release -p brisk-kernels --example kernel_speed`, with `BRISK_CPU=scalar` or `avx2` to compare levels.
//!
//! With a word, such as `attention`, only the kernels whose names have it.
//!
//! GB/s count the bytes that a kernel must read and write, not those that caches fetch besides.

#![allow(unsafe_code)]

use brisk_kernels::attention::{Attention, Dropout, Operands};
use brisk_kernels::elementwise::{Access, Binary, Inst, Operand, Program, Slice, Unary};
use brisk_kernels::matmul::Precision;
use brisk_kernels::parted::Parted;
use brisk_kernels::recurrent::{Incoming, Kind, Sequences};
use brisk_kernels::{matmul, movement, norm, random, reduce, simd, softmax};
use std::hint::black_box;
use std::time::Instant;

/// Whether a kernel of this name is asked for.
fn wanted(name: &str) -> bool {
    std::env::args().nth(1).is_none_or(|word| name.contains(&word))
}

/// The shortest of many short runs, in seconds a call: short, so that some are undisturbed on a busy machine.
fn time(mut f: impl FnMut()) -> f64 {
    let mut run = |calls: usize| {
        let start = Instant::now();
        (0..calls).for_each(|_| f());
        start.elapsed().as_secs_f64() / calls as f64
    };
    let once = run(1).min(run(1)).max(1e-9);
    let calls = (1e-4 / once).clamp(1.0, 1e4) as usize;
    let samples = (0.5 / once / calls as f64).clamp(5.0, 500.0) as usize;
    (0..samples).map(|_| run(calls)).fold(f64::INFINITY, f64::min)
}

fn report(name: &str, bytes: usize, f: impl FnMut()) {
    if !wanted(name) {
        return;
    }
    let seconds = time(f);
    println!("{name:<44} {:>8.1} GB/s {:>10.2} us", bytes as f64 / seconds / 1e9, seconds * 1e6);
}

/// Adam with bias correction folded into the step: reads p, m, v, g, writes p, m, v.
fn adam() -> Program {
    let mut operands = vec![Operand::f32(Access::Contiguous); 4];
    operands.push(Operand::f32(Access::Scalar));
    let mut insts: Vec<Inst> = (0..5).map(|i| Inst::Load { operand: i, dst: i }).collect();
    let [p, m, v, g, step] = [0, 1, 2, 3, 4];
    for (i, value) in [0.9, 0.1, 0.999, 0.001, 1e-8].into_iter().enumerate() {
        insts.push(Inst::Const { value, dst: 5 + i as u16 });
    }
    insts.extend([
        Inst::Binary { op: Binary::Mul, a: g, b: 6, dst: 10 },
        Inst::Fma { a: m, b: 5, c: 10, dst: m },
        Inst::Unary { op: Unary::Square, src: g, dst: 10 },
        Inst::Binary { op: Binary::Mul, a: 10, b: 8, dst: 10 },
        Inst::Fma { a: v, b: 7, c: 10, dst: v },
        Inst::Unary { op: Unary::Sqrt, src: v, dst: 10 },
        Inst::Binary { op: Binary::Add, a: 10, b: 9, dst: 10 },
        Inst::Binary { op: Binary::Div, a: m, b: 10, dst: 10 },
        Inst::Binary { op: Binary::Mul, a: 10, b: step, dst: 10 },
        Inst::Binary { op: Binary::Sub, a: p, b: 10, dst: p },
        Inst::Store { src: p, operand: 0 },
        Inst::Store { src: m, operand: 1 },
        Inst::Store { src: v, operand: 2 },
    ]);
    Program::new(&insts, &operands).expect("a right program")
}

/// `relu(x scale + shift)`, both vectors of the last axis.
fn normalize_relu() -> Program {
    let mut insts: Vec<Inst> = (0..3).map(|i| Inst::Load { operand: i, dst: i }).collect();
    insts.extend([
        Inst::Fma { a: 0, b: 1, c: 2, dst: 3 },
        Inst::Unary { op: Unary::Relu, src: 3, dst: 3 },
        Inst::Store { src: 3, operand: 3 },
    ]);
    let operands = [Access::Contiguous, Access::Row, Access::Row, Access::Contiguous].map(Operand::f32);
    Program::new(&insts, &operands).expect("a right program")
}

/// One function of one operand.
fn single(op: Unary) -> Program {
    let insts = [
        Inst::Load { operand: 0, dst: 0 },
        Inst::Unary { op, src: 0, dst: 1 },
        Inst::Store { src: 1, operand: 1 },
    ];
    Program::new(&insts, &[Operand::f32(Access::Contiguous); 2]).expect("a right program")
}

/// `x (1 + erf(x / √2)) / 2`
fn gelu() -> Program {
    let insts = [
        Inst::Load { operand: 0, dst: 0 },
        Inst::Const { value: std::f32::consts::FRAC_1_SQRT_2, dst: 1 },
        Inst::Const { value: 0.5, dst: 2 },
        Inst::Binary { op: Binary::Mul, a: 0, b: 1, dst: 3 },
        Inst::Unary { op: Unary::Erf, src: 3, dst: 3 },
        Inst::Fma { a: 3, b: 2, c: 2, dst: 3 },
        Inst::Binary { op: Binary::Mul, a: 3, b: 0, dst: 3 },
        Inst::Store { src: 3, operand: 1 },
    ];
    Program::new(&insts, &[Operand::f32(Access::Contiguous); 2]).expect("a right program")
}

/// `gelu(x + bias)` again, and the gradient by `x` from `dy`, with its sum for the bias: what the backward pass of a feed-forward part does.
fn gelu_gradient() -> Program {
    let mut operands = vec![Operand::f32(Access::Contiguous); 5];
    operands[1].access = Access::Row;
    operands.push(Operand::f32(Access::Row));
    let [x, t, c, half, one, erf, cdf, y] = [0, 3, 4, 5, 6, 7, 8, 9];
    let insts = [
        Inst::Load { operand: 0, dst: 0 },
        Inst::Load { operand: 1, dst: 1 },
        Inst::Load { operand: 2, dst: 2 },
        Inst::Const { value: std::f32::consts::FRAC_1_SQRT_2, dst: c },
        Inst::Const { value: 0.5, dst: half },
        Inst::Const { value: 1.0, dst: one },
        Inst::Const { value: -0.5, dst: 10 },
        Inst::Const { value: 0.398_942_3, dst: 11 },
        Inst::Binary { op: Binary::Add, a: 0, b: 1, dst: x },
        Inst::Binary { op: Binary::Mul, a: x, b: c, dst: t },
        Inst::Unary { op: Unary::Erf, src: t, dst: erf },
        Inst::Binary { op: Binary::Add, a: erf, b: one, dst: cdf },
        Inst::Binary { op: Binary::Mul, a: cdf, b: half, dst: cdf },
        Inst::Binary { op: Binary::Mul, a: cdf, b: x, dst: y },
        Inst::Unary { op: Unary::Square, src: x, dst: t },
        Inst::Binary { op: Binary::Mul, a: t, b: 10, dst: t },
        Inst::Unary { op: Unary::Exp, src: t, dst: t },
        Inst::Binary { op: Binary::Mul, a: t, b: 11, dst: t },
        Inst::Fma { a: t, b: x, c: cdf, dst: t },
        Inst::Binary { op: Binary::Mul, a: t, b: 2, dst: t },
        Inst::Store { src: y, operand: 3 },
        Inst::Store { src: t, operand: 4 },
        Inst::SumColumns { src: t, operand: 5 },
    ];
    Program::new(&insts, &operands).expect("a right program")
}

fn main() {
    println!("level {}", simd::level().name());
    let big = 16 << 20;
    let mut x = vec![0.0; big];
    random::fill_normal([1, 2], 0, &mut x);
    let mut y = vec![0.0; big];
    report("memcpy, 64 MB (memory)", 8 * big, || y.copy_from_slice(black_box(&x)));
    report("memcpy, 128 KB (L2)", 8 << 15, || y[..1 << 15].copy_from_slice(black_box(&x[..1 << 15])));

    let program = adam();
    for n in [1 << 14, 4 << 20] {
        let (mut p, mut m, mut v) = (vec![0.1; n], vec![0.1; n], vec![0.1; n]);
        report(&format!("adam, {n} parameters"), 28 * n, || {
            program.run_slices(
                &[n],
                &mut [
                    Slice::F32Mut(&mut p),
                    Slice::F32Mut(&mut m),
                    Slice::F32Mut(&mut v),
                    Slice::F32(&x[..n]),
                    Slice::F32(&[1e-6]),
                ],
            );
        });
    }
    for (rows, cols) in [(1024, 32), (512, 64), (12, 2560), (65536, 64)] {
        let (program, n) = (normalize_relu(), rows * cols);
        let scale = vec![1.5; cols];
        report(&format!("relu(x scale + shift), [{rows}, {cols}]"), 8 * n, || {
            let (x, y) = (Slice::F32(&x[..n]), Slice::F32Mut(&mut y[..n]));
            program.run_slices(&[rows, cols], &mut [x, Slice::F32(&scale), Slice::F32(&scale), y]);
        });
    }
    for rows in [16, 256] {
        let (program, cols) = (gelu_gradient(), 1536);
        let n = rows * cols;
        let (bias, mut sum, mut dx) = (vec![0.1; cols], vec![0.0; cols], vec![0.0; n]);
        report(&format!("gelu and its gradient, [{rows}, {cols}]"), 16 * n, || {
            let (y, dx, sum) = (&mut y[..n], &mut dx[..], &mut sum[..]);
            let [x, dy, bias] = [&x[..n], &x[n..2 * n], &bias].map(Slice::F32);
            let all = &mut [x, bias, dy, Slice::F32Mut(y), Slice::F32Mut(dx), Slice::F32Mut(sum)];
            program.run_slices(&[rows, cols], all);
        });
    }
    let n = 1 << 15;
    let named = [
        ("gelu", gelu()),
        ("relu", single(Unary::Relu)),
        ("exp", single(Unary::Exp)),
        ("ln", single(Unary::Log)),
    ];
    let more =
        [("tanh", single(Unary::Tanh)), ("sigmoid", single(Unary::Sigmoid)), ("sin", single(Unary::Sin))];
    for (name, program) in named.iter().chain(&more) {
        report(&format!("{name}, {n}"), 8 * n, || {
            program.run_slices(&[n], &mut [Slice::F32(&x[..n]), Slice::F32Mut(&mut y[..n])]);
        });
    }
    let (mut loss, labels) = (vec![0.0; n], vec![3; n]);
    for cols in [10, 128, 1024] {
        let rows = n / cols;
        let n = rows * cols;
        report(&format!("softmax, [{rows}, {cols}]"), 8 * n, || softmax::softmax(cols, &x[..n], &mut y[..n]));
        report(&format!("sparse_cross_entropy with gradient, [{rows}, {cols}]"), 8 * n, || {
            let (loss, grad) = (&mut loss[..rows], Some(&mut y[..n]));
            softmax::sparse_cross_entropy(cols, &x[..n], &labels[..rows], 0.0, loss, grad)
                .expect("labels in range");
        });
    }
    for cols in [64, 768] {
        let rows = n / cols;
        let n = rows * cols;
        let (gain, bias) = (vec![1.0; cols], vec![0.0; cols]);
        let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
        report(&format!("layer_norm, [{rows}, {cols}]"), 8 * n, || {
            norm::layer_norm(cols, &x[..n], &gain, &bias, 1e-5, &mut y[..n], &mut mean, &mut rstd);
        });
        let (mut dgain, mut dbias) = (gain.clone(), bias.clone());
        report(&format!("layer_norm_grad, [{rows}, {cols}]"), 12 * n, || {
            let (dgain, dbias) = (&mut dgain, &mut dbias);
            norm::layer_norm_grad(
                cols,
                &x[..n],
                &gain,
                &mean,
                &rstd,
                &x[n..2 * n],
                &mut y[..n],
                dgain,
                dbias,
            );
        });
    }
    report("sum, 32768", 4 * n, || {
        black_box(reduce::sum(&x[..n]));
    });
    report("sum of columns, [512, 64]", 4 * n, || {
        reduce::reduce(reduce::Reduce::Sum, [1, 512, 64], &x[..n], &mut y[..64], false);
    });
    report("max of rows, [512, 64]", 4 * n, || {
        reduce::reduce(reduce::Reduce::Max, [512, 64, 1], &x[..n], &mut y[..512], false);
    });
    report("transpose, [512, 64]", 8 * n, || {
        movement::copy_strided(&[64, 512], &x, 0, &[1, 64], &mut y, 0, &[512, 1]);
    });
    report("transpose, [1024, 1024]", 8 << 20, || {
        movement::copy_strided(&[1024, 1024], &x, 0, &[1, 1024], &mut y, 0, &[1024, 1]);
    });
    report("uniform, 32768", 4 * n, || random::fill_uniform([1, 2], 0, &mut y[..n]));
    report("normal, 32768", 4 * n, || random::fill_normal([1, 2], 0, &mut y[..n]));

    let row_major = |cols: usize| (cols, 1);
    let transposed = |rows: usize| (1, rows);
    let products = [
        ("large", 512, 512, 512, row_major(512), row_major(512)),
        ("to 4 times as many, 512 tokens", 512, 1536, 384, row_major(384), row_major(1536)),
        ("back, 512 tokens", 512, 384, 1536, row_major(1536), row_major(384)),
        ("input gradient, 512 tokens", 512, 768, 768, row_major(768), transposed(768)),
        ("weight gradient, 4096 tokens", 192, 384, 4096, transposed(384), row_major(1536)),
        ("weight gradient, 4096 tokens", 384, 768, 4096, transposed(384), row_major(1536)),
        ("weight gradient, 4096 tokens", 768, 384, 4096, transposed(1536), row_major(384)),
        ("weight gradient, 1024 tokens", 768, 768, 1024, transposed(768), row_major(768)),
        ("dense to 10", 32, 10, 1600, row_major(1600), row_major(10)),
        ("dense to 10, one image", 1, 10, 1600, row_major(1600), row_major(10)),
        ("dense to 10, weight gradient", 1600, 10, 32, transposed(1600), row_major(10)),
        ("dense to 10, weight gradient, one image", 1600, 10, 1, transposed(1600), row_major(10)),
        ("dense to 10, input gradient", 32, 1600, 10, row_major(10), transposed(10)),
        ("dense to 10, input gradient, one image", 1, 1600, 10, row_major(10), transposed(10)),
        ("vector x matrix", 1, 512, 512, row_major(512), row_major(512)),
        ("vector x transposed matrix", 1, 512, 512, row_major(512), transposed(512)),
        ("4 rows", 4, 512, 512, row_major(512), row_major(512)),
        ("8 rows", 8, 512, 512, row_major(512), row_major(512)),
        ("24 columns", 512, 24, 512, row_major(512), row_major(24)),
        ("16 columns", 512, 16, 512, row_major(512), row_major(16)),
        ("16 columns, transposed", 512, 16, 512, row_major(512), transposed(512)),
        ("k = 4", 512, 512, 4, row_major(4), row_major(512)),
        ("k = 16", 512, 512, 16, row_major(16), row_major(512)),
        ("attention scores", 64, 128, 32, row_major(384), transposed(384)),
        ("attention values", 64, 32, 128, row_major(128), row_major(384)),
        ("attention, gradient by values", 128, 32, 64, transposed(128), row_major(384)),
    ];
    for (name, m, n, k, a, b) in products.iter().copied() {
        let name = format!("matmul {m} x {n} x {k}, {name}");
        if !wanted(&name) {
            continue;
        }
        let mut c = vec![0.0; m * n];
        let seconds = time(|| matmul::matmul(m, n, k, &x, a, &x[1 << 20..], b, &mut c, n, false));
        println!(
            "{:<60} {:>8.1} GFLOP/s {:>10.2} us",
            name,
            (2 * m * n * k) as f64 / seconds / 1e9,
            seconds * 1e6
        );
    }

    for (name, m, n, k, a, b) in &products[1..8] {
        for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
            let name = format!("{precision:?} {m} x {n} x {k}, {name}");
            if !wanted(&name) {
                continue;
            }
            let mut packed = vec![0.0; matmul::packed_len(precision, *k, *n)];
            let mut c = vec![0.0; m * n];
            let packing = time(|| matmul::pack(precision, *k, *n, &x[1 << 20..], *b, 0, &mut packed));
            let seconds = time(|| {
                // SAFETY: c has `m` rows of `n`.
                unsafe {
                    matmul::matmul_packed_into(
                        precision,
                        *m,
                        *n,
                        *k,
                        &x,
                        *a,
                        &packed,
                        c.as_mut_ptr(),
                        *n,
                        false,
                    );
                }
            });
            println!(
                "{:<60} {:>8.1} GFLOP/s {:>10.2} us, packing {:>8.2} us",
                name,
                (2 * m * n * k) as f64 / seconds / 1e9,
                seconds * 1e6,
                packing * 1e6
            );
        }
    }

    for kind in [Kind::Lstm, Kind::Gru, Kind::Simple] {
        recurrent(kind, &x);
    }
    for (heads, size, dropout) in [(12, 32, None), (12, 32, Some(0.1)), (12, 64, None), (12, 64, Some(0.1))] {
        attend(heads, size, dropout, &x);
    }
}

/// Four texts of 128 tokens; GFLOP/s count the products, those that the backward pass repeats too.
fn attend(heads: usize, size: usize, rate: Option<f32>, x: &[f32]) {
    let (texts, length, row) = (4, 128, heads * size);
    let name = format!("attention, 4 x 128 tokens, {heads} heads of {size}, dropout {}", rate.unwrap_or(0.0));
    if !wanted(&name) {
        return;
    }
    let dropout = rate.map(|rate| Dropout { rate, key: [1, 2], start: 0 });
    let scale = 1.0 / (size as f32).sqrt();
    let run = Attention { heads, kv_heads: heads, size, value_size: size, causal: false, scale, dropout };
    let segments: Vec<i32> = (0..texts).flat_map(|i| [i * length, length]).map(|n| n as i32).collect();
    let n = texts * length * row;
    let all: Vec<&[f32]> = x.chunks_exact(n).take(4).collect();
    let operands =
        Operands { q: all[0], k: all[1], v: all[2], q_segments: &segments, k_segments: &segments, mask: &[] };
    let mut results = vec![0.0; 3 * n];
    let forward =
        time(|| run.forward(operands, Parted::new(&mut results[..n]), 0, 1).expect("right operands"));
    let back = time(|| {
        let mut parts = results.chunks_exact_mut(n).map(|part| Some(Parted::new(part)));
        let parts = std::array::from_fn(|_| parts.next().flatten());
        run.backward(operands, all[3], parts, 0, 1).expect("right operands");
    });
    for (way, seconds, products) in [("forward", forward, 2), ("backward", back, 5)] {
        println!(
            "{:<60} {:>8.1} GFLOP/s {:>10.2} us",
            format!(
                "attention {way}, 4 x 128 tokens, {heads} heads of {size}, dropout {}",
                rate.unwrap_or(0.0)
            ),
            (products * 2 * texts * length * length * row) as f64 / seconds / 1e9,
            seconds * 1e6
        );
    }
}

/// Eight sequences of 80 steps over 128 units, as a tile of a batch has them; GFLOP/s count the products.
fn recurrent(kind: Kind, x: &[f32]) {
    let run = Sequences { kind, samples: 8, steps: 80, units: 128, reverse: false };
    let name = format!("{kind:?}, 8 x 80 steps, 128 units");
    if !wanted(&name) {
        return;
    }
    let (rows, u) = (run.samples * run.steps, run.units);
    let (gates, state) = (kind.gates() * u, kind.state() * u);
    let mut values = x.iter().map(|v| v * 0.1).cycle();
    let mut some = |n: usize| values.by_ref().take(n).collect::<Vec<f32>>();
    let (gate, kernel, initial) = (some(rows * gates), some(u * gates), some(run.samples * state));
    let (bias, dy) = (some(if kind == Kind::Gru { gates } else { 0 }), some(run.samples * u));
    let mask = vec![1; rows];
    let mut record = vec![0.0; rows * kind.record() * u];
    let mut gradient = vec![0.0; rows * kind.gradient() * u];
    let mut scratch = vec![0.0; run.forward_scratch().max(run.backward_scratch())];
    let forward = time(|| run.forward(&gate, &kernel, &bias, &initial, &mask, &mut record, &mut scratch));
    let back = time(|| {
        let dy = Incoming::Hidden(&dy);
        run.backward(&record, &kernel, &initial, &mask, dy, &mut gradient, &mut [], &mut scratch);
    });
    for (way, seconds) in [("forward", forward), ("backward", back)] {
        println!(
            "{:<60} {:>8.1} GFLOP/s {:>10.2} us",
            format!("{name}, {way}"),
            (2 * rows * u * gates) as f64 / seconds / 1e9,
            seconds * 1e6
        );
    }
}
