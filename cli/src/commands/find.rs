//! `rmq-ctl find`: single messages. Reads only.

use std::ops::Bound;

use clap::{Args, Subcommand};
use rmq_client::{PullOptions, Queue, ReceivedMessage};

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::error::Failure;
use crate::messages::MessageItem;
use crate::output::Output;
use crate::render::{Listing, RenderOptions, Row, schema_of};
use crate::when;

/// Options of `find`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// Find messages by id, by business key or by place.
    #[command(
        alias = "m",
        alias = "messages",
        after_help = "Reads only.

Examples:
  rmq-ctl find message 7F00000100002A9F0000000000000064
  rmq-ctl find message AC110001... -t orders
  rmq-ctl find message -t orders --key order-17 --since 2h
  rmq-ctl find message -t orders --offset broker-a/0@42"
    )]
    Message(MessageOptions),
}

#[derive(Debug, Args)]
struct MessageOptions {
    /// The id: of 32 hex digits when it tells the place; with -t also the one that the producer gave it.
    #[arg(required_unless_present_any = ["key", "offset"])]
    id: Option<String>,
    /// The topic.
    #[arg(short, long, required_unless_present = "id")]
    topic: Option<String>,
    /// A business key.
    #[arg(long, requires = "topic", conflicts_with_all = ["id", "offset"])]
    key: Option<String>,
    /// A place: BROKER/QUEUE@OFFSET.
    #[arg(
        long,
        requires = "topic",
        conflicts_with = "id",
        value_name = "BROKER/QUEUE@OFFSET"
    )]
    offset: Option<String>,
    /// Stored since, for keys.
    #[arg(long, value_name = "TIME", value_parser = when::parse_time)]
    since: Option<i64>,
    /// Stored before, for keys.
    #[arg(long, value_name = "TIME", value_parser = when::parse_time)]
    until: Option<i64>,
    /// Most messages of each broker, for keys.
    #[arg(long, default_value_t = 32)]
    max: u16,
    #[command(flatten)]
    render: RenderOptions,
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let Noun::Message(options) = &options.noun;
    let cluster = Cluster::connect(cluster, output).await?;
    let found = find(options, &cluster).await?;
    if found.is_empty() {
        return Err(Failure::coded(&codes::NOT_FOUND, "no such message")
            .fact("asked", &cluster.name)
            .because("it was never stored under that name, or its time of retention is over"));
    }
    options.render.list(&listed(&found, &cluster), output)
}

/// Messages with these ids, of which each tells its place.
pub(super) async fn by_ids(ids: &[String], cluster: &Cluster) -> Result<Listing, Failure> {
    if ids.is_empty() {
        return Err(
            Failure::coded(&codes::INVALID, "which messages: give their ids")
                .try_this("rmq-ctl tail TOPIC   (lists messages of a topic)"),
        );
    }
    let mut found = Vec::new();
    for id in ids {
        let message = by_offset_id(cluster, id).await;
        found.extend(
            message.map_err(|error| cluster.failed(format!("cannot find message {id}"), error))?,
        );
    }
    Ok(listed(&found, cluster))
}

fn listed(found: &[ReceivedMessage], cluster: &Cluster) -> Listing {
    let rows = found.iter().map(|message| {
        let item = MessageItem::new(message);
        let cells = vec![
            message.message_id(),
            format!("{}@{}", message.queue(), message.queue_offset()),
            when::show_time(when::unix_ms(message.stored_at()), cluster.utc),
            message.tag().unwrap_or("-").to_owned(),
            message.keys().collect::<Vec<_>>().join(" "),
            preview(message),
        ];
        Row::new(message.message_id(), cells, &item)
    });
    Listing {
        kind: "MessageList",
        schema: schema_of::<MessageItem<'static>>,
        noun: "message",
        columns: &["ID", "PLACE", "STORED", "TAG", "KEYS", "BODY"],
        wide_columns: &[],
        rows: rows.collect(),
        empty: String::new(),
    }
}

fn preview(message: &ReceivedMessage) -> String {
    const CHARS: usize = 60;
    let text = String::from_utf8_lossy(message.body());
    let line: String = text.chars().take(CHARS).collect();
    let line = line.escape_debug().to_string();
    if text.chars().nth(CHARS).is_some() {
        format!("{line}…")
    } else {
        line
    }
}

async fn find(
    options: &MessageOptions,
    cluster: &Cluster,
) -> Result<Vec<ReceivedMessage>, Failure> {
    let admin = cluster.client.admin();
    let topic = options.topic.as_deref().unwrap_or_default();
    let found = match (&options.key, &options.offset, &options.id) {
        (Some(key), _, _) => {
            let since = Bound::Included(when::system_time(options.since.unwrap_or(0)));
            let until = options.until.map(when::system_time);
            let until = until.map_or(Bound::Unbounded, Bound::Included);
            admin
                .messages_by_key(topic, key, options.max, (since, until))
                .await
        }
        (_, Some(place), _) => {
            let (queue, offset) = parse_place(topic, place)?;
            let pull = PullOptions::default().max_messages(1);
            let pulled = cluster.client.pull(&queue, offset, &pull).await;
            pulled.map(|pulled| {
                let mut messages = pulled.messages;
                messages.retain(|message| message.queue_offset() == offset);
                messages
            })
        }
        (_, _, Some(id)) if options.topic.is_some() => {
            let found = admin.messages_by_unique_id(topic, id).await;
            match found {
                Ok(found) if found.is_empty() => by_offset_id(cluster, id).await,
                found => found,
            }
        }
        (_, _, Some(id)) => by_offset_id(cluster, id).await,
        (None, None, None) => Ok(Vec::new()),
    };
    match found {
        Ok(found) => Ok(found),
        Err(error) if error.kind() == rmq_client::ErrorKind::NoRoute => {
            Err(cluster.topic_failed(topic, error).await)
        }
        Err(error) => Err(cluster.failed("cannot look the message up", error)),
    }
}

pub(super) async fn by_offset_id(
    cluster: &Cluster,
    id: &str,
) -> Result<Vec<ReceivedMessage>, rmq_client::Error> {
    let found = cluster.client.admin().message_by_id(id).await;
    found.map(|message| vec![message])
}

fn parse_place(topic: &str, place: &str) -> Result<(Queue, i64), Failure> {
    let parsed = || {
        let (queue, offset) = place.rsplit_once('@')?;
        let (broker, id) = queue.rsplit_once('/')?;
        Some((
            Queue::new(topic, broker, id.parse().ok()?),
            offset.parse().ok()?,
        ))
    };
    parsed().ok_or_else(|| {
        Failure::coded(
            &codes::INVALID,
            format!("\"{place}\" is no place of a message"),
        )
        .because("it is written BROKER/QUEUE@OFFSET, such as broker-a/0@42")
    })
}
