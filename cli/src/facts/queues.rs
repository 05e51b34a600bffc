//! Queues of a topic, and their bounds.

use rmq_client::protocol::bodies::TopicOffset;
use schemars::JsonSchema;
use serde::Serialize;

use super::noun::{Asked, Names, Noun};
use crate::error::Failure;
use crate::render::{Listing, Row, schema_of};
use crate::when;

/// `queues`.
pub(crate) const NOUN: Noun = Noun {
    name: "queues",
    aliases: &["queue", "q"],
    about: "Queues of a topic",
    names: Names::Chosen,
    list: |asked| Box::pin(list(asked)),
};

/// Messages of a queue, 0 or more: the bounds of a queue that is being removed may be of two moments.
pub(crate) fn messages(at: &TopicOffset) -> i64 {
    at.max_offset.saturating_sub(at.min_offset).max(0)
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct QueueItem {
    name: String,
    broker: String,
    id: i32,
    min_offset: i64,
    max_offset: i64,
    messages: i64,
    last_store_time_ms: i64,
}

async fn list(asked: Asked<'_>) -> Result<Listing, Failure> {
    let (cluster, topic) = (asked.cluster, asked.topic.unwrap_or_default());
    let stats = match cluster.client.admin().topic_stats(topic).await {
        Ok(stats) => stats,
        Err(error) => return Err(cluster.topic_failed(topic, error).await),
    };
    let mut queues: Vec<_> = stats.offset_table.0;
    queues.sort_by(|(one, _), (other, _)| one.cmp(other));
    let now = when::now_ms();
    let rows = queues.into_iter().map(|(queue, offsets)| {
        let item = QueueItem {
            name: format!("{}/{}", queue.broker_name, queue.queue_id),
            broker: queue.broker_name,
            id: queue.queue_id,
            min_offset: offsets.min_offset,
            max_offset: offsets.max_offset,
            messages: messages(&offsets),
            last_store_time_ms: offsets.last_update_timestamp,
        };
        let cells = vec![
            item.broker.clone(),
            item.id.to_string(),
            item.min_offset.to_string(),
            item.max_offset.to_string(),
            item.messages.to_string(),
            when::show_age(item.last_store_time_ms, now),
            when::show_time(item.last_store_time_ms, cluster.utc),
        ];
        Row::new(item.name.clone(), cells, &item)
    });
    Ok(Listing {
        kind: "QueueList",
        schema: schema_of::<QueueItem>,
        noun: "queue",
        columns: &["BROKER", "QUEUE", "MIN", "MAX", "MESSAGES", "LAST"],
        wide_columns: &["LAST STORED"],
        rows: rows.collect(),
        empty: format!("topic \"{topic}\" has no queues"),
    })
}
