//! Offsets of groups (14, 15) and bounds of queues (29 to 32).

use std::sync::Arc;

use rmq_protocol::code::ResponseCode;
use rmq_protocol::header::NoFields;
use rmq_protocol::requests::{
    GetEarliestMsgStoretime, GetMaxOffset, GetMinOffset, OffsetReply, QueryConsumerOffset,
    SearchOffsetByTimestamp, TimestampReply, UpdateConsumerOffset,
};
use rmq_store::{Boundary, QueueRef};
use rmq_transport::Exchange;

use super::decode;
use crate::audit;
use crate::broker::Broker;
use crate::reply;

/// A group that never committed begins at the first message that the topic ever had in this queue, while that message is still
/// there; then it misses none. Otherwise 22 makes the client decide by its own setting, also when there never was a message
/// (apache/rocketmq `ConsumerManageProcessor.queryConsumerOffset`, where topics begin at 0).
pub(crate) fn query(broker: &Broker, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<QueryConsumerOffset<'_>>(exchange) else {
        return;
    };
    if let Some(offset) =
        broker
            .offsets
            .get(&request.topic, &request.consumer_group, request.queue_id)
    {
        return exchange.ok(&OffsetReply { offset });
    }
    let queue = broker
        .topics
        .get(&request.topic)
        .and_then(|topic| topic.queue(request.queue_id).cloned());
    let first = queue.filter(|queue| {
        let first = queue.first_offset();
        queue.min_offset() <= first && queue.max_offset() > first && broker.is_in_memory(queue)
    });
    if let Some(first) = first
        && request.set_zero_if_not_found != Some(false)
    {
        let offset = first.first_offset();
        return exchange.ok(&OffsetReply { offset });
    }
    exchange.fail(
        ResponseCode::QueryNotFound,
        format!(
            "Not found, maybe this group consumer boot first: group {}, topic {}, queue {}",
            request.consumer_group, request.topic, request.queue_id
        ),
    );
}

pub(crate) fn update(broker: &Broker, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<UpdateConsumerOffset<'_>>(exchange) else {
        return;
    };
    if broker.groups.get(&request.consumer_group).is_none() {
        return exchange.fail(
            ResponseCode::SubscriptionGroupNotExist,
            format!("Group {} not exist!", request.consumer_group),
        );
    }
    let Some(topic) = broker.topics.get(&request.topic) else {
        return exchange.fail(
            ResponseCode::TopicNotExist,
            format!("Topic {} not exist!", request.topic),
        );
    };
    if topic.queue(request.queue_id).is_none() {
        return exchange.fail(
            ResponseCode::InvalidParameter,
            format!(
                "topic {} has no queue {}; it has {}",
                request.topic,
                request.queue_id,
                topic.queues.len()
            ),
        );
    }
    if request.commit_offset < 0 {
        return exchange.fail(
            ResponseCode::SystemError,
            format!("the offset {} is negative", request.commit_offset),
        );
    }
    let (topic, group) = (&request.topic, &request.consumer_group);
    let (queue_id, offset) = (request.queue_id, request.commit_offset);
    let is_member = broker
        .sessions
        .consumer(group)
        .is_some_and(|group| group.has(exchange.peer.id()));
    // Members tell their progress. A client that is no member changes where the members continue.
    let before = (!is_member).then(|| broker.offsets.of(topic, group));
    let stored = if exchange.header.is_one_way() {
        // Nobody hears of a refusal.
        broker.offsets.commit_anyway(topic, group, queue_id, offset);
        Ok(())
    } else {
        broker.offsets.commit(topic, group, queue_id, offset)
    };
    if let Some(before) = before {
        let after = broker.offsets.of(topic, group);
        let asker = audit::asker(exchange);
        audit::offsets(&asker, "offset set", topic, group, &before, &after);
    }
    match stored {
        Ok(()) => exchange.ok(&NoFields),
        Err(error) => exchange.fail(
            reply::of_progress(&error),
            format!("the offset is not stored: {error}"),
        ),
    }
}

/// The queue of a request; answers itself when there is none.
fn queue(
    broker: &Broker,
    exchange: &mut Exchange<'_>,
    topic: &str,
    queue_id: i32,
) -> Option<QueueRef> {
    let found = broker.topics.get(topic);
    let Some(found) = found else {
        exchange.fail(
            ResponseCode::TopicNotExist,
            format!("topic[{topic}] not exist, apply first please!"),
        );
        return None;
    };
    let queue = found.queue(queue_id).cloned();
    if queue.is_none() {
        exchange.fail(
            ResponseCode::InvalidParameter,
            format!(
                "topic {topic} has no queue {queue_id}; it has {}",
                found.queues.len()
            ),
        );
    }
    queue
}

pub(crate) fn max(broker: &Broker, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<GetMaxOffset<'_>>(exchange) else {
        return;
    };
    if let Some(queue) = queue(broker, exchange, &request.topic, request.queue_id) {
        exchange.ok(&OffsetReply {
            offset: queue.max_offset(),
        });
    }
}

pub(crate) fn min(broker: &Broker, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<GetMinOffset<'_>>(exchange) else {
        return;
    };
    if let Some(queue) = queue(broker, exchange, &request.topic, request.queue_id) {
        exchange.reply(
            ResponseCode::Success,
            Some("".into()),
            &OffsetReply {
                offset: queue.min_offset(),
            },
            &[],
        );
    }
}

/// May wait for the disk, so it runs elsewhere.
pub(crate) fn by_time(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<SearchOffsetByTimestamp<'_>>(exchange) else {
        return;
    };
    let boundary = if request.is_upper() {
        Boundary::Upper
    } else {
        Boundary::Lower
    };
    let timestamp = request.timestamp;
    let Some(queue) = queue(broker, exchange, &request.topic, request.queue_id) else {
        return;
    };
    broker.run_blocking(exchange.park(), move |broker, reply| {
        match broker.store.offset_by_time(&queue, timestamp, boundary) {
            Ok(offset) => reply.ok(&OffsetReply { offset: offset.0 }),
            Err(error) => reply.fail(reply::of_read(&error), error.to_string()),
        }
    });
}

pub(crate) fn earliest(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<GetEarliestMsgStoretime<'_>>(exchange) else {
        return;
    };
    let Some(queue) = queue(broker, exchange, &request.topic, request.queue_id) else {
        return;
    };
    broker.run_blocking(exchange.park(), move |broker, reply| {
        reply.ok(&TimestampReply {
            timestamp: broker.store.earliest_store_time(&queue).unwrap_or(-1),
        });
    });
}
