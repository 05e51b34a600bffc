//! The spans of a message's way are one trace, whoever reads them: by their ids, and within a process by their parents.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmq_client::{Message, StartFrom, TraceContext};
use rmq_testing::TestCluster;
use serde_json::Value;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A span that has ended: its fields, and the name of the one around it.
#[derive(Debug)]
struct Ended {
    fields: Value,
    within: Option<String>,
}

impl Ended {
    fn text(&self, field: &str) -> &str {
        self.fields[field].as_str().unwrap_or_default()
    }

    fn trace(&self) -> &str {
        &self.text("traceparent")[3..35]
    }

    fn span(&self) -> &str {
        &self.text("traceparent")[36..52]
    }
}

#[test]
fn send_receive_handle_and_settle_are_one_trace() {
    let lines = Lines::default();
    let written = lines.clone();
    // The only test of this program: the subscriber is everybody's.
    tracing_subscriber::fmt()
        .json()
        .with_max_level(LevelFilter::DEBUG)
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(move || written.clone())
        .init();
    let stored = rmq_testing::run(TestCluster::builder(), orders_and_bills);
    let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let ended: Vec<Ended> = written
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["fields"]["message"] == "close")
        .map(|line| {
            let around = line["spans"].as_array().cloned().unwrap_or_default();
            let within = around.iter().rev().nth(1);
            Ended {
                within: within.map(|span| span["name"].as_str().unwrap().to_owned()),
                fields: line["span"].clone(),
            }
        })
        .collect();
    let all = |name: &str, message_id: &str| {
        let mine =
            |span: &&Ended| span.text("name") == name && span.text("message_id") == message_id;
        ended.iter().filter(mine).collect::<Vec<_>>()
    };
    for (topic, id, carried) in &stored {
        let send = all("send", id);
        assert_eq!(send.len(), 1, "{topic} {id}: {ended:?}");
        // What travels is the span's own place.
        assert_eq!(send[0].text("traceparent"), carried);
        if topic != "orders" {
            continue;
        }
        let receive = all("receive", id);
        assert_eq!(receive.len(), 1);
        assert_eq!(receive[0].trace(), send[0].trace());
        assert_eq!(receive[0].text("parent_id"), send[0].span());
        assert_ne!(receive[0].span(), send[0].span());
        let handle = all("handle", id);
        assert_eq!(handle.len(), 1);
        assert_eq!(handle[0].within.as_deref(), Some("receive"));
        assert_eq!(
            handle[0].text("traceparent"),
            receive[0].text("traceparent")
        );
        // What the handler sent goes on from there.
        let bills = ended.iter().filter(|span| {
            span.text("topic") == "bills" && span.text("parent_id") == receive[0].span()
        });
        let bills: Vec<_> = bills.collect();
        assert_eq!(bills.len(), 1);
        assert_eq!(bills[0].trace(), send[0].trace());
    }
    let settled: Vec<&str> = ended
        .iter()
        .filter(|span| span.text("name") == "settle")
        .inspect(|span| assert_eq!(span.within.as_deref(), Some("receive")))
        .map(|span| span.text("outcome"))
        .collect();
    assert_eq!(
        settled.iter().filter(|outcome| **outcome == "ack").count(),
        2
    );
    assert_eq!(
        settled
            .iter()
            .filter(|outcome| **outcome == "retry")
            .count(),
        1
    );
    // The one that belonged to a trace is in it; the other one began its own.
    let traces: Vec<&str> = stored
        .iter()
        .filter(|(topic, ..)| topic == "orders")
        .map(|(.., carried)| &carried[3..35])
        .collect();
    assert_eq!(traces[0], &PARENT[3..35]);
    assert_ne!(traces[0], traces[1]);
}

/// Topic, id and `traceparent` of all messages.
async fn orders_and_bills(cluster: TestCluster) -> Vec<(String, String, String)> {
    for topic in ["orders", "bills", "broken"] {
        cluster.topic(topic).queues(1).create().await;
    }
    let client = cluster.connect().await;
    let producer = client.producer();
    let context = TraceContext::new(PARENT, None).unwrap();
    let traced = producer.send(Message::new("orders", "traced"));
    context.scope(traced).await.unwrap();
    producer
        .send(Message::new("orders", "alone"))
        .await
        .unwrap();
    producer.send(Message::new("broken", "x")).await.unwrap();
    let bills = producer.clone();
    let consumer = client
        .consumer("billing")
        .subscribe("orders", "*")
        .from(StartFrom::First)
        .handler(move |_| {
            let bills = bills.clone();
            async move { bills.send(Message::new("bills", "x")).await.map(drop) }
        })
        .start()
        .await
        .unwrap();
    cluster.topic("bills").assert_messages(2).await;
    cluster.group("billing").drained(&["orders"]).await;
    consumer.shutdown().await.unwrap();
    let mut broken = client
        .consumer("repair")
        .subscribe("broken", "*")
        .from(StartFrom::First)
        .stream()
        .await
        .unwrap();
    let delivery = broken.next().await.unwrap().unwrap();
    delivery.retry_after(Duration::from_secs(60)).await.unwrap();
    broken.shutdown().await.unwrap();
    client.shutdown().await;
    let mut stored = Vec::new();
    for topic in ["orders", "bills", "broken"] {
        for message in cluster.topic(topic).messages().await {
            let carried = message.property("traceparent").unwrap_or_default();
            stored.push((topic.to_owned(), message.message_id(), carried.to_owned()));
        }
    }
    stored
}
