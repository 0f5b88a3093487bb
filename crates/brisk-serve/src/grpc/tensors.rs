//! Messages of KServe to requests, and answers to messages.

use std::collections::HashMap;
use std::time::Duration;

use super::inference::infer_parameter::ParameterChoice;
use super::inference::model_infer_response::InferOutputTensor;
use super::inference::{InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse};
use crate::fault::{Answered, Fault};
use crate::model::{Elements, InferRequest, InferResponse, Requested, Tensor, Typed};

/// A request, and how long its client waits.
pub fn read(message: ModelInferRequest) -> Answered<(InferRequest, Option<Duration>)> {
    let (raw, mut rest) = (!message.raw_input_contents.is_empty(), message.raw_input_contents.into_iter());
    let mut inputs = Vec::with_capacity(message.inputs.len());
    for input in message.inputs {
        let bad = |what: String| Fault::bad(format!("input `{}`: {what}", input.name));
        let contents = input.contents.filter(|c| *c != InferTensorContents::default());
        let elements = match (contents, rest.next()) {
            (None, Some(bytes)) => Elements::Raw(bytes),
            (Some(contents), None) if !raw => elements(&input.datatype, contents).map_err(bad)?,
            (Some(_), _) => {
                return Err(bad("it has contents, and there are raw contents; give one of the two".into()));
            }
            (None, None) => return Err(bad("its data are missing".into())),
        };
        inputs.push(Tensor { name: input.name, datatype: input.datatype, shape: input.shape, elements });
    }
    if rest.len() > 0 {
        let (inputs, all) = (inputs.len(), inputs.len() + rest.len());
        return Err(Fault::bad(format!(
            "raw_input_contents: expected {inputs}, one for each input, found {all}"
        )));
    }
    let mut outputs = Vec::with_capacity(message.outputs.len());
    for output in message.outputs {
        let classification = whole(&output.parameters, "classification")
            .map_err(|what| Fault::bad(format!("output `{}`: {what}", output.name)))?;
        let classification = usize::try_from(classification.unwrap_or(0)).unwrap_or(usize::MAX);
        outputs.push(Requested { name: output.name, classification, binary: raw });
    }
    let timeout = whole(&message.parameters, "timeout").map_err(Fault::bad)?;
    let timeout = timeout.filter(|&t| t > 0).map(Duration::from_micros);
    Ok((InferRequest { id: message.id, inputs, outputs, binary: raw }, timeout))
}

/// A parameter that is a number, if it is there.
fn whole(parameters: &HashMap<String, InferParameter>, name: &str) -> Result<Option<u64>, String> {
    let Some(parameter) = parameters.get(name) else { return Ok(None) };
    match parameter.parameter_choice {
        Some(ParameterChoice::Int64Param(n)) if n >= 0 => Ok(Some(n as u64)),
        Some(ParameterChoice::Uint64Param(n)) => Ok(Some(n)),
        _ => Err(format!("parameter `{name}`: expected a whole number from 0 in int64_param")),
    }
}

/// The elements of a tensor, which must stand in the field of its type and in no other.
fn elements(datatype: &str, c: InferTensorContents) -> Result<Elements, String> {
    let own = match datatype {
        "BOOL" => "bool_contents",
        "INT8" | "INT16" | "INT32" => "int_contents",
        "INT64" => "int64_contents",
        "UINT8" | "UINT16" | "UINT32" => "uint_contents",
        "UINT64" => "uint64_contents",
        "FP32" => "fp32_contents",
        "FP64" => "fp64_contents",
        "BYTES" => "bytes_contents",
        _ => return Err(format!("elements of {datatype:.20} can only be raw")),
    };
    let filled = [
        ("bool_contents", c.bool_contents.is_empty()),
        ("int_contents", c.int_contents.is_empty()),
        ("int64_contents", c.int64_contents.is_empty()),
        ("uint_contents", c.uint_contents.is_empty()),
        ("uint64_contents", c.uint64_contents.is_empty()),
        ("fp32_contents", c.fp32_contents.is_empty()),
        ("fp64_contents", c.fp64_contents.is_empty()),
        ("bytes_contents", c.bytes_contents.is_empty()),
    ];
    if let Some((other, _)) = filled.iter().find(|(field, empty)| !empty && *field != own) {
        return Err(format!("elements of {datatype} are expected in {own}, and are in {other}"));
    }
    fn numbers<T>(all: Vec<T>, number: impl Fn(T) -> f64) -> Elements {
        Elements::Numbers(all.into_iter().map(number).collect())
    }
    Ok(match own {
        "bool_contents" => numbers(c.bool_contents, |x| f64::from(u8::from(x))),
        "int_contents" => numbers(c.int_contents, f64::from),
        "int64_contents" => numbers(c.int64_contents, |x| x as f64),
        "uint_contents" => numbers(c.uint_contents, f64::from),
        "uint64_contents" => numbers(c.uint64_contents, |x| x as f64),
        "fp32_contents" => numbers(c.fp32_contents, f64::from),
        "fp64_contents" => Elements::Numbers(c.fp64_contents),
        _ => Elements::Texts(c.bytes_contents),
    })
}

/// An answer: raw if its request was.
pub fn write(response: InferResponse) -> ModelInferResponse {
    let mut message = ModelInferResponse {
        model_name: response.model,
        model_version: response.version.to_string(),
        id: response.id,
        ..ModelInferResponse::default()
    };
    for (requested, shape, typed) in response.outputs {
        let datatype = typed.datatype().into();
        let contents = match requested.binary {
            true => {
                message.raw_output_contents.push(typed.raw().into());
                None
            }
            false => Some(contents(typed)),
        };
        let name = requested.name;
        message.outputs.push(InferOutputTensor {
            name,
            datatype,
            shape,
            contents,
            ..InferOutputTensor::default()
        });
    }
    message
}

fn contents(typed: Typed) -> InferTensorContents {
    let none = InferTensorContents::default();
    match typed {
        Typed::U8(v) => InferTensorContents { uint_contents: v.into_iter().map(u32::from).collect(), ..none },
        Typed::F32(v) => InferTensorContents { fp32_contents: v, ..none },
        Typed::F64(v) => InferTensorContents { fp64_contents: v, ..none },
        Typed::Bytes(v) => InferTensorContents { bytes_contents: v, ..none },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::super::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
    use super::*;

    fn input(datatype: &str, contents: InferTensorContents) -> InferInputTensor {
        InferInputTensor {
            name: "x".into(),
            datatype: datatype.into(),
            shape: vec![1, 2],
            contents: Some(contents),
            ..InferInputTensor::default()
        }
    }

    fn floats() -> InferTensorContents {
        InferTensorContents { fp32_contents: vec![0.5, 1.0], ..InferTensorContents::default() }
    }

    fn request(inputs: &[InferInputTensor], raw: &[&[u8]]) -> ModelInferRequest {
        let raw_input_contents = raw.iter().map(|r| r.to_vec().into()).collect();
        ModelInferRequest { inputs: inputs.to_vec(), raw_input_contents, ..ModelInferRequest::default() }
    }

    fn parameter(name: &str, choice: ParameterChoice) -> HashMap<String, InferParameter> {
        [(name.into(), InferParameter { parameter_choice: Some(choice) })].into()
    }

    #[test]
    fn elements_stand_in_the_field_of_their_type() {
        let none = InferTensorContents::default;
        for (datatype, contents, expected) in [
            ("FP32", floats(), vec![0.5, 1.0]),
            ("FP64", InferTensorContents { fp64_contents: vec![2.0], ..none() }, vec![2.0]),
            ("BOOL", InferTensorContents { bool_contents: vec![true, false], ..none() }, vec![1.0, 0.0]),
            ("UINT8", InferTensorContents { uint_contents: vec![255], ..none() }, vec![255.0]),
            ("UINT64", InferTensorContents { uint64_contents: vec![7], ..none() }, vec![7.0]),
            ("INT32", InferTensorContents { int_contents: vec![-7], ..none() }, vec![-7.0]),
            ("INT64", InferTensorContents { int64_contents: vec![-7], ..none() }, vec![-7.0]),
        ] {
            let (request, _) = read(request(&[input(datatype, contents)], &[])).unwrap();
            assert_eq!(request.inputs[0].elements, Elements::Numbers(expected));
            assert!(!request.binary);
        }
        let texts = InferTensorContents { bytes_contents: vec!["猫".into()], ..none() };
        let (request, _) = read(request(&[input("BYTES", texts)], &[])).unwrap();
        assert_eq!(request.inputs[0].elements, Elements::Texts(vec!["猫".into()]));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let bare = || InferInputTensor { contents: None, ..input("FP32", floats()) };
        for (message, expected) in [
            (request(&[bare()], &[]), "input `x`: its data are missing"),
            (
                request(&[input("FP32", floats())], &[b"12345678"]),
                "input `x`: it has contents, and there are raw contents",
            ),
            (request(&[bare(), input("FP32", floats())], &[b"12345678"]), "input `x`: it has contents"),
            (request(&[bare(), bare()], &[b"12345678"]), "input `x`: its data are missing"),
            (
                request(&[bare()], &[b"1", b"2"]),
                "raw_input_contents: expected 1, one for each input, found 2",
            ),
            (
                request(&[input("UINT8", floats())], &[]),
                "expected in uint_contents, and are in fp32_contents",
            ),
            (request(&[input("FP16", floats())], &[]), "elements of FP16 can only be raw"),
        ] {
            let message = read(message).unwrap_err().message;
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn parameters_are_understood() {
        let parameters = parameter("classification", ParameterChoice::Int64Param(3));
        let mut message = request(&[], &[]);
        message.outputs = vec![InferRequestedOutputTensor { name: "y".into(), parameters }];
        message.parameters = parameter("timeout", ParameterChoice::Int64Param(1500));
        let (request, timeout) = read(message.clone()).unwrap();
        assert_eq!((request.outputs[0].classification, timeout), (3, Some(Duration::from_micros(1500))));
        message.outputs[0].parameters = parameter("classification", ParameterChoice::Int64Param(-1));
        let fault = read(message).unwrap_err();
        assert!(fault.message.starts_with("output `y`: parameter `classification`"), "{fault}");
    }

    #[test]
    fn answers_come_as_they_were_asked_for() {
        let response = |binary| InferResponse {
            model: "m".into(),
            version: 3,
            id: "a".into(),
            outputs: vec![(
                Requested { name: "y".into(), classification: 0, binary },
                vec![1, 2],
                Typed::F32(vec![0.5, 1.0]),
            )],
        };
        let typed = write(response(false));
        assert_eq!((typed.outputs[0].contents.clone(), typed.raw_output_contents.len()), (Some(floats()), 0));
        let raw = write(response(true));
        assert_eq!(
            (raw.outputs[0].contents.clone(), &raw.raw_output_contents[0][..]),
            (None, &[0, 0, 0, 63, 0, 0, 128, 63][..])
        );
        assert_eq!((raw.model_version.as_str(), raw.outputs[0].datatype.as_str()), ("3", "FP32"));
    }

    prop_compose! {
        fn any_contents()(
            bools in prop::collection::vec(any::<bool>(), 0..3),
            ints in prop::collection::vec(any::<i64>(), 0..3),
            floats in prop::collection::vec(any::<f64>(), 0..3),
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3), 0..3),
            fields in any::<u8>(),
        ) -> InferTensorContents {
            let on = |bit: u8| fields & (1 << bit) != 0;
            InferTensorContents {
                bool_contents: if on(0) { bools } else { vec![] },
                int_contents: if on(1) { ints.iter().map(|&x| x as i32).collect() } else { vec![] },
                int64_contents: if on(2) { ints.clone() } else { vec![] },
                uint_contents: if on(3) { ints.iter().map(|&x| x as u32).collect() } else { vec![] },
                uint64_contents: if on(4) { ints.iter().map(|&x| x as u64).collect() } else { vec![] },
                fp32_contents: if on(5) { floats.iter().map(|&x| x as f32).collect() } else { vec![] },
                fp64_contents: if on(6) { floats } else { vec![] },
                bytes_contents: if on(7) { texts.into_iter().map(Into::into).collect() } else { vec![] },
            }
        }
    }

    prop_compose! {
        fn any_input()(
            name in "[xy]{0,2}",
            datatype in "BOOL|U?INT(8|16|32|64)|FP(16|32|64)|BF16|BYTES|[A-Z猫]{0,30}",
            shape in prop::collection::vec(any::<i64>(), 0..4),
            contents in prop::option::of(any_contents()),
        ) -> InferInputTensor {
            InferInputTensor { name, datatype, shape, contents, ..InferInputTensor::default() }
        }
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(
            inputs in prop::collection::vec(any_input(), 0..4),
            raw in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..4),
            n in any::<i64>(),
        ) {
            let raw: Vec<&[u8]> = raw.iter().map(Vec::as_slice).collect();
            let mut message = request(&inputs, &raw);
            message.parameters = parameter("timeout", ParameterChoice::Int64Param(n));
            let parameters = parameter("classification", ParameterChoice::Uint64Param(n as u64));
            message.outputs = vec![InferRequestedOutputTensor { name: "y".into(), parameters }];
            if let Ok((request, _)) = read(message) {
                prop_assert_eq!(request.inputs.len(), inputs.len());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(message) = ModelInferRequest::decode(&bytes[..]) {
                let _ = read(message);
            }
        }
    }
}
