//! Where things lie in the file: the zip archive of PyTorch 1.6 and newer, and the format before it.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::content::{Content, content};
use super::pickle::{self, Parsed, Pickle, Source, Storage, Value, unsound};
use crate::budget::Budget;
use crate::error::quoted;
use crate::mapped::MappedFile;
use crate::tensors::Fault;

/// The most bytes of what an archive says of its entries: of some hundred thousand, one for each storage.
const MOST_OF_ENTRIES: u64 = 32 << 20;
/// What the format before the archives begins with.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
/// The version of that format.
const PROTOCOL: i128 = 1001;

/// The bytes of a storage.
#[derive(Debug)]
pub(super) enum Bytes {
    /// They lie in the file.
    File { begin: u64, length: u64 },
    /// They stood in the pickle.
    Own(Box<[u8]>),
}

/// A storage, and whether its elements have their bytes the other way round (big-endian).
#[derive(Debug)]
pub(super) struct Place {
    pub key: String,
    pub bytes: Bytes,
    pub reversed: bool,
}

impl Place {
    pub fn length(&self) -> u64 {
        match &self.bytes {
            Bytes::File { length, .. } => *length,
            Bytes::Own(bytes) => bytes.len() as u64,
        }
    }
}

/// Reads all of a file but the content of its storages.
pub(super) fn read(file: &MappedFile) -> Parsed<(Content, Vec<Place>)> {
    let start = source(file, 0, file.length())?.vec(file.length().min(512))?;
    if start.starts_with(b"PK\x03\x04") {
        return of_archive(file);
    }
    if start.get(257..262) == Some(b"ustar") {
        return unsound(
            "it is a tar archive, as PyTorch before 0.1.10 wrote them; load it with a PyTorch that knows it, and save it again",
        );
    }
    of_legacy(file)
}

/// A file of an archive.
#[derive(Clone, Copy)]
struct Entry {
    begin: u64,
    length: u64,
}

fn of_archive(file: &MappedFile) -> Parsed<(Content, Vec<Place>)> {
    let (root, entries) = entries(file)?;
    let entry = |name: &str| entries.get(&format!("{root}/{name}")).copied();
    let Some(data) = entry("data.pkl") else {
        return unsound("there is no data.pkl in it");
    };
    let reversed = match entry("byteorder") {
        None => false,
        Some(Entry { begin, length }) => match &*read_small(file, begin, length)? {
            b"little" => false,
            b"big" => true,
            other => {
                let found = String::from_utf8_lossy(other);
                return unsound(format!("its byteorder should be little or big, found {found:?}"));
            }
        },
    };
    let mut source = source(file, data.begin, data.length)?;
    let pickle = pickle::read(&mut source)?;
    let content = content(&pickle.values, pickle.root, data.length)?;
    let place = |storage: Storage| {
        if let Some((bytes, reversed)) = storage.own {
            return Ok(Place { key: storage.key, bytes: Bytes::Own(bytes), reversed });
        }
        match entry(&format!("data/{}", storage.key)) {
            Some(Entry { begin, length }) if length >= storage.bytes => {
                Ok(Place { key: storage.key, bytes: Bytes::File { begin, length }, reversed })
            }
            Some(Entry { length, .. }) => unsound(format!(
                "its storage {} should have {} bytes, and has {length}; download it again, or save it again",
                quoted(&storage.key),
                storage.bytes
            )),
            None => unsound(format!(
                "its storage {} is missing; download it again, or save it again",
                quoted(&storage.key)
            )),
        }
    };
    let places = pickle.storages.into_iter().map(place).collect::<Parsed<_>>()?;
    Ok((content, places))
}

/// The name of the folder that everything in an archive stands in, and where its files lie.
fn entries(file: &MappedFile) -> Parsed<(String, HashMap<String, Entry>)> {
    let fault = |error: ZipError| {
        let foreign = [io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidData, io::ErrorKind::InvalidInput];
        match error {
            ZipError::Io(error) if !foreign.contains(&error.kind()) => Fault::Io(error),
            error => Fault::Unsound(format!(
                "it is no sound zip archive ({error}); download it again, or save it again"
            )),
        }
    };
    let reader = BufReader::new(file.reader().map_err(|e| Fault::Unsound(e.to_string()))?);
    let mut archive =
        ZipArchive::new(Metered { reader, budget: Budget::new(MOST_OF_ENTRIES) }).map_err(fault)?;
    let (mut root, mut entries) = (None, HashMap::new());
    for i in 0..archive.len() {
        let entry = archive.by_index_raw(i).map_err(fault)?;
        let name = entry.name().map_err(fault)?.into_owned();
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            // Only what is needed must be as PyTorch writes it: the rest, such as the code of TorchScript, is left alone.
            let needed =
                ["/data.pkl", "/byteorder"].iter().any(|end| name.ends_with(end)) || name.contains("/data/");
            match needed {
                true => {
                    return unsound(format!(
                        "its entry {} is packed or encrypted, which PyTorch never does; save it again with torch.save",
                        quoted(&name)
                    ));
                }
                false => continue,
            }
        }
        let (begin, length) = (entry.data_start().unwrap_or(u64::MAX), entry.size());
        if begin.checked_add(length).is_none_or(|end| end > file.length())
            || entry.compressed_size() != length
        {
            return unsound(format!(
                "its entry {} of {length} bytes does not lie within the file; download it again",
                quoted(&name)
            ));
        }
        match name.strip_suffix("/data.pkl") {
            Some(folder) if !folder.contains('/') && root.is_none() => root = Some(folder.to_string()),
            Some(folder) if !folder.contains('/') => {
                return unsound(format!(
                    "it has two pickles, in {} too; save the state dict alone",
                    quoted(folder)
                ));
            }
            _ => {}
        }
        entries.insert(name, Entry { begin, length });
    }
    match root {
        Some(root) => Ok((root, entries)),
        None if entries.keys().any(|name| name.ends_with("model.json")) => unsound(
            "it is a TorchScript archive of before PyTorch 1.4; load it with a newer one, and save it again",
        ),
        None => unsound(
            "it is a zip archive without a data.pkl, and so not PyTorch's; expected what torch.save writes",
        ),
    }
}

/// A reader of which only so much can be read, so that an archive of countless entries takes no countless memory.
struct Metered<R> {
    reader: R,
    budget: Budget,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        match self.budget.take(read) {
            Ok(()) => Ok(read),
            Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "it has too many entries")),
        }
    }
}

impl<R: Seek> Seek for Metered<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.reader.seek(to)
    }
}

/// A part of a file, to be read from front to back.
fn source(file: &MappedFile, begin: u64, length: u64) -> Parsed<Source<'_>> {
    let mut reader = file.reader().map_err(|e| Fault::Unsound(e.to_string()))?;
    reader.seek(SeekFrom::Start(begin))?;
    Ok(Source::new(reader, length))
}

/// The bytes of an entry that holds a word.
fn read_small(file: &MappedFile, begin: u64, length: u64) -> Parsed<Vec<u8>> {
    source(file, begin, length)?.vec(length.min(64))
}

/// The format before: a magic number, a version, what the machine was like, the pickle and the keys of the storages are pickles; then
/// the storages follow, each with its number of elements in front. All of it is little-endian, whatever the machine.
fn of_legacy(file: &MappedFile) -> Parsed<(Content, Vec<Place>)> {
    let mut source = source(file, 0, file.length())?;
    let foreign = |_| {
        Fault::Unsound(
            "it is no file of PyTorch; expected what torch.save writes: a zip archive with a data.pkl, or the format before it".into(),
        )
    };
    let magic = pickle::read(&mut source).map_err(foreign)?;
    if !matches!(magic.values.get(magic.root), &Value::Int(MAGIC)) {
        return Err(foreign(Fault::Unsound(String::new())));
    }
    let version = pickle::read(&mut source)?;
    if !matches!(version.values.get(version.root), &Value::Int(PROTOCOL)) {
        return unsound(format!(
            "expected version {PROTOCOL} of PyTorch's format, found another; save it again"
        ));
    }
    pickle::read(&mut source)?;
    let Pickle { values, root, storages } = pickle::read(&mut source)?;
    let keys = pickle::read(&mut source)?;
    let Some(keys) = keys.values.parts(keys.root).map(|ids| ids.iter().map(|&id| keys.values.text(id)))
    else {
        return unsound("the names of its storages are missing; download it again, or save it again");
    };
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    numbers
        .extend(storages.iter().enumerate().filter(|s| s.1.own.is_none()).map(|(i, s)| (s.key.as_str(), i)));
    let mut found: Vec<Option<(u64, u64)>> = vec![None; storages.len()];
    for key in keys {
        let elements = u64::from_le_bytes(source.array()?);
        let Some(&number) = key.and_then(|key| numbers.get(key)) else {
            return unsound("it has a storage that no tensor names; save it again");
        };
        let Some((storage, place)) = storages.get(number).zip(found.get_mut(number)) else { continue };
        if elements.checked_mul(storage.element.size() as u64) != Some(storage.bytes) {
            return unsound(format!(
                "its storage {} should have {} bytes, and has {elements} elements; download it again, or save it again",
                quoted(&storage.key),
                storage.bytes
            ));
        }
        *place = Some((source.read(), storage.bytes));
        source.skip(storage.bytes)?;
    }
    let content = content(&values, root, file.length())?;
    let place = |(storage, found): (Storage, Option<(u64, u64)>)| match (storage.own, found) {
        (Some((bytes, reversed)), _) => Ok(Place { key: storage.key, bytes: Bytes::Own(bytes), reversed }),
        (None, Some((begin, length))) => {
            Ok(Place { key: storage.key, bytes: Bytes::File { begin, length }, reversed: false })
        }
        (None, None) => unsound(format!(
            "its storage {} is missing; download it again, or save it again",
            quoted(&storage.key)
        )),
    };
    let places = storages.into_iter().zip(found).map(place).collect::<Parsed<_>>()?;
    Ok((content, places))
}
