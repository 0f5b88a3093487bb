//! Enlarging maps by whole factors.

use super::{Attrs, Gradient, OpDef, Sample, SampleKind, same_as_input};
use crate::Value;

/// How [`upsample`] finds the cells between those that it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Interpolation {
    /// Repeats each cell.
    #[default]
    Nearest,
    /// Linear between the centers of the two nearest rows, and likewise for columns; beyond the outermost centers
    /// their value.
    Bilinear,
}

/// See [`upsample`].
pub static UPSAMPLE: OpDef = OpDef {
    name: "upsample",
    doc: "maps enlarged by whole factors [fy, fx], each cell repeated, or, bilinear, interpolated between the centers of \
          cells; [n, h, w, c] -> [n, fy h, fx w, c]",
    shape: |inputs, a| {
        let (shape, dtype) = same_as_input(inputs, a)?;
        let [n, h, w, c] = shape[..] else {
            return Err(format!("expected maps [n, h, w, c], found {shape}"));
        };
        match factors(a) {
            [fy @ 1..=MOST, fx @ 1..=MOST] => {
                Ok(([n, h.saturating_mul(fy), w.saturating_mul(fx), c].into(), dtype))
            }
            other => Err(format!("expected factors between 1 and {MOST}, found {other:?}")),
        }
    },
    decompose: |_, x, a| {
        let factors = factors(a);
        match a.get_int("bilinear") {
            0 => repeat(x[0], factors),
            _ => stretch(stretch(x[0], 1, factors[0]), 2, factors[1]),
        }
    },
    gradient: Gradient::FromDecomposition,
    kernel: None,
    samples: || {
        let shapes = [([2, 3, 4, 2], [2, 2]), ([1, 1, 5, 3], [3, 2]), ([2, 2, 1, 1], [1, 4])];
        let sample = |(shape, factors): ([usize; 4], [i64; 2]), bilinear| {
            let attrs = Attrs::new().ints("factors", &factors).int("bilinear", bilinear);
            Sample::of([(shape, SampleKind::Float(-2.0, 2.0))]).with(attrs)
        };
        [0, 1].into_iter().flat_map(|bilinear| shapes.map(|s| sample(s, bilinear))).collect()
    },
};

/// The largest factor: each one takes nodes of its own.
const MOST: usize = 1024;

fn factors(a: &Attrs) -> [usize; 2] {
    match a.get_ints("factors") {
        &[y, x] => [y, x].map(|f| usize::try_from(f).unwrap_or(0)),
        _ => [0, 0],
    }
}

fn repeat(x: Value<'_>, [fy, fx]: [usize; 2]) -> Value<'_> {
    let [n, h, w, c] = x.shape()[..] else { return x };
    x.reshape([n, h, 1, w, 1, c]).broadcast_to([n, h, fy, w, fx, c]).reshape([n, h * fy, w * fx, c])
}

/// Interpolates along an axis. Output `f i + p` has its center at `i + (p + 1/2) / f - 1/2`, in cells: for each phase
/// `p` a fixed mixture of two neighbours, so that all outputs of a phase are made at once.
fn stretch(x: Value<'_>, axis: usize, f: usize) -> Value<'_> {
    let size = x.dim(axis);
    if f == 1 || size == 0 {
        return x;
    }
    let b = x.builder();
    // With its first and last cell repeated: cell i stands at i + 1.
    let wide = b.concat(&[x.slice(axis, 0, 1), x, x.slice(axis, size - 1, size)], axis);
    let phase = |p: usize| {
        let at = (p as f64 + 0.5) / f as f64 - 0.5;
        let share = at - at.floor();
        let first = if at < 0.0 { 0 } else { 1 };
        let near = wide.slice(axis, first, first + size);
        let mixed = match share == 0.0 {
            true => near,
            false => near * (1.0 - share) + wide.slice(axis, first + 1, first + 1 + size) * share,
        };
        mixed.expand(axis + 1)
    };
    let phases: Vec<_> = (0..f).map(phase).collect();
    let mut dims = x.shape().to_vec();
    dims[axis] *= f;
    b.concat(&phases, axis + 1).reshape(dims)
}

/// Enlarges maps by whole factors, as UpSampling2D of Keras does: `[n, h, w, c]` to `[n, fy h, fx w, c]`.
///
/// ```
/// use brisk_graph::op::{Interpolation, upsample};
/// use brisk_testkit::on_row;
/// let nearest = on_row(&[0.0, 4.0], |x| upsample(x.reshape([1, 1, 2, 1]), [1, 2], Interpolation::Nearest));
/// let bilinear = on_row(&[0.0, 4.0], |x| upsample(x.reshape([1, 1, 2, 1]), [1, 2], Interpolation::Bilinear));
/// assert_eq!(nearest, [0.0, 0.0, 4.0, 4.0]);
/// assert_eq!(bilinear, [0.0, 1.0, 3.0, 4.0]);
/// ```
pub fn upsample(x: Value<'_>, factors: [usize; 2], interpolation: Interpolation) -> Value<'_> {
    let factors = factors.map(|f| i64::try_from(f).unwrap_or(i64::MAX));
    let bilinear = i64::from(interpolation == Interpolation::Bilinear);
    x.builder().named(&UPSAMPLE, Attrs::new().ints("factors", &factors).int("bilinear", bilinear), &[x])
}
