//! A case of ONNX's conformance suite: a folder with a model, and what goes in and should come out.

use std::fs;
use std::path::Path;

use brisk_format::{OnnxFile, read_onnx, read_onnx_value};
use brisk_onnx::{Constant, Output, Port, Session};
use brisk_runtime::Cpu;

/// What goes in and what should come out, in the model's order; `None` for what is left out.
pub struct Set {
    pub inputs: Vec<Option<Output>>,
    pub outputs: Vec<Option<Output>>,
}

/// A case in memory.
pub struct Case {
    pub file: OnnxFile,
    pub sets: Vec<Set>,
    tolerance: Tolerance,
}

impl Case {
    /// From its folder.
    pub fn read(folder: &Path) -> Result<Case, String> {
        let file = read_onnx(&folder.join("model.onnx")).map_err(|e| e.to_string())?;
        let mut sets = Vec::new();
        for number in 0.. {
            let set = folder.join(format!("test_data_set_{number}"));
            if !set.is_dir() {
                break;
            }
            let inputs = values(&set, "input", &file.model.graph.inputs)?;
            let outputs = values(&set, "output", &file.model.graph.outputs)?;
            sets.push(Set { inputs, outputs });
        }
        if sets.is_empty() {
            return Err("it has no data".into());
        }
        Ok(Case { file, sets, tolerance: Tolerance::read(folder) })
    }

    /// Whether a session yields what it should.
    pub fn run(&self, device: &Cpu) -> Result<(), String> {
        let mut session = Session::new(device, &self.file.model, self.file.parameters.clone());
        for set in &self.sets {
            let found = session.run(set.inputs.clone()).map_err(|e| e.to_string())?;
            self.check(set, &found)?;
        }
        Ok(())
    }

    /// Whether outputs are those of a set.
    pub fn check(&self, set: &Set, found: &[Output]) -> Result<(), String> {
        for ((port, found), expected) in self.file.model.graph.outputs.iter().zip(found).zip(&set.outputs) {
            let Some(expected) = expected else { continue };
            self.tolerance.outputs(found, expected).map_err(|e| format!("{}: {e}", port.name))?;
        }
        Ok(())
    }
}

fn values(set: &Path, what: &str, ports: &[Port]) -> Result<Vec<Option<Output>>, String> {
    let value = |(i, port): (usize, &Port)| {
        let path = set.join(format!("{what}_{i}.pb"));
        match path.exists() {
            true => read_onnx_value(&path, &port.ty).map(Some).map_err(|e| e.to_string()),
            false => Ok(None),
        }
    };
    ports.iter().enumerate().map(value).collect()
}

/// How far a number may be from the one expected: the suite says it for each case.
#[derive(Clone, Copy)]
pub struct Tolerance {
    relative: f64,
    absolute: f64,
}

impl Tolerance {
    fn read(case: &Path) -> Tolerance {
        let text = fs::read_to_string(case.join("tolerance.json")).unwrap_or_default();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let number = |key: &str, default: f64| value[key].as_f64().unwrap_or(default);
        Tolerance { relative: number("rtol", 1e-3), absolute: number("atol", 1e-7) }
    }

    fn close(self, found: f64, expected: f64) -> bool {
        found == expected
            || found.is_nan() && expected.is_nan()
            || (found - expected).abs() <= self.absolute + self.relative * expected.abs()
    }

    fn outputs(self, found: &Output, expected: &Output) -> Result<(), String> {
        match (found, expected) {
            (Output::Tensor(found), Output::Tensor(expected)) => self.constants(found, expected),
            (Output::Sequence(found), Output::Sequence(expected)) => {
                if found.len() != expected.len() {
                    return Err(format!("expected {} elements, found {}", expected.len(), found.len()));
                }
                found.iter().zip(expected).try_for_each(|(f, e)| self.outputs(f, e))
            }
            (Output::Nothing, Output::Nothing) => Ok(()),
            _ => Err("expected another kind of value".into()),
        }
    }

    fn constants(self, found: &Constant, expected: &Constant) -> Result<(), String> {
        if found.elem() != expected.elem() || found.shape() != expected.shape() {
            return Err(format!(
                "expected {} {}, found {} {}",
                expected.elem(),
                expected.shape(),
                found.elem(),
                found.shape()
            ));
        }
        let (found, expected) = match (found, expected) {
            (Constant::Numbers(elem, f), Constant::Numbers(_, e)) if elem.is_float() => (f, e),
            (f, e) => return if f == e { Ok(()) } else { Err(format!("expected {e:?}, found {f:?}")) },
        };
        let elements = found.to_f64s().into_iter().zip(expected.to_f64s());
        match elements.enumerate().find(|(_, (f, e))| !self.close(*f, *e)) {
            Some((i, (f, e))) => Err(format!("element {i} of {}: expected {e}, found {f}", found.shape())),
            None => Ok(()),
        }
    }
}
