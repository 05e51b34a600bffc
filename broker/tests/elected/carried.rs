//! What a new master has of the one before.

use rmq_broker::AckMode;
use rmq_election::driver::{Wish, request};
use rmq_protocol::bodies::{FindingSeverity, GroupStatus};
use rmq_protocol::code::RequestCode;
use rmq_protocol::requests::{OffsetReply, QueryConsumerOffset, Reply, UpdateConsumerOffset};

use crate::rig::{Group, TOPIC, eventually, try_send};
use crate::support::{Client, get, message, remark, value};

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

/// How many messages a member says that it has cut off the end of its log.
async fn cut_messages(group: &Group, member: usize) -> Option<f64> {
    let broker = group.members[member].broker.as_ref().expect("it runs");
    let (_, metrics) = get(broker, "/metrics").await;
    value(&metrics, "rocketmq_store_cut_messages_total", &[])
}

/// What a master had alone is nobody's: it goes into quarantine when that member copies from the next one.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_that_only_a_former_master_has_is_cut_and_kept() {
    let mut group = Group::start(3, |config| {
        config.ack_timeout_ms = 100;
        config.management = "127.0.0.1:0".to_owned();
    })
    .await;
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
    assert_eq!(cut_messages(&group, master).await, Some(1.0));
    assert_eq!(cut_messages(&group, now).await, Some(0.0));
    group.stop().await;
}

/// With acknowledgements of the master alone, the next master may lack some: the old one keeps them in a file and follows.
#[tokio::test(flavor = "multi_thread")]
async fn a_former_master_that_alone_had_acknowledged_messages_keeps_them_and_joins_again() {
    for mode in [AckMode::Memory, AckMode::Flushed] {
        let mut group = Group::start(2, |config| {
            config.ack_mode = mode;
            // The replica stays in the set while it is away.
            config.lease_ms = 20_000;
            config.replica_reconnect_ms = 60_000;
            config.slave_read_enable = true;
            config.management = "127.0.0.1:0".to_owned();
        })
        .await;
        group.send("everywhere").await;
        let (master, replica) = (group.master().await, group.replica().await);
        eventually("the replica shows it", async || {
            group.messages(replica).await == ["everywhere"]
        })
        .await;
        group.members[replica].kill().await;
        let client = group.members[master].client();
        for body in ["alone", "alone too"] {
            try_send(&client, body).await.expect("acknowledged");
        }
        // It lets its lease go, so nobody waits for that.
        group.members[master].stop().await;
        group.members[replica].start().await;
        group.send("after").await;
        assert_eq!(group.master().await, replica);

        group.members[master].start().await;
        group.in_sync(2).await;
        group.send("together").await;
        let wanted = ["everywhere", "after", "together"];
        assert_eq!(group.messages(replica).await, wanted);
        eventually("the old master shows the same", async || {
            group.messages(master).await == wanted
        })
        .await;
        let kept = group.members[master].config.data_dir.join("quarantine");
        let kept: Vec<_> = std::fs::read_dir(kept).expect("a folder").collect();
        let [Ok(kept)] = kept.as_slice() else {
            panic!("{kept:?}");
        };
        let content = std::fs::read(kept.path()).expect("what was cut");
        for body in ["alone", "alone too"] {
            let mut parts = content.windows(body.len());
            assert!(parts.any(|part| part == body.as_bytes()), "{body}");
        }
        let client = group.members[master].client();
        let answer = client.call(RequestCode::GetGroupStatus, &(), &[]).await;
        let status = GroupStatus::from_json(answer.body()).expect("the state of the group");
        let note = status.findings.iter().find(|found| found.code == "parted");
        let note = note.expect("it is told");
        assert_eq!(note.severity, FindingSeverity::Note);
        let name = kept.file_name();
        assert!(
            note.text.contains(&*name.to_string_lossy()),
            "{}",
            note.text
        );
        assert_eq!(cut_messages(&group, master).await, Some(2.0));
        group.stop().await;
    }
}

/// What the whole set has acknowledged no member gives up by itself, also where a person has accepted a loss: the member stays outside with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_messages_all_in_sync_had_acknowledged_keeps_its_log_and_stays_outside() {
    for mode in [AckMode::InSync, AckMode::InSyncFlushed] {
        let mut group = Group::start(2, |config| {
            config.ack_mode = mode;
            config.min_in_sync = 1;
            config.slave_read_enable = true;
        })
        .await;
        group.send("everywhere").await;
        let (master, replica) = (group.master().await, group.replica().await);
        group.members[replica].stop().await;
        group.in_sync(1).await;
        group.send("of a set of one").await;
        group.members[master].stop().await;

        group.members[replica].start().await;
        let wish = Wish::Promote {
            to: group.id(replica),
            accept_loss: true,
        };
        request(group.place(), wish, "a person")
            .await
            .expect("written");
        group.send("after").await;
        assert_eq!(group.master().await, replica);

        group.members[master].start().await;
        let client = group.members[master].client();
        eventually(
            "the old master says that its log is another one",
            async || {
                let answer = client.call(RequestCode::GetGroupStatus, &(), &[]).await;
                let status = GroupStatus::from_json(answer.body()).expect("the state of the group");
                let mut findings = status.findings.iter();
                findings.any(|found| {
                    found.code == "diverged" && found.severity == FindingSeverity::Error
                })
            },
        )
        .await;
        // The group serves meanwhile, and nothing of either log is gone.
        group.send("more").await;
        let in_sync = group.record().await.expect("a record").in_sync;
        let in_sync: Vec<_> = in_sync.iter().map(|seat| seat.member).collect();
        assert_eq!(in_sync, [group.id(replica)]);
        assert_eq!(
            group.messages(replica).await,
            ["everywhere", "after", "more"]
        );
        assert_eq!(
            group.messages(master).await,
            ["everywhere", "of a set of one"]
        );
        let put_aside = group.members[master].config.data_dir.join("quarantine");
        assert!(!put_aside.exists(), "nothing was cut");
        group.stop().await;
    }
}
