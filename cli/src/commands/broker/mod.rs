//! `rmq-ctl broker`: tasks with one broker group.

mod epochs;
mod group;
mod master;
mod outcome;
mod rebuild;
mod replication;

use std::time::Duration;

use clap::{Args, Subcommand};
use rmq_client::protocol::requests::{
    CleanExpiredConsumeQueue, CleanUnusedTopic, DeleteExpiredCommitLog,
};
use tokio::time::Instant;

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::completion::names::broker_completer;
use crate::error::Failure;
use crate::facts::lag;
use crate::output::Output;
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
        after_help = "Changes state. Messages that are there can still be consumed; --wait waits until they are consumed.

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
    /// Remove now what the broker would remove later.
    #[command(after_help = "Changes state.

Examples:
  rmq-ctl broker clean broker-a --expired-log --dry-run
  rmq-ctl broker clean broker-a --consume-queues --unused-topics --yes")]
    Clean(CleanOptions),
    /// Show the members of a broker group: roles, how far each has come, who is in sync, what is wrong.
    #[command(
        after_help = "Reads only: asks every member. Positions are bytes of the log. A member that is in sync has every acknowledged message, with an ackMode that
waits for members, and can take over. docs/operate/failover.md has a section for each finding.

Examples:
  rmq-ctl broker replication broker-a
  rmq-ctl broker replication broker-a -w=1s
  rmq-ctl broker replication broker-a --epochs
  rmq-ctl broker replication broker-a -o jsonpath='{.epoch}'"
    )]
    Replication(replication::Options),
    /// Make another member the master, without loss: the master stops writes, the member gets the end of the log, and takes over.
    #[command(
        after_help = "Changes state. Waits for the end. Exit code 6: the member is not in sync, or the group has taken the change back; 5: not finished in time.

Examples:
  rmq-ctl broker switchover broker-a --to 1
  rmq-ctl broker switchover broker-a --to 10.0.0.2:10911 --yes
  rmq-ctl broker switchover broker-a --to 1 --dry-run"
    )]
    Switchover(master::SwitchoverOptions),
    /// Make a member the master whatever it lacks, when all members in sync are lost for good: acknowledged messages may be lost.
    #[command(
        after_help = "Changes state, and cannot be undone. Shows what may be lost, and wants the name of the group to be typed; without a terminal it needs --yes.
Refused while a member in sync can be elected. Read docs/operate/failover.md first.

Examples:
  rmq-ctl broker promote broker-a 2 --accept-loss --dry-run
  rmq-ctl broker promote broker-a 10.0.0.3:10911 --accept-loss"
    )]
    Promote(master::PromoteOptions),
    /// Make a replica anew from the others, with a new volume, in Kubernetes.
    #[command(
        after_help = "Changes state: the member's volume is deleted, and the member copies everything from the others. The operator does it, and not while the
group needs the member: it is the master, another member is not in sync, or too few would be in sync without it. Waits for the end. Exit code 6: refused.
Without Kubernetes, docs/operate/failover.md has the steps.

Examples:
  rmq-ctl broker rebuild broker-a 2
  rmq-ctl broker rebuild broker-a 2 --yes --wait 2h
  rmq-ctl broker rebuild broker-a 2 --dry-run"
    )]
    Rebuild(rebuild::Options),
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
    /// Wait until every group has consumed the messages that are there: for 10m, or for this time at most.
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
    match &options.what {
        BrokerTask::Drain(options) => drain(options, cluster, output).await,
        BrokerTask::Undrain(options) => undrain(options, cluster, output).await,
        BrokerTask::Clean(options) => clean(options, cluster, output).await,
        BrokerTask::Replication(options) => replication::run(options, cluster, output).await,
        BrokerTask::Switchover(options) => master::switchover(options, cluster, output).await,
        BrokerTask::Promote(options) => master::promote(options, cluster, output).await,
        BrokerTask::Rebuild(options) => Box::pin(rebuild::run(options, cluster, output)).await,
    }
}

/// The broker group that a task is for.
struct Meant {
    cluster: Cluster,
    name: String,
    /// The task in words.
    what: String,
}

impl Meant {
    /// `None` after a dry run that asks no server.
    async fn by(
        of: &NameOptions,
        verb: &str,
        cluster: &ClusterOptions,
        output: &Output,
    ) -> Result<Option<Self>, Failure> {
        let what = format!("{verb} broker \"{}\"", of.name);
        if of.write.is_client_run() {
            output.data(&format!("dry run: {what} (no server was asked)"));
            return Ok(None);
        }
        let cluster = Cluster::connect(cluster, output).await?;
        let name = cluster.known_broker(&of.name).await?;
        Ok(Some(Self {
            cluster,
            name,
            what,
        }))
    }

    fn failed(&self, error: rmq_client::Error) -> Failure {
        self.cluster.failed(format!("cannot {}", self.what), error)
    }
}

async fn undrain(
    options: &NameOptions,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let Some(meant) = Meant::by(options, "undrain", cluster, output).await? else {
        return Ok(());
    };
    if options.write.dry_run.is_some() {
        output.data(&format!("dry run: {}", meant.what));
        return Ok(());
    }
    let (name, admin) = (&meant.name, meant.cluster.client.admin());
    let topics = admin.allow_writes(name).await;
    let topics = topics.map_err(|error| meant.failed(error))?;
    output.data(&format!("broker/{name} undrained ({topics} topics)"));
    Ok(())
}

async fn drain(
    options: &DrainOptions,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let Some(meant) = Meant::by(&options.of, "drain", cluster, output).await? else {
        return Ok(());
    };
    if !options.of.write.agreed(&meant.what, None, output)? {
        return Ok(());
    }
    let (name, cluster) = (&meant.name, &meant.cluster);
    let topics = cluster.client.admin().stop_writes(name).await;
    let topics = topics.map_err(|error| meant.failed(error))?;
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
            let queues = lag::of_group(cluster, &group).await.map_err(failed)?;
            let here = queues.iter().filter(|queue| queue.broker == name);
            let lag = lag::total(here);
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
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let Some(meant) = Meant::by(&options.of, "clean", cluster, output).await? else {
        return Ok(());
    };
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
    let asked = format!("{}: {}", meant.what, parts.join(", "));
    if !options.of.write.agreed(&asked, None, output)? {
        return Ok(());
    }
    let name = &meant.name;
    let failed = |error| meant.failed(error);
    let info = meant.cluster.client.cluster_info().await.map_err(failed)?;
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
    let remote = meant.cluster.client.remote(addr);
    if options.consume_queues {
        let asked = remote.call(&CleanExpiredConsumeQueue {}, b"").await;
        asked.map_err(failed)?;
    }
    if options.unused_topics {
        let asked = remote.call(&CleanUnusedTopic {}, b"").await;
        asked.map_err(failed)?;
    }
    if options.expired_log {
        let asked = remote.call(&DeleteExpiredCommitLog {}, b"").await;
        asked.map_err(failed)?;
    }
    output.data(&format!("broker/{name} cleaned: {}", parts.join(", ")));
    Ok(())
}
