//! `rmq-ctl health`: is the cluster well, and if not, why. Reads only.

use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, ClusterOptions};
use crate::error::Failure;
use crate::facts::check::show;
use crate::facts::checks;
use crate::output::Output;
use crate::render::{RenderOptions, WatchOptions};
use crate::stop;

/// Between looks of --wait.
const PAUSE: Duration = Duration::from_millis(250);

/// Options of `health`.
#[derive(Debug, Args)]
#[command(
    after_help = "Reads only. Exit code 0: all is well; 10: a check found a problem.
Asks each name server and each broker: whether it answers and is registered, the disk, the store, the permissions (PERM: what broker
and routes let clients do), the memory of connections, the clock; then the topics and groups that no client can use.

Examples:
  rmq-ctl health
  rmq-ctl health --wait=30s
  rmq-ctl health -o json"
)]
pub(crate) struct Options {
    /// Wait until all is well: for 60s, or for this time at most.
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "60s", value_parser = crate::when::parse_length)]
    wait: Option<Duration>,

    #[command(flatten)]
    watch: WatchOptions,

    #[command(flatten)]
    render: RenderOptions,
}

pub(crate) async fn run(
    options: &Options,
    cluster_options: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let looks = look(options, cluster_options, output);
    match (options.wait, options.watch.every()) {
        (Some(_), None) => stop::unless_stopped("waiting", looks).await,
        _ => looks.await,
    }
}

async fn look(
    options: &Options,
    cluster_options: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let deadline = options.wait.map(|wait| Instant::now() + wait);
    let cluster = loop {
        match (Cluster::connect(cluster_options, output).await, deadline) {
            (Ok(cluster), _) => break cluster,
            (Err(failure), Some(deadline)) if failure.is_passing() && Instant::now() < deadline => {
                sleep(PAUSE).await;
            }
            (Err(failure), _) => return Err(failure),
        }
    };
    let look = async || {
        let mut found = checks::cluster::checks(&cluster).await;
        while let Some(deadline) = deadline
            && found.iter().any(|check| !check.is_fine)
            && Instant::now() < deadline
        {
            sleep(PAUSE).await;
            found = checks::cluster::checks(&cluster).await;
        }
        show(&found, "HealthList", &options.render, &cluster.name, output)
    };
    options.watch.run(output, look).await
}
