//! What the client logs, read as machines read it.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmq_client::{Message, Retry, StartFrom};
use rmq_testing::TestCluster;
use tokio::sync::mpsc;

/// All that was written.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn every_line_is_json_with_its_text() {
    let lines = Lines::default();
    let written = lines.clone();
    // The only test of this program: the subscriber is everybody's.
    tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || written.clone())
        .init();
    rmq_testing::run(TestCluster::builder(), failures);
    let written = lines.0.lock().unwrap();
    let text = std::str::from_utf8(&written).unwrap();
    let mut texts = Vec::new();
    for line in text.lines() {
        let event: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let message = &event["fields"]["message"];
        assert!(message.is_string(), "no text: {line}");
        // A second field of this name hides the text or is hidden by it, as the reader likes.
        assert_eq!(line.matches("\"message\":").count(), 1, "{line}");
        texts.push((
            message.as_str().unwrap().to_owned(),
            event["fields"].clone(),
        ));
    }
    for (wanted, field) in [
        ("not handled: the printer is on fire", "message_id"),
        ("to the dead letters: nonsense", "message_id"),
        ("a delivery was dropped", "message_id"),
        ("nothing can be consumed", "topic"),
    ] {
        let found = texts.iter().find(|(text, _)| text.contains(wanted));
        let (_, fields) = found.unwrap_or_else(|| panic!("nobody logged: {wanted}"));
        assert!(fields[field].is_string(), "{wanted}: {fields}");
    }
}

/// What lets the client say something.
async fn failures(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = cluster.connect().await;
    for n in 0..3 {
        let message = Message::new("t", n.to_string());
        client.producer().send(message).await.unwrap();
    }
    let (seen, mut came) = mpsc::unbounded_channel();
    let consumer = client
        .consumer("g")
        .subscribe("t", "*")
        .from(StartFrom::First)
        .retry(Retry::up_to(0))
        .handler(move |_| {
            let _ = seen.send(());
            async { Err::<(), _>("the printer is on fire") }
        })
        .start()
        .await
        .unwrap();
    for _ in 0..3 {
        came.recv().await.unwrap();
    }
    cluster.group("g").assert_dead_letters(3).await;
    consumer.shutdown().await.unwrap();
    let mut deliveries = client
        .consumer("h")
        .subscribe("t", "*")
        .subscribe("missing", "*")
        .from(StartFrom::First)
        .drain_within(Duration::from_millis(100))
        .stream()
        .await
        .unwrap();
    let first = deliveries.next().await.unwrap().unwrap();
    first.dead_letter("nonsense").await.unwrap();
    drop(deliveries.next().await.unwrap().unwrap());
    cluster.broker(0).kill().await;
    let short = client.producer().deliver_within(Duration::from_millis(200));
    short.send(Message::new("t", "lost")).await.unwrap_err();
    deliveries.shutdown().await.unwrap_err();
    client.shutdown().await;
}
