//! Options of measurements.

use std::time::Duration;

use clap::Args;

use crate::completion::names::topic_completer;
use crate::when;

/// Options of every measurement.
#[derive(Debug, Clone, Args)]
pub(super) struct CommonOptions {
    /// The topic. It is created when it does not exist. Do not take a topic that a service reads.
    #[arg(short, long, default_value = "rmq-ctl-bench", add = topic_completer())]
    pub(super) topic: String,

    /// Stop after this many messages.
    #[arg(long, value_name = "N")]
    pub(super) count: Option<u64>,

    /// Stop after this time.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = when::parse_length)]
    pub(super) duration: Duration,

    /// Print the result as JSON.
    #[arg(long, conflicts_with = "csv")]
    pub(super) json: bool,

    /// Print the result as CSV, with a line of names.
    #[arg(long)]
    pub(super) csv: bool,
}

/// Options of measurements that send.
#[derive(Debug, Clone, Args)]
pub(super) struct SendOptions {
    #[command(flatten)]
    pub(super) common: CommonOptions,

    /// Bytes of a body.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(8..=4_194_304))]
    pub(super) size: u32,

    /// Messages a second. Default: no limit; for e2e 1,000.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rate: Option<u32>,

    /// Sends that may wait for their answers at once.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(super) in_flight: u32,
}
