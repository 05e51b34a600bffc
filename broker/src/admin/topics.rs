//! Topics: made, changed, deleted and described.

use std::sync::Arc;

use rmq_process::Asker;
use rmq_protocol::bodies::{MessageQueue, TopicConfig, TopicOffset, TopicStatsTable};
use rmq_protocol::names;
use rmq_protocol::route::perm;

use super::refusal::TopicRefusal;
use crate::attributes::{self, AttributeError};
use crate::audit;
use crate::broker::Broker;
use crate::messages::look_up::store_time;
use crate::stats::{MESSAGES, Span};
use crate::topics::{Topic, TopicError};
use crate::work::{self, Interrupted};

/// Gives `config` the attributes that the topic has, with these changes.
///
/// # Errors
/// A change that no topic takes.
pub(crate) fn change_attributes<'a>(
    broker: &Broker,
    config: &mut TopicConfig,
    changes: impl Iterator<Item = (&'a str, Option<&'a str>)>,
) -> Result<(), AttributeError> {
    let known = broker.topics.get(&config.topic_name);
    let current = known.as_ref().map(|topic| &topic.config.attributes);
    let mixed = broker.config.mixed_message_type;
    config.attributes = attributes::change_topic(current, changes, mixed)?;
    Ok(())
}

/// The same for several topics, each of which has its changes in place of attributes (apache/rocketmq
/// `TopicConfigManager.updateTopicConfig`).
///
/// # Errors
/// As [`change_attributes`].
pub(crate) fn change_all_attributes(
    broker: &Broker,
    configs: &mut [TopicConfig],
) -> Result<(), TopicRefusal> {
    for config in configs {
        let changes = std::mem::take(&mut config.attributes);
        let changes = changes
            .iter()
            .map(|(name, value)| (name.as_str(), Some(value.as_str())));
        if let Err(error) = change_attributes(broker, config, changes) {
            let topic = config.topic_name.clone();
            return Err(TopicRefusal::AttributeOf { topic, error });
        }
    }
    Ok(())
}

/// Creates or changes topics: all or, when one of them may not be so, none. Messages that nobody can read then, as a text for people; empty
/// without any.
///
/// # Errors
/// A topic may not be so, or cannot be stored.
pub(crate) async fn put(
    broker: &Arc<Broker>,
    asker: &Asker,
    configs: Vec<TopicConfig>,
) -> Result<String, TopicRefusal> {
    for config in &configs {
        if names::is_system_topic(&config.topic_name) {
            return Err(TopicError::System(config.topic_name.clone()).into());
        }
        broker.topics.check(config)?;
    }
    let mut shrunk = Vec::new();
    for config in configs {
        let before = broker.topics.get(&config.topic_name);
        let topic = broker.topics.put(config).await?;
        let known = before.as_ref().map(|before| &before.config);
        let (created, changed) = ("topic created", "topic changed");
        audit::put(asker, created, changed, topic.name(), known, &topic.config);
        let read = |topic: &Topic| topic.config.read_queue_nums;
        if before.is_some_and(|before| read(&before) > read(&topic))
            || written_unread(&topic.config).is_some()
        {
            shrunk.push(topic);
        }
    }
    if shrunk.is_empty() {
        return Ok(String::new());
    }
    let then = Arc::clone(broker);
    let told = work::blocking(move || tell_unreadable(&then, &shrunk)).await;
    Ok(told.map_err(Interrupted::from)?)
}

/// The queues that take messages which nobody may read.
fn written_unread(config: &TopicConfig) -> Option<std::ops::Range<i32>> {
    if !perm::is_writable(config.perm) {
        return None;
    }
    let read = if perm::is_readable(config.perm) {
        config.read_queue_nums
    } else {
        0
    };
    (read < config.write_queue_nums).then_some(read..config.write_queue_nums)
}

/// Tells of the queues that take messages which nobody reads, and how many messages nobody can read any more, in the log and in the text that
/// it returns. May wait for the disk.
fn tell_unreadable(broker: &Broker, shrunk: &[Arc<Topic>]) -> String {
    let mut lost = Vec::new();
    for topic in shrunk {
        let (name, queues) = (topic.name(), topic.config.read_queue_nums);
        if let Some(unread) = written_unread(&topic.config) {
            tracing::warn!(
                topic = name,
                perm = topic.config.perm,
                read_queues = queues,
                write_queues = topic.config.write_queue_nums,
                "messages that are sent to the topic cannot be read: it takes them in queues that nobody may read"
            );
            lost.push(format!("topic {name}: messages that are sent to queues {} to {} cannot be read until readQueueNums is as large as writeQueueNums and perm allows reading", unread.start, unread.end - 1));
        }
        let messages = unreadable(broker, topic);
        if messages > 0 {
            tracing::warn!(
                topic = name,
                queues,
                messages,
                "messages in queues that were taken away cannot be read any more"
            );
            lost.push(format!("topic {name}: {messages} messages in queues from {queues} on cannot be read any more until there are as many read queues again"));
        }
    }
    lost.join("; ")
}

/// Messages in queues that the topic no longer lets anybody read.
fn unreadable(broker: &Broker, topic: &Topic) -> i64 {
    let queues = match broker.store.queues_of(topic.name()) {
        Ok(queues) => queues,
        Err(error) => {
            tracing::warn!(
                topic = topic.name(),
                "its former queues cannot be listed: {error}"
            );
            return 0;
        }
    };
    queues
        .iter()
        .filter(|queue| queue.queue_id() >= topic.config.read_queue_nums)
        .map(|queue| queue.max_offset() - queue.min_offset())
        .sum()
}

/// Deletes a topic, with what groups have of it.
///
/// # Errors
/// The topic belongs to the system, or the change cannot be stored.
pub(crate) async fn delete(broker: &Broker, asker: &Asker, name: &str) -> Result<(), TopicRefusal> {
    if name.trim().is_empty() {
        return Err(TopicRefusal::Blank);
    }
    if names::is_system_topic(name) {
        return Err(TopicRefusal::System(name.to_owned()));
    }
    let before = broker.topics.get(name);
    if broker.topics.delete(name, &broker.offsets).await? {
        let before = before.and_then(|topic| audit::text(&topic.config));
        asker.changed("topic deleted", name, before, None);
    }
    for group in broker.groups.all() {
        if let Some(counted) = group.counted() {
            counted.forget(name);
        }
    }
    // The caller takes the topic out of the name servers next: a registration that still has it must not come after that.
    let clock = &*broker.clock;
    broker
        .registrations
        .soon_current(&broker.topics, clock)
        .await;
    Ok(())
}

/// A topic whose settings are asked for.
///
/// # Errors
/// There is no such topic.
pub(crate) fn one(broker: &Broker, name: &str) -> Result<Arc<Topic>, TopicRefusal> {
    let topic = broker.topics.get(name);
    topic.ok_or_else(|| TopicRefusal::NotHere(name.to_owned()))
}

/// A topic whose messages are asked about.
///
/// # Errors
/// There is no such topic.
pub(crate) fn known(broker: &Broker, name: &str) -> Result<Arc<Topic>, TopicRefusal> {
    let topic = broker.topics.get(name);
    topic.ok_or_else(|| TopicRefusal::Unknown(name.to_owned()))
}

/// The queues of a topic: where each begins and ends, and how much comes. May wait for the disk.
pub(crate) fn stats(broker: &Broker, topic: &Topic) -> TopicStatsTable {
    let mut table = TopicStatsTable::default();
    let broker_name = broker.config.broker_name.as_str();
    for queue in &topic.queues {
        let (min, max) = (queue.min_offset(), queue.max_offset());
        let last = (max > min).then(|| store_time(broker, queue, max - 1));
        table.offset_table.push(
            MessageQueue::new(topic.name(), broker_name, queue.queue_id()),
            TopicOffset {
                last_update_timestamp: last.flatten().unwrap_or(0),
                max_offset: max,
                min_offset: min,
            },
        );
    }
    broker.catch_up();
    if let Some(counted) = topic.counted() {
        let minute = counted.put.snapshot(&broker.stats.sampler, Span::Minute);
        table.topic_put_tps = minute.rate(MESSAGES);
    }
    table.unreadable_messages = unreadable(broker, topic);
    table
}

/// Topics that the broker has by itself.
pub(crate) fn system(broker: &Broker) -> Vec<String> {
    let own = [&broker.config.cluster_name, &broker.config.broker_name];
    let is_own = |topic: &Topic| own.iter().any(|name| *name == topic.name());
    let all = broker.topics.all();
    let system = all
        .iter()
        .filter(|topic| topic.is_system() || is_own(topic));
    system.map(|topic| topic.name().to_owned()).collect()
}
