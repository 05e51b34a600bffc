//! Messages that wait for a timer, as tools and metrics ask for them.

use std::collections::BTreeMap;

use rmq_protocol::bodies::{DataVersion, TimerCheckpoint, TimerMetrics, TimingCount};
use rmq_protocol::names::TIMER_TOPIC;
use rmq_store::ReadError;

use crate::broker::Broker;
use crate::tables::due_key::topic_hash;
use crate::tables::timing::OfTopic;

/// Timers of each topic that has or had any. A replica counts none.
pub(crate) fn of_topics(broker: &Broker) -> Vec<(String, OfTopic)> {
    let timing: BTreeMap<u32, OfTopic> = broker.delay.waiting.timing().topics().collect();
    if timing.is_empty() {
        return Vec::new();
    }
    let topics = broker.topics.all().into_iter();
    topics
        .filter_map(|topic| {
            let of = timing.get(&topic_hash(topic.name()))?;
            Some((topic.name().to_owned(), *of))
        })
        .collect()
}

/// How many messages wait, by topic.
pub(crate) fn metrics(broker: &Broker) -> TimerMetrics {
    let now_ms = broker.now_ms();
    let topics = of_topics(broker);
    TimerMetrics {
        data_version: DataVersion {
            counter: topics
                .iter()
                .map(|(_, of)| (of.begun + of.ended) as i64)
                .sum(),
            timestamp: now_ms,
            ..DataVersion::default()
        },
        timing_count: topics
            .into_iter()
            .map(|(topic, of)| {
                let count = TimingCount {
                    count: of.waiting,
                    time_stamp: now_ms,
                };
                (topic, count)
            })
            .collect(),
    }
}

/// How far timers have come. May wait for the disk.
///
/// # Errors
/// The queue of timers cannot be looked up.
pub(crate) fn checkpoint(broker: &Broker) -> Result<TimerCheckpoint, ReadError> {
    let end = broker.store.queue(TIMER_TOPIC, 0)?.max_offset();
    Ok(TimerCheckpoint {
        last_read_ms: broker.now_ms().div_euclid(1_000) * 1_000,
        log_position: broker.store.positions().confirmed as i64,
        queue_offset: end,
        master_queue_offset: end,
    })
}

/// Messages that are due and not delivered yet, to the second, and how late the first one is, milliseconds.
pub(crate) fn late(broker: &Broker) -> (u64, i64) {
    let now_ms = broker.now_ms();
    let timing = broker.delay.waiting.timing();
    let messages = timing.between(i64::MIN, now_ms);
    let first_ms = timing.first_ms().filter(|_| messages > 0);
    (messages, first_ms.map_or(0, |first_ms| now_ms - first_ms))
}
