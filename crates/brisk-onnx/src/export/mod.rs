//! From Brisk's graph to a model in ONNX's vocabulary.
//!
//! Graphs have static shapes, an exported model has free ones. So a computation is recorded for several sizes of its free axes; the
//! graphs are the same but for sizes, and each size is what follows from the free ones in the simplest way: a number, `3 * batch`,
//! `length - 2`. Those are computed from the shapes of the inputs when the model runs.

mod attention;
mod constant;
mod emit;
mod form;
mod maps;
mod movement;
mod norm;
mod prim;
mod recurrent;
mod sampled;
mod size;
mod table;
mod text;
mod walk;
mod windows;

use std::collections::HashSet;

use brisk_graph::{Graph, Id};
use brisk_runtime::State;

use crate::{Dim, Elem, Error, Model, Port, Result, Type};
use emit::{Emitter, Source, Val};
use sampled::Sampled;
use size::Size;
pub use text::PackedText;
use walk::Walk;

/// Records a computation for a size of each free axis, in their order.
pub type Record<'a> = dyn Fn(&[usize]) -> Result<Graph, String> + 'a;

/// What is to be exported.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, Tensor};
/// use brisk_onnx::{Export, export};
/// use brisk_runtime::State;
/// let record = |sizes: &[usize]| {
///     let b = Builder::new();
///     let x = b.input("x", Role::Batch, [sizes[0], 3], DType::F32);
///     let w = b.input("dense.kernel", Role::State, [3, 2], DType::F32);
///     b.finish(&[("y", x.matmul(w))], &[]).map_err(|e| e.to_string())
/// };
/// let state: State = [("dense.kernel", Tensor::zeros(DType::F32, [3, 2]))].into_iter().collect();
/// let exported = export(&Export::new(&record, &state))?;
/// assert_eq!(exported.model.graph.nodes[0].op, "MatMul");
/// assert_eq!(exported.model.graph.inputs[0].ty.to_string(), "float [batch, 3]");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Export<'a> {
    /// The name of the graph.
    pub name: String,
    /// The names of the free axes; if there are any, the first is the batch, of at least two samples when the graph is recorded.
    pub axes: Vec<String>,
    /// Records the graph, with an operation in it for each that is to be exported.
    pub record: &'a Record<'a>,
    /// The values of the inputs that are state.
    pub state: &'a State,
    /// The names of state that training leaves as it is, as running statistics.
    pub fixed: Vec<String>,
    /// Other names of inputs and outputs: the graph's, and the exported model's.
    pub names: Vec<(String, String)>,
    /// Inputs that are packed texts.
    pub texts: Vec<PackedText>,
    /// Tables that stand in the graph and grow with a length, as those of sines, are made for this one; longer sequences are refused when
    /// the model runs.
    pub longest: usize,
}

impl<'a> Export<'a> {
    /// With one free axis, `batch`.
    pub fn new(record: &'a Record<'a>, state: &'a State) -> Export<'a> {
        const LONGEST: usize = 2048;
        Export {
            name: "brisk".into(),
            axes: vec!["batch".into()],
            record,
            state,
            fixed: Vec::new(),
            names: Vec::new(),
            texts: Vec::new(),
            longest: LONGEST,
        }
    }
}

/// A model in ONNX's vocabulary; see [`Export`] for an example.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    /// What is computed.
    pub model: Model,
    /// The learned tensors, by name. Those that ONNX wants in the same form have Brisk's names.
    pub parameters: State,
    /// Brisk's operations that ONNX does not have, which became several.
    pub decomposed: Vec<String>,
}

/// Makes a model of ONNX's operators that computes the same, for any size of the free axes.
///
/// Inputs and outputs keep Brisk's layout: pictures are `[batch, height, width, channels]`. An error names the layer that has something
/// that ONNX cannot say.
pub fn export(request: &Export<'_>) -> Result<Exported> {
    let sampled = Sampled::new(&request.axes, request.record, request.longest)?;
    let graph = sampled.graph();
    for input in &graph.inputs {
        let Some(tensor) = request.state.get(&input.name) else { continue };
        if sampled.each(input.id).any(|n| n.shape != *tensor.shape()) {
            let node = graph.node(input.id);
            let message = format!(
                "the size of its parameter {:?} follows from a free size; give the model's input a fixed one",
                input.name
            );
            return Err(Error::Export { layer: node.scope.to_string(), op: node.op.name(), message });
        }
    }
    let fixed: HashSet<&str> = request.fixed.iter().map(String::as_str).collect();
    let learned = request.state.iter().map(|(name, _)| (name.to_string(), !fixed.contains(name)));
    let mut e = Emitter::new(learned.collect());
    for (name, _) in request.state.iter().filter(|s| graph.input_named(s.0).is_some()) {
        e.unique(name);
    }
    let mut ports = Ports::new(request, &sampled, &mut e)?;
    let outputs: Vec<String> =
        graph.outputs.iter().map(|(name, _)| e.unique(&renamed(request, name))).collect();
    let mut walk = Walk::new(e, &sampled, request.state);
    walk.run(|w, name, id| ports.val(w, name, id))?;
    let mut names = request.axes.clone();
    names.extend((names.len()..walk.symbols.len()).map(|i| format!("size_{i}")));
    for ((_, id), name) in graph.outputs.iter().zip(outputs) {
        let node = graph.node(*id);
        let wrong = |message| Error::Export { layer: node.scope.to_string(), op: node.op.name(), message };
        let port = output(&mut walk, *id, &name, &request.texts, &names).map_err(wrong)?;
        walk.e.graph.outputs.push(port);
    }
    let Emitter { graph, parameters, opset, .. } = {
        walk.e.prune();
        walk.e
    };
    let model = Model {
        opsets: [(String::new(), opset)].into(),
        graph: crate::Graph { name: request.name.clone(), inputs: ports.all, ..graph },
        ..Model::default()
    };
    let decomposed = sampled.decomposed.iter().map(|name| name.to_string()).collect();
    Ok(Exported { model, parameters, decomposed })
}

fn renamed(request: &Export<'_>, name: &str) -> String {
    request.names.iter().find(|n| n.0 == name).map_or_else(|| name.to_string(), |n| n.1.clone())
}

/// What comes into the exported model.
struct Ports {
    all: Vec<Port>,
    /// The names of plain inputs in Brisk's graph and in ONNX's.
    plain: Vec<(String, String)>,
    texts: Vec<PackedText>,
}

impl Ports {
    fn new(request: &Export<'_>, sampled: &Sampled<'_>, e: &mut Emitter) -> Result<Ports> {
        let graph = sampled.graph();
        let mut ports = Ports { all: Vec::new(), plain: Vec::new(), texts: Vec::new() };
        let mut sources: Vec<Option<Source>> = vec![None; request.axes.len()];
        let read = |name: &str| {
            let id = graph.input_named(name).map(|n| graph.inputs[n].id);
            id.is_some_and(|id| graph.nodes.iter().any(|n| n.inputs.contains(&id)))
        };
        for input in graph.inputs.iter().filter(|i| request.state.get(&i.name).is_none()) {
            let text = request.texts.iter().find(|t| part_of(t, &input.name).is_some());
            let mut add = |name: String, elem: Elem, dims: Vec<Size>| {
                for (axis, dim) in dims.iter().enumerate() {
                    if let Some(source) = dim.as_symbol().and_then(|s| sources.get_mut(s)) {
                        source.get_or_insert(Source { value: name.clone(), axis });
                    }
                }
                let dims = dims.iter().map(|d| shown(d, &request.axes)).collect();
                ports.all.push(Port { name, ty: Type::Tensor(elem, Some(dims)) });
            };
            match text {
                Some(text) if ports.texts.iter().all(|t| t.name != text.name) => {
                    let mut own = text.clone();
                    let types = read(&format!("{}.types", text.name));
                    let wanted = [(&mut own.ids, true), (&mut own.mask, true), (&mut own.types, types)];
                    for name in wanted.into_iter().filter(|w| w.1).map(|w| w.0) {
                        *name = e.unique(name);
                        add(name.clone(), Elem::Int64, vec![Size::symbol(0), Size::symbol(text.length)]);
                    }
                    ports.texts.push(own);
                }
                Some(_) => {}
                None => {
                    let name = e.unique(&renamed(request, &input.name));
                    let node = graph.node(input.id);
                    let dim = |axis: usize| {
                        let values: Vec<usize> = sampled.each(input.id).map(|n| n.shape[axis]).collect();
                        Size::fit(&values, &sampled.axes).ok_or_else(|| {
                            Error::Model(format!(
                                "input {name:?}: its axis {axis} has the sizes {values:?}, which are not those of the free axes"
                            ))
                        })
                    };
                    let dims = (0..node.shape.rank()).map(dim).collect::<Result<Vec<_>>>()?;
                    add(name.clone(), emit::elem(node.dtype), dims);
                    ports.plain.push((input.name.clone(), name));
                }
            }
        }
        for (source, axis) in sources.into_iter().zip(&request.axes) {
            let missing = || Error::Model(format!("no input has an axis of the free size {axis:?}"));
            e.sources.push(source.ok_or_else(missing)?);
        }
        Ok(ports)
    }

    /// What stands for an input of Brisk's graph.
    fn val(&mut self, w: &mut Walk<'_>, name: &str, id: Id) -> Result<Val, String> {
        for text in &self.texts {
            if let Some(part) = part_of(text, name) {
                w.segments.extend((part == "segments").then_some(id));
                return text::part(&mut w.e, text, part);
            }
        }
        let own = self.plain.iter().find(|p| p.0 == name).ok_or("an input that nobody gives")?;
        Ok(Val::made(&own.1, w.dims(id)?, emit::elem(w.node(id).dtype)))
    }
}

/// Which part of a packed text an input is.
fn part_of<'n>(text: &PackedText, input: &'n str) -> Option<&'n str> {
    let part = input.strip_prefix(text.name.as_str())?.strip_prefix('.')?;
    text::PARTS.contains(&part).then_some(part)
}

/// Gives an output its name and form: with all its sizes, and a row of tokens for each text.
fn output(
    w: &mut Walk<'_>,
    id: Id,
    name: &str,
    texts: &[PackedText],
    names: &[String],
) -> Result<Port, String> {
    w.e.scope = w.node(id).scope.to_string();
    let (val, mut dims) = (w.val(id)?, w.dims(id)?);
    let mut val = w.e.full(&val, &dims)?;
    val = w.e.cast(&val, emit::elem(w.node(id).dtype));
    for text in texts {
        let [n, length] = [Size::symbol(0), Size::symbol(text.length)];
        if dims.first() == Some(&Size::product(&n, &length)) {
            dims.splice(..1, [n, length]);
            val = w.e.reshaped(&val, &dims)?;
            break;
        }
    }
    let own = w.e.name(&val);
    w.e.call(&own, name);
    let dims = dims.iter().map(|d| shown(d, names)).collect();
    Ok(Port { name: name.into(), ty: Type::Tensor(val.elem, Some(dims)) })
}

fn shown(size: &Size, names: &[String]) -> Dim {
    match size.fixed().and_then(|n| usize::try_from(n).ok()) {
        Some(n) => Dim::Size(n),
        None => Dim::Name(size.named(names).to_string()),
    }
}
