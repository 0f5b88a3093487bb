//! Which versions are there, and who answers: KServe's repository pages, and aliases, rollback and canaries.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::Method;
use axum::routing::{delete, post, put};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::Page;
use super::reply::{Reply, json as reply_json, parse, reply};
use crate::app::{App, to_the_end};
use crate::catalog::{Canary, Wanted};
use crate::fault::{Answered, Fault};
use crate::keys::Scope;

pub(crate) fn pages() -> Vec<Page> {
    let object = || json!({"type": "object"});
    let page = |method, path, about, takes: Option<Json>, handler| Page {
        method,
        path,
        shown: None,
        scope: Some(Scope::Admin),
        group: "Versions",
        about,
        query: &[],
        takes: takes.map(|schema| ("application/json", schema)).into_iter().collect(),
        gives: ("application/json", object()),
        handler,
    };
    let version = || json!({"type": "object", "additionalProperties": false, "required": ["version"], "properties": {"version": {"type": "integer", "minimum": 1}}});
    let load = || json!({"type": "object", "additionalProperties": false, "properties": {"parameters": {"type": "object", "additionalProperties": false, "properties": {"version": {"type": ["integer", "null"], "minimum": 1}}}}});
    let canary = || {
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["version"],
            "properties": {
                "version": {"type": "integer", "minimum": 1},
                "percent": {"type": "number", "minimum": 0, "maximum": 100},
                "shadow": {"type": "boolean"},
            },
        })
    };
    let alias = || json!({"type": "object", "additionalProperties": false, "properties": {"alias": {"type": ["string", "null"]}}});
    vec![
        Page {
            scope: Some(Scope::Infer),
            gives: ("application/json", json!({"type": "array", "items": object()})),
            ..page(
                Method::POST,
                "/v2/repository/index",
                "Versions in memory, and those that could not be loaded",
                Some(object()),
                post(index),
            )
        },
        page(
            Method::POST,
            "/v2/repository/models/{model}/load",
            "Looks for new versions of a model now; or loads one that no alias names",
            Some(load()),
            post(load_model),
        ),
        page(
            Method::POST,
            "/v2/repository/models/{model}/unload",
            "Takes a model out of memory until it is loaded again",
            Some(object()),
            post(unload),
        ),
        page(
            Method::PUT,
            "/admin/models/{model}/aliases/{alias}",
            "Moves an alias to a version",
            Some(version()),
            put(set_alias),
        ),
        page(
            Method::DELETE,
            "/admin/models/{model}/aliases/{alias}",
            "Removes an alias",
            None,
            delete(remove_alias),
        ),
        page(
            Method::POST,
            "/admin/models/{model}/rollback",
            "Moves an alias (`production`) back to the version before",
            Some(alias()),
            post(rollback),
        ),
        page(
            Method::PUT,
            "/admin/models/{model}/canary",
            "Gives a share of the requests to another version, or compares its answers",
            Some(canary()),
            put(set_canary),
        ),
        page(Method::DELETE, "/admin/models/{model}/canary", "Ends that", None, delete(end_canary)),
    ]
}

async fn index(State(app): State<Arc<App>>) -> Reply {
    reply_json(&app.index())
}

/// The parts of a path.
type Of = Path<Map<String, Json>>;

fn word<'o>(of: &'o Map<String, Json>, key: &str) -> &'o str {
    of.get(key).and_then(Json::as_str).unwrap_or_default()
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Load {
    #[serde(default)]
    parameters: LoadParameters,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoadParameters {
    version: Option<u64>,
}

/// A body that may be missing.
fn optional<T: Default + serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    if body.is_empty() { Ok(T::default()) } else { parse(body) }
}

async fn load_model(State(app): State<Arc<App>>, Path(of): Of, body: Bytes) -> Reply {
    let done = async {
        let load: Load = optional(&body)?;
        let model = word(&of, "model").to_string();
        to_the_end(async move { app.load(&model, load.parameters.version).await }).await?;
        Ok(reply_json(&json!({})))
    };
    reply(done.await)
}

async fn unload(State(app): State<Arc<App>>, Path(of): Of) -> Reply {
    let model = word(&of, "model").to_string();
    let done = to_the_end(async move { app.unload(&model).await }).await;
    reply(done.map(|()| reply_json(&json!({}))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Version {
    version: u64,
}

async fn set_alias(State(app): State<Arc<App>>, Path(of): Of, body: Bytes) -> Reply {
    let done = async {
        let Version { version } = parse(&body)?;
        let (model, alias) = (word(&of, "model"), word(&of, "alias"));
        move_alias(app, model, alias, Some(version)).await?;
        Ok(reply_json(&json!({"model": model, "alias": alias, "version": version})))
    };
    reply(done.await)
}

async fn move_alias(app: Arc<App>, model: &str, alias: &str, version: Option<u64>) -> Answered<()> {
    let (model, alias) = (model.to_string(), alias.to_string());
    to_the_end(async move { app.set_alias(&model, &alias, version).await }).await
}

async fn remove_alias(State(app): State<Arc<App>>, Path(of): Of) -> Reply {
    let (model, alias) = (word(&of, "model"), word(&of, "alias"));
    let done = move_alias(app, model, alias, None).await;
    reply(done.map(|()| reply_json(&json!({"model": model, "alias": alias, "version": null}))))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rollback {
    alias: Option<String>,
}

async fn rollback(State(app): State<Arc<App>>, Path(of): Of, body: Bytes) -> Reply {
    let done = async {
        let asked: Rollback = optional(&body)?;
        let alias = asked.alias.unwrap_or(crate::repository::PRODUCTION.into());
        let (model, name) = (word(&of, "model").to_string(), alias.clone());
        let moved = to_the_end(async move { app.rollback(&model, &name).await }).await?;
        Ok(reply_json(
            &json!({"model": word(&of, "model"), "alias": alias, "from": moved.from, "version": moved.to}),
        ))
    };
    reply(done.await)
}

async fn set_canary(State(app): State<Arc<App>>, Path(of): Of, body: Bytes) -> Reply {
    let done = async {
        let canary: Canary = parse(&body)?;
        if !(0.0..=100.0).contains(&canary.percent) {
            return Err(Fault::bad(format!("percent: expected 0 to 100, found {}", canary.percent)));
        }
        let model = word(&of, "model");
        let name = model.to_string();
        to_the_end(async move { app.set_canary(&name, Some(canary)).await }).await?;
        Ok(reply_json(&json!({"model": model, "canary": canary})))
    };
    reply(done.await)
}

async fn end_canary(State(app): State<Arc<App>>, Path(of): Of) -> Reply {
    let model = word(&of, "model").to_string();
    let done = async {
        app.catalog.find(&model, &Wanted::Default)?;
        let name = model.clone();
        to_the_end(async move { app.set_canary(&name, None).await }).await?;
        Ok(reply_json(&json!({"model": model, "canary": null})))
    };
    reply(done.await)
}
