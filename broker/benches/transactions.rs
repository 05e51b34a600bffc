//! What transactions cost: `cargo bench -p rmq-broker --bench transactions -- [OPEN]`. One connection sends plain messages and transactions in turn,
//! each after the answer to the one before; then so many half messages (100,000) are open: memory, disk, a start with them, and their end.

#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

#[allow(dead_code, reason = "the other benches use the rest")]
mod process;
#[path = "../tests/messages/support.rs"]
#[allow(dead_code, reason = "the tests of messages use the rest")]
mod support;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use process::{Broker, fill, number, spread};
use rmq_protocol::bodies::TransactionList;
use rmq_protocol::code::RequestCode;
use rmq_protocol::message::{OffsetMessageId, flags};
use rmq_protocol::requests::{EndTransaction, GetTransactions, SendMessageReply};
use support::Client;

const PAIRS: usize = 9;
const SENDS: usize = 10_000;
const TOPIC: &str = "orders";
const HALF: &str = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}payers\u{2}UNIQ_KEY\u{1}7F0000010A3C18B4AAC2187B1C4A0000\u{2}";
const PLAIN: &str = "UNIQ_KEY\u{1}7F0000010A3C18B4AAC2187B1C4A0000\u{2}";
const BODY: &str = "0123456789";
/// No half message is asked about meanwhile.
const OPTIONS: &str = "--set transactionTimeOut=86400000";

/// How a broker knows a half message.
#[derive(Clone, Copy)]
struct Half {
    queue_offset: i64,
    position: i64,
}

impl From<SendMessageReply> for Half {
    fn from(sent: SendMessageReply) -> Self {
        let id: OffsetMessageId = sent.msg_id.parse().expect("an offset id");
        Self {
            queue_offset: sent.queue_offset,
            position: id.position.0 as i64,
        }
    }
}

async fn commit(client: &Client, half: Half) {
    let fields = EndTransaction {
        topic: Some(TOPIC.into()),
        producer_group: "payers".into(),
        tran_state_table_offset: half.queue_offset,
        commit_log_offset: half.position,
        commit_or_rollback: flags::TRANSACTION_COMMIT,
        from_transaction_check: Some(false),
        msg_id: "7F0000010A3C18B4AAC2187B1C4A0000".into(),
        transaction_id: None,
        broker_name: None,
    };
    let answer = client.call(RequestCode::EndTransaction, &fields, &[]).await;
    assert_eq!(answer.code(), 0, "{}", support::remark(&answer));
}

async fn open_count(client: &Client) -> i64 {
    let wanted = GetTransactions {
        behind: None,
        parked: None,
        max_num: Some(1),
    };
    let answer = client
        .call(RequestCode::GetTransactions, &wanted, &[])
        .await;
    assert_eq!(answer.code(), 0, "{}", support::remark(&answer));
    let list = TransactionList::from_json(answer.body());
    list.expect("a list").open_count
}

/// The median of a send, microseconds; `is_whole`: a half message and its commit, both answered.
async fn p50(client: &Client, is_whole: bool) -> f64 {
    let mut times = Vec::with_capacity(SENDS);
    for _ in 0..SENDS {
        let began = Instant::now();
        if is_whole {
            let half = client.put(TOPIC, HALF, BODY).await;
            commit(client, half.into()).await;
        } else {
            client.put(TOPIC, PLAIN, BODY).await;
        }
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times[SENDS / 2].as_secs_f64() * 1e6
}

async fn pairs(client: &Client, when: &str) {
    let (mut plain, mut whole, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        let (one, two) = (p50(client, false).await, p50(client, true).await);
        plain.push(one);
        whole.push(two);
        ratios.push(two / one);
    }
    println!(
        "p50 {when}: plain {} us, transaction {} us, ratio {}",
        spread(plain),
        spread(whole),
        spread(ratios)
    );
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let open = number(100_000);
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let broker = Broker::start(&data, OPTIONS);
    let client = broker.client();
    client.create_topic(TOPIC, 1, 6).await;
    p50(&client, true).await;
    pairs(&client, "with no half message open").await;

    let begun = broker.memory();
    let began = Instant::now();
    fill(open, async |_| {
        client.put(TOPIC, PLAIN, BODY).await;
    })
    .await;
    let plain_took = began.elapsed();
    let plain = broker.memory();
    let began = Instant::now();
    let sent = RefCell::new(Vec::with_capacity(open));
    fill(open, async |_| {
        let half = client.put(TOPIC, HALF, BODY).await.into();
        sent.borrow_mut().push(half);
    })
    .await;
    let took = began.elapsed();
    let halves = broker.memory();
    let each = |later: u64, before: u64| (later as f64 - before as f64) / open as f64;
    println!(
        "{open} half messages: {took:?} (plain: {plain_took:?}); each takes {:.0} bytes of memory (plain: {:.0})",
        each(halves, plain),
        each(plain, begun),
    );
    pairs(&client, &format!("with {open} open")).await;
    println!(
        "index and tables after a stop, those of {open} plain messages included: {} bytes for each",
        broker.stop() / open as u64
    );

    let broker = Broker::start(&data, OPTIONS);
    let client = broker.client();
    assert_eq!(open_count(&client).await, open as i64, "open after a start");
    println!("start with {open} open: {:?}", broker.started_in());
    broker.kill();
    let broker = Broker::start(&data, OPTIONS);
    let client = broker.client();
    assert_eq!(open_count(&client).await, open as i64, "open after a kill");
    println!("start behind a kill: {:?}", broker.started_in());

    let halves = sent.into_inner();
    let began = Instant::now();
    let client = &client;
    fill(open, |number| commit(client, halves[number])).await;
    let took = began.elapsed();
    println!(
        "{open} commits: {took:?}, {:.0} a second",
        open as f64 / took.as_secs_f64()
    );
    let waiting = async {
        while open_count(client).await > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(support::PATIENCE, waiting).await;
    in_time.expect("none is open in time");
    broker.stop();
}
