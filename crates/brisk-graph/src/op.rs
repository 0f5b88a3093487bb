//! The open table of named operations: one file each, everything about it in one place.
//!
//! A named operation must say how it decomposes into primitives. That alone gives it correct results, a gradient and a
//! place on every device; it is also the oracle that its fast kernels are tested against.

use std::fmt;

use brisk_kernels::parted::Parted;

use crate::prim::Scalar;
use crate::{Builder, DType, Shape, Value};

mod activation;
mod after;
mod attention;
mod cross_entropy;
mod dropout;
mod finite;
mod label;
mod loss;
mod norm;
mod pool;
mod recurrent;
mod segments;
mod softmax;
mod upsample;

pub use activation::*;
pub use after::*;
pub use attention::*;
pub use cross_entropy::*;
pub use dropout::*;
pub use finite::*;
pub use label::*;
pub use loss::*;
pub use norm::*;
pub use pool::*;
pub use recurrent::*;
pub use segments::*;
pub use softmax::*;
pub use upsample::*;

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Attr {
    /// A whole number.
    Int(i64),
    /// A float.
    Float(Scalar),
    /// Several whole numbers.
    Ints(Vec<i64>),
}

/// What a named operation is told besides its operands.
///
/// ```
/// use brisk_graph::op::Attrs;
/// let a = Attrs::new().float("epsilon", 1e-3).int("axis", 1);
/// assert_eq!(a.get_float("epsilon"), 1e-3);
/// assert_eq!(a.to_string(), "[epsilon 0.001, axis 1]");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attrs(Vec<(&'static str, Attr)>);

impl Attrs {
    /// None.
    pub fn new() -> Attrs {
        Attrs::default()
    }

    /// With a whole number more.
    pub fn int(mut self, name: &'static str, value: i64) -> Attrs {
        self.0.push((name, Attr::Int(value)));
        self
    }

    /// With a float more.
    pub fn float(mut self, name: &'static str, value: f64) -> Attrs {
        self.0.push((name, Attr::Float(Scalar(value))));
        self
    }

    /// With a list more.
    pub fn ints(mut self, name: &'static str, values: &[i64]) -> Attrs {
        self.0.push((name, Attr::Ints(values.to_vec())));
        self
    }

    /// The attribute of a name.
    pub fn get(&self, name: &str) -> Option<&Attr> {
        self.0.iter().find(|a| a.0 == name).map(|a| &a.1)
    }

    /// All but one.
    pub fn without(&self, name: &str) -> Attrs {
        Attrs(self.0.iter().filter(|a| a.0 != name).cloned().collect())
    }

    /// A whole number, 0 if it is not there.
    pub fn get_int(&self, name: &str) -> i64 {
        match self.get(name) {
            Some(Attr::Int(i)) => *i,
            _ => 0,
        }
    }

    /// A list, empty if it is not there.
    pub fn get_ints(&self, name: &str) -> &[i64] {
        match self.get(name) {
            Some(Attr::Ints(v)) => v,
            _ => &[],
        }
    }

    /// A float, 0 if it is not there.
    pub fn get_float(&self, name: &str) -> f64 {
        match self.get(name) {
            Some(Attr::Float(f)) => f.0,
            _ => 0.0,
        }
    }
}

impl fmt::Display for Attrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = self.0.iter().map(|(name, value)| match value {
            Attr::Int(i) => format!("{name} {i}"),
            Attr::Float(x) => format!("{name} {}", x.0),
            Attr::Ints(v) => format!("{name} {v:?}"),
        });
        let each: Vec<_> = each.collect();
        if each.is_empty() { Ok(()) } else { write!(f, "[{}]", each.join(", ")) }
    }
}

/// How the gradient of a named operation is found.
pub enum Gradient {
    /// By differentiating its decomposition.
    FromDecomposition,
    /// By a closed form: from the operands, the result and the gradient by the result to the gradients by the
    /// operands, `None` where there is none.
    Closed(for<'g> fn(GradientOf<'_, 'g>) -> Vec<Option<Value<'g>>>),
}

/// What a closed-form gradient is made from.
pub struct GradientOf<'a, 'g> {
    /// The operands.
    pub inputs: &'a [Value<'g>],
    /// The result.
    pub output: Value<'g>,
    /// The gradient by the result.
    pub dy: Value<'g>,
    /// The attributes.
    pub attrs: &'a Attrs,
}

/// A call of an operation's own CPU kernel on f32 rows.
pub struct KernelCall<'a> {
    /// The operands' elements.
    pub inputs: &'a [KernelInput<'a>],
    /// Where the result goes.
    pub output: &'a mut [f32],
    /// The operands' shapes, whole: `inputs` may hold a part of the first axis.
    pub shapes: &'a [Shape],
    /// Length of a row of the result: its last axis.
    pub columns: usize,
    /// How many elements of the whole result stand before `output`, for messages that name a row.
    pub offset: usize,
    /// The attributes.
    pub attrs: &'a Attrs,
    /// With [`Cut::Parts`], instead of `output`: where each result goes, `None` for one that nobody wants.
    pub results: &'a [Option<Parted<'a>>],
    /// With [`Cut::Parts`]: which part to do, from 0.
    pub part: usize,
    /// With [`Cut::Parts`]: of how many.
    pub parts: usize,
}

/// An operand of a [`KernelCall`].
pub enum KernelInput<'a> {
    /// Floats.
    F32(&'a [f32]),
    /// Whole numbers.
    I32(&'a [i32]),
    /// Bytes.
    U8(&'a [u8]),
}

impl<'a> KernelInput<'a> {
    /// The floats, empty for another type (a kernel's shape rule has fixed the types).
    pub fn f32s(&self) -> &'a [f32] {
        match self {
            KernelInput::F32(v) => v,
            _ => &[],
        }
    }

    /// The bytes, empty for another type.
    pub fn u8s(&self) -> &'a [u8] {
        match self {
            KernelInput::U8(v) => v,
            _ => &[],
        }
    }

    /// The whole numbers, empty for another type.
    pub fn i32s(&self) -> &'a [i32] {
        match self {
            KernelInput::I32(v) => v,
            _ => &[],
        }
    }
}

/// Along what a [`Kernel`]'s calls may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All axes but the last of the first operand, anywhere.
    Rows,
    /// The first axis of the first operand; a call is worth its while from so many samples on.
    Samples(usize),
    /// As the kernel itself does it: each call does its part of the parts that it is told, of results that all share.
    ///
    /// Operations with several results are several nodes with the same operands, which differ by their attribute `result`
    /// alone; the kernel computes those that are wanted at once.
    Parts,
}

/// A CPU kernel, and how it may be cut.
pub struct Kernel {
    /// Along what.
    pub cut: Cut,
    /// Computes the result of whole rows. The message of an error becomes a run-time error of the step.
    pub run: fn(KernelCall<'_>) -> Result<(), String>,
    /// For each operand: true if it is cut along with the result, false if each call reads all of it.
    ///
    /// [`Cut::Rows`]: the rows are those of the first operand: its last axis, which is never cut. The axes before it are
    /// those of the result and of every operand that is `true`; along them the call may be cut anywhere, all of these
    /// together. So a kernel that yields one number a row, such as a loss, can be cut between any two numbers.
    ///
    /// [`Cut::Samples`]: the result and every operand that is `true` have the same first axis, and are cut along that.
    pub by_row: &'static [bool],
}

/// Operands and attributes that an operation is tested with.
#[derive(Clone)]
pub struct Sample {
    /// Shapes and types of the operands.
    pub inputs: Vec<(Shape, SampleKind)>,
    /// The attributes.
    pub attrs: Attrs,
}

/// What a sample's operand is filled with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SampleKind {
    /// Floats in a range.
    Float(f64, f64),
    /// Whole numbers from 0 below a bound.
    Index(i32),
    /// Truth values, or bytes below a bound.
    Byte(u8),
    /// These whole numbers.
    Exactly(&'static [i32]),
}

/// A named operation: everything about it.
pub struct OpDef {
    /// Its name, as ONNX and PyTorch would say it, in snake case.
    pub name: &'static str,
    /// What it computes: formula, shapes, source.
    pub doc: &'static str,
    /// The shape rule.
    pub shape: fn(&[(&Shape, DType)], &Attrs) -> Inferred,
    /// What it is in primitives and other named operations.
    pub decompose: for<'g> fn(&'g Builder, &[Value<'g>], &Attrs) -> Value<'g>,
    /// Its gradient.
    pub gradient: Gradient,
    /// Its CPU kernel, if it has one.
    pub kernel: Option<Kernel>,
    /// What it is tested with.
    pub samples: fn() -> Vec<Sample>,
}

impl PartialEq for OpDef {
    fn eq(&self, other: &OpDef) -> bool {
        self.name == other.name
    }
}
impl Eq for OpDef {}

impl fmt::Debug for OpDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Every named operation, in the order of the documentation.
pub static OPS: &[&OpDef] = &[
    &RELU,
    &LEAKY_RELU,
    &ELU,
    &GELU,
    &SILU,
    &SIGMOID,
    &SOFTPLUS,
    &SOFTMAX,
    &SOFTMAX_GRAD,
    &LOG_SOFTMAX,
    &LOG_SOFTMAX_GRAD,
    &LAYER_NORM,
    &LAYER_NORM_GRAD,
    &BATCH_NORM,
    &ATTENTION,
    &ATTENTION_GRAD,
    &SEGMENT_MAX,
    &DROPOUT,
    &AFTER,
    &AVG_POOL,
    &GLOBAL_AVG_POOL,
    &GLOBAL_MAX_POOL,
    &UPSAMPLE,
    &LSTM,
    &LSTM_RECORD,
    &LSTM_GRAD,
    &GRU,
    &GRU_RECORD,
    &GRU_GRAD,
    &GRU_RESET_BEFORE,
    &SIMPLE_RNN,
    &SIMPLE_RNN_RECORD,
    &SIMPLE_RNN_GRAD,
    &ONE_HOT,
    &IN_TOP_K,
    &SPARSE_CROSS_ENTROPY,
    &SPARSE_CROSS_ENTROPY_GRAD,
    &CROSS_ENTROPY,
    &CROSS_ENTROPY_GRAD,
    &BINARY_CROSS_ENTROPY,
    &SQUARED_ERROR,
    &ABSOLUTE_ERROR,
    &HUBER,
    &IS_FINITE,
];

/// What a shape rule yields: shape and type of the result, or what is wrong with the operands.
pub type Inferred = Result<(Shape, DType), String>;

/// The shape rule of operations that keep the shape and type of one float operand.
fn same_as_input(inputs: &[(&Shape, DType)], _: &Attrs) -> Inferred {
    match inputs {
        [(shape, dtype)] if dtype.is_float() => Ok(((*shape).clone(), *dtype)),
        _ => Err("expected one operand of floats".into()),
    }
}

/// The shape rule of operations over rows, the last axis of one float operand, that keep its shape and type.
fn rows_of_input(inputs: &[(&Shape, DType)], attrs: &Attrs) -> Inferred {
    let (shape, dtype) = same_as_input(inputs, attrs)?;
    match shape.rank() > 0 && shape.last() > 0 {
        true => Ok((shape, dtype)),
        false => Err(format!("expected rows of at least one element, found {shape}")),
    }
}

/// The shape rule of operations on two float operands of one shape and type, which they keep.
fn same_as_both(inputs: &[(&Shape, DType)], attrs: &Attrs) -> Inferred {
    let [a, b] = inputs else { return Err(format!("expected two operands, found {}", inputs.len())) };
    match a == b {
        true => same_as_input(&inputs[..1], attrs),
        false => {
            Err(format!("expected operands of one type and shape, found {} {} and {} {}", a.1, a.0, b.1, b.0))
        }
    }
}

/// The axes of `v` but the last.
fn leading(v: Value<'_>) -> Vec<usize> {
    (1..v.rank()).map(|i| i - 1).collect()
}

/// Reduces the last axis and keeps it, with size 1.
fn keep_last<'g>(v: Value<'g>, reduce: impl FnOnce(Value<'g>, &[usize]) -> Value<'g>) -> Value<'g> {
    let last = v.rank().saturating_sub(1);
    reduce(v, &[last]).expand(last)
}

impl Sample {
    /// Operands, and no attributes yet.
    fn of<S: Into<Shape>>(inputs: impl IntoIterator<Item = (S, SampleKind)>) -> Sample {
        Sample { inputs: inputs.into_iter().map(|(s, k)| (s.into(), k)).collect(), attrs: Attrs::new() }
    }

    /// The same operands with attributes.
    fn with(self, attrs: Attrs) -> Sample {
        Sample { attrs, ..self }
    }
}
