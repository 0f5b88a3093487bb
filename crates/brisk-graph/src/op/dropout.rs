//! Dropout.

use super::{Attrs, Gradient, OpDef, Sample, SampleKind};
use crate::{DType, Prim, Shape, Value};

/// See [`dropout`].
pub static DROPOUT: OpDef = OpDef {
    name: "dropout",
    doc: "y = x / (1 - rate) where a random number of [0, 1) is at least rate, else 0, element by element; \
          any shape, and a random key i32 [2]. The numbers are those of stream number `stream`",
    shape: |inputs, a| {
        let rate = a.get_float("rate");
        if !(0.0..1.0).contains(&rate) {
            return Err(format!("expected a rate of at least 0 and below 1, found {rate}"));
        }
        match inputs {
            [(x, dtype), key] if dtype.is_float() && *key == (&Shape::from([2]), DType::I32) => {
                Ok(((*x).clone(), *dtype))
            }
            _ => Err("expected floats and a key i32 [2]".into()),
        }
    },
    decompose: |b, x, a| {
        let rate = a.get_float("rate");
        let stream = u32::try_from(a.get_int("stream")).unwrap_or_default();
        let random = b.prim(Prim::Random(stream, x[0].shape()), &[x[1]]);
        let zero = b.fill_as(0.0, x[0].shape(), x[0].dtype());
        random.less(rate).select(zero, x[0] * (1.0 / (1.0 - rate)))
    },
    gradient: Gradient::FromDecomposition,
    kernel: None,
    samples: || {
        let shapes: [Shape; 3] = [[1].into(), [3, 7].into(), [2, 65].into()];
        let sample = |s: Shape| {
            Sample::of([(s, SampleKind::Float(-2.0, 2.0)), ([2].into(), SampleKind::Index(1 << 20))])
        };
        let attrs = |rate| Attrs::new().float("rate", rate).int("stream", 3);
        [0.5, 0.1].into_iter().flat_map(|r| shapes.clone().map(|s| sample(s).with(attrs(r)))).collect()
    },
};

/// Sets a share of all elements, `rate`, to zero, others each time the key (i32 `[2]`) changes, and scales the rest
/// so that the expected sum stays: `x / (1 - rate)` (Srivastava and others, 2014). A rate of 0 changes nothing.
///
/// Each call draws from a stream of its own, so that two of them drop different places.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, op};
/// let b = Builder::new();
/// let x = b.input("x", Role::Batch, [32, 64], DType::F32);
/// let key = b.input("key", Role::Scalar, [2], DType::I32);
/// assert_eq!(op::dropout(x, key, 0.5).shape(), x.shape());
/// assert_eq!(op::dropout(x, key, 0.0).id(), x.id());
/// # b.check()?;
/// op::dropout(x, key, 1.0);
/// assert!(b.check().is_err());
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn dropout<'g>(x: Value<'g>, key: Value<'g>, rate: f64) -> Value<'g> {
    if rate == 0.0 {
        return x;
    }
    let b = x.builder();
    let attrs = Attrs::new().float("rate", rate).int("stream", b.stream().into());
    b.named(&DROPOUT, attrs, &[x, key])
}
