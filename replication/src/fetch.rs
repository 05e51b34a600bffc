//! Stretches of the log that a member has and cannot read: it asks the member at the other end of a connection for them.
//!
//! ```text
//!  Members::fetch, Followed::fetch ──► session ── fetch ──► session of the other side ──► its store
//!            ▲                            │ ◄─ fetched, missing ─┘
//!            └──────── the answer ────────┘
//! ```

use rmq_protocol::message::LogPosition;
use rmq_store::LogPiece;
use tokio::sync::oneshot;

use crate::reason::Reason;

/// What has come: the beginning of the stretch, at most [`PIECE_BYTES_MAX`](crate::PIECE_BYTES_MAX) bytes or one record that is larger.
/// Nothing of it was checked but that it was asked for; [`Store::mend`](rmq_store::Store::mend) checks the records.
pub type Fetched = Result<LogPiece, Reason>;

/// A stretch that somebody waits for. Dropped, there is no answer: the connection has ended.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) from: LogPosition,
    pub(crate) to: LogPosition,
    pub(crate) answer: oneshot::Sender<Fetched>,
}

impl Wanted {
    /// A stretch, and where its answer comes.
    pub(crate) fn new(from: LogPosition, to: LogPosition) -> (Self, oneshot::Receiver<Fetched>) {
        let (answer, receiver) = oneshot::channel();
        (Self { from, to, answer }, receiver)
    }

    pub(crate) fn answer(self, fetched: Fetched) {
        // Who waited may have given up.
        let _ = self.answer.send(fetched);
    }
}
