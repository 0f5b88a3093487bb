//! Whatever the compiler fuses, cuts into tiles, recomputes or updates in place, a program must give what the reference
//! interpreter gives, and the same bits at any number of threads.

use brisk_graph::prim::{Conv, Window};
use brisk_graph::{Builder, DType, Graph, Role, Tensor, Value, grad, interpret::interpret, op};
use brisk_kernels::random;
use brisk_runtime::{Cpu, Device, Error, Options, Precision, State};

/// Values for every input of a graph: floats around zero, indices below 3.
pub fn sample_inputs(graph: &Graph) -> Vec<Tensor> {
    let fill = |(i, input): (usize, &brisk_graph::Input)| {
        let node = graph.node(input.id);
        let mut uniform = vec![0.0; node.shape.elements()];
        random::fill_uniform([7, i as u32], 0, &mut uniform);
        let values: Vec<f64> = match node.dtype {
            DType::F32 | DType::F64 => uniform.iter().map(|&u| f64::from(u) * 2.0 - 1.0).collect(),
            DType::I32 | DType::I64 => uniform.iter().map(|&u| f64::from((u * 3.0).floor())).collect(),
            DType::U8 => uniform.iter().map(|&u| f64::from((u * 256.0).floor())).collect(),
        };
        Tensor::from_f64s(node.dtype, &node.shape, &values).unwrap()
    };
    graph.inputs.iter().enumerate().map(fill).collect()
}

/// Runs a graph on the interpreter and on the CPU with several settings, and compares outputs and updates.
pub fn check(graph: &Graph) {
    check_at(graph, Precision::F32, 2e-5);
}

/// The same with large products in a precision; `error` is the largest, relative to the largest element of a result.
pub fn check_at(graph: &Graph, precision: Precision, error: f64) {
    let inputs = sample_inputs(graph);
    let expected = interpret(graph, &inputs).unwrap();
    let mut first: Option<Vec<Tensor>> = None;
    for (threads, trace) in [(1, false), (2, false), (4, false), (2, true)] {
        let options = Options { trace, ..Options::default() };
        let mut program = Cpu::new(threads).with_precision(precision).compile(graph, &options).unwrap();
        let mut state = State::new();
        let mut given = Vec::new();
        for (input, tensor) in graph.inputs.iter().zip(&inputs) {
            match input.role {
                Role::State => state.insert(&input.name, tensor.clone()),
                Role::Batch | Role::Scalar => given.push((input.name.as_str(), tensor)),
            }
        }
        let mut results = program.run(&given, &mut state).unwrap();
        results.extend(graph.updates.iter().map(|u| state.get(&graph.inputs[u.0].name).unwrap().clone()));
        for (i, (result, expected)) in results.iter().zip(&expected).enumerate() {
            let largest = expected.data.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
            for (j, (got, want)) in result.to_f64s().iter().zip(&expected.data).enumerate() {
                assert!(
                    (got - want).abs() <= error * largest + 1e-5 * want.abs() || got == want,
                    "{threads} threads, trace {trace}: result {i} element {j}: got {got}, expected {want}\n{graph}\n{}",
                    program.explain()
                );
            }
        }
        if !trace {
            match &first {
                None => first = Some(results),
                Some(first) => assert!(first == &results, "bits differ at {threads} threads"),
            }
        }
    }
}

/// Loss, and one step of gradient descent on everything whose name begins with `w`.
pub fn descent<'g>(b: &'g Builder, loss: Value<'g>, weights: &[Value<'g>]) -> Graph {
    let gradients = grad(loss, weights).unwrap();
    let updates: Vec<_> = weights.iter().zip(gradients).map(|(&w, g)| (w, w - g * 0.1)).collect();
    b.finish(&[("loss", loss)], &updates).unwrap()
}

pub fn conv_net(batch: usize, same: bool, bias: bool) -> Graph {
    let b = Builder::new();
    let x = b.input("x", Role::Batch, [batch, 9, 10, 3], DType::U8).cast(DType::F32) * (1.0 / 255.0);
    let y = b.input("y", Role::Batch, [batch], DType::I32);
    let k1 = b.input("w1", Role::State, [3, 3, 3, 8], DType::F32);
    let k2 = b.input("w2", Role::State, [3, 3, 8, 20], DType::F32);
    let b1 = b.input("w3", Role::State, [8], DType::F32);
    let b2 = b.input("w4", Role::State, [20], DType::F32);
    let padding = if same { [[1, 1], [1, 1]] } else { [[0, 0], [0, 0]] };
    let conv = Conv { padding, ..Conv::default() };
    let window = Window { size: [2, 2], stride: [2, 2], padding: [[0, 0], [0, 0]] };
    let h = op::relu(if bias { x.conv(k1, conv) + b1 } else { x.conv(k1, conv) }).max_pool(window);
    let h = op::relu(if bias { h.conv(k2, conv) + b2 } else { h.conv(k2, conv) });
    let h = if same { h.max_pool(window) } else { h };
    let features = h.shape().elements() / batch;
    let w = b.input("w5", Role::State, [features, 3], DType::F32);
    let logits = h.reshape([batch, features]).matmul(w);
    let one_hot =
        y.expand(1).broadcast_to([batch, 3]).equal(b.iota(1, [batch, 3], DType::I32)).cast(DType::F32);
    let loss = ((logits - one_hot) * (logits - one_hot)).sum_all() * (1.0 / batch as f64);
    let weights = if bias { vec![k1, k2, b1, b2, w] } else { vec![k1, k2, w] };
    descent(&b, loss, &weights)
}

#[test]
fn convolution_bias_relu_pool_and_back() {
    for batch in [1, 3, 8, 17] {
        for same in [false, true] {
            for bias in [false, true] {
                check(&conv_net(batch, same, bias));
            }
        }
    }
}

#[test]
fn conv_relu_pool_is_one_kernel_forward_and_backward() {
    let graph = conv_net(8, true, true);
    let plan = Cpu::new(1).compile(&graph, &Options::default()).unwrap().explain();
    assert_eq!(plan.matches("= conv+relu+max_pool(").count(), 2, "{plan}");
    assert_eq!(plan.matches("= conv+relu+max_pool gradient(").count(), 2, "{plan}");
    assert_eq!(plan.matches("region of").count(), 1, "{plan}");
    assert!(!plan.contains("copied into the state"), "{plan}");
}

#[test]
fn batch_normalization_and_residuals() {
    for batch in [2, 8, 19] {
        let b = Builder::new();
        let x = b.input("x", Role::Batch, [batch, 6, 6, 4], DType::F32);
        let conv = Conv { padding: [[1, 1], [1, 1]], ..Conv::default() };
        let mut weights = Vec::new();
        let mut updates = Vec::new();
        let mut h = x;
        for i in 0..3 {
            let k = b.input(&format!("w{i}"), Role::State, [3, 3, 4, 4], DType::F32);
            let gain = b.input(&format!("w gain {i}"), Role::State, [4], DType::F32);
            let moving = b.input(&format!("moving {i}"), Role::State, [4], DType::F32);
            weights.extend([k, gain]);
            let y = h.conv(k, conv);
            let mean = y.mean(&[0, 1, 2]);
            let centred = y - mean;
            let variance = (centred * centred).mean(&[0, 1, 2]);
            updates.push((moving, moving * 0.9 + mean * 0.1));
            let y = centred * (variance + 1e-3).rsqrt() * gain;
            h = op::relu(if i == 1 { y + h } else { y });
        }
        let loss = (h * h).mean_all();
        let gradients = grad(loss, &weights).unwrap();
        updates.extend(weights.iter().zip(gradients).map(|(&w, g)| (w, w - g * 0.1)));
        check(&b.finish(&[("loss", loss), ("maps", h)], &updates).unwrap());
    }
}

#[test]
fn everything_else_agrees_too() {
    for batch in [1, 4, 11] {
        let b = Builder::new();
        let x = b.input("x", Role::Batch, [batch, 5, 6], DType::F32);
        let labels = b.input("labels", Role::Batch, [batch], DType::I32);
        let table = b.input("w table", Role::State, [3, 6], DType::F32);
        let w = b.input("w", Role::State, [6, 7], DType::F32);
        let rate = b.input("rate", Role::Scalar, [], DType::F32);
        let key = b.input("key", Role::Scalar, [2], DType::I32);
        let embedded = table.take(labels); // (batch, 6)
        let h = x + embedded.expand(1) * rate;
        let h = h.matmul(w); // (batch, 5, 7)
        let h = (h.tanh() + h.exp().log() + (h * h + 1.0).rsqrt()) * h.sin().cos().abs();
        let kept = b.random(key, [batch, 5, 7]).less(0.7).cast(DType::F32);
        let h = h * kept;
        let scores = h.matmul(h.transpose(&[0, 2, 1])); // (batch, 5, 5)
        let h = scores.matmul(h).slice(1, 1, 4).pad(&[0, 1, 0], &[0, 0, 2], 0.5).reverse(&[1]);
        let joined = b.concat(&[h, h * 2.0], 2);
        let most = joined.reduce_max(&[1]);
        let shares = (most - most.reduce_max(&[1]).expand(1)).exp();
        let shares = shares / shares.sum(&[1]).expand(1);
        let loss = (shares * shares).sum_all() * (1.0 / batch as f64) + joined.erf().mean_all();
        let norm = (w * w).sum_all().sqrt();
        let weights = [table, w];
        let gradients = grad(loss * norm, &weights).unwrap();
        let total = gradients.iter().map(|g| (*g * *g).sum_all()).reduce(|a, c| a + c).unwrap();
        let updates: Vec<_> =
            weights.iter().zip(&gradients).map(|(&w, &g)| (w, w - g * 0.1 / total.sqrt().max(1.0))).collect();
        let picked = most.argmax(1);
        let graph = b
            .finish(
                &[("loss", loss), ("most", most), ("picked", picked), ("mean", x.mean(&[0])), ("x", x)],
                &updates,
            )
            .unwrap();
        check(&graph);
    }
}

#[test]
fn pools_agree() {
    for padding in [[[0, 0], [0, 0]], [[0, 1], [1, 0]]] {
        let b = Builder::new();
        let x = b.input("x", Role::Batch, [5, 7, 6, 3], DType::F32);
        let window = Window { size: [3, 2], stride: [2, 2], padding };
        let most = x.max_pool(window);
        let sums = x.sum_pool(window);
        let loss = (most * most * most).sum_all() + (sums * sums).sum_all();
        let gradient = grad(loss, &[x]).unwrap()[0];
        check(&b.finish(&[("most", most), ("sums", sums), ("gradient", gradient)], &[]).unwrap());
    }
}

#[test]
fn large_weights_get_passes_of_their_own() {
    let b = Builder::new();
    let x = b.input("x", Role::Batch, [12, 600], DType::F32);
    let w1 = b.input("w1", Role::State, [600, 500], DType::F32);
    let w2 = b.input("w2", Role::State, [500, 4], DType::F32);
    let h = op::relu(x.matmul(w1));
    let y = h.matmul(w2);
    let loss = (y * y).mean_all();
    let graph = descent(&b, loss, &[w1, w2]);
    assert_eq!(stage_of(&graph, "[300000] = matmul("), "1: whole, 1 tasks");
    check(&graph);
}

/// How the plan calls the stage of a step.
fn stage_of(graph: &Graph, step: &str) -> String {
    let plan = Cpu::new(1).compile(graph, &Options::default()).unwrap().explain();
    let before = plan.split_once(step).unwrap_or_else(|| panic!("no {step} in {plan}")).0;
    let stage = before.lines().rfind(|l| l.starts_with(|c: char| c.is_ascii_digit())).unwrap_or_default();
    stage.split(';').next().unwrap_or_default().to_string()
}

#[test]
fn a_matrix_that_all_tiles_share_is_packed_once_and_so_is_its_transpose() {
    let b = Builder::new();
    let x = b.input("x", Role::Batch, [70, 90], DType::F32);
    let w1 = b.input("w1", Role::State, [90, 130], DType::F32);
    let w2 = b.input("w2", Role::State, [130, 100], DType::F32);
    let y = op::relu(x.matmul(w1)).matmul(w2);
    let loss = (y * y).mean_all();
    let graph = descent(&b, loss, &[w1, w2]);
    let plan = Cpu::new(1).compile(&graph, &Options::default()).unwrap().explain();
    // Both matrices for the way there, the second one's transpose for the way back.
    assert_eq!(plan.matches("= pack(").count(), 3, "{plan}");
    check(&graph);
}

#[test]
fn packed_weights_are_kept_until_they_change() {
    let b = Builder::new();
    let x = b.input("x", Role::Batch, [6, 90], DType::F32);
    let w = b.input("w", Role::State, [90, 130], DType::F32);
    let graph = b.finish(&[("y", x.matmul(w))], &[]).unwrap();
    let x = Tensor::new([6, 90], (0..540).map(|i| (i % 7) as f32).collect::<Vec<_>>()).unwrap();
    let weights = |by: usize| (0..90 * 130).map(|i| (i % by) as f32).collect::<Vec<_>>();
    let device = Cpu::new(2);
    let (mut program, mut other) = (
        device.compile(&graph, &Options::default()).unwrap(),
        device.compile(&graph, &Options::default()).unwrap(),
    );
    assert!(program.explain().contains("kept"), "{}", program.explain());
    let mut state = State::new();
    let expected =
        |state: &State| interpret(&graph, &[x.clone(), state.get("w").unwrap().clone()]).unwrap().remove(0);
    // New tensors, then the same memory written to, then a tensor that is put in its place.
    for change in 0..6 {
        match change % 3 {
            0 => state.insert("w", Tensor::new([90, 130], weights(11 + change)).unwrap()),
            1 => state.get_mut("w").unwrap().f32s_mut().unwrap()[change] += 100.0,
            _ => {
                let held = state.get("w").unwrap().clone();
                state.get_mut("w").unwrap().f32s_mut().unwrap().fill(change as f32);
                assert!(held.f32s().unwrap() != state.get("w").unwrap().f32s().unwrap());
            }
        }
        for turn in 0..3 {
            let program = if turn == 1 { &mut other } else { &mut program };
            let y = program.run(&[("x", &x)], &mut state).unwrap();
            let want = expected(&state);
            let close = y[0]
                .f32s()
                .unwrap()
                .iter()
                .zip(&want.data)
                .all(|(y, w)| (f64::from(*y) - w).abs() <= 1e-5 * w.abs());
            assert!(close, "change {change}");
        }
    }
}

#[test]
fn a_loss_that_is_not_finite_changes_nothing_and_the_trace_names_the_first_bad_value() {
    let b = Builder::new();
    let x = b.input("x", Role::Batch, [4, 3], DType::F32);
    let w = b.input("w", Role::State, [3, 2], DType::F32);
    let y = b.scope("dense_1", || x.matmul(w));
    let loss = b.scope("loss", || (y.log() * y).mean_all());
    let graph = descent(&b, loss, &[w]);
    let device = Cpu::new(2);
    let mut state: State = [("w", Tensor::new([3, 2], vec![-1.0f32; 6]).unwrap())].into_iter().collect();
    let before = state.clone();
    let x = Tensor::new([4, 3], vec![1.0f32; 12]).unwrap();
    let guarded = Options { guard: Some("loss".into()), ..Options::default() };
    let error = device.compile(&graph, &guarded).unwrap().run(&[("x", &x)], &mut state).unwrap_err();
    assert!(matches!(&error, Error::NotFinite { output, .. } if output == "loss"), "{error}");
    assert!(state == before);
    let traced = Options { trace: true, ..Options::default() };
    let error = device.compile(&graph, &traced).unwrap().run(&[("x", &x)], &mut state.clone()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "first bad value: value of [4, 2] from log in \"loss\" (8 of 8 elements are not finite)"
    );
}

#[test]
fn what_does_not_fit_is_named() {
    let b = Builder::new();
    let x = b.input("x", Role::Batch, [4, 3], DType::F32);
    let w = b.input("w", Role::State, [3], DType::F32);
    let graph = b.finish(&[("y", x * w)], &[]).unwrap();
    let mut program = Cpu::new(1).compile(&graph, &Options::default()).unwrap();
    let mut state = State::new();
    let x = Tensor::new([4, 3], vec![1.0f32; 12]).unwrap();
    let error = program.run(&[("x", &x)], &mut state).unwrap_err();
    assert_eq!(error.to_string(), "the program needs \"w\", which was not given");
    state.insert("w", Tensor::new([2], vec![1.0f32; 2]).unwrap());
    let error = program.run(&[("x", &x)], &mut state).unwrap_err();
    assert_eq!(error.to_string(), "w: expected f32 [3], found f32 [2]");
}

/// A step of a text classifier: embedded tokens, a recurrent layer in both directions, a mean.
fn recurrent_net(batch: usize, rows: usize, mask: bool) -> Graph {
    let (steps, width, units) = (7, 6, 5);
    let b = Builder::new();
    let tokens = b.input("tokens", Role::Batch, [batch, steps], DType::I32);
    let table = b.input("w table", Role::State, [rows, width], DType::F32);
    let kernel = b.input("w kernel", Role::State, [width, 4 * units], DType::F32);
    let recurrent = b.input("w recurrent", Role::State, [units, 4 * units], DType::F32);
    let second = b.input("w second", Role::State, [units, 3 * units], DType::F32);
    let recurrent2 = b.input("w recurrent 2", Role::State, [units, 3 * units], DType::F32);
    let bias = b.input("w bias", Role::State, [3 * units], DType::F32);
    let live = match mask {
        true => b.fill_as(0.0, [batch, steps], DType::I32).less(tokens),
        false => b.fill_as(1.0, [batch, steps], DType::U8),
    };
    let x = table.take(tokens).matmul(kernel);
    let state = b.fill(0.0, [batch, 2 * units]);
    let forward = op::lstm(x, recurrent, state, live, op::Yield::Sequence, false);
    let last = op::lstm(x, recurrent, state, live, op::Yield::State, true);
    let start = last.slice(1, 0, units);
    let again = op::gru(forward.matmul(second), recurrent2, bias, start, live, op::Yield::Last, false);
    let loss = (again * again).sum_all() * (1.0 / batch as f64);
    descent(&b, loss, &[table, kernel, recurrent, second, recurrent2, bias])
}

#[test]
fn recurrent_networks_agree() {
    for batch in [1, 5, 19] {
        for mask in [false, true] {
            check(&recurrent_net(batch, 3, mask));
        }
    }
}

#[test]
fn the_gradient_of_a_large_table_gets_a_pass_of_its_own() {
    let graph = recurrent_net(9, 40_000, false);
    let stage = stage_of(&graph, "= scatter_add(");
    assert!(stage.ends_with(": whole, 7 tasks"), "{stage}");
    check(&graph);
}

#[test]
fn convolutions_with_fewer_multiplications_and_back() {
    let conv = Conv { padding: [[1, 1], [1, 1]], ..Conv::default() };
    for batch in [1, 3] {
        let b = Builder::new();
        let x = b.input("x", Role::Batch, [batch, 17, 16, 32], DType::F32);
        let w = |name: &str, shape: &[usize]| b.input(name, Role::State, shape, DType::F32);
        let (k1, k2, bias) = (w("w1", &[3, 3, 32, 48]), w("w2", &[3, 3, 48, 32]), w("w3", &[48]));
        let h = op::relu(x.conv(k1, conv) + bias);
        let y = h.conv(k2, conv) + x;
        let graph = descent(&b, (y * y).mean_all(), &[k1, k2, bias]);
        check(&graph);
        let plan = Cpu::new(1).compile(&graph, &Options::default()).unwrap().explain();
        // 20 tiles an image: the gradient by the kernel is worth it for two images.
        assert_eq!(
            plan.matches("= winograd(").count() + plan.matches("= winograd+relu(").count(),
            3,
            "{plan}"
        );
        assert_eq!(plan.matches("= winograd_grad_kernel(").count(), if batch > 1 { 2 } else { 0 }, "{plan}");

        let b = Builder::new();
        let x = b.input("x", Role::Batch, [batch, 17, 16, 32], DType::F32);
        let k1 = b.input("w1", Role::State, [3, 3, 32, 48], DType::F32);
        check(&b.finish(&[("y", op::relu(x.conv(k1, conv)))], &[]).unwrap());
    }
}

/// Values that belong to no sample, such as maps made of one table, hold several images that are convolved at once.
#[test]
fn whole_convolutions_of_several_images_agree() {
    let b = Builder::new();
    let x = b.input("x", Role::Scalar, [3, 80, 8, 16], DType::F32);
    let kernel = b.input("kernel", Role::State, [3, 3, 16, 32], DType::F32);
    let strided = Conv { stride: [2, 1], ..Conv::default() };
    let window = Window { size: [2, 2], stride: [2, 2], padding: [[0, 0], [0, 0]] };
    let pooled = op::max_pool(op::relu(x.conv(kernel, Conv::default()) + 0.5), window);
    let outputs = [
        ("strided", x.conv(kernel, strided)),
        ("plain", x.conv(kernel, Conv::default())),
        ("pooled", pooled),
    ];
    check(&b.finish(&outputs, &[]).unwrap());
}

/// One image with kernels that are larger than it: each thread makes some channels.
#[test]
fn channels_of_one_image_are_convolved_by_all_threads() {
    let b = Builder::new();
    let x = b.input("x", Role::Batch, [1, 8, 8, 128], DType::F32);
    let kernel = |name: &str, shape: [usize; 4]| b.input(name, Role::State, shape, DType::F32);
    let small = x.slice(1, 0, 5).slice(2, 0, 5);
    let padded = Conv { padding: [[1, 1], [1, 1]], ..Conv::default() };
    let strided = Conv { stride: [3, 2], ..padded };
    let outputs = [
        ("cells", small.conv(kernel("cells", [1, 1, 128, 768]), Conv::default())),
        ("strided", x.conv(kernel("strided", [3, 3, 128, 256]), strided)),
        ("fewer", x.conv(kernel("fewer", [3, 3, 128, 192]), padded)),
    ];
    let graph = b.finish(&outputs, &[]).unwrap();
    check(&graph);
    // As many tasks as steps would be one for each.
    assert_ne!(stage_of(&graph, "] = winograd("), "0: whole, 3 tasks");
    assert_ne!(stage_of(&graph, "[19200] = conv("), "2: whole, 1 tasks");
}

/// One image, of which each thread moves and pools some rows.
#[test]
fn rows_of_one_image_are_moved_and_pooled_by_all_threads() {
    let b = Builder::new();
    let x = b.input("x", Role::Batch, [1, 40, 24, 48], DType::F32);
    let window = |size: usize, pad| Window { size: [size; 2], stride: [2, 1], padding: [[pad; 2]; 2] };
    let outputs = [
        ("turned", x.transpose(&[0, 3, 1, 2])),
        ("shuffled", x.reshape([1, 40, 24, 3, 16]).transpose(&[0, 1, 2, 4, 3])),
        ("reversed", x.reverse(&[1, 3])),
        ("beside", b.concat(&[x, x.reverse(&[1])], 3)),
        ("below", b.concat(&[x, x.slice(1, 0, 30)], 1)),
        ("every other", x.slice(2, 3, 20)),
        ("largest", x.max_pool(window(3, 1))),
        ("sums", x.sum_pool(window(4, 2))),
    ];
    check(&b.finish(&outputs, &[]).unwrap());
}

#[test]
fn what_reads_a_sum_waits_for_it() {
    let b = Builder::new();
    let x = b.input("x", Role::Batch, [2, 3], DType::F32);
    let row = x.slice(0, 0, 1).reshape([3]);
    let product = row * row.sum(&[0]).broadcast_to([3]);
    let w = b.input("w", Role::State, [4, 5], DType::F32);
    let by_column = w * w.sum(&[0]).expand(0).broadcast_to([4, 5]);
    check(&b.finish(&[("product", product), ("by_column", by_column)], &[]).unwrap());
}

/// A value that stands in the same group, but in another shape: a group that reads it there would read it before it is written.
#[test]
fn what_reads_a_value_in_another_shape_waits_for_it() {
    let b = Builder::new();
    let x = b.input("x", Role::Batch, [2, 3, 4], DType::F32);
    let sum = x.sum(&[1]);
    let y = sum + (sum * 0.5).reshape([2, 1, 4]).reshape([2, 4]);
    check(&b.finish(&[("y", y)], &[]).unwrap());
}

#[test]
fn rare_element_types_are_evaluated_on_the_host() {
    use brisk_graph::prim::Binary;
    let b = Builder::new();
    let x = b.input("x", Role::Batch, [4, 6], DType::F32);
    let ids = b.input("ids", Role::Batch, [4, 6], DType::I64);
    let wide = b.input("wide", Role::Batch, [4, 6], DType::F64);
    let table = b.input("table", Role::State, [9, 6], DType::F32);
    let shifted = (ids * 2.0 + 1.0).binary(Binary::And, b.fill_as(7.0, [4, 6], DType::I64));
    let taken = table.take(shifted.slice(1, 0, 2).cast(DType::I32));
    let mixed = x * ids.cast(DType::F32) + taken.sum(&[1]);
    let sums = wide.transpose(&[1, 0]).matmul(wide).exp().sum(&[1]) + x.sum(&[0]).cast(DType::F64);
    let bytes = ids.less(shifted).pad(&[1, 0], &[0, 1], 1.0);
    let largest = ids.reduce_max(&[1]);
    let outputs =
        [("shifted", shifted), ("mixed", mixed), ("sums", sums), ("bytes", bytes), ("largest", largest)];
    check(&b.finish(&outputs, &[]).unwrap());
}
