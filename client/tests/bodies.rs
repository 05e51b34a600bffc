//! What bodies may be: compressed on the way, and JSON of one type.

use std::time::Duration;

use rmq_client::{Batching, Compression, ErrorKind, Message, StartFrom};
use rmq_testing::TestCluster;
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    number: u32,
    note: String,
}

#[rmq_testing::test]
async fn compressed_bodies_are_read_as_they_were_sent(cluster: TestCluster) {
    cluster.topic("reports").queues(1).create().await;
    let client = cluster.connect().await;
    let large = "line\n".repeat(2_000);
    let codecs = [
        (Compression::zlib(), 0x301),
        (Compression::lz4(), 0x101),
        (Compression::zstd(), 0x201),
    ];
    for (compression, _) in codecs {
        let producer = client.producer_builder().compression(compression).build();
        let send = |body: String| producer.send(Message::new("reports", body));
        send(large.clone()).await.unwrap();
        send("small".to_owned()).await.unwrap();
        // Compressed messages leave alone, the others together.
        let gathering = client
            .producer_builder()
            .compression(compression)
            .batching(Batching::linger(Duration::from_secs(10)))
            .build();
        let gathered = gathering.submit(Message::new("reports", "small")).await;
        gathering
            .send(Message::new("reports", large.clone()))
            .await
            .unwrap();
        gathering.flush();
        gathered.unwrap().await.unwrap();
    }
    client
        .producer()
        .send(Message::new("reports", large.clone()))
        .await
        .unwrap();
    let stored = cluster.topic("reports").messages().await;
    let found = |flags: i32, body: &str| {
        let same = stored
            .iter()
            .filter(|message| message.sys_flag() & 0x701 == flags && message.body() == body);
        same.count()
    };
    for (compression, flags) in codecs {
        assert_eq!(found(flags, &large), 2, "{compression:?}");
    }
    assert_eq!((found(0, "small"), found(0, &large)), (6, 1));
}

#[rmq_testing::test]
async fn a_value_is_received_as_it_was_sent(cluster: TestCluster) {
    cluster.topic("orders").queues(1).create().await;
    let client = cluster.connect().await;
    let order = Order {
        number: 17,
        note: "ä\u{1}\"".to_owned(),
    };
    let receipt = client.producer().send_json("orders", &order).await.unwrap();
    let csv = Message::new("orders", "17;x").content_type("text/csv");
    let odd = client.producer().send(csv).await.unwrap();
    let stored = cluster.topic("orders").messages().await;
    assert_eq!(stored[0].message_id(), receipt.message_id());
    assert_eq!(stored[0].content_type(), Some("application/json"));
    assert_eq!(stored[0].json::<Order>().unwrap(), order);
    // Nothing is copied that need not be.
    #[derive(Deserialize)]
    struct Number {
        number: u32,
    }
    assert_eq!(stored[0].json::<Number>().unwrap().number, 17);
    let error = stored[1].json::<Order>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Undecodable);
    assert!(!error.is_retryable() && !error.may_have_been_processed());
    let text = error.to_string();
    for part in [odd.message_id(), "orders", "offset 1", "Order", "text/csv"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let keys = std::collections::BTreeMap::from([((1, 2), 3)]);
    let error = client
        .producer()
        .send_json("orders", &keys)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[rmq_testing::test]
async fn what_is_no_value_goes_to_the_dead_letters_at_once(cluster: TestCluster) {
    for topic in ["orders", "bills"] {
        cluster.topic(topic).queues(1).create().await;
    }
    let client = cluster.connect().await;
    let producer = client.producer();
    let poison = Message::new("orders", "not an order");
    let poison = producer.send(poison).await.unwrap();
    for number in [1, 2] {
        let note = String::new();
        let order = Order { number, note };
        producer.send_json("orders", &order).await.unwrap();
    }
    let consumer = client
        .consumer("billing")
        .subscribe("orders", "*")
        .from(StartFrom::First)
        .handler_json(move |order: Order, delivery| {
            let producer = producer.clone();
            async move {
                let bill = format!("{} of {}", order.number, delivery.topic());
                producer.send(Message::new("bills", bill)).await.map(drop)
            }
        })
        .start()
        .await
        .unwrap();
    cluster
        .topic("bills")
        .assert_bodies(&["1 of orders", "2 of orders"])
        .await;
    cluster.group("billing").assert_dead_letters(1).await;
    cluster.group("billing").drained(&["orders"]).await;
    consumer.shutdown().await.unwrap();
    let letters = cluster.topic("%DLQ%billing").messages().await;
    assert_eq!(letters[0].body(), "not an order");
    let why = letters[0].property("DEAD_LETTER_REASON").unwrap();
    assert!(
        why.contains(poison.message_id()) && why.contains("Order"),
        "{why}"
    );
}
