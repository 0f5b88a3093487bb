//! What a program that is watched tells.

use brisk_graph::Role;
use brisk_runtime::{Cpu, Device, Event, Options, Program, State, chrome_trace};

use crate::agree::{conv_net, sample_inputs};

/// A convolutional network's step, run twice, watched or not.
fn run(threads: usize, profile: bool) -> Box<dyn Program> {
    let graph = conv_net(17, true, true);
    let mut program = Cpu::new(threads).compile(&graph, &Options { profile, ..Options::default() }).unwrap();
    let tensors = sample_inputs(&graph);
    let mut state = State::new();
    let mut inputs = Vec::new();
    for (input, tensor) in graph.inputs.iter().zip(&tensors) {
        match input.role {
            Role::State => state.insert(&input.name, tensor.clone()),
            Role::Batch | Role::Scalar => inputs.push((input.name.as_str(), tensor)),
        }
    }
    program.run(&inputs, &mut state).unwrap();
    program.run(&inputs, &mut state).unwrap();
    program
}

#[test]
fn nothing_is_kept_of_a_program_that_is_not_watched() {
    let mut program = run(2, false);
    assert!(program.take_profile().is_empty() && program.events().is_empty());
}

#[test]
fn timings_count_all_runs_and_events_the_last() {
    let mut program = run(2, true);
    let (timings, events) = (program.take_profile(), program.events());
    let sum = |kernel: &str, of: fn(&Event) -> f64| {
        events.iter().filter(|e| e.kernel == kernel).map(of).sum::<f64>()
    };
    for t in &timings {
        assert!(t.seconds > 0.0 && t.bytes > 0.0, "{t:?}");
        for (all, last) in [(t.flops, sum(&t.kernel, |e| e.flops)), (t.bytes, sum(&t.kernel, |e| e.bytes))] {
            assert!((all - 2.0 * last).abs() <= 1e-9 * all, "{t:?}: two runs of {last}");
        }
    }
    assert!(program.take_profile().iter().all(|t| t.seconds == 0.0 && t.bytes == 0.0));
}

#[test]
fn a_trace_is_json_whose_events_follow_each_other_on_their_threads() {
    for threads in [1, 3] {
        let program = run(threads, true);
        let trace: serde_json::Value = serde_json::from_str(&chrome_trace(&program.events())).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        assert!(events.len() > 10, "{trace}");
        let mut ends = vec![0.0; threads];
        for e in events {
            assert_eq!((e["ph"].as_str(), e["pid"].as_u64()), (Some("X"), Some(1)));
            assert!(!e["name"].as_str().unwrap().is_empty() && e["args"]["part"].is_string());
            let (ts, dur) = (e["ts"].as_f64().unwrap(), e["dur"].as_f64().unwrap());
            let end = &mut ends[e["tid"].as_u64().unwrap() as usize];
            // Printed to a nanosecond.
            assert!(ts >= *end - 2e-3 && dur >= 0.0, "{e} begins before {end}");
            *end = ts + dur;
        }
    }
    let odd = Event {
        kernel: "a \"kernel\" \\ with\ta name".into(),
        thread: 0,
        start: 0.0,
        seconds: 0.0,
        part: String::new(),
        flops: 0.0,
        bytes: 0.0,
    };
    let trace: serde_json::Value = serde_json::from_str(&chrome_trace(std::slice::from_ref(&odd))).unwrap();
    assert_eq!(trace["traceEvents"][0]["name"], odd.kernel);
}
