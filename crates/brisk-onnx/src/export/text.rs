//! Padded texts, as everybody gives them, for graphs that work on packed ones.

use super::emit::{Emitter, Val};
use super::size::Size;
use crate::Elem;

/// The four inputs of a packed text in Brisk's graph, `NAME.ids`, `.positions`, `.types` i32 `[tokens]` and `.segments` i32
/// `[texts, 2]`, as inputs i64 `[batch, length]` of the exported model: the ids of tokens, with anything behind a text's end; a mask, 1 for
/// a text's tokens and 0 behind them; and the types of tokens, if the model reads them.
///
/// For the sizes that a graph is recorded for, it has `batch * length` tokens and `batch` texts.
///
/// ```
/// let [ids, mask, types] = ["input_ids", "attention_mask", "token_type_ids"].map(String::from);
/// let text = brisk_onnx::PackedText { name: "text".into(), length: 1, ids, mask, types };
/// assert_eq!(text.name, "text");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedText {
    /// `NAME`.
    pub name: String,
    /// The number of its length among the free axes.
    pub length: usize,
    /// What the ids are called.
    pub ids: String,
    /// What the mask is called.
    pub mask: String,
    /// What the types are called.
    pub types: String,
}

/// The parts of a packed text.
pub(super) const PARTS: [&str; 4] = ["ids", "positions", "types", "segments"];

/// What stands for a part of a packed text, made from the inputs of these names.
pub(super) fn part(e: &mut Emitter, text: &PackedText, part: &str) -> Result<Val, String> {
    let [n, length] = [Size::symbol(0), Size::symbol(text.length)];
    let tokens = Size::product(&n, &length);
    let both = vec![n.clone(), length.clone()];
    match part {
        "ids" | "types" => {
            let name = if part == "ids" { &text.ids } else { &text.types };
            let x = e.reshaped(&Val::made(name, both, Elem::Int64), &[tokens])?;
            Ok(e.cast(&x, Elem::Int32))
        }
        "positions" => {
            let row = e.range(&length)?;
            let rows = e.full(&row, &both)?;
            e.reshaped(&rows, &[tokens])
        }
        _ => {
            let mask = Val::made(&text.mask, both, Elem::Int64);
            let inputs = vec![e.name(&mask), e.list([1])?];
            let lengths = e.one("ReduceSum", inputs, vec![("keepdims", crate::Attribute::Int(1))]);
            let lengths = e.cast(&Val::made(lengths, vec![n.clone(), 1.into()], Elem::Int64), Elem::Int32);
            let row = e.range(&n)?;
            let row = e.reshaped(&row, &[n.clone(), 1.into()])?;
            let each = e.scalar_size(&length)?;
            let each = e.cast(&Val::made(each, vec![], Elem::Int64), Elem::Int32);
            let starts = e.elementwise("Mul", &[row, each], vec![], Elem::Int32)?;
            let inputs = vec![e.name(&starts), e.name(&lengths)];
            let segments = e.one("Concat", inputs, vec![("axis", crate::Attribute::Int(1))]);
            Ok(Val::made(segments, vec![n, 2.into()], Elem::Int32))
        }
    }
}
