//! A consumer could not handle a message and gives it back (36): it comes again later, or goes to the dead letters.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rmq_protocol::code::ResponseCode;
use rmq_protocol::message::{LogPosition, OffsetMessageId, properties, property, tag_hash};
use rmq_protocol::names::SCHEDULE_TOPIC;
use rmq_protocol::requests::ConsumerSendMsgBack;
use rmq_protocol::route::perm;
use rmq_store::NewMessage;
use rmq_transport::{Exchange, PendingReply};

use super::decode;
use crate::audit;
use crate::broker::Broker;
use crate::copy;
use crate::groups::Group;
use crate::reply;

/// Bytes of a reason that are kept.
const REASON_BYTES_MAX: usize = 1_024;
/// Room in the properties for what later steps write beside the reason, bytes.
const REASON_SLACK: usize = 512;

/// What is to come back, and how.
struct SendBack {
    position: i64,
    delay_level: i32,
    max_attempts: i32,
    /// The topic that the consumer says it got the message of.
    origin_topic: Option<String>,
    /// Why the consumer gives it up.
    reason: Option<String>,
    group: Arc<Group>,
}

pub(crate) fn handle(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<ConsumerSendMsgBack<'_>>(exchange) else {
        return;
    };
    let group = match audit::group_of(broker, exchange, &request.group) {
        Ok(group) => group,
        Err(error) => {
            return exchange.fail(
                reply::of_group(&error),
                format!("subscription group not exist, {}: {error}", request.group),
            );
        }
    };
    if !perm::is_writable(broker.permission()) {
        return exchange.fail(ResponseCode::NoPermission, broker.sending_forbidden());
    }
    let back = SendBack {
        position: request.offset,
        delay_level: request.delay_level,
        max_attempts: request
            .max_reconsume_times
            .unwrap_or(group.config.retry_max_times),
        origin_topic: request.origin_topic.as_deref().map(str::to_owned),
        reason: request.dead_letter_reason.as_deref().map(str::to_owned),
        group,
    };
    broker.run_blocking(exchange.park(), move |broker, reply| {
        store(broker, &back, reply)
    });
}

fn store(broker: &Arc<Broker>, back: &SendBack, answer: PendingReply) {
    let record = match u64::try_from(back.position)
        .map(|position| broker.store.record_at(LogPosition(position)))
    {
        Ok(Ok(record)) => record,
        Ok(Err(error)) => {
            return answer.fail(
                ResponseCode::SystemError,
                format!("look message by offset failed, {}: {error}", back.position),
            );
        }
        Err(_) => {
            return answer.fail(
                ResponseCode::SystemError,
                format!(
                    "look message by offset failed, {}: it is negative",
                    back.position
                ),
            );
        }
    };
    let Some(view) = record.view() else {
        return answer.fail(
            ResponseCode::SystemError,
            format!("look message by offset failed, {}", back.position),
        );
    };
    let text = view.properties();
    let group = back.group.name();
    let own_id = OffsetMessageId {
        host: view.store_host(),
        position: view.position(),
    }
    .to_string();
    let origin_topic = properties::get(text, property::RETRY_TOPIC)
        .unwrap_or(view.topic())
        .to_owned();
    // The first copy's offset id, whatever the request says: Java consumers send the unique key there (apache/rocketmq
    // `AbstractSendMessageProcessor.consumerSendMsgBack`).
    let origin_id =
        properties::get(text, property::ORIGIN_MESSAGE_ID).map_or(own_id, str::to_owned);

    let gives_up = view.reconsume_times() >= back.max_attempts
        || back.delay_level < 0
        || back.group.gives_up_at_once();
    let topic = if gives_up {
        broker.dead_letter_topic(group)
    } else {
        broker.retry_topic(group, back.group.config.retry_queue_nums)
    };
    let topic = match topic {
        Ok(topic) => topic,
        Err(error) => return answer.fail(reply::of_topic(&error), error.to_string()),
    };
    if gives_up {
        back.group
            .counters
            .dead_letters
            .fetch_add(1, Ordering::Relaxed);
    }
    let queue_id = broker.random_queue(topic.config.write_queue_nums);
    let Some(queue) = topic.queue(queue_id) else {
        return answer.fail(
            ResponseCode::SystemError,
            format!("topic {} has no queue", topic.name()),
        );
    };
    let mut kept = copy::with(
        text,
        &[
            (property::RETRY_TOPIC, Some(&origin_topic)),
            (property::ORIGIN_MESSAGE_ID, Some(&origin_id)),
            (property::WAIT, Some("false")),
            (property::DELAY, None),
        ],
    );
    let delayed;
    let mut level_queue = None;
    let (mut topic_name, mut queue, tag) = (
        topic.name(),
        queue,
        properties::get(&kept, property::TAGS).map_or(0, tag_hash),
    );
    if gives_up {
        // Where it waited before stays, as in the original's dead letters.
        kept = copy::with(&kept, &[(property::DELAY, Some("0"))]);
        if let Some(reason) = &back.reason {
            kept = with_reason(kept, reason);
        }
    } else {
        // Level 3 is ten seconds: the first retry, then longer with each.
        let level = if back.delay_level > 0 {
            back.delay_level
        } else {
            view.reconsume_times().saturating_add(3)
        };
        delayed = broker.delay.park(
            broker.clock_watch.look_to_store(&broker.store),
            &kept,
            topic.name(),
            queue_id,
            level,
        );
        kept.clone_from(&delayed.properties);
        (topic_name, queue) = (SCHEDULE_TOPIC, &delayed.queue);
        level_queue = Some(delayed.queue.queue_id());
    }
    let appended = broker.store.append_again(&NewMessage {
        queue,
        topic: topic_name,
        flag: view.flag(),
        sys_flag: view.sys_flag(),
        born_ms: view.born_ms(),
        born_host: view.born_host(),
        reconsume_times: view.reconsume_times().saturating_add(1),
        prepared_position: 0,
        body: view.body(),
        properties: kept.as_bytes(),
        tag_hash: tag,
        keys: properties::get(&kept, property::KEYS).unwrap_or_default(),
        unique_key: properties::get(&kept, property::UNIQ_KEY).unwrap_or_default(),
    });
    match appended {
        Ok(appended) => {
            count(
                broker,
                back,
                &origin_topic,
                level_queue,
                appended.size.into(),
            );
            let flush = broker.store.flush_mode();
            broker.store.when_acked(
                appended.end,
                Box::new(move |stored| match stored {
                    Ok(()) => answer.ok(&()),
                    Err(error) => answer.fail(reply::of_append(&error, flush), error.to_string()),
                }),
            );
        }
        Err(error) => answer.fail(
            reply::of_append(&error, broker.store.flush_mode()),
            error.to_string(),
        ),
    }
}

/// The properties with as much of the reason as fits beside them.
fn with_reason(kept: String, reason: &str) -> String {
    let separators = 2;
    let taken = kept.len() + property::DEAD_LETTER_REASON.len() + separators;
    let room = properties::PROPERTIES_BYTES_MAX.saturating_sub(taken + REASON_SLACK);
    let reason = &reason[..reason.floor_char_boundary(room.min(REASON_BYTES_MAX))];
    if reason.is_empty() || !properties::is_clean(reason) {
        return kept;
    }
    copy::with(&kept, &[(property::DEAD_LETTER_REASON, Some(reason))])
}

/// Counts a message that was given back, or given up when it went to no delay level.
fn count(broker: &Broker, back: &SendBack, topic: &str, level_queue: Option<i32>, size: u64) {
    let stats = &broker.stats;
    stats.appended(1, size);
    let given = back.group.counters.given(topic);
    given.sent_back.add(&stats.sampler, [1, 1]);
    if let Some(level_queue) = level_queue {
        stats.delayed.add(stats, level_queue, [1, size, 1]);
        if let Some(delayed) = broker.topics.get(SCHEDULE_TOPIC) {
            delayed.counters.put.add(&stats.sampler, [1, size, 1]);
        }
    } else if let Some(origin) = &back.origin_topic {
        let given = back.group.counters.given(origin);
        given.given_up.add(&stats.sampler, [1, 1]);
    }
}
