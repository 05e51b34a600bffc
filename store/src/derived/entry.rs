//! What goes into dispatch and what comes out of it.

use bytes::Bytes;

use crate::further::Further;
use crate::index::keys::KeyHashes;
use crate::queue::QueueRef;
use crate::settings::FedRows;

/// One message became visible. Handed to [`Arrivals`].
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The queue it went to.
    pub queue: QueueRef,
    /// Its offset in that queue.
    pub offset: i64,
    /// Hash of its tag, 0 = no tag.
    pub tag_hash: i64,
    /// Where its record lies in the log.
    pub position: u64,
    /// When it was stored, ms since 1970.
    pub store_time_ms: i64,
}

/// Is told when messages become visible.
pub trait Arrivals: Send + Sync {
    /// Messages of wanted queues became visible. Called outside every lock of the store; in log order within one call. Two calls may
    /// overlap, so an arrival says "at least up to here", and not that nothing later has arrived.
    fn arrived(&self, arrivals: &[Arrival]);
}

/// What dispatch needs to know of one record.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) queue: QueueRef,
    pub(crate) queue_offset: i64,
    pub(crate) position: u64,
    pub(crate) size: u32,
    pub(crate) tag_hash: i64,
    pub(crate) store_ms: i64,
    pub(crate) keys: KeyHashes,
    /// The body of a settings record.
    pub(crate) settings: Option<Bytes>,
    /// Rows of tables that the record sets or removes.
    pub(crate) fed: FedRows,
    /// Its places in further queues.
    pub(crate) further: Further,
}

impl Entry {
    /// Log position after the record.
    pub(super) fn end(&self) -> u64 {
        self.position + u64::from(self.size)
    }
}
