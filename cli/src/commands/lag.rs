//! `rmq-ctl lag`: how far groups are behind. Reads only.

use clap::Args;
use rmq_client::protocol::names::is_system_group;
use serde::Serialize;

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::error::Failure;
use crate::output::Output;
use crate::render::{Listing, RenderOptions, Row};
use crate::when;

/// Options of `lag`.
#[derive(Debug, Args)]
#[command(after_help = "Reads only. Exit code 10 when --fail-above is passed.

Examples:
  rmq-ctl lag
  rmq-ctl lag billing
  rmq-ctl lag billing --fail-above 1000")]
pub(crate) struct Options {
    /// The group, queue by queue. Default: all groups, the worst first.
    group: Option<String>,

    /// Fail with exit code 10 when a group is more messages behind.
    #[arg(long, value_name = "MESSAGES")]
    fail_above: Option<i64>,

    #[command(flatten)]
    render: RenderOptions,
}

/// How far a group is in one queue.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueueLag {
    pub(crate) topic: String,
    pub(crate) broker: String,
    pub(crate) queue: i32,
    pub(crate) consumer_offset: i64,
    pub(crate) broker_offset: i64,
    pub(crate) lag: i64,
    /// Store time of the last consumed message, Unix milliseconds; 0 when none.
    pub(crate) last_consumed_ms: i64,
}

#[derive(Serialize)]
struct GroupLag {
    group: String,
    lag: i64,
    topics: Vec<String>,
}

/// How far a group is in each queue that it has an offset of.
pub(crate) async fn of_group(
    cluster: &Cluster,
    group: &str,
) -> Result<Vec<QueueLag>, rmq_client::Error> {
    let stats = cluster.client.admin().consume_stats(group, None).await?;
    let queues = stats
        .offset_table
        .0
        .into_iter()
        .map(|(queue, at)| QueueLag {
            topic: queue.topic,
            broker: queue.broker_name,
            queue: queue.queue_id,
            consumer_offset: at.consumer_offset,
            broker_offset: at.broker_offset,
            lag: at.broker_offset - at.consumer_offset,
            last_consumed_ms: at.last_timestamp,
        });
    Ok(queues.collect())
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let cluster = Cluster::connect(cluster, output).await?;
    let (listing, worst) = match &options.group {
        Some(group) => one(&cluster, group).await?,
        None => all(&cluster).await?,
    };
    options.render.list(&listing, output)?;
    match (options.fail_above, worst) {
        (Some(limit), Some((group, lag))) if lag > limit => Err(Failure::coded(
            &codes::CHECK,
            format!("group \"{group}\" is {lag} messages behind, more than {limit}"),
        )
        .fact("asked", &cluster.name)),
        _ => Ok(()),
    }
}

type Worst = Option<(String, i64)>;

async fn one(cluster: &Cluster, group: &str) -> Result<(Listing, Worst), Failure> {
    let failed = |error| cluster.failed(format!("cannot read the lag of \"{group}\""), error);
    let queues = of_group(cluster, group).await.map_err(failed)?;
    if queues.is_empty() {
        let known = cluster.client.admin().groups().await.map_err(failed)?;
        if !known.iter().any(|name| name == group) {
            let mut failure =
                Failure::coded(&codes::NOT_FOUND, format!("there is no group \"{group}\""))
                    .fact("asked", &cluster.name);
            if let Some(close) = crate::cluster::closest(group, &known) {
                failure = failure.try_this(format!("rmq-ctl lag {close}   (close match)"));
            }
            return Err(failure);
        }
    }
    let total = queues.iter().map(|queue| queue.lag).sum();
    let now = when::now_ms();
    let rows = queues.iter().map(|queue| {
        let cells = vec![
            queue.topic.clone(),
            queue.broker.clone(),
            queue.queue.to_string(),
            queue.consumer_offset.to_string(),
            queue.broker_offset.to_string(),
            queue.lag.to_string(),
            when::show_age(queue.last_consumed_ms, now),
        ];
        let name = format!("{}/{}/{}", queue.topic, queue.broker, queue.queue);
        Row::new(name, cells, queue)
    });
    let listing = Listing {
        kind: "QueueLagList",
        noun: "queue",
        columns: &["TOPIC", "BROKER", "QUEUE", "CONSUMED", "END", "LAG", "LAST"],
        wide_columns: &[],
        rows: rows.collect(),
        empty: format!("group \"{group}\" has consumed nothing yet"),
    };
    Ok((listing, Some((group.to_owned(), total))))
}

async fn all(cluster: &Cluster) -> Result<(Listing, Worst), Failure> {
    let failed = |error| cluster.failed("cannot read the lag of the groups", error);
    let mut groups = Vec::new();
    for group in cluster.client.admin().groups().await.map_err(failed)? {
        if is_system_group(&group) {
            continue;
        }
        let queues = of_group(cluster, &group).await.map_err(failed)?;
        let mut topics: Vec<String> = queues.iter().map(|queue| queue.topic.clone()).collect();
        topics.dedup();
        let lag = queues.iter().map(|queue| queue.lag).sum();
        groups.push(GroupLag { group, lag, topics });
    }
    groups.sort_by(|one, other| other.lag.cmp(&one.lag).then(one.group.cmp(&other.group)));
    let worst = groups.first().map(|group| (group.group.clone(), group.lag));
    let rows = groups.iter().map(|group| {
        let cells = vec![
            group.group.clone(),
            group.lag.to_string(),
            group.topics.join(","),
        ];
        Row::new(group.group.clone(), cells, group)
    });
    let listing = Listing {
        kind: "GroupLagList",
        noun: "group",
        columns: &["GROUP", "LAG", "TOPICS"],
        wide_columns: &[],
        rows: rows.collect(),
        empty: "there are no groups".to_owned(),
    };
    Ok((listing, worst))
}
