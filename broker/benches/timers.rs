//! What timers cost: `cargo bench -p rmq-broker --bench timers -- [MESSAGES]`. A broker in this process takes so many (1,000,000) that wait, for each says
//! memory and disk beside a plain message, starts again with them, and delivers 10,000 that are due in one second.

#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

#[path = "../tests/messages/support.rs"]
#[allow(dead_code, reason = "the tests of messages use the rest")]
mod support;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::stream::{self, StreamExt};
use rmq_broker::{BrokerServer, Deps};
use rmq_protocol::message::RecordView;
use support::{Client, Rig, config, pull};

const DUE_AT_ONCE: usize = 10_000;
const IN_FLIGHT: usize = 256;

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_millis() as i64
}

/// Memory that the process holds and no file is behind, bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("of Linux");
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<u64>().ok())
        .expect("a number")
        * 1_024
}

fn bytes_of(file: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(file).map_or(0, |file| file.blocks() * 512)
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries
        .map(|entry| bytes_of(&entry.expect("an entry").path()))
        .sum()
}

async fn send(client: &Client, messages: usize, properties: impl Fn(usize) -> String) -> Duration {
    let began = Instant::now();
    stream::iter(0..messages)
        .map(|number| {
            let properties = properties(number);
            async move { client.put("t", &properties, "0123456789").await }
        })
        .buffer_unordered(IN_FLIGHT)
        .for_each(|_| async {})
        .await;
    began.elapsed()
}

#[tokio::main]
async fn main() {
    let messages = std::env::args().filter_map(|word| word.parse().ok()).next();
    let messages: usize = messages.unwrap_or(1_000_000);
    let rig = Rig::start_with(Deps::default(), |config| config.segment_bytes = 1 << 30).await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    let index = rig.folder.path().join("index");
    let begun = (memory(), bytes_below(&index));
    let took = send(&client, messages, |_| String::new()).await;
    let plain = (memory(), bytes_below(&index));
    println!(
        "{messages} plain: {took:?}; memory {} MiB, index and tables {} MiB",
        (plain.0 - begun.0.min(plain.0)) >> 20,
        (plain.1 - begun.1) >> 20
    );
    let day_ms = 86_400_000;
    let took = send(&client, messages, |number| {
        // Spread over two days, in no order.
        let delay_ms = 3_600_000 + (number as u64 * 7_919_777) % (2 * day_ms);
        format!("TIMER_DELAY_MS\u{1}{delay_ms}\u{2}")
    })
    .await;
    let timed = (memory(), bytes_below(&index));
    println!(
        "{messages} timers: {took:?}; memory {} bytes each, index and tables {} bytes each ({} those of a plain message)",
        (timed.0 as i64 - plain.0 as i64) / messages as i64,
        (timed.1 - plain.1) / messages as u64,
        (plain.1 - begun.1) / messages as u64,
    );
    let Rig { broker, folder } = rig;
    broker.shutdown().await.expect("a clean stop");
    let tables = bytes_of(&index.join("tables"));
    println!(
        "tables after a stop: {} bytes each",
        tables / messages as u64
    );
    let began = Instant::now();
    let broker = BrokerServer::start(config(folder.path()), Deps::default())
        .await
        .expect("starts again");
    println!("start with {messages} timers: {:?}", began.elapsed());

    let client = Client::to(&broker);
    client.create_topic("t2", 1, 6).await;
    let due_ms = now_ms() + 60_000;
    let client_of = &client;
    stream::iter(0..DUE_AT_ONCE)
        .map(|number| async move {
            let at = due_ms + (number % 1_000) as i64;
            let properties = format!("TIMER_DELIVER_MS\u{1}{at}\u{2}");
            client_of.put("t2", &properties, "x").await
        })
        .buffer_unordered(IN_FLIGHT)
        .for_each(|_| async {})
        .await;
    println!("{DUE_AT_ONCE} are due in {} ms", due_ms - now_ms());
    let (mut found, mut late, mut early) = (0, 0, 0);
    while found < DUE_AT_ONCE {
        let frame = client
            .call(
                rmq_protocol::code::RequestCode::PullMessage,
                &pull("t2", 0, found as i64),
                &[],
            )
            .await;
        for record in RecordView::iter(frame.body()) {
            let record = record.expect("a record");
            let text = record.properties();
            let due = rmq_protocol::message::properties::get(text, "TIMER_DELIVER_MS");
            let due: i64 = due.and_then(|due| due.parse().ok()).expect("a time");
            late = late.max(record.store_ms() - due);
            early = early.min(record.store_ms() - due);
            found += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "{DUE_AT_ONCE} delivered: the latest {late} ms after its time, the earliest {} ms before",
        -early
    );
    broker.shutdown().await.expect("a clean stop");
}
