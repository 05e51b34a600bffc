//! What tools, health checks and metrics see of a group with fixed roles.

use rmq_broker::AckMode;
use rmq_protocol::MemberId;
use rmq_protocol::bodies::{EpochCache, FindingSeverity, GroupStatus, MemberRole, MemberStatus};
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::requests::{GroupWish, RequestGroupMaster};

use crate::rig::{Group, Member, Wire, eventually};
use crate::support::{get, remark, value};

async fn status(member: &Member) -> GroupStatus {
    let code = RequestCode::GetGroupStatus;
    let answer = member.client().call(code, &(), &[]).await;
    GroupStatus::from_json(answer.body()).expect("the state of the group")
}

/// Role, in sync, connected.
fn standing(member: Option<&MemberStatus>) -> (MemberRole, bool, bool) {
    let member = member.expect("it is known");
    (member.role, member.in_sync, member.connected)
}

#[tokio::test(flavor = "multi_thread")]
async fn members_say_what_they_know_of_the_group() {
    let group = Group::start(1, |config| {
        config.ack_mode = AckMode::InSync;
        config.management = "127.0.0.1:0".to_owned();
    })
    .await;
    group.in_sync(1).await;
    let (master, replica) = (&group.master, &group.replicas[0]);
    master.client().put("orders", "", "one").await;
    group.caught_up().await;

    let seen = status(master).await;
    assert_eq!((seen.me, seen.master), (MemberId(0), Some(MemberId(0))));
    assert_eq!((seen.election.as_str(), seen.epoch), ("static", 1));
    assert_eq!((seen.ack_mode.as_str(), seen.min_in_sync), ("inSync", 2));
    assert_eq!((seen.findings.len(), seen.writes_closed), (0, None));
    let mine = seen.members.first();
    assert_eq!(standing(mine), (MemberRole::Master, true, true));
    let other = seen.members.get(1);
    assert_eq!(standing(other), (MemberRole::Replica, true, true));
    let other = other.expect("it is known");
    assert_eq!(other.received, Some(seen.end));
    assert_eq!(other.lag_bytes, Some(0));

    let there = status(replica).await;
    assert_eq!((there.me, there.master), (MemberId(1), Some(MemberId(0))));
    assert_eq!(there.members[0].incarnation, seen.members[0].incarnation);
    assert_eq!(there.members[1].incarnation, other.incarnation);
    assert_eq!(standing(there.members.first()).0, MemberRole::Master);

    let code = RequestCode::GetBrokerEpochCache;
    for member in [master, replica] {
        let answer = member.client().call(code, &(), &[]).await;
        let epochs = EpochCache::from_json(answer.body()).expect("epochs");
        assert_eq!(epochs.epoch_list.len(), 1, "{epochs:?}");
        assert_eq!(epochs.epoch_list[0].epoch, 1);
        assert_eq!(epochs.max_offset, i64::try_from(seen.end).expect("small"));
    }
    let request = RequestGroupMaster {
        kind: GroupWish::Switchover,
        member: 1,
        accept_loss: false,
        request: "1".into(),
    };
    let code = RequestCode::RequestGroupMaster;
    let refused = master.client().call(code, &request, &[]).await;
    assert_eq!(refused.code(), ResponseCode::NoPermission.as_i32());
    let text = remark(&refused);
    assert!(text.contains("brokerId 0"), "{text}");

    let role = async |member: &Member| {
        (
            member.runtime("brokerRole").await,
            member.runtime("brokerId").await,
        )
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(role(master).await, (text("SYNC_MASTER"), text("0")));
    assert_eq!(role(replica).await, (text("SLAVE"), text("1")));
    assert_eq!(replica.runtime("epoch").await, text("1"));
    let (_, metrics) = get(&master.broker, "/metrics").await;
    let problems = rmq_process::scrape_problems(
        &rmq_broker::metric_families(),
        &rmq_broker::METRIC_LABELS,
        &metrics,
    );
    let mut of_group = problems.iter();
    assert!(!of_group.any(|problem| problem.starts_with("rocketmq_replication_")));
    let of = |name: &str| value(&metrics, name, &[]);
    assert_eq!(of("rocketmq_in_sync_replicas"), Some(2.0));
    assert_eq!(of("rocketmq_broker_epoch"), Some(1.0));
    let connected = value(
        &metrics,
        "rocketmq_replication_connected",
        &["member=\"1\""],
    );
    assert_eq!(connected, Some(1.0));
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_cut_apart_says_so_and_serves_what_it_can() {
    let group = Group::start(1, |config| {
        config.ack_mode = AckMode::InSync;
        config.management = "127.0.0.1:0".to_owned();
    })
    .await;
    group.in_sync(1).await;
    group.replicas[0]
        .wire
        .as_ref()
        .expect("a wire")
        .set(Wire::Cut);
    group.in_sync(0).await;
    let (master, replica) = (&group.master, &group.replicas[0]);
    eventually("the replica is alone", async || {
        status(replica).await.master.is_none()
    })
    .await;

    let seen = status(master).await;
    assert_eq!(seen.findings[0].code, "belowMinimum");
    assert_eq!(seen.findings[0].severity, FindingSeverity::Error);
    assert!(seen.writes_closed.is_some_and(|why| why.contains("1 of 2")));
    assert_eq!(status(replica).await.findings[0].code, "noMaster");
    for (member, problem, closed, alone) in [
        (master, "[-] group: too few members", 1.0, 0.0),
        (
            replica,
            "[-] group: this replica has no connection",
            0.0,
            1.0,
        ),
    ] {
        let (ready, text) = get(&member.broker, "/readyz").await;
        assert_eq!(ready, 200, "reads go on: {text}");
        assert!(text.contains(problem), "{text}");
        let (_, metrics) = get(&member.broker, "/metrics").await;
        let of = |name: &str| value(&metrics, name, &[]);
        assert_eq!(of("rocketmq_writes_closed"), Some(closed));
        assert_eq!(of("rocketmq_without_master"), Some(alone));
        let errors = value(&metrics, "rocketmq_group_findings", &["severity=\"error\""]);
        assert_eq!(errors, Some(1.0));
    }
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_with_another_log_than_its_masters_says_so() {
    let group = Group::start(1, |_| {}).await;
    group.master.client().put("orders", "", "one").await;
    group.caught_up().await;
    let Group {
        master,
        mut replicas,
    } = group;
    let replica = replicas.remove(0);
    replica.wire.as_ref().expect("a wire").set(Wire::Cut);
    // The old master alone has it, and has acknowledged it.
    master.client().put("orders", "", "lost").await;
    let mut old = master.stop(false).await;
    let mut next = replica.stop(false).await;
    next.config.broker_id = 0;
    let master = Member::start(next).await;
    master.client().put("orders", "", "new").await;

    let at = master.broker.replication_addr().expect("a port");
    old.config.broker_id = 1;
    old.config.replication_master = at.to_string();
    let old = Member::start(old).await;
    eventually("the old master tells that it is stuck", async || {
        let findings = status(&old).await.findings;
        findings
            .iter()
            .any(|found| found.code == "diverged" && found.severity == FindingSeverity::Error)
    })
    .await;
    for member in [old, master] {
        member.broker.shutdown().await.expect("a clean stop");
    }
}
