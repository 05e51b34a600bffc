//! The accept loop: connection limits, one task per connection, and an end that lets what is in flight finish.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::{Accepted, Acceptor, Handshake, Identity, Plain};
use crate::budget::MemoryBudget;
use crate::clock::{Clock, SystemClock};
use crate::close_reason::CloseReason;
use crate::connection::Connection;
use crate::exchange::Service;
use crate::limits::TransportLimits;
use crate::log_gate::LogGate;
use crate::machine::memory_bytes;
use crate::peer::Peer;

/// Connections that may wait to be accepted: all clients come back at once after a restart.
const BACKLOG: u32 = 4_096;
/// Wait after the system refuses a connection for want of resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a server treats its connections.
#[derive(Clone)]
pub struct ServerConfig {
    /// Stands in log lines.
    pub name: &'static str,
    /// Limits of each connection and of all.
    pub limits: TransportLimits,
    /// What its connections may hold together. Servers that share a budget share its bound.
    pub memory: Arc<MemoryBudget>,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// How long requests in flight may take after the stop was asked for.
    pub drain_timeout: Duration,
}

impl ServerConfig {
    /// Default limits, a budget of a part of this machine's memory, and the system's clock.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        let limits = TransportLimits::default();
        Self {
            name,
            memory: MemoryBudget::new(memory_bytes(0), limits.connections_max),
            limits,
            clock: Arc::new(SystemClock),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

impl std::fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerConfig")
            .field("name", &self.name)
            .field("limits", &self.limits)
            .field("drain_timeout", &self.drain_timeout)
            .finish_non_exhaustive()
    }
}

/// What a server did in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServeReport {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed at once because of a limit.
    pub refused: u64,
    /// Connections that were cut at the drain's deadline.
    pub cut: u64,
}

/// Binds `addr` (`host:port`; port 0 lets the system choose).
///
/// # Errors
/// What the system says, for example that the address is in use.
pub async fn bind(addr: &str) -> io::Result<(TcpListener, SocketAddr)> {
    let mut failed = None;
    for addr in tokio::net::lookup_host(addr).await? {
        match listen(addr) {
            Ok(listener) => {
                let local = listener.local_addr()?;
                return Ok((listener, local));
            }
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| {
        io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            format!("{addr} is no address of this machine"),
        )
    }))
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A restarted server gets its port back while old connections fade away.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Serves plain TCP; see [`serve_with`].
pub async fn serve<S: Service>(
    listener: TcpListener,
    service: Arc<S>,
    config: ServerConfig,
    shutdown: CancellationToken,
) -> ServeReport {
    serve_with(listener, Plain, service, config, shutdown).await
}

/// Serves `listener` until `shutdown`, then drains: nothing new is accepted or read, what is in flight is answered, and
/// what is left at the deadline is cut. Returns when every connection is closed. Connections that start with `handshake` are
/// served after it, the others as plain TCP.
pub async fn serve_with<S: Service, H: Handshake>(
    listener: TcpListener,
    handshake: H,
    service: Arc<S>,
    config: ServerConfig,
    shutdown: CancellationToken,
) -> ServeReport {
    let acceptor = Acceptor::new(handshake, &config.limits, Arc::clone(&config.clock));
    let acceptor = Arc::new(acceptor);
    let shared = Arc::new(Shared {
        name: config.name,
        limits: Arc::new(config.limits),
        memory: config.memory,
        clock: config.clock,
        gate: LogGate::default(),
        peers: Mutex::default(),
        sources: Mutex::default(),
        shutdown: shutdown.clone(),
    });
    let tasks = TaskTracker::new();
    let mut report = ServeReport::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) => match shared.admit(remote) {
                Ok(()) => {
                    report.accepted += 1;
                    tasks.spawn(one_socket(
                        Arc::clone(&shared),
                        Arc::clone(&acceptor),
                        Arc::clone(&service),
                        stream,
                        remote,
                    ));
                }
                Err(why) => {
                    report.refused += 1;
                    shared.warn(|more| {
                        tracing::warn!(server = shared.name, peer = %remote, more, "connection refused: {why}");
                    });
                }
            },
            Err(error) => {
                shared.warn(|more| {
                    tracing::warn!(
                        server = shared.name,
                        more,
                        "cannot accept a connection: {error}"
                    )
                });
                // Out of descriptors or memory: trying at once would only spin. Errors of one connection pass quickly too.
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
    drop(listener);
    tasks.close();
    for peer in shared.peers.lock().values() {
        peer.drain();
    }
    if tokio::time::timeout(config.drain_timeout, tasks.wait())
        .await
        .is_err()
    {
        let left: Vec<Arc<Peer>> = shared.peers.lock().values().cloned().collect();
        report.cut = left.len() as u64;
        for peer in &left {
            tracing::warn!(server = shared.name, peer = %peer.remote_addr(), waiting = peer.parked(), "connection cut: it did not finish in time");
            peer.cut();
        }
        tasks.wait().await;
    }
    report
}

struct Shared {
    name: &'static str,
    limits: Arc<TransportLimits>,
    memory: Arc<MemoryBudget>,
    clock: Arc<dyn Clock>,
    gate: LogGate,
    peers: Mutex<HashMap<u64, Arc<Peer>, foldhash::fast::RandomState>>,
    sources: Mutex<Sources>,
    shutdown: CancellationToken,
}

#[derive(Default)]
struct Sources {
    total: usize,
    by_address: HashMap<IpAddr, usize, foldhash::fast::RandomState>,
}

impl Shared {
    fn admit(&self, remote: SocketAddr) -> Result<(), String> {
        let mut sources = self.sources.lock();
        let limits = &self.limits;
        if sources.total >= limits.connections_max {
            return Err(format!("{} connections are open, the limit", sources.total));
        }
        let address = remote.ip();
        let of_source = sources.by_address.entry(address).or_default();
        if *of_source >= limits.connections_per_source_max && !address.is_loopback() {
            return Err(format!(
                "{of_source} connections from {address} are open, the limit for one source"
            ));
        }
        *of_source += 1;
        sources.total += 1;
        Ok(())
    }

    fn leave(&self, remote: SocketAddr) {
        let mut sources = self.sources.lock();
        sources.total -= 1;
        if let Some(count) = sources.by_address.get_mut(&remote.ip()) {
            *count -= 1;
            if *count == 0 {
                sources.by_address.remove(&remote.ip());
            }
        }
    }

    /// Calls `log` with the number of lines left out before, if a line may be written now.
    fn warn(&self, log: impl FnOnce(u64)) {
        if let Some(left_out) = self.gate.pass(self.clock.monotonic_ms()) {
            log(left_out);
        }
    }
}

static NEXT_PEER: AtomicU64 = AtomicU64::new(1);

pub(crate) fn next_peer_id() -> u64 {
    NEXT_PEER.fetch_add(1, Ordering::Relaxed)
}

/// A place among the connections of the server and of its source.
struct Admitted {
    shared: Arc<Shared>,
    remote: SocketAddr,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.shared.leave(self.remote);
    }
}

async fn one_socket<S: Service, H: Handshake>(
    shared: Arc<Shared>,
    acceptor: Arc<Acceptor<H>>,
    service: Arc<S>,
    socket: TcpStream,
    remote: SocketAddr,
) {
    let admitted = Admitted {
        shared: Arc::clone(&shared),
        remote,
    };
    let local = match socket.set_nodelay(true).and_then(|()| socket.local_addr()) {
        Ok(local) => local,
        Err(error) => {
            tracing::debug!(server = shared.name, peer = %remote, "connection lost while it was accepted: {error}");
            return;
        }
    };
    let accepted = tokio::select! {
        biased;
        accepted = acceptor.accept(socket) => accepted,
        () = shared.shutdown.cancelled() => Err(CloseReason::Stopping),
    };
    let reason = match accepted {
        Ok(Accepted::Plain(stream)) => {
            one_connection(admitted, service, stream, Identity::Unknown, local).await
        }
        Ok(Accepted::Shaken(stream, identity)) => {
            one_connection(admitted, service, stream, identity, local).await
        }
        Err(reason) => reason,
    };
    match reason {
        CloseReason::ByPeer | CloseReason::Stopping | CloseReason::Idle(_) | CloseReason::Io(_) => {
            tracing::debug!(server = shared.name, peer = %remote, "connection closed: {reason}");
        }
        reason => shared.warn(|more| {
            tracing::warn!(server = shared.name, peer = %remote, more, "connection closed: {reason}");
        }),
    }
}

/// A connection that the service knows. Undone also when a handler panics.
struct Registered<S: Service> {
    admitted: Option<Admitted>,
    shared: Arc<Shared>,
    service: Arc<S>,
    peer: Arc<Peer>,
}

impl<S: Service> Drop for Registered<S> {
    fn drop(&mut self) {
        self.shared.peers.lock().remove(&self.peer.id());
        self.peer.gone();
        self.admitted = None;
        self.service.closed(&self.peer);
    }
}

async fn one_connection<S: Service, IO: AsyncRead + AsyncWrite + Unpin>(
    admitted: Admitted,
    service: Arc<S>,
    stream: IO,
    identity: Identity,
    local: SocketAddr,
) -> CloseReason {
    let shared = Arc::clone(&admitted.shared);
    let peer = Peer::new(
        next_peer_id(),
        admitted.remote,
        local,
        shared.limits.parked_requests_max,
        Arc::clone(&shared.memory),
    );
    let peer = Arc::new(peer.identified(identity));
    shared.peers.lock().insert(peer.id(), Arc::clone(&peer));
    if shared.shutdown.is_cancelled() {
        // Accepted just before the stop: the drain may have missed it.
        peer.drain();
    }
    service.connected(&peer);
    let registered = Registered {
        admitted: Some(admitted),
        shared: Arc::clone(&shared),
        service: Arc::clone(&service),
        peer: Arc::clone(&peer),
    };
    let connection = Connection::new(
        stream,
        service,
        Arc::clone(&peer),
        Arc::clone(&shared.limits),
        Arc::clone(&shared.memory),
        Arc::clone(&shared.clock),
    );
    let reason = tokio::select! {
        reason = connection.run() => reason,
        () = peer.was_cut() => CloseReason::Stopping,
    };
    drop(registered);
    reason
}
