//! `rmq-ctl send`: messages from an argument, a file or stdin. Changes state.

use std::io::BufRead;
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use rmq_client::protocol::message::property;
use rmq_client::{Message, Producer, SendReceipt};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::error::Failure;
use crate::input::{self, Input};
use crate::output::Output;
use crate::stop;
use crate::when;

/// Sends that may wait for their answers at once.
const IN_FLIGHT: usize = 256;

/// Options of `send`.
#[derive(Debug, Args)]
#[command(
    after_help = "Changes state. Prints one line for each message: id and place, and what recalls it (rmq-ctl recall) if it waits for a time. Without BODY, or with -, each line of stdin (or of -f) is
a message. The first Ctrl-C or SIGTERM ends it gently: what is in flight is finished, how many were sent is said, the exit code is 130
or 143; the second one ends it at once.

In a body with --template, {{count}} is the number of the message, from 1, and {{time}} the time in Unix milliseconds.

Examples:
  rmq-ctl send orders 'hello'
  rmq-ctl send orders 'paid' --key order-17 --tag paid -H tenant=a
  rmq-ctl send reminders 'call back' --delay 36h
  rmq-ctl send orders '{{count}}' --template --count 1000 --rate 100
  rmq-ctl send orders 'paid' --transaction commit
  rmq-ctl send prices 'apples' --request --within 3s
  seq 3 | rmq-ctl send orders -
  echo '{\"body\":\"hi\",\"key\":\"k1\"}' | rmq-ctl send orders --jsonl"
)]
pub(crate) struct Options {
    /// The topic.
    topic: String,

    /// The body. Without it, the lines of stdin are messages, one each; - is stdin too.
    body: Option<String>,

    /// Read from this file instead of stdin; - is stdin.
    #[arg(short, long, value_name = "FILE", conflicts_with = "body")]
    file: Option<String>,

    /// Lines are JSON objects: body or bodyHex, and optionally key or keys, tag, properties.
    #[arg(long)]
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

    /// Deliver later: 500ms, 10s, 5m, 36h. Servers of RocketMQ 4 know no timers and deliver at once.
    #[arg(long, value_name = "LENGTH", value_parser = when::parse_length)]
    delay: Option<Duration>,

    /// Deliver at a time: 2026-01-31T09:00:00Z, "2026-01-31 09:00", "today 18:00" or Unix milliseconds.
    #[arg(long, value_name = "TIME", value_parser = when::parse_time, conflicts_with = "delay")]
    at: Option<i64>,

    /// Send each message in a transaction, and end the transaction so; pending leaves it open, as a producer that dies.
    #[arg(long, value_name = "END", conflicts_with_all = ["delay", "at"])]
    transaction: Option<TransactionEnd>,

    /// Wait for the reply of a consumer to each message, and print its body.
    #[arg(long, conflicts_with = "transaction")]
    request: bool,

    /// With --request: wait for each reply no longer than this.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = when::parse_length)]
    within: Duration,

    /// Send the body this many times.
    #[arg(long, value_name = "N", requires = "body")]
    count: Option<u64>,

    /// Messages a second at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// Fill in {{count}} and {{time}}.
    #[arg(long)]
    template: bool,
}

/// How a transaction of `--transaction` ends.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum TransactionEnd {
    /// Consumers get the message.
    Commit,
    /// Nobody gets the message.
    Rollback,
    /// Brokers ask the producer group rmq-ctl, which gives no answer.
    Pending,
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
    let mut sending = Sending {
        answers: FuturesOrdered::new(),
        sent: 0,
        options,
        cluster: &cluster,
        output,
    };
    let mut stop = stop::listen()?;
    let began = Instant::now();
    let mut number: u64 = 0;
    let signal = loop {
        let next = async {
            if let Some(rate) = options.rate {
                let after = Duration::from_secs(1) * u32::try_from(number).unwrap_or(u32::MAX);
                sleep_until(began + after / rate).await;
            }
            source.next(options, number + 1).await
        };
        let has_answers = !sending.answers.is_empty();
        let next = tokio::select! {
            biased;
            signal = stop.wait() => break Some(signal),
            Some(answer) = sending.answers.next(), if has_answers => {
                sending.take(answer).await?;
                continue;
            }
            next = next, if sending.answers.len() < IN_FLIGHT => {
                next.map_err(|failure| failure.fact("sent", sending.sent))?
            }
        };
        let Some(message) = next else {
            break None;
        };
        let pending = begin(&producer, message, options).await;
        let pending = pending.map_err(|error| sending.failed(error))?;
        sending.answers.push_back(pending);
        number += 1;
    };
    while let Some(answer) = sending.answers.next().await {
        sending.take(answer).await?;
    }
    output.flush();
    match signal {
        None => Ok(()),
        Some(signal) => Err(stop::stopped(
            signal,
            format!("stopped by a signal; {} messages were sent", sending.sent),
        )),
    }
}

/// What is printed when a message is sent.
type Answer = BoxFuture<'static, Result<Vec<u8>, rmq_client::Error>>;

/// Begins to send a message.
async fn begin(
    producer: &Producer,
    message: Message,
    options: &Options,
) -> Result<Answer, rmq_client::Error> {
    let then = producer.clone();
    if options.request {
        let within = options.within;
        return Ok(Box::pin(async move {
            let reply = then.request(message, within).await?;
            Ok([&reply.body()[..], b"\n"].concat())
        }));
    }
    if let Some(end) = options.transaction {
        return Ok(Box::pin(async move {
            let transaction = then.begin(message).await?;
            let text = format!("{} {}\n", transaction.id(), transaction.queue());
            match end {
                TransactionEnd::Commit => transaction.commit().await?,
                TransactionEnd::Rollback => transaction.rollback().await?,
                TransactionEnd::Pending => drop(transaction),
            }
            Ok(text.into_bytes())
        }));
    }
    let pending = producer.submit(message).await?;
    Ok(Box::pin(
        async move { Ok(line(&pending.await?).into_bytes()) },
    ))
}

/// What is in flight, in the order in which it was sent.
struct Sending<'s> {
    answers: FuturesOrdered<Answer>,
    /// Acknowledged.
    sent: u64,
    options: &'s Options,
    cluster: &'s Cluster,
    output: &'s Output,
}

impl Sending<'_> {
    fn failed(&self, error: rmq_client::Error) -> Failure {
        let what = format!("cannot send to \"{}\"", self.options.topic);
        self.cluster.failed(what, error).fact("sent", self.sent)
    }

    /// Prints the oldest answer.
    async fn take(&mut self, answer: Result<Vec<u8>, rmq_client::Error>) -> Result<(), Failure> {
        match answer {
            Ok(text) => {
                self.output.bytes(&text);
                self.sent += 1;
                Ok(())
            }
            Err(error) if error.kind() == rmq_client::ErrorKind::NoRoute => {
                Err(self.cluster.topic_failed(&self.options.topic, error).await)
            }
            Err(error) => Err(self.failed(error)),
        }
    }
}

fn line(receipt: &SendReceipt) -> String {
    let recall = receipt.recall_handle().map(|handle| format!(" {handle}"));
    format!(
        "{} {}@{}{}\n",
        receipt.message_id(),
        receipt.queue(),
        receipt.queue_offset(),
        recall.unwrap_or_default()
    )
}

/// Where messages come from.
enum Source {
    Argument { left: u64 },
    Lines(Lines),
}

/// Lines, read ahead by a thread of its own: a signal comes while stdin gives nothing.
struct Lines {
    lines: tokio::sync::mpsc::Receiver<std::io::Result<Vec<u8>>>,
    name: String,
}

/// Lines that are read ahead.
const AHEAD: usize = 64;

impl Lines {
    fn read(input: Input) -> Self {
        let Input { name, mut reader } = input;
        let (sender, lines) = tokio::sync::mpsc::channel(AHEAD);
        std::thread::spawn(move || {
            loop {
                let mut line = Vec::new();
                let read = match reader.read_until(b'\n', &mut line) {
                    Ok(0) => return,
                    Ok(_) => Ok(line),
                    Err(error) => Err(error),
                };
                let is_last = read.is_err();
                if sender.blocking_send(read).is_err() || is_last {
                    return;
                }
            }
        });
        Self { lines, name }
    }
}

impl Source {
    fn open(options: &Options) -> Result<Self, Failure> {
        let path = match (options.body.as_deref(), options.file.as_deref()) {
            (None | Some(input::STDIN), file) => file.unwrap_or(input::STDIN),
            (Some(_), _) if options.jsonl => {
                return Err(Failure::coded(
                    &codes::INVALID,
                    "--jsonl reads lines: from stdin, or from a file with -f",
                ));
            }
            (Some(_), _) => {
                return Ok(Self::Argument {
                    left: options.count.unwrap_or(1),
                });
            }
        };
        if options.count.is_some() {
            return Err(Failure::coded(
                &codes::INVALID,
                "--count repeats a body; stdin and files give as many messages as they have lines",
            ));
        }
        Ok(Self::Lines(Lines::read(input::open(path)?)))
    }

    async fn next(&mut self, options: &Options, number: u64) -> Result<Option<Message>, Failure> {
        match self {
            Self::Argument { left: 0 } => Ok(None),
            Self::Argument { left } => {
                *left -= 1;
                let body = options.body.as_deref().unwrap_or_default();
                Ok(Some(message(options, body.to_owned().into_bytes(), number)))
            }
            Self::Lines(Lines { lines, name }) => {
                let Some(line) = lines.recv().await else {
                    return Ok(None);
                };
                let mut line = line.map_err(|error| input::unreadable(name, &error))?;
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
        message = message.deliver_after(delay);
    }
    if let Some(at) = options.at {
        let since = Duration::from_millis(at.max(0).unsigned_abs());
        message = message.deliver_at(std::time::UNIX_EPOCH + since);
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
