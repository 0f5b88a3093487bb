//! The pass over a text file that finds where its records begin.

use std::path::{Path, PathBuf};

use crate::bytes::Bytes;
use crate::{Error, Result};

/// The longest record. A longer one means that a quotation mark was not closed, or that this is no text.
const MAX_RECORD: usize = 64 << 20;
const CHUNK: usize = 1 << 20;

/// How the first record of some bytes ends.
pub(super) enum End {
    /// After so many bytes, its line end among them.
    At(usize),
    /// Not in these bytes.
    Later,
}

/// Text in records that begin at known offsets.
pub(super) struct Records {
    pub path: PathBuf,
    bytes: Bytes,
    /// Where each record begins, and where the last one ends.
    offsets: Vec<u64>,
    /// Line numbers: from a record on, its line is its number plus this.
    lines: Vec<(u32, u64)>,
}

impl Records {
    /// Finds the records. `end` finds the end of the first one in some bytes, which are all that is left if its second
    /// argument is true; `accept` is given each with its line, and says if it counts.
    pub fn scan(
        path: &Path,
        bytes: Bytes,
        mut end: impl FnMut(&[u8], bool) -> End,
        mut accept: impl FnMut(u64, &[u8]) -> Result<bool>,
    ) -> Result<Records> {
        let mut records = Records { path: path.into(), bytes, offsets: Vec::new(), lines: Vec::new() };
        let len = records.bytes.len();
        let (mut buffer, mut from, mut read) = (Vec::new(), 0, 0u64);
        let mut line = 1u64;
        while from < buffer.len() || read < len {
            let rest = &buffer[from..];
            let size = match if rest.is_empty() { End::Later } else { end(rest, read == len) } {
                End::At(size) => size.clamp(1, rest.len()),
                End::Later if read == len => rest.len(),
                End::Later if rest.len() > MAX_RECORD => {
                    return Err(Error::TooLarge {
                        place: format!("{}: line {line}", path.display()),
                        found: "a record without an end".into(),
                        limit: format!("{} MiB; a quotation mark may not be closed", MAX_RECORD >> 20),
                    });
                }
                End::Later => {
                    buffer.drain(..from);
                    from = 0;
                    let more = CHUNK.min((len - read) as usize);
                    let old = buffer.len();
                    buffer.resize(old + more, 0);
                    records.bytes.read_at(read, &mut buffer[old..])?;
                    read += more as u64;
                    continue;
                }
            };
            let offset = read - (buffer.len() - from) as u64;
            let record = &buffer[from..from + size];
            if accept(line, trim_line_end(record))? {
                let shift = line - records.offsets.len() as u64;
                if records.lines.last().is_none_or(|l| l.1 != shift) {
                    records.lines.push((records.offsets.len() as u32, shift));
                }
                records.offsets.push(offset);
            }
            line += record.iter().filter(|&&b| b == b'\n').count() as u64;
            from += size;
        }
        records.offsets.push(len);
        Ok(records)
    }

    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// The bytes from a record on to the next one (there may be skipped lines behind it).
    pub fn read(&self, index: usize) -> Result<Vec<u8>> {
        let (Some(&from), Some(&to)) = (self.offsets.get(index), self.offsets.get(index + 1)) else {
            return Err(super::rows::no_row(index, self.len()));
        };
        let mut record = vec![0; to.saturating_sub(from) as usize];
        self.bytes.read_at(from, &mut record)?;
        Ok(record)
    }

    /// `first`: the record that counts as row 1.
    pub fn place(&self, index: usize) -> String {
        let shift = self.lines[..self.lines.partition_point(|l| l.0 as usize <= index)].last();
        let line = index as u64 + shift.map_or(1, |l| l.1);
        format!("{}: row {} (line {line})", self.path.display(), index + 1)
    }
}

/// Without `\n` or `\r\n`.
pub(super) fn trim_line_end(record: &[u8]) -> &[u8] {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    record.strip_suffix(b"\r").unwrap_or(record)
}

/// The end of a line.
pub(super) fn line_end(bytes: &[u8], last: bool) -> End {
    match bytes.iter().position(|&b| b == b'\n') {
        Some(i) => End::At(i + 1),
        None if last => End::At(bytes.len()),
        None => End::Later,
    }
}

/// The text of a record, or an error at its line.
pub(super) fn utf8<'a>(path: &Path, line: u64, record: &'a [u8]) -> Result<&'a str> {
    std::str::from_utf8(record).map_err(|e| Error::Row {
        place: format!("{}: line {line}, byte {}", path.display(), e.valid_up_to() + 1),
        column: None,
        reason: "not UTF-8 text: save the file as UTF-8".into(),
    })
}

pub(super) const BOM: &str = "\u{feff}";
