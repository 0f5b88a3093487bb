//! Named operations against PyTorch and Keras.

use brisk_graph::op::{self, Interpolation};
use brisk_graph::prim::Window;
use brisk_graph::{Builder, DType, Role, Tensor, Value, grad, interpret::interpret};
use brisk_testkit::{Golden, assert_close, goldens};

fn pair(v: &serde_json::Value) -> [usize; 2] {
    let one = |v: &serde_json::Value| v.as_u64().unwrap() as usize;
    if v.is_array() { [one(&v[0]), one(&v[1])] } else { [one(v); 2] }
}

/// Output and gradients of `sum(output * cotangent)` are the golden's.
#[track_caller]
fn check(case: &Golden, roles: &[&str], build: impl for<'g> Fn(&[Value<'g>]) -> Value<'g>) {
    let b = Builder::new();
    let tensors: Vec<Tensor> = roles.iter().map(|r| case.f64s(r)).collect();
    let inputs: Vec<_> =
        roles.iter().zip(&tensors).map(|(r, t)| b.input(r, Role::Batch, t.shape(), DType::F64)).collect();
    let y = build(&inputs);
    let gradients = grad((y * b.constant(case.f64s("cotangent"))).sum_all(), &inputs).unwrap();
    let mut outputs = vec![("output", y)];
    outputs.extend(roles.iter().copied().zip(gradients));
    let found = interpret(&b.finish(&outputs, &[]).unwrap(), &tensors).unwrap();
    let want = ["output".to_string()].into_iter().chain(roles.iter().map(|r| format!("grad_{r}")));
    for (found, role) in found.iter().zip(want) {
        if let Some(want) = case.find(&role) {
            assert_eq!(&found.shape, want.shape(), "{} {role}", case.name);
            assert_close(&format!("{} {role}", case.name), &found.data, &want.to_f64s(), 1e-6, 1e-6);
        }
    }
}

#[test]
fn layers() {
    let mut checked = 0;
    for case in goldens("layers") {
        let number = |key: &str| case.config(key).as_f64();
        checked += 1;
        match case.text("layer") {
            "Activation" => {
                let slope = number("negative_slope");
                let approximate = case.config("approximate").as_bool().unwrap_or(false);
                match case.config("activation").as_str().unwrap() {
                    "relu" => check(&case, &["input"], |x| op::relu(x[0])),
                    "leaky_relu" => check(&case, &["input"], |x| op::leaky_relu(x[0], slope.unwrap_or(0.2))),
                    "elu" => check(&case, &["input"], |x| op::elu(x[0], 1.0)),
                    "gelu" => check(&case, &["input"], |x| op::gelu(x[0], approximate)),
                    "silu" | "swish" => check(&case, &["input"], |x| op::silu(x[0])),
                    "sigmoid" => check(&case, &["input"], |x| op::sigmoid(x[0])),
                    "softplus" => check(&case, &["input"], |x| op::softplus(x[0])),
                    "softmax" => check(&case, &["input"], |x| op::softmax(x[0])),
                    "log_softmax" => check(&case, &["input"], |x| op::log_softmax(x[0])),
                    _ => checked -= 1,
                }
            }
            "LayerNormalization" if case.find("gamma").is_some() && case.find("beta").is_some() => {
                let epsilon = number("epsilon").unwrap();
                check(&case, &["input", "gamma", "beta"], |x| op::layer_norm(x[0], x[1], x[2], epsilon));
            }
            "UpSampling2D" => {
                let how = match case.config("interpolation").as_str().unwrap() {
                    "nearest" => Interpolation::Nearest,
                    _ => Interpolation::Bilinear,
                };
                check(&case, &["input"], |x| op::upsample(x[0], pair(case.config("size")), how));
            }
            kind @ ("MaxPooling2D" | "AveragePooling2D") => {
                let size = pair(case.config("pool_size"));
                let strides = case.config("strides");
                let stride = if strides.is_null() { size } else { pair(strides) };
                let shape = case.tensor("input").shape().clone();
                let pad = |i: usize| {
                    let total = ((shape[1 + i].div_ceil(stride[i]) - 1) * stride[i] + size[i])
                        .saturating_sub(shape[1 + i]);
                    [total / 2, total - total / 2]
                };
                let same = case.config("padding") == "same";
                let window =
                    Window { size, stride, padding: if same { [pad(0), pad(1)] } else { [[0, 0]; 2] } };
                check(&case, &["input"], |x| match kind {
                    "MaxPooling2D" => op::max_pool(x[0], window),
                    _ => op::avg_pool(x[0], window, false),
                });
            }
            "GlobalAveragePooling2D" => check(&case, &["input"], |x| op::global_avg_pool(x[0])),
            "GlobalMaxPooling2D" => check(&case, &["input"], |x| op::global_max_pool(x[0])),
            "BatchNormalization" if case.find("gamma").is_some() && case.find("beta").is_some() => {
                let epsilon = number("epsilon").unwrap();
                let training = case.about["training"].as_bool().unwrap();
                check(&case, &["input", "gamma", "beta"], |x| {
                    let b = x[0].builder();
                    let axes: Vec<_> = (0..x[0].rank() - 1).collect();
                    let (mean, variance) = match training {
                        true => {
                            let mean = x[0].mean(&axes);
                            (mean, (x[0] - mean).square().mean(&axes))
                        }
                        false => {
                            (b.constant(case.f64s("moving_mean")), b.constant(case.f64s("moving_variance")))
                        }
                    };
                    op::batch_norm(x[0], mean, variance, x[1], x[2], epsilon)
                });
            }
            _ => checked -= 1,
        }
    }
    assert!(checked >= 30, "only {checked} goldens were checked");
}

#[test]
fn losses() {
    let mut checked = 0;
    for case in goldens("losses") {
        if case.find("class_weight").is_some() {
            continue;
        }
        let sparse = case.text("loss") == "SparseCategoricalCrossentropy";
        let truth = if sparse { case.tensor("y_true").clone() } else { case.f64s("y_true") };
        let prediction = case.f64s("y_pred");
        let smoothing = case.config("label_smoothing").as_f64().unwrap_or(0.0);
        let b = Builder::new();
        let t = b.input("t", Role::Batch, truth.shape(), truth.dtype());
        let p = b.input("p", Role::Batch, prediction.shape(), DType::F64);
        let each = match case.text("loss") {
            "SparseCategoricalCrossentropy" => op::sparse_cross_entropy(p, t, smoothing),
            "CategoricalCrossentropy" => {
                op::cross_entropy(p, t * (1.0 - smoothing) + smoothing / p.last() as f64)
            }
            "BinaryCrossentropy" => op::binary_cross_entropy(p, t * (1.0 - smoothing) + smoothing / 2.0),
            "MeanSquaredError" => op::squared_error(p, t),
            "MeanAbsoluteError" => op::absolute_error(p, t),
            "Huber" => op::huber(p, t, case.config("delta").as_f64().unwrap()),
            other => panic!("no such loss: {other}"),
        };
        let loss = each.mean_all();
        let by = grad(loss, &[p]).unwrap()[0];
        let found =
            interpret(&b.finish(&[("loss", loss), ("by", by)], &[]).unwrap(), &[truth, prediction]).unwrap();
        assert_close(&case.name, &found[0].data, &case.tensor("loss").to_f64s(), 1e-6, 1e-6);
        assert_close(&case.name, &found[1].data, &case.tensor("grad_y_pred").to_f64s(), 1e-6, 1e-6);
        checked += 1;
    }
    assert!(checked >= 12, "only {checked} goldens were checked");
}
