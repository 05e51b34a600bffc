//! Pulls that wait.

use std::sync::Arc;
use std::time::Duration;

use rmq_broker::Deps;
use rmq_protocol::message::property;
use rmq_protocol::route::perm;
use rmq_transport::ManualClock;

use crate::support::{Rig, message, parked, pull, until, waiting_pull};

/// Longer than any test.
const LONG: i64 = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_pull_is_answered_by_the_message() {
    let rig = Rig::start().await;
    let (reader, writer) = (rig.client(), rig.client());
    writer
        .create_topic("news", 1, perm::READ | perm::WRITE)
        .await;
    let request = waiting_pull("news", 0, "*", LONG);
    let waiting = parked(&reader, reader.pull(&request)).await;
    writer.put("news", "", "first").await;
    let pulled = waiting.await;
    assert_eq!((pulled.bodies(), pulled.next()), (vec!["first"], 1));
    // And again behind it.
    let request = waiting_pull("news", 1, "*", LONG);
    let waiting = parked(&reader, reader.pull(&request)).await;
    writer.put("news", "", "second").await;
    assert_eq!(waiting.await.bodies(), ["second"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_message_that_is_wanted_wakes() {
    let rig = Rig::start().await;
    let (reader, writer) = (rig.client(), rig.client());
    writer
        .create_topic("news", 1, perm::READ | perm::WRITE)
        .await;
    let request = waiting_pull("news", 0, "blue", LONG);
    let mut waiting = parked(&reader, reader.pull(&request)).await;
    for number in 0..3 {
        writer
            .put("news", "TAGS\u{1}red\u{2}", &number.to_string())
            .await;
    }
    // The next request of the waiting connection is answered, and the pull still waits.
    waiting = parked(&reader, waiting).await;
    writer.put("news", "TAGS\u{1}blue\u{2}", "wanted").await;
    let pulled = waiting.await;
    assert_eq!((pulled.bodies(), pulled.next()), (vec!["wanted"], 4));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_waiting_pulls_are_all_answered() {
    let rig = Rig::start().await;
    let (reader, writer) = (rig.client(), rig.client());
    writer
        .create_topic("news", 1, perm::READ | perm::WRITE)
        .await;
    let request = waiting_pull("news", 0, "*", LONG);
    let mut waiting = Vec::new();
    for _ in 0..100 {
        waiting.push(parked(&reader, reader.pull(&request)).await);
    }
    writer.put("news", "", "for all").await;
    for pull in waiting {
        assert_eq!(pull.await.bodies(), ["for all"]);
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_when_its_time_is_up() {
    let clock = ManualClock::at(1_800_000_000_000);
    let deps = Deps {
        clock: Arc::new(clock.clone()),
        connection_clock: Arc::new(clock.clone()),
        ..Deps::default()
    };
    let rig = Rig::start_with(deps, |_| {}).await;
    let reader = rig.client();
    reader
        .create_topic("silence", 1, perm::READ | perm::WRITE)
        .await;
    let (late, early) = (
        waiting_pull("silence", 0, "*", 5_000),
        waiting_pull("silence", 0, "*", 3_000),
    );
    let late = parked(&reader, reader.pull(&late)).await;
    let early = parked(&reader, reader.pull(&early)).await;
    clock.advance(Duration::from_millis(3_000));
    let pulled = early.await;
    assert_eq!((pulled.code, pulled.next()), (19, 0));
    let late = parked(&reader, late).await;
    clock.advance(Duration::from_millis(2_000));
    assert_eq!(late.await.code, 19);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_at_the_end_is_never_kept_waiting() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic("t", 1, perm::READ | perm::WRITE).await;
    client.put("t", "TAGS\u{1}red\u{2}", "x").await;
    let beyond = client.pull(&waiting_pull("t", 9, "*", LONG)).await;
    assert_eq!((beyond.code, beyond.next()), (21, 1));
    let passed = client.pull(&waiting_pull("t", 0, "blue", LONG)).await;
    assert_eq!((passed.code, passed.next()), (20, 1));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_waits() {
    let rig = Rig::start().await;
    let reader = rig.client();
    reader
        .create_topic("silence", 1, perm::READ | perm::WRITE)
        .await;
    let request = waiting_pull("silence", 0, "*", LONG);
    let waiting = parked(&reader, reader.pull(&request)).await;
    let (stopped, pulled) = tokio::join!(rig.broker.shutdown(), waiting);
    stopped.expect("a clean stop");
    assert_eq!((pulled.code, pulled.next()), (19, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_connection_waits_no_more() {
    let rig = Rig::start_with(Deps::default(), |config| {
        config.management = "127.0.0.1:0".to_owned()
    })
    .await;
    let (reader, writer) = (rig.client(), rig.client());
    writer
        .create_topic("silence", 1, perm::READ | perm::WRITE)
        .await;
    let request = waiting_pull("silence", 0, "*", LONG);
    let waiting = parked(
        &reader,
        reader.try_call(rmq_protocol::code::RequestCode::PullMessage, &request, &[]),
    )
    .await;
    assert_eq!(crate::management::waiting_pulls(&rig.broker).await, 1);
    reader.0.close();
    assert!(waiting.await.is_err());
    let gone = async { while crate::management::waiting_pulls(&rig.broker).await != 0 {} };
    tokio::time::timeout(crate::support::PATIENCE, gone)
        .await
        .expect("the broker forgets it");
    writer.put("silence", "", "x").await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_message_comes_when_its_time_has_come_and_wakes_who_waits() {
    let clock = ManualClock::at(1_800_000_000_000);
    let deps = Deps {
        clock: Arc::new(clock.clone()),
        connection_clock: Arc::new(clock.clone()),
        ..Deps::default()
    };
    let rig = Rig::start_with(deps, |config| config.delay_levels = "10s 1m".to_owned()).await;
    let (reader, writer) = (rig.client(), rig.client());
    writer
        .create_topic("later", 2, perm::READ | perm::WRITE)
        .await;
    let request = waiting_pull("later", 0, "blue", 3_000_000);
    let waiting = parked(&reader, reader.pull(&request)).await;
    let sleeping = clock.sleepers();
    writer
        .send(
            &message(
                "later",
                0,
                "TAGS\u{1}blue\u{2}DELAY\u{1}1\u{2}KEYS\u{1}k\u{2}",
            ),
            b"in ten seconds",
        )
        .await
        .expect("stored");
    // Its level has seen it and sleeps until it is due.
    until("the level goes to sleep", || clock.sleepers() > sleeping).await;
    clock.advance(Duration::from_millis(9_999));
    let waiting = parked(&reader, waiting).await;
    clock.advance(Duration::from_millis(1));
    let pulled = waiting.await;
    assert_eq!(pulled.bodies(), ["in ten seconds"]);
    let record = &pulled.records[0];
    assert_eq!((record.topic.as_str(), record.queue_id), ("later", 0));
    assert_eq!(record.property(property::KEYS), Some("k"));
    assert_eq!(record.property(property::REAL_TOPIC), Some("later"));
    // A level beyond the last is the last.
    writer
        .send(&message("later", 1, "DELAY\u{1}99\u{2}"), b"in a minute")
        .await
        .expect("stored");
    let parked_there = writer.pull(&pull("SCHEDULE_TOPIC_XXXX", 1, 0)).await;
    assert_eq!(parked_there.records[0].property(property::DELAY), Some("2"));
    rig.stop().await;
}
