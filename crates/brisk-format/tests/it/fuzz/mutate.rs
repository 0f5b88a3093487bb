//! Files that were changed by chance.

use std::io::{Cursor, Read, Write};

use crc::{CRC_32_ISCSI, Crc};

/// Numbers from a seed (SplitMix64, Steele and others 2014).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// A file with some changes; what is copied into it may be another one's. Of an archive, often what is packed in it is changed.
pub fn mutated(good: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    if good.starts_with(b"PK") && random.below(4) > 0 {
        return repacked(good, random);
    }
    let mut bytes = good.to_vec();
    changes(&mut bytes, other, random);
    seal(&mut bytes);
    bytes
}

/// How a table of TensorFlow's ends.
const TABLE: [u8; 8] = 0xdb47_7524_8b80_fb57_u64.to_le_bytes();

/// Makes the checksums of the blocks of a small table right, so that not they alone find what is wrong: one block of entries, one that is
/// empty, and one that says where the first is. The place and the size of the last two begin the footer. What is no such table stays.
pub fn seal(bytes: &mut [u8]) {
    let Some(begin) = bytes.ends_with(&TABLE).then(|| bytes.len().checked_sub(48)).flatten() else { return };
    let mut footer = bytes[begin..].iter().copied();
    let mut number = || {
        let mut value = 0;
        for (i, byte) in footer.by_ref().enumerate().take(4) {
            value |= usize::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                break;
            }
        }
        value
    };
    let [second, second_size, third, third_size] = [(); 4].map(|()| number());
    for (begin, size) in [(0, second.saturating_sub(5)), (second, second_size), (third, third_size)] {
        // Behind each block is how it is compressed.
        let Some(block) = bytes.get_mut(begin..begin + size + 5) else { continue };
        let (block, sum) = block.split_at_mut(size + 1);
        let right = Crc::<u32>::new(&CRC_32_ISCSI).checksum(block);
        sum.copy_from_slice(&right.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes());
    }
}

/// Half of all files keep their length.
fn changes(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let (most, kinds) = (1 + random.below(4), if random.below(2) == 0 { 6 } else { 11 });
    for _ in 0..=random.below(most) {
        change(bytes, other, random.below(kinds), random);
    }
}

fn change(bytes: &mut Vec<u8>, other: &[u8], kind: usize, random: &mut Random) {
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len());
    let most = 1 + random.below(64);
    let length = 1 + random.below(most).min(bytes.len() - at - 1);
    match kind {
        0 => bytes[at] = random.next() as u8,
        1 => bytes[at] ^= 1 << random.below(8),
        2 | 3 => number(&mut bytes[at..], random),
        4 => bytes[at] = b"0919-.[]{}\"\\/,:e"[random.below(16)],
        5 => {
            let part = bytes[at..at + length].to_vec();
            let to = random.below(bytes.len() - part.len() + 1);
            bytes[to..to + part.len()].copy_from_slice(&part);
        }
        6 => drop(bytes.drain(at..at + length)),
        7 | 8 => {
            let part = bytes[at..at + length].to_vec();
            let to = random.below(bytes.len());
            bytes.splice(to..to, part);
        }
        9 if !other.is_empty() => {
            let from = random.below(other.len());
            let part = &other[from..(from + length).min(other.len())];
            bytes.splice(at..at + length, part.iter().copied());
        }
        _ => bytes.truncate(at),
    }
}

/// A number that lengths and offsets often go wrong at, of one to eight bytes.
fn number(bytes: &mut [u8], random: &mut Random) {
    let values = [
        0,
        1,
        0x7f,
        0x80,
        0xff,
        1 << 15,
        1 << 16,
        1 << 24,
        1 << 31,
        1 << 32,
        1 << 40,
        1 << 62,
        1 << 63,
        u64::MAX,
    ];
    let value = match random.below(3) {
        0 => bytes.len() as u64,
        _ => values[random.below(values.len())].wrapping_add(random.below(3) as u64).wrapping_sub(1),
    };
    let size = 1 << random.below(4);
    let value = if random.below(4) == 0 { value.to_be_bytes() } else { value.to_le_bytes() };
    bytes.iter_mut().zip(&value[..size]).for_each(|(to, from)| *to = *from);
}

/// An archive of the same entries, one of them changed.
fn repacked(good: &[u8], random: &mut Random) -> Vec<u8> {
    let mut entries = unpacked(good).unwrap();
    let changed = random.below(entries.len());
    let other = entries[random.below(entries.len())].1.clone();
    changes(&mut entries[changed].1, &other, random);
    packed(entries)
}

/// The entries of an archive with their names, if it is one.
pub fn unpacked(archive: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(archive)).ok()?;
    let count = archive.len();
    let entry = |i| {
        let mut entry = archive.by_index(i).ok()?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).ok()?;
        Some((entry.name().ok()?.into_owned(), bytes))
    };
    (0..count).map(entry).collect()
}

pub fn packed(entries: Vec<(String, Vec<u8>)>) -> Vec<u8> {
    let mut packed = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in entries {
        packed.start_file(name, stored).unwrap();
        packed.write_all(&bytes).unwrap();
    }
    packed.finish().unwrap().into_inner()
}
