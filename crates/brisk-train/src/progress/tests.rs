use super::{
    screen::{Line, count, eta, metric, per_step},
    *,
};

fn line(step: usize, time: &str, each: &str, metrics: &[&str], last: bool) -> Line {
    let tail = std::iter::once(each).chain(metrics.iter().copied()).map(str::to_owned).collect();
    Line { head: count(step, 188), share: Some(step as f64 / 188.0), time: time.into(), tail, last }
}

/// What Keras 3.15.1's `Progbar` writes for the same steps and times (after its `\b`s and `\r`).
#[test]
fn looks_like_keras() {
    let (accuracy, loss) = (" - accuracy: 0.8123", " - loss: 0.5123");
    let (text, visible) = line(57, "1s", " 13ms/step", &[accuracy, loss], false).render(120, true);
    let expected = "\x1b[1m 57/188\x1b[0m \x1b[32m━━━━━━\x1b[0m\x1b[37m━━━━━━━━━━━━━━\x1b[0m \
                    \x1b[1m1s\x1b[0m 13ms/step - accuracy: 0.8123 - loss: 0.5123";
    assert_eq!(text, expected);
    assert_eq!(visible, 75);

    let metrics = [accuracy, " - loss: 5.0000e-04", " - val_accuracy: nan", " - val_loss: 123.0000"];
    let (text, _) = line(188, "4s", " 17ms/step", &metrics, true).render(40, true);
    let expected = "\x1b[1m188/188\x1b[0m \x1b[32m━━━━━━━━━━━━━━━━━━━━\x1b[0m\x1b[37m\x1b[0m \x1b[1m4s\x1b[0m 17ms/step \
                    - accuracy: 0.8123 - loss: 5.0000e-04 - val_accuracy: nan - val_loss: 123.0000";
    assert_eq!(text, expected, "the last drawing is complete on a narrow terminal, too");
}

#[test]
fn the_parts_are_written_as_in_python() {
    assert_eq!(metric("a", 0.001), " - a: 1.0000e-03");
    assert_eq!(metric("a", 0.0), " - a: 0.0000e+00");
    assert_eq!(metric("a", -2.5), " - a: -2.5000");
    assert_eq!(metric("a", 1e-120), " - a: 1.0000e-120");
    assert_eq!(metric("a", f64::NEG_INFINITY), " - a: -inf");
    let times = [0.0, 59.9, 60.0, 93.7, 3600.0, 7505.0, f64::NAN, f64::INFINITY, -1.0].map(eta);
    assert_eq!(times, ["0s", "59s", "60s", "1:33", "60:00", "2:05:05", "0:00:00", "0:00:00", "0s"]);
    let times = [0.0, 2.4, 0.0127, 0.00045].map(per_step);
    assert_eq!(times, [" 0s/step", " 2s/step", " 13ms/step", " 450us/step"]);
    assert_eq!([count(5, 1000), count(7, 7), count(7, 0)], ["   5/1000", "7/7", "      7/Unknown"]);
}

#[test]
fn never_wider_than_the_terminal() {
    let metrics = [" - accuracy: 0.8123", " - loss: 0.5123"];
    for width in 0..100 {
        let (text, visible) = line(57, "1s", " 13ms/step", &metrics, false).render(width, false);
        assert_eq!(text.chars().count(), visible);
        assert!(visible < width.max(1), "{visible} in {width}: {text}");
    }
    let narrow = line(57, "1s", " 13ms/step", &metrics, false).render(50, false).0;
    assert_eq!(narrow, " 57/188 ━━─────── 1s 13ms/step - accuracy: 0.8123");
}

#[test]
fn a_terminal_sees_one_line_redrawn() {
    let mut progress = Progress::with_writer(Vec::new(), 2, true, 80).color(false);
    progress.epoch(1, 1000);
    for k in 1..=1000 {
        progress.step(k, &[("loss", 0.5)]);
    }
    progress.println("A checkpoint was saved");
    progress.finish(&[("val_loss", f64::NAN)]);
    progress.epoch(2, 0);
    progress.step(3, &[]);
    let text = String::from_utf8(progress.get_ref().clone()).unwrap();
    assert!(text.starts_with("Epoch 1/2\n\r   1/1000 ────────────────────"), "{text}");
    assert!(text.matches('\r').count() < 50, "drawing is limited: {}", text.matches('\r').count());
    assert!(text.contains("\rA checkpoint was saved\n\r1000/1000 ━━━━━━━━━━━━━━━━━━━━ "), "{text}");
    assert!(text.contains(" - loss: 0.5000 - val_loss: nan\nEpoch 2/2\n\r      3/Unknown 0s "), "{text}");
}

#[test]
fn odd_calls_are_harmless() {
    for terminal in [false, true] {
        let mut progress = Progress::with_writer(Vec::new(), 0, terminal, 0);
        progress.finish(&[]);
        progress.epoch(7, 3);
        progress.step(9, &[("loss", 1.0)]);
        progress.finish(&[("loss", 2.0)]);
        let mut task = TaskProgress::with_writer(Vec::new(), "下载", 0, Unit::Bytes, terminal, 30);
        task.set(u64::MAX);
        task.add(1);
        task.finish();
    }
}

#[test]
fn a_task_shows_its_unit() {
    let mut task = TaskProgress::with_writer(Vec::new(), "Download", 30_400_000, Unit::Bytes, true, 80);
    task.set(12_300_000);
    let text = String::from_utf8(task.get_ref().clone()).unwrap();
    assert!(text.starts_with("\r\x1b[1mDownload 12.3 MB/30.4 MB\x1b[0m \x1b[32m━━━━━━━━\x1b[0m"), "{text}");
}
