//! The log of commands that run for long, on stderr; and traces, where OpenTelemetry is configured.

use std::io::IsTerminal;

use anyhow::Result;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, Layer};

use crate::exit::bad_input;

/// What must be kept until the end, so that nothing is lost.
pub struct Log {
    #[cfg(feature = "telemetry")]
    traces: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
}

/// Starts the log. Traces go to the collector that the usual variables of OpenTelemetry name (`OTEL_EXPORTER_OTLP_ENDPOINT`, ...).
pub fn start(level: &str, json: bool) -> Result<Log> {
    let strange = |part: &&str| !part.contains('=') && part.trim().parse::<LevelFilter>().is_err();
    if let Some(part) = level.split(',').find(strange) {
        return Err(bad_input(format!(
            "--log: expected error, warn, info, debug, or `target=level`, found `{part}`"
        )));
    }
    let filter = EnvFilter::try_new(level).map_err(|e| {
        bad_input(format!("--log: {e}; expected error, warn, info, debug, or `target=level`"))
    })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match json {
        true => lines.json().flatten_event(true).with_span_list(false).with_current_span(false).boxed(),
        false => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).boxed(),
    };
    let registry = tracing_subscriber::registry().with(lines.with_filter(filter));
    #[cfg(feature = "telemetry")]
    {
        let traces = telemetry::provider()?;
        registry.with(traces.as_ref().map(telemetry::layer)).init();
        Ok(Log { traces })
    }
    #[cfg(not(feature = "telemetry"))]
    {
        registry.init();
        Ok(Log {})
    }
}

#[cfg(feature = "telemetry")]
impl Drop for Log {
    fn drop(&mut self) {
        if let Some(traces) = &self.traces
            && let Err(error) = traces.shutdown()
        {
            eprintln!("warning: the last traces did not reach their collector: {error}");
        }
    }
}

#[cfg(feature = "telemetry")]
mod telemetry {
    use std::time::Duration;

    use anyhow::{Context, Result};
    use bytes::Bytes;
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_http::{HttpClient, HttpError, Request, Response};
    use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing::Subscriber;
    use tracing_subscriber::Layer;
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::registry::LookupSpan;

    /// Where traces go, if the environment names a collector.
    pub fn provider() -> Result<Option<SdkTracerProvider>> {
        let names = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
        if !names.iter().any(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty())) {
            return Ok(None);
        }
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10)));
        let client = Client(config.http_status_as_error(false).build().into());
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .build()
            .context("OpenTelemetry: the collector's address cannot be used")?;
        let named = std::env::var_os("OTEL_SERVICE_NAME").is_some();
        let resource = Resource::builder();
        let resource = if named { resource } else { resource.with_service_name("brisk") };
        Ok(Some(
            SdkTracerProvider::builder()
                .with_batch_exporter(exporter)
                .with_resource(resource.build())
                .build(),
        ))
    }

    /// What hands the server's spans over.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(
        provider: &SdkTracerProvider,
    ) -> impl Layer<S> + use<S> {
        let only = Targets::new().with_target(brisk_serve::TRACE_TARGET, LevelFilter::DEBUG);
        tracing_opentelemetry::layer().with_tracer(provider.tracer("brisk")).with_filter(only)
    }

    /// HTTP on the exporter's own thread, which may wait.
    #[derive(Debug)]
    struct Client(ureq::Agent);

    #[async_trait::async_trait]
    impl HttpClient for Client {
        async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
            let (parts, body) = request.into_parts();
            let answer = self.0.run(Request::from_parts(parts, body.to_vec()))?;
            let (parts, mut body) = answer.into_parts();
            Ok(Response::from_parts(parts, body.read_to_vec()?.into()))
        }
    }
}
