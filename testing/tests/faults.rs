//! Faults that a test can order: of the network, of single requests, of the disk.

use std::time::{Duration, Instant};

use rmq_testing::TestCluster;
use rmq_testing::client::protocol::{RequestCode, ResponseCode};
use rmq_testing::client::{Client, ErrorKind, Message};

async fn impatient(cluster: &TestCluster) -> Client {
    Client::builder(cluster.url())
        .request_timeout(Duration::from_millis(300))
        .connect()
        .await
        .unwrap()
}

#[rmq_testing::test]
async fn a_cut_network_loses_nothing_that_was_acknowledged(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = impatient(&cluster).await;
    let once = client.producer_builder().retries(0).build();
    once.send(Message::new("t", "before")).await.unwrap();
    cluster.broker(0).cut().await;
    let error = once.send(Message::new("t", "during")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Indeterminate);
    cluster.broker(0).heal().await;
    client
        .producer()
        .send(Message::new("t", "after"))
        .await
        .unwrap();
    // What timed out may have arrived when the network was whole again.
    let bodies: Vec<_> = cluster.topic("t").messages().await;
    let bodies: Vec<&[u8]> = bodies.iter().map(|message| &message.body()[..]).collect();
    assert_eq!(
        (bodies.first(), bodies.last()),
        (Some(&&b"before"[..]), Some(&&b"after"[..]))
    );
    client.shutdown().await;
}

#[rmq_testing::test]
async fn kinds_of_requests_fail_are_lost_and_wait(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = impatient(&cluster).await;
    let once = client.producer_builder().retries(0).build();
    let send = RequestCode::SendMessageV2;
    cluster.broker(0).fail(send, ResponseCode::SystemBusy, 2);
    for _ in 0..2 {
        let error = once.send(Message::new("t", "x")).await.unwrap_err();
        assert_eq!(error.broker_code(), Some(ResponseCode::SystemBusy.as_i32()));
    }
    once.send(Message::new("t", "1")).await.unwrap();
    assert_eq!(cluster.broker(0).requests(send), 3);
    cluster.broker(0).fail(send, ResponseCode::NoPermission, 1);
    let error = client
        .producer()
        .send(Message::new("t", "x"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "not tried again");
    cluster.broker(0).lose(send, 1);
    let error = once.send(Message::new("t", "x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Indeterminate);
    cluster.broker(0).throttle(send, Duration::from_millis(100));
    let began = Instant::now();
    once.send(Message::new("t", "2")).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(100));
    cluster.broker(0).repair();
    cluster.broker(0).delay(Duration::from_millis(20));
    let began = Instant::now();
    once.send(Message::new("t", "3")).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(40), "each way");
    cluster.broker(0).repair();
    cluster.topic("t").assert_bodies(&["1", "2", "3"]).await;
    client.shutdown().await;
}

#[rmq_testing::test]
async fn a_full_disk_refuses_and_recovers(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = cluster.connect().await;
    let once = client.producer_builder().retries(0).build();
    once.send(Message::new("t", "before")).await.unwrap();
    cluster.broker(0).fill_disk();
    // Room that was reserved is used up first.
    let large = vec![b'x'; 1 << 20];
    let refused = loop {
        if let Err(error) = once.send(Message::new("t", large.clone())).await {
            break error;
        }
    };
    assert!(refused.is_retryable(), "{refused}");
    assert_eq!(
        &cluster.topic("t").messages().await[0].body()[..],
        b"before",
        "reading goes on"
    );
    cluster.broker(0).repair();
    let mut tries = 0;
    while once.send(Message::new("t", "after")).await.is_err() {
        tries += 1;
        assert!(tries < 100, "it takes messages again when there is room");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[rmq_testing::test]
async fn a_broker_keeps_its_address_and_its_messages(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = cluster.connect().await;
    client
        .producer()
        .send(Message::new("t", "1"))
        .await
        .unwrap();
    let address = cluster.broker(0).address();
    cluster.broker(0).kill().await;
    assert!(
        client
            .producer_builder()
            .retries(0)
            .build()
            .send(Message::new("t", "x"))
            .await
            .is_err()
    );
    cluster.broker(0).start().await;
    assert_eq!(cluster.broker(0).address(), address);
    client
        .producer()
        .send(Message::new("t", "2"))
        .await
        .unwrap();
    cluster.topic("t").assert_bodies(&["1", "2"]).await;
}

#[test]
#[allow(clippy::print_stdout, reason = "the figure is what it is for")]
fn clusters_start_quickly() {
    // Measured, not judged: a busy machine must not fail the tests. docs/develop/testing.md has the figure.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut fastest = Duration::MAX;
        for _ in 0..5 {
            let began = Instant::now();
            let cluster = TestCluster::start().await;
            fastest = fastest.min(began.elapsed());
            cluster.shutdown().await;
        }
        println!("a cluster starts in {fastest:?}");
        assert!(fastest < Duration::from_secs(5));
    });
}
