//! The header of a safetensors file: JSON that names the tensors, their types, shapes and places.
//!
//! The `safetensors` crate keeps the last of two tensors with the same name, and says of most faults neither where nor what
//! was expected; so the header is read here, into the crate's types.

use std::collections::{HashMap, HashSet};
use std::fmt;

use brisk_graph::{DType, Shape};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// The name that the format keeps for notes.
pub(crate) const NOTES: &str = "__metadata__";

/// A tensor in a file. They follow each other without gaps.
#[derive(Debug)]
pub(crate) struct Entry {
    pub name: String,
    pub dtype: DType,
    pub shape: Shape,
}

impl Entry {
    /// `f32 [3, 4]`.
    pub fn kind(&self) -> String {
        format!("{} {}", self.dtype, self.shape)
    }
}

/// The header's JSON for tensors, in their order in the file; padded so that data begins at a multiple of 8.
pub(crate) fn write<'a>(
    tensors: impl Iterator<Item = (&'a str, DType, Shape)>,
    notes: Option<HashMap<String, String>>,
) -> Result<Vec<u8>, String> {
    let mut offset = 0;
    let mut infos = Vec::new();
    for (name, dtype, shape) in tensors {
        if name == NOTES {
            return Err(format!("a tensor cannot be called \"{NOTES}\"; give it another name"));
        }
        let end = offset + shape.elements() * dtype.size();
        let info = TensorInfo { dtype: outside(dtype), shape: shape.to_vec(), data_offsets: (offset, end) };
        infos.push((name.to_string(), info));
        offset = end;
    }
    let metadata = Metadata::new(notes, infos).map_err(|e| e.to_string())?;
    let mut json = serde_json::to_vec(&metadata).map_err(|e| e.to_string())?;
    json.resize(json.len().next_multiple_of(8), b' ');
    Ok(json)
}

/// A tensor in a file, of any type that the format knows.
#[derive(Debug)]
pub(crate) struct Place {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Shape,
    /// The first byte behind the header.
    pub begin: usize,
}

/// Reads a header's JSON. `data` is the number of bytes behind it, all of which must belong to tensors.
pub(crate) fn read(json: &[u8], data: u64) -> Result<Vec<Entry>, String> {
    let entry = |Place { name, dtype, shape, .. }| match inside(dtype) {
        Some(dtype) => Ok(Entry { name, dtype, shape }),
        None => Err(format!("tensor {name:?} has elements of type {dtype}; expected F32, F64, I32 or U8")),
    };
    read_places(json, data)?.into_iter().map(entry).collect()
}

/// Reads a header's JSON, as [`read`] does, with tensors of all types. They come in their order in the file.
pub(crate) fn read_places(json: &[u8], data: u64) -> Result<Vec<Place>, String> {
    let Tensors(mut infos) = serde_json::from_slice(json).map_err(|e| format!("its header: {e}"))?;
    infos.sort_by_key(|(_, info)| info.data_offsets);
    let mut at = 0;
    let mut places = Vec::with_capacity(infos.len());
    for (name, info) in infos {
        let (begin, end) = info.data_offsets;
        if begin != at || end < begin {
            let wrong =
                if begin < at { "overlaps another tensor or has no sound place" } else { "leaves a gap" };
            return Err(format!(
                "tensor {name:?} {wrong}: expected it to begin at byte {at}, found {begin} to {end}"
            ));
        }
        let dtype = info.dtype;
        // Axes of size 0 count as 1 here, so that no product of sizes overflows later.
        let bits = info.shape.iter().try_fold(dtype.bitsize(), |n, &d| n.checked_mul(d.max(1)));
        let bits = bits.map(|n| if info.shape.contains(&0) { 0 } else { n });
        if bits.is_none_or(|n| n % 8 != 0 || n / 8 != end - begin) {
            let needs = bits.map_or("more than any file".into(), |n| n.div_ceil(8).to_string());
            let kind = inside(dtype).map_or(dtype.to_string(), |d| d.to_string());
            return Err(format!(
                "tensor {name:?} of {kind} {} takes {needs} bytes, but has {}",
                Shape::from(&info.shape[..]),
                end - begin
            ));
        }
        places.push(Place { name, dtype, shape: info.shape.into(), begin });
        at = end;
    }
    match at as u64 == data {
        true => Ok(places),
        false => Err(format!("its header says that {at} bytes of tensors follow, found {data}")),
    }
}

fn outside(dtype: DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        DType::I32 => Dtype::I32,
        DType::I64 => Dtype::I64,
        DType::U8 => Dtype::U8,
    }
}

fn inside(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F32 => Some(DType::F32),
        Dtype::F64 => Some(DType::F64),
        Dtype::I32 => Some(DType::I32),
        Dtype::I64 => Some(DType::I64),
        Dtype::U8 => Some(DType::U8),
        _ => None,
    }
}

/// Names and places, in the order of the header; a name that comes twice is an error.
struct Tensors(Vec<(String, TensorInfo)>);

impl<'de> Deserialize<'de> for Tensors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tensors, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Tensors;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from the names of tensors to their dtype, shape and data_offsets")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tensors, A::Error> {
                let mut seen = HashSet::new();
                let mut infos = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(A::Error::custom(format!("two tensors are called {name:?}")));
                    }
                    if name == NOTES {
                        map.next_value::<Option<HashMap<String, String>>>()?;
                    } else {
                        let info = map
                            .next_value()
                            .map_err(|e| A::Error::custom(format!("tensor {name:?}: {e}")))?;
                        infos.push((name, info));
                    }
                }
                Ok(Tensors(infos))
            }
        }
        deserializer.deserialize_map(Names)
    }
}
