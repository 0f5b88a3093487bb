//! The console: one page for people, and what it shows.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::extract::{Path, State};
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::routing::get;
use serde_json::{Map, Value as Json, json};

use super::Page;
use super::openapi::{gives, schema_of_row};
use super::reply::{Reply, json as reply_json, reply, typed};
use crate::app::App;
use crate::catalog::{Entry, Wanted};
use crate::fault::{Fault, FaultKind};
use crate::keys::Scope;
use crate::model::Served;

const PAGE: &str = include_str!("../../console/console.html");
const SCRIPT: &str = include_str!("../../console/console.js");
const STYLE: &str = include_str!("../../console/console.css");

/// Nothing but this server's own files.
pub(crate) const OWN: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; \
    connect-src 'self'; frame-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";
/// A report is somebody's page: it may show, and do nothing.
const REPORT: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'self'";

pub(crate) fn pages() -> Vec<Page> {
    let page = |path, about, content, handler| Page {
        method: Method::GET,
        path,
        shown: None,
        scope: None,
        group: "Console",
        about,
        query: &[],
        takes: vec![],
        gives: (content, json!({})),
        handler,
    };
    let guarded = |path, about, content, handler| Page {
        scope: Some(Scope::Infer),
        ..page(path, about, content, handler)
    };
    vec![
        page("/", "The console", "text/html", get(console)),
        page(
            "/console.js",
            "Its script",
            "text/javascript",
            get(|| async { typed("text/javascript; charset=utf-8", SCRIPT) }),
        ),
        page(
            "/console.css",
            "Its style",
            "text/css",
            get(|| async { typed("text/css; charset=utf-8", STYLE) }),
        ),
        guarded(
            "/console/state",
            "Models, versions and traffic, as the console shows them",
            "application/json",
            get(state),
        ),
        guarded(
            "/console/models/{model}/{version}",
            "What does not change about a version: inputs, outputs, labels, card",
            "application/json",
            get(details),
        ),
        guarded(
            "/console/report/{model}/{version}",
            "The report of the run that a version comes from",
            "text/html",
            get(report),
        ),
        guarded(
            "/metrics",
            "All figures for Prometheus, in the format of OpenMetrics",
            "application/openmetrics-text",
            get(metrics),
        ),
    ]
}

async fn metrics(State(app): State<Arc<App>>) -> Reply {
    typed("application/openmetrics-text; version=1.0.0; charset=utf-8", app.metrics_text())
}

async fn console() -> Reply {
    policy(typed("text/html; charset=utf-8", PAGE), OWN)
}

pub(crate) fn policy(mut reply: Reply, policy: &'static str) -> Reply {
    reply.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    reply
}

async fn state(State(app): State<Arc<App>>, headers: HeaderMap) -> Reply {
    let table = app.catalog.table();
    let models: Vec<Json> = table.iter().map(|(name, entry)| model(name, entry)).collect();
    reply_json(&json!({
        "server": {
            "version": env!("CARGO_PKG_VERSION"),
            "device": app.device.describe(),
            "uptime_seconds": app.started.elapsed().as_secs(),
            "source": app.source.describe(),
            "ready": app.is_ready(),
            "keys": app.has_keys(),
            "may": app.scopes(super::key(&headers)),
            "in_work": app.in_work(),
            "rows_waiting": app.engine.waiting(),
            "dropped": app.engine.dropped(),
        },
        "models": models,
        "refused": app.refused(),
    }))
}

fn model(name: &str, entry: &Entry) -> Json {
    let version = |served: &Arc<Served>| json!({"version": served.version, "loaded": loaded(served)});
    let versions: Vec<Json> = entry.versions.values().rev().map(version).collect();
    json!({
        "name": name,
        "default": entry.default,
        "aliases": entry.aliases,
        "canary": entry.canary,
        "versions": versions,
        "traffic": entry.live.traffic(),
    })
}

/// Milliseconds since 1970: a version that was loaded again may say other things.
fn loaded(served: &Served) -> u64 {
    served.loaded.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

async fn details(State(app): State<Arc<App>>, Path((model, version)): Path<(String, String)>) -> Reply {
    reply(app.catalog.find(&model, &Wanted::parse(&version)).map(|picked| reply_json(&about(&picked.served))))
}

fn about(served: &Served) -> Json {
    let outputs = served.ready.model.outputs.iter();
    let labels: Map<String, Json> =
        outputs.filter_map(|o| Some((o.name.clone(), json!(served.labels(&o.name)?)))).collect();
    json!({
        "version": served.version,
        "loaded": loaded(served),
        "inputs": served.signature.inputs,
        "outputs": served.signature.outputs,
        "row": schema_of_row(served),
        "gives": gives(served),
        "labels": labels,
        "embeds": served.embedder.is_some(),
        "parameters": served.ready.model.state.iter().map(|(_, t)| t.elements()).sum::<usize>(),
        "card": served.ready.model.card,
        "about": served.about,
        "report": served.report.is_some(),
    })
}

async fn report(State(app): State<Arc<App>>, Path((model, version)): Path<(String, String)>) -> Reply {
    reply(app.catalog.find(&model, &Wanted::parse(&version)).and_then(|picked| match &picked.served.report {
        Some(page) => Ok(policy(typed("text/html; charset=utf-8", page.clone()), REPORT)),
        None => Err(Fault::new(FaultKind::NotFound, "no report was published with this version")),
    }))
}
