//! The primitives: the closed set of operations that everything else is made of.
//!
//! Matched exhaustively by the shape rule (here), the gradient rules ([`mod@crate::grad`]), the reference
//! interpreter ([`mod@crate::interpret`]) and each compiler. A new variant is a compile error in each of them
//! until it is complete.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::{DType, Data, Shape, Tensor};

/// A float that can be compared and hashed, by its bits.
#[derive(Clone, Copy, Debug)]
pub struct Scalar(pub f64);

impl PartialEq for Scalar {
    fn eq(&self, other: &Scalar) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}
impl Eq for Scalar {}
impl Hash for Scalar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

/// One operand, element by element, floats only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    /// `-x`
    Neg,
    /// `|x|`
    Abs,
    /// -1, 0 or 1
    Sign,
    /// `e^x`
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// `1 / sqrt(x)`
    Rsqrt,
    /// Hyperbolic tangent.
    Tanh,
    /// Gauss error function.
    Erf,
    /// Largest integer not above.
    Floor,
    /// Sine of radians.
    Sin,
    /// Cosine of radians.
    Cos,
    /// To the nearest number with so many binary digits that is a multiple of two to a power, of two the even one: what
    /// is left in a narrower floating-point format. Its gradient goes straight through.
    RoundBits {
        /// Binary digits.
        digits: u8,
        /// The power.
        lowest: i16,
    },
}

/// Two operands of one shape and type, element by element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`
    Div,
    /// The larger; NaN if either is.
    Max,
    /// The smaller; NaN if either is.
    Min,
    /// `a` to the power of `b`
    Pow,
    /// Bits that are set in both; whole numbers only, as the next ones.
    And,
    /// Bits that are set in either.
    Or,
    /// Bits that are set in one.
    Xor,
    /// `a` shifted by `b` bits towards the high ones, 0 if that is all of them.
    Shl,
    /// `a` shifted by `b` bits towards the low ones; the sign stays.
    Shr,
}

/// Two operands of one shape and type to truth values (u8: 0 or 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compare {
    /// `a < b`
    Less,
    /// `a <= b`
    LessEqual,
    /// `a == b`
    Equal,
}

/// Combines all elements along some axes into one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduce {
    /// Their sum.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

/// Geometry of a two-dimensional convolution. Maps are `[n, h, w, c]`, kernels `[kh, kw, c_in / groups, c_out]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv {
    /// Step of the window, down and right.
    pub stride: [usize; 2],
    /// Distance between neighbouring taps of the kernel, down and right.
    pub dilation: [usize; 2],
    /// Zeros around the map: `[[top, bottom], [left, right]]`.
    pub padding: [[usize; 2]; 2],
    /// Into how many groups the channels are divided.
    pub groups: usize,
}

impl Default for Conv {
    fn default() -> Conv {
        Conv { stride: [1, 1], dilation: [1, 1], padding: [[0, 0], [0, 0]], groups: 1 }
    }
}

/// Geometry of a pooling window over maps `[n, h, w, c]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Height and width.
    pub size: [usize; 2],
    /// Step, down and right.
    pub stride: [usize; 2],
    /// Cells around the map that never win and count as zero: `[[top, bottom], [left, right]]`.
    pub padding: [[usize; 2]; 2],
}

/// Number of window positions along an axis of `size`, `None` if not even one fits.
pub fn positions(
    size: usize,
    window: usize,
    stride: usize,
    dilation: usize,
    pad: [usize; 2],
) -> Option<usize> {
    let extent = dilation.checked_mul(window.checked_sub(1)?)?.checked_add(1)?;
    let room = size.checked_add(pad[0])?.checked_add(pad[1])?.checked_sub(extent)?;
    Some(room.checked_div(stride)? + 1)
}

/// The most elements that a value may have, zero sizes counted as one, so that no arithmetic on sizes overflows.
pub const MAX_ELEMENTS: usize = 1 << 40;

/// Refuses a shape of more than [`MAX_ELEMENTS`].
pub(crate) fn check_size(shape: &Shape) -> Result<(), String> {
    let product = shape.iter().fold(1usize, |n, &d| n.saturating_mul(d.max(1)));
    match product <= MAX_ELEMENTS && shape.rank() <= MAX_RANK {
        true => Ok(()),
        false => {
            Err(format!("a value of shape {shape} is too large: at most 2^40 elements and {MAX_RANK} axes"))
        }
    }
}

/// The most axes that a value may have.
const MAX_RANK: usize = 16;

/// A primitive operation. Every value has a static shape; nothing broadcasts unless it says so.
#[derive(Clone, Debug)]
pub enum Prim {
    /// A value from outside. Its number is its place among the graph's inputs.
    Input(usize, Shape, DType),
    /// A tensor known when the graph is built.
    Constant(Tensor),
    /// One number everywhere.
    Fill(Scalar, Shape, DType),
    /// `0, 1, 2, ...` along an axis.
    Iota(usize, Shape, DType),
    /// See [`Unary`].
    Unary(Unary),
    /// See [`Binary`].
    Binary(Binary),
    /// See [`Compare`].
    Compare(Compare),
    /// `condition ? a : b`; operands: condition (u8), a, b.
    Select,
    /// To another element type. Floats to integers truncate; u8 saturates.
    Cast(DType),
    /// The same elements in row-major order under another shape.
    Reshape(Shape),
    /// Repeats axes of size 1, and adds axes in front, as NumPy does.
    Broadcast(Shape),
    /// Axis `i` of the result is axis `perm[i]` of the operand.
    Transpose(Vec<usize>),
    /// `start..end` of every axis, by `step`.
    Slice {
        /// First index of each axis.
        start: Vec<usize>,
        /// One past the last.
        end: Vec<usize>,
        /// Distance, at least 1.
        step: Vec<usize>,
    },
    /// Surrounds with a constant and spreads: `low[i]` before, `high[i]` after, `inner[i]` between neighbours.
    Pad {
        /// Cells before.
        low: Vec<usize>,
        /// Cells after.
        high: Vec<usize>,
        /// Cells between neighbours.
        inner: Vec<usize>,
        /// What the new cells hold.
        value: Scalar,
    },
    /// Joins along an axis.
    Concat(usize),
    /// Turns axes round.
    Reverse(Vec<usize>),
    /// Reduces over the axes, in ascending order, which vanish.
    Reduce(Reduce, Vec<usize>),
    /// Index (i32) of the largest along an axis, which vanishes. The first of equals.
    ArgMax(usize),
    /// Rows of a table `[rows, ...]` at indices (i32) `[...]`. An index out of range is a run-time error.
    Take,
    /// Adds updates `[..., row...]` into `rows` zero rows at indices (i32) `[...]`; operands: indices, updates.
    ScatterAdd(usize),
    /// `a b` over the last two axes, each possibly transposed; all axes before them are equal.
    MatMul {
        /// Take `a` as `[.., k, m]`.
        ta: bool,
        /// Take `b` as `[.., n, k]`.
        tb: bool,
    },
    /// Correlates maps with kernels; operands: x `[n, h, w, c]`, kernel.
    Conv(Conv),
    /// Gradient of [`Prim::Conv`] by its maps of height and width; operands: dy, kernel.
    ConvGradInput(Conv, [usize; 2]),
    /// Gradient of [`Prim::Conv`] by its kernel of height and width; operands: x, dy.
    ConvGradKernel(Conv, [usize; 2]),
    /// The largest in each window.
    MaxPool(Window),
    /// Where in its window (row-major, u8) the largest stands. The first of equals.
    MaxPoolIndex(Window),
    /// Sends each window's value to the cell of its index in maps of height and width; operands: dy, index.
    MaxPoolGrad(Window, [usize; 2]),
    /// From maps, the cell of its index in each window; operands: x, index. Transpose of [`Prim::MaxPoolGrad`].
    MaxPoolTake(Window),
    /// The sum over each window.
    SumPool(Window),
    /// Adds each window's value to all its cells in maps of height and width. Transpose of [`Prim::SumPool`].
    SumPoolGrad(Window, [usize; 2]),
    /// Uniform in `[0, 1)`, multiples of 2⁻²⁴; element `i` is a function of the key (i32 `[2]`), the stream and
    /// `i` alone.
    Random(u32, Shape),
}

/// Whether two tensors of one type have the same elements, bit by bit.
fn same_bits(a: &Tensor, b: &Tensor) -> bool {
    match (a.data(), b.data()) {
        (Data::F32(a), Data::F32(b)) => a.iter().map(|x| x.to_bits()).eq(b.iter().map(|x| x.to_bits())),
        (Data::F64(a), Data::F64(b)) => a.iter().map(|x| x.to_bits()).eq(b.iter().map(|x| x.to_bits())),
        (a, b) => a == b,
    }
}

/// The most elements of constants that are compared: to compare more could cost more than it saves.
const COMPARED: usize = 64;

/// Equal primitives hash alike; the number of a kind stands before what it is told.
impl Hash for Prim {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        use Prim::*;
        std::mem::discriminant(self).hash(hasher);
        match self {
            Constant(tensor) if tensor.elements() <= COMPARED => {
                tensor.shape().hash(hasher);
                tensor.to_f64s().iter().for_each(|v| v.to_bits().hash(hasher));
            }
            Constant(tensor) => std::ptr::from_ref(tensor.data()).hash(hasher),
            Input(number, ..) => number.hash(hasher),
            Fill(value, shape, dtype) => (value, shape, dtype).hash(hasher),
            Iota(axis, shape, dtype) => (axis, shape, dtype).hash(hasher),
            Unary(kind) => kind.hash(hasher),
            Binary(kind) => kind.hash(hasher),
            Compare(kind) => kind.hash(hasher),
            Select | Take => {}
            Cast(dtype) => dtype.hash(hasher),
            Reshape(shape) | Broadcast(shape) => shape.hash(hasher),
            Transpose(axes) | Reverse(axes) => axes.hash(hasher),
            Slice { start, end, step } => (start, end, step).hash(hasher),
            Pad { low, high, inner, value } => (low, high, inner, value).hash(hasher),
            Concat(n) | ArgMax(n) | ScatterAdd(n) => n.hash(hasher),
            Reduce(kind, axes) => (kind, axes).hash(hasher),
            MatMul { ta, tb } => (ta, tb).hash(hasher),
            Conv(conv) => conv.hash(hasher),
            ConvGradInput(conv, size) | ConvGradKernel(conv, size) => (conv, size).hash(hasher),
            MaxPool(window) | MaxPoolIndex(window) | MaxPoolTake(window) | SumPool(window) => {
                window.hash(hasher);
            }
            MaxPoolGrad(window, size) | SumPoolGrad(window, size) => (window, size).hash(hasher),
            Random(stream, shape) => (stream, shape).hash(hasher),
        }
    }
}

impl PartialEq for Prim {
    fn eq(&self, other: &Prim) -> bool {
        use Prim::*;
        match (self, other) {
            (Constant(a), Constant(b)) => {
                let same = || a.elements() <= COMPARED && a.dtype() == b.dtype() && same_bits(a, b);
                a.shape() == b.shape() && (std::ptr::eq(a.data(), b.data()) || same())
            }
            (Input(a, ..), Input(b, ..)) => a == b,
            (Fill(a, s, d), Fill(b, t, e)) => a == b && s == t && d == e,
            (Iota(a, s, d), Iota(b, t, e)) => a == b && s == t && d == e,
            (Unary(a), Unary(b)) => a == b,
            (Binary(a), Binary(b)) => a == b,
            (Compare(a), Compare(b)) => a == b,
            (Select, Select) | (Take, Take) => true,
            (Cast(a), Cast(b)) => a == b,
            (Reshape(a), Reshape(b)) | (Broadcast(a), Broadcast(b)) => a == b,
            (Transpose(a), Transpose(b)) | (Reverse(a), Reverse(b)) => a == b,
            (Slice { start, end, step }, Slice { start: s, end: e, step: t }) => {
                start == s && end == e && step == t
            }
            (Pad { low, high, inner, value }, Pad { low: l, high: h, inner: i, value: v }) => {
                low == l && high == h && inner == i && value == v
            }
            (Concat(a), Concat(b)) | (ArgMax(a), ArgMax(b)) | (ScatterAdd(a), ScatterAdd(b)) => a == b,
            (Reduce(r, a), Reduce(s, b)) => r == s && a == b,
            (MatMul { ta, tb }, MatMul { ta: a, tb: b }) => ta == a && tb == b,
            (Conv(a), Conv(b)) => a == b,
            (ConvGradInput(a, s), ConvGradInput(b, t)) | (ConvGradKernel(a, s), ConvGradKernel(b, t)) => {
                a == b && s == t
            }
            (MaxPool(a), MaxPool(b))
            | (MaxPoolIndex(a), MaxPoolIndex(b))
            | (MaxPoolTake(a), MaxPoolTake(b))
            | (SumPool(a), SumPool(b)) => a == b,
            (MaxPoolGrad(a, s), MaxPoolGrad(b, t)) | (SumPoolGrad(a, s), SumPoolGrad(b, t)) => {
                a == b && s == t
            }
            (Random(a, s), Random(b, t)) => a == b && s == t,
            _ => false,
        }
    }
}
impl Eq for Prim {}

impl Prim {
    /// The name in error messages and printed graphs.
    pub fn name(&self) -> &'static str {
        match self {
            Prim::Input(..) => "input",
            Prim::Constant(_) => "constant",
            Prim::Fill(..) => "fill",
            Prim::Iota(..) => "iota",
            Prim::Unary(u) => match u {
                Unary::Neg => "neg",
                Unary::Abs => "abs",
                Unary::Sign => "sign",
                Unary::Exp => "exp",
                Unary::Log => "log",
                Unary::Sqrt => "sqrt",
                Unary::Rsqrt => "rsqrt",
                Unary::Tanh => "tanh",
                Unary::Erf => "erf",
                Unary::Floor => "floor",
                Unary::Sin => "sin",
                Unary::Cos => "cos",
                Unary::RoundBits { .. } => "round_bits",
            },
            Prim::Binary(b) => match b {
                Binary::Add => "add",
                Binary::Sub => "sub",
                Binary::Mul => "mul",
                Binary::Div => "div",
                Binary::Max => "max",
                Binary::Min => "min",
                Binary::Pow => "pow",
                Binary::And => "bit_and",
                Binary::Or => "bit_or",
                Binary::Xor => "bit_xor",
                Binary::Shl => "shift_left",
                Binary::Shr => "shift_right",
            },
            Prim::Compare(c) => match c {
                Compare::Less => "less",
                Compare::LessEqual => "less_equal",
                Compare::Equal => "equal",
            },
            Prim::Select => "select",
            Prim::Cast(_) => "cast",
            Prim::Reshape(_) => "reshape",
            Prim::Broadcast(_) => "broadcast",
            Prim::Transpose(_) => "transpose",
            Prim::Slice { .. } => "slice",
            Prim::Pad { .. } => "pad",
            Prim::Concat(_) => "concat",
            Prim::Reverse(_) => "reverse",
            Prim::Reduce(Reduce::Sum, _) => "sum",
            Prim::Reduce(Reduce::Max, _) => "reduce_max",
            Prim::Reduce(Reduce::Min, _) => "reduce_min",
            Prim::ArgMax(_) => "argmax",
            Prim::Take => "take",
            Prim::ScatterAdd(_) => "scatter_add",
            Prim::MatMul { .. } => "matmul",
            Prim::Conv(_) => "conv",
            Prim::ConvGradInput(..) => "conv_grad_input",
            Prim::ConvGradKernel(..) => "conv_grad_kernel",
            Prim::MaxPool(_) => "max_pool",
            Prim::MaxPoolIndex(_) => "max_pool_index",
            Prim::MaxPoolGrad(..) => "max_pool_grad",
            Prim::MaxPoolTake(_) => "max_pool_take",
            Prim::SumPool(_) => "sum_pool",
            Prim::SumPoolGrad(..) => "sum_pool_grad",
            Prim::Random(..) => "random",
        }
    }

    /// The shape rule: what comes out for these operands, or what is wrong with them.
    pub fn infer(&self, inputs: &[(&Shape, DType)]) -> Result<(Shape, DType), String> {
        inputs.iter().try_for_each(|i| check_size(i.0))?;
        let (shape, dtype) = self.rule(inputs)?;
        check_size(&shape)?;
        Ok((shape, dtype))
    }

    /// [`Prim::infer`] but for the size of what comes out.
    fn rule(&self, inputs: &[(&Shape, DType)]) -> Result<(Shape, DType), String> {
        use Prim::*;
        let count = match self {
            Input(..) | Constant(_) | Fill(..) | Iota(..) => 0,
            Binary(_) | Compare(_) | Take | ScatterAdd(_) | MatMul { .. } | Conv(_) => 2,
            ConvGradInput(..) | ConvGradKernel(..) | MaxPoolGrad(..) | MaxPoolTake(_) => 2,
            Select => 3,
            Concat(_) => inputs.len().max(1),
            Unary(_) | Cast(_) | Reshape(_) | Broadcast(_) | Transpose(_) | Slice { .. } | Pad { .. } => 1,
            Reverse(_) | Reduce(..) | ArgMax(_) | MaxPool(_) | MaxPoolIndex(_) => 1,
            SumPool(_) | SumPoolGrad(..) | Random(..) => 1,
        };
        if inputs.len() != count {
            return Err(format!("takes {count} operands, found {}", inputs.len()));
        }
        let float = |i: usize| match inputs[i].1.is_float() {
            true => Ok(inputs[i].1),
            false => Err(format!("expected floats, found {}", inputs[i].1)),
        };
        let same = |i: usize, j: usize| {
            if inputs[i].1 != inputs[j].1 {
                return Err(format!(
                    "expected operands of one type, found {} and {}",
                    inputs[i].1, inputs[j].1
                ));
            }
            match inputs[i].0 == inputs[j].0 {
                true => Ok((inputs[i].0.clone(), inputs[i].1)),
                false => {
                    Err(format!("expected operands of one shape, found {} and {}", inputs[i].0, inputs[j].0))
                }
            }
        };
        let axis_of = |axis: usize| match axis < inputs[0].0.rank() {
            true => Ok(axis),
            false => Err(format!("expected an axis below {}, found {axis}", inputs[0].0.rank())),
        };
        let maps = |i: usize| match inputs[i].0[..] {
            [n, h, w, c] => Ok([n, h, w, c]),
            _ => Err(format!("expected maps [n, h, w, c], found {}", inputs[i].0)),
        };
        let ranks = |lengths: &[usize]| match lengths.iter().all(|&l| l == inputs[0].0.rank()) {
            true => Ok(()),
            false => Err(format!("expected one number for each of the {} axes", inputs[0].0.rank())),
        };
        let pooled = |w: &Window, [n, h, wd, c]: [usize; 4]| -> Result<Shape, String> {
            if w.size.contains(&0) || w.stride.contains(&0) {
                return Err("window and stride must be at least 1".into());
            }
            if (0..2).any(|i| w.padding[i].iter().any(|&p| p >= w.size[i])) {
                return Err(format!("padding {:?} must be smaller than the window {:?}", w.padding, w.size));
            }
            let out = |i: usize, size| positions(size, w.size[i], w.stride[i], 1, w.padding[i]);
            match (out(0, h), out(1, wd)) {
                (Some(oh), Some(ow)) => Ok([n, oh, ow, c].into()),
                _ => Err(format!("a window of {:?} does not fit in maps of {h}x{wd}", w.size)),
            }
        };
        let convolved = |s: &self::Conv, [n, h, w, c]: [usize; 4], k: [usize; 4]| -> Result<Shape, String> {
            if s.stride.contains(&0) || s.dilation.contains(&0) || s.groups == 0 || k.contains(&0) {
                return Err("kernel sizes, strides, dilations and groups must be at least 1".into());
            }
            if k[2].saturating_mul(s.groups) != c || !k[3].is_multiple_of(s.groups) {
                return Err(format!(
                    "a kernel {k:?} in {} groups takes {} channels, found {c}",
                    s.groups,
                    k[2].saturating_mul(s.groups)
                ));
            }
            let out = |i: usize, size| positions(size, k[i], s.stride[i], s.dilation[i], s.padding[i]);
            match (out(0, h), out(1, w)) {
                (Some(oh), Some(ow)) => Ok([n, oh, ow, k[3]].into()),
                _ => Err(format!("a kernel of {}x{} does not fit in maps of {h}x{w}", k[0], k[1])),
            }
        };
        Ok(match self {
            Input(_, shape, dtype) | Fill(_, shape, dtype) => (shape.clone(), *dtype),
            Constant(t) => (t.shape().clone(), t.dtype()),
            Iota(axis, shape, dtype) => {
                if *axis >= shape.rank() {
                    return Err(format!("expected an axis below {}, found {axis}", shape.rank()));
                }
                (shape.clone(), *dtype)
            }
            Unary(_) => (inputs[0].0.clone(), float(0)?),
            Binary(op) => {
                use self::Binary::{And, Or, Shl, Shr, Xor};
                if inputs[0].1.is_float() && matches!(op, And | Or | Xor | Shl | Shr) {
                    return Err(format!("expected whole numbers, found {}", inputs[0].1));
                }
                same(0, 1)?
            }
            Compare(_) => (same(0, 1)?.0, DType::U8),
            Select => {
                if inputs[0].1 != DType::U8 || inputs[0].0 != inputs[1].0 {
                    let (s, d) = inputs[0];
                    return Err(format!("expected a u8 condition of shape {}, found {d} {s}", inputs[1].0));
                }
                same(1, 2)?
            }
            Cast(dtype) => (inputs[0].0.clone(), *dtype),
            Reshape(shape) => {
                if shape.elements() != inputs[0].0.elements() {
                    return Err(format!("cannot give {} the shape {shape}", inputs[0].0));
                }
                (shape.clone(), inputs[0].1)
            }
            Broadcast(shape) => {
                if inputs[0].0.broadcast(shape).as_ref() != Some(shape) {
                    return Err(format!("cannot stretch {} to {shape}", inputs[0].0));
                }
                (shape.clone(), inputs[0].1)
            }
            Transpose(perm) => {
                let mut seen = perm.clone();
                seen.sort_unstable();
                if !seen.into_iter().eq(0..inputs[0].0.rank()) {
                    return Err(format!("{perm:?} is no order of the axes of {}", inputs[0].0));
                }
                (perm.iter().map(|&p| inputs[0].0[p]).collect::<Vec<_>>().into(), inputs[0].1)
            }
            Slice { start, end, step } => {
                ranks(&[start.len(), end.len(), step.len()])?;
                let mut dims = Vec::new();
                for (i, &size) in inputs[0].0.iter().enumerate() {
                    if start[i] > end[i] || end[i] > size || step[i] == 0 {
                        return Err(format!("{}..{} by {} of {size}", start[i], end[i], step[i]));
                    }
                    dims.push((end[i] - start[i]).div_ceil(step[i]));
                }
                (dims.into(), inputs[0].1)
            }
            Pad { low, high, inner, .. } => {
                ranks(&[low.len(), high.len(), inner.len()])?;
                let dims = inputs[0].0.iter().enumerate();
                let dims = dims.map(|(i, &d)| {
                    let spread = d.saturating_sub(1).saturating_mul(inner[i]).saturating_add(d);
                    spread.saturating_add(low[i]).saturating_add(high[i])
                });
                (dims.collect::<Vec<_>>().into(), inputs[0].1)
            }
            Concat(axis) => {
                let Some((first, dtype)) = inputs.first() else { return Err("needs an operand".into()) };
                axis_of(*axis)?;
                let mut dims = first.to_vec();
                for (s, d) in &inputs[1..] {
                    let fits =
                        s.rank() == dims.len() && (0..dims.len()).all(|i| i == *axis || s[i] == dims[i]);
                    if !fits || d != dtype {
                        return Err(format!("cannot join {dtype} {first} and {d} {s} along axis {axis}"));
                    }
                    dims[*axis] = dims[*axis].saturating_add(s[*axis]);
                }
                (dims.into(), *dtype)
            }
            Reverse(axes) => {
                for &a in axes {
                    axis_of(a)?;
                }
                (inputs[0].0.clone(), inputs[0].1)
            }
            Reduce(kind, axes) => {
                if axes.windows(2).any(|w| w[0] >= w[1]) {
                    return Err(format!("axes {axes:?} are not ascending"));
                }
                for &a in axes {
                    axis_of(a)?;
                    if inputs[0].0[a] == 0 && !matches!(kind, self::Reduce::Sum) {
                        return Err("an empty axis has no largest or smallest".into());
                    }
                }
                let keep = (0..inputs[0].0.rank()).filter(|i| !axes.contains(i));
                (keep.map(|i| inputs[0].0[i]).collect::<Vec<_>>().into(), inputs[0].1)
            }
            ArgMax(axis) => {
                let mut dims = inputs[0].0.to_vec();
                if dims[axis_of(*axis)?] == 0 {
                    return Err("an empty axis has no largest".into());
                }
                dims.remove(*axis);
                (dims.into(), DType::I32)
            }
            Take => {
                if inputs[0].0.rank() == 0 || inputs[1].1 != DType::I32 {
                    return Err("expected a table with rows, and i32 indices".into());
                }
                ([&inputs[1].0[..], &inputs[0].0[1..]].concat().into(), inputs[0].1)
            }
            ScatterAdd(rows) => {
                let (index, updates) = (inputs[0].0, inputs[1].0);
                if inputs[0].1 != DType::I32 || !updates.starts_with(index) {
                    return Err(format!(
                        "updates {updates} do not begin with the shape of the i32 indices {index}"
                    ));
                }
                ([&[*rows], &updates[index.rank()..]].concat().into(), inputs[1].1)
            }
            MatMul { ta, tb } => {
                let (a, b) = (inputs[0].0, inputs[1].0);
                let rank = a.rank();
                let split = |s: &Shape, t: bool| match t {
                    false => (s[rank - 2], s[rank - 1]),
                    true => (s[rank - 1], s[rank - 2]),
                };
                if rank < 2
                    || b.rank() != rank
                    || a[..rank - 2] != b[..rank - 2]
                    || inputs[0].1 != inputs[1].1
                {
                    return Err(format!("cannot multiply {} {a} by {} {b}", inputs[0].1, inputs[1].1));
                }
                let ((m, k), (l, n)) = (split(a, *ta), split(b, *tb));
                if k != l {
                    return Err(format!("cannot multiply {a} by {b}: inner sizes {k} and {l} differ"));
                }
                ([&a[..rank - 2], &[m, n]].concat().into(), float(0)?)
            }
            Conv(spec) => (convolved(spec, maps(0)?, maps(1)?)?, same_type(inputs)?),
            ConvGradInput(spec, [h, w]) => {
                let (dy, k) = (maps(0)?, maps(1)?);
                let x = [dy[0], *h, *w, k[2].saturating_mul(spec.groups)];
                if convolved(spec, x, k)?[..] != dy {
                    return Err(format!("gradient {dy:?} does not fit maps {x:?} and kernel {k:?}"));
                }
                (x.into(), same_type(inputs)?)
            }
            ConvGradKernel(spec, [kh, kw]) => {
                let (x, dy) = (maps(0)?, maps(1)?);
                let k = [*kh, *kw, x[3].checked_div(spec.groups).unwrap_or(0), dy[3]];
                if convolved(spec, x, k)?[..] != dy {
                    return Err(format!("gradient {dy:?} does not fit maps {x:?} and kernel {k:?}"));
                }
                (k.into(), same_type(inputs)?)
            }
            MaxPool(window) | SumPool(window) => (pooled(window, maps(0)?)?, float(0)?),
            MaxPoolIndex(window) => {
                if window.size[0].saturating_mul(window.size[1]) > 256 {
                    return Err(format!("a max-pooling window may have 256 cells, found {:?}", window.size));
                }
                (pooled(window, maps(0)?)?, DType::U8)
            }
            MaxPoolGrad(window, [h, w]) => {
                let dy = maps(0)?;
                let x = [dy[0], *h, *w, dy[3]];
                if inputs[1] != (&Shape::from(dy), DType::U8) || pooled(window, x)?[..] != dy {
                    return Err(format!("gradient {dy:?} does not fit maps {x:?} and index {}", inputs[1].0));
                }
                (x.into(), float(0)?)
            }
            MaxPoolTake(window) => {
                let out = pooled(window, maps(0)?)?;
                if inputs[1] != (&out, DType::U8) {
                    return Err(format!("expected an index u8 {out}, found {} {}", inputs[1].1, inputs[1].0));
                }
                (out, float(0)?)
            }
            SumPoolGrad(window, [h, w]) => {
                let dy = maps(0)?;
                let x = [dy[0], *h, *w, dy[3]];
                if pooled(window, x)?[..] != dy {
                    return Err(format!("gradient {dy:?} does not fit maps {x:?}"));
                }
                (x.into(), float(0)?)
            }
            Random(_, shape) => {
                if inputs[0] != (&Shape::from([2]), DType::I32) {
                    return Err(format!("expected a key i32 [2], found {} {}", inputs[0].1, inputs[0].0));
                }
                (shape.clone(), DType::F32)
            }
        })
    }
}

fn same_type(inputs: &[(&Shape, DType)]) -> Result<DType, String> {
    match inputs[0].1 == inputs[1].1 && inputs[0].1.is_float() {
        true => Ok(inputs[0].1),
        false => Err(format!("expected floats of one type, found {} and {}", inputs[0].1, inputs[1].1)),
    }
}

/// What a primitive is told besides its operands, as printed graphs show it.
impl fmt::Display for Prim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Prim::*;
        f.write_str(self.name())?;
        match self {
            Input(..) | Constant(_) | Unary(_) | Binary(_) | Compare(_) | Select | Take => Ok(()),
            Reshape(_) | Broadcast(_) | Cast(_) => Ok(()),
            Fill(v, ..) => write!(f, "[{}]", v.0),
            Iota(a, ..) | Concat(a) | ArgMax(a) => write!(f, "[axis {a}]"),
            Transpose(p) | Reverse(p) | Reduce(_, p) => write!(f, "{p:?}"),
            Slice { start, end, step } => write!(f, "[{start:?}..{end:?} by {step:?}]"),
            Pad { low, high, inner, value } => write!(f, "[{low:?} {high:?} {inner:?} with {}]", value.0),
            ScatterAdd(rows) => write!(f, "[rows {rows}]"),
            MatMul { ta, tb } => match (ta, tb) {
                (false, false) => Ok(()),
                _ => write!(f, "[{}, {}]", if *ta { "aT" } else { "a" }, if *tb { "bT" } else { "b" }),
            },
            Conv(c) | ConvGradInput(c, _) | ConvGradKernel(c, _) => {
                let ([sy, sx], [dy, dx]) = (c.stride, c.dilation);
                write!(
                    f,
                    "[stride {sy}x{sx}, dilation {dy}x{dx}, padding {:?}, groups {}]",
                    c.padding, c.groups
                )
            }
            MaxPool(w)
            | MaxPoolIndex(w)
            | MaxPoolGrad(w, _)
            | MaxPoolTake(w)
            | SumPool(w)
            | SumPoolGrad(w, _) => {
                let ([h, wd], [sy, sx]) = (w.size, w.stride);
                write!(f, "[window {h}x{wd}, stride {sy}x{sx}, padding {:?}]", w.padding)
            }
            Random(stream, _) => write!(f, "[stream {stream}]"),
        }
    }
}
