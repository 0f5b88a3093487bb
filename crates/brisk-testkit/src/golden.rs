//! Results of other frameworks, from `goldens/`.

use std::collections::BTreeMap;
use std::path::Path;

use brisk_graph::{DType, Tensor};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// One case of a file of goldens.
#[derive(Clone, Debug)]
pub struct Golden {
    /// Its name, unique in the file.
    pub name: String,
    /// All that the index says of it: `layer`, `config`, ...
    pub about: Value,
    tensors: BTreeMap<String, Tensor>,
}

impl Golden {
    /// The tensor of a role. Panics if there is none.
    #[track_caller]
    pub fn tensor(&self, role: &str) -> &Tensor {
        let roles = || self.tensors.keys().cloned().collect::<Vec<_>>().join(", ");
        self.tensors.get(role).unwrap_or_else(|| panic!("{}: no {role} among {}", self.name, roles()))
    }

    /// The tensor of a role, if there is one.
    pub fn find(&self, role: &str) -> Option<&Tensor> {
        self.tensors.get(role)
    }

    /// The tensor of a role as f64. Panics if there is none.
    #[track_caller]
    pub fn f64s(&self, role: &str) -> Tensor {
        let tensor = self.tensor(role);
        Tensor::from_f64s(DType::F64, tensor.shape(), &tensor.to_f64s()).expect("the same elements")
    }

    /// All roles and their tensors.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(role, tensor)| (role.as_str(), tensor))
    }

    /// What the configuration says under a key; null if nothing.
    pub fn config(&self, key: &str) -> &Value {
        &self.about["config"][key]
    }

    /// A text of the index such as `layer`, empty if there is none.
    pub fn text(&self, key: &str) -> &str {
        self.about[key].as_str().unwrap_or_default()
    }
}

/// The cases of a file: `layers`, `losses`, `optimizers` or `models`. Panics if it cannot be read.
///
/// ```
/// let cases = brisk_testkit::goldens("losses");
/// let case = cases.iter().find(|c| c.name == "huber").unwrap();
/// assert_eq!(case.tensor("loss").shape().rank(), 0);
/// ```
pub fn goldens(name: &str) -> Vec<Golden> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens");
    let read = |kind: &str| {
        let path = folder.join(format!("{name}.{kind}"));
        std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    let index: Value = serde_json::from_slice(&read("json")).unwrap_or_else(|e| panic!("{name}.json: {e}"));
    let bytes = read("safetensors");
    let tensors = SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{name}.safetensors: {e}"));
    let load = |key: &str| {
        let view = tensors.tensor(key).unwrap_or_else(|e| panic!("{name}.safetensors: {key}: {e}"));
        let words = || view.data().chunks_exact(4).map(|w| [w[0], w[1], w[2], w[3]]);
        let shape = view.shape().to_vec();
        match view.dtype() {
            Dtype::F32 => Tensor::new(shape, words().map(f32::from_le_bytes).collect::<Vec<_>>()),
            Dtype::I32 => Tensor::new(shape, words().map(i32::from_le_bytes).collect::<Vec<_>>()),
            other => panic!("{name}.safetensors: {key} is {other:?}"),
        }
        .unwrap_or_else(|e| panic!("{name}.safetensors: {key}: {e}"))
    };
    let case = |about: &Value| {
        let case = about["name"].as_str().unwrap_or_default().to_string();
        let roles = about["tensors"].as_object().into_iter().flat_map(|t| t.keys());
        let tensors = roles.map(|role| (role.clone(), load(&format!("{case}/{role}")))).collect();
        Golden { name: case, about: about.clone(), tensors }
    };
    index["cases"].as_array().into_iter().flatten().map(case).collect()
}

#[cfg(test)]
mod tests {
    use super::goldens;

    #[test]
    fn every_file_can_be_read() {
        for (file, least) in [("layers", 50), ("losses", 10), ("optimizers", 10), ("models", 3)] {
            let cases = goldens(file);
            assert!(cases.len() >= least, "{file} has {} cases", cases.len());
            assert!(cases.iter().all(|c| c.tensors().count() > 1));
        }
    }
}
