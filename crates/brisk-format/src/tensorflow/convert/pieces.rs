//! Slices.

use brisk_onnx::{Attribute, Elem};

use super::call::{Call, Made, Run};

pub(super) const OPS: &[(&str, Run)] = &[("Slice", slice), ("StridedSlice", strided)];

/// From a place on, so many; -1 means all.
fn slice(c: &mut Call<'_, '_>) -> Made {
    let (x, starts) = (c.x(0)?, c.int64(1)?);
    let both = [1, 2].map(|i| c.value(i).ok().and_then(|v| v.tensor().ok()?.known()));
    let ends = match both {
        [Some(begin), Some(size)] => {
            let end = |(b, s): (&i64, &i64)| if *s == -1 { i64::MAX } else { b.saturating_add(*s) };
            let ends: Vec<i64> = begin.iter().zip(&size).map(end).collect();
            c.list(&ends)?
        }
        _ => {
            let (sizes, all, most) = (c.int64(2)?, c.list(&[-1])?, c.list(&[i64::MAX])?);
            let ends = c.emit("Add", &[&starts, &sizes], vec![])?;
            let open = c.emit("Equal", &[&sizes, &all], vec![])?;
            c.emit("Where", &[&open, &most, &ends], vec![])?
        }
    };
    c.done("Slice", &[&x, &starts, &ends], vec![])
}

/// What an entry of a strided slice does.
enum Entry {
    /// Takes a stretch of an axis.
    Stretch,
    /// Takes one cell of an axis, which goes.
    Cell,
    /// Adds an axis.
    New,
    /// Leaves all axes that no other entry speaks of.
    Rest,
}

/// A number that is known, or a list of one that is computed.
enum Bound {
    Known(i64),
    Computed(String),
}

fn strided(c: &mut Call<'_, '_>) -> Made {
    let x = c.x(0)?;
    let steps = c.known(3, "strides")?;
    let mask = |c: &Call<'_, '_>, name: &str| c.int(name, 0);
    let [begin_mask, end_mask] = [mask(c, "begin_mask")?, mask(c, "end_mask")?];
    let [rest_mask, new_mask, cell_mask] =
        [mask(c, "ellipsis_mask")?, mask(c, "new_axis_mask")?, mask(c, "shrink_axis_mask")?];
    const MOST: usize = 32;
    if steps.len() > MOST {
        return Err(format!("expected at most {MOST} entries, found {}", steps.len()));
    }
    let is = |mask: i64, i: usize| mask >> i & 1 == 1;
    let entry = |i: usize| match i {
        i if is(rest_mask, i) => Entry::Rest,
        i if is(new_mask, i) => Entry::New,
        i if is(cell_mask, i) => Entry::Cell,
        _ => Entry::Stretch,
    };
    let entries: Vec<Entry> = (0..steps.len()).map(entry).collect();
    let rest = entries.iter().position(|e| matches!(e, Entry::Rest));
    // The place of an entry among those that count, from the end if the rest stands before it.
    let place = |i: usize, counts: &dyn Fn(&Entry) -> bool| {
        let count = |part: &[Entry]| part.iter().filter(|e| counts(e)).count() as i64;
        match rest {
            Some(rest) if i > rest => -count(entries.get(i..).unwrap_or_default()),
            _ => count(entries.get(..i).unwrap_or_default()),
        }
    };
    let (mut axes, mut starts, mut ends, mut by) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut gone, mut new) = (Vec::new(), Vec::new());
    for (i, entry) in entries.iter().enumerate() {
        let step = *steps.get(i).unwrap_or(&1);
        let axis = place(i, &|e| matches!(e, Entry::Stretch | Entry::Cell));
        match entry {
            Entry::Rest => {}
            Entry::New => new.push(place(i, &|e| matches!(e, Entry::Stretch | Entry::New))),
            Entry::Cell => {
                let start = bound(c, 1, i)?;
                ends.push(next(c, &start)?);
                starts.push(start);
                by.push(1);
                axes.push(axis);
                gone.push(axis);
            }
            Entry::Stretch => {
                let (first, last) = if step > 0 { (0, i64::MAX) } else { (i64::MAX, i64::MIN) };
                let start = if is(begin_mask, i) { Bound::Known(first) } else { bound(c, 1, i)? };
                let end = if is(end_mask, i) { Bound::Known(last) } else { bound(c, 2, i)? };
                if !matches!((&start, &end, step), (Bound::Known(0), Bound::Known(i64::MAX), 1)) {
                    starts.push(start);
                    ends.push(end);
                    by.push(step);
                    axes.push(axis);
                }
            }
        }
    }
    let mut y = x;
    if !axes.is_empty() {
        let (starts, ends) = (joined(c, starts)?, joined(c, ends)?);
        let (axes, by) = (c.list(&axes)?, c.list(&by)?);
        y = c.emit("Slice", &[&y, &starts, &ends, &axes, &by], vec![])?;
    }
    for (op, axes) in [("Squeeze", gone), ("Unsqueeze", new)] {
        if !axes.is_empty() {
            let axes = c.list(&axes)?;
            y = c.emit(op, &[&y, &axes], vec![])?;
        }
    }
    c.done("Identity", &[&y], vec![])
}

/// An element of an operand.
fn bound(c: &mut Call<'_, '_>, operand: usize, i: usize) -> Result<Bound, String> {
    let known = c.value(operand)?.tensor()?.ints.as_ref().and_then(|ints| ints.get(i).copied().flatten());
    if let Some(known) = known {
        return Ok(Bound::Known(known));
    }
    let (list, at) = (c.int64(operand)?, c.list(&[i as i64])?);
    Ok(Bound::Computed(c.emit("Gather", &[&list, &at], vec![])?))
}

/// The place behind another one; behind the last there is none, and it is also -1.
fn next(c: &mut Call<'_, '_>, place: &Bound) -> Result<Bound, String> {
    Ok(match place {
        Bound::Known(-1) => Bound::Known(i64::MAX),
        Bound::Known(i) => Bound::Known(i.saturating_add(1)),
        Bound::Computed(name) => {
            let (one, last, most) = (c.list(&[1])?, c.list(&[-1])?, c.list(&[i64::MAX])?);
            let next = c.emit("Add", &[name, &one], vec![])?;
            let is_last = c.emit("Equal", &[name, &last], vec![])?;
            Bound::Computed(c.emit("Where", &[&is_last, &most, &next], vec![])?)
        }
    })
}

fn joined(c: &mut Call<'_, '_>, bounds: Vec<Bound>) -> Result<String, String> {
    let known = |b: &Bound| if let Bound::Known(i) = b { Some(*i) } else { None };
    if let Some(ints) = bounds.iter().map(known).collect::<Option<Vec<i64>>>() {
        return c.list(&ints);
    }
    let mut names = Vec::new();
    for bound in bounds {
        names.push(match bound {
            Bound::Known(i) => c.list(&[i])?,
            Bound::Computed(name) => name,
        });
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let joined = c.emit("Concat", &names, vec![("axis", Attribute::Int(0))])?;
    c.cast(&joined, Elem::Int64)
}
