//! Where the time of the steps went.

use brisk_runtime::Timing;

/// A table of kernels on stderr. `timings` are those of each program; `total` is the wall time of all threads together, for so
/// many steps.
pub fn show(timings: Vec<Vec<Timing>>, steps: usize, total: f64) {
    let mut kernels: Vec<Timing> = Vec::new();
    for t in timings.into_iter().flatten() {
        match kernels.iter_mut().find(|k| k.kernel == t.kernel) {
            Some(k) => {
                k.steps = k.steps.max(t.steps);
                k.seconds += t.seconds;
                k.flops += t.flops;
                k.bytes += t.bytes;
            }
            None => kernels.push(t),
        }
    }
    kernels.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    eprintln!("{:>10} {:>6} {:>8} {:>7} {:>6}  kernel", "ms a step", "share", "GFLOP/s", "GB/s", "steps");
    let row = |seconds: f64, [flops, bytes]: [f64; 2], count: String, kernel: &str| {
        let rate = |amount: f64| match amount > 0.0 {
            true => format!("{:.1}", amount / seconds / 1e9),
            false => String::new(),
        };
        let (ms, share) = (seconds * 1e3 / steps as f64, seconds / total * 100.0);
        let (gflops, gbs) = (rate(flops), rate(bytes));
        eprintln!("{ms:>10.3} {share:>5.1}% {gflops:>8} {gbs:>7} {count:>6}  {kernel}");
    };
    for t in kernels.iter().filter(|t| t.seconds > total * 1e-3) {
        row(t.seconds, [t.flops, t.bytes], t.steps.to_string(), &t.kernel);
    }
    let rest = total - kernels.iter().map(|t| t.seconds).sum::<f64>();
    row(rest, [0.0; 2], String::new(), "between steps: waiting, sums of groups, copying batches");
}
