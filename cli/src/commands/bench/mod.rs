//! `rmq-ctl bench`: how fast a cluster is, as a client sees it. Changes state: it sends messages.

mod options;
mod report;
mod run;
mod work;

use clap::{Args, Subcommand};

use self::options::{CommonOptions, SendOptions};
use self::report::print;
use self::run::Run;
use self::work::{consume, end_to_end, produce};
use crate::cluster::{Cluster, ClusterOptions};
use crate::error::Failure;
use crate::output::Output;
use crate::stop;

/// Options of `bench`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Send as fast as possible, or at a rate.
    #[command(after_help = "Changes state: it sends messages.

Examples:
  rmq-ctl bench produce -t bench --duration 5s
  rmq-ctl bench produce -t bench --count 100000 --size 256 --rate 5000 --json")]
    Produce(SendOptions),
    /// Read what a topic has, without a group.
    #[command(after_help = "Reads only.

Examples:
  rmq-ctl bench consume -t bench
  rmq-ctl bench consume -t bench --count 100000 --csv")]
    Consume(CommonOptions),
    /// Send at a rate and receive at the same time: measures the time from send to delivery.
    #[command(after_help = "Changes state: it sends messages.

Examples:
  rmq-ctl bench e2e -t bench --rate 1000
  rmq-ctl bench e2e -t bench --rate 1000 --duration 30s --json")]
    E2e(SendOptions),
    /// Send one message after the other: measures the time of one send.
    #[command(after_help = "Changes state: it sends messages.

Examples:
  rmq-ctl bench latency -t bench
  rmq-ctl bench latency -t bench --count 1000 --csv")]
    Latency(SendOptions),
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let cluster = Cluster::connect(cluster, output).await?;
    let stop = stop::listen()?;
    let (common, run) = match &options.what {
        What::Produce(options) => {
            let run = Run::new("produce", &options.common, &stop, output);
            (&options.common, produce(options, run, &cluster).await?)
        }
        What::Latency(options) => {
            let mut one = options.clone();
            one.in_flight = 1;
            let run = Run::new("latency", &options.common, &stop, output);
            (&options.common, produce(&one, run, &cluster).await?)
        }
        What::E2e(options) => {
            let run = Run::new("e2e", &options.common, &stop, output);
            (&options.common, end_to_end(options, run, &cluster).await?)
        }
        What::Consume(options) => {
            let run = Run::new("consume", options, &stop, output);
            (options, consume(options, run, &cluster).await?)
        }
    };
    if run.messages == 0
        && let Some(error) = run.last_error
    {
        return Err(cluster.failed(
            format!("no message got through to \"{}\"", common.topic),
            error,
        ));
    }
    print(&run.report(&common.topic), common, output);
    match stop.received() {
        Some(signal) => Err(stop::stopped(
            signal,
            "stopped by a signal before the end; the result is of the part before",
        )),
        None => Ok(()),
    }
}
