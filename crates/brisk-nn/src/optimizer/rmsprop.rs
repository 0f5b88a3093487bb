//! RMSprop.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::clip::Clip;
use super::sgd::decay;
use super::{Bounds, Rule, Scalars};

/// RMSprop (Hinton, 2012): `v = rho v + (1 - rho) g²; p -= lr g / sqrt(v + epsilon)`; centered, `v` less the square of a
/// running mean of `g`; with momentum, `m = momentum m + step; p -= m`.
///
/// ```
/// use brisk_nn::{Optimizer, optimizer::RmsProp};
/// let o = Optimizer::RmsProp(RmsProp { centered: true, ..RmsProp::default() });
/// assert_eq!(o.name(), "rmsprop");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct RmsProp {
    /// How far a step goes.
    pub learning_rate: f64,
    /// How slowly the mean of squares changes.
    pub rho: f64,
    /// How much of the last step is kept.
    pub momentum: f64,
    /// Keeps the division sound.
    pub epsilon: f64,
    /// By the variance of the gradient rather than the mean of its squares.
    pub centered: bool,
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

impl Default for RmsProp {
    fn default() -> RmsProp {
        RmsProp {
            learning_rate: 1e-3,
            rho: 0.9,
            momentum: 0.0,
            epsilon: 1e-7,
            centered: false,
            weight_decay: None,
            clipnorm: None,
            global_clipnorm: None,
            clipvalue: None,
        }
    }
}

impl Rule for RmsProp {
    fn name(&self) -> &'static str {
        "rmsprop"
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn bounds(&self) -> Bounds {
        let positive = vec![("epsilon", self.epsilon), ("weight_decay", self.weight_decay.unwrap_or(0.0))];
        Bounds { shares: vec![("rho", self.rho), ("momentum", self.momentum)], positive }
    }

    fn clip(&self) -> Clip {
        Clip { norm: self.clipnorm, global_norm: self.global_clipnorm, value: self.clipvalue }
    }

    fn slots(&self) -> Vec<&'static str> {
        let mut slots = vec!["v"];
        slots.extend(self.centered.then_some("mean"));
        slots.extend((self.momentum != 0.0).then_some("momentum"));
        slots
    }

    fn update<'g>(
        &self,
        s: Scalars<'g>,
        p: Value<'g>,
        g: Value<'g>,
        slots: &[Value<'g>],
    ) -> (Value<'g>, Vec<Value<'g>>) {
        let mut slots = slots.iter().copied();
        let mut next = Vec::new();
        let mut average = |of: Value<'g>, next: &mut Vec<Value<'g>>| {
            let now = slots.next().unwrap_or(of) * self.rho + of * (1.0 - self.rho);
            next.push(now);
            now
        };
        let p = decay(p, s, self.weight_decay);
        let v = average(g.square(), &mut next);
        let spread = if self.centered { v - average(g, &mut next).square() } else { v };
        let step = g * s.learning_rate / (spread + self.epsilon).sqrt();
        match slots.next() {
            Some(m) => {
                let m = m * self.momentum + step;
                next.push(m);
                (p - m, next)
            }
            None => (p - step, next),
        }
    }
}
