//! One connection: reads what is there, has every complete frame handled in place, sends all answers in one write.
//!
//! ```text
//! wake ─► batch end ─► outbox (answers from other threads) ─► write, flush ─► read ─► frames ─┐
//!             ▲                                                                             │
//!             └─────────────────────────────────────────────────────────────────────────────┘
//! ```
//! It handles and reads nothing while too much waits to be sent or answered: the peer then feels it through TCP.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::budget::MemoryBudget;
use crate::clock::{Clock, SleepFuture};
use crate::close_reason::CloseReason;
use crate::exchange::Service;
use crate::handling::Handling;
use crate::limits::{Limit, TransportLimits};
use crate::peer::Peer;
use crate::reading::{Frames, Handled, Reading, SHORT_TIMEOUT, Then};
use crate::writing::Writing;

/// How long a stream may take to say goodbye, for example with the last record of TLS.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// What was received is handled, and answers are written.
struct Requests<'a, S: Service> {
    handling: &'a mut Handling<S>,
    writing: &'a mut Writing,
}

impl<S: Service> Frames for Requests<'_, S> {
    fn frames(&mut self, bytes: &[u8]) -> Result<Handled, CloseReason> {
        self.handling.frames(bytes, self.writing)
    }

    fn large(&mut self, frame: Vec<u8>) -> Result<Then, CloseReason> {
        self.handling.large(frame, self.writing)
    }
}

/// A connection over any stream. It is compiled for each kind of stream: plain TCP pays for no other.
pub(crate) struct Connection<S: Service, IO> {
    stream: IO,
    peer: Arc<Peer>,
    limits: Arc<TransportLimits>,
    clock: Arc<dyn Clock>,
    reading: Reading,
    handling: Handling<S>,
    writing: Writing,
    timer: Option<SleepFuture>,
    /// Why it ends. Everything is sent, and the stream is shut down.
    ends: Option<CloseReason>,
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
        let now_ms = clock.monotonic_ms();
        Self {
            stream,
            reading: Reading::new(Arc::clone(&memory), peer.id(), now_ms),
            handling: Handling::new(service, Arc::clone(&peer), Arc::clone(&limits)),
            writing: Writing::new(memory, now_ms),
            peer,
            limits,
            clock,
            timer: None,
            ends: None,
        }
    }

    /// Runs until the connection ends.
    pub(crate) async fn run(mut self) -> CloseReason {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let polled = self.poll_all(cx);
        if let Poll::Ready(reason) = &polled {
            self.peer.ends_for(reason);
        }
        self.reading.settle(self.peer.parked());
        self.writing.settle();
        polled
    }

    fn poll_all(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        if self.ends.is_some() {
            return self.poll_shutdown(cx);
        }
        self.peer.outbox().register(cx);
        loop {
            if self.handling.poll_batch(cx, &mut self.writing).is_pending() {
                return Poll::Pending;
            }
            // Asked before the outbox is emptied: the last answer lies in it by then.
            let ending = self.ending();
            self.writing.take_from(self.peer.outbox());
            let is_sent = match self.writing.poll(&mut self.stream, cx, &*self.clock) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(error)) => return Poll::Ready(CloseReason::Io(error.to_string())),
                Poll::Pending => false,
            };
            if self.writing.unsent() > self.limits.out_bytes_max {
                return Poll::Ready(CloseReason::OutTooMuch(self.limits.out_bytes_max));
            }
            if let Some(reason) = ending
                && is_sent
            {
                return self.end(cx, reason);
            }
            match self.poll_read(cx) {
                // What was asked before the end is still answered.
                Poll::Ready(Then::Read | Then::Pause) => continue,
                Poll::Ready(Then::Yield) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending => {}
            }
            return match self.poll_timer(cx) {
                Poll::Ready(reason) if is_sent => self.end(cx, reason),
                polled => polled,
            };
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Then> {
        let reads = self.reading.ended().is_none()
            && !self.peer.is_draining()
            && !self.handling.is_full(&self.writing);
        if !reads {
            self.reading.pauses();
            return Poll::Pending;
        }
        let mut handle = Requests {
            handling: &mut self.handling,
            writing: &mut self.writing,
        };
        let polled = self
            .reading
            .poll(&mut self.stream, cx, &*self.clock, &mut handle);
        self.reading.settle(self.peer.parked());
        polled
    }

    /// Why nothing is left to do but to send what was answered.
    fn ending(&self) -> Option<CloseReason> {
        if let Some(reason) = self.peer.close_asked() {
            return Some(reason);
        }
        if let Some(reason) = self.reading.ended() {
            // A peer that closed cannot take late answers; waiting for parked requests would only hold memory.
            return Some(reason.clone());
        }
        (self.peer.is_draining() && self.peer.parked() == 0).then_some(CloseReason::Stopping)
    }

    /// Everything is sent: from now on the stream only says goodbye.
    fn end(&mut self, cx: &mut Context<'_>, reason: CloseReason) -> Poll<CloseReason> {
        self.peer.ends_for(&reason);
        self.peer.gone();
        self.reading.give_up();
        self.ends = Some(reason);
        self.timer = None;
        self.poll_shutdown(cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        // How that ends tells nothing: the peer may be gone.
        if Pin::new(&mut self.stream).poll_shutdown(cx).is_pending() {
            let timeout_ms = SHUTDOWN_TIMEOUT.as_millis() as i64;
            let timer = self
                .timer
                .get_or_insert_with(|| self.clock.sleep_ms(timeout_ms));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        Poll::Ready(self.ends.take().unwrap_or(CloseReason::Stopping))
    }

    /// The reason to close when a time limit has passed; arms the timer for the next one.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        loop {
            if let Some(timer) = &mut self.timer {
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.timer = None;
            }
            let now_ms = self.clock.monotonic_ms();
            let limit = self.next_limit();
            if limit.at_ms <= now_ms {
                return Poll::Ready(limit.reason);
            }
            // Not re-armed at every read: when it fires early, it is armed again for what is left. A limit that begins
            // later than now is found at the latest one short limit after it began.
            let short = if self.reading.holds_much() || self.writing.holds_much() {
                SHORT_TIMEOUT
            } else {
                self.limits.started_frame_timeout
            };
            let short_ms = short.as_millis() as i64;
            let at_ms = limit.at_ms.min(now_ms + short_ms.max(1));
            self.timer = Some(self.clock.sleep_until_ms(at_ms));
        }
    }

    fn next_limit(&self) -> Limit {
        let idle = self.limits.idle_timeout;
        let mut next = Limit::never(CloseReason::Idle(idle));
        // While nothing is read, nothing can come.
        if !self.reading.waits_for_memory() {
            let last_ms = self.reading.last_ms().max(self.writing.last_ms());
            next.consider(last_ms, idle, CloseReason::Idle(idle));
        }
        let is_full = self.handling.is_full(&self.writing);
        self.reading.limit(&mut next, &self.limits, is_full);
        self.writing.limit(&mut next, &self.limits);
        next
    }
}

impl<S: Service, IO> Drop for Connection<S, IO> {
    fn drop(&mut self) {
        // Before the batch: nobody waits for its answers any more.
        self.peer.gone();
    }
}

#[cfg(test)]
mod tests;
