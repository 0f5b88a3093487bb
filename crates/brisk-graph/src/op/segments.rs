//! From the tokens of packed texts to the texts.

use brisk_kernels::parted::Parted;

use super::{Attrs, Cut, Gradient, Inferred, Kernel, KernelCall, OpDef, Sample, SampleKind};
use crate::{Builder, DType, Shape, Value};

/// For every text and row whether the row is one of the text's: `[texts, rows]`, 1 or 0, of a float type.
pub(super) fn membership<'g>(b: &'g Builder, segments: Value<'g>, rows: usize, dtype: DType) -> Value<'g> {
    let grid = Shape::from([segments.dim(0), rows]);
    let column = |i: usize| segments.slice(1, i, i + 1).broadcast_to(&grid);
    let (start, len) = (column(0), column(1));
    let row = b.iota(1, &grid, DType::I32);
    let (one, zero) = (b.fill_as(1.0, &grid, dtype), b.fill_as(0.0, &grid, dtype));
    start.less_equal(row).select(row.less(start + len).select(one, zero), zero)
}

fn shape(inputs: &[(&Shape, DType)], _: &Attrs) -> Inferred {
    match inputs {
        [(x, dtype), (segments, DType::I32)] if x.rank() == 2 && dtype.is_float() && segments.rank() == 2 => {
            match segments[1] {
                2 => Ok(([segments[0], x[1]].into(), *dtype)),
                _ => Err(format!("expected segments i32 [texts, 2], found i32 {segments}")),
            }
        }
        _ => Err("expected floats [rows, columns] and segments i32 [texts, 2]".into()),
    }
}

/// See [`segment_max`].
pub static SEGMENT_MAX: OpDef = OpDef {
    name: "segment_max",
    doc: "y[i, j] = the largest x[r, j] of the rows r of text i, 0 for a text without rows; [rows, n] and segments \
          i32 [texts, 2] (first row, rows) -> [texts, n]",
    shape,
    decompose: |b, x, _| {
        let (rows, columns, texts) = (x[0].dim(0), x[0].dim(1), x[1].dim(0));
        if rows == 0 {
            return b.fill_as(0.0, [texts, columns], x[0].dtype());
        }
        let all = Shape::from([texts, rows, columns]);
        let member = membership(b, x[1], rows, x[0].dtype());
        let inside = b.fill_as(0.0, &all, x[0].dtype()).less(member.expand(2).broadcast_to(&all));
        let low = b.fill_as(f64::MIN, &all, x[0].dtype());
        let largest = inside.select(x[0].broadcast_to(&all), low).reduce_max(&[1]);
        let count = member.sum(&[1]).expand(1).broadcast_to([texts, columns]);
        let zero = b.fill_as(0.0, [texts, columns], x[0].dtype());
        zero.less(count).select(largest, zero)
    },
    gradient: Gradient::Closed(|g| {
        // To the rows that hold the largest value, in equal shares.
        let (b, x, segments) = (g.dy.builder(), g.inputs[0], g.inputs[1]);
        let (rows, dtype) = (x.dim(0), x.dtype());
        if rows == 0 || segments.dim(0) == 0 {
            return vec![Some(b.fill_as(0.0, x.shape(), dtype)), None];
        }
        let member = membership(b, segments, rows, dtype);
        let of_rows = member.transpose(&[1, 0]);
        let zero = b.fill_as(0.0, x.shape(), dtype);
        let inside = zero.less(of_rows.sum(&[1]).expand(1).broadcast_to(x.shape()));
        let winner = x.equal(of_rows.matmul(g.output));
        let share = inside.select(winner.cast(dtype), zero);
        let count = of_rows.matmul(member.matmul(share)).max(1.0);
        vec![Some(share * of_rows.matmul(g.dy) / count), None]
    }),
    kernel: Some(Kernel { cut: Cut::Parts, run, by_row: &[] }),
    samples: || {
        let sample = |rows: usize, columns: usize, segments: &'static [i32]| {
            Sample::of([
                (Shape::from([rows, columns]), SampleKind::Float(-2.0, 2.0)),
                ([segments.len() / 2, 2].into(), SampleKind::Exactly(segments)),
            ])
        };
        vec![sample(7, 3, &[0, 3, 3, 4]), sample(6, 5, &[1, 2, 3, 0, 3, 1])]
    },
};

fn run(c: KernelCall<'_>) -> Result<(), String> {
    let ([x, segments], Some(&Some(out)), [shape, ..]) = (c.inputs, c.results.first(), c.shapes) else {
        return Err("expected rows and segments".into());
    };
    let (x, segments) = (x.f32s(), segments.i32s());
    let (rows, columns) = (shape[0], shape[1]);
    let texts = segments.len() / 2;
    let mut largest = vec![0.0; columns];
    for text in c.part * texts / c.parts..(c.part + 1) * texts / c.parts {
        let (start, len) = (segments[2 * text], segments[2 * text + 1]);
        let found = || format!("segment {text}: expected rows inside 0..{rows}, found {len} from {start}");
        let start = usize::try_from(start).map_err(|_| found())?;
        let len = usize::try_from(len).map_err(|_| found())?;
        if len > 0 && start + len > rows {
            return Err(found());
        }
        largest.fill(if len == 0 { 0.0 } else { f32::NEG_INFINITY });
        for row in x[start.min(rows) * columns..].chunks_exact(columns.max(1)).take(len) {
            // A NaN stays one.
            largest.iter_mut().zip(row).for_each(|(l, v)| *l = if *l >= *v { *l } else { *v });
        }
        Parted::write(&out, text * columns, &largest);
    }
    Ok(())
}

/// The largest value of each column over the rows of each text: `[rows, n]` and segments i32 `[texts, 2]` (first row, number of
/// rows) to `[texts, n]`; 0 for a text without rows.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, op};
/// let b = Builder::new();
/// let x = b.input("x", Role::Batch, [100, 8], DType::F32);
/// let texts = b.input("texts", Role::Batch, [5, 2], DType::I32);
/// assert_eq!(op::segment_max(x, texts).shape().dims(), [5, 8]);
/// assert_eq!(op::segment_mean(x, texts).shape().dims(), [5, 8]);
/// # b.check()?;
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn segment_max<'g>(x: Value<'g>, segments: Value<'g>) -> Value<'g> {
    x.builder().named(&SEGMENT_MAX, Attrs::new(), &[x, segments])
}

/// The mean of each column over the rows of each text, as [`segment_max`]: a product with the matrix that says which row is
/// whose.
pub fn segment_mean<'g>(x: Value<'g>, segments: Value<'g>) -> Value<'g> {
    let b = x.builder();
    if let Err(message) =
        shape(&[(&x.shape(), x.dtype()), (&segments.shape(), segments.dtype())], &Attrs::new())
    {
        b.fail("segment_mean", message);
        return x;
    }
    let member = membership(b, segments, x.dim(0), x.dtype());
    let count = member.sum(&[1]).max(1.0).expand(1);
    member.matmul(x) / count
}
