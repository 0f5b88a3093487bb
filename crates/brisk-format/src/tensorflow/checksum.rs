//! The checksums of TensorFlow's files.

use std::io::{self, Read};

use crc::{CRC_32_ISCSI, Crc, Digest, Table};

static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// What is hashed while it is still in cache.
const CHUNK: usize = 1 << 18;

/// CRC-32C in LevelDB's masked form, so that a checksum over bytes that hold checksums keeps its strength.
pub(super) fn masked_crc(parts: &[&[u8]]) -> u32 {
    let mut digest = CRC.digest();
    parts.iter().for_each(|part| digest.update(part));
    mask(digest)
}

fn mask(digest: Digest<'_, u32, Table<16>>) -> u32 {
    digest.finalize().rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Hashes what is read through it.
pub(super) struct Checked<R> {
    from: R,
    digest: Digest<'static, u32, Table<16>>,
}

impl<R: Read> Checked<R> {
    pub fn new(from: R) -> Checked<R> {
        Checked { from, digest: CRC.digest() }
    }

    /// The masked checksum of what was read.
    pub fn finish(self) -> u32 {
        mask(self.digest)
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(CHUNK);
        let read = self.from.read(&mut buffer[..most])?;
        self.digest.update(&buffer[..read]);
        Ok(read)
    }
}
