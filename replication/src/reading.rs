//! The log, read for another member.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rmq_store::{LogPiece, ReadError, Store};
use tokio::task::JoinHandle;

use crate::reason::{Reason, ReasonKind};
use crate::session::Want;

/// A piece that is read on another thread: a slow disk holds up nobody else. One at a time.
#[derive(Default)]
pub(crate) struct Reading(Option<JoinHandle<Result<LogPiece, Reason>>>);

impl Reading {
    pub(crate) fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    /// Reads into `buffer`.
    pub(crate) fn begin(&mut self, store: &Store, want: Want, buffer: Vec<u8>) {
        let store = store.clone();
        let read = move || read(&store, want, buffer);
        self.0 = Some(tokio::task::spawn_blocking(read));
    }

    /// The piece, when it is there; never, while nothing is read.
    pub(crate) fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<Result<LogPiece, Reason>> {
        let Some(reading) = &mut self.0 else {
            return Poll::Pending;
        };
        let read = ready!(Pin::new(reading).poll(cx));
        self.0 = None;
        Poll::Ready(read.unwrap_or_else(|error| {
            Err(Reason::new(
                ReasonKind::Store,
                format!("the thread that read the log ended: {error}"),
            ))
        }))
    }
}

/// Reads what a session wants, into `buffer`.
pub(crate) fn read(store: &Store, want: Want, buffer: Vec<u8>) -> Result<LogPiece, Reason> {
    let cannot = |error: &ReadError| {
        let is_gone = want.from.0 < store.positions().min;
        let kind = match is_gone {
            true => ReasonKind::Expired,
            false => ReasonKind::Store,
        };
        Reason::new(
            kind,
            format!("the log cannot be read from {}: {error}", want.from),
        )
    };
    match store.log_piece_in(want.from, want.bytes_max, buffer) {
        Ok(Some(piece)) => Ok(piece),
        Ok(None) => Err(Reason::new(
            ReasonKind::Store,
            format!("the log ends at {}", want.from),
        )),
        Err(error) => Err(cannot(&error)),
    }
}
