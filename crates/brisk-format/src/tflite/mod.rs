//! TensorFlow Lite: models in one flatbuffer.

mod call;
mod constant;
mod flat;
mod maker;
mod names;
mod ops;
mod schema;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use brisk_onnx::{Dim, Port, Type};
use bytes::Bytes;

use self::flat::Flat;
use self::maker::{File, Maker, quantized};
use self::schema::{MARK, Model, Subgraph, Tensor};
use crate::hashed::read_whole;
use crate::onnx::emit::{MOST_STEPS, translatable};
use crate::tensorflow::{Ends, TfFunction, TfGraph, TfInput, elem};
use crate::tensors::Fault;
use crate::{Error, OnnxFile, Result};

/// A model of TensorFlow Lite (`.tflite`) in ONNX's vocabulary, by way of [TensorFlow's](crate::import_saved_model): what its signature
/// `serving_default` takes and gives, or its first subgraph if it has none. Its constants of more than one float are parameters. Nothing
/// in it is run.
///
/// Whole numbers that stand for floats become these floats, rounded to the same places behind each operator; results may be one step
/// off. Weights that are whole numbers beside activations that are floats become floats. An error lists the operators that have no
/// translation, all of them with their results. Names are cut after 200 bytes.
///
/// ```no_run
/// use brisk_format::{import_onnx, import_tflite, save_model};
/// let path = "mobilenet.tflite".as_ref();
/// let file = import_tflite(path)?;
/// println!("{} operators, {} parameters", file.model.graph.nodes.len(), file.parameters.len());
/// save_model("model".as_ref(), &import_onnx(path, file)?)?;
/// # Ok::<(), brisk_format::Error>(())
/// ```
pub fn import_tflite(path: &Path) -> Result<OnnxFile> {
    let (bytes, _) = read_whole(path, "a model of TensorFlow Lite (.tflite)")?;
    let unsound = |f: Fault| f.malformed(path, "model of TensorFlow Lite");
    let bytes = Bytes::from(bytes);
    if bytes.get(4..8) != Some(MARK) {
        return Err(unsound(Fault::Unsound("expected the letters TFL3 at byte 4".into())));
    }
    let file = Flat::new(&bytes);
    let model = Model::read(&file).map_err(unsound)?;
    convert(&mut File::new(path, &bytes, &model)).map_err(|message| Error::content(path, message))
}

fn convert(file: &mut File<'_>) -> Result<OnnxFile, String> {
    let model = file.model;
    check(model)?;
    let signature = model.signature();
    let main = signature.map_or(0, |s| s.subgraph);
    let subgraph = model.subgraphs.get(main).ok_or_else(|| format!("it has no subgraph {main}"))?;
    // Of what has no signature, tensors are called by their own names.
    let tensors = |numbers: &[i32]| -> Result<Vec<(String, i32)>, String> {
        numbers.iter().map(|&t| Ok((subgraph.tensor(t)?.name.clone(), t))).collect()
    };
    let (inputs, outputs) = match signature {
        Some(signature) => (signature.inputs.clone(), signature.outputs.clone()),
        None => (tensors(&subgraph.inputs)?, tensors(&subgraph.outputs)?),
    };
    let nodes: Vec<String> = (0..subgraph.inputs.len()).map(argument).collect();
    let mut maker = Maker::new(file, subgraph, &nodes);
    let mut ends = Ends::default();
    let places: HashMap<i32, usize> = subgraph.inputs.iter().copied().zip(0..).collect();
    for (name, t) in inputs {
        let place = *places
            .get(&t)
            .ok_or_else(|| format!("input {name:?} of its signature is none of its subgraph"))?;
        let tensor = subgraph.tensor(t)?;
        ends.inputs.push((argument(place), port(name, tensor, true)?));
        if let Some(q) = quantized(tensor, false) {
            maker.given(t, q)?;
        }
    }
    for (place, &t) in subgraph.inputs.iter().enumerate() {
        maker.placeholder(&argument(place), t)?;
    }
    maker.operators()?;
    for (name, t) in outputs {
        let tensor = subgraph.tensor(t)?;
        let mut value = maker.value(t).map_err(|m| format!("output {name:?}: {m}"))?;
        if let Some(q) = quantized(tensor, false) {
            value = maker.whole(&tensor.name, value, tensor.kind, q)?;
        }
        ends.outputs.push((value, port(name, tensor, false)?));
    }
    let graph = maker.finish()?;
    let functions = functions(file)?;
    ends.convert_frozen(&graph, &functions)
}

/// What a subgraph takes, as a node or an argument.
fn argument(place: usize) -> String {
    format!("argument {place}")
}

/// The subgraphs that are called, and those that they call.
fn functions(file: &mut File<'_>) -> Result<BTreeMap<String, TfFunction>, String> {
    let mut functions = BTreeMap::new();
    while let Some(number) = file.called.pop_first() {
        let name = ops::function(number);
        if functions.contains_key(&name) {
            continue;
        }
        let subgraph =
            file.model.subgraphs.get(number).ok_or_else(|| format!("it has no subgraph {number}"))?;
        let function = function(file, subgraph).map_err(|m| format!("{name}: {m}"))?;
        functions.insert(name, function);
    }
    Ok(functions)
}

fn function<'f>(file: &mut File<'f>, subgraph: &'f Subgraph<'f>) -> Result<TfFunction, String> {
    let names: Vec<String> = (0..subgraph.inputs.len()).map(argument).collect();
    let mut maker = Maker::new(file, subgraph, &names);
    maker.operators()?;
    let mut outputs: Vec<(String, TfInput)> = Vec::new();
    for (i, &t) in subgraph.outputs.iter().enumerate() {
        outputs.push((format!("result {i}"), maker.value(t)?));
    }
    let kind = |&t: &i32| call::carried(subgraph.tensor(t)?);
    let kinds: Vec<_> = subgraph.inputs.iter().map(kind).collect::<Result<_, String>>()?;
    let graph: TfGraph = maker.finish()?;
    Ok(TfFunction { inputs: names.into_iter().zip(kinds).collect(), outputs, graph })
}

/// An error that lists all operators without a translation, or says that there are too many.
fn check(model: &Model<'_>) -> Result<(), String> {
    let steps: usize = model.subgraphs.iter().map(Subgraph::steps).sum();
    if steps as u64 > MOST_STEPS {
        return Err(format!(
            "it takes {steps} steps to translate; expected {MOST_STEPS} at most: convert a smaller part of the model"
        ));
    }
    let mut unknown: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for subgraph in &model.subgraphs {
        for op in subgraph.operators.iter().filter(|op| ops::operator(&op.name).is_none()) {
            let name = op.outputs.first().and_then(|&t| subgraph.tensor(t).ok());
            unknown.entry(&op.name).or_default().insert(name.map_or("", |t| &t.name));
        }
    }
    translatable("TensorFlow Lite", unknown)
}

/// Results have no shape here: a file for one row gives as many rows as it is asked about.
fn port(name: String, tensor: &Tensor, shaped: bool) -> Result<Port, String> {
    let dim = |&d: &i32| usize::try_from(d).map_or(Dim::Unknown, Dim::Size);
    let dims = shaped.then(|| tensor.shape.iter().map(dim).collect());
    let kind = constant::dtype(tensor.kind).and_then(elem).map_err(|m| format!("{name:?}: {m}"))?;
    Ok(Port { name, ty: Type::Tensor(kind, dims) })
}
