//! `rmq-ctl tail`: reads a topic without a group. Reads only, and moves no offsets.

use clap::Args;
use rmq_client::{Position, Queue};

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::error::Failure;
use crate::messages::{ChoiceOptions, FilterOptions, PrintOptions};
use crate::output::Output;
use crate::stop;
use crate::when;

/// Output is gathered up to so many bytes while more messages are at hand.
const GATHER_BYTES: usize = 256 * 1024;

/// Options of `tail`.
#[derive(Debug, Args)]
#[command(after_help = "Reads only; no offset of any group moves.

The form: %t topic, %b broker, %q queue, %o offset, %i id, %k keys, %g tag, %s store time, %v body, %% a percent sign, \\n \\t as usual.

Examples:
  rmq-ctl tail orders --last 20
  rmq-ctl tail orders -f --tag paid
  rmq-ctl tail orders -f --sql 'amount > 100'
  rmq-ctl tail orders --since 1h -o jsonl
  rmq-ctl tail orders --format '%q@%o %k %v\\n'")]
pub(crate) struct Options {
    /// The topic.
    topic: String,

    /// Begin this many messages before the end of each queue. Default: 10, unless a time is given.
    #[arg(long, value_name = "N", conflicts_with = "since")]
    last: Option<u64>,

    /// Continue with messages that come later.
    #[arg(short, long)]
    follow: bool,

    /// Stored since: 10m, "2h ago", "today 09:00", RFC 3339.
    #[arg(long, visible_alias = "from", value_name = "TIME", value_parser = when::parse_time)]
    since: Option<i64>,

    /// Stored before.
    #[arg(long, visible_alias = "to", value_name = "TIME", value_parser = when::parse_time, conflicts_with = "follow")]
    until: Option<i64>,

    /// Only this queue: BROKER/QUEUE, or QUEUE of every broker.
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,

    #[command(flatten)]
    filter: FilterOptions,

    #[command(flatten)]
    choice: ChoiceOptions,

    /// Stop after this many messages.
    #[arg(long, value_name = "N")]
    max: Option<u64>,

    #[command(flatten)]
    print: PrintOptions,
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let cluster = Cluster::connect(cluster, output).await?;
    let from = match (options.since, options.last) {
        (Some(since), _) => Position::Time(when::system_time(since)),
        (None, Some(last)) => Position::Last(last),
        (None, None) if options.until.is_some() => Position::Earliest,
        (None, None) => Position::Last(10),
    };
    let mut builder = cluster
        .client
        .reader(&options.topic)
        .from(from)
        .filter(options.filter.filter())
        .follow(options.follow);
    if let Some(until) = options.until {
        builder = builder.until(when::system_time(until));
    }
    if let Some(queue) = &options.queue {
        builder = builder.queues(queues(options, queue, &cluster).await?);
    }
    let mut reader = match builder.open().await {
        Ok(reader) => reader,
        Err(error) => return Err(cluster.topic_failed(&options.topic, error).await),
    };
    let mut stop = stop::listen()?;
    let mut printed = 0;
    let mut text = Vec::new();
    while options.max.is_none_or(|max| printed < max) {
        // What is at hand leaves together; nothing waits for what is not there yet.
        let next = match futures_util::FutureExt::now_or_never(reader.next()) {
            Some(next) if text.len() < GATHER_BYTES => next,
            next => {
                if !output.bytes(&text) {
                    return Ok(());
                }
                output.flush();
                text.clear();
                let next = async {
                    match next {
                        Some(next) => next,
                        None => reader.next().await,
                    }
                };
                tokio::select! {
                    biased;
                    signal = stop.wait() => {
                        return match options.follow {
                            true => Ok(()),
                            false => Err(stop::stopped(signal, "stopped by a signal before the end")),
                        };
                    }
                    next = next => next,
                }
            }
        };
        let message = match next {
            Ok(Some(message)) => message,
            Ok(None) => break,
            Err(error) => {
                output.bytes(&text);
                return Err(cluster.failed(format!("cannot read \"{}\"", options.topic), error));
            }
        };
        if !options.choice.takes(&message) {
            continue;
        }
        options.print.print(&message, cluster.utc, &mut text);
        printed += 1;
    }
    output.bytes(&text);
    output.flush();
    Ok(())
}

async fn queues(options: &Options, text: &str, cluster: &Cluster) -> Result<Vec<Queue>, Failure> {
    let route = match cluster.client.route(&options.topic).await {
        Ok(route) => route,
        Err(error) => return Err(cluster.topic_failed(&options.topic, error).await),
    };
    let (broker, id) = match text.rsplit_once('/') {
        Some((broker, id)) => (Some(broker), id),
        None => (None, text),
    };
    let wanted: Vec<Queue> = route
        .readable()
        .iter()
        .filter(|queue| {
            broker.is_none_or(|broker| queue.broker() == broker) && queue.id().to_string() == id
        })
        .cloned()
        .collect();
    if wanted.is_empty() {
        return Err(Failure::coded(
            &codes::NOT_FOUND,
            format!("topic \"{}\" has no queue \"{text}\"", options.topic),
        )
        .fact("asked", &cluster.name)
        .try_this(format!("rmq-ctl get queues -t {}", options.topic)));
    }
    Ok(wanted)
}
