//! The index of a queue as tools see it: 321.

use std::sync::Arc;

use rmq_protocol::bodies::{ConsumeQueueBody, ConsumeQueueData};
use rmq_protocol::code::ResponseCode;
use rmq_protocol::message::{QueueOffset, properties, property, tag_hash};
use rmq_protocol::requests::QueryConsumeQueue;
use rmq_store::{AllMessages, QueueRef, ReadLimits, Temperature};
use rmq_transport::Exchange;

use crate::broker::Broker;
use crate::handlers::decode;

/// Store time of one message of a queue, Unix milliseconds. May wait for the disk.
pub(crate) fn store_time(broker: &Broker, queue: &QueueRef, offset: i64) -> Option<i64> {
    let one = ReadLimits {
        messages_max: 1,
        bytes_max: 1,
        scan_entries_max: 1,
    };
    let outcome = broker.store.read(
        queue,
        QueueOffset(offset),
        one,
        &AllMessages,
        Temperature::MayWait,
    );
    outcome
        .records
        .first()
        .and_then(|record| record.view().map(|view| view.store_ms()))
}

pub(crate) fn entries(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<QueryConsumeQueue<'_>>(exchange) else {
        return;
    };
    let queue = broker
        .topics
        .get(&request.topic)
        .and_then(|topic| topic.queue(request.queue_id).cloned());
    let Some(queue) = queue else {
        return exchange.fail(
            ResponseCode::SystemError,
            format!(
                "the queue {}-{} of the topic is not exist!",
                request.topic, request.queue_id
            ),
        );
    };
    let count = usize::try_from(request.count)
        .unwrap_or(0)
        .clamp(1, broker.limits.pull_messages);
    // A negative one means the last entries (apache/rocketmq `AdminBrokerProcessor.queryConsumeQueue`).
    let from = if request.index < 0 {
        (queue.max_offset() - count as i64).max(queue.min_offset())
    } else {
        request.index
    };
    let subscription = request
        .consumer_group
        .as_deref()
        .and_then(|group| broker.sessions.consumer(group))
        .and_then(|group| group.subscription(&request.topic))
        .map(|subscription| subscription.data.clone());
    broker.run_blocking(exchange.park(), move |broker, reply| {
        let limits = ReadLimits {
            messages_max: count,
            bytes_max: broker.limits.pull_bytes,
            scan_entries_max: count,
        };
        let outcome = broker.store.read(
            &queue,
            QueueOffset(from),
            limits,
            &AllMessages,
            Temperature::MayWait,
        );
        let queue_data = outcome
            .records
            .iter()
            .filter_map(|record| record.view())
            .map(|view| ConsumeQueueData {
                bit_map: None,
                eval: true,
                extend_data_json: None,
                msg: None,
                physic_offset: view.position().0 as i64,
                physic_size: view.size() as i32,
                tags_code: properties::get(view.properties(), property::TAGS).map_or(0, tag_hash),
            })
            .collect();
        let body = ConsumeQueueBody {
            filter_data: None,
            max_queue_index: queue.max_offset(),
            min_queue_index: queue.min_offset(),
            queue_data,
            subscription_data: subscription,
        };
        reply.ok_body(&(), &body.to_json());
    });
}
