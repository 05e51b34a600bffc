//! `rmq-ctl create`: topics and groups. Changes state.

use clap::{Args, Subcommand};
use rmq_client::{ErrorKind, GroupSpec, TopicSpec};

use crate::cluster::{Cluster, ClusterOptions};
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::kubernetes::OwnerOptions;
use crate::output::Output;
use crate::write::WriteOptions;

/// Options of `create`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// Create a topic at every broker.
    #[command(
        alias = "t",
        after_help = "Changes state.

Examples:
  rmq-ctl create topic orders --queues 8
  rmq-ctl create topic orders --perm r --if-not-exists"
    )]
    Topic(TopicOptions),
    /// Create a consumer group at every broker.
    #[command(
        alias = "g",
        alias = "sub",
        after_help = "Changes state.

Examples:
  rmq-ctl create group billing
  rmq-ctl create group billing --max-attempts 3 --ordered"
    )]
    Group(GroupOptions),
}

#[derive(Debug, Args)]
struct TopicOptions {
    /// Its name.
    name: String,
    /// Queues at each broker.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    queues: u16,
    /// What is allowed: rw, r, w or - for nothing.
    #[arg(long, default_value = "rw", value_parser = parse_perm)]
    perm: Perm,
    /// Only at the brokers of this cluster of RocketMQ.
    #[arg(long, value_name = "NAME")]
    broker_cluster: Option<String>,
    /// Be content when it is there already, as it is.
    #[arg(long)]
    if_not_exists: bool,
    #[command(flatten)]
    write: WriteOptions,
    #[command(flatten)]
    owner: OwnerOptions,
}

#[derive(Debug, Args)]
struct GroupOptions {
    /// Its name.
    name: String,
    /// Attempts before a message goes to the dead letters.
    #[arg(long, default_value_t = 16)]
    max_attempts: u16,
    /// Its members consume in order.
    #[arg(long)]
    ordered: bool,
    /// No member may get every message.
    #[arg(long)]
    no_broadcast: bool,
    /// Be content when it is there already, as it is.
    #[arg(long)]
    if_not_exists: bool,
    #[command(flatten)]
    write: WriteOptions,
    #[command(flatten)]
    owner: OwnerOptions,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Perm {
    pub(super) read: bool,
    pub(super) write: bool,
}

pub(super) fn parse_perm(text: &str) -> Result<Perm, String> {
    let perm = |read, write| Ok(Perm { read, write });
    match text {
        "rw" | "wr" => perm(true, true),
        "r" => perm(true, false),
        "w" => perm(false, true),
        "-" => perm(false, false),
        _ => Err("write rw, r, w or -".to_owned()),
    }
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let (noun, name, write, owner) = match &options.noun {
        Noun::Topic(options) => ("topic", &options.name, &options.write, options.owner),
        Noun::Group(options) => ("group", &options.name, &options.write, options.owner),
    };
    if write.is_client_run() {
        output.data(&format!(
            "{noun}/{name} would be created (no server was asked)"
        ));
        return Ok(());
    }
    let cluster = Cluster::connect(cluster, output).await?;
    owner
        .check(cluster.kubernetes.as_ref(), &[(noun, name)], output)
        .await?;
    match &options.noun {
        Noun::Topic(options) => topic(options, &cluster, output).await,
        Noun::Group(options) => group(options, &cluster, output).await,
    }
}

async fn topic(options: &TopicOptions, cluster: &Cluster, output: &Output) -> Result<(), Failure> {
    let name = &options.name;
    let what = || format!("cannot create topic \"{name}\"");
    let admin = cluster.client.admin();
    let exists = match admin.topic_config(name).await {
        Ok(_) => true,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NoRoute) => false,
        Err(error) => return Err(cluster.failed(what(), error)),
    };
    if exists {
        return already("topic", name, options.if_not_exists, cluster, output);
    }
    let mut spec = TopicSpec::new(name)
        .queues(options.queues)
        .permissions(options.perm.read, options.perm.write);
    if let Some(of) = &options.broker_cluster {
        spec = spec.cluster(of);
    }
    if options.write.dry_run.is_some() {
        output.data(&format!(
            "topic/{name} would be created with {} queues at each broker",
            options.queues
        ));
        return Ok(());
    }
    admin
        .create_topic(&spec)
        .await
        .map_err(|error| cluster.failed(what(), error))?;
    output.data(&format!("topic/{name} created"));
    Ok(())
}

async fn group(options: &GroupOptions, cluster: &Cluster, output: &Output) -> Result<(), Failure> {
    let name = &options.name;
    let what = || format!("cannot create group \"{name}\"");
    let admin = cluster.client.admin();
    let known = admin
        .groups()
        .await
        .map_err(|error| cluster.failed(what(), error))?;
    if known.contains(name) {
        return already("group", name, options.if_not_exists, cluster, output);
    }
    let mut spec = GroupSpec::new(name)
        .retries(options.max_attempts)
        .broadcasting(!options.no_broadcast);
    if options.ordered {
        spec = spec.ordered();
    }
    if options.write.dry_run.is_some() {
        output.data(&format!("group/{name} would be created"));
        return Ok(());
    }
    admin
        .create_group(&spec)
        .await
        .map_err(|error| cluster.failed(what(), error))?;
    output.data(&format!("group/{name} created"));
    Ok(())
}

fn already(
    noun: &str,
    name: &str,
    is_fine: bool,
    cluster: &Cluster,
    output: &Output,
) -> Result<(), Failure> {
    if is_fine {
        output.data(&format!("{noun}/{name} unchanged"));
        return Ok(());
    }
    Err(
        Failure::new(Exit::Conflict, format!("{noun} \"{name}\" exists already"))
            .fact("asked", &cluster.name)
            .try_this(format!("rmq-ctl describe {noun} {name}"))
            .try_this("add --if-not-exists to be content with it"),
    )
}
