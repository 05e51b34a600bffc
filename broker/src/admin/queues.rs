//! The index of a queue as tools see it.

use rmq_protocol::bodies::{ConsumeQueueBody, ConsumeQueueData};
use rmq_protocol::message::{QueueOffset, properties, property, tag_hash};
use rmq_store::{AllMessages, QueueRef, ReadLimits, Temperature};

use super::refusal::TopicRefusal;
use crate::broker::Broker;

/// A queue whose index is asked for.
///
/// # Errors
/// There is no such queue.
pub(crate) fn queue(broker: &Broker, topic: &str, queue_id: i32) -> Result<QueueRef, TopicRefusal> {
    let found = broker.topics.get(topic);
    let queue = found.and_then(|topic| topic.queue(queue_id).cloned());
    queue.ok_or_else(|| TopicRefusal::NoQueue {
        topic: topic.to_owned(),
        queue_id,
    })
}

/// At most `count` entries of a queue from an offset on. A negative one means the last entries (apache/rocketmq
/// `AdminBrokerProcessor.queryConsumeQueue`). May wait for the disk.
pub(crate) fn entries(
    broker: &Broker,
    queue: &QueueRef,
    from: i64,
    count: i32,
) -> ConsumeQueueBody {
    let count = usize::try_from(count)
        .unwrap_or(0)
        .clamp(1, broker.limits.pull_messages);
    let from = if from < 0 {
        (queue.max_offset() - count as i64).max(queue.min_offset())
    } else {
        from
    };
    let limits = ReadLimits {
        messages_max: count,
        bytes_max: broker.limits.pull_bytes,
        scan_entries_max: count,
    };
    let (from, wait) = (QueueOffset(from), Temperature::MayWait);
    let outcome = broker.store.read(queue, from, limits, &AllMessages, wait);
    let views = outcome.records.iter().filter_map(|record| record.view());
    let entries = views.map(|view| ConsumeQueueData {
        bit_map: None,
        // Only entries with a bit map are evaluated, as in the original, and there are none.
        eval: false,
        extend_data_json: None,
        msg: None,
        physic_offset: view.position().0 as i64,
        physic_size: view.size() as i32,
        tags_code: properties::get(view.properties(), property::TAGS).map_or(0, tag_hash),
    });
    ConsumeQueueBody {
        filter_data: None,
        max_queue_index: queue.max_offset(),
        min_queue_index: queue.min_offset(),
        queue_data: entries.collect(),
        subscription_data: None,
    }
}
