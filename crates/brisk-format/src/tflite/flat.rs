//! Flatbuffers: tables that are read where they lie.
//!
//! The layout is described in <https://flatbuffers.dev/internals/>: a table begins with how far before it the list of its fields is; that
//! says how far behind the beginning each field stands, 0 if it is not there.

use std::cell::RefCell;

use crate::budget::Budget;
use crate::onnx::emit::LONGEST;
use crate::tensors::Fault;

/// What a table counts for, in bytes: about as many as one takes in memory for each byte that may be counted.
const TABLE: usize = 16;

/// A file. All that is read as a list is counted, so that lists that overlap do not become larger than the file.
#[derive(Debug)]
pub(super) struct Flat<'f> {
    bytes: &'f [u8],
    budget: RefCell<Budget>,
}

/// A table of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table<'f> {
    file: &'f Flat<'f>,
    at: usize,
    fields: &'f [u8],
}

fn outside(at: usize) -> Fault {
    Fault::Unsound(format!("what is said to be at byte {at} lies outside of the file"))
}

impl<'f> Flat<'f> {
    pub fn new(bytes: &'f [u8]) -> Flat<'f> {
        // Parts may be shared, but not many times over.
        Flat { bytes, budget: RefCell::new(Budget::of(bytes.len() as u64, 4, 0)) }
    }

    /// The outermost table.
    pub fn root(&'f self) -> Result<Table<'f>, Fault> {
        self.table(self.follow(0)?)
    }

    fn slice(&self, at: usize, length: usize) -> Result<&'f [u8], Fault> {
        let end = at.checked_add(length).ok_or_else(|| outside(at))?;
        self.bytes.get(at..end).ok_or_else(|| outside(at))
    }

    fn number<const N: usize>(&self, at: usize) -> Result<[u8; N], Fault> {
        self.slice(at, N)?.try_into().map_err(|_| outside(at))
    }

    /// Where an offset leads: it is relative to its own place.
    fn follow(&self, at: usize) -> Result<usize, Fault> {
        let offset = u32::from_le_bytes(self.number(at)?) as usize;
        at.checked_add(offset).ok_or_else(|| outside(at))
    }

    fn table(&'f self, at: usize) -> Result<Table<'f>, Fault> {
        self.spend(TABLE)?;
        let back = i64::from(i32::from_le_bytes(self.number(at)?));
        let fields = i64::try_from(at).ok().and_then(|at| usize::try_from(at - back).ok());
        let fields = fields.ok_or_else(|| outside(at))?;
        let length = u16::from_le_bytes(self.number(fields)?).into();
        let fields = self.slice(fields, length)?;
        Ok(Table { file: self, at, fields: fields.get(4..).unwrap_or_default() })
    }

    /// The bytes of a list of elements of a size.
    fn list(&self, at: usize, size: usize) -> Result<&'f [u8], Fault> {
        let length = u32::from_le_bytes(self.number(at)?) as usize;
        let bytes = length.checked_mul(size).ok_or_else(|| outside(at))?;
        self.slice(at + 4, bytes)
    }

    fn spend(&self, bytes: usize) -> Result<(), Fault> {
        let taken = self.budget.borrow_mut().take(bytes);
        taken.map_err(|_| Fault::Unsound("its parts lie within one another".into()))?;
        Ok(())
    }
}

impl<'f> Table<'f> {
    /// Where a field is; `None` if it is not there.
    fn field(&self, slot: usize) -> Result<Option<usize>, Fault> {
        let offset = slot.checked_mul(2).and_then(|at| self.fields.get(at..)?.first_chunk());
        match offset.map_or(0, |o| u16::from_le_bytes(*o)) {
            0 => Ok(None),
            offset => self.at.checked_add(offset.into()).map(Some).ok_or_else(|| outside(self.at)),
        }
    }

    fn number<const N: usize>(&self, slot: usize) -> Result<Option<[u8; N]>, Fault> {
        self.field(slot)?.map(|at| self.file.number(at)).transpose()
    }

    /// A number of one byte; enumerations are such.
    pub fn byte(&self, slot: usize, default: i8) -> Result<i8, Fault> {
        Ok(self.number(slot)?.map_or(default, i8::from_le_bytes))
    }

    pub fn int(&self, slot: usize, default: i32) -> Result<i32, Fault> {
        Ok(self.number(slot)?.map_or(default, i32::from_le_bytes))
    }

    pub fn long(&self, slot: usize) -> Result<u64, Fault> {
        Ok(self.number(slot)?.map_or(0, u64::from_le_bytes))
    }

    /// A place in a list.
    pub fn index(&self, slot: usize) -> Result<usize, Fault> {
        Ok(self.number(slot)?.map_or(0, u32::from_le_bytes) as usize)
    }

    pub fn float(&self, slot: usize) -> Result<f32, Fault> {
        Ok(self.number(slot)?.map_or(0.0, f32::from_le_bytes))
    }

    pub fn table(&self, slot: usize) -> Result<Option<Table<'f>>, Fault> {
        let Some(at) = self.field(slot)? else { return Ok(None) };
        Ok(Some(self.file.table(self.file.follow(at)?)?))
    }

    fn list(&self, slot: usize, size: usize) -> Result<Option<(usize, &'f [u8])>, Fault> {
        let Some(at) = self.field(slot)? else { return Ok(None) };
        let at = self.file.follow(at)?;
        Ok(Some((at + 4, self.file.list(at, size)?)))
    }

    fn numbers<const N: usize, T>(&self, slot: usize, read: fn([u8; N]) -> T) -> Result<Vec<T>, Fault> {
        let (_, bytes) = self.list(slot, N)?.unwrap_or_default();
        self.file.spend(bytes.len())?;
        Ok(bytes.as_chunks().0.iter().map(|&n| read(n)).collect())
    }

    pub fn ints(&self, slot: usize) -> Result<Vec<i32>, Fault> {
        self.numbers(slot, i32::from_le_bytes)
    }

    pub fn longs(&self, slot: usize) -> Result<Vec<i64>, Fault> {
        self.numbers(slot, i64::from_le_bytes)
    }

    pub fn floats(&self, slot: usize) -> Result<Vec<f32>, Fault> {
        self.numbers(slot, f32::from_le_bytes)
    }

    pub fn bytes(&self, slot: usize) -> Result<&'f [u8], Fault> {
        Ok(self.list(slot, 1)?.unwrap_or_default().1)
    }

    /// A name; what is no UTF-8 in it is replaced. Long ones are cut, as there is a copy wherever one is read.
    pub fn name(&self, slot: usize) -> Result<String, Fault> {
        let bytes = self.bytes(slot)?;
        let bytes = bytes.get(..LONGEST).unwrap_or(bytes);
        self.file.spend(bytes.len())?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    pub fn tables(&self, slot: usize) -> Result<Vec<Table<'f>>, Fault> {
        let (first, bytes) = self.list(slot, 4)?.unwrap_or_default();
        self.file.spend(bytes.len())?;
        let each = (first..).step_by(4).take(bytes.len() / 4);
        each.map(|at| self.file.table(self.file.follow(at)?)).collect()
    }
}
