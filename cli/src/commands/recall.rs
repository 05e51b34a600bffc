//! `rmq-ctl recall`: takes messages back that wait for their time. Changes state.

use clap::Args;

use crate::cluster::{Cluster, ClusterOptions};
use crate::error::Failure;
use crate::input;
use crate::output::Output;

/// Options of `recall`.
#[derive(Debug, Args)]
#[command(
    after_help = "Changes state. Prints the id of each message that will not be delivered. A handle is what `rmq-ctl send --delay` and `--at` print last.

Examples:
  rmq-ctl recall djEgb3JkZXJzIGJyb2tlci1hIDE3OTUzNTczODQwMDEgQzAwMDAyMDI1QjI1MzA5NA==
  rmq-ctl send reminders call --delay 1d | cut -d ' ' -f 3 | rmq-ctl recall -"
)]
pub(crate) struct Options {
    /// What sends have printed; - is stdin, one a line.
    #[arg(required = true, value_name = "HANDLE")]
    handles: Vec<String>,
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let handles = input::values(&options.handles)?;
    let cluster = Cluster::connect(cluster, output).await?;
    let producer = cluster.client.producer_builder().group("rmq-ctl").build();
    for handle in handles {
        let recalled = producer.recall(&handle).await;
        let id = recalled
            .map_err(|error| cluster.failed(format!("cannot recall \"{handle}\""), error))?;
        output.data(&id);
    }
    Ok(())
}
