//! `rmq-ctl cluster`: checks of a whole cluster.

use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::error::Failure;
use crate::facts::{queues, topics, versions};
use crate::output::Output;
use crate::render::{Listing, RenderOptions, Row, schema_of};

/// Options of `cluster`.
#[derive(Debug, Args)]
pub(crate) struct Options {
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

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let cluster = Cluster::connect(cluster, output).await?;
    match &options.what {
        ClusterTask::Versions(options) => {
            let versions = versions::read(&cluster).await?;
            options.render.list(&versions.listing(), output)?;
            match versions.skew() {
                Some(skew) => {
                    Err(Failure::coded(&codes::CHECK, "the servers' versions differ").because(skew))
                }
                None => Ok(()),
            }
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
    for topic in topics::names(cluster, false).await? {
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
            *messages += queues::messages(at);
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
