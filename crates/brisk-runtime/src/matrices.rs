//! Matrices of the state in packed form, kept from one run to the next for as long as nobody changes them: weights of a
//! model that answers, frozen weights of one that trains.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use brisk_graph::{Data, Tensor};
use brisk_kernels::matmul::{self, Precision};

use crate::Pool;

/// A matrix that a plan wants packed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kept {
    /// The number of the graph's input.
    pub input: usize,
    /// Rows.
    pub k: usize,
    /// Columns.
    pub n: usize,
    /// It is stored transposed.
    pub transposed: bool,
    /// What its numbers are rounded to.
    pub precision: Precision,
}

/// What is kept, for all programs of a device.
#[derive(Default)]
pub struct Matrices {
    /// By the address of the elements, and the form.
    known: HashMap<(usize, Kept), Form>,
}

/// A matrix in packed form.
pub type Packed = Arc<Vec<f32>>;

struct Form {
    /// What it was made of.
    source: Weak<Data>,
    packed: Packed,
}

impl Matrices {
    /// Lets go of matrices whose elements have changed or are gone.
    pub fn forget_changed(&mut self) {
        self.known.retain(|_, form| form.source.strong_count() > 0);
    }

    /// The packed form of a tensor: what is kept, or made now.
    pub fn get(&mut self, tensor: &Tensor, kept: &Kept, pool: &mut Pool) -> Packed {
        let source = tensor.identity();
        // Where it stands in a graph is no part of its form.
        let key = (source.as_ptr() as usize, Kept { input: 0, ..kept.clone() });
        if let Some(form) = self.known.get(&key)
            && form.source.ptr_eq(&source)
        {
            return form.packed.clone();
        }
        let &Kept { k, n, transposed, precision, .. } = kept;
        let mut packed = vec![0.0; matmul::packed_len(precision, k, n)];
        if let Data::F32(elements) = tensor.data() {
            let strides = if transposed { (1, k) } else { (n, 1) };
            let panel = matmul::panel_len(precision, k).max(1);
            let panels: Vec<_> = packed.chunks_mut(panel).map(Mutex::new).collect();
            pool.run(panels.len(), &|panel, _| {
                let mut own = panels[panel].lock().unwrap_or_else(|e| e.into_inner());
                matmul::pack(precision, k, n, elements, strides, panel, &mut own);
            });
        }
        let packed = Arc::new(packed);
        self.known.insert(key, Form { source, packed: packed.clone() });
        packed
    }
}
