//! Two dense layers learn exclusive or: layers, a loss and an optimizer, without any data files.
//!
//! `cargo run --release -p brisk --example mlp`

use brisk::nn::{KEY, X, Y};
use brisk::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = Sequential::new([2]).add(Dense::new(8).activation(Tanh)).add(Dense::new(1)).build()?;
    let task = Task::new(model, Loss::binary_crossentropy());
    let optimizer = Optimizer::adam(0.05);
    let device = Cpu::new(1);
    // One step is one program: forward, backward, update.
    let mut step = device.compile(&task.train_graph(&optimizer, 4)?, &Options::default())?;
    let mut state = task.init_state(&optimizer, 7)?;

    let x = Tensor::new([4, 2], vec![0.0f32, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])?;
    let y = Tensor::new([4], vec![0, 1, 1, 0])?;
    let key = Tensor::new([2], vec![0, 0])?;
    for t in 1..=200 {
        let scalars = optimizer.scalars(optimizer.learning_rate(), t);
        let mut inputs = vec![(X, &x), (Y, &y), (KEY, &key)];
        inputs.extend(scalars.iter().map(|(name, value)| (*name, value)));
        let loss = step.run(&inputs, &mut state)?[0].item()?;
        if t % 50 == 0 {
            println!("step {t}: loss {loss:.4}");
        }
    }
    let mut ask = device.compile(&task.predict_graph(4)?, &Options::default())?;
    println!("0^0, 0^1, 1^0, 1^1: {:.3?}", ask.run(&[(X, &x)], &mut state)?[0].f32s()?);
    Ok(())
}
