//! The command line as types.

use clap::{ArgAction, Parser, Subcommand, ValueEnum};

use crate::commands::{dev, version};

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
    /// Run a whole cluster (name server and broker) in this process, on loopback.
    Dev(dev::Options),
    /// Print the version.
    Version(version::Options),
}
