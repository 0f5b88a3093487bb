//! SavedModels: graph, functions, signatures and objects, as TensorFlow wrote them.

use brisk_format::{TfAttribute, TfCheckpoint, TfInput, TfType, read_saved_model};

use super::golden;

#[test]
fn signatures_lead_to_functions() {
    let model = read_saved_model(&golden("types")).unwrap();
    assert_eq!(model.tensorflow_version, "2.21.0");
    let signature = &model.signatures["serving_default"];
    let x = &signature.inputs["x"];
    assert_eq!((x.dtype, &x.shape), (TfType(1), &Some(vec![None, Some(2)])));
    let y = signature.outputs["y"].value.as_ref().unwrap();
    assert_eq!(y, &TfInput { node: "StatefulPartitionedCall".into(), output: None, index: 0 });
    assert_eq!(signature.outputs["zeros"].shape, Some(vec![Some(4), Some(2)]));
    let call = model.graph.node(&y.node).unwrap();
    let Some(TfAttribute::Function(wrapper, _)) = call.attributes.get("f") else { panic!("{call:?}") };
    assert!(model.functions.contains_key(wrapper), "{wrapper}");
    assert_eq!(call.inputs[0].node, "serving_default_x");
    assert!(model.graph.order().is_some());
}

#[test]
fn a_function_is_read_as_it_was_written() {
    let model = read_saved_model(&golden("types")).unwrap();
    let (name, function) = model.functions.iter().find(|(_, f)| f.graph.node("Relu").is_some()).unwrap();
    let arguments: Vec<_> = function.inputs.iter().map(|(n, t)| format!("{n} {t}")).collect();
    let expected =
        ["x float32", "readvariableop_resource resource", "matmul_1_readvariableop_resource resource"];
    assert_eq!(arguments[..3], expected);
    let node = |name: &str| function.graph.node(name).unwrap();
    assert_eq!(node("Relu").op, "Relu");
    let activations = TfInput { node: "Relu".into(), output: Some("activations".into()), index: 0 };
    assert_eq!(node("matmul_1").inputs[0], activations);
    assert_eq!(node("Identity").inputs.len(), 1, "it also waits for another");
    assert_eq!(function.outputs[0].1.node, "Identity");
    let eye = node("Const").constant().unwrap();
    assert_eq!((eye.dtype().to_string().as_str(), eye.shape()), ("float32", &[2, 2][..]));
    assert_eq!(eye.tensor().unwrap().f32s().unwrap(), [3.0, 0.0, 0.0, 3.0]);
    let zeros = node("zeros").constant().unwrap().tensor().unwrap();
    assert_eq!(zeros.f32s().unwrap(), [0.0; 8]);
    let at = node("strided_slice/stack").constant().unwrap().tensor().unwrap();
    assert_eq!(at.i32s().unwrap(), [0, 1]);
    assert_eq!(node("MatMul").attributes["T"], TfAttribute::Type(TfType(1)));
    assert_eq!(node("strided_slice").attributes["shrink_axis_mask"], TfAttribute::Integer(3));
    assert_eq!(node("MatMul").attributes.get("transpose_a"), None, "the default is left out");
    // Its variables, in the order of its arguments.
    let checkpoint = TfCheckpoint::open(&golden("types")).unwrap();
    let keys = model.variable_keys(&checkpoint);
    let bound: Vec<_> = model.bound[name].iter().map(|i| keys[i].split("/.A").next().unwrap()).collect();
    assert_eq!(bound, ["types/int64", "again", "layers/1"]);
}

#[test]
fn every_variable_is_found_in_the_checkpoint() {
    for name in ["types", "export"] {
        let model = read_saved_model(&golden(name).join("saved_model.pb")).unwrap();
        let checkpoint = TfCheckpoint::open(&golden(name)).unwrap();
        let keys = model.variable_keys(&checkpoint);
        let variables = model.objects.iter().enumerate().filter_map(|(i, o)| Some((i, o.variable.as_ref()?)));
        let mut count = 0;
        for (i, variable) in variables {
            let saved = checkpoint.variables().iter().find(|v| v.key == keys[&i]).unwrap();
            assert_eq!(variable.dtype, saved.dtype, "{}", saved.key);
            let shape = saved.shape.iter().map(|&d| Some(d)).collect();
            assert_eq!(variable.shape, Some(shape), "{}", saved.key);
            count += 1;
        }
        assert_eq!(count, checkpoint.variables().len(), "{name}");
    }
}
