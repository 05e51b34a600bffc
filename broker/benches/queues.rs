//! What idle queues cost: `cargo bench -p rmq-broker --bench queues -- [QUEUES]`. A broker gets a message for each of so many queues (1,000,000) in
//! topics of 1,000, stops, and starts again.

#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

#[allow(dead_code, reason = "the other benches use the rest")]
mod process;
#[path = "../tests/messages/support.rs"]
#[allow(dead_code, reason = "the tests of messages use the rest")]
mod support;

use std::time::Instant;

use process::{Broker, fill, number};
use rmq_protocol::code::RequestCode;
use rmq_protocol::requests::{GetMaxOffset, OffsetReply, Reply as _};
use support::{Client, message};

const QUEUES_OF_A_TOPIC: usize = 1_000;

fn place(number: usize) -> (String, i32) {
    let topic = format!("t{}", number / QUEUES_OF_A_TOPIC);
    (topic, (number % QUEUES_OF_A_TOPIC) as i32)
}

async fn end_of(client: &Client, number: usize) -> i64 {
    let (topic, queue_id) = place(number);
    let wanted = GetMaxOffset {
        topic: topic.into(),
        queue_id,
        committed: None,
        broker_name: None,
    };
    let answer = client.call(RequestCode::GetMaxOffset, &wanted, &[]).await;
    OffsetReply::decode(&answer.header().fields)
        .expect("an offset")
        .offset
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let queues = number(1_000_000);
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let broker = Broker::start(&data, "");
    let (start, empty) = (broker.started_in(), broker.memory());
    println!(
        "without a queue: start {start:?}, memory {} MiB",
        empty >> 20
    );
    let client = broker.client();
    for first in (0..queues).step_by(QUEUES_OF_A_TOPIC) {
        let width = QUEUES_OF_A_TOPIC.min(queues - first);
        client.create_topic(&place(first).0, width as i32, 6).await;
    }
    let began = Instant::now();
    fill(queues, async |number| {
        let (topic, queue_id) = place(number);
        let sent = client.send(&message(&topic, queue_id, ""), b"x").await;
        sent.expect("stored");
    })
    .await;
    let each = |broker: &Broker| (broker.memory() as f64 - empty as f64) / queues as f64;
    println!(
        "{queues} queues with a message each: {:?}, {:.0} bytes of memory each",
        began.elapsed(),
        each(&broker)
    );
    println!(
        "index and tables after a stop: {} bytes for each",
        broker.stop() / queues as u64
    );

    let broker = Broker::start(&data, "");
    println!(
        "start behind a stop: {:?}, {:.0} bytes of memory each",
        broker.started_in(),
        each(&broker)
    );
    broker.kill();
    let broker = Broker::start(&data, "");
    println!("start behind a kill: {:?}", broker.started_in());
    let client = broker.client();
    for number in (0..queues).step_by(997) {
        assert_eq!(end_of(&client, number).await, 1, "{:?}", place(number));
    }
    broker.stop();
}
