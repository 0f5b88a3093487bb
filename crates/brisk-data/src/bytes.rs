//! Bytes at any offset: in memory if they are few or packed, otherwise left in their file.
//!
//! Files are read by position and not mapped: the system's page cache serves both alike, a truncated file is an
//! error and not a signal, and no unsafe code is needed.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
#[cfg(not(unix))]
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use crate::{Error, Result};

/// Unpacked data up to this size stays in memory; more goes to a temporary file.
const MAX_IN_MEMORY: u64 = 1 << 30;
/// The most that any gzip data can unpack to, per byte.
const MAX_GZIP_RATIO: u64 = 1032;

/// Where bytes come from.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// A file.
    Path(PathBuf),
    /// Part of the program.
    #[cfg_attr(not(feature = "sample"), allow(dead_code, reason = "only the sample is part of the program"))]
    Static(&'static str, &'static [u8]),
}

impl Input {
    /// What to call it in messages.
    pub fn path(&self) -> &Path {
        match self {
            Input::Path(path) => path,
            Input::Static(name, _) => Path::new(name),
        }
    }

    fn open(&self) -> Result<(Box<dyn Read + '_>, u64)> {
        match self {
            Input::Path(path) => {
                let file = File::open(path).map_err(Error::io(path))?;
                let len = file.metadata().map_err(Error::io(path))?.len();
                Ok((Box::new(file), len))
            }
            Input::Static(_, bytes) => Ok((Box::new(*bytes), bytes.len() as u64)),
        }
    }

    /// The first bytes, unpacked if they are packed; fewer than asked for if there are no more.
    pub fn head(&self, n: usize) -> Result<Vec<u8>> {
        let (reader, _) = self.open()?;
        let mut reader = BufReader::with_capacity(1 << 12, reader);
        let mut head = Vec::new();
        let gz = is_gzip(&mut reader).map_err(Error::io(self.path()))?;
        let result = if gz {
            GzDecoder::new(reader).take(n as u64).read_to_end(&mut head)
        } else {
            reader.take(n as u64).read_to_end(&mut head)
        };
        result.map_err(|e| self.gzip_error(head.len() as u64, n as u64, e))?;
        Ok(head)
    }

    /// All bytes, of which there must be `expected` once unpacked. `what` says what they are for.
    pub fn read(&self, expected: u64, what: &str) -> Result<Bytes> {
        let path = self.path();
        let (reader, len) = self.open()?;
        let mut reader = BufReader::with_capacity(1 << 16, reader);
        if !is_gzip(&mut reader).map_err(Error::io(path))? {
            self.check_length(len, expected, what)?;
            return match self {
                Input::Path(path) => Bytes::open(path),
                Input::Static(_, bytes) => Ok(Bytes::Static(bytes)),
            };
        }
        if expected > len.saturating_mul(MAX_GZIP_RATIO) {
            // A header that lies: no need to unpack anything.
            let found = len.saturating_mul(MAX_GZIP_RATIO);
            return Err(Error::Truncated { path: path.into(), what: what.into(), expected, found });
        }
        // One byte more than promised shows that there is too much, and reading to the end checks the checksum.
        let mut unpacked = GzDecoder::new(reader).take(expected.saturating_add(1));
        if expected <= MAX_IN_MEMORY {
            let mut out = Vec::with_capacity(expected.min(64 << 20) as usize);
            let result = unpacked.read_to_end(&mut out);
            result.map_err(|e| self.gzip_error(out.len() as u64, expected, e))?;
            self.check_length(out.len() as u64, expected, what)?;
            return Ok(Bytes::Memory(out));
        }
        let mut file = tempfile::tempfile().map_err(Error::io(std::env::temp_dir()))?;
        let mut buffer = vec![0; 1 << 20];
        let mut total = 0;
        loop {
            let n = unpacked.read(&mut buffer).map_err(|e| self.gzip_error(total, expected, e))?;
            if n == 0 {
                break;
            }
            file.write_all(&buffer[..n]).map_err(Error::io(std::env::temp_dir()))?;
            total += n as u64;
        }
        self.check_length(total, expected, what)?;
        Ok(Bytes::File(Positioned::new(file, path.into()), total))
    }

    /// All bytes, unpacked if they are packed, however many there are.
    pub fn read_whole(&self) -> Result<Bytes> {
        let (reader, len) = self.open()?;
        let mut reader = BufReader::with_capacity(1 << 16, reader);
        if !is_gzip(&mut reader).map_err(Error::io(self.path()))? {
            return self.read(len, "the file");
        }
        let mut spool = Spool::new();
        let mut unpacked = GzDecoder::new(reader);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = unpacked.read(&mut buffer).map_err(|e| self.gzip_error(spool.len, spool.len + 1, e))?;
            if n == 0 {
                return spool.finish();
            }
            spool.write_all(&buffer[..n]).map_err(Error::io(std::env::temp_dir()))?;
        }
    }

    fn check_length(&self, found: u64, expected: u64, what: &str) -> Result<()> {
        let path = self.path().to_path_buf();
        match found {
            f if f < expected => Err(Error::Truncated { path, what: what.into(), expected, found }),
            f if f > expected => Err(Error::TooLong { path, expected, found }),
            _ => Ok(()),
        }
    }

    fn gzip_error(&self, offset: u64, expected: u64, e: io::Error) -> Error {
        let path = self.path().to_path_buf();
        match e.kind() {
            io::ErrorKind::UnexpectedEof => {
                Error::Truncated { path, what: "gzip data, unpacked,".into(), expected, found: offset }
            }
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                Error::Gzip { path, offset, reason: e.to_string() }
            }
            _ => Error::Io { path, source: e },
        }
    }
}

/// Bytes that are written first and read at any offset later: in memory, or if they are many in a temporary file.
pub(crate) struct Spool {
    memory: Vec<u8>,
    file: Option<io::BufWriter<File>>,
    len: u64,
}

impl Spool {
    /// What stays in memory.
    const MAX_IN_MEMORY: usize = 256 << 20;

    pub fn new() -> Spool {
        Spool { memory: Vec::new(), file: None, len: 0 }
    }

    pub fn finish(self) -> Result<Bytes> {
        match self.file {
            None => Ok(Bytes::Memory(self.memory)),
            Some(file) => {
                let dir = std::env::temp_dir();
                let file = file.into_inner().map_err(|e| Error::io(&dir)(e.into_error()))?;
                Ok(Bytes::File(Positioned::new(file, dir), self.len))
            }
        }
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.file.is_none() && self.memory.len() + bytes.len() > Spool::MAX_IN_MEMORY {
            let mut file = io::BufWriter::with_capacity(1 << 20, tempfile::tempfile()?);
            file.write_all(&self.memory)?;
            self.memory = Vec::new();
            self.file = Some(file);
        }
        match &mut self.file {
            Some(file) => file.write_all(bytes)?,
            None => self.memory.extend_from_slice(bytes),
        }
        self.len += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

fn is_gzip(reader: &mut impl io::BufRead) -> io::Result<bool> {
    Ok(reader.fill_buf()?.starts_with(&[0x1f, 0x8b]))
}

/// Bytes that can be read at any offset by any number of threads.
pub(crate) enum Bytes {
    Memory(Vec<u8>),
    Static(&'static [u8]),
    File(Positioned, u64),
}

impl Bytes {
    /// A file, read where and when it is needed.
    pub fn open(path: &Path) -> Result<Bytes> {
        let file = File::open(path).map_err(Error::io(path))?;
        let len = file.metadata().map_err(Error::io(path))?.len();
        Ok(Bytes::File(Positioned::new(file, path.into()), len))
    }

    pub fn len(&self) -> u64 {
        match self {
            Bytes::Memory(v) => v.len() as u64,
            Bytes::Static(v) => v.len() as u64,
            Bytes::File(_, len) => *len,
        }
    }

    /// Fills a buffer from an offset on.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let slice = match self {
            Bytes::Memory(v) => v,
            Bytes::Static(v) => *v,
            Bytes::File(file, _) => return file.read_at(offset, out),
        };
        match usize::try_from(offset).ok().and_then(|o| slice.get(o..)?.get(..out.len())) {
            Some(bytes) => out.copy_from_slice(bytes),
            None => {
                let expected = offset.saturating_add(out.len() as u64);
                let path = "unpacked data".into();
                return Err(Error::Truncated { path, what: "a sample".into(), expected, found: self.len() });
            }
        }
        Ok(())
    }
}

/// A file read by position.
pub(crate) struct Positioned {
    #[cfg(unix)]
    file: File,
    #[cfg(not(unix))]
    file: std::sync::Mutex<File>,
    path: PathBuf,
}

impl Positioned {
    #[cfg(unix)]
    fn new(file: File, path: PathBuf) -> Positioned {
        Positioned { file, path }
    }

    #[cfg(unix)]
    fn fill(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, out, offset)
    }

    #[cfg(not(unix))]
    fn new(file: File, path: PathBuf) -> Positioned {
        Positioned { file: std::sync::Mutex::new(file), path }
    }

    #[cfg(not(unix))]
    fn fill(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(|e| e.into_inner());
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(out)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.fill(offset, out).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => Error::Truncated {
                path: self.path.clone(),
                what: "a sample".into(),
                expected: offset + out.len() as u64,
                found: self.len(),
            },
            _ => Error::Io { path: self.path.clone(), source: e },
        })
    }

    fn len(&self) -> u64 {
        std::fs::metadata(&self.path).map(|m| m.len()).unwrap_or(0)
    }
}
