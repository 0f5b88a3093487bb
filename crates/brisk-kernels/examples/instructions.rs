//! Runs one kernel so many times, for `cargo xtask instructions` to count what a call executes.
//!
//! `instructions` lists the kernels; `instructions NAME CALLS` runs one.

use std::hint::black_box;

use brisk_kernels::conv::Conv2d;
use brisk_kernels::elementwise::{Access, Binary, Inst, Operand, Program, Slice, Unary};
use brisk_kernels::matmul::{self, Precision};
use brisk_kernels::recurrent::{Kind, Sequences};
use brisk_kernels::{norm, random, softmax};

/// A kernel with its data, ready to be called.
type Call = Box<dyn FnMut()>;

/// A name, and what makes its call.
type Kernel = (&'static str, fn() -> Call);

const KERNELS: [Kernel; 6] = [
    ("matmul_packed", matmul_packed),
    ("conv", conv),
    ("lstm", lstm),
    ("gelu", gelu),
    ("softmax", rows_softmax),
    ("layer_norm", layer_norm),
];

fn noise(len: usize) -> Vec<f32> {
    let mut x = vec![0.0; len];
    random::fill_uniform([1, 2], 0, &mut x);
    x
}

/// 64 tokens through a layer of 384 to 384.
#[allow(unsafe_code)]
fn matmul_packed() -> Call {
    let (m, n, k) = (64, 384, 384);
    let (a, b, mut c) = (noise(m * k), noise(k * n), vec![0.0; m * n]);
    let mut packed = vec![0.0; matmul::packed_len(Precision::F32, k, n)];
    matmul::pack(Precision::F32, k, n, &b, (n, 1), 0, &mut packed);
    Box::new(move || {
        let c = black_box(&mut c).as_mut_ptr();
        // SAFETY: `c` has `m` rows of `n`.
        unsafe { matmul::matmul_packed_into(Precision::F32, m, n, k, &a, (k, 1), &packed, c, n, false) };
    })
}

/// 3x3 over maps of 16x16x64.
fn conv() -> Call {
    let conv = Conv2d {
        in_h: 16,
        in_w: 16,
        in_c: 64,
        out_h: 16,
        out_w: 16,
        out_c: 64,
        kernel: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        pad: [1, 1],
        groups: 1,
    };
    let (x, kernel, bias) = (noise(conv.in_len()), noise(conv.kernel_len()), noise(conv.out_c));
    let (mut packed, mut y) = (vec![0.0; conv.pack_len()], vec![0.0; conv.out_len()]);
    let mut scratch = vec![0.0; conv.forward_scratch(1)];
    conv.pack(&kernel, &mut packed);
    Box::new(move || conv.forward(1, &x, &packed, Some(&bias), true, black_box(&mut y), &mut scratch))
}

/// Four sequences of 8 steps over 128 units.
fn lstm() -> Call {
    let run = Sequences { kind: Kind::Lstm, samples: 4, steps: 8, units: 128, reverse: false };
    let (rows, units) = (run.samples * run.steps, run.units);
    let (gate, kernel) = (noise(rows * 4 * units), noise(units * 4 * units));
    let (initial, mask) = (noise(run.samples * run.kind.state() * units), vec![1; rows]);
    let mut record = vec![0.0; rows * run.kind.record() * units];
    let mut scratch = vec![0.0; run.forward_scratch()];
    Box::new(move || {
        run.forward(&gate, &kernel, &[], &initial, &mask, black_box(&mut record), &mut scratch);
    })
}

/// `x (1 + erf(x / √2)) / 2`, 16,384 times.
fn gelu() -> Call {
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
    let program = Program::new(&insts, &[Operand::f32(Access::Contiguous); 2]).expect("a right program");
    let (x, mut y) = (noise(1 << 14), vec![0.0; 1 << 14]);
    Box::new(move || {
        program.run_slices(&[1 << 14], &mut [Slice::F32(&x), Slice::F32Mut(black_box(&mut y))]);
    })
}

/// 128 rows of 128.
fn rows_softmax() -> Call {
    let (x, mut y) = (noise(1 << 14), vec![0.0; 1 << 14]);
    Box::new(move || softmax::softmax(128, &x, black_box(&mut y)))
}

/// 64 rows of 384.
fn layer_norm() -> Call {
    let (rows, columns) = (64, 384);
    let (x, gain, bias) = (noise(rows * columns), noise(columns), noise(columns));
    let (mut y, mut mean, mut rstd) = (vec![0.0; rows * columns], vec![0.0; rows], vec![0.0; rows]);
    Box::new(move || {
        norm::layer_norm(columns, &x, &gain, &bias, 1e-5, black_box(&mut y), &mut mean, &mut rstd);
    })
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(name) = args.first() else {
        KERNELS.iter().for_each(|k| println!("{}", k.0));
        return;
    };
    let kernel = KERNELS.iter().find(|k| k.0 == name).unwrap_or_else(|| panic!("no kernel {name}"));
    let calls: usize = args.get(1).and_then(|n| n.parse().ok()).expect("a number of calls");
    let mut call = kernel.1();
    (0..calls).for_each(|_| call());
}
