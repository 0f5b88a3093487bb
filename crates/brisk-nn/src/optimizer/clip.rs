//! Clipping: gradients that are too long are shortened.

use brisk_graph::Value;

/// What Keras's arguments `clipnorm`, `global_clipnorm` and `clipvalue` say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clip {
    /// The longest gradient of each parameter.
    pub norm: Option<f64>,
    /// The longest gradient of all parameters together.
    pub global_norm: Option<f64>,
    /// The largest entry.
    pub value: Option<f64>,
}

impl Clip {
    /// As Keras: the first that is given, in the order of the fields.
    pub fn apply<'g>(&self, gradients: &[Value<'g>]) -> Vec<Value<'g>> {
        let square_sum = |g: &Value<'g>| g.square().sum_all();
        // g * limit / max(|g|, limit): no division by zero.
        let shorten = |g: &Value<'g>, square: Value<'g>, limit: f64| *g * (limit / square.sqrt().max(limit));
        match (*self, gradients) {
            (_, []) => Vec::new(),
            (Clip { norm: Some(limit), .. }, _) => {
                gradients.iter().map(|g| shorten(g, square_sum(g), limit)).collect()
            }
            (Clip { global_norm: Some(limit), .. }, [first, rest @ ..]) => {
                let square = rest.iter().fold(square_sum(first), |sum, g| sum + square_sum(g));
                gradients.iter().map(|g| shorten(g, square, limit)).collect()
            }
            (Clip { value: Some(limit), .. }, _) => {
                gradients.iter().map(|g| g.max(-limit).min(limit)).collect()
            }
            _ => gradients.to_vec(),
        }
    }
}
