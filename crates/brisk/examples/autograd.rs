//! The first thing to read: a graph is recorded, differentiated, compiled and run.
//!
//! `cargo run --release -p brisk --example autograd`

use brisk::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // f(x, w) = tanh(x w), summed. Nothing is computed here: arithmetic on values records a graph.
    let b = Builder::new();
    let x = b.input("x", Role::Scalar, [2, 3], DType::F32);
    let w = b.input("w", Role::Scalar, [3, 1], DType::F32);
    let y = x.matmul(w).tanh().sum_all();
    // Gradients are more of the same graph.
    let by_w = grad(y, &[w])?[0];
    let graph = b.finish(&[("y", y), ("dy/dw", by_w)], &[])?;
    println!("{graph}");

    // A device makes a program of it.
    let mut program = Cpu::new(1).compile(&graph, &Options::default())?;
    println!("{}", program.explain());
    let x = Tensor::new([2, 3], vec![1.0f32, 2.0, 3.0, -1.0, 0.5, 0.0])?;
    let mut at = |w: [f32; 3]| -> Result<Vec<Tensor>, Box<dyn std::error::Error>> {
        let w = Tensor::new([3, 1], w.to_vec())?;
        Ok(program.run(&[("x", &x), ("w", &w)], &mut State::new())?)
    };
    let result = at([0.1, -0.2, 0.3])?;
    println!("y = {}, dy/dw = {:?}", result[0].item()?, result[1].f32s()?);

    // Is it right? Move each weight a little, and see how far y moves.
    for i in 0..3 {
        let (mut up, mut down) = ([0.1, -0.2, 0.3], [0.1, -0.2, 0.3]);
        (up[i], down[i]) = (up[i] + 1e-2, down[i] - 1e-2);
        let slope = (at(up)?[0].item()? - at(down)?[0].item()?) / 2e-2;
        println!("dy/dw[{i}] by finite differences: {slope:.4}");
    }
    Ok(())
}
