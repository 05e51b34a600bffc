//! What the disk of one member has damaged comes from another one.

use rmq_broker::AckMode;
use rmq_protocol::bodies::{FindingSeverity, GroupFinding, GroupStatus};
use rmq_protocol::code::RequestCode;

use crate::damage::damage;
use crate::rig::{Group, Member, eventually};
use crate::support::{get, pull, value};

const BODIES: [&str; 3] = ["the first one", "the second one", "the third one"];

/// A group of two in sync that has the messages.
async fn filled() -> Group {
    let group = Group::start(1, |config| {
        config.ack_mode = AckMode::InSync;
        config.segment_bytes = 64 << 10;
        config.management = "127.0.0.1:0".to_owned();
    })
    .await;
    group.in_sync(1).await;
    for body in BODIES {
        group.master.client().put("orders", "", body).await;
    }
    group.caught_up().await;
    group
}

async fn read(member: &Member) -> Vec<String> {
    let pulled = member.client().pull(&pull("orders", 0, 0)).await;
    pulled.bodies().into_iter().map(str::to_owned).collect()
}

async fn damaged(member: &Member) -> Option<GroupFinding> {
    let code = RequestCode::GetGroupStatus;
    let answer = member.client().call(code, &(), &[]).await;
    let status = GroupStatus::from_json(answer.body()).expect("the state of the group");
    let mut findings = status.findings.into_iter();
    findings.find(|found| found.code == "damaged")
}

/// Waits until readers get everything again.
async fn is_mended(member: &Member) {
    eventually("the message is there again", async || {
        read(member).await == BODIES
    })
    .await;
    eventually("that is told", async || {
        let (_, metrics) = get(&member.broker, "/metrics").await;
        let of = |name: &str| value(&metrics, name, &[]);
        of("rocketmq_store_mended_ranges_total") == Some(1.0)
            && of("rocketmq_store_damaged_ranges") == Some(0.0)
    })
    .await;
    assert_eq!(damaged(member).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_mends_its_log_with_what_its_master_has() {
    let mut group = filled().await;
    let stopped = group.replicas.remove(0).stop(false).await;
    damage(&stopped.config.data_dir, BODIES[1]);
    group.replicas.push(Member::start(stopped).await);
    is_mended(&group.replicas[0]).await;
    // It stays so.
    let replica = group.replicas.remove(0).start_again(false).await;
    assert_eq!(read(&replica).await, BODIES);
    group.replicas.push(replica);
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_mends_its_log_with_what_a_replica_in_sync_has() {
    let Group { master, replicas } = filled().await;
    let stopped = master.stop(false).await;
    damage(&stopped.config.data_dir, BODIES[0]);
    let master = Member::start(stopped).await;
    is_mended(&master).await;
    let group = Group { master, replicas };
    group.in_sync(1).await;
    group.master.client().put("orders", "", "more").await;
    group.caught_up().await;
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_member_has_stays_damaged_and_is_told() {
    let Group {
        master,
        mut replicas,
    } = filled().await;
    let (replica, master) = (
        replicas.remove(0).stop(false).await,
        master.stop(false).await,
    );
    damage(&replica.config.data_dir, BODIES[1]);
    damage(&master.config.data_dir, BODIES[1]);
    let master = Member::start(master).await;
    let replica = Member::start(replica).await;
    let group = Group {
        master,
        replicas: vec![replica],
    };
    group.in_sync(1).await;
    for (member, other) in [
        (&group.master, "member 1: "),
        (&group.replicas[0], "member 0: "),
    ] {
        assert_eq!(read(member).await, [BODIES[0], BODIES[2]]);
        eventually("the other member has been asked", async || {
            let found = damaged(member).await;
            found.is_some_and(|found| {
                found.severity == FindingSeverity::Warning
                    && found.text.contains("cannot read a range of its log")
                    && found.text.contains(other)
                    && found.text.contains("does not have it either")
            })
        })
        .await;
        // Its neighbours are served.
        assert_eq!(read(member).await, [BODIES[0], BODIES[2]]);
    }
    group.master.client().put("orders", "", "more").await;
    group.caught_up().await;
    group.stop().await;
}
