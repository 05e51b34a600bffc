//! From bytes to the service: every complete frame of one read is handled in place, and then the batch ends.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use rmq_protocol::code::RequestCode;
use rmq_protocol::frame::{self, RawFrame, Split};
use rmq_protocol::header::{HeaderReader, KnownHeader};

use crate::close_reason::CloseReason;
use crate::exchange::{Answer, Exchange, Service};
use crate::gather;
use crate::limits::TransportLimits;
use crate::owned_frame::{OwnedFrame, Parts};
use crate::peer::Peer;
use crate::reading::{Handled, Then};
use crate::reply::{Replies, encode_unanswered};
use crate::ticket::Address;
use crate::writing::Writing;

/// Answers that are handed out before those who wait for them get their turn.
const ANSWERS_AT_ONCE: u32 = 8;

/// The requests of one connection, and the service that handles them.
pub(crate) struct Handling<S: Service> {
    service: Arc<S>,
    peer: Arc<Peer>,
    limits: Arc<TransportLimits>,
    batch: S::Batch,
    round: Round,
    /// The shape of what the peer asks again and again.
    known: KnownHeader,
}

/// How far the batch is.
#[derive(Debug)]
enum Round {
    /// There is none.
    Over,
    /// Requests were handled, and the end of the batch is still to come.
    Open,
    /// The end waits for the batches of other connections; see [`gather`].
    Gathers(gather::Turn),
}

impl<S: Service> Handling<S> {
    pub(crate) fn new(service: Arc<S>, peer: Arc<Peer>, limits: Arc<TransportLimits>) -> Self {
        Self {
            service,
            peer,
            limits,
            batch: S::Batch::default(),
            round: Round::Over,
            known: KnownHeader::default(),
        }
    }

    /// Whether so much waits to be sent or answered that no further request may be handled.
    pub(crate) fn is_full(&self, writing: &Writing) -> bool {
        writing.unsent() >= self.limits.out_bytes_pause
            || self.peer.parked() >= self.limits.parked_requests_max
            || writing.is_short()
    }

    /// Handles every complete frame of `bytes`.
    ///
    /// # Errors
    /// When the peer sent something that is no frame. Frames before it are handled.
    pub(crate) fn frames(
        &mut self,
        bytes: &[u8],
        writing: &mut Writing,
    ) -> Result<Handled, CloseReason> {
        // Takes a buffer of this thread, if it has none.
        writing.out();
        let mut used = 0;
        let (mut requests, mut answers) = (0u32, 0u32);
        let mut headers = HeaderReader::new();
        let outcome = loop {
            // A few requests can ask for far more than was read.
            if requests > 0 && self.is_full(writing) {
                break Ok(Then::Pause);
            }
            // A caller that got an answer may ask again while the other side still works: both work at the same time.
            if answers >= ANSWERS_AT_ONCE && used < bytes.len() {
                break Ok(Then::Yield);
            }
            match frame::split(&bytes[used..], &self.limits.frame) {
                Ok(Split::Frame { frame, consumed }) => {
                    used += consumed;
                    match self.frame(&frame, &mut headers, writing.out()) {
                        Ok(Kind::Request) => requests += 1,
                        Ok(Kind::Answer) => answers += 1,
                        Err(reason) => break Err(reason),
                    }
                }
                Ok(Split::Need { .. }) => break Ok(Then::Read),
                Err(error) => break Err(CloseReason::BadFrame(error.to_string())),
            }
        };
        if requests > 0 {
            gather::count_batch();
            if matches!(self.round, Round::Over) {
                self.round = Round::Open;
            }
        }
        outcome.map(|then| Handled { used, then })
    }

    /// Handles one large frame. An answer keeps the memory in which it arrived.
    ///
    /// # Errors
    /// As [`Self::frames`].
    pub(crate) fn large(
        &mut self,
        bytes: Vec<u8>,
        writing: &mut Writing,
    ) -> Result<Then, CloseReason> {
        let answer = match frame::split(&bytes, &self.limits.frame) {
            Ok(Split::Frame { frame, consumed }) if consumed == bytes.len() => {
                let mut headers = HeaderReader::new();
                let header = headers
                    .read(frame.encoding, frame.header, &self.limits.frame)
                    .map_err(|error| CloseReason::BadFrame(error.to_string()))?;
                header
                    .is_response()
                    .then(|| (header.opaque, Parts::of(&frame, header)))
            }
            _ => None,
        };
        match answer {
            Some((opaque, parts)) => {
                self.answered(opaque, || OwnedFrame::of(bytes, parts));
                Ok(Then::Read)
            }
            None => Ok(self.frames(&bytes, writing)?.then),
        }
    }

    /// Hands an answer to the call that waits for it.
    fn answered(&self, opaque: i32, frame: impl FnOnce() -> OwnedFrame) {
        if !self.peer.answered(opaque, frame) {
            tracing::debug!(peer = %self.peer.remote_addr(), opaque, "response without a waiting call");
        }
    }

    fn frame<'a>(
        &mut self,
        frame: &RawFrame<'a>,
        headers: &mut HeaderReader<'a>,
        out: &mut BytesMut,
    ) -> Result<Kind, CloseReason> {
        let (encoding, limits) = (frame.encoding, &self.limits.frame);
        let header = headers
            .read_after(&mut self.known, encoding, frame.header, limits)
            .map_err(|error| CloseReason::BadFrame(error.to_string()))?;
        if header.is_response() {
            self.answered(header.opaque, || OwnedFrame::copy(frame, header));
            return Ok(Kind::Answer);
        }
        self.peer
            .seen(header.encoding, header.language, header.version);
        let mut exchange = Exchange {
            header,
            body: frame.body,
            peer: &self.peer,
            is_verified: false,
            out,
            answer: Answer::Missing,
            began_us: None,
        };
        self.service.request(&mut self.batch, &mut exchange);
        if exchange.answer == Answer::Missing && !header.is_one_way() {
            let name = RequestCode::from_i32(header.code).map_or("unknown", RequestCode::name);
            tracing::error!(code = header.code, name, peer = %self.peer.remote_addr(), "a handler gave no answer");
            encode_unanswered(out, Address::of(header));
        }
        Ok(Kind::Request)
    }

    /// Ends the batch, if there is one. Pending while it waits for the batches of other connections.
    pub(crate) fn poll_batch(&mut self, cx: &Context<'_>, writing: &mut Writing) -> Poll<()> {
        let turn = match std::mem::replace(&mut self.round, Round::Over) {
            Round::Over => return Poll::Ready(()),
            Round::Open if self.service.gathers(&self.batch) => match gather::wait_a_turn() {
                Some(turn) => {
                    self.round = Round::Gathers(turn);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                None => None,
            },
            Round::Open => None,
            Round::Gathers(turn) => Some(turn),
        };
        gather::batch_ends(turn);
        self.service.batch_end(
            &mut self.batch,
            &mut Replies {
                out: writing.out(),
                peer: &self.peer,
            },
        );
        Poll::Ready(())
    }
}

/// What a frame was.
enum Kind {
    Request,
    Answer,
}
