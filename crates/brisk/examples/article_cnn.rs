//! The article's network in 25 lines: train, evaluate, keep, use.
//!
//! `cargo run --release -p brisk --example article_cnn`

use brisk::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let data = open(&"fashion-mnist-sample".into(), &OpenOptions::default())?;
    let model = Sequential::new([28, 28, 1])
        .add(Conv2D::new(32, 3).activation(Relu))
        .add(MaxPooling2D::new(2))
        .add(Conv2D::new(64, 3).activation(Relu))
        .add(MaxPooling2D::new(2))
        .add(Flatten {})
        .add(Dense::new(10))
        .build()?;
    println!("{}", model.summary()?);
    let test = data.test().ok_or("the data has no test part")?;
    let mut trainer = Trainer::new(model, Loss::sparse_categorical_crossentropy(), Optimizer::adam(1e-3))?;
    trainer.fit(data.train(), Some(test), 3)?;
    println!("{}", trainer.evaluate(test)?);
    trainer.save(std::env::temp_dir().join("article-cnn"), data.classes())?;
    let first = Tensor::new([1, 28, 28, 1], test.image(0)?)?;
    println!("first test image: {:?}", trainer.predict(&first)?.f32s()?);
    Ok(())
}
