//! Offsets that an administrator sets: a group continues at a time, at an offset, or where another group is.

use std::sync::Arc;

use rmq_process::Asker;
use rmq_protocol::names;
use rmq_store::{Boundary, QueueRef};

use super::refusal::ResetRefusal;
use crate::audit;
use crate::broker::Broker;
use crate::topics::Topic;
use crate::waiters::Woken;
use crate::work::{self, Interrupted};

/// Where a group is to continue in a topic.
#[derive(Clone, Copy)]
pub(crate) struct Reset {
    /// Negative: in every queue.
    pub(crate) one_queue: i32,
    /// Only together with one queue.
    pub(crate) offset: Option<i64>,
    /// Unix milliseconds; negative: at the end.
    pub(crate) time_ms: i64,
    /// Also forwards.
    pub(crate) force: bool,
}

impl Reset {
    /// Where the group continues in this queue; `None` where it stays. May wait for the disk.
    fn of(
        self,
        broker: &Broker,
        topic: &Topic,
        queue: &QueueRef,
        group: &str,
    ) -> Result<Option<i64>, ResetRefusal> {
        let (min, max) = (queue.min_offset(), queue.max_offset());
        let wanted = match self.offset {
            // The original's clients send -1 for none.
            Some(offset) if self.one_queue >= 0 && offset != -1 => {
                if !(min..=max).contains(&offset) {
                    return Err(ResetRefusal::OutsideOfQueue {
                        topic: topic.name().to_owned(),
                        queue_id: self.one_queue,
                        offset,
                        min,
                        max,
                    });
                }
                offset
            }
            _ if self.time_ms < 0 => max,
            _ => {
                let lower = Boundary::Lower;
                broker.store.offset_by_time(queue, self.time_ms, lower)?.0
            }
        };
        let now = broker.offsets.get(topic.name(), group, queue.queue_id());
        // One queue is moved to where it is told: the Java client names it without `isForce`, after moving it already.
        let moves = self.force || self.one_queue >= 0 || now.is_none_or(|now| wanted < now);
        Ok(moves.then_some(wanted))
    }

    /// The offset of each queue that is moved. May wait for the disk.
    fn offsets(
        self,
        broker: &Broker,
        topic: &Topic,
        group: &str,
    ) -> Result<Vec<(i32, i64)>, ResetRefusal> {
        let is_meant = |queue: &QueueRef| self.one_queue < 0 || queue.queue_id() == self.one_queue;
        let mut resets = Vec::new();
        for queue in topic.queues.iter().filter(|queue| is_meant(queue)) {
            if let Some(wanted) = self.of(broker, topic, queue, group)? {
                resets.push((queue.queue_id(), wanted));
            }
        }
        if self.one_queue >= 0 && resets.is_empty() {
            return Err(ResetRefusal::NoQueue {
                topic: topic.name().to_owned(),
                queue_id: self.one_queue,
            });
        }
        Ok(resets)
    }
}

/// Sets a group's offsets; its clients are told at their next pull. No client needs to be online. The queues that are moved, with their offsets.
///
/// # Errors
/// Nothing is changed.
pub(crate) async fn reset(
    broker: &Arc<Broker>,
    asker: &Asker,
    topic: &str,
    group: &str,
    wanted: Reset,
) -> Result<Vec<(i32, i64)>, ResetRefusal> {
    let Some(topic) = broker.topics.get(topic) else {
        return Err(ResetRefusal::NoTopic(topic.to_owned()));
    };
    if broker.groups.get(group).is_none() {
        return Err(ResetRefusal::NoGroup(group.to_owned()));
    }
    let resets = {
        let (broker, topic, group) = (Arc::clone(broker), Arc::clone(&topic), group.to_owned());
        let offsets = work::blocking(move || wanted.offsets(&broker, &topic, &group)).await;
        offsets.map_err(Interrupted::from)??
    };
    let name = topic.name();
    let before = broker.offsets.of(name, group);
    broker.offsets.reset(name, group, &resets).await?;
    let mut after = before.clone();
    after.extend(resets.iter().copied());
    audit::offsets(asker, "offsets reset", name, group, &before, &after);
    // Members learn of it with their next pull: those that wait for messages are answered now.
    for queue in topic.queues.iter() {
        for waiter in broker.waiters.take_of_group(queue, group) {
            waiter.wake(Woken::Ended);
        }
    }
    Ok(resets)
}

/// Has a group continue where another one is: in one topic, or in every topic of that group.
///
/// # Errors
/// Nothing is changed.
pub(crate) async fn copy(
    broker: &Broker,
    asker: &Asker,
    topic: Option<&str>,
    from: &str,
    to: &str,
) -> Result<(), ResetRefusal> {
    names::validate_group(to).map_err(ResetRefusal::Destination)?;
    let topics = match topic {
        Some(topic) => vec![topic.to_owned()],
        None => broker.offsets.topics_of(from),
    };
    let of = |topic: &String| broker.offsets.of(topic, to);
    let before: Vec<_> = topics.iter().map(of).collect();
    broker.offsets.clone_group(&topics, from, to).await?;
    for (topic, before) in topics.iter().zip(&before) {
        let what = "offsets copied from another group";
        audit::offsets(asker, what, topic, to, before, &of(topic));
    }
    Ok(())
}
