//! Asking for messages: what a group may read of a queue, and how much. [`super::deliver`] reads and gives. Order of the checks:
//! apache/rocketmq `PullMessageProcessor`.

use std::sync::Arc;

use rmq_protocol::bodies::{EXPRESSION_SQL92, MessageModel};
use rmq_protocol::route::perm;
use rmq_store::{QueueRef, ReadLimits};

use super::refusal::PullRefusal;
use crate::audit::{self, Origin};
use crate::broker::Broker;
use crate::filter::{Filter, FilterError};
use crate::groups::{GivenCounters, Group};
use crate::limits;
use crate::progress::commit::check_room;
use crate::quota::{Left, Quota};
use crate::topics::Topic;

/// What a client asks for.
pub(crate) struct Pull<'a> {
    pub(crate) group: &'a str,
    /// The client's connection.
    pub(crate) connection: u64,
    pub(crate) topic: &'a str,
    pub(crate) queue_id: i32,
    /// The next offset.
    pub(crate) offset: i64,
    pub(crate) wanted: Wanted<'a>,
    /// The group has consumed up to this offset.
    pub(crate) commit: Option<i64>,
    /// At least one message is given.
    pub(crate) messages_max: i32,
    /// Bytes; absent or not positive: the broker's default.
    pub(crate) bytes_max: Option<i32>,
    /// How long to wait for a message, milliseconds; 0: not at all.
    pub(crate) suspend_ms: i64,
}

/// Which messages a client wants.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// Those of this expression; the kind is absent for tags.
    Expression {
        text: &'a str,
        kind: Option<&'a str>,
    },
    /// Those of the group's subscription, whose version the client names; the kind is absent for tags.
    Subscription { version: i64, kind: Option<&'a str> },
}

/// A pull that passed all checks: what to read, for whom.
#[derive(Debug)]
pub(crate) struct PullPlan {
    pub(super) limits: ReadLimits,
    pub(super) given: Arc<GivenCounters>,
    pub(super) filter: Filter,
    /// How long to wait for a message, milliseconds; 0 answers at once.
    pub(super) suspend_ms: i64,
    pub(crate) queue: QueueRef,
    pub(crate) offset: i64,
    pub(crate) topic: Arc<Topic>,
    pub(crate) group: Arc<Group>,
    /// An administrator has set the offset: the client is told to go there.
    pub(crate) moved_to: Option<i64>,
    /// What the client may still be given, where clients have a quota of the group.
    client: Option<Arc<Left>>,
    /// What the client knew of the subscription, when the filter is not the request's own.
    subscribed: Option<Known>,
}

/// What a client knows of its group's subscription.
#[derive(Debug, Clone, Copy)]
struct Known {
    version: i64,
    is_sql: bool,
}

/// Checks a pull, and commits the offset that it brings.
///
/// # Errors
/// The group may not read the queue, or what it wants is not understood.
pub(crate) fn plan(
    broker: &Broker,
    origin: &dyn Origin,
    pull: &Pull<'_>,
) -> Result<PullPlan, PullRefusal> {
    check_broker(broker)?;
    let (name, topic_name) = (pull.group, pull.topic);
    let group = audit::group_of(broker, origin, name).map_err(|error| PullRefusal::NoGroup {
        group: name.to_owned(),
        error: Box::new(error),
    })?;
    check_group(&group)?;
    let topic = check_topic(broker, topic_name)?;
    let queue = check_queue(&topic, pull.queue_id, group.name())?;
    let queue = match topic.is_light() && pull.suspend_ms > 0 {
        true => broker.light.awaited(queue),
        false => queue,
    };
    check_pair(&group, topic_name)?;
    let (filter, known) = match pull.wanted {
        Wanted::Expression { text, kind } => {
            let filter = match expressed(broker, name, topic_name, text, kind) {
                Some(filter) => filter?,
                None => Filter::parse(topic_name, text, kind, &broker.limits)?,
            };
            (filter, None)
        }
        Wanted::Subscription { version, kind } => {
            let known = Known {
                version,
                is_sql: kind == Some(EXPRESSION_SQL92),
            };
            let filter = subscribed(broker, &group, topic_name, known)?;
            (filter, Some(known))
        }
    };
    let commit = pull.commit.filter(|offset| *offset >= 0);
    if let Some(offset) = commit.filter(|_| check_room(broker, topic_name, name).is_ok()) {
        broker
            .offsets
            .commit_anyway(topic_name, name, pull.queue_id, offset);
    }
    let (client, at_once) = match &group.quota {
        None => (None, (usize::MAX, usize::MAX)),
        Some(quota) => (
            check_quota(broker, &group, quota, pull.connection)?,
            quota.at_once(),
        ),
    };
    let moved_to = broker
        .offsets
        .take_reset(topic_name, name, pull.queue_id)
        .filter(|reset| *reset != pull.offset);
    let given = group.counters().given(topic.counted_as());
    if let Some(offset) = moved_to {
        given.pulls.came_to(pull.queue_id, offset);
    }
    let bytes_max = match pull.bytes_max {
        Some(bytes) if bytes > 0 => (bytes as usize).min(broker.limits.pull_bytes),
        _ => limits::PULL_BYTES_DEFAULT.min(broker.limits.pull_bytes),
    };
    let messages_max = usize::try_from(pull.messages_max)
        .unwrap_or(0)
        .clamp(1, broker.limits.pull_messages);
    Ok(PullPlan {
        client,
        queue,
        offset: pull.offset,
        moved_to,
        subscribed: known,
        filter,
        limits: ReadLimits {
            messages_max: messages_max.min(at_once.0),
            bytes_max: bytes_max.min(at_once.1),
            scan_entries_max: limits::PULL_SCAN_MAX,
        },
        given,
        topic,
        group,
        suspend_ms: pull.suspend_ms.clamp(0, limits::SUSPEND_MS_MAX),
    })
}

/// Whether the quota of the group, and of the client in it, leaves room for a message; what the client has left.
#[cold]
fn check_quota(
    broker: &Broker,
    group: &Group,
    quota: &Quota,
    connection: u64,
) -> Result<Option<Arc<Left>>, PullRefusal> {
    let now_ns = broker.monotonic_ns();
    let client = quota.client(connection, now_ns);
    let checked = quota.check(client.as_deref(), now_ns, 1);
    checked.map_err(|over| PullRefusal::Quota {
        group: group.name().to_owned(),
        over,
    })?;
    Ok(client)
}

impl PullPlan {
    /// Takes from the group's quota what is given.
    #[cold]
    pub(super) fn take_quota(&self, broker: &Broker, quota: &Quota, messages: u64, bytes: u64) {
        let now_ns = broker.monotonic_ns();
        quota.take(self.client.as_deref(), now_ns, messages, bytes);
    }
}

/// Checks again what may have changed while a pull waited.
pub(super) fn check_again(broker: &Broker, plan: &mut PullPlan) -> Result<(), PullRefusal> {
    let (name, topic_name) = (plan.group.name(), plan.topic.name());
    check_broker(broker)?;
    let group = broker
        .groups
        .get(name)
        .ok_or_else(|| PullRefusal::GroupDeleted(name.to_owned()))?;
    check_group(&group)?;
    let topic = check_topic(broker, topic_name)?;
    check_queue(&topic, plan.queue.queue_id(), name)?;
    check_pair(&group, topic_name)?;
    if let Some(known) = plan.subscribed {
        plan.filter = subscribed(broker, &group, topic_name, known)?;
    }
    (plan.group, plan.topic) = (group, topic);
    Ok(())
}

fn check_broker(broker: &Broker) -> Result<(), PullRefusal> {
    if !broker.config.slave_read_enable && !broker.role.leads() {
        return Err(PullRefusal::AtReplica);
    }
    if perm::is_readable(broker.permission()) {
        return Ok(());
    }
    Err(PullRefusal::Broker(broker.identity.addr.clone()))
}

fn check_group(group: &Group) -> Result<(), PullRefusal> {
    if group.config.consume_enable {
        return Ok(());
    }
    Err(PullRefusal::Group(group.name().to_owned()))
}

/// The topic, when it may be read.
fn check_topic(broker: &Broker, name: &str) -> Result<Arc<Topic>, PullRefusal> {
    let topic = broker
        .topics
        .get(name)
        .ok_or_else(|| PullRefusal::NoTopic(name.to_owned()))?;
    if perm::is_readable(topic.config.perm) {
        return Ok(topic);
    }
    Err(PullRefusal::Topic(name.to_owned()))
}

fn check_queue(topic: &Topic, queue_id: i32, group: &str) -> Result<QueueRef, PullRefusal> {
    let queues = topic.config.read_queue_nums;
    topic
        .queue(queue_id)
        .filter(|_| queue_id < queues)
        .cloned()
        .ok_or_else(|| PullRefusal::NoQueue {
            topic: topic.name().to_owned(),
            queue_id,
            queues,
            group: group.to_owned(),
        })
}

/// Whether the group may read the topic (code 353 forbids that).
fn check_pair(group: &Group, topic: &str) -> Result<(), PullRefusal> {
    if group.may_read(topic) {
        return Ok(());
    }
    Err(PullRefusal::Subscription {
        group: group.name().to_owned(),
        topic: topic.to_owned(),
    })
}

/// The filter of an SQL92 expression that is the group's subscription too: it was read when the heartbeat brought it.
fn expressed(
    broker: &Broker,
    group: &str,
    topic: &str,
    text: &str,
    kind: Option<&str>,
) -> Option<Result<Filter, FilterError>> {
    if kind != Some(EXPRESSION_SQL92) {
        return None;
    }
    let subscription = broker.sessions.consumer(group)?.subscription(topic)?;
    let known = &subscription.data;
    (known.expression_type == EXPRESSION_SQL92 && known.sub_string == text)
        .then(|| subscription.filter.clone())
}

/// The filter of the group's subscription, as its heartbeats told it.
fn subscribed(
    broker: &Broker,
    group: &Group,
    topic: &str,
    known: Known,
) -> Result<Filter, PullRefusal> {
    let name = group.name();
    let online = broker
        .sessions
        .consumer(name)
        .ok_or_else(|| PullRefusal::NoClient(name.to_owned()))?;
    if online.model() == MessageModel::Broadcasting && !group.config.consume_broadcast_enable {
        return Err(PullRefusal::Broadcast(name.to_owned()));
    }
    let subscription = online
        .subscription(topic)
        .ok_or_else(|| PullRefusal::NoSubscription {
            group: name.to_owned(),
            topic: topic.to_owned(),
        })?;
    if subscription.data.sub_version < known.version {
        // The heartbeat with the newer subscription is still to come. Sending everything is safe where the client compares
        // the tags itself: refusing (code 25) would only cost the client 30 seconds. Clients evaluate no SQL92.
        if known.is_sql || subscription.data.expression_type == EXPRESSION_SQL92 {
            return Err(PullRefusal::NotLatest {
                group: name.to_owned(),
                topic: topic.to_owned(),
            });
        }
        subscription.filter.clone()?;
        return Ok(Filter::All);
    }
    Ok(subscription.filter.clone()?)
}
