//! Starting and stopping.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rmq_config::{ConfigError, Configuration as _, NameServerConfig};
use rmq_tls::TlsFilesError;
use rmq_transport::{
    Clock, MemoryBudget, ServerConfig, SystemClock, TransportLimits, bind, memory_bytes, serve,
    serve_with,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::expiry;
use crate::handlers::Handlers;
use crate::kv::KvConfigs;
use crate::management::Management;
use crate::metrics::Metrics;
use crate::registry::Registry;

/// What a name server gets from outside.
#[derive(Clone)]
pub struct Deps {
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
}

impl Default for Deps {
    /// The system's clock.
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
        }
    }
}

impl std::fmt::Debug for Deps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Deps")
    }
}

/// Why a name server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is wrong.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// Users that cannot be read. The text has no password.
    #[error("configuration: {0}")]
    Access(String),
    /// An address that cannot be listened on.
    #[error("cannot listen on {addr} ({key}): {source}; another address: --{key} HOST:PORT")]
    Listen {
        /// The key of the setting.
        key: &'static str,
        /// The address.
        addr: String,
        /// What the system says.
        source: io::Error,
    },
    /// Files of certificates cannot be used, each with the setting that names it.
    #[error(transparent)]
    Tls(#[from] TlsFilesError),
    /// The start was interrupted.
    #[error("the start was interrupted: {0}")]
    Interrupted(String),
    /// A file of key-value settings that cannot be read.
    #[error("cannot read {path} (kvConfigPath): {source}")]
    Kv {
        /// The file.
        path: String,
        /// What is wrong.
        source: io::Error,
    },
}

/// The name server; see [`NameServer::start`].
#[derive(Debug)]
pub struct NameServer;

impl NameServer {
    /// Starts a name server in the current tokio runtime. It serves when this returns.
    ///
    /// # Errors
    /// When a setting is wrong, an address cannot be listened on, or the file of key-value settings cannot be read.
    pub async fn start(
        config: NameServerConfig,
        deps: Deps,
    ) -> Result<RunningNameServer, StartError> {
        config.validate()?;
        let kv = KvConfigs::open(&config.kv_config_path).map_err(|source| StartError::Kv {
            path: config.kv_config_path.clone(),
            source,
        })?;
        let (of_tls, every) = (config.clone(), Duration::from_millis(config.tls_reload_ms));
        let tls = tokio::task::spawn_blocking(move || rmq_tls::Ports::open(of_tls.tls_ports()));
        let tls = tls
            .await
            .map_err(|error| StartError::Interrupted(error.to_string()))??;
        let access = Access::of(&config).map_err(StartError::Access)?;
        let listen = |key: &'static str, addr: &str| {
            let addr = addr.to_owned();
            async move {
                bind(&addr)
                    .await
                    .map_err(|source| StartError::Listen { key, addr, source })
            }
        };
        let (listener, local_addr) = listen("listen", &config.listen).await?;
        let managed = match config.management.as_str() {
            "" => None,
            addr => Some(listen("management", addr).await?),
        };
        let mut server = ServerConfig::new("name server");
        server.limits.connections_max =
            usize::try_from(config.connections_max).unwrap_or(usize::MAX);
        server.limits.connections_per_source_max =
            usize::try_from(config.connections_per_source_max).unwrap_or(usize::MAX);
        server.limits.handshakes_max = config.tls_handshakes_max;
        server.limits.handshake_timeout = Duration::from_millis(config.tls_handshake_timeout_ms);
        server.memory = MemoryBudget::new(
            memory_bytes(u64::try_from(config.memory_bytes).unwrap_or(0)),
            server.limits.connections_max,
        );
        let memory = Arc::clone(&server.memory);
        server.drain_timeout =
            Duration::from_millis(u64::try_from(config.drain_timeout_ms).unwrap_or(0));
        server.clock = Arc::clone(&deps.clock);

        let metrics = Metrics::new(
            deps.clock.now_ms(),
            config.connections_max,
            tls.clients.clone(),
        );
        let handlers = Arc::new(Handlers {
            registry: Registry::default(),
            kv,
            access,
            config: ArcSwap::from_pointee(config),
            changing: parking_lot::Mutex::new(()),
            started_ms: deps.clock.monotonic_ms(),
            clock: deps.clock,
            metrics,
            memory,
        });
        let (stopping, closed) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = vec![tokio::spawn(expiry::run(
            Arc::clone(&handlers),
            stopping.clone(),
        ))];
        let management_addr = managed.as_ref().map(|(_, addr)| *addr);
        if let Some((listener, _)) = managed {
            let managed = Arc::new(Management {
                handlers: Arc::clone(&handlers),
                stopping: stopping.clone(),
            });
            let (closed, tls) = (closed.clone(), tls.management.clone());
            tasks.push(tokio::spawn(async move {
                let stop = closed.clone().cancelled_owned();
                let served = match tls {
                    None => rmq_process::serve_management(listener, managed, stop).await,
                    Some(tls) => {
                        let streams = tls.streams(listener, &TransportLimits::default(), closed);
                        rmq_process::serve_management_streams(streams, managed, stop).await
                    }
                };
                if let Err(error) = served {
                    tracing::error!("the management port ended: {error}");
                }
            }));
        }
        for tls in tls.all() {
            tasks.push(tokio::spawn(Arc::clone(tls).watch(every, stopping.clone())));
        }
        let stop = stopping.clone();
        let served = tokio::spawn(async move {
            let report = match tls.clients {
                None => serve(listener, handlers, server, stop).await,
                Some(tls) => serve_with(listener, tls, handlers, server, stop).await,
            };
            tracing::debug!(?report, "the name server's connections are closed");
        });
        tracing::info!(addr = %local_addr, management = management_addr.map(tracing::field::display), "name server ready");
        Ok(RunningNameServer {
            local_addr,
            management_addr,
            stopping,
            closed,
            served,
            tasks,
        })
    }
}

/// A running name server. When it is dropped it stops, without waiting for what is being answered.
#[derive(Debug)]
pub struct RunningNameServer {
    local_addr: SocketAddr,
    management_addr: Option<SocketAddr>,
    stopping: CancellationToken,
    closed: CancellationToken,
    served: JoinHandle<()>,
    tasks: Vec<JoinHandle<()>>,
}

impl RunningNameServer {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where its management port is, if it has one.
    #[must_use]
    pub fn management_addr(&self) -> Option<SocketAddr> {
        self.management_addr
    }

    /// Stops: accepts nothing new, answers what is being answered, closes.
    pub async fn shutdown(mut self) {
        self.stopping.cancel();
        // A task that panicked has said so itself.
        let _ = (&mut self.served).await;
        self.closed.cancel();
        for task in std::mem::take(&mut self.tasks) {
            let _ = task.await;
        }
    }
}

impl Drop for RunningNameServer {
    fn drop(&mut self) {
        self.stopping.cancel();
        self.closed.cancel();
    }
}
