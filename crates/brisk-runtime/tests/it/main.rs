//! Tests of the runtime through its public interface.

mod agree;
mod profile;
mod tokens;
