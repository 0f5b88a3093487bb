//! Learning-rate schedules: the rate at each step, on the host, in f64.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::tagged;
use crate::{Error, Result};

/// How the learning rate changes, as a factor of the optimizer's.
///
/// ```
/// use brisk_nn::Schedule;
/// let s: Schedule = serde_saphyr::from_str("linear_warmup: {steps: 100, then: cosine}")?;
/// assert_eq!(s.rate(0.1, 49, 1_000), 0.05);
/// assert_eq!(s.rate(0.1, 100, 1_000), 0.1);
/// assert!(s.rate(0.1, 999, 1_000) < 1e-6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
#[schemars(remote = "Schedule", transform = crate::schema::allow_bare_names)]
pub enum Schedule {
    /// Always the same.
    #[default]
    Constant,
    /// Multiplied with `factor` every so many steps.
    Step {
        /// After how many steps.
        every: u64,
        /// With what.
        #[serde(default = "default_factor")]
        factor: f64,
    },
    /// Down along half a cosine (Loshchilov and Hutter, 2016).
    Cosine {
        /// Over how many steps; without it, over all that are left.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        steps: Option<u64>,
        /// What is left in the end, as a factor.
        #[serde(default)]
        minimum: f64,
    },
    /// Down along a line, as BERT is fine-tuned: at step `t` of `n` the factor is `1 - t / n`.
    Linear {
        /// Over how many steps; without it, over all that are left.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        steps: Option<u64>,
        /// What is left in the end, as a factor.
        #[serde(default)]
        minimum: f64,
    },
    /// Up along a line, then another schedule, which starts counting when this ends (Goyal and others, 2017).
    LinearWarmup {
        /// For how many steps.
        #[serde(default)]
        steps: u64,
        /// For which share of all steps, instead of a number of them; rounded up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ratio: Option<f64>,
        /// The factor it starts from.
        #[serde(default)]
        start: f64,
        /// What follows.
        #[serde(default)]
        then: Box<Schedule>,
    },
    /// Up and down again along cosines (Smith and Topin, 2017).
    OneCycle {
        /// Over how many steps; without it, over all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        steps: Option<u64>,
        /// The share of the steps in which it rises.
        #[serde(default = "default_rise")]
        rise: f64,
        /// The factor at the start.
        #[serde(default = "default_start")]
        start: f64,
        /// The factor at the end.
        #[serde(default = "default_end")]
        end: f64,
    },
    /// Multiplied with `factor` when a value has not become better for `patience` epochs, as in Keras.
    ReduceOnPlateau {
        /// Which value: `val_loss`, `val_accuracy`, `loss`, ...
        #[serde(default = "default_monitor")]
        monitor: String,
        /// With what.
        #[serde(default = "default_factor")]
        factor: f64,
        /// After how many epochs.
        #[serde(default = "default_patience")]
        patience: u64,
        /// What counts as better.
        #[serde(default = "default_min_delta")]
        min_delta: f64,
        /// For how many epochs after a reduction none are counted.
        #[serde(default)]
        cooldown: u64,
        /// It does not go below this learning rate.
        #[serde(default)]
        min_lr: f64,
    },
}
tagged!(Schedule, "schedule", null = "constant");

fn default_factor() -> f64 {
    0.1
}
fn default_rise() -> f64 {
    0.3
}
fn default_start() -> f64 {
    1.0 / 25.0
}
fn default_end() -> f64 {
    1e-4 / 25.0
}
fn default_monitor() -> String {
    "val_loss".into()
}
fn default_patience() -> u64 {
    10
}
fn default_min_delta() -> f64 {
    1e-4
}

impl Schedule {
    /// The learning rate at a step (from 0) of a training of so many steps, from the optimizer's own. What waits for a
    /// plateau does not show here: see [`Plateau`].
    pub fn rate(&self, learning_rate: f64, step: u64, total_steps: u64) -> f64 {
        learning_rate * self.factor(step, total_steps)
    }

    fn factor(&self, step: u64, total: u64) -> f64 {
        // The share of a way of so many steps: 0 at the first step, 1 at the last.
        let share = |steps: u64| (step as f64 / steps.saturating_sub(1).max(1) as f64).min(1.0);
        let cosine = |from: f64, to: f64, share: f64| {
            to + (from - to) * 0.5 * (1.0 + (std::f64::consts::PI * share).cos())
        };
        match self {
            Schedule::Constant | Schedule::ReduceOnPlateau { .. } => 1.0,
            Schedule::Step { every, factor } => {
                factor.powi(i32::try_from(step.checked_div(*every).unwrap_or(0)).unwrap_or(i32::MAX))
            }
            Schedule::Cosine { steps, minimum } => cosine(1.0, *minimum, share(steps.unwrap_or(total))),
            Schedule::Linear { steps, minimum } => {
                let steps = steps.unwrap_or(total).max(1);
                1.0 - (1.0 - minimum) * (step as f64 / steps as f64).min(1.0)
            }
            Schedule::LinearWarmup { steps, ratio, start, then } => {
                let steps = ratio.map_or(*steps, |ratio| (ratio * total as f64).ceil() as u64);
                match step < steps {
                    true => start + (1.0 - start) * (step + 1) as f64 / steps as f64,
                    false => then.factor(step - steps, total.saturating_sub(steps)),
                }
            }
            Schedule::OneCycle { steps, rise, start, end } => {
                let at = share(steps.unwrap_or(total));
                match at < *rise {
                    true => cosine(*start, 1.0, at / rise),
                    false => cosine(1.0, *end, (at - rise) / (1.0 - rise).max(f64::MIN_POSITIVE)),
                }
            }
        }
    }

    /// The value that a plateau is looked for in, if the schedule waits for one.
    pub fn monitor(&self) -> Option<&str> {
        match self {
            Schedule::ReduceOnPlateau { monitor, .. } => Some(monitor),
            Schedule::LinearWarmup { then, .. } => then.monitor(),
            _ => None,
        }
    }

    /// An error if its numbers make no sense.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &str, expected: &str, found: f64| {
            Err(Error::config("schedule", format!("expected {what} {expected}, found {found}")))
        };
        let positive = |what: &str, x: f64| match x.is_finite() && x >= 0.0 {
            true => Ok(()),
            false => wrong(what, "of 0 or more", x),
        };
        match self {
            Schedule::Constant => Ok(()),
            Schedule::Step { every: 0, .. } => wrong("every", "of 1 or more", 0.0),
            Schedule::Step { factor, .. } => positive("factor", *factor),
            Schedule::Cosine { minimum, .. } | Schedule::Linear { minimum, .. } => {
                positive("minimum", *minimum)
            }
            Schedule::LinearWarmup { ratio: Some(ratio), .. } if !(0.0..=1.0).contains(ratio) => {
                wrong("ratio", "from 0 to 1", *ratio)
            }
            Schedule::LinearWarmup { ratio: Some(_), steps, .. } if *steps > 0 => {
                wrong("either steps or ratio", "of a warmup", *steps as f64)
            }
            Schedule::LinearWarmup { start, then, .. } => {
                positive("start", *start).and_then(|()| then.check())
            }
            Schedule::OneCycle { rise, .. } if !(0.0..=1.0).contains(rise) => {
                wrong("rise", "from 0 to 1", *rise)
            }
            Schedule::OneCycle { start, end, .. } => {
                positive("start", *start).and_then(|()| positive("end", *end))
            }
            Schedule::ReduceOnPlateau { factor, .. } if !(0.0..1.0).contains(factor) => {
                wrong("factor", "from 0 to below 1", *factor)
            }
            Schedule::ReduceOnPlateau { min_lr, min_delta, .. } => {
                positive("min_lr", *min_lr).and_then(|()| positive("min_delta", *min_delta))
            }
        }
    }
}

/// What [`Schedule::ReduceOnPlateau`] remembers from epoch to epoch; part of a checkpoint.
///
/// ```
/// use brisk_nn::{Plateau, Schedule};
/// let schedule: Schedule = serde_json::from_str(r#"{"reduce_on_plateau": {"patience": 2, "factor": 0.5}}"#)?;
/// let mut plateau = Plateau::default();
/// let reduced: Vec<bool> = [1.0, 0.5, 0.5, 0.5].map(|loss| plateau.epoch(&schedule, loss)).into();
/// assert_eq!(reduced, [false, false, false, true]);
/// assert_eq!(plateau.rate(&schedule, 0.1), 0.05);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plateau {
    /// The best value so far.
    pub best: Option<f64>,
    /// Epochs since then.
    pub wait: u64,
    /// Epochs in which none are counted.
    pub cooldown: u64,
    /// The product of all reductions.
    pub factor: f64,
}

impl Default for Plateau {
    fn default() -> Plateau {
        Plateau { best: None, wait: 0, cooldown: 0, factor: 1.0 }
    }
}

impl Plateau {
    /// Takes note of the monitored value after an epoch. True if the rate is reduced now. Values whose name ends in
    /// `loss` or `error` should fall, others rise.
    pub fn epoch(&mut self, schedule: &Schedule, value: f64) -> bool {
        let (monitor, factor, patience, min_delta, cooldown) = match schedule {
            Schedule::ReduceOnPlateau { monitor, factor, patience, min_delta, cooldown, .. } => {
                (monitor, *factor, *patience, *min_delta, *cooldown)
            }
            Schedule::LinearWarmup { then, .. } => return self.epoch(then, value),
            _ => return false,
        };
        let falls = monitor.ends_with("loss") || monitor.ends_with("error");
        let better = |best: f64| if falls { value < best - min_delta } else { value > best + min_delta };
        if self.cooldown > 0 {
            self.cooldown -= 1;
            self.wait = 0;
        }
        if self.best.is_none_or(better) {
            (self.best, self.wait) = (Some(value), 0);
        } else if self.cooldown == 0 {
            self.wait += 1;
            if self.wait >= patience {
                (self.factor, self.cooldown, self.wait) = (self.factor * factor, cooldown, 0);
                return true;
            }
        }
        false
    }

    /// A rate after all reductions so far.
    pub fn rate(&self, schedule: &Schedule, rate: f64) -> f64 {
        match schedule {
            Schedule::ReduceOnPlateau { min_lr, .. } => (rate * self.factor).max(min_lr.min(rate)),
            Schedule::LinearWarmup { then, .. } => self.rate(then, rate),
            _ => rate,
        }
    }
}
