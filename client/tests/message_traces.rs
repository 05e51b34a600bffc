//! Message traces: what a client says of its messages, against real servers.

use std::convert::Infallible;
use std::time::Duration;

use rmq_client::protocol::names::TRACE_TOPIC;
use rmq_client::protocol::{RequestCode, ResponseCode};
use rmq_client::{
    Batching, Client, Decision, Delivery, ErrorKind, Message, ReceivedMessage, Retry, StartFrom,
    TraceKind, TraceStep,
};
use rmq_testing::TestCluster;
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(30);

async fn traced(cluster: &TestCluster, topic: Option<&str>) -> Client {
    let client = Client::builder(cluster.url()).message_traces(topic);
    client.connect().await.unwrap()
}

/// The steps of a message, as another client reads them.
async fn steps(cluster: &TestCluster, id: &str) -> Vec<TraceStep> {
    let reader = cluster.client().await;
    reader.admin().traces(id, None).await.unwrap()
}

#[rmq_testing::test]
async fn each_way_of_sending_is_traced(cluster: TestCluster) {
    for topic in ["orders", "bills"] {
        cluster.topic(topic).queues(1).create().await;
    }
    let client = traced(&cluster, None).await;
    let producer = client.producer_builder().group("shop").build();
    let queue = client.route("orders").await.unwrap().writable()[0].clone();
    let message = || {
        Message::new("orders", "seven b")
            .key("k1")
            .key("k2")
            .tag("paid")
    };
    let mut receipts = vec![
        producer.send(message()).await.unwrap(),
        producer.send_to(&queue, message()).await.unwrap(),
        producer.submit(message()).await.unwrap().await.unwrap(),
        producer
            .submit_to(&queue, message())
            .await
            .unwrap()
            .await
            .unwrap(),
    ];
    let batch = producer.send_all(vec![message(), message()]).await.unwrap();
    receipts.extend(batch.into_iter().map(Result::unwrap));
    let gathering = client
        .producer_builder()
        .group("shop")
        .batching(Batching::linger(PATIENCE).max_messages(2))
        .build();
    let pending = [
        gathering.submit(message()).await.unwrap(),
        gathering.submit(message()).await.unwrap(),
    ];
    for send in pending {
        receipts.push(send.await.unwrap());
    }
    let plain = producer.send(Message::new("bills", "x")).await.unwrap();
    // One that fails, and one whose end nobody knows.
    let once = client.producer_builder().group("shop").retries(0).build();
    let broker = cluster.broker(0);
    // Traces are no batches.
    broker.fail(RequestCode::SendBatchMessage, ResponseCode::SystemBusy, 1);
    let lost = Message::new("orders", "lost").key("lost");
    let sent = once.send_all(vec![lost]).await.unwrap();
    assert!(sent[0].is_err());
    let forgotten = Message::new("orders", "forgotten").key("forgotten");
    producer.send_and_forget(forgotten).await.unwrap();
    client.shutdown().await;
    assert_eq!(client.message_traces_lost(), 0);

    for receipt in &receipts {
        let steps = steps(&cluster, receipt.message_id()).await;
        let [step] = steps.as_slice() else {
            panic!("{steps:?}");
        };
        assert_eq!((step.kind, step.success), (TraceKind::Sent, Some(true)));
        assert_eq!(
            (step.group.as_str(), step.topic.as_str()),
            ("shop", "orders")
        );
        assert_eq!((step.tag.as_str(), step.keys.as_str()), ("paid", "k1 k2"));
        assert_eq!(step.body_bytes, Some(7));
        assert_eq!(step.stored_at, cluster.broker(0).address());
        assert!(step.took_ms.is_some_and(|took| (0..30_000).contains(&took)));
        assert!(step.at_ms.is_some());
    }
    // Also by key: all of them.
    assert_eq!(steps(&cluster, "k2").await.len(), receipts.len());
    let steps_of_plain = steps(&cluster, plain.message_id()).await;
    assert_eq!(steps_of_plain[0].topic, "bills");
    assert!(steps_of_plain[0].tag.is_empty() && steps_of_plain[0].keys.is_empty());
    let failed = steps(&cluster, "lost").await;
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].success, Some(false));
    assert!(failed[0].stored_at.is_empty());
    assert!(steps(&cluster, "forgotten").await.is_empty());
    // Absent fields are as in the original, and traces leave together.
    let traces = cluster.topic(TRACE_TOPIC).messages().await;
    let bodies: Vec<String> = traces
        .iter()
        .map(|trace| String::from_utf8_lossy(trace.body()).into_owned())
        .collect();
    let body = bodies.concat();
    let absent = format!("{}\u{1}null\u{1}null\u{1}", plain.message_id());
    assert!(body.contains(&absent), "{body:?}");
    assert!(traces.len() < receipts.len(), "{} messages", traces.len());
}

#[rmq_testing::test]
async fn transactions_and_recalls_are_traced(cluster: TestCluster) {
    cluster.topic("orders").queues(1).create().await;
    let client = traced(&cluster, None).await;
    let producer = client
        .producer_builder()
        .group("checkout")
        .transaction_check(|message: ReceivedMessage| async move {
            Ok::<_, Infallible>(Decision::of(message.keys().any(|key| key == "forgotten")))
        })
        .build();
    let begin = |key: &'static str| producer.begin(Message::new("orders", key).key(key).tag("t"));
    let committed = begin("committed").await.unwrap();
    let rolled_back = begin("rolled-back").await.unwrap();
    let forgotten = begin("forgotten").await.unwrap();
    let ids = [&committed, &rolled_back, &forgotten].map(|half| half.id().to_owned());
    committed.commit().await.unwrap();
    rolled_back.rollback().await.unwrap();
    drop(forgotten);
    let answered = async {
        loop {
            cluster.advance(Duration::from_secs(60));
            if cluster.topic("orders").messages().await.len() == 2 {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, answered)
        .await
        .expect("the broker asks");
    let later = Message::new("orders", "later").deliver_after(Duration::from_secs(600));
    let later = producer.send(later).await.unwrap();
    let handle = later.recall_handle().unwrap();
    assert_eq!(producer.recall(handle).await.unwrap(), later.message_id());
    let broker = cluster.broker(0);
    broker.fail(RequestCode::RecallMessage, ResponseCode::NoPermission, 1);
    producer.recall(handle).await.unwrap_err();
    client.shutdown().await;

    for (id, success) in ids.iter().zip([true, false, true]) {
        let steps = steps(&cluster, id).await;
        let kinds: Vec<TraceKind> = steps.iter().map(|step| step.kind).collect();
        assert_eq!(kinds, [TraceKind::Sent, TraceKind::TransactionEnded]);
        let end = &steps[1];
        assert_eq!(end.success, Some(success), "{end:?}");
        assert_eq!(
            (end.group.as_str(), end.topic.as_str(), end.tag.as_str()),
            ("checkout", "orders", "t")
        );
        assert!(!end.keys.is_empty() && end.stored_at == cluster.broker(0).address());
    }
    let steps = steps(&cluster, later.message_id()).await;
    let kinds: Vec<_> = steps.iter().map(|step| (step.kind, step.success)).collect();
    assert_eq!(
        kinds,
        [
            (TraceKind::Sent, Some(true)),
            (TraceKind::Recalled, Some(true)),
            (TraceKind::Recalled, Some(false)),
        ]
    );
}

#[rmq_testing::test]
async fn consumers_say_when_they_began_and_how_it_ended(cluster: TestCluster) {
    for topic in ["orders", "bills", "notices"] {
        cluster.topic(topic).queues(1).create().await;
    }
    let producer = cluster.client().await.producer();
    let send = |topic: &'static str, body: &'static str| {
        let message = Message::new(topic, body).key(body);
        let producer = producer.clone();
        async move {
            let receipt = producer.send(message).await.unwrap();
            receipt.message_id().to_owned()
        }
    };
    let client = traced(&cluster, None).await;
    // A handler.
    let (handled, mut handles) = mpsc::unbounded_channel();
    let consumer = client
        .consumer("billing")
        .subscribe("orders", "*")
        .from(StartFrom::First)
        .retry(Retry::up_to(0))
        .handler(move |order: Delivery| {
            let handled = handled.clone();
            async move {
                handled.send(()).unwrap();
                match order.body().as_ref() {
                    b"good" => Ok(()),
                    b"bad" => Err("bad"),
                    _ => panic!("of the test"),
                }
            }
        })
        .start()
        .await
        .unwrap();
    let good = send("orders", "good").await;
    let bad = send("orders", "bad").await;
    let panics = send("orders", "panics").await;
    for _ in 0..3 {
        handles.recv().await.unwrap();
    }
    cluster.group("billing").assert_dead_letters(2).await;
    consumer.shutdown().await.unwrap();
    // In order, which tries again by itself; it blocks, too.
    let ordered = client
        .consumer("ordered")
        .subscribe("bills", "*")
        .from(StartFrom::First)
        .ordered()
        .commit_every(Duration::from_millis(50))
        .retry(Retry::up_to(5).backoff(Duration::from_millis(1)..Duration::from_millis(2)))
        .handler_blocking(|bill| match bill.attempt() {
            1 => Err("not yet"),
            _ => Ok(()),
        })
        .start()
        .await
        .unwrap();
    let again = send("bills", "again").await;
    cluster.group("ordered").drained(&["bills"]).await;
    ordered.shutdown().await.unwrap();
    // A stream.
    let mut deliveries = client
        .consumer("reading")
        .subscribe("notices", "*")
        .from(StartFrom::First)
        .stream()
        .await
        .unwrap();
    let acked = send("notices", "acked").await;
    let dead = send("notices", "dead").await;
    for _ in 0..2 {
        let notice = deliveries.next().await.unwrap().unwrap();
        match notice.body().as_ref() {
            b"acked" => notice.ack().await.unwrap(),
            _ => notice.dead_letter("of the test").await.unwrap(),
        }
    }
    deliveries.shutdown().await.unwrap();
    // By hand.
    let mut pull = client.pull_consumer("report").from(StartFrom::First);
    let queues = client.route("orders").await.unwrap().readable().to_vec();
    pull.assign(queues).await.unwrap();
    let mut pulled = 0;
    while pulled < 3 {
        pulled += pull.poll(10, PATIENCE).await.unwrap().len();
    }
    drop(pull);
    client.shutdown().await;

    let of = async |id: &str, group: &str| -> Vec<(TraceKind, Option<bool>, Option<i64>)> {
        let steps = steps(&cluster, id).await;
        let of_group = steps.into_iter().filter(|step| step.group == group);
        of_group
            .map(|step| {
                assert!(!step.keys.is_empty() && step.at_ms.is_some());
                assert_eq!(step.took_ms.is_some(), step.kind == TraceKind::Consumed);
                (step.kind, step.success, step.retries)
            })
            .collect()
    };
    let once = |success| {
        vec![
            (TraceKind::Received, None, Some(0)),
            (TraceKind::Consumed, Some(success), Some(0)),
        ]
    };
    assert_eq!(of(&good, "billing").await, once(true));
    assert_eq!(of(&bad, "billing").await, once(false));
    assert_eq!(of(&panics, "billing").await, once(false));
    let mut twice = once(false);
    twice.extend([
        (TraceKind::Received, None, Some(1)),
        (TraceKind::Consumed, Some(true), Some(1)),
    ]);
    assert_eq!(of(&again, "ordered").await, twice);
    assert_eq!(of(&acked, "reading").await, once(true));
    assert_eq!(of(&dead, "reading").await, once(false));
    for id in [&good, &bad, &panics] {
        assert_eq!(of(id, "report").await, once(true));
    }
    // The context code says what the handler did.
    let traces = cluster.topic(TRACE_TOPIC).messages().await;
    let records: Vec<String> = traces
        .iter()
        .flat_map(|trace| {
            let body = String::from_utf8_lossy(trace.body()).into_owned();
            let records: Vec<String> = body.split('\u{2}').map(str::to_owned).collect();
            records
        })
        .collect();
    let code_of = |id: &str| {
        let ends = records.iter().filter_map(|record| {
            let fields: Vec<&str> = record.split('\u{1}').collect();
            let is_end = fields[0] == "SubAfter" && fields[2] == id && fields[8] == "billing";
            is_end.then(|| fields[6].to_owned())
        });
        ends.collect::<Vec<String>>().join(",")
    };
    assert_eq!(
        [code_of(&good), code_of(&bad), code_of(&panics)],
        ["0", "4", "2"]
    );
}

#[rmq_testing::test]
async fn who_reads_traces_writes_none_of_them(cluster: TestCluster) {
    for topic in ["orders", "audit"] {
        cluster.topic(topic).queues(1).create().await;
    }
    let client = traced(&cluster, Some("audit")).await;
    let producer = client.producer();
    let receipt = producer.send(Message::new("orders", "x")).await.unwrap();
    let by_hand = Message::new("audit", "Pub").key("by-hand");
    producer.send(by_hand).await.unwrap();
    let mut deliveries = client
        .consumer("auditors")
        .subscribe("audit", "*")
        .subscribe(TRACE_TOPIC, "*")
        .from(StartFrom::First)
        .stream()
        .await
        .unwrap();
    // What was sent by hand, and the trace of the order, within a second or so.
    for _ in 0..2 {
        let trace = deliveries.next().await.unwrap().unwrap();
        trace.ack().await.unwrap();
    }
    deliveries.shutdown().await.unwrap();
    client.shutdown().await;
    cluster.topic("audit").assert_messages(2).await;
    cluster.topic(TRACE_TOPIC).assert_messages(0).await;
    let reader = cluster.client().await.admin();
    let found = reader.traces(receipt.message_id(), Some("audit")).await;
    assert_eq!(found.unwrap().len(), 1);
}

#[rmq_testing::test]
async fn what_cannot_be_written_is_counted_and_holds_up_nobody(cluster: TestCluster) {
    cluster.topic("orders").queues(1).create().await;
    let wrong = Client::builder(cluster.url()).message_traces(Some("a b"));
    let error = wrong.connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);

    let client = traced(&cluster, None).await;
    let broker = cluster.broker(0);
    // Of the two requests only that with the traces has this code.
    broker.fail(RequestCode::SendMessageV2, ResponseCode::NoPermission, 1);
    let orders = vec![Message::new("orders", "x"), Message::new("orders", "y")];
    let sent = client.producer().send_all(orders).await.unwrap();
    client.shutdown().await;
    assert_eq!(client.message_traces_lost(), 2);
    let stored = sent[0].as_ref().unwrap();
    assert!(steps(&cluster, stored.message_id()).await.is_empty());
    // Nothing is sent after the end.
    let late = client.producer().send(Message::new("orders", "z")).await;
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Closed);
}

#[rmq_testing::test]
async fn nothing_is_written_unless_it_is_asked_for(cluster: TestCluster) {
    cluster.topic("orders").queues(1).create().await;
    let client = cluster.connect().await;
    let sent = client.producer().send(Message::new("orders", "x")).await;
    client.shutdown().await;
    assert_eq!(client.message_traces_lost(), 0);
    assert!(steps(&cluster, sent.unwrap().message_id()).await.is_empty());
}
