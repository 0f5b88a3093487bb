//! Shapes for property tests: small, with tails beyond a vector's width and with axes of size 1.

use brisk_graph::Shape;
use brisk_graph::prim::Window;
use proptest::prelude::*;

/// The size of an axis: mostly 1 to 5, sometimes about a vector's width or its multiples.
pub fn dim() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1..=5usize, 2 => Just(1), 1 => prop::sample::select(vec![7, 8, 9, 15, 16, 17, 31, 33])]
}

/// A shape of up to so many axes and at most 4096 elements.
pub fn shape(axes: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Shape> {
    let dims = prop::collection::vec(dim(), axes);
    dims.prop_map(Shape::from).prop_filter("small enough", |s| s.elements() <= 4096)
}

/// Maps `[n, h, w, c]`, at most 4096 elements.
pub fn maps() -> impl Strategy<Value = Shape> {
    shape(4..=4)
}

/// Maps and a window that fits on them.
pub fn pooling() -> impl Strategy<Value = (Shape, Window)> {
    let axis = |size: usize| {
        (1..=size.min(4))
            .prop_flat_map(|window| (Just(window), 1..=3usize, 0..window.min(2), 0..window.min(2)))
    };
    maps().prop_flat_map(move |shape| {
        let (h, w) = (axis(shape[1]), axis(shape[2]));
        (Just(shape), h, w).prop_map(|(shape, h, w)| {
            let (size, stride) = ([h.0, w.0], [h.1, w.1]);
            (shape, Window { size, stride, padding: [[h.2, h.3], [w.2, w.3]] })
        })
    })
}
