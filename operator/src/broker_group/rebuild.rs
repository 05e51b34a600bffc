//! Members that are made anew: the volume goes with the pod, and the new broker copies everything from the others. Pure.
//!
//! A person asks for it with an annotation, or the volume of a member is gone. One member at a time, and never one that the group needs.

use std::collections::BTreeSet;

use kube::ResourceExt;
use rmq_crds::{BrokerGroupStatus, Conditions, Rebuild, RebuildClaim, Rollout};

use crate::annotations;
use crate::objects::names;

use super::lost;
use super::observed::{Member, Observed};
use super::said::Said;
use super::view::View;

/// The condition.
const TYPE: &str = "Rebuilding";
/// Why a member is made anew: a person asked for it.
pub(super) const REQUESTED: &str = "RebuildRequested";
/// Its volume is gone.
pub(super) const VOLUME_GONE: &str = "VolumeGone";

/// Why a member is not made anew, as the condition says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Refused {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// A member that may be made anew now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) pod: Member,
    pub(super) reason: &'static str,
    pub(super) rebuild: Rebuild,
}

/// What is asked for, and whether it may begin. None: nothing.
pub(super) fn asked(observed: &Observed<'_>) -> Option<Result<Due, Refused>> {
    let wish = observed.object.annotations().get(annotations::REBUILD);
    let Some(wish) = wish else {
        let (slot, _) = lost::volume(observed)?;
        return Some(may(observed, slot, VOLUME_GONE));
    };
    let Some(slot) = slot(observed, wish) else {
        let message = format!(
            "annotation {}: {wish:?} is no member; write the number of a pod of this group",
            annotations::REBUILD
        );
        return Some(Err(Refused::new("NoSuchMember", message)));
    };
    Some(may(observed, slot, REQUESTED))
}

/// The slot that the annotation names, by its number or its pod.
fn slot(observed: &Observed<'_>, wish: &str) -> Option<i64> {
    let workload = names::brokers(&observed.name());
    let number = wish.trim();
    let number = number
        .strip_prefix(&format!("{workload}-"))
        .unwrap_or(number);
    number.parse().ok().filter(|slot| *slot >= 0)
}

/// Whether the annotation of the object names the pod of this restart.
pub(super) fn is_wish_of(observed: &Observed<'_>, rollout: &Rollout) -> bool {
    let wish = observed.object.annotations().get(annotations::REBUILD);
    wish.and_then(|wish| slot(observed, wish)) == names::slot(&rollout.pod)
}

fn may(observed: &Observed<'_>, slot: i64, reason: &'static str) -> Result<Due, Refused> {
    let begun = begun(observed, slot, reason)?;
    let claim = observed.claims.iter().find(|claim| {
        names::slot(&claim.name_any()) == Some(slot) && claim.metadata.deletion_timestamp.is_none()
    });
    let claim = claim.map(|claim| RebuildClaim {
        name: claim.name_any(),
        uid: claim.uid().unwrap_or_default(),
    });
    let view = observed.view.as_ref();
    Ok(Due {
        pod: begun.clone(),
        reason,
        rebuild: Rebuild {
            claim,
            incarnation: view.and_then(|view| view.incarnations.get(&slot).cloned()),
        },
    })
}

/// The pod of a member that may go with its volume now, as far as the others are concerned.
fn begun<'o>(
    observed: &'o Observed<'_>,
    slot: i64,
    reason: &'static str,
) -> Result<&'o Member, Refused> {
    let view = observed.view.as_ref();
    let Some(view) = view.filter(|view| view.epoch > 0 && view.members.len() > 1) else {
        return Err(Refused::new(
            "NoReplicas",
            "no other member has the messages: a broker that is alone cannot be made anew",
        ));
    };
    if !view.members.contains(&slot) {
        let members: Vec<String> = view.members.iter().map(i64::to_string).collect();
        let message = format!(
            "member {slot} is no member of the group; its members are {}",
            members.join(", ")
        );
        return Err(Refused::new("NoSuchMember", message));
    }
    let mut pods = observed.members.iter();
    let Some(pod) = pods.find(|pod| pod.slot == slot) else {
        let message = format!("member {slot} has no pod yet; it begins when Kubernetes made it");
        return Err(Refused::new("NoPod", message));
    };
    // A volume that is gone takes nothing with it.
    let is_gone = reason == VOLUME_GONE && !view.in_sync.contains(&slot);
    needed(observed, view, slot, is_gone).map_or(Ok(pod), Err)
}

/// Why the group needs this member. None: it does not.
fn needed(observed: &Observed<'_>, view: &View, slot: i64, is_gone: bool) -> Option<Refused> {
    let broker = observed.object.broker_name();
    let others: BTreeSet<i64> = view
        .members
        .iter()
        .copied()
        .filter(|one| *one != slot)
        .collect();
    if view.master == Some(slot) {
        let to = view.in_sync.iter().find(|other| **other != slot);
        let to = to.map_or_else(|| "MEMBER".to_owned(), i64::to_string);
        let message = format!(
            "member {slot} is the master: hand over first (rmq-ctl broker switchover {broker} --to {to})"
        );
        return Some(Refused::new("IsMaster", message));
    }
    if view.serving().is_none() {
        let message =
            "the group has no master that the member could copy from; it begins when there is one";
        return Some(Refused::new("NoMaster", message));
    }
    if is_gone {
        return None;
    }
    let named = |slots: Vec<i64>| {
        let slots: Vec<String> = slots.iter().map(i64::to_string).collect();
        slots.join(", ")
    };
    let behind: Vec<i64> = others.difference(&view.in_sync).copied().collect();
    if !behind.is_empty() {
        let message = format!(
            "not in sync: member {}; it begins when all others have everything (rmq-ctl broker replication {broker} --watch)",
            named(behind)
        );
        return Some(Refused::new("OthersNotInSync", message));
    }
    let mut pods = observed.members.iter();
    let away = pods.find(|pod| pod.slot != slot && (!pod.is_ready || pod.is_terminating));
    if let Some(away) = away {
        let message = format!("pod {} is not ready; it begins when it is", away.name);
        return Some(Refused::new("OthersNotReady", message));
    }
    let min = observed.object.min_in_sync();
    let stay = i32::try_from(others.len()).unwrap_or(i32::MAX);
    if stay < min.max(view.min_in_sync) {
        let message = format!(
            "without member {slot} {stay} are in sync, and no messages are taken below {min} (spec.replication.minInSync): add a replica first, or lower minInSync meanwhile"
        );
        return Some(Refused::new("BelowMinimum", message));
    }
    None
}

/// Whether a member may go now that the group has begun to make anew. The error: what it waits for.
pub(super) fn may_go(observed: &Observed<'_>, rollout: &Rollout) -> Result<(), String> {
    let slot = names::slot(&rollout.pod).unwrap_or(-1);
    let reason = match rollout.reason == VOLUME_GONE {
        true => VOLUME_GONE,
        false => REQUESTED,
    };
    begun(observed, slot, reason)
        .map(drop)
        .map_err(|refused| refused.message)
}

/// Whether the volume of a member that is made anew is still its old one.
pub(super) fn has_old_claim(observed: &Observed<'_>, rebuild: &Rebuild) -> bool {
    rebuild.claim.as_ref().is_some_and(|old| {
        observed.claims.iter().any(|claim| {
            claim.uid().as_deref() == Some(&*old.uid) && claim.metadata.deletion_timestamp.is_none()
        })
    })
}

/// What the condition says. None: nobody ever asked.
pub(super) fn said(
    observed: &Observed<'_>,
    rollout: Option<&Rollout>,
    status: &BrokerGroupStatus,
) -> Option<Said> {
    if let Some(rollout) = rollout.filter(|rollout| rollout.rebuild.is_some()) {
        let message = format!(
            "pod {} is made anew and copies everything from the others",
            rollout.pod
        );
        let reason = match rollout.reason == VOLUME_GONE {
            true => VOLUME_GONE,
            false => REQUESTED,
        };
        return Some(Said::new(TYPE, true, reason, message));
    }
    match asked(observed) {
        Some(Err(refused)) => Some(Said::new(TYPE, false, refused.reason, refused.message)),
        Some(Ok(due)) => {
            let message = format!("pod {} is about to be made anew", due.pod.name);
            Some(Said::new(TYPE, false, "Waiting", message))
        }
        None => status.conditions.of(TYPE).map(|_| Said::done(TYPE)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use rmq_crds::BrokerGroup;
    use serde_json::json;

    use super::*;

    fn group(wish: Option<&str>) -> BrokerGroup {
        let mut group: BrokerGroup = crate::yaml::case("broker-group-replicas");
        let wish = wish.map(|wish| (annotations::REBUILD.to_owned(), wish.to_owned()));
        group.metadata.annotations = Some(wish.into_iter().collect());
        group
    }

    /// Three members that are in sync; member 1 is the master.
    fn whole(object: &BrokerGroup) -> Observed<'_> {
        let mut observed = Observed::nothing(object, Timestamp::UNIX_EPOCH);
        let all = [0_i64, 1, 2];
        observed.view = Some(View {
            members: all.into(),
            epoch: 3,
            master: Some(1),
            is_stable: true,
            in_sync: all.into(),
            incarnations: all.map(|slot| (slot, format!("data-{slot}"))).into(),
            min_in_sync: 2,
            ..View::default()
        });
        observed.members = all.map(|slot| pod(object, slot)).into();
        observed.claims = all.map(|slot| claim(object, slot, "Bound")).into();
        observed
    }

    fn pod(object: &BrokerGroup, slot: i64) -> Member {
        Member {
            name: format!("{}-broker-{slot}", object.name_any()),
            slot,
            is_ready: true,
            is_current: true,
            ..Member::default()
        }
    }

    fn claim(
        object: &BrokerGroup,
        slot: i64,
        phase: &str,
    ) -> Arc<k8s_openapi::api::core::v1::PersistentVolumeClaim> {
        let name = format!("data-{}-broker-{slot}", object.name_any());
        let claim = json!({"metadata": {"name": name, "uid": format!("claim-{slot}")}, "status": {"phase": phase}});
        Arc::new(serde_json::from_value(claim).expect("a claim"))
    }

    fn refused(observed: &Observed<'_>) -> (&'static str, String) {
        match asked(observed) {
            Some(Err(refused)) => (refused.reason, refused.message),
            other => panic!("it is refused, not {other:?}"),
        }
    }

    #[test]
    fn a_member_is_named_by_its_number_or_its_pod() {
        let name = group(None).name_any();
        for wish in ["2".to_owned(), format!("{name}-broker-2")] {
            let object = group(Some(&wish));
            let due = asked(&whole(&object)).expect("it is asked for");
            let due = due.expect("it may begin");
            assert_eq!((due.pod.slot, due.reason), (2, REQUESTED));
            let claim = due.rebuild.claim.expect("a claim");
            assert_eq!(claim.uid, "claim-2");
            assert_eq!(due.rebuild.incarnation.as_deref(), Some("data-2"));
        }
        for wish in ["3", "x", "-1", "a-broker-x"] {
            let object = group(Some(wish));
            assert_eq!(refused(&whole(&object)).0, "NoSuchMember", "{wish}");
        }
        assert_eq!(asked(&whole(&group(None))), None);
    }

    #[test]
    fn a_member_that_the_group_needs_stays() {
        let object = group(Some("2"));
        type Change = fn(&mut Observed<'_>);
        let rows: [(Change, &str, &str); 7] = [
            (|seen| view(seen).master = Some(2), "IsMaster", "switchover"),
            (|seen| view(seen).is_stable = false, "NoMaster", "no master"),
            (
                |seen| view(seen).in_sync.retain(|slot| *slot != 0),
                "OthersNotInSync",
                "member 0",
            ),
            (
                |seen| seen.members[0].is_ready = false,
                "OthersNotReady",
                "-0",
            ),
            (|seen| drop(seen.members.pop()), "NoPod", "no pod"),
            (
                |seen| view(seen).min_in_sync = 3,
                "BelowMinimum",
                "spec.replication.minInSync",
            ),
            (
                |seen| view(seen).members = [2].into(),
                "NoReplicas",
                "no other member",
            ),
        ];
        for (change, reason, text) in rows {
            let mut observed = whole(&object);
            change(&mut observed);
            let (has, message) = refused(&observed);
            assert_eq!(has, reason);
            assert!(message.contains(text), "{message}");
        }
    }

    fn view<'v>(observed: &'v mut Observed<'_>) -> &'v mut View {
        observed.view.as_mut().expect("a view")
    }

    #[test]
    fn a_volume_that_is_gone_is_replaced_without_being_asked_for() {
        let object = group(None);
        let mut observed = whole(&object);
        observed.claims[0] = claim(&object, 0, "Lost");
        observed.members[0].is_ready = false;
        // The master still waits for it.
        let due = asked(&observed).expect("it is due").expect("it may begin");
        assert_eq!((due.pod.slot, due.reason), (0, VOLUME_GONE));
        view(&mut observed).in_sync.remove(&0);
        // Two volumes are gone: one after the other, and the master has everything.
        observed.claims[2] = claim(&object, 2, "Lost");
        view(&mut observed).in_sync.remove(&2);
        observed.members[2].is_ready = false;
        let due = asked(&observed).expect("it is due").expect("it may begin");
        assert_eq!(due.pod.slot, 0);
        view(&mut observed).is_stable = false;
        assert_eq!(refused(&observed).0, "NoMaster");
    }
}
