//! HTTP: the list of pages, and what happens before each.

mod admin;
mod console;
mod embeddings;
mod openapi;
mod predict;
pub(crate) mod reply;
mod tensorflow;
mod v2;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, Version};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::MethodRouter;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use serde_json::Value as Json;

use crate::app::{App, Place};
use crate::fault::{Answered, Fault, FaultKind};
use crate::keys::Scope;
use crate::metrics::Page as Counted;
use crate::trace;
use reply::{Reply, openai, plain};
use tracing::Instrument;

/// A page: how it is reached, who may, and what is said about it.
pub(crate) struct Page {
    pub method: Method,
    pub path: &'static str,
    /// What `/docs` shows instead of the path.
    pub shown: Option<&'static str>,
    /// Open to all if there is none.
    pub scope: Option<Scope>,
    /// The heading under which it stands.
    pub group: &'static str,
    pub about: &'static str,
    /// What may stand after `?`.
    pub query: &'static [&'static str],
    /// Content types of the body with their schemas.
    pub takes: Vec<(&'static str, Json)>,
    /// The content type of the answer with its schema.
    pub gives: (&'static str, Json),
    pub handler: MethodRouter<Arc<App>>,
}

/// All pages.
pub(crate) fn pages() -> Vec<Page> {
    [
        v2::pages(),
        predict::pages(),
        tensorflow::pages(),
        embeddings::pages(),
        admin::pages(),
        console::pages(),
    ]
    .into_iter()
    .chain([openapi::pages()])
    .flatten()
    .collect()
}

/// All of it.
pub fn router(app: &Arc<App>) -> Router {
    let mut router: Router<Arc<App>> = Router::new();
    for page in pages() {
        let own = app.clone();
        let say = if page.path.starts_with("/v1/embeddings") { openai } else { plain };
        let guarded = Guarded { scope: page.scope, say };
        let guard = from_fn(move |request: Request, next: Next| guard(own.clone(), guarded, request, next));
        router = router.route(page.path, page.handler.layer(guard));
    }
    router
        .fallback(|| async { Fault::new(FaultKind::NotFound, "there is no such page; /docs lists all") })
        .method_not_allowed_fallback(|| async {
            Fault::new(FaultKind::MethodNotAllowed, "this page has no such method; /docs lists all")
        })
        // The guard has its own limit.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(app.clone(), count))
        .with_state(app.clone())
}

/// What the guard knows of a page.
#[derive(Clone, Copy)]
struct Guarded {
    scope: Option<Scope>,
    /// The shape of its faults.
    say: fn(&Fault) -> Reply,
}

/// By when a request must be answered.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(pub Instant);

/// Keys, room, and the whole body, before a handler sees the request.
async fn guard(app: Arc<App>, page: Guarded, request: Request, next: Next) -> Reply {
    if let Some(scope) = page.scope
        && let Err(fault) = app.allow(key(request.headers()), scope)
    {
        return (page.say)(&fault);
    }
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return caught(next.run(request)).await;
    }
    let h2 = request.version() == Version::HTTP_2;
    let (parts, body) = request.into_parts();
    let whole = async {
        if parts.headers.get(CONTENT_ENCODING).is_some_and(|e| e != "identity") {
            return Err(Fault::new(FaultKind::UnknownContent, "expected a body without Content-Encoding"));
        }
        let most = app.options.max_body;
        let too_large = || Fault::new(FaultKind::TooLarge, format!("the body has more than {most} bytes"));
        let said = parts.headers.get(CONTENT_LENGTH).and_then(|l| l.to_str().ok()?.parse::<usize>().ok());
        if said.is_some_and(|n| n > most) {
            return Err(too_large());
        }
        let deadline = Deadline(app.deadline(granted(&parts.headers)?));
        let growth = growth(&parts.headers);
        let mut place = app.admit(said.unwrap_or(UNSAID) * growth).await?;
        let bytes = async {
            let (mut body, mut room) = (body.into_data_stream(), said.unwrap_or(UNSAID));
            let mut bytes = Vec::with_capacity(room);
            while let Some(part) = body.next().await {
                let part = part.map_err(|e| Fault::bad(format!("the body broke off: {e}")))?;
                let length = bytes.len() + part.len();
                if length > most {
                    return Err(too_large());
                }
                if length > room {
                    let more = length.max(2 * room).min(most) - room;
                    app.grow(&mut place, more * growth).await?;
                    room += more;
                }
                bytes.extend_from_slice(&part);
            }
            Ok(bytes)
        };
        let bytes = tokio::time::timeout_at(deadline.0.into(), bytes)
            .await
            .map_err(|_| Fault::new(FaultKind::SlowRequest, "the body did not arrive in time"))??;
        Ok((place, deadline, bytes))
    };
    let (place, deadline, bytes) = match whole.await {
        Ok(whole) => whole,
        Err(fault) => return (page.say)(&fault),
    };
    let mut request = Request::from_parts(parts, Body::from(bytes));
    request.extensions_mut().insert(deadline);
    let (parts, body) = caught(next.run(request)).await.into_parts();
    if h2 {
        // There a client may leave an answer unread for ever, and none notices: its place is free now.
        return Reply::from_parts(parts, body);
    }
    // The place is free when the answer has been written, not when it has been made.
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    Reply::from_parts(parts, Body::from(Bytes::from_owner(Placed { bytes, _place: place })))
}

/// Bytes of a body whose length is not said, until there are more.
const UNSAID: usize = 64 << 10;

/// How much more room a body takes once it is read: values of JSON and tokens are larger than their text.
fn growth(headers: &HeaderMap) -> usize {
    let content = headers.get(CONTENT_TYPE).map_or(&b""[..], |c| c.as_bytes());
    if content.starts_with(b"application/octet-stream") || content.starts_with(b"image/") { 2 } else { 8 }
}

/// The bytes of an answer, with the place of its request.
struct Placed {
    bytes: Bytes,
    _place: Place,
}

impl AsRef<[u8]> for Placed {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A panic is a fault of ours, not the end of the connection; and what the framework refuses in plain text is said as all else is.
async fn caught(answer: impl Future<Output = Reply>) -> Reply {
    let Ok(answer) = AssertUnwindSafe(answer).catch_unwind().await else {
        let message = "something broke while this was answered; the server's log says more";
        return Fault::internal(message).into_response();
    };
    let plain = answer.headers().get(CONTENT_TYPE).is_some_and(|c| c.as_bytes().starts_with(b"text/plain"));
    if !plain || !answer.status().is_client_error() {
        return answer;
    }
    let (parts, body) = answer.into_parts();
    let text = axum::body::to_bytes(body, 64 << 10).await.unwrap_or_default();
    let mut refused = Fault::bad(String::from_utf8_lossy(&text)).into_response();
    *refused.status_mut() = parts.status;
    refused
}

/// The key of a request.
pub(crate) fn key(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| {
        let (scheme, key) = v.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    bearer.or_else(|| headers.get("x-api-key").and_then(|v| v.to_str().ok()))
}

/// How long the client is ready to wait: `Request-Timeout`, in seconds.
fn granted(headers: &HeaderMap) -> Answered<Option<Duration>> {
    let Some(value) = headers.get("request-timeout") else { return Ok(None) };
    let seconds = value.to_str().ok().and_then(|v| v.trim().parse::<f64>().ok());
    match seconds.filter(|s| *s > 0.0).and_then(|s| Duration::try_from_secs_f64(s).ok()) {
        Some(duration) => Ok(Some(duration)),
        None => Err(Fault::bad("Request-Timeout: expected seconds, such as 0.5")),
    }
}

/// Counts and logs each answer.
async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Reply {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("other".into(), |p| p.as_str().to_string());
    let line = app.options.access_log.then(|| (request.method().clone(), request.uri().path().to_string()));
    let span = trace::request(request.method().as_str(), &route, request.headers());
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    span.record("http.response.status_code", status);
    app.metrics.answers.get_or_create(&Counted { route, status }).inc();
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    if let Some((method, path)) = line {
        let ms = started.elapsed().as_secs_f64() * 1e3;
        tracing::info!(%method, path, status, ms, "answered");
    }
    response
}
