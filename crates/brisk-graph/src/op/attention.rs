//! Attention over packed texts.

use brisk_kernels::attention as kernels;

use super::segments::membership;
use super::{Attrs, Cut, Gradient, Inferred, Kernel, KernelCall, OpDef, Sample, SampleKind};
use crate::{Builder, DType, Prim, Shape, Value, grad};

/// What [`attention`] is told besides its operands.
///
/// ```
/// use brisk_graph::op::AttentionSpec;
/// let spec = AttentionSpec::new(12);
/// assert_eq!((spec.kv_heads, spec.causal, spec.scale, spec.dropout), (12, false, None, 0.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionSpec {
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values; each serves `heads / kv_heads` heads of queries (Ainslie and others, 2023).
    pub kv_heads: usize,
    /// Each row sees itself and the rows before it only, counted from the start of its text.
    pub causal: bool,
    /// What scores are multiplied with; `None` for `1 / sqrt(size of a head)`.
    pub scale: Option<f64>,
    /// Share of the weights that are dropped, if a random key is given.
    pub dropout: f64,
}

impl AttentionSpec {
    /// Full attention of so many heads.
    pub fn new(heads: usize) -> AttentionSpec {
        AttentionSpec { heads, kv_heads: heads, causal: false, scale: None, dropout: 0.0 }
    }
}

/// The operands in their order.
struct Operands<T> {
    q: T,
    k: T,
    v: T,
    q_segments: T,
    k_segments: T,
    mask: Option<T>,
    key: Option<T>,
    dy: Option<T>,
}

/// Which operand holds the segments of the queries, as [`operands`] has them in order.
pub(crate) const QUERY_SEGMENTS: usize = 3;

/// `None` if there are too few or too many.
fn operands<T: Copy>(all: &[T], attrs: &Attrs, gradient: bool) -> Option<Operands<T>> {
    let mut rest = all.iter().copied();
    let mut next = || rest.next();
    let found = Operands {
        q: next()?,
        k: next()?,
        v: next()?,
        q_segments: next()?,
        k_segments: next()?,
        mask: if attrs.get_int("masked") == 1 { Some(next()?) } else { None },
        key: if attrs.get_float("rate") > 0.0 { Some(next()?) } else { None },
        dy: if gradient { Some(next()?) } else { None },
    };
    next().is_none().then_some(found)
}

fn heads(attrs: &Attrs) -> [usize; 2] {
    ["heads", "kv_heads"].map(|name| usize::try_from(attrs.get_int(name)).unwrap_or_default())
}

/// The shape of the result, for both operations.
fn shape_of(inputs: &[(&Shape, DType)], attrs: &Attrs, gradient: bool) -> Inferred {
    let Some(x) = operands(inputs, attrs, gradient) else {
        return Err(format!(
            "found {} operands, which are not those that its attributes ask for",
            inputs.len()
        ));
    };
    let [heads, kv_heads] = heads(attrs);
    if heads == 0 || kv_heads == 0 || heads % kv_heads != 0 {
        return Err(format!("{heads} heads cannot share {kv_heads} heads of keys and values"));
    }
    let rate = attrs.get_float("rate");
    if !(0.0..1.0).contains(&rate) {
        return Err(format!("expected a dropout rate of at least 0 and below 1, found {rate}"));
    }
    let size = |what: &str, (shape, dtype): (&Shape, DType), heads: usize| match shape[..] {
        [rows, columns] if dtype == x.q.1 && dtype.is_float() && columns > 0 && columns % heads == 0 => {
            Ok((rows, columns / heads))
        }
        _ => Err(format!(
            "expected {what} [rows, {heads} heads of one size] of floats of one type, found {dtype} {shape}"
        )),
    };
    let (q, k, v) =
        (size("queries", x.q, heads)?, size("keys", x.k, kv_heads)?, size("values", x.v, kv_heads)?);
    if q.1 != k.1 || k.0 != v.0 {
        return Err(format!("queries {}, keys {} and values {} do not fit", x.q.0, x.k.0, x.v.0));
    }
    let texts = x.q_segments.0.first().copied().unwrap_or_default();
    for segments in [x.q_segments, x.k_segments] {
        if segments != (&Shape::from([texts, 2]), DType::I32) {
            return Err(format!("expected segments i32 [{texts}, 2], found {} {}", segments.1, segments.0));
        }
    }
    if x.mask.is_some_and(|m| m != (&Shape::from([k.0]), DType::U8)) {
        return Err(format!("expected a mask u8 [{}], one byte for each row of keys", k.0));
    }
    if x.key.is_some_and(|key| key != (&Shape::from([2]), DType::I32)) {
        return Err("expected a random key i32 [2]".into());
    }
    let result = Shape::from([q.0, heads * v.1]);
    if let Some((shape, dtype)) = x.dy {
        if *shape != result || dtype != x.q.1 {
            return Err(format!("expected a gradient {} {result}, found {dtype} {shape}", x.q.1));
        }
        let by = match attrs.get_int("result") {
            0 => x.q.0,
            1 => x.k.0,
            2 => x.v.0,
            other => return Err(format!("there is no result {other}")),
        };
        return Ok((by.clone(), x.q.1));
    }
    Ok((result, x.q.1))
}

/// [`membership`], and for every row its place in its text.
fn places<'g>(b: &'g Builder, segments: Value<'g>, rows: usize, like: DType) -> (Value<'g>, Value<'g>) {
    let grid = [segments.dim(0), rows];
    let member = membership(b, segments, rows, like);
    let start = segments.slice(1, 0, 1).broadcast_to(grid);
    let place = ((b.iota(1, grid, DType::I32) - start).cast(like) * member).sum(&[0]);
    (member, place)
}

fn decompose<'g>(b: &'g Builder, x: &Operands<Value<'g>>, attrs: &Attrs) -> Value<'g> {
    let [heads, kv_heads] = heads(attrs);
    let (q_rows, k_rows, dtype) = (x.q.dim(0), x.k.dim(0), x.q.dtype());
    let all = Shape::from([heads, q_rows, k_rows]);
    // (rows, heads * size) to (heads, rows, size); a head of keys stands for several of queries.
    let split = |v: Value<'g>, own: usize| {
        let size = v.last() / own;
        let v = v.reshape([v.dim(0), own, size]).transpose(&[1, 0, 2]);
        let repeated = v.expand(1).broadcast_to([own, heads / own, v.dim(1), size]);
        repeated.reshape([heads, v.dim(1), size])
    };
    let (q, k, v) = (split(x.q, heads), split(x.k, kv_heads), split(x.v, kv_heads));
    let (q_member, q_place) = places(b, x.q_segments, q_rows, dtype);
    let (k_member, k_place) = places(b, x.k_segments, k_rows, dtype);
    let mut seen = q_member.transpose(&[1, 0]).matmul(k_member); // (query rows, key rows): 1 in one text
    if let Some(mask) = x.mask {
        let zero = b.fill_as(0.0, [k_rows], DType::U8);
        let hidden =
            mask.equal(zero).select(b.fill_as(0.0, [k_rows], dtype), b.fill_as(1.0, [k_rows], dtype));
        seen = seen * hidden;
    }
    if attrs.get_int("causal") == 1 {
        let (i, j) =
            (q_place.expand(1).broadcast_to([q_rows, k_rows]), k_place.broadcast_to([q_rows, k_rows]));
        let grid = [q_rows, k_rows];
        seen = seen * j.less_equal(i).select(b.fill_as(1.0, grid, dtype), b.fill_as(0.0, grid, dtype));
    }
    let seen = seen.broadcast_to(&all);
    let scores = q.matmul(k.transpose(&[0, 2, 1])) * attrs.get_float("scale");
    let scores = b.fill_as(0.0, &all, dtype).less(seen).select(scores, b.fill_as(-1e30, &all, dtype));
    let mut weights = super::softmax(scores) * seen;
    if let Some(key) = x.key {
        let stream = u32::try_from(attrs.get_int("stream")).unwrap_or_default();
        let rate = attrs.get_float("rate");
        let random = b.prim(Prim::Random(stream, all.clone()), &[key]);
        weights = random.less(rate).select(b.fill_as(0.0, &all, dtype), weights * (1.0 / (1.0 - rate)));
    }
    let y = weights.matmul(v); // (heads, query rows, size)
    y.transpose(&[1, 0, 2]).reshape([q_rows, heads * v.last()])
}

/// Calls the kernel with what its operands and attributes say.
fn run(c: KernelCall<'_>, gradient: bool) -> Result<(), String> {
    let numbers: Vec<usize> = (0..c.inputs.len()).collect();
    let Some(at) = operands(&numbers, c.attrs, gradient) else {
        return Err("found other operands than the attributes ask for".into());
    };
    let [heads, kv_heads] = heads(c.attrs);
    let key = at.key.map(|i| c.inputs[i].i32s());
    let dropout = match key {
        Some(&[a, b]) => Some(kernels::Dropout {
            rate: c.attrs.get_float("rate") as f32,
            key: [a as u32, b as u32],
            start: (c.attrs.get_int("stream") as u64) << 40,
        }),
        _ => None,
    };
    let attention = kernels::Attention {
        heads,
        kv_heads,
        size: c.shapes[at.q].last() / heads.max(1),
        value_size: c.shapes[at.v].last() / kv_heads.max(1),
        causal: c.attrs.get_int("causal") == 1,
        scale: c.attrs.get_float("scale") as f32,
        dropout,
    };
    let x = kernels::Operands {
        q: c.inputs[at.q].f32s(),
        k: c.inputs[at.k].f32s(),
        v: c.inputs[at.v].f32s(),
        q_segments: c.inputs[at.q_segments].i32s(),
        k_segments: c.inputs[at.k_segments].i32s(),
        mask: at.mask.map_or(&[], |i| c.inputs[i].u8s()),
    };
    let result = |i: usize| c.results.get(i).copied().flatten();
    match at.dy {
        Some(dy) => {
            let results = [result(0), result(1), result(2)];
            attention.backward(x, c.inputs[dy].f32s(), results, c.part, c.parts)
        }
        None => match result(0) {
            Some(out) => attention.forward(x, out, c.part, c.parts),
            None => Ok(()),
        },
    }
}

/// See [`attention`].
pub static ATTENTION: OpDef = OpDef {
    name: "attention",
    doc: "y = softmax(q k^T scale) v for each text and each head, over the rows of a text only; \
          q [m, heads size], k [n, kv_heads size], v [n, kv_heads value_size], segments of queries and of keys i32 [texts, 2] \
          (first row, rows), with `masked` u8 [n] (keys that may be seen), with `rate` a random key i32 [2] -> \
          [m, heads value_size]; rows of no text, and rows that see nothing, become 0",
    shape: |inputs, attrs| shape_of(inputs, attrs, false),
    decompose: |b, x, attrs| match operands(x, attrs, false) {
        Some(x) => decompose(b, &x, attrs),
        None => x[0],
    },
    gradient: Gradient::Closed(|g| {
        let b = g.dy.builder();
        let all = [g.inputs, &[g.dy]].concat();
        let by = |i: usize| Some(b.named(&ATTENTION_GRAD, g.attrs.clone().int("result", i as i64), &all));
        (0..g.inputs.len()).map(|i| if i < 3 { by(i) } else { None }).collect()
    }),
    kernel: Some(Kernel { cut: Cut::Parts, run: |c| run(c, false), by_row: &[] }),
    samples,
};

/// The gradients of [`ATTENTION`].
pub static ATTENTION_GRAD: OpDef = OpDef {
    name: "attention_grad",
    doc: "the gradient of attention by queries, keys or values, as `result` 0, 1 or 2 says; its operands, and the gradient by \
          its result",
    shape: |inputs, attrs| shape_of(inputs, attrs, true),
    decompose: |b, x, attrs| {
        let Some(x) = operands(x, attrs, true) else { return x[0] };
        let y = decompose(b, &x, attrs);
        let by = match attrs.get_int("result") {
            0 => x.q,
            1 => x.k,
            _ => x.v,
        };
        match grad::grad_with(&[(y, x.dy.unwrap_or(y))], &[by]) {
            Ok(gradients) => gradients[0],
            Err(error) => {
                b.fail("attention_grad", error.to_string());
                by
            }
        }
    },
    gradient: Gradient::FromDecomposition,
    kernel: Some(Kernel { cut: Cut::Parts, run: |c| run(c, true), by_row: &[] }),
    samples: || {
        let with_gradient = |(i, mut s): (usize, Sample)| {
            let heads = heads(&s.attrs)[0];
            let kv_heads = self::heads(&s.attrs)[1];
            let columns = s.inputs[2].0.last() / kv_heads * heads;
            s.inputs.push(([s.inputs[0].0[0], columns].into(), SampleKind::Float(-1.0, 1.0)));
            s.attrs = s.attrs.int("result", (i % 3) as i64);
            s
        };
        samples().into_iter().flat_map(|s| [s.clone(), s.clone(), s]).enumerate().map(with_gradient).collect()
    },
};

fn samples() -> Vec<Sample> {
    let float = SampleKind::Float(-1.0, 1.0);
    let sample = |q: usize, k: usize, spec: AttentionSpec, masked: bool, segments: [&'static [i32]; 2]| {
        let (size, value_size) = (3, 2);
        let segments = segments.map(|s| (Shape::from([s.len() / 2, 2]), SampleKind::Exactly(s)));
        let mut inputs = vec![
            (Shape::from([q, spec.heads * size]), float),
            ([k, spec.kv_heads * size].into(), float),
            ([k, spec.kv_heads * value_size].into(), float),
        ];
        inputs.extend(segments);
        if masked {
            inputs.push(([k].into(), SampleKind::Byte(2)));
        }
        if spec.dropout > 0.0 {
            inputs.push(([2].into(), SampleKind::Index(1 << 20)));
        }
        Sample { inputs, attrs: spec.attrs(size, masked, 5) }
    };
    let full = AttentionSpec::new(2);
    let (two, gap): (&'static [i32], &'static [i32]) = (&[0, 3, 3, 4], &[0, 2, 3, 3]);
    vec![
        sample(7, 7, full, false, [two, two]),
        sample(7, 7, AttentionSpec { causal: true, ..full }, true, [gap, gap]),
        sample(7, 5, AttentionSpec { kv_heads: 1, ..full }, true, [two, &[0, 1, 1, 4]]),
        sample(7, 7, AttentionSpec { dropout: 0.3, ..full }, false, [two, two]),
        sample(6, 6, AttentionSpec { heads: 4, kv_heads: 2, ..full }, false, [&[0, 0, 1, 5], &[0, 0, 1, 5]]),
    ]
}

impl AttentionSpec {
    fn attrs(&self, size: usize, masked: bool, stream: u32) -> Attrs {
        let scale = self.scale.unwrap_or(1.0 / (size.max(1) as f64).sqrt());
        Attrs::new()
            .int("heads", self.heads as i64)
            .int("kv_heads", self.kv_heads as i64)
            .int("causal", self.causal.into())
            .int("masked", masked.into())
            .float("scale", scale)
            .float("rate", self.dropout)
            .int("stream", stream.into())
    }
}

/// Scaled dot-product attention (Vaswani and others, 2017) within each text of a packed batch: `softmax(q k^T scale) v`.
///
/// `q` is `[m, heads * size]`, `k` `[n, kv_heads * size]`, `v` `[n, kv_heads * value_size]`, the result
/// `[m, heads * value_size]`. Segments, i32 `[texts, 2]`, hold the first row and the number of rows of each text, in order and
/// without overlap; queries and keys of a text see each other. `mask`, u8 `[n]`, hides keys where it is 0. With `key` (i32 `[2]`)
/// a share of the weights is dropped.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, op};
/// let b = Builder::new();
/// let x = b.input("x", Role::Batch, [10, 8], DType::F32);
/// let texts = b.input("texts", Role::Scalar, [3, 2], DType::I32);
/// let y = op::attention(x, x, x, [texts, texts], None, None, op::AttentionSpec::new(2));
/// assert_eq!(y.shape().dims(), [10, 8]);
/// # b.check()?;
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn attention<'g>(
    q: Value<'g>,
    k: Value<'g>,
    v: Value<'g>,
    [q_segments, k_segments]: [Value<'g>; 2],
    mask: Option<Value<'g>>,
    key: Option<Value<'g>>,
    spec: AttentionSpec,
) -> Value<'g> {
    let b = q.builder();
    let key = key.filter(|_| spec.dropout > 0.0);
    let spec = AttentionSpec { dropout: if key.is_some() { spec.dropout } else { 0.0 }, ..spec };
    let stream = if key.is_some() { b.stream() } else { 0 };
    let attrs = spec.attrs(q.last() / spec.heads.max(1), mask.is_some(), stream);
    let mut inputs = vec![q, k, v, q_segments, k_segments];
    inputs.extend(mask);
    inputs.extend(key);
    b.named(&ATTENTION, attrs, &inputs)
}
