//! How much a reading may take.

/// What is left of what a reading may take: memory, or steps. What a file says again and again is charged again and again, so that
/// no reading takes more than so many times the file.
#[derive(Debug)]
pub(crate) struct Budget {
    most: u64,
    left: u64,
}

impl Budget {
    pub const fn new(most: u64) -> Budget {
        Budget { most, left: most }
    }

    /// So many times a length, and more for what is small.
    pub const fn of(length: u64, times: u64, more: u64) -> Budget {
        Budget::new(length.saturating_mul(times).saturating_add(more))
    }

    /// Takes so much of it; if that is not left, the error is how much there was at first.
    pub fn take(&mut self, amount: usize) -> Result<(), u64> {
        match self.left.checked_sub(amount as u64) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(self.most),
        }
    }
}
