//! What tools ask and change.

use rmq_protocol::bodies::{
    ConsumeStats, KvTable, MessageQueue, SubscriptionGroupTable, TopicConfig, TopicConfigTable,
    TopicStatsTable, parse_properties,
};
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::message::{OffsetMessageId, RecordView};
use rmq_protocol::requests::{
    DeleteTopicInBroker, GetAllTopicConfig, GetConsumeStats, GetTopicConfig, GetTopicStatsInfo,
    PullMessage, QueryMessage, UpdateConsumerOffset, ViewMessageById,
};

use crate::support::{Client, Rig, message, pull, remark};

async fn topic(client: &Client, name: &str) -> Result<TopicConfig, i32> {
    let answer = client
        .call(
            RequestCode::GetTopicConfig,
            &GetTopicConfig {
                topic: name.into(),
                lo: None,
            },
            &[],
        )
        .await;
    if answer.code() != 0 {
        return Err(answer.code());
    }
    Ok(TopicConfig::from_json(answer.body()).expect("a topic"))
}

async fn stats(client: &Client, name: &str) -> TopicStatsTable {
    let answer = client
        .call(
            RequestCode::GetTopicStatsInfo,
            &GetTopicStatsInfo { topic: name.into() },
            &[],
        )
        .await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
    TopicStatsTable::from_json(answer.body()).expect("stats")
}

#[tokio::test]
async fn topics_are_created_changed_listed_and_deleted() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic("t", 2, 6).await;
    client.create_topic("t", 5, 4).await;
    let config = topic(&client, "t").await.expect("there");
    assert_eq!(
        (config.read_queue_nums, config.write_queue_nums, config.perm),
        (5, 5, 4)
    );
    client.create_topic("t", 2, 6).await;
    client.put("t", "", "x").await;
    let table = stats(&client, "t").await;
    let queue = table
        .offset_table
        .get(&MessageQueue::new("t", "broker-a", 0))
        .expect("the queue");
    assert_eq!((queue.min_offset, queue.max_offset), (0, 1));
    assert!(queue.last_update_timestamp > 0);

    let all = GetAllTopicConfig {
        topic_seq: None,
        data_version: None,
        max_topic_num: None,
    };
    let answer = client.call(RequestCode::GetAllTopicConfig, &all, &[]).await;
    let table = TopicConfigTable::from_json(answer.body()).expect("a table");
    assert!(
        table.topic_config_table.contains_key("t")
            && table.topic_config_table.contains_key("TBW102")
    );

    let delete = DeleteTopicInBroker { topic: "t".into() };
    assert_eq!(
        client
            .call(RequestCode::DeleteTopicInBroker, &delete, &[])
            .await
            .code(),
        0
    );
    assert_eq!(
        topic(&client, "t").await.err(),
        Some(ResponseCode::TopicNotExist.as_i32())
    );
    client.create_topic("t", 2, 6).await;
    assert_eq!(
        client.pull(&pull("t", 0, 0)).await.code,
        ResponseCode::PullOffsetMoved.as_i32(),
        "its old messages are gone"
    );
    let sent = client.put("t", "", "y").await;
    assert_eq!(sent.queue_offset, 1, "no offset is given twice");
    for name in ["TBW102", "SCHEDULE_TOPIC_XXXX"] {
        let answer = client
            .call(
                RequestCode::DeleteTopicInBroker,
                &DeleteTopicInBroker { topic: name.into() },
                &[],
            )
            .await;
        assert_eq!(
            answer.code(),
            ResponseCode::InvalidParameter.as_i32(),
            "{name}"
        );
    }
    rig.stop().await;
}

#[tokio::test]
async fn messages_that_a_topic_no_longer_lets_read_are_counted() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic("t", 8, 6).await;
    for number in 0..24 {
        client
            .send(&message("t", number % 8, ""), b"x")
            .await
            .expect("stored");
    }
    let resize = async |queues: i32| client.set_queues("t", (queues, queues), 6).await;
    assert_eq!(stats(&client, "t").await.unreadable_messages, 0);
    let said = resize(2).await;
    assert!(said.contains("18 messages"), "{said}");
    let table = stats(&client, "t").await;
    assert_eq!(
        (table.offset_table.len(), table.unreadable_messages),
        (2, 18)
    );
    let said = resize(1).await;
    assert!(said.contains("21 messages"), "{said}");
    assert!(!resize(8).await.contains("messages"));
    assert_eq!(stats(&client, "t").await.unreadable_messages, 0);
    rig.stop().await;
}

#[tokio::test]
async fn groups_are_listed_and_their_lag_is_counted() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    client
        .create_group("g", |config| config.retry_max_times = 3)
        .await;
    for n in 0..5 {
        client.put("t", "", &n.to_string()).await;
    }
    let commit = UpdateConsumerOffset {
        consumer_group: "g".into(),
        topic: "t".into(),
        queue_id: 0,
        commit_offset: 2,
        broker_name: None,
    };
    assert_eq!(
        client
            .call(RequestCode::UpdateConsumerOffset, &commit, &[])
            .await
            .code(),
        0
    );
    let request = GetConsumeStats {
        consumer_group: "g".into(),
        topic: None,
        topic_list: None,
    };
    let answer = client
        .call(RequestCode::GetConsumeStats, &request, &[])
        .await;
    let stats = ConsumeStats::from_json(answer.body()).expect("stats");
    let queue = stats
        .offset_table
        .get(&MessageQueue::new("t", "broker-a", 0))
        .expect("the queue");
    assert_eq!((queue.broker_offset, queue.consumer_offset), (5, 2));
    assert_eq!(queue.pull_offset, 2, "nobody has pulled");
    assert!(queue.last_timestamp > 0);
    // Where the last pull came to, whatever is committed, and not behind that.
    let pull_of = async || {
        let answer = client
            .call(RequestCode::GetConsumeStats, &request, &[])
            .await;
        let stats = ConsumeStats::from_json(answer.body()).expect("stats");
        let queue = MessageQueue::new("t", "broker-a", 0);
        stats
            .offset_table
            .get(&queue)
            .expect("the queue")
            .pull_offset
    };
    for (offset, messages, came_to) in [(0, 1, 2), (0, 4, 4), (4, 9, 5), (5, 9, 5), (1, 2, 3)] {
        let request = PullMessage {
            consumer_group: "g".into(),
            max_msg_nums: messages,
            ..pull("t", 0, offset)
        };
        client.pull(&request).await;
        assert_eq!(pull_of().await, came_to, "{messages} from {offset}");
    }
    let reset = [
        ("topic", "t"),
        ("group", "g"),
        ("timestamp", "0"),
        ("isForce", "true"),
    ];
    let answer = client
        .call(RequestCode::InvokeBrokerToResetOffset, &reset, &[])
        .await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
    assert_eq!(pull_of().await, 3, "nobody has pulled since");
    let request = PullMessage {
        consumer_group: "g".into(),
        ..pull("t", 0, 3)
    };
    let told = client.call(RequestCode::PullMessage, &request, &[]).await;
    assert_eq!(told.code(), ResponseCode::PullOffsetMoved.as_i32());
    assert_eq!(pull_of().await, 0);

    let answer = client
        .call(RequestCode::GetAllSubscriptiongroupConfig, &(), &[])
        .await;
    let table = SubscriptionGroupTable::from_json(answer.body()).expect("a table");
    assert_eq!(table.subscription_group_table["g"].retry_max_times, 3);
    rig.stop().await;
}

#[tokio::test]
async fn messages_are_found_by_key_unique_key_and_id() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    let sent = client
        .put(
            "t",
            "KEYS\u{1}one two\u{2}UNIQ_KEY\u{1}C0FFEE\u{2}",
            "found",
        )
        .await;
    let query = |key: &'static str, unique: Option<bool>| QueryMessage {
        unique_key_query: unique,
        topic: "t".into(),
        key: key.into(),
        max_num: 32,
        begin_timestamp: 0,
        end_timestamp: i64::MAX,
        index_type: None,
        last_key: None,
    };
    for (key, unique, expected) in [
        ("one", None, 1),
        ("two", None, 1),
        ("C0FFEE", Some(true), 1),
        // The original's index does not tell them apart.
        ("C0FFEE", None, 1),
        ("one", Some(true), 0),
        ("three", None, 0),
    ] {
        let answer = client
            .call(RequestCode::QueryMessage, &query(key, unique), &[])
            .await;
        let found = RecordView::iter(answer.body())
            .filter(|record| {
                record
                    .as_ref()
                    .is_ok_and(|record| record.body() == b"found")
            })
            .count();
        assert_eq!(found, expected, "{key}");
        assert_eq!(
            answer.code(),
            if expected > 0 {
                0
            } else {
                ResponseCode::QueryNotFound.as_i32()
            },
            "{key}"
        );
    }
    let id: OffsetMessageId = sent.msg_id.parse().expect("an id");
    assert_eq!(
        id.host,
        rig.broker.addr(),
        "tools connect to the address in the id"
    );
    let view = |offset| ViewMessageById {
        offset,
        topic: None,
    };
    let answer = client
        .call(
            RequestCode::ViewMessageById,
            &view(id.position.0 as i64),
            &[],
        )
        .await;
    assert_eq!(
        RecordView::parse(answer.body()).expect("a record").body(),
        b"found"
    );
    for nowhere in [-1, id.position.0 as i64 + 3, i64::MAX] {
        assert_eq!(
            client
                .call(RequestCode::ViewMessageById, &view(nowhere), &[])
                .await
                .code(),
            1,
            "{nowhere}"
        );
    }
    rig.stop().await;
}

#[tokio::test]
async fn the_status_has_what_tools_read_and_settings_change_only_where_that_is_safe() {
    let rig = Rig::start().await;
    let client = rig.client();
    let answer = client
        .call(RequestCode::GetBrokerRuntimeInfo, &(), &[])
        .await;
    let table = KvTable::from_json(answer.body()).expect("a table").table;
    // What mqadmin clusterList parses.
    for key in [
        "putTps",
        "getTransferredTps",
        "sendThreadPoolQueueSize",
        "pullThreadPoolQueueSize",
        "sendThreadPoolQueueHeadWaitTimeMills",
        "pullThreadPoolQueueHeadWaitTimeMills",
        "pageCacheLockTimeMills",
        "earliestMessageTimeStamp",
        "commitLogDiskRatio",
        "timerReadBehind",
        "timerOffsetBehind",
        "timerCongestNum",
        "timerEnqueueTps",
        "timerDequeueTps",
        "brokerActive",
        "brokerVersionDesc",
        "msgPutTotalTodayNow",
        "msgPutTotalTodayMorning",
        "msgPutTotalYesterdayMorning",
        "msgGetTotalTodayNow",
        "msgGetTotalTodayMorning",
        "msgGetTotalYesterdayMorning",
    ] {
        assert!(table.contains_key(key), "{key}");
    }
    assert_eq!(table["putTps"].split_whitespace().count(), 3);

    let answer = client.call(RequestCode::GetBrokerConfig, &(), &[]).await;
    let pairs = parse_properties(answer.body()).expect("properties");
    assert!(pairs.contains(&("brokerName".to_owned(), "broker-a".to_owned())));
    let refused = client
        .call(
            RequestCode::UpdateBrokerConfig,
            &(),
            b"brokerPermission=4\nstorePathRootDir=/elsewhere\n",
        )
        .await;
    assert_eq!(refused.code(), ResponseCode::NoPermission.as_i32());
    assert!(remark(&refused).contains("storePathRootDir"));
    for wrong in [
        &b"fileReservedTime=0\n"[..],
        b"autoCreateSubscriptionGroup=perhaps\n",
        b"autoCreateTopicEnable=yes\n",
        b"maxMessageSize=0\n",
        b"maxMessageSize=16777217\n",
    ] {
        let refused = client
            .call(RequestCode::UpdateBrokerConfig, &(), wrong)
            .await;
        assert_eq!(refused.code(), ResponseCode::InvalidParameter.as_i32());
    }
    let change = b"fileReservedTime=5\nautoCreateSubscriptionGroup=false\n";
    client
        .call(RequestCode::UpdateBrokerConfig, &(), change)
        .await;
    let answer = client.call(RequestCode::GetBrokerConfig, &(), &[]).await;
    let pairs = parse_properties(answer.body()).expect("properties");
    for (name, value) in [
        ("fileReservedTime", "5"),
        ("autoCreateSubscriptionGroup", "false"),
    ] {
        assert!(
            pairs.contains(&(name.to_owned(), value.to_owned())),
            "{name}"
        );
    }
    client
        .call(
            RequestCode::UpdateBrokerConfig,
            &(),
            b"autoCreateSubscriptionGroup=true",
        )
        .await;
    client.create_topic("t", 1, 6).await;
    client
        .call(RequestCode::UpdateBrokerConfig, &(), b"brokerPermission=2")
        .await;
    assert_eq!(
        client.pull(&pull("t", 0, 0)).await.code,
        ResponseCode::NoPermission.as_i32()
    );
    client
        .call(RequestCode::UpdateBrokerConfig, &(), b"brokerPermission=6")
        .await;
    assert_eq!(
        client.pull(&pull("t", 0, 0)).await.code,
        ResponseCode::PullNotFound.as_i32()
    );
    rig.stop().await;
}

#[tokio::test]
async fn the_size_of_messages_and_whether_topics_are_made_change_while_the_broker_runs() {
    let rig = Rig::start().await;
    let client = rig.client();
    let set = async |change: &[u8]| {
        let answer = client
            .call(RequestCode::UpdateBrokerConfig, &(), change)
            .await;
        assert_eq!(answer.code(), 0, "{}", remark(&answer));
        let answer = client.call(RequestCode::GetBrokerConfig, &(), &[]).await;
        let pairs = parse_properties(answer.body()).expect("properties");
        for (name, value) in parse_properties(change).expect("properties") {
            assert!(pairs.contains(&(name.clone(), value)), "{name}: {pairs:?}");
        }
    };
    let sent = async |topic: &str, bytes: usize| {
        let (message, body) = (message(topic, 0, ""), vec![b'x'; bytes]);
        let sent = client.send(&message, &body).await;
        sent.map_err(|refused| refused.code)
    };
    let (illegal, unknown) = (
        ResponseCode::MessageIllegal.as_i32(),
        ResponseCode::TopicNotExist.as_i32(),
    );
    client.create_topic("t", 1, 6).await;
    set(b"maxMessageSize=100").await;
    assert!(sent("t", 100).await.is_ok());
    assert_eq!(sent("t", 101).await, Err(illegal));
    set(b"maxMessageSize=16777216").await;
    assert!(
        sent("t", 5 << 20).await.is_ok(),
        "above the limit it began with"
    );

    assert!(sent("made", 1).await.is_ok());
    let before = topic(&client, "TBW102").await.expect("the template");
    set(b"autoCreateTopicEnable=false").await;
    assert_eq!(sent("unknown", 1).await, Err(unknown));
    let forbidden = topic(&client, "TBW102").await.expect("the template");
    assert_eq!(forbidden.perm, 0, "no client picks a queue of it");
    assert!(sent("made", 1).await.is_ok());
    set(b"autoCreateTopicEnable=true").await;
    assert_eq!(topic(&client, "TBW102").await, Ok(before));
    assert!(sent("unknown", 1).await.is_ok());
    rig.stop().await;
}

#[tokio::test]
async fn what_is_not_served_is_answered_with_its_name() {
    let rig = Rig::start().await;
    let client = rig.client();
    for code in [RequestCode::PopMessage, RequestCode::AckMessage] {
        let answer = client.call(code, &(), &[]).await;
        assert_eq!(
            answer.code(),
            ResponseCode::RequestCodeNotSupported.as_i32(),
            "{code}"
        );
        assert!(remark(&answer).contains(code.name()), "{}", remark(&answer));
    }
    rig.stop().await;
}
