//! From the nodes of Brisk's graph to those of ONNX's, one after the other.

use brisk_graph::evaluate::evaluate;
use brisk_graph::{DType, Id, Node, Op, Prim, Shape, Tensor};
use brisk_runtime::State;

use super::emit::{Body, Emitter, Source, Val};
use super::sampled::Sampled;
use super::size::Size;
use super::{constant, prim, table};
use crate::{Error, Result};

/// What is known while the graph is walked.
pub(super) struct Walk<'a> {
    pub e: Emitter,
    pub sampled: &'a Sampled<'a>,
    state: &'a State,
    /// What is written of each node; an error is one only if somebody reads it.
    vals: Vec<Result<Val, String>>,
    /// How many operands and outputs each node is.
    uses: Vec<usize>,
    /// The segments of packed texts, which are made of padded ones.
    pub segments: Vec<Id>,
    /// The sizes that others follow from, in each of the sampled graphs: those of the free axes, then those that follow from none of them.
    pub symbols: Vec<Vec<usize>>,
}

impl<'a> Walk<'a> {
    pub fn new(e: Emitter, sampled: &'a Sampled<'a>, state: &'a State) -> Walk<'a> {
        let graph = sampled.graph();
        let mut uses = vec![0; graph.nodes.len()];
        let read = graph.nodes.iter().flat_map(|n| n.inputs.iter().copied()).chain(graph.roots());
        read.for_each(|id| uses[id.index()] += 1);
        Walk {
            e,
            sampled,
            state,
            vals: Vec::new(),
            uses,
            segments: Vec::new(),
            symbols: sampled.axes.clone(),
        }
    }

    /// Writes all nodes. `inputs` gives what stands for an input that is no state, by its name.
    pub fn run(&mut self, mut inputs: impl FnMut(&mut Self, &str, Id) -> Result<Val, String>) -> Result<()> {
        let graph = self.sampled.graph();
        for (i, node) in graph.nodes.iter().enumerate() {
            let id = Id(u32::try_from(i).unwrap_or(u32::MAX));
            self.e.scope = node.scope.replace("//", "/");
            let val = match &node.op {
                Op::Prim(Prim::Input(number, ..)) => {
                    let name = &graph.inputs[*number].name;
                    match self.state.get(name) {
                        Some(tensor) => Ok(Val::known(name.clone(), tensor.clone())),
                        None => inputs(self, name, id),
                    }
                }
                // Whoever reads it may know a better way.
                Op::Prim(Prim::Constant(_)) => {
                    let val = constant::tensor(self, id);
                    self.vals.push(val);
                    continue;
                }
                Op::Prim(prim) => match self.folded(prim, node) {
                    Some(val) => Ok(val),
                    None => prim::write(self, id, node, prim),
                },
                Op::Named(op, attrs) => match table::of(op) {
                    Some(form) => {
                        self.e.opset = self.e.opset.max(form.since);
                        (form.write)(self, id, form, attrs)
                    }
                    None => Err("it was not decomposed".into()),
                },
            };
            let val = val.map_err(|message| Error::Export {
                layer: node.scope.to_string(),
                op: node.op.name(),
                message,
            })?;
            self.vals.push(Ok(val));
        }
        Ok(())
    }

    /// What is written of a node.
    pub fn val(&self, id: Id) -> Result<Val, String> {
        self.vals.get(id.index()).cloned().unwrap_or_else(|| Err("an operand that is not there".into()))
    }

    /// The operand of a node.
    pub fn operand(&self, id: Id, place: usize) -> Result<Val, String> {
        self.val(self.input(id, place)?)
    }

    /// The operand of a node with all its sizes, in Brisk's order.
    pub fn full_operand(&mut self, id: Id, place: usize) -> Result<Val, String> {
        let input = self.input(id, place)?;
        let (val, dims) = (self.val(input)?, self.dims(input)?);
        self.e.full(&val, &dims)
    }

    /// The same as numbers, if it is truth values.
    pub fn number_operand(&mut self, id: Id, place: usize) -> Result<Val, String> {
        let val = self.full_operand(id, place)?;
        Ok(self.e.arithmetic(&val))
    }

    pub fn input(&self, id: Id, place: usize) -> Result<Id, String> {
        self.node(id).inputs.get(place).copied().ok_or_else(|| format!("operand {place} is missing"))
    }

    pub fn node(&self, id: Id) -> &'a Node {
        self.sampled.graph().node(id)
    }

    /// Whether one node alone reads it.
    pub fn read_once(&self, id: Id) -> bool {
        self.uses[id.index()] == 1
    }

    /// A number in the description of a node, as it follows from the free sizes.
    pub fn size(&self, id: Id, of: impl Fn(&Node) -> Option<usize>) -> Result<Size, String> {
        let values: Vec<usize> = self.sampled.each(id).filter_map(of).collect();
        Size::fit(&values, &self.symbols).ok_or_else(|| {
            format!(
                "sizes such as {values:?} follow from those of what comes in ({:?}) in no simple way; give the model's inputs a \
                 fixed length",
                self.symbols
            )
        })
    }

    /// The sizes of a node's axes.
    pub fn dims(&self, id: Id) -> Result<Vec<Size>, String> {
        (0..self.node(id).shape.rank()).map(|a| self.size(id, |n| n.shape.get(a).copied())).collect()
    }

    /// The sizes of a node's axes; those that follow from no others are new ones, and read from the value itself.
    pub fn own_dims(&mut self, id: Id, name: &str, turned: bool) -> Vec<Size> {
        let rank = self.node(id).shape.rank();
        let mut dims = Vec::with_capacity(rank);
        for a in 0..rank {
            dims.push(match self.size(id, |n| n.shape.get(a).copied()) {
                Ok(size) => size,
                Err(_) => {
                    let values = self.sampled.each(id).map(|n| n.shape[a]).collect();
                    self.symbols.push(values);
                    let axis = if turned { place(a, rank) } else { a };
                    self.e.sources.push(Source { value: name.into(), axis });
                    Size::symbol(self.symbols.len() - 1)
                }
            });
        }
        dims
    }

    /// Computed here and now, if all operands are known and it takes no more memory than they do.
    fn folded(&mut self, prim: &Prim, node: &Node) -> Option<Val> {
        let worth = matches!(
            prim,
            Prim::Unary(_)
                | Prim::Binary(_)
                | Prim::Cast(_)
                | Prim::Reshape(_)
                | Prim::Transpose(_)
                | Prim::Slice { .. }
                | Prim::Concat(_)
                | Prim::Reverse(_)
        );
        let id = Id(u32::try_from(self.vals.len()).ok()?);
        if !worth || self.sampled.same(id, |n| n.shape.clone()).is_none() {
            return None;
        }
        let known = |&input: &Id| {
            let val = self.val(input).ok()?;
            let (tensor, shape) = (val.tensor()?.clone(), &self.node(input).shape);
            self.sampled.same(input, |n| n.shape.clone())?;
            (!val.turned && tensor.dtype() == self.node(input).dtype).then_some(())?;
            match tensor.shape() == shape {
                true => Some(tensor),
                false => evaluate(&Prim::Broadcast(shape.clone()), &[tensor]).ok(),
            }
        };
        let operands: Vec<Tensor> = node.inputs.iter().map(known).collect::<Option<_>>()?;
        let tensor = evaluate(prim, &operands).ok()?;
        let names = node.inputs.iter().filter_map(|&i| match self.val(i).ok()?.body {
            Body::Known(name, tensor) if tensor.shape().rank() > 0 => Some(name),
            _ => None,
        });
        let names: Vec<String> = names.collect();
        let from = names.iter().find(|n| self.e.learned(n)).or(names.first());
        let name = format!("{}/{}", from.map_or(&*node.scope, String::as_str), prim.name());
        let name = self.e.unique(&name);
        Some(Val::known(name, tensor))
    }

    /// A vector or more of floats that is repeated as often as its node's shape says.
    pub fn vector(&mut self, id: Id, place: usize) -> Result<Val, String> {
        let input = self.input(id, place)?;
        let (val, shape) = (self.val(input)?, self.node(input).shape.clone());
        match val.tensor() {
            Some(tensor) if tensor.shape().rank() == 0 && self.node(input).dtype == DType::F32 => {
                stretched(tensor, &shape)
            }
            _ => self.full_operand(id, place),
        }
    }
}

/// One number, as often as a shape says.
fn stretched(tensor: &Tensor, shape: &Shape) -> Result<Val, String> {
    let value = tensor.item().map_err(|e| e.to_string())?;
    let whole = evaluate(&Prim::Broadcast(shape.clone()), std::slice::from_ref(tensor))?;
    Ok(Val::known(format!("f32/{value}/{shape}"), whole))
}

/// Where an axis stands once the last one is second.
pub(super) fn place(axis: usize, rank: usize) -> usize {
    match axis {
        0 => 0,
        a if a + 1 == rank => 1,
        a => a + 1,
    }
}
