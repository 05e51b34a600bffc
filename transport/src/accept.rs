//! From an accepted socket to a stream and an identity.
//!
//! ```text
//! socket ─► first byte ─┬─ a frame ──────────────────────────► plain TCP, as it is
//!                       └─ a handshake ─► a place ─► handshake ─► its stream, and who the peer is
//! ```
//! A port without a handshake does not wait for the first byte: its connections are there at once. Places for handshakes are bounded,
//! because a handshake costs far more than a frame; the time limit covers the wait for a place too. While somebody waits for a place, a
//! handshake that has taken a tenth of the limit gives its place away: a crowd of peers that never finish holds up nobody for long.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::clock::Clock;
use crate::close_reason::CloseReason;
use crate::limits::TransportLimits;

/// First byte of a TLS handshake. A frame within the limits starts with 0x00 or 0x01.
pub(crate) const TLS_HANDSHAKE: u8 = 0x16;
/// First byte of a TLS alert.
pub(crate) const TLS_ALERT: u8 = 0x15;

/// Who a peer is, as far as its connection proves it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identity {
    /// The connection proves nothing.
    #[default]
    Unknown,
    /// The peer owns a certificate, which was verified, with this name: the first URI of its subject alternative names, else the first DNS
    /// name there, else its common name.
    Certificate(Arc<str>),
}

/// What may stand between a socket and its first frame, for example TLS.
pub trait Handshake: Send + Sync + 'static {
    /// Whether there is a handshake at all. Otherwise nobody looks at the first byte.
    const EXISTS: bool;

    /// What a connection that may not be plain is told before it is closed.
    const REFUSAL: &'static [u8] = &[];

    /// What frames are read from after a handshake.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Whether a connection that starts with this byte starts with a handshake. Another one is plain TCP.
    ///
    /// # Errors
    /// What to tell the log about a connection that may not be plain.
    fn starts_with(&self, first: u8) -> io::Result<bool>;

    /// Shakes hands; no byte of the socket has been read. The caller applies the time limit.
    ///
    /// # Errors
    /// Why the peer gets no connection.
    fn shake(
        &self,
        socket: TcpStream,
    ) -> impl Future<Output = io::Result<(Self::Stream, Identity)>> + Send;
}

/// No handshake: a port for plain TCP.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Handshake for Plain {
    const EXISTS: bool = false;

    type Stream = TcpStream;

    fn starts_with(&self, _: u8) -> io::Result<bool> {
        Ok(false)
    }

    async fn shake(&self, socket: TcpStream) -> io::Result<(TcpStream, Identity)> {
        Ok((socket, Identity::Unknown))
    }
}

/// How an accepted socket became a stream. Both kinds have a connection of their own type: plain TCP pays for no other.
#[derive(Debug)]
pub(crate) enum Accepted<T> {
    Plain(TcpStream),
    Shaken(T, Identity),
}

/// Makes streams of the sockets of one server.
pub(crate) struct Acceptor<H> {
    handshake: H,
    places: Semaphore,
    /// Connections that wait for a place.
    waiting: AtomicUsize,
    /// Told when one begins to wait.
    waits: Notify,
    timeout: Duration,
    idle_timeout: Duration,
    clock: Arc<dyn Clock>,
}

impl<H: Handshake> Acceptor<H> {
    pub(crate) fn new(handshake: H, limits: &TransportLimits, clock: Arc<dyn Clock>) -> Self {
        let places = limits.handshakes_max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            handshake,
            places: Semaphore::new(places),
            waiting: AtomicUsize::new(0),
            waits: Notify::new(),
            timeout: limits.handshake_timeout,
            idle_timeout: limits.idle_timeout,
            clock,
        }
    }

    /// # Errors
    /// Why there is no connection.
    pub(crate) async fn accept(
        &self,
        socket: TcpStream,
    ) -> Result<Accepted<H::Stream>, CloseReason> {
        if !H::EXISTS {
            return Ok(Accepted::Plain(socket));
        }
        // A peer may connect ahead of its first request, and then takes no place.
        let mut first = [0];
        let idle = self.idle_timeout;
        let peeked = self
            .within(idle, CloseReason::Idle(idle), socket.peek(&mut first))
            .await?;
        match peeked {
            Ok(0) => return Err(CloseReason::ByPeer),
            Ok(_) => {}
            Err(error) => return Err(CloseReason::Io(error.to_string())),
        }
        match self.handshake.starts_with(first[0]) {
            Ok(true) => {}
            Ok(false) => return Ok(Accepted::Plain(socket)),
            Err(error) => {
                refuse(&socket, H::REFUSAL);
                return Err(CloseReason::Handshake(error.to_string()));
            }
        }
        let patience = self.timeout / 10;
        let shaken = async {
            let _place = self.place().await;
            tokio::select! {
                biased;
                shaken = self.handshake.shake(socket) => {
                    shaken.map_err(|error| CloseReason::Handshake(error.to_string()))
                }
                () = self.is_short(patience) => Err(CloseReason::HandshakeTimeout(patience)),
            }
        };
        let late = CloseReason::HandshakeTimeout(self.timeout);
        let (stream, identity) = self.within(self.timeout, late, shaken).await??;
        Ok(Accepted::Shaken(stream, identity))
    }

    async fn place(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(place) = self.places.try_acquire() {
            return Some(place);
        }
        let _waiting = Waiting::new(&self.waiting);
        self.waits.notify_waiters();
        // The semaphore is never closed.
        self.places.acquire().await.ok()
    }

    /// Waits until `patience` is over and somebody waits for a place.
    async fn is_short(&self, patience: Duration) {
        self.clock.sleep_ms(patience.as_millis() as i64).await;
        loop {
            // Before the look: who begins to wait after it is heard.
            let waits = self.waits.notified();
            if self.waiting.load(Ordering::Acquire) > 0 {
                return;
            }
            waits.await;
        }
    }

    async fn within<T>(
        &self,
        limit: Duration,
        late: CloseReason,
        work: impl Future<Output = T>,
    ) -> Result<T, CloseReason> {
        tokio::select! {
            done = work => Ok(done),
            () = self.clock.sleep_ms(limit.as_millis() as i64) => Err(late),
        }
    }
}

/// Counts one that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Says `refusal`, as far as that goes without waiting. A socket that is closed with bytes unread takes back what it has sent, so what has
/// come is read before.
fn refuse(socket: &TcpStream, refusal: &[u8]) {
    if refusal.is_empty() {
        return;
    }
    let mut unread = [0; 4_096];
    for _ in 0..16 {
        if !matches!(socket.try_read(&mut unread), Ok(bytes) if bytes > 0) {
            break;
        }
    }
    // The peer may be gone.
    let _ = socket.try_write(refusal);
}
