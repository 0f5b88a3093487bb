//! Compiles graphs to plans and runs them on the CPU.
//!
//! A graph goes through these passes: named operations without a kernel are decomposed; each value is *placed*
//! (`place`: by sample, a sum over samples, or whole); nodes are *lowered* to steps (`lower`: fused kernels and
//! groups of elementwise operations); steps are *planned* (`plan`: regions, tiles, memory). Running a plan
//! (`cpu`) is a loop over stages.

mod cpu;
mod device;
mod elementwise;
mod host;
mod lower;
mod machine;
mod matrices;
mod numbers;
mod place;
mod plan;
mod pool;
mod profile;
mod programs;
mod prologue;
mod step;

pub use brisk_kernels::matmul::Precision;
pub use cpu::Cpu;
pub use device::{Device, Error, Facts, Options, Program, Result, State};
pub use machine::Machine;
pub use pool::Pool;
pub use profile::{Event, Timing, chrome_trace};
pub use programs::Programs;
