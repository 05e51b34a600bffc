//! The bounds of a queue: its first and last offset, and the offset of a time.

use rmq_store::{Boundary, QueueRef};

use super::refusal::OffsetRefusal;
use crate::broker::Broker;

/// The queue, which knows its first and its last offset.
///
/// # Errors
/// There is no such topic or queue.
pub(crate) fn queue(
    broker: &Broker,
    topic: &str,
    queue_id: i32,
) -> Result<QueueRef, OffsetRefusal> {
    let Some(found) = broker.topics.get(topic) else {
        return Err(OffsetRefusal::NoTopicYet(topic.to_owned()));
    };
    let queue = found.queue(queue_id).cloned();
    queue.ok_or_else(|| OffsetRefusal::NoQueue {
        topic: topic.to_owned(),
        queue_id,
        queues: found.queues.len(),
    })
}

/// The offset of a time, Unix milliseconds. May wait for the disk.
///
/// # Errors
/// The index of the queue, or the log, cannot be read.
pub(crate) fn by_time(
    broker: &Broker,
    queue: &QueueRef,
    time_ms: i64,
    boundary: Boundary,
) -> Result<i64, OffsetRefusal> {
    let found = broker.store.offset_by_time(queue, time_ms, boundary)?;
    Ok(found.0)
}

/// When the first message of a queue was stored, Unix milliseconds; -1 without a message. May wait for the disk.
pub(crate) fn earliest_ms(broker: &Broker, queue: &QueueRef) -> i64 {
    broker.store.earliest_store_time(queue).unwrap_or(-1)
}
