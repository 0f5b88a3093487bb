//! Gradient descent.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::clip::Clip;
use super::{Bounds, Rule, Scalars};

/// Gradient descent, with momentum (Polyak, 1964; Nesterov, 1983): `p -= lr g`, or
/// `m = momentum m - lr g; p += m`, or with Nesterov's look ahead `p += momentum m - lr g`.
///
/// ```
/// use brisk_nn::{Optimizer, optimizer::Sgd};
/// let o = Optimizer::Sgd(Sgd { learning_rate: 0.1, momentum: 0.9, ..Sgd::default() });
/// assert_eq!(o.name(), "sgd");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct Sgd {
    /// How far a step goes.
    pub learning_rate: f64,
    /// How much of the last step is kept.
    pub momentum: f64,
    /// Whether the gradient counts as taken after the momentum.
    pub nesterov: bool,
    /// `p -= lr weight_decay p` comes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// The longest gradient of each parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clipnorm: Option<f64>,
    /// The longest gradient of all parameters together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub global_clipnorm: Option<f64>,
    /// The largest entry of a gradient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clipvalue: Option<f64>,
}

impl Default for Sgd {
    fn default() -> Sgd {
        Sgd {
            learning_rate: 0.01,
            momentum: 0.0,
            nesterov: false,
            weight_decay: None,
            clipnorm: None,
            global_clipnorm: None,
            clipvalue: None,
        }
    }
}

impl Rule for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            shares: vec![("momentum", self.momentum)],
            positive: vec![("weight_decay", self.weight_decay.unwrap_or(0.0))],
        }
    }

    fn clip(&self) -> Clip {
        Clip { norm: self.clipnorm, global_norm: self.global_clipnorm, value: self.clipvalue }
    }

    fn slots(&self) -> Vec<&'static str> {
        if self.momentum == 0.0 { vec![] } else { vec!["momentum"] }
    }

    fn update<'g>(
        &self,
        s: Scalars<'g>,
        p: Value<'g>,
        g: Value<'g>,
        slots: &[Value<'g>],
    ) -> (Value<'g>, Vec<Value<'g>>) {
        let p = decay(p, s, self.weight_decay);
        let step = g * s.learning_rate;
        match slots {
            [m] => {
                let m = *m * self.momentum - step;
                let move_by = if self.nesterov { m * self.momentum - step } else { m };
                (p + move_by, vec![m])
            }
            _ => (p - step, vec![]),
        }
    }
}

/// `p - lr weight_decay p`
pub(super) fn decay<'g>(p: Value<'g>, s: Scalars<'g>, weight_decay: Option<f64>) -> Value<'g> {
    match weight_decay {
        Some(by) if by != 0.0 && s.decays => p - p * (s.learning_rate * by),
        _ => p,
    }
}
