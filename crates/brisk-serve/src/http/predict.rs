//! `/predict`: a picture, a text, or rows of JSON; answers in words.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{FromRequest, Multipart, Path, Query, Request, State};
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use brisk_data::{Encoded, Notes, Value};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::reply::{Reply, json as reply_json, parse, reply};
use super::{Deadline, Page};
use crate::app::{App, text_row};
use crate::catalog::Wanted;
use crate::fault::{Answered, Fault, FaultKind};
use crate::keys::Scope;
use crate::model::{Field, Row, Served, plain_value, too_many};

pub(crate) fn pages() -> Vec<Page> {
    let binary = || json!({"type": "string", "format": "binary"});
    let page = |path, about| Page {
        method: Method::POST,
        path,
        shown: None,
        scope: Some(Scope::Infer),
        group: "Plain questions",
        about,
        query: &["model", "version", "top"],
        takes: vec![
            (
                "application/json",
                json!({"description": "A row: an object with a key for each input; or several rows: {\"rows\": [...]}"}),
            ),
            ("text/plain", json!({"type": "string"})),
            ("image/png", binary()),
            ("image/jpeg", binary()),
            ("image/webp", binary()),
            ("multipart/form-data", json!({"type": "object"})),
        ],
        gives: ("application/json", json!({"type": "object"})),
        handler: post(predict),
    };
    vec![
        page("/predict", "Asks the only model, or the one of `?model=`"),
        page("/predict/{model}", "Asks a model; `?version=` takes a number or an alias"),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    model: Option<String>,
    version: Option<String>,
    top: Option<usize>,
}

async fn predict(
    State(app): State<Arc<App>>,
    Path(of): Path<Map<String, Json>>,
    query: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
    Extension(deadline): Extension<Deadline>,
    request: Request,
) -> Reply {
    let answered = async {
        let Query(asked) = query.map_err(|e| Fault::bad(e.body_text()))?;
        if asked.top == Some(0) {
            return Err(Fault::bad("top: expected at least 1, found 0"));
        }
        let name = match of.get("model").and_then(Json::as_str).or(asked.model.as_deref()) {
            Some(name) => name.to_string(),
            None => app.catalog.only()?,
        };
        let wanted = Wanted::parse(asked.version.as_deref().unwrap_or_default());
        let picked = app.catalog.pick(&name, &wanted)?;
        let served = &picked.served;
        let (rows, several) = rows(served, request, app.options.max_rows).await?;
        let said = app.ask(&picked, &rows, deadline.0).await?;
        let empty = Encoded { inputs: vec![], targets: vec![], notes: Notes::default() };
        let mut answers: Vec<Map<String, Json>> = rows
            .iter()
            .zip(&said.said)
            .enumerate()
            .map(|(i, (row, numbers))| {
                let sample = said.samples.get(i).unwrap_or(&empty);
                let field = |column: &str| plain_value(row, column);
                brisk_eval::record(served.ready.answers(sample, numbers, asked.top.unwrap_or(5), &field))
            })
            .collect();
        let mut answer = json!({"model": served.name, "version": served.version});
        match (several, &mut answer) {
            (false, Json::Object(answer)) => answer.extend(answers.pop().unwrap_or_default()),
            _ => answer["answers"] = json!(answers),
        }
        Ok(reply_json(&answer))
    };
    reply(answered.await)
}

/// The rows of a request, and whether they are to be answered as several.
async fn rows(served: &Served, request: Request, most: usize) -> Answered<(Vec<Row>, bool)> {
    let content =
        request.headers().get(CONTENT_TYPE).and_then(|c| c.to_str().ok()).unwrap_or("application/json");
    let content = content.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if content == "multipart/form-data" {
        let form = Multipart::from_request(request, &()).await.map_err(|e| Fault::bad(e.body_text()))?;
        return Ok((vec![form_row(served, form).await?], false));
    }
    let body = Bytes::from_request(request, &()).await.map_err(|e| Fault::bad(e.body_text()))?;
    // What curl says of --data-binary when nobody tells it more.
    let content =
        if content == FORM && is_picture(&body) { "application/octet-stream".into() } else { content };
    match content.as_str() {
        "application/json" | FORM => {
            let json: Json = parse(&body)?;
            let (list, several) = match json {
                Json::Object(mut object) if !known(served, "rows") && object.contains_key("rows") => {
                    match object.remove("rows") {
                        Some(Json::Array(list)) => (list, true),
                        _ => return Err(Fault::bad("rows: expected a list")),
                    }
                }
                Json::Array(list)
                    if list.iter().all(|v| v.is_object() || v.is_string()) && !list.is_empty() =>
                {
                    (list, true)
                }
                one => (vec![one], false),
            };
            match list.len() {
                0 => return Err(Fault::bad("the request has no rows")),
                n if n > most => return Err(too_many(n, most)),
                _ => {}
            }
            let rows = list.into_iter().map(|json| served.row_of(json)).collect::<Answered<_>>()?;
            Ok((rows, several))
        }
        "text/plain" => {
            let text = String::from_utf8(body.to_vec())
                .map_err(|e| Fault::bad(format!("the text is not UTF-8: {e}")))?;
            Ok((vec![text_row(served, text)?], false))
        }
        picture if picture.starts_with("image/") || picture == "application/octet-stream" => {
            let name = picture_column(served)?;
            Ok((vec![[(name, Field::Picture(body.to_vec()))].into()], false))
        }
        other => Err(Fault::new(
            FaultKind::UnknownContent,
            format!("expected a picture, text/plain, application/json or multipart/form-data, found {other}"),
        )),
    }
}

/// What curl says of --data when nobody tells it more.
const FORM: &str = "application/x-www-form-urlencoded";

/// Whether bytes begin as a file of a picture does: PNG, JPEG, WebP.
fn is_picture(bytes: &[u8]) -> bool {
    let begins = |magic: &[u8]| bytes.starts_with(magic);
    begins(b"\x89PNG") || begins(b"\xff\xd8\xff") || begins(b"RIFF")
}

fn known(served: &Served, column: &str) -> bool {
    served.signature.input(column).is_some()
}

/// The column of a model that takes one picture and nothing else.
fn picture_column(served: &Served) -> Answered<String> {
    match &served.signature.inputs[..] {
        [only] if only.datatype == "UINT8" => Ok(only.name.clone()),
        _ => {
            let names: Vec<_> = served.signature.inputs.iter().map(|p| p.name.as_str()).collect();
            Err(Fault::bad(format!("this model reads {}, not a picture alone", names.join(", "))))
        }
    }
}

/// A row of a form: files are pictures, other parts are values.
async fn form_row(served: &Served, mut form: Multipart) -> Answered<Row> {
    let mut row = Row::new();
    while let Some(part) = form.next_field().await.map_err(|e| Fault::bad(e.body_text()))? {
        let name = part.name().unwrap_or_default().to_string();
        let is_file = part.file_name().is_some();
        let bytes = part.bytes().await.map_err(|e| Fault::bad(e.body_text()))?;
        let name = if is_file && !known(served, &name) { picture_column(served)? } else { name };
        let field = match is_file {
            true => Field::Picture(bytes.to_vec()),
            false => {
                let text = String::from_utf8(bytes.to_vec());
                Field::Value(Value::Text(
                    text.map_err(|_| Fault::bad(format!("input `{name}`: expected UTF-8")))?,
                ))
            }
        };
        row.insert(name, field);
    }
    Ok(row)
}
