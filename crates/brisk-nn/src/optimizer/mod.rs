//! Optimizers: how parameters follow their gradients. Plain arithmetic in the graph.

mod adam;
mod clip;
mod rmsprop;
mod sgd;

use brisk_graph::{DType, Role, Shape, Tensor, Value};
use brisk_runtime::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::tagged;
use crate::rules::layer_of;
use crate::{Context, Error, Initializer, ParamSpec, Result};

pub use adam::{Adam, AdamW};
pub use rmsprop::RmsProp;
pub use sgd::Sgd;

use clip::Clip;

/// An optimizer, with Keras's names, defaults and formulas.
///
/// ```
/// use brisk_nn::Optimizer;
/// let o: Optimizer = serde_saphyr::from_str("adam: {learning_rate: 3e-4, global_clipnorm: 1.0}")?;
/// assert_eq!(o.learning_rate(), 3e-4);
/// let error = serde_saphyr::from_str::<Optimizer>("adam: {learning_rat: 1e-3}").unwrap_err().to_string();
/// assert!(error.contains("did you mean \"learning_rate\"?"), "{error}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self", rename_all = "lowercase")]
#[schemars(remote = "Optimizer", transform = crate::schema::allow_bare_names)]
pub enum Optimizer {
    /// See [`Sgd`].
    Sgd(Sgd),
    /// See [`Adam`].
    Adam(Adam),
    /// See [`AdamW`].
    AdamW(AdamW),
    /// See [`RmsProp`].
    RmsProp(RmsProp),
}
tagged!(Optimizer, "optimizer");

/// The scalar inputs that a step needs.
#[derive(Clone, Copy)]
pub(crate) struct Scalars<'g> {
    pub learning_rate: Value<'g>,
    /// The learning rate with Adam's bias corrections.
    pub step_size: Option<Value<'g>>,
    /// Whether weights decay.
    pub decays: bool,
}

/// Name of the scalar input with the learning rate.
pub const LEARNING_RATE: &str = "learning_rate";
/// Name of the scalar input with the learning rate and Adam's bias corrections in it.
pub const STEP_SIZE: &str = "step_size";

/// Numbers that must lie from 0 to below 1, and numbers that must be 0 or more.
pub(crate) struct Bounds {
    pub shares: Vec<(&'static str, f64)>,
    pub positive: Vec<(&'static str, f64)>,
}

/// The rule of one optimizer.
pub(crate) trait Rule {
    /// The name in configuration.
    fn name(&self) -> &'static str;
    /// The learning rate.
    fn learning_rate(&self) -> f64;
    /// What its numbers must keep to.
    fn bounds(&self) -> Bounds;
    /// What happens to gradients first.
    fn clip(&self) -> Clip;
    /// What is remembered for each parameter.
    fn slots(&self) -> Vec<&'static str>;
    /// `lr * sqrt(1 - b2^t) / (1 - b1^t)`, for those that take it.
    fn step_size(&self, _learning_rate: f64, _step: u64) -> Option<f64> {
        None
    }
    /// The next values of a parameter and its slots; `slots` are as `slots()` names them.
    fn update<'g>(
        &self,
        s: Scalars<'g>,
        p: Value<'g>,
        g: Value<'g>,
        slots: &[Value<'g>],
    ) -> (Value<'g>, Vec<Value<'g>>);
}

impl Optimizer {
    /// Plain gradient descent.
    pub fn sgd(learning_rate: f64) -> Optimizer {
        Optimizer::Sgd(Sgd { learning_rate, ..Sgd::default() })
    }

    /// Adam with Keras's defaults.
    pub fn adam(learning_rate: f64) -> Optimizer {
        Optimizer::Adam(Adam { learning_rate, ..Adam::default() })
    }

    /// AdamW with Keras's defaults.
    pub fn adamw(learning_rate: f64) -> Optimizer {
        Optimizer::AdamW(AdamW { learning_rate, ..AdamW::default() })
    }

    /// RMSprop with Keras's defaults.
    pub fn rmsprop(learning_rate: f64) -> Optimizer {
        Optimizer::RmsProp(RmsProp { learning_rate, ..RmsProp::default() })
    }

    fn rule(&self) -> &dyn Rule {
        match self {
            Optimizer::Sgd(o) => o,
            Optimizer::Adam(o) => o,
            Optimizer::AdamW(o) => o,
            Optimizer::RmsProp(o) => o,
        }
    }

    /// The name in configuration.
    pub fn name(&self) -> &'static str {
        self.rule().name()
    }

    /// The learning rate, before any schedule.
    pub fn learning_rate(&self) -> f64 {
        self.rule().learning_rate()
    }

    /// The scalar inputs of a step: `t` counts optimizer steps from 1. Adam's bias corrections are made here, in f64.
    ///
    /// ```
    /// use brisk_nn::Optimizer;
    /// let names: Vec<&str> = Optimizer::adam(1e-3).scalars(1e-3, 1).iter().map(|s| s.0).collect();
    /// assert_eq!(names, ["learning_rate", "step_size"]);
    /// ```
    pub fn scalars(&self, learning_rate: f64, t: u64) -> Vec<(&'static str, Tensor)> {
        let mut scalars = vec![(LEARNING_RATE, Tensor::scalar(learning_rate as f32))];
        scalars
            .extend(self.rule().step_size(learning_rate, t).map(|s| (STEP_SIZE, Tensor::scalar(s as f32))));
        scalars
    }

    /// What it remembers: for each trainable parameter its slots, `optimizer/conv2d.kernel/momentum`, at first zero.
    pub fn slot_specs(&self, params: &[ParamSpec]) -> Vec<ParamSpec> {
        let slots = self.rule().slots();
        let of = |p: &ParamSpec| slots.iter().map(|slot| slot_spec(&p.name, slot, p)).collect::<Vec<_>>();
        params.iter().filter(|p| p.trainable).flat_map(of).collect()
    }

    /// Puts its slots into a state, where they are not there yet.
    pub fn init_state(&self, params: &[ParamSpec], state: &mut State) {
        for slot in self.slot_specs(params) {
            if state.get(&slot.name).is_none() {
                state.insert(slot.name, Tensor::zeros(DType::F32, slot.shape));
            }
        }
    }

    /// Records the update of parameters by their gradients, as the context's rules say: declares the scalars and slots, and
    /// gives [`Context::update`] the next value of every parameter and slot.
    ///
    /// ```
    /// use brisk_graph::{Builder, DType, Role, grad};
    /// use brisk_nn::{Context, Initializer, Optimizer};
    /// let b = Builder::new();
    /// let mut cx = Context::new(&b);
    /// let w = cx.param("w", [3], &Initializer::Zeros)?;
    /// let loss = (w - 1.0).square().sum_all();
    /// let gradients = grad(loss, &[w])?;
    /// Optimizer::adam(0.1).record(&mut cx, &[("w".into(), w)], &gradients)?;
    /// let step = b.finish(&[("loss", loss)], cx.updates())?;
    /// assert_eq!(step.updates.len(), 3); // w and its two slots
    /// # Ok::<(), brisk_nn::Error>(())
    /// ```
    pub fn record<'g>(
        &self,
        cx: &mut Context<'g>,
        params: &[(String, Value<'g>)],
        gradients: &[Value<'g>],
    ) -> Result<()> {
        self.check()?;
        let (b, rule) = (cx.builder(), self.rule());
        let scalar = |name: &str| match b.find_input(name) {
            Some(value) => value,
            None => b.input(name, Role::Scalar, Shape::scalar(), DType::F32),
        };
        // The scalars of a parameter, with its own factor.
        let layers = cx.params().iter().filter_map(|p| layer_of(&p.0.name)).max().map_or(0, |last| last + 1);
        let rules = cx.rules().clone();
        let scalars = |name: &str| {
            let step_size = rule.step_size(0.0, 1).map(|_| scalar(&rules.step_size(name)));
            let factor = rules.learning_rate(name, layers);
            let scaled = |x: Value<'g>| if factor == 1.0 { x } else { x * factor };
            let learning_rate = scaled(scalar(LEARNING_RATE));
            Scalars { learning_rate, step_size: step_size.map(scaled), decays: rules.decays(name) }
        };
        scalars(""); // declares those that all share
        b.scope("optimizer", || {
            let gradients = rule.clip().apply(gradients);
            for ((name, p), g) in params.iter().zip(gradients) {
                let slot = |slot: &&str| b.input(&slot_name(name, slot), Role::State, p.shape(), DType::F32);
                let slots: Vec<_> = rule.slots().iter().map(slot).collect();
                let (next, next_slots) = rule.update(scalars(name), *p, g, &slots);
                cx.update(*p, next);
                slots.iter().zip(next_slots).for_each(|(s, n)| cx.update(*s, n));
            }
        });
        Ok(b.check()?)
    }

    /// An error if its numbers make no sense.
    pub fn check(&self) -> Result<()> {
        let rule = self.rule();
        let Bounds { shares, positive } = rule.bounds();
        let fail = |name: &str, expected: &str, found: f64| {
            Err(Error::config(
                format!("optimizer {}", self.name()),
                format!("expected {name} {expected}, found {found}"),
            ))
        };
        if let Some((name, x)) = shares.iter().find(|s| !(0.0..1.0).contains(&s.1)) {
            return fail(name, "from 0 to below 1", *x);
        }
        let clip = rule.clip();
        let clips =
            [("clipnorm", clip.norm), ("global_clipnorm", clip.global_norm), ("clipvalue", clip.value)];
        if let Some((name, x)) =
            clips.iter().filter_map(|c| c.1.map(|x| (c.0, x))).find(|c| c.1 <= 0.0 || c.1.is_nan())
        {
            return fail(name, "above 0", x);
        }
        let rate = ("learning_rate", rule.learning_rate());
        match positive.into_iter().chain([rate]).find(|p| !(p.1 >= 0.0 && p.1.is_finite())) {
            Some((name, x)) => fail(name, "of 0 or more", x),
            None => Ok(()),
        }
    }
}

/// `optimizer/conv2d.kernel/momentum`
pub(crate) fn slot_name(param: &str, slot: &str) -> String {
    format!("optimizer/{param}/{slot}")
}

pub(crate) fn slot_spec(param: &str, slot: &str, of: &ParamSpec) -> ParamSpec {
    ParamSpec {
        name: slot_name(param, slot),
        shape: of.shape.clone(),
        initializer: Initializer::Zeros,
        trainable: false,
    }
}
