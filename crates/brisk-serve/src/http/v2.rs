//! KServe's Open Inference Protocol (V2) over HTTP, with the extension for binary tensors.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::routing::{get, post};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::reply::{Reply, json as reply_json, parse, reply, typed};
use super::{Deadline, Page};
use crate::app::App;
use crate::catalog::Wanted;
use crate::fault::{Answered, Fault, FaultKind};
use crate::keys::Scope;
use crate::model::{Elements, InferRequest, InferResponse, Requested, Served, Tensor, Typed};

/// Where the JSON of a request or an answer ends and raw tensors begin.
const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// What this server understands beyond the protocol itself.
pub const EXTENSIONS: [&str; 3] = ["binary_tensor_data", "classification", "model_repository"];

pub(crate) fn pages() -> Vec<Page> {
    let page = |path, about, gives: Json, handler| Page {
        method: Method::GET,
        path,
        shown: None,
        scope: Some(Scope::Infer),
        group: "KServe V2",
        about,
        query: &[],
        takes: vec![],
        gives: ("application/json", gives),
        handler,
    };
    let object = || json!({"type": "object"});
    let infer = |path| Page {
        method: Method::POST,
        takes: vec![
            ("application/json", schema_of_request()),
            ("application/octet-stream", json!({"type": "string", "format": "binary"})),
        ],
        ..page(
            path,
            "Asks a model: tensors in, tensors out, as JSON or raw after JSON",
            schema_of_answer(),
            post(infer),
        )
    };
    vec![
        Page { scope: None, ..page("/v2/health/live", "Whether the process lives", object(), get(live)) },
        Page {
            scope: None,
            ..page("/v2/health/ready", "Whether what is to be served has been loaded", object(), get(ready))
        },
        page("/v2", "Name, version and extensions of the server", object(), get(server)),
        page("/v2/models/{model}", "Versions, inputs and outputs of a model", object(), get(model)),
        page(
            "/v2/models/{model}/versions/{version}",
            "Inputs and outputs of a version (a number, or an alias)",
            object(),
            get(model),
        ),
        page("/v2/models/{model}/ready", "Whether a model is ready", object(), get(model_ready)),
        page(
            "/v2/models/{model}/versions/{version}/ready",
            "Whether a version is ready",
            object(),
            get(model_ready),
        ),
        page("/v2/models/{model}/stats", "Traffic of the last two minutes", object(), get(stats)),
        infer("/v2/models/{model}/infer"),
        infer("/v2/models/{model}/versions/{version}/infer"),
    ]
}

fn schema_of_request() -> Json {
    json!({
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "inputs": {"type": "array", "items": {
                "type": "object",
                "required": ["name", "shape", "datatype"],
                "properties": {
                    "name": {"type": "string"},
                    "shape": {"type": "array", "items": {"type": "integer"}},
                    "datatype": {"type": "string", "enum": ["UINT8", "FP32", "FP64", "BYTES"]},
                    "data": {"type": "array", "items": {}},
                    "parameters": {"type": "object"},
                },
            }},
            "outputs": {"type": "array", "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "parameters": {"type": "object"}},
            }},
            "parameters": {"type": "object"},
        },
    })
}

fn schema_of_answer() -> Json {
    json!({
        "type": "object",
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": {"type": "object"}},
        },
    })
}

async fn live() -> Reply {
    reply_json(&json!({"live": true}))
}

async fn ready(State(app): State<Arc<App>>) -> Reply {
    match app.is_ready() {
        true => reply_json(&json!({"ready": true})),
        false => reply(Err(Fault::new(FaultKind::Unavailable, "not ready"))),
    }
}

async fn server() -> Reply {
    reply_json(&json!({"name": "brisk", "version": env!("CARGO_PKG_VERSION"), "extensions": EXTENSIONS}))
}

/// The model and version of a path.
type Of = Path<Map<String, Json>>;

fn named(of: &Map<String, Json>) -> (&str, Wanted) {
    let word = |key: &str| of.get(key).and_then(Json::as_str).unwrap_or_default();
    (word("model"), Wanted::parse(word("version")))
}

async fn model(State(app): State<Arc<App>>, Path(of): Of) -> Reply {
    let (name, wanted) = named(&of);
    reply(app.catalog.find(name, &wanted).map(|picked| reply_json(&metadata(&app, &picked.served))))
}

fn metadata(app: &App, served: &Served) -> Json {
    let table = app.catalog.table();
    let versions = table.get(&served.name).map(|e| e.versions.keys().map(u64::to_string).collect::<Vec<_>>());
    json!({
        "name": served.name,
        "versions": versions.unwrap_or_default(),
        "platform": "brisk",
        "inputs": served.signature.inputs,
        "outputs": served.signature.outputs,
    })
}

async fn model_ready(State(app): State<Arc<App>>, Path(of): Of) -> Reply {
    let (name, wanted) = named(&of);
    reply(app.catalog.find(name, &wanted).and_then(|picked| match app.is_stopping() {
        false => Ok(reply_json(&json!({"name": picked.served.name, "ready": true}))),
        true => Err(Fault::new(FaultKind::Unavailable, "the server is about to stop")),
    }))
}

async fn stats(State(app): State<Arc<App>>, Path(of): Of) -> Reply {
    let (name, wanted) = named(&of);
    reply(app.catalog.find(name, &wanted).map(|picked| reply_json(&picked.live.traffic())))
}

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    id: String,
    inputs: Vec<Input>,
    #[serde(default)]
    outputs: Vec<Output>,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    shape: Vec<i64>,
    datatype: String,
    #[serde(default)]
    parameters: Parameters,
    data: Option<Elements>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    #[serde(default)]
    parameters: Parameters,
}

/// Those that are understood; others are left aside.
#[derive(Default, Deserialize)]
struct Parameters {
    binary_data_size: Option<usize>,
    binary_data: Option<bool>,
    binary_data_output: Option<bool>,
    classification: Option<usize>,
    /// Microseconds that the client waits.
    timeout: Option<u64>,
}

async fn infer(
    State(app): State<Arc<App>>,
    Path(of): Of,
    Extension(deadline): Extension<Deadline>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    let (name, wanted) = named(&of);
    reply(answer(&app, name, &wanted, deadline, &headers, body).await)
}

async fn answer(
    app: &Arc<App>,
    name: &str,
    wanted: &Wanted,
    deadline: Deadline,
    headers: &HeaderMap,
    body: Bytes,
) -> Answered<Reply> {
    let picked = app.catalog.pick(name, wanted)?;
    let (request, timeout) = read(headers, body)?;
    let deadline = timeout.map_or(deadline.0, |t| deadline.0.min(std::time::Instant::now() + t));
    let response = app.infer(&picked, request, deadline).await?;
    write(&response)
}

/// A request of the protocol, and how long its client waits.
fn read(headers: &HeaderMap, body: Bytes) -> Answered<(InferRequest, Option<std::time::Duration>)> {
    let (text, mut rest) = match headers.get(HEADER_LENGTH) {
        None => (body, Bytes::new()),
        Some(length) => {
            let length =
                length.to_str().ok().and_then(|l| l.parse::<usize>().ok()).filter(|&l| l <= body.len());
            let length = length.ok_or_else(|| {
                Fault::bad(format!(
                    "{HEADER_LENGTH}: expected a number of bytes up to the body's {}",
                    body.len()
                ))
            })?;
            (body.slice(..length), body.slice(length..))
        }
    };
    let request: Request = parse(&text)?;
    let mut inputs = Vec::with_capacity(request.inputs.len());
    for input in request.inputs {
        let elements = match (input.parameters.binary_data_size, input.data) {
            (Some(size), None) if size <= rest.len() => Elements::Raw(rest.split_to(size)),
            (Some(size), None) => {
                let (name, left) = (&input.name, rest.len());
                return Err(Fault::bad(format!(
                    "input `{name}`: {size} raw bytes are announced, {left} are there"
                )));
            }
            (None, Some(elements)) => elements,
            (None, None) => return Err(Fault::bad(format!("input `{}`: its data are missing", input.name))),
            (Some(_), Some(_)) => {
                let name = &input.name;
                return Err(Fault::bad(format!(
                    "input `{name}`: it has data and raw bytes; give one of the two"
                )));
            }
        };
        inputs.push(Tensor { name: input.name, datatype: input.datatype, shape: input.shape, elements });
    }
    if !rest.is_empty() {
        return Err(Fault::bad(format!("{} raw bytes are left over at the end of the body", rest.len())));
    }
    let all_raw = request.parameters.binary_data_output.unwrap_or(false);
    let outputs = request.outputs.into_iter().map(|o| Requested {
        name: o.name,
        classification: o.parameters.classification.unwrap_or(0),
        binary: o.parameters.binary_data.unwrap_or(all_raw),
    });
    let request_ = InferRequest { id: request.id, inputs, outputs: outputs.collect(), binary: all_raw };
    let timeout = request.parameters.timeout.filter(|&t| t > 0).map(std::time::Duration::from_micros);
    Ok((request_, timeout))
}

#[derive(Serialize)]
struct Answer<'a> {
    model_name: &'a str,
    model_version: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    outputs: Vec<Given<'a>>,
}

#[derive(Serialize)]
struct Given<'a> {
    name: &'a str,
    shape: &'a [i64],
    datatype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Raw>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Typed>,
}

#[derive(Serialize)]
struct Raw {
    binary_data_size: usize,
}

/// The answer as JSON, raw tensors after it.
fn write(response: &InferResponse) -> Answered<Reply> {
    let mut raw = Vec::new();
    let mut outputs = Vec::with_capacity(response.outputs.len());
    for (requested, shape, typed) in &response.outputs {
        let before = raw.len();
        if requested.binary {
            raw.extend(typed.raw());
        }
        outputs.push(Given {
            name: &requested.name,
            shape,
            datatype: typed.datatype(),
            parameters: requested.binary.then(|| Raw { binary_data_size: raw.len() - before }),
            data: (!requested.binary).then_some(typed),
        });
    }
    let answer = Answer {
        model_name: &response.model,
        model_version: response.version.to_string(),
        id: &response.id,
        outputs,
    };
    if raw.is_empty() {
        return Ok(reply_json(&answer));
    }
    let mut bytes = serde_json::to_vec(&answer).map_err(|e| Fault::internal(e.to_string()))?;
    let length = bytes.len();
    bytes.append(&mut raw);
    let mut reply = typed("application/octet-stream", bytes);
    reply.headers_mut().insert(HEADER_LENGTH, HeaderValue::from(length));
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(headers: &HeaderMap, body: &[u8]) -> String {
        read(headers, Bytes::copy_from_slice(body)).unwrap_err().message
    }

    #[test]
    fn raw_bytes_must_be_what_is_announced() {
        let text =
            br#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}]}"#;
        let length = |n: usize| HeaderMap::from_iter([(HEADER_LENGTH, HeaderValue::from(n))]);
        let body = |n: usize| [&text[..], &vec![0; n]].concat();
        let (request, _) = read(&length(text.len()), body(4).into()).unwrap();
        assert_eq!(request.inputs[0].elements, Elements::Raw(vec![0; 4].into()));
        assert!(message(&length(text.len()), &body(3)).contains("4 raw bytes are announced, 3 are there"));
        assert!(message(&length(text.len()), &body(5)).contains("1 raw bytes are left over"));
        assert!(message(&length(10_000), &body(4)).contains("expected a number of bytes"));
        assert!(
            message(&HeaderMap::new(), br#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32"}]}"#)
                .contains("missing")
        );
        assert!(message(&HeaderMap::new(), br#"{"inputs": [{"#).contains("line 1 column"));
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..200), length in proptest::option::of(0usize..300)) {
            let headers = length.map(|n| (HEADER_LENGTH, HeaderValue::from(n))).into_iter().collect();
            let _ = read(&headers, body.into());
        }

        #[test]
        fn no_json_makes_it_panic(text in r#"\{("(inputs|outputs|id|parameters|shape|data)":[\[\]{}",:0-9eE.\-a-z]{0,30},?){0,4}\}"#) {
            let _ = read(&HeaderMap::new(), text.into());
        }
    }
}
