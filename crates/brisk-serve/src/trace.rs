//! Spans of requests. They are made only if somebody collects them: at the level `debug` of the target [`TARGET`].

use axum::http::HeaderMap;
use tracing::Span;

/// Whose spans these are, for those who filter.
pub const TARGET: &str = "brisk_serve::trace";

/// The span of a request, in the trace that its client names (W3C's `traceparent`).
pub fn request(method: &str, route: &str, headers: &HeaderMap) -> Span {
    let span = tracing::debug_span!(
        target: TARGET,
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        http.response.status_code = tracing::field::Empty,
    );
    #[cfg(feature = "telemetry")]
    if !span.is_disabled() {
        use tracing_opentelemetry::OpenTelemetrySpanExt;
        let parent = opentelemetry::global::get_text_map_propagator(|p| p.extract(&Headers(headers)));
        let _ = span.set_parent(parent);
    }
    #[cfg(not(feature = "telemetry"))]
    let _ = headers;
    span
}

/// The span of what a model does with rows, its queue included.
pub fn model(name: &str, version: u64, rows: usize) -> Span {
    tracing::debug_span!(target: TARGET, "model", model = name, version, rows)
}

#[cfg(feature = "telemetry")]
struct Headers<'h>(&'h HeaderMap);

#[cfg(feature = "telemetry")]
impl opentelemetry::propagation::Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|k| k.as_str()).collect()
    }
}
