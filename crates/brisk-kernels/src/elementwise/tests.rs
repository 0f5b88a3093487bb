use super::*;
use crate::simd::levels;
use proptest::prelude::*;

fn unary(op: Unary, x: f32) -> f32 {
    let y = f64::from(x);
    (match op {
        Unary::Neg => -y,
        Unary::Abs => y.abs(),
        Unary::Sign => {
            if y == 0.0 {
                0.0
            } else {
                y.signum()
            }
        }
        Unary::Exp => y.exp(),
        Unary::Log => y.ln(),
        Unary::Sqrt => y.sqrt(),
        Unary::Rsqrt => 1.0 / y.sqrt(),
        Unary::Recip => 1.0 / y,
        Unary::Tanh => y.tanh(),
        Unary::Sigmoid => 1.0 / (1.0 + (-y).exp()),
        Unary::Erf => erf(y),
        Unary::Floor => y.floor(),
        Unary::Sin => y.sin(),
        Unary::Cos => y.cos(),
        Unary::Not => f64::from(x == 0.0),
        Unary::Relu => {
            if x <= 0.0 {
                0.0
            } else {
                y
            }
        }
        Unary::Square => y * y,
    }) as f32
}

fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    if x.abs() > 4.0 { x.signum() } else { sum * 2.0 / std::f64::consts::PI.sqrt() }
}

fn binary(op: Binary, a: f32, b: f32) -> f32 {
    match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Max | Binary::Min if a.is_nan() || b.is_nan() => f32::NAN,
        Binary::Max => a.max(b),
        Binary::Min => a.min(b),
        Binary::Pow => a.powf(b),
        Binary::Rem => a % b,
        Binary::Lt => f32::from(a < b),
        Binary::Le => f32::from(a <= b),
        Binary::Eq => f32::from(a == b),
        Binary::And => f32::from(a != 0.0 && b != 0.0),
        Binary::Or => f32::from(a != 0.0 || b != 0.0),
    }
}

/// What an element of an operand must be, and how far from that rounding may lead.
#[derive(Clone, Copy)]
struct Want {
    value: f32,
    bound: f32,
}

/// Element by element, straight from the documentation.
///
/// A sum of `n` terms may be off by some `√n` roundings of the sum of their magnitudes; more than that where the terms are
/// alike, since all then round to the same side. The bound leaves room for it, and none for a term left out.
fn naive(insts: &[Inst], operands: &[Operand], dims: &[usize], data: &[Vec<f32>]) -> Vec<Vec<Want>> {
    let cols = dims.last().copied().unwrap_or(1);
    let want = |&value: &f32| Want { value, bound: 1e-5 + 1e-5 * value.abs() };
    let mut out: Vec<Vec<Want>> = data.iter().map(|v| v.iter().map(want).collect()).collect();
    let mut magnitudes: Vec<Vec<(f64, u32)>> = data.iter().map(|v| vec![(0.0, 0); v.len()]).collect();
    let mut sums: Vec<Vec<f64>> = data.iter().map(|v| v.iter().map(|x| f64::from(*x)).collect()).collect();
    for i in 0..dims.iter().product() {
        let at = |o: u16| match operands[o as usize].access {
            Access::Contiguous => i,
            Access::Scalar => 0,
            Access::Row => i % cols,
            Access::PerRow => i / cols,
            Access::Strided(strides) => {
                let (mut rest, mut at) = (i, 0);
                for d in (0..dims.len()).rev() {
                    at += rest % dims[d] * strides[d] as usize;
                    rest /= dims[d];
                }
                at
            }
        };
        let mut regs = [0.0f32; 64];
        for inst in insts {
            match *inst {
                Inst::Load { operand, dst } => regs[dst as usize] = data[operand as usize][at(operand)],
                Inst::Const { value, dst } => regs[dst as usize] = value,
                Inst::Unary { op, src, dst } => regs[dst as usize] = unary(op, regs[src as usize]),
                Inst::Binary { op, a, b, dst } => {
                    regs[dst as usize] = binary(op, regs[a as usize], regs[b as usize])
                }
                Inst::Fma { a, b, c, dst } => {
                    regs[dst as usize] = regs[a as usize].mul_add(regs[b as usize], regs[c as usize]);
                }
                Inst::Select { cond, a, b, dst } => {
                    regs[dst as usize] = regs[if regs[cond as usize] != 0.0 { a } else { b } as usize];
                }
                Inst::Store { src, operand } => {
                    out[operand as usize][at(operand)] = want(&regs[src as usize])
                }
                Inst::SumColumns { src, operand } | Inst::SumAll { src, operand } => {
                    let (at, term) = (at(operand), f64::from(regs[src as usize]));
                    let sum = &mut sums[operand as usize][at];
                    let (magnitude, n) = &mut magnitudes[operand as usize][at];
                    *sum += term;
                    *magnitude += term.abs();
                    *n += 1;
                    let roundings = 16.0 * f64::from(*n).sqrt() * f64::from(f32::EPSILON / 2.0);
                    let bound = roundings * *magnitude + 1e-6 * f64::from(*n) + 1e-4;
                    out[operand as usize][at] = Want { value: *sum as f32, bound: bound as f32 };
                }
            }
        }
    }
    out
}

/// What an operand needs to hold for a space.
fn length(o: &Operand, dims: &[usize]) -> usize {
    let total: usize = dims.iter().product();
    match o.access {
        Access::Contiguous => total,
        Access::Scalar => 1,
        Access::Row => dims[dims.len() - 1],
        Access::PerRow => total / dims[dims.len() - 1],
        Access::Strided(s) => 1 + dims.iter().zip(s).map(|(d, s)| (d - 1) * s as usize).sum::<usize>(),
    }
}

fn values(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729 + 13) % 2003) as f32 / 500.0 - 2.0).collect()
}

/// Runs at every level, whole and in pieces, and compares with [`naive`].
fn verify(insts: &[Inst], operands: &[Operand], dims: &[usize], pieces: usize) {
    let data: Vec<Vec<f32>> = operands.iter().enumerate().map(|(i, o)| values(length(o, dims), i)).collect();
    let want = naive(insts, operands, dims, &data);
    let program = Program::new(insts, operands).unwrap();
    let total: usize = dims.iter().product();
    for level in levels() {
        let mut got = data.clone();
        let buffers: Vec<Buffer> = got.iter_mut().map(|v| Buffer::write(v)).collect();
        for piece in 0..pieces {
            let range = total * piece / pieces..total * (piece + 1) / pieces;
            // SAFETY: the vectors live, and nothing else touches them.
            unsafe { program.run_at(level, dims, &buffers, range) };
        }
        for (o, (got, want)) in got.iter().zip(&want).enumerate() {
            for (i, (g, &Want { value: w, bound })) in got.iter().zip(want).enumerate() {
                let same = *g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= bound;
                assert!(same, "{level:?} operand {o}[{i}]: {g}, not {w}\n{insts:?}\n{dims:?} {operands:?}");
            }
        }
    }
}

const UNARY: [Unary; 17] = [
    Unary::Neg,
    Unary::Abs,
    Unary::Sign,
    Unary::Exp,
    Unary::Log,
    Unary::Sqrt,
    Unary::Rsqrt,
    Unary::Recip,
    Unary::Tanh,
    Unary::Sigmoid,
    Unary::Erf,
    Unary::Floor,
    Unary::Sin,
    Unary::Cos,
    Unary::Not,
    Unary::Relu,
    Unary::Square,
];

const BINARY: [Binary; 13] = [
    Binary::Add,
    Binary::Sub,
    Binary::Mul,
    Binary::Div,
    Binary::Max,
    Binary::Min,
    Binary::Pow,
    Binary::Rem,
    Binary::Lt,
    Binary::Le,
    Binary::Eq,
    Binary::And,
    Binary::Or,
];

#[test]
fn every_operation_on_ordinary_and_special_values() {
    let special =
        [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 7.25, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-3];
    let a: Vec<f32> = special.iter().flat_map(|a| [*a; 12]).collect();
    let b: Vec<f32> = special.iter().cycle().take(144).copied().collect();
    let close =
        |g: f32, w: f32| g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= 1e-6 * w.abs().max(0.1);
    let operands = [Operand::f32(Access::Contiguous); 3];
    for level in levels() {
        let run = |inst: Inst| {
            let loads = [Inst::Load { operand: 0, dst: 0 }, Inst::Load { operand: 1, dst: 1 }];
            let insts = [loads[0], loads[1], inst, Inst::Store { src: 2, operand: 2 }];
            let mut out = vec![0.0; 144];
            let buffers = [Buffer::read(&a), Buffer::read(&b), Buffer::write(&mut out)];
            // SAFETY: only the third is written.
            unsafe { Program::new(&insts, &operands).unwrap().run_at(level, &[144], &buffers, 0..144) };
            out
        };
        for op in UNARY {
            for (x, y) in a.iter().zip(run(Inst::Unary { op, src: 0, dst: 2 })) {
                assert!(close(y, unary(op, *x)), "{level:?} {op:?}({x}) = {y}");
            }
        }
        for op in BINARY {
            for ((x, z), y) in a.iter().zip(&b).zip(run(Inst::Binary { op, a: 0, b: 1, dst: 2 })) {
                assert!(
                    close(y, binary(op, *x, *z)),
                    "{level:?} {op:?}({x}, {z}) = {y}, not {}",
                    binary(op, *x, *z)
                );
            }
        }
        for ((x, z), y) in a.iter().zip(&b).zip(run(Inst::Select { cond: 0, a: 1, b: 0, dst: 2 })) {
            assert!(close(y, if *x != 0.0 { *z } else { *x }), "{level:?} select({x}, {z}) = {y}");
        }
    }
}

fn dims() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        (1usize..3000).prop_map(|n| vec![n]),
        (1usize..40, 1usize..70).prop_map(|(a, b)| vec![a, b]),
        (1usize..4, 1000usize..2600).prop_map(|(a, b)| vec![a, b]),
        (1usize..4, 1usize..5, 1usize..4, 1usize..40).prop_map(|(a, b, c, d)| vec![a, b, c, d]),
        (1usize..3, 1usize..4, 1usize..4, 1usize..4, 1usize..9)
            .prop_map(|(a, b, c, d, e)| vec![a, b, c, d, e]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn random_programs(
        dims in dims(),
        choices in prop::collection::vec((0usize..12, 0u16..64, 0u16..64, 0u16..64), 1..14),
        sinks in prop::collection::vec((0usize..4, 0u16..64), 1..4),
        pieces in 1usize..4,
        transposed in any::<bool>(),
    ) {
        // Operand 4 is strided: transposed, or broadcast along the first axis.
        let mut strides = [0isize; MAX_DIMS];
        let mut step = 1;
        for d in 0..dims.len() {
            let d = if transposed { d } else { dims.len() - 1 - d };
            if transposed || d > 0 {
                strides[d] = step;
                step *= dims[d] as isize;
            }
        }
        let mut operands: Vec<Operand> =
            [Access::Contiguous, Access::Scalar, Access::Row, Access::PerRow, Access::Strided(strides), Access::Contiguous]
                .map(Operand::f32).to_vec();
        let mut insts: Vec<Inst> = (0..6).map(|i| Inst::Load { operand: i, dst: i }).collect();
        insts.push(Inst::Const { value: 0.75, dst: 6 });
        let mut n = 7;
        for (op, a, b, c) in choices {
            let (a, b, c) = (a % n, b % n, c % n);
            // Bounded and continuous operations, so that rounding does not grow.
            let inst = match op {
                0 => Inst::Binary { op: Binary::Sub, a: 6, b, dst: n },
                1 => Inst::Binary { op: Binary::Max, a, b, dst: n },
                2 => Inst::Binary { op: Binary::Min, a, b, dst: n },
                3 => Inst::Unary { op: Unary::Relu, src: a, dst: n },
                4 => Inst::Unary { op: Unary::Neg, src: a, dst: n },
                5 => Inst::Unary { op: Unary::Abs, src: a, dst: n },
                6 => Inst::Unary { op: Unary::Sigmoid, src: a, dst: n },
                7 => Inst::Select { cond: 1, a: b, b: c, dst: n },
                8 => {
                    insts.push(Inst::Unary { op: Unary::Tanh, src: a, dst: n });
                    insts.push(Inst::Binary { op: Binary::Mul, a: n, b: 6, dst: n + 1 });
                    n += 2;
                    Inst::Binary { op: Binary::Add, a: b, b: n - 1, dst: n }
                }
                9 => Inst::Fma { a: 6, b: 6, c, dst: n },
                10 => Inst::Binary { op: Binary::Add, a, b: 6, dst: n },
                _ => Inst::Unary { op: Unary::Tanh, src: a, dst: n },
            };
            insts.push(inst);
            n += 1;
        }
        for (kind, src) in sinks {
            let operand = operands.len() as u16;
            let src = if kind == 3 { n - 1 } else { src % n };
            let (access, inst) = match kind {
                0 => (Access::Row, Inst::SumColumns { src, operand }),
                1 => (Access::Scalar, Inst::SumAll { src, operand }),
                _ => (Access::Contiguous, Inst::Store { src, operand }),
            };
            operands.push(Operand::f32(access));
            insts.push(inst);
        }
        // One output is an input too, through the same operand.
        insts.push(Inst::Store { src: n - 1, operand: 0 });
        verify(&insts, &operands, &dims, pieces);
    }
}

#[test]
fn outputs_may_be_the_memory_of_inputs() {
    // a, b = b - a, a + b with each output in the place of the other's or its own input, through other operands.
    let insts = [
        Inst::Load { operand: 0, dst: 0 },
        Inst::Load { operand: 1, dst: 1 },
        Inst::Binary { op: Binary::Sub, a: 1, b: 0, dst: 2 },
        Inst::Store { src: 2, operand: 2 },
        Inst::Binary { op: Binary::Add, a: 0, b: 1, dst: 3 },
        Inst::Store { src: 3, operand: 3 },
    ];
    let swap = [insts[0], insts[1], Inst::Store { src: 1, operand: 2 }, Inst::Store { src: 0, operand: 3 }];
    for (insts, f) in [(&insts[..], true), (&swap[..], false)] {
        let program = Program::new(insts, &[Operand::f32(Access::Contiguous); 4]).unwrap();
        for crossed in [false, true] {
            let (mut a, mut b) = (values(3001, 1), values(3001, 2));
            let (a0, b0) = (a.clone(), b.clone());
            let (pa, pb) = (Buffer::write(&mut a), Buffer::write(&mut b));
            let buffers = if crossed { [pa, pb, pb, pa] } else { [pa, pb, pa, pb] };
            // SAFETY: the same memory or none shared.
            unsafe { program.run(&[3001], &buffers, 0..3001) };
            let (x, y) = if crossed { (&b, &a) } else { (&a, &b) };
            for i in 0..3001 {
                let want = if f { (b0[i] - a0[i], a0[i] + b0[i]) } else { (b0[i], a0[i]) };
                assert_eq!((x[i], y[i]), want, "element {i}");
            }
        }
    }
}

#[test]
fn other_element_types_are_converted() {
    let of = |elem| Operand { elem, access: Access::Contiguous };
    let operands =
        [of(Elem::U8), of(Elem::I32), of(Elem::U8), of(Elem::I32), Operand::f32(Access::Contiguous)];
    let insts = [
        Inst::Load { operand: 0, dst: 0 },
        Inst::Load { operand: 1, dst: 1 },
        Inst::Binary { op: Binary::Mul, a: 0, b: 1, dst: 2 },
        Inst::Store { src: 2, operand: 2 },
        Inst::Store { src: 2, operand: 3 },
        Inst::Store { src: 2, operand: 4 },
    ];
    let (x, y): (Vec<u8>, Vec<i32>) = ((0..=255).collect(), (-128..128).collect());
    let (mut a, mut b, mut c) = ([9u8; 256], [9i32; 256], [9f32; 256]);
    Program::new(&insts, &operands).unwrap().run_slices(
        &[256],
        &mut [
            Slice::U8(&x),
            Slice::I32(&y),
            Slice::U8Mut(&mut a),
            Slice::I32Mut(&mut b),
            Slice::F32Mut(&mut c),
        ],
    );
    for i in 0..256 {
        let want = f32::from(x[i]) * y[i] as f32;
        assert_eq!((a[i], b[i], c[i]), (want as u8, want as i32, want));
    }
}

#[test]
fn wrong_programs_are_refused() {
    let f = |insts: &[Inst], access| {
        Program::new(insts, &[Operand::f32(access)]).map(|_| ()).unwrap_err().to_string()
    };
    let row = [Inst::Const { value: 1.0, dst: 0 }, Inst::Store { src: 0, operand: 0 }];
    assert_eq!(
        f(&row, Access::Row),
        "instruction 1: stores to an operand that is neither contiguous nor strided"
    );
    assert_eq!(f(&row[1..], Access::Contiguous), "instruction 0: reads a register that nothing has written");
    assert_eq!(
        f(&[Inst::Load { operand: 1, dst: 0 }], Access::Row),
        "instruction 0: names an operand that is not there"
    );
    assert_eq!(
        f(&[row[0], row[1], row[1]], Access::Contiguous),
        "instruction 2: writes an operand for the second time"
    );
}

#[test]
#[should_panic(expected = "operand 0: 10 elements needed, 9 given")]
fn short_buffers_are_refused() {
    let insts = [Inst::Load { operand: 0, dst: 0 }, Inst::Store { src: 0, operand: 1 }];
    let program = Program::new(&insts, &[Operand::f32(Access::Contiguous); 2]).unwrap();
    program.run_slices(&[10], &mut [Slice::F32(&[0.0; 9]), Slice::F32Mut(&mut [0.0; 10])]);
}
