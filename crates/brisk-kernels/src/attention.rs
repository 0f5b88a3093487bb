//! Scaled dot-product attention over packed rows, forward and backward, text by text and head by head.
//!
//! The scores of a block of query rows against all keys of their text are the most that exists at once; the backward pass
//! computes them again rather than have them kept.

use pulp::{Simd, WithSimd, bytemuck};

use crate::matmul::matmul;
use crate::parted::Parted;
use crate::simd::{self, update};
use crate::{random, softmax};

/// Rows of queries whose scores exist at once.
const BLOCK: usize = 128;
/// Random words that are made at a time.
const WORDS: usize = 256;

/// The geometry of an attention: `softmax(q k^T scale) v` for each text and each head.
///
/// Queries are `[query rows, heads * size]`, keys `[key rows, kv_heads * size]`, values `[key rows, kv_heads * value_size]`,
/// the result `[query rows, heads * value_size]`. Head `h` reads head `h / (heads / kv_heads)` of keys and values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Heads of queries and of the result.
    pub heads: usize,
    /// Heads of keys and values; divides `heads`.
    pub kv_heads: usize,
    /// Size of a head of queries and keys.
    pub size: usize,
    /// Size of a head of values.
    pub value_size: usize,
    /// Row `i` of a text sees rows `0..=i` only.
    pub causal: bool,
    /// What scores are multiplied with.
    pub scale: f32,
    /// Which weights are dropped.
    pub dropout: Option<Dropout>,
}

/// Dropout of attention weights: that of head `h`, query row `i` and key row `j` goes where uniform number
/// `start + (h * query rows + i) * key rows + j` of the key is below `rate`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The share that goes.
    pub rate: f32,
    /// The random key.
    pub key: [u32; 2],
    /// Where its numbers begin.
    pub start: u64,
}

/// What is attended to.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a> {
    /// Queries.
    pub q: &'a [f32],
    /// Keys.
    pub k: &'a [f32],
    /// Values.
    pub v: &'a [f32],
    /// For each text first row and number of rows of its queries, in order and without overlap.
    pub q_segments: &'a [i32],
    /// The same of its keys.
    pub k_segments: &'a [i32],
    /// For each key row whether it may be seen; empty for all.
    pub mask: &'a [u8],
}

/// A text's rows.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    len: usize,
}

/// The part of the work that a call does: some texts and heads, balanced by their cost.
struct Share<'a> {
    spans: Vec<(Span, Span)>,
    q_rows: usize,
    k_rows: usize,
    own: std::ops::Range<usize>,
    operands: Operands<'a>,
}

impl Attention {
    /// `out` for part `part` of `parts`, which together write all of it; rows of no text become zeros. The message of an
    /// error says what is wrong with the segments.
    pub fn forward(&self, x: Operands<'_>, out: Parted<'_>, part: usize, parts: usize) -> Result<(), String> {
        let share = self.share(x, part, parts)?;
        let w = self.value_size;
        let row = self.heads * w;
        if part == 0 {
            share.clear_rest(out, row, share.q_rows, |s| s.0);
        }
        let mut scratch = Scratch::default();
        for item in share.own.clone() {
            let (text, group) = (item / self.kv_heads, item % self.kv_heads);
            let (q, k) = share.spans[text];
            for h in self.heads_of(group) {
                for from in (0..q.len).step_by(BLOCK) {
                    let rows = BLOCK.min(q.len - from);
                    let keys = self.visible(from, rows, k.len);
                    self.weights(&share, (q, k), h, group, from, rows, keys, &mut scratch);
                    let y = sized(&mut scratch.out, rows * w);
                    if keys == 0 {
                        y.fill(0.0);
                    } else {
                        let weights = &mut scratch.weights[..rows * keys];
                        self.drop(&share, (q, k), h, from, keys, weights);
                        let v = &x.v[k.start * self.kv_heads * w + group * w..];
                        matmul(rows, w, keys, weights, (keys, 1), v, (self.kv_heads * w, 1), y, w, false);
                    }
                    for (i, y) in y.chunks_exact(w).enumerate() {
                        out.write((q.start + from + i) * row + h * w, y);
                    }
                }
            }
        }
        Ok(())
    }

    /// The gradients by queries, keys and values, those that are asked for, from `dy`, the gradient by the result. Cut as
    /// [`Attention::forward`].
    pub fn backward(
        &self,
        x: Operands<'_>,
        dy: &[f32],
        [dq, dk, dv]: [Option<Parted<'_>>; 3],
        part: usize,
        parts: usize,
    ) -> Result<(), String> {
        let share = self.share(x, part, parts)?;
        let (d, w) = (self.size, self.value_size);
        let (q_row, k_row, v_row, y_row) =
            (self.heads * d, self.kv_heads * d, self.kv_heads * w, self.heads * w);
        if dy.len() != share.q_rows * y_row {
            return Err(format!(
                "expected a gradient of {} elements, found {}",
                share.q_rows * y_row,
                dy.len()
            ));
        }
        if part == 0 {
            if let Some(dq) = dq {
                share.clear_rest(dq, q_row, share.q_rows, |s| s.0);
            }
            for (out, row) in [(dk, k_row), (dv, v_row)] {
                if let Some(out) = out {
                    share.clear_rest(out, row, share.k_rows, |s| s.1);
                }
            }
        }
        let mut scratch = Scratch::default();
        let (mut key_sums, mut value_sums) = (Vec::new(), Vec::new());
        for item in share.own.clone() {
            let (text, group) = (item / self.kv_heads, item % self.kv_heads);
            let (q, k) = share.spans[text];
            let dk_sum = sized(&mut key_sums, k.len * d);
            let dv_sum = sized(&mut value_sums, k.len * w);
            dk_sum.fill(0.0);
            dv_sum.fill(0.0);
            for h in self.heads_of(group) {
                for from in (0..q.len).step_by(BLOCK) {
                    let rows = BLOCK.min(q.len - from);
                    let keys = self.visible(from, rows, k.len);
                    if keys == 0 {
                        if let Some(dq) = dq {
                            let zeros = vec![0.0; d];
                            (0..rows).for_each(|i| dq.write((q.start + from + i) * q_row + h * d, &zeros));
                        }
                        continue;
                    }
                    self.weights(&share, (q, k), h, group, from, rows, keys, &mut scratch);
                    let first = q.start + from;
                    let dy = &dy[first * y_row + h * w..];
                    let weights = &scratch.weights[..rows * keys];
                    let left = match self.dropout {
                        Some(_) => {
                            let left = sized(&mut scratch.left, rows * keys);
                            left.copy_from_slice(weights);
                            self.drop(&share, (q, k), h, from, keys, left);
                            left
                        }
                        None => weights,
                    };
                    matmul(keys, w, rows, left, (1, keys), dy, (y_row, 1), dv_sum, w, true);
                    if dq.is_none() && dk.is_none() {
                        continue;
                    }
                    let dw = sized(&mut scratch.gradient, rows * keys);
                    let v = &x.v[k.start * v_row + group * w..];
                    matmul(rows, keys, w, dy, (y_row, 1), v, (1, v_row), dw, keys, false);
                    softmax::softmax_grad_in_place(keys, weights, left, dw, self.scale);
                    if let Some(dq) = dq {
                        let y = sized(&mut scratch.out, rows * d);
                        let k = &x.k[k.start * k_row + group * d..];
                        matmul(rows, d, keys, dw, (keys, 1), k, (k_row, 1), y, d, false);
                        for (i, y) in y.chunks_exact(d).enumerate() {
                            dq.write((first + i) * q_row + h * d, y);
                        }
                    }
                    let q = &x.q[first * q_row + h * d..];
                    matmul(keys, d, rows, dw, (1, keys), q, (q_row, 1), dk_sum, d, true);
                }
            }
            for (out, sums, row, size) in [(dk, &*dk_sum, k_row, d), (dv, &*dv_sum, v_row, w)] {
                if let Some(out) = out {
                    for (j, sum) in sums.chunks_exact(size).enumerate() {
                        out.write((k.start + j) * row + group * size, sum);
                    }
                }
            }
        }
        Ok(())
    }

    fn heads_of(&self, group: usize) -> std::ops::Range<usize> {
        let each = self.heads / self.kv_heads;
        group * each..(group + 1) * each
    }

    /// How many keys of `len` some row of a block sees.
    fn visible(&self, from: usize, rows: usize, len: usize) -> usize {
        if self.causal { len.min(from + rows) } else { len }
    }

    /// The softmax of a block of scores, into `scratch`.
    fn weights(
        &self,
        share: &Share<'_>,
        (q, k): (Span, Span),
        h: usize,
        group: usize,
        from: usize,
        rows: usize,
        keys: usize,
        scratch: &mut Scratch,
    ) {
        if keys == 0 {
            return;
        }
        let (d, x) = (self.size, share.operands);
        let (q_row, k_row) = (self.heads * d, self.kv_heads * d);
        let first = q.start + from;
        let weights = sized(&mut scratch.weights, rows * keys);
        let (qs, ks) = (&x.q[first * q_row + h * d..], &x.k[k.start * k_row + group * d..]);
        matmul(rows, keys, d, qs, (q_row, 1), ks, (1, k_row), weights, keys, false);
        let mask = if x.mask.is_empty() { &[][..] } else { &x.mask[k.start..k.start + keys] };
        softmax::softmax_masked(keys, weights, self.scale, mask, self.causal.then_some(from));
    }

    /// Takes away what dropout takes of a block of weights.
    fn drop(
        &self,
        share: &Share<'_>,
        (q, k): (Span, Span),
        h: usize,
        from: usize,
        keys: usize,
        weights: &mut [f32],
    ) {
        if let Some(dropout) = self.dropout {
            let first = (h * share.q_rows + q.start + from) * share.k_rows + k.start;
            let start = dropout.start + first as u64;
            simd::dispatch(Drop { rows: weights, keys, dropout, start, step: share.k_rows as u64 });
        }
    }

    fn share<'a>(&self, x: Operands<'a>, part: usize, parts: usize) -> Result<Share<'a>, String> {
        let rows = |what: &str, v: &[f32], heads: usize, size: usize| match heads * size {
            0 => Err(format!("{what}: expected heads of at least one element")),
            row if v.len().is_multiple_of(row) => Ok(v.len() / row),
            row => Err(format!("{what}: expected rows of {row} elements, found {} in all", v.len())),
        };
        if self.kv_heads == 0 || !self.heads.is_multiple_of(self.kv_heads) {
            return Err(format!("{} heads cannot share {} heads of keys", self.heads, self.kv_heads));
        }
        let q_rows = rows("queries", x.q, self.heads, self.size)?;
        let k_rows = rows("keys", x.k, self.kv_heads, self.size)?;
        let v_rows = rows("values", x.v, self.kv_heads, self.value_size)?;
        if k_rows != v_rows || !(x.mask.is_empty() || x.mask.len() == k_rows) {
            return Err(format!("expected as many values as keys, found {v_rows} and {k_rows}"));
        }
        let (queries, keys) = (spans(x.q_segments, q_rows)?, spans(x.k_segments, k_rows)?);
        if queries.len() != keys.len() {
            return Err(format!(
                "expected as many texts of keys as of queries, found {} and {}",
                keys.len(),
                queries.len()
            ));
        }
        let spans: Vec<_> = queries.into_iter().zip(keys).collect();
        // Items are texts and heads; a part takes those whose work, laid end to end, begins in its stretch.
        let cost = |s: &(Span, Span)| (s.0.len * s.1.len + 16 * (s.0.len + s.1.len)) as u64;
        let total: u64 = spans.iter().map(cost).sum::<u64>() * self.kv_heads as u64;
        let bound = |p: usize| (total as u128 * p as u128 / parts.max(1) as u128) as u64;
        let (low, high) = (bound(part), if part + 1 >= parts { u64::MAX } else { bound(part + 1) });
        let (mut at, mut own, mut number) = (0, None::<(usize, usize)>, 0);
        for s in &spans {
            for _ in 0..self.kv_heads {
                if at >= low && at < high {
                    own = Some((own.map_or(number, |o| o.0), number + 1));
                }
                at += cost(s);
                number += 1;
            }
        }
        let own = own.map_or(0..0, |(from, to)| from..to);
        Ok(Share { spans, q_rows, k_rows, own, operands: x })
    }
}

impl Share<'_> {
    /// Zeros for the rows of no text.
    fn clear_rest(&self, out: Parted<'_>, row: usize, rows: usize, span: impl Fn(&(Span, Span)) -> Span) {
        let zeros = vec![0.0; row];
        let mut next = 0;
        let ends = self.spans.iter().map(span).chain([Span { start: rows, len: 0 }]);
        for s in ends {
            (next..s.start).for_each(|r| out.write(r * row, &zeros));
            next = s.start + s.len;
        }
    }
}

fn spans(segments: &[i32], rows: usize) -> Result<Vec<Span>, String> {
    let mut next = 0;
    let (pairs, _) = segments.as_chunks::<2>();
    let span = |(i, &[start, len]): (usize, &[i32; 2])| {
        let found =
            || format!("segment {i}: expected rows in order inside 0..{rows}, found {len} from {start}");
        let (start, len) =
            (usize::try_from(start).map_err(|_| found())?, usize::try_from(len).map_err(|_| found())?);
        if len > 0 && (start < next || start + len > rows) {
            return Err(found());
        }
        if len == 0 {
            return Ok(Span { start: next, len });
        }
        next = start + len;
        Ok(Span { start, len })
    };
    pairs.iter().enumerate().map(span).collect()
}

/// Zero where the random number is below the rate; the others divided by `1 - rate`.
struct Drop<'a> {
    rows: &'a mut [f32],
    keys: usize,
    dropout: Dropout,
    /// Number of the first random word of the first row.
    start: u64,
    /// From there to that of the next row.
    step: u64,
}

impl WithSimd for Drop<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Dropout { rate, key, .. } = self.dropout;
        let below = s.splat_u32s(random::word_of(rate));
        let (keep, zero) = (s.splat_f32s(1.0 / (1.0 - rate)), s.splat_f32s(0.0));
        let mut words = [0; WORDS];
        for (i, row) in self.rows.chunks_exact_mut(self.keys).enumerate() {
            for (j, x) in row.chunks_mut(WORDS).enumerate() {
                let words = &mut words[..x.len()];
                let start = self.start + i as u64 * self.step + (j * WORDS) as u64;
                random::fill_bits_at(s, key, start, words);
                update(
                    s,
                    x,
                    [bytemuck::cast_slice(words)],
                    #[inline(always)]
                    |x, [w]| {
                        let gone = s.less_than_u32s(s.transmute_u32s_f32s(w), below);
                        s.select_f32s(gone, zero, s.mul_f32s(x, keep))
                    },
                );
            }
        }
    }
}

#[derive(Default)]
struct Scratch {
    weights: Vec<f32>,
    /// What dropout leaves of them.
    left: Vec<f32>,
    gradient: Vec<f32>,
    out: Vec<f32>,
}

fn sized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}
