//! What the machine can do: a moment of arithmetic, a moment of memory.

use anyhow::Result;
use brisk_runtime::Cpu;
use brisk_train::{TaskProgress, Unit};
use serde::Serialize;

/// Measured speeds.
#[derive(Serialize)]
pub struct Speed {
    pub matmul_gflops_one_thread: f64,
    pub matmul_gflops: f64,
    pub memory_gb_per_second: f64,
}

impl Speed {
    /// Takes a second or two, with a bar.
    pub fn measure(threads: usize) -> Result<Speed> {
        let mut bar = TaskProgress::stderr("Measuring", 2, Unit::Items("speeds"));
        let mut measure = |threads| {
            let machine = Cpu::new(threads).measured()?.machine();
            bar.add(1);
            let round = |speed: Option<f64>| (speed.unwrap_or(0.0) * 10.0).round() / 10.0;
            anyhow::Ok([machine.gflops, machine.bandwidth_gbs].map(round))
        };
        let ([one, _], [all, memory]) = (measure(1)?, measure(threads)?);
        bar.finish();
        Ok(Speed { matmul_gflops_one_thread: one, matmul_gflops: all, memory_gb_per_second: memory })
    }
}
