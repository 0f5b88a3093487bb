use super::*;
use crate::simd::{Level, dispatch_at, levels};
use proptest::prelude::*;

fn values(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + seed * 131 + 7) % 2003) as f32 / 1000.0 - 1.0).collect()
}

struct Case {
    run: Sequences,
    x: Vec<f32>,
    recurrent: Vec<f32>,
    bias: Vec<f32>,
    initial: Vec<f32>,
    mask: Vec<u8>,
}

impl Case {
    fn new(run: Sequences, mask: Vec<u8>) -> Case {
        let Sequences { kind, samples, steps, units: u, .. } = run;
        Case {
            run,
            x: values(samples * steps * kind.gates() * u, 1),
            recurrent: values(u * kind.gates() * u, 2).iter().map(|v| v / u as f32).collect(),
            bias: values(if kind == Kind::Gru { 3 * u } else { 0 }, 3),
            initial: values(samples * kind.state() * u, 4),
            mask,
        }
    }

    fn forward(&self, level: Level) -> Vec<f32> {
        let run = self.run;
        let mut record = vec![f32::NAN; run.samples * run.steps * run.kind.record() * run.units];
        let mut scratch = vec![f32::NAN; run.forward_scratch()];
        let Case { x, recurrent, bias, initial, mask, .. } = self;
        let (record_out, scratch) = (&mut record, &mut scratch);
        dispatch_at(level, Forward { run, x, recurrent, bias, initial, mask, record: record_out, scratch });
        record
    }

    /// Hidden states by plain f64 arithmetic.
    fn hidden(&self) -> Vec<f64> {
        let Sequences { kind, samples, steps, units: u, .. } = self.run;
        let gates = kind.gates();
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let mut all = vec![0.0; samples * steps * u];
        for n in 0..samples {
            let initial: Vec<f64> =
                self.initial[n * kind.state() * u..][..kind.state() * u].iter().map(|&v| v.into()).collect();
            let (mut h, mut c) = (initial[..u].to_vec(), initial[initial.len() - u..].to_vec());
            for t in self.run.order() {
                let x = &self.x[(n * steps + t) * gates * u..][..gates * u];
                let product = |j: usize| -> f64 {
                    (0..u).map(|i| h[i] * f64::from(self.recurrent[i * gates * u + j])).sum::<f64>()
                };
                if self.mask[n * steps + t] != 0 {
                    let s: Vec<f64> = (0..gates * u).map(product).collect();
                    let x = |k: usize, j: usize| f64::from(x[k * u + j]);
                    for j in 0..u {
                        let sum = |k: usize| x(k, j) + s[k * u + j];
                        match kind {
                            Kind::Lstm => {
                                c[j] = sigmoid(sum(1)) * c[j] + sigmoid(sum(0)) * sum(2).tanh();
                                h[j] = sigmoid(sum(3)) * c[j].tanh();
                            }
                            Kind::Gru => {
                                let inner = |k: usize| s[k * u + j] + f64::from(self.bias[k * u + j]);
                                let (z, r) = (sigmoid(x(0, j) + inner(0)), sigmoid(x(1, j) + inner(1)));
                                h[j] = z * h[j] + (1.0 - z) * (x(2, j) + r * inner(2)).tanh();
                            }
                            Kind::Simple => h[j] = sum(0).tanh(),
                        }
                    }
                }
                all[(n * steps + t) * u..][..u].copy_from_slice(&h);
            }
        }
        all
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Lstm), Just(Kind::Gru), Just(Kind::Simple)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_level_agrees_with_f64(
        kind in kinds(), samples in 1usize..8, steps in 1usize..6, units in 1usize..70, reverse in any::<bool>(),
        masks in proptest::collection::vec(0u8..3, 48),
    ) {
        let run = Sequences { kind, samples, steps, units, reverse };
        let case = Case::new(run, masks[..samples * steps].to_vec());
        let want = case.hidden();
        let width = kind.record();
        for level in levels() {
            let record = case.forward(level);
            for (row, want) in record.chunks_exact(width * units).zip(want.chunks_exact(units)) {
                for (got, want) in row[(width - 1) * units..].iter().zip(want) {
                    prop_assert!((f64::from(*got) - want).abs() < 1e-5, "{level:?}: {got}, not {want}");
                }
            }
        }
    }

    /// What comes after the last live step changes neither states nor gradients.
    #[test]
    fn padding_changes_nothing(
        kind in kinds(), samples in 1usize..6, steps in 1usize..5, more in 1usize..4, units in 1usize..40,
    ) {
        let short = Case::new(Sequences { kind, samples, steps, units, reverse: false }, vec![1; samples * steps]);
        let run = Sequences { steps: steps + more, ..short.run };
        let mut long = Case { run, mask: vec![0; samples * run.steps], x: vec![f32::NAN; samples * run.steps * kind.gates() * units], ..Case::new(short.run, vec![]) };
        let width = kind.gates() * units;
        for n in 0..samples {
            long.mask[n * run.steps..][..steps].fill(1);
            long.x[n * run.steps * width..][..steps * width].copy_from_slice(&short.x[n * steps * width..][..steps * width]);
        }
        let dy = values(samples * units, 9);
        let gradients = |case: &Case| {
            let record = case.forward(simd::level());
            let mut gradient = vec![f32::NAN; samples * case.run.steps * kind.gradient() * units];
            let mut initial = vec![f32::NAN; samples * kind.state() * units];
            let mut scratch = vec![f32::NAN; case.run.backward_scratch()];
            case.run.backward(&record, &case.recurrent, &case.initial, &case.mask, Incoming::Hidden(&dy), &mut gradient, &mut initial, &mut scratch);
            (gradient, initial)
        };
        let (one, other) = (gradients(&short), gradients(&long));
        prop_assert!(one.1 == other.1);
        let width = kind.gradient() * units;
        for n in 0..samples {
            let (kept, rest) = other.0[n * run.steps * width..][..run.steps * width].split_at(steps * width);
            prop_assert!(kept == &one.0[n * steps * width..][..steps * width]);
            prop_assert!(rest.iter().all(|v| *v == 0.0));
        }
    }
}
