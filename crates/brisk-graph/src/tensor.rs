//! Tensors on the host: what goes into a program and what comes out of it.

use std::sync::{Arc, Weak};

use crate::{DType, Error, Result, Shape};

/// The elements of a [`Tensor`], row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// See [`DType::F32`].
    F32(Vec<f32>),
    /// See [`DType::F64`].
    F64(Vec<f64>),
    /// See [`DType::I32`].
    I32(Vec<i32>),
    /// See [`DType::I64`].
    I64(Vec<i64>),
    /// See [`DType::U8`].
    U8(Vec<u8>),
}

impl Data {
    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            Data::F32(_) => DType::F32,
            Data::F64(_) => DType::F64,
            Data::I32(_) => DType::I32,
            Data::I64(_) => DType::I64,
            Data::U8(_) => DType::U8,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Data::F32(v) => v.len(),
            Data::F64(v) => v.len(),
            Data::I32(v) => v.len(),
            Data::I64(v) => v.len(),
            Data::U8(v) => v.len(),
        }
    }

    /// True if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `elements` zeros of a type.
    pub fn zeros(dtype: DType, elements: usize) -> Data {
        match dtype {
            DType::F32 => Data::F32(vec![0.0; elements]),
            DType::F64 => Data::F64(vec![0.0; elements]),
            DType::I32 => Data::I32(vec![0; elements]),
            DType::I64 => Data::I64(vec![0; elements]),
            DType::U8 => Data::U8(vec![0; elements]),
        }
    }
}

macro_rules! data_from {
    ($($t:ty => $variant:ident),*) => {$(
        impl From<Vec<$t>> for Data {
            fn from(v: Vec<$t>) -> Data {
                Data::$variant(v)
            }
        }
    )*};
}
data_from!(f32 => F32, f64 => F64, i32 => I32, i64 => I64, u8 => U8);

/// A host tensor: a shape and its elements, row-major. Cloning shares the elements.
///
/// ```
/// use brisk_graph::{DType, Tensor};
/// let t = Tensor::new([2, 3], vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0])?;
/// assert_eq!(t.dtype(), DType::F32);
/// assert_eq!(t.f32s()?[4], 5.0);
/// assert!(Tensor::new([2, 2], vec![1u8]).is_err());
/// # Ok::<(), brisk_graph::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Shape,
    data: Arc<Data>,
}

macro_rules! accessors {
    ($($get:ident, $get_mut:ident, $t:ty, $variant:ident, $dtype:literal;)*) => {$(
        #[doc = concat!("The elements of a ", $dtype, " tensor. An error for any other type.")]
        pub fn $get(&self) -> Result<&[$t]> {
            match &*self.data {
                Data::$variant(v) => Ok(v),
                other => Err(Error::DType { what: "tensor".into(), expected: DType::$variant, found: other.dtype() }),
            }
        }

        #[doc = concat!("The elements of a ", $dtype, " tensor, to change; copies them first if they are shared.")]
        pub fn $get_mut(&mut self) -> Result<&mut [$t]> {
            match Arc::make_mut(&mut self.data) {
                Data::$variant(v) => Ok(v),
                other => Err(Error::DType { what: "tensor".into(), expected: DType::$variant, found: other.dtype() }),
            }
        }
    )*};
}

impl Tensor {
    /// A tensor of a shape over row-major elements. An error if their number does not fit.
    pub fn new(shape: impl Into<Shape>, data: impl Into<Data>) -> Result<Tensor> {
        let (shape, data) = (shape.into(), data.into());
        if shape.elements() != data.len() {
            return Err(Error::Elements { shape, found: data.len() });
        }
        Ok(Tensor { shape, data: Arc::new(data) })
    }

    /// All zeros.
    pub fn zeros(dtype: DType, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        let data = Data::zeros(dtype, shape.elements());
        Tensor { shape, data: Arc::new(data) }
    }

    /// An f32 scalar.
    pub fn scalar(value: f32) -> Tensor {
        Tensor { shape: Shape::scalar(), data: Arc::new(Data::F32(vec![value])) }
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// The elements, whatever their type.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Which elements these are: it dies as soon as they change, or nobody holds them any more.
    ///
    /// ```
    /// let mut t = brisk_graph::Tensor::scalar(1.0);
    /// let (was, copy) = (t.identity(), t.clone());
    /// assert!(was.ptr_eq(&copy.identity()) && was.strong_count() > 0);
    /// drop(copy);
    /// t.f32s_mut()?[0] = 2.0;
    /// assert!(was.strong_count() == 0);
    /// # Ok::<(), brisk_graph::Error>(())
    /// ```
    pub fn identity(&self) -> Weak<Data> {
        Arc::downgrade(&self.data)
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.data.len()
    }

    /// The same elements in another shape.
    pub fn reshape(self, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        if shape.elements() != self.elements() {
            return Err(Error::Elements { shape, found: self.elements() });
        }
        Ok(Tensor { shape, data: self.data })
    }

    accessors! {
        f32s, f32s_mut, f32, F32, "f32";
        f64s, f64s_mut, f64, F64, "f64";
        i32s, i32s_mut, i32, I32, "i32";
        i64s, i64s_mut, i64, I64, "i64";
        u8s, u8s_mut, u8, U8, "u8";
    }

    /// The elements as f64, whatever their type; i64 beyond 2^53 are rounded.
    pub fn to_f64s(&self) -> Vec<f64> {
        match &*self.data {
            Data::F32(v) => v.iter().map(|&x| x.into()).collect(),
            Data::F64(v) => v.clone(),
            Data::I32(v) => v.iter().map(|&x| x.into()).collect(),
            Data::I64(v) => v.iter().map(|&x| x as f64).collect(),
            Data::U8(v) => v.iter().map(|&x| x.into()).collect(),
        }
    }

    /// Elements of a type from f64 values: rounded to nearest for f32, truncated for integers.
    pub fn from_f64s(dtype: DType, shape: impl Into<Shape>, values: &[f64]) -> Result<Tensor> {
        let data = match dtype {
            DType::F32 => Data::F32(values.iter().map(|&x| x as f32).collect()),
            DType::F64 => Data::F64(values.to_vec()),
            DType::I32 => Data::I32(values.iter().map(|&x| x as i32).collect()),
            DType::I64 => Data::I64(values.iter().map(|&x| x as i64).collect()),
            DType::U8 => Data::U8(values.iter().map(|&x| x as u8).collect()),
        };
        Tensor::new(shape, data)
    }

    /// The value of a tensor with one element, as f64.
    pub fn item(&self) -> Result<f64> {
        match self.to_f64s()[..] {
            [x] => Ok(x),
            _ => Err(Error::Elements { shape: Shape::scalar(), found: self.elements() }),
        }
    }
}
