//! `brisk predict MODEL --input INPUTS.npz --output OUTPUTS.npz`: tensors in, tensors out.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use brisk_eval::{ask, open_model};
use brisk_format::{OnnxFile, import_onnx, load_npz, read_graph, save_npz};
use brisk_graph::Tensor;
use brisk_onnx::{Constant, Elem, Output, Session, Type};
use indexmap::IndexMap;

use super::Predict;
use crate::exit::bad_input;

pub fn run(predict: &Predict, input: &Path, output: &Path) -> Result<ExitCode> {
    let inputs = load_npz(input)?;
    let graph = if predict.run.is_file() { read_graph(&predict.run)? } else { None };
    let said = match graph {
        Some(file) => of_graph(predict, file, &inputs)?,
        None => ask(&predict.compute.device(), &open_model(&predict.run)?, &inputs)?,
    };
    let tensors: Vec<_> = said.iter().map(|(name, t)| (name.as_str(), t)).collect();
    save_npz(output, &tensors)?;
    let each: Vec<_> = said.iter().map(|(name, t)| format!("{name} {}", t.shape())).collect();
    eprintln!("{}: {}", output.display(), each.join(", "));
    Ok(ExitCode::SUCCESS)
}

/// A graph as it stands in its file, which may have shapes that depend on numbers.
fn of_graph(
    predict: &Predict,
    file: OnnxFile,
    inputs: &IndexMap<String, Tensor>,
) -> Result<IndexMap<String, Tensor>> {
    let ports = &file.model.graph.inputs;
    let only = inputs.len() == 1 && ports.len() == 1;
    let mut given = Vec::new();
    for port in ports {
        let tensor = inputs.get(&port.name).or_else(|| if only { inputs.values().next() } else { None });
        let elem = if let Type::Tensor(elem, _) = port.ty { elem } else { Elem::Float };
        given.push(tensor.map(|t| typed(t, elem)).transpose()?.map(Output::Tensor));
    }
    let device = predict.compute.device();
    let said = match Session::new(&device, &file.model, file.parameters.clone()).run(given) {
        Ok(said) => said,
        // One that was made for another number of rows is asked several times, as a model.
        Err(error) => return by_rows(predict, file, inputs).map_err(|_| error.into()),
    };
    let outputs = file.model.graph.outputs.iter().zip(said);
    outputs
        .map(|(port, output)| match output {
            Output::Tensor(Constant::Numbers(_, tensor)) => Ok((port.name.clone(), tensor)),
            _ => Err(bad_input(format!("the output {:?} is no tensor of numbers", port.name))),
        })
        .collect()
}

fn by_rows(
    predict: &Predict,
    file: OnnxFile,
    inputs: &IndexMap<String, Tensor>,
) -> Result<IndexMap<String, Tensor>> {
    let ports = file.model.graph.outputs.clone();
    let model = import_onnx(&predict.run, file)?;
    let mut said = ask(&predict.compute.device(), &model, inputs)?;
    for port in &ports {
        if let (Some(tensor), Type::Tensor(elem, _)) = (said.get_mut(&port.name), &port.ty)
            && let Constant::Numbers(_, typed) = typed(tensor, *elem)?
        {
            *tensor = typed;
        }
    }
    Ok(said)
}

fn typed(tensor: &Tensor, elem: Elem) -> Result<Constant> {
    let dtype = elem.dtype();
    let tensor = match tensor.dtype() == dtype {
        true => tensor.clone(),
        false => Tensor::from_f64s(dtype, tensor.shape(), &tensor.to_f64s())?,
    };
    Ok(Constant::Numbers(elem, tensor))
}
