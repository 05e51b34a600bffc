//! How far groups are behind, queue by queue.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::clients;
use crate::cluster::Cluster;

/// How far a group is in one queue.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueueLag {
    pub(crate) topic: String,
    pub(crate) broker: String,
    pub(crate) queue: i32,
    pub(crate) consumer_offset: i64,
    pub(crate) broker_offset: i64,
    /// Messages that wait, 0 or more.
    pub(crate) lag: i64,
    /// How far the group's offset is beyond the queue's end; 0 in a sound queue.
    pub(crate) beyond_end: i64,
    /// Store time of the last consumed message, Unix milliseconds; 0 when none.
    pub(crate) last_consumed_ms: i64,
    /// The member that holds the queue; with one group only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
}

impl QueueLag {
    /// What is wrong with the group's offset, for people.
    fn fault(&self) -> Option<String> {
        let end = self.broker_offset;
        (self.beyond_end > 0).then(|| {
            format!(
                "queue {}/{}/{} ends at {end}, and the group's offset there is {}: {} messages would be passed over",
                self.topic, self.broker, self.queue, self.consumer_offset, self.beyond_end
            )
        })
    }
}

/// Messages that wait in these queues. A queue whose offset is beyond its end counts as empty.
pub(crate) fn total<'q>(queues: impl IntoIterator<Item = &'q QueueLag>) -> i64 {
    let lags = queues.into_iter().map(|queue| queue.lag);
    lags.fold(0, i64::saturating_add)
}

/// Queues whose offset is beyond their end, one sentence each.
pub(crate) fn faults(queues: &[QueueLag]) -> Vec<String> {
    queues.iter().filter_map(QueueLag::fault).collect()
}

/// A sentence about messages in queues that the topic no longer reads; `None` without such messages, or when the brokers do not say.
pub(crate) async fn unreadable(cluster: &Cluster, topic: &str) -> Option<String> {
    let stats = cluster.client.admin().topic_stats(topic).await.ok()?;
    let messages = stats.unreadable_messages;
    (messages > 0).then(|| {
        format!(
            "topic \"{topic}\": {messages} messages lie in queues that are not read any more; with as many read queues as before they can be \
             consumed (rmq-ctl set topic {topic} read-queues=N)"
        )
    })
}

/// Messages from an offset to the end of a queue, and how far the offset is beyond that end: one of them is 0.
pub(crate) fn lag_and_beyond(offset: i64, end: i64) -> (i64, i64) {
    let lag = end.saturating_sub(offset.max(0));
    (lag.max(0), lag.saturating_neg().max(0))
}

/// How far a group is in each queue that the group has an offset for.
pub(crate) async fn of_group(
    cluster: &Cluster,
    group: &str,
) -> Result<Vec<QueueLag>, rmq_client::Error> {
    let stats = cluster.client.admin().consume_stats(group, None).await?;
    let queues = stats.offset_table.0.into_iter().map(|(queue, at)| {
        let (lag, beyond_end) = lag_and_beyond(at.consumer_offset, at.broker_offset);
        QueueLag {
            topic: queue.topic,
            broker: queue.broker_name,
            queue: queue.queue_id,
            consumer_offset: at.consumer_offset,
            broker_offset: at.broker_offset,
            lag,
            beyond_end,
            last_consumed_ms: at.last_timestamp,
            owner: None,
        }
    });
    Ok(queues.collect())
}

/// Which member holds which queue, asked of the members.
pub(crate) async fn owners(
    cluster: &Cluster,
    group: &str,
) -> Result<BTreeMap<(String, String, i32), String>, rmq_client::Error> {
    let info = cluster.client.cluster_info().await?;
    let mut owners = BTreeMap::new();
    let brokers: Vec<String> = info.broker_addr_table.into_keys().collect();
    for member in clients::of_group(cluster, group).await? {
        // A member that does not answer names no queues.
        let running = clients::running(cluster, &brokers, group, &member.id).await;
        for (queue, _) in running
            .map(|running| running.mq_table.0)
            .unwrap_or_default()
        {
            owners.insert(
                (queue.topic, queue.broker_name, queue.queue_id),
                member.id.clone(),
            );
        }
    }
    Ok(owners)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(id: i32, offset: i64, end: i64) -> QueueLag {
        let (lag, beyond_end) = lag_and_beyond(offset, end);
        QueueLag {
            topic: "t".to_owned(),
            broker: "b".to_owned(),
            queue: id,
            consumer_offset: offset,
            broker_offset: end,
            lag,
            beyond_end,
            last_consumed_ms: 0,
            owner: None,
        }
    }

    #[test]
    fn a_queue_beyond_its_end_hides_no_other_one() {
        let queues = [
            queue(0, 1_000, 50),
            queue(1, 10, 50),
            queue(2, 50, 50),
            queue(3, -1, 7),
        ];
        assert_eq!(total(&queues), 40 + 7);
        let faults = faults(&queues);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains("t/b/0 ends at 50") && faults[0].contains("950"));
        for (offset, end) in [(i64::MAX, i64::MIN), (i64::MIN, i64::MAX), (0, i64::MIN)] {
            let (lag, beyond) = lag_and_beyond(offset, end);
            assert!(lag >= 0 && beyond >= 0 && (lag == 0 || beyond == 0));
        }
        assert_eq!(
            total(&[queue(0, 0, i64::MAX), queue(1, 0, i64::MAX)]),
            i64::MAX
        );
    }
}
