//! Whole numbers that no float holds, and those of 64 bits without a sign.

use brisk_onnx::{Constant, Elem};

use super::{Case, call};

const TOP: i64 = i64::MIN; // 2^63 without a sign

#[track_caller]
fn is(case: Case, elem: Elem, expected: &[i64]) {
    let Constant::Numbers(found, tensor) = &case.run(1).unwrap()[0] else { panic!("numbers") };
    assert_eq!((*found, tensor.i64s().unwrap()), (elem, expected));
}

fn unsigned(op: &str) -> Case {
    call("", op)
}

#[test]
fn numbers_without_a_sign_are_ordered_and_divided_as_such() {
    let of = |case: Case, values: &[i64]| case.of(Elem::Uint64, [values.len()], values);
    let list = [1, TOP + 5, 7];
    let along = |op: &str| of(unsigned(op).int("keepdims", 0), &list);
    is(along("ReduceMax"), Elem::Uint64, &[TOP + 5]);
    is(along("ReduceMin"), Elem::Uint64, &[1]);
    is(along("ArgMax"), Elem::Int64, &[1]);
    is(along("ArgMin"), Elem::Int64, &[0]);
    is(of(unsigned("TopK"), &list).whole([1], &[2]), Elem::Uint64, &[TOP + 5, 7]);
    is(of(unsigned("Relu"), &list), Elem::Uint64, &list);
    let clipped = of(unsigned("Clip"), &list).of(Elem::Uint64, [0; 0], &[2]).of(Elem::Uint64, [0; 0], &[TOP]);
    is(clipped, Elem::Uint64, &[2, TOP, 7]);
    let pair = |op: &str, a: &[i64], b: &[i64]| of(of(unsigned(op), a), b);
    let (a, b) = ([TOP + 5, -1, 9, 3, -1], [10, TOP, TOP + 1, 3, 1]);
    let quotients: Vec<i64> = a.iter().zip(b).map(|(&a, b)| (a as u64 / b as u64) as i64).collect();
    let rests: Vec<i64> = a.iter().zip(b).map(|(&a, b)| (a as u64 % b as u64) as i64).collect();
    is(pair("Div", &a, &b), Elem::Uint64, &quotients);
    is(pair("Mod", &a, &b), Elem::Uint64, &rests);
    is(of(unsigned("Unique"), &[TOP, 1, TOP]), Elem::Uint64, &[1, TOP]);
}

#[test]
fn texts_become_whole_numbers_exactly() {
    let read =
        |elem: Elem, words: &[&str]| call("", "Cast").int("to", elem as i64).words([words.len()], words);
    let large = (1i64 << 53) + 1;
    is(read(Elem::Int64, &[&large.to_string(), " -7 ", "2.75"]), Elem::Int64, &[large, -7, 2]);
    is(read(Elem::Uint64, &[&u64::MAX.to_string()]), Elem::Uint64, &[-1]);
    is(read(Elem::Int8, &["300"]), Elem::Int8, &[44]);
    read(Elem::Bool, &["2", "0"]).is(&[2], &[1.0, 0.0]);
    read(Elem::Float, &["2.5", "-1e3"]).is(&[2], &[2.5, -1000.0]);
    read(Elem::Int64, &["two"]).fails("is no number");
    is(call("", "Unique").whole([3], &[large, large - 1, large]), Elem::Int64, &[large - 1, large]);
}
