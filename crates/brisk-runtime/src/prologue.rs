//! What a program computes once, from state that nobody changes, and keeps.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, Weak};

use brisk_graph::{Data, Graph, Op, Prim, Tensor};
use brisk_kernels::matmul::Precision;

use crate::device::{Error, Program, Result, State};

/// Makes what is kept.
pub struct Prologue {
    program: Box<dyn Program>,
    /// The state that it reads.
    sources: Vec<String>,
    /// The state that it makes.
    results: Vec<String>,
    /// Tells it from others.
    fingerprint: (String, u64),
}

/// What prologues have made, for all programs of a device.
#[derive(Default)]
pub struct Kept(Vec<Entry>);

struct Entry {
    fingerprint: (String, u64),
    sources: Vec<Weak<Data>>,
    made: Arc<State>,
}

impl Kept {
    /// Lets go of what was made from elements that have changed or are gone.
    pub fn forget_changed(&mut self) {
        self.0.retain(|entry| entry.sources.iter().all(|s| s.strong_count() > 0));
    }

    fn find(&self, fingerprint: &(String, u64), sources: &[Weak<Data>]) -> Option<Arc<State>> {
        let same = |entry: &&Entry| {
            entry.sources.len() == sources.len()
                && entry.sources.iter().zip(sources).all(|(a, b)| a.ptr_eq(b))
                && entry.fingerprint == *fingerprint
        };
        self.0.iter().find(same).map(|entry| entry.made.clone())
    }
}

impl Prologue {
    /// Of a graph of state alone, compiled for products in a precision.
    pub fn new(graph: &Graph, precision: Precision, program: Box<dyn Program>) -> Prologue {
        let sources = graph.inputs.iter().map(|i| i.name.clone()).collect();
        let results = graph.outputs.iter().map(|o| o.0.clone()).collect();
        Prologue {
            program,
            sources,
            results,
            fingerprint: (format!("{} {graph}", precision.name()), constants(graph)),
        }
    }

    /// What there is for this state: made before, or now.
    pub fn made(&mut self, state: &mut State, kept: &Mutex<Kept>) -> Result<Arc<State>> {
        let lock = || kept.lock().unwrap_or_else(|e| e.into_inner());
        let mut identities = Vec::with_capacity(self.sources.len());
        for name in &self.sources {
            let tensor = state.get(name).ok_or_else(|| Error::Missing { name: name.clone() })?;
            identities.push(tensor.identity());
        }
        lock().forget_changed();
        if let Some(found) = lock().find(&self.fingerprint, &identities) {
            return Ok(found);
        }
        let tensors = self.program.run(&[], state)?;
        let made: Arc<State> = Arc::new(self.results.iter().cloned().zip(tensors).collect());
        let fingerprint = self.fingerprint.clone();
        lock().0.push(Entry { fingerprint, sources: identities, made: made.clone() });
        Ok(made)
    }
}

/// What a printed graph does not say: the elements of its constants.
fn constants(graph: &Graph) -> u64 {
    let mut hasher = DefaultHasher::new();
    for node in &graph.nodes {
        if let Op::Prim(Prim::Constant(tensor)) = &node.op {
            hash(tensor, &mut hasher);
        }
    }
    hasher.finish()
}

fn hash(tensor: &Tensor, hasher: &mut DefaultHasher) {
    match tensor.data() {
        Data::F32(v) => v.iter().for_each(|x| x.to_bits().hash(hasher)),
        Data::F64(v) => v.iter().for_each(|x| x.to_bits().hash(hasher)),
        Data::I32(v) => v.hash(hasher),
        Data::I64(v) => v.hash(hasher),
        Data::U8(v) => v.hash(hasher),
    }
}
