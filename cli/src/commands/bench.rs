//! `rmq-ctl bench`: how fast a cluster is, as a client sees it. Changes state: it sends messages.

use std::time::Duration;

use clap::{Args, Subcommand};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use rmq_client::{Message, Position, PullOptions, Queue, TopicSpec};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::Instant;

use crate::cluster::{Cluster, ClusterOptions};
use crate::codes;
use crate::completion::topic_completer;
use crate::error::Failure;
use crate::output::Output;
use crate::render::API_VERSION;
use crate::stop::{self, StopSignal};
use crate::when;

/// Where the time of sending stands in a body.
const STAMP_BYTES: usize = 8;
/// What is on its way when the time is over may arrive this much later.
const LATE: Duration = Duration::from_secs(2);
/// No message of a bench takes longer, microseconds.
const LATENCY_MAX_US: u64 = 60_000_000;

/// Options of `bench`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Send as fast as it goes, or at a rate.
    #[command(after_help = "Changes state: it sends messages.

Examples:
  rmq-ctl bench produce -t bench --duration 5s
  rmq-ctl bench produce -t bench --count 100000 --size 256 --rate 5000 --json")]
    Produce(SendOptions),
    /// Read what a topic has, without a group.
    #[command(after_help = "Reads only.

Examples:
  rmq-ctl bench consume -t bench
  rmq-ctl bench consume -t bench --count 100000 --csv")]
    Consume(CommonOptions),
    /// Send at a rate and receive at once: the time from send to delivery.
    #[command(after_help = "Changes state: it sends messages.

Examples:
  rmq-ctl bench e2e -t bench --rate 1000
  rmq-ctl bench e2e -t bench --rate 1000 --duration 30s --json")]
    E2e(SendOptions),
    /// One message after the other: the time of one send.
    #[command(after_help = "Changes state: it sends messages.

Examples:
  rmq-ctl bench latency -t bench
  rmq-ctl bench latency -t bench --count 1000 --csv")]
    Latency(SendOptions),
}

#[derive(Debug, Clone, Args)]
struct CommonOptions {
    /// The topic; it is created when it is not there. Do not take one that a service reads.
    #[arg(short, long, default_value = "rmq-ctl-bench", add = topic_completer())]
    topic: String,

    /// So many messages at most.
    #[arg(long, value_name = "N")]
    count: Option<u64>,

    /// So long at most.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = when::parse_length)]
    duration: Duration,

    /// Print the result as JSON.
    #[arg(long, conflicts_with = "csv")]
    json: bool,

    /// Print the result as CSV, with a line of names.
    #[arg(long)]
    csv: bool,
}

#[derive(Debug, Clone, Args)]
struct SendOptions {
    #[command(flatten)]
    common: CommonOptions,

    /// Bytes of a body.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(8..=4_194_304))]
    size: u32,

    /// Messages a second; default as many as go, for e2e 1,000.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// Sends that may wait for their answers at once.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    in_flight: u32,
}

/// What was measured. Latencies in microseconds.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Report {
    api_version: &'static str,
    kind: &'static str,
    what: &'static str,
    topic: String,
    messages: u64,
    bytes: u64,
    errors: u64,
    seconds: f64,
    messages_per_second: f64,
    mebibytes_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<Latency>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Latency {
    min: u64,
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

/// Counts while it runs.
struct Run {
    what: &'static str,
    began: Instant,
    deadline: Instant,
    count: Option<u64>,
    messages: u64,
    bytes: u64,
    errors: u64,
    last_error: Option<rmq_client::Error>,
    latency: Option<Histogram<u64>>,
    bar: ProgressBar,
    /// The first signal ends the run early.
    stop: StopSignal,
}

impl Run {
    fn new(
        what: &'static str,
        options: &CommonOptions,
        stop: &StopSignal,
        output: &Output,
    ) -> Self {
        let bar = if output.shows_progress() {
            let bar =
                ProgressBar::new(options.count.unwrap_or(options.duration.as_millis() as u64));
            let form = if options.count.is_some() {
                "{bar:40} {pos}/{len} {msg}"
            } else {
                "{bar:40} {elapsed} {msg}"
            };
            bar.set_style(
                ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        } else {
            ProgressBar::hidden()
        };
        let now = Instant::now();
        Self {
            what,
            began: now,
            deadline: now + options.duration,
            count: options.count,
            messages: 0,
            bytes: 0,
            errors: 0,
            last_error: None,
            latency: None,
            bar,
            stop: stop.clone(),
        }
    }

    fn is_over(&self, begun: u64) -> bool {
        self.stop.received().is_some()
            || Instant::now() >= self.deadline
            || self.count.is_some_and(|count| begun >= count)
    }

    fn took(&mut self, time: Duration) -> Result<(), Failure> {
        if self.latency.is_none() {
            let histogram = Histogram::new_with_bounds(1, LATENCY_MAX_US, 3);
            self.latency = Some(histogram.map_err(|error| {
                Failure::coded(&codes::SERVER, "cannot count latencies").cause(&error)
            })?);
        }
        if let Some(histogram) = &mut self.latency {
            histogram.saturating_record((time.as_micros() as u64).max(1));
        }
        Ok(())
    }

    fn done(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
        if self.messages.is_multiple_of(512) && !self.bar.is_hidden() {
            let elapsed = self.began.elapsed();
            self.bar.set_position(match self.count {
                Some(_) => self.messages,
                None => elapsed.as_millis() as u64,
            });
            let rate = self.messages as f64 / elapsed.as_secs_f64().max(0.001);
            self.bar.set_message(format!("{rate:.0} msg/s"));
        }
    }

    fn failed(&mut self, error: rmq_client::Error) {
        self.errors += 1;
        self.last_error = Some(error);
    }

    fn report(self, topic: &str) -> Report {
        self.bar.finish_and_clear();
        let seconds = self.began.elapsed().as_secs_f64().max(1e-9);
        let latency = self.latency.map(|histogram| Latency {
            min: histogram.min(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        });
        Report {
            api_version: API_VERSION,
            kind: "BenchReport",
            what: self.what,
            topic: topic.to_owned(),
            messages: self.messages,
            bytes: self.bytes,
            errors: self.errors,
            seconds,
            messages_per_second: self.messages as f64 / seconds,
            mebibytes_per_second: self.bytes as f64 / seconds / 1_048_576.0,
            latency,
        }
    }
}

pub(crate) async fn run(
    options: &Options,
    cluster: &ClusterOptions,
    output: &Output,
) -> Result<(), Failure> {
    let cluster = Cluster::connect(cluster, output).await?;
    let stop = stop::listen()?;
    let (common, run) = match &options.what {
        What::Produce(options) => {
            let run = Run::new("produce", &options.common, &stop, output);
            (&options.common, produce(options, run, &cluster).await?)
        }
        What::Latency(options) => {
            let mut one = options.clone();
            one.in_flight = 1;
            let run = Run::new("latency", &options.common, &stop, output);
            (&options.common, produce(&one, run, &cluster).await?)
        }
        What::E2e(options) => {
            let run = Run::new("e2e", &options.common, &stop, output);
            (&options.common, end_to_end(options, run, &cluster).await?)
        }
        What::Consume(options) => {
            let run = Run::new("consume", options, &stop, output);
            (options, consume(options, run, &cluster).await?)
        }
    };
    if run.messages == 0
        && let Some(error) = run.last_error
    {
        return Err(cluster.failed(
            format!("no message got through to \"{}\"", common.topic),
            error,
        ));
    }
    print(&run.report(&common.topic), common, output);
    match stop.received() {
        Some(signal) => Err(stop::stopped(
            signal,
            "stopped by a signal before the end; the result is of the part before",
        )),
        None => Ok(()),
    }
}

async fn ready(topic: &str, cluster: &Cluster) -> Result<(), Failure> {
    let failed = |error| cluster.failed(format!("cannot create topic \"{topic}\""), error);
    match cluster.client.refresh_route(topic).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == rmq_client::ErrorKind::NoRoute => {
            let spec = TopicSpec::new(topic).queues(8);
            cluster
                .client
                .admin()
                .create_topic(&spec)
                .await
                .map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

fn body(size: u32) -> Vec<u8> {
    (0..size).map(|n| b'a' + (n % 26) as u8).collect()
}

async fn produce(options: &SendOptions, mut run: Run, cluster: &Cluster) -> Result<Run, Failure> {
    let topic = &options.common.topic;
    ready(topic, cluster).await?;
    let in_flight = options.in_flight as usize;
    let producer = cluster
        .client
        .producer_builder()
        .group("rmq-ctl-bench")
        .max_in_flight(in_flight)
        .build();
    let body = bytes::Bytes::from(body(options.size));
    let mut answers = FuturesUnordered::new();
    let mut begun = 0_u64;
    run.began = Instant::now();
    loop {
        while !run.is_over(begun) && answers.len() < in_flight {
            if let Some(rate) = options.rate {
                let due = run.began + Duration::from_secs_f64(begun as f64 / f64::from(rate));
                if Instant::now() < due {
                    if answers.is_empty() {
                        tokio::time::sleep_until(due).await;
                    } else {
                        break;
                    }
                }
            }
            begun += 1;
            let at = Instant::now();
            match producer.submit(Message::new(topic, body.clone())).await {
                Ok(pending) => answers.push(async move { (pending.await, at) }),
                Err(error) => run.failed(error),
            }
        }
        match answers.next().await {
            Some((Ok(_), at)) => {
                run.took(at.elapsed())?;
                run.done(body.len());
            }
            Some((Err(error), _)) => run.failed(error),
            None if run.is_over(begun) => return Ok(run),
            None => {}
        }
        if run.errors > 1_000 && run.messages == 0 {
            return Ok(run);
        }
    }
}

async fn consume(options: &CommonOptions, mut run: Run, cluster: &Cluster) -> Result<Run, Failure> {
    let topic = &options.topic;
    let route = match cluster.client.refresh_route(topic).await {
        Ok(route) => route,
        Err(error) => return Err(cluster.topic_failed(topic, error).await),
    };
    let failed = |error| cluster.failed(format!("cannot read \"{topic}\""), error);
    let admin = cluster.client.admin();
    let mut queues: Vec<(Queue, i64, i64)> = Vec::new();
    for queue in route.readable() {
        let from = admin.min_offset(queue).await.map_err(failed)?;
        let to = admin.max_offset(queue).await.map_err(failed)?;
        if from < to {
            queues.push((queue.clone(), from, to));
        }
    }
    run.began = Instant::now();
    let pull = PullOptions::default().max_messages(512);
    let mut pulls: FuturesUnordered<_> = queues
        .into_iter()
        .map(|(queue, from, to)| next(cluster, queue, from, to, &pull))
        .collect();
    while let Some((queue, to, pulled)) = pulls.next().await {
        let pulled = pulled.map_err(failed)?;
        for message in &pulled.messages {
            run.done(message.body().len());
        }
        if pulled.next_offset < to && !run.is_over(run.messages) {
            pulls.push(next(cluster, queue, pulled.next_offset, to, &pull));
        }
    }
    Ok(run)
}

async fn next(
    cluster: &Cluster,
    queue: Queue,
    from: i64,
    to: i64,
    pull: &PullOptions,
) -> (Queue, i64, Result<rmq_client::Pulled, rmq_client::Error>) {
    let pulled = cluster.client.pull(&queue, from, pull).await;
    (queue, to, pulled)
}

async fn end_to_end(
    options: &SendOptions,
    mut run: Run,
    cluster: &Cluster,
) -> Result<Run, Failure> {
    let topic = &options.common.topic;
    ready(topic, cluster).await?;
    let failed = |error| cluster.failed(format!("cannot read \"{topic}\""), error);
    let mut reader = cluster
        .client
        .reader(topic)
        .from(Position::Latest)
        .follow(true)
        .open()
        .await
        .map_err(failed)?;
    let producer = cluster
        .client
        .producer_builder()
        .group("rmq-ctl-bench")
        .max_in_flight(options.in_flight as usize)
        .build();
    let base = Instant::now();
    let filling = body(options.size);
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(
        1.0 / f64::from(options.rate.unwrap_or(1_000)),
    ));
    let mut answers = FuturesUnordered::new();
    let (mut begun, mut stored) = (0_u64, 0_u64);
    run.began = Instant::now();
    let mut end = run.deadline + LATE;
    let mut stop = run.stop.clone();
    let mut is_stopped = false;
    while !(run.is_over(begun) && answers.is_empty() && run.messages >= stored) {
        tokio::select! {
            _ = ticks.tick(), if !run.is_over(begun) => {
                begun += 1;
                let mut body = filling.clone();
                body[..STAMP_BYTES].copy_from_slice(&(base.elapsed().as_nanos() as u64).to_be_bytes());
                match producer.submit(Message::new(topic, body)).await {
                    Ok(pending) => answers.push(pending),
                    Err(error) => run.failed(error),
                }
            }
            Some(answer) = answers.next() => match answer {
                Ok(_) => stored += 1,
                Err(error) => run.failed(error),
            },
            message = reader.next() => {
                let Some(message) = message.map_err(failed)? else {
                    break;
                };
                let stamp = message.body().first_chunk::<STAMP_BYTES>();
                let sent = stamp.map(|stamp| Duration::from_nanos(u64::from_be_bytes(*stamp)));
                if let Some(time) = sent.and_then(|sent| base.elapsed().checked_sub(sent)) {
                    run.took(time)?;
                }
                run.done(message.body().len());
            }
            _ = stop.wait(), if !is_stopped => {
                is_stopped = true;
                end = Instant::now() + LATE;
            }
            () = tokio::time::sleep_until(end) => break,
        }
    }
    Ok(run)
}

fn print(report: &Report, options: &CommonOptions, output: &Output) {
    let latency = report.latency.as_ref();
    if options.json {
        output.data(&serde_json::to_string(report).unwrap_or_default());
        return;
    }
    if options.csv {
        output.data("what,topic,messages,bytes,errors,seconds,messages_per_second,min_us,p50_us,p90_us,p99_us,p999_us,max_us");
        let number = |of: fn(&Latency) -> u64| latency.map(of).unwrap_or(0);
        output.data(&format!(
            "{},{},{},{},{},{:.3},{:.1},{},{},{},{},{},{}",
            report.what,
            report.topic,
            report.messages,
            report.bytes,
            report.errors,
            report.seconds,
            report.messages_per_second,
            number(|latency| latency.min),
            number(|latency| latency.p50),
            number(|latency| latency.p90),
            number(|latency| latency.p99),
            number(|latency| latency.p999),
            number(|latency| latency.max),
        ));
        return;
    }
    output.data(&format!(
        "{}: {} messages in {:.2} s, {:.0} msg/s, {:.1} MiB/s, {} errors",
        report.what,
        report.messages,
        report.seconds,
        report.messages_per_second,
        report.mebibytes_per_second,
        report.errors
    ));
    if let Some(latency) = latency {
        output.data(&format!(
            "latency µs: min {}  p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
            latency.min, latency.p50, latency.p90, latency.p99, latency.p999, latency.max
        ));
    }
}
