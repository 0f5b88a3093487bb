//! Files that are made here, part by part, to be as large as they must.

use super::hostile::import_bytes;

/// A field of a table.
enum Field {
    Absent,
    Number(i32),
    Text(String),
    Numbers(Vec<i32>),
    Tables(Vec<Table>),
}

use Field::{Absent, Number, Numbers, Tables, Text};

/// The fields of a table, by their slots.
type Table = Vec<Field>;

const CONCATENATION: i32 = 2;
const RELU: i32 = 19;

fn put(bytes: &mut [u8], at: usize, number: usize) {
    bytes[at..at + 4].copy_from_slice(&(number as u32).to_le_bytes());
}

fn list(bytes: &mut Vec<u8>, length: usize, content: impl IntoIterator<Item = u8>) {
    bytes.extend((length as u32).to_le_bytes());
    bytes.extend(content);
}

/// Writes a table behind what there is; where it stands.
fn write(bytes: &mut Vec<u8>, table: &Table) -> usize {
    let fields = bytes.len();
    let (own, whole) = (4 + 2 * table.len() as u16, 4 + 4 * table.len() as u16);
    bytes.extend([own, whole].into_iter().flat_map(u16::to_le_bytes));
    for (slot, field) in (0u16..).zip(table) {
        let offset = if matches!(field, Absent) { 0 } else { 4 + 4 * slot };
        bytes.extend(offset.to_le_bytes());
    }
    let at = bytes.len();
    bytes.extend(((at - fields) as i32).to_le_bytes());
    bytes.resize(bytes.len() + 4 * table.len(), 0);
    for (slot, field) in table.iter().enumerate() {
        let (place, end) = (at + 4 + 4 * slot, bytes.len());
        match field {
            Absent => {}
            Number(number) => put(bytes, place, *number as usize),
            _ => put(bytes, place, end - place),
        }
        match field {
            Absent | Number(_) => {}
            Text(text) => list(bytes, text.len(), text.bytes()),
            Numbers(numbers) => list(bytes, numbers.len(), numbers.iter().flat_map(|n| n.to_le_bytes())),
            Tables(tables) => {
                list(bytes, tables.len(), vec![0; 4 * tables.len()]);
                for (i, table) in tables.iter().enumerate() {
                    let at = write(bytes, table);
                    let place = end + 4 + 4 * i;
                    put(bytes, place, at - place);
                }
            }
        }
    }
    at
}

/// A model of one subgraph, whose tensors are floats of these names. Operators are one of [`CODES`], operands and results.
fn model(
    names: &[String],
    inputs: Vec<i32>,
    outputs: Vec<i32>,
    operators: Vec<(i32, Vec<i32>, Vec<i32>)>,
) -> Vec<u8> {
    let tensor = |name: &String| vec![Numbers(vec![1, 4]), Number(0), Number(0), Text(name.clone())];
    let operator = |(op, inputs, outputs)| {
        let code = CODES.iter().position(|&c| c == op).unwrap() as i32;
        vec![Number(code), Numbers(inputs), Numbers(outputs)]
    };
    let subgraph = vec![
        Tables(names.iter().map(tensor).collect()),
        Numbers(inputs),
        Numbers(outputs),
        Tables(operators.into_iter().map(operator).collect()),
    ];
    let codes = CODES.map(|code| vec![Number(code), Absent, Absent, Number(code)]);
    let model = vec![Number(3), Tables(codes.into()), Tables(vec![subgraph]), Absent, Tables(vec![vec![]])];
    let mut bytes = b"\0\0\0\0TFL3".to_vec();
    let root = write(&mut bytes, &model);
    put(&mut bytes, 0, root);
    bytes
}

const CODES: [i32; 2] = [RELU, CONCATENATION];

/// A model of an input whose results have these names; each operator reads what the one before it made.
fn chain(results: &[String]) -> Vec<u8> {
    let names: Vec<String> = ["x".to_string()].into_iter().chain(results.iter().cloned()).collect();
    let last = results.len() as i32;
    let operators = (0..last).map(|i| (RELU, vec![i], vec![i + 1])).collect();
    model(&names, vec![0], vec![last], operators)
}

#[test]
fn results_of_the_same_name_are_told_apart() {
    let file = import_bytes(&chain(&["a#1", "a#4", "a", "a"].map(String::from))).unwrap();
    assert_eq!(file.model.graph.nodes.iter().filter(|n| n.op == "Relu").count(), 4);
    let file = import_bytes(&chain(&vec!["a".to_string(); 40_000])).unwrap();
    assert_eq!(file.model.graph.nodes.iter().filter(|n| n.op == "Relu").count(), 40_000);
}

#[test]
fn a_long_name_is_not_copied_as_often_as_it_is_read() {
    const READ: usize = 100_000;
    let name = "n".repeat(500_000);
    let names = ["x".to_string(), name.clone(), name];
    let operators = vec![(RELU, vec![0], vec![1]), (CONCATENATION, vec![1; READ], vec![2])];
    let file = import_bytes(&model(&names, vec![0], vec![2], operators)).unwrap();
    let graph = &file.model.graph;
    let joined = graph.nodes.iter().find(|n| n.op == "Concat").unwrap();
    assert_eq!(joined.inputs.len(), READ);
    assert!(joined.inputs.iter().all(|n| n.len() < 256), "{} bytes", joined.inputs[0].len());
    assert!(graph.outputs[0].name.len() < 256, "{} bytes", graph.outputs[0].name.len());
}

#[test]
fn more_steps_than_any_model_takes_are_refused() {
    let operators = vec![(CONCATENATION, vec![0; 1 << 20], vec![1])];
    let said = import_bytes(&model(&["x", "y"].map(String::from), vec![0], vec![1], operators)).unwrap_err();
    assert!(
        said.to_string().contains("it takes 1048580 steps to translate; expected 1048576 at most"),
        "{said}"
    );
}

#[test]
fn a_model_of_many_inputs_and_outputs_takes_no_time_for_each_pair() {
    const MANY: i32 = 150_000;
    let names: Vec<String> = (0..MANY).map(|i| format!("an input of a number as large as {i}")).collect();
    let file = import_bytes(&model(&names, (0..MANY).collect(), (0..MANY).rev().collect(), vec![])).unwrap();
    assert_eq!((file.model.graph.inputs.len(), file.model.graph.outputs.len()), (150_000, 150_000));
}
