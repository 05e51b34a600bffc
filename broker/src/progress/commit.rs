//! The offset at which a group continues in a queue: asked, and told by the group's members.

use std::collections::BTreeMap;

use super::refusal::OffsetRefusal;
use crate::audit::{self, Origin};
use crate::broker::Broker;
use crate::limits::LIGHT_PAIRS_PER_QUEUE;
use crate::messages::look_up::is_in_memory;
use crate::tables::offsets::topic_and_group;

/// An offset that a client tells.
pub(crate) struct Commit<'a> {
    pub(crate) group: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) queue_id: i32,
    /// The group continues here.
    pub(crate) offset: i64,
    /// Stands for the client's connection.
    pub(crate) link_id: u64,
    /// Whether the client hears of a refusal. An offset whose refusal nobody hears counts even when it cannot be stored.
    pub(crate) is_answered: bool,
}

/// Where a group continues in a queue. A group that never committed begins at the first message that the topic ever had in this queue, while
/// that message is still there; then it misses none. Otherwise the client decides by its own setting, also when there never was a message
/// (apache/rocketmq `ConsumerManageProcessor.queryConsumerOffset`, where topics begin at 0). `begins`: the client wants such a beginning.
///
/// # Errors
/// The client decides.
pub(crate) fn next(
    broker: &Broker,
    topic: &str,
    group: &str,
    queue_id: i32,
    begins: bool,
) -> Result<i64, OffsetRefusal> {
    if let Some(offset) = broker.offsets.get(topic, group, queue_id) {
        return Ok(offset);
    }
    let found = broker.topics.get(topic);
    let queue = found.as_ref().and_then(|topic| topic.queue(queue_id));
    let first = queue.filter(|queue| {
        let first = queue.first_offset();
        queue.min_offset() <= first && queue.max_offset() > first && is_in_memory(broker, queue)
    });
    match first {
        Some(queue) if begins => Ok(queue.first_offset()),
        _ => Err(OffsetRefusal::NotFound {
            group: group.to_owned(),
            topic: topic.to_owned(),
            queue_id,
        }),
    }
}

/// Whether an offset of this group may be kept. Groups that are named as light queues need no creation, so the number of their offsets is limited.
///
/// # Errors
/// It may not.
pub(crate) fn check_room(broker: &Broker, topic: &str, group: &str) -> Result<(), OffsetRefusal> {
    if !broker.groups.is_light(group) || !broker.offsets.of(topic, group).is_empty() {
        return Ok(());
    }
    let max = broker.light.max().saturating_mul(LIGHT_PAIRS_PER_QUEUE);
    if broker.offsets.len() < max {
        return Ok(());
    }
    Err(OffsetRefusal::TooMany {
        group: group.to_owned(),
        max,
    })
}

/// Remembers where a group continues.
///
/// # Errors
/// Nothing is changed.
pub(crate) fn commit(
    broker: &Broker,
    origin: &dyn Origin,
    commit: &Commit<'_>,
) -> Result<(), OffsetRefusal> {
    let &Commit { group, topic, .. } = commit;
    let (queue_id, offset) = (commit.queue_id, commit.offset);
    if broker.groups.get(group).is_none() {
        return Err(OffsetRefusal::NoGroup(group.to_owned()));
    }
    let Some(known) = broker.topics.get(topic) else {
        return Err(OffsetRefusal::NoTopic(topic.to_owned()));
    };
    if known.queue(queue_id).is_none() {
        return Err(OffsetRefusal::NoQueue {
            topic: topic.to_owned(),
            queue_id,
            queues: known.queues.len(),
        });
    }
    if offset < 0 {
        return Err(OffsetRefusal::Negative(offset));
    }
    check_room(broker, topic, group)?;
    let is_member = broker
        .sessions
        .consumer(group)
        .is_some_and(|group| group.has(commit.link_id));
    // Members tell their progress. A client that is no member changes where the members continue.
    let before = (!is_member).then(|| broker.offsets.of(topic, group));
    let stored = if commit.is_answered {
        broker.offsets.commit(topic, group, queue_id, offset)
    } else {
        broker.offsets.commit_anyway(topic, group, queue_id, offset);
        Ok(())
    };
    if let Some(before) = before {
        let after = broker.offsets.of(topic, group);
        let asker = origin.asker();
        audit::offsets(&asker, "offset set", topic, group, &before, &after);
    }
    stored.map_err(OffsetRefusal::NotStored)
}

/// Takes what consumers told a replica, by `topic@group`: only forward, and only for topics and groups that are here.
///
/// # Errors
/// One could not be stored; those before it count.
pub(crate) fn raise(
    broker: &Broker,
    table: &BTreeMap<String, BTreeMap<i32, i64>>,
) -> Result<(), OffsetRefusal> {
    for (key, offsets) in table {
        let Some((topic, group)) = topic_and_group(key) else {
            continue;
        };
        let known = broker.topics.get(topic);
        let Some(known) = known.filter(|_| broker.groups.get(group).is_some()) else {
            continue;
        };
        for (queue_id, offset) in offsets {
            if *offset >= 0 && known.queue(*queue_id).is_some() {
                let raised = broker.offsets.raise(topic, group, *queue_id, *offset);
                raised.map_err(OffsetRefusal::NotStored)?;
            }
        }
    }
    Ok(())
}
