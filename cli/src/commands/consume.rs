//! `rmq-ctl consume`: as a real member of a group. Changes state: offsets move.

use std::time::Duration;

use clap::{Args, ValueEnum};
use rmq_client::{Deliveries, StartFrom};

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::completion::names::{group_completer, topic_completer};
use crate::error::Failure;
use crate::messages::{ChoiceOptions, FilterOptions, PrintOptions};
use crate::output::{self, Output};
use crate::stop::{self, StopSignal};

/// Between looks whether anything is left.
const DRAIN_PAUSE: Duration = Duration::from_millis(200);

/// Options of `consume`.
#[derive(Debug, Args)]
#[command(
    after_help = "Changes state: the group's offsets move, and other members get fewer queues meanwhile. `tail` reads and moves nothing.

Examples:
  rmq-ctl consume orders -g billing --max 10
  rmq-ctl consume orders -g billing --exit-when-drained -o body
  rmq-ctl consume orders -g billing --ack ask
  rmq-ctl consume orders -g billing --sql 'amount > 100'
  rmq-ctl consume orders -g debugging --ack none --from first"
)]
pub(crate) struct Options {
    /// The topic.
    #[arg(add = topic_completer())]
    topic: String,

    /// The group.
    #[arg(short, long, add = group_completer())]
    group: String,

    /// What becomes of a printed message.
    #[arg(long, value_enum, default_value_t = Ack::Auto)]
    ack: Ack,

    /// Where to begin in queues that the group has no offset for.
    #[arg(long, value_enum, default_value_t = From::Last)]
    from: From,

    #[command(flatten)]
    filter: FilterOptions,

    #[command(flatten)]
    choice: ChoiceOptions,

    /// Stop after this many messages.
    #[arg(long, value_name = "N")]
    max: Option<u64>,

    /// Stop when this member's queues have no message left.
    #[arg(long)]
    exit_when_drained: bool,

    #[command(flatten)]
    print: PrintOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ack {
    /// It is acknowledged.
    Auto,
    /// It is given back: the group gets it again later.
    None,
    /// You are asked for each: ack, retry, or dead letter.
    Ask,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum From {
    /// At the oldest message.
    First,
    /// At the next message.
    Last,
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    if options.ack == Ack::Ask && !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        return Err(Failure::coded(
            &codes::UNCONFIRMED,
            "--ack ask needs a terminal: stdin is none",
        )
        .try_this("--ack auto or --ack none"));
    }
    let cluster = Cluster::connect(cluster, output).await?;
    if let Err(error) = cluster.client.refresh_route(&options.topic).await {
        return Err(cluster.topic_failed(&options.topic, error).await);
    }
    let failed = |error| {
        let what = format!(
            "cannot consume \"{}\" as \"{}\"",
            options.topic, options.group
        );
        cluster.failed(what, error)
    };
    let consumer = cluster
        .client
        .consumer(&options.group)
        .subscribe(&options.topic, options.filter.filter())
        .from(match options.from {
            From::First => StartFrom::First,
            From::Last => StartFrom::Last,
        });
    // Before this is a member: it leaves the group in order.
    let mut stop = stop::listen()?;
    let mut deliveries = consumer.stream().await.map_err(failed)?;
    let held = deliveries.consumer().assignment().len();
    output.detail(&format!(
        "member {} holds {held} queues",
        cluster.client.id()
    ));
    let consumed = consume(options, &cluster, &mut deliveries, &mut stop, output).await;
    // Offsets are committed whatever happened.
    let ended = deliveries.shutdown().await.map_err(failed);
    consumed?;
    ended?;
    match stop.received() {
        Some(signal) if options.max.is_some() || options.exit_when_drained => {
            Err(stop::stopped(signal, "stopped by a signal before the end"))
        }
        _ => Ok(()),
    }
}

async fn consume(
    options: &Options,
    cluster: &Cluster,
    deliveries: &mut Deliveries,
    stop: &mut StopSignal,
    output: &Output,
) -> Result<(), Failure> {
    let failed = |error| {
        let what = format!(
            "cannot consume \"{}\" as \"{}\"",
            options.topic, options.group
        );
        cluster.failed(what, error)
    };
    let mut printed = 0;
    let mut text = Vec::new();
    while options.max.is_none_or(|max| printed < max) {
        let next = tokio::select! {
            next = deliveries.next() => next.map_err(failed)?,
            _ = stop.wait() => break,
            () = tokio::time::sleep(DRAIN_PAUSE), if options.exit_when_drained => {
                if deliveries.consumer().lag().await.map_err(failed)? == 0 {
                    break;
                }
                continue;
            }
        };
        let Some(delivery) = next else {
            break;
        };
        if !options.choice.takes(delivery.message()) {
            delivery.ack().await.map_err(failed)?;
            continue;
        }
        text.clear();
        options
            .print
            .print(delivery.message(), cluster.utc, &mut text);
        if !output.bytes(&text) {
            delivery.retry().await.map_err(failed)?;
            break;
        }
        output.flush();
        printed += 1;
        let settled = match options.ack {
            Ack::Auto => delivery.ack().await,
            Ack::None => delivery.retry().await,
            Ack::Ask => {
                output.ask_letter("What becomes of it? [a]ck, [r]etry, [d]ead letter, [q]uit");
                let answer = tokio::select! {
                    answer = tokio::task::spawn_blocking(output::answer) => answer.unwrap_or('q'),
                    _ = stop.wait() => 'q',
                };
                match answer {
                    'a' => delivery.ack().await,
                    'd' => delivery.dead_letter("by hand").await,
                    'r' => delivery.retry().await,
                    _ => {
                        delivery.retry().await.map_err(failed)?;
                        break;
                    }
                }
            }
        };
        settled.map_err(failed)?;
    }
    Ok(())
}
