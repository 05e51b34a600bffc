//! What features cost plain sends: `cargo bench -p rmq-broker --bench plain_sends -- [PAIRS] [timers|transactions|quotas|topics]`. Two brokers take the
//! same load in turn, in pairs (5). One has nothing else; the other has 1,000,000 timers that wait, or 100,000 half messages, or a topic with quotas
//! that nobody reaches, or gets the load in 1,024 topics of 8 queues.

#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

#[allow(dead_code, reason = "the other benches use the rest")]
mod process;
#[path = "../tests/messages/support.rs"]
#[allow(dead_code, reason = "the tests of messages use the rest")]
mod support;

use std::time::Duration;

use process::{Broker, fill, number, spread};
use rmq_bench::load::{Send, Shape};
use rmq_bench::report::Report;
use rmq_protocol::code::RequestCode;
use rmq_protocol::requests::UpdateAndCreateTopic;

const TIMERS: usize = 1_000_000;
const HALF_MESSAGES: usize = 100_000;
const TOPICS: usize = 1_024;
const QUEUES: i32 = 8;
const KINDS: [&str; 4] = ["timers", "transactions", "quotas", "topics"];

fn load(topics: usize, is_pipelined: bool) -> Send {
    Send {
        shape: Shape {
            body_bytes: 128,
            topics,
            queues: QUEUES,
            warm_up: Duration::from_millis(500),
            duration: Duration::from_secs(2),
            ..Shape::default()
        },
        connections: if is_pipelined { 8 } else { 1 },
        depth: if is_pipelined { 32 } else { 1 },
        batch: 1,
        rate: None,
        requests_max: None,
        ends: None,
    }
}

async fn prepare(broker: &Broker, kind: &str) {
    let client = broker.client();
    match kind {
        "timers" => {
            client.create_topic("later", 1, 6).await;
            fill(TIMERS, async |number| {
                // Spread over two days, in no order.
                let delay_ms = 3_600_000 + (number as u64 * 7_919_777) % 172_800_000;
                let properties = format!("TIMER_DELAY_MS\u{1}{delay_ms}\u{2}");
                client.put("later", &properties, "0123456789").await;
            })
            .await;
        }
        "transactions" => {
            client.create_topic("orders", 1, 6).await;
            let half = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}payers\u{2}UNIQ_KEY\u{1}U1\u{2}";
            fill(HALF_MESSAGES, async |_| {
                client.put("orders", half, "0123456789").await;
            })
            .await;
        }
        "quotas" => {
            let names = ["messages", "bytes", "client.messages", "client.bytes"];
            let quotas = names.map(|name| format!("+quota.{name}=1000000000000"));
            let request = UpdateAndCreateTopic {
                topic: load(1, true).shape.topic_names().remove(0).into(),
                default_topic: None,
                read_queue_nums: QUEUES,
                write_queue_nums: QUEUES,
                perm: 6,
                topic_filter_type: None,
                topic_sys_flag: None,
                order: None,
                attributes: Some(quotas.join(",").into()),
                force: None,
            };
            let code = RequestCode::UpdateAndCreateTopic;
            let answer = client.call(code, &request, &[]).await;
            assert_eq!(answer.code(), 0, "{}", support::remark(&answer));
        }
        // The load makes its topics itself.
        _ => {}
    }
}

fn measure(broker: &Broker, load: &Send) -> Report {
    let report = load.run(&broker.target()).expect("a load");
    assert_eq!(report.errors, 0, "{:?}", report.error_codes);
    report
}

fn show(kind: &str, what: &str, reports: &[(Report, Report)], of: impl Fn(&Report) -> f64) {
    let all = |side: fn(&(Report, Report)) -> &Report| {
        let values = reports.iter().map(|pair| of(side(pair)));
        spread(values.collect())
    };
    let ratios = reports.iter().map(|(with, without)| of(with) / of(without));
    println!(
        "{kind}: {what}: {} with, {} without, ratio {}",
        all(|pair| &pair.0),
        all(|pair| &pair.1),
        spread(ratios.collect())
    );
}

fn main() {
    let pairs = number(5);
    let wanted: Vec<_> = std::env::args().collect();
    let kinds = KINDS.iter().filter(|kind| {
        let is_named = |kind: &str| wanted.iter().any(|word| word == kind);
        is_named(kind) || !KINDS.iter().any(|kind| is_named(kind))
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for &kind in kinds {
        let folder = tempfile::tempdir().expect("a folder");
        // A half message that is asked about costs what it costs.
        let options = "--set transactionTimeOut=86400000";
        let with = Broker::start(&folder.path().join("with"), options);
        let without = Broker::start(&folder.path().join("without"), options);
        runtime.block_on(prepare(&with, kind));
        let topics = if kind == "topics" { TOPICS } else { 1 };
        for is_pipelined in [true, false] {
            let both: Vec<_> = (0..pairs)
                .map(|_| {
                    let with = measure(&with, &load(topics, is_pipelined));
                    (with, measure(&without, &load(1, is_pipelined)))
                })
                .collect();
            let cpu = |report: &Report| {
                let server = report.server.as_ref().expect("its process is known");
                server.cpu_us_per_message
            };
            if is_pipelined {
                show(
                    kind,
                    "messages a second, 8 connections with 32 in flight",
                    &both,
                    |it| it.per_second,
                );
                show(kind, "processor time a message, us", &both, cpu);
            } else {
                show(kind, "p50 of one connection, us", &both, |it| it.p50_us);
            }
        }
        with.stop();
        without.stop();
    }
}
