//! Writes a `report.html` of a made-up run, to look at: `cargo run -p brisk-eval --example report -- OUT.html`

use brisk_eval::{Classification, EpochRecord, Mistake, RunReport};

const LABELS: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "凉鞋 Sandal",
    "Shirt",
    "运动鞋",
    "Bag",
    "Ankle boot",
];

fn main() -> std::io::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "report.html".into());
    let mut dice = Dice(7);

    let mut metrics = Classification::new(10).with_labels(LABELS);
    for i in 0..1000_u32 {
        let label = i % 10;
        let mut row = [0.01f32; 10];
        row.iter_mut().for_each(|p| *p += 0.3 * dice.roll() * dice.roll());
        let neighbour = [6, 3, 4, 1, 2, 7, 0, 5, 0, 7][label as usize];
        row[neighbour] += 0.55 * dice.roll();
        row[label as usize] += 0.85 * dice.roll().sqrt();
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|p| *p /= sum);
        metrics.update(&row, &[label]).expect("ten values and a label");
    }

    let epoch = |n: usize| {
        let t = n as f64;
        EpochRecord::new(n)
            .with("loss", 0.75 * (-t / 3.0).exp() + 0.16)
            .with("accuracy", 0.945 - 0.3 * (-t / 2.5).exp())
            .with("val_loss", 0.6 * (-t / 2.2).exp() + 0.25 + 0.0012 * t * t)
            .with("val_accuracy", 0.905 - 0.22 * (-t / 2.0).exp() - 0.0008 * t)
            .with("learning_rate", 1e-3 * 0.5 * (1.0 + (t / 12.0 * 3.0).cos()))
            .with("seconds", 4.2 + 0.1 * (t % 3.0))
    };
    let picture = |n: usize| {
        let wave = |x: usize, y: usize| {
            let (dx, dy) = (x as f32 - 13.5, y as f32 - 13.5);
            let shape = (13.0 + 2.0 * n as f32 % 7.0 - dx.abs() * 1.4 - dy.abs()).clamp(0.0, 6.0) * 42.0;
            (shape * (0.7 + 0.3 * ((x * (n + 2) + y) as f32 * 0.4).sin())) as u8
        };
        (0..28 * 28).map(|i| wave(i % 28, i / 28)).collect()
    };
    let mistake = |n: usize| Mistake {
        image: picture(n),
        h: 28,
        w: 28,
        c: 1,
        truth: LABELS[n % 10].into(),
        predicted: LABELS[(n * 3 + 5) % 10].into(),
        probability: 0.98 - 0.035 * n as f32,
    };
    let fact = |name: &str, value: &str| (name.to_owned(), value.to_owned());

    let run = RunReport {
        title: "fashion-cnn".into(),
        config_yaml: include_str!("report.yaml").into(),
        history: (1..=12).map(epoch).collect(),
        evaluation: Some(metrics.report()),
        mistakes: (0..12).map(mistake).collect(),
        data: vec![
            fact("Source", "fashion-mnist (sample)"),
            fact("Image", "28 × 28 × 1"),
            fact("Training samples", "5,400"),
            fact("Validation samples", "600"),
            fact("Test samples", "1,000"),
            fact("Classes", "10"),
        ],
        facts: vec![
            fact("Brisk", "0.1.0"),
            fact("CPU", "2 threads, AVX-512"),
            fact("Seed", "42"),
            fact("Parameters", "34,826"),
            fact("Speed", "9,870 images/s"),
            fact("Started", "2026-03-02 14:07"),
        ],
        ..RunReport::default()
    };
    std::fs::write(&path, run.to_html())
}

/// Made-up numbers that are the same each time (a linear congruential generator).
struct Dice(u32);

impl Dice {
    fn roll(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / (1 << 24) as f32
    }
}
