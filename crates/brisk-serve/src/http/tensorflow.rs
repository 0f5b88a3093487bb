//! TensorFlow Serving's REST interface: `/v1/models/NAME:predict`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::Method;
use axum::routing::{get, post};
use bytes::Bytes;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::reply::{Reply, json as reply_json, parse, reply};
use super::{Deadline, Page};
use crate::app::App;
use crate::catalog::Wanted;
use crate::fault::{Answered, Fault, FaultKind};
use crate::keys::Scope;
use crate::model::{Row, Served, Typed, kind, too_many};

pub(crate) fn pages() -> Vec<Page> {
    let page = |path, shown, about| Page {
        method: Method::GET,
        path,
        shown,
        scope: Some(Scope::Infer),
        group: "TensorFlow Serving",
        about,
        query: &[],
        takes: vec![],
        gives: ("application/json", json!({"type": "object"})),
        handler: get(status),
    };
    let predict = |path, shown| Page {
        method: Method::POST,
        takes: vec![("application/json", schema())],
        handler: post(predict),
        ..page(path, Some(shown), "Asks a model: `instances` (rows) or `inputs` (columns)")
    };
    vec![
        page("/v1/models/{model}", None, "The versions of a model and their state"),
        predict("/v1/models/{model}", "/v1/models/{model}:predict"),
        predict("/v1/models/{model}/versions/{version}", "/v1/models/{model}/versions/{version}:predict"),
        predict("/v1/models/{model}/labels/{version}", "/v1/models/{model}/labels/{version}:predict"),
    ]
}

fn schema() -> Json {
    json!({
        "type": "object",
        "properties": {
            "instances": {"type": "array", "items": {}, "description": "Rows: an object with a key for each input, or the only input itself"},
            "inputs": {"description": "Columns: an object of lists, or the only input's list"},
        },
    })
}

async fn status(State(app): State<Arc<App>>, Path(model): Path<String>) -> Reply {
    reply(app.catalog.find(&model, &Wanted::Default).map(|_| {
        let table = app.catalog.table();
        let versions = table.get(&model).map(|e| e.versions.keys().rev().copied().collect::<Vec<_>>());
        let state = |v: u64| {
            let good = json!({"error_code": "OK", "error_message": ""});
            json!({"version": v.to_string(), "state": "AVAILABLE", "status": good})
        };
        let states: Vec<Json> = versions.unwrap_or_default().into_iter().map(state).collect();
        // OpenAI's clients ask the same page for a model.
        reply_json(
            &json!({"id": model, "object": "model", "owned_by": "brisk", "model_version_status": states}),
        )
    }))
}

#[derive(Deserialize)]
struct Request {
    instances: Option<Vec<Json>>,
    inputs: Option<Json>,
}

async fn predict(
    State(app): State<Arc<App>>,
    Path(of): Path<Map<String, Json>>,
    Extension(deadline): Extension<Deadline>,
    body: Bytes,
) -> Reply {
    reply(answer(&app, &of, deadline, &body).await)
}

async fn answer(app: &Arc<App>, of: &Map<String, Json>, deadline: Deadline, body: &[u8]) -> Answered<Reply> {
    let word = |key: &str| of.get(key).and_then(Json::as_str);
    let last = word("version").or(word("model")).unwrap_or_default();
    let Some((last, verb)) = last.rsplit_once(':') else {
        return Err(Fault::new(FaultKind::NotFound, format!("expected `{last}:predict`, found `{last}`")));
    };
    if verb != "predict" {
        return Err(Fault::new(FaultKind::NotFound, format!("expected `:predict`, found `:{verb}`")));
    }
    let (name, wanted) = match word("version") {
        Some(_) => (word("model").unwrap_or_default(), Wanted::parse(last)),
        None => (last, Wanted::Default),
    };
    let picked = app.catalog.pick(name, &wanted)?;
    let served = &picked.served;
    let request: Request = parse(body)?;
    let by_column = request.inputs.is_some();
    let instances = match (request.instances, request.inputs) {
        (Some(rows), None) => rows,
        (None, Some(columns)) => turned(served, columns)?,
        _ => return Err(Fault::bad("expected either `instances` or `inputs`")),
    };
    let most = app.options.max_rows;
    match instances.len() {
        0 => return Err(Fault::bad("the request has no rows")),
        n if n > most => return Err(too_many(n, most)),
        _ => {}
    }
    let rows = instances.into_iter().map(|json| served.row_of(json)).collect::<Answered<Vec<Row>>>()?;
    let asked = app.ask(&picked, &rows, deadline.0).await?;
    let all = served.respond(String::new(), served.requested(vec![], false)?, &rows, &asked);
    let mut outputs: IndexMap<String, Vec<Cell>> = all
        .outputs
        .into_iter()
        .map(|(requested, shape, typed)| (requested.name, each(&typed, shape.get(1).copied())))
        .collect();
    let only = match outputs.len() {
        1 => outputs.swap_remove_index(0).map(|o| o.1),
        _ => None,
    };
    Ok(match (by_column, only) {
        (true, Some(only)) => reply_json(&IndexMap::from([("outputs", only)])),
        (true, None) => reply_json(&IndexMap::from([("outputs", outputs)])),
        (false, Some(only)) => reply_json(&IndexMap::from([("predictions", only)])),
        (false, None) => {
            let row = |i: usize| {
                let cells = outputs.iter().filter_map(|(name, all)| Some((name.as_str(), all.get(i)?)));
                cells.collect::<IndexMap<&str, &Cell>>()
            };
            let rows: Vec<_> = (0..rows.len()).map(row).collect();
            reply_json(&IndexMap::from([("predictions", rows)]))
        }
    })
}

/// Columns as rows.
fn turned(served: &Served, columns: Json) -> Answered<Vec<Json>> {
    let columns = match (columns, &served.signature.inputs[..]) {
        (Json::Object(columns), _) => columns,
        (list @ Json::Array(_), [only]) => [(only.name.clone(), list)].into_iter().collect(),
        (other, _) => {
            return Err(Fault::bad(format!("inputs: expected an object of lists, found {}", kind(&other))));
        }
    };
    let mut rows: Vec<Map<String, Json>> = Vec::new();
    for (i, (name, column)) in columns.into_iter().enumerate() {
        let Json::Array(values) = column else {
            return Err(Fault::bad(format!("input `{name}`: expected a list, found {}", kind(&column))));
        };
        if i == 0 {
            rows.resize(values.len(), Map::new());
        }
        if values.len() != rows.len() {
            return Err(Fault::bad(format!(
                "input `{name}`: expected {} rows, found {}",
                rows.len(),
                values.len()
            )));
        }
        rows.iter_mut().zip(values).for_each(|(row, value)| {
            row.insert(name.clone(), value);
        });
    }
    Ok(rows.into_iter().map(Json::Object).collect())
}

/// What an output has for a row.
#[derive(Clone, Serialize)]
#[serde(untagged)]
enum Cell {
    F32(Vec<f32>),
    F64(Vec<f64>),
    Json(Json),
}

/// The elements of each row.
fn each(typed: &Typed, width: Option<i64>) -> Vec<Cell> {
    let width = width.unwrap_or(1).max(1) as usize;
    match typed {
        Typed::U8(v) => v.chunks(width).map(|row| Cell::Json(json!(row))).collect(),
        Typed::F32(v) => v.chunks(width).map(|row| Cell::F32(row.to_vec())).collect(),
        Typed::F64(v) => v.chunks(width).map(|row| Cell::F64(row.to_vec())).collect(),
        Typed::Bytes(v) => {
            let json =
                |b: &Bytes| serde_json::from_slice(b).unwrap_or_else(|_| String::from_utf8_lossy(b).into());
            v.iter().map(|b| Cell::Json(json(b))).collect()
        }
    }
}
