//! Learning rates by hand.

use brisk_nn::{Plateau, Schedule};
use brisk_testkit::assert_close;

fn schedule(yaml: &str) -> Schedule {
    serde_saphyr::from_str(yaml).unwrap_or_else(|e| panic!("{yaml}: {e}"))
}

fn rates(yaml: &str, steps: &[u64], total: u64) -> Vec<f64> {
    steps.iter().map(|&s| schedule(yaml).rate(1.0, s, total)).collect()
}

#[test]
fn rates_at_steps() {
    let half = 0.5f64.sqrt() / 2.0 + 0.5;
    let cases: &[(&str, &[u64], u64, &[f64])] = &[
        ("constant", &[0, 9], 10, &[1.0, 1.0]),
        ("step: {every: 3, factor: 0.5}", &[0, 2, 3, 6, 8], 9, &[1.0, 1.0, 0.5, 0.25, 0.25]),
        ("cosine", &[0, 1, 2, 4], 5, &[1.0, half, 0.5, 0.0]),
        ("cosine: {steps: 3, minimum: 0.2}", &[0, 1, 2, 9], 100, &[1.0, 0.6, 0.2, 0.2]),
        ("linear_warmup: {steps: 4}", &[0, 1, 3, 4, 9], 10, &[0.25, 0.5, 1.0, 1.0, 1.0]),
        (
            "linear_warmup: {steps: 2, start: 0.5, then: cosine}",
            &[0, 1, 2, 4, 6],
            7,
            &[0.75, 1.0, 1.0, 0.5, 0.0],
        ),
        ("one_cycle: {rise: 0.5, start: 0.1, end: 0.0}", &[0, 5, 10], 11, &[0.1, 1.0, 0.0]),
    ];
    for (yaml, steps, total, want) in cases {
        assert_close(yaml, &rates(yaml, steps, *total), want, 1e-12, 1e-12);
    }
}

#[test]
fn a_plateau_waits_as_keras_does() {
    let s = schedule("reduce_on_plateau: {patience: 2, factor: 0.5, cooldown: 2, min_lr: 0.3}");
    let mut p = Plateau::default();
    let losses = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.9];
    let after: Vec<f64> = losses
        .iter()
        .map(|l| {
            p.epoch(&s, *l);
            p.rate(&s, 1.0)
        })
        .collect();
    assert_eq!(after, [1.0, 1.0, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3]);
    let text = serde_json::to_string(&p).expect("json");
    assert_eq!(serde_json::from_str::<Plateau>(&text).expect("json"), p);
    let s = schedule("reduce_on_plateau: {monitor: val_accuracy, patience: 1}");
    let mut p = Plateau::default();
    assert_eq!([0.5, 0.6, 0.6].map(|a| p.epoch(&s, a)), [false, false, true]);
}

#[test]
fn numbers_that_make_no_sense_are_errors() {
    for yaml in [
        "step: {every: 0}",
        "cosine: {minimum: -1.0}",
        "one_cycle: {rise: 2.0}",
        "reduce_on_plateau: {factor: 1.0}",
        "linear_warmup: {steps: 5, start: -1.0}",
    ] {
        let error = schedule(yaml).check().expect_err(yaml).to_string();
        assert!(error.starts_with("schedule: expected"), "{error}");
    }
    for yaml in
        ["cosine: {steps: 0}", "linear_warmup: {steps: 0}", "one_cycle: {rise: 1.0}", "step: {every: 0}"]
    {
        for (step, total) in [(0, 0), (0, 1), (5, 1), (u64::MAX, u64::MAX)] {
            assert!(schedule(yaml).rate(1.0, step, total).is_finite(), "{yaml} at {step} of {total}");
        }
    }
}
