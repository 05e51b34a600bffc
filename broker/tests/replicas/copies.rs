//! Replicas have what their master has, and answer as the original's slaves do.

use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::header::FieldSource;
use rmq_protocol::requests::{PullMessage, pull_flag};
use serde_json::Value;

use crate::rig::{Group, Member, Wire, eventually};
use crate::support::{Client, message, pull, remark};

/// What an administrator is told, without what counts for itself at each broker.
async fn told(client: &Client, code: RequestCode, fields: &(dyn FieldSource + Sync)) -> Value {
    let frame = client.call(code, fields, &[]).await;
    assert_eq!(frame.code(), 0, "{code}: {}", remark(&frame));
    let mut body: Value = match &frame.body()[..] {
        [] => Value::Null,
        body => serde_json::from_slice(body).expect("JSON"),
    };
    if let Some(fields) = body.as_object_mut() {
        fields.remove("dataVersion");
    }
    let fields: Vec<String> = frame
        .header()
        .fields
        .iter()
        .map(|(name, value)| format!("{name}={}", value.to_cow()))
        .collect();
    serde_json::json!([body, fields])
}

/// All that clients and tools ask for, of messages from an offset on.
pub(crate) async fn answers(member: &Member, from: i64) -> Vec<Value> {
    let client = member.client();
    let mut all = Vec::new();
    for code in [
        RequestCode::GetAllTopicConfig,
        RequestCode::GetAllSubscriptiongroupConfig,
        RequestCode::GetAllConsumerOffset,
        RequestCode::GetAllDelayOffset,
    ] {
        all.push(told(&client, code, &()).await);
    }
    for queue in ["0", "1"] {
        let of = [("topic", "orders"), ("queueId", queue)];
        for code in [
            RequestCode::GetMaxOffset,
            RequestCode::GetMinOffset,
            RequestCode::GetEarliestMsgStoretime,
        ] {
            all.push(told(&client, code, &of).await);
        }
        let at = [
            ("topic", "orders"),
            ("queueId", queue),
            ("timestamp", "9999999999999"),
        ];
        all.push(told(&client, RequestCode::SearchOffsetByTimestamp, &at).await);
    }
    let key = [
        ("topic", "orders"),
        ("key", "k7"),
        ("maxNum", "10"),
        ("beginTimestamp", "0"),
        ("endTimestamp", "9999999999999"),
    ];
    let found = client.call(RequestCode::QueryMessage, &key, &[]).await;
    assert_eq!(found.code(), 0, "{}", remark(&found));
    all.push(found.body().to_vec().into());
    for queue in [0, 1] {
        let pulled = client.pull(&pull("orders", queue, from)).await;
        assert_eq!(pulled.code, 0, "{}", pulled.remark);
        all.push(format!("{:?}", pulled.records).into());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_have_what_their_master_has_and_say_what_it_says() {
    let group = Group::start(2, |_| {}).await;
    let master = group.master.client();
    master.create_topic("orders", 2, 6).await;
    master.create_topic("gone", 1, 6).await;
    master.create_group("readers", |_| {}).await;
    for number in 0..20 {
        let properties = format!("KEYS\u{1}k{number}\u{2}");
        let sent = message("orders", number % 2, &properties);
        master.send(&sent, b"a message").await.expect("stored");
    }
    let delayed = "DELAY\u{1}18\u{2}";
    master.put("orders", delayed, "later").await;
    master.put("gone", "", "lost").await;
    let gone = [("topic", "gone")];
    let deleted = master.call(RequestCode::DeleteTopicInBroker, &gone, &[]);
    assert_eq!(deleted.await.code(), 0);
    let progress = [
        ("topic", "orders"),
        ("consumerGroup", "readers"),
        ("queueId", "1"),
        ("commitOffset", "5"),
    ];
    let update = master.call(RequestCode::UpdateConsumerOffset, &progress, &[]);
    assert_eq!(update.await.code(), 0);
    // It is in the log within a second.
    eventually("the offset is copied", async || {
        let client = group.replicas[0].client();
        let offsets = told(&client, RequestCode::GetAllConsumerOffset, &()).await;
        offsets.to_string().contains("orders@readers")
    })
    .await;
    group.caught_up().await;

    let wanted = answers(&group.master, 0).await;
    for replica in &group.replicas {
        assert_eq!(answers(replica, 0).await, wanted);
    }
    let info = group.replicas[1].copying().await;
    assert!(!info.master);
    assert_eq!(group.master.copying().await.ha_connection_info.len(), 2);

    // What changes something is for the master.
    let replica = group.replicas[0].client();
    let refused = replica.send(&message("orders", 0, ""), b"no").await;
    let refused = refused.expect_err("a replica takes no messages");
    assert_eq!(refused.code, ResponseCode::SystemBusy.as_i32());
    assert!(refused.remark.contains("master"), "{}", refused.remark);
    for (code, fields) in [
        (RequestCode::DeleteTopicInBroker, [("topic", "orders")]),
        (
            RequestCode::DeleteSubscriptiongroup,
            [("groupName", "readers")],
        ),
    ] {
        let answer = replica.call(code, &fields, &[]).await;
        assert_eq!(answer.code(), ResponseCode::SystemError.as_i32(), "{code}");
    }
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_read_while_its_master_is_away_and_judges_nothing() {
    let mut group = Group::start(1, |_| {}).await;
    let master = group.master.client();
    for text in ["one", "two"] {
        master.put("orders", "", text).await;
    }
    group.caught_up().await;
    let replica = group.replicas[0].client();
    let waiting = |offset| PullMessage {
        sys_flag: pull_flag::SUBSCRIPTION | pull_flag::SUSPEND,
        suspend_timeout_millis: 50,
        ..pull("orders", 0, offset)
    };

    // The master is there: who is at the end of the replica asks the master, and waits there.
    let pulled = replica.pull(&waiting(2)).await;
    assert_eq!(pulled.code, ResponseCode::PullRetryImmediately.as_i32());
    assert_eq!(pulled.next(), 2);
    let fields = pulled.fields.expect("an answer with fields");
    assert_eq!(fields.suggest_which_broker_id, 0);

    let wire = group.replicas[0].wire.take().expect("a wire");
    let stopped = group.master.stop(true).await;
    wire.set(Wire::Cut);
    eventually("the replica knows", async || {
        let info = group.replicas[0].copying().await;
        info.ha_client_runtime_info.master_addr.is_none()
    })
    .await;
    let pulled = replica.pull(&pull("orders", 0, 0)).await;
    assert_eq!(pulled.bodies(), ["one", "two"]);
    // A consumer that has read more than this replica has keeps its place (alibaba/rocketmq #395).
    for offset in [2, 1_000] {
        let pulled = replica.pull(&waiting(offset)).await;
        assert_eq!(pulled.code, ResponseCode::PullNotFound.as_i32(), "{offset}");
        assert_eq!(pulled.next(), offset);
    }

    // The master is back, and continues where it was.
    let back = Member::start(stopped).await;
    wire.lead_to(back.broker.replication_addr().expect("a port"));
    wire.set(Wire::Whole);
    back.client().put("orders", "", "three").await;
    group.replicas[0].wire = Some(wire);
    let group = Group {
        master: back,
        replicas: group.replicas,
    };
    group.caught_up().await;
    let pulled = group.replicas[0].client().pull(&pull("orders", 0, 0)).await;
    assert_eq!(pulled.bodies(), ["one", "two", "three"]);
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_may_not_be_read_says_so() {
    let group = Group::start(1, |config| config.slave_read_enable = false).await;
    group.master.client().put("orders", "", "one").await;
    group.caught_up().await;
    let pulled = group.replicas[0].client().pull(&pull("orders", 0, 0)).await;
    assert_eq!(pulled.code, ResponseCode::SystemBusy.as_i32());
    assert!(
        pulled.remark.contains("slaveReadEnable"),
        "{}",
        pulled.remark
    );
    group.stop().await;
}

/// A consumer that reads what is not in memory is sent to a replica in sync, and back when it has caught up.
#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_are_sent_to_a_replica_in_sync() {
    let group = Group::start(1, |config| config.memory_read_ratio = 0.0).await;
    let master = group.master.client();
    for text in ["one", "two"] {
        master.put("orders", "", text).await;
    }
    group.in_sync(1).await;
    group.caught_up().await;
    let suggested = async |client: &Client, max: i32| {
        let request = PullMessage {
            max_msg_nums: max,
            ..pull("orders", 0, 0)
        };
        let fields = client.pull(&request).await.fields.expect("fields");
        fields.suggest_which_broker_id
    };
    let replica = group.replicas[0].client();
    assert_eq!(
        suggested(&master, 1).await,
        1,
        "whichBrokerWhenConsumeSlowly"
    );
    assert_eq!(suggested(&replica, 1).await, 1, "more is behind it");

    // A replica that is not in sync is suggested to nobody.
    group.replicas[0]
        .wire
        .as_ref()
        .expect("a wire")
        .set(Wire::Cut);
    group.in_sync(0).await;
    assert_eq!(suggested(&master, 1).await, 0);
    group.stop().await;
}
