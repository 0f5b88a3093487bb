//! HDF5 files of others: the groups, attributes and tensors that Keras writes.

use std::cell::RefCell;
use std::collections::HashMap;

use brisk_graph::{Data, Tensor};
use half::{bf16, f16};
use hdf5_pure::{Dataset, Datatype, DatatypeByteOrder, FileAccessProperties, Group, MetadataCacheConfig};

use super::region::Region;
use crate::budget::Budget;

/// Groups nest so deep at most.
const DEEPEST: usize = 32;
/// The shortest header of an object, in bytes: a file has no more objects than fit into it.
const SHORTEST: u64 = 16;
/// By how much tensors may be packed all together.
const PACKED: u64 = 100;
/// How often those that are not packed may be read: several names may be of one tensor.
const PLAIN: u64 = 2;
/// Filters by their registered numbers: deflate, shuffle, fletcher32, LZF.
const FILTERS: [u16; 4] = [1, 2, 3, 32000];

/// An HDF5 file whose groups were all looked at once.
///
/// Messages name a part of the file by its path inside; the file's own name is the caller's to add.
pub(super) struct Hdf5 {
    groups: HashMap<String, Group>,
    tensors: HashMap<String, Dataset>,
    length: u64,
    /// The bytes of tensors that may be read: of those that are packed, and of others.
    packed: RefCell<Budget>,
    plain: RefCell<Budget>,
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
            packed: RefCell::new(Budget::of(length, PACKED, 0)),
            plain: RefCell::new(Budget::of(length, PLAIN, 0)),
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

    /// Reads a tensor of floats as f32.
    pub fn floats(&self, path: &str) -> Result<Tensor, String> {
        match self.tensors.get(path).map(Dataset::datatype) {
            None | Some(Ok(Datatype::FloatingPoint { .. }) | Err(_)) => self.tensor(path),
            Some(Ok(_)) => Err(format!(
                "tensor {path:?}: expected floats, found other elements, as quantized models have them; save the model with float32 weights"
            )),
        }
    }

    /// Reads a tensor as f32.
    fn tensor(&self, path: &str) -> Result<Tensor, String> {
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
        let filters = tensor.filters();
        if let Some(other) = filters.iter().find(|f| !FILTERS.contains(f)) {
            return Err(format!(
                "it is packed by filter {other}; expected gzip or none: save the model without compression"
            ));
        }
        let (budget, most) = match filters.is_empty() {
            true => (&self.plain, self.length),
            false => (&self.packed, self.length.saturating_mul(PACKED)),
        };
        let takes = |wanted: u64| {
            format!(
                "its shape {shape:?} takes {wanted} bytes, with those before more than a file of {} bytes can hold; save the model again, \
                 without compression",
                self.length
            )
        };
        let mut wanted = bytes(shape);
        if wanted > most {
            return Err(takes(wanted));
        }
        if let Some(chunk) = tensor.chunk_shape().map_err(|e| e.to_string())? {
            let grid = chunk.iter().zip(shape).map(|(&c, &d)| d.div_ceil(c.max(1)));
            let grid = grid.fold(1u64, u64::saturating_mul);
            if chunk.iter().zip(shape).any(|(c, d)| c > d) || grid > self.length / SHORTEST {
                return Err(format!(
                    "its shape {shape:?} is in chunks of {chunk:?}, of which no file of {} bytes has so many or so large ones; save the \
                     model again, without compression",
                    self.length
                ));
            }
            // Each is unpacked, wherever it says that it belongs.
            let chunks = tensor.chunks().map_err(|e| e.to_string())?.len() as u64;
            wanted = wanted.max(bytes(&chunk).saturating_mul(chunks));
        }
        let bytes = usize::try_from(wanted).map_err(|_| takes(wanted))?;
        budget.borrow_mut().take(bytes).map_err(|_| takes(wanted))
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use hdf5_pure::FileBuilder;

    use super::*;

    fn open(bytes: &[u8]) -> Hdf5 {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let length = bytes.len() as u64;
        Hdf5::open(Region::new(file, 0, length), length).unwrap()
    }

    #[test]
    fn tensors_of_several_names_are_counted_by_each() {
        let mut file = FileBuilder::new();
        file.create_dataset("w").with_f32_data(&[0.5; 4096]).with_shape(&[64, 64]);
        let file = open(&file.finish().unwrap());
        let read: Vec<bool> = (0..3).map(|_| file.floats("w").is_ok()).collect();
        assert_eq!(read, [true, true, false]);
        assert!(file.floats("w").unwrap_err().contains("with those before more than a file of"));
    }

    #[test]
    fn whole_numbers_are_no_weights() {
        let mut file = FileBuilder::new();
        file.create_dataset("steps").with_i64_data(&[7]).with_shape(&[]);
        file.create_dataset("w").with_i8_data(&[1, 2]).with_shape(&[2]);
        let file = open(&file.finish().unwrap());
        assert_eq!(file.number("steps"), Ok(7.0));
        let said = file.floats("w").unwrap_err();
        assert!(said.contains("tensor \"w\": expected floats, found other elements"), "{said}");
    }

    #[test]
    fn chunks_are_within_the_shape() {
        // As many and as large ones as the shape needs, at its end too.
        let packed = |shape: u64, chunk: u64| {
            let mut file = FileBuilder::new();
            let values = vec![1.5; shape as usize];
            file.create_dataset("w")
                .with_f32_data(&values)
                .with_shape(&[shape])
                .with_chunks(&[chunk])
                .with_deflate(6);
            file.finish().map(|bytes| open(&bytes).floats("w"))
        };
        assert_eq!(packed(1000, 300).unwrap().unwrap().elements(), 1000);
        // One that is larger.
        if let Ok(read) = packed(10, 1 << 20) {
            let said = read.unwrap_err();
            assert!(said.contains("its shape [10] is in chunks of [1048576]"), "{said}");
        }
        // 400 of 16 KB each, of which the shape holds one.
        let path = "../brisk-testkit/goldens/keras_models/hostile/chunks.h5";
        let bytes = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let said = open(&bytes).floats("w").unwrap_err();
        assert!(said.contains("its shape [4096] takes 6553600 bytes"), "{said}");
    }
}
