//! What loaders have in common: epochs of batches, which are tensors by name.

use brisk_graph::Tensor;

use crate::Result;

/// Some samples, ready for a step: the tensors of inputs and targets by the names that the graph knows them by.
///
/// ```
/// use brisk_data::Batch;
/// use brisk_graph::Tensor;
/// let batch = Batch { tensors: vec![("x".into(), Tensor::new([2, 1], vec![0.5f32, 1.5])?)], indices: vec![4, 2] };
/// assert_eq!(batch.get("x").unwrap().shape().dims(), [2, 1]);
/// assert!(batch.get("y").is_none());
/// # Ok::<(), brisk_graph::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Inputs and targets.
    pub tensors: Vec<(String, Tensor)>,
    /// The samples' numbers in their part.
    pub indices: Vec<u32>,
}

impl Batch {
    /// The tensor of a name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|t| t.0 == name).map(|t| &t.1)
    }
}

/// Batches of one epoch.
pub type BatchIter<'a> = Box<dyn Iterator<Item = Result<Batch>> + 'a>;

/// A part of a data set, cut into batches anew for each epoch. What an epoch holds follows from the seed and its number alone.
pub trait Batches: Send + Sync {
    /// Number of samples.
    fn samples(&self) -> usize;

    /// Number of batches of an epoch (from 0). Epochs may differ, where batches are cut by their tokens.
    fn steps(&self, epoch: u64) -> usize;

    /// The batches of an epoch from one on: the same ones that the whole epoch would have there.
    fn epoch_from(&self, epoch: u64, step: usize) -> BatchIter<'_>;
}
