//! Files of others, read through a memory map, never the file and its tensors in memory at once; safetensors files of any element
//! type that fits into ours.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

use brisk_graph::{Data, Shape, Tensor};
use half::{bf16, f16};
use memmap2::{Mmap, MmapOptions};
use safetensors::Dtype;

use crate::elements::narrow;
use crate::hashed::open_file;
use crate::header::{Place, read_places};
use crate::tensors::read_json;
use crate::{Error, Result};

/// How much of a file is mapped at a time: pages that were read once need not stay in memory.
pub(crate) const WINDOW: usize = 4 << 20;

/// A file of which parts are mapped.
#[derive(Debug)]
pub(crate) struct MappedFile {
    path: PathBuf,
    file: File,
    length: u64,
}

impl MappedFile {
    /// Opens a file, if it is one.
    pub fn open(path: &Path, expected: &'static str) -> Result<MappedFile> {
        let (file, length) = open_file(path, expected)?;
        Ok(MappedFile { path: path.into(), file, length })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How long it was when it was opened.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The file, to be read from its beginning.
    pub fn reader(&self) -> Result<&File> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0)).map_err(Error::read(&self.path))?;
        Ok(file)
    }

    /// Maps a part that lies within the file; it is not empty.
    #[allow(unsafe_code)] // There is no map without it.
    pub fn window(&self, begin: u64, bytes: usize) -> Result<Mmap> {
        let now = self.file.metadata().map_err(Error::read(&self.path))?.len();
        let end = begin.checked_add(bytes as u64);
        if now < self.length || end.is_none_or(|end| end > self.length) {
            return Err(Error::Damaged {
                path: self.path.clone(),
                found: format!("it has {now} bytes, but had {} when it was opened", self.length),
                remedy: "let whoever writes to it finish, and try again",
            });
        }
        // SAFETY: the window was checked: it lies within the file, which is a regular one and still as long as it was. The map is
        // private to the caller, read into memory of our own, as plain bytes of which every value is valid, so that a write from
        // outside can change what is read, but nothing that was concluded from it.
        let map = unsafe { MmapOptions::new().offset(begin).len(bytes).map(&self.file) };
        map.map_err(Error::read(&self.path))
    }
}

/// A safetensors file that is open; its tensors are read one by one, when they are asked for.
///
/// f16, bf16 and f64 become f32; integers of 64, 32, 16 or 8 bits with a sign become i32; u8 and bool become u8. A value that
/// does not fit is an error.
///
/// A file that another program writes into meanwhile gives other values or an error. One that is cut short in the very moment in which a
/// window of it is read ends the process (SIGBUS), as it does any program that maps files; Brisk itself never changes a file in place.
///
/// ```
/// use brisk_format::{MappedTensors, save_tensors};
/// use brisk_graph::Tensor;
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("model.safetensors");
/// let bias = Tensor::new([2], vec![0.5f32, -1.0])?;
/// save_tensors(&path, &[("bias", bias.clone())].into_iter().collect())?;
/// let file = MappedTensors::open(&path)?;
/// assert_eq!(file.names().collect::<Vec<_>>(), ["bias"]);
/// assert_eq!(file.tensor("bias")?, bias);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MappedTensors {
    file: MappedFile,
    /// Where the tensors begin.
    data: usize,
    places: Vec<Place>,
    index: HashMap<String, usize>,
}

impl MappedTensors {
    /// Opens a file and reads its header.
    pub fn open(path: &Path) -> Result<MappedTensors> {
        let file = MappedFile::open(path, "a safetensors file")?;
        let json = read_json(&mut file.reader()?, file.length()).map_err(|f| f.at(path))?;
        let data = json.len() + 8;
        let unsound = |found| Error::Safetensors { path: path.into(), found };
        let places = read_places(&json, file.length() - data as u64).map_err(unsound)?;
        let index = places.iter().enumerate().map(|(i, p)| (p.name.clone(), i)).collect();
        Ok(MappedTensors { file, data, places, index })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The names of its tensors, in their order in the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|p| p.name.as_str())
    }

    /// The shape of a tensor, if there is one of that name.
    pub fn shape(&self, name: &str) -> Option<&Shape> {
        self.place(name).map(|p| &p.shape)
    }

    /// The element type of a tensor as the format calls it, such as `BF16`, if there is one of that name.
    pub fn dtype(&self, name: &str) -> Option<String> {
        self.place(name).map(|p| p.dtype.to_string())
    }

    /// Reads a tensor.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let Some(place) = self.place(name) else {
            return Err(Error::content(self.file.path(), format!("there is no tensor {name:?}")));
        };
        let data = self.read(place)?;
        Tensor::new(place.shape.clone(), data).map_err(|e| Error::content(self.file.path(), e))
    }

    fn place(&self, name: &str) -> Option<&Place> {
        self.index.get(name).and_then(|&i| self.places.get(i))
    }

    fn read(&self, place: &Place) -> Result<Data> {
        Ok(match place.dtype {
            Dtype::F32 => Data::F32(self.convert(place, "f32", |b| Some(f32::from_le_bytes(b)))?),
            Dtype::F16 => Data::F32(self.convert(place, "f32", |b| Some(f16::from_le_bytes(b).to_f32()))?),
            Dtype::BF16 => Data::F32(self.convert(place, "f32", |b| Some(bf16::from_le_bytes(b).to_f32()))?),
            Dtype::F64 => Data::F32(self.convert(place, "f32", |b| narrow(f64::from_le_bytes(b)))?),
            Dtype::I64 => Data::I32(self.convert(place, "i32", |b| i64::from_le_bytes(b).try_into().ok())?),
            Dtype::I32 => Data::I32(self.convert(place, "i32", |b| Some(i32::from_le_bytes(b)))?),
            Dtype::I16 => Data::I32(self.convert(place, "i32", |b| Some(i16::from_le_bytes(b).into()))?),
            Dtype::I8 => Data::I32(self.convert(place, "i32", |b| Some(i8::from_le_bytes(b).into()))?),
            Dtype::U8 => Data::U8(self.convert(place, "u8", |[b]| Some(b))?),
            Dtype::BOOL => Data::U8(self.convert(place, "bool", |[b]| (b <= 1).then_some(b))?),
            other => {
                return Err(Error::content(
                    self.file.path(),
                    format!(
                        "tensor {:?} has elements of type {other}; expected F32, F16, BF16, F64, I64, I32, I16, I8, U8 or BOOL; \
                         save the model with elements of type float32",
                        place.name
                    ),
                ));
            }
        })
    }

    /// Reads the elements of a tensor, window by window.
    fn convert<const N: usize, T>(
        &self,
        place: &Place,
        to: &str,
        element: impl Fn([u8; N]) -> Option<T>,
    ) -> Result<Vec<T>> {
        let bytes = place.shape.elements() * N;
        let mut values = Vec::with_capacity(place.shape.elements());
        for begin in (0..bytes).step_by(WINDOW) {
            let window =
                self.file.window((self.data + place.begin + begin) as u64, WINDOW.min(bytes - begin))?;
            let (elements, _) = window.as_chunks();
            for &e in elements {
                let Some(value) = element(e) else {
                    return Err(Error::content(
                        self.file.path(),
                        format!(
                            "tensor {:?} of type {}: element {} does not fit into {to}; save the model with elements of type float32",
                            place.name,
                            place.dtype,
                            values.len()
                        ),
                    ));
                };
                values.push(value);
            }
        }
        Ok(values)
    }
}
