//! The master is gone, and another member takes its place.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use rmq_protocol::bodies::GroupStatus;
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::requests::{OffsetReply, QueryConsumerOffset, Reply, UpdateConsumerOffset};

use crate::rig::{Group, eventually, messages, try_send};
use crate::support::{Client, message, pull};

/// A lease of which a silent replica has so long that nobody takes it for a quick answer.
const LONG_LEASE_MS: u64 = 25_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_killed_is_followed_by_another_one_and_no_acknowledged_message_is_lost() {
    let mut group = Group::start(3, |_| {}).await;
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        for message in 0..20 {
            let body = format!("{round}-{message}");
            group.send(&body).await;
            acknowledged.push(body);
        }
        let (master, before) = (group.master().await, group.record().await.expect("there"));
        group.members[master].kill().await;
        let began = Instant::now();
        let body = format!("{round}-after");
        group.send(&body).await;
        acknowledged.push(body);
        tracing::info!(
            "kill to first acknowledged message: {} ms",
            began.elapsed().as_millis()
        );
        let after = group.record().await.expect("there");
        assert!(after.epoch > before.epoch && after.master != before.master);
        // The one that was killed comes back as a replica.
        group.members[master].start().await;
        group.in_sync(3).await;
        let now = group.master().await;
        let replicas: Vec<usize> = (0..3).filter(|id| *id != now).collect();
        group.routed(now, &replicas).await;
    }
    let now = group.master().await;
    let found = group.messages(now).await;
    for body in &acknowledged {
        assert_eq!(found.iter().filter(|one| *one == body).count(), 1, "{body}");
    }
    assert!(found.len() >= acknowledged.len());
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_process_ends_is_not_waited_for() {
    let mut group = Group::start(3, |config| {
        config.lease_ms = LONG_LEASE_MS;
        config.ack_timeout_ms = 60_000;
    })
    .await;
    group.send("before").await;
    let (master, replica) = (group.master().await, group.replica().await);
    group.members[replica].kill().await;
    let took = group.send("after").await;
    assert!(
        took < Duration::from_millis(LONG_LEASE_MS / 5 * 3),
        "{took:?}: it was waited for as one that is silent"
    );
    let record = group.record().await.expect("there");
    assert_eq!((group.master().await, record.in_sync.len()), (master, 2));
    // With the other one the minimum would be gone: it is back before it counts as away.
    let other = (0..3)
        .find(|id| ![master, replica].contains(id))
        .expect("three members");
    group.members[other].kill().await;
    group.members[other].start().await;
    group.send("again").await;
    group.members[replica].start().await;
    group.in_sync(3).await;
    let found = group.messages(master).await;
    assert_eq!(found, ["before", "after", "again"]);
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_with_too_few_members_refuses_sends_stores_nothing_and_serves_reads() {
    let mut group = Group::start(3, |_| {}).await;
    group.send("before").await;
    let master = group.master().await;
    for id in (0..3).filter(|id| *id != master) {
        group.members[id].kill().await;
    }
    let client = group.members[master].client();
    let end = async || {
        let answer = client.call(RequestCode::GetGroupStatus, &(), &[]).await;
        let status = GroupStatus::from_json(answer.body()).expect("the state of the group");
        status.end
    };
    let last = RefCell::new(String::new());
    eventually("the master refuses sends", async || {
        let sent = try_send(&client, "too early").await;
        let refused = sent.expect_err("nobody else has it");
        let is_so = refused.contains("too few members");
        last.replace(refused);
        is_so
    })
    .await;
    let refused = last.into_inner();
    let code = ResponseCode::SystemBusy.as_i32();
    assert!(refused.contains(&format!("code: {code},")), "{refused}");
    let before = end().await;
    try_send(&client, "refused").await.expect_err("too few");
    assert_eq!(end().await, before, "it was stored");
    assert_eq!(group.messages(master).await, ["before"]);
    let replica = group.members.iter_mut().find(|one| one.broker.is_none());
    replica.expect("killed").start().await;
    group.send("after").await;
    let found = group.messages(master).await;
    assert_eq!(found.first().map(String::as_str), Some("before"));
    assert_eq!(found.last().map(String::as_str), Some("after"));
    assert!(!found.contains(&"refused".to_owned()), "{found:?}");
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_master_acknowledges_nothing_when_it_continues() {
    let group = Group::start(2, |_| {}).await;
    let master = group.master().await;
    group.send("before").await;
    let client = group.members[master].client();
    try_send(&client, "still").await.expect("acknowledged");
    let boot = &group.members[master].boot;
    boot.jump(std::time::Duration::from_secs(60));
    let refused = try_send(&client, "late")
        .await
        .expect_err("its time is over");
    tracing::info!("{refused}");
    // Its lease was not taken, so it may be the master again, in another epoch.
    group.send("after").await;
    let now = group.master().await;
    let found = messages(&group.members[now].client()).await;
    assert!(found.contains(&"before".to_owned()) && found.contains(&"after".to_owned()));
    eventually("both are in sync", async || {
        let record = group.record().await.expect("there");
        record.in_sync.len() == 2
    })
    .await;
    group.stop().await;
}

/// Until the group has confirmed again what a member had, the member's tables may be older than its log: what they lack may well exist.
#[tokio::test(flavor = "multi_thread")]
async fn members_that_were_all_killed_never_say_that_a_topic_or_an_offset_is_missing() {
    let mut group = Group::start(3, |config| config.slave_read_enable = true).await;
    let master = group.master().await;
    // More queues than a topic gets by itself.
    let client = group.members[master].client();
    client.create_topic("many", 12, 6).await;
    let wanted = pull("many", 11, 0);
    for body in [b"one", b"two"] {
        let sent = client.send(&message("many", 11, ""), body).await;
        sent.expect("acknowledged");
    }
    assert_eq!(client.pull(&wanted).await.bodies(), ["one", "two"]);
    let told = UpdateConsumerOffset {
        consumer_group: "readers".into(),
        topic: "many".into(),
        queue_id: 11,
        commit_offset: 1,
        broker_name: None,
    };
    let code = RequestCode::UpdateConsumerOffset;
    assert_eq!(client.call(code, &told, &[]).await.code(), 0);
    // An offset is in the log a moment later.
    eventually("a replica knows the offset", async || {
        let replica = &group.members[group.replica().await];
        offset(&replica.client()).await == (0, Some(1))
    })
    .await;
    for member in &mut group.members {
        member.kill().await;
    }
    for member in &mut group.members[..2] {
        member.start().await;
    }
    let busy = ResponseCode::SystemBusy.as_i32();
    eventually("both members know everything", async || {
        let mut there = 0;
        for member in &group.members[..2] {
            let client = member.client();
            let pulled = client.pull(&wanted).await;
            let may = [
                ResponseCode::Success,
                ResponseCode::PullNotFound,
                ResponseCode::PullRetryImmediately,
                ResponseCode::SystemBusy,
            ];
            let is_right = may.iter().any(|may| may.as_i32() == pulled.code);
            assert!(is_right, "a pull: {}", pulled.code);
            let found = offset(&client).await;
            assert!(found == (0, Some(1)) || found == (busy, None), "{found:?}");
            there += usize::from(pulled.bodies() == ["one", "two"] && found.0 == 0);
        }
        there == 2
    })
    .await;
    group.stop().await;
}

/// Where the group continues, as consumers of Apache RocketMQ ask: code and offset.
async fn offset(client: &Client) -> (i32, Option<i64>) {
    let query = QueryConsumerOffset {
        consumer_group: "readers".into(),
        topic: "many".into(),
        queue_id: 11,
        set_zero_if_not_found: None,
        broker_name: None,
    };
    let code = RequestCode::QueryConsumerOffset;
    let answer = client.call(code, &query, &[]).await;
    let reply = OffsetReply::decode(&answer.header().fields).ok();
    let reply = reply.filter(|_| answer.code() == 0);
    (answer.code(), reply.map(|reply| reply.offset))
}
