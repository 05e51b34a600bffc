//! Batching, fail-over, events, health, batches of deliveries: against real servers.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt, stream};
use rmq_client::{Batching, Client, ErrorKind, Event, Message, StartFrom};
use rmq_testing::TestCluster;

#[rmq_testing::test]
async fn messages_that_linger_leave_together_and_all_arrive(cluster: TestCluster) {
    cluster.topic("t").queues(2).create().await;
    let client = cluster.connect().await;
    let producer = client
        .producer_builder()
        .batching(Batching::linger(Duration::from_secs(5)).max_messages(10))
        .build();
    let mut pending = Vec::new();
    for n in 0..25 {
        pending.push(
            producer
                .submit(Message::new("t", n.to_string()).tag("x"))
                .await
                .unwrap(),
        );
    }
    // Two batches are full; the rest leaves when it is told to.
    producer.flush();
    let mut queues = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for (n, send) in pending.into_iter().enumerate() {
        let receipt = send.await.unwrap();
        queues.insert((n / 10, receipt.queue().clone()));
        ids.insert(receipt.message_id().to_owned());
    }
    assert_eq!(queues.len(), 3, "each batch is in one queue: {queues:?}");
    assert_eq!(ids.len(), 25);
    let bodies: BTreeSet<String> = (0..25).map(|n| n.to_string()).collect();
    let stored = cluster.topic("t").messages().await;
    let stored: BTreeSet<String> = stored
        .iter()
        .map(|message| String::from_utf8_lossy(message.body()).into_owned())
        .collect();
    assert_eq!(stored, bodies);
    // Alone it leaves when it has waited long enough; with a key at once.
    let soon = client
        .producer_builder()
        .batching(Batching::linger(Duration::from_millis(5)))
        .build();
    soon.send(Message::new("t", "alone")).await.unwrap();
    producer
        .send(Message::new("t", "keyed").ordered_by("k"))
        .await
        .unwrap();
    // What cannot be sent at all is told at once, and holds up nobody.
    assert!(producer.submit(Message::new("t", "")).await.is_err());
    cluster.topic("t").assert_messages(27).await;
}

#[rmq_testing::test]
async fn a_batch_that_fails_tells_every_message(cluster: TestCluster) {
    cluster.topic("t").create().await;
    let client = cluster.connect().await;
    let producer = client
        .producer_builder()
        .retries(0)
        .batching(Batching::linger(Duration::from_millis(20)))
        .build();
    cluster.broker(0).kill().await;
    let sends = (0..3).map(|n| producer.send(Message::new("t", n.to_string())));
    for result in futures_util::future::join_all(sends).await {
        assert!(result.unwrap_err().is_retryable());
    }
}

#[rmq_testing::test(brokers = 2)]
async fn a_broker_that_fails_is_passed_over(cluster: TestCluster) {
    cluster.topic("t").queues(2).create().await;
    let client = cluster.connect().await;
    let mut events = client.events();
    let producer = client.producer();
    for n in 0..8 {
        producer
            .send(Message::new("t", n.to_string()))
            .await
            .unwrap();
    }
    // It stays in the routes for a while: only the client can know that it is gone.
    cluster.broker(1).cut().await;
    let quick = Client::builder(cluster.url())
        .request_timeout(Duration::from_millis(300))
        .connect()
        .await
        .unwrap();
    let mut quick_events = quick.events();
    let producer = quick.producer();
    for n in 8..40 {
        producer
            .send(Message::new("t", n.to_string()))
            .await
            .unwrap();
    }
    let mut retries = 0;
    while let Some(event) = futures_util::FutureExt::now_or_never(quick_events.next()).flatten() {
        retries += u32::from(matches!(event, Event::Retrying { .. }));
    }
    assert_eq!(
        retries, 1,
        "the first message finds out, the others go elsewhere"
    );
    cluster.broker(1).heal().await;
    let connected = loop {
        match events.next().await {
            Some(Event::Connected { addr }) => break addr,
            Some(_) => {}
            None => panic!("events end"),
        }
    };
    assert!(!connected.is_empty());
    quick.shutdown().await;
    // What the broker got late may be there twice; nothing is missing.
    let stored = cluster.topic("t").messages().await;
    let stored: BTreeSet<_> = stored
        .iter()
        .map(|message| message.body().clone())
        .collect();
    assert_eq!(stored.len(), 40);
}

#[rmq_testing::test]
async fn health_and_rebalances_are_told(cluster: TestCluster) {
    cluster.topic("t").queues(4).create().await;
    let client = cluster.connect().await;
    assert!(client.health().await.is_ready());
    let mut events = client.events();
    let first = client
        .consumer("g")
        .subscribe("t", "*")
        .stream()
        .await
        .unwrap();
    let gained = loop {
        match events.next().await.unwrap() {
            Event::Rebalanced { group, gained, .. }
                if group == "g" && gained.iter().any(|queue| queue.topic() == "t") =>
            {
                break gained;
            }
            _ => {}
        }
    };
    assert_eq!(gained.len(), 4);
    let other = cluster.connect().await;
    let second = other
        .consumer("g")
        .subscribe("t", "*")
        .stream()
        .await
        .unwrap();
    let lost = loop {
        if let Event::Rebalanced { lost, .. } = events.next().await.unwrap()
            && !lost.is_empty()
        {
            break lost;
        }
    };
    assert_eq!(lost.len(), 2);
    first.shutdown().await.unwrap();
    second.shutdown().await.unwrap();
    cluster.broker(0).stop().await;
    let health = client.health().await;
    assert!(!health.is_ready() && health.problem().is_some());
    assert!(!health.connections().is_empty());
}

#[rmq_testing::test]
async fn deliveries_come_several_at_a_time(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = cluster.connect().await;
    for n in 0..7 {
        client
            .producer()
            .send(Message::new("t", n.to_string()))
            .await
            .unwrap();
    }
    let deliveries = client
        .consumer("g")
        .subscribe("t", "*")
        .from(StartFrom::First)
        .stream()
        .await
        .unwrap();
    let mut batches = deliveries.batches(5, Duration::from_secs(1));
    let first = batches.next().await.unwrap().unwrap();
    let bodies: Vec<_> = first
        .iter()
        .map(|delivery| delivery.message().body().clone())
        .collect();
    assert_eq!(bodies, ["0", "1", "2", "3", "4"]);
    for delivery in first {
        delivery.ack().await.unwrap();
    }
    // Fewer come when no more do in time; a wait that is dropped loses nothing.
    let rest = loop {
        let mut batches = std::pin::pin!(batches.next());
        if let std::task::Poll::Ready(rest) = futures_util::poll!(&mut batches) {
            break rest.unwrap().unwrap();
        }
        if let Ok(rest) = tokio::time::timeout(Duration::from_secs(6), batches).await {
            break rest.unwrap().unwrap();
        }
    };
    assert_eq!(rest.len(), 2);
    for delivery in rest {
        delivery.ack().await.unwrap();
    }
    batches.shutdown().await.unwrap();
    cluster.group("g").drained(&["t"]).await;
}

#[rmq_testing::test]
async fn the_first_connect_waits_for_a_cluster_that_comes(cluster: TestCluster) {
    let builder = || Client::builder(cluster.url());
    cluster.name_server(0).stop().await;
    let error = builder().connect().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    // No longer than it is told to.
    let short = builder().retry_first_connect(Duration::from_millis(300));
    let error = short.connect().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    let patient = builder().retry_first_connect(Duration::from_secs(60));
    let connects = tokio::spawn(patient.connect());
    cluster.name_server(0).start().await;
    connects.await.unwrap().unwrap().shutdown().await;
    // What waiting does not mend fails at once.
    let wrong = Client::builder("http://ns-0").retry_first_connect(Duration::from_secs(600));
    assert!(!wrong.connect().await.unwrap_err().is_retryable());
}

#[rmq_testing::test]
async fn a_stream_of_messages_goes_into_a_sink(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = cluster.connect().await;
    let message = |n: u32| Message::new("t", n.to_string());
    for builder in [
        client.producer_builder().max_in_flight(8),
        // The last batch does not wait for more: the end of the stream flushes it.
        client
            .producer_builder()
            .batching(Batching::linger(Duration::from_secs(10)).max_messages(16)),
    ] {
        let producer = builder.build();
        let messages = stream::iter(0..100).map(|n| Ok(message(n)));
        messages.forward(producer.sink()).await.unwrap();
    }
    let stored = cluster.topic("t").messages().await;
    let numbers = stored.iter().map(|message| {
        let body = std::str::from_utf8(message.body()).unwrap();
        body.parse::<u32>().unwrap()
    });
    let mut numbers: Vec<u32> = numbers.collect();
    let mut gathered = numbers.split_off(100);
    assert!(
        numbers.is_sorted(),
        "not the order of the stream: {numbers:?}"
    );
    // Batches that leave at the same time have no order among themselves.
    gathered.sort_unstable();
    assert_eq!(gathered, (0..100).collect::<Vec<u32>>());

    // An error is one message's.
    let mut sink = client.producer().sink();
    sink.feed(message(1)).await.unwrap();
    sink.feed(Message::new("t", "")).await.unwrap();
    let refused = sink.flush().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    sink.send(message(2)).await.unwrap();
    sink.close().await.unwrap();
    cluster.topic("t").assert_messages(202).await;
}
