//! The ports of a broker. They are bound before anything else starts, and passed in. Each life of the broker serves copies of them: while
//! there is no life, who connects waits.

use std::net::{SocketAddr, TcpListener};

use rmq_config::BrokerConfig;

use crate::start::StartError;

/// The ports that clients connect to, as labels.
pub(crate) const LISTENERS: [&str; 2] = ["remoting", "fast"];

/// Bound ports, on which nothing is served yet.
#[derive(Debug)]
pub struct Listeners {
    pub(crate) main: TcpListener,
    pub(crate) addr: SocketAddr,
    pub(crate) fast: Option<TcpListener>,
    /// Why the fast port is not served although it shall be.
    pub(crate) fast_port_problem: Option<String>,
    pub(crate) management: Option<TcpListener>,
    /// Where members of the group copy the log.
    pub(crate) replication: Option<TcpListener>,
}

/// The socket of a port once more, for one who serves it for a while.
///
/// # Errors
/// The process has no file for it.
pub(crate) fn copy(listener: &TcpListener) -> std::io::Result<tokio::net::TcpListener> {
    tokio::net::TcpListener::from_std(listener.try_clone()?)
}

impl Listeners {
    /// Binds the ports of a configuration; port 0 lets the system choose. Clients that connect wait until the broker serves.
    ///
    /// # Errors
    /// [`StartError::Listen`]. A fast port that cannot be used is no error: only clients with `vipChannelEnabled` miss it.
    pub async fn bind(config: &BrokerConfig) -> Result<Self, StartError> {
        let listen_error = |addr: &str, key| {
            let addr = addr.to_owned();
            move |source| StartError::Listen { addr, key, source }
        };
        let (main, addr) = rmq_transport::bind(&config.listen)
            .await
            .and_then(|(listener, addr)| Ok((listener.into_std()?, addr)))
            .map_err(listen_error(&config.listen, "listen"))?;
        let (fast, fast_port_problem) = match fast_listener(config, addr).await {
            Ok(fast) => (fast, None),
            Err(problem) => (None, Some(problem)),
        };
        let management = match config.management.as_str() {
            "" => None,
            management => Some(
                tokio::net::TcpListener::bind(management)
                    .await
                    .and_then(tokio::net::TcpListener::into_std)
                    .map_err(listen_error(management, "management"))?,
            ),
        };
        Ok(Self {
            main,
            addr,
            fast,
            fast_port_problem,
            management,
            replication: replication_listener(config, addr)?,
        })
    }

    /// Where clients connect on this machine.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The second port, if there is one.
    pub(crate) fn fast_addr(&self) -> Option<SocketAddr> {
        self.fast.as_ref()?.local_addr().ok()
    }

    /// Where health and metrics are, if anywhere.
    pub(crate) fn management_addr(&self) -> Option<SocketAddr> {
        self.management.as_ref()?.local_addr().ok()
    }

    /// Where members of the group connect on this machine, if anywhere.
    #[must_use]
    pub fn replication_addr(&self) -> Option<SocketAddr> {
        self.replication.as_ref()?.local_addr().ok()
    }
}

/// The listener of the replication port, when there is to be one.
///
/// # Errors
/// A configured address cannot be listened on. Where none is configured, the broker serves without it: only replicas miss it.
fn replication_listener(
    config: &BrokerConfig,
    addr: SocketAddr,
) -> Result<Option<TcpListener>, StartError> {
    let configured = config.replication_listen.as_str();
    let wanted = match (configured, config.listen.parse::<SocketAddr>()) {
        ("none", _) => return Ok(None),
        ("", Ok(listen)) if listen.port() == 0 => SocketAddr::new(addr.ip(), 0),
        ("", _) => match addr.port().checked_add(1) {
            Some(port) => SocketAddr::new(addr.ip(), port),
            None => return Ok(None),
        },
        (text, _) => match text.parse() {
            Ok(wanted) => wanted,
            // The configuration was checked.
            Err(_) => return Ok(None),
        },
    };
    let bound = TcpListener::bind(wanted);
    match bound.and_then(|listener| listener.set_nonblocking(true).map(|()| listener)) {
        Ok(bound) => Ok(Some(bound)),
        Err(error) if configured.is_empty() && !config.is_elected() => {
            tracing::warn!(
                "the replication port {wanted} cannot be used, only replicas of this broker miss it: {error}"
            );
            Ok(None)
        }
        Err(source) => Err(StartError::Listen {
            addr: wanted.to_string(),
            key: "replicationListen",
            source,
        }),
    }
}

/// The listener of the fast port, when there is to be one.
///
/// # Errors
/// Why it cannot be used; the broker serves without it.
async fn fast_listener(
    config: &BrokerConfig,
    addr: SocketAddr,
) -> Result<Option<TcpListener>, String> {
    let Ok(configured) = config.listen.parse::<SocketAddr>() else {
        return Ok(None);
    };
    if !config.fast_port || configured.port() <= 2 {
        return Ok(None);
    }
    let fast = SocketAddr::new(configured.ip(), addr.port() - 2);
    let bound = rmq_transport::bind(&fast.to_string()).await;
    match bound.and_then(|(listener, _)| listener.into_std()) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) => {
            tracing::warn!(
                "the fast port {fast} cannot be used, only clients with vipChannelEnabled miss it: {error}"
            );
            Err(format!("{fast}: {error}"))
        }
    }
}
