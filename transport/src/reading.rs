//! What a connection receives: reads go into this thread's buffer, and the rest of an unfinished frame is kept.
//!
//! A connection holds no buffer while it waits, except for the bytes of an unfinished frame. A large frame grows with what arrives,
//! and never with what its length field promises.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};

use crate::accept::{TLS_ALERT, TLS_HANDSHAKE};
use crate::budget::{MemoryBudget, Turn};
use crate::clock::Clock;
use crate::close_reason::CloseReason;
use crate::limits::{Limit, TransportLimits};
use crate::scratch::{self, READ_BYTES};

/// An unfinished frame up to this size is copied to the front of the read buffer; a larger one is extended where it lies.
const SMALL_REST: usize = 64 * 1024;
/// A buffer of this size is kept for the next unfinished frame, however short.
const REST_KEPT_BYTES: usize = 2 * 1024;
/// What a parked request costs, about.
pub(crate) const PARKED_BYTES: usize = 512;
/// A difference below this is not told to the budget.
pub(crate) const CHARGED_FROM: usize = 4 * 1024;
/// While memory is short, a connection that holds much must get on within this.
pub(crate) const SHORT_TIMEOUT: Duration = Duration::from_secs(5);
/// While memory is short, a frame that is read into the reserve must be whole within this.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The receiving side of a connection.
pub(crate) struct Reading {
    next: Next,
    /// Bytes of an unfinished frame; before [`Next::Handle`] also whole frames.
    rest: Vec<u8>,
    beyond: Beyond,
    memory: Arc<MemoryBudget>,
    /// The id of the connection, as the budget knows it.
    connection: u64,
    /// What the budget knows of received bytes.
    charged: usize,
    /// When bytes were received last.
    read_ms: i64,
    /// Since when the first frame of `rest` arrives.
    rest_since_ms: i64,
}

/// What the receiving side does next.
#[derive(Debug)]
enum Next {
    /// It reads the first bytes of the connection, which may begin a TLS handshake.
    First,
    /// It reads more.
    Read,
    /// It handles what was read before, and then reads more.
    Handle,
    /// Nothing: it has ended.
    Nothing(CloseReason),
}

/// How the receiving side reads beyond its allowance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beyond {
    /// There is room.
    Free,
    /// It waits for its turn.
    Waits,
    /// Into the reserve, until its frame is whole.
    Reserve { since_ms: i64, is_used: bool },
}

/// What takes received bytes.
pub(crate) trait Frames {
    /// Takes whole frames from the front.
    fn frames(&mut self, bytes: &[u8]) -> Result<Handled, CloseReason>;

    /// Takes one large frame, with the memory in which it arrived.
    fn large(&mut self, frame: Vec<u8>) -> Result<Then, CloseReason>;
}

/// What became of bytes that were handled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handled {
    /// Bytes that whole frames took, from the front.
    pub(crate) used: usize,
    pub(crate) then: Then,
}

/// What comes after [`Handled`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Reads: what is left is no whole frame.
    Read,
    /// A pause: what is left may start with a whole frame.
    Pause,
    /// A pause in which other connections of this thread get their turn.
    Yield,
}

impl Reading {
    pub(crate) fn new(memory: Arc<MemoryBudget>, connection: u64, now_ms: i64) -> Self {
        Self {
            next: Next::First,
            rest: Vec::new(),
            beyond: Beyond::Free,
            memory,
            connection,
            charged: 0,
            read_ms: now_ms,
            rest_since_ms: now_ms,
        }
    }

    /// When bytes were received last, monotonic milliseconds.
    pub(crate) fn last_ms(&self) -> i64 {
        self.read_ms
    }

    /// Why nothing more is read, when it has ended.
    pub(crate) fn ended(&self) -> Option<&CloseReason> {
        match &self.next {
            Next::Nothing(reason) => Some(reason),
            _ => None,
        }
    }

    /// Whether it waits for memory: it reads nothing until then.
    pub(crate) fn waits_for_memory(&self) -> bool {
        self.beyond == Beyond::Waits
    }

    /// Whether it holds more than its allowance.
    pub(crate) fn holds_much(&self) -> bool {
        self.rest.len() > self.memory.allowance()
    }

    /// The connection reads nothing for now: a connection behind it in the queue must not wait for it.
    pub(crate) fn pauses(&mut self) {
        if self.waits_for_memory() {
            self.give_turn();
        }
    }

    /// What was received of an unfinished frame is of no use any more.
    pub(crate) fn give_up(&mut self) {
        self.rest = Vec::new();
    }

    /// Reads once, or continues with what was read before, and has `handle` take what arrived. What does not end the
    /// connection at once is told by [`Self::ended`] afterwards.
    pub(crate) fn poll<IO: AsyncRead + Unpin>(
        &mut self,
        stream: &mut IO,
        cx: &mut Context<'_>,
        clock: &dyn Clock,
        handle: &mut impl Frames,
    ) -> Poll<Then> {
        let polled = match self.next {
            Next::Nothing(_) => return Poll::Pending,
            Next::Handle => Poll::Ready(self.continue_with_rest(clock, handle)),
            Next::First | Next::Read => self.poll_read(stream, cx, clock, handle),
        };
        let then = ready!(polled).unwrap_or_else(|reason| {
            self.give_up();
            self.next = Next::Nothing(reason);
            Then::Read
        });
        Poll::Ready(then)
    }

    /// Handles what was read before a pause.
    fn continue_with_rest(
        &mut self,
        clock: &dyn Clock,
        handle: &mut impl Frames,
    ) -> Result<Then, CloseReason> {
        let rest = std::mem::take(&mut self.rest);
        self.received(clock);
        let handled = handle.frames(&rest)?;
        self.keep_rest(&rest[handled.used..], true);
        Ok(self.pause_after(handled))
    }

    fn poll_read<IO: AsyncRead + Unpin>(
        &mut self,
        stream: &mut IO,
        cx: &mut Context<'_>,
        clock: &dyn Clock,
        handle: &mut impl Frames,
    ) -> Poll<Result<Then, CloseReason>> {
        let Some(most) = self.may_read(cx, clock) else {
            return Poll::Pending;
        };
        let polled = if self.rest.len() > SMALL_REST {
            self.poll_read_large(stream, cx, most, clock, handle)
        } else {
            self.poll_read_small(stream, cx, most, clock, handle)
        };
        if let Beyond::Reserve { is_used, .. } = &mut self.beyond {
            if polled.is_ready() {
                *is_used = true;
            } else if !*is_used {
                // It took nothing of the reserve, so the next one may.
                self.give_turn();
            }
        }
        polled
    }

    fn poll_read_small<IO: AsyncRead + Unpin>(
        &mut self,
        stream: &mut IO,
        cx: &mut Context<'_>,
        most: usize,
        clock: &dyn Clock,
        handle: &mut impl Frames,
    ) -> Poll<Result<Then, CloseReason>> {
        scratch::with(|buffer| {
            let kept = self.rest.len();
            let (front, space) = buffer.split_at_mut(kept);
            let most = most.min(space.len());
            let received = ready!(poll_once(stream, cx, &mut space[..most]))?;
            front.copy_from_slice(&self.rest);
            let bytes = &buffer[..kept + received];
            if matches!(self.next, Next::First) {
                match bytes.first() {
                    Some(&TLS_HANDSHAKE) => return Poll::Ready(Err(CloseReason::Tls)),
                    Some(&TLS_ALERT) => return Poll::Ready(Err(CloseReason::TlsOnly)),
                    _ => {}
                }
            }
            self.received(clock);
            let handled = handle.frames(bytes)?;
            let used = handled.used;
            self.keep_rest(&bytes[used..], used > 0 || kept == 0);
            Poll::Ready(Ok(self.pause_after(handled)))
        })
    }

    /// The rest is the start of a large frame.
    fn poll_read_large<IO: AsyncRead + Unpin>(
        &mut self,
        stream: &mut IO,
        cx: &mut Context<'_>,
        most: usize,
        clock: &dyn Clock,
        handle: &mut impl Frames,
    ) -> Poll<Result<Then, CloseReason>> {
        let missing = frame_bytes(&self.rest)
            .and_then(|frame| frame.checked_sub(self.rest.len()))
            .filter(|missing| *missing > 0)
            .unwrap_or(usize::MAX);
        ready!(scratch::with(|buffer| {
            // Not beyond its frame: what is one frame and nothing else can be given away.
            let most = most.min(buffer.len()).min(missing);
            let received = ready!(poll_once(stream, cx, &mut buffer[..most]))?;
            grow(&mut self.rest, received);
            self.rest.extend_from_slice(&buffer[..received]);
            Poll::Ready(Ok::<_, CloseReason>(()))
        }))?;
        self.received(clock);
        let rest = std::mem::take(&mut self.rest);
        if frame_bytes(&rest) == Some(rest.len()) {
            let then = handle.large(rest)?;
            self.keep_rest(&[], true);
            return Poll::Ready(Ok(self.pause_after(Handled { used: 0, then })));
        }
        let handled = handle.frames(&rest)?;
        if handled.used == 0 {
            self.rest = rest;
        } else {
            self.keep_rest(&rest[handled.used..], true);
        }
        Poll::Ready(Ok(self.pause_after(handled)))
    }

    fn received(&mut self, clock: &dyn Clock) {
        self.read_ms = clock.monotonic_ms();
    }

    fn pause_after(&mut self, handled: Handled) -> Then {
        self.next = match handled.then {
            Then::Read => Next::Read,
            Then::Pause | Then::Yield => Next::Handle,
        };
        handled.then
    }

    fn keep_rest(&mut self, rest: &[u8], is_new: bool) {
        if is_new {
            self.rest_since_ms = self.read_ms;
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

    /// How many bytes may be read now. `None`: the connection is woken when it should ask again.
    fn may_read(&mut self, cx: &Context<'_>, clock: &dyn Clock) -> Option<usize> {
        let allowance = self.memory.allowance();
        if self.beyond == Beyond::Free && self.memory.reads_freely() {
            return Some(READ_BYTES);
        }
        if self.rest.len() < allowance {
            return Some(allowance - self.rest.len());
        }
        let before = self.beyond;
        let turn = self.memory.turn(self.connection, cx.waker());
        if turn == Turn::Waiting {
            self.beyond = Beyond::Waits;
            return None;
        }
        let now_ms = clock.monotonic_ms();
        if before == Beyond::Waits {
            // The time of its frame does not run while it is not read.
            self.rest_since_ms = now_ms;
            self.read_ms = now_ms;
        }
        self.beyond = match (turn, before) {
            (Turn::Reserve, Beyond::Reserve { .. }) => before,
            (Turn::Reserve, _) => Beyond::Reserve {
                since_ms: now_ms,
                is_used: false,
            },
            _ => Beyond::Free,
        };
        Some(READ_BYTES)
    }

    /// Tells the budget what is held now, `parked` requests included. Nothing is to tell while it is little.
    pub(crate) fn settle(&mut self, parked: usize) {
        let held = self.rest.capacity() + parked * PARKED_BYTES;
        let received = held.saturating_sub(self.memory.allowance());
        if received.abs_diff(self.charged) >= CHARGED_FROM || received == 0 && self.charged > 0 {
            self.memory.received_changed(self.charged, received);
            self.charged = received;
        }
        if self.beyond != Beyond::Free && self.rest.len() < self.memory.allowance() {
            self.give_turn();
        }
    }

    fn give_turn(&mut self) {
        self.beyond = Beyond::Free;
        self.memory.give_turn(self.connection);
    }

    /// The time limits of what is received. `is_full`: the connection itself reads nothing now.
    pub(crate) fn limit(&self, next: &mut Limit, limits: &TransportLimits, is_full: bool) {
        if self.waits_for_memory() {
            // While nothing is read, nothing can come.
            return;
        }
        if !self.rest.is_empty() && !matches!(self.next, Next::Handle) && !is_full {
            // A large frame over a slow link takes its time; one that stops coming does not get more.
            let seconds = self.rest.len() / limits.frame_bytes_per_second_min.max(1);
            let at_slowest = Duration::from_secs(seconds as u64);
            let timeout = limits.started_frame_timeout;
            next.consider(
                self.rest_since_ms,
                timeout + at_slowest,
                CloseReason::StartedFrame(timeout),
            );
        }
        if self.holds_much() && self.memory.reading_is_short() {
            let reason = CloseReason::FrameHoldsMemory(self.rest.len());
            if let Beyond::Reserve { since_ms, .. } = self.beyond {
                next.consider(since_ms, RESERVE_TIMEOUT, reason.clone());
            }
            next.consider(self.read_ms, SHORT_TIMEOUT, reason);
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if self.beyond != Beyond::Free {
            self.give_turn();
        }
        self.memory.received_changed(self.charged, 0);
    }
}

/// One read: how many bytes came, at least one.
fn poll_once<IO: AsyncRead + Unpin>(
    stream: &mut IO,
    cx: &mut Context<'_>,
    space: &mut [u8],
) -> Poll<Result<usize, CloseReason>> {
    let mut read = ReadBuf::new(space);
    match ready!(Pin::new(stream).poll_read(cx, &mut read)) {
        Ok(()) if read.filled().is_empty() => Poll::Ready(Err(CloseReason::ByPeer)),
        Ok(()) => Poll::Ready(Ok(read.filled().len())),
        Err(error) => Poll::Ready(Err(CloseReason::Io(error.to_string()))),
    }
}

/// Bytes of the frame that begins here, as its length field says.
fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    let length = bytes.first_chunk::<4>()?;
    Some(4 + u32::from_be_bytes(*length) as usize)
}

/// Makes room for `more` bytes of a large frame: by half of what is there, and not beyond the frame's end.
fn grow(rest: &mut Vec<u8>, more: usize) {
    let needed = rest.len() + more;
    if needed <= rest.capacity() {
        return;
    }
    let frame = frame_bytes(rest).unwrap_or(needed);
    let wanted = (rest.len() + rest.len() / 2).min(frame).max(needed);
    rest.reserve_exact(wanted - rest.len());
}
