//! The named operations that ONNX has: what each is there.

use brisk_graph::Id;
use brisk_graph::op::{self, Attrs, OpDef};

use super::emit::{self, Val};
use super::walk::Walk;
use super::{attention, maps, norm, recurrent};
use crate::Attribute;

/// How a named operation is written.
pub(super) struct Form {
    pub op: &'static OpDef,
    /// ONNX's operator that does its work.
    pub name: &'static str,
    /// The first operator set that has it as it is written.
    pub since: i64,
    pub write: fn(&mut Walk<'_>, Id, &Form, &Attrs) -> Result<Val, String>,
}

const fn form(
    op: &'static OpDef,
    name: &'static str,
    since: i64,
    write: fn(&mut Walk<'_>, Id, &Form, &Attrs) -> Result<Val, String>,
) -> Form {
    Form { op, name, since, write }
}

static FORMS: [Form; 20] = [
    form(&op::RELU, "Relu", 14, |w, id, f, _| each(w, id, f, vec![])),
    form(&op::LEAKY_RELU, "LeakyRelu", 16, |w, id, f, a| each(w, id, f, float("alpha", a, "negative_slope"))),
    form(&op::ELU, "Elu", 6, |w, id, f, a| each(w, id, f, float("alpha", a, "alpha"))),
    form(&op::GELU, "Gelu", 20, |w, id, f, a| {
        let kind = if a.get_int("approximate") == 0 { "none" } else { "tanh" };
        each(w, id, f, vec![("approximate", Attribute::String(kind.into()))])
    }),
    form(&op::SIGMOID, "Sigmoid", 13, |w, id, f, _| each(w, id, f, vec![])),
    form(&op::SOFTPLUS, "Softplus", 1, |w, id, f, _| each(w, id, f, vec![])),
    form(&op::SOFTMAX, "Softmax", 13, norm::rows),
    form(&op::LOG_SOFTMAX, "LogSoftmax", 13, norm::rows),
    form(&op::LAYER_NORM, "LayerNormalization", 17, norm::layer),
    form(&op::BATCH_NORM, "BatchNormalization", 15, norm::batch),
    form(&op::AVG_POOL, "AveragePool", 19, maps::average),
    form(&op::GLOBAL_AVG_POOL, "ReduceMean", 18, maps::global),
    form(&op::GLOBAL_MAX_POOL, "ReduceMax", 18, maps::global),
    form(&op::UPSAMPLE, "Resize", 19, maps::upsample),
    form(&op::LSTM, "LSTM", 14, recurrent::write),
    form(&op::GRU, "GRU", 14, recurrent::write),
    form(&op::GRU_RESET_BEFORE, "GRU", 14, recurrent::write),
    form(&op::SIMPLE_RNN, "RNN", 14, recurrent::write),
    form(&op::ATTENTION, "Softmax", 13, attention::write),
    form(&op::SEGMENT_MAX, "ReduceMax", 18, attention::segment_max),
];

/// What a named operation is in ONNX; `None` for one that is decomposed.
pub(super) fn of(op: &OpDef) -> Option<&'static Form> {
    FORMS.iter().find(|form| form.op.name == op.name)
}

fn float(name: &'static str, attrs: &Attrs, own: &str) -> emit::Attrs {
    vec![(name, Attribute::Float(attrs.get_float(own) as f32))]
}

/// Element by element, with one operand.
fn each(w: &mut Walk<'_>, id: Id, form: &Form, attrs: emit::Attrs) -> Result<Val, String> {
    let x = w.operand(id, 0)?;
    w.e.elementwise(form.name, std::slice::from_ref(&x), attrs, x.elem)
}
