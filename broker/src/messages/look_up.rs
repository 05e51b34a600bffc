//! Looking messages up: by key or unique key, by position, and the time of one message.

use std::sync::Arc;

use rmq_protocol::message::{LogPosition, QueueOffset};
use rmq_store::{AllMessages, KeyKind, QueueRef, ReadLimits, ReadStatus, RecordSlice, Temperature};

use super::refusal::LookUpRefusal;
use crate::broker::Broker;
use crate::limits;

/// One message, whatever its size.
const ONE: ReadLimits = ReadLimits {
    messages_max: 1,
    bytes_max: 1,
    scan_entries_max: 1,
};

/// Which messages are wanted.
pub(crate) struct ByKey {
    pub(crate) topic: String,
    pub(crate) key: String,
    pub(crate) kind: KeyKind,
    /// 1 to [`limits::QUERY_MAX`] of them; a look-up by unique key brings the broker's own number, as upstream's.
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
    let max = match wanted.kind {
        KeyKind::UniqueKey => limits::QUERY_MAX / 2,
        KeyKind::Key => usize::try_from(wanted.messages_max)
            .unwrap_or(0)
            .clamp(1, limits::QUERY_MAX),
    };
    let (topic, key) = (&wanted.topic, &wanted.key);
    let (from, to) = (wanted.from_ms, wanted.to_ms);
    let records = broker
        .store
        .find_by_key(topic, key, wanted.kind, max, from, to);
    let mut bytes = 0;
    let mut found: Vec<RecordSlice> = Vec::new();
    for record in records {
        bytes += record.len();
        if bytes > limits::QUERY_BYTES_MAX && !found.is_empty() {
            break;
        }
        found.push(record);
    }
    if found.is_empty() {
        return Err(LookUpRefusal::NothingFound);
    }
    // The newest are found, and the oldest of them comes first (apache/rocketmq `DefaultMessageStore.queryMessage`).
    found.reverse();
    Ok(found)
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
