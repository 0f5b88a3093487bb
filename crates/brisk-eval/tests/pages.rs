//! Charts and reports: any input makes a well-formed page, and nothing given becomes markup.

use brisk_eval::{
    Classification, EpochRecord, Mistake, Regression, RunReport,
    metrics::ConfusionMatrix,
    plot::{BarChart, ConfusionChart, LineChart, Series},
};
use proptest::prelude::*;

const EVIL: &str = "<script>alert(1)</script>&\"'\u{0}]]>-->";

fn well_formed(svg: &str) {
    if let Err(e) = roxmltree::Document::parse(svg) {
        panic!("{e}\n{svg}");
    }
    assert!(!svg.contains("<script") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

#[test]
fn charts_without_anything_to_draw() {
    well_formed(&LineChart::new("empty").to_svg());
    well_formed(
        &LineChart::new("gaps").series(Series::new("a", [(1.0, f64::NAN), (f64::NAN, 1.0)])).to_svg(),
    );
    well_formed(&LineChart::default().mark(f64::NAN, "x").series(Series::new("", [(1.0, 1.0)])).to_svg());
    well_formed(&BarChart::new("empty").to_svg());
    well_formed(&ConfusionChart::new(&ConfusionMatrix::new(0), &["surplus"]).to_svg());
    well_formed(&ConfusionChart::new::<&str>(&ConfusionMatrix::new(3), &[]).to_svg());
}

#[test]
fn an_empty_run_has_a_page() {
    let html = RunReport::default().to_html();
    assert!(
        html.contains("<title>Training run · Brisk</title>") && html.contains("Nothing was measured yet.")
    );

    let history = vec![EpochRecord::new(1), EpochRecord::new(2).with("loss", f64::NAN)];
    let run =
        RunReport { history, evaluation: Some(Classification::new(0).report()), ..RunReport::default() };
    assert_eq!(run.best_epoch(), None);
    assert!(run.to_html().contains("no data"));
    let run = RunReport { regression: Some(Regression::new(0).report()), ..RunReport::default() };
    assert!(run.to_html().contains("Test R²"));
}

#[test]
fn nothing_given_becomes_markup() {
    let evil = || EVIL.to_owned();
    let mut metrics = Classification::new(2).with_labels([EVIL, EVIL]);
    metrics.update(&[0.9, 0.1, f32::NAN, f32::NAN], &[1, 1]).unwrap();
    let mistake =
        |image, w| Mistake { image, h: 1, w, c: 1, truth: evil(), predicted: evil(), probability: f32::NAN };
    let run = RunReport {
        title: evil(),
        config_yaml: evil(),
        history: vec![EpochRecord::new(1).with(EVIL, 1.0).with("seconds", f64::INFINITY)],
        monitor: evil(),
        evaluation: Some(metrics.report()),
        regression: None,
        mistakes: vec![mistake(vec![7], 1), mistake(vec![7], 2), mistake(vec![], usize::MAX)],
        data: vec![(evil(), evil())],
        facts: vec![(evil(), evil())],
    };
    let html = run.to_html();
    assert!(!html.contains("<script") && !html.contains("]]>"), "{html}");
    assert_eq!(html.matches("no picture").count(), 2);
    assert_eq!(html.matches("data:image/png;base64,").count(), 1);
}

#[test]
fn the_best_epoch_is_the_lowest_loss_or_the_highest_score() {
    let epoch = |n, loss, f1| EpochRecord::new(n).with("val_loss", loss).with("val_f1", f1);
    let history =
        vec![epoch(1, 0.5, 0.7), epoch(2, f64::NAN, 0.9), epoch(3, 0.3, f64::INFINITY), epoch(4, 0.3, 0.8)];
    let mut run = RunReport { history, ..RunReport::default() };
    assert_eq!(run.best_epoch().unwrap().epoch, 3);
    run.monitor = "val_f1".into();
    assert_eq!(run.best_epoch().unwrap().epoch, 2);
    run.monitor = "unknown".into();
    assert_eq!(run.best_epoch(), None);
}

#[test]
fn reports_survive_json() {
    let mut metrics = Classification::new(12).with_labels(["猫"]);
    for label in [0, 5, 5, 11] {
        metrics
            .update(&std::array::from_fn::<f32, 12, _>(|c| if c == 5 { 0.5 } else { 0.04 }), &[label])
            .unwrap();
    }
    let report = metrics.report();
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<brisk_eval::Report>(&json).unwrap(), report);
    let empty = serde_json::to_value(Classification::new(3).report()).unwrap();
    assert!(empty["loss"].is_null() && empty["accuracy"].is_null());
    assert!(serde_json::from_value::<brisk_eval::Report>(empty).unwrap().loss.is_nan());
}

#[test]
fn the_table_is_aligned() {
    let mut metrics = Classification::new(2).with_labels(["猫头鹰", "dog"]);
    metrics.update(&[0.9, 0.1, 0.2, 0.8, 0.7, 0.3], &[0, 1, 1]).unwrap();
    let expected = "\
samples                  3
loss                0.5108
accuracy            0.6667
ROC AUC             1.0000

              precision     recall   f1-score    support
      猫头鹰     0.5000     1.0000     0.6667          1
         dog     1.0000     0.5000     0.6667          2
   macro avg     0.7500     0.7500     0.6667          3
   micro avg     0.6667     0.6667     0.6667          3
weighted avg     0.8333     0.6667     0.6667          3
";
    assert_eq!(metrics.report().to_string(), expected);
}

#[test]
fn wrong_batches_are_refused_and_leave_no_trace() {
    let mut metrics = Classification::new(3);
    let error = metrics.update(&[0.1; 6], &[0, 3]).unwrap_err();
    assert_eq!(error.to_string(), "label 3 of sample 1 is out of range: the model has 3 classes (0 to 2)");
    let error = metrics.update(&[0.1; 5], &[0, 1]).unwrap_err();
    assert_eq!(error.to_string(), "5 output values do not make 2 rows of 3");
    assert!(metrics.merge(&Classification::new(4)).is_err());
    assert!(Classification::new(0).update(&[], &[0]).is_err());
    assert!(Regression::new(2).update(&[1.0; 3], &[1.0; 3]).is_err());
    metrics.update(&[], &[]).unwrap();
    assert_eq!(metrics.samples(), 0);
}

#[test]
fn a_broken_model_shows() {
    let mut metrics = Classification::from_logits(3);
    metrics.update(&[f32::NAN, f32::NAN, f32::NAN, 1.0, f32::NAN, 0.0], &[1, 0]).unwrap();
    let report = metrics.report();
    assert!(report.loss.is_nan());
    assert_eq!((report.accuracy, report.roc_auc), (0.5, None));
    assert!(report.to_string().contains("loss                     -"));
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), -10.0..10.0, Just(f64::NAN), Just(f64::INFINITY), Just(0.0)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_line_chart_is_well_formed(
        points in prop::collection::vec((any_value(), any_value()), 0..80),
        name in ".*", mark in any_value(), title in any::<String>(),
    ) {
        let half = points.len() / 2;
        let chart = LineChart::new(title).axes(name.clone(), name.clone()).mark(mark, name.clone());
        let chart = chart.series(Series::new(name.clone(), points[..half].to_vec())).series(Series::new(name, points[half..].to_vec()));
        let svg = chart.to_svg();
        prop_assert!(roxmltree::Document::parse(&svg).is_ok(), "{}", svg);
    }

    #[test]
    fn any_matrix_and_bars_are_well_formed(
        rows in prop::collection::vec(prop::collection::vec(0..u64::MAX >> 12, 0..24), 0..24),
        bars in prop::collection::vec((any::<String>(), any_value()), 0..9),
    ) {
        let labels: Vec<&str> = bars.iter().map(|b| b.0.as_str()).collect();
        let svg = ConfusionChart::new(&ConfusionMatrix::from(rows), &labels).to_svg();
        prop_assert!(roxmltree::Document::parse(&svg).is_ok(), "{}", svg);
        let svg = BarChart::new("bars").bars(bars).to_svg();
        prop_assert!(roxmltree::Document::parse(&svg).is_ok(), "{}", svg);
    }
}
