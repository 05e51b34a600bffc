//! Pulling: what is found, where it goes on, and every way to be refused.

use rmq_broker::{BrokerConfig, Deps};
use rmq_protocol::bodies::{ConsumerData, HeartbeatData, MessageModel, SubscriptionData};
use rmq_protocol::code::RequestCode;
use rmq_protocol::message::tag_hash;
use rmq_protocol::requests::{OffsetReply, PullMessage, QueryConsumerOffset, Reply, pull_flag};
use rmq_protocol::route::perm;

use crate::support::{Client, Rig, message, pull, remark};

async fn ten(client: &Client, topic: &str) {
    client
        .create_topic(topic, 1, perm::READ | perm::WRITE)
        .await;
    for number in 0..10 {
        let tag = if number % 3 == 0 {
            "TAGS\u{1}three\u{2}"
        } else {
            "TAGS\u{1}other\u{2}"
        };
        client.put(topic, tag, &number.to_string()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_says_where_it_goes_on() {
    let rig = Rig::start().await;
    let client = rig.client();
    ten(&client, "t").await;
    // Offset asked, at most, and then: code, status, messages, next offset.
    let cases: [(i64, i32, i32, &str, usize, i64); 7] = [
        (0, 32, 0, "FOUND", 10, 10),
        (4, 3, 0, "FOUND", 3, 7),
        (9, 32, 0, "FOUND", 1, 10),
        (10, 32, 19, "OFFSET_OVERFLOW_ONE", 0, 10),
        (11, 32, 21, "OFFSET_OVERFLOW_BADLY", 0, 10),
        (i64::MAX, 32, 21, "OFFSET_OVERFLOW_BADLY", 0, 10),
        (0, 0, 0, "FOUND", 1, 1),
    ];
    for (offset, most, code, status, messages, next) in cases {
        let pulled = client
            .pull(&PullMessage {
                max_msg_nums: most,
                ..pull("t", 0, offset)
            })
            .await;
        assert_eq!(
            (
                pulled.code,
                pulled.remark.as_str(),
                pulled.records.len(),
                pulled.next()
            ),
            (code, status, messages, next),
            "offset {offset}"
        );
        let fields = pulled.fields.expect("fields");
        assert_eq!(
            (
                fields.min_offset,
                fields.max_offset,
                fields.suggest_which_broker_id
            ),
            (0, 10, 0)
        );
        assert_eq!(
            (fields.topic_sys_flag, fields.group_sys_flag),
            (Some(0), Some(0))
        );
    }
    client
        .create_topic("empty", 1, perm::READ | perm::WRITE)
        .await;
    let empty = client.pull(&pull("empty", 0, 0)).await;
    assert_eq!((empty.code, empty.next()), (19, 0));
    let beyond = client.pull(&pull("empty", 0, 5)).await;
    assert_eq!((beyond.code, beyond.next()), (21, 0));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_stay_within_the_bytes_asked_for_and_give_one_message_at_least() {
    let rig = Rig::start().await;
    let client = rig.client();
    client
        .create_topic("big", 1, perm::READ | perm::WRITE)
        .await;
    for _ in 0..5 {
        client
            .send(&message("big", 0, ""), &[b'x'; 10_000])
            .await
            .expect("stored");
    }
    for (bytes, messages) in [(1, 1), (25_000, 2), (1 << 20, 5)] {
        let pulled = client
            .pull(&PullMessage {
                max_msg_bytes: Some(bytes),
                ..pull("big", 0, 0)
            })
            .await;
        assert_eq!(pulled.records.len(), messages, "{bytes} bytes");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_filtered_here_and_the_offset_passes_what_did_not_match() {
    let rig = Rig::start().await;
    let client = rig.client();
    ten(&client, "t").await;
    let with = |tags: &'static str| PullMessage {
        subscription: Some(tags.into()),
        ..pull("t", 0, 0)
    };
    assert_eq!(
        client.pull(&with("three")).await.bodies(),
        ["0", "3", "6", "9"]
    );
    assert_eq!(client.pull(&with("three || other")).await.records.len(), 10);
    let none = client.pull(&with("nothing")).await;
    assert_eq!(
        (none.code, none.remark.as_str(), none.next()),
        (20, "NO_MATCHED_MESSAGE", 10)
    );
    let lite = client
        .call(RequestCode::LitePullMessage, &with("three"), &[])
        .await;
    assert_eq!(crate::support::Pulled::of(&lite).records.len(), 4);
    rig.stop().await;
}

fn beat(
    client_id: &str,
    group: &str,
    model: MessageModel,
    subscriptions: Vec<SubscriptionData>,
) -> Vec<u8> {
    HeartbeatData {
        client_id: client_id.to_owned(),
        consumer_data_set: vec![ConsumerData {
            group_name: group.to_owned(),
            message_model: model,
            subscription_data_set: subscriptions,
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    }
    .to_json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_without_expression_uses_what_the_heartbeat_said() {
    let rig = Rig::start().await;
    let client = rig.client();
    ten(&client, "t").await;
    let plain = |version| PullMessage {
        sys_flag: 0,
        subscription: None,
        sub_version: version,
        ..pull("t", 0, 0)
    };
    let unknown = client.pull(&plain(0)).await;
    assert_eq!(unknown.code, 24, "{unknown:?}");

    let answer = client
        .call(
            RequestCode::HeartBeat,
            &(),
            &beat(
                "one",
                "readers",
                MessageModel::Clustering,
                vec![SubscriptionData::tags("t", "three", 5)],
            ),
        )
        .await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
    assert_eq!(client.pull(&plain(5)).await.bodies(), ["0", "3", "6", "9"]);
    // A newer subscription whose heartbeat is still to come gets everything: the client compares the tags itself.
    assert_eq!(client.pull(&plain(6)).await.records.len(), 10);
    let other = client
        .pull(&PullMessage {
            topic: "TBW102".into(),
            ..plain(5)
        })
        .await;
    assert_eq!(other.code, 24, "{other:?}");
    assert_eq!(
        SubscriptionData::tags("t", "three", 5)
            .code_set
            .iter()
            .map(|code| i64::from(*code))
            .collect::<Vec<_>>(),
        [tag_hash("three")]
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_pulled_is_refused_with_its_code() {
    let rig = Rig::start().await;
    let client = rig.client();
    ten(&client, "t").await;
    client.create_topic("write-only", 1, perm::WRITE).await;
    client
        .create_group("disabled", |group| group.consume_enable = false)
        .await;
    client
        .create_group("no-broadcast", |group| {
            group.consume_broadcast_enable = false
        })
        .await;
    client
        .call(
            RequestCode::HeartBeat,
            &(),
            &beat(
                "one",
                "no-broadcast",
                MessageModel::Broadcasting,
                vec![SubscriptionData::tags("t", "*", 1)],
            ),
        )
        .await;
    let from = |group: &'static str| PullMessage {
        consumer_group: group.into(),
        ..pull("t", 0, 0)
    };
    let cases: [(&str, PullMessage<'_>, i32, &str); 9] = [
        ("unknown topic", pull("none", 0, 0), 17, "none"),
        ("queue that is not there", pull("t", 1, 0), 29, "queueId[1]"),
        ("negative queue", pull("t", -1, 0), 29, "queueId[-1]"),
        (
            "topic that cannot be read",
            pull("write-only", 0, 0),
            16,
            "write-only",
        ),
        (
            "group that may not consume",
            from("disabled"),
            16,
            "disabled",
        ),
        (
            "group that may not broadcast",
            PullMessage {
                sys_flag: 0,
                subscription: None,
                ..from("no-broadcast")
            },
            16,
            "broadcast",
        ),
        ("name of the group", from("no spaces"), 29, "no spaces"),
        (
            "SQL",
            PullMessage {
                expression_type: Some("SQL92".into()),
                subscription: Some("a > ".into()),
                ..pull("t", 0, 0)
            },
            23,
            "at character 5, the end: expected a value",
        ),
        (
            "class filter",
            PullMessage {
                sys_flag: pull_flag::SUBSCRIPTION | pull_flag::CLASS_FILTER,
                ..pull("t", 0, 0)
            },
            1,
            "class filters",
        ),
    ];
    for (name, request, code, says) in cases {
        let pulled = client.pull(&request).await;
        assert_eq!(pulled.code, code, "{name}: {pulled:?}");
        assert!(pulled.remark.contains(says), "{name}: {pulled:?}");
    }
    rig.stop().await;

    let strict = Rig::start_with(Deps::default(), |config: &mut BrokerConfig| {
        config.auto_create_subscription_group = false
    })
    .await;
    let pulled = strict.client().pull(&pull("TBW102", 0, 0)).await;
    assert_eq!(pulled.code, 26, "{pulled:?}");
    strict.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_can_commit_an_offset() {
    let rig = Rig::start().await;
    let client = rig.client();
    ten(&client, "t").await;
    let query = QueryConsumerOffset {
        consumer_group: "readers".into(),
        topic: "t".into(),
        queue_id: 0,
        set_zero_if_not_found: Some(false),
        broker_name: None,
    };
    let before = client
        .call(RequestCode::QueryConsumerOffset, &query, &[])
        .await;
    assert_eq!(before.code(), 22, "{}", remark(&before));
    client
        .pull(&PullMessage {
            sys_flag: pull_flag::SUBSCRIPTION | pull_flag::COMMIT_OFFSET,
            commit_offset: 6,
            ..pull("t", 0, 7)
        })
        .await;
    let after = client
        .call(RequestCode::QueryConsumerOffset, &query, &[])
        .await;
    assert_eq!(
        OffsetReply::decode(&after.header().fields)
            .expect("an offset")
            .offset,
        6
    );
    rig.stop().await;
}
