//! The same value, but not before another is known.

use super::{Cut, Gradient, Kernel, KernelInput, OpDef, Sample, SampleKind};
use crate::{Shape, Value};

/// See [`after`].
pub static AFTER: OpDef = OpDef {
    name: "after",
    doc: "y = x, computed once `other`, which has the same first axis, is known: what depends on y is not computed \
          early and kept, but late; [n, ..], [n, ..] -> the shape of x",
    shape: |inputs, _| match inputs {
        [(x, dtype), (other, same)] if dtype.is_float() && dtype == same && x.rank() > 0 => {
            match x.first() == other.first() {
                true => Ok(((*x).clone(), *dtype)),
                false => Err(format!("expected the same first axis, found {x} and {other}")),
            }
        }
        _ => Err("expected two values of one float type with at least one axis".into()),
    },
    decompose: |_, x, _| x[0],
    gradient: Gradient::Closed(|g| vec![Some(g.dy), None]),
    kernel: Some(Kernel {
        cut: Cut::Samples(1),
        run: |call| {
            if let KernelInput::F32(x) = call.inputs[0] {
                call.output.copy_from_slice(x);
            }
            Ok(())
        },
        by_row: &[true, true],
    }),
    samples: || {
        let sample = |x: Shape, other: Shape| {
            Sample::of([(x, SampleKind::Float(-2.0, 2.0)), (other, SampleKind::Float(-2.0, 2.0))])
        };
        vec![
            sample([1, 1].into(), [1, 1].into()),
            sample([3, 7].into(), [3, 2].into()),
            sample([2, 65].into(), [2, 65].into()),
            sample([4, 3, 2].into(), [4, 1].into()),
        ]
    },
};

/// `x`, but not before `other` is known.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, op};
/// let b = Builder::new();
/// let [x, y] = ["x", "y"].map(|name| b.input(name, Role::Batch, [3, 2], DType::F32));
/// assert_eq!(op::after(x, y).shape(), x.shape());
/// # b.check()?;
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn after<'g>(x: Value<'g>, other: Value<'g>) -> Value<'g> {
    x.builder().named(&AFTER, Default::default(), &[x, other])
}
