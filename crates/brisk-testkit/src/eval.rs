//! Building and interpreting a small graph in one call.

use brisk_graph::interpret::{Array, interpret};
use brisk_graph::{Builder, DType, Result, Role, Tensor, Value};

/// What a function of values makes of these tensors, by the reference interpreter.
///
/// ```
/// use brisk_graph::Tensor;
/// let x = Tensor::new([3], vec![1.0f64, 2.0, 3.0])?;
/// let y = brisk_testkit::evaluate(&[x], |_, x| x[0] * x[0])?;
/// assert_eq!(y.data, [1.0, 4.0, 9.0]);
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn evaluate(
    inputs: &[Tensor],
    build: impl for<'g> Fn(&'g Builder, &[Value<'g>]) -> Value<'g>,
) -> Result<Array> {
    let b = Builder::new();
    let values = self::inputs(&b, inputs);
    let graph = b.finish(&[("y", build(&b, &values))], &[])?;
    Ok(interpret(&graph, inputs)?.swap_remove(0))
}

/// What a function makes of a row of f64. Panics on a mistake.
///
/// ```
/// assert_eq!(brisk_testkit::on_row(&[1.0, 2.0], |x| x * 2.0), [2.0, 4.0]);
/// ```
pub fn on_row(row: &[f64], build: impl for<'g> Fn(Value<'g>) -> Value<'g>) -> Vec<f64> {
    let row = Tensor::new([row.len()], row.to_vec()).expect("a row");
    evaluate(&[row], |_, x| build(x[0])).unwrap_or_else(|e| panic!("{e}")).data
}

/// An input `x0`, `x1`, ... for each tensor.
pub(crate) fn inputs<'g>(b: &'g Builder, tensors: &[Tensor]) -> Vec<Value<'g>> {
    let input = |(i, t): (usize, &Tensor)| b.input(&format!("x{i}"), Role::Batch, t.shape(), t.dtype());
    tensors.iter().enumerate().map(input).collect()
}

/// Which of the tensors are floats.
pub(crate) fn floats(tensors: &[Tensor]) -> Vec<usize> {
    let float = |i: &usize| matches!(tensors[*i].dtype(), DType::F32 | DType::F64);
    (0..tensors.len()).filter(float).collect()
}
