//! Gradients against finite differences.

use brisk_graph::interpret::interpret;
use brisk_graph::{Builder, DType, Result, Tensor, Value, grad};

use crate::eval::{floats, inputs};
use crate::{Random, evaluate};

/// Half of the step of a central difference. Its own error is about `STEP²`, that of rounding 1e-16 / `STEP`.
const STEP: f64 = 1e-5;

/// Checks the gradients of a function by each of its f64 operands against central differences along a random
/// direction, through the reference interpreter: the relative error is below 1e-6.
///
/// The scalar that is differentiated is the result's inner product with random numbers, so that every element counts.
/// The function must be smooth near its operands; those of [`Random`] stay away from kinks.
///
/// ```
/// use brisk_testkit::{Random, check_gradient};
/// let mut random = Random::new(1);
/// let inputs = [random.floats([3, 4], -1.0, 1.0), random.floats([4, 2], -1.0, 1.0)];
/// check_gradient("matmul", &inputs, |_, x| x[0].matmul(x[1]));
/// ```
#[track_caller]
pub fn check_gradient(
    name: &str,
    operands: &[Tensor],
    build: impl for<'g> Fn(&'g Builder, &[Value<'g>]) -> Value<'g>,
) {
    if let Err(error) = try_gradient(name, operands, build) {
        panic!("{name}: {error}");
    }
}

#[track_caller]
fn try_gradient(
    name: &str,
    operands: &[Tensor],
    build: impl for<'g> Fn(&'g Builder, &[Value<'g>]) -> Value<'g>,
) -> Result<()> {
    let by = floats(operands);
    assert!(by.iter().all(|&i| operands[i].dtype() == DType::F64), "{name}: gradients are checked in f64");
    let mut random = Random::new(0xC0FFEE);
    let cotangent = random.floats(evaluate(operands, &build)?.shape, -1.0, 1.0);
    let b = Builder::new();
    let values = inputs(&b, operands);
    let gradients =
        grad(product(build(&b, &values), &cotangent), &by.iter().map(|&i| values[i]).collect::<Vec<_>>())?;
    let names: Vec<String> = by.iter().map(|i| i.to_string()).collect();
    let outputs: Vec<_> = names.iter().map(String::as_str).zip(gradients).collect();
    let found = match outputs.is_empty() {
        true => Vec::new(),
        false => interpret(&b.finish(&outputs, &[])?, operands)?,
    };
    for (&i, gradient) in by.iter().zip(found) {
        let operand = &operands[i];
        assert!(
            &gradient.shape == operand.shape(),
            "{name}: the gradient by operand {i}, {}, is {}",
            operand.shape(),
            gradient.shape
        );
        let direction = random.floats(operand.shape(), -1.0, 1.0).to_f64s();
        let moved = |by: f64| -> Result<f64> {
            let values = operand.to_f64s().into_iter().zip(&direction).map(|(x, d)| x + by * d);
            let mut operands = operands.to_vec();
            operands[i] = Tensor::new(operand.shape(), values.collect::<Vec<_>>())?;
            Ok(evaluate(&operands, |b, x| product(build(b, x), &cotangent))?.data[0])
        };
        let (low, high) = (moved(-STEP)?, moved(STEP)?);
        let difference = (high - low) / (2.0 * STEP);
        let parts = || gradient.data.iter().zip(&direction).map(|(g, d)| g * d);
        let (slope, scale) = (parts().sum::<f64>(), parts().map(f64::abs).sum::<f64>());
        let allowed = 1e-6 * scale + 1e-9 * (1.0 + high.abs());
        assert!(
            (slope - difference).abs() <= allowed,
            "{name}: along a random direction of operand {i} ({}), the gradient says {slope:.9}, the finite difference \
             {difference:.9}: {:.1e} apart, {allowed:.1e} allowed",
            operand.shape(),
            (slope - difference).abs()
        );
    }
    Ok(())
}

/// The inner product with a constant.
fn product<'g>(y: Value<'g>, cotangent: &Tensor) -> Value<'g> {
    (y.cast(DType::F64) * y.builder().constant(cotangent.clone())).sum_all()
}

#[cfg(test)]
mod tests {
    use super::check_gradient;
    use crate::Random;

    #[test]
    #[should_panic(expected = "wrong: along a random direction of operand 0 ([3])")]
    fn finds_a_wrong_gradient() {
        // Steps of 1e-9 are nearly a slope of 1, but their gradient is 0.
        let x = Random::new(1).floats([3], 0.0, 1.0);
        check_gradient("wrong", &[x], |_, x| (x[0] * 1e9).floor() * 1e-9);
    }
}
