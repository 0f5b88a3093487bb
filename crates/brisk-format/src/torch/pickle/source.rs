//! The bytes of a pickle, in order, and never more than there are.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use crate::tensors::Fault;

pub(in crate::torch) type Parsed<T> = Result<T, Fault>;

/// A message about what is wrong in a file.
pub(in crate::torch) fn unsound<T>(message: impl Into<String>) -> Parsed<T> {
    Err(Fault::Unsound(message.into()))
}

/// A part of a file that is read from front to back.
pub(in crate::torch) struct Source<'a> {
    reader: BufReader<&'a File>,
    read: u64,
    left: u64,
}

impl<'a> Source<'a> {
    /// The next `length` bytes of a file.
    pub fn new(file: &'a File, length: u64) -> Source<'a> {
        Source { reader: BufReader::new(file), read: 0, left: length }
    }

    /// How many bytes have been read.
    pub fn read(&self) -> u64 {
        self.read
    }

    /// How many bytes have not been read yet.
    pub fn left(&self) -> u64 {
        self.left
    }

    pub fn array<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        self.take(N as u64)?;
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub fn byte(&mut self) -> Parsed<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    /// So many bytes, which must be there.
    pub fn vec(&mut self, length: u64) -> Parsed<Vec<u8>> {
        self.take(length)?;
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| ends())?];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Leaves out so many bytes, which must be there.
    pub fn skip(&mut self, length: u64) -> Parsed<()> {
        self.take(length)?;
        self.reader.seek_relative(i64::try_from(length).map_err(|_| ends())?)?;
        Ok(())
    }

    /// The bytes to the end of a line, without it.
    pub fn line(&mut self) -> Parsed<Vec<u8>> {
        let mut bytes = Vec::new();
        (&mut self.reader).take(self.left).read_until(b'\n', &mut bytes)?;
        self.take(bytes.len() as u64)?;
        match bytes.pop() {
            Some(b'\n') => Ok(bytes),
            _ => Err(ends()),
        }
    }

    fn take(&mut self, bytes: u64) -> Parsed<()> {
        self.left = self.left.checked_sub(bytes).ok_or_else(ends)?;
        self.read += bytes;
        Ok(())
    }
}

fn ends() -> Fault {
    Fault::Unsound("it ends too early; download it again, or save it again".into())
}
