//! What a new master has of the one before.

use rmq_protocol::code::RequestCode;
use rmq_protocol::requests::{OffsetReply, QueryConsumerOffset, Reply, UpdateConsumerOffset};

use crate::rig::{Group, TOPIC, eventually, try_send};
use crate::support::{Client, message, remark};

async fn commit(client: &Client, offset: i64) {
    let update = UpdateConsumerOffset {
        consumer_group: "readers".into(),
        topic: TOPIC.into(),
        queue_id: 0,
        commit_offset: offset,
        broker_name: None,
    };
    let answer = client
        .call(RequestCode::UpdateConsumerOffset, &update, &[])
        .await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
}

async fn committed(client: &Client) -> Option<i64> {
    let query = QueryConsumerOffset {
        consumer_group: "readers".into(),
        topic: TOPIC.into(),
        queue_id: 0,
        set_zero_if_not_found: Some(false),
        broker_name: None,
    };
    let answer = client
        .call(RequestCode::QueryConsumerOffset, &query, &[])
        .await;
    let reply = OffsetReply::decode(&answer.header().fields);
    reply
        .ok()
        .filter(|_| answer.code() == 0)
        .map(|reply| reply.offset)
}

/// Topics, offsets and delayed messages are the group's: whoever is the master has them, also one that was the master before.
#[tokio::test(flavor = "multi_thread")]
async fn topics_offsets_and_delayed_messages_are_carried_from_master_to_master() {
    let mut group = Group::start(2, |config| {
        config.delay_levels = "2s 1h".to_owned();
        config.lease_ms = 5_000;
    })
    .await;
    let first = group.master().await;
    let client = group.members[first].client();
    client.create_topic(TOPIC, 3, 6).await;
    client.create_group("readers", |_| {}).await;
    client.put(TOPIC, "", "at once").await;
    client.put(TOPIC, "DELAY\u{1}1\u{2}", "soon").await;
    commit(&client, 1).await;
    for _ in 0..2 {
        let master = group.master().await;
        // A stop saves what consumers have told, and hands over. On a machine that is too busy to renew a lease, another change may follow.
        let now = loop {
            group.members[master].stop().await;
            group.members[master].start().await;
            group.in_sync(2).await;
            let now = group.master().await;
            if now != master {
                break now;
            }
        };
        let client = group.members[now].client();
        // It may still be getting ready.
        eventually("the offset is there", async || {
            committed(&client).await == Some(1)
        })
        .await;
        let no_such_queue = client.send(&message(TOPIC, 3, ""), b"x").await;
        no_such_queue.expect_err("the topic has three queues");
    }
    eventually("the delayed message is there", async || {
        let master = group.master().await;
        group.messages(master).await == ["at once", "soon"]
    })
    .await;
    group.stop().await;
}

/// What a master had alone is nobody's: it goes into quarantine when that member copies from the next one.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_that_only_a_former_master_has_is_cut_and_kept() {
    let mut group = Group::start(3, |config| config.ack_timeout_ms = 100).await;
    group.send("everywhere").await;
    let master = group.master().await;
    let others: Vec<usize> = (0..3).filter(|id| *id != master).collect();
    for id in &others {
        group.members[*id].kill().await;
    }
    let client = group.members[master].client();
    let refused = try_send(&client, "alone").await;
    refused.expect_err("nobody else has it");
    group.members[master].kill().await;
    for id in &others {
        group.members[*id].start().await;
    }
    group.send("after").await;
    group.members[master].start().await;
    group.in_sync(3).await;
    let now = group.master().await;
    assert_ne!(now, master);
    assert_eq!(group.messages(now).await, ["everywhere", "after"]);
    let kept = group.members[master].config.data_dir.join("quarantine");
    let kept = std::fs::read_dir(kept).expect("a folder").count();
    assert_eq!(kept, 1, "what was cut is kept");
    group.stop().await;
}
