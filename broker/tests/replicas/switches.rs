//! What is derived from the log when the master loses the end of its log and comes back: cases of the original, each named.

use rmq_protocol::code::{RequestCode, ResponseCode};

use crate::rig::{Group, Member, Stopped, Wire, eventually};
use crate::support::{Client, message, pull, remark};

/// Delivered after one second, with the default delays.
const ONE_SECOND: &str = "DELAY\u{1}1\u{2}";

async fn commit(client: &Client, offset: i64) {
    let progress = [
        ("topic", "orders"),
        ("consumerGroup", "readers"),
        ("queueId", "0"),
        ("commitOffset", &offset.to_string()),
    ];
    let code = RequestCode::UpdateConsumerOffset;
    assert_eq!(client.call(code, &progress, &[]).await.code(), 0);
}

/// What a group has consumed, as its members ask. A member that was killed does not say before its log is confirmed again.
async fn committed(client: &Client) -> Option<i64> {
    let of = [
        ("topic", "orders"),
        ("consumerGroup", "readers"),
        ("queueId", "0"),
    ];
    let answer = client.call(RequestCode::QueryConsumerOffset, &of, &[]);
    let answer = answer.await;
    let unknown = [ResponseCode::QueryNotFound, ResponseCode::SystemBusy];
    if unknown.iter().any(|code| code.as_i32() == answer.code()) {
        return None;
    }
    assert_eq!(answer.code(), 0);
    let fields = &answer.header().fields;
    let mut offsets = fields.iter().filter(|(name, _)| *name == "offset");
    let offset = offsets.next().expect("an offset").1.to_cow().parse();
    Some(offset.expect("a number"))
}

/// How far delayed messages are delivered.
async fn progress_of_delays(client: &Client) -> String {
    let code = RequestCode::GetAllDelayOffset;
    let answer = client.call(code, &(), &[]).await;
    String::from_utf8_lossy(answer.body()).into_owned()
}

/// A master and a replica that no longer hears it.
async fn cut_off() -> (Member, Member) {
    let group = Group::start(1, |_| {}).await;
    let master = group.master.client();
    master.create_group("readers", |_| {}).await;
    for text in ["one", "two", "three"] {
        master.put("orders", "", text).await;
    }
    commit(&master, 2).await;
    let replica = group.replicas[0].client();
    eventually("the offset is copied", async || {
        committed(&replica).await == Some(2)
    })
    .await;
    group.caught_up().await;
    let mut replicas = group.replicas;
    let replica = replicas.remove(0);
    replica.wire.as_ref().expect("a wire").set(Wire::Cut);
    (group.master, replica)
}

/// The other member becomes the master, and the killed one its replica.
pub(crate) async fn change_roles(lost: Stopped, other: Member) -> (Member, Member) {
    let mut other = Box::pin(other.stop(false)).await;
    let wire = other.wire.take().expect("a wire");
    other.config.broker_id = 0;
    other.config.replication_master.clear();
    let master = Box::pin(Member::start(other)).await;
    wire.lead_to(master.broker.replication_addr().expect("a port"));
    wire.set(Wire::Whole);
    let mut back = lost;
    back.config.broker_id = 1;
    back.config.replication_master = wire.addr.to_string();
    back.wire = Some(wire);
    (master, Box::pin(Member::start(back)).await)
}

/// A member that was killed says of timers, as of messages, nothing before its group has confirmed its log again.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_waits_for_confirmation_says_nothing_of_timers() {
    let (master, replica) = cut_off().await;
    let replica = Member::start(replica.stop(true).await).await;
    let client = replica.client();
    let timers = [
        RequestCode::GetTimerMetrics,
        RequestCode::GetTimerCheckPoint,
    ];
    for code in timers {
        let answer = client.call(code, &(), &[]).await;
        assert_eq!(answer.code(), ResponseCode::SystemBusy.as_i32(), "{code:?}");
        let remark = remark(&answer);
        assert!(
            remark.contains("has not confirmed all of its log again"),
            "{remark}"
        );
    }
    replica.wire.as_ref().expect("a wire").set(Wire::Whole);
    for code in timers {
        eventually("the group has confirmed it", async || {
            client.call(code, &(), &[]).await.code() == 0
        })
        .await;
    }
    for member in [replica, master] {
        member.stop(false).await;
    }
}

async fn all(client: &Client) -> Vec<String> {
    let pulled = client.pull(&pull("orders", 0, 0)).await;
    let numbers: Vec<i64> = pulled.records.iter().map(|record| record.offset).collect();
    let dense: Vec<i64> = (0..).take(numbers.len()).collect();
    assert_eq!(numbers, dense, "queue offsets are dense");
    pulled.bodies().into_iter().map(str::to_owned).collect()
}

/// apache/rocketmq #1094, #1440 and alibaba/rocketmq #28 (offsets go back when roles change), #4771 (offsets of messages that were cut off
/// stay), #8539 (queue offsets have holes after a change).
#[tokio::test(flavor = "multi_thread")]
async fn offsets_follow_the_log_through_every_change_of_roles() {
    let (old, other) = cut_off().await;
    // The old master alone has these two, and what their readers have committed.
    old.client().put("orders", "", "lost").await;
    old.client().put("orders", "", "lost too").await;
    commit(&old.client(), 5).await;
    assert_eq!(committed(&old.client()).await, Some(5));

    let (master, back) = change_roles(old.stop(true).await, other).await;
    assert_eq!(committed(&master.client()).await, Some(2));
    master.client().put("orders", "", "four").await;
    commit(&master.client(), 3).await;
    eventually("the old master has the offset of the new one", async || {
        committed(&back.client()).await == Some(3)
    })
    .await;
    eventually("the old master has the log of the new one", async || {
        all(&back.client()).await == ["one", "two", "three", "four"]
    })
    .await;

    // And back again: nothing is consumed twice, and nothing is left out.
    let (master, back) = change_roles(master.stop(false).await, back).await;
    assert_eq!(committed(&master.client()).await, Some(3));
    master.client().put("orders", "", "five").await;
    let wanted = ["one", "two", "three", "four", "five"];
    assert_eq!(all(&master.client()).await, wanted);
    for member in [back, master] {
        member.broker.shutdown().await.expect("a clean stop");
    }
}

/// apache/rocketmq #10668 (timers of messages that were cut off block those that came after) and #7480 (timers stand still).
#[tokio::test(flavor = "multi_thread")]
async fn delayed_messages_that_were_cut_off_are_never_delivered_and_hold_up_nothing() {
    let (old, other) = cut_off().await;
    let later = message("orders", 0, ONE_SECOND);
    old.client().send(&later, b"lost").await.expect("stored");
    let (master, back) = change_roles(old.stop(true).await, other).await;
    master.client().send(&later, b"four").await.expect("stored");
    eventually("the new master delivers its own", async || {
        all(&master.client()).await == ["one", "two", "three", "four"]
    })
    .await;
    eventually("the old master has it", async || {
        let delivered = progress_of_delays(&master.client()).await;
        delivered == progress_of_delays(&back.client()).await
            && delivered.contains(":1")
            && all(&back.client()).await.len() == 4
    })
    .await;

    let (master, back) = change_roles(master.stop(false).await, back).await;
    master.client().send(&later, b"five").await.expect("stored");
    // Whatever was due before is delivered by then.
    let wanted = ["one", "two", "three", "four", "five"];
    eventually("the old master delivers again", async || {
        let there = all(&master.client()).await;
        there.len() >= wanted.len()
    })
    .await;
    assert_eq!(all(&master.client()).await, wanted);
    for member in [back, master] {
        member.broker.shutdown().await.expect("a clean stop");
    }
}
