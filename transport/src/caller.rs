//! Calls to one address: connects when it is needed, pipelines, matches answers, and reconnects with growing, jittered pauses.

mod silent;

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rmq_protocol::header::{FieldSource, Language, SERVER_LANGUAGE};
use rmq_protocol::limits::FRAME_BYTES_MAX;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::budget::MemoryBudget;
use crate::call_error::CallError;
use crate::clock::SystemClock;
use crate::close_reason::CloseReason;
use crate::connection::Connection;
use crate::connector::{Connector, Stream};
use crate::exchange::{Exchange, Service};
use crate::incoming::IncomingRequests;
use crate::limits::TransportLimits;
use crate::owned_frame::OwnedFrame;
use crate::peer::{Missing, Peer, PeerCallError};
use crate::server::next_peer_id;

/// How a [`Caller`] behaves.
#[derive(Debug, Clone)]
pub struct CallerConfig {
    /// Time for one attempt to connect.
    pub connect_timeout: Duration,
    /// Calls that may wait for an answer at once; more wait for room.
    pub in_flight_max: usize,
    /// Pause after the first failed attempt to connect; doubles with each, with jitter, up to `backoff_max`.
    pub backoff_min: Duration,
    /// Longest pause between attempts.
    pub backoff_max: Duration,
    /// Limits of the connection.
    pub limits: TransportLimits,
    /// What requests say that their sender is written in.
    pub language: Language,
    /// A request that any server answers at once, if with a refusal: with it a connection is tried on which an answer did not come in time,
    /// and another one takes its place when the server answers there alone. `None`: a connection stays until the system ends it.
    pub probe: Option<i32>,
}

impl Default for CallerConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            in_flight_max: 65_535,
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
            limits: TransportLimits::default(),
            language: SERVER_LANGUAGE,
            probe: None,
        }
    }
}

/// What happens to a caller's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerEvent {
    /// Not connected yet, or between attempts.
    Disconnected,
    /// Connected; the number counts connections.
    Connected(u64),
    /// Closed by this program.
    Closed,
}

/// Calls to one address. Cheap to clone; all clones share one connection.
#[derive(Clone)]
pub struct Caller {
    inner: Arc<Inner>,
}

struct Inner {
    addr: String,
    connector: Arc<dyn Connector>,
    config: CallerConfig,
    budget: Arc<MemoryBudget>,
    incoming: Arc<Incoming>,
    room: Semaphore,
    state: Mutex<State>,
    /// Held while connecting, so that callers share one attempt.
    connecting: tokio::sync::Mutex<Backoff>,
    events: watch::Sender<CallerEvent>,
}

#[derive(Default)]
struct State {
    peer: Option<Arc<Peer>>,
    connections: u64,
    closed: bool,
    /// The connection that is being tried.
    tried: Option<u64>,
}

#[derive(Default)]
struct Backoff {
    failures: u32,
    not_before: Option<(Instant, Arc<io::Error>)>,
}

/// Server-initiated requests as a service.
struct Incoming(Arc<dyn IncomingRequests>);

impl Service for Incoming {
    type Batch = ();

    fn request(&self, (): &mut (), exchange: &mut Exchange<'_>) {
        self.0.request(exchange);
    }
}

impl Caller {
    /// A caller for `addr` (`host:port`); connects at the first call.
    #[must_use]
    pub fn new(
        addr: impl Into<String>,
        connector: Arc<dyn Connector>,
        config: CallerConfig,
        incoming: Arc<dyn IncomingRequests>,
    ) -> Self {
        let inner = Inner {
            addr: addr.into(),
            connector,
            room: Semaphore::new(config.in_flight_max.min(Semaphore::MAX_PERMITS)),
            config,
            budget: MemoryBudget::unbounded(),
            incoming: Arc::new(Incoming(incoming)),
            state: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            events: watch::Sender::new(CallerEvent::Disconnected),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Where it calls.
    #[must_use]
    pub fn addr(&self) -> &str {
        &self.inner.addr
    }

    /// Sends a request and waits for its answer, at most `timeout` in all, connecting included.
    /// An answer with an error code is an answer: the code is in the frame.
    ///
    /// # Errors
    /// See [`CallError`] and [`CallError::may_have_been_processed`].
    pub async fn call(
        &self,
        code: i32,
        fields: &(dyn FieldSource + Sync),
        body: &[u8],
        timeout: Duration,
    ) -> Result<OwnedFrame, CallError> {
        self.check_size(body)?;
        let deadline = Instant::now() + timeout;
        let not_sent = |why| CallError::NotSent {
            addr: self.inner.addr.clone(),
            after: timeout,
            why,
        };
        let _room = match self.inner.room.try_acquire() {
            Ok(room) => room,
            Err(_) => match tokio::time::timeout_at(deadline, self.inner.room.acquire()).await {
                Ok(Ok(room)) => room,
                Ok(Err(_)) => return Err(self.closed()),
                Err(_) => return Err(not_sent("too many calls are in flight")),
            },
        };
        loop {
            let peer = match self.connected() {
                Some(peer) => peer,
                None => match tokio::time::timeout_at(deadline, self.connect()).await {
                    Ok(connected) => connected?,
                    Err(_) => return Err(not_sent("no connection yet")),
                },
            };
            match peer.start_call(code, fields, body) {
                Ok(waiting) => {
                    let answered = waiting.wait(&peer, deadline).await;
                    if matches!(answered, Err(Missing::Late)) {
                        self.inner.try_silent(&peer);
                    }
                    return answered.map_err(|missing| match missing {
                        Missing::Late => CallError::Timeout {
                            addr: self.inner.addr.clone(),
                            after: timeout,
                        },
                        Missing::Lost if peer.wants_tls() => CallError::Connect {
                            addr: self.inner.addr.clone(),
                            source: Arc::new(io::Error::new(
                                io::ErrorKind::InvalidData,
                                CloseReason::TlsOnly,
                            )),
                        },
                        Missing::Lost => CallError::Lost {
                            addr: self.inner.addr.clone(),
                            why: peer.ended_for(),
                        },
                    });
                }
                Err(PeerCallError::TooLarge(bytes)) => {
                    return Err(CallError::TooLarge {
                        addr: self.inner.addr.clone(),
                        bytes,
                        max: FRAME_BYTES_MAX,
                    });
                }
                // The connection ended between the look and the send: nothing was sent, so another one may be used.
                Err(_) => self.inner.forget(&peer),
            }
        }
    }

    /// Sends a request that wants no answer. `Ok` means that it was handed to a connection, not that anybody read it.
    ///
    /// # Errors
    /// When there is no connection within `timeout`.
    pub async fn one_way(
        &self,
        code: i32,
        fields: &(dyn FieldSource + Sync),
        body: &[u8],
        timeout: Duration,
    ) -> Result<(), CallError> {
        self.check_size(body)?;
        loop {
            let peer = match self.connected() {
                Some(peer) => peer,
                None => match tokio::time::timeout(timeout, self.connect()).await {
                    Ok(connected) => connected?,
                    Err(_) => {
                        return Err(CallError::NotSent {
                            addr: self.inner.addr.clone(),
                            after: timeout,
                            why: "no connection yet",
                        });
                    }
                },
            };
            match peer.request_one_way(code, fields, body) {
                Ok(()) => return Ok(()),
                Err(PeerCallError::TooLarge(bytes)) => {
                    return Err(CallError::TooLarge {
                        addr: self.inner.addr.clone(),
                        bytes,
                        max: FRAME_BYTES_MAX,
                    });
                }
                Err(_) => self.inner.forget(&peer),
            }
        }
    }

    /// Connects if there is no connection, so that the next call is handed over without waiting.
    ///
    /// # Errors
    /// When there is no connection within `timeout`.
    pub async fn ready(&self, timeout: Duration) -> Result<(), CallError> {
        if self.is_connected() {
            return Ok(());
        }
        match tokio::time::timeout(timeout, self.connect()).await {
            Ok(connected) => connected.map(drop),
            Err(_) => Err(CallError::NotSent {
                addr: self.inner.addr.clone(),
                after: timeout,
                why: "no connection yet",
            }),
        }
    }

    /// The state of the connection as it changes.
    #[must_use]
    pub fn events(&self) -> watch::Receiver<CallerEvent> {
        self.inner.events.subscribe()
    }

    /// Whether there is a connection now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected().is_some()
    }

    /// Connections that were made so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.inner.state.lock().connections
    }

    /// Ends the connection at once; what is in flight fails as [`CallError::Lost`], and the next call connects again.
    pub fn disconnect(&self) {
        let peer = self.inner.state.lock().peer.take();
        if let Some(peer) = peer {
            peer.cut();
            self.inner.events.send_replace(CallerEvent::Disconnected);
        }
    }

    /// Closes the connection; what is in flight fails, later calls too.
    pub fn close(&self) {
        let peer = {
            let mut state = self.inner.state.lock();
            state.closed = true;
            state.peer.take()
        };
        self.inner.room.close();
        if let Some(peer) = peer {
            peer.close(CloseReason::Local("closed by this program"));
        }
        self.inner.events.send_replace(CallerEvent::Closed);
    }

    /// A larger frame would make the server close the connection, with all that others wait for.
    fn check_size(&self, body: &[u8]) -> Result<(), CallError> {
        let frame = &self.inner.config.limits.frame;
        let max = frame.frame_bytes_max.saturating_sub(frame.header_bytes_max);
        if body.len() > max {
            return Err(CallError::TooLarge {
                addr: self.inner.addr.clone(),
                bytes: body.len(),
                max,
            });
        }
        Ok(())
    }

    fn connected(&self) -> Option<Arc<Peer>> {
        self.inner.state.lock().peer.clone()
    }

    fn closed(&self) -> CallError {
        CallError::Closed {
            addr: self.inner.addr.clone(),
        }
    }

    async fn connect(&self) -> Result<Arc<Peer>, CallError> {
        let mut backoff = self.inner.connecting.lock().await;
        // Another call may have connected while this one waited.
        if let Some(peer) = self.connected() {
            return Ok(peer);
        }
        if self.inner.state.lock().closed {
            return Err(self.closed());
        }
        if let Some((not_before, error)) = &backoff.not_before {
            // During the pause everybody gets the last error at once instead of a queue of waiting calls.
            if Instant::now() < *not_before {
                return Err(CallError::Connect {
                    addr: self.inner.addr.clone(),
                    source: Arc::clone(error),
                });
            }
        }
        let config = &self.inner.config;
        let attempt = tokio::time::timeout(
            config.connect_timeout,
            self.inner.connector.connect(&self.inner.addr),
        )
        .await;
        let stream = match attempt.unwrap_or_else(|_| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no connection within {:?}", config.connect_timeout),
            ))
        }) {
            Ok(stream) => stream,
            Err(error) => {
                let error = Arc::new(error);
                let pause = jittered(
                    config
                        .backoff_min
                        .saturating_mul(1 << backoff.failures.min(16))
                        .min(config.backoff_max),
                );
                backoff.failures += 1;
                backoff.not_before = Some((Instant::now() + pause, Arc::clone(&error)));
                return Err(CallError::Connect {
                    addr: self.inner.addr.clone(),
                    source: error,
                });
            }
        };
        *backoff = Backoff::default();
        let peer = self.inner.run(stream);
        if self.inner.take(&peer, None) {
            return Ok(peer);
        }
        peer.cut();
        Err(self.closed())
    }
}

/// A connection that runs in a task: however that ends, also with its runtime, nobody waits for it any more.
struct Running {
    inner: Weak<Inner>,
    peer: Arc<Peer>,
}

impl Running {
    fn addr(&self) -> String {
        let inner = self.inner.upgrade();
        inner.map(|inner| inner.addr.clone()).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.peer.gone();
        if let Some(inner) = self.inner.upgrade() {
            inner.forget(&self.peer);
        }
    }
}

impl Inner {
    /// Runs a connection that was made.
    fn run(self: &Arc<Self>, stream: Box<dyn Stream>) -> Arc<Peer> {
        let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let peer = Peer::new(
            next_peer_id(),
            self.addr.parse().unwrap_or(unknown),
            unknown,
            self.config.limits.parked_requests_max,
            Arc::clone(&self.budget),
        );
        let peer = Arc::new(peer.speaking(self.config.language));
        let connection = Connection::new(
            stream,
            Arc::clone(&self.incoming),
            Arc::clone(&peer),
            Arc::new(self.config.limits.clone()),
            Arc::clone(&self.budget),
            Arc::new(SystemClock),
        );
        let running = Running {
            inner: Arc::downgrade(self),
            peer: Arc::clone(&peer),
        };
        tokio::spawn(async move {
            let reason = tokio::select! {
                reason = connection.run() => reason,
                () = running.peer.was_cut() => CloseReason::Local("nothing was heard of the server"),
            };
            tracing::debug!(addr = running.addr(), "connection ended: {reason}");
        });
        peer
    }

    /// Calls go over this connection from now on, where they went over `instead_of` or over none. `false`: they do not.
    fn take(&self, peer: &Arc<Peer>, instead_of: Option<&Arc<Peer>>) -> bool {
        let mut state = self.state.lock();
        let is_as_before =
            state.peer.as_ref().map(|peer| peer.id()) == instead_of.map(|peer| peer.id());
        if state.closed || !is_as_before {
            return false;
        }
        state.connections += 1;
        state.peer = Some(Arc::clone(peer));
        let event = CallerEvent::Connected(state.connections);
        self.events.send_replace(event);
        true
    }

    fn forget(&self, peer: &Arc<Peer>) {
        let mut state = self.state.lock();
        if state
            .peer
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, peer))
        {
            state.peer = None;
            self.events.send_replace(CallerEvent::Disconnected);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(peer) = self.state.get_mut().peer.take() {
            peer.close(CloseReason::Local("nobody calls any more"));
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("addr", &self.inner.addr)
            .field("connected", &self.is_connected())
            .finish()
    }
}

/// Between half of `pause` and all of it, so that many clients do not come back together.
fn jittered(pause: Duration) -> Duration {
    let random = std::hash::RandomState::new().build_hasher().finish();
    let half = pause / 2;
    half + half.mul_f64(random as f64 / u64::MAX as f64)
}
