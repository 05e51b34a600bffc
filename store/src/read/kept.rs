//! Reading what compaction topics keep of messages whose segments are gone.

use std::sync::atomic::Ordering;

use rmq_protocol::message::{RecordView, property, tag_hash};

use super::outcome::{
    EntryFilter, ReadLimits, ReadOutcome, ReadStatus, RecordSlice, SCAN_BYTES_MAX,
};
use crate::commit_log::{CommitLog, check};
use crate::queue::QueueRef;

/// Reads what is kept below `end`. Whether the read continues there.
pub(super) fn read(
    outcome: &mut ReadOutcome,
    log: &CommitLog,
    queue: &QueueRef,
    end: i64,
    limits: &ReadLimits,
    filter: &dyn EntryFilter,
) -> bool {
    let confirmed = log.files.positions.confirmed.load(Ordering::Acquire);
    let from = outcome.next_offset;
    let (mut scanned, mut looked_at) = (0, 0);
    let mut stopped_at = None;
    let mut visit = |offset: i64, bytes: &[u8]| {
        let fits =
            outcome.records.is_empty() || outcome.total_bytes + bytes.len() <= limits.bytes_max;
        let goes_on = outcome.records.len() < limits.messages_max
            && scanned < limits.scan_entries_max
            && looked_at < SCAN_BYTES_MAX;
        if !fits || !goes_on {
            stopped_at = Some(offset);
            return false;
        }
        scanned += 1;
        looked_at += bytes.len();
        let Some(view) = intact(queue, offset, bytes) else {
            return true;
        };
        let tag = view.property(property::TAGS).map_or(0, tag_hash);
        if !filter.by_tag(tag) || (filter.needs_record() && !filter.by_record(&view)) {
            return true;
        }
        outcome.total_bytes += bytes.len();
        let position = view.position().0;
        outcome.behind_bytes = confirmed.saturating_sub(position + bytes.len() as u64);
        outcome.records.push(RecordSlice::new(bytes.to_vec()));
        true
    };
    let looked = log.dispatcher.kept(queue, from, end, &mut visit);
    if let Err(error) = looked {
        tracing::error!(?queue, %error, "what is kept of the queue cannot be read");
        if outcome.records.is_empty() {
            outcome.status = ReadStatus::Unavailable;
            return false;
        }
        // What was read is right; the next read continues behind it.
        let last = outcome.records.last().and_then(RecordSlice::view);
        stopped_at = last.map(|last| last.queue_offset().0 + 1);
    }
    outcome.next_offset = stopped_at.unwrap_or(end);
    if outcome.records.is_empty() {
        return stopped_at.is_none();
    }
    outcome.status = ReadStatus::Found;
    false
}

/// The record, if it is what was copied.
fn intact<'a>(queue: &QueueRef, offset: i64, bytes: &'a [u8]) -> Option<RecordView<'a>> {
    let view = RecordView::parse(bytes).ok()?;
    match check(bytes, view.position().0) {
        Ok(()) => Some(view),
        Err(error) => {
            tracing::error!(?queue, offset, %error, "a message that is kept is damaged, and passed over");
            None
        }
    }
}
