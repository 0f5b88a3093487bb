//! The intermediate representation: a list of nodes in the order in which they can be computed.

use std::fmt;
use std::sync::Arc;

use crate::op::{Attrs, OpDef};
use crate::prim::check_size;
use crate::{DType, Error, Prim, Result, Shape};

/// A node's place in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub u32);

impl Id {
    /// The place as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a node computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A primitive.
    Prim(Prim),
    /// A named operation of the table, with its attributes.
    Named(&'static OpDef, Attrs),
}

impl Op {
    /// The name in error messages and printed graphs.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Prim(p) => p.name(),
            Op::Named(def, _) => def.name,
        }
    }

    /// The shape rule.
    pub fn infer(&self, inputs: &[(&Shape, DType)]) -> Result<(Shape, DType), String> {
        match self {
            Op::Prim(p) => p.infer(inputs),
            Op::Named(def, attrs) => {
                let (shape, dtype) = (def.shape)(inputs, attrs)?;
                check_size(&shape)?;
                Ok((shape, dtype))
            }
        }
    }
}

/// One operation and the value it yields.
#[derive(Clone, Debug)]
pub struct Node {
    /// What is computed.
    pub op: Op,
    /// From which earlier nodes.
    pub inputs: Vec<Id>,
    /// The shape of the result.
    pub shape: Shape,
    /// The element type of the result.
    pub dtype: DType,
    /// The layer or function that asked for it, such as `conv2d_1`; may be empty.
    pub scope: Arc<str>,
}

/// Who owns an input's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Samples along axis 0: images, labels. The engine may cut it into tiles.
    Batch,
    /// One value for the whole step: learning rate, random key, step number.
    Scalar,
    /// Kept from step to step: parameters, optimizer slots, running statistics.
    State,
}

/// A value that comes from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Its name, unique in the graph: a path such as `conv2d_1.kernel` for state.
    pub name: String,
    /// Who owns it.
    pub role: Role,
    /// Its node.
    pub id: Id,
}

/// A computation: inputs to outputs, and to the next values of its state.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// All nodes; operands stand before their users.
    pub nodes: Vec<Node>,
    /// What comes in, in the order of [`Prim::Input`] numbers.
    pub inputs: Vec<Input>,
    /// What goes out, by name.
    pub outputs: Vec<(String, Id)>,
    /// The next value of an input (by number) whose role is [`Role::State`].
    pub updates: Vec<(usize, Id)>,
}

impl Graph {
    /// The node of an id.
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[id.index()]
    }

    /// The number of an input, by its name.
    pub fn input_named(&self, name: &str) -> Option<usize> {
        self.inputs.iter().position(|i| i.name == name)
    }

    /// Every value that somebody outside asks for.
    pub fn roots(&self) -> impl Iterator<Item = Id> + '_ {
        self.outputs.iter().map(|o| o.1).chain(self.updates.iter().map(|u| u.1))
    }

    /// Which nodes some root depends on.
    pub fn live(&self) -> Vec<bool> {
        let mut live = vec![false; self.nodes.len()];
        for root in self.roots() {
            live[root.index()] = true;
        }
        for (i, node) in self.nodes.iter().enumerate().rev() {
            if live[i] {
                for input in &node.inputs {
                    live[input.index()] = true;
                }
            }
        }
        live
    }

    /// Checks what every pass must keep: operands stand before users, each node's shape and type are what its
    /// rule says, inputs, outputs and updates name nodes that are there, updates fit their state. Names the first node
    /// that is wrong.
    pub fn verify(&self) -> Result<()> {
        let wrong = |node: &Node, message: String| Error::Operands {
            scope: node.scope.to_string(),
            op: node.op.name(),
            message,
        };
        for (i, node) in self.nodes.iter().enumerate() {
            if let Some(late) = node.inputs.iter().find(|id| id.index() >= i) {
                return Err(wrong(node, format!("%{i} uses %{}, which stands after it", late.0)));
            }
            let inputs: Vec<_> =
                node.inputs.iter().map(|&id| (&self.node(id).shape, self.node(id).dtype)).collect();
            let (shape, dtype) = node.op.infer(&inputs).map_err(|m| wrong(node, m))?;
            if shape != node.shape || dtype != node.dtype {
                let found = format!("%{i} is {} {}, its rule says {dtype} {shape}", node.dtype, node.shape);
                return Err(wrong(node, found));
            }
        }
        let dangling = |what: String| Error::Operands {
            scope: String::new(),
            op: "verify",
            message: format!(
                "{what}, but there are {} nodes and {} inputs",
                self.nodes.len(),
                self.inputs.len()
            ),
        };
        for (number, input) in self.inputs.iter().enumerate() {
            let node = self.nodes.get(input.id.index()).map(|n| &n.op);
            if !matches!(node, Some(Op::Prim(Prim::Input(n, ..))) if *n == number) {
                return Err(dangling(format!(
                    "input {number}, {:?}, is said to be %{}",
                    input.name, input.id.0
                )));
            }
        }
        for (i, node) in self.nodes.iter().enumerate() {
            if let Op::Prim(Prim::Input(number, ..)) = node.op
                && self.inputs.get(number).is_none_or(|input| input.id.index() != i)
            {
                return Err(dangling(format!("%{i} is said to be input {number}")));
            }
        }
        if let Some((name, id)) = self.outputs.iter().find(|o| o.1.index() >= self.nodes.len()) {
            return Err(dangling(format!("output {name:?} is %{}", id.0)));
        }
        for &(input, next) in &self.updates {
            if input >= self.inputs.len() || next.index() >= self.nodes.len() {
                return Err(dangling(format!("input {input} becomes %{}", next.0)));
            }
            let (state, next) = (self.node(self.inputs[input].id), self.node(next));
            if state.shape != next.shape
                || state.dtype != next.dtype
                || self.inputs[input].role != Role::State
            {
                let name = &self.inputs[input].name;
                let message = format!(
                    "the next value of {name} is {} {}, expected {} {} of state",
                    next.dtype, next.shape, state.dtype, state.shape
                );
                return Err(wrong(next, message));
            }
        }
        Ok(())
    }
}

/// The graph as text, a line each: `%4 = matmul(%1, %3) : f32 [32, 10]   # dense`.
impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, node) in self.nodes.iter().enumerate() {
            write!(f, "%{i} = ")?;
            match &node.op {
                Op::Prim(Prim::Input(n, ..)) => match self.inputs.get(*n) {
                    Some(input) => write!(f, "input {:?}", input.name)?,
                    None => write!(f, "input {n}")?,
                },
                Op::Prim(p) => write!(f, "{p}")?,
                Op::Named(def, attrs) => write!(f, "{}{attrs}", def.name)?,
            }
            if !node.inputs.is_empty() {
                let operands: Vec<_> = node.inputs.iter().map(|id| format!("%{}", id.0)).collect();
                write!(f, "({})", operands.join(", "))?;
            }
            write!(f, " : {} {}", node.dtype, node.shape)?;
            if !node.scope.is_empty() {
                write!(f, "   # {}", node.scope)?;
            }
            writeln!(f)?;
        }
        for (name, id) in &self.outputs {
            writeln!(f, "output {name:?} = %{}", id.0)?;
        }
        for (input, id) in &self.updates {
            writeln!(f, "update {:?} = %{}", self.inputs[*input].name, id.0)?;
        }
        Ok(())
    }
}
