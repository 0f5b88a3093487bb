//! Running a model, also one whose shapes depend on its data.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use brisk_graph::{Builder, DType, Role, Shape, Tensor, Value};
use brisk_runtime::{Device, Options, Program, State};

use crate::call::Host;
use crate::record::room;
use crate::room::Room;
use crate::{Constant, Elem, Error, Item, Model, Parameter, Result, Var, record};

/// What a model yields.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// A tensor.
    Tensor(Constant),
    /// A list.
    Sequence(Vec<Output>),
    /// An optional without a value.
    Nothing,
}

/// Runs a model for inputs of any shape.
///
/// A model is recorded for the shapes of its inputs and compiled once for them. Where the shape of a result depends on numbers, as that of
/// ONNX's `NonZero`, or the number of turns of a loop does, what has been recorded so far is run to see them, and recording goes on with
/// what was seen; such a model is recorded anew for each run.
///
/// ```
/// use brisk_graph::Tensor;
/// use brisk_onnx::{Constant, Elem, Model, Output, Session};
/// use brisk_runtime::{Cpu, State};
/// let text = r#"{"opsets": {"": 13}, "graph": {"inputs": [{"name": "x", "type": "unknown"}],
///     "outputs": [{"name": "y", "type": "unknown"}],
///     "nodes": [{"op": "NonZero", "inputs": ["x"], "outputs": ["y"]}]}}"#;
/// let model: Model = serde_json::from_str(text)?;
/// let device = Cpu::new(1);
/// let mut session = Session::new(&device, &model, State::new());
/// let x = Constant::Numbers(Elem::Float, Tensor::new([4], vec![0.0f32, 3.0, 0.0, 1.0])?);
/// let y = session.run(vec![Some(Output::Tensor(x))])?;
/// assert_eq!(y[0], Output::Tensor(Constant::ints(Elem::Int64, [1, 2], vec![1, 3])?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Session<D, M> {
    device: D,
    model: M,
    state: State,
    /// Programs of models that show nothing of themselves, by what came in.
    known: Vec<(Vec<Option<Template>>, Compiled)>,
}

/// The types and shapes of what comes in.
#[derive(Clone, Debug, PartialEq)]
enum Template {
    Tensor(Elem, DType, Shape),
    /// Texts stand in the graph.
    Texts(Shape, Arc<Vec<String>>),
    Sequence(Vec<Template>),
    Nothing,
}

struct Compiled {
    program: Box<dyn Program>,
    /// What comes out, with the numbers of the program's results.
    outputs: Vec<Shown>,
}

enum Shown {
    Tensor(Elem, usize),
    Texts(Shape, Arc<Vec<String>>),
    Sequence(Vec<Shown>),
    Nothing,
}

impl<D: Deref<Target: Device + Sized>, M: Deref<Target = Model>> Session<D, M> {
    /// Nothing is compiled yet. The state holds the model's parameters by name.
    pub fn new(device: D, model: M, state: State) -> Session<D, M> {
        Session { device, model, state, known: Vec::new() }
    }

    /// The outputs for inputs in the model's order; `None` for one that may be left out.
    pub fn run(&mut self, inputs: Vec<Option<Output>>) -> Result<Vec<Output>> {
        let key: Vec<Option<Template>> = inputs.iter().map(|i| i.as_ref().map(template)).collect();
        let mut tensors = Vec::new();
        inputs.iter().flatten().for_each(|i| flatten(i, &mut tensors));
        let prefix = self.model.input_prefix();
        let names: Vec<String> = (0..tensors.len()).map(|i| format!("{prefix}{i}")).collect();
        let given: Vec<(&str, &Tensor)> = names.iter().zip(&tensors).map(|(n, t)| (n.as_str(), *t)).collect();
        if let Some((_, compiled)) = self.known.iter_mut().find(|k| k.0 == key) {
            return compiled.run(&given, &mut self.state);
        }
        let b = Builder::new();
        let mut free = names.iter();
        let items: Vec<Option<Item<'_>>> =
            key.iter().map(|t| t.as_ref().map(|t| t.input(&b, &mut free))).collect();
        let room = room(&self.model, items.iter().flatten());
        let (device, state) = (&*self.device, &mut self.state);
        let mut host = Eager { b: &b, device, given: &given, state, room, seen: None };
        let found = record(&self.model, &mut host, items)?;
        let looked = host.seen.is_some();
        let mut values = Vec::new();
        let outputs: Vec<Shown> = found.iter().map(|item| shown(item, &mut values)).collect();
        let labels: Vec<String> = (0..values.len()).map(|i| i.to_string()).collect();
        let named: Vec<_> = labels.iter().zip(&values).map(|(l, v)| (l.as_str(), *v)).collect();
        let program = compile(device, &b, &named, room)?;
        let mut compiled = Compiled { program, outputs };
        let result = compiled.run(&given, &mut self.state);
        if !looked {
            self.known.push((key, compiled));
        }
        result
    }
}

/// A program of values, if there is room for what it needs and yields.
fn compile(
    device: &dyn Device,
    b: &Builder,
    values: &[(&str, Value<'_>)],
    room: Room,
) -> Result<Box<dyn Program>> {
    let program = device.compile(&b.finish(values, &[])?, &Options::default())?;
    let yields = values.iter().map(|(_, v)| bytes(&v.shape(), v.dtype()));
    let all = yields.fold(program.facts().arena_bytes, usize::saturating_add);
    room.bytes(all).map_err(Error::Model)?;
    Ok(program)
}

fn bytes(shape: &Shape, dtype: DType) -> usize {
    shape.elements().saturating_mul(dtype.size())
}

impl Compiled {
    fn run(&mut self, given: &[(&str, &Tensor)], state: &mut State) -> Result<Vec<Output>> {
        let results = self.program.run(given, state)?;
        self.outputs.iter().map(|shown| shown.output(&results)).collect()
    }
}

impl Template {
    /// As inputs of a graph, with the next of some names.
    fn input<'g>(&self, b: &'g Builder, names: &mut std::slice::Iter<'_, String>) -> Item<'g> {
        match self {
            Template::Tensor(elem, dtype, shape) => {
                let role = if shape.rank() > 0 { Role::Batch } else { Role::Scalar };
                let name = names.next().map_or("", String::as_str);
                let value = b.input(name, role, shape, *dtype);
                Var::new(*elem, value).into()
            }
            Template::Texts(shape, texts) => Item::Texts(shape.clone(), texts.clone()),
            Template::Sequence(items) => {
                Item::Sequence(Rc::new(items.iter().map(|t| t.input(b, names)).collect()))
            }
            Template::Nothing => Item::Nothing,
        }
    }
}

fn template(value: &Output) -> Template {
    match value {
        Output::Tensor(Constant::Numbers(elem, t)) => Template::Tensor(*elem, t.dtype(), t.shape().clone()),
        Output::Tensor(Constant::Texts(shape, texts)) => Template::Texts(shape.clone(), texts.clone()),
        Output::Sequence(items) => Template::Sequence(items.iter().map(template).collect()),
        Output::Nothing => Template::Nothing,
    }
}

fn flatten<'t>(value: &'t Output, to: &mut Vec<&'t Tensor>) {
    match value {
        Output::Tensor(Constant::Numbers(_, tensor)) => to.push(tensor),
        Output::Sequence(items) => items.iter().for_each(|i| flatten(i, to)),
        Output::Tensor(Constant::Texts(..)) | Output::Nothing => {}
    }
}

/// What an item will be once its values are computed, which are added to those of the program.
fn shown<'g>(item: &Item<'g>, values: &mut Vec<Value<'g>>) -> Shown {
    match item {
        Item::Tensor(var) => {
            values.push(var.settled());
            Shown::Tensor(var.elem, values.len() - 1)
        }
        Item::Texts(shape, texts) => Shown::Texts(shape.clone(), texts.clone()),
        Item::Sequence(items) => Shown::Sequence(items.iter().map(|i| shown(i, values)).collect()),
        Item::Nothing => Shown::Nothing,
    }
}

impl Shown {
    fn output(&self, results: &[Tensor]) -> Result<Output> {
        Ok(match self {
            Shown::Tensor(elem, number) => match results.get(*number) {
                Some(tensor) => Output::Tensor(Constant::Numbers(*elem, tensor.clone())),
                None => return Err(Error::Model(format!("the program has no result {number}"))),
            },
            Shown::Texts(shape, texts) => Output::Tensor(Constant::Texts(shape.clone(), texts.clone())),
            Shown::Sequence(items) => {
                Output::Sequence(items.iter().map(|s| s.output(results)).collect::<Result<_>>()?)
            }
            Shown::Nothing => Output::Nothing,
        })
    }
}

/// Runs what has been recorded when a number must be seen.
struct Eager<'a, 'g> {
    b: &'g Builder,
    device: &'a dyn Device,
    given: &'a [(&'a str, &'a Tensor)],
    state: &'a mut State,
    room: Room,
    /// Bytes of all that was looked at, if anything was: it stays while the model is recorded.
    seen: Option<usize>,
}

impl<'g> Host<'g> for Eager<'_, 'g> {
    fn builder(&self) -> &'g Builder {
        self.b
    }

    fn parameter(&mut self, name: &str, parameter: &Parameter) -> Result<Value<'g>, String> {
        match self.b.find_input(name) {
            Some(value) => Ok(value),
            None => Ok(self.b.input(name, Role::State, &parameter.shape[..], DType::F32)),
        }
    }

    fn look(&mut self, value: Value<'g>) -> Result<Option<Tensor>, String> {
        let seen = self.seen.unwrap_or(0).saturating_add(bytes(&value.shape(), value.dtype()));
        self.seen = Some(seen);
        self.room.bytes(seen)?;
        let mut program =
            compile(self.device, self.b, &[("seen", value)], self.room).map_err(|e| e.to_string())?;
        let seen = program.run(self.given, self.state).map_err(|e| e.to_string())?;
        Ok(seen.into_iter().next())
    }

    fn random(&mut self, shape: &Shape) -> Result<Value<'g>, String> {
        let key = Tensor::new([2], vec![0i32, 0]).map_err(|e| e.to_string())?;
        Ok(self.b.random(self.b.constant(key), shape))
    }
}
