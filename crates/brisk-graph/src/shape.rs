//! Shapes: the sizes of a tensor's axes, outermost first, always row-major.

use std::fmt;
use std::ops::Deref;

/// The sizes of the axes of a tensor, outermost first. A scalar has no axes.
///
/// ```
/// use brisk_graph::Shape;
/// let s = Shape::from([32, 28, 28, 1]);
/// assert_eq!(s.elements(), 32 * 28 * 28);
/// assert_eq!(s.to_string(), "[32, 28, 28, 1]");
/// assert_eq!(s.strides(), [784, 28, 1, 1]);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// The shape of a scalar.
    pub const fn scalar() -> Shape {
        Shape(Vec::new())
    }

    /// The sizes of the axes.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Number of elements: the product of all sizes (1 for a scalar), saturating.
    pub fn elements(&self) -> usize {
        self.0.iter().fold(1usize, |n, &d| n.saturating_mul(d))
    }

    /// The size of the last axis, 1 for a scalar.
    pub fn last(&self) -> usize {
        self.0.last().copied().unwrap_or(1)
    }

    /// Distance in elements between neighbours along each axis.
    pub fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.rank()];
        for i in (1..self.rank()).rev() {
            strides[i - 1] = strides[i] * self.0[i];
        }
        strides
    }

    /// Distance in elements between neighbours along each axis of a shape that this one is stretched to; 0 along axes that repeat it.
    ///
    /// ```
    /// use brisk_graph::Shape;
    /// assert_eq!(Shape::from([4, 1]).strides_in(&[5, 4, 3]), [0, 1, 0]);
    /// ```
    pub fn strides_in(&self, to: &[usize]) -> Vec<isize> {
        let (own, added) = (self.strides(), to.len() - self.rank());
        let stride = |d: usize| match d < added || self.0[d - added] != to[d] {
            true => 0,
            false => own[d - added] as isize,
        };
        (0..to.len()).map(stride).collect()
    }

    /// The shape that two operands broadcast to, as in NumPy: sizes are aligned at the
    /// last axis, and a size of 1 stretches. `None` if they do not fit.
    ///
    /// ```
    /// use brisk_graph::Shape;
    /// let a = Shape::from([4, 1, 3]);
    /// assert_eq!(a.broadcast(&Shape::from([5, 3])), Some(Shape::from([4, 5, 3])));
    /// assert_eq!(a.broadcast(&Shape::from([2])), None);
    /// ```
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank().max(other.rank());
        let size = |s: &Shape, i: usize| if i + s.rank() < rank { 1 } else { s.0[i + s.rank() - rank] };
        (0..rank)
            .map(|i| match (size(self, i), size(other, i)) {
                (a, b) if a == b => Some(a),
                (1, b) => Some(b),
                (a, 1) => Some(a),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(Shape)
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl From<Vec<usize>> for Shape {
    fn from(dims: Vec<usize>) -> Shape {
        Shape(dims)
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Shape {
        Shape(dims.to_vec())
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Shape {
        Shape(dims.to_vec())
    }
}

impl From<&Shape> for Shape {
    fn from(shape: &Shape) -> Shape {
        shape.clone()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
