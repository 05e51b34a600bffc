//! `rmq-ctl dlq`: dead letters of a group.

use std::time::Duration;

use clap::{Args, Subcommand};
use rmq_client::protocol::message::property;
use rmq_client::protocol::names::{dlq_topic, retry_topic};
use rmq_client::{ErrorKind, Message, Position, Reader, ReceivedMessage};
use schemars::JsonSchema;
use serde::Serialize;

use crate::cluster::{Cluster, ClusterOptions};
use crate::completion::names::group_completer;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::facts::queues;
use crate::input;
use crate::messages::{ChoiceOptions, MessageItem, PrintOptions};
use crate::output::Output;
use crate::render::{Listing, RenderOptions, Row, schema_of};
use crate::stop;
use crate::when;
use crate::write::WriteOptions;

/// Options of `dlq`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// How many dead letters there are, of one group or of all.
    #[command(after_help = "Reads only.

Examples:
  rmq-ctl dlq ls
  rmq-ctl dlq ls billing -o json")]
    Ls(LsOptions),
    /// Print dead letters.
    #[command(after_help = "Reads only.

Examples:
  rmq-ctl dlq show billing
  rmq-ctl dlq show billing --since 1h --grep order-17 -o jsonl")]
    Show(ShowOptions),
    /// Send dead letters again: to the group alone, or to their topic.
    #[command(
        after_help = "Changes state with --yes, otherwise shows what would be sent. The dead letters stay where they are until they expire, so
sending the same ones twice delivers them twice: choose with --since, --key or --id. The first Ctrl-C or SIGTERM ends it after the message that is in flight, says how many were sent,
and exits with 130 or 143.

Examples:
  rmq-ctl dlq resend billing --since 2h
  rmq-ctl dlq resend billing --since 2h --rate 50 --yes
  rmq-ctl dlq resend billing --key order-17 --to topic --yes"
    )]
    Resend(ResendOptions),
    /// Write dead letters as JSON lines, for `rmq-ctl send --jsonl`.
    #[command(after_help = "Reads only.

Examples:
  rmq-ctl dlq export billing > dead.jsonl
  rmq-ctl dlq export billing --since 1h | rmq-ctl send orders --jsonl")]
    Export(ChosenOptions),
}

#[derive(Debug, Args)]
struct LsOptions {
    /// The group. Default: all that have dead letters.
    #[arg(add = group_completer())]
    group: Option<String>,
    #[command(flatten)]
    render: RenderOptions,
}

#[derive(Debug, Args)]
struct ChosenOptions {
    /// The group.
    #[arg(add = group_completer())]
    group: String,
    /// Stored since: 10m, "2h ago", "today 09:00", RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = when::parse_time)]
    since: Option<i64>,
    /// Only these messages, by the ids that their producers gave them; - is stdin, an id a line.
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true)]
    id: Vec<String>,
    /// At most this many.
    #[arg(long, value_name = "N")]
    max: Option<u64>,
    #[command(flatten)]
    choice: ChoiceOptions,
}

#[derive(Debug, Args)]
struct ShowOptions {
    #[command(flatten)]
    chosen: ChosenOptions,
    #[command(flatten)]
    print: PrintOptions,
}

#[derive(Debug, Args)]
struct ResendOptions {
    #[command(flatten)]
    chosen: ChosenOptions,
    /// Who gets them.
    #[arg(long, value_enum, default_value_t = To::Group)]
    to: To,
    /// Messages a second at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    #[command(flatten)]
    write: WriteOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum To {
    /// Only the group that could not handle them.
    Group,
    /// The topic that they were sent to: every group gets them.
    Topic,
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let cluster = Cluster::connect(cluster, output).await?;
    match &options.what {
        What::Ls(options) => ls(options, &cluster, output).await,
        What::Show(options) => show(options, &cluster, output).await,
        What::Resend(options) => resend(options, &cluster, output).await,
        What::Export(options) => export(options, &cluster, output).await,
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct DeadItem {
    group: String,
    messages: i64,
    last_stored_ms: i64,
}

async fn ls(options: &LsOptions, cluster: &Cluster, output: &Output) -> Result<(), Failure> {
    let failed = |error| cluster.failed("cannot list the dead letters", error);
    let admin = cluster.client.admin();
    let groups = match &options.group {
        Some(group) => vec![group.clone()],
        None => admin.groups().await.map_err(failed)?,
    };
    let now = when::now_ms();
    let mut rows = Vec::new();
    for group in groups {
        let stats = match admin.topic_stats(&dlq_topic(&group)).await {
            Ok(stats) => stats.offset_table.0,
            // The topic is made with the first dead letter.
            Err(error) if matches!(error.kind(), ErrorKind::NoRoute | ErrorKind::NotFound) => {
                Vec::new()
            }
            Err(error) => return Err(failed(error)),
        };
        let item = DeadItem {
            messages: stats.iter().map(|(_, at)| queues::messages(at)).sum(),
            last_stored_ms: stats
                .iter()
                .map(|(_, at)| at.last_update_timestamp)
                .max()
                .unwrap_or(0),
            group,
        };
        if item.messages == 0 && options.group.is_none() {
            continue;
        }
        let cells = vec![
            item.group.clone(),
            item.messages.to_string(),
            when::show_age(item.last_stored_ms, now),
        ];
        rows.push(Row::new(item.group.clone(), cells, &item));
    }
    let listing = Listing {
        kind: "DeadLetterList",
        schema: schema_of::<DeadItem>,
        noun: "group",
        columns: &["GROUP", "MESSAGES", "LAST"],
        wide_columns: &[],
        rows,
        empty: "there are no dead letters".to_owned(),
    };
    options.render.list(&listing, output)
}

/// Reads the dead letters that were chosen, one by one.
struct Dead<'o> {
    options: &'o ChosenOptions,
    /// Only these; all when there is none.
    ids: std::collections::HashSet<String>,
    is_any: bool,
    reader: Option<Reader>,
    taken: u64,
}

impl<'o> Dead<'o> {
    async fn open(options: &'o ChosenOptions, cluster: &Cluster) -> Result<Self, Failure> {
        let ids = input::values(&options.id)?.into_iter().collect();
        let topic = dlq_topic(&options.group);
        let from = options.since.map_or(Position::Earliest, |since| {
            Position::Time(when::system_time(since))
        });
        let reader = match cluster.client.reader(&topic).from(from).open().await {
            Ok(reader) => Some(reader),
            // No dead letter yet. A group that does not exist is another matter.
            Err(error) if error.kind() == ErrorKind::NoRoute => {
                let failed = |error| cluster.failed("cannot read the dead letters", error);
                let known = cluster.client.admin().groups().await.map_err(failed)?;
                if !known.contains(&options.group) {
                    let hint = |close: &str| format!("close match: {close}");
                    return Err(cluster.no_group(&options.group, &known, hint));
                }
                None
            }
            Err(error) => return Err(cluster.failed("cannot read the dead letters", error)),
        };
        Ok(Self {
            options,
            ids,
            is_any: options.id.is_empty(),
            reader,
            taken: 0,
        })
    }

    async fn next(&mut self, cluster: &Cluster) -> Result<Option<ReceivedMessage>, Failure> {
        let Some(reader) = &mut self.reader else {
            return Ok(None);
        };
        if self.options.max.is_some_and(|max| self.taken >= max) {
            return Ok(None);
        }
        loop {
            let next = reader.next().await;
            let next =
                next.map_err(|error| cluster.failed("cannot read the dead letters", error))?;
            let Some(message) = next else {
                return Ok(None);
            };
            let is_named = self.is_any
                || self.ids.contains(&message.message_id())
                || message
                    .property(ORIGIN_ID)
                    .is_some_and(|origin| self.ids.contains(origin));
            if is_named && self.options.choice.takes(&message) {
                self.taken += 1;
                return Ok(Some(message));
            }
        }
    }
}

/// The id of the message that became a dead letter (`common/…/message/MessageConst.java`).
const ORIGIN_ID: &str = "ORIGIN_MESSAGE_ID";
/// The topic that it was sent to.
const RETRY_TOPIC: &str = "RETRY_TOPIC";
const DLQ_ORIGIN_TOPIC: &str = "DLQ_ORIGIN_TOPIC";

async fn show(options: &ShowOptions, cluster: &Cluster, output: &Output) -> Result<(), Failure> {
    let mut dead = Dead::open(&options.chosen, cluster).await?;
    let mut text = Vec::new();
    while let Some(message) = dead.next(cluster).await? {
        text.clear();
        options.print.print(&message, cluster.utc, &mut text);
        if !output.bytes(&text) {
            return Ok(());
        }
    }
    output.flush();
    if dead.taken == 0 {
        output.say("there are no such dead letters");
    }
    Ok(())
}

async fn export(
    options: &ChosenOptions,
    cluster: &Cluster,
    output: &Output,
) -> Result<(), Failure> {
    let mut dead = Dead::open(options, cluster).await?;
    while let Some(message) = dead.next(cluster).await? {
        let mut line = serde_json::to_vec(&MessageItem::new(&message)).unwrap_or_default();
        line.push(b'\n');
        if !output.bytes(&line) {
            return Ok(());
        }
    }
    output.flush();
    Ok(())
}

/// The topic that a dead letter was sent to first.
fn origin(message: &ReceivedMessage) -> Option<&str> {
    message
        .property(DLQ_ORIGIN_TOPIC)
        .or_else(|| message.property(RETRY_TOPIC))
}

async fn resend(
    options: &ResendOptions,
    cluster: &Cluster,
    output: &Output,
) -> Result<(), Failure> {
    let group = &options.chosen.group;
    let mut dead = Dead::open(&options.chosen, cluster).await?;
    let does = options.write.goes_on();
    let producer = cluster.client.producer();
    let pause = options.rate.map(|rate| Duration::from_secs(1) / rate);
    // A preview sends nothing.
    let mut ticks = pause.filter(|_| does).map(tokio::time::interval);
    let mut sent = 0_u64;
    let mut stop = stop::listen()?;
    loop {
        let next = async {
            if let Some(ticks) = &mut ticks {
                ticks.tick().await;
            }
            dead.next(cluster).await
        };
        let next = tokio::select! {
            biased;
            signal = stop.wait() => {
                let what = format!("stopped by a signal; {sent} messages were sent again");
                return Err(stop::stopped(signal, what));
            }
            next = next => next.map_err(|failure| failure.fact("sent", sent))?,
        };
        let Some(message) = next else {
            break;
        };
        let Some(origin) = origin(&message) else {
            return Err(Failure::new(
                Exit::Failed,
                format!(
                    "dead letter {} does not say which topic it is of",
                    message.message_id()
                ),
            )
            .try_this(format!(
                "rmq-ctl dlq export {group} | rmq-ctl send TOPIC --jsonl"
            )));
        };
        let topic = match options.to {
            To::Group => retry_topic(group),
            To::Topic => origin.to_owned(),
        };
        if !does {
            let place = format!("{}@{}", message.queue(), message.queue_offset());
            output.data(&format!("{} {place} -> {topic}", message.message_id()));
            continue;
        }
        // What was begun is finished, whatever signal comes meanwhile.
        let copy = copy(&message, &topic, origin, options.to);
        let receipt = producer.send(copy).await.map_err(|error| {
            cluster
                .failed(format!("cannot send {} again", message.message_id()), error)
                .fact("sent", sent)
        })?;
        sent += 1;
        output.data(&format!(
            "{} -> {} {}",
            message.message_id(),
            receipt.queue(),
            receipt.message_id()
        ));
    }
    if dead.taken == 0 {
        output.say("there are no such dead letters");
    } else if does {
        output.say(&format!(
            "{sent} sent again; the dead letters themselves stay until they expire"
        ));
    } else {
        output.say(&format!(
            "nothing was sent; add --yes to send these {}",
            dead.taken
        ));
    }
    Ok(())
}

/// The message as its producer sent it; for the group alone, with what its members need to know the topic.
fn copy(message: &ReceivedMessage, topic: &str, origin: &str, to: To) -> Message {
    let mut copy = Message::new(topic, message.body().clone());
    if let Some(tag) = message.tag() {
        copy = copy.tag(tag);
    }
    for key in message.keys() {
        copy = copy.key(key);
    }
    for (name, value) in message.properties() {
        if name == property::SHARDING_KEY {
            copy = copy.ordered_by(value);
        } else if !Message::is_system_property(name) {
            copy = copy.property(name, value);
        }
    }
    match to {
        To::Group => copy.retry_of(origin),
        To::Topic => copy,
    }
}
