//! What a read is asked for, and what it brings.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use rmq_protocol::message::RecordView;
use smallvec::SmallVec;

use super::buffer::Buffer;
use crate::segment::Segment;

/// Bytes of messages that one read shows to a filter that looks at messages: bounds the work of one that matches little. The message that
/// goes beyond is looked at.
pub(super) const SCAN_BYTES_MAX: usize = 16 << 20;

/// How much one read may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Messages at most.
    pub messages_max: usize,
    /// Bytes at most; the first message is given whatever its size.
    pub bytes_max: usize,
    /// Index entries looked at at most: bounds the work of a filter that matches little.
    pub scan_entries_max: usize,
}

/// Decides which messages are read.
pub trait EntryFilter {
    /// By the hash of the tag, without looking at the message.
    fn by_tag(&self, tag_hash: i64) -> bool;

    /// Whether [`EntryFilter::by_record`] has something to say.
    fn needs_record(&self) -> bool {
        false
    }

    /// By the message itself.
    fn by_record(&self, _record: &RecordView<'_>) -> bool {
        true
    }
}

/// Every message.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllMessages;

impl EntryFilter for AllMessages {
    fn by_tag(&self, _tag_hash: i64) -> bool {
        true
    }
}

/// How a read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadStatus {
    /// There are messages.
    Found,
    /// There are messages, but the filter let none pass, or they are damaged; continue at the next offset.
    NoMatch,
    /// The queue has never had a message.
    NoMessageInQueue,
    /// The offset is below the oldest message.
    OffsetTooSmall,
    /// The offset is the next one to be written.
    AtEnd,
    /// The offset is beyond the next one to be written.
    OffsetTooBig,
    /// The messages are being removed; continue at the next offset.
    Removed,
    /// The data is not in memory; read again where waiting is allowed.
    Cold,
    /// The index cannot be read, nor written again from the log, for now. The next offset has not moved; try later, not at once.
    Unavailable,
}

/// What a read brought.
#[derive(Debug)]
pub struct ReadOutcome {
    /// How it ended.
    pub status: ReadStatus,
    /// The records, in order.
    pub records: SmallVec<[RecordSlice; 32]>,
    /// Bytes of all records.
    pub total_bytes: usize,
    /// Where to read on.
    pub next_offset: i64,
    /// Oldest offset of the queue.
    pub min_offset: i64,
    /// Offset after the newest message.
    pub max_offset: i64,
    /// How far the last record lies behind the end of the log; 0 when there is none.
    pub behind_bytes: u64,
}

/// Bytes of one record as they lie in the log.
#[derive(Clone)]
pub struct RecordSlice {
    pub(super) source: Source,
    pub(super) len: usize,
}

#[derive(Clone)]
pub(super) enum Source {
    /// What one read brought, from here on; other records may share it.
    Read(Arc<Buffer>, usize),
    /// Memory of the page cache, from this log position on.
    Mapped(Arc<Segment>, u64),
}

impl RecordSlice {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self {
            len: bytes.len(),
            source: Source::Read(Arc::new(Buffer::from(bytes)), 0),
        }
    }

    /// The record as fields. `None` cannot happen for a record that was checked when it was read.
    #[must_use]
    pub fn view(&self) -> Option<RecordView<'_>> {
        RecordView::parse(self).ok()
    }
}

impl Deref for RecordSlice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.source {
            Source::Read(buffer, at) => buffer.get(*at, self.len),
            Source::Mapped(segment, position) => segment.in_memory(*position, self.len),
        }
    }
}

impl fmt::Debug for RecordSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record of {} bytes", self.len)
    }
}
