//! `rmq-ctl broker` and `rmq-ctl cluster`: tasks of operators.

use std::time::Duration;

use clap::{Args, Subcommand};
use rmq_client::protocol::requests::{
    CleanExpiredConsumeQueue, CleanUnusedTopic, DeleteExpiredCommitLog,
};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::Instant;

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::completion::broker_completer;
use crate::error::Failure;
use crate::output::Output;
use crate::render::{Listing, RenderOptions, Row, schema_of};
use crate::stop;
use crate::write::WriteOptions;

/// Between looks of --wait.
const PAUSE: Duration = Duration::from_millis(500);

/// Options of `broker`.
#[derive(Debug, Args)]
pub(crate) struct BrokerOptions {
    #[command(subcommand)]
    what: BrokerTask,
}

#[derive(Debug, Subcommand)]
enum BrokerTask {
    /// Let producers go elsewhere: take the write permission from the broker in all routes.
    #[command(
        after_help = "Changes state. Messages that are there can still be consumed; --wait waits until they are.

Examples:
  rmq-ctl broker drain broker-a
  rmq-ctl broker drain broker-a --wait=10m --yes"
    )]
    Drain(DrainOptions),
    /// Undo `drain`.
    #[command(after_help = "Changes state.

Examples:
  rmq-ctl broker undrain broker-a
  rmq-ctl broker undrain broker-a --dry-run")]
    Undrain(NameOptions),
    /// Remove at once what would be removed at its time.
    #[command(after_help = "Changes state.

Examples:
  rmq-ctl broker clean broker-a --expired-log --dry-run
  rmq-ctl broker clean broker-a --consume-queues --unused-topics --yes")]
    Clean(CleanOptions),
}

#[derive(Debug, Args)]
struct NameOptions {
    /// The broker group.
    #[arg(add = broker_completer())]
    name: String,
    #[command(flatten)]
    write: WriteOptions,
}

#[derive(Debug, Args)]
struct DrainOptions {
    #[command(flatten)]
    of: NameOptions,
    /// Wait until every group has consumed what is there: for 10m at most, or as said.
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "10m", value_parser = crate::when::parse_length)]
    wait: Option<Duration>,
}

#[derive(Debug, Args)]
struct CleanOptions {
    #[command(flatten)]
    of: NameOptions,
    /// Entries of consume queues whose messages are gone.
    #[arg(long)]
    consume_queues: bool,
    /// Consume queues of topics that were deleted.
    #[arg(long)]
    unused_topics: bool,
    /// Segments of the log whose time of retention is over.
    #[arg(long)]
    expired_log: bool,
}

pub(crate) async fn broker(
    options: &BrokerOptions,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let (of, what) = match &options.what {
        BrokerTask::Drain(options) => (&options.of, "drain"),
        BrokerTask::Undrain(options) => (options, "undrain"),
        BrokerTask::Clean(options) => (&options.of, "clean"),
    };
    let what = format!("{what} broker \"{}\"", of.name);
    if of.write.is_client_run() {
        output.data(&format!("dry run: {what} (no server was asked)"));
        return Ok(());
    }
    let cluster = Cluster::connect(cluster, output).await?;
    let failed = |error| cluster.failed(format!("cannot {what}"), error);
    let name = &cluster.broker_name(&of.name).await?;
    let info = cluster.client.cluster_info().await.map_err(failed)?;
    if !info.broker_addr_table.contains_key(name) {
        let known: Vec<String> = info.broker_addr_table.into_keys().collect();
        return Err(Failure::coded(
            &codes::NOT_FOUND,
            format!("there is no broker \"{}\"", of.name),
        )
        .fact("asked", &cluster.name)
        .because(format!("known brokers: {}", known.join(", "))));
    }
    match &options.what {
        BrokerTask::Drain(options) => drain(options, name, &what, &cluster, output).await,
        BrokerTask::Undrain(options) => {
            if options.write.dry_run.is_some() {
                output.data(&format!("dry run: {what}"));
                return Ok(());
            }
            let topics = cluster.client.admin().allow_writes(name).await;
            let topics = topics.map_err(failed)?;
            output.data(&format!("broker/{name} undrained ({topics} topics)"));
            Ok(())
        }
        BrokerTask::Clean(options) => clean(options, name, &what, &cluster, output).await,
    }
}

async fn drain(
    options: &DrainOptions,
    name: &str,
    what: &str,
    cluster: &Cluster,
    output: &Output,
) -> Result<(), Failure> {
    let failed = |error| cluster.failed(format!("cannot {what}"), error);
    if !options.of.write.agreed(what, None, output)? {
        return Ok(());
    }
    let topics = cluster
        .client
        .admin()
        .stop_writes(name)
        .await
        .map_err(failed)?;
    output.data(&format!(
        "broker/{name} drained: no more writes to {topics} topics"
    ));
    let Some(wait) = options.wait else {
        return Ok(());
    };
    stop::unless_stopped("waiting", consumed(name, wait, cluster, output)).await
}

/// Waits until the groups have consumed what the broker holds.
async fn consumed(
    name: &str,
    wait: Duration,
    cluster: &Cluster,
    output: &Output,
) -> Result<(), Failure> {
    let failed = |error| cluster.failed("cannot look at what is left", error);
    let deadline = Instant::now() + wait;
    loop {
        let mut left: Vec<(String, i64)> = Vec::new();
        for group in cluster.client.admin().groups().await.map_err(failed)? {
            let lag = super::lag::of_group(cluster, &group)
                .await
                .map_err(failed)?;
            let lag = lag.iter().filter(|queue| queue.broker == name);
            let lag = super::lag::total(lag);
            if lag > 0 {
                left.push((group, lag));
            }
        }
        let Some((group, lag)) = left.iter().max_by_key(|(_, lag)| *lag) else {
            output.data(&format!("broker/{name} is consumed"));
            return Ok(());
        };
        if Instant::now() + PAUSE > deadline {
            return Err(Failure::coded(
                &codes::TIMEOUT,
                format!("broker \"{name}\" is drained, but not consumed after {wait:?}"),
            )
            .because(format!("group \"{group}\" has {lag} messages left there"))
            .try_this(format!("rmq-ctl lag {group}")));
        }
        output.detail(&format!(
            "waiting: group \"{group}\" has {lag} messages left"
        ));
        tokio::time::sleep(PAUSE).await;
    }
}

async fn clean(
    options: &CleanOptions,
    name: &str,
    what: &str,
    cluster: &Cluster,
    output: &Output,
) -> Result<(), Failure> {
    let mut parts = Vec::new();
    for (wanted, part) in [
        (options.consume_queues, "expired consume queues"),
        (options.unused_topics, "queues of deleted topics"),
        (options.expired_log, "expired segments of the log"),
    ] {
        if wanted {
            parts.push(part);
        }
    }
    if parts.is_empty() {
        return Err(Failure::coded(&codes::INVALID, "clean what")
            .because("none of --consume-queues, --unused-topics, --expired-log is given"));
    }
    if !options
        .of
        .write
        .agreed(&format!("{what}: {}", parts.join(", ")), None, output)?
    {
        return Ok(());
    }
    let failed = |error| cluster.failed(format!("cannot {what}"), error);
    let info = cluster.client.cluster_info().await.map_err(failed)?;
    let master = info
        .broker_addr_table
        .get(name)
        .and_then(|data| data.master());
    let Some(addr) = master else {
        return Err(Failure::coded(
            &codes::NOT_FOUND,
            format!("broker \"{name}\" has no master"),
        ));
    };
    let remote = cluster.client.remote(addr);
    if options.consume_queues {
        remote
            .call(&CleanExpiredConsumeQueue {}, b"")
            .await
            .map_err(failed)?;
    }
    if options.unused_topics {
        remote
            .call(&CleanUnusedTopic {}, b"")
            .await
            .map_err(failed)?;
    }
    if options.expired_log {
        remote
            .call(&DeleteExpiredCommitLog {}, b"")
            .await
            .map_err(failed)?;
    }
    output.data(&format!("broker/{name} cleaned: {}", parts.join(", ")));
    Ok(())
}

/// Options of `cluster`.
#[derive(Debug, Args)]
pub(crate) struct ClusterTaskOptions {
    #[command(subcommand)]
    what: ClusterTask,
}

#[derive(Debug, Subcommand)]
enum ClusterTask {
    /// Which server runs which version: of rmq, and of the protocol as clients see it.
    #[command(after_help = "Reads only. Exit code 10 when versions differ.

Examples:
  rmq-ctl cluster versions
  rmq-ctl cluster versions -o json")]
    Versions(ListOptions),
    /// How evenly topics' messages lie on the brokers.
    #[command(
        after_help = "Reads only. Exit code 10 when a broker has more than twice the messages of another one that serves the same topic.

Examples:
  rmq-ctl cluster balance-check
  rmq-ctl cluster balance-check -o json"
    )]
    BalanceCheck(ListOptions),
}

#[derive(Debug, Args)]
struct ListOptions {
    #[command(flatten)]
    render: RenderOptions,
}

pub(crate) async fn cluster(
    options: &ClusterTaskOptions,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let cluster = Cluster::connect(cluster, output).await?;
    match &options.what {
        ClusterTask::Versions(options) => {
            super::versions::list(&options.render, &cluster, output).await
        }
        ClusterTask::BalanceCheck(options) => balance(options, &cluster, output).await,
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct BalanceItem {
    topic: String,
    broker: String,
    queues: usize,
    messages: i64,
    share_percent: f64,
}

async fn balance(options: &ListOptions, cluster: &Cluster, output: &Output) -> Result<(), Failure> {
    let failed = |error| cluster.failed("cannot read the topics", error);
    let mut rows = Vec::new();
    let mut uneven = Vec::new();
    for topic in super::get::topic_names(cluster, false).await? {
        let stats = cluster
            .client
            .admin()
            .topic_stats(&topic)
            .await
            .map_err(failed)?;
        let mut brokers: std::collections::BTreeMap<String, (usize, i64)> = Default::default();
        for (queue, at) in &stats.offset_table.0 {
            let (queues, messages) = brokers.entry(queue.broker_name.clone()).or_default();
            *queues += 1;
            *messages += super::get::messages(at);
        }
        let all: i64 = brokers.values().map(|(_, messages)| messages).sum();
        let counts: Vec<i64> = brokers.values().map(|(_, messages)| *messages).collect();
        let (low, high) = (
            counts.iter().copied().min().unwrap_or(0),
            counts.iter().copied().max().unwrap_or(0),
        );
        // A handful of messages is no pattern.
        if counts.len() > 1 && high > 100 && high > low * 2 {
            uneven.push(topic.clone());
        }
        for (broker, (queues, messages)) in brokers {
            let share = if all > 0 {
                messages as f64 * 100.0 / all as f64
            } else {
                0.0
            };
            let cells = vec![
                topic.clone(),
                broker.clone(),
                queues.to_string(),
                messages.to_string(),
                format!("{share:.0}%"),
            ];
            let item = BalanceItem {
                topic: topic.clone(),
                broker,
                queues,
                messages,
                share_percent: share,
            };
            rows.push(Row::new(topic.clone(), cells, &item));
        }
    }
    let listing = Listing {
        kind: "BalanceList",
        schema: schema_of::<BalanceItem>,
        noun: "topic",
        columns: &["TOPIC", "BROKER", "QUEUES", "MESSAGES", "SHARE"],
        wide_columns: &[],
        rows,
        empty: "there are no topics".to_owned(),
    };
    options.render.list(&listing, output)?;
    if uneven.is_empty() {
        return Ok(());
    }
    Err(
        Failure::coded(&codes::CHECK, "topics lie unevenly on their brokers")
            .because(uneven.join(", ")),
    )
}
