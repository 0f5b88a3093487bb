//! Reading a file once, and knowing at its end whether it is the file that was written.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::{Error, Result};

/// A file that is hashed while it is read.
pub(crate) struct Hashed {
    file: File,
    hasher: blake3::Hasher,
    left: u64,
}

impl Hashed {
    /// Opens a file, if it is one.
    pub fn open(path: &Path, expected: &'static str) -> Result<Hashed> {
        let (file, left) = open_file(path, expected)?;
        Ok(Hashed { file, hasher: blake3::Hasher::new(), left })
    }

    /// How many bytes have not been read yet.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Forgets what has been hashed, and begins with these bytes.
    pub fn restart(&mut self, bytes: &[u8]) {
        self.hasher.reset().update(bytes);
    }

    /// Reads a number of bytes that the file still has.
    pub fn read_vec(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        if bytes as u64 > self.left {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut buffer = vec![0; bytes];
        self.read_exact(&mut buffer)?;
        Ok(buffer)
    }

    /// Reads what is left, and gives the hash of all of it.
    pub fn finish(mut self) -> io::Result<blake3::Hash> {
        let mut buffer = vec![0; CHUNK];
        while self.read(&mut buffer)? > 0 {}
        Ok(self.hasher.finalize())
    }
}

/// Opens a file, if it is one (a pipe or a device could keep us waiting for ever), and says how long it is.
pub(crate) fn open_file(path: &Path, expected: &'static str) -> Result<(File, u64)> {
    let not_found = |found: &str| Error::NotFound {
        path: path.into(),
        expected,
        found: found.into(),
        hint: String::new(),
    };
    let kind = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => not_found("there is no such file"),
        // Another file may have named it.
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => {
            not_found("no file can have this name")
        }
        _ => Error::read(path)(error),
    })?;
    if !kind.is_file() {
        return Err(not_found(if kind.is_dir() { "this is a folder" } else { "this is not a file" }));
    }
    let file = File::open(path).map_err(Error::read(path))?;
    let length = file.metadata().map_err(Error::read(path))?.len();
    Ok((file, length))
}

/// What is hashed while it is still in cache.
const CHUNK: usize = 1 << 18;

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(CHUNK).min(self.left.try_into().unwrap_or(usize::MAX));
        let read = self.file.read(&mut buffer[..most])?;
        self.hasher.update(&buffer[..read]);
        self.left -= read as u64;
        Ok(read)
    }
}

/// The whole of a small file, and its hash.
pub(crate) fn read_whole(path: &Path, expected: &'static str) -> Result<(Vec<u8>, blake3::Hash)> {
    let mut file = Hashed::open(path, expected)?;
    let bytes = file.left().try_into().map_err(|_| Error::content(path, "too long for this machine"))?;
    let bytes = file.read_vec(bytes).map_err(Error::read(path))?;
    let hash = file.finish().map_err(Error::read(path))?;
    Ok((bytes, hash))
}
