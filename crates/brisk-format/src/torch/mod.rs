//! Checkpoints of PyTorch, read without running them.

mod archive;
mod content;
mod element;
mod pickle;
mod read;
mod state_dict;
mod weights;

use std::collections::HashMap;
use std::path::Path;

use brisk_graph::{Data, Shape, Tensor};

use crate::budget::Budget;
use crate::elements::narrow;
use crate::error::quoted;
use crate::mapped::MappedFile;
use crate::tensors::Fault;
use crate::{Error, Result};
use archive::Place;
use pickle::View;

pub use content::TorchValue;
pub use state_dict::StateDict;
pub use weights::WeightRule;

/// How many elements the tensors of a file may have for each of its bytes, and beyond that: those that share their elements have more.
const ELEMENTS: u64 = 2;
const MORE_ELEMENTS: u64 = 1 << 24;

/// A checkpoint of PyTorch (`.pt`, `.pth`, `.bin`, `.ckpt`) that is open: what `torch.save` writes, in the format of 1.6 and newer or the one
/// before, or a TorchScript archive, of which only the attributes are looked at. Its tensors are read one by one, when they are asked for.
///
/// Only tensors and containers are read: a file that names any other class or function is refused, and nothing that it brings is run. A value
/// is called by the keys on the way to it, joined by dots: `model_state_dict.layer1.0.weight`, `optimizer.param_groups.0.lr`.
///
/// Floats of 16 and 8 bits become f32; integers of 16 and 8 bits with a sign, and of 16 without, become i32; those of 32 and 64 without a sign
/// become i64; truth values become u8. Checksums in the archive are not looked at, since PyTorch can leave them out.
///
/// ```no_run
/// use brisk_format::TorchFile;
/// let file = TorchFile::open("resnet18.pth".as_ref())?;
/// for name in file.names() {
///     println!("{name}: {} {}", file.dtype(name).unwrap(), file.shape(name).unwrap());
/// }
/// let weights = file.state_dict(None)?;
/// println!("{} holds the weights", weights.key());
/// let kernel = weights.tensor("conv1.weight")?;
/// # Ok::<(), brisk_format::Error>(())
/// ```
#[derive(Debug)]
pub struct TorchFile {
    file: MappedFile,
    places: Vec<Place>,
    tensors: Vec<Stored>,
    index: HashMap<String, usize>,
    values: Vec<(String, TorchValue)>,
    is_script: bool,
}

/// A tensor of a file.
#[derive(Debug)]
struct Stored {
    path: content::Path,
    shape: Shape,
    view: View,
}

impl TorchFile {
    /// Opens a file, and reads all of it but the elements of its tensors.
    pub fn open(path: &Path) -> Result<TorchFile> {
        let file = MappedFile::open(path, "a checkpoint of PyTorch")?;
        let fault = |fault| match fault {
            Fault::Io(error) => Error::read(path)(error),
            Fault::Unsound(message) | Fault::Unsupported(message) => Error::content(path, message),
        };
        let (content, places) = archive::read(&file).map_err(fault)?;
        let tensors: Vec<Stored> = content.tensors.into_iter().map(Stored::new).collect();
        check(&tensors, &places, file.length()).map_err(|message| Error::content(path, message))?;
        let index = tensors.iter().enumerate().map(|(i, t)| (t.path.name.clone(), i)).collect();
        Ok(TorchFile { file, places, tensors, index, values: content.values, is_script: content.is_script })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The names of all its tensors, in their order in the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|t| t.path.name.as_str())
    }

    /// The plain values beside them, in their order in the file: `epoch`, `optimizer.param_groups.0.lr`.
    pub fn values(&self) -> impl Iterator<Item = (&str, &TorchValue)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The plain value of a name, if there is one.
    pub fn value(&self, name: &str) -> Option<&TorchValue> {
        self.values.iter().find(|v| v.0 == name).map(|v| &v.1)
    }

    /// The shape of a tensor, if there is one of that name.
    pub fn shape(&self, name: &str) -> Option<&Shape> {
        self.stored(name).map(|t| &t.shape)
    }

    /// The element type of a tensor as PyTorch calls it, such as `bfloat16`, if there is one of that name.
    pub fn dtype(&self, name: &str) -> Option<&'static str> {
        self.stored(name).map(|t| t.view.element.name())
    }

    /// Reads a tensor.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let stored = self.stored(name);
        let Some((stored, place)) = stored.and_then(|s| Some((s, self.places.get(s.view.storage as usize)?)))
        else {
            return Err(Error::content(self.path(), format!("there is no tensor {name:?}")));
        };
        let data = read::read(&self.file, place, &stored.view)?;
        Tensor::new(stored.shape.clone(), data).map_err(|e| Error::content(self.path(), e))
    }

    /// Reads a tensor of floats as f32.
    pub(crate) fn floats(&self, name: &str) -> Result<Tensor> {
        let tensor = self.tensor(name)?;
        let values: Option<Vec<f32>> = match tensor.data() {
            Data::F32(_) => return Ok(tensor),
            Data::F64(values) => values.iter().map(|&x| narrow(x)).collect(),
            _ => None,
        };
        let message = || {
            let found = tensor.dtype();
            format!(
                "expected weights of numbers that f32 can hold, found {name:?} of {found}; save the model as float32"
            )
        };
        let values = values.ok_or_else(|| Error::content(self.path(), message()))?;
        Tensor::new(tensor.shape().clone(), values).map_err(|e| Error::content(self.path(), e))
    }

    /// The names and tensors of a model: those under a key such as `model_state_dict`, or of the file itself if the key is empty. Without a
    /// key it is found: what is called `state_dict`, `model_state_dict`, `model` or the like, else the file itself if tensors stand in it, else
    /// the only part that holds tensors and is no optimizer's.
    pub fn state_dict(&self, key: Option<&str>) -> Result<StateDict<'_>> {
        StateDict::new(self, key)
    }

    fn stored(&self, name: &str) -> Option<&Stored> {
        self.index.get(name).and_then(|&i| self.tensors.get(i))
    }
}

impl Stored {
    fn new((path, view): (content::Path, View)) -> Stored {
        Stored { path, shape: view.shape.clone().into(), view }
    }
}

/// An error if a tensor reaches out of its storage, or if all of them together are much longer than the file. Each name counts, as each
/// is read for itself.
fn check(tensors: &[Stored], places: &[Place], length: u64) -> Result<(), String> {
    let mut budget = Budget::of(length, ELEMENTS, MORE_ELEMENTS);
    for Stored { path, shape, view } in tensors {
        let Some(place) = places.get(view.storage as usize) else {
            return Err(format!("tensor {} has no storage", quoted(&path.name)));
        };
        let there = place.length() / view.element.size() as u64;
        if view.reach().is_none_or(|reach| reach as u64 > there) {
            return Err(format!(
                "tensor {} of {shape} with strides {:?} from element {} on reaches out of its storage {}, which has {there} \
                 elements; download it again, or save it again",
                quoted(&path.name),
                view.strides,
                view.offset,
                quoted(&place.key)
            ));
        }
        budget.take(view.extent()).map_err(|most| {
            format!(
                "its tensors, up to {} of {shape}, have more than {most} elements, which is too much for a file of {length} bytes; save \
                 expanded tensors as they were before, or with contiguous()",
                quoted(&path.name)
            )
        })?;
    }
    Ok(())
}
