//! Whether a group ever served. A group that never did holds no message, so its removal waits for nothing. Pure.
//!
//! `status.everServed` is `false` from the first look at a new object on, and `true` from the first ready pod on. When it is absent, the
//! group counts as one that served: its volumes may be those of an earlier object, and its object may be that of an earlier operator or a
//! restored copy.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use rmq_crds::{BrokerGroup, DeletionPolicy};

use super::observed::Member;

/// `status.everServed` after this look.
pub(super) fn ever_served(
    object: &BrokerGroup,
    members: &[Member],
    claims: &[Arc<PersistentVolumeClaim>],
) -> Option<bool> {
    match &object.status {
        _ if members.iter().any(|member| member.was_ready) => Some(true),
        Some(status) => status.ever_served,
        None if claims.iter().any(|claim| is_older(claim, object)) => None,
        None => Some(false),
    }
}

/// Whether it is certain that no broker of the group ever served.
pub(super) fn never(
    object: &BrokerGroup,
    members: &[Member],
    claims: &[Arc<PersistentVolumeClaim>],
) -> bool {
    if may_have_served(object)
        || members.iter().any(|member| member.was_ready)
        || claims.iter().any(|claim| is_older(claim, object))
    {
        return false;
    }
    let storage = &object.spec.storage;
    // A broker that was killed may have served between two looks. It has left no message when it had no volume; and a volume that is kept
    // keeps its messages.
    let is_kept = storage.deletion_policy == DeletionPolicy::Retain && !storage.ephemeral;
    let is_bound = |claim: &Arc<PersistentVolumeClaim>| {
        let spec = claim.spec.as_ref();
        spec.is_some_and(|spec| spec.volume_name.is_some())
    };
    let has_room = storage.ephemeral || claims.iter().any(is_bound);
    is_kept || !has_room || !members.iter().any(|member| member.was_killed)
}

/// Whether a broker of the group may have served.
pub(crate) fn may_have_served(object: &BrokerGroup) -> bool {
    let status = object.status.as_ref();
    status.and_then(|status| status.ever_served) != Some(false)
}

/// Whether the claim is older than the object.
fn is_older(claim: &PersistentVolumeClaim, object: &BrokerGroup) -> bool {
    let of = |meta: &ObjectMeta| meta.creation_timestamp.as_ref().map(|time| time.0);
    of(claim.meta()) < of(object.meta())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::*;

    fn group(served: Value, policy: &str) -> BrokerGroup {
        let mut group: BrokerGroup = crate::yaml::case("broker-group-small");
        let status = json!({"everServed": served});
        group.status = Some(serde_json::from_value(status).expect("a status"));
        let at = json!("2026-01-01T00:00:10Z");
        group.metadata.creation_timestamp = serde_json::from_value(at).expect("a time");
        group.spec.storage.deletion_policy =
            serde_json::from_value(json!(policy)).expect("a policy");
        group
    }

    fn pod(status: Value) -> Vec<Member> {
        let pod = json!({"metadata": {"name": "a-broker-0", "uid": "1"}, "status": status});
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        vec![Member::of(&pod, None)]
    }

    fn claim(made: &str, volume: Option<&str>) -> Vec<Arc<PersistentVolumeClaim>> {
        let claim = json!({
            "metadata": {"name": "data-a-broker-0", "uid": "1", "creationTimestamp": made},
            "spec": {"volumeName": volume}
        });
        vec![Arc::new(serde_json::from_value(claim).expect("a claim"))]
    }

    /// A pod whose condition Ready has this status since this second.
    fn since(ready: &str, second: u32, container: Value) -> Vec<Member> {
        pod(json!({
            "startTime": "2026-01-01T00:00:20Z",
            "conditions": [{
                "type": "Ready",
                "status": ready,
                "lastTransitionTime": format!("2026-01-01T00:00:{second:02}Z"),
            }],
            "containerStatuses": [container],
        }))
    }

    fn container(state: Value, last: Value) -> Value {
        json!({
            "name": "broker", "image": "rmq:1", "imageID": "", "ready": false, "restartCount": 0,
            "state": state, "lastState": last,
        })
    }

    #[test]
    fn what_never_served_is_told_from_what_did() {
        let new = "2026-01-01T00:00:11Z";
        let waiting = container(
            json!({"waiting": {"reason": "ImagePullBackOff"}}),
            json!({}),
        );
        let crashed = |code: i32| {
            container(
                json!({"waiting": {"reason": "CrashLoopBackOff"}}),
                json!({"terminated": {"exitCode": code}}),
            )
        };
        let unschedulable = pod(json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        ]}));
        for policy in ["Retain", "Delete"] {
            let group = group(json!(false), policy);
            assert!(never(&group, &[], &[]), "no pod, no volume");
            assert!(never(&group, &unschedulable, &claim(new, None)), "no node");
            let pulls = since("False", 20, waiting.clone());
            assert!(never(&group, &pulls, &claim(new, Some("pv"))), "no image");
            let crashes = since("False", 21, crashed(1));
            assert!(never(&group, &crashes, &claim(new, Some("pv"))), "crashes");

            let serves = since("True", 25, waiting.clone());
            assert!(!never(&group, &serves, &claim(new, Some("pv"))), "serves");
            let served = since("False", 40, crashed(1));
            assert!(!never(&group, &served, &claim(new, Some("pv"))), "served");
            let older = claim("2026-01-01T00:00:05Z", Some("pv"));
            assert!(!never(&group, &crashes, &older), "a volume of before");
            let older = claim("2026-01-01T00:00:05Z", None);
            assert!(!never(&group, &[], &older), "a claim of before");
        }
        // Killed, and never seen ready: it may have stored messages, which a kept volume still holds.
        let killed = since("False", 20, crashed(137));
        assert!(never(
            &group(json!(false), "Retain"),
            &killed,
            &claim(new, Some("pv"))
        ));
        assert!(!never(
            &group(json!(false), "Delete"),
            &killed,
            &claim(new, Some("pv"))
        ));
        for unknown in [json!(true), Value::Null] {
            assert!(!never(&group(unknown, "Retain"), &[], &[]));
        }
    }

    #[test]
    fn only_the_first_look_at_a_new_object_says_never() {
        let noted = ever_served;
        let known = group(Value::Null, "Retain");
        assert_eq!(noted(&known, &[], &[]), None, "of an earlier operator");
        let mut new = known.clone();
        new.status = None;
        assert_eq!(noted(&new, &[], &[]), Some(false));
        let older = claim("2026-01-01T00:00:05Z", None);
        assert_eq!(noted(&new, &[], &older), None);
        let serves = since("True", 25, container(json!({}), json!({})));
        assert_eq!(noted(&new, &serves, &[]), Some(true));
        assert_eq!(
            noted(&group(json!(false), "Retain"), &serves, &[]),
            Some(true)
        );
        assert_eq!(noted(&group(json!(true), "Retain"), &[], &[]), Some(true));
    }
}
