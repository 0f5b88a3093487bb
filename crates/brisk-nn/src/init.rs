//! Initial values of parameters: Keras's initializers.
//!
//! Every number is a function of the seed, the parameter's path and its own place in the parameter, and of nothing else:
//! `Philox4x32-10(key, [place, place >> 32, attempt, 0])` with `key = Philox4x32-10([seed, seed >> 32], [h, h >> 32, 0, 0])[..2]`,
//! `h` the 64-bit FNV-1a hash of the path's UTF-8 bytes. So adding a layer does not change what another starts with.

use brisk_graph::{Data, Shape, Tensor};
use brisk_kernels::random::philox;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::tagged;
use crate::{Error, Result};

/// How a parameter starts. `fan_in` and `fan_out` are Keras's: for a kernel `[..., in, out]` the product of all axes but
/// the last, and of all but the one before it.
///
/// ```
/// use brisk_nn::Initializer;
/// let t = Initializer::GlorotUniform.tensor(7, "dense.kernel", [784, 10])?;
/// let limit = (6.0f32 / (784.0 + 10.0)).sqrt();
/// assert!(t.f32s()?.iter().all(|x| x.abs() <= limit));
/// assert_eq!(serde_json::from_str::<Initializer>(r#"{"random_normal": {"stddev": 0.02}}"#)?,
///            Initializer::RandomNormal { mean: 0.0, stddev: 0.02 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
#[schemars(remote = "Initializer", transform = crate::schema::allow_bare_names)]
pub enum Initializer {
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
    /// All one number.
    Constant {
        /// The number.
        #[serde(default)]
        value: f64,
    },
    /// Uniform within `± sqrt(6 / (fan_in + fan_out))` (Glorot and Bengio, 2010).
    GlorotUniform,
    /// Normal with deviation `sqrt(2 / (fan_in + fan_out))`, cut at two deviations (Glorot and Bengio, 2010).
    GlorotNormal,
    /// Uniform within `± sqrt(6 / fan_in)` (He and others, 2015).
    HeUniform,
    /// Normal with deviation `sqrt(2 / fan_in)`, cut at two deviations (He and others, 2015).
    HeNormal,
    /// Uniform within `± sqrt(3 / fan_in)` (LeCun and others, 1998).
    LecunUniform,
    /// Normal with deviation `sqrt(1 / fan_in)`, cut at two deviations (LeCun and others, 1998).
    LecunNormal,
    /// Orthogonal rows or columns, whichever are fewer, of length `gain`: the Q of a normal matrix's QR decomposition with a
    /// positive diagonal in R (Saxe and others, 2013). All axes but the last count as rows.
    Orthogonal {
        /// The length.
        #[serde(default = "one")]
        gain: f64,
    },
    /// Zeros, but ones in the second quarter: the bias of an LSTM (Jozefowicz and others, 2015).
    UnitForgetBias,
    /// Normal.
    RandomNormal {
        /// The mean.
        #[serde(default)]
        mean: f64,
        /// The standard deviation.
        #[serde(default = "default_spread")]
        stddev: f64,
    },
    /// Uniform.
    RandomUniform {
        /// The smallest.
        #[serde(default = "default_low")]
        minval: f64,
        /// The bound above.
        #[serde(default = "default_spread")]
        maxval: f64,
    },
    /// Normal, drawn again when further than two deviations from the mean.
    TruncatedNormal {
        /// The mean.
        #[serde(default)]
        mean: f64,
        /// The standard deviation before it is cut.
        #[serde(default = "default_spread")]
        stddev: f64,
    },
}
tagged!(Initializer, "initializer");

fn one() -> f64 {
    1.0
}

fn default_spread() -> f64 {
    0.05
}

fn default_low() -> f64 {
    -0.05
}

/// How the numbers of a parameter are spread.
enum Spread {
    Constant(f64),
    Uniform(f64, f64),
    Normal(f64, f64),
    Truncated(f64, f64),
    Orthogonal(f64),
    ForgetGate,
}

/// The deviation of a standard normal cut at two deviations.
const TRUNCATED_DEVIATION: f64 = 0.879_625_661_034_239_8;

impl Initializer {
    /// The starting value of the parameter of a path.
    pub fn tensor(&self, seed: u64, path: &str, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        let count = shape.elements();
        let mut values: Vec<f32> = Vec::new();
        if values.try_reserve_exact(count).is_err() {
            return Err(Error::layer(
                path,
                format!("{shape} takes {count} numbers, more than fit in memory"),
            ));
        }
        let key = key(seed, path);
        match self.spread(&shape) {
            Spread::Constant(value) => values.resize(count, value as f32),
            Spread::ForgetGate => {
                values.extend((0..count).map(|i| f32::from(u8::from(i * 4 / count.max(1) == 1))))
            }
            Spread::Orthogonal(gain) => {
                let columns = shape.last().max(1);
                values
                    .extend(orthogonal(key, count / columns, columns).into_iter().map(|v| (gain * v) as f32));
            }
            Spread::Uniform(low, high) => {
                let place = |u: f64| (low + (high - low) * u) as f32;
                values.extend((0..count as u64).map(|i| place(unit(draw(key, i, 0)[0]))));
            }
            Spread::Normal(mean, deviation) => {
                values.extend((0..count as u64).map(|i| (mean + deviation * normals(key, i, 0)[0]) as f32));
            }
            Spread::Truncated(mean, deviation) => {
                let cut = |i: u64| {
                    let mut tries = (0..).flat_map(|attempt| normals(key, i, attempt));
                    tries.find(|z| z.abs() <= 2.0).unwrap_or(0.0)
                };
                values.extend((0..count as u64).map(|i| (mean + deviation * cut(i)) as f32));
            }
        }
        Ok(Tensor::new(shape, Data::F32(values))?)
    }

    fn spread(&self, shape: &Shape) -> Spread {
        let (fan_in, fan_out) = fans(shape);
        let uniform = |scale: f64| Spread::Uniform(-(3.0 * scale).sqrt(), (3.0 * scale).sqrt());
        let normal = |scale: f64| Spread::Truncated(0.0, scale.sqrt() / TRUNCATED_DEVIATION);
        match *self {
            Initializer::Zeros => Spread::Constant(0.0),
            Initializer::Ones => Spread::Constant(1.0),
            Initializer::Constant { value } => Spread::Constant(value),
            Initializer::GlorotUniform => uniform(2.0 / (fan_in + fan_out)),
            Initializer::GlorotNormal => normal(2.0 / (fan_in + fan_out)),
            Initializer::HeUniform => uniform(2.0 / fan_in),
            Initializer::HeNormal => normal(2.0 / fan_in),
            Initializer::LecunUniform => uniform(1.0 / fan_in),
            Initializer::LecunNormal => normal(1.0 / fan_in),
            Initializer::Orthogonal { gain } => Spread::Orthogonal(gain),
            Initializer::UnitForgetBias => Spread::ForgetGate,
            Initializer::RandomNormal { mean, stddev } => Spread::Normal(mean, stddev),
            Initializer::RandomUniform { minval, maxval } => Spread::Uniform(minval, maxval),
            Initializer::TruncatedNormal { mean, stddev } => Spread::Truncated(mean, stddev),
        }
    }
}

/// A matrix whose rows, or columns if those are fewer, are orthogonal and of length 1, by Gram and Schmidt, twice over.
fn orthogonal(key: [u32; 2], rows: usize, columns: usize) -> Vec<f64> {
    let (count, length) = (rows.min(columns), rows.max(columns));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let mut vectors: Vec<Vec<f64>> = Vec::with_capacity(count);
    for i in 0..count {
        let place = |j: usize| normals(key, (i * length + j) as u64, 0)[0];
        let mut vector: Vec<f64> = (0..length).map(place).collect();
        for other in vectors.iter().chain(&vectors) {
            let along = dot(&vector, other);
            vector.iter_mut().zip(other).for_each(|(v, o)| *v -= along * o);
        }
        let norm = dot(&vector, &vector).sqrt().max(f64::MIN_POSITIVE);
        vector.iter_mut().for_each(|v| *v /= norm);
        vectors.push(vector);
    }
    match rows <= columns {
        true => vectors.concat(),
        false => (0..rows * columns).map(|i| vectors[i % columns][i / columns]).collect(),
    }
}

/// How many numbers meet in one output, and go out from one input.
fn fans(shape: &Shape) -> (f64, f64) {
    let whole = shape.elements() as f64;
    match shape[..] {
        [] => (1.0, 1.0),
        [n] => (n.max(1) as f64, n.max(1) as f64),
        [.., fan_in, fan_out] => {
            ((whole / fan_out.max(1) as f64).max(1.0), (whole / fan_in.max(1) as f64).max(1.0))
        }
    }
}

fn key(seed: u64, path: &str) -> [u32; 2] {
    let hash =
        path.bytes().fold(0xCBF2_9CE4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3));
    let words = philox([seed as u32, (seed >> 32) as u32], [hash as u32, (hash >> 32) as u32, 0, 0]);
    [words[0], words[1]]
}

fn draw(key: [u32; 2], place: u64, attempt: u32) -> [u32; 4] {
    philox(key, [place as u32, (place >> 32) as u32, attempt, 0])
}

/// Uniform in `[0, 1)`.
fn unit(word: u32) -> f64 {
    f64::from(word) / 4_294_967_296.0
}

/// Four standard normal numbers (Box and Muller).
fn normals(key: [u32; 2], place: u64, attempt: u32) -> [f64; 4] {
    let [a, b, c, d] = draw(key, place, attempt);
    let pair = |a: u32, b: u32| {
        let radius = (-2.0 * ((f64::from(a) + 1.0) / 4_294_967_296.0).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * unit(b)).sin_cos();
        [radius * cos, radius * sin]
    };
    let ([x, y], [z, w]) = (pair(a, b), pair(c, d));
    [x, y, z, w]
}
