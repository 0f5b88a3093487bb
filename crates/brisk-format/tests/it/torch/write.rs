//! Small archives with pickles of protocol 2, made by hand.

use std::io::Write;

use brisk_graph::Tensor;

/// An archive with these entries, stored as PyTorch does.
pub fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in entries {
        zip.start_file(*name, stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A text, as protocol 2 writes it.
pub fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A whole number from 0.
pub fn int(n: u64) -> Vec<u8> {
    [&[0x8a, 9], &n.to_le_bytes()[..], &[0]].concat()
}

/// A tuple of whole numbers.
pub fn ints(numbers: &[u64]) -> Vec<u8> {
    [b"(".to_vec(), numbers.iter().flat_map(|&n| int(n)).collect(), b"t".to_vec()].concat()
}

/// A tensor of f32 over a storage with so many elements, as it is said.
pub fn tensor(key: &str, elements: u64, offset: u64, shape: &[u64], strides: &[u64]) -> Vec<u8> {
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text(key),
        text("cpu"),
        int(elements),
        b"tQ".to_vec(),
        int(offset),
        ints(shape),
        ints(strides),
        b"\x89}tR".to_vec(),
    ]
    .concat()
}

/// A state dict of tensors of f32, each with a storage of its own.
pub fn state_dict(tensors: &[(&str, Tensor)]) -> Vec<u8> {
    let mut pickle = b"\x80\x02}".to_vec();
    let mut storages = Vec::new();
    for (i, (name, value)) in tensors.iter().enumerate() {
        let sizes = |sizes: &[usize]| sizes.iter().map(|&s| s as u64).collect::<Vec<_>>();
        let (shape, strides) = (sizes(value.shape()), sizes(&value.shape().strides()));
        let own = tensor(&i.to_string(), value.elements() as u64, 0, &shape, &strides);
        pickle.extend([text(name), own, b"s".to_vec()].concat());
        let bytes = value.to_f64s().into_iter().flat_map(|x| (x as f32).to_le_bytes()).collect();
        storages.push((format!("a/data/{i}"), bytes));
    }
    pickle.push(b'.');
    let mut entries: Vec<(&str, &[u8])> = vec![("a/data.pkl", &pickle)];
    entries.extend(storages.iter().map(|(name, bytes): &(String, Vec<u8>)| (name.as_str(), &bytes[..])));
    archive(&entries)
}
