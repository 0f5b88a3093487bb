//! Deep learning in one fast Rust binary: the library.
