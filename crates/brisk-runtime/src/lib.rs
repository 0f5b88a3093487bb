//! Compiles graphs to plans and runs them on the CPU.

mod device;

pub use device::{Device, Error, Facts, Options, Program, Result, State};
