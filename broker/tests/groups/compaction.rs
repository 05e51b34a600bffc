//! Compaction topics over the wire: which messages they take, and what is left of them when their time is up.

use std::sync::Arc;
use std::time::Duration;

use rmq_broker::{BrokerConfig, BrokerServer, Deps};
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::message::{OffsetMessageId, batch, batch::BatchEntry, flags, property};
use rmq_protocol::requests::{
    DeleteTopicInBroker, EndTransaction, OffsetReply, Reply, SearchOffsetByTimestamp, SendMessage,
};
use rmq_transport::ManualClock;

use crate::support::{self, Client, PATIENCE, Record, Rig, message, pull, remark};

const START_MS: i64 = 1_800_000_000_000;
const COMPACTED: &str = "+cleanup.policy=COMPACTION";

fn small(config: &mut BrokerConfig) {
    config.segment_bytes = 64 << 10;
    config.retention_hours = 1;
}

fn deps(clock: &ManualClock) -> Deps {
    Deps {
        clock: Arc::new(clock.clone()),
        ..Deps::default()
    }
}

/// A broker with a compaction topic `state` and another topic.
async fn start(clock: &ManualClock) -> (Rig, Client) {
    let rig = Rig::start_with(deps(clock), small).await;
    let client = rig.client();
    let made = client.with_attributes("state", COMPACTED).await;
    assert_eq!(made.code(), 0, "{}", remark(&made));
    client.create_topic("plain", 1, 6).await;
    (rig, client)
}

fn key(key: &str) -> String {
    format!("KEYS\u{1}{key}\u{2}")
}

/// Everything that was sent so far is old, and its segments go.
async fn expire(client: &Client, clock: &ManualClock) {
    for _ in 0..4 {
        client.put("plain", "", &"x".repeat(30_000)).await;
    }
    clock.advance(Duration::from_secs(2 * 3_600));
    client.put("plain", "", &"x".repeat(30_000)).await;
    remove(client).await;
}

async fn remove(client: &Client) {
    let code = RequestCode::DeleteExpiredCommitlog;
    let removed = client.call(code, &(), &[]).await;
    assert_eq!(removed.code(), 0, "{}", remark(&removed));
}

/// The messages from the beginning of the queue on: offset and body.
async fn all(client: &Client, topic: &str) -> Vec<(i64, String)> {
    let records = records(client, topic).await;
    let found = records.iter();
    found
        .map(|record| (record.offset, record.text().to_owned()))
        .collect()
}

async fn records(client: &Client, topic: &str) -> Vec<Record> {
    let mut found = Vec::new();
    let mut next = 0;
    loop {
        let pulled = client.pull(&pull(topic, 0, next)).await;
        let fields = pulled.fields.as_ref().expect("offsets");
        let (after, end) = (fields.next_begin_offset, fields.max_offset);
        found.extend(pulled.records);
        if after >= end {
            return found;
        }
        assert!(after > next, "{after} after {next}");
        next = after;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_value_of_each_key_stays_at_its_offset() {
    let clock = ManualClock::at(START_MS);
    let (rig, client) = start(&clock).await;
    for (keys, body) in [
        ("a", "a1"),
        ("b", "b1"),
        ("a", "a2"),
        ("c", "c1"),
        ("a b", "both"),
    ] {
        client.put("state", &key(keys), body).await;
    }
    client.put("state", &key("c"), "").await;
    client.put("plain", &key("a"), "gone").await;
    let first = records(&client, "state").await;
    assert_eq!(first.len(), 6, "before its time all are there");
    assert_eq!(first[0].property(property::COMPACTED), Some("1"));
    expire(&client, &clock).await;
    let kept = [(1, "b1"), (2, "a2"), (4, "both")].map(|(at, body)| (at, body.to_owned()));
    assert_eq!(all(&client, "state").await, kept);
    assert!(
        !all(&client, "plain")
            .await
            .iter()
            .any(|(_, body)| body == "gone")
    );
    let moved = client.pull(&pull("state", 0, 0)).await;
    assert_eq!(moved.code, ResponseCode::PullOffsetMoved.as_i32());
    assert_eq!(moved.next(), 1);
    // The records are those that were there before.
    let again = records(&client, "state").await;
    assert_eq!(again[0], first[1]);
    let search = SearchOffsetByTimestamp {
        topic: "state".into(),
        queue_id: 0,
        timestamp: 0,
        boundary_type: None,
        broker_name: None,
    };
    let found = client
        .call(RequestCode::SearchOffsetByTimestamp, &search, &[])
        .await;
    let found = OffsetReply::decode(&found.header().fields);
    assert_eq!(found.expect("an offset").offset, 1);

    // Newer values take their places, and outlive a kill.
    client.put("state", &key("b"), "b2").await;
    client.put("state", &key("a b"), "").await;
    expire(&client, &clock).await;
    let kept = [(2, "a2"), (6, "b2")].map(|(at, body)| (at, body.to_owned()));
    assert_eq!(all(&client, "state").await, kept);
    let Rig { broker, folder } = rig;
    broker.kill().await;
    let mut config = support::config(folder.path());
    small(&mut config);
    let broker = BrokerServer::start(config, deps(&clock))
        .await
        .expect("starts again");
    let client = Client::to(&broker);
    assert_eq!(all(&client, "state").await, kept);

    // Nothing of a deleted topic comes back with another one of its name.
    let delete = DeleteTopicInBroker {
        topic: "state".into(),
    };
    let deleted = client
        .call(RequestCode::DeleteTopicInBroker, &delete, &[])
        .await;
    assert_eq!(deleted.code(), 0, "{}", remark(&deleted));
    client.with_attributes("state", COMPACTED).await;
    client.put("state", &key("d"), "d1").await;
    expire(&client, &clock).await;
    assert_eq!(all(&client, "state").await, [(8, "d1".to_owned())]);
    broker.shutdown().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_needs_a_key() {
    let clock = ManualClock::at(START_MS);
    let (rig, client) = start(&clock).await;
    let illegal = ResponseCode::MessageIllegal.as_i32();
    for properties in [
        "",
        "KEYS\u{1} \u{2}",
        "TAGS\u{1}a\u{2}",
        "DELAY\u{1}3\u{2}",
        "TRAN_MSG\u{1}true\u{2}",
        "__COMPACTED\u{1}1\u{2}",
    ] {
        let sent = client.send(&message("state", 0, properties), b"x").await;
        let refused = sent.expect_err(properties);
        assert_eq!(refused.code, illegal, "{properties}: {}", refused.remark);
        let words = "Required message key is missing; the topic state";
        assert!(refused.remark.starts_with(words), "{}", refused.remark);
    }
    let member = |properties| BatchEntry {
        flag: 0,
        body: b"x",
        properties,
    };
    let (with, without) = (key("a"), "TAGS\u{1}a\u{2}");
    for (second, code) in [(without, illegal), (&*with, 0)] {
        let mut body = Vec::new();
        for properties in [&*with, second] {
            batch::encode(&member(properties), &mut body).expect("valid");
        }
        let request = SendMessage {
            batch: true,
            ..message("state", 0, "")
        };
        let answer = client
            .call(RequestCode::SendBatchMessage, &request, &body)
            .await;
        assert_eq!(answer.code(), code, "{}", remark(&answer));
    }
    expire(&client, &clock).await;
    assert_eq!(all(&client, "state").await, [(1, "x".to_owned())]);
    // What says of itself that it is to be kept is not, in another topic; nor is a message twice marked.
    let forged = format!("__COMPACTED\u{1}1\u{2}{with}");
    client.put("plain", &forged, "forged").await;
    client.put("state", &forged, "again").await;
    let again = records(&client, "state").await.pop().expect("a record");
    let marks = again.properties.iter();
    let marks = marks.filter(|(name, _)| name == property::COMPACTED);
    assert_eq!(marks.count(), 1);
    let before = all(&client, "plain").await;
    assert!(before.iter().any(|(_, body)| body == "forged"));
    let plain = records(&client, "plain").await.pop().expect("a record");
    assert_eq!(plain.property(property::COMPACTED), None);
    expire(&client, &clock).await;
    let after = all(&client, "plain").await;
    assert!(!after.iter().any(|(_, body)| body == "forged"));
    assert_eq!(all(&client, "state").await, [(2, "again".to_owned())]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_counts_when_it_comes() {
    let clock = ManualClock::at(START_MS);
    let (rig, client) = start(&clock).await;
    let delayed = format!("DELAY\u{1}1\u{2}{}", key("a"));
    client.put("state", &delayed, "late").await;
    let half = format!(
        "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}producers\u{2}{}",
        key("b")
    );
    let sent = client
        .send(&message("state", 0, &half), b"committed")
        .await
        .expect("stored");
    let id: OffsetMessageId = sent.msg_id.parse().expect("an offset id");
    let end = EndTransaction {
        producer_group: "producers".into(),
        tran_state_table_offset: sent.queue_offset,
        commit_log_offset: id.position.0 as i64,
        commit_or_rollback: flags::TRANSACTION_COMMIT,
        from_transaction_check: Some(false),
        msg_id: "U1".into(),
        transaction_id: None,
        topic: Some("state".into()),
        broker_name: None,
    };
    let ended = client.call(RequestCode::EndTransaction, &end, &[]).await;
    assert_eq!(ended.code(), 0, "{}", remark(&ended));
    client.put("state", &key("a"), "early").await;
    clock.advance(Duration::from_secs(1));
    let coming = async {
        while all(&client, "state").await.len() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, coming)
        .await
        .expect("it comes");
    expire(&client, &clock).await;
    let kept = [(0, "committed"), (2, "late")].map(|(at, body)| (at, body.to_owned()));
    // The segment stays until it is noted that the message waits no more.
    let going = async {
        while all(&client, "state").await != kept {
            remove(&client).await;
        }
    };
    tokio::time::timeout(PATIENCE, going)
        .await
        .expect("it goes");
    rig.stop().await;
}

#[tokio::test]
async fn the_policy_is_said_once() {
    let rig = Rig::start().await;
    let client = rig.client();
    let refused = ResponseCode::InvalidParameter.as_i32();
    for (topic, attributes, code, words) in [
        ("state", COMPACTED, 0, ""),
        ("state", COMPACTED, 0, ""),
        ("state", "-cleanup.policy", refused, "cannot be changed"),
        (
            "state",
            "+cleanup.policy=DELETE",
            refused,
            "cannot be changed",
        ),
        ("state", "+message.type=NORMAL", 0, ""),
        ("other", "+cleanup.policy=DELETE", 0, ""),
        ("other", COMPACTED, refused, "cannot be changed"),
        (
            "third",
            "+cleanup.policy=compaction",
            refused,
            "one of DELETE, COMPACTION",
        ),
        (
            "%RETRY%g",
            COMPACTED,
            refused,
            "each retry and each dead letter",
        ),
        (
            "%DLQ%g",
            COMPACTED,
            refused,
            "each retry and each dead letter",
        ),
    ] {
        let answer = client.with_attributes(topic, attributes).await;
        let said = remark(&answer);
        assert_eq!(answer.code(), code, "{topic} {attributes}: {said}");
        assert!(said.contains(words), "{topic} {attributes}: {said}");
    }
    rig.stop().await;
}
