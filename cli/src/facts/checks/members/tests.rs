//! Each finding about members, from what members say.

use rmq_client::protocol::Incarnation;
use rmq_client::protocol::bodies::{GroupFinding, MemberStatus};
use rmq_client::protocol::member::MemberId;

use super::*;
use crate::facts::broker_group::ClockGap;

const SERVERS: [&str; 2] = ["ns-0:9876", "ns-1:9876"];

/// Three members that elect their master; member 0 is it, and all are in sync.
fn group() -> BrokerGroup {
    let members = (0..3).map(|slot| Member {
        slot: Some(MemberId(slot)),
        address: address(slot),
        registered: SERVERS
            .iter()
            .map(|server| ((*server).to_owned(), slot as i64))
            .collect(),
        said: Said::Status(Box::new(status(slot)), Some(clock(0))),
    });
    let master = |server: &&str| ((*server).to_owned(), Some(address(0)));
    BrokerGroup {
        name: "a".to_owned(),
        cluster: "main".to_owned(),
        members: members.collect(),
        masters: SERVERS.iter().map(master).collect(),
    }
}

fn address(slot: u64) -> String {
    format!("10.0.0.{slot}:10911")
}

fn clock(ahead: i64) -> ClockGap {
    ClockGap {
        at_least: ahead - 3,
        at_most: ahead + 3,
    }
}

fn status(me: u64) -> GroupStatus {
    let member = |slot| MemberStatus {
        client: address(slot),
        connected: true,
        flushed: Some(900),
        in_sync: true,
        incarnation: Some(Incarnation(slot.into())),
        lag_bytes: Some(0),
        lag_ms: Some(0),
        partial: false,
        received: Some(1_000),
        replication: format!("10.0.0.{slot}:10912"),
        role: match slot {
            0 => MemberRole::Master,
            _ => MemberRole::Replica,
        },
        slot: MemberId(slot),
    };
    GroupStatus {
        ack_mode: "inSync".to_owned(),
        broker_name: "a".to_owned(),
        confirmed: 1_000,
        election: "etcd".to_owned(),
        end: 1_000,
        epoch: 7,
        findings: Vec::new(),
        master: Some(MemberId(0)),
        me: MemberId(me),
        members: (0..3).map(member).collect(),
        min_in_sync: 2,
        now_ms: 1,
        outcome: None,
        phase: "Stable".to_owned(),
        place: "etcd at e-0:2379".to_owned(),
        place_away: false,
        possibly_lost: None,
        state: String::new(),
        switchover: None,
        writes_closed: None,
    }
}

impl BrokerGroup {
    /// Changes what a member says.
    fn says(mut self, slot: usize, change: impl FnOnce(&mut GroupStatus)) -> Self {
        if let Said::Status(status, _) = &mut self.members[slot].said {
            change(status);
        }
        self
    }

    fn finds(self, slot: usize, code: &str, severity: FindingSeverity) -> Self {
        self.says(slot, |status| {
            status.findings.push(GroupFinding {
                code: code.to_owned(),
                severity,
                text: format!("so it is with {code}"),
            });
        })
    }

    fn without(mut self, slot: usize) -> Self {
        self.members[slot].said = Said::Nothing("connection refused".to_owned());
        self
    }
}

/// The only check that is not fine has this id and says this, and each check has a section in the runbook.
#[track_caller]
fn only(group: &BrokerGroup, id: &str, says: &[&str]) {
    let found = checks(group);
    assert!(
        found.iter().all(|check| IDS.contains(&check.id)),
        "{found:?}"
    );
    let bad: Vec<&Check> = found.iter().filter(|check| !check.is_fine).collect();
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert_eq!(bad[0].id, id, "{bad:?}");
    for part in says {
        assert!(bad[0].says.contains(part), "{part}: {}", bad[0].says);
    }
}

#[test]
fn a_group_that_is_well_has_one_line() {
    let found = checks(&group());
    assert_eq!(found.len(), 1);
    assert!(found[0].is_fine && !found[0].is_note);
    let says = "member 0 is the master of epoch 7; 3 of 3 members are in sync";
    assert_eq!(found[0].says, says);
}

#[test]
fn no_master_and_why() {
    let group = group()
        .without(0)
        .says(1, |status| status.phase = "Vacant".to_owned())
        .finds(1, "noMaster", FindingSeverity::Error);
    let found = checks(&group);
    let bad: Vec<&Check> = found.iter().filter(|check| !check.is_fine).collect();
    assert_eq!(bad[0].id, "broker-has-master");
    for part in [
        "member 1: so it is",
        "member 0 does not answer",
        "promote a MEMBER",
    ] {
        assert!(bad[0].says.contains(part), "{}", bad[0].says);
    }
    assert_eq!(bad[1].id, "member-answers");
}

#[test]
fn masters_that_differ() {
    let mut torn = group();
    torn.masters[1].1 = Some(address(2));
    only(
        &torn,
        "broker-one-master",
        &["10.0.0.0:10911 at ns-0", "10.0.0.2:10911 at ns-1"],
    );
    let both = group().says(2, |status| {
        status.epoch = 8;
        status.members[2].role = MemberRole::Master;
    });
    only(
        &both,
        "broker-one-master",
        &["member 0 of epoch 7", "member 2 of epoch 8"],
    );
    // The one with the higher epoch is who is believed.
    assert_eq!(both.master().unwrap().0.slot, Some(MemberId(2)));
}

#[test]
fn members_that_are_not_what_they_should_be() {
    let out = group().says(0, |status| {
        let member = &mut status.members[2];
        (member.in_sync, member.lag_bytes, member.lag_ms) = (false, Some(3 << 20), Some(90_000));
    });
    only(
        &out,
        "member-in-sync",
        &["3.0 MiB and 1m 30s behind", "--watch"],
    );
    let away = out.without(2);
    only(
        &away,
        "member-answers",
        &["connection refused", "not in the in-sync set"],
    );
    let cut = group().says(0, |status| status.members[1].connected = false);
    only(&cut, "member-copies", &["no connection", "10.0.0.0:10912"]);
    let stuck = group().finds(1, "diverged", FindingSeverity::Error);
    only(
        &stuck,
        "member-copies",
        &["so it is with diverged", "empty its data folder"],
    );
    let mut unknown = group();
    unknown.members[2].registered.pop();
    only(&unknown, "member-registered", &["ns-1:9876"]);
    let old = {
        let mut group = group();
        group.members[1].said = Said::Unsupported;
        group
    };
    only(&old, "member-answers", &["earlier version"]);
}

#[test]
fn the_set_below_its_minimum() {
    let closed = |status: &mut GroupStatus| {
        status.writes_closed = Some("1 in sync".to_owned());
    };
    only(
        &group().says(0, closed),
        "broker-minimum",
        &["1 in sync", "minInSync is 2"],
    );
    // A moment of a switchover is no problem.
    let moment = group().says(0, |status| {
        closed(status);
        status.switchover = Some(rmq_client::protocol::bodies::GroupRequest {
            kind: "switchover".to_owned(),
            request: "1".to_owned(),
            to: MemberId(1),
        });
    });
    assert!(checks(&moment).iter().all(|check| check.is_fine));
}

#[test]
fn the_place_and_clocks() {
    let away = group().says(1, |status| status.place_away = true);
    only(
        &away,
        "broker-place",
        &["member 1 cannot reach", "neither be elected"],
    );
    let failsafe = group().says(0, |status| status.place_away = true).finds(
        0,
        "failsafe",
        FindingSeverity::Warning,
    );
    only(&failsafe, "broker-place", &["failsafe", "etcd at e-0:2379"]);
    let mut ahead = group();
    let Said::Status(_, gap) = &mut ahead.members[2].said else {
        panic!("it answers");
    };
    *gap = Some(clock(90_000));
    only(
        &ahead,
        "broker-clocks",
        &["member 2 is 1m 29s ahead", "timedatectl"],
    );
    assert_eq!(clock(100).ahead_of(clock(95)), 0);
}

#[test]
fn what_members_say_besides_is_said_once() {
    for (code, id) in [
        ("otherIncarnation", "member-data"),
        ("damaged", "member-damage"),
        ("parted", "member-parted"),
        ("dirty", "member-crashed"),
        ("diskFailed", "member-state"),
        ("notAMember", "member-known"),
        ("recordGone", "broker-record"),
        ("neverHeardOf", "member-finding"),
    ] {
        let said = group().finds(1, code, FindingSeverity::Warning).finds(
            2,
            code,
            FindingSeverity::Warning,
        );
        only(&said, id, &["so it is", "rmq-ctl "]);
    }
    for code in ["dataLossPossible", "switchoverTakenBack"] {
        let found = checks(&group().finds(0, code, FindingSeverity::Error));
        let notes: Vec<&Check> = found.iter().filter(|check| check.is_note).collect();
        assert_eq!(notes.len(), 1, "{found:?}");
    }
}

#[test]
fn a_broker_that_is_alone_has_no_lines() {
    let mut alone = group().says(0, |status| status.election = "static".to_owned());
    alone.members.truncate(1);
    assert!(checks(&alone).is_empty());
}
