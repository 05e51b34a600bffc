//! Everything about a queue.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::description::{Description, Tables};
use crate::cluster::Cluster;
use crate::codes;
use crate::error::Failure;
use crate::facts::{lag, queues};
use crate::render::schema_of;
use crate::when;

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct OneQueueAbout {
    topic: String,
    broker: String,
    id: i32,
    min_offset: i64,
    max_offset: i64,
    groups: Vec<GroupAt>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct GroupAt {
    group: String,
    consumer_offset: i64,
    /// Messages that wait, 0 or more.
    lag: i64,
    /// How far the group's offset is beyond the queue's end; 0 in a sound queue.
    beyond_end: i64,
}

pub(crate) async fn queue(name: &str, cluster: &Cluster) -> Result<Description, Failure> {
    let mut parts = name.split('/');
    let (Some(topic), Some(broker), Some(Ok(id)), None) = (
        parts.next(),
        parts.next(),
        parts.next().map(str::parse::<i32>),
        parts.next(),
    ) else {
        return Err(
            Failure::coded(&codes::INVALID, format!("\"{name}\" is no queue"))
                .because("it is written TOPIC/BROKER/QUEUE, such as orders/broker-a/0"),
        );
    };
    let stats = match cluster.client.admin().topic_stats(topic).await {
        Ok(stats) => stats,
        Err(error) => return Err(cluster.topic_failed(topic, error).await),
    };
    let found = stats
        .offset_table
        .0
        .iter()
        .find(|(queue, _)| queue.broker_name == broker && queue.queue_id == id);
    let Some((_, at)) = found else {
        return Err(Failure::coded(
            &codes::NOT_FOUND,
            format!("topic \"{topic}\" has no queue {broker}/{id}"),
        )
        .fact("asked", &cluster.name)
        .try_this(format!("rmq-ctl get queues -t {topic}")));
    };
    let queue = rmq_client::Queue::new(topic, broker, id);
    let failed = |error| cluster.failed(format!("cannot describe {queue}"), error);
    let admin = cluster.client.admin();
    let mut groups = Vec::new();
    for group in admin.groups_of_topic(topic).await.map_err(failed)? {
        let offset = admin
            .committed_offset(&group, &queue)
            .await
            .map_err(failed)?;
        if let Some(offset) = offset {
            let (behind, beyond_end) = lag::lag_and_beyond(offset, at.max_offset);
            groups.push(GroupAt {
                group,
                consumer_offset: offset,
                lag: behind,
                beyond_end,
            });
        }
    }
    let tables: Tables = vec![
        (
            "Offsets",
            vec!["MIN", "MAX", "MESSAGES", "LAST STORED"],
            vec![vec![
                at.min_offset.to_string(),
                at.max_offset.to_string(),
                queues::messages(at).to_string(),
                when::show_time(at.last_update_timestamp, cluster.utc),
            ]],
        ),
        (
            "Groups",
            vec!["GROUP", "CONSUMED", "LAG", "BEYOND END"],
            groups
                .iter()
                .map(|at| {
                    vec![
                        at.group.clone(),
                        at.consumer_offset.to_string(),
                        at.lag.to_string(),
                        at.beyond_end.to_string(),
                    ]
                })
                .collect(),
        ),
    ];
    let about = OneQueueAbout {
        topic: topic.to_owned(),
        broker: broker.to_owned(),
        id,
        min_offset: at.min_offset,
        max_offset: at.max_offset,
        groups,
    };
    Ok(Description {
        kind: "Queue",
        name: name.to_owned(),
        value: json!(about),
        schema: schema_of::<OneQueueAbout>,
        tables,
    })
}
