//! Tests of the graph, its operations and its gradients.

mod goldens;
mod graphs;
mod ops;
mod prims;
mod rules;
mod values;
