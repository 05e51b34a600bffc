//! A replica that is promoted is a master like one that was opened.

use std::path::Path;

use rmq_protocol::message::LogPosition;
use rmq_protocol::names;
use rmq_protocol::requests::{QueryConsumerOffset, UpdateConsumerOffset};
use rmq_replication::{End, Following, ReplicationConfig, Target};
use rmq_transport::ManualClock;
use tokio::sync::mpsc::unbounded_channel;
use tokio_util::sync::CancellationToken;

use super::support::{Client, Record, config, pull, remark, until};
use super::*;
use crate::broker::Broker;
use crate::promote::NotPromoted;

const START_MS: i64 = 1_800_000_000_000;

fn deps(clock: &ManualClock) -> Deps {
    Deps {
        clock: Arc::new(clock.clone()),
        ..Deps::default()
    }
}

fn member(dir: &Path, id: i64, delays: &str) -> BrokerConfig {
    BrokerConfig {
        broker_id: id,
        delay_levels: delays.to_owned(),
        ..config(dir)
    }
}

/// Copies from a master until `stop`, as an elected member does.
fn copy(broker: &Broker, at: String, stop: CancellationToken) -> impl Future<Output = End> + use<> {
    let following = Following {
        target: Target {
            address: at,
            member: None,
            epoch: broker.store.epoch(),
        },
        store: broker.member.follower().expect("a replica"),
        identity: broker.member.identity.clone(),
        config: ReplicationConfig::default(),
        events: unbounded_channel().0,
        followed: Arc::clone(&broker.member.followed),
    };
    rmq_replication::follow(following, stop)
}

async fn offset(client: &Client, group: &str) -> Option<i64> {
    let query = QueryConsumerOffset {
        consumer_group: group.into(),
        topic: "orders".into(),
        queue_id: 0,
        set_zero_if_not_found: Some(false),
        broker_name: None,
    };
    let answer = client
        .call(RequestCode::QueryConsumerOffset, &query, &[])
        .await;
    let fields = answer.header().fields;
    (answer.code() == 0).then(|| {
        let offset = fields.get("offset").expect("an offset");
        offset.parse().expect("a number")
    })
}

async fn commit(client: &Client, group: &str, offset: i64) {
    let update = UpdateConsumerOffset {
        consumer_group: group.into(),
        topic: "orders".into(),
        queue_id: 0,
        commit_offset: offset,
        broker_name: None,
    };
    let answer = client
        .call(RequestCode::UpdateConsumerOffset, &update, &[])
        .await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
}

async fn messages(client: &Client, queue: i32) -> Vec<String> {
    let pulled = client.pull(&pull("orders", queue, 0)).await;
    let text = |record: &Record| record.text().to_owned();
    pulled.records.iter().map(text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_replica_is_a_master_like_one_that_was_opened() {
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let clock = ManualClock::at(START_MS);
    // The replica's configuration is newer: it has one level less.
    let first = member(folders[0].path(), 0, "5s 10s");
    let first = BrokerServer::start(first, deps(&clock))
        .await
        .expect("starts");
    let client = Client::to(&first);
    client.create_topic("orders", 1, 6).await;
    client.create_group("g", |_| {}).await;

    let second = member(folders[1].path(), 1, "5s");
    let listeners = Listeners::bind(&second).await.expect("ports");
    let lives = Lives::new(listeners, second, deps(&clock))
        .await
        .expect("right");
    let (broker, _) = lives.begin(OpenAs::Follower).await.expect("a life");
    let stop = CancellationToken::new();
    let at = first.replication_addr().expect("a port").to_string();
    let copying = tokio::spawn(copy(&broker, at, stop.clone()));

    client.put("orders", "", "one").await;
    client.put("orders", "DELAY\u{1}1\u{2}", "soon").await;
    client.put("orders", "DELAY\u{1}2\u{2}", "later").await;
    commit(&client, "g", 1).await;
    // What an administrator changes is stored at once, and the offsets with the next message that saves.
    client.create_topic("orders", 4, 6).await;
    clock.advance(Duration::from_millis(2_000));
    let master = first.lives.broker().expect("a life");
    until("the replica shows all that the master has", || {
        let (there, here) = (master.store.positions(), broker.store.positions());
        broker.offsets.get("orders", "g", 0) == Some(1) && here.confirmed == there.appended
    })
    .await;
    drop(master);
    first.kill().await;

    // Somebody copies still.
    let refused = broker.promote(7).await.expect_err("not yet");
    assert!(matches!(refused, NotPromoted::Copies), "{refused}");
    stop.cancel();
    assert!(matches!(copying.await.expect("no panic"), End::Stopped));
    let start = broker.promote(7).await.expect("promoted");
    assert_eq!(start.0, broker.store.positions().confirmed);
    let again = broker.promote(8).await.expect_err("once only");
    assert!(matches!(again, NotPromoted::NoFollower), "{again}");

    let client = Client::at(&lives.listeners.addr.to_string());
    let early = client
        .send(&support::message("orders", 0, ""), b"early")
        .await;
    assert!(early.is_err(), "it has not begun to lead");
    broker.store.master().expect("promoted").replicated(None);
    broker.ready(start).await.expect("it leads");
    broker.role.set(Role::Master { epoch: 7 });
    assert_eq!(broker.role.get(), Role::Master { epoch: 7 });

    assert_eq!(client.put("orders", "", "two").await.queue_offset, 1);
    let sent = client
        .send(&support::message("orders", 3, ""), b"of queue 3")
        .await;
    assert_eq!(sent.expect("the topic has it").queue_offset, 0);
    assert_eq!(offset(&client, "g").await, Some(1));
    commit(&client, "g", 2).await;
    client.create_topic("new", 2, 6).await;
    client.put("new", "", "first").await;
    // 3 and 8 seconds are left of the delays, of the level that is not configured here too.
    clock.advance(Duration::from_millis(2_999));
    assert_eq!(messages(&client, 0).await, ["one", "two"]);
    clock.advance(Duration::from_millis(1));
    until_async("the delayed message", async || {
        messages(&client, 0).await == ["one", "two", "soon"]
    })
    .await;
    clock.advance(Duration::from_millis(5_000));
    until_async("the message of the old level", async || {
        messages(&client, 0).await == ["one", "two", "soon", "later"]
    })
    .await;
    client
        .put("orders", "DELAY\u{1}1\u{2}", "of the new master")
        .await;
    clock.advance(Duration::from_millis(5_000));
    until_async("a delayed message of the new master", async || {
        messages(&client, 0).await.len() == 5
    })
    .await;
    assert!(broker.topics.get(names::SCHEDULE_TOPIC).is_some());
    drop(broker);
    lives.end(Ending::Stop).await.expect("a clean stop");

    // Opened as a master's it has all of that.
    let (broker, _) = lives.begin(OpenAs::Master).await.expect("a life");
    let client = Client::at(&lives.listeners.addr.to_string());
    assert_eq!(offset(&client, "g").await, Some(2));
    assert_eq!(messages(&client, 0).await.len(), 5);
    assert_eq!(messages(&client, 3).await, ["of queue 3"]);
    assert_eq!(broker.delay.progress()[0].1, 2, "delivered, and not again");
    assert!(broker.topics.get("new").is_some());
    drop(broker);
    lives.end(Ending::Stop).await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_copied_and_not_confirmed_counts_before_the_first_change() {
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let clock = ManualClock::at(START_MS);
    let first = member(folders[0].path(), 0, "5s");
    let first = BrokerServer::start(first, deps(&clock))
        .await
        .expect("starts");
    let second = member(folders[1].path(), 1, "5s");
    let listeners = Listeners::bind(&second).await.expect("ports");
    let lives = Lives::new(listeners, second, deps(&clock))
        .await
        .expect("right");
    let (broker, _) = lives.begin(OpenAs::Follower).await.expect("a life");
    // It is confirmed nowhere, as with a replica that has not answered.
    let master = first.lives.broker().expect("a life");
    let master = master.store.master().expect("a master").clone();
    master.replicated(Some(LogPosition(master.positions().confirmed)));
    let client = Client::to(&first);
    let waits = tokio::spawn(async move { client.create_topic("orders", 4, 6).await });
    until("the change is in the log", || {
        master.positions().appended > master.positions().confirmed
    })
    .await;
    let stop = CancellationToken::new();
    let at = first.replication_addr().expect("a port").to_string();
    let copying = tokio::spawn(copy(&broker, at, stop.clone()));
    until("the replica has it", || {
        broker.store.positions().written == master.positions().appended
    })
    .await;
    stop.cancel();
    copying.await.expect("no panic");
    waits.abort();

    let start = broker.promote(7).await.expect("promoted");
    let leads = tokio::spawn({
        let broker = Arc::clone(&broker);
        async move { broker.ready(start).await }
    });
    assert!(broker.topics.get("orders").is_none());
    assert!(!broker.role.is_master());
    broker
        .store
        .master()
        .expect("promoted")
        .replicated(Some(start));
    leads.await.expect("no panic").expect("it leads");
    let orders = broker.topics.get("orders").expect("the topic counts");
    assert_eq!(orders.config.read_queue_nums, 4);
    drop(broker);
    lives.end(Ending::Kill).await.expect("nothing to write");
    first.kill().await;
}

async fn until_async(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(support::PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("this did not happen: {what}"));
}
