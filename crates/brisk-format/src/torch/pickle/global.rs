//! The names of Python's classes and functions that a pickle may use, and what they stand for here. None of them is ever called.

use std::collections::BTreeSet;

use super::super::element;
use crate::elements::Element;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::torch) enum Global {
    /// A dictionary of any kind, made of pairs.
    Dict,
    /// `collections.defaultdict`: what makes its values, then pairs.
    DefaultDict,
    List,
    Tuple,
    Set,
    /// `_codecs.encode`, which is how older protocols write bytes.
    Encode,
    ByteArray,
    /// A class that nothing is made of.
    Class,
    /// A class of TorchScript.
    Script,
    /// A function that gives back the list that it is given.
    ScriptList,
    Size,
    Device,
    Type(Element),
    Storage(Element),
    UntypedStorage,
    /// `_rebuild_tensor`, and `_rebuild_tensor_v2`, which is told more of it.
    Tensor,
    /// `_rebuild_tensor_v3`, which is told the element type.
    TypedTensor,
    /// A function that is given the tensor first.
    Parameter,
    /// `_rebuild_from_type_v2`: which function, which class, and what the function is given.
    Subclass,
    NumpyScalar,
    NumpyArray,
    NumpyReconstruct,
    NumpyFromBuffer,
    NumpyType,
    /// A class or function that no file may use. Nothing is made of it, and the file is refused at its end, when all such names are known.
    Refused,
}

/// What `module.name` stands for; an error if it is something of PyTorch's that is known and not read.
pub(in crate::torch) fn find(module: &str, name: &str) -> Result<Global, String> {
    let (top, rest) = module.split_once('.').unwrap_or((module, ""));
    let found = match (top, rest) {
        ("collections", "") => of_collections(name),
        ("builtins" | "__builtin__", "") => of_builtins(name),
        ("_codecs", "") if name == "encode" => Some(Global::Encode),
        ("torch", _) => of_torch(rest, name),
        ("numpy", _) => of_numpy(rest, name),
        ("__torch__", _) => Some(Global::Script),
        _ => None,
    };
    match (found, unreadable(module, name)) {
        (Some(found), _) => Ok(found),
        (None, Some(why)) => Err(why),
        (None, None) => Ok(Global::Refused),
    }
}

fn of_collections(name: &str) -> Option<Global> {
    match name {
        "OrderedDict" | "Counter" => Some(Global::Dict),
        "defaultdict" => Some(Global::DefaultDict),
        _ => None,
    }
}

fn of_builtins(name: &str) -> Option<Global> {
    Some(match name {
        "dict" => Global::Dict,
        "list" => Global::List,
        "tuple" => Global::Tuple,
        "set" | "frozenset" => Global::Set,
        "bytearray" => Global::ByteArray,
        "int" | "float" | "bool" | "str" | "bytes" => Global::Class,
        _ => return None,
    })
}

fn of_torch(module: &str, name: &str) -> Option<Global> {
    Some(match (module, name) {
        ("", "Size") => Global::Size,
        ("", "device") => Global::Device,
        ("" | "_tensor", "Tensor") | ("nn.parameter", "Parameter" | "Buffer") => Global::Class,
        ("storage", "UntypedStorage") => Global::UntypedStorage,
        ("_utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Global::Tensor,
        ("_utils", "_rebuild_tensor_v3") => Global::TypedTensor,
        ("_utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Global::Parameter,
        ("_tensor", "_rebuild_from_type_v2") => Global::Subclass,
        ("jit._pickle", "build_intlist" | "build_doublelist" | "build_boollist" | "build_tensorlist") => {
            Global::ScriptList
        }
        ("jit._pickle", "restore_type_tag") => Global::Parameter,
        ("", _) => match (element::of_name(name), element::of_storage(name)) {
            (Some(element), _) => Global::Type(element),
            (_, element) => Global::Storage(element?),
        },
        _ => return None,
    })
}

fn of_numpy(module: &str, name: &str) -> Option<Global> {
    Some(match (module, name) {
        ("core.multiarray" | "_core.multiarray", "scalar") => Global::NumpyScalar,
        ("core.multiarray" | "_core.multiarray", "_reconstruct") => Global::NumpyReconstruct,
        ("core.numeric" | "_core.numeric", "_frombuffer") => Global::NumpyFromBuffer,
        ("", "ndarray") => Global::NumpyArray,
        ("", "dtype") => Global::NumpyType,
        _ => return None,
    })
}

/// What of PyTorch's is not read, and what to do.
fn unreadable(module: &str, name: &str) -> Option<String> {
    let is = |part: &str| module.starts_with("torch") && name.contains(part);
    let (what, remedy) = match () {
        () if is("sparse") => ("it has a sparse tensor", "save it dense, with to_dense()"),
        () if is("_qtensor") || is("QInt") || is("QUInt") || is("qint") || is("quint") => {
            ("it has a quantized tensor", "save the model before it is quantized, or use dequantize()")
        }
        () if is("Complex") || is("complex") => {
            ("it has complex numbers", "save real and imaginary parts, with torch.view_as_real()")
        }
        () if is("nested") => ("it has a nested tensor", "save it padded, with to_padded_tensor()"),
        () if is("meta_tensor") => {
            ("it has a tensor without content (meta)", "save the model with its weights")
        }
        () if is("_load_from_bytes") => {
            ("it was made by pickle itself", "save model.state_dict() with torch.save")
        }
        () => return None,
    };
    Some(format!("{what} ({module}.{name}), which Brisk does not read; {remedy}"))
}

/// Why a file that uses these names is refused, and what to do.
pub(super) fn refusal(names: &BTreeSet<String>) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    format!(
        "the file wants to call {}; Brisk reads tensors and containers only, and runs nothing that a file brings; save \
         model.state_dict() with torch.save",
        names.join(", ")
    )
}
