//! `saved_model.pb`: graph, functions and signatures of a SavedModel, as data.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use bytes::Bytes;
use prost::Message;

use super::checkpoint::TfCheckpoint;
use super::constant::Constants;
use super::graph::{TfFunction, TfGraph, TfInput, decode};
use super::proto;
use super::types::{TfShape, TfType, partial_shape};
use crate::Result;
use crate::hashed::read_whole;
use crate::tensors::Fault;

const FORMAT: &str = "SavedModel";
const FILE: &str = "saved_model.pb";
/// Which of the graphs in it is for those who ask the model.
const SERVE: &str = "serve";

/// A SavedModel of TensorFlow: what it computes. Its variables are in its [`TfCheckpoint`]; nothing in it is run.
///
/// ```no_run
/// use brisk_format::{TfCheckpoint, read_saved_model};
/// let folder = "saved_model".as_ref();
/// let model = read_saved_model(folder)?;
/// for (name, input) in &model.signatures["serving_default"].inputs {
///     println!("{name} {} {:?}", input.dtype, input.shape);
/// }
/// let checkpoint = TfCheckpoint::open(folder)?;
/// for (object, key) in model.variable_keys(&checkpoint) {
///     println!("{:?} {}", model.objects[object].variable, checkpoint.tensor(key)?.shape());
/// }
/// # Ok::<(), brisk_format::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TfSavedModel {
    /// The version of TensorFlow that wrote it.
    pub tensorflow_version: String,
    /// The graph that signatures speak of.
    pub graph: TfGraph,
    /// The functions that are called in the graph and in each other, by name.
    pub functions: BTreeMap<String, TfFunction>,
    /// The ways to ask the model, by name; `serving_default` is the usual one.
    pub signatures: BTreeMap<String, TfSignature>,
    /// The objects of Python that were saved, from the model (0) on.
    pub objects: Vec<TfObject>,
    /// For functions with variables: the objects that their last arguments are.
    pub bound: BTreeMap<String, Vec<usize>>,
}

/// A way to ask a SavedModel.
#[derive(Clone, Debug, PartialEq)]
pub struct TfSignature {
    /// What it is asked with, by name.
    pub inputs: BTreeMap<String, TfEndpoint>,
    /// What it answers, by name.
    pub outputs: BTreeMap<String, TfEndpoint>,
}

/// An input or output of a SavedModel.
#[derive(Clone, Debug, PartialEq)]
pub struct TfEndpoint {
    /// The value in the graph; `None` for sparse and ragged tensors, which are several.
    pub value: Option<TfInput>,
    /// Its element type.
    pub dtype: TfType,
    /// Its shape.
    pub shape: TfShape,
}

/// An object of Python that was saved with a SavedModel.
#[derive(Clone, Debug, PartialEq)]
pub struct TfObject {
    /// What it holds: names in it, and objects.
    pub children: Vec<(String, usize)>,
    /// What is known of it, if it is a variable.
    pub variable: Option<Box<TfObjectVariable>>,
}

/// A variable among the objects of a SavedModel.
#[derive(Clone, Debug, PartialEq)]
pub struct TfObjectVariable {
    /// What its maker called it.
    pub name: String,
    /// Its element type.
    pub dtype: TfType,
    /// Its shape.
    pub shape: TfShape,
    /// True if training changes it.
    pub trainable: bool,
}

/// Reads `saved_model.pb`, or that in a folder. Of several graphs it is the one for serving.
pub fn read_saved_model(path: &Path) -> Result<TfSavedModel> {
    let path = if path.is_dir() { path.join(FILE) } else { path.into() };
    let (bytes, _) = read_whole(&path, "the graph of a SavedModel (saved_model.pb)")?;
    read(bytes.into(), &path).map_err(|f| f.malformed(&path, FORMAT))
}

fn read(bytes: Bytes, path: &Path) -> Result<TfSavedModel, Fault> {
    let model = proto::SavedModel::decode(bytes).map_err(|e| Fault::Unsound(e.to_string()))?;
    let meta = choose(model.meta_graphs)?;
    let mut constants = Constants::new(path);
    let graph_def = meta.graph_def.unwrap_or_default();
    let graph = TfGraph::read(graph_def.node, &HashSet::new(), &mut constants)?;
    let functions = functions(graph_def.library.unwrap_or_default(), &mut constants)?;
    let mut signatures = BTreeMap::new();
    for (name, signature) in meta.signature_def {
        let read =
            TfSignature::read(signature, &graph).map_err(|f| f.within(&format!("signature {name:?}")))?;
        signatures.insert(name, read);
    }
    let (objects, bound) = objects(meta.object_graph_def.unwrap_or_default())?;
    let tensorflow_version = meta.meta_info_def.unwrap_or_default().tensorflow_version;
    Ok(TfSavedModel { tensorflow_version, graph, functions, signatures, objects, bound })
}

/// The functions of a library, by name.
pub(super) fn functions(
    library: proto::FunctionDefLibrary,
    constants: &mut Constants,
) -> Result<BTreeMap<String, TfFunction>, Fault> {
    let mut functions = BTreeMap::new();
    for function in library.function {
        let (name, function) = TfFunction::read(function, constants)?;
        if functions.insert(name.clone(), function).is_some() {
            return Err(Fault::Unsound(format!("two functions are called {name:?}")));
        }
    }
    Ok(functions)
}

/// The graph for serving, or the only one.
fn choose(graphs: Vec<Bytes>) -> Result<proto::MetaGraphDef, Fault> {
    /// Nobody saves more of them; each is a whole graph.
    const MOST: usize = 64;
    if graphs.len() > MOST {
        return Err(Fault::Unsound(format!("it has {} graphs; at most {MOST} are read", graphs.len())));
    }
    let only = graphs.len() == 1;
    let mut found = Vec::new();
    for graph in graphs {
        let graph: proto::MetaGraphDef = decode(graph)?;
        let tags = graph.meta_info_def.as_ref().map_or(&[][..], |info| &info.tags);
        if only || tags.iter().any(|tag| tag == SERVE) {
            return Ok(graph);
        }
        found.push(tags.to_vec());
    }
    if found.is_empty() {
        return Err(Fault::Unsound("it has no graph".into()));
    }
    Err(Fault::Unsupported(format!(
        "none of its graphs has the tag {SERVE:?}, only {found:?}; save it for serving"
    )))
}

impl TfSignature {
    fn read(signature: proto::SignatureDef, graph: &TfGraph) -> Result<TfSignature, Fault> {
        let endpoints = |infos: HashMap<String, proto::TensorInfo>| {
            let read = |(name, info): (String, proto::TensorInfo)| {
                let value = (!info.name.is_empty()).then(|| TfInput::parse(&info.name)).transpose();
                let value = value
                    .and_then(|v| v.iter().try_for_each(|v| graph.check(v, &HashSet::new())).map(|()| v));
                let value = value.map_err(|f| f.within(&format!("{name:?}")))?;
                let shape = info.tensor_shape.as_ref().and_then(partial_shape);
                Ok((name, TfEndpoint { value, dtype: TfType(info.dtype), shape }))
            };
            infos.into_iter().map(read).collect::<Result<_, Fault>>()
        };
        Ok(TfSignature { inputs: endpoints(signature.inputs)?, outputs: endpoints(signature.outputs)? })
    }
}

/// The objects, and which of them functions are bound to.
type Objects = (Vec<TfObject>, BTreeMap<String, Vec<usize>>);

fn objects(graph: proto::SavedObjectGraph) -> Result<Objects, Fault> {
    let count = graph.nodes.len();
    let number = |i: i32| {
        let known = usize::try_from(i).ok().filter(|&i| i < count);
        known.ok_or_else(|| Fault::Unsound(format!("there is no object {i}, only {count}")))
    };
    let variable = |v: proto::SavedVariable| TfObjectVariable {
        name: v.name,
        dtype: TfType(v.dtype),
        shape: v.shape.as_ref().and_then(partial_shape),
        trainable: v.trainable,
    };
    let object = |node: Bytes| {
        // An object of which nothing is known may be empty.
        let node = proto::SavedObject::decode(node).map_err(|e| Fault::Unsound(e.to_string()))?;
        let children = node.children.into_iter().map(|c| Ok((c.local_name, number(c.node_id)?)));
        Ok(TfObject {
            children: children.collect::<Result<_, Fault>>()?,
            variable: node.variable.map(|v| Box::new(variable(v))),
        })
    };
    let bound = graph.concrete_functions.into_iter().map(|(name, function)| {
        let inputs = function.bound_inputs.into_iter().map(number).collect::<Result<_, Fault>>()?;
        Ok((name, inputs))
    });
    let bound = bound.collect::<Result<_, Fault>>()?;
    Ok((graph.nodes.into_iter().map(object).collect::<Result<_, Fault>>()?, bound))
}

impl TfSavedModel {
    /// The keys in its checkpoint of the variables among its objects: those that are held by the same names.
    pub fn variable_keys<'a>(&self, checkpoint: &'a TfCheckpoint) -> BTreeMap<usize, &'a str> {
        let mut keys = BTreeMap::new();
        // Each object of one side belongs to one of the other.
        let (mut seen, mut seen_there) = (HashSet::new(), HashSet::new());
        let mut next = vec![(0, 0)];
        while let Some((here, there)) = next.pop() {
            let (Some(object), Some(saved)) = (self.objects.get(here), checkpoint.objects.get(there)) else {
                continue;
            };
            if !seen.insert(here) || !seen_there.insert(there) {
                continue;
            }
            if let (Some(_), Some((key, _))) = (&object.variable, &saved.variable) {
                keys.insert(here, key.as_str());
            }
            let held: HashMap<&str, usize> =
                saved.children.iter().map(|(name, i)| (name.as_str(), *i)).collect();
            next.extend(object.children.iter().filter_map(|(name, i)| Some((*i, *held.get(name.as_str())?))));
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::attr_value::Value;
    use proto::{AttrValue, FunctionDef, NodeDef, OpDef, op_def::ArgDef};

    fn node(name: &str, inputs: &[&str]) -> NodeDef {
        let input = inputs.iter().map(|i| i.to_string()).collect();
        NodeDef { name: name.into(), op: "Op".into(), input, attr: HashMap::new() }
    }

    fn encoded<M: Message>(message: &M) -> Bytes {
        message.encode_to_vec().into()
    }

    fn model(node: Vec<NodeDef>) -> proto::MetaGraphDef {
        let graph = proto::GraphDef { node: node.iter().map(encoded).collect(), library: None };
        proto::MetaGraphDef { graph_def: Some(graph), ..proto::MetaGraphDef::default() }
    }

    fn saved(meta: proto::MetaGraphDef) -> Result<TfSavedModel, Fault> {
        read(
            proto::SavedModel { meta_graphs: vec![encoded(&meta)] }.encode_to_vec().into(),
            "saved_model.pb".as_ref(),
        )
    }

    fn fails(meta: proto::MetaGraphDef, expected: &str) {
        match saved(meta).unwrap_err() {
            Fault::Unsound(said) | Fault::Unsupported(said) => {
                assert!(said.contains(expected), "{said}\ndoes not say {expected:?}")
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_circle_has_no_order() {
        let chain =
            saved(model(vec![node("c", &["b", "a:1", "^b"]), node("b", &["a"]), node("a", &[])])).unwrap();
        let order: Vec<_> = chain.graph.order().unwrap().into_iter().map(|n| n.name.as_str()).collect();
        assert_eq!(order, ["a", "b", "c"]);
        assert_eq!(chain.graph.nodes[0].inputs[1], TfInput { node: "a".into(), output: None, index: 1 });
        assert_eq!(chain.graph.nodes[0].inputs.len(), 2);
        for circle in [vec![node("a", &["a"])], vec![node("a", &["b"]), node("b", &["a"]), node("c", &[])]] {
            assert_eq!(saved(model(circle)).unwrap().graph.order(), None);
        }
    }

    #[test]
    fn what_is_wrong_in_a_graph_is_named() {
        fails(model(vec![node("a", &["b"])]), "node \"a\": there is no node \"b\", which is read");
        fails(model(vec![node("a", &[]), node("a", &[])]), "two nodes or arguments are called \"a\"");
        fails(model(vec![node("", &[])]), "node \"\" has no name or no operation");
        fails(model(vec![node("a", &[]), node("b", &["a:x"])]), "there is no value \"a:x\"; expected NODE");
        fails(model(vec![node("a", &[]), node("b", &["a:b:0:1"])]), "there is no value \"a:b:0:1\"");
        fails(model(vec![node("a", &[":0"])]), "there is no value \":0\"");
        let mut huge = node("a", &[]);
        let tensor = proto::TensorProto {
            dtype: 1,
            tensor_shape: Some(proto::TensorShapeProto {
                dim: vec![proto::tensor_shape_proto::Dim { size: 1_000_000_000 }],
                unknown_rank: false,
            }),
            float_val: vec![0.0],
            ..proto::TensorProto::default()
        };
        huge.attr.insert("value".into(), AttrValue { value: Some(Value::Tensor(tensor)) });
        fails(model(vec![huge]), "node \"a\": attribute \"value\": a constant float32 [1000000000] leaves");
    }

    #[test]
    fn what_is_wrong_in_a_function_is_named() {
        let function = |inputs: &[&str], ret: &str| {
            let input_arg = inputs.iter().map(|n| ArgDef { name: n.to_string(), r#type: 1 }).collect();
            let output_arg = vec![ArgDef { name: "y".into(), r#type: 1 }];
            FunctionDef {
                signature: Some(OpDef { name: "f".into(), input_arg, output_arg }),
                node_def: vec![encoded(&node("n", &["x"]))],
                ret: HashMap::from([("y".to_string(), ret.to_string())]),
            }
        };
        let with = |function: Vec<FunctionDef>| {
            let mut model = model(vec![]);
            let function = function.iter().map(encoded).collect();
            let library = Some(proto::FunctionDefLibrary { function });
            model.graph_def.as_mut().unwrap().library = library;
            model
        };
        let good = saved(with(vec![function(&["x"], "n:out:0")])).unwrap();
        assert_eq!(
            good.functions["f"].outputs[0].1,
            TfInput { node: "n".into(), output: Some("out".into()), index: 0 }
        );
        fails(with(vec![function(&["x"], "n:out:0"); 2]), "two functions are called \"f\"");
        fails(with(vec![function(&["x", "x"], "n:out:0")]), "function \"f\": two arguments are called \"x\"");
        fails(with(vec![function(&["x", "n"], "n:out:0")]), "two nodes or arguments are called \"n\"");
        fails(with(vec![function(&[], "n:out:0")]), "there is no node \"x\", which is read");
        fails(with(vec![function(&["x"], "m:out:0")]), "function \"f\": there is no node \"m\"");
        let mut lost = function(&["x"], "n:out:0");
        lost.ret.clear();
        fails(with(vec![lost]), "the result \"y\" is not a value");
    }

    #[test]
    fn objects_hold_only_what_is_there() {
        let mut model = model(vec![]);
        let bound_inputs = vec![0];
        model.object_graph_def = Some(proto::SavedObjectGraph {
            nodes: vec![],
            concrete_functions: HashMap::from([("f".into(), proto::SavedConcreteFunction { bound_inputs })]),
        });
        fails(model, "there is no object 0, only 0");
    }

    #[test]
    fn empty_messages_do_not_fill_the_memory() {
        let mut graph = model(vec![]);
        graph.graph_def.as_mut().unwrap().node = vec![Bytes::new(); 1000];
        fails(graph, "a message is empty");
        let mut tensors = node("a", &[]);
        let list = proto::attr_value::ListValue { tensor: vec![Bytes::new(); 1000], ..Default::default() };
        tensors.attr.insert("v".into(), AttrValue { value: Some(Value::List(list)) });
        fails(model(vec![tensors]), "node \"a\": attribute \"v\": a message is empty");
        let mixed = proto::attr_value::ListValue { i: vec![1], b: vec![true], ..Default::default() };
        let mut mixed_node = node("a", &[]);
        mixed_node.attr.insert("v".into(), AttrValue { value: Some(Value::List(mixed)) });
        fails(model(vec![mixed_node]), "a list has items of several kinds");
    }

    #[test]
    fn attributes_may_not_nest_for_ever() {
        let mut value = AttrValue { value: Some(Value::I(1)) };
        for _ in 0..1000 {
            let func = proto::NameAttrList { name: "f".into(), attr: HashMap::from([("a".into(), value)]) };
            value = AttrValue { value: Some(Value::Func(func)) };
        }
        let mut deep = node("a", &[]);
        deep.attr.insert("f".into(), value);
        fails(model(vec![deep]), "recursion limit reached");
    }

    #[test]
    fn the_graph_for_serving_is_taken() {
        let tagged = |tag: &str, name: &str| {
            let info = proto::meta_graph_def::MetaInfoDef {
                tags: vec![tag.into()],
                tensorflow_version: String::new(),
            };
            proto::MetaGraphDef { meta_info_def: Some(info), ..model(vec![node(name, &[])]) }
        };
        let read = |graphs: Vec<proto::MetaGraphDef>| {
            let meta_graphs = graphs.iter().map(encoded).collect();
            read(proto::SavedModel { meta_graphs }.encode_to_vec().into(), "m.pb".as_ref())
        };
        let found = read(vec![tagged("train", "a"), tagged("serve", "b")]).unwrap();
        assert!(found.graph.node("b").is_some());
        let Err(Fault::Unsupported(said)) = read(vec![tagged("a", "a"), tagged("b", "b")]) else { panic!() };
        assert!(said.contains("none of its graphs has the tag \"serve\""), "{said}");
        assert!(matches!(read(vec![]), Err(Fault::Unsound(_))));
    }
}
