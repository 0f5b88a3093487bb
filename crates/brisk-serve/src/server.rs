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

/// A server: bound, then loaded, then run.
pub struct Server {
    app: Arc<App>,
    http: (TcpListener, SocketAddr, Option<TlsAcceptor>),
    grpc: Option<(TcpListener, SocketAddr, Option<TlsAcceptor>)>,
}

impl Server {
    /// Takes the ports. Until [`Server::load`] it is not ready.
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
            Ok::<_, Error>((listener, bound, acceptor))
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

    /// Loads what is to be served. An error if nothing of it can be.
    pub async fn load(&self) -> Result<()> {
        self.app.refresh().await?;
        let refused = self.app.refused();
        if self.app.catalog.table().is_empty()
            && let Some(first) = refused.first()
        {
            return Err(Fault::internal(first["reason"].as_str().unwrap_or_default()).into());
        }
        Ok(())
    }

    /// Names and versions of what is served.
    pub fn models(&self) -> Vec<(String, Vec<u64>)> {
        let table = self.app.catalog.table();
        table.iter().map(|(name, entry)| (name.clone(), entry.versions.keys().copied().collect())).collect()
    }

    /// Answers until `stop` ends; then takes no more requests, and ends those that it is in.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (end, ended) = watch::channel(false);
        let mut ports = tokio::task::JoinSet::new();
        let (listener, _, tls) = self.http;
        let router = http::router(&self.app);
        ports.spawn(accept(listener, tls, Speaks::Http, router, self.app.clone(), ended.clone()));
        if let Some((listener, _, tls)) = self.grpc {
            let router = crate::grpc::router(&self.app);
            ports.spawn(accept(listener, tls, Speaks::Grpc, router, self.app.clone(), ended));
        }
        let watching = tokio::spawn(self.app.clone().watch());
        stop.await;
        self.app.stop();
        let _ = end.send(true);
        if tokio::time::timeout(self.app.options.drain, async { while ports.join_next().await.is_some() {} })
            .await
            .is_err()
        {
            tracing::warn!("some requests were not answered in time, and are broken off");
        }
        watching.abort();
    }
}
