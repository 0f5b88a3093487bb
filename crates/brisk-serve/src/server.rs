//! A server from its first port to its last answer.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::app::App;
use crate::listen::{Speaks, accept, tls};
use crate::options::Options;
use crate::repository::Source;
use crate::{Fault, http};

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An address that cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate, key or file of API keys that cannot be used.
    #[error("{0}")]
    Setup(std::io::Error),
    /// A repository that cannot be read.
    #[error(transparent)]
    Repository(#[from] brisk_registry::Error),
    /// Models that cannot be loaded.
    #[error(transparent)]
    Models(#[from] Fault),
}

/// Result with this module's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A server: bound, then run.
pub struct Server {
    app: Arc<App>,
    http: Port,
    grpc: Option<Port>,
}

/// A port until it is listened on, and its address.
type Port = (Option<(TcpListener, Option<TlsAcceptor>)>, SocketAddr);

impl Server {
    /// Takes the ports.
    pub async fn bind(options: Options, source: Source) -> Result<Server> {
        let listen = async |port: u16, speaks: Speaks| {
            let address = SocketAddr::new(options.host, port);
            let listen = |source| Error::Listen { address, source };
            let acceptor = match &options.tls {
                Some((certificate, key)) => Some(tls(certificate, key, speaks).map_err(Error::Setup)?),
                None => None,
            };
            let listener = TcpListener::bind(address).await.map_err(listen)?;
            let bound = listener.local_addr().map_err(listen)?;
            Ok::<Port, Error>((Some((listener, acceptor)), bound))
        };
        let http = listen(options.port, Speaks::Http).await?;
        let grpc = match options.grpc_port {
            Some(port) => Some(listen(port, Speaks::Grpc).await?),
            None => None,
        };
        let app = Arc::new(App::new(options, source).map_err(Error::Setup)?);
        Ok(Server { app, http, grpc })
    }

    /// Where HTTP is spoken.
    pub fn http(&self) -> SocketAddr {
        self.http.1
    }

    /// Where gRPC is spoken.
    pub fn grpc(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().map(|g| g.1)
    }

    /// Names and versions of what is served.
    pub fn models(&self) -> Vec<(String, Vec<u64>)> {
        let table = self.app.catalog.table();
        table.iter().map(|(name, entry)| (name.clone(), entry.versions.keys().copied().collect())).collect()
    }

    /// Answers until `stop` ends; then takes no more requests, and ends those that it is in. Until all is loaded it lives, but is not ready;
    /// `ready` is called then. An error if nothing of what is to be served can be loaded.
    pub async fn run(mut self, ready: impl FnOnce(&Server), stop: impl Future<Output = ()>) -> Result<()> {
        let (end, ended) = watch::channel(false);
        let mut ports = tokio::task::JoinSet::new();
        let app = self.app.clone();
        if let Some((listener, tls)) = self.http.0.take() {
            ports.spawn(accept(listener, tls, Speaks::Http, http::router(&app), app.clone(), ended.clone()));
        }
        if let Some((listener, tls)) = self.grpc.as_mut().and_then(|g| g.0.take()) {
            let router = crate::grpc::router(&app);
            ports.spawn(accept(listener, tls, Speaks::Grpc, router, app.clone(), ended));
        }
        let mut stop = std::pin::pin!(stop);
        let following = async {
            self.load().await?;
            let told = async {
                app.up().await;
                ready(&self);
            };
            tokio::join!(app.clone().watch(), told);
            std::future::pending().await
        };
        let loaded = tokio::select! {
            loaded = following => loaded,
            () = &mut stop => Ok(()),
        };
        app.stop();
        let _ = end.send(true);
        let ends = async { while ports.join_next().await.is_some() {} };
        if tokio::time::timeout(app.options.drain, ends).await.is_err() {
            tracing::warn!("some requests were not answered in time, and are broken off");
        }
        loaded
    }

    /// An error if there is nothing to serve and nothing to wait for.
    async fn load(&self) -> Result<()> {
        self.app.refresh().await?;
        if let Some(fault) = self.app.nothing_to_serve() {
            return Err(fault.into());
        }
        self.app.has_named().await?;
        Ok(())
    }
}
