//! Answers as HTTP.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::json;

use crate::app::{LARGE, aside};
use crate::fault::{Answered, Fault, FaultKind};

/// What handlers give.
pub type Reply = Response<Body>;

/// JSON.
pub fn json(value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(bytes) => typed("application/json", bytes),
        Err(error) => Fault::internal(error.to_string()).into_response(),
    }
}

/// Bytes of a type.
pub fn typed(content: &'static str, bytes: impl Into<Body>) -> Reply {
    let mut response = Response::new(bytes.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content));
    response
}

/// An answer or a fault.
pub fn reply(result: Answered<Reply>) -> Reply {
    result.unwrap_or_else(IntoResponse::into_response)
}

/// A fault in the shape that OpenAI's clients read.
pub fn openai(fault: &Fault) -> Reply {
    let kind = match fault.kind {
        FaultKind::Internal | FaultKind::Unavailable | FaultKind::Deadline => "server_error",
        FaultKind::Overloaded => "rate_limit_error",
        _ => "invalid_request_error",
    };
    let error = json!({"message": fault.message, "type": kind, "param": null, "code": null});
    with(fault, &json!({ "error": error }))
}

fn with(fault: &Fault, body: &serde_json::Value) -> Reply {
    let mut response = json(body);
    *response.status_mut() =
        StatusCode::from_u16(fault.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Some(after) = fault.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs_f64().ceil() as u64));
    }
    if fault.kind == FaultKind::Unauthorized {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// A fault in the shape of all other pages.
pub fn plain(fault: &Fault) -> Reply {
    with(fault, &json!({ "error": fault.message }))
}

impl IntoResponse for Fault {
    fn into_response(self) -> Reply {
        plain(&self)
    }
}

/// Reads a body of JSON. Errors say where it is wrong.
pub fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Answered<T> {
    let parse = || serde_json::from_slice(body);
    let parsed = if body.len() > LARGE { aside(parse) } else { parse() };
    parsed.map_err(|e| Fault::bad(format!("the body is not the JSON that is expected: {e}")))
}
