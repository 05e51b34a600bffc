//! Reading a queue: from the index to record bytes, with a filter, within limits.

mod buffer;
mod fetch;
mod kept;
mod outcome;
pub(crate) mod resident;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use crate::commit_log::{CommitLog, check};
use crate::derived::look_up::Located;
use crate::queue::QueueRef;
pub use fetch::Temperature;
use fetch::{Fetch, Fetched};
pub use outcome::{AllMessages, EntryFilter, ReadLimits, ReadOutcome, ReadStatus, RecordSlice};
use outcome::{SCAN_BYTES_MAX, Source};

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
        None if from < queue.log_min() => {
            read_compacted(&mut outcome, log, queue, limits, filter, temperature);
        }
        None => {
            read_into(&mut outcome, log, queue, limits, filter, temperature);
            // Its segment went meanwhile, and something of it was kept.
            if queue.log_min() > from && queue.has_kept() {
                begin_again(&mut outcome, from);
                read_compacted(&mut outcome, log, queue, limits, filter, temperature);
            }
        }
    }
    outcome
}

/// Reads what is kept of a compaction topic whose segments are gone, and where none of that is wanted the log behind.
#[cold]
fn read_compacted(
    outcome: &mut ReadOutcome,
    log: &CommitLog,
    queue: &QueueRef,
    limits: ReadLimits,
    filter: &dyn EntryFilter,
    temperature: Temperature,
) {
    loop {
        let end = queue.log_min();
        if outcome.next_offset < end {
            // A table is never asked for what is in memory.
            if temperature == Temperature::HotOnly {
                outcome.status = ReadStatus::Cold;
                return;
            }
            if !kept::read(outcome, log, queue, end, &limits, filter) {
                return;
            }
        }
        let from = outcome.next_offset;
        if from >= outcome.max_offset {
            return;
        }
        read_into(outcome, log, queue, limits, filter, temperature);
        if queue.log_min() <= from {
            return;
        }
        // More of the log went meanwhile.
        begin_again(outcome, from);
    }
}

/// Takes back what a read has found.
fn begin_again(outcome: &mut ReadOutcome, from: i64) {
    outcome.status = ReadStatus::NoMatch;
    outcome.records.clear();
    (outcome.total_bytes, outcome.behind_bytes) = (0, 0);
    outcome.next_offset = from;
}

fn read_into(
    outcome: &mut ReadOutcome,
    log: &CommitLog,
    queue: &QueueRef,
    limits: ReadLimits,
    filter: &dyn EntryFilter,
    temperature: Temperature,
) {
    let segments = log.files.segments_now();
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
