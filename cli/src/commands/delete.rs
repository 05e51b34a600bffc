//! `rmq-ctl delete`: topics, groups, users and rules. Changes state, and asks first.

use clap::{Args, Subcommand};
use rmq_client::protocol::requests::{DeleteSubscriptionGroup, DeleteTopicInBroker, Request};

use super::users::{self, DeleteAcl, DeleteUser};
use crate::brokers::BrokerOptions;
use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::error::Failure;
use crate::facts::{clients, lag, queues};
use crate::kubernetes::OwnerOptions;
use crate::output::Output;
use crate::write::WriteOptions;

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
    /// Delete a user with the rules at every broker.
    #[command(
        alias = "u",
        after_help = "Changes state. Without a terminal it needs --yes.

Examples:
  rmq-ctl delete user checkout --dry-run
  rmq-ctl delete user checkout --yes"
    )]
    User(DeleteUser),
    /// Delete the rules of a user, or the rule of one resource.
    #[command(
        alias = "acls",
        after_help = "Changes state. Without a terminal it needs --yes.

Examples:
  rmq-ctl delete acl checkout --dry-run
  rmq-ctl delete acl checkout Topic:orders --yes"
    )]
    Acl(DeleteAcl),
    /// Delete a value that the name servers keep.
    #[command(
        hide = true,
        after_help = "Changes state. Without a terminal it needs --yes.

Examples:
  rmq-ctl delete kv ORDER_TOPIC_CONFIG orders --dry-run
  rmq-ctl delete kv ORDER_TOPIC_CONFIG orders --yes"
    )]
    Kv(KvOptions),
}

#[derive(Debug, Args)]
struct Common {
    /// Its name.
    name: String,
    #[command(flatten)]
    brokers: BrokerOptions,
    #[command(flatten)]
    write: WriteOptions,
    #[command(flatten)]
    owner: OwnerOptions,
}

#[derive(Debug, Args)]
struct GroupOptions {
    #[command(flatten)]
    common: Common,
    /// Delete its offsets too: a new group of this name begins without offsets.
    #[arg(long)]
    offsets: bool,
}

#[derive(Debug, Args)]
struct KvOptions {
    /// The namespace of the values, such as ORDER_TOPIC_CONFIG.
    space: String,
    /// The name of the value.
    key: String,
    #[command(flatten)]
    write: WriteOptions,
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let (name, write) = match &options.noun {
        Noun::User(options) => (options.subject(), &options.write),
        Noun::Acl(options) => (options.subject(), &options.write),
        Noun::Topic(options) => (format!("topic/{}", options.name), &options.write),
        Noun::Group(options) => (
            format!("group/{}", options.common.name),
            &options.common.write,
        ),
        Noun::Kv(options) => (
            format!("kv/{}/{}", options.space, options.key),
            &options.write,
        ),
    };
    if write.is_client_run() {
        output.data(&format!("{name} would be deleted (no server was asked)"));
        return Ok(());
    }
    match &options.noun {
        Noun::User(options) => return users::delete_user(options, cluster, output).await,
        Noun::Acl(options) => return users::delete_acl(options, cluster, output).await,
        _ => {}
    }
    let cluster = Cluster::connect(cluster, output).await?;
    let owned = match &options.noun {
        Noun::Topic(options) => Some(("topic", options)),
        Noun::Group(options) => Some(("group", &options.common)),
        Noun::Kv(_) | Noun::User(_) | Noun::Acl(_) => None,
    };
    if let Some((noun, options)) = owned {
        let wanted = [(noun, options.name.as_str())];
        let kubernetes = cluster.kubernetes.as_ref();
        options.owner.check(kubernetes, &wanted, output).await?;
    }
    match &options.noun {
        Noun::Topic(options) => topic(options, &cluster, output).await,
        Noun::Group(options) => group(options, &cluster, output).await,
        Noun::Kv(options) => kv(options, &cluster, output).await,
        // As above.
        Noun::User(_) | Noun::Acl(_) => Ok(()),
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
        .map(|(_, offsets)| queues::messages(offsets))
        .sum();
    let mut what = format!(
        "delete topic \"{name}\" with {messages} messages in {} queues",
        stats.offset_table.0.len()
    );
    let mut unread = 0;
    for group in admin.groups_of_topic(name).await.unwrap_or_default() {
        let waiting = lag::of_group(cluster, &group).await.unwrap_or_default();
        unread += lag::total(waiting.iter().filter(|queue| queue.topic == *name));
    }
    if unread > 0 {
        what.push_str(&format!(", {unread} of them not consumed yet"));
    }
    let typed = (unread > 0).then_some(name.as_str());
    if !options.write.agreed(&what, typed, output)? {
        return Ok(());
    }
    let failed = |error| cluster.failed(format!("cannot delete topic \"{name}\""), error);
    match options.brokers.names(cluster).await?.as_slice() {
        [] => admin.delete_topic(name).await.map_err(failed)?,
        brokers => {
            let topic = name.as_str().into();
            at_brokers(cluster, brokers, &DeleteTopicInBroker { topic })
                .await
                .map_err(failed)?;
        }
    }
    output.data(&format!("topic/{name} deleted"));
    Ok(())
}

async fn group(options: &GroupOptions, cluster: &Cluster, output: &Output) -> Result<(), Failure> {
    let name = &options.common.name;
    let failed = |error| cluster.failed(format!("cannot delete group \"{name}\""), error);
    let admin = cluster.client.admin();
    let known = admin.groups().await.map_err(failed)?;
    if !known.contains(name) {
        let hint = |close: &str| format!("rmq-ctl delete group {close}   (close match)");
        return Err(cluster.no_group(name, &known, hint));
    }
    let online = clients::of_group(cluster, name)
        .await
        .map_err(failed)?
        .len();
    let mut what = format!("delete group \"{name}\"");
    if options.offsets {
        what.push_str(" and its offsets");
    }
    if online > 0 {
        what.push_str(&format!(", which has {online} members online"));
    }
    let typed = (online > 0).then_some(name.as_str());
    if !options.common.write.agreed(&what, typed, output)? {
        return Ok(());
    }
    match options.common.brokers.names(cluster).await?.as_slice() {
        [] => admin
            .delete_group(name, options.offsets)
            .await
            .map_err(failed)?,
        brokers => {
            let request = DeleteSubscriptionGroup {
                group_name: name.as_str().into(),
                clean_offset: Some(options.offsets),
            };
            at_brokers(cluster, brokers, &request)
                .await
                .map_err(failed)?;
        }
    }
    output.data(&format!("group/{name} deleted"));
    Ok(())
}

/// Sends a request to the masters of some broker groups, one after the other.
async fn at_brokers<'r, R: Request<'r> + Sync>(
    cluster: &Cluster,
    brokers: &[String],
    request: &R,
) -> Result<(), rmq_client::Error> {
    let info = cluster.client.cluster_info().await?;
    for broker in brokers {
        let data = info.broker_addr_table.get(broker);
        if let Some(addr) = data.and_then(|data| data.master()) {
            cluster.client.remote(addr).call(request, b"").await?;
        }
    }
    Ok(())
}

async fn kv(options: &KvOptions, cluster: &Cluster, output: &Output) -> Result<(), Failure> {
    let (space, key) = (&options.space, &options.key);
    let failed = |error| cluster.failed(format!("cannot delete \"{key}\" of {space}"), error);
    let admin = cluster.client.admin();
    let known = admin.kv(space).await.map_err(failed)?;
    let Some(value) = known.get(key) else {
        return Err(Failure::coded(
            &codes::NOT_FOUND,
            format!("there is no value \"{key}\" in {space}"),
        )
        .fact("asked", &cluster.name));
    };
    let what = format!("delete {space}/{key}, which is \"{value}\"");
    if !options.write.agreed(&what, None, output)? {
        return Ok(());
    }
    admin.delete_kv(space, key).await.map_err(failed)?;
    output.data(&format!("kv/{space}/{key} deleted"));
    Ok(())
}
