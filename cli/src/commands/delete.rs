//! `rmq-ctl delete`: topics and groups. Changes state, and asks first.

use clap::{Args, Subcommand};

use super::create::unconfirmed;
use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::error::Failure;
use crate::output::Output;

/// Options of `delete`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// Delete a topic with its messages at every broker and name server.
    #[command(
        alias = "t",
        after_help = "Changes state. Without a terminal it needs --yes.

Examples:
  rmq-ctl delete topic orders --dry-run
  rmq-ctl delete topic orders --yes"
    )]
    Topic(Common),
    /// Delete a consumer group at every broker.
    #[command(
        alias = "g",
        alias = "sub",
        after_help = "Changes state. Without a terminal it needs --yes.

Examples:
  rmq-ctl delete group billing --dry-run
  rmq-ctl delete group billing --offsets --yes"
    )]
    Group(GroupOptions),
}

#[derive(Debug, Args)]
struct Common {
    /// Its name.
    name: String,
    /// Go on without a question.
    #[arg(short, long)]
    yes: bool,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct GroupOptions {
    #[command(flatten)]
    common: Common,
    /// Its offsets too: a group of that name begins anew.
    #[arg(long)]
    offsets: bool,
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let cluster = Cluster::connect(cluster, output).await?;
    match &options.noun {
        Noun::Topic(options) => topic(options, &cluster, output).await,
        Noun::Group(options) => group(options, &cluster, output).await,
    }
}

async fn topic(options: &Common, cluster: &Cluster, output: &Output) -> Result<(), Failure> {
    let name = &options.name;
    let admin = cluster.client.admin();
    let stats = match admin.topic_stats(name).await {
        Ok(stats) => stats,
        Err(error) => return Err(cluster.topic_failed(name, error).await),
    };
    let messages: i64 = stats
        .offset_table
        .0
        .iter()
        .map(|(_, offsets)| offsets.max_offset - offsets.min_offset)
        .sum();
    let what = format!(
        "topic \"{name}\" with {messages} messages in {} queues",
        stats.offset_table.0.len()
    );
    if !agreed(options, &what, output)? {
        return Ok(());
    }
    admin
        .delete_topic(name)
        .await
        .map_err(|error| cluster.failed(format!("cannot delete topic \"{name}\""), error))?;
    output.data(&format!("topic/{name} deleted"));
    Ok(())
}

async fn group(options: &GroupOptions, cluster: &Cluster, output: &Output) -> Result<(), Failure> {
    let name = &options.common.name;
    let failed = |error| cluster.failed(format!("cannot delete group \"{name}\""), error);
    let admin = cluster.client.admin();
    let known = admin.groups().await.map_err(failed)?;
    if !known.contains(name) {
        return Err(
            Failure::coded(&codes::NOT_FOUND, format!("there is no group \"{name}\""))
                .fact("asked", &cluster.name),
        );
    }
    let offsets = if options.offsets {
        " and its offsets"
    } else {
        ""
    };
    if !agreed(
        &options.common,
        &format!("group \"{name}\"{offsets}"),
        output,
    )? {
        return Ok(());
    }
    admin
        .delete_group(name, options.offsets)
        .await
        .map_err(failed)?;
    output.data(&format!("group/{name} deleted"));
    Ok(())
}

/// Whether to go on; false after a dry run.
fn agreed(options: &Common, what: &str, output: &Output) -> Result<bool, Failure> {
    if options.dry_run {
        output.data(&format!("{what} would be deleted"));
        return Ok(false);
    }
    if options.yes || output.ask(&format!("Delete {what}?")) {
        return Ok(true);
    }
    Err(unconfirmed(&format!("deleting {what}")))
}
