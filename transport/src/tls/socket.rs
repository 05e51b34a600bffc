//! The stream after a handshake.
//!
//! rustls reads 4 KiB at a time. A connection that handles what one read brings would handle a few messages at a time, so both sides of
//! rustls are made large: the socket is read in 64 KiB, and everything of it is decrypted before the connection goes to work.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::explain;

/// Read from the socket at a time, bytes.
const RAW_BYTES_MAX: usize = 64 * 1024;
/// The same while the connection may take little: what is read here is in no budget.
const RAW_BYTES_MIN: usize = 4 * 1024;

thread_local! {
    /// What one read of a socket goes into; empty while it is used.
    static RAW: Cell<Box<[u8]>> = Cell::default();
    /// An empty buffer for what rustls has not taken yet.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A socket with TLS: what is read and written is encrypted.
#[derive(Debug)]
pub struct TlsSocket<IO = TcpStream> {
    stream: TlsStream<Gulps<IO>>,
    /// What was met behind bytes that were read well.
    failed: Option<io::Error>,
}

impl<IO> TlsSocket<IO> {
    pub(super) fn new(stream: impl Into<TlsStream<Gulps<IO>>>) -> Self {
        Self {
            stream: stream.into(),
            failed: None,
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> TlsSocket<IO> {
    /// Sends what TLS itself has to say to what was read, such as that it renegotiates nothing. Otherwise it would wait for the next answer.
    fn say(&mut self, cx: &mut Context<'_>) {
        if self.stream.get_ref().1.wants_write() {
            // An error is met again by the next read.
            let _ = Pin::new(&mut self.stream).poll_flush(cx);
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsSocket<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(error) = this.failed.take() {
            return Poll::Ready(Err(error));
        }
        let before = buf.filled().len();
        while buf.remaining() > 0 {
            let had = buf.filled().len();
            this.stream.get_mut().0.asked = buf.remaining();
            match Pin::new(&mut this.stream).poll_read(cx, buf) {
                Poll::Ready(Ok(())) if buf.filled().len() > had => {}
                // The end. After bytes it is met again.
                Poll::Ready(Ok(())) => break,
                Poll::Ready(Err(error)) => {
                    let error = explain::broken(error);
                    if had == before {
                        return Poll::Ready(Err(error));
                    }
                    this.failed = Some(error);
                    break;
                }
                Poll::Pending if had == before => {
                    this.say(cx);
                    return Poll::Pending;
                }
                Poll::Pending => break,
            }
        }
        this.say(cx);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsSocket<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A stream that is read in large pieces, whatever is asked for. It holds no buffer while nothing is left over.
#[derive(Debug)]
pub(super) struct Gulps<IO> {
    io: IO,
    /// What was read and not asked for yet.
    rest: Vec<u8>,
    taken: usize,
    /// What the connection asks for, bytes.
    asked: usize,
}

impl<IO> Gulps<IO> {
    pub(super) fn new(io: IO) -> Self {
        Self {
            io,
            rest: Vec::new(),
            taken: 0,
            asked: 0,
        }
    }

    fn give_rest(&mut self, buf: &mut ReadBuf<'_>) {
        let rest = &self.rest[self.taken..];
        let bytes = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..bytes]);
        self.taken += bytes;
        if self.taken == self.rest.len() {
            self.taken = 0;
            let mut rest = std::mem::take(&mut self.rest);
            rest.clear();
            SPARE.set(rest);
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Gulps<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.rest.is_empty() {
            this.give_rest(buf);
            return Poll::Ready(Ok(()));
        }
        let mut raw = RAW.take();
        if raw.is_empty() {
            raw = vec![0; RAW_BYTES_MAX].into_boxed_slice();
        }
        let most = this.asked.clamp(RAW_BYTES_MIN, RAW_BYTES_MAX);
        let mut read = ReadBuf::new(&mut raw[..most]);
        let polled = Pin::new(&mut this.io).poll_read(cx, &mut read);
        if let Poll::Ready(Ok(())) = &polled {
            let bytes = read.filled();
            let (now, later) = bytes.split_at(bytes.len().min(buf.remaining()));
            buf.put_slice(now);
            if !later.is_empty() {
                this.rest = SPARE.take();
                this.rest.extend_from_slice(later);
            }
        }
        RAW.set(raw);
        polled
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Gulps<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
