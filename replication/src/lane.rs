//! The sending side of a connection to a replica. Two use it: the task of the connection, and the thread that has just written the log, while the
//! replica has everything else and the socket has room. Then nobody is woken to read what is in memory, and to send it.

use std::io::{self, IoSlice};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rmq_protocol::message::LogPosition;
use rmq_store::{LogPiece, Store, Taker};
use tokio::time::Instant;

use crate::outbox::Outbox;
use crate::serve::Source;
use crate::session::MasterSession;

/// Writes as much as a stream takes without waiting.
pub(crate) type TryWrite<W> = fn(&W, &[IoSlice<'_>]) -> io::Result<usize>;

/// See the module.
pub(crate) struct Lane<W> {
    source: Source,
    origin: Instant,
    try_write: TryWrite<W>,
    /// `None` at the end. Held for a turn of the task, or for one write.
    sending: Mutex<Option<Sending<W>>>,
}

/// What is sent, and with what.
pub(crate) struct Sending<W> {
    pub(crate) session: MasterSession,
    pub(crate) outbox: Outbox,
    pub(crate) writer: W,
}

impl<W> Lane<W> {
    pub(crate) fn new(
        source: Source,
        session: MasterSession,
        writer: W,
        try_write: TryWrite<W>,
    ) -> Self {
        Self {
            source,
            origin: Instant::now(),
            try_write,
            sending: Mutex::new(Some(Sending {
                session,
                outbox: Outbox::default(),
                writer,
            })),
        }
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// What the times of the session are reckoned from.
    pub(crate) fn origin(&self) -> Instant {
        self.origin
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Option<Sending<W>>> {
        self.sending.lock()
    }

    /// Nothing is sent over it any more, but by the caller.
    pub(crate) fn close(&self) -> Option<Sending<W>> {
        self.sending.lock().take()
    }
}

impl<W: Send> Taker for Lane<W> {
    fn take(&self, from: LogPosition, to: LogPosition, bytes: &[u8]) -> bool {
        // Its task is at work, and looks again when it is woken.
        let Some(mut sending) = self.sending.try_lock() else {
            return false;
        };
        let Some(Sending {
            session,
            outbox,
            writer,
        }) = &mut *sending
        else {
            return false;
        };
        let is_idle = session.has_nothing_but(from) && outbox.bytes() == 0;
        let fits = is_idle
            && session
                .wants(&self.source)
                .is_some_and(|want| bytes.len() <= want.bytes_max);
        if !fits {
            return false;
        }
        let mut copy = outbox.spare();
        copy.clear();
        copy.extend_from_slice(bytes);
        let piece = LogPiece {
            position: from,
            end: to,
            bytes: copy,
        };
        session.send(piece, &self.source, self.origin.elapsed(), outbox.frames());
        // What does not leave now is left to the task, an error too.
        outbox.try_send(|parts| (self.try_write)(writer, parts))
    }
}

/// A connection whose task sends everything.
pub(crate) struct Unwilling;

impl Taker for Unwilling {
    fn take(&self, _: LogPosition, _: LogPosition, _: &[u8]) -> bool {
        false
    }
}

/// Offers what the store writes to a taker, until it is dropped.
pub(crate) struct Offering {
    store: Store,
    taker: Arc<dyn Taker>,
}

impl Offering {
    pub(crate) fn begin(store: &Store, taker: &Arc<dyn Taker>) -> Self {
        store.add_taker(taker);
        Self {
            store: store.clone(),
            taker: Arc::clone(taker),
        }
    }
}

impl Drop for Offering {
    fn drop(&mut self) {
        self.store.remove_taker(&self.taker);
    }
}
