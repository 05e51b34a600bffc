//! One connection: reads what is there, has every complete frame handled in place, sends all answers in one write.
//!
//! ```text
//! wake ─► outbox (answers from other threads) ─► write ─► read ─► frames ─► batch end ─┐
//!             ▲                                                                      │
//!             └──────────────────────────────────────────────────────────────────────┘
//! ```
//! It holds no buffer while it waits, except for the bytes of an unfinished frame. It handles and reads nothing while too much
//! waits to be sent or answered: the peer then feels it through TCP.

mod spare;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use rmq_protocol::code::RequestCode;
use rmq_protocol::frame::{self, RawFrame, Split};
use rmq_protocol::header::HeaderReader;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::budget::{MemoryBudget, Turn};
use crate::clock::{Clock, SleepFuture};
use crate::exchange::{Answer, Exchange, Replies, Service, Ticket, encode_unanswered};
use crate::gather;
use crate::limits::TransportLimits;
use crate::owned_frame::OwnedFrame;
use crate::peer::{CloseReason, Peer};
use crate::scratch::{self, READ_BYTES};

/// Answers that are handed out before those who wait for them get their turn.
const ANSWERS_AT_ONCE: u32 = 8;

/// First byte of a TLS handshake; a frame within the limits starts with 0x00 or 0x01.
const TLS_HANDSHAKE: u8 = 0x16;
/// An unfinished frame up to this size is copied to the front of the read buffer; a larger one is extended where it lies.
const SMALL_REST: usize = 64 * 1024;
/// What was sent of a write buffer that still fills is cut off from this size on.
const SENT_BYTES_MAX: usize = 1 << 20;
/// A buffer of this size is kept for the next unfinished frame, however short.
const REST_KEPT_BYTES: usize = 2 * 1024;
/// What a parked request costs, about.
const PARKED_BYTES: usize = 512;
/// A difference below this is not told to the budget.
const CHARGED_FROM: usize = 4 * 1024;
/// While memory is short, a connection that holds much must get on within this.
const SHORT_TIMEOUT: Duration = Duration::from_secs(5);
/// While memory is short, a frame that is read into the reserve must be whole within this.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(10);
/// While memory is short, a peer must read [`SHORT_READ_BYTES`] of what waits for it within this. The system's buffers hide progress
/// for a while.
const SHORT_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that a peer must read within [`SHORT_READ_TIMEOUT`].
const SHORT_READ_BYTES: usize = 256 * 1024;

pub(crate) struct Connection<S: Service, IO> {
    stream: IO,
    service: Arc<S>,
    peer: Arc<Peer>,
    limits: Arc<TransportLimits>,
    memory: Arc<MemoryBudget>,
    /// What the budget knows of received bytes, and of bytes to send.
    charged: (usize, usize),
    /// How it may read beyond its allowance.
    turn: Turn,
    /// Whether something was received into the reserve.
    reserve_used: bool,
    clock: Arc<dyn Clock>,
    batch: S::Batch,
    /// The end of the batch is still to come; see [`crate::gather`].
    batch_open: bool,
    gathering: Option<gather::Turn>,
    /// Bytes of an unfinished frame; after a pause also frames that were read and not handled.
    rest: Vec<u8>,
    /// Whether `rest` may start with a whole frame.
    paused: bool,
    /// The runtime shall turn to others before what was read is handled on.
    yields: bool,
    out: BytesMut,
    /// Bytes of `out` that have been written.
    sent: usize,
    /// Bytes that the peer took since `taken_ms`.
    taken: usize,
    timer: Option<SleepFuture>,
    times: Times,
    seen_frame: bool,
    read_closed: Option<CloseReason>,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    traffic_ms: i64,
    rest_since_ms: i64,
    /// When bytes were received last.
    read_ms: i64,
    /// Since when it reads into the reserve.
    reserve_ms: i64,
    /// When the peer had last taken [`SHORT_READ_BYTES`], or everything.
    taken_ms: i64,
    /// Last progress while there is something to write.
    write_ms: Option<i64>,
}

impl<S: Service, IO: AsyncRead + AsyncWrite + Unpin> Connection<S, IO> {
    pub(crate) fn new(
        stream: IO,
        service: Arc<S>,
        peer: Arc<Peer>,
        limits: Arc<TransportLimits>,
        memory: Arc<MemoryBudget>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let now = clock.monotonic_ms();
        Self {
            stream,
            service,
            peer,
            limits,
            memory,
            charged: (0, 0),
            turn: Turn::Free,
            reserve_used: false,
            clock,
            batch: S::Batch::default(),
            batch_open: false,
            gathering: None,
            rest: Vec::new(),
            paused: false,
            yields: false,
            out: BytesMut::new(),
            sent: 0,
            taken: 0,
            timer: None,
            times: Times {
                traffic_ms: now,
                rest_since_ms: now,
                read_ms: now,
                reserve_ms: now,
                taken_ms: now,
                write_ms: None,
            },
            seen_frame: false,
            read_closed: None,
        }
    }

    /// Runs until the connection ends.
    pub(crate) async fn run(mut self) -> CloseReason {
        let reason = std::future::poll_fn(|cx| self.poll(cx)).await;
        self.peer.gone();
        reason
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let polled = self.poll_all(cx);
        self.settle();
        polled
    }

    fn poll_all(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.peer.outbox().register(cx);
        loop {
            if self.batch_open {
                if self.gathering.is_none() && self.service.gathers(&self.batch) {
                    self.gathering = gather::wait_a_turn();
                    if self.gathering.is_some() {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                self.end_batch();
            }
            // Asked before the outbox is emptied: the last answer lies in it by then.
            let ending = self.ending();
            self.charged.1 += self.peer.outbox().take_into(&mut self.out);
            let blocked = match self.poll_write(cx) {
                Poll::Ready(Ok(())) => false,
                Poll::Ready(Err(error)) => return Poll::Ready(CloseReason::Io(error.to_string())),
                Poll::Pending => true,
            };
            if self.unsent() > self.limits.out_bytes_max {
                return Poll::Ready(CloseReason::OutTooMuch(self.limits.out_bytes_max));
            }
            if let Some(reason) = ending
                && !blocked
            {
                return Poll::Ready(reason);
            }
            let reads = self.read_closed.is_none() && !self.peer.is_draining() && !self.is_full();
            if !reads && self.turn == Turn::Waiting {
                // Whoever waits behind must not wait for this one.
                self.give_turn();
            }
            if reads {
                let read = if self.paused {
                    Poll::Ready(self.go_on())
                } else {
                    self.poll_read(cx)
                };
                self.settle_received();
                match read {
                    Poll::Ready(Ok(())) if self.yields => {
                        self.yields = false;
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(reason)) => {
                        // What was asked before the end is still answered.
                        self.read_closed = Some(reason);
                        continue;
                    }
                    Poll::Pending => {}
                }
            }
            if let Some(reason) = self.poll_timer(cx) {
                return Poll::Ready(reason);
            }
            return Poll::Pending;
        }
    }

    fn unsent(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Whether so much waits to be sent or answered that no further request may be handled.
    fn is_full(&self) -> bool {
        let unsent = self.unsent();
        unsent >= self.limits.out_bytes_pause
            || self.peer.parked() >= self.limits.parked_requests_max
            || (unsent > self.memory.allowance() && self.memory.sending_is_short())
    }

    /// Tells the budget what is held now. Nothing is to tell while it is little.
    fn settle(&mut self) {
        self.settle_received();
        let held = if self.unsent() > 0 {
            self.out.capacity()
        } else {
            0
        };
        let sending = held.saturating_sub(self.memory.allowance());
        if sending != self.charged.1 {
            self.memory.sending_changed(self.charged.1, sending);
            self.charged.1 = sending;
        }
    }

    fn settle_received(&mut self) {
        let held = self.rest.capacity() + self.peer.parked() * PARKED_BYTES;
        let received = held.saturating_sub(self.memory.allowance());
        if received.abs_diff(self.charged.0) >= CHARGED_FROM || received == 0 && self.charged.0 > 0
        {
            self.memory.received_changed(self.charged.0, received);
            self.charged.0 = received;
        }
        if self.turn != Turn::Free && self.rest.len() < self.memory.allowance() {
            self.give_turn();
        }
    }

    fn give_turn(&mut self) {
        self.turn = Turn::Free;
        self.memory.give_turn(self.peer.id());
    }

    /// How many bytes may be read now; none, and the connection is woken when it should ask again.
    fn may_read(&mut self, cx: &Context<'_>) -> Option<usize> {
        let allowance = self.memory.allowance();
        if self.turn == Turn::Free && self.memory.reads_freely() {
            return Some(READ_BYTES);
        }
        if self.rest.len() < allowance {
            return Some(allowance - self.rest.len());
        }
        let turn = self.memory.turn(self.peer.id(), cx.waker());
        let before = std::mem::replace(&mut self.turn, turn);
        if turn == Turn::Waiting {
            return None;
        }
        let now = self.clock.monotonic_ms();
        if before == Turn::Waiting {
            // The time of its frame does not run while it is not read.
            self.times.rest_since_ms = now;
            self.times.read_ms = now;
        }
        if turn == Turn::Reserve && before != Turn::Reserve {
            self.times.reserve_ms = now;
            self.reserve_used = false;
        }
        Some(READ_BYTES)
    }

    /// Handles what was read before a pause.
    fn go_on(&mut self) -> Result<(), CloseReason> {
        let rest = std::mem::take(&mut self.rest);
        let used = self.handle(&rest)?;
        self.keep_rest(&rest[used..], true);
        Ok(())
    }

    /// Whether nothing is left to do but to send what was answered.
    fn ending(&self) -> Option<CloseReason> {
        if let Some(reason) = self.peer.close_asked() {
            return Some(reason);
        }
        if let Some(reason) = &self.read_closed {
            // A peer that closed cannot take late answers; waiting for parked requests would only hold memory.
            return Some(reason.clone());
        }
        (self.peer.is_draining() && self.peer.parked() == 0).then_some(CloseReason::Stopping)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.out.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while self.sent < self.out.len() {
            let Poll::Ready(written) =
                Pin::new(&mut self.stream).poll_write(cx, &self.out[self.sent..])
            else {
                if self.times.write_ms.is_none() {
                    let now = self.clock.monotonic_ms();
                    self.times.write_ms = Some(now);
                    (self.times.taken_ms, self.taken) = (now, 0);
                }
                return Poll::Pending;
            };
            let written = written?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
            self.taken += written;
            if self.taken >= SHORT_READ_BYTES {
                self.taken = 0;
                self.times.taken_ms = self.clock.monotonic_ms();
            }
            if self.sent < self.out.len() {
                let now = self.clock.monotonic_ms();
                self.times.write_ms = Some(now);
                self.times.traffic_ms = now;
                if self.sent >= SENT_BYTES_MAX {
                    self.out = BytesMut::from(&self.out[self.sent..]);
                    self.sent = 0;
                }
            }
        }
        self.times.write_ms = None;
        self.times.traffic_ms = self.clock.monotonic_ms();
        self.sent = 0;
        spare::give(std::mem::take(&mut self.out), self.memory.spare_bytes_max());
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseReason>> {
        let Some(most) = self.may_read(cx) else {
            return Poll::Pending;
        };
        let polled = if self.rest.len() > SMALL_REST {
            self.poll_read_large(cx, most)
        } else {
            self.poll_read_small(cx, most)
        };
        if polled.is_ready() {
            self.reserve_used = true;
        } else if self.turn == Turn::Reserve && !self.reserve_used {
            // It took nothing of the reserve, so the next one may.
            self.give_turn();
        }
        polled
    }

    fn poll_read_small(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
    ) -> Poll<Result<(), CloseReason>> {
        scratch::with(|buffer| {
            let kept = self.rest.len();
            let (front, space) = buffer.split_at_mut(kept);
            let most = most.min(space.len());
            let space = &mut space[..most];
            let mut read = ReadBuf::new(space);
            let received = match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read)) {
                Ok(()) => read.filled().len(),
                Err(error) => return Poll::Ready(Err(CloseReason::Io(error.to_string()))),
            };
            if received == 0 {
                return Poll::Ready(Err(CloseReason::ByPeer));
            }
            front.copy_from_slice(&self.rest);
            let bytes = &buffer[..kept + received];
            let handled = self.handle(bytes);
            let used = match handled {
                Ok(used) => used,
                Err(reason) => return Poll::Ready(Err(reason)),
            };
            self.keep_rest(&bytes[used..], used > 0 || kept == 0);
            Poll::Ready(Ok(()))
        })
    }

    /// The rest is the start of a large frame: it grows with what arrives, never with what its length field promises.
    fn poll_read_large(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
    ) -> Poll<Result<(), CloseReason>> {
        let received = scratch::with(|buffer| {
            let most = most.min(buffer.len());
            let mut read = ReadBuf::new(&mut buffer[..most]);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read)) {
                Ok(()) => {
                    grow(&mut self.rest, read.filled().len());
                    self.rest.extend_from_slice(read.filled());
                    Poll::Ready(Ok(read.filled().len()))
                }
                Err(error) => Poll::Ready(Err(CloseReason::Io(error.to_string()))),
            }
        });
        if ready!(received)? == 0 {
            return Poll::Ready(Err(CloseReason::ByPeer));
        }
        let rest = std::mem::take(&mut self.rest);
        let used = match self.handle(&rest) {
            Ok(used) => used,
            Err(reason) => return Poll::Ready(Err(reason)),
        };
        if used == 0 {
            self.rest = rest;
        } else {
            self.keep_rest(&rest[used..], true);
        }
        Poll::Ready(Ok(()))
    }

    fn keep_rest(&mut self, rest: &[u8], is_new: bool) {
        if is_new {
            self.times.rest_since_ms = self.times.traffic_ms;
        }
        self.rest.clear();
        if rest.is_empty() {
            self.rest.shrink_to(0);
        } else {
            if self.rest.capacity() > (2 * rest.len()).max(REST_KEPT_BYTES) {
                self.rest = Vec::new();
            }
            self.rest.reserve_exact(rest.len());
            self.rest.extend_from_slice(rest);
        }
    }

    /// Handles every complete frame of `bytes`; returns how many bytes they took.
    fn handle(&mut self, bytes: &[u8]) -> Result<usize, CloseReason> {
        self.times.traffic_ms = self.clock.monotonic_ms();
        self.times.read_ms = self.times.traffic_ms;
        if !self.seen_frame && bytes.first() == Some(&TLS_HANDSHAKE) {
            return Err(CloseReason::Tls);
        }
        if self.out.capacity() == 0 {
            self.out = spare::take();
        }
        let mut used = 0;
        let (mut requests, mut answers) = (0u32, 0u32);
        let mut headers = HeaderReader::new();
        self.paused = false;
        let outcome = loop {
            // A few requests can ask for far more than was read.
            if requests > 0 && self.is_full() {
                self.paused = true;
                break Ok(used);
            }
            // Whoever got an answer may ask again while the other side still works: both work at the same time.
            if answers >= ANSWERS_AT_ONCE && used < bytes.len() {
                self.paused = true;
                self.yields = true;
                break Ok(used);
            }
            match frame::split(&bytes[used..], &self.limits.frame) {
                Ok(Split::Frame { frame, consumed }) => {
                    used += consumed;
                    match self.handle_frame(&frame, &mut headers) {
                        Ok(true) => requests += 1,
                        Ok(false) => answers += 1,
                        Err(reason) => break Err(reason),
                    }
                }
                Ok(Split::Need { .. }) => break Ok(used),
                Err(error) => break Err(CloseReason::BadFrame(error.to_string())),
            }
        };
        if requests > 0 {
            gather::count_batch();
            self.batch_open = true;
        }
        outcome
    }

    fn end_batch(&mut self) {
        gather::batch_ends(self.gathering.take());
        self.batch_open = false;
        self.service.batch_end(
            &mut self.batch,
            &mut Replies {
                out: &mut self.out,
                peer: &self.peer,
            },
        );
    }

    /// Whether it was a request.
    fn handle_frame<'a>(
        &mut self,
        frame: &RawFrame<'a>,
        headers: &mut HeaderReader<'a>,
    ) -> Result<bool, CloseReason> {
        let header = headers
            .read(frame.encoding, frame.header, &self.limits.frame)
            .map_err(|error| CloseReason::BadFrame(error.to_string()))?;
        self.seen_frame = true;
        if header.is_response() {
            if !self
                .peer
                .answered(header.opaque, || OwnedFrame::copy(frame, header))
            {
                tracing::debug!(peer = %self.peer.remote_addr(), opaque = header.opaque, "response without a waiting call");
            }
            return Ok(false);
        }
        self.peer
            .seen(header.encoding, header.language, header.version);
        let mut exchange = Exchange {
            header,
            body: frame.body,
            peer: &self.peer,
            out: &mut self.out,
            answer: Answer::Missing,
            began_us: None,
        };
        self.service.request(&mut self.batch, &mut exchange);
        if exchange.answer == Answer::Missing && !header.is_one_way() {
            let name = RequestCode::from_i32(header.code).map_or("unknown", RequestCode::name);
            tracing::error!(code = header.code, name, peer = %self.peer.remote_addr(), "a handler gave no answer");
            encode_unanswered(&mut self.out, &Ticket::of(header));
        }
        Ok(true)
    }

    /// The reason to close when a time limit has passed; arms the timer for the next one.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Option<CloseReason> {
        loop {
            if let Some(timer) = &mut self.timer {
                if timer.as_mut().poll(cx).is_pending() {
                    return None;
                }
                self.timer = None;
            }
            let now = self.clock.monotonic_ms();
            let (at_ms, reason) = self.next_limit();
            if at_ms <= now {
                return Some(reason);
            }
            // Not re-armed at every read: when it fires early, it is armed again for what is left. A limit that begins
            // later than now is found at the latest one short limit after it began.
            let allowance = self.memory.allowance();
            let holds = self.rest.len() > allowance || self.unsent() > allowance;
            let short = if holds {
                SHORT_TIMEOUT
            } else {
                self.limits.started_frame_timeout
            };
            let short_ms = short.as_millis() as i64;
            self.timer = Some(self.clock.sleep_until_ms(at_ms.min(now + short_ms.max(1))));
        }
    }

    fn next_limit(&self) -> (i64, CloseReason) {
        let limits = &self.limits;
        let ms = |duration: std::time::Duration| duration.as_millis() as i64;
        let is_waiting = self.turn == Turn::Waiting;
        let mut next = (i64::MAX, CloseReason::Idle(limits.idle_timeout));
        let mut consider = |at_ms: i64, reason: CloseReason| {
            if at_ms < next.0 {
                next = (at_ms, reason);
            }
        };
        // While nothing is read, nothing can come.
        if !is_waiting {
            consider(
                self.times.traffic_ms + ms(limits.idle_timeout),
                CloseReason::Idle(limits.idle_timeout),
            );
        }
        if !self.rest.is_empty() && !self.paused && !self.is_full() && !is_waiting {
            // A large frame over a slow link takes its time; one that stops coming does not get more.
            let seconds = self.rest.len() / limits.frame_bytes_per_second_min.max(1);
            let at_slowest_ms = seconds as i64 * 1_000;
            consider(
                self.times.rest_since_ms + ms(limits.started_frame_timeout) + at_slowest_ms,
                CloseReason::StartedFrame(limits.started_frame_timeout),
            );
        }
        let allowance = self.memory.allowance();
        if self.rest.len() > allowance && !is_waiting && self.memory.reading_is_short() {
            let stalls_ms = self.times.read_ms + ms(SHORT_TIMEOUT);
            let at_ms = match self.turn {
                Turn::Reserve => stalls_ms.min(self.times.reserve_ms + ms(RESERVE_TIMEOUT)),
                _ => stalls_ms,
            };
            consider(at_ms, CloseReason::FrameHoldsMemory(self.rest.len()));
        }
        let unsent = self.unsent();
        if unsent > allowance && self.memory.sending_is_short() {
            consider(
                self.times.taken_ms + ms(SHORT_READ_TIMEOUT),
                CloseReason::AnswersHoldMemory(unsent),
            );
        }
        if let Some(write_ms) = self.times.write_ms {
            consider(
                write_ms + ms(limits.write_stall_timeout),
                CloseReason::WriteStall(limits.write_stall_timeout),
            );
        }
        next
    }
}

impl<S: Service, IO> Drop for Connection<S, IO> {
    fn drop(&mut self) {
        if self.turn != Turn::Free {
            self.memory.give_turn(self.peer.id());
        }
        self.memory.received_changed(self.charged.0, 0);
        self.memory.sending_changed(self.charged.1, 0);
    }
}

/// Makes room for `more` bytes of a large frame: by half of what is there, and not beyond the frame's end.
fn grow(rest: &mut Vec<u8>, more: usize) {
    let needed = rest.len() + more;
    if needed <= rest.capacity() {
        return;
    }
    let frame = rest
        .first_chunk::<4>()
        .map_or(needed, |length| 4 + u32::from_be_bytes(*length) as usize);
    let wanted = (rest.len() + rest.len() / 2).min(frame).max(needed);
    rest.reserve_exact(wanted - rest.len());
}

#[cfg(test)]
mod tests;
