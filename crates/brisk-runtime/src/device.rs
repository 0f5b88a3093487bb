//! What runs programs: the [`Device`] trait, the only thing that layers and training loops know of one.

use indexmap::IndexMap;

use brisk_graph::{Graph, Shape, Tensor};

use crate::profile::{Event, Timing};

/// What can go wrong while a graph is compiled or run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The graph itself is wrong.
    #[error(transparent)]
    Graph(#[from] brisk_graph::Error),
    /// An input or a piece of state was not given.
    #[error("the program needs {name:?}, which was not given")]
    Missing {
        /// Its name.
        name: String,
    },
    /// An input or a piece of state does not fit the program.
    #[error("{name}: expected {expected}, found {found}")]
    Mismatch {
        /// Its name.
        name: String,
        /// Type and shape that fit.
        expected: String,
        /// Type and shape that were given.
        found: String,
    },
    /// An operation met data that it cannot work on, such as a label out of range.
    #[error("{}{op}: {message}", if scope.is_empty() { String::new() } else { format!("{scope}: ") })]
    Data {
        /// The layer or function.
        scope: String,
        /// The operation.
        op: &'static str,
        /// What was expected, and what was found.
        message: String,
    },
    /// The guarded output (the loss) is not a finite number. The state is as it was before the step.
    #[error("{output} is {value}")]
    NotFinite {
        /// The output's name.
        output: String,
        /// NaN or an infinity.
        value: f32,
    },
    /// Found by a traced run: the first value that is not finite.
    #[error("first bad value: {what} of {shape} from {op} in {scope:?} ({bad} of {} elements are not finite)", shape.elements())]
    FirstBad {
        /// What it is: an input, state, or a computed value.
        what: String,
        /// The layer or function.
        scope: String,
        /// The operation.
        op: String,
        /// Its shape.
        shape: Shape,
        /// How many of its elements are NaN or infinite.
        bad: usize,
    },
}

/// A result of compiling or running.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is kept from step to step, by name: parameters, optimizer slots, running statistics.
///
/// ```
/// use brisk_graph::Tensor;
/// use brisk_runtime::State;
/// let mut state = State::new();
/// state.insert("dense.bias", Tensor::new([2], vec![0.0f32, 1.0])?);
/// assert_eq!(state.get("dense.bias").unwrap().f32s()?, [0.0, 1.0]);
/// # Ok::<(), brisk_graph::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    tensors: IndexMap<String, Tensor>,
}

impl State {
    /// Nothing.
    pub fn new() -> State {
        State::default()
    }

    /// Puts a tensor in, or in the place of the one with its name.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        self.tensors.insert(name.into(), tensor);
    }

    /// The tensor of a name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// The tensor of a name, to change.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Tensor> {
        self.tensors.get_mut(name)
    }

    /// Takes a tensor out.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        self.tensors.shift_remove(name)
    }

    /// Names and tensors, in the order in which they came.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(n, t)| (n.as_str(), t))
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }
}

impl<S: Into<String>> FromIterator<(S, Tensor)> for State {
    fn from_iter<I: IntoIterator<Item = (S, Tensor)>>(iter: I) -> State {
        State { tensors: iter.into_iter().map(|(n, t)| (n.into(), t)).collect() }
    }
}

/// How a graph is compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Options {
    /// Stop with [`Error::NotFinite`], before anything of the state changes, when this output is not finite.
    pub guard: Option<String>,
    /// Run every operation by itself and stop with [`Error::FirstBad`] at the first value that is not finite.
    pub trace: bool,
    /// Keep time, step by step; see [`Program::take_profile`] and [`Program::events`].
    pub profile: bool,
}

/// Something that compiles graphs and runs them.
pub trait Device: Send + Sync {
    /// Makes a program of a graph, for the shapes that stand in it.
    fn compile(&self, graph: &Graph, options: &Options) -> Result<Box<dyn Program>>;

    /// How it is called in reports: `cpu, 2 threads, avx2`.
    fn describe(&self) -> String;

    /// Gives back what it keeps between runs for tensors that are gone: packed weights of a model that was dropped.
    fn trim(&self) {}
}

/// A compiled graph.
pub trait Program: Send {
    /// Runs once: inputs (batches and scalars) by name; state is read and brought up to date. Gives the outputs in the
    /// graph's order.
    fn run(&mut self, inputs: &[(&str, &Tensor)], state: &mut State) -> Result<Vec<Tensor>>;

    /// What it does, as text for people: regions, tiles, kernels, memory.
    fn explain(&self) -> String;

    /// Figures of the compiled plan.
    fn facts(&self) -> Facts;

    /// Where the time went since the last call, for a program compiled with [`Options::profile`]; the most costly first.
    fn take_profile(&mut self) -> Vec<Timing> {
        Vec::new()
    }

    /// The calls of kernels in the last run, for a program compiled with [`Options::profile`].
    fn events(&self) -> Vec<Event> {
        Vec::new()
    }
}

/// Figures of a compiled plan.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Facts {
    /// Arithmetic operations (a multiplication and an addition count two) of contractions in one run, as if dense.
    pub flops: f64,
    /// Bytes of scratch memory that the program holds.
    pub arena_bytes: usize,
    /// How long compiling took, in milliseconds.
    pub plan_ms: f64,
}
