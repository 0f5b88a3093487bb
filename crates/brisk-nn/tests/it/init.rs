//! Initializers: bounds, deviations, and that a number depends on seed, path and place alone.

use brisk_nn::Initializer;

fn values(init: &Initializer, shape: [usize; 2]) -> Vec<f64> {
    init.tensor(3, "layer.kernel", shape).expect("small").to_f64s()
}

#[test]
fn spreads_are_those_of_keras() {
    let (fan_in, fan_out): (f64, f64) = (300.0, 200.0);
    let cases = [
        (
            Initializer::GlorotUniform,
            (2.0 / (fan_in + fan_out)).sqrt(),
            Some((6.0 / (fan_in + fan_out)).sqrt()),
        ),
        (Initializer::GlorotNormal, (2.0 / (fan_in + fan_out)).sqrt(), None),
        (Initializer::HeUniform, (2.0 / fan_in).sqrt(), Some((6.0 / fan_in).sqrt())),
        (Initializer::HeNormal, (2.0 / fan_in).sqrt(), None),
        (Initializer::LecunUniform, (1.0 / fan_in).sqrt(), Some((3.0 / fan_in).sqrt())),
        (Initializer::LecunNormal, (1.0 / fan_in).sqrt(), None),
        (Initializer::RandomNormal { mean: 0.0, stddev: 0.05 }, 0.05, None),
        (Initializer::TruncatedNormal { mean: 0.0, stddev: 0.05 }, 0.05 * 0.8796, Some(0.1)),
        (Initializer::RandomUniform { minval: -0.3, maxval: 0.3 }, 0.3 / 3f64.sqrt(), Some(0.3)),
    ];
    for (init, deviation, bound) in cases {
        let v = values(&init, [300, 200]);
        let n = v.len() as f64;
        let mean = v.iter().sum::<f64>() / n;
        let found = (v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
        assert!(mean.abs() < deviation / 50.0, "{init:?} has mean {mean}");
        assert!((found / deviation - 1.0).abs() < 0.02, "{init:?} has deviation {found}, not {deviation}");
        if let Some(bound) = bound {
            assert!(v.iter().all(|x| x.abs() <= bound + 1e-7), "{init:?} goes beyond {bound}");
        }
    }
    assert_eq!(values(&Initializer::Constant { value: 0.5 }, [1, 2]), [0.5, 0.5]);
}

#[test]
fn a_number_depends_on_seed_path_and_place_alone() {
    let init = Initializer::HeNormal;
    let tensor = |seed, path| init.tensor(seed, path, [50, 4]).expect("small");
    assert_eq!(tensor(1, "a.kernel"), tensor(1, "a.kernel"));
    assert_ne!(tensor(1, "a.kernel"), tensor(2, "a.kernel"));
    assert_ne!(tensor(1, "a.kernel"), tensor(1, "b.kernel"));
    let uniform = Initializer::RandomUniform { minval: 0.0, maxval: 1.0 };
    let [short, long] = [10, 20].map(|n| uniform.tensor(1, "a", [n]).expect("small").to_f64s());
    assert_eq!(short, long[..10]);
    // The documented recipe, so that a change of it is seen.
    let first: Vec<String> = long[..3].iter().map(|x| format!("{x:.6}")).collect();
    expect_test::expect![[r#"["0.612806", "0.245023", "0.014288"]"#]].assert_eq(&format!("{first:?}"));
}

#[test]
fn orthogonal_matrices_have_orthogonal_rows_or_columns() {
    for [rows, columns] in [[5, 20], [20, 5], [8, 8]] {
        let v = values(&Initializer::Orthogonal { gain: 2.0 }, [rows, columns]);
        let (count, length) = (rows.min(columns), rows.max(columns));
        let at = |i: usize, j: usize| if rows <= columns { v[i * columns + j] } else { v[j * columns + i] };
        for a in 0..count {
            for b in 0..count {
                let product: f64 = (0..length).map(|j| at(a, j) * at(b, j)).sum();
                let want = if a == b { 4.0 } else { 0.0 };
                assert!((product - want).abs() < 1e-5, "{rows}x{columns}: {a} times {b} is {product}");
            }
        }
    }
}

#[test]
fn only_the_forget_gate_starts_with_one() {
    let bias = Initializer::UnitForgetBias.tensor(0, "lstm.bias", [12]).expect("small").to_f64s();
    assert_eq!(bias, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn a_parameter_that_no_memory_holds_is_an_error() {
    assert!(Initializer::Zeros.tensor(0, "x", [usize::MAX, 2]).is_err());
}
