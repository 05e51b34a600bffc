//! Reading a queue: from the index to record bytes, with a filter, within limits.

mod buffer;
mod fetch;
pub(crate) mod resident;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rmq_protocol::message::RecordView;
use smallvec::SmallVec;

use crate::commit_log::{CommitLog, check};
use crate::derived::look_up::Located;
use crate::queue::QueueRef;
use crate::segment::Segment;
use buffer::Buffer;
pub use fetch::Temperature;
use fetch::{Fetch, Fetched};

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
    source: Source,
    len: usize,
}

#[derive(Clone)]
enum Source {
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

/// Entries looked up at once.
const LOOK_UP: usize = 32;
/// Bytes of messages that one read shows to a filter that looks at messages: bounds the work of one that matches little. The message that
/// goes beyond is looked at.
const SCAN_BYTES_MAX: usize = 16 << 20;

pub(crate) fn read(
    log: &CommitLog,
    queue: &QueueRef,
    from: i64,
    limits: ReadLimits,
    filter: &dyn EntryFilter,
    temperature: Temperature,
) -> ReadOutcome {
    let (min, max) = (queue.min_offset(), queue.max_offset());
    // It is large, and so are the lists of a look-up: they are filled where they lie.
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
    match bound {
        Some((status, next)) => (outcome.status, outcome.next_offset) = (status, next),
        None => read_into(&mut outcome, log, queue, limits, filter, temperature),
    }
    outcome
}

fn read_into(
    outcome: &mut ReadOutcome,
    log: &CommitLog,
    queue: &QueueRef,
    limits: ReadLimits,
    filter: &dyn EntryFilter,
    temperature: Temperature,
) {
    let segments = log.files.segments();
    let confirmed = log.files.positions.confirmed.load(Ordering::Acquire);
    let fetch = Fetch {
        segments: &segments,
        temperature,
        hot_from: confirmed.saturating_sub(log.config.hot_bytes),
        confirmed,
        resident: &log.resident,
    };
    let max = outcome.max_offset;
    let mut located = SmallVec::new();
    let mut chosen = Chosen::default();
    let mut scanned = 0;
    let mut looked_at = 0;
    while outcome.records.len() < limits.messages_max
        && scanned < limits.scan_entries_max
        && looked_at < SCAN_BYTES_MAX
        && outcome.next_offset < max
    {
        located.clear();
        let wanted = LOOK_UP.min(limits.scan_entries_max - scanned);
        let next = outcome.next_offset;
        let after = match log.dispatcher.locate(queue, next, wanted, &mut located) {
            Ok(after) if after > next => after,
            _ => {
                outcome.status = ReadStatus::Unavailable;
                break;
            }
        };
        choose(&mut chosen, &located, outcome, &limits, filter);
        scanned += chosen.scanned;
        if filter.needs_record() {
            looked_at += chosen.bytes();
        }
        let complete = take(log, &fetch, &chosen.entries, outcome, &limits, filter);
        if !complete {
            break;
        }
        match chosen.stopped_at {
            Some(offset) if chosen.entries.is_empty() || !filter.needs_record() => {
                outcome.next_offset = offset;
                break;
            }
            Some(offset) => outcome.next_offset = offset,
            None => outcome.next_offset = after,
        }
    }
    if !outcome.records.is_empty() {
        outcome.status = ReadStatus::Found;
    }
}

/// Which of the located entries to read.
#[derive(Default)]
struct Chosen {
    entries: SmallVec<[Located; 32]>,
    scanned: usize,
    /// The offset of the first entry that the limits left out.
    stopped_at: Option<i64>,
}

impl Chosen {
    fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.size as usize).sum()
    }
}

fn choose(
    chosen: &mut Chosen,
    located: &[Located],
    so_far: &ReadOutcome,
    limits: &ReadLimits,
    filter: &dyn EntryFilter,
) {
    chosen.entries.clear();
    (chosen.scanned, chosen.stopped_at) = (0, None);
    let mut bytes = so_far.total_bytes;
    for entry in located {
        let messages = so_far.records.len() + chosen.entries.len();
        // Of what a filter looks at, nobody knows yet how many are wanted.
        if messages >= limits.messages_max && !filter.needs_record() {
            chosen.stopped_at = Some(entry.offset);
            break;
        }
        if filter.by_tag(entry.tag_hash) {
            let size = entry.size as usize;
            if messages > 0 && bytes + size > limits.bytes_max {
                chosen.stopped_at = Some(entry.offset);
                break;
            }
            bytes += size;
            chosen.entries.push(*entry);
        }
        chosen.scanned += 1;
    }
}

/// Reads the chosen entries into the outcome. False when the read ends here: the next one is not in memory, or there are enough.
fn take(
    log: &CommitLog,
    fetch: &Fetch<'_>,
    entries: &[Located],
    outcome: &mut ReadOutcome,
    limits: &ReadLimits,
    filter: &dyn EntryFilter,
) -> bool {
    if entries.is_empty() {
        return true;
    }
    let mut fetched = SmallVec::new();
    let buffer = fetch.records(entries, &mut fetched).map(Arc::new);
    let checked_from = log.files.positions.checked_from.load(Ordering::Relaxed);
    let checked_from = fetch.hot_from.max(checked_from);
    for (entry, fetched) in entries.iter().zip(fetched.drain(..)) {
        if outcome.records.len() >= limits.messages_max {
            outcome.next_offset = entry.offset;
            return false;
        }
        let end = entry.end();
        let source = match fetched {
            Fetched::Mapped(segment) => Source::Mapped(segment, entry.position),
            Fetched::At(at) => match &buffer {
                Some(buffer) => Source::Read(Arc::clone(buffer), at),
                None => continue,
            },
            Fetched::Cold => {
                if outcome.records.is_empty() {
                    outcome.status = ReadStatus::Cold;
                }
                outcome.next_offset = entry.offset;
                return false;
            }
            Fetched::Unreadable(error) => {
                let reason = format!("it cannot be read: {error}");
                log.files.report_damage(entry.position, end, &reason);
                continue;
            }
            Fetched::Removed => {
                outcome.status = ReadStatus::Removed;
                continue;
            }
        };
        let record = RecordSlice {
            source,
            len: entry.size as usize,
        };
        // What this process wrote or replayed is intact; what was on the disk for long may have decayed.
        if entry.position < checked_from
            && let Err(error) = check(&record, entry.position)
        {
            log.files
                .report_damage(entry.position, end, &error.to_string());
            continue;
        }
        if filter.needs_record() && !record.view().is_some_and(|view| filter.by_record(&view)) {
            continue;
        }
        outcome.total_bytes += record.len;
        outcome.behind_bytes = fetch.confirmed.saturating_sub(end);
        outcome.records.push(record);
    }
    true
}
