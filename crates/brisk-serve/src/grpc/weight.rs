//! How much memory a request takes once it is read: protocol buffers can be small and become large.

/// Bytes that a field with a length becomes at least: a tensor with its maps and lists, a text with its pointers.
const TENSOR: usize = 512;
const TEXT: usize = 40;
/// A byte of packed numbers becomes a number of the message, and then one of the model.
const NUMBER: usize = 16;

/// Bytes that a `ModelInferRequest` takes beyond its own, at most.
pub fn of(request: &[u8]) -> usize {
    let mut weight = 0;
    for (tag, held) in fields(request) {
        weight += TENSOR;
        // Tensors, and the maps of outputs and parameters.
        if matches!(tag, 4..=6) {
            for (tag, held) in fields(held) {
                weight += if tag == 3 { held.len() * NUMBER } else { TENSOR / 4 };
                if tag == 5 {
                    weight += fields(held)
                        .map(|(tag, held)| if tag == 8 { TEXT } else { TEXT + held.len() * NUMBER })
                        .sum::<usize>();
                }
            }
        }
    }
    weight
}

/// The fields of a message, with what those with a length hold. Ends where it makes no sense: reading the message says so.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let key = prost::decode_length_delimiter(&mut rest).ok()?;
        let length = match key & 7 {
            0 => prost::decode_length_delimiter(&mut rest).ok().map(|_| 0)?,
            1 => 8,
            2 => prost::decode_length_delimiter(&mut rest).ok()?,
            5 => 4,
            _ => return None,
        };
        let held;
        (held, rest) = rest.split_at_checked(length)?;
        Some((key >> 3, held))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::super::inference::model_infer_request::InferInputTensor;
    use super::super::inference::{InferTensorContents, ModelInferRequest};
    use super::*;

    fn request(contents: InferTensorContents) -> Vec<u8> {
        let input = InferInputTensor { contents: Some(contents), ..InferInputTensor::default() };
        ModelInferRequest { inputs: vec![input], ..ModelInferRequest::default() }.encode_to_vec()
    }

    #[test]
    fn what_grows_is_heavy() {
        let raw = ModelInferRequest {
            raw_input_contents: vec![vec![1; 100_000].into()],
            ..ModelInferRequest::default()
        };
        assert!(of(&raw.encode_to_vec()) < 1000);
        assert!(of(&b"\x2a\x00".repeat(1000)) >= 1000 * size_of::<InferInputTensor>());
        let texts =
            InferTensorContents { bytes_contents: vec!["".into(); 1000], ..InferTensorContents::default() };
        assert!(of(&request(texts)) >= 1000 * size_of::<bytes::Bytes>());
        let numbers = InferTensorContents { uint_contents: vec![1; 1000], ..InferTensorContents::default() };
        assert!(of(&request(numbers)) >= 1000 * (size_of::<u32>() + size_of::<f64>()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            of(&bytes);
        }
    }
}
