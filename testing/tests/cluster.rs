//! The test cluster as its users have it.

use std::time::{Duration, Instant, SystemTime};

use rmq_testing::TestCluster;
use rmq_testing::client::{Message, Retry, StartFrom};

#[rmq_testing::test]
async fn ten_minutes_pass_at_once(cluster: TestCluster) {
    cluster.topic("orders").create().await;
    let client = cluster.client().await;
    let later = Message::new("orders", "later").delay_level_for(Duration::from_secs(600));
    client.producer().send(later).await.unwrap();
    cluster.topic("orders").assert_messages(0).await;
    cluster.advance(Duration::from_secs(599));
    cluster.topic("orders").assert_messages(0).await;
    let moved = Instant::now();
    cluster.advance(Duration::from_secs(2));
    cluster.topic("orders").assert_bodies(&["later"]).await;
    assert!(moved.elapsed() < Duration::from_secs(5), "not in real time");
}

#[rmq_testing::test]
async fn timers_come_with_the_clock_unless_they_are_taken_back(cluster: TestCluster) {
    cluster.topic("orders").create().await;
    let producer = cluster.client().await.producer();
    let mut handles = Vec::new();
    for hours in [24, 48, 71] {
        let after = Duration::from_secs(hours * 3_600);
        let message = Message::new("orders", hours.to_string()).deliver_after(after);
        let receipt = producer.send(message).await.unwrap();
        let handle = receipt.recall_handle().expect("it waits").to_owned();
        handles.push((receipt.message_id().to_owned(), handle));
    }
    let at = SystemTime::now() + Duration::from_secs(12 * 3_600);
    let message = Message::new("orders", "12").deliver_at(at);
    producer.send(message).await.unwrap();
    let (id, handle) = &handles[1];
    assert_eq!(producer.recall(handle).await.unwrap(), *id);
    cluster.topic("orders").assert_messages(0).await;
    cluster.advance(Duration::from_secs(30 * 3_600));
    cluster.topic("orders").assert_bodies(&["12", "24"]).await;
    let refused = producer.recall(&handles[0].1).await.expect_err("it came");
    assert_eq!(refused.broker_code(), Some(604));
    assert!(producer.recall("no handle").await.is_err());
    cluster.advance(Duration::from_secs(50 * 3_600));
    cluster
        .topic("orders")
        .assert_bodies(&["12", "24", "71"])
        .await;
}

#[rmq_testing::test]
async fn retries_and_dead_letters_come_with_the_clock(cluster: TestCluster) {
    cluster.topic("orders").create().await;
    let client = cluster.client().await;
    let (seen, mut attempts) = tokio::sync::mpsc::unbounded_channel();
    let consumer = client
        .consumer("billing")
        .subscribe("orders", "*")
        .from(StartFrom::First)
        .retry(Retry::up_to(2))
        .handler(move |delivery| {
            let _ = seen.send(delivery.attempt());
            async { Err::<(), _>("never") }
        })
        .start()
        .await
        .unwrap();
    let message = Message::new("orders", "bad");
    client.producer().send(message).await.unwrap();
    for expected in 1..=3 {
        let attempt = tokio::time::timeout(Duration::from_secs(10), async {
            loop {
                // The message is given back when its handler ended; the clock moves until it has come again.
                cluster.advance(Duration::from_secs(60));
                let next = tokio::time::timeout(Duration::from_millis(50), attempts.recv());
                if let Ok(attempt) = next.await {
                    return attempt;
                }
            }
        });
        assert_eq!(attempt.await.expect("in time"), Some(expected));
    }
    cluster.group("billing").assert_dead_letters(1).await;
    consumer.shutdown().await.unwrap();
    cluster.group("billing").drained(&["orders"]).await;
}

#[rmq_testing::test(brokers = 2, name_servers = 2)]
async fn messages_survive_a_kill(cluster: TestCluster) {
    cluster.topic("orders").queues(2).create().await;
    let client = cluster.client().await;
    for n in 0..20 {
        let message = Message::new("orders", n.to_string());
        client.producer().send(message).await.unwrap();
    }
    cluster.broker(0).kill().await;
    cluster.name_server(0).stop().await;
    // The other broker takes what is sent, the other name server is asked.
    let message = Message::new("orders", "meanwhile");
    client.producer().send(message).await.unwrap();
    cluster.name_server(0).start().await;
    cluster.broker(0).start().await;
    cluster.topic("orders").assert_messages(21).await;
}

#[rmq_testing::test]
#[should_panic(expected = "has 1 messages instead of 0")]
async fn an_assertion_says_what_is_there(cluster: TestCluster) {
    cluster.topic("orders").create().await;
    let message = Message::new("orders", "unexpected").key("k").tag("t");
    cluster
        .client()
        .await
        .producer()
        .send(message)
        .await
        .unwrap();
    cluster.topic("orders").assert_messages(0).await;
}

#[rmq_testing::test]
#[should_panic(expected = "does not have the bodies [\"a\"]")]
async fn wrong_bodies_are_shown(cluster: TestCluster) {
    cluster.topic("orders").create().await;
    let message = Message::new("orders", "b");
    cluster
        .client()
        .await
        .producer()
        .send(message)
        .await
        .unwrap();
    cluster.topic("orders").assert_bodies(&["a"]).await;
}

/// The time is printed, not judged: machines differ.
#[rmq_testing::test]
#[expect(clippy::print_stdout, reason = "the figure is for who looks")]
async fn it_is_ready_soon(_cluster: TestCluster) {
    let began = Instant::now();
    let another = TestCluster::start().await;
    println!("a cluster is ready after {:?}", began.elapsed());
    another.shutdown().await;
}
