//! Safetensors files, and the tensors in checkpoints.

use std::io::{self, Read, Write};
use std::path::Path;

use brisk_graph::{DType, Data, Tensor};
use brisk_runtime::State;

use crate::hashed::Hashed;
use crate::header::{self, Entry};
use crate::{Error, Result, write_atomic};

#[cfg(target_endian = "big")]
compile_error!("safetensors files are little-endian, and are written and read as they lie in memory");

/// Writes a safetensors file, atomically. Names are those of the state.
///
/// ```
/// use brisk_format::{load_tensors, save_tensors};
/// use brisk_graph::Tensor;
/// use brisk_runtime::State;
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("model.safetensors");
/// let state: State = [("dense.bias", Tensor::new([2], vec![0.5f32, -1.0])?)].into_iter().collect();
/// save_tensors(&path, &state)?;
/// assert_eq!(load_tensors(&path)?, state);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn save_tensors(path: &Path, state: &State) -> Result<()> {
    let file = Pieces::new(state).map_err(|message| Error::unsaved(path, message))?;
    write_atomic(path, |w| file.write(w))
}

/// The content of a safetensors file.
///
/// ```
/// use brisk_graph::Tensor;
/// use brisk_runtime::State;
/// let state: State = [("y", Tensor::new([2], vec![0.5f32, -1.0])?)].into_iter().collect();
/// let bytes = brisk_format::tensor_bytes(&state)?;
/// assert_eq!(bytes[bytes.len() - 4..], (-1.0f32).to_le_bytes());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn tensor_bytes(state: &State) -> Result<Vec<u8>> {
    let path = Path::new("tensors");
    let file = Pieces::new(state).map_err(|message| Error::unsaved(path, message))?;
    let mut bytes = Vec::new();
    file.write(&mut bytes).map_err(Error::write(path))?;
    Ok(bytes)
}

/// Reads a safetensors file of any origin: tensors of f32, f64, i32 and u8, in their order in the file.
pub fn load_tensors(path: &Path) -> Result<State> {
    let mut file = Hashed::open(path, "a safetensors file")?;
    let entries = read_header(&mut file).map_err(|f| f.at(path))?;
    read_data(&mut file, entries).map_err(|f| f.at(path))
}

/// A safetensors file as the pieces that it is written in; nothing is copied.
pub(crate) struct Pieces<'a> {
    front: Vec<u8>,
    tensors: Vec<&'a Tensor>,
}

impl<'a> Pieces<'a> {
    /// Tensors keep their order, except that those with large elements come first, so that all are aligned.
    pub fn new(state: &'a State) -> Result<Pieces<'a>, String> {
        let mut tensors: Vec<_> = state.iter().collect();
        tensors.sort_by_key(|(_, t)| std::cmp::Reverse(t.dtype().size()));
        let kinds = tensors.iter().map(|(name, t)| (*name, t.dtype(), t.shape().clone()));
        let json = header::write(kinds, None)?;
        let front = [&(json.len() as u64).to_le_bytes()[..], &json].concat();
        Ok(Pieces { front, tensors: tensors.into_iter().map(|t| t.1).collect() })
    }

    /// Writes it.
    pub fn write(&self, w: &mut dyn Write) -> io::Result<()> {
        self.each(|bytes| w.write_all(bytes))
    }

    /// Hashes what would be written.
    pub fn hash(&self, hasher: &mut blake3::Hasher) {
        let done: Result<(), std::convert::Infallible> = self.each(|bytes| {
            hasher.update(bytes);
            Ok(())
        });
        let Ok(()) = done;
    }

    fn each<E>(&self, mut f: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        f(&self.front)?;
        self.tensors.iter().try_for_each(|t| match t.data() {
            Data::F32(v) => f(bytemuck::cast_slice(v)),
            Data::F64(v) => f(bytemuck::cast_slice(v)),
            Data::I32(v) => f(bytemuck::cast_slice(v)),
            Data::I64(v) => f(bytemuck::cast_slice(v)),
            Data::U8(v) => f(v),
        })
    }
}

/// Why tensors cannot be read.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The machine failed, or the file is shorter than it was.
    Io(io::Error),
    /// What is there makes no sense.
    Unsound(String),
    /// What is there is sound, but cannot be used; and what to do.
    Unsupported(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Io(error)
    }
}

impl Fault {
    /// The error for a plain safetensors file.
    pub fn at(self, path: &Path) -> Error {
        match self {
            Fault::Io(error) => Error::read(path)(error),
            Fault::Unsound(found) => Error::Safetensors { path: path.into(), found },
            Fault::Unsupported(found) => Error::content(path, found),
        }
    }

    /// The error for a file of another format.
    pub fn malformed(self, path: &Path, format: &'static str) -> Error {
        match self {
            Fault::Io(error) => Error::read(path)(error),
            Fault::Unsound(found) => Error::Malformed { path: path.into(), format, found },
            Fault::Unsupported(found) => Error::content(path, found),
        }
    }

    /// The same, and in which part of the file.
    pub fn within(self, part: &str) -> Fault {
        match self {
            Fault::Unsound(found) => Fault::Unsound(format!("{part}: {found}")),
            Fault::Unsupported(found) => Fault::Unsupported(format!("{part}: {found}")),
            io => io,
        }
    }
}

/// Reads the header of what is left of a file.
pub(crate) fn read_header(file: &mut Hashed) -> Result<Vec<Entry>, Fault> {
    let left = file.left();
    let json = read_json(file, left)?;
    header::read(&json, file.left()).map_err(Fault::Unsound)
}

/// Reads a header's length and its JSON from a file with so many bytes left.
pub(crate) fn read_json(file: &mut impl Read, left: u64) -> Result<Vec<u8>, Fault> {
    let Some(most) = left.checked_sub(8) else {
        return Err(Fault::Unsound(format!("expected at least 8 bytes, found {left}")));
    };
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > most {
        return Err(Fault::Unsound(format!(
            "it says that its header has {length} bytes, but only {most} follow"
        )));
    }
    if length > MOST_HEADER {
        return Err(Fault::Unsound(format!(
            "it says that its header has {length} bytes; the format allows {MOST_HEADER}"
        )));
    }
    let mut json = vec![0; length as usize];
    file.read_exact(&mut json)?;
    Ok(json)
}

/// The longest header that the format allows.
const MOST_HEADER: u64 = 100_000_000;

/// Reads the tensors behind a header, straight to where they stay.
pub(crate) fn read_data<C>(file: &mut Hashed, entries: Vec<Entry>) -> Result<C, Fault>
where
    C: FromIterator<(String, Tensor)>,
{
    let read = |entry: Entry| {
        let mut data = Data::zeros(entry.dtype, entry.shape.elements());
        match &mut data {
            Data::F32(v) => file.read_exact(bytemuck::cast_slice_mut(v))?,
            Data::F64(v) => file.read_exact(bytemuck::cast_slice_mut(v))?,
            Data::I32(v) => file.read_exact(bytemuck::cast_slice_mut(v))?,
            Data::I64(v) => file.read_exact(bytemuck::cast_slice_mut(v))?,
            Data::U8(v) => file.read_exact(v)?,
        }
        let tensor = Tensor::new(entry.shape, data).map_err(|e| Fault::Unsound(e.to_string()))?;
        Ok((entry.name, tensor))
    };
    entries.into_iter().map(read).collect()
}

/// A matrix with its axes exchanged.
pub(crate) fn transposed(tensor: &Tensor) -> brisk_graph::Result<Tensor> {
    /// Rows and columns at a time, so that both sides stay in cache.
    const BLOCK: usize = 32;
    let &[rows, columns] = tensor.shape().dims() else { return Ok(tensor.clone()) };
    let from = tensor.f32s()?;
    let mut result = Tensor::zeros(DType::F32, [columns, rows]);
    if from.is_empty() {
        return Ok(result);
    }
    let to = result.f32s_mut()?;
    for row in (0..rows).step_by(BLOCK) {
        for column in (0..columns).step_by(BLOCK) {
            for r in row..rows.min(row + BLOCK) {
                for c in column..columns.min(column + BLOCK) {
                    to[c * rows + r] = from[r * columns + c];
                }
            }
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_elements_is_transposed_at_once() {
        let many = 1 << 50;
        for shape in [[many, 0], [0, many]] {
            let turned = transposed(&Tensor::zeros(DType::F32, shape)).unwrap();
            assert_eq!(turned.shape().dims(), [shape[1], shape[0]]);
        }
    }
}
