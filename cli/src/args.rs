//! The command line as types.

use clap::{ArgAction, Parser, Subcommand};

use crate::cluster::ClusterOptions;
use crate::commands::{
    apply, backup, bench, broker, can_i, cheat, cluster, completion, config, consume, create,
    delete, describe, dev, dlq, doctor, explain, export, find, get, health, lag, login, migrate,
    mqadmin, offsets, recall, restore, send, set, tail, top, trace, tunnel, version, wait, whoami,
};
use crate::output::Color;

/// Work with rmq and other RocketMQ-compatible clusters.
#[derive(Debug, Parser)]
#[command(
    name = "rmq-ctl",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,

    #[command(flatten)]
    pub(crate) cluster: ClusterOptions,

    /// Colour the messages for people. `NO_COLOR` and `CLICOLOR_FORCE` are honoured with `auto`.
    #[arg(long, global = true, hide_short_help = true, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,

    /// Print more on stderr; twice for debug output. `RMQ_LOG` takes a finer filter.
    #[arg(short, long, global = true, hide_short_help = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,

    /// Print each request and its answer on stderr, with code and time.
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) trace_rpc: bool,

    /// Print only errors on stderr.
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) quiet: bool,
}

/// Only the options of every verb.
#[derive(Debug, clap::Args)]
pub(crate) struct OptionsOptions {}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create and change topics and groups from manifests: the same YAML that the operator takes.
    Apply(apply::ApplyOptions),
    /// Copy the data of a broker group to a folder or bucket; list, check and remove such backups.
    Backup(Box<backup::Options>),
    /// Measure how fast a cluster is.
    Bench(bench::Options),
    /// Tasks with a broker group: replication, switchover, promote, drain, undrain, clean.
    #[command(name = "broker")]
    Broker(broker::BrokerOptions),
    /// Whether a user may do something, and by which rule.
    #[command(name = "can-i")]
    CanI(can_i::Options),
    /// Recipes for tasks.
    Cheat(cheat::Options),
    /// Checks of a whole cluster: versions, balance.
    Cluster(cluster::Options),
    /// Print a script that completes commands and names in a shell.
    Completion(completion::CompletionOptions),
    /// Show, choose and change contexts: clusters under a name.
    Config(config::Options),
    /// Consume as a member of a group; moves its offsets.
    Consume(consume::Options),
    /// Create a topic, group or user.
    Create(create::Options),
    /// Delete topics, groups, users or rules.
    Delete(delete::Options),
    /// Show everything about one topic, group, broker, cluster, name server, queue, client or message.
    Describe(describe::Options),
    /// Run a whole cluster (name servers and brokers) in this process, on loopback.
    Dev(dev::Options),
    /// Show what `apply` would change.
    Diff(apply::DiffOptions),
    /// Dead letters of groups: list, show, send again, export.
    Dlq(dlq::Options),
    /// Find out why something does not work, with what to do about it.
    Doctor(doctor::Options),
    /// Explain an error code.
    Explain(explain::Options),
    /// Print topics and groups as manifests.
    Export(export::Options),
    /// Find messages by id, key or offset.
    Find(find::Options),
    /// List topics, groups, brokers, clusters, queues, clients, users, settings or messages.
    Get(get::Options),
    /// Whether the cluster is well, and if not, why.
    Health(health::Options),
    /// How far groups are behind.
    Lag(lag::Options),
    /// Sign requests of a context as a user.
    Login(login::Options),
    /// Print manual pages.
    Manual(completion::ManualOptions),
    /// What Apache RocketMQ's files are here: the settings of a broker.conf.
    Migrate(migrate::Options),
    /// Translate a command line of mqadmin; runs nothing.
    Mqadmin(mqadmin::Options),
    /// Move a group's offsets; shows what would change unless --yes.
    Offsets(offsets::Options),
    /// Options that every verb takes, and rules that hold for all of them.
    #[command(
        hide = true,
        after_help = "Asks no server.

Everywhere:
  -o table, wide, json, yaml and name are the forms of every list; of messages, json is one object a line.
  - means stdin wherever a command takes a file or a list of values. A list has one value a line; empty lines and # comments are skipped.
  A first Ctrl-C or SIGTERM ends a command gently, a second one at once.

Examples:
  rmq-ctl options
  rmq-ctl get topics --nameserver ns-0:9876 --timeout 10s"
    )]
    Options(OptionsOptions),
    /// Take messages back that wait for their time.
    Recall(recall::Options),
    /// Make the data of a broker from a backup.
    Restore(restore::Options),
    /// Send messages.
    #[command(visible_alias = "produce")]
    Send(send::Options),
    /// Change settings of topics, groups, users or brokers.
    Set(set::Options),
    /// Read messages without a group; moves no offsets.
    Tail(tail::Options),
    /// What the cluster does now, full screen.
    Top(top::Options),
    /// What clients say of a message's way: who sent it, who consumed it and how that ended.
    Trace(trace::Options),
    /// Let other programs of this machine use a cluster that only rmq-ctl reaches.
    Tunnel(tunnel::Options),
    /// Print the version.
    Version(version::Options),
    /// Wait until a condition is met.
    Wait(wait::Options),
    /// As whom requests are signed, and whether the brokers recognise the user.
    Whoami(whoami::Options),
}

impl Command {
    /// Whether a failed try can be repeated: what it did twice is as if done once.
    pub(crate) fn is_repeatable(&self) -> bool {
        !matches!(
            self,
            Self::Bench(_)
                | Self::Consume(_)
                | Self::Dev(_)
                | Self::Dlq(_)
                | Self::Send(_)
                | Self::Tail(_)
                | Self::Top(_)
                | Self::Tunnel(_)
        )
    }
}
