//! Vectors of texts: OpenAI's `/v1/embeddings`, and `/embed`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::Method;
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::reply::{Reply, json as reply_json, openai, parse, reply};
use super::{Deadline, Page};
use crate::app::App;
use crate::catalog::{Picked, Wanted};
use crate::fault::{Answered, Fault, FaultKind};
use crate::keys::Scope;
use crate::model::too_many;

pub(crate) fn pages() -> Vec<Page> {
    let texts =
        json!({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]});
    let page = |path, about, takes: Json, gives: Json, handler| Page {
        method: Method::POST,
        path,
        shown: None,
        scope: Some(Scope::Infer),
        group: "Vectors of texts",
        about,
        query: &[],
        takes: vec![("application/json", takes)],
        gives: ("application/json", gives),
        handler,
    };
    vec![
        page(
            "/v1/embeddings",
            "Vectors of texts, in the shape of OpenAI's interface",
            json!({
                "type": "object",
                "required": ["input"],
                "properties": {
                    "input": texts,
                    "model": {"type": ["string", "null"]},
                    "encoding_format": {"enum": ["float", "base64", null]},
                    "dimensions": {"type": ["integer", "null"], "minimum": 1, "description": "None but the model's own size is taken"},
                },
            }),
            json!({"type": "object"}),
            post(embeddings),
        ),
        page(
            "/embed",
            "Vectors of texts, nothing else",
            json!({"type": "object", "required": ["inputs"], "properties": {"inputs": texts, "model": {"type": ["string", "null"]}}}),
            json!({"type": "array", "items": {"type": "array", "items": {"type": "number"}}}),
            post(embed),
        ),
        Page {
            method: Method::GET,
            takes: vec![],
            ..page(
                "/v1/models",
                "All models, in the shape of OpenAI's interface",
                json!({}),
                json!({"type": "object"}),
                get(models),
            )
        },
    ]
}

async fn models(State(app): State<Arc<App>>) -> Reply {
    let table = app.catalog.table();
    let model = |name: &String| json!({"id": name, "object": "model", "owned_by": "brisk"});
    reply_json(&json!({"object": "list", "data": table.keys().map(model).collect::<Vec<_>>()}))
}

/// One text or several.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
enum Texts {
    One(String),
    Several(Vec<String>),
}

impl Texts {
    fn list(self, most: usize) -> Answered<Vec<String>> {
        let texts = match self {
            Texts::One(text) => vec![text],
            Texts::Several(texts) => texts,
        };
        match texts.len() {
            0 => Err(Fault::bad("expected at least one text")),
            n if n > most => Err(too_many(n, most)),
            _ => Ok(texts),
        }
    }
}

#[derive(Deserialize)]
struct Embeddings {
    input: Texts,
    model: Option<String>,
    encoding_format: Option<String>,
    dimensions: Option<usize>,
}

/// The model that is asked: by name, with a version or alias after `@`; or the only one with an encoder.
fn pick(app: &App, model: Option<&str>) -> Answered<Picked> {
    if let Some(model) = model {
        let (name, version) = model.split_once('@').unwrap_or((model, ""));
        return app.catalog.pick(name, &Wanted::parse(version));
    }
    let table = app.catalog.table();
    let embeds = |name: &&String| {
        let entry = table.get(*name);
        entry.and_then(|e| e.versions.get(&e.default)).is_some_and(|s| s.embedder.is_some())
    };
    match table.keys().filter(embeds).collect::<Vec<_>>()[..] {
        [name] => app.catalog.pick(name, &Wanted::Default),
        [] => Err(Fault::new(FaultKind::NotFound, "no model with an encoder of texts is served")),
        _ => Err(Fault::bad("several models give vectors: name one as `model`")),
    }
}

async fn embeddings(
    State(app): State<Arc<App>>,
    Extension(deadline): Extension<Deadline>,
    body: Bytes,
) -> Reply {
    openai_embeddings(&app, deadline, &body).await.unwrap_or_else(|fault| openai(&fault))
}

async fn openai_embeddings(app: &Arc<App>, deadline: Deadline, body: &[u8]) -> Answered<Reply> {
    let request: Embeddings = parse(body)?;
    let picked = pick(app, request.model.as_deref())?;
    let base64 = match request.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            return Err(Fault::bad(format!(
                "encoding_format: expected `float` or `base64`, found `{other}`"
            )));
        }
    };
    let texts = request.input.list(app.options.max_rows)?;
    let (vectors, tokens) = app.embed(&picked, texts, deadline.0).await?;
    let size = vectors.first().map_or(0, Vec::len);
    if let Some(found) = request.dimensions.filter(|&d| d != size) {
        return Err(Fault::bad(format!("dimensions: this model gives {size}, found {found}; leave it out")));
    }
    let item = |(index, vector): (usize, Vec<f32>)| Item {
        object: "embedding",
        index,
        embedding: match base64 {
            true => Vector::Base64(
                STANDARD.encode(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>()),
            ),
            false => Vector::Float(vector),
        },
    };
    let data = vectors.into_iter().enumerate().map(item).collect();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Ok(reply_json(&List { object: "list", data, model: &picked.served.name, usage }))
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Item>,
    model: &'a str,
    usage: Json,
}

#[derive(Serialize)]
struct Item {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector {
    Float(Vec<f32>),
    Base64(String),
}

#[derive(Deserialize)]
struct Embed {
    inputs: Texts,
    model: Option<String>,
}

async fn embed(State(app): State<Arc<App>>, Extension(deadline): Extension<Deadline>, body: Bytes) -> Reply {
    let vectors = async {
        let request: Embed = parse(&body)?;
        let picked = pick(&app, request.model.as_deref())?;
        let texts = request.inputs.list(app.options.max_rows)?;
        Ok(reply_json(&app.embed(&picked, texts, deadline.0).await?.0))
    };
    reply(vectors.await)
}
