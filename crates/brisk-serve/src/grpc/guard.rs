//! Keys, room, deadlines and the whole message, before a method is called; and what its faults are called here.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tonic::{Code, Status};
use tracing::Instrument;

use super::{INFER, METHODS, weight};
use crate::app::{App, Place};
use crate::fault::{Answered, Fault, FaultKind};
use crate::http::Deadline;
use crate::keys::Scope;
use crate::metrics::Page;
use crate::trace;

/// The flag of compression and the length that stand before each message.
const HEAD: usize = 5;
/// Clients take no more than 8 KiB of headers, in which messages of faults stand, percent-encoded.
const LONGEST_MESSAGE: usize = 2000;

/// Answers a call, counts and logs it.
pub async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let path = request.uri().path();
    let method = METHODS.iter().find(|m| m.0 == path).copied();
    let route = method.map_or("other", |m| m.0);
    let response = match method {
        Some((_, scope)) => {
            let span = trace::request("POST", route, request.headers());
            caught(guarded(&app, route, scope, request, next)).instrument(span).await
        }
        None => Err(Fault::new(FaultKind::MethodNotAllowed, "this server has no such method")),
    };
    let response = response.unwrap_or_else(|fault| {
        let unknown = fault.kind == FaultKind::UnknownContent;
        let mut response: Response = Status::from(fault).into_http();
        if unknown {
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        }
        response
    });
    let status = response.extensions().get::<Status>().map_or(200, status);
    app.metrics.answers.get_or_create(&Page { route: route.into(), status }).inc();
    if app.options.access_log {
        let ms = started.elapsed().as_secs_f64() * 1e3;
        tracing::info!(path = route, status, ms, "answered");
    }
    response
}

/// A panic is a fault of ours, not the end of the connection.
async fn caught(answer: impl Future<Output = Answered<Response>>) -> Answered<Response> {
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| {
        Err(Fault::internal("something broke while this was answered; the server's log says more"))
    })
}

async fn guarded(
    app: &App,
    route: &str,
    scope: Option<Scope>,
    request: Request,
    next: Next,
) -> Answered<Response> {
    let (mut parts, body) = request.into_parts();
    let content = parts.headers.get(CONTENT_TYPE).map_or(&b""[..], |v| v.as_bytes());
    if !content.starts_with(b"application/grpc") {
        return Err(Fault::new(FaultKind::UnknownContent, "expected the content type application/grpc"));
    }
    if let Some(scope) = scope {
        app.allow(crate::http::key(&parts.headers), scope)?;
    }
    let deadline = Deadline(app.deadline(granted(&parts.headers)?));
    let message = tokio::time::timeout_at(deadline.0.into(), message(app, body, route == INFER));
    let message =
        message.await.map_err(|_| Fault::new(FaultKind::SlowRequest, "the message did not arrive in time"));
    let (place, message) = message??;
    let mut _place = place;
    if route == INFER {
        // Tensors may take more room than their messages: small numbers, empty texts.
        let weight = message.len() + weight::of(&message[HEAD..]);
        if weight > app.options.max_memory {
            return Err(Fault::new(
                FaultKind::TooLarge,
                format!("the message would take {weight} bytes of memory"),
            ));
        }
        if weight > message.len() + (64 << 10) {
            drop(_place);
            _place = Some(app.admit(weight).await?);
        }
    }
    parts.extensions.insert(deadline);
    Ok(next.run(Request::from_parts(parts, Body::from(message))).await)
}

/// The most bytes of a message that asks no model.
const SMALL: usize = 64 << 10;

/// The one message of a request, with what stands before it. One that asks a model takes a place as soon as its length is known; others are
/// answered however much there is to do, as those about health must be.
async fn message(app: &App, body: Body, asks: bool) -> Answered<(Option<Place>, Bytes)> {
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut place = None;
    let mut end = None;
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk.map_err(|e| Fault::bad(format!("the message broke off: {e}")))?);
        if end.is_none()
            && let [_, a, b, c, d, ..] = bytes[..]
        {
            let most = if asks { app.options.max_body } else { SMALL.min(app.options.max_body) };
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            if length > most {
                return Err(Fault::new(
                    FaultKind::TooLarge,
                    format!("the message has more than {most} bytes"),
                ));
            }
            end = Some(HEAD + length);
            if asks {
                place = Some(app.admit(length).await?);
            }
        }
        if end.is_some_and(|end| bytes.len() > end) {
            return Err(Fault::bad("expected one message, found more"));
        }
    }
    match end {
        Some(end) if end == bytes.len() => Ok((place, bytes.into())),
        _ => Err(Fault::bad("the message broke off")),
    }
}

/// How long the client is ready to wait: `grpc-timeout`, up to eight digits and a unit.
fn granted(headers: &HeaderMap) -> Answered<Option<Duration>> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let parse = |text: &str| {
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let good = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        let n: u64 = good.then(|| digits.parse().ok())??;
        Some(match unit {
            "H" => Duration::from_secs(n * 3600),
            "M" => Duration::from_secs(n * 60),
            "S" => Duration::from_secs(n),
            "m" => Duration::from_millis(n),
            "u" => Duration::from_micros(n),
            "n" => Duration::from_nanos(n),
            _ => return None,
        })
    };
    match value.to_str().ok().and_then(parse) {
        Some(duration) => Ok(Some(duration)),
        None => Err(Fault::bad("grpc-timeout: expected digits and one of H, M, S, m, u, n, such as 500m")),
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Status {
        let code = match fault.kind {
            FaultKind::BadRequest | FaultKind::UnknownContent => Code::InvalidArgument,
            FaultKind::Unauthorized => Code::Unauthenticated,
            FaultKind::Forbidden => Code::PermissionDenied,
            FaultKind::NotFound => Code::NotFound,
            FaultKind::MethodNotAllowed => Code::Unimplemented,
            FaultKind::Conflict => Code::FailedPrecondition,
            FaultKind::TooLarge | FaultKind::Overloaded => Code::ResourceExhausted,
            FaultKind::SlowRequest | FaultKind::Deadline => Code::DeadlineExceeded,
            FaultKind::Internal => Code::Internal,
            FaultKind::Unavailable => Code::Unavailable,
        };
        let end = fault.message.floor_char_boundary(LONGEST_MESSAGE);
        let mut status = Status::new(code, &fault.message[..end]);
        if let Some(after) = fault.retry_after {
            // Clients with a policy of retries obey this.
            status.metadata_mut().insert("grpc-retry-pushback-ms", (after.as_millis() as u64).into());
        }
        status.set_source(Arc::new(fault));
        status
    }
}

/// The status of HTTP that a fault has there; those that `tonic` finds itself have none of our kinds.
fn status(status: &Status) -> u16 {
    let fault = std::error::Error::source(status).and_then(|e| e.downcast_ref::<Fault>());
    match (fault, status.code()) {
        (Some(fault), _) => fault.kind.status(),
        (None, Code::Ok) => 200,
        (None, Code::Unimplemented) => 501,
        (None, _) => 500,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])
    }

    #[test]
    fn timeouts_have_units() {
        let of = |text: &str| granted(&headers("grpc-timeout", text)).map(Option::unwrap);
        for (text, expected) in [
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("500m", Duration::from_millis(500)),
            ("7u", Duration::from_micros(7)),
            ("0n", Duration::ZERO),
        ] {
            assert_eq!(of(text).unwrap(), expected);
        }
        for text in ["", "m", "5", "5s", "-5m", "123456789m", "1.5S"] {
            assert!(of(text).unwrap_err().message.contains("such as 500m"), "{text}");
        }
        assert_eq!(granted(&HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn faults_keep_their_status() {
        let fault =
            Fault { retry_after: Some(Duration::from_secs(2)), ..Fault::new(FaultKind::Overloaded, "later") };
        let http = Status::from(fault).into_http::<()>();
        assert_eq!(http.headers()["grpc-status"], "8");
        assert_eq!(http.headers()["grpc-retry-pushback-ms"], "2000");
        assert_eq!(http.extensions().get::<Status>().map(status), Some(429));
        let long = Status::from(Fault::bad("猫".repeat(5000)));
        assert!(long.message().len() <= LONGEST_MESSAGE && long.message().len() > LONGEST_MESSAGE - 4);
    }

    proptest! {
        #[test]
        fn no_timeout_makes_it_panic(text in r"[ -~]{0,12}") {
            let _ = granted(&headers("grpc-timeout", &text));
        }
    }
}
