//! Values while a model is recorded.

use std::rc::Rc;
use std::sync::Arc;

use brisk_graph::{DType, Shape, Tensor, Value};

use crate::elem::Format;
use crate::{Constant, Elem};

/// What a name in a model stands for.
#[derive(Clone, Debug)]
pub enum Item<'g> {
    /// A tensor of numbers.
    Tensor(Var<'g>),
    /// A tensor of texts; they are always known.
    Texts(Shape, Arc<Vec<String>>),
    /// A list of tensors or texts.
    Sequence(Rc<Vec<Item<'g>>>),
    /// A value that is left out.
    Nothing,
}

impl<'g> From<Var<'g>> for Item<'g> {
    fn from(var: Var<'g>) -> Item<'g> {
        Item::Tensor(var)
    }
}

/// A tensor of numbers in a graph: its element type in ONNX, and the value that carries it.
///
/// The value may have any type that holds the elements exactly: the bytes of a quantized model are often floats. It may also have its
/// axes in another order, so that pictures, which are `[n, channels, height, width]` here and `[n, height, width, channels]` there, are
/// not turned round between any two layers.
#[derive(Clone, Debug)]
pub struct Var<'g> {
    /// The element type.
    pub elem: Elem,
    value: Value<'g>,
    /// Axis `i` is axis `axes[i]` of the value; `None` if they are in order.
    axes: Option<Vec<usize>>,
}

impl<'g> Var<'g> {
    /// Of a value with its axes in order.
    pub fn new(elem: Elem, value: Value<'g>) -> Var<'g> {
        Var { elem, value, axes: None }
    }

    /// Of a value whose axis `axes[i]` is axis `i`. Axes that are not those of the value are a mistake, which its builder remembers.
    pub fn turned(elem: Elem, value: Value<'g>, axes: Vec<usize>) -> Var<'g> {
        let ordered = axes.iter().copied().eq(0..axes.len());
        if axes.len() != value.rank() || !ordered && !is_order(&axes) {
            let message = format!("{axes:?} is no order of the axes of {}", value.shape());
            value.builder().fail("transpose", message);
            return Var::new(elem, value);
        }
        Var { elem, value, axes: (!ordered).then_some(axes) }
    }

    /// The same with other axes: axis `i` becomes axis `perm[i]` of before. Nothing is moved.
    pub fn transposed(&self, perm: &[usize]) -> Var<'g> {
        // An axis that is not there is none of the value's either.
        let own = |&p: &usize| self.axes.as_ref().map_or(p, |axes| axes.get(p).copied().unwrap_or(p));
        Var::turned(self.elem, self.value, perm.iter().map(own).collect())
    }

    /// The value with its axes in order, as it is carried.
    pub fn value(&self) -> Value<'g> {
        match &self.axes {
            Some(axes) => self.value.transpose(axes),
            None => self.value,
        }
    }

    /// The value as it lies, and the order of its axes.
    pub fn raw(&self) -> (Value<'g>, Option<&[usize]>) {
        (self.value, self.axes.as_deref())
    }

    /// The value with its axes in the order of another's.
    pub fn value_in(&self, axes: Option<&[usize]>) -> Value<'g> {
        if axes == self.axes.as_deref() {
            return self.value;
        }
        match axes {
            None => self.value(),
            Some(axes) => {
                // Axis `axes[i]` of the result is axis `i`.
                let mut back = vec![0; axes.len()];
                axes.iter().enumerate().for_each(|(i, &a)| back[a] = i);
                self.value().transpose(&back)
            }
        }
    }

    /// The shape.
    pub fn shape(&self) -> Shape {
        let shape = self.value.shape();
        match &self.axes {
            Some(axes) => axes.iter().map(|&a| shape[a]).collect::<Vec<_>>().into(),
            None => shape,
        }
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.value.rank()
    }

    /// What a function of single elements makes of it.
    pub fn map(&self, f: impl FnOnce(Value<'g>) -> Value<'g>) -> Var<'g> {
        Var { elem: self.elem, value: f(self.value), axes: self.axes.clone() }
    }

    /// The same elements as another type.
    pub fn of(self, elem: Elem) -> Var<'g> {
        Var { elem, ..self }
    }

    /// Carried as a type that can hold it: floats.
    pub fn carried(&self, dtype: DType) -> Var<'g> {
        self.map(|v| v.cast(dtype))
    }

    /// The type that its arithmetic is done in: f64 for doubles, f32 for other floats, i64 for whole numbers.
    pub fn arithmetic(&self) -> DType {
        match self.elem {
            Elem::Double => DType::F64,
            e if e.is_float() => DType::F32,
            _ => DType::I64,
        }
    }

    /// The value in f32 (f64 for doubles), whatever it is.
    pub fn floats(&self) -> Value<'g> {
        let dtype = if self.elem == Elem::Double { DType::F64 } else { DType::F32 };
        self.value().cast(dtype)
    }

    /// The value as indices; what is none, or too large for one, is one that no table has.
    pub fn indices(&self) -> Value<'g> {
        let value = self.value();
        match value.dtype() {
            DType::I64 => value.max(-1.0).min(f64::from(i32::MAX)).cast(DType::I32),
            _ => value.cast(DType::I32),
        }
    }

    /// The value in the type that carries its elements outside, rounded to what they can be.
    pub fn settled(&self) -> Value<'g> {
        let value = self.value();
        match self.elem.format() {
            Some(format) => round(value.cast(DType::F32), format),
            None => value.cast(self.elem.dtype()),
        }
    }

    /// The elements, if they are known while the graph is made.
    pub fn constant(&self) -> Option<Tensor> {
        self.value().constant()
    }
}

/// Whether each axis stands once among so many.
fn is_order(axes: &[usize]) -> bool {
    let mut sorted = axes.to_vec();
    sorted.sort_unstable();
    sorted.into_iter().eq(0..axes.len())
}

/// To the nearest number of a format; what is too large becomes infinite, or NaN where there are no infinities.
pub fn round<'g>(value: Value<'g>, format: Format) -> Value<'g> {
    let rounded = value.round_bits(format.digits, format.lowest);
    let b = value.builder();
    let number = |v: f64| b.fill_as(v, value.shape(), value.dtype());
    let over = number(if format.infinite { f64::INFINITY } else { f64::NAN });
    let rounded = rounded.greater(format.largest).select(over, rounded);
    let under = number(if format.infinite { f64::NEG_INFINITY } else { f64::NAN });
    rounded.less(-format.largest).select(under, rounded)
}

impl Constant {
    /// As a value of a graph.
    pub fn item<'g>(&self, b: &'g brisk_graph::Builder) -> Item<'g> {
        match self {
            Constant::Numbers(elem, tensor) => Var::new(*elem, b.constant(tensor.clone())).into(),
            Constant::Texts(shape, texts) => Item::Texts(shape.clone(), texts.clone()),
        }
    }
}
