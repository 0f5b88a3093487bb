//! What a layer builds with: parameters, state, randomness, and the place it is at.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use brisk_graph::{Builder, DType, Data, Id, Role, Shape, Tensor, Value};
use indexmap::IndexMap;

use crate::rules::{LORA_A, LORA_B};
use crate::{Error, Initializer, Layer, Lora, ParamRules, Result};

/// A parameter, or another piece of state, of a model.
///
/// ```
/// use brisk_nn::{Dense, Sequential};
/// let model = Sequential::new([4]).add(Dense::new(3)).build()?;
/// let kernel = &model.param_specs()?[0];
/// assert_eq!((kernel.name.as_str(), kernel.shape.dims(), kernel.trainable), ("dense.kernel", &[4, 3][..], true));
/// # Ok::<(), brisk_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Its path: `conv2d_1.kernel`.
    pub name: String,
    /// Its shape; the element type is f32.
    pub shape: Shape,
    /// How it starts.
    pub initializer: Initializer,
    /// Whether training follows its gradient. Running statistics are not.
    pub trainable: bool,
}

/// The most numbers that one parameter may have: 32 GiB of them.
const MOST_NUMBERS: usize = 1 << 33;
/// The most numbers that one sample may have on its way through a model.
const MOST_VALUES: usize = 1 << 40;
/// The most numbers that the layers of a model may work out as constants, together: a few words of a configuration ask for very large ones.
const MOST_COMPUTED: usize = 1 << 27;

/// Records a model's forward pass: gives layers their parameters by path, and collects them and the updates of state.
///
/// Parameters are inputs of the graph with [`Role::State`]. A path that is asked for again gives the same value: a model
/// that is used twice (a discriminator, say) shares its parameters, and several contexts on one builder do too.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, Value};
/// use brisk_nn::{Context, Initializer, Result};
///
/// // A layer may be a plain function.
/// fn scale<'g>(cx: &mut Context<'g>, x: Value<'g>) -> Result<Value<'g>> {
///     cx.scope("scale", |cx| Ok(x * cx.param("gain", [x.last()], &Initializer::Ones)?))
/// }
/// let b = Builder::new();
/// let mut cx = Context::new(&b);
/// let y = scale(&mut cx, b.input("x", Role::Batch, [8, 3], DType::F32))?;
/// assert_eq!(cx.params()[0].0.name, "scale.gain");
/// # Ok::<(), brisk_nn::Error>(())
/// ```
pub struct Context<'g> {
    builder: &'g Builder,
    training: bool,
    key: Option<Value<'g>>,
    path: Vec<String>,
    params: Vec<(ParamSpec, Value<'g>)>,
    declared: HashSet<Id>,
    updates: Vec<(Value<'g>, Value<'g>)>,
    /// The places of updates, by their states.
    updated: HashMap<Id, usize>,
    rules: ParamRules,
    epoch: usize,
    checkpoints: bool,
    masks: HashMap<Id, Value<'g>>,
    states: HashMap<Id, Value<'g>>,
    results: HashMap<Id, IndexMap<String, Value<'g>>>,
    computed: Cell<usize>,
}

impl<'g> Context<'g> {
    /// For inference: dropout passes, statistics stay.
    pub fn new(builder: &'g Builder) -> Context<'g> {
        Context {
            builder,
            training: false,
            key: None,
            path: vec![],
            params: vec![],
            declared: HashSet::new(),
            updates: vec![],
            updated: HashMap::new(),
            rules: ParamRules::default(),
            epoch: 0,
            checkpoints: false,
            masks: HashMap::new(),
            states: HashMap::new(),
            results: HashMap::new(),
            computed: Cell::new(0),
        }
    }

    /// For training, with a random key (i32 `[2]`) that dropout draws from.
    pub fn training(builder: &'g Builder, key: Value<'g>) -> Context<'g> {
        Context { training: true, key: Some(key), ..Context::new(builder) }
    }

    /// With rules for the parameters that it hands out, as they hold in an epoch (from 0).
    pub fn with_rules(self, rules: &ParamRules, epoch: usize) -> Context<'g> {
        Context { rules: rules.clone(), epoch, ..self }
    }

    /// With [`Context::checkpoint`] in force, or not.
    pub fn with_checkpoints(self, checkpoints: bool) -> Context<'g> {
        Context { checkpoints, ..self }
    }

    /// Builds a part of a model whose insides are computed again for gradients, where that is asked for; see
    /// [`Builder::checkpoint`]. Layers that stand in long rows, each large inside and small outside, are such parts.
    ///
    /// ```
    /// use brisk_graph::{Builder, DType, Role};
    /// use brisk_nn::{Context, Dense};
    /// let b = Builder::new();
    /// let x = b.input("x", Role::Batch, [2, 8], DType::F32);
    /// let mut cx = Context::new(&b).with_checkpoints(true);
    /// let y = cx.checkpoint(|cx| {
    ///     let inner = cx.layer("inner", &Dense::new(64), &[x])?;
    ///     cx.layer("outer", &Dense::new(8), &[inner])
    /// })?;
    /// assert_eq!(y.shape(), x.shape());
    /// # Ok::<(), brisk_nn::Error>(())
    /// ```
    pub fn checkpoint<R>(&mut self, build: impl FnOnce(&mut Context<'g>) -> R) -> R {
        match self.checkpoints {
            true => self.builder.checkpoint(|| build(self)),
            false => build(self),
        }
    }

    /// The rules for parameters.
    pub fn rules(&self) -> &ParamRules {
        &self.rules
    }

    /// The graph that is recorded.
    pub fn builder(&self) -> &'g Builder {
        self.builder
    }

    /// Whether this is training.
    pub fn is_training(&self) -> bool {
        self.training
    }

    /// The random key of this step; in inference there is none.
    pub fn key(&self) -> Option<Value<'g>> {
        self.key
    }

    /// The path of the scopes around: `encoder.dense_1`.
    pub fn path(&self) -> String {
        self.path.join(".")
    }

    /// A parameter of the current scope, which training changes.
    pub fn param(&mut self, name: &str, shape: impl Into<Shape>, init: &Initializer) -> Result<Value<'g>> {
        let shape = shape.into();
        let path = self.path_of(name);
        let Some(lora) = self.rules.lora(&path, &shape).cloned() else {
            let trainable = self.rules.trainable(&path, self.epoch);
            return self.declare(name, shape, init, trainable);
        };
        let w = self.declare(name, &shape, init, false)?;
        let Lora { rank, .. } = lora;
        let (inputs, outputs) = (shape[0], shape[1]);
        let a =
            self.declare(&format!("{name}.{LORA_A}"), [inputs, rank], &Lora::initializer(inputs), true)?;
        let b = self.declare(&format!("{name}.{LORA_B}"), [rank, outputs], &Initializer::Zeros, true)?;
        Ok(w + a.matmul(b) * lora.scale())
    }

    /// State of the current scope that training does not change by gradient, such as a running mean.
    pub fn state(&mut self, name: &str, shape: impl Into<Shape>, init: &Initializer) -> Result<Value<'g>> {
        self.declare(name, shape, init, false)
    }

    /// Sets the value that a piece of state has after this step.
    pub fn update(&mut self, state: Value<'g>, next: Value<'g>) {
        let place = *self.updated.entry(state.id()).or_insert(self.updates.len());
        match self.updates.get_mut(place) {
            Some(update) => update.1 = next,
            None => self.updates.push((state, next)),
        }
    }

    /// Builds in an inner scope.
    pub fn scope<R>(&mut self, name: &str, build: impl FnOnce(&mut Context<'g>) -> R) -> R {
        self.path.push(name.into());
        let result = self.builder.scope(name, || build(self));
        self.path.pop();
        result
    }

    /// Applies a layer under a name. Its errors name it.
    pub fn layer(
        &mut self,
        name: &str,
        layer: &(impl Layer + ?Sized),
        inputs: &[Value<'g>],
    ) -> Result<Value<'g>> {
        self.scope(name, |cx| {
            let y = layer.forward(cx, inputs)?;
            cx.builder.check()?;
            match y.shape().elements() <= MOST_VALUES {
                true => Ok(y),
                false => Err(cx.error(format!(
                    "yields maps of {}, more than any memory holds; check its sizes",
                    y.shape()
                ))),
            }
        })
    }

    /// Which steps of some sequences are no padding, if that is known: u8 `[n, length]`, 0 for padding.
    ///
    /// ```
    /// use brisk_graph::{Builder, DType, Role};
    /// use brisk_nn::{Context, Dense, Embedding};
    /// let b = Builder::new();
    /// let tokens = b.input("tokens", Role::Batch, [2, 5], DType::I32);
    /// let mut cx = Context::new(&b);
    /// let x = cx.layer("embedding", &Embedding::new(100, 8).mask_zero(true), &[tokens])?;
    /// let y = cx.layer("dense", &Dense::new(3), &[x])?;
    /// assert_eq!(cx.mask(y).map(|m| m.id()), cx.mask(x).map(|m| m.id()));
    /// assert!(cx.mask(x).is_some());
    /// # Ok::<(), brisk_nn::Error>(())
    /// ```
    pub fn mask(&self, value: Value<'g>) -> Option<Value<'g>> {
        self.masks.get(&value.id()).copied()
    }

    /// Says which steps of some sequences are no padding: u8 `[n, length]`, 0 for padding.
    pub fn set_mask(&mut self, value: Value<'g>, mask: Value<'g>) {
        self.masks.insert(value.id(), mask);
    }

    /// Hands the mask of `from`, if it has one, on to `to`, which has the same steps; gives `to`.
    pub fn hand_on(&mut self, from: Value<'g>, to: Value<'g>) -> Value<'g> {
        if let Some(mask) = self.mask(from) {
            self.set_mask(to, mask);
        }
        to
    }

    /// The last state of the recurrent layer that yielded a value, if it was made with `return_state`: `[n, units]`, of an
    /// LSTM `[n, 2 units]`, hidden state and cell. It fits as the second input of another such layer.
    ///
    /// ```
    /// use brisk_graph::{Builder, DType, Role};
    /// use brisk_nn::{Context, LSTM};
    /// let b = Builder::new();
    /// let [x, z] = ["x", "z"].map(|name| b.input(name, Role::Batch, [2, 5, 3], DType::F32));
    /// let mut cx = Context::new(&b);
    /// let y = cx.layer("encoder", &LSTM::new(4).return_state(true), &[x])?;
    /// let state = cx.state_of(y).expect("asked for");
    /// assert_eq!(state.shape().dims(), [2, 8]);
    /// cx.layer("decoder", &LSTM::new(4), &[z, state])?;
    /// # Ok::<(), brisk_nn::Error>(())
    /// ```
    pub fn state_of(&self, value: Value<'g>) -> Option<Value<'g>> {
        self.states.get(&value.id()).copied()
    }

    /// Remembers the last state of the recurrent layer that yielded a value.
    pub fn set_state_of(&mut self, value: Value<'g>, state: Value<'g>) {
        self.states.insert(value.id(), state);
    }

    /// All results of the layer that yielded a value, by name, if it has them by name: see [`Onnx`](crate::Onnx).
    ///
    /// ```
    /// use brisk_graph::{Builder, DType, Role};
    /// let b = Builder::new();
    /// let x = b.input("x", Role::Batch, [2, 3], DType::F32);
    /// let mut cx = brisk_nn::Context::new(&b);
    /// cx.set_results_of(x, [("x".to_string(), x), ("square".to_string(), x * x)]);
    /// assert!(cx.results_of(x).is_some_and(|r| r.contains_key("square")));
    /// assert!(cx.results_of(x * 2.0).is_none());
    /// ```
    pub fn results_of(&self, value: Value<'g>) -> Option<&IndexMap<String, Value<'g>>> {
        self.results.get(&value.id())
    }

    /// Remembers all results of the layer that yielded a value.
    pub fn set_results_of(
        &mut self,
        value: Value<'g>,
        results: impl IntoIterator<Item = (String, Value<'g>)>,
    ) {
        self.results.insert(value.id(), results.into_iter().collect());
    }

    /// The one input of a layer that takes one.
    pub fn one(&self, inputs: &[Value<'g>]) -> Result<Value<'g>> {
        match inputs {
            [x] => Ok(*x),
            _ => Err(self.error(format!(
                "takes one input, found {}; join them with Add or Concatenate first",
                inputs.len()
            ))),
        }
    }

    /// An error of the layer that is being built.
    pub fn error(&self, message: impl Into<String>) -> Error {
        Error::layer(self.path(), message)
    }

    /// All parameters and state asked for so far, in order.
    pub fn params(&self) -> &[(ParamSpec, Value<'g>)] {
        &self.params
    }

    /// The parameters that training changes.
    pub fn trainable(&self) -> impl Iterator<Item = (&str, Value<'g>)> {
        self.params.iter().filter(|p| p.0.trainable).map(|p| (p.0.name.as_str(), p.1))
    }

    /// The updates of state so far: the value of before, and the value of after.
    pub fn updates(&self) -> &[(Value<'g>, Value<'g>)] {
        &self.updates
    }

    /// A constant that a layer works out; fails rather than let those of a model fill the memory.
    pub(crate) fn computed<D: Into<Data>>(
        &self,
        shape: impl Into<Shape>,
        values: impl FnOnce() -> D,
    ) -> Result<Value<'g>> {
        let shape = shape.into();
        let all = self.computed.get().saturating_add(shape.elements());
        if all > MOST_COMPUTED {
            return Err(self.error(format!(
                "with its table of {shape} the model works out more than {MOST_COMPUTED} numbers in advance; use shorter sequences"
            )));
        }
        self.computed.set(all);
        Ok(self.builder.constant(Tensor::new(shape, values())?))
    }

    fn path_of(&self, name: &str) -> String {
        [&self.path[..], &[name.to_string()]].concat().join(".")
    }

    fn declare(
        &mut self,
        name: &str,
        shape: impl Into<Shape>,
        init: &Initializer,
        trainable: bool,
    ) -> Result<Value<'g>> {
        let (path, shape) = (self.path_of(name), shape.into());
        if shape.elements() > MOST_NUMBERS {
            return Err(self.error(format!(
                "its {name} of {shape} would have {} numbers, at most {MOST_NUMBERS} are possible; check its sizes",
                shape.elements()
            )));
        }
        let value = match self.builder.find_input(&path) {
            Some(value) => value,
            None => self.builder.input(&path, Role::State, &shape, DType::F32),
        };
        if value.shape() != shape {
            return Err(
                self.error(format!("{name} is shared, but here it is {shape} and there {}", value.shape()))
            );
        }
        if self.declared.insert(value.id()) {
            self.params.push((ParamSpec { name: path, shape, initializer: init.clone(), trainable }, value));
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_layers_work_out_is_bounded_together() {
        let b = Builder::new();
        let cx = Context::new(&b);
        let some = || cx.computed([MOST_COMPUTED / 2], || vec![0f32; MOST_COMPUTED / 2]);
        assert!(some().is_ok() && some().is_ok());
        assert!(cx.computed([1], || vec![0f32]).unwrap_err().to_string().contains("in advance"));
    }
}
