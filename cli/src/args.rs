//! The command line as types.

use clap::{ArgAction, Parser, Subcommand, ValueEnum};

use crate::cluster::ClusterOptions;
use crate::commands::{
    apply, bench, broker, cheat, completion, config, consume, create, delete, describe, dev, dlq,
    doctor, explain, find, get, health, lag, mqadmin, offsets, send, set, tail, top, tunnel,
    version, wait,
};

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

    /// Say more on stderr; twice for debug output. `RMQ_LOG` takes a finer filter.
    #[arg(short, long, global = true, hide_short_help = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,

    /// Print each request and its answer on stderr, with code and time.
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) trace_rpc: bool,

    /// Say nothing on stderr but errors.
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) quiet: bool,
}

/// Only the options of every verb.
#[derive(Debug, clap::Args)]
pub(crate) struct OptionsOptions {}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// When the stream is a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make topics and groups as manifests say: the same YAML that the operator takes.
    Apply(apply::ApplyOptions),
    /// Measure how fast a cluster is.
    Bench(bench::Options),
    /// Tasks with a broker: drain, undrain, clean.
    #[command(name = "broker")]
    Broker(broker::BrokerOptions),
    /// Recipes for tasks.
    Cheat(cheat::Options),
    /// Checks of a whole cluster: versions, balance.
    Cluster(broker::ClusterTaskOptions),
    /// Print a script that completes commands and names in a shell.
    Completion(completion::CompletionOptions),
    /// Show, choose and change contexts: clusters under a name.
    Config(config::Options),
    /// Consume as a member of a group; moves its offsets.
    Consume(consume::Options),
    /// Create a topic or group.
    Create(create::Options),
    /// Delete topics or groups.
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
    Export(apply::ExportOptions),
    /// Find messages by id, key or offset.
    Find(find::Options),
    /// List topics, groups, brokers, clusters, queues, clients, settings or messages.
    Get(get::Options),
    /// Whether the cluster is well, and if not, why.
    Health(health::Options),
    /// How far groups are behind.
    Lag(lag::Options),
    /// Print manual pages.
    Manual(completion::ManualOptions),
    /// Say what an old mqadmin line is here; runs nothing.
    Mqadmin(mqadmin::Options),
    /// Move a group's offsets; shows what would change unless --yes.
    Offsets(offsets::Options),
    /// Options that every verb takes, and rules that hold for all of them.
    #[command(
        hide = true,
        after_help = "Asks no server.

Everywhere:
  -o table, wide, json, yaml and name are the forms of every list; of messages, json is one object a line.
  - is stdin wherever a file or a list of values is asked for; a list takes one value a line, without empty lines and # comments.
  A first Ctrl-C or SIGTERM ends a command gently, a second one at once.

Examples:
  rmq-ctl options
  rmq-ctl get topics --nameserver ns-0:9876 --timeout 10s"
    )]
    Options(OptionsOptions),
    /// Send messages.
    #[command(visible_alias = "produce")]
    Send(send::Options),
    /// Change settings of topics, groups or brokers.
    Set(set::Options),
    /// Read messages without a group; moves no offsets.
    Tail(tail::Options),
    /// What the cluster does now, full screen.
    Top(top::Options),
    /// Let other programs here use a cluster that only rmq-ctl reaches.
    Tunnel(tunnel::Options),
    /// Print the version.
    Version(version::Options),
    /// Wait until something is as it should be.
    Wait(wait::Options),
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
