//! What the disk of one member has damaged comes from another one, whoever of them leads.

use rmq_broker::BrokerConfig;
use rmq_config::AckMode;

use crate::damage::damage;
use crate::rig::{Group, eventually};
use crate::support::{get, value};

const BODIES: [&str; 3] = ["the first one", "the second one", "the third one"];

/// A group in sync whose members all show the messages.
async fn filled(size: usize, change: impl Fn(&mut BrokerConfig)) -> Group {
    let group = Group::start(size, |config| {
        config.ack_mode = AckMode::InSync;
        config.segment_bytes = 64 << 10;
        config.slave_read_enable = true;
        config.management = "127.0.0.1:0".to_owned();
        change(config);
    })
    .await;
    for body in BODIES {
        group.send(body).await;
    }
    for member in 0..size {
        shows(&group, member, &BODIES).await;
    }
    group
}

async fn shows(group: &Group, member: usize, wanted: &[&str]) {
    eventually("the member shows the messages", async || {
        group.messages(member).await == wanted
    })
    .await;
}

/// Waits until a member shows everything and says that it has mended one range.
async fn is_mended(group: &Group, member: usize) {
    shows(group, member, &BODIES).await;
    let broker = group.members[member].broker.as_ref().expect("it runs");
    eventually("the range is mended", async || {
        let (_, metrics) = get(broker, "/metrics").await;
        let of = |name: &str| value(&metrics, name, &[]);
        of("rocketmq_store_mended_ranges_total") == Some(1.0)
            && of("rocketmq_store_damaged_ranges") == Some(0.0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_and_a_former_master_mend_their_logs_with_what_the_master_has() {
    let mut group = filled(3, |_| {}).await;
    let replica = group.replica().await;
    let master = group.master().await;
    for member in [replica, master] {
        group.members[member].stop().await;
        damage(&group.members[member].config.data_dir, BODIES[1]);
        group.members[member].start().await;
        is_mended(&group, member).await;
        group.in_sync(3).await;
    }
    group.send("more").await;
    group.stop().await;
}

/// It leads with what it has, and asks the replica as soon as that copies from it.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_elected_with_a_damaged_log_mends_it_with_what_a_replica_has() {
    let mut group = filled(2, |config| {
        // The replica stays in the set while it is away.
        config.lease_ms = 20_000;
        config.replica_reconnect_ms = 60_000;
    })
    .await;
    let (old, next) = (group.master().await, group.replica().await);
    group.members[next].stop().await;
    damage(&group.members[next].config.data_dir, BODIES[1]);
    // It lets its lease go, so nobody waits for that.
    group.members[old].stop().await;
    group.members[next].start().await;
    eventually("the member is elected", async || {
        group.master().await == next
    })
    .await;
    group.members[old].start().await;
    is_mended(&group, next).await;
    assert_eq!(group.master().await, next);
    group.in_sync(2).await;
    group.send("more").await;
    let all = [BODIES[0], BODIES[1], BODIES[2], "more"];
    for member in [old, next] {
        shows(&group, member, &all).await;
    }
    group.stop().await;
}
