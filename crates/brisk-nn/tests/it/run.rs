//! Running graphs: by the reference interpreter, and by the CPU.

use std::collections::HashMap;

use brisk_graph::{Graph, Tensor, interpret};
use brisk_runtime::{Cpu, Device, Options, State};

/// The outputs, and the next values of state, by name.
pub type Results = HashMap<String, Tensor>;

/// By the reference interpreter.
pub fn interpreted(graph: &Graph, inputs: &HashMap<String, Tensor>) -> Results {
    let given: Vec<Tensor> = graph.inputs.iter().map(|i| inputs[&i.name].clone()).collect();
    let arrays = interpret::interpret(graph, &given).unwrap_or_else(|e| panic!("{e}\n{graph}"));
    let outputs = graph.outputs.iter().map(|o| o.0.clone());
    let updates = graph.updates.iter().map(|u| graph.inputs[u.0].name.clone());
    let tensor = |a: interpret::Array| Tensor::new(a.shape, a.data).expect("as many elements");
    outputs.chain(updates).zip(arrays.into_iter().map(tensor)).collect()
}

/// By the CPU, compiled.
pub fn compiled(graph: &Graph, inputs: &HashMap<String, Tensor>) -> Results {
    let mut state: State = inputs.iter().map(|(n, t)| (n.clone(), t.clone())).collect();
    let given: Vec<(&str, &Tensor)> = inputs.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let mut program =
        Cpu::new(2).compile(graph, &Options::default()).unwrap_or_else(|e| panic!("{e}\n{graph}"));
    let outputs = program.run(&given, &mut state).unwrap_or_else(|e| panic!("{e}\n{graph}"));
    let mut results: Results = graph.outputs.iter().map(|o| o.0.clone()).zip(outputs).collect();
    for (input, _) in &graph.updates {
        let name = &graph.inputs[*input].name;
        results.insert(name.clone(), state.get(name).expect("its state").clone());
    }
    results
}

/// Both, with the tolerance (relative, absolute) that fits each.
pub const RUNNERS: [(&str, Runner, f64, f64); 2] =
    [("interpreter", interpreted, 1e-6, 1e-6), ("cpu", compiled, 1e-4, 1e-5)];

/// A way to run a graph.
pub type Runner = fn(&Graph, &HashMap<String, Tensor>) -> Results;
