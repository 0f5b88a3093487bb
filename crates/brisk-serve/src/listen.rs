//! Connections: TCP, TLS, timeouts, and how they end.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
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
        unread_ends(&stream, app.options.timeout);
        let (tls, service, app, watcher) = (tls.clone(), service.clone(), app.clone(), graceful.watcher());
        let stop = stop.clone();
        tokio::spawn(async move {
            app.metrics.connections.inc();
            match tls {
                None => talk(stream, speaks == Speaks::Grpc, service, &app, watcher, stop).await,
                Some(tls) => {
                    let hello = tokio::time::timeout(app.options.header_timeout, tls.accept(stream));
                    if let Ok(Ok(stream)) = hello.await {
                        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                        talk(stream, h2 || speaks == Speaks::Grpc, service, &app, watcher, stop).await;
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

/// A client that does not read its answers loses its connection: they take memory.
fn unread_ends(stream: &TcpStream, timeout: Duration) {
    #[cfg(target_os = "linux")]
    {
        let ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, ms);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, timeout);
}

/// A service that notes that it was asked.
struct Noted {
    service: TowerToHyperService<Router>,
    asked: Arc<AtomicBool>,
}

impl Service<Request<Incoming>> for Noted {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.asked.store(true, Relaxed);
        self.service.call(request)
    }
}

/// One connection to its end. One that asks nothing is over after a while, or as soon as the server stops.
async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    h2: bool,
    service: Router,
    app: &App,
    watcher: hyper_util::server::graceful::Watcher,
    mut stop: watch::Receiver<bool>,
) {
    let asked = Arc::new(AtomicBool::new(false));
    let service = Noted { service: TowerToHyperService::new(service), asked: asked.clone() };
    let silent = async {
        tokio::select! {
            () = tokio::time::sleep(app.options.header_timeout) => {}
            () = async {
                drop(stop.wait_for(|stop| *stop).await);
                // What it has asked may be on its way.
                tokio::time::sleep(Duration::from_millis(250)).await;
            } => {}
        }
        if asked.load(Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let io = TokioIo::new(stream);
    // A connection that breaks is its client's business.
    let talk = async {
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
    };
    tokio::select! {
        biased;
        () = talk => {}
        () = silent => {}
    }
}
