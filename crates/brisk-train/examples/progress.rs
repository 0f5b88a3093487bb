//! Shows the progress of a made-up run, to look at: `cargo run -p brisk-train --example progress`

use std::{thread::sleep, time::Duration};

use brisk_train::{Progress, TaskProgress as Task, Unit};

fn main() {
    let mut task = Task::stderr("Download", 30_400_000, Unit::Bytes);
    for _ in 0..40 {
        task.add(760_000);
        sleep(Duration::from_millis(20));
    }
    task.finish();

    let mut progress = Progress::stderr(3);
    for epoch in 1..=3 {
        progress.epoch(epoch, 188);
        for step in 1..=188 {
            sleep(Duration::from_millis(8));
            let t = (epoch - 1) as f64 + step as f64 / 188.0;
            progress.step(step, &[("accuracy", 1.0 - 0.6 / (1.0 + t)), ("loss", 2.0 / (1.0 + t))]);
        }
        progress.finish(&[("val_accuracy", 0.9 - 0.4 / epoch as f64), ("val_loss", 1.0 / epoch as f64)]);
    }
}
