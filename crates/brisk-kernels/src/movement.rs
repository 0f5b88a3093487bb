//! Copies between strided layouts, and rows by index.

/// An index outside its table: where it stood, what it was, and the bound that it had to stay below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexError {
    /// Position in the list of indices.
    pub position: usize,
    /// The index found there.
    pub index: i32,
    /// Number of rows (or classes) there are.
    pub bound: usize,
}

impl std::fmt::Display for IndexError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { position, index, bound } = self;
        write!(f, "index {index} at position {position} is out of range 0..{bound}")
    }
}

impl std::error::Error for IndexError {}

/// Copies an array of `dims`: element `i` goes from `src[src_offset + sum i_d src_strides_d]` to
/// `dst[dst_offset + sum i_d dst_strides_d]`. Strides count elements; 0 broadcasts, negative reverses.
/// At most 8 dimensions.
pub fn copy_strided<T: Copy>(
    dims: &[usize],
    src: &[T],
    src_offset: usize,
    src_strides: &[isize],
    dst: &mut [T],
    dst_offset: usize,
    dst_strides: &[isize],
) {
    assert!(dims.len() == src_strides.len() && dims.len() == dst_strides.len() && dims.len() <= 8);
    let mut index = [0usize; 8];
    for _ in 0..dims.iter().product() {
        let at = |offset: usize, strides: &[isize]| {
            offset.wrapping_add_signed(index.iter().zip(strides).map(|(i, s)| *i as isize * s).sum())
        };
        dst[at(dst_offset, dst_strides)] = src[at(src_offset, src_strides)];
        for d in (0..dims.len()).rev() {
            index[d] += 1;
            if index[d] < dims[d] {
                break;
            }
            index[d] = 0;
        }
    }
}

/// `out[i, ..] = table[index[i], ..]`, rows of `width`. On an error `out` is left half-written.
pub fn take<T: Copy>(width: usize, table: &[T], index: &[i32], out: &mut [T]) -> Result<(), IndexError> {
    assert_eq!(out.len(), index.len() * width, "take: output length");
    let bound = table.len().checked_div(width).unwrap_or(0);
    for (position, &index) in index.iter().enumerate() {
        let row = usize::try_from(index).ok().filter(|r| *r < bound).ok_or(IndexError {
            position,
            index,
            bound,
        })?;
        out[position * width..][..width].copy_from_slice(&table[row * width..][..width]);
    }
    Ok(())
}

/// `table[index[i], ..] += updates[i, ..]`, in order of `i`. All indices are checked before the first is used.
pub fn scatter_add(
    width: usize,
    table: &mut [f32],
    index: &[i32],
    updates: &[f32],
) -> Result<(), IndexError> {
    assert_eq!(updates.len(), index.len() * width, "scatter_add: updates length");
    let bound = table.len().checked_div(width).unwrap_or(0);
    if let Some(position) = index.iter().position(|&i| usize::try_from(i).is_ok_and(|r| r >= bound) || i < 0)
    {
        return Err(IndexError { position, index: index[position], bound });
    }
    for (i, &row) in index.iter().enumerate() {
        for j in 0..width {
            table[row as usize * width + j] += updates[i * width + j];
        }
    }
    Ok(())
}
