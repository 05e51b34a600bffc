//! Frames on their way to a socket.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::wire::Outgoing;

/// Bytes of the log that are copied behind their frame, at most.
const COPIED_BYTES: usize = 4 << 10;
/// A part with more takes no further frames.
const JOINED_BYTES: usize = 64 << 10;
/// Parts that one call writes.
const SLICES_MAX: usize = 64;
/// Buffers that are kept for pieces of the log.
const SPARE_MAX: usize = 2;
/// How long the last frame of a connection may take to leave.
const LAST_FRAME_MAX: Duration = Duration::from_secs(1);

/// What is to be sent, in order. Large pieces of the log are not copied; everything else goes into buffers that are used again.
#[derive(Default)]
pub(crate) struct Outbox {
    /// What sessions have added and was not looked at yet.
    added: Vec<Outgoing>,
    parts: VecDeque<Part>,
    /// Bytes of the first part that were sent.
    sent: usize,
    /// Bytes of all parts that were not.
    unsent: usize,
    /// The stream may keep something back.
    is_unflushed: bool,
    /// An empty buffer for frames.
    joined: Vec<u8>,
    /// Buffers of pieces.
    spare: Vec<Vec<u8>>,
}

struct Part {
    bytes: Vec<u8>,
    /// It is a piece of the log, and nothing is to follow it in its buffer.
    is_piece: bool,
}

impl Outbox {
    /// Where sessions put frames.
    pub(crate) fn frames(&mut self) -> &mut Vec<Outgoing> {
        &mut self.added
    }

    /// Bytes that were not sent yet.
    pub(crate) fn bytes(&self) -> usize {
        let added = self
            .added
            .iter()
            .map(|frame| frame.head.len() + frame.bytes.len());
        added.sum::<usize>() + self.unsent
    }

    /// A buffer for the next piece of the log: one whose piece was sent, if there is one.
    pub(crate) fn spare(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Sends everything. It may be dropped at any time, and continues where it was.
    pub(crate) async fn send(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        poll_fn(|cx| self.poll_send(writer, cx)).await
    }

    /// Ready when everything is sent; before, the stream has taken what it takes without waiting.
    pub(crate) fn poll_send(
        &mut self,
        writer: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.join_added();
        while self.unsent > 0 {
            let writer = Pin::new(&mut *writer);
            let sent = self.with_parts(|parts| match parts {
                // One part costs the system less than two.
                [only] => writer.poll_write(cx, only),
                all => writer.poll_write_vectored(cx, all),
            });
            let sent = ready!(sent)?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.was_sent(sent);
            self.is_unflushed = true;
        }
        if self.is_unflushed {
            ready!(Pin::new(writer).poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what `write` takes without waiting: whether that is everything. An error is left to [`poll_send`](Self::poll_send), which meets it
    /// again.
    pub(crate) fn try_send(
        &mut self,
        write: impl Fn(&[io::IoSlice<'_>]) -> io::Result<usize>,
    ) -> bool {
        self.join_added();
        while self.unsent > 0 {
            match self.with_parts(&write) {
                Ok(sent) if sent > 0 => {
                    self.was_sent(sent);
                    self.is_unflushed = true;
                }
                _ => return false,
            }
        }
        true
    }

    /// Calls `write` with what is to be sent next.
    fn with_parts<T>(&self, write: impl FnOnce(&[io::IoSlice<'_>]) -> T) -> T {
        let first = self.parts.front().map_or(&[][..], |part| &part.bytes);
        let first = first.get(self.sent..).unwrap_or_default();
        if self.parts.len() <= 1 {
            return write(&[io::IoSlice::new(first)]);
        }
        let others = self.parts.iter().skip(1).map(|part| &*part.bytes);
        let parts = std::iter::once(first).chain(others);
        let mut slices = [io::IoSlice::new(&[]); SLICES_MAX];
        let filled = slices.iter_mut().zip(parts);
        let count = filled
            .map(|(slice, part)| *slice = io::IoSlice::new(part))
            .count();
        write(slices.get(..count).unwrap_or_default())
    }

    /// Makes parts of what sessions have added.
    fn join_added(&mut self) {
        for frame in self.added.drain(..) {
            let Outgoing { head, bytes } = frame;
            self.unsent += head.len() + bytes.len();
            let last = self.parts.back_mut();
            match last.filter(|part| !part.is_piece && part.bytes.len() < JOINED_BYTES) {
                Some(part) => part.bytes.extend_from_slice(&head),
                None => {
                    let mut joined = std::mem::take(&mut self.joined);
                    joined.extend_from_slice(&head);
                    self.parts.push_back(Part {
                        bytes: joined,
                        is_piece: false,
                    });
                }
            }
            if bytes.len() > COPIED_BYTES {
                self.parts.push_back(Part {
                    bytes,
                    is_piece: true,
                });
            } else if let Some(part) = self.parts.back_mut() {
                part.bytes.extend_from_slice(&bytes);
                // Whoever copies so little has no use for large buffers.
                if bytes.capacity() > JOINED_BYTES {
                    self.spare.clear();
                } else if self.spare.len() < SPARE_MAX && bytes.capacity() > 0 {
                    self.spare.push(bytes);
                }
            }
        }
    }

    fn was_sent(&mut self, bytes: usize) {
        self.unsent -= bytes.min(self.unsent);
        self.sent += bytes;
        while let Some(first) = self.parts.front()
            && first.bytes.len() <= self.sent
            && let Some(Part {
                mut bytes,
                is_piece,
            }) = self.parts.pop_front()
        {
            self.sent -= bytes.len();
            if is_piece && self.spare.len() < SPARE_MAX {
                self.spare.push(bytes);
            } else if !is_piece && bytes.capacity() <= 2 * JOINED_BYTES {
                bytes.clear();
                self.joined = bytes;
            }
        }
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
