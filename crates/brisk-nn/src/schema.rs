//! Help for JSON Schemas.

use schemars::Schema;
use serde_json::{Value, json};

/// Where all arguments of a variant have defaults, its bare name will do: adds those names to a schema of
/// `{name: {arguments}}`.
pub(crate) fn allow_bare_names(schema: &mut Schema) {
    let Some(Value::Array(variants)) = schema.get_mut("oneOf") else { return };
    let bare = |variant: &Value| {
        let (name, arguments) = variant.get("properties")?.as_object()?.iter().next()?;
        arguments.get("required").is_none().then(|| Value::from(name.as_str()))
    };
    let names: Vec<Value> = variants.iter().filter_map(bare).collect();
    if !names.is_empty() {
        variants.push(json!({"type": "string", "enum": names}));
    }
}
