//! Looking messages up by tag. The index of keys has no tags: the entries of a queue have the tag's hash, and are searched from the newest on.

use std::collections::VecDeque;

use rmq_protocol::message::{QueueOffset, RecordView, property, tag_hash};
use rmq_store::{Boundary, EntryFilter, QueueRef, ReadLimits, RecordSlice, Temperature};

use super::refusal::LookUpRefusal;
use crate::broker::Broker;
use crate::limits;

/// Entries of all queues of a topic that one look-up by tag searches.
pub(crate) const SEARCHED_MAX: i64 = 4_000_000;
/// Entries that are searched first, and the most that are searched at once: where there are few with the tag, steps grow.
const STEP_MIN: i64 = 64;
const STEP_MAX: i64 = 16_384;

/// Which messages are wanted.
pub(super) struct ByTag<'a> {
    pub(super) topic: &'a str,
    pub(super) tag: &'a str,
    pub(super) max: usize,
    /// Stored from this time on, Unix milliseconds.
    pub(super) from_ms: i64,
    /// Stored until this time, Unix milliseconds.
    pub(super) to_ms: i64,
}

struct Filter<'a> {
    wanted: &'a ByTag<'a>,
    hash: i64,
}

impl EntryFilter for Filter<'_> {
    fn by_tag(&self, tag_hash: i64) -> bool {
        tag_hash == self.hash
    }

    fn needs_record(&self) -> bool {
        true
    }

    fn by_record(&self, record: &RecordView<'_>) -> bool {
        let in_time = (self.wanted.from_ms..=self.wanted.to_ms).contains(&record.store_ms());
        in_time && record.property(property::TAGS) == Some(self.wanted.tag)
    }
}

/// The newest of them, newest first, as many as an answer holds. May wait for the disk.
///
/// # Errors
/// There are none among the entries that were searched.
pub(super) fn find(broker: &Broker, wanted: &ByTag<'_>) -> Result<Vec<RecordSlice>, LookUpRefusal> {
    let Some(topic) = broker.topics.get(wanted.topic) else {
        return Err(LookUpRefusal::NothingFound);
    };
    let each = SEARCHED_MAX / i64::try_from(topic.queues.len().max(1)).unwrap_or(i64::MAX);
    let mut newest = Newest::new(wanted.max);
    let mut is_complete = true;
    for queue in topic.queues.iter() {
        is_complete &= search(broker, queue, wanted, each.max(STEP_MIN), &mut newest);
    }
    if !newest.records.is_empty() {
        return Ok(newest.records);
    }
    Err(match is_complete {
        true => LookUpRefusal::NothingFound,
        false => LookUpRefusal::TagNotFound {
            tag: wanted.tag.to_owned(),
            searched: each,
        },
    })
}

/// Searches `entries_max` entries of a queue. Whether that was all there is.
fn search(
    broker: &Broker,
    queue: &QueueRef,
    wanted: &ByTag<'_>,
    entries_max: i64,
    newest: &mut Newest,
) -> bool {
    let at = |ms| broker.store.offset_by_time(queue, ms, Boundary::Lower);
    let first = at(wanted.from_ms).map_or_else(|_| queue.min_offset(), |found| found.0);
    let after = at(wanted.to_ms.saturating_add(1));
    let mut end = after.map_or_else(|_| queue.max_offset(), |found| found.0);
    let least = first.max(end - entries_max);
    let filter = Filter {
        wanted,
        hash: tag_hash(wanted.tag),
    };
    let mut found = 0;
    let mut step = STEP_MIN;
    while end > least && found < wanted.max {
        let begin = least.max(end - step);
        let part = between(broker, queue, begin, end, wanted.max - found, &filter);
        found += part.len();
        newest.add(part);
        end = begin;
        step = (step * 2).min(STEP_MAX);
    }
    found >= wanted.max || least == first
}

/// The newest messages between two offsets, oldest first.
fn between(
    broker: &Broker,
    queue: &QueueRef,
    begin: i64,
    end: i64,
    max: usize,
    filter: &Filter<'_>,
) -> VecDeque<RecordSlice> {
    let mut found: VecDeque<RecordSlice> = VecDeque::new();
    let mut bytes = 0;
    let mut at = begin;
    while at < end {
        let limits = ReadLimits {
            messages_max: limits::QUERY_MAX,
            bytes_max: limits::QUERY_BYTES_MAX,
            scan_entries_max: usize::try_from(end - at).unwrap_or(usize::MAX),
        };
        let from = QueueOffset(at);
        let read = broker
            .store
            .read(queue, from, limits, filter, Temperature::MayWait);
        for record in read.records {
            bytes += record.len();
            found.push_back(record);
            while found.len() > max || (bytes > limits::QUERY_BYTES_MAX && found.len() > 1) {
                bytes -= found.pop_front().map_or(0, |oldest| oldest.len());
            }
        }
        if read.next_offset <= at {
            // It cannot be read now: what was found is shown.
            break;
        }
        at = read.next_offset;
    }
    found
}

/// The newest messages of several queues, newest first, as many as an answer holds.
struct Newest {
    max: usize,
    records: Vec<RecordSlice>,
}

impl Newest {
    fn new(max: usize) -> Self {
        Self {
            max,
            records: Vec::new(),
        }
    }

    fn add(&mut self, records: VecDeque<RecordSlice>) {
        if records.is_empty() {
            return;
        }
        self.records.extend(records);
        let position = |record: &RecordSlice| record.view().map(|view| view.position());
        self.records
            .sort_unstable_by_key(|record| std::cmp::Reverse(position(record)));
        self.records.truncate(self.max);
        let mut bytes = 0;
        let fit = self.records.iter().take_while(|record| {
            bytes += record.len();
            bytes <= limits::QUERY_BYTES_MAX
        });
        let fit = fit.count().max(1);
        self.records.truncate(fit);
    }
}
