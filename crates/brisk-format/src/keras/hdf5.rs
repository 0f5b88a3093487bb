//! HDF5 files of others: the groups, attributes and tensors that Keras writes.

use std::cell::Cell;
use std::collections::HashMap;

use brisk_graph::{Data, Tensor};
use half::{bf16, f16};
use hdf5_pure::{Dataset, Datatype, DatatypeByteOrder, FileAccessProperties, Group, MetadataCacheConfig};

use super::region::Region;

/// Groups nest so deep at most.
const DEEPEST: usize = 32;
/// The shortest header of an object, in bytes: a file has no more objects than fit into it.
const SHORTEST: u64 = 16;
/// By how much a tensor may be packed.
const PACKED: u64 = 100;
/// Filters by their registered numbers: deflate, shuffle, fletcher32, LZF.
const FILTERS: [u16; 4] = [1, 2, 3, 32000];

/// An HDF5 file whose groups were all looked at once.
///
/// Messages name a part of the file by its path inside; the file's own name is the caller's to add.
pub(super) struct Hdf5 {
    groups: HashMap<String, Group>,
    tensors: HashMap<String, Dataset>,
    length: u64,
    /// Bytes of tensors that may still be read.
    left: Cell<u64>,
}

impl Hdf5 {
    /// Opens a file and lists what is in it.
    pub fn open(region: Region, length: u64) -> Result<Hdf5, String> {
        let uncached = FileAccessProperties::new().with_metadata_cache(MetadataCacheConfig::disabled());
        let file = hdf5_pure::File::from_source_with_options(region, uncached)
            .map_err(|e| format!("it is no sound HDF5 file: {e}; save the model again"))?;
        let mut found = Hdf5 {
            groups: HashMap::new(),
            tensors: HashMap::new(),
            length,
            left: Cell::new(length.saturating_mul(PACKED)),
        };
        let mut waiting = vec![(String::new(), 0, file.root())];
        while let Some((path, depth, group)) = waiting.pop() {
            let unsound =
                |e: hdf5_pure::Error| format!("group {path:?} cannot be read: {e}; save the model again");
            let inside =
                |name: &str| if path.is_empty() { name.to_string() } else { format!("{path}/{name}") };
            if depth > DEEPEST {
                return Err(format!(
                    "its groups stand more than {DEEPEST} deep in one another; save the model again"
                ));
            }
            for (name, tensor) in group.iter_datasets().map_err(unsound)? {
                found.tensors.insert(inside(&name), tensor);
            }
            for (name, inner) in group.iter_groups().map_err(unsound)? {
                waiting.push((inside(&name), depth + 1, inner));
            }
            let objects = (found.tensors.len() + found.groups.len() + waiting.len()) as u64;
            if objects > length / SHORTEST {
                return Err(format!(
                    "it names more than {objects} objects, more than fit into {length} bytes; save the model again"
                ));
            }
            found.groups.insert(path, group);
        }
        Ok(found)
    }

    /// Whether there is a group of this path; the outermost is "".
    pub fn has_group(&self, path: &str) -> bool {
        self.groups.contains_key(path)
    }

    /// The paths of all tensors.
    pub fn tensors(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor of this path.
    pub fn has_tensor(&self, path: &str) -> bool {
        self.tensors.contains_key(path)
    }

    /// Reads a tensor as f32.
    pub fn tensor(&self, path: &str) -> Result<Tensor, String> {
        let fail = |message: String| format!("tensor {path:?}: {message}");
        let Some(tensor) = self.tensors.get(path) else {
            return Err(format!("there is no tensor {path:?}; save the model again"));
        };
        let unsound = |e: hdf5_pure::Error| fail(format!("it cannot be read: {e}; save the model again"));
        let shape = tensor.shape().map_err(unsound)?;
        self.check(tensor, &shape).map_err(fail)?;
        let dims: Option<Vec<usize>> = shape.iter().map(|&d| usize::try_from(d).ok()).collect();
        let values = match tensor.datatype().map_err(unsound)? {
            Datatype::FloatingPoint { size: 2, byte_order: DatatypeByteOrder::LittleEndian, layout } => {
                let halves = tensor.read_raw().map_err(unsound)?;
                let (halves, _) = halves.as_chunks();
                match layout.exponent_size {
                    8 => halves.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
                    _ => halves.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
                }
            }
            _ => tensor.read_f32().map_err(unsound)?,
        };
        let dims = dims.ok_or_else(|| fail(format!("its shape {shape:?} is too large")))?;
        Tensor::new(dims, Data::F32(values)).map_err(|e| fail(e.to_string()))
    }

    /// Reads a tensor of one number.
    pub fn number(&self, path: &str) -> Result<f64, String> {
        let tensor = self.tensor(path)?;
        match tensor.to_f64s()[..] {
            [number] => Ok(number),
            _ => Err(format!("tensor {path:?}: expected one number, found {}", tensor.shape())),
        }
    }

    /// An error unless a tensor's numbers fit into what the file holds of them.
    fn check(&self, tensor: &Dataset, shape: &[u64]) -> Result<(), String> {
        let size = tensor.element_size().map_err(|e| e.to_string())?;
        if !(1..=8).contains(&size) {
            return Err(format!(
                "expected numbers of 1 to 8 bytes, found elements of {size}; save the model with float32 weights"
            ));
        }
        let bytes = |dims: &[u64]| dims.iter().fold(size, |n, &d| n.saturating_mul(d));
        let chunk = tensor.chunk_shape().map_err(|e| e.to_string())?;
        let filters = tensor.filters();
        if let Some(other) = filters.iter().find(|f| !FILTERS.contains(f)) {
            return Err(format!(
                "it is packed by filter {other}; expected gzip or none: save the model without compression"
            ));
        }
        let most = if filters.is_empty() { self.length } else { self.length.saturating_mul(PACKED) };
        let wanted = bytes(shape).max(bytes(chunk.as_deref().unwrap_or(&[])));
        let left = if wanted > most { None } else { self.left.get().checked_sub(wanted) };
        match left {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(format!(
                "its shape {shape:?} takes {wanted} bytes, more than a file of {} bytes can hold; save the model again, without \
                 compression",
                self.length
            )),
        }
    }

    /// The strings of an attribute of a group.
    pub fn texts(&self, group: &str, attribute: &str) -> Result<Option<Vec<String>>, String> {
        let Some(found) = self.groups.get(group) else { return Ok(None) };
        let mut attributes = found.attrs().map_err(|e| {
            format!("the attributes of group {group:?} cannot be read: {e}; save the model again")
        })?;
        match attributes.remove(attribute) {
            None => Ok(None),
            Some(value) => match value.as_strings() {
                Some(texts) => Ok(Some(texts.to_vec())),
                // A list of nothing is written as one of numbers.
                None if value.to_f64s().is_some_and(|numbers| numbers.is_empty()) => Ok(Some(Vec::new())),
                None => Err(format!(
                    "attribute {attribute:?} of group {group:?}: expected text, found {}; save the model again",
                    value.type_name()
                )),
            },
        }
    }

    /// The one string of an attribute of a group.
    pub fn text(&self, group: &str, attribute: &str) -> Result<Option<String>, String> {
        match self.texts(group, attribute)?.as_deref() {
            None => Ok(None),
            Some([text]) => Ok(Some(text.clone())),
            Some(texts) => Err(format!(
                "attribute {attribute:?} of group {group:?}: expected one text, found {}; save the model again",
                texts.len()
            )),
        }
    }
}
