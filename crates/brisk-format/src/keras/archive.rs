//! `.keras` files: a zip archive of `metadata.json`, `config.json` and `model.weights.h5`.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use super::region::Region;
use crate::{Error, Result};

/// By how much a part may be packed.
const PACKED: u64 = 100;
/// The longest text that is read.
const LONGEST_TEXT: u64 = 32 << 20;

/// A `.keras` file that is open. Its parts are found by their names alone; nothing is unpacked to a place that it names.
pub(super) struct Archive<'a> {
    path: &'a Path,
    zip: ZipArchive<File>,
    length: u64,
}

impl<'a> Archive<'a> {
    pub fn open(path: &'a Path, file: File, length: u64) -> Result<Archive<'a>> {
        let zip = ZipArchive::new(file).map_err(|e| {
            Error::content(path, format!("it is no sound zip archive: {e}; save the model again"))
        })?;
        Ok(Archive { path, zip, length })
    }

    /// The text of a part.
    pub fn text(&mut self, name: &str) -> Result<String> {
        let (path, length) = (self.path, self.length);
        let part = self.part(name)?;
        let most = LONGEST_TEXT.min(length.saturating_mul(PACKED));
        let mut bytes = Vec::new();
        let read = part.take(most + 1).read_to_end(&mut bytes);
        read.map_err(|e| {
            Error::content(path, format!("{name} cannot be unpacked: {e}; save the model again"))
        })?;
        if bytes.len() as u64 > most {
            let message = format!(
                "{name} is longer than {most} bytes once unpacked; a model's is not: get it from its source again"
            );
            return Err(Error::content(path, message));
        }
        String::from_utf8(bytes)
            .map_err(|e| Error::content(path, format!("{name} is no text: {e}; save the model again")))
    }

    /// A part to read from anywhere; one that is packed is unpacked to a temporary file.
    pub fn region(mut self, name: &str) -> Result<(Region, u64)> {
        let (path, length) = (self.path, self.length);
        let fail = |message: String| Error::content(path, format!("{name} {message}; save the model again"));
        let part = self.part(name)?;
        if part.compression() == CompressionMethod::Stored {
            let start = part.data_start().ok_or_else(|| fail("has no place in the archive".into()))?;
            let size = part.size();
            drop(part);
            return match start.checked_add(size) {
                Some(end) if end <= length => Ok((Region::new(self.zip.into_inner(), start, size), size)),
                _ => Err(fail(format!("says that it has {size} bytes, more than the archive"))),
            };
        }
        let most = length.saturating_mul(PACKED);
        let mut unpacked = tempfile::tempfile().map_err(Error::write(&std::env::temp_dir()))?;
        let size = std::io::copy(&mut part.take(most.saturating_add(1)), &mut unpacked)
            .map_err(|e| fail(format!("cannot be unpacked: {e}")))?;
        if size > most {
            return Err(fail(format!("is longer than {most} bytes once unpacked")));
        }
        unpacked.rewind().map_err(Error::read(path))?;
        Ok((Region::new(unpacked, 0, size), size))
    }

    fn part(&mut self, name: &str) -> Result<zip::read::ZipFile<'_, File>> {
        let path = self.path;
        self.zip.by_name(name).map_err(|e| {
            Error::content(
                path,
                format!("it has no {name} that can be read: {e}; expected a model saved by Keras as .keras: save it again"),
            )
        })
    }
}
