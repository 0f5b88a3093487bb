//! Copies between strided layouts, and rows by index.
#![allow(unsafe_code)]

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

/// The most dimensions that [`copy_strided`] takes.
pub const MAX_DIMS: usize = 16;

/// One dimension: its size, and its strides in source and destination.
#[derive(Clone, Copy, Default)]
struct Dim {
    size: usize,
    src: isize,
    dst: isize,
}

/// Copies an array of `dims`: element `i` goes from `src[src_offset + sum i_d src_strides_d]` to
/// `dst[dst_offset + sum i_d dst_strides_d]`. Strides count elements; 0 broadcasts, negative reverses.
/// At most [`MAX_DIMS`] dimensions. Panics if an element lies outside its slice.
///
/// Transpose, slice, broadcast, reverse, concatenation and (after a fill) padding are all this one call:
/// ```
/// let mut t = [0; 6];
/// brisk_kernels::movement::copy_strided(&[3, 2], &[1, 2, 3, 4, 5, 6], 0, &[1, 3], &mut t, 0, &[2, 1]);
/// assert_eq!(t, [1, 4, 2, 5, 3, 6]);
/// ```
pub fn copy_strided<T: Copy>(
    dims: &[usize],
    src: &[T],
    src_offset: usize,
    src_strides: &[isize],
    dst: &mut [T],
    dst_offset: usize,
    dst_strides: &[isize],
) {
    let n = dims.len();
    assert!(n == src_strides.len() && n == dst_strides.len(), "copy_strided: one stride for each dimension");
    assert!(n <= MAX_DIMS, "copy_strided: at most {MAX_DIMS} dimensions");
    if dims.contains(&0) {
        return;
    }
    inside("source", dims, src_offset, src_strides, src.len());
    inside("destination", dims, dst_offset, dst_strides, dst.len());

    // Drop dimensions of one; order the rest by the destination, slowest first; merge what is contiguous in both.
    let mut list = [Dim::default(); MAX_DIMS];
    let mut n = 0;
    for d in 0..dims.len() {
        if dims[d] > 1 {
            list[n] = Dim { size: dims[d], src: src_strides[d], dst: dst_strides[d] };
            n += 1;
        }
    }
    if dst_strides.iter().zip(dims).all(|(s, d)| *s != 0 || *d == 1) {
        list[..n].sort_by_key(|d| std::cmp::Reverse(d.dst.unsigned_abs()));
    }
    let mut m = 0;
    for i in 0..n {
        let d = list[i];
        let fits = |outer: Dim| {
            let size = d.size as isize;
            outer.src == d.src * size && outer.dst == d.dst * size
        };
        if m > 0 && fits(list[m - 1]) {
            list[m - 1] = Dim { size: list[m - 1].size * d.size, ..d };
        } else {
            list[m] = d;
            m += 1;
        }
    }
    let list = &list[..m];
    // SAFETY: every element lies inside, as checked above.
    unsafe { copy(list, src.as_ptr().add(src_offset), dst.as_mut_ptr().add(dst_offset)) }
}

fn inside(what: &str, dims: &[usize], offset: usize, strides: &[isize], len: usize) {
    let (mut low, mut high) = (offset as i128, offset as i128);
    for (d, s) in dims.iter().zip(strides) {
        let reach = (*d as i128 - 1) * *s as i128;
        low += reach.min(0);
        high += reach.max(0);
    }
    assert!(low >= 0 && high < len as i128, "copy_strided: elements {low}..={high} of a {what} of {len}");
}

/// # Safety
/// All elements that the dimensions reach are valid, and the two sides do not overlap.
unsafe fn copy<T: Copy>(list: &[Dim], src: *const T, dst: *mut T) {
    let Some((last, outer)) = list.split_last() else {
        // SAFETY: the one element.
        unsafe { *dst = *src };
        return;
    };
    // The dimension that runs along the source's memory, if the last one does not: the two are copied by tiles.
    let across =
        if last.src.unsigned_abs() > 1 { outer.iter().rposition(|d| d.src.abs() == 1) } else { None };
    let mut rest = [Dim::default(); MAX_DIMS];
    let mut n = 0;
    for (i, d) in outer.iter().enumerate() {
        if Some(i) != across {
            rest[n] = *d;
            n += 1;
        }
    }
    let rest = &rest[..n];
    let mut index = [0usize; MAX_DIMS];
    let (mut src, mut dst) = (src, dst);
    loop {
        // SAFETY: the caller's promise.
        unsafe {
            match across {
                Some(a) => copy_tiles(outer[a], *last, src, dst),
                None => copy_run(*last, src, dst),
            }
        }
        let mut d = n;
        loop {
            if d == 0 {
                return;
            }
            d -= 1;
            index[d] += 1;
            src = src.wrapping_offset(rest[d].src);
            dst = dst.wrapping_offset(rest[d].dst);
            if index[d] < rest[d].size {
                break;
            }
            src = src.wrapping_offset(-rest[d].src * rest[d].size as isize);
            dst = dst.wrapping_offset(-rest[d].dst * rest[d].size as isize);
            index[d] = 0;
        }
    }
}

/// # Safety
/// As [`copy`].
#[inline]
unsafe fn copy_run<T: Copy>(d: Dim, src: *const T, dst: *mut T) {
    // SAFETY: the caller's promise.
    unsafe {
        match (d.src, d.dst) {
            (1, 1) if d.size >= 16 => std::ptr::copy_nonoverlapping(src, dst, d.size),
            (1, 1) => (0..d.size).for_each(|i| *dst.add(i) = *src.add(i)),
            (0, 1) => std::slice::from_raw_parts_mut(dst, d.size).fill(*src),
            (s, 1) => (0..d.size as isize).for_each(|i| *dst.offset(i) = *src.offset(i * s)),
            (s, t) => (0..d.size as isize).for_each(|i| *dst.offset(i * t) = *src.offset(i * s)),
        }
    }
}

/// A transpose: tiles small enough that the source lines of one stay in L1 while its rows are written.
///
/// # Safety
/// As [`copy`].
unsafe fn copy_tiles<T: Copy>(row: Dim, col: Dim, src: *const T, dst: *mut T) {
    // SAFETY: the caller's promise.
    unsafe {
        match (row.src, col.dst, col.size) {
            (1, 1, 2) => return interleave::<T, 2>(row, col, src, dst),
            (1, 1, 3) => return interleave::<T, 3>(row, col, src, dst),
            (1, 1, 4) => return interleave::<T, 4>(row, col, src, dst),
            (1, 1, 5) => return interleave::<T, 5>(row, col, src, dst),
            (1, 1, 6) => return interleave::<T, 6>(row, col, src, dst),
            (1, 1, 7) => return interleave::<T, 7>(row, col, src, dst),
            (1, 1, 8) => return interleave::<T, 8>(row, col, src, dst),
            _ => {}
        }
    }
    const TILE: usize = 16;
    for r0 in (0..row.size).step_by(TILE) {
        let rows = TILE.min(row.size - r0);
        for c0 in (0..col.size).step_by(TILE) {
            let cols = TILE.min(col.size - c0);
            for r in r0 as isize..(r0 + rows) as isize {
                let (src, dst) = (src.wrapping_offset(r * row.src), dst.wrapping_offset(r * row.dst));
                for c in c0 as isize..(c0 + cols) as isize {
                    // SAFETY: the caller's promise.
                    unsafe { *dst.offset(c * col.dst) = *src.offset(c * col.src) };
                }
            }
        }
    }
}

/// A transpose of few rows, which are walked along together: a number of each in turn.
///
/// # Safety
/// As [`copy`]; `row.src` and `col.dst` are 1, `col.size` is `N`.
#[inline]
unsafe fn interleave<T: Copy, const N: usize>(row: Dim, col: Dim, src: *const T, dst: *mut T) {
    for r in 0..row.size {
        // SAFETY: the caller's promise.
        unsafe {
            let from = src.add(r);
            let to = dst.wrapping_offset(r as isize * row.dst);
            for c in 0..N {
                *to.add(c) = *from.wrapping_offset(c as isize * col.src);
            }
        }
    }
}

/// `out[i, ..] = table[index[i], ..]`, rows of `width`. All indices are checked before the first is used.
///
/// ```
/// let mut rows = [0; 4];
/// brisk_kernels::movement::take(2, &[1, 2, 3, 4], &[1, 1], &mut rows)?;
/// assert_eq!(rows, [3, 4, 3, 4]);
/// assert_eq!(brisk_kernels::movement::take(2, &[1, 2, 3, 4], &[1, -1], &mut rows).unwrap_err().position, 1);
/// # Ok::<(), brisk_kernels::movement::IndexError>(())
/// ```
pub fn take<T: Copy>(width: usize, table: &[T], index: &[i32], out: &mut [T]) -> Result<(), IndexError> {
    assert_eq!(out.len(), index.len() * width, "take: output length");
    check(width, table.len(), index)?;
    for (row, out) in index.iter().zip(out.chunks_exact_mut(width.max(1))) {
        out.copy_from_slice(&table[*row as usize * width..][..width]);
    }
    Ok(())
}

/// `table[index[i], ..] += updates[i, ..]`, in order of `i`. All indices are checked before the first is used.
///
/// ```
/// let mut table = [0.0; 4];
/// brisk_kernels::movement::scatter_add(2, &mut table, &[1, 1], &[1.0, 2.0, 10.0, 20.0])?;
/// assert_eq!(table, [0.0, 0.0, 11.0, 22.0]);
/// # Ok::<(), brisk_kernels::movement::IndexError>(())
/// ```
pub fn scatter_add(
    width: usize,
    table: &mut [f32],
    index: &[i32],
    updates: &[f32],
) -> Result<(), IndexError> {
    assert_eq!(updates.len(), index.len() * width, "scatter_add: updates length");
    check(width, table.len(), index)?;
    for (row, update) in index.iter().zip(updates.chunks_exact(width.max(1))) {
        for (t, u) in table[*row as usize * width..][..width].iter_mut().zip(update) {
            *t += u;
        }
    }
    Ok(())
}

/// [`scatter_add`] for the rows from `first` on that `part` holds, of a table of `rows`: parts of a table can be made at once.
///
/// ```
/// let mut part = [0.0; 2];
/// brisk_kernels::movement::scatter_add_part(2, 3, 1, &mut part, &[1, 2, 1], &[1.0, 2.0, 9.0, 9.0, 10.0, 20.0])?;
/// assert_eq!(part, [11.0, 22.0]);
/// # Ok::<(), brisk_kernels::movement::IndexError>(())
/// ```
pub fn scatter_add_part(
    width: usize,
    rows: usize,
    first: usize,
    part: &mut [f32],
    index: &[i32],
    updates: &[f32],
) -> Result<(), IndexError> {
    assert_eq!(updates.len(), index.len() * width, "scatter_add_part: updates length");
    check(width, rows * width, index)?;
    for (row, update) in index.iter().zip(updates.chunks_exact(width.max(1))) {
        let own = (*row as usize).checked_sub(first).map(|r| r * width);
        if let Some(t) = own.and_then(|at| part.get_mut(at..at + width)) {
            t.iter_mut().zip(update).for_each(|(t, u)| *t += u);
        }
    }
    Ok(())
}

fn check(width: usize, len: usize, index: &[i32]) -> Result<(), IndexError> {
    let bound = len.checked_div(width).unwrap_or(i32::MAX as usize);
    match index.iter().position(|i| !usize::try_from(*i).is_ok_and(|i| i < bound)) {
        Some(position) => Err(IndexError { position, index: index[position], bound }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_layout(
            axes in prop::collection::vec((1usize..20, any::<u32>(), any::<u32>(), 0u8..4), 0..5),
            gap in 0usize..3,
        ) {
            // Destination: a permuted dense layout with gaps. Source: a permuted one, some axes reversed or broadcast.
            let n = axes.len();
            let order = |key: &dyn Fn(usize) -> u32| { let mut o: Vec<usize> = (0..n).collect(); o.sort_by_key(|i| key(*i)); o };
            let dims: Vec<usize> = axes.iter().map(|a| a.0).collect();
            let (mut dst_strides, mut step) = (vec![0isize; n], 1);
            for d in order(&|i| axes[i].1) {
                dst_strides[d] = step as isize;
                step = step * dims[d] + gap;
            }
            let dst_len = step;
            let (mut src_strides, mut step, mut offset) = (vec![0isize; n], 1, 0);
            for d in order(&|i| axes[i].2) {
                match axes[d].3 {
                    0 => continue,
                    1 => { src_strides[d] = -(step as isize); offset += (dims[d] - 1) * step; }
                    _ => src_strides[d] = step as isize,
                }
                step *= dims[d];
            }
            let src: Vec<u32> = (0..step as u32).collect();
            let mut dst = vec![u32::MAX; dst_len];
            let mut want = dst.clone();
            for flat in 0..dims.iter().product::<usize>() {
                let (mut rest, mut a, mut b) = (flat, offset as isize, 0);
                for d in (0..n).rev() {
                    let i = (rest % dims[d]) as isize;
                    rest /= dims[d];
                    a += i * src_strides[d];
                    b += i * dst_strides[d];
                }
                want[b as usize] = src[a as usize];
            }
            copy_strided(&dims, &src, offset, &src_strides, &mut dst, 0, &dst_strides);
            prop_assert_eq!(dst, want);
        }
    }

    #[test]
    #[should_panic(expected = "copy_strided: elements 0..=6 of a source of 6")]
    fn outside_is_refused() {
        copy_strided(&[7], &[0u8; 6], 0, &[1], &mut [0u8; 7], 0, &[1]);
    }

    #[test]
    fn nothing_to_do_is_fine() {
        copy_strided::<u8>(&[3, 0], &[], 0, &[1, 1], &mut [], 0, &[1, 1]);
        take::<u8>(0, &[], &[5], &mut []).unwrap();
        take::<u8>(3, &[], &[], &mut []).unwrap();
        let far = scatter_add(1, &mut [0.0; 3], &[0, 3], &[1.0; 2]).unwrap_err();
        assert_eq!(far, IndexError { position: 1, index: 3, bound: 3 });
    }
}
