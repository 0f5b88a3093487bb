//! The sizes that a graph is made for.

use brisk_graph::{DType, Shape, Tensor};

use crate::{Error, Model, Result, Rows};

/// What a graph of a [`crate::Task`] is made for: the tensors of a batch, or a number of samples where no length differs.
///
/// ```
/// use brisk_graph::{DType, Tensor};
/// use brisk_nn::Shapes;
/// let batch = [("x".to_string(), Tensor::zeros(DType::U8, [32, 28, 28, 1]))];
/// assert_eq!(Shapes::from(&batch[..]), Shapes::Tensors(vec![("x".into(), [32, 28, 28, 1].into(), DType::U8)]));
/// assert_eq!(Shapes::from(32), Shapes::Samples(32));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Shapes {
    /// So many samples.
    Samples(usize),
    /// Tensors of these names, shapes and element types.
    Tensors(Vec<(String, Shape, DType)>),
}

impl From<usize> for Shapes {
    fn from(samples: usize) -> Shapes {
        Shapes::Samples(samples)
    }
}

impl From<&[(String, Tensor)]> for Shapes {
    fn from(tensors: &[(String, Tensor)]) -> Shapes {
        tensors.iter().map(|(name, t)| (name.as_str(), t)).collect()
    }
}

impl<'a> FromIterator<(&'a str, &'a Tensor)> for Shapes {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a Tensor)>>(tensors: I) -> Shapes {
        let of = |(name, t): (&str, &Tensor)| (name.to_string(), t.shape().clone(), t.dtype());
        Shapes::Tensors(tensors.into_iter().map(of).collect())
    }
}

impl Shapes {
    /// The tensors of a model's inputs, in their order.
    pub(crate) fn inputs(&self, model: &Model) -> Result<Vec<(Shape, DType)>> {
        let found: Vec<_> = model.inputs().iter().map(|input| self.input(input)).collect::<Result<_>>()?;
        let samples = || model.inputs().iter().zip(&found).filter(|(i, _)| i.rows == Rows::Samples);
        let size = |shape: &Shape| shape.first().copied().unwrap_or(0);
        if let Some((first, (shape, _))) = samples().next()
            && let Some((other, (found, _))) = samples().find(|(_, (s, _))| size(s) != size(shape))
        {
            let message = format!(
                "expected as many rows as {:?} has, {}, found {}",
                first.tensor(),
                size(shape),
                size(found)
            );
            return Err(Error::config(format!("batch {:?}", other.tensor()), message));
        }
        Ok(found)
    }

    fn input(&self, input: &crate::ModelInput) -> Result<(Shape, DType)> {
        let fail = |message: String| Err(Error::config(format!("batch {:?}", input.tensor()), message));
        let tensors = match self {
            &Shapes::Samples(n) => {
                if n == 0 || n > 1 << 32 {
                    return Err(Error::config("batch_size", format!("expected 1 to 2^32, found {n}")));
                }
                let sizes: Option<Vec<usize>> = input.shape.iter().copied().collect();
                return match sizes {
                    Some(sizes) if input.rows == Rows::Samples => {
                        Ok(([&[n], &sizes[..]].concat().into(), input.dtype))
                    }
                    _ => fail("its sizes differ from batch to batch; give the batch's tensors".into()),
                };
            }
            Shapes::Tensors(tensors) => tensors,
        };
        match tensors.iter().find(|t| t.0 == input.tensor()) {
            None => {
                let names: Vec<_> = tensors.iter().map(|t| t.0.as_str()).collect();
                fail(format!("the model needs it, but the batch has only {}", names.join(", ")))
            }
            Some((_, shape, dtype)) => match shape.split_first() {
                Some((1.., row)) if input.fits(row) && *dtype == input.dtype => Ok((shape.clone(), *dtype)),
                _ => fail(format!(
                    "expected {} rows of {}, found {dtype} {shape}",
                    input.dtype,
                    input.describe()
                )),
            },
        }
    }

    /// The tensor of a target, if these are tensors and it is among them.
    pub(crate) fn target(&self, name: &str) -> Option<(Shape, DType)> {
        match self {
            Shapes::Samples(_) => None,
            Shapes::Tensors(tensors) => {
                tensors.iter().find(|t| t.0 == name).map(|(_, shape, dtype)| (shape.clone(), *dtype))
            }
        }
    }
}
