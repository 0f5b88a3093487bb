//! `brisk serve`

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use brisk_serve::{Batching, Options, Server, Source};
use clap::{Args, ValueEnum};

use super::Compute;
use crate::exit::bad_input;

/// Serve models over HTTP and gRPC: KServe V2, TensorFlow Serving, OpenAI's embeddings, plain /predict
///
/// Serves one model (a run or a model folder) or all models of a repository that `brisk publish` wrote. New versions and moved aliases of a
/// repository are picked up while it serves. The console is at /, the interface at /docs.
#[derive(Args)]
pub struct Serve {
    /// A run, a model folder, or a repository: a folder, or s3://bucket/prefix
    #[arg(value_name = "REPOSITORY|RUN", env = "BRISK_REPOSITORY")]
    what: String,
    /// What a single model is called [default: as its run or folder]; of a repository, the one model to serve
    #[arg(long, value_name = "NAME", env = "BRISK_MODEL_NAME")]
    name: Option<String>,
    /// The address to listen on; 0.0.0.0 for all of this machine's
    #[arg(long, value_name = "H", default_value = "127.0.0.1", env = "BRISK_HOST")]
    host: IpAddr,
    /// The port of HTTP; 0 for any that is free
    #[arg(long, value_name = "P", default_value_t = 8080, env = "BRISK_PORT")]
    port: u16,
    /// The port of gRPC [default: it is not spoken]
    #[arg(long, value_name = "G", env = "BRISK_GRPC_PORT")]
    grpc_port: Option<u16>,
    /// The file of API keys that `brisk key` wrote [default: all may ask, nobody may change anything]
    #[arg(long, value_name = "F", env = "BRISK_API_KEY_FILE")]
    api_key_file: Option<PathBuf>,
    /// The certificate chain (PEM), for TLS on both ports
    #[arg(long, value_name = "F", requires = "tls_key", env = "BRISK_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "F", requires = "tls_cert", env = "BRISK_TLS_KEY")]
    tls_key: Option<PathBuf>,
    #[command(flatten)]
    compute: Compute,
    /// The most rows of a batch
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4096), env = "BRISK_BATCH_ROWS")]
    batch_rows: u32,
    /// The most tokens of a batch of texts
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..), env = "BRISK_BATCH_TOKENS")]
    batch_tokens: u32,
    /// Milliseconds that a batch waits for more rows while nothing else is to be done
    #[arg(long, value_name = "MS", default_value_t = 0.0, env = "BRISK_BATCH_DELAY")]
    batch_delay: f64,
    /// The most requests in work; one more is told to come again (429)
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..), env = "BRISK_QUEUE")]
    queue: u32,
    /// The most rows of a request
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..), env = "BRISK_MAX_ROWS")]
    max_rows: u32,
    /// The most megabytes of a request
    #[arg(long, value_name = "MB", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=2048), env = "BRISK_MAX_BODY")]
    max_body: u32,
    /// The most megabytes of all requests in work
    #[arg(long, value_name = "MB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1_000_000), env = "BRISK_MAX_MEMORY")]
    max_memory: u32,
    /// The most connections
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..), env = "BRISK_MAX_CONNECTIONS")]
    max_connections: u32,
    /// Seconds that a request may take
    #[arg(long, value_name = "S", default_value_t = 30.0, env = "BRISK_TIMEOUT")]
    timeout: f64,
    /// Seconds that the head of a request may take to arrive, and that a connection may be idle
    #[arg(long, value_name = "S", default_value_t = 15.0, env = "BRISK_HEADER_TIMEOUT")]
    header_timeout: f64,
    /// Seconds that requests in work are waited for when the server is told to stop
    #[arg(long, value_name = "S", default_value_t = 30.0, env = "BRISK_DRAIN")]
    drain: f64,
    /// Seconds between looks at the repository; 0 for none
    #[arg(long, value_name = "S", default_value_t = 5.0, env = "BRISK_WATCH")]
    watch: f64,
    /// How the log is written
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "BRISK_LOG_FORMAT")]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug, or directives such as `brisk_serve=debug`
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "BRISK_LOG")]
    log: String,
    /// Log each answer
    #[arg(long, env = "BRISK_ACCESS_LOG")]
    access_log: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// An object a line
    Json,
}

impl Serve {
    pub fn run(self) -> Result<ExitCode> {
        let options = self.options()?;
        brisk_serve::keep_memory_together();
        let _log = super::log::start(&self.log, matches!(self.log_format, LogFormat::Json))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("http")
            .build()
            .context("cannot start threads")?;
        runtime.block_on(async {
            if !self.host.is_loopback() && self.api_key_file.is_none() {
                tracing::warn!(
                    "all who reach {} may ask: --api-key-file lets in only those with a key",
                    self.host
                );
            }
            // Before anything is loaded, so that a request to stop is never missed.
            let stop = stop_signal()?;
            let source = Source::open(&self.what).await.with_context(|| self.what.clone())?;
            let server = Server::bind(options, source).await?;
            server.run(|server| self.tell(server), stop).await.with_context(|| self.what.clone())?;
            Ok(ExitCode::SUCCESS)
        })
    }

    /// Says that it is ready.
    fn tell(&self, server: &Server) {
        let scheme = if self.tls_cert.is_some() { "https" } else { "http" };
        let (models, http, grpc) = (server.models(), server.http(), server.grpc());
        if let LogFormat::Json = self.log_format {
            let names: Vec<_> = models.iter().map(|m| m.0.as_str()).collect();
            tracing::info!(scheme, %http, grpc = grpc.map(|g| g.to_string()), models = names.join(", "), "ready");
            return;
        }
        for (name, versions) in &models {
            let versions: Vec<_> = versions.iter().map(u64::to_string).collect();
            eprintln!("{name}: version {}", versions.join(", "));
        }
        if models.is_empty() {
            eprintln!("The repository is empty: models are served as they are published.");
        }
        if let Some(grpc) = grpc {
            eprintln!("gRPC on {grpc}");
        }
        eprintln!("Ready on {scheme}://{http}/ (the console; /docs has the interface). Ctrl-C stops.");
    }

    fn options(&self) -> Result<Options> {
        let seconds = |name: &str, s: f64| {
            Duration::try_from_secs_f64(s)
                .map_err(|_| bad_input(format!("--{name}: expected seconds, found {s}")))
        };
        let tls = self.tls_cert.clone().zip(self.tls_key.clone());
        Ok(Options {
            name: self.name.clone(),
            host: self.host,
            port: self.port,
            grpc_port: self.grpc_port,
            tls,
            keys: self.api_key_file.clone(),
            threads: self.compute.threads.number(),
            precision: self.compute.precision,
            batching: Batching {
                rows: self.batch_rows as usize,
                tokens: self.batch_tokens as usize,
                delay: seconds("batch-delay", self.batch_delay / 1e3)?,
            },
            queue: self.queue as usize,
            max_rows: self.max_rows as usize,
            max_body: (self.max_body as usize) << 20,
            max_memory: (self.max_memory as usize) << 20,
            max_connections: self.max_connections as usize,
            header_timeout: seconds("header-timeout", self.header_timeout)?,
            timeout: seconds("timeout", self.timeout)?,
            drain: seconds("drain", self.drain)?,
            watch: seconds("watch", self.watch)?,
            access_log: self.access_log,
        })
    }
}

/// Ends with the first Ctrl-C or request to terminate; a second one ends the process.
fn stop_signal() -> Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut asked = async move || {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    };
    Ok(async move {
        asked().await;
        tracing::info!("stopping: requests in work are answered first; once more stops at once");
        tokio::spawn(async move {
            asked().await;
            std::process::exit(i32::from(crate::exit::INTERRUPTED));
        });
    })
}
