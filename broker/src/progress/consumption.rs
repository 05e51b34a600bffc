//! How far groups are: what they have consumed of each queue, when that was stored, and who reads what.

use std::collections::BTreeMap;

use rmq_protocol::bodies::{
    ConsumeStats, ConsumeStatsList, MessageQueue, OffsetWrapper, QueueTimeSpan, SubscriptionData,
};
use rmq_store::QueueRef;

use crate::broker::Broker;
use crate::messages::look_up::store_time;
use crate::stats::{MESSAGES, Span};
use crate::topics::Topic;

/// How far a group is in `topics`; in all topics that it has offsets of, when none is named. May wait for the disk.
pub(crate) fn of_group(broker: &Broker, group: &str, topics: Vec<String>) -> ConsumeStats {
    broker.catch_up();
    let topics = if topics.is_empty() {
        broker.offsets.topics_of(group)
    } else {
        topics
    };
    stats(broker, group, &topics)
}

fn stats(broker: &Broker, group: &str, topics: &[String]) -> ConsumeStats {
    let mut stats = ConsumeStats::default();
    let settings = broker.groups.get(group);
    for name in topics {
        let Some(topic) = broker.topics.get(name) else {
            continue;
        };
        let counted = settings.as_ref().and_then(|group| group.counted());
        let given = counted.and_then(|counted| counted.of(name));
        for queue in topic
            .queues
            .iter()
            .take(usize::try_from(topic.config.read_queue_nums).unwrap_or(0))
        {
            let max = queue.max_offset();
            let consumer_offset = broker
                .offsets
                .get(name, group, queue.queue_id())
                .unwrap_or_else(|| queue.first_offset())
                .max(0);
            let pulls = given.as_ref().map(|given| &given.pulls);
            let pulled = pulls.and_then(|pulls| pulls.of(queue.queue_id()));
            let last = consumer_offset - 1;
            let last_timestamp = if last >= queue.min_offset() && last < max {
                store_time(broker, queue, last).unwrap_or(0)
            } else {
                0
            };
            stats.offset_table.push(
                MessageQueue::new(name, broker.config.broker_name.as_str(), queue.queue_id()),
                OffsetWrapper {
                    broker_offset: max,
                    consumer_offset,
                    last_timestamp,
                    pull_offset: pulled.map_or(consumer_offset, |at| at.max(consumer_offset)),
                },
            );
        }
        if let Some(given) = given {
            let minute = given.got.snapshot(&broker.stats.sampler, Span::Minute);
            stats.consume_tps += minute.rate(MESSAGES);
        }
    }
    stats
}

/// How far every group is, or every group in ordered topics (`only_order`). May wait for the disk.
pub(crate) fn of_broker(broker: &Broker, only_order: bool) -> ConsumeStatsList {
    broker.catch_up();
    let mut list = ConsumeStatsList {
        broker_addr: broker.identity.addr.clone(),
        ..ConsumeStatsList::default()
    };
    let is_ordered = |topic: &String| {
        let topic = broker.topics.get(topic);
        topic.is_some_and(|topic| topic.config.order)
    };
    for group in broker.groups.all() {
        let mut topics = broker.offsets.topics_of(group.name());
        topics.retain(|topic| !only_order || is_ordered(topic));
        if topics.is_empty() {
            continue;
        }
        let stats = stats(broker, group.name(), &topics);
        list.total_diff += stats
            .offset_table
            .iter()
            .map(|(_, queue)| (queue.broker_offset - queue.consumer_offset).max(0))
            .sum::<i64>();
        list.consume_stats_list
            .push(BTreeMap::from([(group.name().to_owned(), vec![stats])]));
    }
    list
}

/// From when to when the messages of each queue are, and where the group is among them. May wait for the disk.
pub(crate) fn time_spans(broker: &Broker, topic: &Topic, group: &str) -> Vec<QueueTimeSpan> {
    let span = |queue: &QueueRef| {
        let (min, max) = (queue.min_offset(), queue.max_offset());
        let time = |offset: i64| {
            let is_there = offset >= min && offset < max;
            is_there
                .then(|| store_time(broker, queue, offset))
                .flatten()
        };
        let consumed = broker
            .offsets
            .get(topic.name(), group, queue.queue_id())
            .unwrap_or_else(|| queue.first_offset());
        let (first, last) = (time(min).unwrap_or(-1), time(max - 1).unwrap_or(-1));
        let consume_time_stamp = if consumed > queue.first_offset() {
            time(consumed - 1).unwrap_or(first)
        } else {
            first
        };
        let delay_time = if consumed < max && consume_time_stamp > 0 {
            (broker.now_ms() - consume_time_stamp).max(0)
        } else {
            0
        };
        let broker_name = broker.config.broker_name.as_str();
        QueueTimeSpan {
            consume_time_stamp,
            consume_time_stamp_str: None,
            delay_time,
            max_time_stamp: last,
            max_time_stamp_str: None,
            message_queue: MessageQueue::new(topic.name(), broker_name, queue.queue_id()),
            min_time_stamp: first,
            min_time_stamp_str: None,
        }
    };
    topic.queues.iter().map(span).collect()
}

/// Groups that have offsets of a topic, or are subscribed to it now.
pub(crate) fn groups_of_topic(broker: &Broker, topic: &str) -> Vec<String> {
    let mut groups = broker.offsets.groups_of(topic);
    for online in broker.sessions.consumers() {
        if online.subscription(topic).is_some() {
            groups.push(online.name().to_owned());
        }
    }
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// Topics that a group has offsets of, or is subscribed to now.
pub(crate) fn topics_of_group(broker: &Broker, group: &str) -> Vec<String> {
    let mut topics = broker.offsets.topics_of(group);
    if let Some(online) = broker.sessions.consumer(group) {
        let subscribed = online.subscriptions();
        topics.extend(subscribed.iter().map(|one| one.data.topic.clone()));
    }
    topics.sort_unstable();
    topics.dedup();
    topics
}

/// What a group that is online wants of a topic.
pub(crate) fn subscription(broker: &Broker, group: &str, topic: &str) -> Option<SubscriptionData> {
    let online = broker.sessions.consumer(group)?;
    Some(online.subscription(topic)?.data.clone())
}

/// The lowest offset of all groups in each queue of a topic, but for those that are left out, and `i64::MAX` where another group is
/// further than that (apache/rocketmq `AdminBrokerProcessor.queryCorrectionOffset`). Offsets below the queue's oldest message do not count.
pub(crate) fn lowest(
    broker: &Broker,
    topic: &Topic,
    left_out: &[&str],
    compared: &str,
) -> BTreeMap<i32, i64> {
    let mut lowest: BTreeMap<i32, i64> = BTreeMap::new();
    let groups = broker.offsets.groups_of(topic.name());
    for group in groups
        .iter()
        .filter(|group| !left_out.contains(&group.as_str()))
    {
        for (queue_id, offset) in broker.offsets.of(topic.name(), group) {
            let min = topic.queue(queue_id).map_or(0, |queue| queue.min_offset());
            if offset >= min {
                let known = lowest.entry(queue_id).or_insert(offset);
                *known = offset.min(*known);
            }
        }
    }
    for (queue_id, offset) in broker.offsets.of(topic.name(), compared) {
        if let Some(known) = lowest.get_mut(&queue_id).filter(|known| **known > offset) {
            *known = i64::MAX;
        }
    }
    lowest
}
