//! The order of what is answered, who is listed, and what is listed of groups that broadcast or belong to the system.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rmq_broker::Deps;
use rmq_protocol::bodies::{
    ConsumerConnection, ConsumerData, ConsumerList, GroupList, HeartbeatData, MessageModel,
    SubscriptionData, TopicConfig, TopicList,
};
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::message::RecordView;
use rmq_protocol::requests::{
    GetConsumerConnectionList, GetConsumerListByGroup, GetTopicConfig, QueryMessage,
    QueryTopicConsumeByWho, QueryTopicsByConsumer, UpdateConsumerOffset,
};
use rmq_transport::ManualClock;

use crate::support::{Client, Rig, message, remark};

async fn beat(
    client: &Client,
    id: &str,
    group: &str,
    model: MessageModel,
    topics: &[(&str, &str)],
) {
    let subscriptions = topics.iter();
    let data = HeartbeatData {
        client_id: id.to_owned(),
        consumer_data_set: vec![ConsumerData {
            group_name: group.to_owned(),
            message_model: model,
            subscription_data_set: subscriptions
                .map(|(topic, tags)| SubscriptionData::tags(*topic, tags, 1))
                .collect(),
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    };
    let answer = client
        .call(RequestCode::HeartBeat, &(), &data.to_json())
        .await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
}

async fn connection(client: &Client, group: &str) -> Result<ConsumerConnection, i32> {
    let request = GetConsumerConnectionList {
        consumer_group: group.to_owned().into(),
    };
    let answer = client
        .call(RequestCode::GetConsumerConnectionList, &request, &[])
        .await;
    if answer.code() != 0 {
        return Err(answer.code());
    }
    Ok(ConsumerConnection::from_json(answer.body()).expect("connections"))
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_key_come_oldest_first_and_the_newest_when_there_are_more() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic("t", 4, 6).await;
    for number in 0..7 {
        let body = number.to_string();
        client
            .send(
                &message("t", number % 4, "KEYS\u{1}k other\u{2}UNIQ_KEY\u{1}U\u{2}"),
                body.as_bytes(),
            )
            .await
            .expect("stored");
    }
    let bodies = async |unique: bool, max_num| {
        let request = QueryMessage {
            unique_key_query: unique.then_some(true),
            topic: "t".into(),
            key: if unique { "U" } else { "k" }.into(),
            max_num,
            begin_timestamp: 0,
            end_timestamp: i64::MAX,
            index_type: None,
            last_key: None,
        };
        let answer = client.call(RequestCode::QueryMessage, &request, &[]).await;
        let records = RecordView::iter(answer.body());
        let bodies: Vec<u8> = records
            .flat_map(|record| record.expect("whole records").body().to_vec())
            .collect();
        String::from_utf8(bodies).expect("digits")
    };
    assert_eq!(bodies(false, 32).await, "0123456");
    assert_eq!(bodies(false, 3).await, "456");
    assert_eq!(bodies(true, 32).await, "0123456");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_clients_say_what_kind_of_key_they_look_for() {
    let clock = ManualClock::at(1_800_000_000_000);
    let deps = Deps {
        clock: Arc::new(clock.clone()),
        ..Deps::default()
    };
    let rig = Rig::start_with(deps, |_| {}).await;
    let client = rig.client();
    client.create_topic("t", 3, 6).await;
    for number in 0..40 {
        // Tags that share a hash, and messages without one; one has its own unique key as a key.
        let tag = ["TAGS\u{1}Aa\u{2}", "TAGS\u{1}BB\u{2}", ""][number as usize % 3];
        let keys = format!("{tag}KEYS\u{1}k U{number}\u{2}UNIQ_KEY\u{1}U{number}\u{2}");
        clock.advance(Duration::from_millis(1));
        client
            .send(
                &message("t", number % 2, &keys),
                number.to_string().as_bytes(),
            )
            .await
            .expect("stored");
    }
    let query = |kind: &'static str, key: &'static str| QueryMessage {
        unique_key_query: None,
        topic: "t".into(),
        key: key.into(),
        max_num: 5,
        begin_timestamp: 0,
        end_timestamp: i64::MAX,
        index_type: Some(kind.into()),
        last_key: None,
    };
    let numbers = async |request: QueryMessage<'static>| {
        let answer = client.call(RequestCode::QueryMessage, &request, &[]).await;
        let records = RecordView::iter(answer.body());
        let numbers: Vec<(i32, i64)> = records
            .map(|record| {
                let record = record.expect("whole records");
                let text = std::str::from_utf8(record.body()).expect("digits");
                (text.parse().expect("a number"), record.store_ms())
            })
            .collect();
        (answer.code(), numbers)
    };
    let all = async |request| {
        let (code, found) = numbers(request).await;
        assert_eq!(code, 0);
        found
            .into_iter()
            .map(|(number, _)| number)
            .collect::<Vec<i32>>()
    };
    // The newest of all queues, the oldest of them first.
    assert_eq!(all(query("T", "Aa")).await, [27, 30, 33, 36, 39]);
    assert_eq!(all(query("T", "BB")).await, [25, 28, 31, 34, 37]);
    assert_eq!(all(query("K", "k")).await, [35, 36, 37, 38, 39]);
    assert_eq!(all(query("", "k")).await, [35, 36, 37, 38, 39]);
    // Once, though it is a key and a unique key.
    assert_eq!(all(query("K", "U7")).await, [7]);
    assert_eq!(all(query("U", "U7")).await, [7]);
    // An index in files has no pages.
    let with_last_key = QueryMessage {
        last_key: Some("t@39".into()),
        ..query("K", "k")
    };
    assert_eq!(all(with_last_key).await, [35, 36, 37, 38, 39]);
    // By time, to the millisecond.
    let (_, newest) = numbers(query("T", "Aa")).await;
    let until_33 = QueryMessage {
        begin_timestamp: newest[1].1,
        end_timestamp: newest[2].1,
        ..query("T", "Aa")
    };
    assert_eq!(all(until_33).await, [30, 33]);
    let before = QueryMessage {
        end_timestamp: newest[0].1 - 1,
        max_num: 2,
        ..query("T", "Aa")
    };
    assert_eq!(all(before).await, [21, 24]);
    // The older form counts.
    let unique = QueryMessage {
        unique_key_query: Some(true),
        ..query("T", "U3")
    };
    assert_eq!(all(unique).await, [3]);
    let not_found = ResponseCode::QueryNotFound.as_i32();
    for (kind, key) in [("T", "C"), ("T", "k"), ("U", "k"), ("K", "Aa")] {
        assert_eq!(numbers(query(kind, key)).await.0, not_found, "{kind} {key}");
    }
    let of_no_topic = QueryMessage {
        topic: "none".into(),
        ..query("T", "Aa")
    };
    assert_eq!(numbers(of_no_topic).await.0, not_found);
    let answer = client
        .call(RequestCode::QueryMessage, &query("X", "k"), &[])
        .await;
    assert_eq!(answer.code(), ResponseCode::SystemError.as_i32());
    let remark = remark(&answer);
    assert!(remark.contains("T (tags)"), "{remark}");
    rig.stop().await;
}

#[tokio::test]
async fn lists_of_names_are_sorted_and_name_each_once() {
    let rig = Rig::start().await;
    let client = rig.client();
    let topics = ["e", "b", "d", "a", "c"];
    for topic in topics {
        client.create_topic(topic, 1, 6).await;
    }
    let members: Vec<Client> = (0..5).map(|_| rig.client()).collect();
    for (member, group) in members.iter().zip(["g5", "g2", "g4", "g1", "g3"]) {
        let all: Vec<_> = topics.iter().map(|topic| (*topic, "*")).collect();
        beat(member, "one", group, MessageModel::Clustering, &all).await;
    }
    let commit = UpdateConsumerOffset {
        consumer_group: "g3".into(),
        topic: "c".into(),
        queue_id: 0,
        commit_offset: 0,
        broker_name: None,
    };
    client
        .call(RequestCode::UpdateConsumerOffset, &commit, &[])
        .await;
    let request = QueryTopicConsumeByWho { topic: "c".into() };
    let answer = client
        .call(RequestCode::QueryTopicConsumeByWho, &request, &[])
        .await;
    let groups = GroupList::from_json(answer.body())
        .expect("a list")
        .group_list;
    assert_eq!(groups, ["g1", "g2", "g3", "g4", "g5"]);
    let request = QueryTopicsByConsumer { group: "g3".into() };
    let answer = client
        .call(RequestCode::QueryTopicsByConsumer, &request, &[])
        .await;
    let topics = TopicList::from_json(answer.body())
        .expect("a list")
        .topic_list;
    assert_eq!(topics, ["a", "b", "c", "d", "e"]);
    rig.stop().await;
}

#[tokio::test]
async fn two_connections_with_one_client_id_are_both_listed() {
    let rig = Rig::start().await;
    let (one, two) = (rig.client(), rig.client());
    let wanted = [("t", "*")];
    beat(&one, "same", "g", MessageModel::Clustering, &wanted).await;
    beat(&two, "same", "g", MessageModel::Clustering, &wanted).await;
    let listed = connection(&one, "g").await.expect("online").connection_set;
    assert_eq!(listed.len(), 2);
    assert_eq!(
        (listed[0].client_id.as_str(), listed[1].client_id.as_str()),
        ("same", "same")
    );
    assert_ne!(listed[0].client_addr, listed[1].client_addr);
    // Clients share queues by this list: the id is there once, or a share of the queues would belong to nobody.
    let request = GetConsumerListByGroup {
        consumer_group: "g".into(),
    };
    let answer = one
        .call(RequestCode::GetConsumerListByGroup, &request, &[])
        .await;
    let ids = ConsumerList::from_json(answer.body())
        .expect("a list")
        .consumer_id_list;
    assert_eq!(ids, ["same"]);
    rig.stop().await;
}

#[tokio::test]
async fn members_that_do_not_agree_are_listed_with_what_each_wants() {
    let rig = Rig::start().await;
    let (one, two) = (rig.client(), rig.client());
    beat(&one, "one", "g", MessageModel::Clustering, &[("t", "A")]).await;
    beat(&two, "two", "g", MessageModel::Clustering, &[("t", "A")]).await;
    let listed = connection(&one, "g").await.expect("online").connection_set;
    assert!(listed.iter().all(|member| member.subscriptions.is_empty()));
    let of = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(topic, tags)| ((*topic).to_owned(), (*tags).to_owned()))
            .collect()
    };
    for other in [&[("t", "B")][..], &[("u", "A")], &[("t", "A"), ("u", "*")]] {
        beat(&two, "two", "g", MessageModel::Clustering, other).await;
        let listed = connection(&one, "g").await.expect("online").connection_set;
        assert_eq!(listed[0].subscriptions, of(&[("t", "A")]));
        assert_eq!(listed[1].subscriptions, of(other));
    }
    beat(&two, "two", "g", MessageModel::Clustering, &[("t", "A")]).await;
    let listed = connection(&one, "g").await.expect("online").connection_set;
    assert!(listed.iter().all(|member| member.subscriptions.is_empty()));
    rig.stop().await;
}

#[tokio::test]
async fn groups_that_broadcast_or_belong_to_the_system_are_found_by_their_retry_topic() {
    let rig = Rig::start().await;
    let client = rig.client();
    for (group, model) in [
        ("g", MessageModel::Clustering),
        ("loud", MessageModel::Broadcasting),
        ("TOOLS_CONSUMER", MessageModel::Clustering),
        ("CID_RMQ_SYS_MINE", MessageModel::Broadcasting),
    ] {
        let member = rig.client();
        beat(&member, "one", group, model, &[("t", "*")]).await;
        let listed = connection(&client, group).await.expect("online");
        assert_eq!(
            (listed.message_model, listed.connection_set.len()),
            (model, 1),
            "{group}"
        );
        let request = GetTopicConfig {
            topic: format!("%RETRY%{group}").into(),
            lo: None,
        };
        let answer = client
            .call(RequestCode::GetTopicConfig, &request, &[])
            .await;
        assert_eq!(answer.code(), 0, "{group}");
        let topic = TopicConfig::from_json(answer.body()).expect("a topic");
        assert_eq!((topic.perm, topic.read_queue_nums), (6, 1), "{group}");
    }
    let offline = connection(&client, "nobody").await.err();
    assert_eq!(offline, Some(ResponseCode::ConsumerNotOnline.as_i32()));
    rig.stop().await;
}
