//! The cells: what happens to a sample in a step besides the product with the recurrent kernel.

use crate::simd::{sigmoid, tanh};
use pulp::Simd;

/// A cell over vectors of `u` units. A step: `start`, then the product of the hidden state with the recurrent kernel is
/// added to the first `GATES` vectors of the record, then `forward`.
pub(super) trait Cell {
    const GATES: usize;
    const RECORD: usize;
    const STATE: usize;
    const GRADIENT: usize;

    /// What the product is added to.
    fn start(u: usize, x: &[f32], bias: &[f32], record: &mut [f32]);
    /// The record of a step that is left out.
    fn carry(u: usize, state: &[f32], record: &mut [f32]);
    /// The state after the step of a record.
    fn state_of(u: usize, record: &[f32], state: &mut [f32]);
    /// Gates, record and next state.
    fn forward<S: Simd>(s: S, u: usize, x: &[f32], state: &mut [f32], record: &mut [f32]);
    /// From the gradient by the state after to that by the state before, but for the product's part.
    fn backward<S: Simd>(
        s: S,
        u: usize,
        record: &[f32],
        before: &[f32],
        state: &mut [f32],
        gradient: &mut [f32],
    );
}

pub(super) struct Lstm;
pub(super) struct Gru;
pub(super) struct Simple;

/// Vectors of `u` units side by side, read and written by SIMD vector.
struct Units(usize);

impl Units {
    /// Where each SIMD vector of the units starts.
    #[inline(always)]
    fn starts<S: Simd>(&self) -> impl Iterator<Item = usize> + use<S> {
        (0..self.0).step_by(S::F32_LANES)
    }

    /// From vector `k` of some. (A whole SIMD vector is read as such: partial reads cost more than the arithmetic.)
    #[inline(always)]
    fn load<S: Simd>(&self, s: S, x: &[f32], k: usize, at: usize) -> S::f32s {
        let own = &x[k * self.0 + at..k * self.0 + self.0.min(at + S::F32_LANES)];
        match S::as_simd_f32s(own).0 {
            [whole] => *whole,
            _ => s.partial_load_f32s(own),
        }
    }

    #[inline(always)]
    fn store<S: Simd>(&self, s: S, x: &mut [f32], k: usize, at: usize, v: S::f32s) {
        let own = &mut x[k * self.0 + at..k * self.0 + self.0.min(at + S::F32_LANES)];
        match own.len() == S::F32_LANES {
            true => S::as_mut_simd_f32s(own).0[0] = v,
            false => s.partial_store_f32s(own, v),
        }
    }
}

/// `y (1 - y)`: the slope of a sigmoid where its value is `y`.
#[inline(always)]
fn sigmoid_slope<S: Simd>(s: S, y: S::f32s) -> S::f32s {
    s.mul_f32s(y, s.sub_f32s(s.splat_f32s(1.0), y))
}

/// `1 - y²`: the slope of tanh where its value is `y`.
#[inline(always)]
fn tanh_slope<S: Simd>(s: S, y: S::f32s) -> S::f32s {
    s.negate_mul_add_e_f32s(y, y, s.splat_f32s(1.0))
}

impl Cell for Lstm {
    const GATES: usize = 4;
    const RECORD: usize = 6;
    const STATE: usize = 2;
    const GRADIENT: usize = 4;

    #[inline(always)]
    fn start(u: usize, x: &[f32], _: &[f32], record: &mut [f32]) {
        record[..4 * u].copy_from_slice(x);
    }

    #[inline(always)]
    fn carry(u: usize, state: &[f32], record: &mut [f32]) {
        record[..4 * u].fill(0.0);
        record[4 * u..5 * u].copy_from_slice(&state[u..]);
        record[5 * u..].copy_from_slice(&state[..u]);
    }

    #[inline(always)]
    fn state_of(u: usize, record: &[f32], state: &mut [f32]) {
        state[..u].copy_from_slice(&record[5 * u..]);
        state[u..].copy_from_slice(&record[4 * u..5 * u]);
    }

    #[inline(always)]
    fn forward<S: Simd>(s: S, u: usize, _: &[f32], state: &mut [f32], record: &mut [f32]) {
        let units = Units(u);
        for at in units.starts::<S>() {
            let [i, f, g, o] = [0, 1, 2, 3].map(
                #[inline(always)]
                |k| units.load(s, record, k, at),
            );
            let (i, f, g, o) = (sigmoid(s, i), sigmoid(s, f), tanh(s, g), sigmoid(s, o));
            let c = s.mul_add_e_f32s(f, units.load(s, state, 1, at), s.mul_f32s(i, g));
            let h = s.mul_f32s(o, tanh(s, c));
            for (k, v) in [i, f, g, o, c, h].into_iter().enumerate() {
                units.store(s, record, k, at, v);
            }
            units.store(s, state, 0, at, h);
            units.store(s, state, 1, at, c);
        }
    }

    #[inline(always)]
    fn backward<S: Simd>(
        s: S,
        u: usize,
        record: &[f32],
        before: &[f32],
        state: &mut [f32],
        gradient: &mut [f32],
    ) {
        let units = Units(u);
        for at in units.starts::<S>() {
            let [i, f, g, o, c] = [0, 1, 2, 3, 4].map(
                #[inline(always)]
                |k| units.load(s, record, k, at),
            );
            let (dh, dc) = (units.load(s, state, 0, at), units.load(s, state, 1, at));
            let out = tanh(s, c);
            let dc = s.mul_add_e_f32s(s.mul_f32s(dh, o), tanh_slope(s, out), dc);
            let di = s.mul_f32s(s.mul_f32s(dc, g), sigmoid_slope(s, i));
            let df = s.mul_f32s(s.mul_f32s(dc, units.load(s, before, 1, at)), sigmoid_slope(s, f));
            let dg = s.mul_f32s(s.mul_f32s(dc, i), tanh_slope(s, g));
            let d_o = s.mul_f32s(s.mul_f32s(dh, out), sigmoid_slope(s, o));
            for (k, v) in [di, df, dg, d_o].into_iter().enumerate() {
                units.store(s, gradient, k, at, v);
            }
            units.store(s, state, 0, at, s.splat_f32s(0.0));
            units.store(s, state, 1, at, s.mul_f32s(dc, f));
        }
    }
}

impl Cell for Gru {
    const GATES: usize = 3;
    const RECORD: usize = 5;
    const STATE: usize = 1;
    const GRADIENT: usize = 4;

    #[inline(always)]
    fn start(u: usize, _: &[f32], bias: &[f32], record: &mut [f32]) {
        record[..3 * u].copy_from_slice(bias);
    }

    #[inline(always)]
    fn carry(u: usize, state: &[f32], record: &mut [f32]) {
        record[..4 * u].fill(0.0);
        record[4 * u..].copy_from_slice(state);
    }

    #[inline(always)]
    fn state_of(u: usize, record: &[f32], state: &mut [f32]) {
        state.copy_from_slice(&record[4 * u..]);
    }

    #[inline(always)]
    fn forward<S: Simd>(s: S, u: usize, x: &[f32], state: &mut [f32], record: &mut [f32]) {
        let units = Units(u);
        for at in units.starts::<S>() {
            let product = |k| units.load(s, record, k, at);
            let input = |k| units.load(s, x, k, at);
            let z = sigmoid(s, s.add_f32s(input(0), product(0)));
            let r = sigmoid(s, s.add_f32s(input(1), product(1)));
            let inner = product(2);
            let candidate = tanh(s, s.mul_add_e_f32s(r, inner, input(2)));
            // z h + (1 - z) candidate
            let h = units.load(s, state, 0, at);
            let h = s.mul_add_e_f32s(z, s.sub_f32s(h, candidate), candidate);
            for (k, v) in [z, r, candidate, inner, h].into_iter().enumerate() {
                units.store(s, record, k, at, v);
            }
            units.store(s, state, 0, at, h);
        }
    }

    #[inline(always)]
    fn backward<S: Simd>(
        s: S,
        u: usize,
        record: &[f32],
        before: &[f32],
        state: &mut [f32],
        gradient: &mut [f32],
    ) {
        let units = Units(u);
        for at in units.starts::<S>() {
            let [z, r, candidate, inner] = [0, 1, 2, 3].map(
                #[inline(always)]
                |k| units.load(s, record, k, at),
            );
            let (dh, h) = (units.load(s, state, 0, at), units.load(s, before, 0, at));
            let open = s.sub_f32s(s.splat_f32s(1.0), z);
            let dx = s.mul_f32s(s.mul_f32s(dh, open), tanh_slope(s, candidate));
            let dz = s.mul_f32s(s.mul_f32s(dh, s.sub_f32s(h, candidate)), sigmoid_slope(s, z));
            let dr = s.mul_f32s(s.mul_f32s(dx, inner), sigmoid_slope(s, r));
            for (k, v) in [dx, dz, dr, s.mul_f32s(dx, r)].into_iter().enumerate() {
                units.store(s, gradient, k, at, v);
            }
            units.store(s, state, 0, at, s.mul_f32s(dh, z));
        }
    }
}

impl Cell for Simple {
    const GATES: usize = 1;
    const RECORD: usize = 1;
    const STATE: usize = 1;
    const GRADIENT: usize = 1;

    #[inline(always)]
    fn start(_: usize, x: &[f32], _: &[f32], record: &mut [f32]) {
        record.copy_from_slice(x);
    }

    #[inline(always)]
    fn carry(_: usize, state: &[f32], record: &mut [f32]) {
        record.copy_from_slice(state);
    }

    #[inline(always)]
    fn state_of(_: usize, record: &[f32], state: &mut [f32]) {
        state.copy_from_slice(record);
    }

    #[inline(always)]
    fn forward<S: Simd>(s: S, u: usize, _: &[f32], state: &mut [f32], record: &mut [f32]) {
        let units = Units(u);
        for at in units.starts::<S>() {
            let h = tanh(s, units.load(s, record, 0, at));
            units.store(s, record, 0, at, h);
            units.store(s, state, 0, at, h);
        }
    }

    #[inline(always)]
    fn backward<S: Simd>(s: S, u: usize, record: &[f32], _: &[f32], state: &mut [f32], gradient: &mut [f32]) {
        let units = Units(u);
        for at in units.starts::<S>() {
            let h = units.load(s, record, 0, at);
            let dx = s.mul_f32s(units.load(s, state, 0, at), tanh_slope(s, h));
            units.store(s, gradient, 0, at, dx);
            units.store(s, state, 0, at, s.splat_f32s(0.0));
        }
    }
}
