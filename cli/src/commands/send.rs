//! `rmq-ctl send`: messages from an argument, a file or stdin. Changes state.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use rmq_client::protocol::message::property;
use rmq_client::{Message, SendReceipt};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::error::Failure;
use crate::output::Output;
use crate::when;

/// Sends that may wait for their answers at once.
const IN_FLIGHT: usize = 256;

/// Options of `send`.
#[derive(Debug, Args)]
#[command(
    after_help = "Changes state. Prints one line for each message: id and place. Without BODY, each line of stdin (or of -f) is a message.

In a body with --template, {{count}} is the number of the message, from 1, and {{time}} the time in Unix milliseconds.

Examples:
  rmq-ctl send orders 'hello'
  rmq-ctl send orders 'paid' --key order-17 --tag paid -H tenant=a
  rmq-ctl send orders '{{count}}' --template --count 1000 --rate 100
  echo '{\"body\":\"hi\",\"key\":\"k1\"}' | rmq-ctl send orders --jsonl"
)]
pub(crate) struct Options {
    /// The topic.
    topic: String,

    /// The body. Default: the lines of stdin, a message each.
    body: Option<String>,

    /// Read from this file instead of stdin; - is stdin.
    #[arg(short, long, value_name = "FILE", conflicts_with = "body")]
    file: Option<String>,

    /// Lines are JSON objects: body or bodyHex, and perhaps key or keys, tag, properties.
    #[arg(long, conflicts_with = "body")]
    jsonl: bool,

    /// A business key; may be given several times.
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,

    /// The tag.
    #[arg(long)]
    tag: Option<String>,

    /// A property, NAME=VALUE; may be given several times.
    #[arg(short = 'H', long = "property", value_name = "NAME=VALUE", value_parser = parse_property)]
    properties: Vec<(String, String)>,

    /// Messages with the same key here go to the same queue, in order.
    #[arg(long, value_name = "KEY")]
    ordered_by: Option<String>,

    /// Deliver later: 10s, 5m, 1h; rounded up to one of the broker's delay levels.
    #[arg(long, value_name = "TIME", value_parser = when::parse_length)]
    delay: Option<Duration>,

    /// Send the body so many times.
    #[arg(long, value_name = "N", requires = "body")]
    count: Option<u64>,

    /// Messages a second at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// Fill in {{count}} and {{time}}.
    #[arg(long)]
    template: bool,
}

fn parse_property(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("\"{text}\" is not NAME=VALUE"))
}

/// A line of `--jsonl`; what `tail -o jsonl` prints is understood, so that one feeds the other.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    body: Option<String>,
    body_hex: Option<String>,
    key: Option<String>,
    #[serde(default)]
    keys: Vec<String>,
    tag: Option<String>,
    #[serde(default)]
    properties: std::collections::BTreeMap<String, String>,
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let cluster = Cluster::connect(cluster, output).await?;
    let producer = cluster
        .client
        .producer_builder()
        .group("rmq-ctl")
        .max_in_flight(IN_FLIGHT)
        .build();
    let mut source = Source::open(options)?;
    let mut answers = FuturesOrdered::new();
    let began = Instant::now();
    let mut sent: u64 = 0;
    loop {
        if let Some(rate) = options.rate {
            sleep_until(
                began + Duration::from_secs(1) * u32::try_from(sent).unwrap_or(u32::MAX) / rate,
            )
            .await;
        }
        let Some(message) = source.next(options, sent + 1)? else {
            break;
        };
        let pending = producer.submit(message).await.map_err(|error| {
            cluster.failed(format!("cannot send to \"{}\"", options.topic), error)
        })?;
        answers.push_back(pending);
        sent += 1;
        while answers.len() >= IN_FLIGHT {
            take(&mut answers, options, &cluster, output).await?;
        }
    }
    while !answers.is_empty() {
        take(&mut answers, options, &cluster, output).await?;
    }
    output.flush();
    Ok(())
}

async fn take(
    answers: &mut FuturesOrdered<rmq_client::PendingSend>,
    options: &Options,
    cluster: &Cluster,
    output: &Output,
) -> Result<(), Failure> {
    match answers.next().await {
        Some(Ok(receipt)) => {
            output.bytes(line(&receipt).as_bytes());
            Ok(())
        }
        Some(Err(error)) if error.kind() == rmq_client::ErrorKind::NoRoute => {
            Err(cluster.topic_failed(&options.topic, error).await)
        }
        Some(Err(error)) => {
            Err(cluster.failed(format!("cannot send to \"{}\"", options.topic), error))
        }
        None => Ok(()),
    }
}

fn line(receipt: &SendReceipt) -> String {
    format!(
        "{} {}@{}\n",
        receipt.message_id(),
        receipt.queue(),
        receipt.queue_offset()
    )
}

/// Where messages come from.
enum Source {
    Argument { left: u64 },
    Lines(Box<dyn BufRead>, String),
}

impl Source {
    fn open(options: &Options) -> Result<Self, Failure> {
        if options.body.is_some() {
            return Ok(Self::Argument {
                left: options.count.unwrap_or(1),
            });
        }
        match options.file.as_deref() {
            None | Some("-") => {
                let stdin = BufReader::new(std::io::stdin());
                Ok(Self::Lines(Box::new(stdin), "stdin".to_owned()))
            }
            Some(path) => match std::fs::File::open(path) {
                Ok(file) => Ok(Self::Lines(Box::new(BufReader::new(file)), path.to_owned())),
                Err(error) => Err(Failure::coded(&codes::IO, "the messages cannot be read")
                    .fact("file", path)
                    .cause(&error)),
            },
        }
    }

    fn next(&mut self, options: &Options, number: u64) -> Result<Option<Message>, Failure> {
        match self {
            Self::Argument { left: 0 } => Ok(None),
            Self::Argument { left } => {
                *left -= 1;
                let body = options.body.as_deref().unwrap_or_default();
                Ok(Some(message(options, body.to_owned().into_bytes(), number)))
            }
            Self::Lines(lines, name) => {
                let mut line = Vec::new();
                let read = lines.read_until(b'\n', &mut line).map_err(|error| {
                    Failure::coded(&codes::IO, "the messages cannot be read")
                        .fact("file", &*name)
                        .cause(&error)
                })?;
                if read == 0 {
                    return Ok(None);
                }
                if line.ends_with(b"\n") {
                    line.pop();
                }
                if options.jsonl {
                    return from_json(options, &line, number, name).map(Some);
                }
                Ok(Some(message(options, line, number)))
            }
        }
    }
}

fn message(options: &Options, mut body: Vec<u8>, number: u64) -> Message {
    if options.template
        && let Ok(text) = std::str::from_utf8(&body)
    {
        body = text
            .replace("{{count}}", &number.to_string())
            .replace("{{time}}", &when::now_ms().to_string())
            .into_bytes();
    }
    let mut message = Message::new(&options.topic, body);
    for key in &options.key {
        message = message.key(key);
    }
    if let Some(tag) = &options.tag {
        message = message.tag(tag);
    }
    for (name, value) in &options.properties {
        message = message.property(name, value);
    }
    if let Some(key) = &options.ordered_by {
        message = message.ordered_by(key);
    }
    if let Some(delay) = options.delay {
        message = message.delay_level_for(delay);
    }
    message
}

fn from_json(
    options: &Options,
    line: &[u8],
    number: u64,
    source: &str,
) -> Result<Message, Failure> {
    let refuse = |why: String| {
        Failure::coded(&codes::INVALID, format!("line {number} is no message"))
            .fact("file", source)
            .because(why)
            .try_this(r#"write {"body":"…","key":"…","tag":"…","properties":{…}}"#)
    };
    let parsed: Line = serde_json::from_slice(line).map_err(|error| refuse(error.to_string()))?;
    let body = match (parsed.body, parsed.body_hex) {
        (Some(body), None) => body.into_bytes(),
        (None, Some(hex)) => {
            from_hex(&hex).ok_or_else(|| refuse("bodyHex is not hexadecimal".to_owned()))?
        }
        _ => return Err(refuse("it needs body or bodyHex".to_owned())),
    };
    let mut message = message(options, body, number);
    for key in parsed.key.iter().chain(&parsed.keys) {
        message = message.key(key);
    }
    if let Some(tag) = parsed.tag {
        message = message.tag(tag);
    }
    for (name, value) in parsed.properties {
        if name == property::SHARDING_KEY {
            message = message.ordered_by(value);
        } else if !Message::is_system_property(&name) {
            message = message.property(name, value);
        }
    }
    Ok(message)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
