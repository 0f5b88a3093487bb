//! What is known of a machine.

use std::time::{Duration, Instant};

use brisk_graph::{Builder, DType, Graph, Role, Tensor};

use crate::{Cpu, Device, Options, Result, State};

/// What is known of a machine. Plans follow from the sizes of the caches, and with them the order in which sums are added up; so
/// these are the same for all machines unless somebody sets them. Speeds only explain plans.
///
/// ```
/// use brisk_runtime::{Cpu, Machine};
/// let large = Machine { l2: 2 << 20, ..Machine::default() };
/// assert_eq!(Cpu::new(2).with_machine(large).machine().l2, 2 << 20);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    /// First-level data cache of a core, in bytes.
    pub l1: usize,
    /// Second-level cache of a core, in bytes: what a tile needs is to fit into half of it.
    pub l2: usize,
    /// GFLOP/s of matrix products, all threads of the device together, if that was measured.
    pub gflops: Option<f64>,
    /// GB/s of memory, read and written, all threads together, if that was measured.
    pub bandwidth_gbs: Option<f64>,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine { l1: 32 << 10, l2: 512 << 10, gflops: None, bandwidth_gbs: None }
    }
}

/// How long each speed is measured.
const TIME: Duration = Duration::from_millis(300);
/// Products of `[ROWS, SIDE]` with `[SIDE, SIDE]`, one after another.
const ROWS: usize = 2048;
const SIDE: usize = 384;
const PRODUCTS: usize = 8;
/// Elements of the two vectors that memory is measured with: more than caches hold.
const ELEMENTS: usize = 16 << 20;

impl Cpu {
    /// The same device with its speeds measured, which takes about a second and 128 MiB: large products in its precision, and
    /// `a = a / 2 + b` for vectors that no cache holds.
    ///
    /// ```no_run
    /// let machine = brisk_runtime::Cpu::new(2).measured()?.machine();
    /// println!("{:.0} GFLOP/s, {:.1} GB/s", machine.gflops.unwrap_or(0.0), machine.bandwidth_gbs.unwrap_or(0.0));
    /// # Ok::<(), brisk_runtime::Error>(())
    /// ```
    pub fn measured(self) -> Result<Cpu> {
        let b = Builder::new();
        let (x, w) = (
            b.input("x", Role::Batch, [ROWS, SIDE], DType::F32),
            b.input("w", Role::State, [SIDE, SIDE], DType::F32),
        );
        let y = (0..PRODUCTS).fold(x, |y, _| y.matmul(w));
        let products = b.finish(&[("y", y.sum(&[1]))], &[])?;
        let state =
            State::from_iter([("w", Tensor::new([SIDE, SIDE], vec![1.0 / SIDE as f32; SIDE * SIDE])?)]);
        let x = Tensor::new([ROWS, SIDE], vec![1.0f32; ROWS * SIDE])?;
        let flops = (2 * ROWS * SIDE * SIDE * PRODUCTS) as f64;
        let gflops = flops / self.fastest(&products, &[("x", &x)], state)? / 1e9;

        let b = Builder::new();
        let vector = |name| b.input(name, Role::State, [ELEMENTS], DType::F32);
        let (to, from) = (vector("a"), vector("b"));
        let walk = b.finish(&[], &[(to, to * 0.5 + from)])?;
        let ones = || Tensor::new([ELEMENTS], vec![1.0f32; ELEMENTS]);
        let state = State::from_iter([("a", ones()?), ("b", ones()?)]);
        let gbs = (3 * size_of::<f32>() * ELEMENTS) as f64 / self.fastest(&walk, &[], state)? / 1e9;
        let machine = Machine { gflops: Some(gflops), bandwidth_gbs: Some(gbs), ..self.machine() };
        Ok(self.with_machine(machine))
    }

    /// Seconds of the fastest run.
    fn fastest(&self, graph: &Graph, inputs: &[(&str, &Tensor)], mut state: State) -> Result<f64> {
        let mut program = self.compile(graph, &Options::default())?;
        program.run(inputs, &mut state)?;
        let (begun, mut fastest) = (Instant::now(), f64::INFINITY);
        while begun.elapsed() < TIME {
            let start = Instant::now();
            program.run(inputs, &mut state)?;
            fastest = fastest.min(start.elapsed().as_secs_f64());
        }
        Ok(fastest)
    }
}
