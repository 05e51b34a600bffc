//! Futures that are dropped before they are ready: the documentation of each says what remains, and that is what remains.

use std::collections::BTreeSet;
use std::future::Future;
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use rmq_client::{Client, Deliveries, Message, Position, StartFrom};
use rmq_protocol::RequestCode;
use rmq_testing::TestCluster;
use tokio::time::{Instant, sleep, timeout};

const WITHIN: Duration = Duration::from_secs(20);

/// The result of a wait that is begun and dropped again and again.
async fn impatient<T>(mut wait: impl AsyncFnMut() -> T) -> T {
    let until = Instant::now() + WITHIN;
    loop {
        let mut waiting = Box::pin(wait());
        if let Poll::Ready(ready) = poll!(&mut waiting) {
            return ready;
        }
        drop(waiting);
        assert!(Instant::now() < until, "nothing comes");
        sleep(Duration::from_micros(100)).await;
    }
}

async fn send(client: &Client, topic: &str, count: u32) {
    for n in 0..count {
        let message = Message::new(topic, n.to_string());
        client.producer().send(message).await.unwrap();
    }
}

/// Joins once this client's last consumer of the group has ended.
async fn join(client: &Client, group: &str) -> Deliveries {
    let until = Instant::now() + WITHIN;
    loop {
        let consumer = client.consumer(group).subscribe("t", "*");
        match consumer.from(StartFrom::First).stream().await {
            Ok(deliveries) => return deliveries,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        sleep(Duration::from_millis(5)).await;
    }
}

#[rmq_testing::test]
async fn a_consumer_whose_start_is_dropped_is_no_member(cluster: TestCluster) {
    cluster.topic("t").queues(4).create().await;
    let (client, other) = (cluster.connect().await, cluster.connect().await);
    send(&client, "t", 8).await;
    for step in 0..20 {
        let consumer = client.consumer("g").subscribe("t", "*");
        let started = consumer.from(StartFrom::First).stream();
        // At another place each time; the last ones may have started.
        let limit = Duration::from_micros(300 * step);
        drop(timeout(limit, started).await);
        // It has ended in order when the client may begin again.
        let again = join(&client, "g").await;
        again.shutdown().await.unwrap();
    }
    drop(client.consumer("g").subscribe("t", "*").stream().await);
    let broker = cluster.broker(0).name();
    let until = Instant::now() + WITHIN;
    while other.admin().connections(broker, "g").await.is_ok() {
        assert!(Instant::now() < until, "the group has a member");
        sleep(Duration::from_millis(5)).await;
    }
    // All queues are another member's.
    let mut deliveries = join(&other, "g").await;
    let mut bodies = BTreeSet::new();
    while bodies.len() < 8 {
        let next = timeout(WITHIN, deliveries.next()).await;
        let delivery = next.expect("all queues are read").unwrap().unwrap();
        bodies.insert(delivery.body().clone());
        delivery.ack().await.unwrap();
    }
    deliveries.shutdown().await.unwrap();
}

#[rmq_testing::test]
async fn waits_for_messages_that_are_dropped_lose_none(cluster: TestCluster) {
    cluster.topic("t").queues(2).create().await;
    let client = cluster.connect().await;
    let sender = client.clone();
    let sends = tokio::spawn(async move { send(&sender, "t", 50).await });

    let mut stream = join(&client, "stream").await;
    let mut seen = BTreeSet::new();
    for _ in 0..50 {
        let delivery = impatient(async || stream.next().await).await;
        let delivery = delivery.unwrap().unwrap();
        assert!(seen.insert(delivery.body().clone()), "twice: {delivery:?}");
        delivery.ack().await.unwrap();
    }
    stream.shutdown().await.unwrap();
    sends.await.unwrap();

    let batched = join(&client, "batches").await;
    let mut batches = batched.batches(7, Duration::from_millis(5));
    let mut count = 0;
    while count < 50 {
        let batch = impatient(async || batches.next().await).await;
        for delivery in batch.unwrap().unwrap() {
            count += 1;
            delivery.ack().await.unwrap();
        }
    }
    batches.shutdown().await.unwrap();
    assert_eq!(count, 50);

    let reader = client.reader("t").from(Position::Earliest);
    let mut reader = reader.open().await.unwrap();
    let mut count = 0;
    while impatient(async || reader.next().await)
        .await
        .unwrap()
        .is_some()
    {
        count += 1;
    }
    assert_eq!(count, 50);

    let mut pull = client.pull_consumer("pull").from(StartFrom::First);
    let route = client.route("t").await.unwrap();
    pull.assign(route.readable().to_vec()).await.unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < 50 {
        let polled = impatient(async || pull.poll(8, WITHIN).await).await;
        for message in polled.unwrap() {
            assert!(seen.insert(message.body().clone()), "twice: {message:?}");
        }
    }
}

#[rmq_testing::test]
async fn readers_whose_opening_is_dropped_leave_no_task(cluster: TestCluster) {
    cluster.topic("t").queues(8).create().await;
    let client = cluster.connect().await;
    send(&client, "t", 8).await;
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let open = || client.reader("t").follow(true).open();
    drop(open().await.unwrap());
    let settled = async |most: usize| {
        let until = Instant::now() + WITHIN;
        while tasks() > most {
            assert!(Instant::now() < until, "{} tasks, not {most}", tasks());
            sleep(Duration::from_millis(5)).await;
        }
    };
    // The tasks of the reader before have ended, those of connections stay.
    sleep(Duration::from_millis(50)).await;
    let before = tasks();
    for step in 0..20 {
        drop(timeout(Duration::from_micros(200 * step), open()).await);
    }
    settled(before).await;
}

#[rmq_testing::test]
async fn a_submission_that_is_dropped_sends_nothing(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = cluster.connect().await;
    let producer = client.producer_builder().max_in_flight(1).build();
    cluster.broker(0).lose(RequestCode::SendMessageV2, 1);
    let first = producer.submit(Message::new("t", "first")).await.unwrap();
    // There is no room for it.
    let mut second = Box::pin(producer.submit(Message::new("t", "second")));
    assert!(poll!(&mut second).is_pending());
    drop(second);
    // The message is sent also when nobody waits for its receipt.
    drop(first);
    let third = producer.submit(Message::new("t", "third")).await.unwrap();
    third.await.unwrap();
    cluster.topic("t").assert_bodies(&["first", "third"]).await;
}

#[rmq_testing::test]
async fn a_settlement_that_was_polled_once_is_done(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = cluster.connect().await;
    send(&client, "t", 1).await;
    let mut deliveries = join(&client, "g").await;
    let delivery = deliveries.next().await.unwrap().unwrap();
    assert_eq!(delivery.attempt(), 1);
    poll_once(delivery.retry_after(Duration::from_secs(1))).await;
    let again = loop {
        tokio::select! {
            next = deliveries.next() => break next.unwrap().unwrap(),
            () = sleep(Duration::from_millis(50)) => cluster.advance(Duration::from_secs(1)),
        }
    };
    assert_eq!(again.attempt(), 2);
    poll_once(again.dead_letter("enough")).await;
    cluster.group("g").assert_dead_letters(1).await;
    // The end is reached also by whoever asks for it later.
    let control = deliveries.consumer().control();
    poll_once(control.shutdown()).await;
    timeout(WITHIN, control.shutdown()).await.unwrap().unwrap();
}

async fn poll_once(future: impl Future) {
    let mut future = Box::pin(future);
    let _ = poll!(&mut future);
}
