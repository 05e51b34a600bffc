//! `rmq-ctl tail`: reads a topic without a group. Reads only, and moves no offsets.

use clap::{Args, ValueEnum};
use rmq_client::{Filter, Position, Queue, ReceivedMessage};
use serde::Serialize;

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::error::Failure;
use crate::output::Output;
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
  rmq-ctl tail orders --since 1h -o jsonl
  rmq-ctl tail orders --format '%q@%o %k %v\\n'")]
pub(crate) struct Options {
    /// The topic.
    topic: String,

    /// So many messages before the end of each queue. Default: 10, unless a time is given.
    #[arg(long, value_name = "N", conflicts_with = "since")]
    last: Option<u64>,

    /// Go on with messages that come later.
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

    /// Only messages with one of these tags: A or "A || B".
    #[arg(long, value_name = "TAGS", default_value = "*")]
    tag: String,

    /// Only messages whose body contains this text.
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,

    /// Stop after so many messages.
    #[arg(long, value_name = "N")]
    max: Option<u64>,

    /// How messages are printed.
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Form::Text, conflicts_with = "format")]
    form: Form,

    /// A form of your own for each message.
    #[arg(long, value_name = "FORM")]
    format: Option<String>,

    /// Print times in UTC.
    #[arg(long)]
    utc: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A line with place, time, tag and keys, then the body.
    Text,
    /// One JSON object a line.
    Jsonl,
    /// The bodies as they are, a line each.
    Body,
}

/// A message as JSON. Bodies that are not UTF-8 come as `bodyHex`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageItem<'m> {
    topic: &'m str,
    broker: &'m str,
    queue: i32,
    offset: i64,
    id: String,
    offset_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'m str>,
    keys: Vec<&'m str>,
    born_ms: i64,
    store_ms: i64,
    reconsume_times: i32,
    properties: std::collections::BTreeMap<&'m str, &'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_hex: Option<String>,
}

impl<'m> MessageItem<'m> {
    pub(super) fn new(message: &'m ReceivedMessage) -> Self {
        let body = std::str::from_utf8(message.body()).ok();
        Self {
            topic: message.topic(),
            broker: message.queue().broker(),
            queue: message.queue().id(),
            offset: message.queue_offset(),
            id: message.message_id(),
            offset_id: message.offset_id().to_string(),
            tag: message.tag(),
            keys: message.keys().collect(),
            born_ms: message.born_ms(),
            store_ms: message.store_ms(),
            reconsume_times: message.reconsume_times(),
            properties: message.properties().collect(),
            body,
            body_hex: body.is_none().then(|| {
                let digits = message.body().iter().map(|byte| format!("{byte:02x}"));
                digits.collect()
            }),
        }
    }
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let cluster = Cluster::connect(cluster, output).await?;
    let from = match (options.since, options.last) {
        (Some(since), _) => Position::Time(since),
        (None, Some(last)) => Position::Last(last),
        (None, None) if options.until.is_some() => Position::Earliest,
        (None, None) => Position::Last(10),
    };
    let mut builder = cluster
        .client
        .reader(&options.topic)
        .from(from)
        .filter(Filter::from(options.tag.as_str()))
        .follow(options.follow);
    if let Some(until) = options.until {
        builder = builder.until(until);
    }
    if let Some(queue) = &options.queue {
        builder = builder.queues(queues(options, queue, &cluster).await?);
    }
    let mut reader = match builder.open().await {
        Ok(reader) => reader,
        Err(error) => return Err(cluster.topic_failed(&options.topic, error).await),
    };
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
                match next {
                    Some(next) => next,
                    None => tokio::select! {
                        next = reader.next() => next,
                        _ = tokio::signal::ctrl_c() => return Ok(()),
                    },
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
        if let Some(wanted) = &options.grep
            && !contains(message.body(), wanted.as_bytes())
        {
            continue;
        }
        print(&message, options, &mut text);
        printed += 1;
    }
    output.bytes(&text);
    output.flush();
    Ok(())
}

fn contains(body: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || body.windows(wanted.len()).any(|part| part == wanted)
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

fn print(message: &ReceivedMessage, options: &Options, out: &mut Vec<u8>) {
    if let Some(format) = &options.format {
        return formatted(format, message, options.utc, out);
    }
    match options.form {
        Form::Jsonl => {
            // A struct of texts and numbers always becomes JSON.
            let _ = serde_json::to_writer(&mut *out, &MessageItem::new(message));
        }
        Form::Body => out.extend_from_slice(message.body()),
        Form::Text => {
            let keys: Vec<&str> = message.keys().collect();
            let head = format!(
                "{}@{} {} {} [{}] ",
                message.queue(),
                message.queue_offset(),
                when::show_time(message.store_ms(), options.utc),
                message.tag().unwrap_or("-"),
                keys.join(" ")
            );
            out.extend_from_slice(head.as_bytes());
            match std::str::from_utf8(message.body()) {
                Ok(text) => out.extend_from_slice(text.as_bytes()),
                Err(_) => {
                    let note = format!("({} bytes, not text)", message.body().len());
                    out.extend_from_slice(note.as_bytes());
                }
            }
        }
    }
    out.push(b'\n');
}

fn formatted(format: &str, message: &ReceivedMessage, utc: bool, out: &mut Vec<u8>) {
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        let text = match letter {
            '%' => match letters.next() {
                Some('t') => message.topic().to_owned(),
                Some('b') => message.queue().broker().to_owned(),
                Some('q') => message.queue().id().to_string(),
                Some('o') => message.queue_offset().to_string(),
                Some('i') => message.message_id(),
                Some('k') => message.keys().collect::<Vec<_>>().join(" "),
                Some('g') => message.tag().unwrap_or_default().to_owned(),
                Some('s') => when::show_time(message.store_ms(), utc),
                Some('v') => {
                    out.extend_from_slice(message.body());
                    continue;
                }
                Some('%') => "%".to_owned(),
                Some(other) => format!("%{other}"),
                None => "%".to_owned(),
            },
            '\\' => match letters.next() {
                Some('n') => "\n".to_owned(),
                Some('t') => "\t".to_owned(),
                Some('\\') => "\\".to_owned(),
                Some(other) => format!("\\{other}"),
                None => "\\".to_owned(),
            },
            other => other.to_string(),
        };
        out.extend_from_slice(text.as_bytes());
    }
}
