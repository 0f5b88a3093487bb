//! The older form of the gated recurrent unit: the state is reset before the product.

use super::super::{Attrs, Gradient, Inferred, OpDef, Sample, SampleKind, sigmoid};
use super::unroll::{at, choose, live, order, split};
use super::{Yield, attrs};
use crate::{Builder, DType, Shape, Value};

/// See [`gru_reset_before`].
pub static GRU_RESET_BEFORE: OpDef = OpDef {
    name: "gru_reset_before",
    doc: "h' = z h + (1 - z) tanh(x_h + (r h) R_h), z = sigmoid(x_z + h R_z), r = sigmoid(x_r + h R_r) for each step; operands \
          x (z, r, h), R, h at the start, mask: [n, t, 3u], [u, 3u], [n, u], u8 [n, t] -> the last h [n, u] (yield 0 or 2) or \
          every h [n, t, u] (1)",
    shape,
    decompose,
    gradient: Gradient::FromDecomposition,
    kernel: None,
    samples: || {
        let float = SampleKind::Float(-1.0, 1.0);
        let sample = |([n, t, u], result, reverse): ([usize; 3], Yield, bool)| {
            let operands: [(Shape, SampleKind); 4] = [
                ([n, t, 3 * u].into(), float),
                ([u, 3 * u].into(), float),
                ([n, u].into(), float),
                ([n, t].into(), SampleKind::Byte(2)),
            ];
            Sample::of(operands).with(attrs(result, reverse))
        };
        [([3, 4, 2], Yield::Last, false), ([2, 3, 5], Yield::Sequence, true), ([1, 3, 1], Yield::State, true)]
            .map(sample)
            .to_vec()
    },
};

fn shape(inputs: &[(&Shape, DType)], attrs: &Attrs) -> Inferred {
    let [(x, dtype), recurrent, initial, mask] = *inputs else {
        return Err(format!("expected 4 operands, found {}", inputs.len()));
    };
    let ([n, t, gates], [u, _]) = (&x[..], &recurrent.0[..]) else {
        return Err(format!("expected x [n, t, 3u] and R [u, 3u], found {x} and {}", recurrent.0));
    };
    let fits = dtype.is_float()
        && *t > 0
        && u.checked_mul(3) == Some(*gates)
        && recurrent == (&[*u, *gates].into(), dtype)
        && initial == (&[*n, *u].into(), dtype)
        && mask == (&[*n, *t].into(), DType::U8);
    match (fits, Yield::of(attrs)) {
        (true, Yield::Sequence) => Ok(([*n, *t, *u].into(), dtype)),
        (true, _) => Ok(([*n, *u].into(), dtype)),
        _ => Err(format!(
            "expected [n, t, 3u], [u, 3u], [n, u] and u8 [n, t], found {x}, {}, {} and {} {}",
            recurrent.0, initial.0, mask.1, mask.0
        )),
    }
}

fn decompose<'g>(b: &'g Builder, operands: &[Value<'g>], attrs: &Attrs) -> Value<'g> {
    let [x, recurrent, initial, mask] = operands[..] else {
        b.fail(GRU_RESET_BEFORE.name, "expected 4 operands");
        return operands[0];
    };
    let u = recurrent.dim(0);
    let (gates, candidate) = (recurrent.slice(1, 0, 2 * u), recurrent.slice(1, 2 * u, 3 * u));
    let (mut state, mut steps) = (initial, vec![initial; x.dim(1)]);
    for t in order(x.dim(1), attrs) {
        let (input, product) = (split(at(x, t), u), split(state.matmul(gates), u));
        let (z, r) = (sigmoid(input[0] + product[0]), sigmoid(input[1] + product[1]));
        let h = (input[2] + (r * state).matmul(candidate)).tanh();
        state = choose(live(mask, t), vec![z * state + (1.0 - z) * h], &[state])[0];
        steps[t] = state.expand(1);
    }
    match Yield::of(attrs) {
        Yield::Sequence => b.concat(&steps, 1),
        Yield::Last | Yield::State => state,
    }
}

/// Gated recurrent unit over sequences as it was first written (Cho and others, 2014), the reset before the product: Keras's
/// `reset_after=False`.
///
/// Operands are those of [`gru`](super::gru), without a bias of the product.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, op};
/// let b = Builder::new();
/// let x = b.input("x", Role::Batch, [8, 20, 3 * 16], DType::F32);
/// let r = b.input("r", Role::State, [16, 3 * 16], DType::F32);
/// let mask = b.fill_as(1.0, [8, 20], DType::U8);
/// let h = op::gru_reset_before(x, r, b.fill(0.0, [8, 16]), mask, op::Yield::Last, false);
/// assert_eq!(h.shape().dims(), [8, 16]);
/// # b.check()?;
/// # Ok::<(), brisk_graph::Error>(())
/// ```
pub fn gru_reset_before<'g>(
    x: Value<'g>,
    recurrent: Value<'g>,
    initial: Value<'g>,
    mask: Value<'g>,
    result: Yield,
    reverse: bool,
) -> Value<'g> {
    x.builder().named(&GRU_RESET_BEFORE, attrs(result, reverse), &[x, recurrent, initial, mask])
}
