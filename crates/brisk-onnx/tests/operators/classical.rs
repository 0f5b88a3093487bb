//! Classical models: ONNX's suite has few cases of them.

use brisk_onnx::{Attribute, Constant};

use super::{Case, ML, call};

/// Two trees of one test each: `x0 <= 1` and `x1 > 0`.
fn trees(op: &str, prefix: &str, ids: &[i64], weights: &[f32]) -> Case {
    let of = |name: &str| format!("{prefix}_{name}");
    call(ML, op)
        .ints("nodes_treeids", &[0, 0, 0, 1, 1, 1])
        .ints("nodes_nodeids", &[0, 1, 2, 0, 1, 2])
        .ints("nodes_featureids", &[0, 0, 0, 1, 0, 0])
        .texts("nodes_modes", &["BRANCH_LEQ", "LEAF", "LEAF", "BRANCH_GT", "LEAF", "LEAF"])
        .numbers("nodes_values", &[1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
        .ints("nodes_truenodeids", &[1, 0, 0, 1, 0, 0])
        .ints("nodes_falsenodeids", &[2, 0, 0, 2, 0, 0])
        .ints("nodes_missing_value_tracks_true", &[1, 0, 0, 0, 0, 0])
        .ints(&of("treeids"), &[0, 0, 1, 1])
        .ints(&of("nodeids"), &[1, 2, 1, 2])
        .ints(&of("ids"), ids)
        .numbers(&of("weights"), weights)
}

const ROWS: [f32; 6] = [0.0, 1.0, 2.0, -1.0, f32::NAN, f32::NAN];

#[test]
fn trees_vote_together() {
    let of = |how: &str| {
        trees("TreeEnsembleRegressor", "target", &[0; 4], &[1.0, 2.0, 10.0, 20.0])
            .text("aggregate_function", how)
            .floats([3, 2], &ROWS)
    };
    of("SUM").is(&[3, 1], &[11.0, 22.0, 21.0]);
    of("AVERAGE").is(&[3, 1], &[5.5, 11.0, 10.5]);
    of("MIN").is(&[3, 1], &[1.0, 2.0, 1.0]);
    of("MAX").numbers("base_values", &[0.5]).is(&[3, 1], &[10.5, 20.5, 20.5]);
    let of = |ids: &[i64]| {
        trees("TreeEnsembleClassifier", "class", ids, &[1.0, 0.25, -3.0, 0.5])
            .ints("classlabels_int64s", &[7, 9])
            .floats([3, 2], &ROWS)
    };
    of(&[0, 1, 0, 1]).nth(0, 2, &[3], &[9.0, 9.0, 7.0]);
    of(&[0, 1, 0, 1]).nth(1, 2, &[3, 2], &[-2.0, 0.0, 0.0, 0.75, 1.0, 0.5]);
    // One class alone is voted for: the other has the rest.
    of(&[1; 4]).nth(1, 2, &[3, 2], &[3.0, -2.0, 0.25, 0.75, -0.5, 1.5]);
}

#[test]
fn trees_lead_somewhere() {
    let of = || trees("TreeEnsembleRegressor", "target", &[0; 4], &[1.0, 2.0, 10.0, 20.0]);
    of().ints("nodes_truenodeids", &[0, 0, 0, 1, 0, 0]).floats([3, 2], &ROWS).fails("circle");
    of().ints("nodes_truenodeids", &[5, 0, 0, 1, 0, 0]).floats([3, 2], &ROWS).fails("tree 0 has no node 5");
    of().floats([6, 1], &ROWS).fails("tests feature 1 of 1");
    of().ints("target_ids", &[0, 1, 0, 0]).floats([3, 2], &ROWS).fails("a leaf is for target 1 of 1");
    of().int("n_targets", i64::MAX).floats([3, 2], &ROWS).fails("are too many");
    of().ints("nodes_treeids", &[0, 0]).floats([3, 2], &ROWS).fails("different lengths");
}

#[test]
fn classical_models() {
    let linear =
        || call(ML, "LinearClassifier").numbers("coefficients", &[1.0, -1.0]).numbers("intercepts", &[0.5]);
    let linear =
        || linear().texts("classlabels_strings", &["no", "yes"]).floats([2, 2], &[1.0, 0.0, 0.0, 2.0]);
    linear().nth(1, 2, &[2, 2], &[-1.5, 1.5, 1.5, -1.5]);
    let names = ["yes", "no"].map(String::from).to_vec();
    assert_eq!(linear().run(2).unwrap()[0], Constant::Texts([2].into(), names.into()));
    linear().text("post_transform", "ROOT").fails("attribute post_transform");
    call(ML, "LinearRegressor")
        .numbers("coefficients", &[1.0, 2.0, 3.0])
        .some([2, 2])
        .fails("3 numbers for 2 columns");
    call(ML, "LinearRegressor")
        .int("targets", 2)
        .numbers("coefficients", &[1.0; 2])
        .some([2, 2])
        .fails("for 2 targets");
    call(ML, "LinearRegressor")
        .numbers("coefficients", &[1.0])
        .text("post_transform", "PROBIT")
        .floats([3, 1], &[0.5, 0.975, 0.0])
        .is(&[3, 1], &[0.0, 1.95905, 0.0]);
    call(ML, "Scaler").numbers("offset", &[1.0, 2.0, 3.0]).some([2, 2]).fails("expected 1 or 2 numbers");
    call(ML, "Scaler")
        .numbers("offset", &[1.0])
        .numbers("scale", &[2.0, 3.0])
        .floats([2], &[2.0, 3.0])
        .is(&[2], &[2.0, 6.0]);
    call(ML, "Normalizer").floats([2, 2], &[-4.0, 2.0, 0.0, 0.0]).is(&[2, 2], &[-2.0, 1.0, 0.0, 0.0]);
    call(ML, "Normalizer").text("norm", "L1").floats([1, 2], &[-4.0, 1.0]).is(&[1, 2], &[-0.8, 0.2]);
    call(ML, "Imputer")
        .numbers("imputed_value_floats", &[7.0])
        .with("replaced_value_float", Attribute::Float(f32::NAN))
        .floats([2], &[1.0, f32::NAN])
        .is(&[2], &[1.0, 7.0]);
    call(ML, "OneHotEncoder")
        .ints("cats_int64s", &[3, 5])
        .whole([2], &[5, 4])
        .is(&[2, 2], &[0.0, 1.0, 0.0, 0.0]);
    call(ML, "OneHotEncoder")
        .int("zeros", 0)
        .ints("cats_int64s", &[3, 5])
        .whole([2], &[5, 4])
        .fails("attribute zeros");
    call(ML, "FeatureVectorizer")
        .ints("inputdimensions", &[1, 3])
        .floats([1, 2], &[1.0, 2.0])
        .floats([1, 2], &[3.0, 4.0])
        .is(&[1, 4], &[1.0, 3.0, 4.0, 0.0]);
    call(ML, "FeatureVectorizer")
        .ints("inputdimensions", &[1, i64::MAX])
        .some([1, 2])
        .some([1, 2])
        .fails("too large");
    call(ML, "ArrayFeatureExtractor").some([2, 2]).whole([1], &[2]).fails("out of range");
}

#[test]
fn labels_of_any_kind() {
    let encode = || call(ML, "LabelEncoder");
    encode()
        .numbers("keys_floats", &[1.5, f32::NAN, 1.5])
        .ints("values_int64s", &[1, 2, 3])
        .floats([3], &[1.5, f32::NAN, 0.0])
        .is(&[3], &[3.0, 2.0, -1.0]);
    let names = encode()
        .ints("keys_int64s", &[i64::MAX, 0])
        .texts("values_strings", &["last", "first"])
        .whole([2], &[i64::MAX - 1, i64::MAX]);
    let expected = ["_Unused", "last"].map(String::from).to_vec();
    assert_eq!(names.run(1).unwrap()[0], Constant::Texts([2].into(), expected.into()));
    encode()
        .ints("keys_int64s", &[1, 2])
        .ints("values_int64s", &[1])
        .whole([1], &[1])
        .fails("2 keys have 1 values");
    encode().ints("keys_int64s", &[]).ints("values_int64s", &[]).whole([1], &[1]).is(&[1], &[-1.0]);
    encode()
        .texts("keys_strings", &["a"])
        .ints("values_int64s", &[1])
        .whole([1], &[1])
        .fails("of another type");
}
