//! What a layer builds with: parameters, state, randomness, and the place it is at.

use brisk_graph::{Builder, DType, Role, Shape, Value};

use crate::{Error, Initializer, Layer, Result};

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
    updates: Vec<(Value<'g>, Value<'g>)>,
}

impl<'g> Context<'g> {
    /// For inference: dropout passes, statistics stay.
    pub fn new(builder: &'g Builder) -> Context<'g> {
        Context { builder, training: false, key: None, path: vec![], params: vec![], updates: vec![] }
    }

    /// For training, with a random key (i32 `[2]`) that dropout draws from.
    pub fn training(builder: &'g Builder, key: Value<'g>) -> Context<'g> {
        Context { training: true, key: Some(key), ..Context::new(builder) }
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
        self.declare(name, shape.into(), init, true)
    }

    /// State of the current scope that training does not change by gradient, such as a running mean.
    pub fn state(&mut self, name: &str, shape: impl Into<Shape>, init: &Initializer) -> Result<Value<'g>> {
        self.declare(name, shape.into(), init, false)
    }

    /// Sets the value that a piece of state has after this step.
    pub fn update(&mut self, state: Value<'g>, next: Value<'g>) {
        match self.updates.iter_mut().find(|u| u.0.id() == state.id()) {
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

    fn declare(
        &mut self,
        name: &str,
        shape: Shape,
        init: &Initializer,
        trainable: bool,
    ) -> Result<Value<'g>> {
        let path = [&self.path[..], &[name.to_string()]].concat().join(".");
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
        if !self.params.iter().any(|p| p.0.name == path) {
            self.params.push((ParamSpec { name: path, shape, initializer: init.clone(), trainable }, value));
        }
        Ok(value)
    }
}
