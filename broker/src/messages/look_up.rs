//! Looking messages up: by key or unique key, by position, and the time of one message.

use std::sync::Arc;

use rmq_protocol::message::{LogPosition, QueueOffset};
use rmq_store::{AllMessages, KeyKind, QueueRef, ReadLimits, ReadStatus, RecordSlice, Temperature};

use super::by_tag::{self, ByTag};
use super::refusal::LookUpRefusal;
use crate::broker::Broker;
use crate::limits;

/// One message, whatever its size.
const ONE: ReadLimits = ReadLimits {
    messages_max: 1,
    bytes_max: 1,
    scan_entries_max: 1,
};

/// What of a message is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LookUp {
    /// A key, or the unique key, as in the original, whose index does not tell them apart.
    AnyKey,
    UniqueKey,
    Tag,
}

/// Which messages are wanted.
pub(crate) struct ByKey {
    pub(crate) topic: String,
    pub(crate) key: String,
    pub(crate) kind: LookUp,
    /// 1 to [`limits::QUERY_MAX`] of them.
    pub(crate) messages_max: i32,
    /// Stored from this time on, Unix milliseconds.
    pub(crate) from_ms: i64,
    /// Stored until this time, Unix milliseconds.
    pub(crate) to_ms: i64,
}

/// Gives as many of the messages with a key as an answer holds, the oldest of them first. `give` is called on a thread that may wait; what
/// it is given counts as what waits to be sent.
pub(crate) fn by_key(
    broker: &Arc<Broker>,
    wanted: ByKey,
    give: impl FnOnce(&Broker, Result<Vec<RecordSlice>, LookUpRefusal>) + Send + 'static,
) {
    let then = Arc::clone(broker);
    broker
        .memory
        .when_room(limits::QUERY_BYTES_MAX, move |room| {
            let broker = Arc::clone(&then);
            then.run_blocking(move || {
                give(&broker, find(&broker, &wanted));
                drop(room);
            });
        });
}

fn find(broker: &Broker, wanted: &ByKey) -> Result<Vec<RecordSlice>, LookUpRefusal> {
    let max = usize::try_from(wanted.messages_max).unwrap_or(0);
    let max = max.clamp(1, limits::QUERY_MAX);
    let (topic, key) = (wanted.topic.as_str(), wanted.key.as_str());
    let (from, to) = (wanted.from_ms, wanted.to_ms);
    let with = |kind| broker.store.find_by_key(topic, key, kind, max, from, to);
    let mut found = match wanted.kind {
        LookUp::AnyKey => {
            let any = newest_first(with(KeyKind::Key), with(KeyKind::UniqueKey));
            that_fit(any.take(max))
        }
        LookUp::UniqueKey => that_fit(with(KeyKind::UniqueKey)),
        LookUp::Tag => by_tag::find(
            broker,
            &ByTag {
                topic,
                tag: key,
                max,
                from_ms: from,
                to_ms: to,
            },
        )?,
    };
    if found.is_empty() {
        return Err(LookUpRefusal::NothingFound);
    }
    // The newest are found, and the oldest of them comes first (apache/rocketmq `DefaultMessageStore.queryMessage`).
    found.reverse();
    Ok(found)
}

/// As many as an answer holds.
fn that_fit(records: impl Iterator<Item = RecordSlice>) -> Vec<RecordSlice> {
    let mut bytes = 0;
    let mut found: Vec<RecordSlice> = Vec::new();
    for record in records {
        bytes += record.len();
        if bytes > limits::QUERY_BYTES_MAX && !found.is_empty() {
            break;
        }
        found.push(record);
    }
    found
}

/// What two look-ups find, newest first, each message once.
fn newest_first(
    one: impl Iterator<Item = RecordSlice>,
    other: impl Iterator<Item = RecordSlice>,
) -> impl Iterator<Item = RecordSlice> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    let position = |record: &RecordSlice| record.view().map(|view| view.position());
    std::iter::from_fn(move || {
        let ours = one.peek().and_then(position);
        let theirs = other.peek().and_then(position);
        if ours == theirs {
            other.next();
        }
        if ours >= theirs {
            one.next()
        } else {
            other.next()
        }
    })
}

/// The message at a position of the log. May wait for the disk.
///
/// # Errors
/// There is none, or it cannot be read.
pub(crate) fn by_position(broker: &Broker, position: i64) -> Result<RecordSlice, LookUpRefusal> {
    let known = u64::try_from(position).map_err(|_| LookUpRefusal::Negative(position))?;
    let found = broker.store.record_at(LogPosition(known));
    found.map_err(|error| LookUpRefusal::Read(position, error))
}

/// When a message of a queue was stored, Unix milliseconds. May wait for the disk.
pub(crate) fn store_time(broker: &Broker, queue: &QueueRef, offset: i64) -> Option<i64> {
    let (offset, wait) = (QueueOffset(offset), Temperature::MayWait);
    let outcome = broker.store.read(queue, offset, ONE, &AllMessages, wait);
    let record = outcome.records.first()?;
    Some(record.view()?.store_ms())
}

/// Whether the first message of a queue is in memory.
pub(crate) fn is_in_memory(broker: &Broker, queue: &QueueRef) -> bool {
    let (first, hot) = (QueueOffset(queue.min_offset()), Temperature::HotOnly);
    let outcome = broker.store.read(queue, first, ONE, &AllMessages, hot);
    outcome.status != ReadStatus::Cold
}
