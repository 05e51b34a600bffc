//! `rmq-ctl find`: single messages. Reads only.

use std::ops::Bound;

use clap::{Args, Subcommand};
use rmq_client::{ErrorKind, PullOptions, Queue, ReceivedMessage};

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::error::Failure;
use crate::facts::lookup::{self, Bounds};
use crate::facts::{messages, tracks};
use crate::input;
use crate::output::Output;
use crate::render::RenderOptions;
use crate::when;

/// Options of `find`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// Find messages by id, by business key, by tag or by place, and what groups have done with them.
    #[command(
        alias = "m",
        alias = "messages",
        after_help = "Reads only.

An id is the id that `send` printed, or an offset id. An offset id names a broker and a position; only registered brokers are asked.
Without -t the topics are asked, 16 at once, those of users first, until one has the message or a bound is reached (--max-topics,
--within): one request to a name server and one to each of its brokers for each topic. The command says what it asked.

--tag finds the newest messages with the tag. Brokers look from the newest message on, and not without end.

--groups says of each group what it has done with the message, and why: consumed; filtered (it has passed the message, and its filter leaves the
message out); not-consumed-yet, and how far behind it is; retrying, and when the next attempt is due; dead-letter; not-online (it has not come to the
message, and no member is online); broadcasting; pull (the broker knows no offset of it); unknown, and what failed.

Examples:
  rmq-ctl find message 7F00000100002A9F0000000000000064
  rmq-ctl find message AC110001... -t orders
  rmq-ctl find message AC110001... -t orders --groups
  rmq-ctl send orders hello | cut -d' ' -f1 | rmq-ctl find message -
  rmq-ctl find message -t orders --key order-17 --since 2h
  rmq-ctl find message -t orders --tag paid --max 5 --groups -o json
  rmq-ctl find message -t orders --offset broker-a/0@42"
    )]
    Message(MessageOptions),
}

#[derive(Debug, Args)]
struct MessageOptions {
    /// The ids, as `send` printed them or offset ids; - is stdin, one a line.
    #[arg(value_name = "ID", required_unless_present_any = ["key", "tag", "offset"])]
    id: Vec<String>,
    /// The topic.
    #[arg(short, long, required_unless_present = "id")]
    topic: Option<String>,
    /// A business key.
    #[arg(long, requires = "topic", conflicts_with_all = ["id", "offset"])]
    key: Option<String>,
    /// A tag.
    #[arg(long, requires = "topic", conflicts_with_all = ["id", "key", "offset"])]
    tag: Option<String>,
    /// A place: BROKER/QUEUE@OFFSET.
    #[arg(
        long,
        requires = "topic",
        conflicts_with = "id",
        value_name = "BROKER/QUEUE@OFFSET"
    )]
    offset: Option<String>,
    /// Stored since, for keys and tags.
    #[arg(long, value_name = "TIME", value_parser = when::parse_time)]
    since: Option<i64>,
    /// Stored before, for keys and tags.
    #[arg(long, value_name = "TIME", value_parser = when::parse_time)]
    until: Option<i64>,
    /// At most this many messages of each broker, for keys and tags.
    #[arg(long, default_value_t = 32)]
    max: u16,
    /// What each group has done with the messages, and why.
    #[arg(long)]
    groups: bool,
    #[command(flatten)]
    bounds: Bounds,
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
    let found = find(options, &cluster, output).await?;
    if found.is_empty() {
        return Err(Failure::coded(&codes::NOT_FOUND, "no such message")
            .fact("asked", &cluster.name)
            .because("it was never stored under that name, or its time of retention is over"));
    }
    let listing = match options.groups {
        true => tracks::listing(&cluster, &found).await?,
        false => messages::listing(&found, &cluster),
    };
    options.render.list(&listing, output)
}

async fn find(
    options: &MessageOptions,
    cluster: &Cluster,
    output: &Output,
) -> Result<Vec<ReceivedMessage>, Failure> {
    let admin = cluster.client.admin();
    let topic = options.topic.as_deref().unwrap_or_default();
    let since = Bound::Included(when::system_time(options.since.unwrap_or(0)));
    let until = options.until.map(when::system_time);
    let stored = (since, until.map_or(Bound::Unbounded, Bound::Included));
    let max = options.max;
    let found = match (&options.key, &options.tag, &options.offset) {
        (Some(key), _, _) => admin.messages_by_key(topic, key, max, stored).await,
        (None, Some(tag), _) => admin.messages_by_tag(topic, tag, max, stored).await,
        (None, None, Some(place)) => {
            let (queue, offset) = parse_place(topic, place)?;
            let pull = PullOptions::default().max_messages(1);
            let pulled = cluster.client.pull(&queue, offset, &pull).await;
            pulled.map(|pulled| {
                let mut messages = pulled.messages;
                messages.retain(|message| message.queue_offset() == offset);
                messages
            })
        }
        (None, None, None) => {
            let mut found = Vec::new();
            for id in input::values(&options.id)? {
                found.extend(match &options.topic {
                    Some(topic) => of_topic(topic, &id, cluster).await?,
                    None => lookup::by_id(cluster, &id, options.bounds, output).await?,
                });
            }
            return Ok(found);
        }
    };
    match found {
        Ok(found) => Ok(found),
        Err(error) => Err(failed(topic, error, cluster).await),
    }
}

async fn failed(topic: &str, error: rmq_client::Error, cluster: &Cluster) -> Failure {
    match error.kind() {
        ErrorKind::NoRoute => cluster.topic_failed(topic, error).await,
        _ => cluster.failed("cannot look the message up", error),
    }
}

/// By the id that its producer gave it, or else by its offset id.
async fn of_topic(
    topic: &str,
    id: &str,
    cluster: &Cluster,
) -> Result<Vec<ReceivedMessage>, Failure> {
    let admin = cluster.client.admin();
    let found = match admin.messages_by_unique_id(topic, id).await {
        Ok(found) if found.is_empty() => admin.message_by_id(id).await.map(|found| vec![found]),
        found => found,
    };
    match found {
        Ok(found) => Ok(found),
        Err(error) => Err(failed(topic, error, cluster).await),
    }
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
