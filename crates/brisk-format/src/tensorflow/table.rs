//! The sorted table of names and values that the index of a checkpoint is.
//!
//! The format is LevelDB's (`doc/table_format.md` of google/leveldb), which TensorFlow took over
//! (`tensorflow/core/lib/io/table.cc`): blocks of entries whose keys leave out what they share with the one before, a block that
//! says where those are, and a footer that says where that one is.

use std::borrow::Cow;

use super::checksum::masked_crc;
use crate::tensors::Fault;

const FOOTER: usize = 48;
const MAGIC: u64 = 0xdb47_7524_8b80_fb57;
/// What follows each block: how it is compressed, and its checksum.
const TRAILER: usize = 5;
/// Snappy makes at most 64 bytes of 3.
const MOST_UNPACKED: usize = 22;
/// How much longer than the file all keys may be together.
const MOST_KEYS: usize = 64;

/// A part of the file.
#[derive(Clone, Copy)]
struct Place {
    offset: usize,
    size: usize,
}

/// Gives the entries of a table in their order, which is that of their keys.
pub(super) fn each_entry(
    file: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let Some((blocks, footer)) = file.split_last_chunk::<FOOTER>() else {
        return Err(Fault::Unsound(format!("expected at least {FOOTER} bytes, found {}", file.len())));
    };
    let (mut places, magic) = footer.split_at(FOOTER - 8);
    if magic != MAGIC.to_le_bytes() {
        return Err(Fault::Unsound("its last 8 bytes are not those of a table".into()));
    }
    let (_filters, index) = (place(&mut places, "the footer")?, place(&mut places, "the footer")?);
    let mut last: Option<Vec<u8>> = None;
    let mut keys = 0usize;
    each_of_block(&block(blocks, index)?, |_, mut value| {
        let place = place(&mut value, "the index")?;
        let mut empty = true;
        each_of_block(&block(blocks, place)?, |key, value| {
            if last.as_deref().is_some_and(|last| last >= key) {
                return Err(Fault::Unsound(format!("its keys are not sorted: {}", shown(key))));
            }
            keys = keys.saturating_add(key.len());
            if keys > file.len().saturating_mul(MOST_KEYS) {
                return Err(Fault::Unsound("its keys share more with each other than names do".into()));
            }
            empty = false;
            let last = last.get_or_insert_default();
            last.clear();
            last.extend_from_slice(key);
            visit(key, value)
        })?;
        match empty {
            true => Err(Fault::Unsound(format!("the block at byte {} has no entries", place.offset))),
            false => Ok(()),
        }
    })
}

/// A key for messages.
pub(super) fn shown(key: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(key))
}

/// A number of variable length.
fn number(bytes: &mut &[u8], what: &str) -> Result<usize, Fault> {
    prost::decode_length_delimiter(bytes).map_err(|e| Fault::Unsound(format!("{what}: {e}")))
}

fn place(bytes: &mut &[u8], what: &str) -> Result<Place, Fault> {
    Ok(Place { offset: number(bytes, what)?, size: number(bytes, what)? })
}

/// The contents of a block.
fn block(blocks: &[u8], Place { offset, size }: Place) -> Result<Cow<'_, [u8]>, Fault> {
    let unsound = |found: &str| Fault::Unsound(format!("the block at byte {offset} {found}"));
    let end = offset.checked_add(size).and_then(|end| Some(end..end.checked_add(TRAILER)?));
    let within = end.and_then(|trailer| blocks.get(offset..trailer.end));
    let Some((data, &[kind, a, b, c, d])) = within.and_then(|b| b.split_last_chunk::<TRAILER>()) else {
        return Err(unsound(&format!("has {size} bytes, but the file ends before that")));
    };
    if masked_crc(&[data, &[kind]]) != u32::from_le_bytes([a, b, c, d]) {
        return Err(unsound("has a wrong checksum"));
    }
    match kind {
        0 => Ok(Cow::Borrowed(data)),
        1 => {
            let length = snap::raw::decompress_len(data).map_err(|e| unsound(&e.to_string()))?;
            if length > data.len().saturating_mul(MOST_UNPACKED) {
                return Err(unsound(&format!("says that its {size} bytes unpack to {length}")));
            }
            let unpacked = snap::raw::Decoder::new().decompress_vec(data);
            unpacked.map(Cow::Owned).map_err(|e| unsound(&e.to_string()))
        }
        other => Err(unsound(&format!("is compressed in the way {other}; expected 0 (not) or 1 (Snappy)"))),
    }
}

/// Gives the entries of a block. Behind them stand the places where a key is whole, and their number: they help to search, and are
/// not needed here.
fn each_of_block(
    block: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let unsound = |found: &str| Fault::Unsound(format!("a block {found}"));
    let restarts = block.split_last_chunk::<4>().map(|(rest, n)| (rest, u32::from_le_bytes(*n) as usize));
    let entries = restarts.and_then(|(rest, n)| rest.get(..rest.len().checked_sub(n.checked_mul(4)?)?));
    let Some(mut left) = entries else { return Err(unsound("is shorter than it says")) };
    let mut key = Vec::new();
    while !left.is_empty() {
        let mut next = || number(&mut left, "a block");
        let (shared, own, size) = (next()?, next()?, next()?);
        if shared > key.len() {
            return Err(unsound("has a key that shares more than the one before has"));
        }
        let parts =
            left.split_at_checked(own).and_then(|(own, rest)| Some((own, rest.split_at_checked(size)?)));
        let Some((own, (value, rest))) = parts else { return Err(unsound("has an entry that is cut off")) };
        key.truncate(shared);
        key.extend_from_slice(own);
        visit(&key, value)?;
        left = rest;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn varint(n: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        prost::encode_length_delimiter(n, &mut bytes).unwrap();
        bytes
    }

    pub fn entry(shared: usize, own: &[u8], value: &[u8]) -> Vec<u8> {
        [varint(shared), varint(own.len()), varint(value.len()), own.into(), value.into()].concat()
    }

    /// Adds a block of entries to a file; the place of it.
    fn add(file: &mut Vec<u8>, entries: &[u8], kind: u8) -> Vec<u8> {
        let mut data = [entries, &0u32.to_le_bytes(), &1u32.to_le_bytes()].concat();
        if kind == 1 {
            data = snap::raw::Encoder::new().compress_vec(&data).unwrap();
        }
        let place = [varint(file.len()), varint(data.len())].concat();
        let crc = masked_crc(&[&data, &[kind]]);
        file.extend([&data[..], &[kind], &crc.to_le_bytes()].concat());
        place
    }

    fn finish(mut file: Vec<u8>, blocks: &[Vec<u8>]) -> Vec<u8> {
        let entries: Vec<u8> = blocks.iter().flat_map(|place| entry(0, b"k", place)).collect();
        let index = add(&mut file, &entries, 0);
        let mut footer = [vec![0, 0], index].concat();
        footer.resize(FOOTER - 8, 0);
        [file, footer, MAGIC.to_le_bytes().into()].concat()
    }

    pub fn table(entries: &[Vec<u8>], kind: u8) -> Vec<u8> {
        let mut file = Vec::new();
        let place = add(&mut file, &entries.concat(), kind);
        finish(file, &[place])
    }

    fn read(file: &[u8]) -> Result<Vec<(String, String)>, String> {
        let mut found = Vec::new();
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let result = each_entry(file, |key, value| {
            found.push((text(key), text(value)));
            Ok(())
        });
        match result {
            Ok(()) => Ok(found),
            Err(Fault::Unsound(found)) => Err(found),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn keys_are_put_together() {
        let entries = [entry(0, b"dense/bias", b"1"), entry(6, b"kernel", b"2"), entry(0, b"x", b"")];
        let expected = [("dense/bias", "1"), ("dense/kernel", "2"), ("x", "")];
        let expected: Vec<_> = expected.map(|(k, v)| (k.to_string(), v.to_string())).into();
        assert_eq!(read(&table(&entries, 0)).unwrap(), expected);
        assert_eq!(read(&table(&entries, 1)).unwrap(), expected, "with Snappy");
        assert_eq!(read(&finish(Vec::new(), &[])).unwrap(), [], "without blocks");
        let mut several = Vec::new();
        let places = [add(&mut several, &entries[..2].concat(), 0), add(&mut several, &entries[2], 1)];
        assert_eq!(read(&finish(several, &places)).unwrap(), expected, "in two blocks");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let one = [entry(0, b"a", b"1")];
        let mut flipped = table(&one, 0);
        flipped[3] ^= 1;
        let mut bad_magic = table(&one, 0);
        *bad_magic.last_mut().unwrap() = 0;
        let mut twice = Vec::new();
        let place = add(&mut twice, &one[0], 0);
        let twice = finish(twice, &[place.clone(), place]);
        let mut bomb = Vec::new();
        let packed = varint(1 << 30);
        let crc = masked_crc(&[&packed, &[1]]);
        bomb.extend([&packed[..], &[1], &crc.to_le_bytes()].concat());
        let bomb = finish(bomb, &[[varint(0), varint(packed.len())].concat()]);
        let long: Vec<Vec<u8>> = std::iter::once(entry(0, &[b'k'; 1000], b""))
            .chain((0..200u8).map(|i| entry(1000 + usize::from(i), b"k", b"")))
            .collect();
        let cases = [
            (vec![0; 47], "expected at least 48 bytes, found 47"),
            (bad_magic, "its last 8 bytes are not those of a table"),
            (flipped, "the block at byte 0 has a wrong checksum"),
            (twice, "its keys are not sorted: \"a\""),
            (table(&[entry(0, b"b", b""), entry(0, b"a", b"")], 0), "its keys are not sorted: \"a\""),
            (table(&[entry(1, b"b", b"")], 0), "shares more than the one before has"),
            (table(&[varint(0), varint(1 << 40), varint(0)], 0), "has an entry that is cut off"),
            (table(&[vec![0xff; 12]], 0), "a block: "),
            (table(&[], 0), "the block at byte 0 has no entries"),
            (table(&one, 2), "is compressed in the way 2"),
            (bomb, "unpack to 1073741824"),
            (
                finish(Vec::new(), &[[varint(1 << 40), varint(1 << 50)].concat()]),
                "but the file ends before that",
            ),
            (table(&long, 0), "its keys share more with each other than names do"),
        ];
        for (file, expected) in cases {
            let said = read(&file).unwrap_err();
            assert!(said.contains(expected), "{said}\ndoes not say {expected:?}");
        }
    }
}
