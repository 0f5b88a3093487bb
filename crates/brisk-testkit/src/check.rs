//! What every named operation promises.

use brisk_graph::op::{Cut, Kernel, KernelCall, KernelInput, OpDef};
use brisk_graph::{Builder, DType, Data, Shape, Tensor};
use brisk_kernels::parted::Parted;

use crate::{Case, assert_close, check_gradient, evaluate};

/// The shape rule says what the decomposition makes, and refuses operands that are missing, too many, or of
/// another type, without a panic.
#[track_caller]
pub fn check_shape(op: &'static OpDef, case: &Case) {
    let name = case.describe(op);
    let b = Builder::new();
    let values = crate::eval::inputs(&b, &case.inputs);
    let result = (op.decompose)(&b, &values, &case.attrs);
    b.check().unwrap_or_else(|e| panic!("{name}: {e}"));
    let rule = (op.shape)(&case.operands(), &case.attrs).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(
        rule == (result.shape(), result.dtype()),
        "{name}: the rule says {} {}, the decomposition makes {} {}",
        rule.1,
        rule.0,
        result.dtype(),
        result.shape()
    );
    let refuse = |operands: &[(&Shape, DType)], what: &str| {
        assert!((op.shape)(operands, &case.attrs).is_err(), "{name}: takes {what}");
    };
    let operands = case.operands();
    refuse(&[], "no operands");
    refuse(&operands[1..], "one operand less");
    refuse(&[&operands[..], &operands[..1]].concat(), "one operand more");
    for i in 0..operands.len() {
        let mut other = operands.clone();
        other[i].1 = if other[i].1.is_float() { DType::U8 } else { DType::F32 };
        refuse(&other, &format!("{} as operand {i}", other[i].1));
    }
}

/// The gradient agrees with finite differences, in f64.
#[track_caller]
pub fn check_op_gradient(op: &'static OpDef, case: &Case) {
    check_gradient(&case.describe(op), &case.inputs, |b, x| b.named(op, case.attrs.clone(), x));
}

/// The kernel, if there is one, makes what the decomposition makes, and the same bits when it is called for a part of
/// the rows.
#[track_caller]
pub fn check_fast_path(op: &'static OpDef, case: &Case) {
    let Some(kernel) = &op.kernel else { return };
    let name = case.describe(op);
    if kernel.cut == Cut::Parts {
        return check_parts(op, case, kernel, &name);
    }
    assert!(kernel.by_row.len() == case.inputs.len(), "{name}: by_row says nothing of some operand");
    assert!(kernel.by_row.first() == Some(&true), "{name}: the first operand has the rows");
    let (shape, dtype) = (op.shape)(&case.operands(), &case.attrs).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(dtype == DType::F32, "{name}: a kernel makes f32, not {dtype}");
    let got = run(op, case, &shape, 0).unwrap_or_else(|e| panic!("{name}: {e}"));
    let want = evaluate(&case.inputs, |b, x| (op.decompose)(b, x, &case.attrs));
    let want = want.unwrap_or_else(|e| panic!("{name}: {e}")).data;
    assert_close(&name, &got, &want, 1e-5, 1e-5);

    let first = case.inputs[0].shape();
    if first.rank() < 2 && kernel.cut == Cut::Rows || shape.elements() == 0 {
        return;
    }
    let mut parts = Vec::new();
    for i in 0..first[0] {
        let cut = |(t, &by_row): (&Tensor, &bool)| if by_row { slice(t, i) } else { t.clone() };
        let inputs = case.inputs.iter().zip(kernel.by_row).map(cut).collect();
        let part = Case { inputs, attrs: case.attrs.clone() };
        let mut dims = shape.to_vec();
        dims[0] = 1;
        parts.extend(run(op, &part, &dims.into(), parts.len()).unwrap_or_else(|e| panic!("{name}: {e}")));
    }
    let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert!(bits(&parts) == bits(&got), "{name}: sample by sample {parts:?}, all at once {got:?}");
}

/// A kernel that cuts itself makes what the decomposition makes, and the same bits in any number of parts.
#[track_caller]
fn check_parts(op: &'static OpDef, case: &Case, kernel: &Kernel, name: &str) {
    let (shape, _) = (op.shape)(&case.operands(), &case.attrs).unwrap_or_else(|e| panic!("{name}: {e}"));
    let want = evaluate(&case.inputs, |b, x| (op.decompose)(b, x, &case.attrs));
    let want = want.unwrap_or_else(|e| panic!("{name}: {e}")).data;
    let inputs: Vec<_> = case.inputs.iter().map(|t| kernel_input(t).expect("kernels take f32")).collect();
    let shapes: Vec<Shape> = case.inputs.iter().map(|t| t.shape().clone()).collect();
    let wanted = case.attrs.get_int("result") as usize;
    let mut first = None;
    for parts in [1, 2, 3, 16] {
        let mut output = vec![f32::NAN; shape.elements()];
        for part in 0..parts {
            let mut results = vec![None; wanted + 1];
            results[wanted] = Some(Parted::new(&mut output));
            let call = KernelCall {
                inputs: &inputs,
                output: &mut [],
                shapes: &shapes,
                columns: shape.last(),
                offset: 0,
                attrs: &case.attrs,
                results: &results,
                part,
                parts,
            };
            (kernel.run)(call).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        assert_close(name, &output, &want, 1e-5, 1e-5);
        let bits: Vec<u32> = output.iter().map(|v| v.to_bits()).collect();
        assert!(*first.get_or_insert_with(|| bits.clone()) == bits, "{name}: {parts} parts make other bits");
    }
}

fn kernel_input(t: &Tensor) -> Result<KernelInput<'_>, String> {
    match t.data() {
        Data::F32(v) => Ok(KernelInput::F32(v)),
        Data::I32(v) => Ok(KernelInput::I32(v)),
        Data::U8(v) => Ok(KernelInput::U8(v)),
        Data::F64(_) | Data::I64(_) => Err("kernels take f32, i32 and u8".into()),
    }
}

/// Calls the kernel. The result is full of NaN before.
fn run(op: &OpDef, case: &Case, shape: &Shape, offset: usize) -> Result<Vec<f32>, String> {
    let Some(kernel) = &op.kernel else { return Err("no kernel".into()) };
    let mut inputs = Vec::new();
    for tensor in &case.inputs {
        inputs.push(kernel_input(tensor)?);
    }
    let shapes: Vec<Shape> = case.inputs.iter().map(|t| t.shape().clone()).collect();
    let mut output = vec![f32::NAN; shape.elements()];
    let call = KernelCall {
        inputs: &inputs,
        output: &mut output,
        shapes: &shapes,
        columns: shape.last(),
        offset,
        attrs: &case.attrs,
        results: &[],
        part: 0,
        parts: 1,
    };
    (kernel.run)(call)?;
    Ok(output)
}

/// Place `i` along axis 0, which stays.
fn slice(t: &Tensor, i: usize) -> Tensor {
    let mut dims = t.shape().to_vec();
    let each = t.elements() / dims[0];
    dims[0] = 1;
    Tensor::from_f64s(t.dtype(), dims, &t.to_f64s()[i * each..][..each]).expect("as many elements")
}

/// Its name is one, and it says what it computes.
#[track_caller]
pub fn check_documented(op: &OpDef) {
    let name = op.name;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    assert!(!name.is_empty() && name.chars().all(plain), "{name:?} is no name in snake case");
    assert!(op.doc.len() >= 20, "{name}: what does it compute?");
    assert!(!op.doc.ends_with('.') && !op.doc.contains("  "), "{name}: {:?}", op.doc);
    assert!(!(op.samples)().is_empty(), "{name}: nothing to test it with");
}
