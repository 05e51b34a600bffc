//! Topics whose queues become fewer and more: what is in the queues that were taken away, and where they continue.

use rmq_broker::{BrokerServer, Deps};
use rmq_protocol::bodies::{ConsumeStats, MessageQueue, OffsetWrapper};
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::requests::{
    GetConsumeStats, OffsetReply, QueryConsumerOffset, Reply, UpdateConsumerOffset,
};

use crate::support::{Client, Rig, config, message, pull, remark};

const TOPIC: &str = "t";

async fn committed(client: &Client, queue_id: i32) -> i64 {
    let request = QueryConsumerOffset {
        consumer_group: "readers".into(),
        topic: TOPIC.into(),
        queue_id,
        set_zero_if_not_found: None,
        broker_name: None,
    };
    let answer = client
        .call(RequestCode::QueryConsumerOffset, &request, &[])
        .await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
    OffsetReply::decode(&answer.header().fields)
        .expect("an offset")
        .offset
}

/// Queues of the group's progress, with messages behind.
async fn behind(client: &Client) -> Vec<(i32, i64)> {
    let request = GetConsumeStats {
        consumer_group: "readers".into(),
        topic: Some(TOPIC.into()),
        topic_list: None,
    };
    let answer = client
        .call(RequestCode::GetConsumeStats, &request, &[])
        .await;
    let stats = ConsumeStats::from_json(answer.body()).expect("progress");
    let queue = |(queue, offsets): &(MessageQueue, OffsetWrapper)| {
        let behind = offsets.broker_offset - offsets.consumer_offset;
        (queue.queue_id, behind)
    };
    let mut queues: Vec<_> = stats.offset_table.iter().map(queue).collect();
    queues.sort_unstable();
    queues
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_shrinks_is_drained_and_grows_again_where_its_queues_ended() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.set_queues(TOPIC, (4, 4), 6).await;
    for number in 0..8 {
        let message = message(TOPIC, number % 4, "");
        client.send(&message, b"before").await.expect("stored");
    }
    let commit = UpdateConsumerOffset {
        consumer_group: "readers".into(),
        topic: TOPIC.into(),
        queue_id: 3,
        commit_offset: 1,
        broker_name: None,
    };
    // The group is there once it has pulled.
    client.pull(&pull(TOPIC, 3, 0)).await;
    let answer = client
        .call(RequestCode::UpdateConsumerOffset, &commit, &[])
        .await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));

    let said = client.set_queues(TOPIC, (4, 2), 6).await;
    assert!(!said.contains("cannot be read"), "{said}");
    for _ in 0..8 {
        let sent = client.send(&message(TOPIC, -1, ""), b"after").await;
        let queue = sent.expect("stored").queue_id;
        assert!(queue < 2, "the broker picks among the queues for writing");
    }
    // A producer that has the old route may still send there: the message is read too.
    let late = client.send(&message(TOPIC, 3, ""), b"late").await;
    assert_eq!(late.expect("stored").queue_offset, 2);
    let rest = client.pull(&pull(TOPIC, 3, 1)).await;
    assert_eq!(rest.bodies(), ["before", "late"]);
    let of_3 = behind(&client).await;
    assert_eq!(of_3.len(), 4, "{of_3:?}");
    assert!(of_3.contains(&(3, 2)), "{of_3:?}");

    let said = client.set_queues(TOPIC, (2, 2), 6).await;
    assert!(said.contains("5 messages in queues from 2 on"), "{said}");
    let refused = client.pull(&pull(TOPIC, 3, 1)).await;
    let illegal = ResponseCode::InvalidParameter.as_i32();
    assert_eq!(refused.code, illegal, "{}", refused.remark);
    assert!(
        refused.remark.contains("readQueueNums:[2]"),
        "{}",
        refused.remark
    );
    let refused = client.send(&message(TOPIC, 3, ""), b"x").await;
    assert_eq!(refused.expect_err("two queues").code, illegal);
    assert_eq!(behind(&client).await.len(), 2);

    let folder = rig.folder;
    rig.broker.shutdown().await.expect("a clean stop");
    let broker = BrokerServer::start(config(folder.path()), Deps::default())
        .await
        .expect("starts again");
    let client = Client::to(&broker);
    let said = client.set_queues(TOPIC, (6, 6), 6).await;
    assert!(!said.contains("cannot be read"), "{said}");
    assert_eq!(committed(&client, 3).await, 1, "the group continues there");
    let rest = client.pull(&pull(TOPIC, 3, 1)).await;
    assert_eq!(rest.bodies(), ["before", "late"]);
    let ends = [(2, 2), (3, 3), (4, 0), (5, 0)];
    for (queue, end) in ends {
        let sent = client.send(&message(TOPIC, queue, ""), b"grown").await;
        assert_eq!(sent.expect("stored").queue_offset, end, "queue {queue}");
    }
    broker.shutdown().await.expect("a clean stop");
}
