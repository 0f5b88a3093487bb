//! Lists of tensors, in which loops collect their results: sequences of ONNX. A list that was reserved has no elements until they are
//! set, one after another.

use brisk_onnx::{Attribute, Elem};

use super::super::TfType;
use super::call::{Call, Made, Run};

pub(super) const OPS: &[(&str, Run)] = &[
    ("EmptyTensorList", reserve),
    ("TensorListFromTensor", |c| {
        let x = c.x(0)?;
        c.done("SplitToSequence", &[&x], vec![("keepdims", Attribute::Int(0))])
    }),
    ("TensorListGetItem", |c| {
        let (list, at) = (c.x(0)?, c.int64(1)?);
        c.done("SequenceAt", &[&list, &at], vec![])
    }),
    ("TensorListLength", |c| {
        let list = c.x(0)?;
        let length = c.emit("SequenceLength", &[&list], vec![])?;
        c.done("Cast", &[&length], vec![("to", Attribute::Int(Elem::Int32 as i64))])
    }),
    ("TensorListPushBack", |c| {
        let (list, x) = (c.x(0)?, c.x(1)?);
        c.done("SequenceInsert", &[&list, &x], vec![])
    }),
    ("TensorListReserve", reserve),
    ("TensorListSetItem", set),
    ("TensorListStack", |c| {
        let list = c.x(0)?;
        c.done(
            "ConcatFromSequence",
            &[&list],
            vec![("axis", Attribute::Int(0)), ("new_axis", Attribute::Int(1))],
        )
    }),
];

fn reserve(c: &mut Call<'_, '_>) -> Made {
    let elem = c.elem("element_dtype", TfType(1))?;
    c.done("SequenceEmpty", &[], vec![("dtype", Attribute::Int(elem as i64))])
}

/// Replaces an element, or adds the next one.
fn set(c: &mut Call<'_, '_>) -> Made {
    let (list, at, x) = (c.x(0)?, c.int64(1)?, c.x(2)?);
    let length = c.emit("SequenceLength", &[&list], vec![])?;
    let there = c.emit("Less", &[&at, &length], vec![])?;
    c.walk.emit.open();
    let others = c.emit("SequenceErase", &[&list, &at], vec![])?;
    let replaced = c.emit("SequenceInsert", &[&others, &x, &at], vec![])?;
    let replace = c.walk.emit.close(vec![], vec![replaced]);
    c.walk.emit.open();
    let added = c.emit("SequenceInsert", &[&list, &x, &at], vec![])?;
    let add = c.walk.emit.close(vec![], vec![added]);
    let graph = |graph| Attribute::Graph(Box::new(graph));
    c.done("If", &[&there], vec![("then_branch", graph(replace)), ("else_branch", graph(add))])
}
