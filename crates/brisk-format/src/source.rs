//! Files that are read from front to back, never further than they are long.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use crate::Result;
use crate::hashed::open_file;
use crate::tensors::Fault;

/// A file that knows how much of it is left.
#[derive(Debug)]
pub(crate) struct Source {
    file: BufReader<File>,
    length: u64,
    left: u64,
}

impl Source {
    /// Opens a file, if it is one.
    pub fn open(path: &Path, expected: &'static str) -> Result<Source> {
        let (file, length) = open_file(path, expected)?;
        Ok(Source { file: BufReader::with_capacity(1 << 16, file), length, left: length })
    }

    /// How many bytes have not been read yet.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// How many bytes have been read.
    pub fn at(&self) -> u64 {
        self.length - self.left
    }

    /// An error if fewer bytes than these are left.
    pub fn need(&self, bytes: u64, what: &str) -> Result<(), Fault> {
        match bytes <= self.left {
            true => Ok(()),
            false => Err(Fault::Unsound(format!(
                "{what} at byte {} takes {bytes} bytes, but only {} follow",
                self.at(),
                self.left
            ))),
        }
    }

    /// The next bytes, as many as a number has.
    pub fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Fault> {
        self.need(N as u64, what)?;
        let mut bytes = [0; N];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// The next bytes.
    pub fn bytes(&mut self, bytes: u64, what: &str) -> Result<Vec<u8>, Fault> {
        self.need(bytes, what)?;
        let mut buffer = vec![0; bytes as usize];
        self.read_exact(&mut buffer)?;
        Ok(buffer)
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.left.try_into().unwrap_or(usize::MAX));
        let read = self.file.read(&mut buffer[..most])?;
        self.left -= read as u64;
        Ok(read)
    }
}
