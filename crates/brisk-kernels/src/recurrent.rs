//! Recurrent cells over whole sequences, forward and backward.
//!
//! The product of the inputs with their weights is made before, for all steps at once; what is left of a step is a small
//! product of the state with the recurrent kernel, which is packed once a call, and the gates, in one pass. A step of a
//! sample whose mask is 0 carries the state and costs no arithmetic.
//!
//! Each element is added up in the same order however many samples a call sees, so that calls may be cut between
//! samples anywhere and give the same bits.

use crate::simd;
use pulp::{Simd, WithSimd};

mod cell;
mod product;

use cell::{Cell, Gru, Lstm, Simple};
use product::{Packed, packed_len};

/// A recurrent cell. `x` is a step's product of the input with its weights, bias included; `R` is the recurrent kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Long short-term memory (Hochreiter and Schmidhuber, 1997; forget gate by Gers and others, 2000), gates i, f, g, o:
    /// `c' = sigmoid(f) c + sigmoid(i) tanh(g)`, `h' = sigmoid(o) tanh(c')`, all of them from `x + h R`. The state is (h, c).
    Lstm,
    /// Gated recurrent unit (Cho and others, 2014) with the reset after the product, gates z, r, h; `s = h R + bias`:
    /// `z = sigmoid(x_z + s_z)`, `r = sigmoid(x_r + s_r)`, `h' = z h + (1 - z) tanh(x_h + r s_h)`. The state is h.
    Gru,
    /// `h' = tanh(x + h R)`. The state is h.
    Simple,
}

impl Kind {
    /// Gates: `x` and the recurrent kernel have so many times `units` columns.
    pub const fn gates(self) -> usize {
        match self {
            Kind::Lstm => Lstm::GATES,
            Kind::Gru => Gru::GATES,
            Kind::Simple => Simple::GATES,
        }
    }

    /// Vectors of `units` that the forward pass leaves behind for each step; the last one is the hidden state.
    ///
    /// LSTM: the four gates' values, cell, hidden. GRU: z, r, candidate, `s_h`, hidden. Simple: hidden.
    pub const fn record(self) -> usize {
        match self {
            Kind::Lstm => Lstm::RECORD,
            Kind::Gru => Gru::RECORD,
            Kind::Simple => Simple::RECORD,
        }
    }

    /// Vectors of `units` in the state.
    pub const fn state(self) -> usize {
        match self {
            Kind::Lstm => Lstm::STATE,
            Kind::Gru => Gru::STATE,
            Kind::Simple => Simple::STATE,
        }
    }

    /// Vectors of `units` that the backward pass yields for each step. LSTM and simple: the gradient by `x`. GRU: the
    /// gradient by `x_h`, then those by `s` (z, r, h), the first two of which are also those by `x`.
    pub const fn gradient(self) -> usize {
        match self {
            Kind::Lstm => Lstm::GRADIENT,
            Kind::Gru => Gru::GRADIENT,
            Kind::Simple => Simple::GRADIENT,
        }
    }
}

/// Sequences for a cell to run over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequences {
    /// The cell.
    pub kind: Kind,
    /// Number of samples.
    pub samples: usize,
    /// Steps of each.
    pub steps: usize,
    /// Size of the state.
    pub units: usize,
    /// From the last step to the first. Every step's results stand at its own place all the same.
    pub reverse: bool,
}

/// The gradient that comes in: by the hidden state of every step, or by what is left after the last one.
#[derive(Clone, Copy, Debug)]
pub enum Incoming<'a> {
    /// `[samples, steps, units]`
    Steps(&'a [f32]),
    /// By the last hidden state `[samples, units]`.
    Hidden(&'a [f32]),
    /// By the last state `[samples, state * units]`.
    State(&'a [f32]),
}

impl Sequences {
    /// f32 of scratch memory that [`Sequences::forward`] takes.
    pub fn forward_scratch(&self) -> usize {
        let (u, kind) = (self.units, self.kind);
        self.samples * kind.state() * u + packed_len(u, kind.gates() * u)
    }

    /// f32 of scratch memory that [`Sequences::backward`] takes.
    pub fn backward_scratch(&self) -> usize {
        let (u, kind) = (self.units, self.kind);
        2 * self.samples * kind.state() * u + packed_len(kind.gates() * u, u)
    }

    /// Runs the cell.
    ///
    /// `x` is `[samples, steps, gates * units]`, `recurrent` is `[units, gates * units]`, `bias` (only of a GRU, else empty)
    /// `[gates * units]`, `initial` `[samples, state * units]`, `mask` `[samples, steps]`, 0 for padding. `record` is
    /// `[samples, steps, record * units]`; of a step that is masked it holds the state before it, and zeros. Panics if a
    /// length is another.
    ///
    /// ```
    /// use brisk_kernels::recurrent::{Kind, Sequences};
    /// let run = Sequences { kind: Kind::Simple, samples: 1, steps: 2, units: 1, reverse: false };
    /// let (mut h, mut scratch) = ([0.0; 2], vec![0.0; run.forward_scratch()]);
    /// run.forward(&[0.5, 0.0], &[2.0], &[], &[0.0], &[1, 1], &mut h, &mut scratch);
    /// assert!((h[1] - (2.0 * 0.5f32.tanh()).tanh()).abs() < 1e-6);
    /// ```
    pub fn forward(
        &self,
        x: &[f32],
        recurrent: &[f32],
        bias: &[f32],
        initial: &[f32],
        mask: &[u8],
        record: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (rows, u, kind) = (self.samples * self.steps, self.units, self.kind);
        assert_eq!(x.len(), rows * kind.gates() * u, "recurrent: x");
        assert_eq!(recurrent.len(), u * kind.gates() * u, "recurrent: recurrent kernel");
        assert_eq!(bias.len(), if kind == Kind::Gru { kind.gates() * u } else { 0 }, "recurrent: bias");
        assert_eq!(initial.len(), self.samples * kind.state() * u, "recurrent: initial state");
        assert_eq!(mask.len(), rows, "recurrent: mask");
        assert_eq!(record.len(), rows * kind.record() * u, "recurrent: record");
        let run = *self;
        let call = Forward { run, x, recurrent, bias, initial, mask, record, scratch };
        simd::dispatch(call);
    }

    /// The gradients of [`Sequences::forward`]: `gradient` `[samples, steps, gradient * units]`, zeros where masked, and
    /// `initial_gradient` `[samples, state * units]`, or empty if it is not wanted. Panics if a length is another.
    ///
    /// ```
    /// use brisk_kernels::recurrent::{Incoming, Kind, Sequences};
    /// let run = Sequences { kind: Kind::Simple, samples: 1, steps: 1, units: 1, reverse: false };
    /// let (mut dx, mut dh, mut scratch) = ([0.0], [0.0], vec![0.0; run.backward_scratch()]);
    /// run.backward(&[0.5], &[2.0], &[0.0], &[1], Incoming::Hidden(&[1.0]), &mut dx, &mut dh, &mut scratch);
    /// assert_eq!((dx[0], dh[0]), (0.75, 1.5));
    /// ```
    pub fn backward(
        &self,
        record: &[f32],
        recurrent: &[f32],
        initial: &[f32],
        mask: &[u8],
        incoming: Incoming<'_>,
        gradient: &mut [f32],
        initial_gradient: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (rows, u, kind) = (self.samples * self.steps, self.units, self.kind);
        assert_eq!(record.len(), rows * kind.record() * u, "recurrent: record");
        assert_eq!(recurrent.len(), u * kind.gates() * u, "recurrent: recurrent kernel");
        assert_eq!(initial.len(), self.samples * kind.state() * u, "recurrent: initial state");
        assert_eq!(mask.len(), rows, "recurrent: mask");
        let (given, expected) = match incoming {
            Incoming::Steps(dy) => (dy.len(), rows * u),
            Incoming::Hidden(dy) => (dy.len(), self.samples * u),
            Incoming::State(dy) => (dy.len(), self.samples * kind.state() * u),
        };
        assert_eq!(given, expected, "recurrent: incoming gradient");
        assert_eq!(gradient.len(), rows * kind.gradient() * u, "recurrent: gradient");
        let wanted = initial_gradient.is_empty() || initial_gradient.len() == initial.len();
        assert!(wanted, "recurrent: gradient by the initial state");
        let run = *self;
        let call =
            Backward { run, record, recurrent, initial, mask, incoming, gradient, initial_gradient, scratch };
        simd::dispatch(call);
    }

    /// The steps in the order of the forward pass.
    fn order(&self) -> impl DoubleEndedIterator<Item = usize> + use<> {
        let (steps, reverse) = (self.steps, self.reverse);
        (0..steps).map(move |i| if reverse { steps - 1 - i } else { i })
    }

    /// The step before `step`, if it is not the first.
    fn before(&self, step: usize) -> Option<usize> {
        match self.reverse {
            false => step.checked_sub(1),
            true => Some(step + 1).filter(|&s| s < self.steps),
        }
    }
}

/// Samples that are handled together in a product: their rows share each load of the kernel.
///
/// ```
/// assert_eq!(brisk_kernels::recurrent::BLOCK, 8);
/// ```
pub const BLOCK: usize = product::ROWS;

struct Forward<'a> {
    run: Sequences,
    x: &'a [f32],
    recurrent: &'a [f32],
    bias: &'a [f32],
    initial: &'a [f32],
    mask: &'a [u8],
    record: &'a mut [f32],
    scratch: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        match self.run.kind {
            Kind::Lstm => self.cell::<S, Lstm>(s),
            Kind::Gru => self.cell::<S, Gru>(s),
            Kind::Simple => self.cell::<S, Simple>(s),
        }
    }
}

impl Forward<'_> {
    #[inline(always)]
    fn cell<S: Simd, C: Cell>(self, s: S) {
        let Sequences { samples, steps, units: u, .. } = self.run;
        let (state, packed) = self.scratch.split_at_mut(samples * C::STATE * u);
        state.copy_from_slice(self.initial);
        let packed = Packed::new::<S>(packed, u, C::GATES * u, self.recurrent, (C::GATES * u, 1));
        let row = |sample: usize, step: usize| (sample * steps + step) * C::RECORD * u;
        for step in self.run.order() {
            let mut sample = 0;
            while sample < samples {
                // The next few samples that are alive in this step.
                let (mut live, mut count) = ([0; BLOCK], 0);
                while sample < samples && count < BLOCK {
                    let record = &mut self.record[row(sample, step)..][..C::RECORD * u];
                    let at = sample * steps + step;
                    if self.mask[at] == 0 {
                        C::carry(u, &state[sample * C::STATE * u..][..C::STATE * u], record);
                    } else {
                        C::start(u, &self.x[at * C::GATES * u..][..C::GATES * u], self.bias, record);
                        live[count] = sample;
                        count += 1;
                    }
                    sample += 1;
                }
                let live = &live[..count];
                packed.add_product(
                    s,
                    live,
                    state,
                    |sample| sample * C::STATE * u,
                    self.record,
                    |sample| row(sample, step),
                );
                for &sample in live {
                    let x = &self.x[(sample * steps + step) * C::GATES * u..][..C::GATES * u];
                    let state = &mut state[sample * C::STATE * u..][..C::STATE * u];
                    C::forward(s, u, x, state, &mut self.record[row(sample, step)..][..C::RECORD * u]);
                }
            }
        }
    }
}

struct Backward<'a> {
    run: Sequences,
    record: &'a [f32],
    recurrent: &'a [f32],
    initial: &'a [f32],
    mask: &'a [u8],
    incoming: Incoming<'a>,
    gradient: &'a mut [f32],
    initial_gradient: &'a mut [f32],
    scratch: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        match self.run.kind {
            Kind::Lstm => self.cell::<S, Lstm>(s),
            Kind::Gru => self.cell::<S, Gru>(s),
            Kind::Simple => self.cell::<S, Simple>(s),
        }
    }
}

impl Backward<'_> {
    #[inline(always)]
    fn cell<S: Simd, C: Cell>(self, s: S) {
        let Sequences { samples, steps, units: u, .. } = self.run;
        let size = C::STATE * u;
        // The gradient by the state: for each sample first the part by the hidden state, then the rest.
        let (state, packed) = self.scratch.split_at_mut(samples * size);
        let (before, packed) = packed.split_at_mut(samples * size);
        match self.incoming {
            Incoming::State(dy) => state.copy_from_slice(dy),
            Incoming::Hidden(dy) => {
                state.fill(0.0);
                for (state, dy) in state.chunks_exact_mut(size).zip(dy.chunks_exact(u)) {
                    state[..u].copy_from_slice(dy);
                }
            }
            Incoming::Steps(_) => state.fill(0.0),
        }
        // `[gates * units, units]`: the recurrent kernel transposed.
        let packed = Packed::new::<S>(packed, C::GATES * u, u, self.recurrent, (1, C::GATES * u));
        let row = |sample: usize, step: usize| (sample * steps + step) * C::GRADIENT * u;
        for step in self.run.order().rev() {
            let mut sample = 0;
            while sample < samples {
                let (mut live, mut count) = ([0; BLOCK], 0);
                while sample < samples && count < BLOCK {
                    let at = sample * steps + step;
                    if let Incoming::Steps(dy) = self.incoming {
                        let dy = &dy[at * u..][..u];
                        state[sample * size..][..u].iter_mut().zip(dy).for_each(|(d, y)| *d += y);
                    }
                    if self.mask[at] == 0 {
                        self.gradient[row(sample, step)..][..C::GRADIENT * u].fill(0.0);
                    } else {
                        live[count] = sample;
                        count += 1;
                    }
                    sample += 1;
                }
                let live = &live[..count];
                for &sample in live {
                    let record = &self.record[(sample * steps + step) * C::RECORD * u..][..C::RECORD * u];
                    let before = &mut before[sample * size..][..size];
                    match self.run.before(step) {
                        Some(step) => {
                            let record =
                                &self.record[(sample * steps + step) * C::RECORD * u..][..C::RECORD * u];
                            C::state_of(u, record, before);
                        }
                        None => before.copy_from_slice(&self.initial[sample * size..][..size]),
                    }
                    let state = &mut state[sample * size..][..size];
                    let gradient = &mut self.gradient[row(sample, step)..][..C::GRADIENT * u];
                    C::backward(s, u, record, before, state, gradient);
                }
                // What reaches the hidden state before through the product. The last `gates` of a gradient go there.
                let skip = (C::GRADIENT - C::GATES) * u;
                packed.add_product(
                    s,
                    live,
                    self.gradient,
                    |sample| row(sample, step) + skip,
                    state,
                    |sample| sample * size,
                );
            }
        }
        if !self.initial_gradient.is_empty() {
            self.initial_gradient.copy_from_slice(state);
        }
    }
}

#[cfg(test)]
mod tests;
