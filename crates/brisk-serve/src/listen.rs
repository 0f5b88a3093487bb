//! Connections: TCP, TLS, timeouts, and how they end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::app::App;

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speaks {
    /// HTTP/1.1, and HTTP/2 where TLS agrees on it.
    Http,
    /// HTTP/2 alone, as gRPC needs it.
    Grpc,
}

/// A certificate and its key, for a port.
pub fn tls(certificate: &Path, key: &Path, speaks: Speaks) -> std::io::Result<TlsAcceptor> {
    let fault =
        |path: &Path, e: &dyn std::fmt::Display| std::io::Error::other(format!("{}: {e}", path.display()));
    let read = |path: &Path| {
        let named = |e: std::io::Error| std::io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        std::fs::read(path).map_err(named)
    };
    let chain = CertificateDer::pem_slice_iter(&read(certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| fault(certificate, &e))?;
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|e| fault(key, &e))?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| fault(certificate, &e))?;
    let mut config =
        config.with_no_client_auth().with_single_cert(chain, private).map_err(|e| fault(certificate, &e))?;
    config.alpn_protocols = match speaks {
        Speaks::Http => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Speaks::Grpc => vec![b"h2".to_vec()],
    };
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Takes connections until `stop` turns true; then ends each after the request that it is in. Returns when all have ended.
pub async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    speaks: Speaks,
    service: Router,
    app: Arc<App>,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(app.options.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    loop {
        // With all places taken, new clients wait in the system's queue.
        let next = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, stream) = tokio::select! {
            (place, stream) = next => (place, stream),
            _ = stop.wait_for(|s| *s) => break,
        };
        let (Ok(place), Ok((stream, _))) = (place, stream) else {
            // No more files, or a client that went at once: neither is a reason to spin.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (tls, service, app, watcher) = (tls.clone(), service.clone(), app.clone(), graceful.watcher());
        tokio::spawn(async move {
            app.metrics.connections.inc();
            match tls {
                None => talk(stream, speaks == Speaks::Grpc, service, &app, watcher).await,
                Some(tls) => {
                    let hello = tokio::time::timeout(app.options.header_timeout, tls.accept(stream));
                    if let Ok(Ok(stream)) = hello.await {
                        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                        talk(stream, h2 || speaks == Speaks::Grpc, service, &app, watcher).await;
                    }
                }
            }
            app.metrics.connections.dec();
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

/// One connection to its end.
async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    h2: bool,
    service: Router,
    app: &App,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let (io, service) = (TokioIo::new(stream), TowerToHyperService::new(service));
    // A connection that breaks is its client's business.
    let _ = match h2 {
        false => {
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(app.options.header_timeout)
                .max_buf_size(64 << 10);
            watcher.watch(builder.serve_connection(io, service)).await
        }
        true => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .keep_alive_interval(Duration::from_secs(20))
                .keep_alive_timeout(app.options.header_timeout)
                .max_concurrent_streams(256)
                .max_header_list_size(64 << 10);
            watcher.watch(builder.serve_connection(io, service)).await
        }
    };
}
