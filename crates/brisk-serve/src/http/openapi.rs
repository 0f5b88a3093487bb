//! `/openapi.json`: the list of pages as OpenAPI 3.1, with a schema for each model's own inputs; and `/docs`, the same for people.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Method};
use axum::routing::get;
use brisk_data::{Feature, Target};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value as Json, json};

use super::console::{OWN, policy};
use super::reply::{Reply, json as reply_json, typed};
use super::{Page, pages as all_pages};
use crate::app::App;
use crate::keys::Scope;
use crate::model::Served;

pub(crate) fn pages() -> Vec<Page> {
    let page = |path, about, content, handler| Page {
        method: Method::GET,
        path,
        shown: None,
        scope: None,
        group: "Documentation",
        about,
        query: &[],
        takes: vec![],
        gives: (content, json!({})),
        handler,
    };
    vec![
        page("/openapi.json", "This interface as OpenAPI", "application/json", get(document)),
        page("/docs", "This interface for people", "text/html", get(docs)),
    ]
}

async fn document(State(app): State<Arc<App>>, headers: HeaderMap) -> Reply {
    reply_json(&openapi(&app, &headers))
}

/// What stands in an address as it is: RFC 3986, section 2.3.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The whole document. The models that are served have pages of their own in it, for those who may ask them.
fn openapi(app: &App, headers: &HeaderMap) -> Json {
    let mut paths: Map<String, Json> = Map::new();
    for page in all_pages() {
        let path = page.shown.unwrap_or(page.path);
        let (method, operation) = (page.method.as_str().to_lowercase(), operation(&page, path));
        paths.entry(path).or_insert_with(|| json!({}))[method] = operation;
    }
    let table = app.catalog.table();
    let may = app.allow(super::key(headers), Scope::Infer).is_ok();
    let served = table.values().filter_map(|e| e.versions.get(&e.default));
    for model in served.filter(|_| may) {
        let page = |about: String, schema: Json| {
            json!({
                "tags": [format!("Model {}", model.name)],
                "summary": about,
                "requestBody": {"required": true, "content": {"application/json": {"schema": schema}}},
                "responses": responses(&("application/json", json!({"type": "object"})), true),
                "security": security(Scope::Infer),
            })
        };
        // As it stands in an address; braces would be a parameter.
        let (name, path) = (&model.name, utf8_percent_encode(&model.name, UNRESERVED));
        paths.insert(
            format!("/predict/{path}"),
            json!({"post": page(format!("Asks {name}, version {}", model.version), schema_of_row(model))}),
        );
        paths.insert(
            format!("/v2/models/{path}/infer"),
            json!({"post": page(format!("Asks {name} with tensors"), schema_of_tensors(model))}),
        );
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Brisk",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Models, served: KServe V2, TensorFlow Serving, OpenAI's embeddings, and plain questions.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Fault": {
                "type": "object",
                "required": ["error"],
                "properties": {"error": {"description": "What is wrong, and what to do"}},
            }},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    })
}

fn operation(page: &Page, path: &str) -> Json {
    let parameter = |name: &str, place: &str, schema: Json| json!({"name": name, "in": place, "required": place == "path", "schema": schema});
    let word = || json!({"type": "string", "minLength": 1});
    let named = path.split(['/', ':']).filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Json> = named.map(|name| parameter(name, "path", word())).collect();
    parameters.extend(page.query.iter().map(|&name| match name {
        "top" => parameter(name, "query", json!({"type": "integer", "minimum": 1})),
        _ => parameter(name, "query", word()),
    }));
    if !page.takes.is_empty() {
        let seconds = json!({"type": "number", "minimum": 1, "description": "How long the client waits, in seconds; less is taken too"});
        parameters.push(parameter("Request-Timeout", "header", seconds));
    }
    let mut operation = json!({
        "tags": [page.group],
        "summary": page.about,
        "responses": responses(&page.gives, page.scope.is_some()),
    });
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(scope) = page.scope {
        operation["security"] = security(scope);
    }
    if !page.takes.is_empty() {
        let content: Map<String, Json> = page
            .takes
            .iter()
            .map(|(content, schema)| (content.to_string(), json!({ "schema": schema })))
            .collect();
        // Where nothing is required of an object, there need not be one.
        let required = page.takes.iter().any(|(_, s)| s["type"] != "object" || s.get("required").is_some());
        operation["requestBody"] = json!({ "content": content, "required": required });
    }
    operation
}

/// Changes need a key; asking does where there are keys.
fn security(scope: Scope) -> Json {
    let mut ways = vec![json!({"bearer": []}), json!({"key": []})];
    if scope == Scope::Infer {
        ways.push(json!({}));
    }
    ways.into()
}

fn responses((content, schema): &(&'static str, Json), guarded: bool) -> Json {
    let content = [(content.to_string(), json!({ "schema": schema }))].into_iter().collect::<Map<_, _>>();
    let mut responses = json!({"200": {"description": "The answer", "content": content}});
    let fault = |about: &str| {
        let schema = json!({"$ref": "#/components/schemas/Fault"});
        json!({"description": about, "content": {"application/json": {"schema": schema}}})
    };
    if guarded {
        for (status, about) in [
            ("400", "The request makes no sense; the message says where"),
            ("401", "A key is missing or not known"),
            ("403", "The key is not for this"),
            ("404", "There is no such model or version"),
            ("408", "The body did not arrive in time"),
            ("409", "Somebody else has changed this"),
            ("413", "More bytes or rows than are taken"),
            ("415", "A content type that is not understood"),
            ("429", "Too many requests; Retry-After says when to come again"),
            ("504", "The deadline has passed"),
        ] {
            responses[status] = fault(about);
        }
    }
    responses["503"] = fault("Not ready, or about to stop");
    responses
}

/// Categories that are shown as examples.
const KNOWN: usize = 100;

/// A row of a model, as JSON.
pub fn schema_of_row(model: &Served) -> Json {
    let mut properties = Map::new();
    for feature in model.ready.features.inputs.values() {
        let of = match feature {
            Feature::Text(_) => json!({"type": "string"}),
            Feature::Number(f) if f.fill.is_some() => json!({"type": ["number", "null"]}),
            Feature::Number(_) => json!({"type": "number"}),
            Feature::Category(f) => {
                let known: Vec<_> = f.categories.iter().take(KNOWN).collect();
                json!({"type": ["string", "number", "boolean", "null"], "examples": known})
            }
            Feature::Vector(f) if f.list => {
                let sizes = model.signature.input(&f.columns[0]).map(|p| p.row().to_vec());
                lists(&sizes.unwrap_or_else(|| vec![f.size() as i64]))
            }
            Feature::Vector(_) => json!({"type": "number"}),
            Feature::Image(f) => json!({
                "type": "string",
                "contentEncoding": "base64",
                "description": format!("A PNG, JPEG, WebP or BMP; it becomes {}", f.image),
            }),
        };
        for column in feature.columns() {
            properties.insert(column.into(), of.clone());
        }
    }
    let required: Vec<&String> = properties.keys().collect();
    json!({"type": "object", "additionalProperties": false, "required": required, "properties": properties})
}

/// Numbers in lists of lists.
fn lists(sizes: &[i64]) -> Json {
    let number = json!({"type": "number"});
    sizes
        .iter()
        .rev()
        .fold(number, |items, n| json!({"type": "array", "items": items, "minItems": n, "maxItems": n}))
}

fn schema_of_tensors(model: &Served) -> Json {
    let port = |p: &crate::model::Port| {
        let sizes: Vec<Json> = p
            .shape
            .iter()
            .map(|&d| if d < 0 { json!({"type": "integer", "minimum": 1}) } else { json!({"const": d}) })
            .collect();
        json!({
            "type": "object",
            "required": ["name", "shape", "datatype", "data"],
            "properties": {
                "name": {"const": p.name},
                "datatype": {"const": p.datatype},
                "shape": {"type": "array", "prefixItems": sizes, "minItems": p.shape.len(), "maxItems": p.shape.len()},
                "data": {"type": "array"},
            },
        })
    };
    let inputs: Vec<Json> = model.signature.inputs.iter().map(port).collect();
    let n = inputs.len();
    json!({
        "type": "object",
        "required": ["inputs"],
        "properties": {"inputs": {"type": "array", "prefixItems": inputs, "minItems": n, "maxItems": n}},
    })
}

/// What a model answers with, for people.
pub fn gives(model: &Served) -> Vec<String> {
    let outputs = model.ready.model.outputs.iter();
    outputs
        .map(|output| match model.ready.features.targets.get(&output.name) {
            Some(Target::Category { labels, .. }) => format!("one of {} classes", labels.len()),
            Some(Target::Labels { labels, .. }) => format!("any of {} labels", labels.len()),
            Some(Target::Number { .. }) => "a number".into(),
            Some(Target::Tags { labels, .. }) => format!("a tag for each word, of {}", labels.len()),
            None if output.loss.group().is_some() => "a vector".into(),
            None => "numbers".into(),
        })
        .collect()
}

/// The icon of the console.
const ICON: &str = r##"<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Crect width='32' height='32' rx='8' fill='%230067a3'/%3E%3Cpath d='M18 4 7 18h7l-1 10 12-15h-8z' fill='%23fff'/%3E%3C/svg%3E">"##;
const STYLE: &str = include_str!("../../console/console.css");

async fn docs(State(app): State<Arc<App>>, headers: HeaderMap) -> Reply {
    policy(typed("text/html; charset=utf-8", docs_page(&openapi(&app, &headers))), OWN)
}

fn docs_page(document: &Json) -> String {
    let mut groups: Vec<(String, String)> = Vec::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let group = operation["tags"][0].as_str().unwrap_or_default().to_string();
            let at = groups.iter().position(|g| g.0 == group).unwrap_or_else(|| {
                groups.push((group, String::new()));
                groups.len() - 1
            });
            let body = &mut groups[at].1;
            let (method, about) = (method.to_uppercase(), operation["summary"].as_str().unwrap_or_default());
            let _ = write!(
                body,
                "<details><summary><b class=method>{method}</b> <code>{}</code> <span>{}</span></summary>",
                escape(path),
                escape(about)
            );
            for (content, media) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
                let schema = serde_json::to_string_pretty(&media["schema"]).unwrap_or_default();
                let _ = write!(
                    body,
                    "<p>takes <code>{}</code></p><pre>{}</pre>",
                    escape(content),
                    escape(&schema)
                );
            }
            let statuses: Vec<_> =
                operation["responses"].as_object().into_iter().flatten().map(|r| r.0.as_str()).collect();
            let _ = write!(body, "<p>answers {}</p></details>", statuses.join(", "));
        }
    }
    let sections: String = groups
        .iter()
        .map(|(group, body)| format!("<section><h2>{}</h2>{body}</section>", escape(group)))
        .collect();
    format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>Brisk: interface</title>{ICON}<style>{STYLE}</style></head><body><header><h1>Brisk</h1><nav>\
         <a href=\"/\">Console</a> <a href=\"/docs\" aria-current=page>Interface</a> <a href=\"/openapi.json\">OpenAPI</a> <a href=\"/metrics\">Metrics</a></nav></header>\
         <main class=docs>{sections}</main></body></html>"
    )
}

/// Text in HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
