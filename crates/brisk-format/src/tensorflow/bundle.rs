//! A bundle of tensors: `PREFIX.index` says where in `PREFIX.data-00000-of-0000N` each tensor is.
//!
//! The format is that of `tensorflow/core/util/tensor_bundle/tensor_bundle.cc`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use brisk_graph::Tensor;
use prost::Message;

use super::checksum::{Checked, masked_crc};
use super::proto::{BundleEntryProto, BundleHeaderProto};
use super::slices::{Slice, put, slices};
use super::table::{each_entry, shown};
use super::types::{TfType, whole_shape};
use crate::elements::{Element, Elements};
use crate::hashed::{open_file, read_whole};
use crate::tensors::Fault;
use crate::{Error, Result};

const FORMAT: &str = "TensorFlow checkpoint";

/// A tensor, a text or a part of a tensor.
#[derive(Debug)]
pub(super) struct Entry {
    pub dtype: TfType,
    pub shape: Vec<usize>,
    /// The checksum in the index, which tells copies from others.
    pub crc: u32,
    shard: usize,
    offset: u64,
    size: u64,
    /// If it was saved in parts, it has no bytes of its own.
    slices: Vec<Slice>,
}

/// A bundle that is open: its index is read, its tensors are not yet.
#[derive(Debug)]
pub(super) struct Bundle {
    /// The path of the index, for messages.
    pub index: PathBuf,
    prefix: PathBuf,
    shards: usize,
    /// The names of tensors and texts, sorted; parts of tensors are not among them.
    pub names: Vec<String>,
    entries: HashMap<Vec<u8>, Entry>,
}

impl Bundle {
    pub fn open(prefix: &Path) -> Result<Bundle> {
        let index = with_suffix(prefix, ".index");
        let (bytes, _) = read_whole(&index, "the index of a TensorFlow checkpoint")?;
        let bundle = Bundle {
            index: index.clone(),
            prefix: prefix.into(),
            shards: 0,
            names: Vec::new(),
            entries: HashMap::new(),
        };
        bundle.read(&bytes).map_err(|f| f.malformed(&index, FORMAT))
    }

    fn read(mut self, file: &[u8]) -> Result<Bundle, Fault> {
        each_entry(file, |key, value| {
            if key.is_empty() {
                self.shards = header(value)?;
                return Ok(());
            }
            let entry = entry(key, value, self.shards);
            let entry = entry.map_err(|f| f.within(&format!("the entry {}", shown(key))))?;
            // Parts of tensors have keys of their own kind.
            if key[0] != 0 {
                let name = String::from_utf8(key.into());
                self.names
                    .push(name.map_err(|_| Fault::Unsound(format!("the name {} is not UTF-8", shown(key))))?);
            }
            self.entries.insert(key.into(), entry);
            Ok(())
        })?;
        if self.shards == 0 {
            return Err(Fault::Unsound("it does not say how many files of data there are".into()));
        }
        self.check_places()?;
        Ok(self)
    }

    /// No byte belongs to two tensors: so all of them together are never more than the files.
    fn check_places(&self) -> Result<(), Fault> {
        let mut places: Vec<_> = self.entries.iter().map(|(k, e)| (e.shard, e.offset, e.size, k)).collect();
        places.sort();
        let mut ends = vec![0; self.shards];
        for (shard, offset, size, key) in places.into_iter().filter(|p| p.2 > 0) {
            if offset < ends[shard] {
                return Err(Fault::Unsound(format!("the entry {} overlaps another one", shown(key))));
            }
            ends[shard] = offset + size;
        }
        Ok(())
    }

    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name.as_bytes())
    }

    /// Reads a tensor.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let Some(entry) = self.entry(name) else {
            return Err(Error::content(&self.index, format!("there is no variable {name:?}")));
        };
        let Some(element) = entry.dtype.element() else {
            let (found, known) = (entry.dtype, Element::names());
            let message = format!(
                "variable {name:?} has elements of type {found}; expected one of {known}: save it without this variable"
            );
            return Err(Error::content(&self.index, message));
        };
        if entry.slices.is_empty() {
            return self.numbers(name, entry, element);
        }
        let parts =
            entry.slices.iter().map(|slice| self.part(name, entry, slice)).collect::<Result<Vec<_>>>()?;
        let mut whole = Tensor::zeros(element.dtype(), &entry.shape[..]);
        for (slice, part) in entry.slices.iter().zip(parts) {
            let part = self.numbers(name, part, element)?;
            put(&mut whole, slice, &part).map_err(|e| Error::content(&self.index, e))?;
        }
        Ok(whole)
    }

    /// A part of a variable, all of whose bytes are there.
    fn part(&self, name: &str, whole: &Entry, slice: &Slice) -> Result<&Entry> {
        let fits = |e: &&Entry| e.shape == slice.shape && e.dtype == whole.dtype && e.slices.is_empty();
        let Some(part) = self.entries.get(&slice.key).filter(fits) else {
            let (begin, shape) = (&slice.begin, &slice.shape);
            let found = "is missing, or has another shape or type";
            let found = format!("variable {name:?}: the part {shape:?} at {begin:?} {found}");
            return Err(Fault::Unsound(found).malformed(&self.index, FORMAT));
        };
        self.data(part, name)?;
        Ok(part)
    }

    fn numbers(&self, name: &str, entry: &Entry, element: Element) -> Result<Tensor> {
        let (path, file) = self.data(entry, name)?;
        let fault = |f: Fault| f.within(&format!("variable {name:?}")).malformed(&path, FORMAT);
        let elements = entry.size as usize / element.size();
        let mut values = Elements::with_capacity(element, elements);
        let mut file = Checked::new(file);
        values.read(&mut file, elements).map_err(fault)?;
        if file.finish() != entry.crc {
            return Err(self.damaged(&path, name));
        }
        values.finish(&entry.shape).map_err(fault)
    }

    /// Reads a single text: its length, the checksum of the length, and its bytes.
    pub fn text(&self, name: &str) -> Result<Vec<u8>> {
        let unsound =
            |path: &Path, found: &str| Fault::Unsound(format!("{name:?} {found}")).malformed(path, FORMAT);
        let entry = self
            .entry(name)
            .filter(|e| e.dtype == TfType::STRING && e.shape.is_empty() && e.slices.is_empty());
        let Some(entry) = entry else { return Err(unsound(&self.index, "is not a single text")) };
        let (path, mut file) = self.data(entry, name)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(Error::read(&path))?;
        let mut left = &bytes[..];
        let length = prost::decode_length_delimiter(&mut left).ok();
        let length = length.filter(|&n| left.len().checked_sub(4) == Some(n));
        let (Some(length), Some((crc, text))) = (length, left.split_at_checked(4)) else {
            return Err(unsound(&path, "is not as long as it says"));
        };
        // Of the length, the number counts and not how it is written.
        let number = (length as u64).to_le_bytes();
        let number = if length <= u32::MAX as usize { &number[..4] } else { &number };
        match masked_crc(&[number]).to_le_bytes() == crc && masked_crc(&[number, crc, text]) == entry.crc {
            true => Ok(text.to_vec()),
            false => Err(self.damaged(&path, name)),
        }
    }

    /// The bytes of an entry, all of which are there.
    fn data(&self, entry: &Entry, name: &str) -> Result<(PathBuf, impl Read + use<>)> {
        let path = with_suffix(&self.prefix, &format!(".data-{:05}-of-{:05}", entry.shard, self.shards));
        // A link may lead elsewhere, as long as the index lies there too.
        let real = |path: &Path| path.canonicalize().ok().and_then(|p| p.parent().map(Path::to_path_buf));
        if let (Some(folder), Some(own)) = (real(&self.index), real(&path))
            && folder != own
        {
            let found = "is a link that leads out of the checkpoint's folder; put the file itself there";
            return Err(Fault::Unsupported(found.into()).malformed(&path, FORMAT));
        }
        let (mut file, length): (File, u64) = open_file(&path, "a file of data of a TensorFlow checkpoint")?;
        let end = entry.offset + entry.size;
        if end > length {
            let found = format!("{name:?} ends at byte {end}, but the file has only {length}");
            return Err(Fault::Unsound(found).malformed(&path, FORMAT));
        }
        file.seek(SeekFrom::Start(entry.offset)).map_err(Error::read(&path))?;
        Ok((path, file.take(entry.size)))
    }

    fn damaged(&self, path: &Path, name: &str) -> Error {
        Error::Damaged {
            path: path.into(),
            found: format!("the checksum of {name:?} is wrong"),
            remedy: "save the checkpoint again, or download it again",
        }
    }
}

/// A path with something behind its last part.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// How many files of data there are.
fn header(bytes: &[u8]) -> Result<usize, Fault> {
    /// As many as the names of files have digits for.
    const MOST: i32 = 99_999;
    let header = BundleHeaderProto::decode(bytes).map_err(|e| Fault::Unsound(e.to_string()))?;
    if header.endianness != 0 {
        let remedy = "load it on a machine of that kind and save it as safetensors";
        return Err(Fault::Unsupported(format!(
            "its numbers are big-endian; expected little-endian: {remedy}"
        )));
    }
    match header.num_shards {
        n @ 1..=MOST => Ok(n as usize),
        n => Err(Fault::Unsound(format!("it says that there are {n} files of data; expected 1 to {MOST}"))),
    }
}

fn entry(key: &[u8], value: &[u8], shards: usize) -> Result<Entry, Fault> {
    let unsound = |found: String| Err(Fault::Unsound(found));
    let proto = BundleEntryProto::decode(value).map_err(|e| Fault::Unsound(e.to_string()))?;
    let dtype = TfType(proto.dtype);
    let Some(shape) = whole_shape(proto.shape.as_ref()) else {
        return unsound("has a shape that is not known".into());
    };
    // What has no numbers of ours still has a shape, of something that takes a byte at least.
    let Some((_, bytes)) = dtype.element().unwrap_or(Element::U8).extent(&shape) else {
        return unsound(format!("{dtype} {shape:?} takes more bytes than any file has"));
    };
    let places = (usize::try_from(proto.shard_id), u64::try_from(proto.offset), u64::try_from(proto.size));
    let (Ok(shard), Ok(offset), Ok(size)) = places else {
        return unsound("has no sound place".into());
    };
    if shard >= shards || offset.checked_add(size).is_none() {
        return unsound(format!(
            "is in the file of data {shard} at byte {offset}, but there are {shards} files"
        ));
    }
    let slices = match (&proto.slices[..], std::str::from_utf8(key)) {
        ([], _) => Vec::new(),
        (parts, Ok(name)) => slices(name, &shape, parts)?,
        (_, Err(_)) => return unsound("has parts, but no name".into()),
    };
    let expected = if slices.is_empty() { bytes as u64 } else { 0 };
    if dtype.element().is_some() && size != expected {
        return unsound(format!("{dtype} {shape:?} takes {expected} bytes, but has {size}"));
    }
    Ok(Entry { dtype, shape, crc: proto.crc32c, shard, offset, size, slices })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::proto::tensor_shape_proto::Dim;
    use super::super::proto::tensor_slice_proto::Extent;
    use super::super::proto::{TensorShapeProto, TensorSliceProto};
    use super::super::table::tests as table;
    use super::*;

    fn shape(sizes: &[i64]) -> Option<TensorShapeProto> {
        Some(TensorShapeProto { dim: sizes.iter().map(|&size| Dim { size }).collect(), unknown_rank: false })
    }

    fn entry(sizes: &[i64], offset: i64, size: i64) -> BundleEntryProto {
        BundleEntryProto { dtype: 1, shape: shape(sizes), offset, size, ..BundleEntryProto::default() }
    }

    fn part(extents: &[(i64, i64)]) -> TensorSliceProto {
        let extent = extents.iter().map(|&(start, length)| Extent { start, length: Some(length) });
        TensorSliceProto { extent: extent.collect() }
    }

    /// Opens a bundle of entries over 16 bytes, and reads all of it.
    fn read(header: &BundleHeaderProto, entries: &[(&[u8], Vec<u8>)]) -> Result<()> {
        let dir = tempfile::tempdir().unwrap();
        let prefix = dir.path().join("ckpt");
        std::fs::write(with_suffix(&prefix, ".data-00000-of-00001"), [0; 16]).unwrap();
        let header = table::entry(0, b"", &header.encode_to_vec());
        let entries = entries.iter().map(|(key, value)| table::entry(0, key, value));
        let file = table::table(&std::iter::once(header).chain(entries).collect::<Vec<_>>(), 0);
        std::fs::write(with_suffix(&prefix, ".index"), file).unwrap();
        let bundle = Bundle::open(&prefix)?;
        bundle.names.iter().try_for_each(|name| bundle.tensor(name).map(drop))
    }

    const ONE: BundleHeaderProto = BundleHeaderProto { num_shards: 1, endianness: 0 };

    #[test]
    fn what_lies_is_found_out() {
        let big_endian = BundleHeaderProto { endianness: 1, ..ONE };
        let no_shards = BundleHeaderProto { num_shards: 0, ..ONE };
        let cases: Vec<(BundleHeaderProto, Vec<BundleEntryProto>, &str)> = vec![
            (big_endian, vec![], "its numbers are big-endian; expected little-endian"),
            (no_shards, vec![], "there are 0 files of data; expected 1 to 99999"),
            (
                ONE,
                vec![entry(&[1_000_000_000], 0, 4_000_000_000)],
                "ends at byte 4000000000, but the file has only 16",
            ),
            (
                ONE,
                vec![entry(&[1_000_000_000], 0, 16)],
                "float32 [1000000000] takes 4000000000 bytes, but has 16",
            ),
            (ONE, vec![entry(&[i64::MAX, i64::MAX], 0, 16)], "takes more bytes than any file has"),
            (ONE, vec![entry(&[-1], 0, 4)], "has a shape that is not known"),
            (ONE, vec![entry(&[4], -8, 16)], "has no sound place"),
            (ONE, vec![entry(&[4], i64::MAX, 16)], "ends at byte"),
            (ONE, vec![BundleEntryProto { shard_id: 1, ..entry(&[4], 0, 16) }], "is in the file of data 1"),
            (ONE, vec![entry(&[3], 0, 12), entry(&[3], 4, 12)], "the entry \"b\" overlaps another one"),
            (ONE, vec![entry(&[4], 0, 16)], "the checksum of \"a\" is wrong"),
            (
                ONE,
                vec![BundleEntryProto { dtype: 21, ..entry(&[], 0, 4) }],
                "has elements of type variant; expected one of",
            ),
        ];
        for (header, entries, expected) in cases {
            let named = [&b"a"[..], b"b"].into_iter().zip(entries.iter().map(Message::encode_to_vec));
            let error = read(&header, &named.collect::<Vec<_>>()).unwrap_err();
            let said = error.to_string();
            assert!(said.contains(expected) && !error.is_io(), "{said}\ndoes not say {expected:?}");
        }
    }

    #[test]
    fn parts_are_all_of_a_variable_and_nothing_twice() {
        let cases: Vec<(Vec<TensorSliceProto>, &str)> = vec![
            (vec![part(&[(0, 2), (0, 2)])], "has a part that lies outside of it"),
            (vec![part(&[(3, 2)])], "has a part that lies outside of it"),
            (vec![part(&[(-1, 2)])], "has a part that lies outside of it"),
            (vec![part(&[(0, 2)]), part(&[(1, 3)])], "has parts that overlap"),
            (vec![part(&[(0, 2)]), part(&[(0, 2)])], "has parts that overlap"),
            (vec![part(&[(0, 2)])], "[4] is more than its 1 parts"),
            (vec![part(&[(0, 2)]), part(&[(2, 2)])], "the part [2] at [0] is missing"),
            (vec![part(&[(0, 0)]); 1025], "has 1025 parts; at most 1024 are read"),
        ];
        for (slices, expected) in cases {
            let entry = BundleEntryProto { slices, ..entry(&[4], 0, 0) };
            let said = read(&ONE, &[(b"a", entry.encode_to_vec())]).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}\ndoes not say {expected:?}");
        }
    }

    /// No memory is taken for the whole before its parts are known to be there.
    #[test]
    fn parts_lie_within_their_files() {
        let size = 1 << 60;
        let slices = vec![part(&[(0, size)]), part(&[(size, 4)])];
        let keys = super::slices("a", &[(size + 4) as usize], &slices).unwrap();
        let whole = BundleEntryProto { slices, ..entry(&[size + 4], 0, 0) }.encode_to_vec();
        let parts = [entry(&[size], 16, 4 * size).encode_to_vec(), entry(&[4], 0, 16).encode_to_vec()];
        let [first, last] = parts;
        let entries = [(&keys[0].key[..], first), (&keys[1].key[..], last), (b"a", whole)];
        let said = read(&ONE, &entries).unwrap_err().to_string();
        assert!(said.contains("ends at byte 4611686018427387920, but the file has only 16"), "{said}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// The checksums of the index are right, what it says is not.
        #[test]
        fn no_entry_makes_it_panic(
            parts in prop::collection::vec((-1i64..4, -1i64..4), 0..3),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            noise in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let slices = parts.iter().map(|&p| part(&[p])).collect();
            let mut bytes = BundleEntryProto { slices, ..entry(&[4], 0, 16) }.encode_to_vec();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Err(error) = read(&ONE, &[(b"a", bytes), (b"b", noise)]) {
                prop_assert!(!error.is_io(), "{error}");
            }
        }
    }
}
