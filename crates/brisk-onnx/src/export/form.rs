//! The form of a value: its axes in order, stretched, of the type that an operator takes.

use brisk_graph::{DType, Prim, Tensor, evaluate::evaluate};

use super::emit::{Attrs, Body, Emitter, Val, ints};
use super::size::Size;
use crate::{Attribute, Elem};

/// The order of axes with the last one second.
pub(super) fn turn(rank: usize) -> Vec<usize> {
    let last = rank.saturating_sub(1);
    [0, last].into_iter().chain(1..last).collect()
}

/// And back.
fn turn_back(rank: usize) -> Vec<usize> {
    [0].into_iter().chain(2..rank).chain([1]).collect()
}

impl Emitter {
    /// In Brisk's order of axes.
    pub fn settled(&mut self, val: &Val) -> Val {
        if !val.turned {
            return val.clone();
        }
        let perm = turn_back(val.rank());
        let name = self.name(val);
        let name = self.one("Transpose", vec![name], vec![("perm", ints(perm))]);
        Val { body: Body::Made(name), turned: false, ..val.clone() }
    }

    /// With the last axis second, for a value that has at least three. Known ones are turned here and now.
    pub fn turned(&mut self, val: &Val) -> Result<Val, String> {
        if val.turned || val.rank() < 3 {
            return Ok(val.clone());
        }
        let body = self.permuted(val, &turn(val.rank()))?;
        Ok(Val { body, turned: true, ..val.clone() })
    }

    /// The elements with the axes in another order.
    pub fn permuted(&mut self, val: &Val, perm: &[usize]) -> Result<Body, String> {
        Ok(match &val.body {
            Body::Known(name, tensor) => {
                let digits: Vec<_> = perm.iter().map(usize::to_string).collect();
                let tensor = evaluate(&Prim::Transpose(perm.to_vec()), std::slice::from_ref(tensor))?;
                Body::Known(format!("{name}/axes{}", digits.join("")), tensor)
            }
            Body::Made(name) => {
                let perm = vec![("perm", ints(perm.iter().copied()))];
                Body::Made(self.one("Transpose", vec![name.clone()], perm))
            }
        })
    }

    /// In Brisk's order, with all sizes as they are there.
    pub fn full(&mut self, val: &Val, dims: &[Size]) -> Result<Val, String> {
        let val = self.settled(val);
        if val.dims == dims {
            return Ok(val);
        }
        let (name, sizes) = (self.name(&val), self.sizes(dims)?);
        let name = self.one("Expand", vec![name, sizes], vec![]);
        Ok(Val::made(name, dims.to_vec(), val.elem))
    }

    /// Another element type.
    pub fn cast(&mut self, val: &Val, elem: Elem) -> Val {
        if val.elem == elem {
            return val.clone();
        }
        let name = self.name(val);
        let name = self.one("Cast", vec![name], vec![("to", Attribute::Int(elem as i64))]);
        Val { body: Body::Made(name), elem, ..val.clone() }
    }

    /// Truth values.
    pub fn truth(&mut self, val: &Val) -> Val {
        self.cast(val, Elem::Bool)
    }

    /// Bytes and truth values as whole numbers that all of ONNX's arithmetic takes.
    pub fn arithmetic(&mut self, val: &Val) -> Val {
        match val.elem {
            Elem::Bool | Elem::Uint8 => self.cast(val, Elem::Int32),
            _ => val.clone(),
        }
    }

    /// Under another shape of as many elements.
    pub fn reshaped(&mut self, val: &Val, dims: &[Size]) -> Result<Val, String> {
        let val = self.settled(val);
        if val.dims == dims {
            return Ok(val);
        }
        let fixed =
            dims.iter().map(|d| d.fixed().and_then(|d| usize::try_from(d).ok())).collect::<Option<Vec<_>>>();
        if let (Body::Known(name, tensor), Some(shape)) = (&val.body, fixed) {
            let text: Vec<_> = shape.iter().map(usize::to_string).collect();
            let tensor = tensor.clone().reshape(shape).map_err(|e| e.to_string())?;
            return Ok(Val {
                body: Body::Known(format!("{name}/{}", text.join("x")), tensor),
                dims: dims.to_vec(),
                ..val
            });
        }
        // What stays where it is is 0, one size may follow from the others, and is -1.
        let kept = |i: usize| val.dims.get(i) == Some(&dims[i]);
        let free: Vec<usize> = (0..dims.len()).filter(|&i| dims[i].fixed().is_none() && !kept(i)).collect();
        let left = free.iter().copied().max_by_key(|&i| (dims[i].terms().count(), i));
        let mut parts = Vec::new();
        for (i, dim) in dims.iter().enumerate() {
            parts.push(match dim.fixed() {
                _ if Some(i) == left => Size::number(-1),
                Some(_) => dim.clone(),
                None if kept(i) => Size::from(0),
                None => dim.clone(),
            });
        }
        let (name, sizes) = (self.name(&val), self.sizes(&parts)?);
        let name = self.one("Reshape", vec![name, sizes], vec![]);
        Ok(Val::made(name, dims.to_vec(), val.elem))
    }

    /// An operator that works element by element and stretches its operands.
    pub fn elementwise(
        &mut self,
        op: &str,
        operands: &[Val],
        attrs: Attrs,
        elem: Elem,
    ) -> Result<Val, String> {
        let rank = operands.iter().map(Val::rank).max().unwrap_or(0);
        let turned =
            operands.iter().any(|v| v.turned) && operands.iter().all(|v| !v.turned || v.rank() == rank);
        let mut inputs = Vec::new();
        for val in operands {
            let val = match turned && val.rank() > 0 && val.elements() != Some(1) {
                true => {
                    let ones = vec![Size::from(1); rank - val.rank()];
                    let wide = [ones, val.dims.clone()].concat();
                    let val = if val.rank() < rank { self.reshaped(val, &wide)? } else { val.clone() };
                    self.turned(&val)?
                }
                false => {
                    if val.turned && !turned {
                        self.settled(val)
                    } else {
                        val.clone()
                    }
                }
            };
            inputs.push(self.name(&val));
        }
        let one = Size::from(1);
        let dim = |axis: usize| {
            let own = operands.iter().filter_map(|v| v.dims.get((axis + v.rank()).checked_sub(rank)?));
            own.max_by_key(|d| **d != one).cloned().unwrap_or(one.clone())
        };
        let dims = (0..rank).map(dim).collect();
        let name = self.one(op, inputs, attrs);
        Ok(Val { body: Body::Made(name), dims, elem, turned })
    }

    /// `0, 1, 2, ...` (i32) along an axis of so many.
    pub fn range(&mut self, size: &Size) -> Result<Val, String> {
        if let Some(n) = size.fixed().and_then(|n| i32::try_from(n).ok()) {
            let tensor =
                Tensor::new([n.max(0) as usize], (0..n).collect::<Vec<i32>>()).map_err(|e| e.to_string())?;
            return Ok(Val::known(format!("range/{n}"), tensor));
        }
        let (zero, one) = (self.scalar(0.0, DType::I64)?, self.scalar(1.0, DType::I64)?);
        let inputs = vec![self.name(&zero), self.scalar_size(size)?, self.name(&one)];
        let name = self.one("Range", inputs, vec![]);
        let range = Val::made(name, vec![size.clone()], Elem::Int64);
        Ok(self.cast(&range, Elem::Int32))
    }
}

impl Val {
    /// The number of elements that it has itself, if it is fixed.
    fn elements(&self) -> Option<i64> {
        self.dims.iter().map(Size::fixed).try_fold(1i64, |n, d| n.checked_mul(d?))
    }
}
