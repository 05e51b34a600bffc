//! What is taken away while a pull waits: it gets no message any more.

use std::sync::Arc;
use std::time::Duration;

use rmq_broker::Deps;
use rmq_protocol::bodies::{ConsumerData, HeartbeatData, MessageModel, SubscriptionData};
use rmq_protocol::code::RequestCode;
use rmq_protocol::requests::{
    DeleteSubscriptionGroup, DeleteTopicInBroker, PullMessage, UnregisterClient,
    UpdateAndCreateTopic, UpdateAndGetGroupForbidden, pull_flag,
};
use rmq_transport::ManualClock;

use crate::support::{Client, Pulled, Rig, message, parked, remark, waiting_pull};

const LONG: i64 = 100_000;

async fn done(
    client: &Client,
    code: RequestCode,
    fields: &(dyn rmq_protocol::header::FieldSource + Sync),
    body: &[u8],
) {
    let answer = client.call(code, fields, body).await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
}

async fn beat(
    client: &Client,
    group: &str,
    topic: &str,
    tags: &str,
    version: i64,
    model: MessageModel,
) {
    let data = HeartbeatData {
        client_id: "one".to_owned(),
        consumer_data_set: vec![ConsumerData {
            group_name: group.to_owned(),
            message_model: model,
            subscription_data_set: vec![SubscriptionData::tags(topic, tags, version)],
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    };
    done(client, RequestCode::HeartBeat, &(), &data.to_json()).await;
}

async fn queues(client: &Client, topic: &str, read: i32, perm: i32) {
    let request = UpdateAndCreateTopic {
        topic: topic.to_owned().into(),
        default_topic: None,
        read_queue_nums: read,
        write_queue_nums: 2,
        perm,
        topic_filter_type: None,
        topic_sys_flag: None,
        order: None,
        attributes: None,
        force: None,
    };
    done(client, RequestCode::UpdateAndCreateTopic, &request, &[]).await;
}

/// The answer has this code and so many messages.
#[track_caller]
fn assert_answer(pulled: &Pulled, code: i32, messages: usize) {
    assert_eq!(
        (pulled.code, pulled.records.len()),
        (code, messages),
        "{}",
        pulled.remark
    );
}

/// A pull of queue 1 by group `g` waits, `change` happens, a message comes.
async fn woken_after(
    topic: &str,
    subscribed: Option<MessageModel>,
    change: impl AsyncFnOnce(&Client, &Client),
) -> Pulled {
    let rig = Rig::start().await;
    let (reader, admin) = (rig.client(), rig.client());
    queues(&admin, topic, 2, 6).await;
    admin.create_group("g", |_| {}).await;
    if let Some(model) = subscribed {
        beat(&reader, "g", topic, "A", 1, model).await;
    }
    let mut request = PullMessage {
        consumer_group: "g".into(),
        queue_id: 1,
        ..waiting_pull(topic, 0, "*", LONG)
    };
    if subscribed.is_some() {
        request.sys_flag = pull_flag::SUSPEND;
        request.sub_version = 1;
    }
    let waiting = parked(&reader, reader.pull(&request)).await;
    change(&admin, &reader).await;
    admin
        .send(&message(topic, 1, "TAGS\u{1}A\u{2}"), b"secret")
        .await
        .expect("stored");
    let pulled = waiting.await;
    rig.stop().await;
    pulled
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_changed_and_the_message_comes() {
    let pulled = woken_after("t", None, async |_, _| {}).await;
    assert_eq!(pulled.bodies(), ["secret"]);
    let pulled = woken_after("t", Some(MessageModel::Clustering), async |_, _| {}).await;
    assert_eq!(pulled.bodies(), ["secret"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_from_the_group_holds_for_a_pull_that_waits() {
    let pulled = woken_after("t", None, async |admin, _| {
        let request = UpdateAndGetGroupForbidden {
            group: "g".into(),
            topic: "t".into(),
            readable: Some(false),
        };
        done(
            admin,
            RequestCode::UpdateAndGetGroupForbidden,
            &request,
            &[],
        )
        .await;
    })
    .await;
    assert_answer(&pulled, 16, 0);
    let pulled = woken_after("t", None, async |admin, _| {
        admin
            .create_group("g", |config| config.consume_enable = false)
            .await;
    })
    .await;
    assert_answer(&pulled, 16, 0);
    let pulled = woken_after("t", None, async |admin, _| {
        let request = DeleteSubscriptionGroup {
            group_name: "g".into(),
            clean_offset: None,
        };
        done(admin, RequestCode::DeleteSubscriptiongroup, &request, &[]).await;
    })
    .await;
    assert_answer(&pulled, 26, 0);
    let pulled = woken_after("t", Some(MessageModel::Broadcasting), async |admin, _| {
        admin
            .create_group("g", |config| config.consume_broadcast_enable = false)
            .await;
    })
    .await;
    assert_answer(&pulled, 16, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_from_topic_or_broker_holds_for_a_pull_that_waits() {
    let pulled = woken_after("t", None, async |admin, _| queues(admin, "t", 2, 2).await).await;
    assert_answer(&pulled, 16, 0);
    let pulled = woken_after("t", None, async |admin, _| queues(admin, "t", 1, 6).await).await;
    assert_answer(&pulled, 29, 0);
    let pulled = woken_after("t", None, async |admin, _| {
        done(
            admin,
            RequestCode::UpdateBrokerConfig,
            &(),
            b"brokerPermission=2\n",
        )
        .await;
    })
    .await;
    assert_answer(&pulled, 16, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_gone_or_changed_holds_for_a_pull_that_waits() {
    let clustering = Some(MessageModel::Clustering);
    let pulled = woken_after("t", clustering, async |_, reader| {
        let request = UnregisterClient {
            client_id: "one".into(),
            producer_group: None,
            consumer_group: Some("g".into()),
        };
        done(reader, RequestCode::UnregisterClient, &request, &[]).await;
    })
    .await;
    assert_answer(&pulled, 24, 0);
    let pulled = woken_after("t", clustering, async |_, reader| {
        beat(reader, "g", "others", "*", 2, MessageModel::Clustering).await;
    })
    .await;
    assert_answer(&pulled, 24, 0);
    let pulled = woken_after("t", clustering, async |_, reader| {
        beat(reader, "g", "t", "B", 2, MessageModel::Clustering).await;
    })
    .await;
    assert_answer(&pulled, 20, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_is_said_when_the_time_is_up() {
    let clock = ManualClock::at(1_000_000);
    let deps = Deps {
        clock: Arc::new(clock.clone()),
        ..Deps::default()
    };
    let rig = Rig::start_with(deps, |_| {}).await;
    let (reader, admin) = (rig.client(), rig.client());
    admin.create_topic("t", 1, 6).await;
    let request = waiting_pull("t", 0, "*", 15_000);
    let waiting = parked(&reader, reader.pull(&request)).await;
    let delete = DeleteTopicInBroker { topic: "t".into() };
    done(&admin, RequestCode::DeleteTopicInBroker, &delete, &[]).await;
    clock.advance(Duration::from_secs(15));
    let pulled = waiting.await;
    assert_answer(&pulled, 17, 0);
    rig.stop().await;
}
