//! A part of a file that HDF5 is read from, with an end to how much is read.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::{Mutex, PoisonError};

use hdf5_pure::{FormatError, Source};

use crate::budget::Budget;

/// Bytes `start..start + length` of a file.
///
/// What the parts of an HDF5 file refer to may be laid out so that reading never ends, or ends after ages: in circles, or in
/// trees whose branches grow together again. So a region gives out a few times its length and then nothing more.
#[derive(Debug)]
pub(super) struct Region {
    file: Mutex<File>,
    start: u64,
    length: u64,
    budget: Mutex<Budget>,
}

/// How often a file's length may be read in all.
const ROUNDS: u64 = 8;
/// What may be read beyond that, so that small files are not short of it.
const BASE: u64 = 4 << 20;
/// What each reading costs beside its bytes.
const COST: usize = 16;

impl Region {
    pub fn new(file: File, start: u64, length: u64) -> Region {
        let budget = Budget::of(length, ROUNDS, BASE);
        Region { file: Mutex::new(file), start, length, budget: Mutex::new(budget) }
    }
}

impl Source for Region {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FormatError> {
        let wanted = buffer.len() as u64;
        match offset.checked_add(wanted) {
            Some(end) if end <= self.length => {}
            _ => {
                return Err(FormatError::UnexpectedEof {
                    expected: usize::try_from(offset.saturating_add(wanted)).unwrap_or(usize::MAX),
                    available: usize::try_from(self.length).unwrap_or(usize::MAX),
                });
            }
        }
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        budget.take(buffer.len().saturating_add(COST)).map_err(|_| {
            FormatError::Source(
                "its parts refer to one another again and again, more often than a sound file's".into(),
            )
        })?;
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.start.saturating_add(offset)))
            .and_then(|_| file.read_exact(buffer))
            .map_err(|e| FormatError::Source(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_region_ends_and_is_not_read_for_ever() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 100]).unwrap();
        let region = Region::new(file, 90, 10);
        let mut buffer = [0; 10];
        assert!(region.read_at(0, &mut buffer).is_ok() && buffer == [7; 10]);
        assert!(region.read_at(1, &mut buffer).is_err() && region.read_at(u64::MAX, &mut buffer).is_err());
        let rounds = (0..1_000_000).take_while(|_| region.read_at(0, &mut buffer).is_ok()).count();
        assert!((100_000..1_000_000).contains(&rounds), "{rounds}");
    }
}
