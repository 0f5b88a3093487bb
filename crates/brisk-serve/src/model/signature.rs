//! What goes into a model and comes out of it, as tensors.

use brisk_data::{Feature, Target};
use brisk_eval::Ready;
use serde::Serialize;

/// A tensor that goes in or comes out. The first size is that of the batch, and any.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its type, in the words of KServe: `UINT8`, `FP32`, `FP64`, `BYTES`.
    pub datatype: &'static str,
    /// Its sizes, -1 for any.
    pub shape: Vec<i64>,
}

/// The tensors of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Signature {
    /// What goes in: a tensor for each column.
    pub inputs: Vec<Port>,
    /// What comes out, in the order of the model's outputs.
    pub outputs: Vec<Port>,
}

impl Port {
    fn new(name: impl Into<String>, datatype: &'static str, row: &[usize]) -> Port {
        let sizes = row.iter().map(|&n| n as i64);
        Port { name: name.into(), datatype, shape: std::iter::once(-1).chain(sizes).collect() }
    }

    /// The sizes of a row.
    pub fn row(&self) -> &[i64] {
        self.shape.get(1..).unwrap_or_default()
    }
}

impl Signature {
    /// The tensors of a model.
    pub fn of(ready: &Ready) -> Signature {
        let mut inputs: Vec<Port> = Vec::new();
        for (name, feature) in &ready.features.inputs {
            let ports: Vec<Port> = match feature {
                Feature::Text(_) | Feature::Category(_) => {
                    feature.columns().into_iter().map(|c| Port::new(c, "BYTES", &[])).collect()
                }
                Feature::Number(f) => vec![Port::new(&f.column, "FP64", &[])],
                Feature::Vector(f) if f.list => {
                    let own = ready.model.model.inputs().iter().find(|i| i.tensor() == name);
                    let sizes = own.and_then(|i| i.shape.iter().copied().collect::<Option<Vec<usize>>>());
                    vec![Port::new(&f.columns[0], "FP32", &sizes.unwrap_or_else(|| vec![f.size()]))]
                }
                Feature::Vector(f) => f.columns.iter().map(|c| Port::new(c, "FP64", &[])).collect(),
                Feature::Image(f) => {
                    let i = f.image;
                    vec![Port::new(&f.column, "UINT8", &[i.height, i.width, i.channels])]
                }
            };
            // Two features may read the same column.
            inputs.extend(
                ports.into_iter().filter(|p| !feature_reads_again(&ready.features.inputs, name, &p.name)),
            );
        }
        let sizes = ready.model.model.output_sizes();
        let outputs = ready.model.outputs.iter().zip(sizes).map(|(output, sizes)| {
            let name = output.said();
            match ready.features.targets.get(&output.name) {
                Some(Target::Number { .. }) => Port::new(name, "FP64", &[1]),
                Some(Target::Tags { .. }) => Port::new(name, "BYTES", &[]),
                _ => Port::new(name, "FP32", &[sizes.iter().map(|s| s.unwrap_or(1)).product()]),
            }
        });
        Signature { inputs, outputs: outputs.collect() }
    }

    /// The input of a name.
    pub fn input(&self, name: &str) -> Option<&Port> {
        self.inputs.iter().find(|p| p.name == name)
    }
}

/// Whether a feature before this one reads a column already.
fn feature_reads_again(features: &indexmap::IndexMap<String, Feature>, name: &str, column: &str) -> bool {
    features.iter().take_while(|(n, _)| *n != name).any(|(_, f)| f.columns().contains(&column))
}
