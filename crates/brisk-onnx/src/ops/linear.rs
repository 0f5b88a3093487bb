//! Products.

use brisk_graph::{DType, Prim, Shape, Value};

use super::{Operator, one};
use crate::call::Call;
use crate::{Elem, Var};

pub(super) const OPS: &[Operator] = &[
    one("Det", det),
    one("Einsum", einsum),
    one("Gemm", gemm),
    one("MatMul", |c| {
        let (a, b) = (c.var(0)?, c.var(1)?);
        let elem = a.elem;
        match elem.is_float() {
            true if b.rank() == 2 && a.rank() >= 1 => {
                let (matrix, turned) = as_matrix(&b, a.arithmetic());
                Ok(Var::new(elem, by_matrix(a.floats(), matrix, turned)?))
            }
            true => Ok(Var::new(elem, matmul(a.floats(), b.floats())?)),
            false => {
                let product = matmul(a.value().cast(DType::F64), b.value().cast(DType::F64))?;
                Ok(super::elementwise::wrap(Var::new(elem, product.cast(DType::I64))))
            }
        }
    }),
];

/// As NumPy's: batches broadcast, a vector is a row on the left and a column on the right.
pub fn matmul<'g>(a: Value<'g>, b: Value<'g>) -> Result<Value<'g>, String> {
    let (sa, sb) = (a.shape(), b.shape());
    if sa.rank() == 0 || sb.rank() == 0 {
        return Err(format!("cannot multiply {sa} by {sb}"));
    }
    let left = if sa.rank() == 1 { a.reshape([1, sa[0]]) } else { a };
    let right = if sb.rank() == 1 { b.reshape([sb[0], 1]) } else { b };
    let (la, lb) = (left.shape(), right.shape());
    let (batch_a, batch_b) = (Shape::from(&la[..la.rank() - 2]), Shape::from(&lb[..lb.rank() - 2]));
    let batch = batch_a
        .broadcast(&batch_b)
        .ok_or_else(|| format!("cannot multiply {sa} by {sb}: the axes before the last two do not fit"))?;
    let product = match batch_b.elements() == 1 && batch.elements() == batch_a.elements() {
        true => {
            let matrix = right.reshape(&lb[lb.rank() - 2..]);
            left.matmul(matrix)
        }
        false => {
            let whole = |v: Value<'g>, s: &Shape| v.broadcast_to([&batch[..], &s[s.rank() - 2..]].concat());
            whole(left, &la).matmul(whole(right, &lb))
        }
    };
    let mut dims = batch.to_vec();
    if sa.rank() > 1 {
        dims.push(la[la.rank() - 2]);
    }
    if sb.rank() > 1 {
        dims.push(lb[lb.rank() - 1]);
    }
    match product.shape().elements() == Shape::from(&dims[..]).elements() {
        true => Ok(product.reshape(dims)),
        false => Err(format!("cannot multiply {sa} by {sb}")),
    }
}

/// A matrix as it lies, and whether it lies transposed: a product reads it either way.
fn as_matrix<'g>(v: &Var<'g>, dtype: DType) -> (Value<'g>, bool) {
    let (value, order) = v.raw();
    (value.cast(dtype), order.is_some())
}

/// Rows times a matrix that may lie transposed.
fn by_matrix<'g>(a: Value<'g>, matrix: Value<'g>, turned: bool) -> Result<Value<'g>, String> {
    let (sa, [inner, columns]) = (a.shape(), if turned { [1, 0] } else { [0, 1] }.map(|i| matrix.dim(i)));
    if sa.last() != inner || sa.rank() == 0 {
        return Err(format!("cannot multiply {sa} by a matrix of {inner} rows"));
    }
    let rows = sa.elements() / inner.max(1);
    let prim = Prim::MatMul { ta: false, tb: turned };
    let product = a.builder().prim(prim, &[a.reshape([rows, inner]), matrix]);
    Ok(product.reshape([&sa[..sa.rank() - 1], &[columns]].concat()))
}

fn gemm<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let (a, b, bias) = (c.var(0)?, c.var(1)?, c.optional(2)?);
    let (alpha, beta) = (c.float("alpha", 1.0)?, c.float("beta", 1.0)?);
    let (ta, tb) = (c.flag("transA", false)?, c.flag("transB", false)?);
    if a.rank() != 2 || b.rank() != 2 {
        return Err(format!("expected matrices, found {} and {}", a.shape(), b.shape()));
    }
    let dtype = if a.elem.is_float() { a.arithmetic() } else { DType::F64 };
    let left = if ta { a.transposed(&[1, 0]) } else { a.clone() };
    let right = if tb { b.transposed(&[1, 0]) } else { b.clone() };
    let (matrix, turned) = as_matrix(&right, dtype);
    let mut y = by_matrix(left.value().cast(dtype), matrix, turned)?;
    if alpha != 1.0 {
        y = y * alpha;
    }
    if let Some(bias) = bias {
        let bias = bias.value().cast(dtype);
        y = y + if beta == 1.0 { bias } else { bias * beta };
    }
    Ok(super::elementwise::wrap(Var::new(a.elem, y.cast(a.arithmetic()))))
}

/// Sums of products over letters: `ij,jk->ik`.
fn einsum<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let vars = c.vars()?;
    let equation: String = c.text("equation", "")?.chars().filter(|ch| !ch.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left.to_string(), Some(right.to_string())),
        None => (equation.clone(), None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != vars.len() {
        return Err(format!("{equation:?} has {} terms for {} operands", terms.len(), vars.len()));
    }
    const MOST_TERMS: usize = 64;
    if terms.len() > MOST_TERMS {
        return Err(format!("expected at most {MOST_TERMS} terms, found {}", terms.len()));
    }
    let elem = vars[0].elem;
    let dtype = if elem.is_float() { vars[0].arithmetic() } else { DType::F64 };
    // An ellipsis stands for axes without letters, which broadcast from the right.
    let dots = terms.iter().zip(&vars).map(|(t, v)| match t.contains("...") {
        true => v.rank().saturating_sub(t.len() - 3),
        false => 0,
    });
    let dots = dots.max().unwrap_or(0);
    let hidden: Vec<char> = (0..dots).map(|i| char::from_u32(0xE000 + i as u32).unwrap_or('?')).collect();
    let expand = |term: &str, rank: Option<usize>| -> Vec<char> {
        match term.split_once("...") {
            None => term.chars().collect(),
            Some((before, after)) => {
                let n = rank.map_or(dots, |r| r.saturating_sub(before.len() + after.len()));
                let own = hidden[dots - n.min(dots)..].iter().copied();
                before.chars().chain(own).chain(after.chars()).collect()
            }
        }
    };
    let mut operands: Vec<(Vec<char>, Value<'g>)> = Vec::new();
    for (term, var) in terms.iter().zip(&vars) {
        let letters = expand(term, Some(var.rank()));
        if letters.len() != var.rank() {
            return Err(format!("{term:?} has {} letters for {}", letters.len(), var.shape()));
        }
        operands.push(diagonal(letters, var.value().cast(dtype)));
    }
    let result: Vec<char> = match right {
        Some(right) => expand(&right, None),
        None => {
            let all: String = terms.concat();
            let mut once: Vec<char> =
                all.chars().filter(|ch| *ch != '.' && all.matches(*ch).count() == 1).collect();
            once.sort_unstable();
            hidden.iter().copied().chain(once).collect()
        }
    };
    let mut operands = operands.into_iter();
    let mut joined = operands.next().ok_or("expected an operand")?;
    let rest: Vec<_> = operands.collect();
    for (i, next) in rest.iter().enumerate() {
        let later = |ch: &char| result.contains(ch) || rest[i + 1..].iter().any(|o| o.0.contains(ch));
        joined = contract(joined, next.clone(), &later)?;
    }
    let (letters, value) = joined;
    let gone: Vec<usize> = (0..letters.len()).filter(|&i| !result.contains(&letters[i])).collect();
    let value = value.sum(&gone);
    let letters: Vec<char> = letters.into_iter().filter(|ch| result.contains(ch)).collect();
    let place = |ch: &char| {
        letters.iter().position(|l| l == ch).ok_or_else(|| format!("{equation:?}: no term has {ch:?}"))
    };
    let perm = result.iter().map(place).collect::<Result<Vec<_>, _>>()?;
    let value = value.transpose(&perm);
    let value = if elem.is_float() { value } else { value.cast(DType::I64) };
    Ok(super::elementwise::wrap(Var::new(elem, value)))
}

/// A letter that stands twice means the diagonal.
fn diagonal<'g>(mut letters: Vec<char>, mut value: Value<'g>) -> (Vec<char>, Value<'g>) {
    while let Some((i, j)) =
        (0..letters.len()).flat_map(|j| (0..j).map(move |i| (i, j))).find(|&(i, j)| letters[i] == letters[j])
    {
        let shape = value.shape();
        let b = value.builder();
        let same = b.iota(i, &shape, DType::I32).equal(b.iota(j, &shape, DType::I32));
        value = (value * same.cast(value.dtype())).sum(&[j]);
        letters.remove(j);
    }
    (letters, value)
}

/// Two terms as one product of matrices: letters of both that are needed later are its batch, the others of both are summed.
fn contract<'g>(
    (la, a): (Vec<char>, Value<'g>),
    (lb, b): (Vec<char>, Value<'g>),
    later: &dyn Fn(&char) -> bool,
) -> Result<(Vec<char>, Value<'g>), String> {
    let sum_alone = |letters: Vec<char>, value: Value<'g>, other: &[char]| {
        let gone: Vec<usize> =
            (0..letters.len()).filter(|&i| !other.contains(&letters[i]) && !later(&letters[i])).collect();
        let kept = letters.iter().enumerate().filter(|(i, _)| !gone.contains(i)).map(|(_, ch)| *ch).collect();
        (kept, value.sum(&gone))
    };
    let (la, a): (Vec<char>, _) = sum_alone(la, a, &lb);
    let (lb, b): (Vec<char>, _) = sum_alone(lb, b, &la);
    let (batch, sum): (Vec<char>, Vec<char>) =
        la.iter().filter(|ch| lb.contains(ch)).partition(|ch| later(ch));
    let rows: Vec<char> = la.iter().copied().filter(|ch| !lb.contains(ch)).collect();
    let columns: Vec<char> = lb.iter().copied().filter(|ch| !la.contains(ch)).collect();
    let size = |ch: &char| {
        let of = |letters: &[char], v: Value<'g>| letters.iter().position(|l| l == ch).map(|i| v.dim(i));
        of(&la, a).unwrap_or(1).max(of(&lb, b).unwrap_or(1))
    };
    let product = |letters: &[char]| letters.iter().map(size).product::<usize>();
    let arranged = |letters: &[char], v: Value<'g>, order: [&[char]; 3]| {
        let all: Vec<char> = order.concat();
        let perm: Vec<usize> = all.iter().filter_map(|ch| letters.iter().position(|l| l == ch)).collect();
        let dims: Vec<usize> = all.iter().map(size).collect();
        let shape = v.transpose(&perm).shape();
        if !shape.iter().zip(&dims).all(|(&have, &want)| have == want || have == 1) {
            return Err(format!("letters have different sizes in {}", v.shape()));
        }
        let sizes: Vec<usize> = order.iter().map(|part| product(part)).collect();
        Ok(v.transpose(&perm).broadcast_to(dims).reshape(sizes))
    };
    let left = arranged(&la, a, [&batch, &rows, &sum])?;
    let right = arranged(&lb, b, [&batch, &sum, &columns])?;
    let letters: Vec<char> = batch.iter().chain(&rows).chain(&columns).copied().collect();
    let dims: Vec<usize> = letters.iter().map(size).collect();
    Ok((letters, left.matmul(right).reshape(dims)))
}

/// By Gauss's elimination, without turning rows: a pivot of 0 is found by adding the rows below.
fn det<'g>(c: &mut Call<'_, 'g>) -> Result<Var<'g>, String> {
    let x = c.var(0)?;
    let shape = x.shape();
    let rank = shape.rank();
    if rank < 2 || shape[rank - 1] != shape[rank - 2] {
        return Err(format!("expected square matrices, found {shape}"));
    }
    let n = shape[rank - 1];
    if n > 64 {
        return Err(format!("expected matrices of at most 64 rows, found {n}"));
    }
    let batch: usize = shape[..rank - 2].iter().product();
    let mut m = x.floats().reshape([batch, n, n]);
    let mut result = c.b.fill_as(1.0, [batch], m.dtype());
    for k in 0..n {
        let size = n - k;
        // The row with the largest number in the first column becomes the first; the sign turns if it was another.
        let column = m.slice(2, 0, 1).reshape([batch, size]).abs();
        let best = column.cast(DType::F32).argmax(1).expand(1).broadcast_to([batch, size]);
        let row_of = c.b.iota(1, [batch, size], DType::I32);
        let chosen = row_of.equal(best).cast(m.dtype()).reshape([batch, size, 1]);
        let first = c.b.iota(1, [batch, size], DType::I32).equal(c.b.fill_as(0.0, [batch, size], DType::I32));
        let first = first.cast(m.dtype()).reshape([batch, size, 1]);
        let pivot_row = (m * chosen).sum(&[1]).reshape([batch, 1, size]);
        let first_row = m.slice(1, 0, 1);
        let swapped = m + first * (pivot_row - first_row) + chosen * (first_row - pivot_row) * (1.0 - first);
        // If the first row was chosen, nothing is swapped.
        let same = (chosen * first).sum(&[1, 2]);
        result = result * (same * 2.0 - 1.0);
        let m_now = swapped;
        let pivot = m_now.slice(1, 0, 1).slice(2, 0, 1);
        result = result * pivot.reshape([batch]);
        if size > 1 {
            let zero = pivot.equal(0.0);
            let safe = zero.select(c.b.fill_as(1.0, pivot.shape(), pivot.dtype()), pivot);
            let factor = m_now.slice(1, 1, size).slice(2, 0, 1) / safe;
            let rest = m_now.slice(1, 1, size).slice(2, 1, size);
            m = rest - factor * m_now.slice(1, 0, 1).slice(2, 1, size);
        }
    }
    let elem: Elem = x.elem;
    Ok(Var::new(elem, result.reshape(&shape[..rank - 2])))
}
