//! Sends while brokers restart, are cut off or are gone, and sends that are refused before they do harm: against real servers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rmq_client::protocol::{RequestCode, ResponseCode};
use rmq_client::{Client, ErrorKind, Event, Message, StartFrom};
use rmq_testing::TestCluster;

#[rmq_testing::test]
async fn restarts_of_a_broker_under_load_lose_no_send(cluster: TestCluster) {
    cluster.topic("t").queues(4).create().await;
    // The settings that everybody has, but for the age of routes.
    let client = cluster.connect().await;
    let stop = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..8)
        .map(|sender| {
            let (producer, stop) = (client.producer(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut sent = BTreeMap::new();
                while !stop.load(Ordering::Relaxed) {
                    let body = format!("{sender}-{}", sent.len());
                    let receipt = producer.send(Message::new("t", body.clone())).await;
                    let receipt = receipt.unwrap_or_else(|error| panic!("{body}: {error}"));
                    sent.insert(body, receipt.message_id().to_owned());
                }
                sent
            })
        })
        .collect();
    for kill in [true, false, true] {
        tokio::time::sleep(Duration::from_millis(200)).await;
        match kill {
            true => cluster.broker(0).kill().await,
            false => cluster.broker(0).stop().await,
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.broker(0).start().await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.store(true, Ordering::Relaxed);
    let mut sent = BTreeMap::new();
    for sender in senders {
        sent.extend(sender.await.unwrap());
    }
    // Every receipt is true, and what is there twice has one id.
    let stored = cluster.topic("t").messages().await;
    let stored: BTreeSet<(String, String)> = stored
        .iter()
        .map(|message| {
            let body = String::from_utf8_lossy(message.body()).into_owned();
            (body, message.message_id())
        })
        .collect();
    assert_eq!(stored, sent.into_iter().collect());
    client.shutdown().await;
}

#[rmq_testing::test]
async fn a_send_tries_as_long_as_it_may(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = Client::builder(cluster.url())
        .request_timeout(Duration::from_millis(200))
        .connect()
        .await
        .unwrap();
    let mut events = client.events();
    let producer = client
        .producer_builder()
        .deliver_within(Duration::from_millis(900))
        .build();
    producer.send(Message::new("t", "before")).await.unwrap();
    cluster.broker(0).cut().await;
    let began = Instant::now();
    let error = producer
        .send(Message::new("t", "during"))
        .await
        .unwrap_err();
    let took = began.elapsed();
    assert!(
        error.is_retryable() && error.may_have_been_processed(),
        "{error}"
    );
    assert!(took >= Duration::from_millis(300), "{took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    let mut repeated = 0;
    while let Some(event) = futures_util::FutureExt::now_or_never(events.next()).flatten() {
        repeated += u32::from(matches!(event, Event::Retrying { .. }));
    }
    assert!(repeated >= 1);
    // One send has a limit of its own; the room is a common one.
    let began = Instant::now();
    let quick = producer.deliver_within(Duration::from_millis(50));
    quick.send(Message::new("t", "quick")).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_millis(800));
    let narrow = client
        .producer_builder()
        .max_in_flight(1)
        .deliver_within(Duration::from_millis(300))
        .build();
    let patient = narrow.deliver_within(Duration::from_secs(20));
    let first = patient.submit(Message::new("t", "first")).await.unwrap();
    let error = narrow
        .submit(Message::new("t", "second"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("no room"), "{error}");
    assert!(!error.may_have_been_processed());
    // A network that is whole again in time lets the send succeed.
    cluster.broker(0).heal().await;
    first.await.unwrap();
    client.shutdown().await;
}

#[rmq_testing::test]
async fn what_an_earlier_try_may_have_stored_stays_possible(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = Client::builder(cluster.url())
        .request_timeout(Duration::from_millis(200))
        .connect()
        .await
        .unwrap();
    let send = RequestCode::SendMessageV2;
    cluster.broker(0).lose(send, 1);
    client
        .producer()
        .send(Message::new("t", "x"))
        .await
        .unwrap();
    // The first try has no answer, the second one is refused for good.
    let producer = client.producer();
    cluster.broker(0).lose(send, 1);
    let refusing = async {
        while cluster.broker(0).requests(send) < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cluster
            .broker(0)
            .fail(send, ResponseCode::MessageIllegal, 1);
    };
    let (error, ()) = tokio::join!(producer.send(Message::new("t", "y")), refusing);
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Indeterminate);
    let code = error.broker_code();
    assert_eq!(code, Some(ResponseCode::MessageIllegal.as_i32()), "{error}");
    client.shutdown().await;
}

#[rmq_testing::test]
async fn a_broker_that_is_gone_is_not_a_topic_that_is_missing(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = cluster.connect().await;
    client
        .producer()
        .send(Message::new("t", "1"))
        .await
        .unwrap();
    cluster.broker(0).kill().await;
    let gone = async {
        loop {
            match client.refresh_route("t").await {
                Err(error) => return error,
                Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(10), gone)
        .await
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(
        error
            .to_string()
            .contains("\"broker-0\" of topic \"t\" is gone"),
        "{error}"
    );
    assert!(!error.to_string().contains("create it"), "{error}");
    let short = client.producer().deliver_within(Duration::from_millis(300));
    let error = short.send(Message::new("t", "2")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains("is gone"), "{error}");
    // A topic that nobody ever knew is not told from that while no broker can be asked.
    let error = client.refresh_route("unknown").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(
        error.to_string().contains("no broker is registered"),
        "{error}"
    );
    cluster.broker(0).start().await;
    client
        .producer()
        .send(Message::new("t", "3"))
        .await
        .unwrap();
    let error = client.refresh_route("unknown").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoRoute);
    // A topic that was deleted is missing, although it was known.
    client.admin().delete_topic("t").await.unwrap();
    let error = client.refresh_route("t").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoRoute, "{error}");
    client.shutdown().await;
}

#[rmq_testing::test(brokers = 2)]
async fn a_drained_broker_sends_producers_to_the_other(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = cluster.connect().await;
    cluster
        .broker(1)
        .fail(RequestCode::SendMessageV2, ResponseCode::NoPermission, 1);
    for n in 0..4 {
        client
            .producer()
            .send(Message::new("t", n.to_string()))
            .await
            .unwrap();
    }
    client.shutdown().await;
}

#[rmq_testing::test]
async fn one_message_that_is_too_large_hurts_nobody(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = cluster.connect().await;
    let producer = client
        .producer_builder()
        .message_bytes_max(64 << 20)
        .build();
    producer.send(Message::new("t", "before")).await.unwrap();
    let mut events = client.events();
    // Others wait for their answers on the same connection.
    cluster
        .broker(0)
        .throttle(RequestCode::SendMessageV2, Duration::from_millis(200));
    let mut others = Vec::new();
    for n in 0..5 {
        others.push(
            producer
                .submit(Message::new("t", n.to_string()))
                .await
                .unwrap(),
        );
    }
    for megabytes in [16, 20, 40] {
        let large = Message::new("t", vec![b'x'; megabytes << 20]);
        let error = producer.send(large.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!error.is_retryable() && !error.may_have_been_processed());
        assert!(error.to_string().contains("too large"), "{error}");
        let error = producer.send_and_forget(large.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let batch = producer.send_all(vec![large]).await.unwrap();
        assert_eq!(
            batch[0].as_ref().unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
    for other in others {
        other.await.unwrap();
    }
    while let Some(event) = futures_util::FutureExt::now_or_never(events.next()).flatten() {
        assert!(
            !matches!(event, Event::Disconnected { .. } | Event::Retrying { .. }),
            "{event:?}"
        );
    }
    client.shutdown().await;
}

#[rmq_testing::test]
async fn delays_and_properties_that_cannot_be_are_refused(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = cluster.connect().await;
    let day = Duration::from_secs(86_400);
    for message in [
        Message::new("t", "x").delay_level_for(day),
        Message::new("t", "x").property("UNIQ_KEY", "mine"),
        Message::new("t", "x").property("DELAY", "3"),
        Message::new("t", "x").property("TIMER_DELIVER_MS", "3"),
    ] {
        let error = client.producer().send(message.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let batch = client.producer().send_all(vec![message]).await;
        assert_eq!(batch.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    client
        .producer()
        .send(Message::new("t", "1"))
        .await
        .unwrap();
    cluster.topic("t").assert_bodies(&["1"]).await;
    let consumer = || {
        client
            .consumer("g")
            .subscribe("t", "*")
            .from(StartFrom::First)
    };
    let pauses = rmq_client::Retry::up_to(3).backoff(Duration::from_secs(1)..day);
    let error = consumer().retry(pauses.clone()).stream().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    // An ordered consumer waits itself.
    let ordered = consumer().retry(pauses).ordered().stream().await.unwrap();
    ordered.shutdown().await.unwrap();
    // What is refused is not lost: it comes again.
    let mut deliveries = consumer().stream().await.unwrap();
    let delivery = deliveries.next().await.unwrap().unwrap();
    let id = delivery.message_id();
    let error = delivery.retry_after(day).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let again = async {
        loop {
            cluster.advance(Duration::from_secs(60));
            let next = tokio::time::timeout(Duration::from_millis(50), deliveries.next());
            if let Ok(again) = next.await {
                return again.unwrap().unwrap();
            }
        }
    };
    let again = tokio::time::timeout(Duration::from_secs(10), again)
        .await
        .unwrap();
    assert_eq!((again.message_id(), again.attempt()), (id, 2));
    again.ack().await.unwrap();
    deliveries.shutdown().await.unwrap();
    client.shutdown().await;
}
