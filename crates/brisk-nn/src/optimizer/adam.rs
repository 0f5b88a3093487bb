//! Adam, and Adam with decoupled weight decay.

use brisk_graph::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::clip::Clip;
use super::sgd::decay;
use super::{Bounds, Rule, Scalars};

macro_rules! adam {
    ($(#[$doc:meta])* $name:ident, $text:literal, $decay:ty, $default:expr, $as_option:expr, $skip:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        #[schemars(inline)]
        pub struct $name {
            /// How far a step goes.
            pub learning_rate: f64,
            /// How slowly the mean of gradients changes.
            pub beta_1: f64,
            /// How slowly the mean of their squares changes.
            pub beta_2: f64,
            /// Keeps the division sound.
            pub epsilon: f64,
            /// `p -= lr weight_decay p` comes first.
            #[serde(skip_serializing_if = $skip)]
            pub weight_decay: $decay,
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

        impl Default for $name {
            fn default() -> $name {
                $name {
                    learning_rate: 1e-3,
                    beta_1: 0.9,
                    beta_2: 0.999,
                    epsilon: 1e-7,
                    weight_decay: $default,
                    clipnorm: None,
                    global_clipnorm: None,
                    clipvalue: None,
                }
            }
        }

        impl Rule for $name {
            fn name(&self) -> &'static str {
                $text
            }

            fn learning_rate(&self) -> f64 {
                self.learning_rate
            }

            fn bounds(&self) -> Bounds {
                let decay: Option<f64> = $as_option(self.weight_decay);
                let positive = vec![("epsilon", self.epsilon), ("weight_decay", decay.unwrap_or(0.0))];
                Bounds { shares: vec![("beta_1", self.beta_1), ("beta_2", self.beta_2)], positive }
            }

            fn clip(&self) -> Clip {
                Clip { norm: self.clipnorm, global_norm: self.global_clipnorm, value: self.clipvalue }
            }

            fn slots(&self) -> Vec<&'static str> {
                vec!["m", "v"]
            }

            fn step_size(&self, learning_rate: f64, step: u64) -> Option<f64> {
                let left = |beta: f64| 1.0 - beta.powf(step as f64);
                Some(learning_rate * left(self.beta_2).sqrt() / left(self.beta_1))
            }

            fn update<'g>(
                &self,
                s: Scalars<'g>,
                p: Value<'g>,
                g: Value<'g>,
                slots: &[Value<'g>],
            ) -> (Value<'g>, Vec<Value<'g>>) {
                let (&[m, v], Some(step_size)) = (slots, s.step_size) else { return (p, slots.to_vec()) };
                let p = decay(p, s, $as_option(self.weight_decay));
                let m = m * self.beta_1 + g * (1.0 - self.beta_1);
                let v = v * self.beta_2 + g.square() * (1.0 - self.beta_2);
                (p - m * step_size / (v.sqrt() + self.epsilon), vec![m, v])
            }
        }
    };
}

adam! {
    /// Adam (Kingma and Ba, arXiv 1412.6980): `m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g²;
    /// p -= lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon)`.
    ///
    /// ```
    /// use brisk_nn::{Optimizer, optimizer::Adam};
    /// let o = Optimizer::Adam(Adam { beta_1: 0.5, ..Adam::default() });
    /// assert_eq!(o.learning_rate(), 1e-3);
    /// ```
    Adam, "adam", Option<f64>, None, std::convert::identity, "Option::is_none"
}

adam! {
    /// Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101): `p -= lr weight_decay p`, then as [`Adam`].
    ///
    /// ```
    /// use brisk_nn::{Optimizer, optimizer::AdamW};
    /// let o = Optimizer::AdamW(AdamW { weight_decay: 0.05, ..AdamW::default() });
    /// assert_eq!(o.name(), "adamw");
    /// ```
    AdamW, "adamw", f64, 0.004, Some, "never"
}

fn never(_: &f64) -> bool {
    false
}
