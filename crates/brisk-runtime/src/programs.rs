//! Programs that are kept for when they are needed again.

use std::ops::Deref;

use brisk_graph::Graph;

use crate::{Device, Error, Options, Program};

/// How many programs are kept: those that were used last.
const KEPT: usize = 64;

/// Compiles a graph the first time that its key is asked for, and keeps the program: a program for each set of shapes. The device is
/// borrowed or shared: `&Cpu`, `Arc<dyn Device>`.
///
/// ```
/// use brisk_graph::{Builder, DType, Role, Tensor};
/// use brisk_runtime::{Cpu, Error, Options, Programs, State};
/// let device = Cpu::new(1);
/// let mut programs = Programs::new(&device);
/// for n in [2, 3, 2] {
///     let graph = || {
///         let b = Builder::new();
///         let x = b.input("x", Role::Batch, [n], DType::F32);
///         Ok::<_, Error>(b.finish(&[("y", x * 2.0)], &[])?)
///     };
///     let program = programs.get(&n, &Options::default(), graph)?;
///     let y = program.run(&[("x", &Tensor::new([n], vec![1.0f32; n])?)], &mut State::new())?;
///     assert_eq!(y[0].f32s()?, vec![2.0; n]);
/// }
/// assert_eq!(programs.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Programs<D, K> {
    device: D,
    /// The one that was used last stands at the end.
    kept: Vec<(K, Box<dyn Program>)>,
}

impl<D: Deref<Target: Device>, K: Clone + PartialEq> Programs<D, K> {
    /// None yet.
    pub fn new(device: D) -> Programs<D, K> {
        Programs { device, kept: Vec::new() }
    }

    /// What they run on.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The program of a key; `graph` says what it computes, if it is not there yet.
    pub fn get<E: From<Error>>(
        &mut self,
        key: &K,
        options: &Options,
        graph: impl FnOnce() -> Result<Graph, E>,
    ) -> Result<&mut dyn Program, E> {
        let program = match self.kept.iter().position(|(k, _)| k == key) {
            Some(place) => self.kept.remove(place),
            None => {
                let program = self.device.compile(&graph()?, options)?;
                if self.kept.len() >= KEPT {
                    self.kept.remove(0);
                }
                (key.clone(), program)
            }
        };
        let place = self.kept.len();
        self.kept.push(program);
        Ok(self.kept[place].1.as_mut())
    }

    /// The keys of those that are kept.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.kept.iter().map(|k| &k.0)
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}
