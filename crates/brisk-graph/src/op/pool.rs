//! Pooling over maps `[n, h, w, c]`.

use super::{Attrs, Gradient, OpDef, Sample, SampleKind, same_as_input};
use crate::prim::Window;
use crate::{DType, Prim, Shape, Tensor, Value};

/// The largest in each window.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, op, prim::Window};
/// let b = Builder::new();
/// let x = b.input("x", Role::Batch, [32, 28, 28, 8], DType::F32);
/// let window = Window { size: [2, 2], stride: [2, 2], padding: [[0, 0], [0, 0]] };
/// assert_eq!(op::max_pool(x, window).shape().dims(), [32, 14, 14, 8]);
/// # b.check()?;
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn max_pool(x: Value<'_>, window: Window) -> Value<'_> {
    x.max_pool(window)
}

fn to_attrs(w: &Window, count_padding: bool) -> Attrs {
    let pair = |p: &[usize; 2]| p.map(|v| i64::try_from(v).unwrap_or(i64::MAX));
    let padding = [pair(&w.padding[0]), pair(&w.padding[1])].concat();
    let attrs = Attrs::new().ints("size", &pair(&w.size)).ints("stride", &pair(&w.stride));
    attrs.ints("padding", &padding).int("count_padding", count_padding.into())
}

fn to_window(a: &Attrs) -> Result<Window, String> {
    let list = |name| a.get_ints(name).iter().map(|&v| usize::try_from(v).ok()).collect::<Option<Vec<_>>>();
    match (list("size").as_deref(), list("stride").as_deref(), list("padding").as_deref()) {
        (Some(&[h, w]), Some(&[sy, sx]), Some(&[top, bottom, left, right])) => {
            Ok(Window { size: [h, w], stride: [sy, sx], padding: [[top, bottom], [left, right]] })
        }
        _ => Err(format!("expected a window, found {a}")),
    }
}

/// Beyond so many window positions, [`avg_pool`] counts cells when it runs, rather than keep a constant of that size.
const MOST_SHARES: usize = 1 << 22;

/// For each window position along an axis, how many of its cells lie on the map.
fn counts(out: usize, size: usize, window: usize, stride: usize, before: usize) -> Vec<usize> {
    let end = |o: usize| (o * stride + window).saturating_sub(before).min(size);
    (0..out).map(|o| end(o).saturating_sub((o * stride).saturating_sub(before))).collect()
}

/// See [`avg_pool`].
pub static AVG_POOL: OpDef = OpDef {
    name: "avg_pool",
    doc: "the sum over each window of `size` every `stride`, divided by the number of its cells that lie on the map, or \
          by all of them with count_padding; [n, h, w, c] -> [n, oh, ow, c]",
    shape: |inputs, a| Prim::SumPool(to_window(a)?).infer(inputs),
    decompose: |b, x, a| {
        let window = match to_window(a) {
            Ok(window) => window,
            Err(message) => {
                b.fail("avg_pool", message);
                return x[0];
            }
        };
        let (sum, from) = (x[0].sum_pool(window), x[0].shape());
        if a.get_int("count_padding") != 0 || window.padding == [[0, 0], [0, 0]] {
            return sum * (1.0 / (window.size[0] as f64 * window.size[1] as f64));
        }
        let (&[_, oh, ow, _], &[_, h, w, _]) = (&sum.shape()[..], &from[..]) else { return sum };
        if oh.saturating_mul(ow) > MOST_SHARES {
            let ones = b.fill_as(1.0, [1, h, w, 1], sum.dtype());
            return sum / ones.sum_pool(window);
        }
        let rows = counts(oh, h, window.size[0], window.stride[0], window.padding[0][0]);
        let columns = counts(ow, w, window.size[1], window.stride[1], window.padding[1][0]);
        let shares = rows.iter().flat_map(|r| columns.iter().map(move |c| 1.0 / (r * c).max(1) as f64));
        match Tensor::from_f64s(sum.dtype(), [1, oh, ow, 1], &shares.collect::<Vec<_>>()) {
            Ok(shares) => sum * b.constant(shares),
            Err(error) => {
                b.fail("avg_pool", error.to_string());
                sum
            }
        }
    },
    gradient: Gradient::FromDecomposition,
    kernel: None,
    samples: || {
        let sample = |shape: [usize; 4], size, stride, padding, count| {
            Sample::of([(shape, SampleKind::Float(-2.0, 2.0))])
                .with(to_attrs(&Window { size, stride, padding }, count))
        };
        vec![
            sample([2, 4, 6, 3], [2, 2], [2, 2], [[0, 0], [0, 0]], false),
            sample([1, 5, 7, 2], [3, 2], [2, 3], [[1, 1], [0, 1]], false),
            sample([1, 5, 7, 2], [3, 2], [2, 3], [[1, 1], [0, 1]], true),
            sample([1, 1, 1, 1], [3, 3], [1, 1], [[2, 2], [1, 2]], false),
        ]
    },
};

/// The mean of each window; with `count_padding`, padding counts as zeros, else only cells of the map count.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, op, prim::Window};
/// let b = Builder::new();
/// let x = b.input("x", Role::Batch, [32, 28, 28, 8], DType::F32);
/// let window = Window { size: [3, 3], stride: [2, 2], padding: [[0, 1], [0, 1]] };
/// assert_eq!(op::avg_pool(x, window, false).shape().dims(), [32, 14, 14, 8]);
/// # b.check()?;
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn avg_pool(x: Value<'_>, window: Window, count_padding: bool) -> Value<'_> {
    x.builder().named(&AVG_POOL, to_attrs(&window, count_padding), &[x])
}

fn global(inputs: &[(&Shape, DType)], attrs: &Attrs) -> super::Inferred {
    let (shape, dtype) = same_as_input(inputs, attrs)?;
    match shape[..] {
        [n, h, w, c] if h > 0 && w > 0 => Ok(([n, c].into(), dtype)),
        _ => Err(format!("expected maps [n, h, w, c], found {shape}")),
    }
}

fn maps() -> Vec<Sample> {
    let shapes = [[2, 3, 5, 4], [1, 1, 1, 1], [3, 1, 7, 2]];
    shapes.map(|s| Sample::of([(s, SampleKind::Float(-2.0, 2.0))])).into()
}

/// See [`global_avg_pool`].
pub static GLOBAL_AVG_POOL: OpDef = OpDef {
    name: "global_avg_pool",
    doc: "the mean of each map; [n, h, w, c] -> [n, c]",
    shape: global,
    decompose: |_, x, _| x[0].mean(&[1, 2]),
    gradient: Gradient::FromDecomposition,
    kernel: None,
    samples: maps,
};

/// The mean of each map: `[n, h, w, c]` to `[n, c]`.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, op};
/// let b = Builder::new();
/// let x = b.input("x", Role::Batch, [32, 7, 7, 512], DType::F32);
/// assert_eq!(op::global_avg_pool(x).shape().dims(), [32, 512]);
/// # b.check()?;
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn global_avg_pool(x: Value<'_>) -> Value<'_> {
    x.builder().named(&GLOBAL_AVG_POOL, Attrs::new(), &[x])
}

/// See [`global_max_pool`].
pub static GLOBAL_MAX_POOL: OpDef = OpDef {
    name: "global_max_pool",
    doc: "the largest of each map; [n, h, w, c] -> [n, c]",
    shape: global,
    decompose: |_, x, _| x[0].reduce_max(&[1, 2]),
    gradient: Gradient::FromDecomposition,
    kernel: None,
    samples: maps,
};

/// The largest of each map: `[n, h, w, c]` to `[n, c]`.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, op};
/// let b = Builder::new();
/// let x = b.input("x", Role::Batch, [32, 7, 7, 512], DType::F32);
/// assert_eq!(op::global_max_pool(x).shape().dims(), [32, 512]);
/// # b.check()?;
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn global_max_pool(x: Value<'_>) -> Value<'_> {
    x.builder().named(&GLOBAL_MAX_POOL, Attrs::new(), &[x])
}
