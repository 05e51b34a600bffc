//! What brokers may ask of a consumer and make it do.

use std::collections::BTreeMap;

use rmq_protocol::bodies::{ConsumerRunningInfo, MessageQueue, ProcessQueueInfo, QueueMap};

use super::state::ConsumerState;
use crate::incoming::Steered;
use crate::queue::Queue;

impl Steered for ConsumerState {
    fn reset(&self, offsets: &QueueMap<i64>) {
        for (queue, offset) in &offsets.0 {
            let queue = Queue::from(queue);
            if let Some(held) = self.find(&queue) {
                tracing::info!(%queue, group = self.group, offset, "a broker resets the offset");
                held.seek(*offset);
            }
        }
    }

    fn positions(&self, topic: &str) -> QueueMap<i64> {
        let held = self.held();
        let of_topic = held.iter().filter(|held| held.queue().topic() == topic);
        QueueMap(
            of_topic
                .filter_map(|held| Some((held.queue().into(), held.position()?)))
                .collect(),
        )
    }

    fn running_info(&self) -> ConsumerRunningInfo {
        let queues = self.held().into_iter().map(|held| {
            let info = ProcessQueueInfo {
                commit_offset: held.position().unwrap_or(-1),
                cached_msg_count: i32::try_from(held.unsettled()).unwrap_or(i32::MAX),
                locked: held.is_locked(),
                last_pull_timestamp: held.last_pull_ms(),
                ..ProcessQueueInfo::default()
            };
            (MessageQueue::from(held.queue()), info)
        });
        let subscriptions = self.subscriptions.iter().map(|subscription| {
            subscription
                .filter
                .subscription(subscription.topic.as_str(), 0)
        });
        ConsumerRunningInfo {
            mq_table: QueueMap(queues.collect()),
            subscription_set: subscriptions.collect(),
            properties: BTreeMap::from(
                [
                    ("PROP_CONSUME_TYPE", "CONSUME_PASSIVELY".to_owned()),
                    ("PROP_CONSUMEORDERLY", self.settings.ordered.to_string()),
                    (
                        "PROP_NAMESERVER_ADDR",
                        self.client.url().name_servers().join(";"),
                    ),
                ]
                .map(|(name, value)| (name.to_owned(), value)),
            ),
            ..ConsumerRunningInfo::default()
        }
    }
}
