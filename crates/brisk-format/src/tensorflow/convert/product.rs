//! Products of matrices.

use brisk_onnx::Attribute;

use super::call::{Call, Made, Run};
use crate::onnx::emit::text;

/// The longest equation of an `Einsum`, in bytes; longer ones would be copied with every call of a function.
const LONGEST: usize = 256;

pub(super) const OPS: &[(&str, Run)] = &[
    ("BatchMatMul", |c| batches(c, ["adj_x", "adj_y"])),
    ("BatchMatMulV2", |c| batches(c, ["adj_x", "adj_y"])),
    ("BatchMatMulV3", |c| batches(c, ["adj_x", "adj_y"])),
    ("Einsum", |c| {
        let inputs = c.all()?;
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let equation = c.text("equation", "")?;
        if equation.len() > LONGEST {
            return Err(format!(
                "attribute \"equation\": expected at most {LONGEST} bytes, found {}",
                equation.len()
            ));
        }
        let attributes = vec![("equation", text(equation))];
        c.done("Einsum", &inputs, attributes)
    }),
    ("MatMul", |c| {
        let (mut a, mut b) = (c.x(0)?, c.x(1)?);
        for (x, flag) in [(&mut a, "transpose_a"), (&mut b, "transpose_b")] {
            if c.flag(flag, false)? {
                *x = c.emit("Transpose", &[x], vec![("perm", Attribute::Ints(vec![1, 0]))])?;
            }
        }
        c.done("MatMul", &[&a, &b], vec![])
    }),
];

/// How many axes stand before the last two is not known here: those of a matrix are turned by an `Einsum`.
fn batches(c: &mut Call<'_, '_>, flags: [&str; 2]) -> Made {
    let (a, b) = (c.x(0)?, c.x(1)?);
    let [turned_a, turned_b] = flags.map(|flag| c.flag(flag, false));
    let equation = match (turned_a?, turned_b?) {
        (false, false) => return c.done("MatMul", &[&a, &b], vec![]),
        (true, false) => "...ji,...jk->...ik",
        (false, true) => "...ij,...kj->...ik",
        (true, true) => "...ji,...kj->...ik",
    };
    c.done("Einsum", &[&a, &b], vec![("equation", text(equation))])
}
