//! Pods on nodes that do not answer, and volumes that are gone. Pure.

use kube::ResourceExt;
use rmq_crds::{BrokerGroupStatus, Conditions, NodeDownPolicy};

use crate::objects::names;

use super::decision::Step;
use super::observed::{Member, NodeSeen, Observed};
use super::said::Said;

/// Seconds after which a pod that had to be gone is on a node that does not answer.
const LOST_AFTER: i64 = 30;
/// Seconds after which a pod that finds no node may have a volume that no node has: a node that is made again comes back by then.
const UNPLACED_AFTER: i64 = 60;
/// The condition.
const TYPE: &str = "ReplicaOnLostNode";
/// Its reason when the pod is deleted without its node.
const FORCED: &str = "ForceDeletion";

/// Whether a pod had to be gone for a while: nobody makes another one of its name before that is settled.
pub(super) fn is_overdue(observed: &Observed<'_>, member: &Member) -> bool {
    member
        .gone_at
        .is_some_and(|gone| observed.now.duration_since(gone).as_secs() >= LOST_AFTER)
}

/// Whether a pod has found no node for a while.
pub(super) fn is_unplaced(observed: &Observed<'_>, member: &Member) -> bool {
    member
        .unplaced_since
        .is_some_and(|since| observed.now.duration_since(since).as_secs() >= UNPLACED_AFTER)
}

/// A member whose volume is gone, and why. One is mended at a time.
pub(super) fn volume<'o>(observed: &'o Observed<'_>) -> Option<(i64, &'o str)> {
    let lost = observed.claims.iter().filter(|claim| {
        let status = claim.status.as_ref();
        status.and_then(|status| status.phase.as_deref()) == Some("Lost")
            && claim.metadata.deletion_timestamp.is_none()
    });
    let lost = lost.filter_map(|claim| names::slot(&claim.name_any()));
    let lost = lost.map(|slot| (slot, "the volume of its claim is gone"));
    let bound = observed.stranded.iter();
    let bound = bound.map(|(slot, why)| (*slot, why.as_str()));
    lost.chain(bound).min()
}

/// What the condition says. None: no pod ever was on a lost node.
pub(super) fn said(observed: &Observed<'_>, status: &BrokerGroupStatus) -> Option<Said> {
    let mut overdue = observed
        .members
        .iter()
        .filter(|member| is_overdue(observed, member));
    let said = overdue.find_map(|member| on_lost_node(observed, member));
    said.or_else(|| status.conditions.of(TYPE).map(|_| Said::done(TYPE)))
}

fn on_lost_node(observed: &Observed<'_>, member: &Member) -> Option<Said> {
    let pod = &member.name;
    let node = member.node_name.as_deref().unwrap_or("NODE");
    let mends = format!(
        "when the node is off for good: kubectl taint node {node} node.kubernetes.io/out-of-service=nodeshutdown:NoExecute, and the pod moves"
    );
    let (reason, message) = match observed.nodes.get(node) {
        // It stops, and takes its time.
        Some(NodeSeen::Answers) => return None,
        Some(NodeSeen::Gone) => (
            "NodeIsGone",
            format!(
                "pod {pod} was to stop and its node {node} is no more; Kubernetes removes the pod"
            ),
        ),
        Some(NodeSeen::Silent { is_out_of_service }) => {
            let forced = |why: &str| {
                (
                    FORCED,
                    format!(
                        "pod {pod} was to stop and its node {node} does not answer; it is deleted without its node ({why})"
                    ),
                )
            };
            match observed.object.spec.node_down_policy {
                _ if *is_out_of_service => {
                    forced("the node has the taint node.kubernetes.io/out-of-service")
                }
                NodeDownPolicy::ForceDeletePods => forced("spec.nodeDownPolicy ForceDeletePods"),
                NodeDownPolicy::Wait => (
                    "NodeDoesNotAnswer",
                    format!("pod {pod} was to stop and its node {node} does not answer; {mends}"),
                ),
            }
        }
        Some(NodeSeen::Unknown(why)) => (
            "NodeNotKnown",
            format!(
                "pod {pod} was to stop and did not; its node {node} cannot be looked at: {why}; {mends}"
            ),
        ),
        None => (
            "NodeDoesNotAnswer",
            format!("pod {pod} was to stop and its node {node} does not answer; {mends}"),
        ),
    };
    Some(Said::new(TYPE, true, reason, message))
}

/// The pod that is deleted without its node now: the status has told of it before, and the node has been looked at again.
pub(super) fn forced(observed: &Observed<'_>) -> Option<Step> {
    let status = observed.object.status.as_ref()?;
    let known = status.conditions.of(TYPE)?;
    let member = observed.members.iter().find(|member| {
        is_overdue(observed, member)
            && known.reason == FORCED
            && known.message.starts_with(&format!("pod {} ", member.name))
    })?;
    let said = on_lost_node(observed, member)?;
    (said.reason == FORCED).then(|| Step::ForceDelete {
        pod: member.name.clone(),
        uid: member.uid.clone(),
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rmq_crds::BrokerGroup;

    use super::*;

    #[test]
    fn a_pod_is_deleted_without_its_node_when_a_person_has_said_so() {
        use NodeDownPolicy::{ForceDeletePods, Wait};
        let at = |second| Timestamp::from_second(second).expect("a small number");
        let silent = |is_out_of_service| NodeSeen::Silent { is_out_of_service };
        let unknown = || NodeSeen::Unknown("forbidden".to_owned());
        for (policy, node, gone_at, reason, is_forced) in [
            (Wait, Some(silent(false)), 970, "NodeDoesNotAnswer", false),
            (Wait, Some(silent(true)), 970, FORCED, true),
            (ForceDeletePods, Some(silent(false)), 970, FORCED, true),
            (ForceDeletePods, Some(silent(false)), 971, "", false),
            (ForceDeletePods, Some(NodeSeen::Answers), 900, "", false),
            (
                ForceDeletePods,
                Some(NodeSeen::Gone),
                900,
                "NodeIsGone",
                false,
            ),
            (ForceDeletePods, Some(unknown()), 900, "NodeNotKnown", false),
            (ForceDeletePods, None, 900, "NodeDoesNotAnswer", false),
        ] {
            let mut object: BrokerGroup = crate::yaml::case("broker-group-small");
            object.spec.node_down_policy = policy;
            let member = Member {
                name: "a-broker-0".to_owned(),
                uid: "old".to_owned(),
                node_name: Some("n1".to_owned()),
                gone_at: Some(at(gone_at)),
                ..Member::default()
            };
            let mut status = BrokerGroupStatus::default();
            let look = |object: &BrokerGroup| {
                let mut observed = Observed::nothing(object, at(1_000));
                observed.members = vec![member.clone()];
                observed.nodes = node
                    .clone()
                    .map(|node| ("n1".to_owned(), node))
                    .into_iter()
                    .collect();
                let told = said(
                    &observed,
                    object
                        .status
                        .as_ref()
                        .unwrap_or(&BrokerGroupStatus::default()),
                );
                (told, forced(&observed))
            };
            let (told, first) = look(&object);
            assert_eq!(first, None, "the status says so first");
            let told_reason = told.as_ref().map_or("", |told| told.reason);
            assert_eq!(told_reason, reason, "{policy:?} {node:?}");
            let observed = Observed::nothing(&object, at(1_000));
            if let Some(told) = told {
                assert!(told.message.contains("a-broker-0") && told.message.contains("n1"));
                told.set(&mut status, &observed);
            }
            drop(observed);
            object.status = Some(status);
            let (_, second) = look(&object);
            assert_eq!(second.is_some(), is_forced, "{policy:?} {node:?} {gone_at}");
        }
    }
}
