//! Transactions and requests as users of the client have them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rmq_testing::TestCluster;
use rmq_testing::client::{Client, Decision, ErrorKind, Message, ReceivedMessage, StartFrom};

/// Beyond this a test is stuck.
const PATIENCE: Duration = Duration::from_secs(20);

async fn name_of_broker(client: &Client) -> String {
    let info = client.cluster_info().await.unwrap();
    let mut names = info.broker_addr_table.into_keys();
    names.next().expect("a broker")
}

#[rmq_testing::test]
async fn a_message_counts_when_its_transaction_is_committed(cluster: TestCluster) {
    cluster.topic("orders").create().await;
    let client = cluster.client().await;
    let producer = client.producer_builder().group("checkout").build();
    let kept = producer
        .begin(Message::new("orders", "kept"))
        .await
        .unwrap();
    let lost = producer
        .begin(Message::new("orders", "lost"))
        .await
        .unwrap();
    assert_ne!(kept.id(), lost.id());
    assert_eq!(kept.queue().topic(), "orders");
    cluster.topic("orders").assert_messages(0).await;
    let broker = name_of_broker(&client).await;
    let open = client
        .admin()
        .transactions(&broker, false, 10)
        .await
        .unwrap();
    assert_eq!(open.len(), 2);
    kept.commit().await.unwrap();
    lost.rollback().await.unwrap();
    cluster.topic("orders").assert_bodies(&["kept"]).await;
    assert!(
        client
            .admin()
            .transactions(&broker, false, 10)
            .await
            .unwrap()
            .is_empty()
    );
    let missing = client.admin();
    let missing = missing
        .check_transaction_again(&broker, "orders", "nonsense")
        .await;
    assert!(missing.is_err());
}

#[rmq_testing::test]
async fn a_broker_asks_about_what_was_forgotten_as_soon_as_the_clock_says_so(cluster: TestCluster) {
    cluster.topic("orders").create().await;
    let client = cluster.client().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let producer = client
        .producer_builder()
        .group("checkout")
        .transaction_check(move |message: ReceivedMessage| {
            let first = counter.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                match first {
                    // As if the database were away.
                    true => Err("not now"),
                    false => Ok(Decision::of(message.keys().any(|key| key == "paid"))),
                }
            }
        })
        .build();
    for key in ["paid", "given up"] {
        let message = Message::new("orders", key).key(key.replace(' ', "-"));
        drop(producer.begin(message).await.unwrap());
    }
    let broker = name_of_broker(&client).await;
    let settled = async {
        loop {
            // What is asked is answered before the next look, or after it.
            cluster.advance(Duration::from_secs(60));
            let open = client
                .admin()
                .transactions(&broker, false, 10)
                .await
                .unwrap();
            if open.is_empty() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, settled)
        .await
        .expect("all have ended");
    cluster.topic("orders").assert_bodies(&["paid"]).await;
    assert!(
        asked.load(Ordering::SeqCst) >= 3,
        "one was asked about again"
    );
}

#[rmq_testing::test]
async fn a_request_gets_its_reply(cluster: TestCluster) {
    cluster.topic("prices").create().await;
    let asking = cluster.client().await;
    let answering = cluster.client().await;
    let consumer = answering
        .consumer("sellers")
        .subscribe("prices", "*")
        .from(StartFrom::First)
        .handler(|delivery| async move {
            let body = delivery.body().clone();
            if body[..] != b"silence"[..] {
                delivery.reply([&body[..], b": 7"].concat()).await?;
            }
            Ok::<_, rmq_testing::client::Error>(())
        })
        .start()
        .await
        .unwrap();
    let producer = asking.producer();
    for fruit in ["apples", "pears"] {
        let message = Message::new("prices", fruit);
        let answer = producer.request(message, PATIENCE).await.unwrap();
        assert_eq!(answer.body(), &format!("{fruit}: 7"));
    }
    let message = Message::new("prices", "silence");
    let late = producer.request(message, Duration::from_millis(200)).await;
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Timeout);
    // What is no request has nobody to reply to.
    producer
        .send(Message::new("prices", "plain"))
        .await
        .unwrap();
    consumer.shutdown().await.unwrap();
}
