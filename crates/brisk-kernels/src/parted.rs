//! A result that several calls of a kernel fill at once, each in places of its own.
#![allow(unsafe_code)]

use std::marker::PhantomData;

/// Memory that the parts of one kernel call write at once, never reading it, each at places that no other part writes.
///
/// ```
/// use brisk_kernels::parted::Parted;
/// let mut y = [0.0; 4];
/// let out = Parted::new(&mut y);
/// out.write(2, &[1.0, 2.0]);
/// assert_eq!(y, [0.0, 0.0, 1.0, 2.0]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Parted<'a> {
    start: *mut f32,
    len: usize,
    memory: PhantomData<&'a mut [f32]>,
}

impl<'a> Parted<'a> {
    /// All of a slice, for calls one after another.
    pub fn new(memory: &'a mut [f32]) -> Parted<'a> {
        Parted { start: memory.as_mut_ptr(), len: memory.len(), memory: PhantomData }
    }

    /// The same memory for several calls at once.
    ///
    /// # Safety
    ///
    /// For `'a` the memory is `len` floats that nobody else reads or writes; those who are given it at once are different
    /// parts of one call.
    pub unsafe fn shared(start: *mut f32, len: usize) -> Parted<'a> {
        Parted { start, len, memory: PhantomData }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes values from place `at` on. Panics if they do not fit.
    #[inline]
    pub fn write(&self, at: usize, values: &[f32]) {
        assert!(at <= self.len && values.len() <= self.len - at, "parted: a write inside the result");
        // SAFETY: inside the memory; nobody else writes there meanwhile, as `shared` demands.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), self.start.add(at), values.len()) };
    }
}
