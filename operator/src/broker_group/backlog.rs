//! The messages of a broker that a group has not consumed, or that wait for their time.

use std::collections::{BTreeMap, BTreeSet};

use rmq_client::Client;
use rmq_client::protocol::bodies::TopicStatsTable;

use crate::clusters::is_gone;

/// Groups that a status names.
const GROUPS_MAX: usize = 10;

/// What is left at a broker.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Backlog {
    /// Messages that some group has not consumed, counted for each such group, delayed messages, and transactions that have not ended.
    pub(super) messages: i64,
    /// The groups that are behind, with their messages, the farthest behind first.
    pub(super) groups: Vec<String>,
}

/// Delayed messages that are not delivered yet: no group can have consumed them. The broker tells them as
/// `scheduleMessageOffset_LEVEL: DELIVERED,STORED`.
fn delayed(runtime: &BTreeMap<String, String>) -> i64 {
    let levels = runtime
        .iter()
        .filter(|(key, _)| key.starts_with("scheduleMessageOffset_"));
    let waiting = levels.filter_map(|(_, value)| {
        let (delivered, stored) = value.split_once(',')?;
        let number = |text: &str| text.trim().parse::<i64>().ok();
        Some((number(stored)? - number(delivered)?).max(0))
    });
    waiting.sum()
}

/// Transactions that have not ended, the parked ones counted.
fn open_transactions(runtime: &BTreeMap<String, String>) -> i64 {
    let number = |key: &str| runtime.get(key)?.parse::<i64>().ok();
    let counts = ["halfMessages", "parkedTransactions"].map(number);
    counts.into_iter().flatten().sum()
}

/// Asks a broker for the messages that a group has not consumed, or that wait for their time.
pub(super) async fn left(client: &Client, broker: &str) -> Result<Backlog, rmq_client::Error> {
    let admin = client.admin();
    // The delayed messages first: one that becomes due meanwhile is counted twice rather than not at all.
    let runtime = admin.runtime_info(broker).await?;
    let (delayed, open) = (delayed(&runtime), open_transactions(&runtime));
    let mut bounds: BTreeMap<String, Vec<(i32, i64, i64)>> = BTreeMap::new();
    let mut behind = Vec::new();
    for group in admin.groups().await? {
        let stats = admin.consume_stats(&group, None).await?;
        let table = &stats.offset_table.0;
        let topics: BTreeSet<&str> = table
            .iter()
            .map(|(queue, _)| queue.topic.as_str())
            .collect();
        let mut lag = 0;
        for topic in topics {
            if !bounds.contains_key(topic) {
                let of_topic = match admin.topic_stats(topic).await {
                    Ok(stats) => stats,
                    // A topic that was deleted has no messages.
                    Err(error) if is_gone(&error) => TopicStatsTable::default(),
                    Err(error) => return Err(error),
                };
                let of_broker = of_topic.offset_table.0.iter();
                let of_broker = of_broker.filter(|(queue, _)| queue.broker_name == broker);
                let of_broker = of_broker
                    .map(|(queue, offset)| (queue.queue_id, offset.min_offset, offset.max_offset));
                bounds.insert(topic.to_owned(), of_broker.collect());
            }
            for (id, min, max) in bounds.get(topic).into_iter().flatten() {
                // Of a queue that the group never read, it consumed nothing.
                let known = table.iter().find(|(queue, _)| {
                    queue.topic == topic && queue.broker_name == broker && queue.queue_id == *id
                });
                let consumed = known.map_or(*min, |(_, offset)| offset.consumer_offset);
                lag += (max - consumed.max(*min)).max(0);
            }
        }
        if lag > 0 {
            behind.push((lag, group));
        }
    }
    behind.sort_by(|one, other| other.cmp(one));
    let total: i64 = behind.iter().map(|(lag, _)| lag).sum();
    let groups = behind
        .into_iter()
        .take(GROUPS_MAX)
        .map(|(lag, group)| format!("{group} ({lag})"));
    let mut groups: Vec<String> = groups.collect();
    if delayed > 0 {
        groups.push(format!("messages that wait for their time ({delayed})"));
    }
    if open > 0 {
        groups.push(format!("transactions that have not ended ({open})"));
    }
    Ok(Backlog {
        messages: total + delayed + open,
        groups,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delayed_messages_are_what_is_stored_and_not_delivered() {
        let info = |pairs: &[(&str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            pairs.collect::<BTreeMap<String, String>>()
        };
        assert_eq!(delayed(&info(&[])), 0);
        let runtime = info(&[
            ("scheduleMessageOffset_1", "4,9"),
            ("scheduleMessageOffset_2", "7, 7"),
            // A number that was read between two others.
            ("scheduleMessageOffset_3", "8,7"),
            ("scheduleMessageOffset_4", "unknown"),
            ("putMessageTimesTotal", "1,100"),
        ]);
        assert_eq!(delayed(&runtime), 5);
        assert_eq!(open_transactions(&runtime), 0);
        let open = info(&[("halfMessages", "3"), ("parkedTransactions", "2")]);
        assert_eq!(open_transactions(&open), 5);
    }
}
