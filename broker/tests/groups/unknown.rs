//! What each request does with a group or topic that is not there, with and without creation on demand, and where a group begins that
//! has no offset. Expected codes: apache/rocketmq `findSubscriptionGroupConfig` and its callers.

use rmq_broker::Deps;
use rmq_protocol::bodies::{ConsumerData, HeartbeatData, SubscriptionData};
use rmq_protocol::code::RequestCode;
use rmq_protocol::message::RecordView;
use rmq_protocol::requests::{
    ConsumerSendMsgBack, DeleteTopicInBroker, GetConsumeStats, GetConsumerConnectionList,
    GetConsumerListByGroup, GetSubscriptionGroupConfig, InvokeBrokerToResetOffset, OffsetReply,
    PullMessage, QueryConsumerOffset, Reply, UpdateAndGetGroupForbidden, UpdateConsumerOffset,
};

use crate::support::{Client, Rig, message, pull, remark};

/// What happened to a request that names the group.
async fn ask(client: &Client, code: RequestCode, group: &str) -> i32 {
    let name = || group.to_owned().into();
    let answer = match code {
        RequestCode::GetSubscriptiongroupConfig => {
            let request = GetSubscriptionGroupConfig { group: name() };
            client.call(code, &request, &[]).await
        }
        RequestCode::PullMessage => {
            let request = PullMessage {
                consumer_group: name(),
                ..pull("t", 0, 0)
            };
            client.call(code, &request, &[]).await
        }
        RequestCode::ConsumerSendMsgBack => {
            let first = client
                .call(RequestCode::PullMessage, &pull("t", 0, 0), &[])
                .await;
            let position = RecordView::iter(first.body())
                .find_map(Result::ok)
                .map_or(0, |record| record.position().0);
            let request = ConsumerSendMsgBack {
                offset: position as i64,
                group: name(),
                delay_level: 1,
                origin_msg_id: None,
                origin_topic: None,
                unit_mode: None,
                max_reconsume_times: None,
                dead_letter_reason: None,
                broker_name: None,
            };
            client.call(code, &request, &[]).await
        }
        RequestCode::SendMessageV2 => {
            let retry = format!("%RETRY%{group}");
            client.call(code, &message(&retry, 0, ""), b"again").await
        }
        RequestCode::HeartBeat => {
            let data = HeartbeatData {
                client_id: "one".to_owned(),
                consumer_data_set: vec![ConsumerData {
                    group_name: group.to_owned(),
                    subscription_data_set: vec![SubscriptionData::tags("t", "*", 1)],
                    ..ConsumerData::default()
                }],
                ..HeartbeatData::default()
            };
            let answer = client.call(code, &(), &data.to_json()).await;
            assert_eq!(answer.code(), 0, "{}", remark(&answer));
            return Box::pin(ask(client, RequestCode::GetConsumerConnectionList, group)).await;
        }
        RequestCode::GetConsumerConnectionList => {
            let request = GetConsumerConnectionList {
                consumer_group: name(),
            };
            client.call(code, &request, &[]).await
        }
        RequestCode::GetConsumerListByGroup => {
            let request = GetConsumerListByGroup {
                consumer_group: name(),
            };
            client.call(code, &request, &[]).await
        }
        RequestCode::UpdateConsumerOffset => {
            let request = UpdateConsumerOffset {
                consumer_group: name(),
                topic: "t".into(),
                queue_id: 0,
                commit_offset: 0,
                broker_name: None,
            };
            client.call(code, &request, &[]).await
        }
        RequestCode::InvokeBrokerToResetOffset => {
            let request = InvokeBrokerToResetOffset {
                topic: "t".into(),
                group: name(),
                timestamp: -1,
                is_force: Some(true),
                queue_id: None,
                offset: None,
            };
            client.call(code, &request, &[]).await
        }
        RequestCode::GetConsumeStats => {
            let request = GetConsumeStats {
                consumer_group: name(),
                topic: None,
                topic_list: None,
            };
            client.call(code, &request, &[]).await
        }
        RequestCode::UpdateAndGetGroupForbidden => {
            let request = UpdateAndGetGroupForbidden {
                group: name(),
                topic: "t".into(),
                readable: None,
            };
            client.call(code, &request, &[]).await
        }
        other => panic!("{other:?} is not tried"),
    };
    answer.code()
}

/// The code with groups made on demand, and without.
const GROUPS: &[(RequestCode, i32, i32)] = &[
    (RequestCode::GetSubscriptiongroupConfig, 0, 26),
    (RequestCode::PullMessage, 0, 26),
    (RequestCode::ConsumerSendMsgBack, 0, 26),
    (RequestCode::SendMessageV2, 0, 26),
    // The heartbeat itself gets 0: asked is who is connected after it.
    (RequestCode::HeartBeat, 0, 206),
    // These make no group.
    (RequestCode::GetConsumerConnectionList, 206, 206),
    (RequestCode::GetConsumerListByGroup, 1, 1),
    (RequestCode::UpdateConsumerOffset, 26, 26),
    (RequestCode::InvokeBrokerToResetOffset, 26, 26),
    (RequestCode::GetConsumeStats, 0, 0),
    (RequestCode::UpdateAndGetGroupForbidden, 26, 26),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_request_treats_an_unknown_group_as_the_setting_says() {
    for auto_create in [true, false] {
        let rig = Rig::start_with(Deps::default(), |config| {
            config.auto_create_subscription_group = auto_create;
        })
        .await;
        let client = rig.client();
        client.create_topic("t", 1, 6).await;
        client.create_group("readers", |_| {}).await;
        client.put("t", "", "one").await;
        for (index, (code, on, off)) in GROUPS.iter().enumerate() {
            let group = format!("unknown-{index}");
            let expected = if auto_create { *on } else { *off };
            assert_eq!(
                ask(&client, *code, &group).await,
                expected,
                "{code:?}, {auto_create}"
            );
            // Whether it is there now, asked of a request that makes none.
            let made = ask(&client, RequestCode::UpdateAndGetGroupForbidden, &group).await == 0;
            let makes = auto_create && index < 5;
            assert_eq!(made, makes, "{code:?}, {auto_create}");
        }
        rig.stop().await;
    }
}

async fn begins(client: &Client, topic: &str, zero: Option<bool>) -> Result<i64, i32> {
    let request = QueryConsumerOffset {
        consumer_group: "new".into(),
        topic: topic.to_owned().into(),
        queue_id: 0,
        set_zero_if_not_found: zero,
        broker_name: None,
    };
    let answer = client
        .call(RequestCode::QueryConsumerOffset, &request, &[])
        .await;
    if answer.code() != 0 {
        return Err(answer.code());
    }
    let fields = OffsetReply::decode(&answer.header().fields);
    Ok(fields.expect("an offset").offset)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_group_begins_at_the_first_message_of_the_topic_while_it_is_there() {
    let rig = Rig::start().await;
    let client = rig.client();
    assert_eq!(begins(&client, "nothing", None).await, Err(22));
    client.create_topic("t", 1, 6).await;
    assert_eq!(
        begins(&client, "t", None).await,
        Err(22),
        "there never was a message"
    );
    for _ in 0..5 {
        client.put("t", "", "old").await;
    }
    assert_eq!(begins(&client, "t", None).await, Ok(0));
    assert_eq!(begins(&client, "t", Some(true)).await, Ok(0));
    assert_eq!(begins(&client, "t", Some(false)).await, Err(22));

    let delete = DeleteTopicInBroker { topic: "t".into() };
    client
        .call(RequestCode::DeleteTopicInBroker, &delete, &[])
        .await;
    assert_eq!(begins(&client, "t", None).await, Err(22));
    client.create_topic("t", 1, 6).await;
    assert_eq!(
        begins(&client, "t", None).await,
        Err(22),
        "nothing was sent to the new topic"
    );
    for _ in 0..3 {
        client.put("t", "", "new").await;
    }
    assert_eq!(begins(&client, "t", None).await, Ok(5));
    assert_eq!(client.pull(&pull("t", 0, 5)).await.bodies(), ["new"; 3]);
    // What it lags behind is counted from there as well.
    let request = GetConsumeStats {
        consumer_group: "new".into(),
        topic: Some("t".into()),
        topic_list: None,
    };
    let answer = client
        .call(RequestCode::GetConsumeStats, &request, &[])
        .await;
    let stats = rmq_protocol::bodies::ConsumeStats::from_json(answer.body()).expect("statistics");
    let lag: i64 = stats
        .offset_table
        .iter()
        .map(|(_, queue)| queue.broker_offset - queue.consumer_offset)
        .sum();
    assert_eq!(lag, 3);
    // The same after a restart.
    let folder = rig.folder;
    rig.broker.shutdown().await.expect("a clean stop");
    let broker =
        rmq_broker::BrokerServer::start(crate::support::config(folder.path()), Deps::default())
            .await
            .expect("it starts again");
    let client = Client::to(&broker);
    assert_eq!(begins(&client, "t", None).await, Ok(5));
    broker.shutdown().await.expect("a clean stop");
}
