//! Compute on slices and strides: SIMD, convolutions, pooling, reductions, random numbers.
