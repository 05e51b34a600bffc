//! Frames on their way to a socket.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::wire::Outgoing;

/// Bytes of the log that are copied behind their frame, at most.
const COPIED_BYTES: usize = 4 << 10;
/// Parts that one call writes.
const SLICES_MAX: usize = 64;
/// How long the last frame of a connection may take to leave.
const LAST_FRAME_MAX: Duration = Duration::from_secs(1);

/// What is to be sent, in order. The bytes of the log are not copied.
#[derive(Default)]
pub(crate) struct Outbox {
    /// What sessions have added and was not looked at yet.
    added: Vec<Outgoing>,
    parts: VecDeque<Bytes>,
    /// The stream may keep something back.
    is_unflushed: bool,
}

impl Outbox {
    /// Where sessions put frames.
    pub(crate) fn frames(&mut self) -> &mut Vec<Outgoing> {
        &mut self.added
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.parts.is_empty() && !self.is_unflushed
    }

    /// Bytes that were not sent yet.
    pub(crate) fn bytes(&self) -> usize {
        let added = self
            .added
            .iter()
            .map(|frame| frame.head.len() + frame.bytes.len());
        added.sum::<usize>() + self.parts.iter().map(Bytes::len).sum::<usize>()
    }

    /// Sends everything. It may be dropped at any time, and continues where it was.
    pub(crate) async fn send(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        poll_fn(|cx| self.poll_send(writer, cx)).await
    }

    /// Sends what the stream takes without waiting. A turn of the scheduler, and a look at everything else that may happen, costs as much as
    /// a small message.
    pub(crate) async fn send_now(
        &mut self,
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        poll_fn(|cx| match self.poll_send(writer, cx) {
            Poll::Ready(sent) => Poll::Ready(sent),
            Poll::Pending => Poll::Ready(Ok(())),
        })
        .await
    }

    fn poll_send(
        &mut self,
        writer: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        for mut frame in self.added.drain(..) {
            // One part costs the system less than two.
            if frame.bytes.len() <= COPIED_BYTES {
                frame.head.append(&mut frame.bytes);
            }
            let parts = [Bytes::from(frame.head), Bytes::from(frame.bytes)];
            let parts = parts.into_iter().filter(|part| !part.is_empty());
            self.parts.extend(parts);
        }
        while !self.parts.is_empty() {
            let mut parts = Parts(&mut self.parts);
            let mut slices = [io::IoSlice::new(&[]); SLICES_MAX];
            let count = parts.chunks_vectored(&mut slices);
            let writer = Pin::new(&mut *writer);
            let sent = match slices.get(..count) {
                Some([one]) => writer.poll_write(cx, one),
                many => writer.poll_write_vectored(cx, many.unwrap_or_default()),
            };
            let sent = ready!(sent)?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            parts.advance(sent);
            self.is_unflushed = true;
        }
        if self.is_unflushed {
            ready!(Pin::new(writer).poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the last frames, if the other side still takes them, and closes.
    pub(crate) async fn send_last(&mut self, writer: &mut (impl AsyncWrite + Unpin)) {
        // The connection is over either way.
        let _ = tokio::time::timeout(LAST_FRAME_MAX, async {
            self.send(writer).await?;
            writer.shutdown().await
        })
        .await;
    }
}

/// All parts as one buffer, for one vectored write.
struct Parts<'a>(&'a mut VecDeque<Bytes>);

impl Buf for Parts<'_> {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [io::IoSlice<'a>]) -> usize {
        let both = slices.iter_mut().zip(self.0.iter());
        both.map(|(slice, part)| *slice = io::IoSlice::new(part))
            .count()
    }

    fn advance(&mut self, mut bytes: usize) {
        while let Some(front) = self.0.front_mut() {
            let here = bytes.min(front.len());
            front.advance(here);
            bytes -= here;
            if !front.is_empty() {
                return;
            }
            self.0.pop_front();
        }
    }
}

/// Does work that may wait for the disk: where other tasks are not held up by it, if it is large.
pub(crate) fn may_block<T>(is_large: bool, work: impl FnOnce() -> T) -> T {
    let has_other_threads = || {
        Handle::try_current()
            .is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread)
    };
    match is_large && has_other_threads() {
        true => tokio::task::block_in_place(work),
        false => work(),
    }
}
