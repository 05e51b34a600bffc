//! Who takes part in the election of a group with replicas, and how many pods there are. Pure.
//!
//! The brokers count on this: whoever is a member may become the master, and the master of a group that has messages must have them. So a
//! broker that was alone is the only member until it leads; new members come then, and copy before they count. A member goes only when the
//! others are enough and none of those that go is the master.

use std::collections::BTreeSet;

use kube::ResourceExt;
use rmq_crds::{DeletionPolicy, ElectionAckMode, ElectionRequest};

use crate::objects::names;

use super::observed::Observed;
use super::view::View;

/// Slots that a group may have.
const SLOTS: i64 = 16;

/// The election of a group as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Membership {
    /// Slots that may take part.
    pub(super) members: BTreeSet<i64>,
    /// Pods: all members, and those that are about to become members or to go.
    pub(super) pods: i32,
    pub(super) ack_mode: ElectionAckMode,
    pub(super) min_in_sync: i32,
    /// Pods of the group that a drain of nodes may take away at the same time.
    pub(super) may_go: i32,
    /// The move of the master that is asked for.
    pub(super) switchover: Option<ElectionRequest>,
    /// The election belongs to the object and goes with it; otherwise it stays with the volumes.
    pub(super) goes_too: bool,
    pub(super) makes_lease: bool,
}

/// The election of a group; none of a broker that is alone and always was.
pub(super) fn of(observed: &Observed<'_>) -> Option<Membership> {
    let object = observed.object;
    let status = object.status.as_ref();
    let was_elected = status.is_some_and(|status| status.epoch.is_some());
    let wanted = i64::from(object.spec.replicas);
    // A group that had replicas keeps its election: brokers that have had one begin no new one.
    if wanted <= 1 && observed.election.is_none() && !was_elected {
        return None;
    }
    let view = observed.view.as_ref();
    let members = match view {
        None => first(observed, wanted),
        // Whoever begins stays among themselves until one of them leads.
        Some(view) if view.epoch == 0 && !view.members.is_empty() => view.members.clone(),
        Some(view) if view.epoch == 0 => first(observed, wanted),
        Some(view) => next(view, wanted, i64::from(object.min_in_sync())),
    };
    let in_sync = view.map(|view| view.in_sync.clone()).unwrap_or_default();
    let last = members.iter().chain(&in_sync).max().copied();
    let pods = wanted.max(last.map_or(0, |last| last + 1));
    let rollout = status.and_then(|status| status.rollout.as_ref());
    let storage = &object.spec.storage;
    Some(Membership {
        min_in_sync: min_in_sync(object.min_in_sync(), &members, view),
        ack_mode: ack_mode(object.ack_mode(), view),
        may_go: i32::from(may_go(view)),
        switchover: rollout.and_then(|rollout| rollout.switchover.clone()),
        goes_too: storage.ephemeral || storage.deletion_policy == DeletionPolicy::Delete,
        makes_lease: observed.lease == super::observed::LeaseSeen::Missing,
        pods: i32::try_from(pods).unwrap_or(i32::MAX),
        members,
    })
}

/// Who begins: everybody, or those that may have messages, where some have and some have not.
fn first(observed: &Observed<'_>, wanted: i64) -> BTreeSet<i64> {
    let set = observed.set.as_ref().and_then(|set| set.spec.as_ref());
    let pods = set.and_then(|set| set.replicas).unwrap_or(0);
    let claims = observed.claims.iter();
    let slots = claims.filter_map(|claim| names::slot(&claim.name_any()));
    let had: BTreeSet<i64> = slots.chain(0..i64::from(pods)).collect();
    let had: BTreeSet<i64> = had.into_iter().filter(|slot| *slot < SLOTS).collect();
    match had.is_empty() {
        true => (0..wanted).collect(),
        false => had,
    }
}

/// Members of a group that has a master. New ones come at once: they count when they have everything. Others go when nobody needs them.
fn next(view: &View, wanted: i64, min: i64) -> BTreeSet<i64> {
    let stay: BTreeSet<i64> = (0..wanted).collect();
    let all: BTreeSet<i64> = view.members.union(&stay).copied().collect();
    let in_sync = view.in_sync.intersection(&stay).count();
    let is_enough = i64::try_from(in_sync).is_ok_and(|in_sync| in_sync >= min);
    let is_led = view.serving().is_some_and(|master| stay.contains(&master));
    match is_led && is_enough {
        true => stay,
        false => all,
    }
}

/// What the election has now is raised only when so many are in sync: the group would stop otherwise, until they are.
fn min_in_sync(wanted: i32, members: &BTreeSet<i64>, view: Option<&View>) -> i32 {
    let wanted = wanted.min(i32::try_from(members.len()).unwrap_or(i32::MAX));
    match view {
        Some(view) if view.epoch > 0 && wanted > view.min_in_sync => {
            let in_sync = i32::try_from(view.in_sync.len()).unwrap_or(i32::MAX);
            if in_sync >= wanted {
                wanted
            } else {
                view.min_in_sync
            }
        }
        _ => wanted,
    }
}

/// A master that has another one than its group can be the master of nobody: so it changes only while there is one member.
fn ack_mode(wanted: ElectionAckMode, view: Option<&View>) -> ElectionAckMode {
    let known = view.filter(|view| view.members.len() > 1);
    known.and_then(|view| view.ack_mode).unwrap_or(wanted)
}

/// A drain may take one broker while messages are taken without it. A broker that is alone can be drained, as always.
fn may_go(view: Option<&View>) -> bool {
    view.is_none_or(|view| view.epoch == 0 || view.members.len() < 2 || view.spares_any())
}
