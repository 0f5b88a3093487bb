//! Sets and maps whose keys are numbers of nodes, values, units: nobody chooses them, so a multiplication is hash enough.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A map by numbers.
pub type Map<K, V> = HashMap<K, V, BuildHasherDefault<Numbers>>;
/// A set of numbers.
pub type Set<K> = HashSet<K, BuildHasherDefault<Numbers>>;

/// Multiplies with an odd constant (Fibonacci hashing): numbers that follow each other differ in the bits that tables look at, the
/// lowest and the highest.
#[derive(Default)]
pub struct Numbers(u64);

impl Hasher for Numbers {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&b| self.write_u64(b.into()));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
}
