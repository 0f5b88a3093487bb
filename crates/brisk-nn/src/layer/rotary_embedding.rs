//! RotaryEmbedding: places as angles that queries and keys are turned by.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::recurrent::sequences;
use super::sine_position_encoding::{default_wavelength, speeds, table};
use super::{Layer, check_sizes};
use crate::{Context, Result};

/// Turns each pair of numbers `(a, b)` of a head at step `p` by the angle `p w_i`, `w_i = max_wavelength^(-2 i / size)`:
/// `(a cos - b sin, b cos + a sin)` (Su and others, arXiv 2104.09864). The pairs are `(i, i + size / 2)`, as in KerasHub and
/// Llama.
///
/// `[n, length, num_heads size]` to the same, with an even `size`. The product of two turned vectors depends on how far apart they
/// stand alone; so it belongs on queries and keys, after their kernels: `rope_max_wavelength` of
/// [`MultiHeadAttention`](super::MultiHeadAttention) puts it there.
///
/// ```
/// use brisk_graph::{Builder, DType, Role};
/// use brisk_nn::{Context, RotaryEmbedding};
/// let b = Builder::new();
/// let queries = b.input("queries", Role::Batch, [2, 10, 64], DType::F32);
/// let turned = Context::new(&b).layer("rotary", &RotaryEmbedding::new(4), &[queries])?;
/// assert_eq!(turned.shape().dims(), [2, 10, 64]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotaryEmbedding {
    /// Heads that stand side by side in the last axis.
    #[serde(default = "one")]
    pub num_heads: usize,
    /// The base of the wavelengths.
    #[serde(default = "default_wavelength")]
    pub max_wavelength: f64,
}

fn one() -> usize {
    1
}

impl RotaryEmbedding {
    /// For a number of heads, with KerasHub's defaults.
    pub fn new(num_heads: usize) -> RotaryEmbedding {
        RotaryEmbedding { num_heads, max_wavelength: default_wavelength() }
    }

    super::setters! {
        /// The base of the wavelengths.
        max_wavelength: f64;
    }
}

impl Layer for RotaryEmbedding {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        check_sizes(cx, &[("num_heads", self.num_heads)])?;
        check_wavelength(cx, self.max_wavelength)?;
        let y = rotate(cx, x, self.num_heads, self.max_wavelength)?;
        Ok(cx.hand_on(x, y))
    }
}

/// An error unless wavelengths can be told.
pub(super) fn check_wavelength(cx: &Context<'_>, wavelength: f64) -> Result<()> {
    match wavelength.is_finite() && wavelength > 0.0 {
        true => Ok(()),
        false => Err(cx.error(format!("expected a max_wavelength above 0, found {wavelength}"))),
    }
}

/// Turns `[n, length, heads size]` by place.
pub(super) fn rotate<'g>(cx: &Context<'g>, x: Value<'g>, heads: usize, wavelength: f64) -> Result<Value<'g>> {
    let [n, t, d] = sequences(cx, x)?;
    let size = d / heads;
    if !d.is_multiple_of(heads) || !size.is_multiple_of(2) {
        let message = format!("expected {heads} heads of an even size, found {d} numbers a step");
        return Err(cx.error(message));
    }
    let half = size / 2;
    let speeds = speeds(size, wavelength);
    let turn = |f: fn(f64) -> f64| table(cx, t, half, |p, i| f(p as f64 * speeds[i]));
    let (cos, sin) = (turn(f64::cos)?.expand(1), turn(f64::sin)?.expand(1)); // [length, 1, half]
    let x = x.reshape([n, t, heads, size]);
    let (a, b) = (x.slice(3, 0, half), x.slice(3, half, size));
    let turned = cx.builder().concat(&[a * cos - b * sin, b * cos + a * sin], 3);
    Ok(turned.reshape([n, t, d]))
}
