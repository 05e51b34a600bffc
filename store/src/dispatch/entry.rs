//! What goes into dispatch and what comes out of it.

use std::io;

use bytes::Bytes;

use crate::commit_log::DamagedRange;
use crate::index::keys::KeyHashes;
use crate::queue::QueueRef;

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

/// Whoever waits for messages.
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
}

impl Entry {
    /// Log position after the record.
    pub(super) fn end(&self) -> u64 {
        self.position + u64::from(self.size)
    }
}

/// What the index asks of the log. Positions are those of record starts.
pub(crate) trait LogReader: Send + Sync {
    /// Shows the bytes of the record at `position` to `visit`; false when there is no intact record.
    fn visit(&self, position: u64, visit: &mut dyn FnMut(&[u8])) -> bool;
    /// Store time of the record at `position`, ms since 1970.
    fn store_time(&self, position: u64) -> Option<i64>;
    /// Position of the oldest record that is still kept.
    fn start(&self) -> u64;
    /// Where the segment that holds `position` ends.
    fn segment_end(&self, position: u64) -> u64;
    /// Returns once everything below `up_to` is on the disk.
    fn make_durable(&self, up_to: u64) -> io::Result<()>;
    /// Shows every intact record that starts in `[from, to)`, in log order.
    fn scan(&self, from: u64, to: u64, visit: &mut dyn FnMut(u64, &[u8])) -> io::Result<()>;
    /// Stretches that could not be read when index and tables were written, and can be read now.
    fn readable_again(&self) -> Vec<DamagedRange> {
        Vec::new()
    }
    /// How many messages a queue may have had at `position` and behind, at most, in stretches that no life has read.
    fn records_unseen_from(&self, _position: u64) -> i64 {
        0
    }
}
