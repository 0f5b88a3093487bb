//! How a server is set up.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use brisk_runtime::Precision;

use crate::engine::Batching;

/// How a server is set up.
///
/// ```
/// let options = brisk_serve::Options { port: 0, ..Default::default() };
/// assert!(options.host.is_loopback()); // nobody else can reach it unless that is asked for
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    /// What a single model is called; nothing: as its run or folder.
    pub name: Option<String>,
    /// The address to listen on.
    pub host: IpAddr,
    /// The port of HTTP; 0 for any that is free.
    pub port: u16,
    /// The port of gRPC, if it is to be spoken; 0 for any that is free.
    pub grpc_port: Option<u16>,
    /// Certificate chain and private key (PEM), for TLS on both ports.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The file of keys. Without one, whoever reaches the server may ask, and nobody may change anything.
    pub keys: Option<PathBuf>,
    /// Threads that compute; 0 for all.
    pub threads: usize,
    /// What the operands of large matrix products are rounded to.
    pub precision: Precision,
    /// How requests are put together.
    pub batching: Batching,
    /// The most requests that are in work or wait; one more is told to come again later.
    pub queue: usize,
    /// The most rows of a request.
    pub max_rows: usize,
    /// The most bytes of a request's body.
    pub max_body: usize,
    /// The most bytes of all requests in work.
    pub max_memory: usize,
    /// The most connections.
    pub max_connections: usize,
    /// How long the head of a request may take to arrive, and a connection may be idle.
    pub header_timeout: Duration,
    /// How long a request may take, its body's arrival included. A client's own deadline may be shorter.
    pub timeout: Duration,
    /// How long requests in work are waited for when the server stops.
    pub drain: Duration,
    /// How often a repository is looked at for new versions; zero for never.
    pub watch: Duration,
    /// Answers are written to the log, a line each.
    pub access_log: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            name: None,
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8080,
            grpc_port: None,
            tls: None,
            keys: None,
            threads: 0,
            precision: Precision::F32,
            batching: Batching::default(),
            queue: 512,
            max_rows: 4096,
            max_body: 32 << 20,
            max_memory: 512 << 20,
            max_connections: 4096,
            header_timeout: Duration::from_secs(15),
            timeout: Duration::from_secs(30),
            drain: Duration::from_secs(30),
            watch: Duration::from_secs(5),
            access_log: false,
        }
    }
}
