//! Building graphs: a [`Builder`] records, a [`Value`] is what is being computed.

mod axes;

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::{self, Range};
use std::sync::Arc;

use crate::evaluate::evaluate;
use crate::graph::{Graph, Id, Input, Node, Op, Role};
use crate::op::{Attrs, OpDef};
use crate::prim::{Binary, Compare, Conv, Reduce, Scalar, Unary, Window};
use crate::{DType, Error, Prim, Result, Shape, Tensor};

/// Records a graph. Values are made from it and combined with ordinary arithmetic and methods.
///
/// A mistake (operands that do not fit) is remembered with the scope it happened in, and comes out of
/// [`Builder::check`] and [`Builder::finish`]; until then building goes on with a stand-in, so that formulas need no
/// `?` at every step. Equal computations are recorded once.
///
/// ```
/// use brisk_graph::{Builder, DType, Role};
/// let b = Builder::new();
/// let x = b.input("x", Role::Batch, [32, 784], DType::F32);
/// let w = b.input("w", Role::State, [784, 10], DType::F32);
/// let y = x.matmul(w);
/// assert_eq!(y.shape().dims(), [32, 10]);
/// let graph = b.finish(&[("y", y)], &[])?;
/// assert_eq!(graph.nodes.len(), 3);
///
/// let b = Builder::new();
/// let x = b.input("x", Role::Batch, [32, 784], DType::F32);
/// let error = b.finish(&[("y", x.matmul(x))], &[]).unwrap_err();
/// assert_eq!(error.to_string(), "matmul: cannot multiply [32, 784] by [32, 784]: inner sizes 784 and 32 differ");
/// # Ok::<(), brisk_graph::Error>(())
/// ```
#[derive(Default)]
pub struct Builder {
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    nodes: Vec<Node>,
    inputs: Vec<Input>,
    /// Inputs by name.
    named: HashMap<String, Id>,
    scope: Vec<String>,
    scope_path: Option<Arc<str>>,
    error: Option<Error>,
    /// Nodes by the hash of what they compute, to record equal computations once.
    known: HashMap<u64, Vec<Id>>,
    streams: u32,
    /// The nodes recorded by each call of [`Builder::checkpoint`].
    checkpoints: Vec<Range<usize>>,
}

/// The most nodes of a graph: about a GiB of them. A file of a few lines may describe more.
const MOST_NODES: usize = 1 << 22;
/// Constants of so many elements are computed with while the graph is built ...
const FOLDED: usize = 4096;
/// ... and stretched to so many.
const FOLDED_BROADCAST: usize = 64;

/// Something a graph computes: a handle to a node of a [`Builder`].
#[derive(Clone, Copy)]
pub struct Value<'g> {
    builder: &'g Builder,
    id: Id,
}

impl std::fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "%{}: {} {}", self.id.0, self.dtype(), self.shape())
    }
}

impl Builder {
    /// An empty graph.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// A value from outside. Its name must be new.
    pub fn input(&self, name: &str, role: Role, shape: impl Into<Shape>, dtype: DType) -> Value<'_> {
        let number = self.state.borrow().inputs.len();
        let value = self.prim(Prim::Input(number, shape.into(), dtype), &[]);
        let mut state = self.state.borrow_mut();
        state.inputs.push(Input { name: name.into(), role, id: value.id });
        if state.named.insert(name.into(), value.id).is_some() {
            drop(state);
            self.fail("input", format!("there are two inputs named {name:?}"));
        }
        value
    }

    /// The input of a name, if there is one.
    pub fn find_input(&self, name: &str) -> Option<Value<'_>> {
        let id = *self.state.borrow().named.get(name)?;
        Some(Value { builder: self, id })
    }

    /// A tensor known now.
    pub fn constant(&self, tensor: Tensor) -> Value<'_> {
        self.prim(Prim::Constant(tensor), &[])
    }

    /// One f32 number in every place of a shape.
    pub fn fill(&self, value: f64, shape: impl Into<Shape>) -> Value<'_> {
        self.fill_as(value, shape, DType::F32)
    }

    /// One number of a type in every place of a shape.
    pub fn fill_as(&self, value: f64, shape: impl Into<Shape>, dtype: DType) -> Value<'_> {
        self.prim(Prim::Fill(Scalar(value), shape.into(), dtype), &[])
    }

    /// `0, 1, 2, ...` along an axis of a shape.
    pub fn iota(&self, axis: usize, shape: impl Into<Shape>, dtype: DType) -> Value<'_> {
        self.prim(Prim::Iota(axis, shape.into(), dtype), &[])
    }

    /// A random number in `[0, 1)` for every place, from a key (i32 `[2]`). Each call draws from a stream of its own.
    pub fn random<'g>(&'g self, key: Value<'g>, shape: impl Into<Shape>) -> Value<'g> {
        self.prim(Prim::Random(self.stream(), shape.into()), &[key])
    }

    /// The number of a random stream that nothing else in this graph draws from.
    pub fn stream(&self) -> u32 {
        let mut state = self.state.borrow_mut();
        state.streams += 1;
        state.streams - 1
    }

    /// Records a part of a computation that [`grad`](crate::grad()) computes again, from what goes into it, rather than have
    /// everything inside kept until then (Chen and others, 2016): less memory for more arithmetic, with the same result.
    ///
    /// ```
    /// use brisk_graph::{Builder, DType, Role, grad};
    /// let b = Builder::new();
    /// let x = b.input("x", Role::Batch, [4, 3], DType::F32);
    /// let w = b.input("w", Role::State, [3, 3], DType::F32);
    /// let y = b.checkpoint(|| x.matmul(w).tanh());
    /// let gradient = grad(y.sum_all(), &[w])?[0]; // tanh is computed twice
    /// let graph = b.finish(&[("y", y), ("gradient", gradient)], &[])?;
    /// assert_eq!(graph.to_string().matches("tanh").count(), 2);
    /// # Ok::<(), brisk_graph::Error>(())
    /// ```
    pub fn checkpoint<R>(&self, build: impl FnOnce() -> R) -> R {
        let start = self.state.borrow().nodes.len();
        let result = build();
        let mut state = self.state.borrow_mut();
        let end = state.nodes.len();
        state.checkpoints.push(start..end);
        result
    }

    /// The nodes of the outermost checkpoints, in order.
    pub(crate) fn checkpoints(&self) -> Vec<Range<usize>> {
        let state = self.state.borrow();
        let inner = |c: &Range<usize>| {
            state.checkpoints.iter().any(|o| o != c && o.start <= c.start && c.end <= o.end)
        };
        state.checkpoints.iter().filter(|c| !c.is_empty() && !inner(c)).cloned().collect()
    }

    /// Joins values along an axis.
    pub fn concat<'g>(&'g self, values: &[Value<'g>], axis: usize) -> Value<'g> {
        self.prim(Prim::Concat(axis), values)
    }

    /// Records a primitive.
    pub fn prim<'g>(&'g self, prim: Prim, inputs: &[Value<'g>]) -> Value<'g> {
        self.push(Op::Prim(prim), inputs)
    }

    /// Records a named operation of the table.
    pub fn named<'g>(&'g self, def: &'static OpDef, attrs: Attrs, inputs: &[Value<'g>]) -> Value<'g> {
        self.push(Op::Named(def, attrs), inputs)
    }

    /// Records an operation of either tier.
    pub fn push<'g>(&'g self, op: Op, inputs: &[Value<'g>]) -> Value<'g> {
        let ids: Vec<Id> = inputs.iter().map(|v| v.id).collect();
        let mut hasher = DefaultHasher::new();
        ids.hash(&mut hasher);
        match &op {
            Op::Prim(prim) => prim.hash(&mut hasher),
            Op::Named(def, attrs) => (def.name, attrs).hash(&mut hasher),
        }
        let hash = hasher.finish();
        if let Some(tensor) = self.folded(&op, inputs) {
            return self.constant(tensor);
        }
        let inferred = {
            let state = self.state.borrow();
            let twin = state.known.get(&hash).and_then(|ids_of| {
                ids_of.iter().find(|&&t| {
                    let node = &state.nodes[t.index()];
                    node.inputs == ids && node.op == op
                })
            });
            if let Some(&id) = twin {
                return Value { builder: self, id };
            }
            let operands: Vec<_> =
                ids.iter().map(|id| &state.nodes[id.index()]).map(|n| (&n.shape, n.dtype)).collect();
            match state.nodes.len() < MOST_NODES || inputs.is_empty() {
                true => op.infer(&operands),
                false => Err(format!("a graph has at most {MOST_NODES} nodes; make the model smaller")),
            }
        };
        let (op, ids, (shape, dtype)) = match inferred {
            Ok(result) => (op, ids, result),
            Err(message) => {
                self.fail(op.name(), message);
                if let Some(&first) = inputs.first() {
                    return first;
                }
                (
                    Op::Prim(Prim::Fill(Scalar(0.0), Shape::scalar(), DType::F32)),
                    vec![],
                    (Shape::scalar(), DType::F32),
                )
            }
        };
        let mut state = self.state.borrow_mut();
        let id = Id(state.nodes.len() as u32);
        let scope = state.scope_path();
        state.nodes.push(Node { op, inputs: ids, shape, dtype, scope });
        state.known.entry(hash).or_default().push(id);
        Value { builder: self, id }
    }

    /// What a primitive makes of small constants.
    fn folded(&self, op: &Op, inputs: &[Value<'_>]) -> Option<Tensor> {
        let Op::Prim(prim) = op else { return None };
        let operands: Vec<Tensor> = {
            let state = self.state.borrow();
            let op_of = |v: &Value<'_>| &state.nodes[v.id.index()].op;
            let fixed = |v: &Value<'_>| matches!(op_of(v), Op::Prim(Prim::Constant(_)));
            let numbers = |v: &Value<'_>| matches!(op_of(v), Op::Prim(Prim::Fill(..)));
            if !inputs.iter().any(fixed) || !inputs.iter().all(|v| fixed(v) || numbers(v)) {
                return None;
            }
            let shape = |v: &Value<'_>| (&state.nodes[v.id.index()].shape, state.nodes[v.id.index()].dtype);
            let (result, _) = prim.infer(&inputs.iter().map(shape).collect::<Vec<_>>()).ok()?;
            // What is stretched is read through, and takes no memory.
            let most = if matches!(prim, Prim::Broadcast(_)) { FOLDED_BROADCAST } else { FOLDED };
            let small = inputs.iter().all(|v| shape(v).0.elements() <= FOLDED);
            if !small || result.elements() > most {
                return None;
            }
            inputs.iter()
        }
        .map(|v| v.constant())
        .collect::<Option<_>>()?;
        evaluate(prim, &operands).ok()
    }

    /// Remembers a mistake, unless there is one already.
    pub fn fail(&self, op: &'static str, message: impl Into<String>) {
        let mut state = self.state.borrow_mut();
        if state.error.is_none() {
            let scope = state.scope_path().to_string();
            state.error = Some(Error::Operands { scope, op, message: message.into() });
        }
    }

    /// Builds inside a named scope: nodes and mistakes carry the path of the scopes around them.
    pub fn scope<R>(&self, name: &str, build: impl FnOnce() -> R) -> R {
        let enter = |state: &mut State| {
            state.scope.push(name.into());
            state.scope_path = None;
        };
        enter(&mut self.state.borrow_mut());
        let result = build();
        let mut state = self.state.borrow_mut();
        state.scope.pop();
        state.scope_path = None;
        result
    }

    /// Builds in the place of another node: under exactly the path that it carries, whatever scopes are open now.
    pub(crate) fn scope_of<R>(&self, path: &str, build: impl FnOnce() -> R) -> R {
        let path = if path.is_empty() { Vec::new() } else { vec![path.to_string()] };
        let enter = |state: &mut State, scope| {
            state.scope_path = None;
            std::mem::replace(&mut state.scope, scope)
        };
        let outer = enter(&mut self.state.borrow_mut(), path);
        let result = build();
        enter(&mut self.state.borrow_mut(), outer);
        result
    }

    /// The first mistake so far, if any.
    pub fn check(&self) -> Result<()> {
        self.state.borrow().error.clone().map_or(Ok(()), Err)
    }

    /// The finished graph, of what the outputs and the state's next values need, or the first mistake.
    pub fn finish<'g>(
        &'g self,
        outputs: &[(&str, Value<'g>)],
        updates: &[(Value<'g>, Value<'g>)],
    ) -> Result<Graph> {
        self.check()?;
        let mut numbers = Vec::new();
        for (input, next) in updates {
            match self.state.borrow().inputs.iter().position(|i| i.id == input.id) {
                Some(number) => numbers.push((number, next.id)),
                None => {
                    let message = format!("{input:?} is updated but is no input");
                    return Err(Error::Operands { scope: String::new(), op: "finish", message });
                }
            }
        }
        let state = self.state.borrow();
        let graph = Graph {
            nodes: state.nodes.clone(),
            inputs: state.inputs.clone(),
            outputs: outputs.iter().map(|(n, v)| (n.to_string(), v.id)).collect(),
            updates: numbers,
        };
        let graph = graph.compact();
        graph.verify()?;
        Ok(graph)
    }

    /// The value of a node.
    pub(crate) fn value(&self, id: Id) -> Value<'_> {
        Value { builder: self, id }
    }

    /// What an input of the graph is for.
    pub(crate) fn role(&self, number: usize) -> Role {
        self.state.borrow().inputs[number].role
    }

    /// All nodes so far, in order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = Id> + use<> {
        (0..self.state.borrow().nodes.len() as u32).map(Id)
    }

    /// A copy of a node.
    pub(crate) fn node(&self, id: Id) -> Node {
        self.state.borrow().nodes[id.index()].clone()
    }
}

impl State {
    fn scope_path(&mut self) -> Arc<str> {
        self.scope_path.get_or_insert_with(|| self.scope.join(".").into()).clone()
    }
}

impl Graph {
    /// The same graph without the nodes that nothing asks for. Inputs stay.
    pub fn compact(mut self) -> Graph {
        let mut keep = self.live();
        for input in &self.inputs {
            keep[input.id.index()] = true;
        }
        let mut place = vec![Id(0); self.nodes.len()];
        let mut nodes = Vec::new();
        for (i, mut node) in std::mem::take(&mut self.nodes).into_iter().enumerate() {
            if keep[i] {
                node.inputs.iter_mut().for_each(|id| *id = place[id.index()]);
                place[i] = Id(nodes.len() as u32);
                nodes.push(node);
            }
        }
        self.nodes = nodes;
        self.inputs.iter_mut().for_each(|i| i.id = place[i.id.index()]);
        self.outputs.iter_mut().for_each(|o| o.1 = place[o.1.index()]);
        self.updates.iter_mut().for_each(|u| u.1 = place[u.1.index()]);
        self
    }
}

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident => $op:ident),* $(,)?) => {$(
        $(#[$doc])*
        pub fn $name(self) -> Value<'g> {
            self.builder.prim(Prim::Unary(Unary::$op), &[self])
        }
    )*};
}

impl<'g> Value<'g> {
    /// The builder it belongs to.
    pub fn builder(self) -> &'g Builder {
        self.builder
    }

    /// Its node.
    pub fn id(self) -> Id {
        self.id
    }

    /// Its shape.
    pub fn shape(self) -> Shape {
        self.builder.state.borrow().nodes[self.id.index()].shape.clone()
    }

    /// Its element type.
    pub fn dtype(self) -> DType {
        self.builder.state.borrow().nodes[self.id.index()].dtype
    }

    /// Number of axes.
    pub fn rank(self) -> usize {
        self.shape().rank()
    }

    /// The size of an axis; 1, and a mistake to be reported, if there is no such axis.
    pub fn dim(self, axis: usize) -> usize {
        self.shape().get(axis).copied().unwrap_or_else(|| {
            self.builder.fail("dim", format!("expected at least {} axes, found {}", axis + 1, self.shape()));
            1
        })
    }

    /// The size of the last axis, 1 for a scalar.
    pub fn last(self) -> usize {
        self.shape().last()
    }

    unary! {
        /// `|x|`
        abs => Abs,
        /// -1, 0 or 1.
        sign => Sign,
        /// `e^x`
        exp => Exp,
        /// Natural logarithm.
        log => Log,
        /// Square root.
        sqrt => Sqrt,
        /// `1 / sqrt(x)`
        rsqrt => Rsqrt,
        /// Hyperbolic tangent.
        tanh => Tanh,
        /// Gauss error function.
        erf => Erf,
        /// Largest integer not above.
        floor => Floor,
        /// Sine of radians.
        sin => Sin,
        /// Cosine of radians.
        cos => Cos,
    }

    /// To the nearest number with so many binary digits that is a multiple of `2^lowest`, of two the even one.
    ///
    /// ```
    /// use brisk_graph::{Builder, Tensor};
    /// let b = Builder::new();
    /// let x = b.constant(Tensor::new([2], vec![0.1f32, 2049.0])?);
    /// let half = x.round_bits(11, -24).constant().expect("known");
    /// assert_eq!(half.f32s()?, [0.099975586, 2048.0]);
    /// # Ok::<(), brisk_graph::Error>(())
    /// ```
    pub fn round_bits(self, digits: u8, lowest: i16) -> Value<'g> {
        self.builder.prim(Prim::Unary(Unary::RoundBits { digits, lowest }), &[self])
    }

    /// `x * x`
    pub fn square(self) -> Value<'g> {
        self * self
    }

    /// The two values stretched to their common shape.
    fn stretch(self, other: Value<'g>, op: &'static str) -> (Value<'g>, Value<'g>) {
        let (a, b) = (self.shape(), other.shape());
        match a.broadcast(&b) {
            Some(shape) => (self.broadcast_to(&shape), other.broadcast_to(&shape)),
            None => {
                self.builder.fail(op, format!("shapes {a} and {b} do not fit"));
                (self, self)
            }
        }
    }

    /// Two operands, element by element, broadcasting.
    pub fn binary(self, op: Binary, other: Value<'g>) -> Value<'g> {
        let prim = Prim::Binary(op);
        let (a, b) = self.stretch(other, prim.name());
        // Numbers known now are computed now.
        if let (Some(x), Some(y), true) = (a.known(), b.known(), a.dtype().is_float()) {
            let value = match op {
                Binary::Add => x + y,
                Binary::Sub => x - y,
                Binary::Mul => x * y,
                Binary::Div => x / y,
                _ => return self.builder.prim(prim, &[a, b]),
            };
            return self.builder.fill_as(value, a.shape(), a.dtype());
        }
        self.builder.prim(prim, &[a, b])
    }

    /// Its elements, if they are known while the graph is built: those of a constant, and of what small constants alone make.
    ///
    /// ```
    /// use brisk_graph::{Builder, DType, Role, Tensor};
    /// let b = Builder::new();
    /// let sizes = b.constant(Tensor::new([2], vec![3i64, 4])?);
    /// let twice = (sizes + sizes).constant().expect("known");
    /// assert_eq!(twice.i64s()?, [6, 8]);
    /// assert!(b.input("x", Role::Batch, [2], DType::F32).constant().is_none());
    /// # Ok::<(), brisk_graph::Error>(())
    /// ```
    pub fn constant(self) -> Option<Tensor> {
        let node = self.builder.node(self.id);
        match node.op {
            Op::Prim(Prim::Constant(tensor)) => Some(tensor),
            Op::Prim(prim @ (Prim::Fill(..) | Prim::Iota(..))) if node.shape.elements() <= FOLDED => {
                evaluate(&prim, &[]).ok()
            }
            _ => None,
        }
    }

    /// The number that fills it, if it is one known now.
    fn known(self) -> Option<f64> {
        match self.builder.node(self.id).op {
            Op::Prim(Prim::Fill(value, ..)) => Some(value.0),
            _ => None,
        }
    }

    fn compare(self, op: Compare, other: Value<'g>) -> Value<'g> {
        let prim = Prim::Compare(op);
        let (a, b) = self.stretch(other, prim.name());
        self.builder.prim(prim, &[a, b])
    }

    /// The larger of the two, broadcasting.
    pub fn max(self, other: impl Operand<'g>) -> Value<'g> {
        self.binary(Binary::Max, other.value_like(self))
    }

    /// The smaller of the two, broadcasting.
    pub fn min(self, other: impl Operand<'g>) -> Value<'g> {
        self.binary(Binary::Min, other.value_like(self))
    }

    /// To a power, broadcasting.
    pub fn pow(self, other: impl Operand<'g>) -> Value<'g> {
        self.binary(Binary::Pow, other.value_like(self))
    }

    /// Whether smaller (u8), broadcasting.
    pub fn less(self, other: impl Operand<'g>) -> Value<'g> {
        self.compare(Compare::Less, other.value_like(self))
    }

    /// Whether not larger (u8), broadcasting.
    pub fn less_equal(self, other: impl Operand<'g>) -> Value<'g> {
        self.compare(Compare::LessEqual, other.value_like(self))
    }

    /// Whether larger (u8), broadcasting.
    pub fn greater(self, other: impl Operand<'g>) -> Value<'g> {
        other.value_like(self).compare(Compare::Less, self)
    }

    /// Whether equal (u8), broadcasting.
    pub fn equal(self, other: impl Operand<'g>) -> Value<'g> {
        self.compare(Compare::Equal, other.value_like(self))
    }

    /// `self ? a : b` for truth values (u8), broadcasting.
    pub fn select(self, a: Value<'g>, b: Value<'g>) -> Value<'g> {
        let (a, b) = a.stretch(b, "select");
        let (condition, a) = self.stretch(a, "select");
        let b = b.broadcast_to(a.shape());
        self.builder.prim(Prim::Select, &[condition, a, b])
    }

    /// To another element type.
    pub fn cast(self, dtype: DType) -> Value<'g> {
        match dtype == self.dtype() {
            true => self,
            false => self.builder.prim(Prim::Cast(dtype), &[self]),
        }
    }

    /// Stretched to a shape, as NumPy does.
    pub fn broadcast_to(self, shape: impl Into<Shape>) -> Value<'g> {
        let shape = shape.into();
        if shape == self.shape() {
            return self;
        }
        if let Some(value) = self.known() {
            return self.builder.fill_as(value, shape, self.dtype());
        }
        self.builder.prim(Prim::Broadcast(shape), &[self])
    }

    /// `start..end` along an axis.
    pub fn slice(self, axis: usize, start: usize, end: usize) -> Value<'g> {
        let shape = self.shape();
        self.dim(axis);
        let place = |other: Vec<usize>, own: usize| {
            other.into_iter().enumerate().map(|(i, o)| if i == axis { own } else { o }).collect()
        };
        let (start, end) = (place(vec![0; shape.rank()], start), place(shape.to_vec(), end));
        self.builder.prim(Prim::Slice { start, end, step: vec![1; shape.rank()] }, &[self])
    }

    /// Surrounds with a constant: so many cells before and after each axis.
    pub fn pad(self, low: &[usize], high: &[usize], value: f64) -> Value<'g> {
        let (low, high, inner) = (low.to_vec(), high.to_vec(), vec![0; self.rank()]);
        self.builder.prim(Prim::Pad { low, high, inner, value: Scalar(value) }, &[self])
    }

    /// Turns axes round.
    pub fn reverse(self, axes: &[usize]) -> Value<'g> {
        self.builder.prim(Prim::Reverse(axes.to_vec()), &[self])
    }

    fn reduce(self, kind: Reduce, axes: &[usize]) -> Value<'g> {
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        axes.dedup();
        match axes.is_empty() {
            true => self,
            false => self.builder.prim(Prim::Reduce(kind, axes), &[self]),
        }
    }

    /// Sum over axes, which vanish.
    pub fn sum(self, axes: &[usize]) -> Value<'g> {
        self.reduce(Reduce::Sum, axes)
    }

    /// Mean over axes, which vanish.
    pub fn mean(self, axes: &[usize]) -> Value<'g> {
        let sum = self.sum(axes);
        let count = self.shape().elements() / sum.shape().elements().max(1);
        sum * (1.0 / count as f64)
    }

    /// Sum over all axes.
    pub fn sum_all(self) -> Value<'g> {
        self.sum(&(0..self.rank()).collect::<Vec<_>>())
    }

    /// Mean over all axes.
    pub fn mean_all(self) -> Value<'g> {
        self.mean(&(0..self.rank()).collect::<Vec<_>>())
    }

    /// The largest over axes, which vanish.
    pub fn reduce_max(self, axes: &[usize]) -> Value<'g> {
        self.reduce(Reduce::Max, axes)
    }

    /// The smallest over axes, which vanish.
    pub fn reduce_min(self, axes: &[usize]) -> Value<'g> {
        self.reduce(Reduce::Min, axes)
    }

    /// Puts an axis of size 1 back in at a place.
    pub fn expand(self, axis: usize) -> Value<'g> {
        let mut dims = self.shape().to_vec();
        dims.insert(axis.min(dims.len()), 1);
        self.reshape(dims)
    }

    /// Index (i32) of the largest along an axis, which vanishes.
    pub fn argmax(self, axis: usize) -> Value<'g> {
        self.builder.prim(Prim::ArgMax(axis), &[self])
    }

    /// Rows of this table at indices (i32).
    pub fn take(self, indices: Value<'g>) -> Value<'g> {
        self.builder.prim(Prim::Take, &[self, indices])
    }

    /// Matrix product over the last two axes. With a matrix on the right, any number of axes may stand before.
    pub fn matmul(self, other: Value<'g>) -> Value<'g> {
        let (a, b) = (self.shape(), other.shape());
        if b.rank() != 2 || a.rank() == 2 {
            return self.builder.prim(Prim::MatMul { ta: false, tb: false }, &[self, other]);
        }
        let rows = a.elements().checked_div(a.last()).unwrap_or(0);
        let product = self.reshape([rows, a.last()]).matmul(other);
        let lead = &a[..a.rank().saturating_sub(1)];
        product.reshape([lead, &[b[1]]].concat())
    }

    /// Convolves maps `[n, h, w, c]` with a kernel `[kh, kw, c / groups, filters]`.
    pub fn conv(self, kernel: Value<'g>, conv: Conv) -> Value<'g> {
        self.builder.prim(Prim::Conv(conv), &[self, kernel])
    }

    /// The largest in each window of maps `[n, h, w, c]`.
    pub fn max_pool(self, window: Window) -> Value<'g> {
        self.builder.prim(Prim::MaxPool(window), &[self])
    }

    /// The sum of each window of maps `[n, h, w, c]`.
    pub fn sum_pool(self, window: Window) -> Value<'g> {
        self.builder.prim(Prim::SumPool(window), &[self])
    }
}

/// What may stand beside a [`Value`] in arithmetic: another value, or a number.
pub trait Operand<'g> {
    /// As a value that fits beside another.
    fn value_like(self, other: Value<'g>) -> Value<'g>;
}

impl<'g> Operand<'g> for Value<'g> {
    fn value_like(self, _: Value<'g>) -> Value<'g> {
        self
    }
}

impl<'g> Operand<'g> for f64 {
    fn value_like(self, other: Value<'g>) -> Value<'g> {
        other.builder.fill_as(self, other.shape(), other.dtype())
    }
}

macro_rules! arithmetic {
    ($($trait:ident, $method:ident, $op:ident;)*) => {$(
        impl<'g, O: Operand<'g>> ops::$trait<O> for Value<'g> {
            type Output = Value<'g>;
            fn $method(self, other: O) -> Value<'g> {
                self.binary(Binary::$op, other.value_like(self))
            }
        }
        impl<'g> ops::$trait<Value<'g>> for f64 {
            type Output = Value<'g>;
            fn $method(self, other: Value<'g>) -> Value<'g> {
                self.value_like(other).binary(Binary::$op, other)
            }
        }
    )*};
}
arithmetic! {
    Add, add, Add;
    Sub, sub, Sub;
    Mul, mul, Mul;
    Div, div, Div;
}

impl<'g> ops::Neg for Value<'g> {
    type Output = Value<'g>;
    fn neg(self) -> Value<'g> {
        self.builder.prim(Prim::Unary(Unary::Neg), &[self])
    }
}
