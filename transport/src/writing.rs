//! What a connection sends: one buffer, written in as few calls as the stream takes, and flushed.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWrite;

use crate::budget::MemoryBudget;
use crate::clock::Clock;
use crate::close_reason::CloseReason;
use crate::limits::{Limit, TransportLimits};
use crate::outbox::Outbox;
use crate::spare;

/// What was sent of a buffer that still fills is cut off from this size on.
const SENT_BYTES_MAX: usize = 1 << 20;
/// While memory is short, a peer must read [`SHORT_READ_BYTES`] of what waits for it within this. The system's buffers hide progress
/// for a while.
pub(crate) const SHORT_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that a peer must read within [`SHORT_READ_TIMEOUT`].
const SHORT_READ_BYTES: usize = 256 * 1024;

/// The sending side of a connection.
pub(crate) struct Writing {
    /// What is to be sent. Empty, it is no memory of this connection.
    out: BytesMut,
    /// Bytes of `out` that have been written.
    sent: usize,
    /// Something was written, and the stream may keep a part of it back until it is flushed.
    is_unflushed: bool,
    memory: Arc<MemoryBudget>,
    /// What the budget knows of bytes to send.
    charged: usize,
    /// When the peer took bytes last.
    written_ms: i64,
    /// Last progress while there is something to write or to flush.
    waits_since_ms: Option<i64>,
    /// Bytes that the peer took since `taken_ms`.
    taken: usize,
    /// When the peer had last taken [`SHORT_READ_BYTES`], or everything.
    taken_ms: i64,
}

impl Writing {
    pub(crate) fn new(memory: Arc<MemoryBudget>, now_ms: i64) -> Self {
        Self {
            out: BytesMut::new(),
            sent: 0,
            is_unflushed: false,
            memory,
            charged: 0,
            written_ms: now_ms,
            waits_since_ms: None,
            taken: 0,
            taken_ms: now_ms,
        }
    }

    /// Bytes that wait to be written.
    pub(crate) fn unsent(&self) -> usize {
        self.out.len() - self.sent
    }

    /// When the peer took bytes last, monotonic milliseconds.
    pub(crate) fn last_ms(&self) -> i64 {
        self.written_ms
    }

    /// Whether more than the allowance waits to be written.
    pub(crate) fn holds_much(&self) -> bool {
        self.unsent() > self.memory.allowance()
    }

    /// Whether it holds much while memory for answers is short.
    pub(crate) fn is_short(&self) -> bool {
        self.holds_much() && self.memory.sending_is_short()
    }

    /// Where answers are appended.
    pub(crate) fn out(&mut self) -> &mut BytesMut {
        if self.out.capacity() == 0 {
            self.out = spare::take();
        }
        &mut self.out
    }

    /// Moves what came from other threads to the end of what is sent.
    pub(crate) fn take_from(&mut self, outbox: &Outbox) {
        self.charged += outbox.take_into(&mut self.out);
        outbox.answer_unanswered(&mut self.out);
    }

    /// Ready when everything is written and flushed.
    ///
    /// # Errors
    /// What the stream says: nothing more can be sent.
    pub(crate) fn poll<IO: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut IO,
        cx: &mut Context<'_>,
        clock: &dyn Clock,
    ) -> Poll<io::Result<()>> {
        if !self.out.is_empty() {
            match self.poll_write(stream, cx, clock) {
                Poll::Ready(written) => written?,
                Poll::Pending => return self.waits(clock),
            }
        }
        if self.is_unflushed {
            match Pin::new(stream).poll_flush(cx) {
                Poll::Ready(flushed) => flushed?,
                Poll::Pending => return self.waits(clock),
            }
            self.is_unflushed = false;
            self.waits_since_ms = None;
        }
        Poll::Ready(Ok(()))
    }

    fn waits(&mut self, clock: &dyn Clock) -> Poll<io::Result<()>> {
        if self.waits_since_ms.is_none() {
            let now_ms = clock.monotonic_ms();
            self.waits_since_ms = Some(now_ms);
            (self.taken_ms, self.taken) = (now_ms, 0);
        }
        Poll::Pending
    }

    fn poll_write<IO: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut IO,
        cx: &mut Context<'_>,
        clock: &dyn Clock,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() {
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, &self.out[self.sent..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.is_unflushed = true;
            self.sent += written;
            self.taken += written;
            if self.taken >= SHORT_READ_BYTES {
                self.taken = 0;
                self.taken_ms = clock.monotonic_ms();
            }
            if self.sent < self.out.len() {
                let now_ms = clock.monotonic_ms();
                self.waits_since_ms = Some(now_ms);
                self.written_ms = now_ms;
                if self.sent >= SENT_BYTES_MAX {
                    self.out = BytesMut::from(&self.out[self.sent..]);
                    self.sent = 0;
                }
            }
        }
        self.waits_since_ms = None;
        self.written_ms = clock.monotonic_ms();
        self.sent = 0;
        spare::give(std::mem::take(&mut self.out), self.memory.spare_bytes_max());
        Poll::Ready(Ok(()))
    }

    /// Tells the budget what is held now. Nothing is to tell while it is little.
    pub(crate) fn settle(&mut self) {
        let held = if self.unsent() > 0 {
            self.out.capacity()
        } else {
            0
        };
        let sending = held.saturating_sub(self.memory.allowance());
        if sending != self.charged {
            self.memory.sending_changed(self.charged, sending);
            self.charged = sending;
        }
    }

    /// The time limits of what waits to be sent.
    pub(crate) fn limit(&self, next: &mut Limit, limits: &TransportLimits) {
        if self.is_short() {
            next.consider(
                self.taken_ms,
                SHORT_READ_TIMEOUT,
                CloseReason::AnswersHoldMemory(self.unsent()),
            );
        }
        if let Some(since_ms) = self.waits_since_ms {
            let timeout = limits.write_stall_timeout;
            next.consider(since_ms, timeout, CloseReason::WriteStall(timeout));
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.memory.sending_changed(self.charged, 0);
    }
}
