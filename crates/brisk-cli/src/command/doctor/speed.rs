//! What the machine can do: a second of arithmetic, a moment of copying.

use std::time::{Duration, Instant};

use brisk_kernels::matmul::matmul;
use brisk_train::{TaskProgress, Unit};
use serde::Serialize;

/// How long each measurement takes.
const TIME: Duration = Duration::from_millis(400);
/// Side of the matrices that are multiplied.
const SIDE: usize = 384;
/// Bytes that all threads copy together: more than caches hold.
const COPIED: usize = 256 << 20;

/// Measured speeds.
#[derive(Serialize)]
pub struct Speed {
    pub matmul_gflops_one_thread: f64,
    pub matmul_gflops: f64,
    pub memory_gb_per_second: f64,
}

impl Speed {
    /// Takes a second or two, with a bar.
    pub fn measure(threads: usize) -> Speed {
        let mut bar = TaskProgress::stderr("Measuring", 3, Unit::Items("speeds"));
        let mut next = |speed: f64| {
            bar.add(1);
            (speed * 10.0).round() / 10.0
        };
        let speed = Speed {
            matmul_gflops_one_thread: next(products(1)),
            matmul_gflops: next(products(threads)),
            memory_gb_per_second: next(copies(threads)),
        };
        bar.finish();
        speed
    }
}

/// GFLOP/s of matrix products, each thread with its own.
fn products(threads: usize) -> f64 {
    let flops = 2.0 * (SIDE * SIDE * SIDE) as f64;
    let make = || (vec![1.0f32; SIDE * SIDE], vec![0.5f32; SIDE * SIDE], vec![0.0f32; SIDE * SIDE]);
    let step = |(a, b, c): &mut (Vec<f32>, Vec<f32>, Vec<f32>)| {
        matmul(SIDE, SIDE, SIDE, a, (SIDE, 1), b, (SIDE, 1), c, SIDE, false);
        flops
    };
    rate(threads, make, step) / 1e9
}

/// GB/s of plain copies, reads and writes counted.
fn copies(threads: usize) -> f64 {
    let floats = (COPIED / threads.max(1) / 8).max(1 << 20);
    let make = || (vec![1.0f32; floats], vec![0.0f32; floats]);
    let step = |(from, to): &mut (Vec<f32>, Vec<f32>)| {
        to.copy_from_slice(from);
        std::hint::black_box(&*to);
        (floats * 8) as f64
    };
    rate(threads, make, step) / 1e9
}

/// Work done in a second by so many threads at once.
fn rate<T>(threads: usize, make: impl Fn() -> T + Sync, step: impl Fn(&mut T) -> f64 + Sync) -> f64 {
    let ready = std::sync::Barrier::new(threads);
    let work = || {
        let mut data = make();
        step(&mut data);
        ready.wait();
        let (start, mut done) = (Instant::now(), 0.0);
        while start.elapsed() < TIME {
            done += step(&mut data);
        }
        done / start.elapsed().as_secs_f64()
    };
    std::thread::scope(|s| {
        let others: Vec<_> = (1..threads).map(|_| s.spawn(work)).collect();
        let own = work();
        own + others.into_iter().map(|t| t.join().unwrap_or(0.0)).sum::<f64>()
    })
}
