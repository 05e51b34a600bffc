//! The service against the real broker.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use order_service::{Declined, GROUP, ORDERS, Order, Payments, RECEIPTS, start};
use rmq_testing::TestCluster;
use rmq_testing::client::Message;

/// Counts charges, and declines an order so many times first.
#[derive(Default)]
struct Bank {
    declines: HashMap<&'static str, usize>,
    asked: Mutex<HashMap<String, usize>>,
}

impl Payments for Bank {
    fn charge(&self, order: &Order) -> Result<(), Declined> {
        let mut asked = self.asked.lock().unwrap();
        let times = asked.entry(order.number.clone()).or_default();
        *times += 1;
        let declines = self.declines.get(order.number.as_str()).copied();
        if *times <= declines.unwrap_or(0) {
            Err(Declined)
        } else {
            Ok(())
        }
    }
}

impl Bank {
    fn asked(&self, number: &str) -> usize {
        self.asked.lock().unwrap().get(number).copied().unwrap_or(0)
    }
}

async fn prepare(cluster: &TestCluster) {
    cluster.topic(ORDERS).create().await;
    cluster.topic(RECEIPTS).create().await;
}

async fn order(cluster: &TestCluster, number: &str) {
    let order = Order {
        number: number.to_owned(),
        cents: 1_250,
    };
    let message = Message::json(ORDERS, &order).unwrap().key(number);
    cluster
        .client()
        .await
        .producer()
        .send(message)
        .await
        .unwrap();
}

#[rmq_testing::test]
async fn an_order_becomes_a_receipt(cluster: TestCluster) {
    prepare(&cluster).await;
    let bank = Arc::new(Bank::default());
    let service = start(&cluster.client().await, Arc::clone(&bank))
        .await
        .unwrap();
    order(&cluster, "17").await;
    cluster
        .topic(RECEIPTS)
        .assert_bodies(&["order 17: 1250 cents charged"])
        .await;
    assert_eq!(bank.asked("17"), 1);
    service.shutdown().await.unwrap();
    cluster.group(GROUP).drained(&[ORDERS]).await;
}

#[rmq_testing::test]
async fn a_declined_payment_is_tried_again_later(cluster: TestCluster) {
    prepare(&cluster).await;
    let bank = Arc::new(Bank {
        declines: HashMap::from([("17", 2), ("18", usize::MAX)]),
        ..Bank::default()
    });
    let service = start(&cluster.client().await, Arc::clone(&bank))
        .await
        .unwrap();
    order(&cluster, "17").await;
    order(&cluster, "18").await;
    // Each look moves the clock beyond the pause before the next attempt: minutes pass in no time.
    let given_up = async {
        while bank.asked("17") < 3 || bank.asked("18") < 4 {
            cluster.advance(Duration::from_secs(60));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), given_up)
        .await
        .expect("in time");
    cluster
        .topic(RECEIPTS)
        .assert_bodies(&["order 17: 1250 cents charged"])
        .await;
    cluster.group(GROUP).assert_dead_letters(1).await;
    service.shutdown().await.unwrap();
}

#[rmq_testing::test]
async fn what_is_no_order_goes_to_the_dead_letters(cluster: TestCluster) {
    prepare(&cluster).await;
    let service = start(&cluster.client().await, Arc::new(Bank::default()))
        .await
        .unwrap();
    let nonsense = Message::new(ORDERS, "not json");
    cluster
        .client()
        .await
        .producer()
        .send(nonsense)
        .await
        .unwrap();
    cluster.group(GROUP).assert_dead_letters(1).await;
    cluster.topic(RECEIPTS).assert_messages(0).await;
    service.shutdown().await.unwrap();
}

#[rmq_testing::test]
async fn nothing_is_lost_when_the_broker_is_killed(cluster: TestCluster) {
    prepare(&cluster).await;
    for number in 0..10 {
        order(&cluster, &number.to_string()).await;
    }
    cluster.broker(0).kill().await;
    cluster.broker(0).start().await;
    let bank = Arc::new(Bank::default());
    let service = start(&cluster.client().await, Arc::clone(&bank))
        .await
        .unwrap();
    cluster.topic(RECEIPTS).assert_messages(10).await;
    service.shutdown().await.unwrap();
}
