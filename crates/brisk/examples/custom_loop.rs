//! A training loop of one's own, down to the graph: a convolutional net from plain functions over values, gradient
//! descent with momentum written out, and a penalty on the weights that no ready-made loss has.
//!
//! `cargo run --release -p brisk --example custom_loop`

use brisk::graph::op;
use brisk::nn::{Context, Scaling};
use brisk::prelude::*;

const BATCH: usize = 50;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let data = open(&"fashion-mnist-sample".into(), &OpenOptions::default())?;
    let model = Sequential::new([28, 28, 1])
        .add(Conv2D::new(16, 3).activation(Relu))
        .add(MaxPooling2D::new(2))
        .add(Flatten {})
        .add(Dense::new(10))
        .build()?;

    // One step as one graph: the forward pass, the loss, its gradients, the updates.
    let b = Builder::new();
    let x = b.input("x", Role::Batch, [BATCH, 28, 28, 1], DType::U8);
    let y = b.input("y", Role::Batch, [BATCH], DType::I32);
    let rate = b.input("rate", Role::Scalar, [], DType::F32);
    let mut cx = Context::training(&b, b.input("key", Role::Scalar, [2], DType::I32));
    let logits = model.forward(&mut cx, Scaling::bytes().apply(x)?)?; // (batch, 10)
    let fit = op::sparse_cross_entropy(logits, y, 0.0).mean_all();
    let weights: Vec<Value<'_>> = cx.trainable().map(|(_, value)| value).collect();
    let names: Vec<String> = cx.trainable().map(|(name, _)| name.to_string()).collect();
    let penalty = weights.iter().map(|w| w.abs().sum_all()).reduce(|a, c| a + c).ok_or("no weights")?;
    let loss = fit + penalty * 1e-5;
    let mut updates = Vec::new();
    for ((&w, gradient), name) in weights.iter().zip(grad(loss, &weights)?).zip(&names) {
        let velocity = b.input(&format!("{name}/velocity"), Role::State, w.shape(), DType::F32);
        let next = velocity * 0.9 - gradient * rate;
        updates.extend([(velocity, next), (w, w + next)]);
    }
    let graph = b.finish(&[("loss", loss), ("fit", fit)], &updates)?;

    let mut program = Cpu::all_threads().compile(&graph, &Options::default())?;
    let mut state = model.init_state(1)?;
    for (name, w) in names.iter().zip(&weights) {
        state.insert(format!("{name}/velocity"), Tensor::zeros(DType::F32, w.shape()));
    }
    let options = LoaderOptions { batch_size: BATCH, drop_last: true, ..LoaderOptions::default() };
    let loader = Loader::new(data.train().clone(), options)?;
    let mut step = 0;
    for epoch in 0..2 {
        for batch in loader.epoch(epoch) {
            let (batch, rate) = (batch?, Tensor::scalar(0.02));
            let key = Tensor::new([2], vec![1, step])?;
            let mut inputs: Vec<_> = batch.tensors.iter().map(|(name, t)| (name.as_str(), t)).collect();
            inputs.extend([("rate", &rate), ("key", &key)]);
            let values = program.run(&inputs, &mut state)?;
            if step % 40 == 0 {
                println!(
                    "step {step}: loss {:.4}, without the penalty {:.4}",
                    values[0].item()?,
                    values[1].item()?
                );
            }
            step += 1;
        }
    }
    Ok(())
}
