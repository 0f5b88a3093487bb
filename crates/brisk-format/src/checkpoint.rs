//! Checkpoints: all that a training run needs to go on, in one file.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | `BRISK\r\n\x1a`, which a copy in text mode would damage |
//! | 8..12 | format version, little-endian |
//! | 12..44 | BLAKE3 over bytes 0..12 and everything that follows |
//! | 44..52 | length of the JSON, little-endian |
//! | ... | JSON: `{"tensors": [names in order], "meta": ...}`, padded to a multiple of 8 with spaces |
//! | ... | a safetensors file |

use std::collections::HashMap;
use std::path::Path;

use brisk_graph::Tensor;
use brisk_runtime::State;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::hashed::Hashed;
use crate::tensors::{Fault, Pieces, read_data, read_header};
use crate::{Error, FORMAT_VERSION, Result, write_atomic};

const MAGIC: [u8; 8] = *b"BRISK\r\n\x1a";
const REMEDY: &str = "use an earlier checkpoint of this run, restore it from a backup, or train again";

/// What [`load_checkpoint`] gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint<M> {
    /// What was saved beside the tensors: epoch, step, history.
    pub meta: M,
    /// The tensors, in the order of the state that was saved, with the same bits.
    pub state: State,
}

#[derive(Serialize)]
struct FrontOut<'a, M> {
    tensors: Vec<&'a str>,
    meta: &'a M,
}

#[derive(Deserialize)]
struct FrontIn<M> {
    tensors: Vec<String>,
    meta: M,
}

/// Writes a checkpoint, atomically: if this fails, the former one in its place is still good.
///
/// `meta` goes through JSON: numbers keep their bits, but NaN and infinities become `null`; use an `Option` for them.
///
/// ```
/// use brisk_format::{load_checkpoint, save_checkpoint};
/// use brisk_graph::Tensor;
/// use brisk_runtime::State;
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("last.ckpt");
/// let state: State = [("w", Tensor::scalar(0.1)), ("optimizer/w/m", Tensor::scalar(f32::NAN))].into_iter().collect();
/// save_checkpoint(&path, &("epoch", 3), &state)?;
/// let checkpoint = load_checkpoint::<(String, u32)>(&path)?;
/// assert_eq!(checkpoint.meta.1, 3);
/// assert_eq!(checkpoint.state.get("w"), state.get("w"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn save_checkpoint<M: Serialize>(path: &Path, meta: &M, state: &State) -> Result<()> {
    let unsaved = |message: String| Error::unsaved(path, message);
    let front = FrontOut { tensors: state.iter().map(|t| t.0).collect(), meta };
    let mut json = serde_json::to_vec(&front).map_err(|e| unsaved(format!("its description: {e}")))?;
    json.resize((json.len() + 52).next_multiple_of(8) - 52, b' ');
    let tensors = Pieces::new(state).map_err(unsaved)?;

    let begin = [&MAGIC[..], &FORMAT_VERSION.to_le_bytes()].concat();
    let length = (json.len() as u64).to_le_bytes();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&begin).update(&length).update(&json);
    tensors.hash(&mut hasher);
    write_atomic(path, |w| {
        w.write_all(&begin)?;
        w.write_all(hasher.finalize().as_bytes())?;
        w.write_all(&length)?;
        w.write_all(&json)?;
        tensors.write(w)
    })
}

/// Reads a checkpoint.
pub fn load_checkpoint<M: DeserializeOwned>(path: &Path) -> Result<Checkpoint<M>> {
    let mut file = Hashed::open(path, "a checkpoint")?;
    let read = Error::read(path);
    let damaged = |found: String| Error::Damaged { path: path.into(), found, remedy: REMEDY };
    let length = file.left();
    let magic = file.read_vec(length.min(8) as usize).map_err(&read)?;
    if magic != MAGIC {
        let empty = if length == 0 { "it is empty" } else { "its first bytes are not those of one" };
        return Err(Error::NotFound {
            path: path.into(),
            expected: "a checkpoint",
            found: empty.into(),
            hint: "give a file from a run's checkpoints folder; if this is one, it is damaged: use another"
                .into(),
        });
    }
    if length < 52 {
        return Err(damaged(format!("expected at least 52 bytes, found {length}")));
    }
    let version = file.read_vec(4).map_err(&read)?;
    let checksum = file.read_vec(32).map_err(&read)?;
    file.restart(&[&magic[..], &version].concat());
    let version = u32::from_le_bytes([version[0], version[1], version[2], version[3]]);

    // Whatever is wrong inside: bytes that are not those that were written come first.
    let inside = if version == FORMAT_VERSION { read_inside(&mut file) } else { Ok(None) };
    if let Err(Inside::Fault(Fault::Io(error))) = inside {
        return Err(match error.kind() {
            std::io::ErrorKind::UnexpectedEof => damaged("it ends too early".into()),
            _ => read(error),
        });
    }
    if file.finish().map_err(&read)? != *checksum {
        return Err(damaged(format!("the checksum of its {length} bytes is wrong")));
    }
    match inside {
        Ok(Some(checkpoint)) => Ok(checkpoint),
        Ok(None) if version > FORMAT_VERSION => {
            Err(Error::Newer { path: path.into(), found: version.into(), known: FORMAT_VERSION })
        }
        Ok(None) => Err(damaged(format!("there is no format version {version}"))),
        Err(Inside::Meta(message)) => Err(Error::content(
            path,
            format!("what it says of its run cannot be used: {message}; resume with the Brisk that wrote it"),
        )),
        Err(Inside::Fault(Fault::Unsound(found) | Fault::Unsupported(found))) => Err(damaged(found)),
        Err(Inside::Fault(Fault::Io(error))) => Err(read(error)),
    }
}

/// Why the part behind the checksum cannot be read.
enum Inside {
    Fault(Fault),
    Meta(String),
}

impl<E: Into<Fault>> From<E> for Inside {
    fn from(error: E) -> Inside {
        Inside::Fault(error.into())
    }
}

fn read_inside<M: DeserializeOwned>(file: &mut Hashed) -> Result<Option<Checkpoint<M>>, Inside> {
    let length = file.read_vec(8)?;
    let length = u64::from_le_bytes(length.try_into().unwrap_or_default());
    let length = usize::try_from(length).ok().filter(|&n| n as u64 <= file.left());
    let Some(length) = length else {
        return Err(Fault::Unsound("its description is longer than the file".into()).into());
    };
    let json = file.read_vec(length)?;
    let front: FrontIn<M> = serde_json::from_slice(&json).map_err(|e| Inside::Meta(e.to_string()))?;
    let entries = read_header(file)?;
    let mut tensors: HashMap<String, Tensor> = read_data(file, entries)?;
    let mut state = State::new();
    for name in front.tensors {
        match tensors.remove(&name) {
            Some(tensor) => state.insert(name, tensor),
            None => return Err(Fault::Unsound(format!("tensor {name:?} is missing")).into()),
        }
    }
    match tensors.keys().next() {
        Some(name) => Err(Fault::Unsound(format!("tensor {name:?} is unexpected")).into()),
        None => Ok(Some(Checkpoint { meta: front.meta, state })),
    }
}
