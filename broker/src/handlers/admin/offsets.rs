//! Offsets by decree: 222, 314; all of them: 43, 45.

use std::sync::Arc;

use rmq_protocol::bodies::{
    ConsumerOffsetTable, QueueOffsetForC, ResetOffsetBody, ResetOffsetBodyForC,
};
use rmq_protocol::code::ResponseCode;
use rmq_protocol::header::Language;
use rmq_protocol::names;
use rmq_protocol::requests::{CloneGroupOffset, InvokeBrokerToResetOffset};
use rmq_store::Boundary;
use rmq_transport::{Exchange, PendingReply};

use super::queue_name;
use crate::audit;
use crate::broker::Broker;
use crate::handlers::{decode, pull};
use crate::reply;
use crate::topics::Topic;

/// Sets a group's offsets; its clients are told at their next pull. No client needs to be online.
pub(crate) fn reset(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<InvokeBrokerToResetOffset<'_>>(exchange) else {
        return;
    };
    let Some(topic) = broker.topics.get(&request.topic) else {
        return exchange.fail(
            ResponseCode::TopicNotExist,
            format!("Topic {} does not exist", request.topic),
        );
    };
    if broker.groups.get(&request.group).is_none() {
        return exchange.fail(
            ResponseCode::SubscriptionGroupNotExist,
            format!("Group {} not exist!", request.group),
        );
    }
    let group = request.group.to_string();
    let (timestamp, force) = (request.timestamp, request.is_force.unwrap_or(true));
    let (one_queue, offset) = (request.queue_id.unwrap_or(-1), request.offset);
    let for_c = exchange.header.language == Language::Cpp;
    let asker = audit::asker(exchange);
    broker.run_blocking(exchange.park(), move |broker, reply| {
        let mut resets = Vec::new();
        for queue in topic.queues.iter().filter(|queue| one_queue < 0 || queue.queue_id() == one_queue) {
            let (min, max) = (queue.min_offset(), queue.max_offset());
            let wanted = match offset {
                Some(offset) if one_queue >= 0 && offset >= 0 => {
                    if !(min..=max).contains(&offset) {
                        return reply.fail(
                            ResponseCode::SystemError,
                            format!("Target offset {offset} is outside of queue {one_queue} of {}: {min} to {max}", topic.name()),
                        );
                    }
                    offset
                }
                _ if timestamp < 0 => max,
                _ => match broker.store.offset_by_time(queue, timestamp, Boundary::Lower) {
                    Ok(offset) => offset.0,
                    Err(error) => return reply.fail(reply::of_read(&error), error.to_string()),
                },
            };
            let now = broker.offsets.get(topic.name(), &group, queue.queue_id());
            // One queue is moved to where it is told: the Java client names it without `isForce`, after moving it already.
            if force || one_queue >= 0 || now.is_none_or(|now| wanted < now) {
                resets.push((queue.queue_id(), wanted));
            }
        }
        if one_queue >= 0 && resets.is_empty() {
            return reply.fail(ResponseCode::SystemError, format!("topic {} has no queue {one_queue}", topic.name()));
        }
        let then = Arc::clone(broker);
        broker.run_task(async move {
            let before = then.offsets.of(topic.name(), &group);
            let done = then.offsets.reset(topic.name(), &group, &resets).await;
            if done.is_ok() {
                let mut after = before.clone();
                after.extend(resets.iter().copied());
                audit::offsets(&asker, "offsets reset", topic.name(), &group, &before, &after);
            }
            match done {
                Ok(()) => after_reset(&then, &topic, &group, &resets, for_c, reply),
                Err(error) => reply.fail(reply::of_settings(&error), error.to_string()),
            }
        });
    });
}

/// Tells the members, and the caller.
fn after_reset(
    broker: &Arc<Broker>,
    topic: &Topic,
    group: &str,
    resets: &[(i32, i64)],
    for_c: bool,
    reply: PendingReply,
) {
    // Members learn of it with their next pull: those that wait for messages are answered now.
    for queue in topic.queues.iter() {
        for waiter in broker.waiters.take_of_group(queue, group) {
            pull::end_waiting(broker, waiter);
        }
    }
    let body = if for_c {
        let offset_table = resets
            .iter()
            .map(|(queue_id, offset)| QueueOffsetForC {
                broker_name: broker.config.broker_name.clone(),
                offset: *offset,
                queue_id: *queue_id,
                topic: topic.name().to_owned(),
            })
            .collect();
        ResetOffsetBodyForC { offset_table }.to_json()
    } else {
        let offset_table = resets
            .iter()
            .map(|(queue_id, offset)| (queue_name(broker, topic.name(), *queue_id), *offset))
            .collect();
        ResetOffsetBody { offset_table }.to_json()
    };
    reply.ok_body(&(), &body);
}

pub(crate) fn clone(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<CloneGroupOffset<'_>>(exchange) else {
        return;
    };
    let (from, to) = (request.src_group.as_ref(), request.dest_group.as_ref());
    if let Err(error) = names::validate_group(to) {
        return exchange.fail(
            ResponseCode::InvalidParameter,
            format!("field destGroup: {error}"),
        );
    }
    let topics = match request.topic.as_deref().filter(|topic| !topic.is_empty()) {
        Some(topic) => vec![topic.to_owned()],
        None => broker.offsets.topics_of(from),
    };
    let (from, to) = (from.to_owned(), to.to_owned());
    let asker = audit::asker(exchange);
    let reply = exchange.park();
    let then = Arc::clone(broker);
    broker.run_task(async move {
        let of = |topic: &String| then.offsets.of(topic, &to);
        let before: Vec<_> = topics.iter().map(of).collect();
        match then.offsets.clone_group(&topics, &from, &to).await {
            Ok(()) => {
                for (topic, before) in topics.iter().zip(&before) {
                    let what = "offsets copied from another group";
                    audit::offsets(&asker, what, topic, &to, before, &of(topic));
                }
                reply.ok(&());
            }
            Err(error) => reply.fail(reply::of_settings(&error), error.to_string()),
        }
    });
}

pub(crate) fn all(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let table = ConsumerOffsetTable {
        data_version: None,
        offset_table: broker.offsets.all(),
    };
    exchange.ok_body(&(), &table.to_json());
}

pub(crate) fn delays(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let table: std::collections::BTreeMap<usize, i64> = broker
        .delay
        .progress()
        .into_iter()
        .map(|(level, next, _)| (level, next))
        .collect();
    match serde_json::to_vec(&serde_json::json!({ "offsetTable": table })) {
        Ok(body) => exchange.ok_body(&(), &body),
        Err(error) => exchange.fail(ResponseCode::SystemError, error.to_string()),
    }
}
