//! What the cluster does: figures of brokers, topics and groups, with what has changed since the look before.

use std::collections::BTreeMap;
use std::time::Instant;

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::cluster::Cluster;
use crate::facts::limits::AT_ONCE;
use crate::facts::{lag, queues, topics as topic_facts};
use crate::numbers;
use crate::plot::sparkline;

/// Points of a trend.
const POINTS: usize = 32;

/// One row of a table: name, cells, and what it is sorted by.
pub(super) struct Item {
    pub(super) name: String,
    pub(super) cells: Vec<String>,
    pub(super) weight: f64,
}

/// Numbers of the look before, and trends.
#[derive(Default)]
pub(super) struct Memory {
    counts: BTreeMap<String, (Instant, i64)>,
    trends: BTreeMap<String, Vec<f64>>,
}

impl Memory {
    /// A second's growth of a count since the look before.
    fn rate(&mut self, key: String, count: i64) -> f64 {
        let now = Instant::now();
        let before = self.counts.insert(key, (now, count));
        before.map_or(0.0, |(at, before)| {
            let seconds = now.duration_since(at).as_secs_f64().max(0.001);
            count.saturating_sub(before).max(0) as f64 / seconds
        })
    }

    fn trend(&mut self, key: String, value: f64) -> String {
        let points = self.trends.entry(key).or_default();
        points.push(value);
        if points.len() > POINTS {
            points.remove(0);
        }
        sparkline(points)
    }
}

/// How far a group is: in all, and its offset in each queue.
struct GroupAt {
    name: String,
    lag: i64,
    consumed: Vec<(String, i64)>,
}

/// Asks brokers, topics and groups.
pub(super) async fn look(
    all: bool,
    cluster: &Cluster,
    memory: &mut Memory,
) -> Result<[Vec<Item>; 3], rmq_client::Error> {
    let admin = cluster.client.admin();
    let info = cluster.client.cluster_info().await?;
    let mut brokers = Vec::new();
    for name in info.broker_addr_table.keys() {
        let figures = admin.runtime_info(name).await.unwrap_or_default();
        let count = |key: &str| -> i64 {
            figures
                .get(key)
                .and_then(|text| text.parse().ok())
                .unwrap_or(0)
        };
        let disk = figures.get("commitLogDiskRatio");
        let disk = disk
            .and_then(|text| text.parse().ok())
            .map(numbers::percent);
        let into = memory.rate(format!("in/{name}"), count("msgPutTotalTodayNow"));
        let out = memory.rate(format!("out/{name}"), count("msgGetTotalTodayNow"));
        let trend = memory.trend(format!("broker/{name}"), into + out);
        brokers.push(Item {
            name: name.clone(),
            cells: vec![
                numbers::rate(into),
                numbers::rate(out),
                disk.unwrap_or_else(|| "?".to_owned()),
                trend,
            ],
            weight: into + out,
        });
    }
    let names = topic_facts::names(cluster, all).await.unwrap_or_default();
    let stats: Vec<_> = stream::iter(names)
        .map(|name| {
            let admin = cluster.client.admin();
            async move {
                let stats = admin.topic_stats(&name).await;
                (name, stats)
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut topics = Vec::new();
    for (name, stats) in stats {
        // Deleted while the list was read.
        let Ok(stats) = stats else {
            continue;
        };
        let queues = &stats.offset_table.0;
        let messages = queues
            .iter()
            .map(|(_, at)| queues::messages(at))
            .fold(0_i64, i64::saturating_add);
        let rates = queues.iter().map(|(queue, at)| {
            let queue = format!("topic/{name}/{}/{}", queue.broker_name, queue.queue_id);
            memory.rate(queue, at.max_offset)
        });
        let rate: f64 = rates.sum();
        let trend = memory.trend(format!("topic/{name}"), rate);
        topics.push(Item {
            cells: vec![
                queues.len().to_string(),
                numbers::about(messages),
                numbers::rate(rate),
                trend,
            ],
            weight: rate,
            name,
        });
    }
    let groups: Vec<GroupAt> = stream::iter(admin.groups().await?)
        .map(|group| async move {
            let queues = lag::of_group(cluster, &group).await?;
            let lag = lag::total(&queues);
            let consumed = queues
                .into_iter()
                .map(|queue| {
                    let name = format!("{}/{}/{}", queue.topic, queue.broker, queue.queue);
                    (name, queue.consumer_offset)
                })
                .collect();
            Ok::<_, rmq_client::Error>(GroupAt {
                name: group,
                lag,
                consumed,
            })
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let groups = groups
        .into_iter()
        .filter(|group| all || !rmq_client::protocol::names::is_system_group(&group.name))
        .map(|group| {
            let GroupAt {
                name,
                lag,
                consumed,
            } = group;
            // Queue by queue: an offset that was moved back hides nothing of the others.
            let rates = consumed
                .into_iter()
                .map(|(queue, offset)| memory.rate(format!("group/{name}/{queue}"), offset));
            let rate: f64 = rates.sum();
            let trend = memory.trend(format!("group/{name}"), lag as f64);
            Item {
                cells: vec![numbers::about(lag), numbers::rate(rate), trend],
                weight: lag as f64,
                name,
            }
        })
        .collect();
    Ok([brokers, topics, groups])
}
