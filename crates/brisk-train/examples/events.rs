//! Writes event files, resumed once, for TensorBoard to read: `cargo run -p brisk-train --example events -- DIR`

use brisk_train::EventWriter;

fn main() -> std::io::Result<()> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "events".into());
    let write = |events: &mut EventWriter, step: i32| {
        let loss = 0.5f64.powi(step);
        events.scalars(step.into(), &[("loss", loss), ("accuracy", f64::NAN), ("训练/损失", loss)])
    };
    let mut events = EventWriter::create(&dir)?;
    (1..=5).try_for_each(|step| write(&mut events, step))?;
    drop(events);
    let mut events = EventWriter::resume(&dir, 4)?; // steps 4 and 5 are written again
    (4..=7).try_for_each(|step| write(&mut events, step))?;
    events.flush()
}
