//! The spans of a message's way are one trace, whoever reads them: by their ids, and within a process by their parents.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmq_client::{Message, StartFrom, TraceContext};
use rmq_testing::TestCluster;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A span: its fields, and the name of the one around it.
#[derive(Debug, Default)]
struct Seen {
    name: &'static str,
    fields: BTreeMap<&'static str, String>,
    within: Option<&'static str>,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        self.fields
            .insert(field.name(), text.trim_matches('"').to_owned());
    }
}

/// All spans of the client, in the order in which they began.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Seen>>>);

/// The place of a span in [`Spans`].
struct Place(usize);

impl<S: tracing::Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        let mut seen = Seen {
            name: span.name(),
            within: span.parent().map(|around| around.name()),
            ..Seen::default()
        };
        attributes.record(&mut seen);
        let mut all = self.0.lock().unwrap();
        span.extensions_mut().insert(Place(all.len()));
        all.push(seen);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        let place = span.extensions().get::<Place>().unwrap().0;
        values.record(&mut self.0.lock().unwrap()[place]);
    }
}

impl Seen {
    fn text(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", String::as_str)
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
    let spans = Spans::default();
    // The only test of this program: the subscriber is everybody's.
    tracing_subscriber::registry()
        .with(spans.clone().with_filter(LevelFilter::DEBUG))
        .init();
    let stored = rmq_testing::run(TestCluster::builder(), orders_and_bills);
    let seen = spans.0.lock().unwrap();
    let all = |name: &str, message_id: &str| {
        let mine = |span: &&Seen| span.name == name && span.text("message_id") == message_id;
        seen.iter().filter(mine).collect::<Vec<_>>()
    };
    for (topic, id, carried) in &stored {
        let send = all("send", id);
        assert_eq!(send.len(), 1, "{topic} {id}: {seen:?}");
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
        assert_eq!(handle[0].within, Some("receive"));
        assert_eq!(
            handle[0].text("traceparent"),
            receive[0].text("traceparent")
        );
        // What the handler sent goes on from there.
        let bills = seen.iter().filter(|span| {
            span.text("topic") == "bills" && span.text("parent_id") == receive[0].span()
        });
        let bills: Vec<_> = bills.collect();
        assert_eq!(bills.len(), 1);
        assert_eq!(bills[0].trace(), send[0].trace());
    }
    let settled: Vec<&str> = seen
        .iter()
        .filter(|span| span.name == "settle")
        .inspect(|span| assert_eq!(span.within, Some("receive")))
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
