//! What the client costs beside a bare load generator: `cargo bench -p rmq-client` (after `cargo build --release -p rmq-ctl`).
//!
//! Both talk to the same `rmq-ctl dev`, in turn; medians of pairs. docs/operate/benchmarks.md has the figures.

#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rmq_bench::load::{Pull, Send, Shape, Target};
use rmq_client::protocol::frame::HeaderEncoding;
use rmq_client::{Client, Message, StartFrom, TopicSpec, TraceContext};

const PAIRS: usize = 5;
const BODY_BYTES: usize = 1024;
const RUN: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_millis(500);
const DEPTH: usize = 32;
const PULLED: u64 = 200_000;
const IDLE_CLIENTS: usize = 100;

/// A cluster in a process of its own; it ends with this.
struct Dev {
    child: Child,
    name_server: String,
    broker: String,
}

impl Dev {
    fn start() -> Self {
        let program = std::env::var("RMQ_CTL").unwrap_or_else(|_| {
            concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/rmq-ctl").to_owned()
        });
        let mut child = Command::new(&program)
            .args([
                "dev",
                "--tmp",
                "--port",
                "0",
                "--broker-port",
                "0",
                "--print-json",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} (or RMQ_CTL) cannot be run: {error}"));
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped"))
            .read_line(&mut line)
            .expect("a line");
        let field = |name: &str| {
            let from = line.find(&format!("\"{name}\":\"")).expect("a field") + name.len() + 4;
            line[from..].split('"').next().expect("a text").to_owned()
        };
        Self {
            name_server: field("nameServer"),
            broker: field("address"),
            child,
        }
    }

    fn target(&self) -> Target {
        Target {
            addr: self.broker.clone(),
            pid: None,
            dir: None,
        }
    }

    async fn client(&self) -> Client {
        Client::connect(format!("rmq://{}", self.name_server))
            .await
            .expect("a cluster")
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // Asked to end, it takes its folder along.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

fn shape(duration: Duration) -> Shape {
    Shape {
        encoding: HeaderEncoding::Json,
        body_bytes: BODY_BYTES,
        topics: 1,
        queues: 8,
        warm_up: WARM_UP,
        duration,
    }
}

/// Messages a second, and the median latency in microseconds, of so many tasks that send one message after the other; `context`: the
/// trace that they belong to.
async fn produce(dev: &Dev, depth: usize, context: Option<TraceContext>) -> (f64, f64) {
    let client = dev.client().await;
    let topic = "figures-produce";
    client
        .admin()
        .create_topic(&TopicSpec::new(topic).queues(8))
        .await
        .expect("a topic");
    let producer = client.producer_builder().max_in_flight(depth).build();
    let body = Bytes::from(vec![b'x'; BODY_BYTES]);
    let measured_from = Instant::now() + WARM_UP;
    let end = measured_from + RUN;
    let tasks: Vec<_> = (0..depth)
        .map(|_| {
            let (producer, body) = (producer.clone(), body.clone());
            let sends = async move {
                let mut times = Vec::with_capacity(1 << 16);
                let mut began = Instant::now();
                while began < end {
                    let sent = producer.send(Message::new(topic, body.clone())).await;
                    sent.expect("stored");
                    let now = Instant::now();
                    if began >= measured_from {
                        times.push(now - began);
                    }
                    began = now;
                }
                times
            };
            match context.clone() {
                Some(context) => tokio::spawn(context.scope(sends)),
                None => tokio::spawn(sends),
            }
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("sent"));
    }
    client.shutdown().await;
    let rate = times.len() as f64 / RUN.as_secs_f64();
    times.sort_unstable();
    let median = times[times.len() / 2].as_secs_f64() * 1e6;
    (rate, median)
}

/// Messages a second that a consumer gets and acknowledges, of what a topic has.
async fn consume(dev: &Dev, topic: &str, group: &str) -> f64 {
    let client = dev.client().await;
    let began = Instant::now();
    let mut deliveries = client
        .consumer(group)
        .subscribe(topic, "*")
        .from(StartFrom::First)
        .stream()
        .await
        .expect("a member");
    for _ in 0..PULLED {
        let delivery = deliveries
            .next()
            .await
            .expect("a message")
            .expect("a message");
        delivery.ack().await.expect("done");
    }
    let rate = PULLED as f64 / began.elapsed().as_secs_f64();
    deliveries.shutdown().await.expect("left");
    client.shutdown().await;
    rate
}

fn anonymous_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.unwrap_or(0.0) * 1024.0
}

fn median(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (
        values[values.len() / 2],
        values[0],
        values[values.len() - 1],
    )
}

fn show(what: &str, must: &str, values: Vec<f64>, unit: &str) {
    let (middle, low, high) = median(values);
    println!("{what}: {middle:.2}{unit} ({low:.2}–{high:.2}), must be {must}");
}

fn main() {
    // One thread for the client, as the load generator has one for its connection.
    let threads = std::env::var("RMQ_THREADS")
        .ok()
        .and_then(|text| text.parse().ok());
    let mut builder = match threads {
        Some(threads) => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(threads);
            builder
        }
        None => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder.enable_all().build().expect("a runtime");
    let dev = Dev::start();
    if std::env::var_os("RMQ_ONLY_PRODUCE").is_some() {
        // For a profiler.
        for _ in 0..PAIRS {
            let raw = Send {
                shape: shape(RUN),
                connections: 1,
                depth: DEPTH,
                batch: 1,
                rate: None,
                requests_max: None,
                ends: None,
            };
            let raw = raw.run(&dev.target()).expect("a load").per_second;
            let ours = runtime.block_on(produce(&dev, DEPTH, None)).0;
            println!("{ours:.0} of {raw:.0} msg/s");
        }
        return;
    }
    let (mut ratios, mut added, mut pulls) = (Vec::new(), Vec::new(), Vec::new());
    let mut traced = Vec::new();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let context = TraceContext::new(parent, None);
    for pair in 0..PAIRS {
        let raw = Send {
            shape: shape(RUN),
            connections: 1,
            depth: DEPTH,
            batch: 1,
            rate: None,
            requests_max: None,
            ends: None,
        };
        let raw_rate = raw.run(&dev.target()).expect("a load").per_second;
        let (rate, _) = runtime.block_on(produce(&dev, DEPTH, None));
        ratios.push(rate / raw_rate);
        let (with_trace, _) = runtime.block_on(produce(&dev, DEPTH, context.clone()));
        traced.push(with_trace / rate);
        let raw = Send { depth: 1, ..raw };
        let raw_p50 = raw.run(&dev.target()).expect("a load").p50_us;
        let (_, p50) = runtime.block_on(produce(&dev, 1, None));
        added.push(p50 - raw_p50);
        let pull = Pull {
            shape: shape(RUN),
            connections: 1,
            depth: 8,
            messages: PULLED,
            messages_each: 256,
        };
        let raw_pull = pull.run(&dev.target()).expect("a load").per_second;
        let topic = shape(RUN).topic_names().remove(0);
        let rate = runtime.block_on(consume(&dev, &topic, &format!("figures-{pair}")));
        pulls.push(rate / raw_pull);
        println!(
            "pair {pair}: producer {rate_of:.2} (of {raw_rate:.0} msg/s), added {added_us:.1} µs ({p50:.0} beside {raw_p50:.0}), consumer {pull:.2} ({rate:.0} of {raw_pull:.0} msg/s)",
            rate_of = ratios[pair],
            added_us = added[pair],
            pull = pulls[pair],
        );
    }
    show(
        "producer, 32 in flight, of the load generator",
        ">= 0.8",
        ratios,
        "x",
    );
    show(
        "producer whose messages carry a trace, of one without",
        ">= 0.9",
        traced,
        "x",
    );
    show("added latency, p50", "<= 20 µs", added, " µs");
    show("consumer, of raw pull", ">= 0.8", pulls, "x");
    runtime.block_on(async {
        let topic = "figures-idle";
        let first = dev.client().await;
        let admin = first.admin();
        admin
            .create_topic(&TopicSpec::new(topic))
            .await
            .expect("a topic");
        let before = anonymous_bytes();
        let mut idle = Vec::new();
        for number in 0..IDLE_CLIENTS {
            let client = dev.client().await;
            client
                .producer()
                .send(Message::new(topic, "x"))
                .await
                .expect("stored");
            let group = format!("figures-idle-{number}");
            let deliveries = client.consumer(group).subscribe(topic, "*").stream().await;
            idle.push((client, deliveries.expect("a member")));
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let each = (anonymous_bytes() - before) / IDLE_CLIENTS as f64 / 1_048_576.0;
        show(
            "idle client with a producer and a consumer of 8 queues",
            "<= 3 MiB",
            vec![each],
            " MiB",
        );
        drop(idle);
    });
}
