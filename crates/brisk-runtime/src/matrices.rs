//! Matrices of the state in packed form, kept from one run to the next for as long as nobody changes them: weights of a
//! model that answers, frozen weights of one that trains.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use brisk_graph::{Data, Tensor};
use brisk_kernels::conv::{Conv2d, Winograd};
use brisk_kernels::matmul::{self, Precision};

use crate::Pool;

/// A piece of state that a plan wants packed.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The number of the graph's input.
    pub input: usize,
    /// How.
    pub form: Form,
}

/// How something is packed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// For products.
    Matrix {
        /// Rows.
        k: usize,
        /// Columns.
        n: usize,
        /// It is stored transposed.
        transposed: bool,
        /// What its numbers are rounded to.
        precision: Precision,
    },
    /// As a convolution's kernel.
    Kernel(Conv2d),
    /// The same, transformed.
    Winograd(Winograd),
}

impl Form {
    /// How many f32 it takes.
    pub fn len(&self) -> usize {
        match self {
            Form::Matrix { k, n, precision, .. } => matmul::packed_len(*precision, *k, *n),
            Form::Kernel(conv) => conv.pack_len(),
            Form::Winograd(conv) => conv.pack_len(),
        }
    }
}

/// What is kept, for all programs of a device.
#[derive(Default)]
pub struct Matrices {
    /// By the address of the elements, and the form.
    known: HashMap<(usize, Form), Entry>,
}

/// Something in packed form.
pub type Packed = Arc<Vec<f32>>;

struct Entry {
    /// What it was made of.
    source: Weak<Data>,
    packed: Packed,
}

impl Matrices {
    /// Lets go of matrices whose elements have changed or are gone.
    pub fn forget_changed(&mut self) {
        self.known.retain(|_, entry| entry.source.strong_count() > 0);
    }

    /// The packed form of a tensor: what is kept, or made now.
    pub fn get(&mut self, tensor: &Tensor, form: &Form, pool: &mut Pool) -> Packed {
        let source = tensor.identity();
        let key = (source.as_ptr() as usize, form.clone());
        if let Some(entry) = self.known.get(&key)
            && entry.source.ptr_eq(&source)
        {
            return entry.packed.clone();
        }
        let mut packed = vec![0.0; form.len()];
        match (tensor.data(), form) {
            (Data::F32(elements), &Form::Matrix { k, n, transposed, precision }) => {
                let strides = if transposed { (1, k) } else { (n, 1) };
                let panel = matmul::panel_len(precision, k).max(1);
                let panels: Vec<_> = packed.chunks_mut(panel).map(Mutex::new).collect();
                pool.run(panels.len(), &|panel, _| {
                    let mut own = panels[panel].lock().unwrap_or_else(|e| e.into_inner());
                    matmul::pack(precision, k, n, elements, strides, panel, &mut own);
                });
            }
            (Data::F32(elements), Form::Kernel(conv)) => conv.pack(elements, &mut packed),
            (Data::F32(elements), Form::Winograd(conv)) => conv.pack(elements, &mut packed),
            _ => {}
        }
        let packed = Arc::new(packed);
        self.known.insert(key, Entry { source, packed: packed.clone() });
        packed
    }
}
