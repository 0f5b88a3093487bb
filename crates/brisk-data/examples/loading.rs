//! How fast batches come: `cargo run --release -p brisk-data --example loading -- [SOURCE] [WORKERS]`.

use std::time::Instant;

use brisk_data::{Loader, LoaderOptions, OpenOptions, SourceSpec, open};

fn main() -> brisk_data::Result<()> {
    let mut args = std::env::args().skip(1);
    let spec = args.next().map_or(SourceSpec::default(), |s| SourceSpec::from(s.as_str()));
    let workers = args.next().and_then(|w| w.parse().ok()).unwrap_or(1);

    let start = Instant::now();
    let data = open(&spec, &OpenOptions::default())?;
    println!("opened {} images of {} in {:.1?}", data.train().len(), data.image_spec(), start.elapsed());

    let loader = Loader::new(data.train().clone(), LoaderOptions { workers, ..LoaderOptions::default() })?;
    let start = Instant::now();
    let mut samples = 0;
    for batch in loader.epoch(0) {
        samples += batch?.indices.len();
    }
    println!("{:.0} images/s with {workers} workers", samples as f64 / start.elapsed().as_secs_f64());
    Ok(())
}
