//! A consumer could not handle a message and gives it back: it comes again later, or goes to the dead letters.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rmq_protocol::message::{LogPosition, OffsetMessageId, RecordView, properties, property};
use rmq_protocol::names::SCHEDULE_TOPIC;
use rmq_store::{AppendError, QueueRef};

use super::copy::{self, Copy};
use super::refusal::{SendBackRefusal, TopicWithoutQueue};
use super::send::{check_permission, group_for};
use super::way::{self, Retry, Way};
use crate::audit::Origin;
use crate::broker::Broker;
use crate::groups::{self, Group};
use crate::requester::Requester;

/// Bytes of a reason that are kept.
const REASON_BYTES_MAX: usize = 1_024;
/// Room in the properties for what later steps write beside the reason, bytes.
const REASON_SLACK: usize = 512;

/// A message that is given back, and how it comes again.
pub(crate) struct SendBack {
    /// Where the message is in the log.
    pub(crate) position: i64,
    /// 0: the broker chooses; negative: the consumer gives the message up.
    pub(crate) delay_level: i32,
    /// The last try; absent: the group's setting counts.
    pub(crate) max_attempts: Option<i32>,
    /// The topic that the consumer says it got the message of.
    pub(crate) origin_topic: Option<String>,
    /// Why the consumer gives the message up.
    pub(crate) reason: Option<String>,
    /// Who asks, where rules count: the consumer gets a copy of the message, whichever it is.
    pub(crate) requester: Option<Requester>,
}

/// The group that gives messages back, made when that is allowed.
///
/// # Errors
/// The broker takes no messages, or there is no such group.
pub(crate) fn group(
    broker: &Broker,
    origin: &dyn Origin,
    name: &str,
) -> Result<Arc<Group>, SendBackRefusal> {
    let group = group_for(broker, origin, name)?;
    check_permission(broker)?;
    broker.member.check_writes()?;
    Ok(group)
}

/// Stores the copy that comes again, or the dead letter. `done` is called when the copy is as safe as an acknowledged message, when the time
/// for that is up, or when the copy is refused. May wait for the disk.
pub(crate) fn send_back(
    broker: &Broker,
    group: &Group,
    back: &SendBack,
    done: impl FnOnce(Result<(), SendBackRefusal>) + Send + 'static,
) {
    match store(broker, group, back) {
        Ok(end) => {
            let done = Box::new(move |stored: Result<(), AppendError>| {
                done(stored.map_err(SendBackRefusal::Store));
            });
            let acks = &broker.member.acks;
            acks.settle(&broker.store, &*broker.clock, end, done);
        }
        Err(refusal) => done(Err(refusal)),
    }
}

/// Stores the copy; its end in the log.
fn store(broker: &Broker, group: &Group, back: &SendBack) -> Result<LogPosition, SendBackRefusal> {
    let position = back.position;
    let known = u64::try_from(position).map_err(|_| SendBackRefusal::Negative(position))?;
    let record = broker.store.record_at(LogPosition(known));
    let record = record.map_err(|error| SendBackRefusal::Read { position, error })?;
    let view = record.view().ok_or(SendBackRefusal::Damaged(position))?;
    if let Some(requester) = &back.requester {
        requester.may_consume(broker, &view)?;
    }
    let text = view.properties();
    let origin_topic = properties::get(text, property::RETRY_TOPIC).unwrap_or(view.topic());
    let tries_max = back.max_attempts.unwrap_or(group.config.retry_max_times);
    let tries = view.reconsume_times();
    let retry = Retry {
        tries,
        tries_max,
        delay_level: match back.delay_level {
            0 => level_by_policy(broker, group, tries),
            level => level,
        },
    };
    let way = way::of_given_back(retry, group.gives_up_at_once());
    let topic = match way {
        Way::DeadLetter => broker.dead_letter_topic(group.name()),
        Way::Delay(_) | Way::Timer | Way::Queue | Way::Half => {
            broker.retry_topic(group.name(), group.config.retry_queue_nums)
        }
    };
    let topic = topic.map_err(|error| SendBackRefusal::Topic(Box::new(error)))?;
    let queue_id = broker.random_queue(topic.config.write_queue_nums);
    let queue = topic.queue(queue_id);
    let queue = queue.ok_or_else(|| TopicWithoutQueue(topic.name().to_owned()))?;
    let kept = kept_properties(&view, origin_topic);

    let counters = group.counters();
    let mut level_queue = None;
    let appended = match way {
        Way::Delay(level) => {
            let now = broker.clock_watch.look_to_store(&broker.store);
            let delayed = broker.delay.park(now, &kept, topic.name(), queue_id, level);
            level_queue = Some(delayed.queue.queue_id());
            let copy = copy_of(&view, SCHEDULE_TOPIC, &delayed.queue, &delayed.properties);
            copy.append(broker.store.master()?)
        }
        Way::DeadLetter | Way::Timer | Way::Queue | Way::Half => {
            counters.dead_letters.fetch_add(1, Ordering::Relaxed);
            // Where it waited before stays, as in the original's dead letters.
            let mut kept = copy::with(&kept, &[(property::DELAY, Some("0"))]);
            if let Some(reason) = &back.reason {
                kept = with_reason(kept, reason);
            }
            let copy = copy_of(&view, topic.name(), queue, &kept);
            copy.append(broker.store.master()?)
        }
    };
    let appended = appended?;
    let size = appended.size.into();
    count(broker, group, back, origin_topic, level_queue, size);
    Ok(appended.end)
}

/// The delay level that the group's retry policy asks for; 0 when it leaves that to the number of tries.
fn level_by_policy(broker: &Broker, group: &Group, tries: i32) -> i32 {
    let policy = group.config.group_retry_policy.to_value();
    let wait_ms = groups::retry_delay_ms(&policy, tries);
    wait_ms.map_or(0, |wait_ms| {
        groups::level_of(&broker.config.delays_ms(), wait_ms)
    })
}

fn copy_of<'a>(
    of: &'a RecordView<'a>,
    topic: &'a str,
    queue: &'a QueueRef,
    properties: &'a str,
) -> Copy<'a> {
    Copy {
        of,
        topic,
        queue,
        properties,
        reconsume_times: of.reconsume_times().saturating_add(1),
        ends: None,
        further: &[],
    }
}

/// The properties of the message, with those by which it is known where it comes from.
fn kept_properties(view: &RecordView<'_>, origin_topic: &str) -> String {
    let text = view.properties();
    // The first copy's offset id, whatever the request says: Java consumers send the unique key there (apache/rocketmq
    // `AbstractSendMessageProcessor.consumerSendMsgBack`).
    let origin_id = match properties::get(text, property::ORIGIN_MESSAGE_ID) {
        Some(id) => id.to_owned(),
        None => OffsetMessageId {
            host: view.store_host(),
            position: view.position(),
        }
        .to_string(),
    };
    copy::with(
        text,
        &[
            (property::RETRY_TOPIC, Some(origin_topic)),
            (property::ORIGIN_MESSAGE_ID, Some(&origin_id)),
            (property::WAIT, Some("false")),
            (property::DELAY, None),
        ],
    )
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
fn count(
    broker: &Broker,
    group: &Group,
    back: &SendBack,
    topic: &str,
    level_queue: Option<i32>,
    size: u64,
) {
    let stats = &broker.stats;
    stats.appended(1, size);
    let given = group.counters().given(topic);
    given.sent_back.add(&stats.sampler, [1, 1]);
    if let Some(level_queue) = level_queue {
        stats.delayed.add(stats, level_queue, [1, size, 1]);
        if let Some(delayed) = broker.topics.get(SCHEDULE_TOPIC) {
            delayed.counters().put.add(&stats.sampler, [1, size, 1]);
        }
    } else if let Some(origin) = &back.origin_topic {
        let given = group.counters().given(origin);
        given.given_up.add(&stats.sampler, [1, 1]);
    }
}
