//! Compiles graphs to plans and runs them on the CPU.
