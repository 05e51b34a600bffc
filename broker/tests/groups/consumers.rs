//! Members, notices, offsets, locks.

use std::sync::Arc;
use std::time::Duration;

use rmq_broker::Deps;
use rmq_protocol::bodies::{
    ConsumerConnection, ConsumerData, ConsumerList, CorrectionOffsets, HeartbeatData, LockBatch,
    LockedQueues, MessageModel, MessageQueue, ProducerData, ResetOffsetBody, SubscriptionData,
};
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::requests::{
    GetConsumerConnectionList, GetConsumerListByGroup, InvokeBrokerToResetOffset, OffsetReply,
    QueryConsumerOffset, QueryCorrectionOffset, Reply, UnregisterClient, UpdateConsumerOffset,
};
use rmq_transport::{Caller, CallerConfig, Exchange, IncomingRequests, ManualClock, TcpConnector};
use tokio::sync::mpsc;

use crate::support::{Client, PATIENCE, Rig, pull, remark};

/// A client that passes on which groups the broker speaks of.
struct Notices(mpsc::UnboundedSender<String>);

impl IncomingRequests for Notices {
    fn request(&self, exchange: &mut Exchange<'_>) {
        assert_eq!(
            exchange.header.code,
            RequestCode::NotifyConsumerIdsChanged.as_i32()
        );
        let group = exchange
            .header
            .fields
            .get("consumerGroup")
            .expect("a group")
            .to_cow()
            .into_owned();
        // The test may be over.
        let _ = self.0.send(group);
    }
}

struct Member {
    client: Client,
    id: &'static str,
    notices: mpsc::UnboundedReceiver<String>,
}

impl Member {
    fn new(rig: &Rig, id: &'static str) -> Self {
        let (sender, notices) = mpsc::unbounded_channel();
        let caller = Caller::new(
            rig.broker.addr().to_string(),
            Arc::new(TcpConnector),
            CallerConfig::default(),
            Arc::new(Notices(sender)),
        );
        Self {
            client: Client(caller),
            id,
            notices,
        }
    }

    async fn beat(&self, group: &str, topic: &str, tags: &str, version: i64, model: MessageModel) {
        let data = HeartbeatData {
            client_id: self.id.to_owned(),
            producer_data_set: vec![ProducerData {
                group_name: "p".to_owned(),
            }],
            consumer_data_set: vec![ConsumerData {
                group_name: group.to_owned(),
                message_model: model,
                subscription_data_set: vec![SubscriptionData::tags(topic, tags, version)],
                ..ConsumerData::default()
            }],
            ..HeartbeatData::default()
        };
        let answer = self
            .client
            .call(RequestCode::HeartBeat, &(), &data.to_json())
            .await;
        assert_eq!(answer.code(), 0, "{}", remark(&answer));
    }

    async fn noticed(&mut self) -> String {
        tokio::time::timeout(PATIENCE, self.notices.recv())
            .await
            .expect("a notice in time")
            .expect("a notice")
    }
}

async fn members(client: &Client, group: &str) -> Result<Vec<String>, i32> {
    let answer = client
        .call(
            RequestCode::GetConsumerListByGroup,
            &GetConsumerListByGroup {
                consumer_group: group.into(),
            },
            &[],
        )
        .await;
    if answer.code() != 0 {
        return Err(answer.code());
    }
    Ok(ConsumerList::from_json(answer.body())
        .expect("a list")
        .consumer_id_list)
}

#[tokio::test]
async fn members_come_and_go_and_the_others_are_told() {
    let rig = Rig::start().await;
    let client = rig.client();
    assert_eq!(
        members(&client, "g").await,
        Err(1),
        "an unknown group is an error and not an empty list"
    );
    let (mut one, mut two) = (Member::new(&rig, "one"), Member::new(&rig, "two"));
    one.beat("g", "t", "*", 1, MessageModel::Clustering).await;
    assert_eq!(members(&client, "g").await, Ok(vec!["one".to_owned()]));
    assert_eq!(one.noticed().await, "g");
    two.beat("g", "t", "*", 1, MessageModel::Clustering).await;
    assert_eq!(
        (one.noticed().await, two.noticed().await),
        ("g".to_owned(), "g".to_owned())
    );
    assert_eq!(
        members(&client, "g").await,
        Ok(vec!["one".to_owned(), "two".to_owned()])
    );
    // The same again is no change; another subscription is.
    two.beat("g", "t", "*", 1, MessageModel::Clustering).await;
    two.beat("g", "t", "A", 2, MessageModel::Clustering).await;
    assert_eq!(one.noticed().await, "g");
    assert!(one.notices.try_recv().is_err(), "one notice for one change");

    let request = GetConsumerConnectionList {
        consumer_group: "g".into(),
    };
    let answer = client
        .call(RequestCode::GetConsumerConnectionList, &request, &[])
        .await;
    let connection = ConsumerConnection::from_json(answer.body()).expect("a connection");
    assert_eq!(connection.connection_set.len(), 2);
    assert_eq!(connection.subscription_table["t"].sub_string, "A");

    // Leaving by word, and by a closed connection.
    let leave = UnregisterClient {
        client_id: "two".into(),
        producer_group: Some("p".into()),
        consumer_group: Some("g".into()),
    };
    assert_eq!(
        two.client
            .call(RequestCode::UnregisterClient, &leave, &[])
            .await
            .code(),
        0
    );
    assert_eq!(one.noticed().await, "g");
    assert_eq!(members(&client, "g").await, Ok(vec!["one".to_owned()]));
    two.beat("g", "t", "A", 3, MessageModel::Clustering).await;
    assert_eq!(one.noticed().await, "g");
    two.client.0.close();
    assert_eq!(one.noticed().await, "g");
    assert_eq!(members(&client, "g").await, Ok(vec!["one".to_owned()]));
    rig.stop().await;
}

#[tokio::test]
async fn broadcasting_groups_are_not_told_and_silent_clients_expire() {
    let clock = ManualClock::at(1_000_000);
    let rig = Rig::start_with(
        Deps {
            clock: Arc::new(clock.clone()),
            connection_clock: Arc::new(clock.clone()),
            ..Deps::default()
        },
        |_| {},
    )
    .await;
    let client = rig.client();
    let (mut one, two) = (Member::new(&rig, "one"), Member::new(&rig, "two"));
    one.beat("b", "t", "*", 1, MessageModel::Broadcasting).await;
    two.beat("b", "t", "*", 1, MessageModel::Broadcasting).await;
    one.beat("g", "t", "*", 1, MessageModel::Clustering).await;
    assert_eq!(
        one.noticed().await,
        "g",
        "the broadcasting group gave no notice before"
    );
    assert_eq!(members(&client, "b").await.map(|ids| ids.len()), Ok(2));
    // Only the clock moves: the connections stay open, and others keep them from idling out.
    let gone = async {
        loop {
            clock.advance(Duration::from_secs(10));
            two.client
                .call(RequestCode::GetBrokerRuntimeInfo, &(), &[])
                .await;
            one.client
                .call(RequestCode::GetBrokerRuntimeInfo, &(), &[])
                .await;
            if members(&client, "b").await.is_err() {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("expired");
    assert!(clock_passed(&clock) >= 120_000, "not before their time");
    rig.stop().await;
}

fn clock_passed(clock: &ManualClock) -> i64 {
    rmq_transport::Clock::now_ms(clock) - 1_000_000
}

async fn committed(
    client: &Client,
    group: &str,
    topic: &str,
    queue_id: i32,
    zero: Option<bool>,
) -> Result<i64, i32> {
    let request = QueryConsumerOffset {
        consumer_group: group.to_owned().into(),
        topic: topic.to_owned().into(),
        queue_id,
        set_zero_if_not_found: zero,
        broker_name: None,
    };
    let answer = client
        .call(RequestCode::QueryConsumerOffset, &request, &[])
        .await;
    if answer.code() != 0 {
        return Err(answer.code());
    }
    Ok(OffsetReply::decode(&answer.header().fields)
        .expect("an offset")
        .offset)
}

async fn commit(client: &Client, group: &str, topic: &str, queue_id: i32, offset: i64) -> i32 {
    let request = UpdateConsumerOffset {
        consumer_group: group.to_owned().into(),
        topic: topic.to_owned().into(),
        queue_id,
        commit_offset: offset,
        broker_name: None,
    };
    client
        .call(RequestCode::UpdateConsumerOffset, &request, &[])
        .await
        .code()
}

#[tokio::test]
async fn offsets_are_kept_and_unknown_ones_do_not_skip_messages() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic("t", 2, 6).await;
    client.create_group("g", |_| {}).await;
    client.put("t", "", "first").await;
    // A queue whose first message is there: a new group begins with it, unless it is told not to.
    assert_eq!(committed(&client, "g", "t", 0, None).await, Ok(0));
    assert_eq!(committed(&client, "g", "t", 0, Some(true)).await, Ok(0));
    assert_eq!(
        committed(&client, "g", "t", 0, Some(false)).await,
        Err(ResponseCode::QueryNotFound.as_i32())
    );
    assert_eq!(commit(&client, "g", "t", 0, 1).await, 0);
    assert_eq!(committed(&client, "g", "t", 0, Some(false)).await, Ok(1));
    assert_eq!(
        commit(&client, "g", "nowhere", 0, 1).await,
        ResponseCode::TopicNotExist.as_i32()
    );
    assert_eq!(
        commit(&client, "nobody", "t", 0, 1).await,
        ResponseCode::SubscriptionGroupNotExist.as_i32()
    );
    assert_eq!(
        commit(&client, "g", "t", 7, 1).await,
        ResponseCode::InvalidParameter.as_i32()
    );

    // A clean stop keeps them.
    let Rig { broker, folder } = rig;
    broker.shutdown().await.expect("a clean stop");
    let config = crate::support::config(folder.path());
    let broker = rmq_broker::BrokerServer::start(config, Deps::default())
        .await
        .expect("starts again");
    let client = Client::to(&broker);
    assert_eq!(committed(&client, "g", "t", 0, Some(false)).await, Ok(1));
    broker.shutdown().await.expect("a clean stop");
}

#[tokio::test]
async fn a_reset_moves_the_next_pull() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    client.create_group("readers", |_| {}).await;
    for n in 0..5 {
        client.put("t", "", &format!("m{n}")).await;
    }
    assert_eq!(commit(&client, "readers", "t", 0, 5).await, 0);
    let request = InvokeBrokerToResetOffset {
        group: "readers".into(),
        topic: "t".into(),
        timestamp: 0,
        is_force: Some(true),
        queue_id: Some(-1),
        offset: None,
    };
    let answer = client
        .call(RequestCode::InvokeBrokerToResetOffset, &request, &[])
        .await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
    let body = ResetOffsetBody::from_json(answer.body()).expect("a body");
    assert_eq!(
        body.offset_table
            .get(&MessageQueue::new("t", "broker-a", 0)),
        Some(&0)
    );
    assert_eq!(
        committed(&client, "readers", "t", 0, Some(false)).await,
        Ok(0)
    );
    // A client that does not know yet commits in vain, is told once, and goes on where it was sent.
    assert_eq!(commit(&client, "readers", "t", 0, 5).await, 0);
    assert_eq!(
        committed(&client, "readers", "t", 0, Some(false)).await,
        Ok(0)
    );
    let moved = client.pull(&pull("t", 0, 5)).await;
    assert_eq!(
        (moved.code, moved.next()),
        (ResponseCode::PullOffsetMoved.as_i32(), 0)
    );
    let found = client.pull(&pull("t", 0, 0)).await;
    assert_eq!(found.bodies(), ["m0", "m1", "m2", "m3", "m4"]);
    // An offset that the queue does not have is refused; clients send -1 for none.
    for (offset, code) in [(-5, 1), (6, 1), (-1, 0)] {
        let of_one_queue = InvokeBrokerToResetOffset {
            queue_id: Some(0),
            offset: Some(offset),
            ..request.clone()
        };
        let answer = client
            .call(RequestCode::InvokeBrokerToResetOffset, &of_one_queue, &[])
            .await;
        assert_eq!(answer.code(), code, "{offset}: {}", remark(&answer));
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_queue_is_locked_by_one_client_until_it_lets_go_or_goes_silent() {
    let clock = ManualClock::at(1_000_000);
    let rig = Rig::start_with(
        Deps {
            clock: Arc::new(clock.clone()),
            connection_clock: Arc::new(clock.clone()),
            ..Deps::default()
        },
        |_| {},
    )
    .await;
    let client = rig.client();
    let queues = vec![
        MessageQueue::new("t", "broker-a", 0),
        MessageQueue::new("t", "broker-a", 1),
    ];
    let ask = |code, id: &'static str| {
        let (client, queues) = (client.clone(), queues.clone());
        async move {
            let body = LockBatch {
                client_id: id.to_owned(),
                consumer_group: "g".to_owned(),
                mq_set: queues,
                only_this_broker: false,
            };
            let answer = client.call(code, &(), &body.to_json()).await;
            assert_eq!(answer.code(), 0);
            answer
        }
    };
    let locked = |answer: rmq_transport::OwnedFrame| {
        LockedQueues::from_json(answer.body())
            .expect("a list")
            .lock_ok_mq_set
            .len()
    };
    assert_eq!(locked(ask(RequestCode::LockBatchMq, "one").await), 2);
    assert_eq!(locked(ask(RequestCode::LockBatchMq, "two").await), 0);
    ask(RequestCode::UnlockBatchMq, "two").await;
    assert_eq!(
        locked(ask(RequestCode::LockBatchMq, "two").await),
        0,
        "only the holder unlocks"
    );
    clock.advance(Duration::from_millis(60_001));
    assert_eq!(locked(ask(RequestCode::LockBatchMq, "two").await), 2);
    ask(RequestCode::UnlockBatchMq, "two").await;
    assert_eq!(locked(ask(RequestCode::LockBatchMq, "one").await), 2);
    rig.stop().await;
}

async fn locked_by(client: &Client, id: &str) -> usize {
    let body = LockBatch {
        client_id: id.to_owned(),
        consumer_group: "g".to_owned(),
        mq_set: vec![
            MessageQueue::new("t", "broker-a", 0),
            MessageQueue::new("t", "broker-a", 1),
        ],
        only_this_broker: false,
    };
    let answer = client
        .call(RequestCode::LockBatchMq, &(), &body.to_json())
        .await;
    assert_eq!(answer.code(), 0);
    LockedQueues::from_json(answer.body())
        .expect("a list")
        .lock_ok_mq_set
        .len()
}

#[tokio::test]
async fn locks_end_with_the_last_connection_of_their_client() {
    let rig = Rig::start().await;
    let two = Member::new(&rig, "two");
    let (first, second) = (Member::new(&rig, "one"), Member::new(&rig, "one"));
    for member in [&first, &second, &two] {
        member
            .beat("g", "t", "*", 1, MessageModel::Clustering)
            .await;
    }
    assert_eq!(locked_by(&first.client, "one").await, 2);
    assert_eq!(locked_by(&two.client, "two").await, 0);
    first.client.0.close();
    let request = GetConsumerConnectionList {
        consumer_group: "g".into(),
    };
    let connections = async || {
        let code = RequestCode::GetConsumerConnectionList;
        let answer = two.client.call(code, &request, &[]).await;
        let connection = ConsumerConnection::from_json(answer.body()).expect("a connection");
        connection.connection_set.len()
    };
    while connections().await != 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        locked_by(&two.client, "two").await,
        0,
        "the client is still there over its other connection"
    );
    // Leaves by a word: the same as a reset.
    let leave = UnregisterClient {
        client_id: "one".into(),
        producer_group: None,
        consumer_group: Some("g".into()),
    };
    let left = second
        .client
        .call(RequestCode::UnregisterClient, &leave, &[])
        .await;
    assert_eq!(left.code(), 0);
    assert_eq!(locked_by(&two.client, "two").await, 2);

    let three = Member::new(&rig, "three");
    three.beat("g", "t", "*", 1, MessageModel::Clustering).await;
    two.client.0.close();
    // The broker hears of the reset when it does; without it the lock would last a minute.
    let freed = async {
        while locked_by(&three.client, "three").await != 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, freed).await.expect("freed");
    rig.stop().await;
}

#[tokio::test]
async fn a_jump_of_the_wall_clock_ends_no_membership_lock_or_connection() {
    const DAY_MS: i64 = 86_400_000;
    for jump_ms in [
        1_000,
        -1_000,
        3_600_000,
        -3_600_000,
        4 * DAY_MS,
        -4 * DAY_MS,
    ] {
        let clock = ManualClock::at(1_800_000_000_000);
        let rig = Rig::start_with(
            Deps {
                clock: Arc::new(clock.clone()),
                connection_clock: Arc::new(clock.clone()),
                ..Deps::default()
            },
            |_| {},
        )
        .await;
        let (one, two) = (Member::new(&rig, "one"), Member::new(&rig, "two"));
        one.beat("g", "t", "*", 1, MessageModel::Clustering).await;
        assert_eq!(locked_by(&one.client, "one").await, 2);
        clock.jump_ms(jump_ms);
        clock.advance(Duration::from_secs(50));
        assert_eq!(locked_by(&two.client, "two").await, 0, "{jump_ms} ms");
        clock.advance(Duration::from_secs(50));
        // Silent for 100 of 120 seconds.
        assert_eq!(
            members(&two.client, "g").await,
            Ok(vec!["one".to_owned()]),
            "{jump_ms} ms"
        );
        assert_eq!(locked_by(&two.client, "two").await, 2, "{jump_ms} ms");
        rig.stop().await;
    }
}

#[tokio::test]
async fn the_lowest_offsets_of_all_groups_are_told() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic("t", 2, 6).await;
    for group in ["a", "b", "c"] {
        client.create_group(group, |_| {}).await;
    }
    for (group, queue_id, offset) in [("a", 0, 5), ("b", 0, 3), ("c", 0, 9), ("a", 1, 7)] {
        assert_eq!(commit(&client, group, "t", queue_id, offset).await, 0);
    }
    let lowest = async |left_out: &'static str, compared: &'static str| {
        let request = QueryCorrectionOffset {
            filter_groups: Some(left_out.into()),
            compare_group: compared.into(),
            topic: "t".into(),
        };
        let code = RequestCode::QueryCorrectionOffset;
        let answer = client.call(code, &request, &[]).await;
        assert_eq!(answer.code(), 0, "{}", remark(&answer));
        let body = CorrectionOffsets::from_json(answer.body()).expect("a body");
        body.correction_offsets.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(lowest("", "c").await, [(0, 3), (1, 7)]);
    assert_eq!(lowest("b", "c").await, [(0, 5), (1, 7)]);
    // The lowest of the others lies above the offset of the group that is compared.
    assert_eq!(lowest("b", "b").await, [(0, i64::MAX), (1, 7)]);
    assert_eq!(lowest("a,b,c", "a").await, []);
    rig.stop().await;
}
