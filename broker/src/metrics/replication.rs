//! The broker as a member of its group.

use rmq_election::place::MEMBERS_MAX;
use rmq_protocol::bodies::{FindingSeverity, MemberStatus};

use super::samples::Samples;
use crate::admin::group_status::group_status;
use crate::broker::Broker;

fn truth(out: &mut Samples, is_so: bool) {
    out.one(f64::from(u8::from(is_so)));
}

pub(super) fn epoch(broker: &Broker, out: &mut Samples) {
    out.one(group_status(broker).epoch as f64);
}

pub(super) fn in_sync(broker: &Broker, out: &mut Samples) {
    if broker.role.leads() {
        out.one(broker.member.in_sync() as f64);
    }
}

pub(super) fn in_sync_min(broker: &Broker, out: &mut Samples) {
    if broker.role.leads() {
        out.one(broker.member.in_sync_min as f64);
    }
}

pub(super) fn writes_closed(broker: &Broker, out: &mut Samples) {
    truth(out, group_status(broker).writes_closed.is_some());
}

pub(super) fn without_master(broker: &Broker, out: &mut Samples) {
    truth(out, broker.is_without_master());
}

pub(super) fn unconfirmed(broker: &Broker, out: &mut Samples) {
    let positions = broker.store.positions();
    out.one(positions.appended.saturating_sub(positions.confirmed) as f64);
}

/// A value of each member that has one.
fn of_members(broker: &Broker, out: &mut Samples, value: impl Fn(&MemberStatus) -> Option<f64>) {
    for member in group_status(broker).members.iter().take(MEMBERS_MAX) {
        if let Some(value) = value(member) {
            out.with(vec![("member", member.slot.to_string())], value);
        }
    }
}

pub(super) fn lag_bytes(broker: &Broker, out: &mut Samples) {
    of_members(broker, out, |member| {
        member.lag_bytes.map(|bytes| bytes as f64)
    });
}

pub(super) fn lag_time(broker: &Broker, out: &mut Samples) {
    of_members(broker, out, |member| {
        member.lag_ms.map(|ms| ms as f64 / 1e3)
    });
}

pub(super) fn connected(broker: &Broker, out: &mut Samples) {
    let me = broker.member.identity.seat.member;
    of_members(broker, out, |member| {
        let is_replica_of_mine = broker.role.leads() && member.slot != me;
        is_replica_of_mine.then(|| f64::from(u8::from(member.connected)))
    });
}

pub(super) fn possibly_lost(broker: &Broker, out: &mut Samples) {
    let lost = group_status(broker).possibly_lost;
    out.one(lost.map_or(0.0, |lost| lost.epoch as f64));
}

pub(super) fn findings(broker: &Broker, out: &mut Samples) {
    let findings = group_status(broker).findings;
    // Alerts need the zero.
    for (severity, label) in [
        (FindingSeverity::Warning, "warning"),
        (FindingSeverity::Error, "error"),
    ] {
        let count = findings.iter().filter(|found| found.severity == severity);
        let labels = vec![("severity", label.to_owned())];
        out.with(labels, count.count() as f64);
    }
}
