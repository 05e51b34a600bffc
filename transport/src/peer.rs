//! The other end of a connection, as handlers know it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use rmq_protocol::code::RequestCode;
use rmq_protocol::frame::{self, HeaderEncoding};
use rmq_protocol::header::{CommandHead, FieldSource, Language, SERVER_LANGUAGE};
use rmq_protocol::limits::FRAME_BYTES_MAX;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::accept::Identity;
use crate::budget::MemoryBudget;
use crate::close_reason::CloseReason;
use crate::exchange::Answered;
use crate::outbox::Outbox;
use crate::owned_frame::OwnedFrame;
use crate::reply::Replies;
use crate::ticket::Address;

/// A connection's other end: cheap to share, usable from any thread.
#[derive(Debug)]
pub struct Peer {
    id: u64,
    remote: SocketAddr,
    local: SocketAddr,
    identity: Identity,
    outbox: Outbox,
    parked: AtomicUsize,
    parked_max: usize,
    closing: Mutex<Option<CloseReason>>,
    close_asked: AtomicBool,
    draining: AtomicBool,
    /// Why the connection ended.
    ended: OnceLock<CloseReason>,
    cut: Notify,
    encoding: AtomicU8,
    language: AtomicU8,
    version: AtomicI32,
    /// What our requests say.
    own_language: Language,
    opaque: AtomicI32,
    calls: Mutex<HashMap<i32, oneshot::Sender<OwnedFrame>, foldhash::fast::RandomState>>,
    answers_told: OnceLock<Arc<dyn Answered>>,
}

/// Why a call over a given connection has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerCallError {
    /// The connection was already gone: the peer has not seen the request.
    #[error("the connection is closed")]
    Closed,
    /// The connection broke while waiting: the peer may have handled the request.
    #[error("the connection was lost before the answer came")]
    Lost,
    /// No answer in time: the peer may have handled the request.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The request is larger than any reader takes: the peer has not seen it.
    #[error("the request has {0} bytes, and a frame has at most {FRAME_BYTES_MAX}")]
    TooLarge(usize),
}

impl Peer {
    pub(crate) fn new(
        id: u64,
        remote: SocketAddr,
        local: SocketAddr,
        parked_max: usize,
        budget: Arc<MemoryBudget>,
    ) -> Self {
        Self {
            id,
            remote,
            local,
            identity: Identity::Unknown,
            outbox: Outbox::new(budget),
            parked: AtomicUsize::new(0),
            parked_max,
            closing: Mutex::new(None),
            close_asked: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            ended: OnceLock::new(),
            cut: Notify::new(),
            encoding: AtomicU8::new(0),
            language: AtomicU8::new(0),
            version: AtomicI32::new(0),
            own_language: SERVER_LANGUAGE,
            opaque: AtomicI32::new(0),
            calls: Mutex::new(HashMap::default()),
            answers_told: OnceLock::new(),
        }
    }

    /// Has somebody told of each answer to a request that was parked; the first one stays. For [`Service::connected`].
    ///
    /// [`Service::connected`]: crate::Service::connected
    pub fn tell_answers(&self, told: Arc<dyn Answered>) {
        // The second is the same one, for all that a server does.
        let _ = self.answers_told.set(told);
    }

    pub(crate) fn answers_told(&self) -> Option<&Arc<dyn Answered>> {
        self.answers_told.get()
    }

    /// The same, with requests that say another language than servers do.
    pub(crate) fn speaking(mut self, language: Language) -> Self {
        self.own_language = language;
        self
    }

    /// The same, with what the handshake showed.
    pub(crate) fn identified(mut self, identity: Identity) -> Self {
        self.identity = identity;
        self
    }

    /// Who the other end is, as far as its connection proves it.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Unique among the connections of this process.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The other end's address as the socket knows it.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        self.remote
    }

    /// This end's address.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Language that the peer's last request named.
    #[must_use]
    pub fn language(&self) -> Language {
        Language::from_u8(self.language.load(Ordering::Relaxed))
    }

    /// Version ordinal that the peer's last request named; 0 before the first.
    #[must_use]
    pub fn version(&self) -> i32 {
        self.version.load(Ordering::Relaxed)
    }

    /// Requests that wait for an answer.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.parked.load(Ordering::Acquire)
    }

    /// Encodes any number of answers under one lock and wakes the connection once.
    /// Returns whether the connection was still there.
    pub fn send_with(self: &Arc<Self>, write: impl FnOnce(&mut Replies<'_>)) -> bool {
        self.outbox
            .write(|out| write(&mut Replies { out, peer: self }))
            .is_some()
    }

    /// Sends a request that wants no answer.
    ///
    /// # Errors
    /// When the connection is gone, or the request is too large for a frame.
    pub fn request_one_way(
        &self,
        code: i32,
        fields: &dyn FieldSource,
        body: &[u8],
    ) -> Result<(), PeerCallError> {
        let mut head = CommandHead::one_way(code, self.next_opaque());
        head.language = self.own_language;
        self.outbox
            .write(|out| encode_request(out, self.encoding(), &head, fields, body))
            .unwrap_or(Err(PeerCallError::Closed))
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// See [`PeerCallError`]; only [`PeerCallError::Closed`] and [`PeerCallError::TooLarge`] mean that the peer has not seen it.
    pub async fn call(
        &self,
        code: i32,
        fields: &(dyn FieldSource + Sync),
        body: &[u8],
        timeout: Duration,
    ) -> Result<OwnedFrame, PeerCallError> {
        let deadline = Instant::now() + timeout;
        let waiting = self.start_call(code, fields, body)?;
        let answered = waiting.wait(self, deadline).await;
        answered.map_err(|missing| match missing {
            Missing::Lost => PeerCallError::Lost,
            Missing::Late => PeerCallError::Timeout(timeout),
        })
    }

    /// Sends a request; the answer is waited for separately, so that the fields need not live across an await.
    pub(crate) fn start_call(
        &self,
        code: i32,
        fields: &dyn FieldSource,
        body: &[u8],
    ) -> Result<WaitingCall, PeerCallError> {
        let opaque = self.next_opaque();
        let mut head = CommandHead::request(code, opaque);
        head.language = self.own_language;
        let (sender, receiver) = oneshot::channel();
        self.calls.lock().insert(opaque, sender);
        let sent = self
            .outbox
            .write(|out| encode_request(out, self.encoding(), &head, fields, body));
        if let Err(error) = sent.unwrap_or(Err(PeerCallError::Closed)) {
            self.calls.lock().remove(&opaque);
            return Err(error);
        }
        Ok(WaitingCall { opaque, receiver })
    }

    /// Ends the connection after what is ready has been sent.
    pub fn close(&self, reason: CloseReason) {
        self.closing.lock().get_or_insert(reason);
        self.close_asked.store(true, Ordering::Release);
        self.outbox.wake();
    }

    pub(crate) fn close_asked(&self) -> Option<CloseReason> {
        if self.close_asked.load(Ordering::Acquire) {
            self.closing.lock().clone()
        } else {
            None
        }
    }

    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.outbox.wake();
    }

    /// Ends the connection without sending what waits.
    pub(crate) fn cut(&self) {
        self.cut.notify_one();
    }

    pub(crate) async fn was_cut(&self) {
        self.cut.notified().await;
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Remembers how the peer speaks.
    pub(crate) fn seen(&self, encoding: HeaderEncoding, language: Language, version: i32) {
        let encoding = match encoding {
            HeaderEncoding::Json => 0,
            HeaderEncoding::Binary => 1,
        };
        self.encoding.store(encoding, Ordering::Relaxed);
        self.language.store(language.as_u8(), Ordering::Relaxed);
        self.version.store(version, Ordering::Relaxed);
    }

    /// Hands a response to the call that waits for it. Whether one did.
    pub(crate) fn answered(&self, opaque: i32, frame: impl FnOnce() -> OwnedFrame) -> bool {
        let waiting = self.calls.lock().remove(&opaque);
        // A caller that gave up meanwhile is no failure.
        waiting.is_some_and(|sender| sender.send(frame()).is_ok())
    }

    /// Remembers why the connection ends. Told before [`Self::gone`], so that who waits knows it.
    pub(crate) fn ends_for(&self, reason: &CloseReason) {
        // The first reason is the cause of all others.
        let _ = self.ended.set(reason.clone());
    }

    /// Whether the other side takes only TLS, and has handled nothing.
    pub(crate) fn wants_tls(&self) -> bool {
        matches!(self.ended.get(), Some(CloseReason::TlsOnly))
    }

    /// Why the connection ended, when that says more than that it did.
    pub(crate) fn ended_for(&self) -> Option<String> {
        match self.ended.get()? {
            CloseReason::ByPeer | CloseReason::Stopping | CloseReason::Local(_) => None,
            reason => Some(reason.to_string()),
        }
    }

    /// The connection is gone: fails everybody who waits.
    pub(crate) fn gone(&self) {
        self.outbox.close();
        self.calls.lock().clear();
    }

    /// A request's ticket was dropped: the connection answers with an error.
    #[cold]
    pub(crate) fn unanswered(&self, to: Address) {
        if self.outbox.add_unanswered(to) {
            let name = RequestCode::from_i32(to.code).map_or("unknown", RequestCode::name);
            tracing::error!(code = to.code, name, peer = %self.remote, "a request was dropped without an answer");
        }
    }

    pub(crate) fn parked_add(&self) {
        self.parked.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn parked_remove(&self) {
        let before = self.parked.fetch_sub(1, Ordering::AcqRel);
        // The connection waits for this when it is full, or when it drains.
        if before == self.parked_max || self.is_draining() {
            self.outbox.wake();
        }
    }

    fn encoding(&self) -> HeaderEncoding {
        if self.encoding.load(Ordering::Relaxed) == 1 {
            HeaderEncoding::Binary
        } else {
            HeaderEncoding::Json
        }
    }

    fn next_opaque(&self) -> i32 {
        self.opaque.fetch_add(1, Ordering::Relaxed)
    }
}

/// Appends a request, unless it is too large for any reader.
fn encode_request(
    out: &mut BytesMut,
    encoding: HeaderEncoding,
    head: &CommandHead,
    fields: &dyn FieldSource,
    body: &[u8],
) -> Result<(), PeerCallError> {
    let start = out.len();
    frame::encode_frame_head(out, encoding, head, fields, body.len());
    let bytes = out.len() - start + body.len();
    if bytes > FRAME_BYTES_MAX {
        out.truncate(start);
        return Err(PeerCallError::TooLarge(bytes));
    }
    out.extend_from_slice(body);
    Ok(())
}

/// Why there is no answer to a request that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The connection broke.
    Lost,
    /// None came in time.
    Late,
}

/// A request that was sent.
#[derive(Debug)]
pub(crate) struct WaitingCall {
    opaque: i32,
    receiver: oneshot::Receiver<OwnedFrame>,
}

impl WaitingCall {
    pub(crate) async fn wait(self, peer: &Peer, deadline: Instant) -> Result<OwnedFrame, Missing> {
        // Removes the entry also when the caller's future is dropped.
        struct Forget<'a> {
            peer: &'a Peer,
            opaque: i32,
            is_answered: bool,
        }
        impl Drop for Forget<'_> {
            fn drop(&mut self) {
                // The answer took the entry along.
                if !self.is_answered {
                    self.peer.calls.lock().remove(&self.opaque);
                }
            }
        }
        let mut forget = Forget {
            peer,
            opaque: self.opaque,
            is_answered: false,
        };
        match tokio::time::timeout_at(deadline, self.receiver).await {
            Ok(Ok(frame)) => {
                forget.is_answered = true;
                Ok(frame)
            }
            Ok(Err(_)) => Err(Missing::Lost),
            Err(_) => Err(Missing::Late),
        }
    }
}
