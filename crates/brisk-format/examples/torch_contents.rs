//! What is in a checkpoint of PyTorch, and how long it takes to read it:
//! `cargo run --release -p brisk-format --example torch_contents -- checkpoint.pt`

use std::path::PathBuf;
use std::time::Instant;

use brisk_format::TorchFile;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path: PathBuf = std::env::args_os().nth(1).ok_or("which file?")?.into();
    let begin = Instant::now();
    let file = TorchFile::open(&path)?;
    let opened = begin.elapsed();
    for (name, value) in file.values() {
        println!("{name} = {value:?}");
    }
    let mut tensors = Vec::new();
    for name in file.names() {
        let tensor = file.tensor(name)?;
        println!("{name}: {} {}", file.dtype(name).unwrap_or_default(), tensor.shape());
        tensors.push(tensor);
    }
    if let Ok(weights) = file.state_dict(None) {
        println!("the weights are {:?}, {} tensors", weights.key(), weights.names().count());
    }
    println!("opened in {opened:.2?}, {} tensors read after {:.2?}", tensors.len(), begin.elapsed());
    Ok(())
}
