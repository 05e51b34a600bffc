//! Reading a queue: from the index to record bytes, with a filter, within limits.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::Ordering;

use rmq_protocol::message::RecordView;
use smallvec::SmallVec;

use crate::commit_log::{CommitLog, check};
use crate::queue::QueueRef;
use crate::segment::Slice;

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

/// Whether the caller can wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temperature {
    /// It cannot: data that is not in memory ends the read, with [`ReadStatus::Cold`] if nothing was found before it.
    HotOnly,
    /// It runs on a thread that may wait, such as one of the [`ColdPool`](crate::ColdPool).
    MayWait,
}

/// How a read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadStatus {
    /// There are messages.
    Found,
    /// There are messages, but the filter let none pass, or they are damaged; go on from the next offset.
    NoMatch,
    /// The queue has never had a message.
    NoMessageInQueue,
    /// The offset is below the oldest message.
    OffsetTooSmall,
    /// The offset is the next one to be written.
    AtEnd,
    /// The offset is beyond the next one to be written.
    OffsetTooBig,
    /// The messages are being removed; try again.
    Removed,
    /// The data is not in memory; read again where waiting is allowed.
    Cold,
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
pub struct RecordSlice(Slice);

impl RecordSlice {
    pub(crate) fn new(slice: Slice) -> Self {
        Self(slice)
    }

    /// The record as fields. `None` cannot happen for a record that was checked when it was read.
    #[must_use]
    pub fn view(&self) -> Option<RecordView<'_>> {
        RecordView::parse(&self.0).ok()
    }
}

impl Deref for RecordSlice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for RecordSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record of {} bytes", self.0.len())
    }
}

/// Bytes fetched at once for a read that waits for the disk: a reader that catches up goes on behind what it asked for.
const COLD_READ_BYTES: u64 = 1 << 20;
/// Entries looked up at once.
const LOOK_UP: usize = 32;

pub(crate) fn read(
    log: &CommitLog,
    queue: &QueueRef,
    from: i64,
    limits: ReadLimits,
    filter: &dyn EntryFilter,
    temperature: Temperature,
) -> ReadOutcome {
    let (min, max) = (queue.min_offset(), queue.max_offset());
    let mut outcome = ReadOutcome {
        status: ReadStatus::NoMatch,
        records: SmallVec::new(),
        total_bytes: 0,
        next_offset: from,
        min_offset: min,
        max_offset: max,
        behind_bytes: 0,
    };
    let bound = if max == 0 {
        Some((ReadStatus::NoMessageInQueue, 0))
    } else if from < min {
        Some((ReadStatus::OffsetTooSmall, min))
    } else if from == max {
        Some((ReadStatus::AtEnd, max))
    } else if from > max {
        Some((ReadStatus::OffsetTooBig, max))
    } else {
        None
    };
    if let Some((status, next)) = bound {
        outcome.status = status;
        outcome.next_offset = next;
        return outcome;
    }

    let confirmed = log.files.positions.confirmed.load(Ordering::Acquire);
    let hot_from = confirmed.saturating_sub(log.config.hot_bytes);
    let checked_from = hot_from.max(log.files.positions.checked_from.load(Ordering::Relaxed));
    let mut located = SmallVec::new();
    let mut scanned = 0;
    let mut next = from;
    'read: while outcome.records.len() < limits.messages_max
        && scanned < limits.scan_entries_max
        && next < max
    {
        located.clear();
        let wanted = LOOK_UP.min(limits.scan_entries_max - scanned);
        let Ok(after) = log.dispatcher.locate(queue, next, wanted, &mut located) else {
            // The run that knows is damaged and is being rebuilt from the log.
            outcome.status = ReadStatus::Removed;
            break;
        };
        if located.is_empty() && after <= next {
            outcome.status = ReadStatus::Removed;
            break;
        }
        for entry in &located {
            if outcome.records.len() >= limits.messages_max {
                break 'read;
            }
            scanned += 1;
            if !filter.by_tag(entry.tag_hash) {
                next = entry.offset + 1;
                continue;
            }
            let size = entry.size as usize;
            if !outcome.records.is_empty() && outcome.total_bytes + size > limits.bytes_max {
                break 'read;
            }
            let Some(segment) = log.files.segment(entry.position) else {
                outcome.status = ReadStatus::Removed;
                next = entry.offset + 1;
                continue;
            };
            let cold = entry.position < hot_from;
            if cold && temperature == Temperature::MayWait && outcome.records.is_empty() {
                segment.will_need(
                    entry.position,
                    COLD_READ_BYTES.min(confirmed - entry.position),
                );
            }
            if cold
                && temperature == Temperature::HotOnly
                && !segment.is_resident(entry.position, u64::from(entry.size))
            {
                if outcome.records.is_empty() {
                    outcome.status = ReadStatus::Cold;
                }
                break 'read;
            }
            next = entry.offset + 1;
            let Some(slice) = segment.view(entry.position, u64::from(entry.size)) else {
                continue;
            };
            // What this process wrote or replayed is intact; what was on the disk for long may have decayed.
            if entry.position < checked_from
                && let Err(error) = check(&slice, entry.position)
            {
                log.files.report_damage(
                    entry.position,
                    entry.position + u64::from(entry.size),
                    &error.to_string(),
                );
                continue;
            }
            if filter.needs_record()
                && !RecordView::parse(&slice).is_ok_and(|record| filter.by_record(&record))
            {
                continue;
            }
            outcome.total_bytes += size;
            outcome.behind_bytes = confirmed.saturating_sub(entry.position + u64::from(entry.size));
            outcome.records.push(RecordSlice::new(slice));
        }
        next = next.max(after);
    }
    if !outcome.records.is_empty() {
        outcome.status = ReadStatus::Found;
    }
    outcome.next_offset = next;
    outcome
}
