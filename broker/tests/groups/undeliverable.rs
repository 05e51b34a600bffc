//! Settings of groups, topics and the broker with which a message could be acknowledged and then never reach anybody: each is refused,
//! or told and counted, or the message arrives anyway. Nothing waits for real. Budget: 5 s.

use std::sync::Arc;
use std::time::Duration;

use rmq_broker::{BrokerServer, Deps};
use rmq_protocol::bodies::{SubscriptionGroupConfig, TopicStatsTable};
use rmq_protocol::code::RequestCode;
use rmq_protocol::header::FieldSource;
use rmq_protocol::requests::{DeleteTopicInBroker, GetTopicStatsInfo, UpdateAndCreateTopic};
use rmq_store::fs::RealFs;
use rmq_store::{Change, Master, StoreConfig, Table, TableId};
use rmq_transport::{ManualClock, OwnedFrame};

use crate::retries::{comes_again, give_back, position};
use crate::support::{Client, PATIENCE, Rig, config, message, pull, remark};

async fn put_group(
    client: &Client,
    change: impl FnOnce(&mut SubscriptionGroupConfig),
) -> OwnedFrame {
    let mut config = SubscriptionGroupConfig::new("g");
    change(&mut config);
    let code = RequestCode::UpdateAndCreateSubscriptiongroup;
    client.call(code, &(), &config.to_json()).await
}

async fn put_topic(client: &Client, read: i32, write: i32, perm: i32) -> String {
    let request = UpdateAndCreateTopic {
        topic: "t".into(),
        default_topic: None,
        read_queue_nums: read,
        write_queue_nums: write,
        perm,
        topic_filter_type: None,
        topic_sys_flag: None,
        order: None,
        attributes: None,
        force: None,
    };
    let code = RequestCode::UpdateAndCreateTopic;
    let answer = client.call(code, &request, &[]).await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
    remark(&answer)
}

async fn done(client: &Client, code: RequestCode, fields: &(dyn FieldSource + Sync)) -> OwnedFrame {
    let answer = client.call(code, fields, &[]).await;
    assert_eq!(answer.code(), 0, "{code}: {}", remark(&answer));
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_without_retry_queues_is_refused() {
    let rig = Rig::start_with(Deps::default(), |config| config.queues_per_topic_max = 8).await;
    let client = rig.client();
    for queues in [0, -1, 9] {
        let answer = put_group(&client, |config| config.retry_queue_nums = queues).await;
        let text = remark(&answer);
        assert_eq!(answer.code(), 29, "{text}");
        assert!(
            text.contains("retryQueueNums") && text.contains(&format!("is {queues};")),
            "{text}"
        );
    }
    let answer = put_group(&client, |config| config.retry_queue_nums = 8).await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_an_earlier_version_without_retry_queues_loses_nothing() {
    /// The number of the table in the disk format.
    const GROUPS: TableId = TableId::new(2);
    let folder = tempfile::tempdir().expect("a folder");
    let settings = StoreConfig {
        segment_bytes: 16 << 20,
        tables: vec![Table::values(GROUPS, "groups")],
        ..StoreConfig::new(folder.path())
    };
    let (store, _) = Master::open(settings, Arc::new(RealFs)).expect("an empty store");
    let mut old = SubscriptionGroupConfig::new("g");
    old.retry_queue_nums = 0;
    let stored = serde_json::json!({ "config": old })
        .to_string()
        .into_bytes();
    let change = Change::set(GROUPS, "g", stored);
    store
        .settings()
        .put_and_wait(&[change])
        .await
        .expect("stored");
    store.close().expect("closed");

    let broker = BrokerServer::start(config(folder.path()), Deps::default())
        .await
        .expect("it opens");
    let client = Client::to(&broker);
    client.create_topic("t", 1, 6).await;
    client.create_group("readers", |_| {}).await;
    client.put("t", "", "hard").await;
    let first = position(&client, "t", 0).await;
    assert_eq!(give_back(&client, "g", first, 0, None).await, 0);
    let dead = client.pull(&pull("%DLQ%g", 0, 0)).await;
    assert_eq!(dead.bodies(), ["hard"]);
    broker.shutdown().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_that_are_written_and_not_read_are_told_and_counted() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_group("readers", |_| {}).await;
    for (read, write, perm, queues) in [
        (1, 3, 6, Some("queues 1 to 2")),
        (2, 2, 2, Some("queues 0 to 1")),
        (3, 3, 4, None),
        (3, 2, 6, None),
    ] {
        let said = put_topic(&client, read, write, perm).await;
        match queues {
            Some(queues) => assert!(said.contains(queues) && said.contains("topic t"), "{said}"),
            None => assert!(!said.contains("cannot be read"), "{said}"),
        }
    }
    put_topic(&client, 1, 2, 6).await;
    client
        .send(&message("t", 1, ""), b"hidden")
        .await
        .expect("the original takes it too");
    let request = GetTopicStatsInfo { topic: "t".into() };
    let answer = done(&client, RequestCode::GetTopicStatsInfo, &request).await;
    let stats = TopicStatsTable::from_json(answer.body()).expect("statistics");
    assert_eq!(stats.unreadable_messages, 1);
    assert_eq!(client.pull(&pull("t", 1, 0)).await.code, 29);
    put_topic(&client, 2, 2, 6).await;
    assert_eq!(client.pull(&pull("t", 1, 0)).await.bodies(), ["hidden"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_may_not_consume_is_told_so_and_misses_nothing() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    client
        .create_group("readers", |config| config.consume_enable = false)
        .await;
    client.put("t", "", "kept").await;
    let refused = client.pull(&pull("t", 0, 0)).await;
    assert_eq!(refused.code, 16);
    assert!(refused.remark.contains("readers"), "{}", refused.remark);
    client.create_group("readers", |_| {}).await;
    assert_eq!(client.pull(&pull("t", 0, 0)).await.bodies(), ["kept"]);
    // As many attempts as nobody has: the first failure is the last, and the message is kept.
    for attempts in [0, -1, i32::MIN] {
        let group = format!("g{attempts}").replace("g-", "g_");
        client
            .create_group(&group, |config| config.retry_max_times = attempts)
            .await;
        let first = position(&client, "t", 0).await;
        assert_eq!(give_back(&client, &group, first, 0, None).await, 0);
        let dead = client.pull(&pull(&format!("%DLQ%{group}"), 0, 0)).await;
        assert_eq!(dead.bodies(), ["kept"], "{attempts}");
    }
    rig.stop().await;
}

fn clocked(clock: &ManualClock) -> Deps {
    Deps {
        clock: Arc::new(clock.clone()),
        connection_clock: Arc::new(clock.clone()),
        ..Deps::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_were_lowered_hold_no_message_back() {
    let clock = ManualClock::at(1_700_000_000_000);
    let rig = Rig::start_with(clocked(&clock), |_| {}).await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    client.create_group("readers", |_| {}).await;
    client
        .create_group("g", |config| config.retry_queue_nums = 8)
        .await;
    let large = "x".repeat(1 << 20);
    client.put("t", "", &large).await;
    client.put("t", "DELAY\u{1}1\u{2}", &large).await;
    let folder = rig.folder;
    rig.broker.shutdown().await.expect("a clean stop");

    let mut lower = config(folder.path());
    lower.max_message_bytes = 1_000;
    lower.pull_bytes_max = 4_096;
    lower.queues_per_topic_max = 4;
    lower.delay_levels = "1s".to_owned();
    lower.topics_max = 1;
    let broker = BrokerServer::start(lower, clocked(&clock))
        .await
        .expect("it opens");
    let client = Client::to(&broker);
    let refused = client.send(&message("t", 0, ""), large.as_bytes()).await;
    assert_eq!(refused.expect_err("beyond the limit").code, 13);
    // Both come, however large.
    assert_eq!(
        client.pull(&pull("t", 0, 0)).await.bodies(),
        [large.as_str()]
    );
    let (delayed, _) = comes_again(&client, &clock, "t", 1, Duration::from_secs(1)).await;
    assert_eq!(delayed.body.len(), large.len());
    // No room for a retry topic, so the consumer keeps the message and hears why.
    let first = position(&client, "t", 0).await;
    assert_eq!(give_back(&client, "g", first, 1, None).await, 1);
    broker.shutdown().await.expect("a clean stop");

    let mut lower = config(folder.path());
    lower.max_message_bytes = 1_000;
    lower.queues_per_topic_max = 4;
    let broker = BrokerServer::start(lower, clocked(&clock))
        .await
        .expect("it opens");
    let client = Client::to(&broker);
    assert_eq!(give_back(&client, "g", first, 1, None).await, 0);
    let coming = async {
        loop {
            for queue in 0..4 {
                let came = client.pull(&pull("%RETRY%g", queue, 0)).await;
                assert_ne!(came.code, 29, "{}", came.remark);
                if !came.records.is_empty() {
                    return;
                }
            }
            // Only when the level's task sleeps on the clock can time bring the message.
            if clock.sleepers() > 0 {
                clock.advance(Duration::from_millis(500));
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, coming)
        .await
        .expect("it comes in one of as many queues as are allowed");
    broker.shutdown().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_topic_that_is_deleted() {
    let clock = ManualClock::at(1_700_000_000_000);
    let rig = Rig::start_with(clocked(&clock), |_| {}).await;
    let client = rig.client();
    for topic in ["t", "other"] {
        client.create_topic(topic, 1, 6).await;
    }
    client.create_group("readers", |_| {}).await;
    client.create_group("g", |_| {}).await;
    client.put("t", "", "given back").await;
    let first = position(&client, "t", 0).await;
    assert_eq!(give_back(&client, "g", first, 2, None).await, 0);
    client.put("t", "DELAY\u{1}1\u{2}", "delayed").await;
    let delete = DeleteTopicInBroker { topic: "t".into() };
    done(&client, RequestCode::DeleteTopicInBroker, &delete).await;
    // A retry belongs to the group.
    let (again, _) = comes_again(&client, &clock, "%RETRY%g", 0, Duration::from_secs(1)).await;
    assert_eq!(again.text(), "given back");
    // A delayed message belongs to the topic, and is gone with it: counted.
    let answer = done(&client, RequestCode::GetBrokerRuntimeInfo, &()).await;
    let table = rmq_protocol::bodies::KvTable::from_json(answer.body()).expect("figures");
    assert_eq!(
        table
            .table
            .get("delayedMessagesDropped")
            .map(String::as_str),
        Some("1")
    );
    rig.stop().await;
}
