//! Pulling: 11 and 361. Order of the checks and meaning of the codes: apache/rocketmq `PullMessageProcessor`.

use std::borrow::Cow;
use std::sync::Arc;

use rmq_protocol::bodies::MessageModel;
use rmq_protocol::code::ResponseCode;
use rmq_protocol::header::{FieldSink, FieldSource};
use rmq_protocol::message::QueueOffset;
use rmq_protocol::requests::{PullMessage, PullMessageReply, Request, pull_flag, pull_status};
use rmq_protocol::route::{MASTER_ID, perm};
use rmq_store::{QueueRef, ReadLimits, ReadOutcome, ReadStatus, Temperature};
use rmq_transport::{Exchange, PendingReply, Room};

use super::refuse_fields;
use crate::audit;
use crate::broker::Broker;
use crate::filter::Filter;
use crate::groups::{GivenCounters, Group};
use crate::limits;
use crate::reply;
use crate::topics::Topic;
use crate::waiters::{Parked, Waiter};

/// A pull that passed all checks: what to read, for whom.
#[derive(Debug, Clone)]
pub(crate) struct PullPlan {
    pub(crate) queue: QueueRef,
    pub(crate) offset: i64,
    pub(crate) filter: Filter,
    limits: ReadLimits,
    topic: Arc<Topic>,
    group: Arc<Group>,
    given: Arc<GivenCounters>,
    /// How long to wait for a message, milliseconds; 0 answers at once.
    suspend_ms: i64,
    /// An administrator has set the offset: the client is told to go there.
    moved_to: Option<i64>,
    /// The version of the subscription that the client knew, when the filter is not the request's own.
    subscribed: Option<i64>,
}

impl PullPlan {
    /// The group that pulls.
    pub(crate) fn group(&self) -> &str {
        self.group.name()
    }
}

/// The answer to a pull, but for its records.
struct Answer {
    code: ResponseCode,
    status: &'static str,
    fields: PullMessageReply,
}

/// Why a pull is not served.
struct Refusal {
    code: ResponseCode,
    remark: Cow<'static, str>,
    /// Who forbids it, when it is forbidden.
    by: Option<Forbidden>,
}

/// Values of the field `forbiddenType` (apache/rocketmq `ForbiddenType`).
#[derive(Clone, Copy)]
enum Forbidden {
    Broker = 1,
    Group = 2,
    Topic = 3,
    Broadcast = 4,
    Subscription = 5,
}

impl Refusal {
    fn new(code: ResponseCode, remark: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            remark: remark.into(),
            by: None,
        }
    }

    fn forbidden(by: Forbidden, remark: String) -> Self {
        Self {
            code: ResponseCode::NoPermission,
            remark: remark.into(),
            by: Some(by),
        }
    }
}

impl FieldSource for Refusal {
    fn visit(&self, sink: &mut dyn FieldSink) {
        if let Some(by) = self.by {
            sink.int("forbiddenType", by as i64);
        }
    }
}

pub(crate) fn handle(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let header = exchange.header;
    let request = match PullMessage::decode(&header.fields) {
        Ok(request) => request,
        Err(error) => return refuse_fields(exchange, &error),
    };
    let plan = match plan(broker, exchange, &request) {
        Ok(plan) => plan,
        Err(mut refusal) => {
            let remark = std::mem::take(&mut refusal.remark);
            return exchange.reply(refusal.code, Some(remark), &refusal, &[]);
        }
    };
    if let Some(offset) = plan.moved_to {
        let fields = PullMessageReply {
            next_begin_offset: offset,
            ..bounds(&plan)
        };
        return exchange.reply(
            ResponseCode::PullOffsetMoved,
            Some(pull_status::OFFSET_TOO_SMALL.into()),
            &fields,
            &[],
        );
    }
    let began_ms = broker.monotonic_ms();
    let outcome = read(broker, &plan, Temperature::HotOnly);
    match next_step(broker, &plan, &outcome) {
        Step::Answer if !broker.memory.has_room(outcome.total_bytes) => {
            give_when_room(broker, plan, outcome.total_bytes, exchange.park());
        }
        Step::Answer => {
            let answer = answer(&plan, &outcome);
            exchange.reply_with_body(
                answer.code,
                Some(answer.status.into()),
                &answer.fields,
                outcome.total_bytes,
                |out| copy_records(&outcome, out),
            );
            count(broker, &plan, &outcome, began_ms);
        }
        Step::Wait => {
            broker.stats.pull_missed();
            wait(broker, plan, exchange.park().untimed(), began_ms);
        }
        Step::ReadCold => read_cold(broker, plan, exchange.park()),
    }
}

enum Step {
    Answer,
    Wait,
    ReadCold,
}

fn next_step(broker: &Broker, plan: &PullPlan, outcome: &ReadOutcome) -> Step {
    match outcome.status {
        ReadStatus::Cold => Step::ReadCold,
        ReadStatus::AtEnd if plan.suspend_ms > 0 && !broker.is_stopping() => Step::Wait,
        ReadStatus::NoMessageInQueue
            if plan.offset == 0 && plan.suspend_ms > 0 && !broker.is_stopping() =>
        {
            Step::Wait
        }
        _ => Step::Answer,
    }
}

fn read(broker: &Broker, plan: &PullPlan, temperature: Temperature) -> ReadOutcome {
    broker.store.read(
        &plan.queue,
        QueueOffset(plan.offset),
        plan.limits,
        &plan.filter,
        temperature,
    )
}

fn wait(broker: &Arc<Broker>, plan: PullPlan, reply: PendingReply, now_ms: i64) {
    let deadline_ms = now_ms + plan.suspend_ms;
    park(
        broker,
        Waiter {
            plan,
            reply,
            deadline_ms,
        },
    );
}

fn park(broker: &Arc<Broker>, waiter: Waiter) {
    let peer = waiter.reply.peer().id();
    match broker.waiters.park(waiter) {
        Parked::Arrived(waiter) => again(broker, *waiter),
        // The stop has set its mark before it took everybody: whoever comes later sees it here.
        Parked::Waiting if broker.is_stopping() => {
            for waiter in broker.waiters.take_of(Some(peer)) {
                end_waiting(broker, waiter);
            }
        }
        Parked::Waiting => {}
    }
}

/// A waiting pull looks again: something arrived in its queue.
pub(crate) fn again(broker: &Arc<Broker>, waiter: Waiter) {
    let Some(waiter) = still_allowed(broker, waiter) else {
        return;
    };
    let began_ms = broker.monotonic_ms();
    let outcome = read(broker, &waiter.plan, Temperature::HotOnly);
    match outcome.status {
        // Another reader of the same records was faster to see them, or they are not visible yet.
        ReadStatus::AtEnd | ReadStatus::NoMessageInQueue
            if !broker.is_stopping() && began_ms < waiter.deadline_ms =>
        {
            park(broker, waiter);
        }
        ReadStatus::Cold => read_cold(broker, waiter.plan, waiter.reply),
        // More than one read may scan lies between what it waited for and what came: the client asks again from there.
        _ => give(broker, waiter.plan, outcome, waiter.reply, began_ms),
    }
}

/// Asks again for everything that may have changed while the pull waited, and answers it when it is not allowed any more.
fn still_allowed(broker: &Broker, mut waiter: Waiter) -> Option<Waiter> {
    match check_again(broker, &mut waiter.plan) {
        Ok(()) => Some(waiter),
        Err(mut refusal) => {
            let remark = std::mem::take(&mut refusal.remark);
            waiter
                .reply
                .reply(refusal.code, Some(remark), &refusal, &[]);
            None
        }
    }
}

fn check_again(broker: &Broker, plan: &mut PullPlan) -> Result<(), Refusal> {
    let name = plan.topic.name();
    check_broker(broker)?;
    let group = broker
        .groups
        .get(plan.group())
        .ok_or_else(|| no_group(plan.group(), "it was deleted"))?;
    check_group(&group)?;
    let topic = check_topic(broker, name)?;
    check_queue(&topic, plan.queue.queue_id(), group.name())?;
    check_pair(&group, name)?;
    if let Some(version) = plan.subscribed {
        plan.filter = subscribed(broker, &group, name, version)?;
    }
    (plan.group, plan.topic) = (group, topic);
    Ok(())
}

/// A waiting pull is answered with what there is: its time is up, or the broker stops.
pub(crate) fn end_waiting(broker: &Arc<Broker>, waiter: Waiter) {
    let Some(waiter) = still_allowed(broker, waiter) else {
        return;
    };
    let began_ms = broker.monotonic_ms();
    let outcome = read(broker, &waiter.plan, Temperature::HotOnly);
    if outcome.status == ReadStatus::Cold {
        read_cold(broker, waiter.plan, waiter.reply);
    } else {
        give(broker, waiter.plan, outcome, waiter.reply, began_ms);
    }
}

/// Reads what is not in memory, when connections leave room for it: what is read counts from before the read until it is sent.
fn read_cold(broker: &Arc<Broker>, plan: PullPlan, reply: PendingReply) {
    let then = Arc::clone(broker);
    broker.memory.when_room(plan.limits.bytes_max, move |room| {
        read_in(&then, plan, reply, room, false);
    });
}

/// Reads on a thread that may wait for the disk. `is_last`: the room is for just these messages, and they are given whatever they take.
fn read_in(broker: &Arc<Broker>, plan: PullPlan, reply: PendingReply, room: Room, is_last: bool) {
    let then = Arc::clone(broker);
    // Shared, so that the answer is still here when the pool has no room for the job.
    let handed = Arc::new(parking_lot::Mutex::new(Some((plan, reply))));
    let theirs = Arc::clone(&handed);
    let spawned = broker.store.cold_pool().spawn(move || {
        let job = theirs.lock().take();
        if let Some((plan, reply)) = job {
            let began_ms = then.monotonic_ms();
            let outcome = read(&then, &plan, Temperature::MayWait);
            if is_last || outcome.total_bytes <= room.bytes() {
                give_now(&then, &plan, &outcome, reply, began_ms);
            } else {
                // The first message is given whatever its size.
                drop(room);
                give(&then, plan, outcome, reply, began_ms);
            }
        }
    });
    if let Err(full) = spawned
        && let Some((_, reply)) = handed.lock().take()
    {
        reply.fail(ResponseCode::SystemBusy, full.to_string());
    }
}

/// Answers when other connections hold less; what was read is given back until then.
fn give_when_room(broker: &Arc<Broker>, plan: PullPlan, bytes: usize, reply: PendingReply) {
    let then = Arc::clone(broker);
    broker.memory.when_room(bytes, move |room| {
        let broker = Arc::clone(&then);
        then.run_task(async move {
            let began_ms = broker.monotonic_ms();
            let outcome = read(&broker, &plan, Temperature::HotOnly);
            if outcome.status == ReadStatus::Cold {
                read_in(&broker, plan, reply, room, true);
            } else {
                give_now(&broker, &plan, &outcome, reply, began_ms);
                drop(room);
            }
        });
    });
}

fn give(
    broker: &Arc<Broker>,
    plan: PullPlan,
    outcome: ReadOutcome,
    reply: PendingReply,
    began_ms: i64,
) {
    if broker.memory.has_room(outcome.total_bytes) {
        give_now(broker, &plan, &outcome, reply, began_ms);
    } else {
        let bytes = outcome.total_bytes;
        drop(outcome);
        give_when_room(broker, plan, bytes, reply);
    }
}

fn give_now(
    broker: &Broker,
    plan: &PullPlan,
    outcome: &ReadOutcome,
    reply: PendingReply,
    began_ms: i64,
) {
    let answer = answer(plan, outcome);
    count(broker, plan, outcome, began_ms);
    reply.reply_with_body(
        answer.code,
        Some(answer.status.into()),
        &answer.fields,
        outcome.total_bytes,
        |out| copy_records(outcome, out),
    );
}

fn copy_records(outcome: &ReadOutcome, out: &mut bytes::BytesMut) {
    for record in &outcome.records {
        out.extend_from_slice(record);
    }
}

fn count(broker: &Broker, plan: &PullPlan, outcome: &ReadOutcome, began_ms: i64) {
    let stats = &broker.stats;
    let (messages, bytes) = (outcome.records.len() as u64, outcome.total_bytes as u64);
    if messages == 0 {
        return stats.pull_missed();
    }
    plan.given.got.add(&stats.sampler, [messages, bytes, 1]);
    stats.delivered(plan.topic.is_system(), messages);
    let took_ms = (broker.monotonic_ms() - began_ms).max(0);
    let took = [took_ms as u64, 1];
    plan.given.get_took.add(stats, plan.queue.queue_id(), took);
    stats.read_took(took_ms);
}

fn answer(plan: &PullPlan, outcome: &ReadOutcome) -> Answer {
    use pull_status as status;
    let (code, status, next) = match outcome.status {
        ReadStatus::Found => (ResponseCode::Success, status::FOUND, outcome.next_offset),
        ReadStatus::NoMatch => (
            ResponseCode::PullRetryImmediately,
            status::NO_MATCHED_MESSAGE,
            outcome.next_offset,
        ),
        ReadStatus::Removed | ReadStatus::Cold => (
            ResponseCode::PullRetryImmediately,
            status::MESSAGE_WAS_REMOVING,
            outcome.next_offset,
        ),
        // Not one of the codes at which clients ask again at once.
        ReadStatus::Unavailable => (
            ResponseCode::SystemError,
            "the index of this queue cannot be read, nor written again from the log, for now; the broker's log says why",
            outcome.next_offset,
        ),
        ReadStatus::AtEnd => (
            ResponseCode::PullNotFound,
            status::OFFSET_OVERFLOW_ONE,
            outcome.next_offset,
        ),
        ReadStatus::NoMessageInQueue if plan.offset == 0 => {
            (ResponseCode::PullNotFound, status::NO_MESSAGE_IN_QUEUE, 0)
        }
        ReadStatus::NoMessageInQueue => (
            ResponseCode::PullOffsetMoved,
            status::NO_MESSAGE_IN_QUEUE,
            0,
        ),
        ReadStatus::OffsetTooSmall => (
            ResponseCode::PullOffsetMoved,
            status::OFFSET_TOO_SMALL,
            outcome.min_offset,
        ),
        ReadStatus::OffsetTooBig => (
            ResponseCode::PullOffsetMoved,
            status::OFFSET_OVERFLOW_BADLY,
            outcome.max_offset,
        ),
    };
    let fields = PullMessageReply {
        next_begin_offset: next,
        min_offset: outcome.min_offset,
        max_offset: outcome.max_offset,
        ..bounds(plan)
    };
    Answer {
        code,
        status,
        fields,
    }
}

fn bounds(plan: &PullPlan) -> PullMessageReply {
    PullMessageReply {
        suggest_which_broker_id: MASTER_ID,
        next_begin_offset: plan.offset,
        min_offset: plan.queue.min_offset(),
        max_offset: plan.queue.max_offset(),
        offset_delta: None,
        topic_sys_flag: Some(plan.topic.config.topic_sys_flag),
        group_sys_flag: Some(plan.group.config.group_sys_flag),
        forbidden_type: None,
    }
}

fn check_broker(broker: &Broker) -> Result<(), Refusal> {
    if perm::is_readable(broker.permission()) {
        return Ok(());
    }
    let remark = format!(
        "the broker[{}] pulling message is forbidden",
        broker.identity.addr
    );
    Err(Refusal::forbidden(Forbidden::Broker, remark))
}

fn check_group(group: &Group) -> Result<(), Refusal> {
    if group.config.consume_enable {
        return Ok(());
    }
    let remark = format!("subscription group no permission, {}", group.name());
    Err(Refusal::forbidden(Forbidden::Group, remark))
}

fn no_group(group: &str, why: impl std::fmt::Display) -> Refusal {
    Refusal::new(
        ResponseCode::SubscriptionGroupNotExist,
        format!("subscription group [{group}] does not exist: {why}"),
    )
}

/// The topic, when it may be read.
fn check_topic(broker: &Broker, name: &str) -> Result<Arc<Topic>, Refusal> {
    let topic = broker.topics.get(name).ok_or_else(|| {
        Refusal::new(
            ResponseCode::TopicNotExist,
            format!("topic[{name}] not exist, apply first please!"),
        )
    })?;
    if perm::is_readable(topic.config.perm) {
        return Ok(topic);
    }
    let remark = format!("the topic[{name}] pulling message is forbidden");
    Err(Refusal::forbidden(Forbidden::Topic, remark))
}

fn check_queue(topic: &Topic, queue_id: i32, group: &str) -> Result<QueueRef, Refusal> {
    let queues = topic.config.read_queue_nums;
    topic.queue(queue_id).filter(|_| queue_id < queues).cloned().ok_or_else(|| {
        Refusal::new(ResponseCode::InvalidParameter, format!("queueId[{queue_id}] is illegal, topic:[{}] topicConfig.readQueueNums:[{queues}] consumer:[{group}]", topic.name()))
    })
}

/// Whether the group may read the topic (code 353 forbids that).
fn check_pair(group: &Group, topic: &str) -> Result<(), Refusal> {
    if group.may_read(topic) {
        return Ok(());
    }
    let remark = format!(
        "the consumer group[{}] is forbidden for topic[{topic}]",
        group.name()
    );
    Err(Refusal::forbidden(Forbidden::Subscription, remark))
}

fn plan(
    broker: &Broker,
    exchange: &Exchange<'_>,
    request: &PullMessage<'_>,
) -> Result<PullPlan, Refusal> {
    check_broker(broker)?;
    let name = &request.consumer_group;
    let group = audit::group_of(broker, exchange, name).map_err(|error| Refusal {
        code: reply::of_group(&error),
        ..no_group(name, error)
    })?;
    check_group(&group)?;
    let topic = check_topic(broker, &request.topic)?;
    let queue = check_queue(&topic, request.queue_id, group.name())?;
    check_pair(&group, &request.topic)?;
    let own_filter = request.sys_flag & pull_flag::SUBSCRIPTION != 0;
    let filter = if own_filter {
        Filter::parse(
            &request.topic,
            request.subscription.as_deref().unwrap_or("*"),
            request.expression_type.as_deref(),
            &broker.limits,
        )
        .map_err(|error| Refusal::new(filter_code(&error), error.to_string()))?
    } else {
        subscribed(broker, &group, &request.topic, request.sub_version)?
    };
    if request.sys_flag & pull_flag::COMMIT_OFFSET != 0 && request.commit_offset >= 0 {
        broker.offsets.commit_anyway(
            &request.topic,
            &request.consumer_group,
            request.queue_id,
            request.commit_offset,
        );
    }
    let moved_to = broker
        .offsets
        .take_reset(&request.topic, &request.consumer_group, request.queue_id)
        .filter(|reset| *reset != request.queue_offset);
    let bytes_max = match request.max_msg_bytes {
        Some(bytes) if bytes > 0 => (bytes as usize).min(broker.limits.pull_bytes),
        _ => limits::PULL_BYTES_DEFAULT.min(broker.limits.pull_bytes),
    };
    let messages_max = usize::try_from(request.max_msg_nums)
        .unwrap_or(0)
        .clamp(1, broker.limits.pull_messages);
    let suspend = request.sys_flag & pull_flag::SUSPEND != 0;
    Ok(PullPlan {
        queue,
        offset: request.queue_offset,
        moved_to,
        subscribed: (!own_filter).then_some(request.sub_version),
        filter,
        limits: ReadLimits {
            messages_max,
            bytes_max,
            scan_entries_max: limits::PULL_SCAN_MAX,
        },
        given: group.counters.given(&request.topic),
        topic,
        group,
        suspend_ms: if suspend {
            request
                .suspend_timeout_millis
                .clamp(0, limits::SUSPEND_MS_MAX)
        } else {
            0
        },
    })
}

/// The filter of the group's subscription, as its heartbeats told it.
fn subscribed(
    broker: &Broker,
    group: &Group,
    topic: &str,
    known_version: i64,
) -> Result<Filter, Refusal> {
    let name = group.name();
    let online = broker.sessions.consumer(name).ok_or_else(|| {
        Refusal::new(ResponseCode::SubscriptionNotExist, format!("the consumer's group info not exist: group {name} has no client here; it must send a heartbeat first"))
    })?;
    if online.model() == MessageModel::Broadcasting && !group.config.consume_broadcast_enable {
        let remark = format!("the consumer group[{name}] can not consume by broadcast way");
        return Err(Refusal::forbidden(Forbidden::Broadcast, remark));
    }
    let subscription = online.subscription(topic).ok_or_else(|| {
        Refusal::new(
            ResponseCode::SubscriptionNotExist,
            format!("the consumer's subscription not exist: group {name}, topic {topic}"),
        )
    })?;
    let filter = subscription
        .filter
        .clone()
        .map_err(|error| Refusal::new(filter_code(&error), error.to_string()))?;
    if subscription.data.sub_version < known_version {
        // The heartbeat with the newer subscription is still to come. Sending everything is safe: the client compares
        // the tags itself. Refusing (code 25) would only cost the client 30 seconds.
        return Ok(Filter::All);
    }
    Ok(filter)
}

fn filter_code(error: &crate::filter::FilterError) -> ResponseCode {
    match error {
        crate::filter::FilterError::TooLong { .. } => ResponseCode::SubscriptionParseFailed,
        crate::filter::FilterError::Type(_) => ResponseCode::SystemError,
    }
}
