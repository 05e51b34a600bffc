//! The command line as types.

use clap::{ArgAction, Parser, Subcommand, ValueEnum};

use crate::cluster::ClusterOptions;
use crate::commands::{
    config, create, delete, describe, dev, explain, find, get, lag, offsets, send, tail, version,
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
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,

    /// Say more on stderr; twice for debug output. `RMQ_LOG` takes a finer filter.
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,

    /// Say nothing on stderr but errors.
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
}

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
    /// Show, choose and change contexts: clusters under a name.
    Config(config::Options),
    /// Create a topic or group.
    Create(create::Options),
    /// Delete topics or groups.
    Delete(delete::Options),
    /// Show everything about one topic, group or broker.
    Describe(describe::Options),
    /// Run a whole cluster (name server and broker) in this process, on loopback.
    Dev(dev::Options),
    /// Explain an error code.
    Explain(explain::Options),
    /// Find messages by id, key or offset.
    Find(find::Options),
    /// List topics, groups, brokers, clusters, queues or clients.
    Get(get::Options),
    /// How far groups are behind.
    Lag(lag::Options),
    /// Move a group's offsets; shows what would change unless --yes.
    Offsets(offsets::Options),
    /// Send messages.
    #[command(visible_alias = "produce")]
    Send(send::Options),
    /// Read messages without a group; moves no offsets.
    Tail(tail::Options),
    /// Print the version.
    Version(version::Options),
}
