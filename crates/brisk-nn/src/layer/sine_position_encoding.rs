//! SinePositionEncoding: places as waves of many lengths.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Layer;
use super::recurrent::sequences;
use super::rotary_embedding::check_wavelength;
use crate::{Context, Result};

/// The vectors of places, to be added to those of tokens: `y[p, 2i] = sin(p w_i)`, `y[p, 2i + 1] = cos(p w_i)` with
/// `w_i = max_wavelength^(-2 i / features)` (Vaswani and others, 2017).
///
/// `[n, length, features]` to the same shape; what comes in gives its shape and its mask alone, as in KerasHub.
///
/// ```
/// use brisk_nn::{Add, Embedding, LayerSpec, Sequential, SinePositionEncoding};
/// let model = Sequential::new([80])
///     .add(LayerSpec::new(Embedding::new(20_000, 64)).name("tokens"))
///     .add(LayerSpec::new(SinePositionEncoding::new()).name("places"))
///     .add(LayerSpec::new(Add {}).inputs(["tokens", "places"]))
///     .build()?;
/// assert_eq!(model.output_shape().dims(), [80, 64]);
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SinePositionEncoding {
    /// The base of the wavelengths.
    #[serde(default = "default_wavelength")]
    pub max_wavelength: f64,
}

pub(super) fn default_wavelength() -> f64 {
    10_000.0
}

impl Default for SinePositionEncoding {
    fn default() -> SinePositionEncoding {
        SinePositionEncoding { max_wavelength: default_wavelength() }
    }
}

impl SinePositionEncoding {
    /// With KerasHub's defaults.
    pub fn new() -> SinePositionEncoding {
        SinePositionEncoding::default()
    }

    super::setters! {
        /// The base of the wavelengths.
        max_wavelength: f64;
    }
}

impl Layer for SinePositionEncoding {
    fn forward<'g>(&self, cx: &mut Context<'g>, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        let x = cx.one(inputs)?;
        check_wavelength(cx, self.max_wavelength)?;
        let [_, t, d] = sequences(cx, x)?;
        let speeds = speeds(d, self.max_wavelength);
        let wave = |p: usize, column: usize| {
            let angle = p as f64 * speeds[column / 2];
            if column.is_multiple_of(2) { angle.sin() } else { angle.cos() }
        };
        let y = table(cx, t, d, wave)?.broadcast_to(x.shape());
        Ok(cx.hand_on(x, y))
    }
}

/// How far each pair of `size` numbers turns from place to place: `wavelength^(-2 i / size)`.
pub(super) fn speeds(size: usize, wavelength: f64) -> Vec<f64> {
    (0..size.div_ceil(2)).map(|i| wavelength.powf(-2.0 * i as f64 / size as f64)).collect()
}

/// A table of numbers that depend on row and column alone.
pub(super) fn table<'g>(
    cx: &Context<'g>,
    rows: usize,
    columns: usize,
    at: impl Fn(usize, usize) -> f64,
) -> Result<Value<'g>> {
    let at = &at;
    let row = |row| (0..columns).map(move |column| at(row, column) as f32);
    cx.computed([rows, columns], || (0..rows).flat_map(row).collect::<Vec<f32>>())
}
