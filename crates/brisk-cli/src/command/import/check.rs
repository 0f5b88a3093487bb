//! `--check`: whether a converted model says what it said before.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use brisk_eval::Difference;
use brisk_format::load_npz;
use brisk_graph::Tensor;
use indexmap::IndexMap;

use crate::exit::bad_input;

type Tensors = IndexMap<String, Tensor>;

/// How far each output lies from what the other framework said.
pub fn compare(
    (inputs, outputs): (&Path, &Path),
    ask: impl FnOnce(&Tensors) -> Result<Tensors>,
) -> Result<Vec<Difference>> {
    let (given, expected) = (load_npz(inputs)?, load_npz(outputs)?);
    if expected.is_empty() {
        return Err(bad_input(format!("{}: there are no tensors in it", outputs.display())));
    }
    let said = ask(&given)?;
    Ok(brisk_eval::differences(&said, &expected)?)
}

/// A line for each output.
pub fn table(differences: &[Difference], tolerance: f64) -> String {
    let mut text = String::new();
    for d in differences {
        let verdict = if d.within(tolerance) { "agrees" } else { "DIFFERS" };
        let _ = write!(text, "{verdict:<8} {} {:?}: at most {:.2e} apart", d.output, d.shape, d.largest);
        if d.largest != 0.0 {
            let _ = write!(text, " (at {:?}: expected {}, found {})", d.at, d.expected, d.found);
        }
        text.push('\n');
    }
    text
}
