//! How pods, StatefulSets and volumes are, and their problems in words that say what to do. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ContainerStatus, PersistentVolumeClaim, Pod};
use kube::ResourceExt;

/// The kubelet takes a pod's condition Ready and its start in one look, and writes both in whole seconds.
const SAME_LOOK: SignedDuration = SignedDuration::from_secs(1);

/// Something that a person has to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// Whether a pod serves.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|conditions| {
        conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
    }) && pod.metadata.deletion_timestamp.is_none()
}

/// Whether the pod is ready, or was: its condition Ready changed after the pod's start.
pub(crate) fn was_ready(pod: &Pod) -> bool {
    if is_ready(pod) {
        return true;
    }
    let Some(status) = &pod.status else {
        return false;
    };
    let conditions = status.conditions.iter().flatten();
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    ready.any(|ready| {
        let began = status.start_time.as_ref();
        let changed = ready.last_transition_time.as_ref();
        match (began, changed) {
            (Some(began), Some(changed)) => changed.0.duration_since(began.0) > SAME_LOOK,
            // Without the two times, only the condition itself tells.
            _ => ready.status == "True",
        }
    })
}

/// Since when no node takes the pod. None: it has one, or nobody has tried.
pub(crate) fn unplaced_since(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let unplaced = conditions.iter().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    })?;
    unplaced.last_transition_time.as_ref().map(|time| time.0)
}

/// Whether a container was ended by a signal: a broker that cannot start ends by itself, with a small code.
pub(crate) fn was_killed(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_ref());
    let states = containers
        .into_iter()
        .flatten()
        .flat_map(|container| [&container.state, &container.last_state])
        .flatten();
    states.into_iter().any(|state| {
        let ended = state.terminated.as_ref();
        ended.is_some_and(|ended| ended.exit_code >= 128)
    })
}

/// Whether Kubernetes has seen the StatefulSet as it is now, and its status says so. A StatefulSet that was deleted and made again may have
/// the status of the one before, with a larger generation: kubernetes `stateful_set_status_updater.go`, after a conflict, writes a status
/// to any StatefulSet that has the name.
pub(crate) fn is_observed(set: &StatefulSet) -> bool {
    let status = set.status.as_ref();
    status.is_some_and(|status| status.observed_generation >= set.metadata.generation)
}

/// Whether a StatefulSet has made fewer pods than it should.
pub(crate) fn missing_pods(set: Option<&StatefulSet>, wanted: i32) -> bool {
    set.and_then(|set| set.status.as_ref())
        .is_some_and(|status| status.replicas < wanted)
}

/// Whether a claim has no volume yet.
pub(crate) fn is_pending(claim: &PersistentVolumeClaim) -> bool {
    let status = claim.status.as_ref();
    status.and_then(|status| status.phase.as_deref()) == Some("Pending")
}

/// The problems of these pods and claims, in their order.
pub(crate) fn problems<'a>(
    pods: impl IntoIterator<Item = &'a Pod>,
    claims: impl IntoIterator<Item = &'a PersistentVolumeClaim>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for pod in pods {
        problems.extend(of_pod(pod));
    }
    for claim in claims {
        problems.extend(of_claim(claim));
    }
    problems
}

/// The problem of a volume.
pub(crate) fn of_claim(claim: &PersistentVolumeClaim) -> Option<Problem> {
    let phase = claim.status.as_ref()?.phase.as_deref();
    (phase == Some("Lost")).then(|| Problem {
        reason: "VolumeLost",
        message: format!(
            "volume claim {}: its volume is gone; its messages are lost unless the volume comes back",
            claim.name_any()
        ),
    })
}

/// Why a pod does not run.
pub(crate) fn of_pod(pod: &Pod) -> Option<Problem> {
    let name = pod.name_any();
    let status = pod.status.as_ref()?;
    for condition in status.conditions.iter().flatten() {
        if condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
        {
            let why = condition.message.as_deref().unwrap_or_default();
            return Some(Problem {
                reason: "PodUnschedulable",
                message: format!(
                    "pod {name} has no node: {why}; change spec.resources, spec.pod or spec.storage, or add nodes"
                ),
            });
        }
    }
    status
        .container_statuses
        .iter()
        .flatten()
        .find_map(|container| of_container(&name, container))
}

fn of_container(pod: &str, container: &ContainerStatus) -> Option<Problem> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let detail = waiting.message.as_deref().unwrap_or_default();
    match waiting.reason.as_deref()? {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
            Some(Problem {
                reason: "ImageCannotBePulled",
                message: format!(
                    "pod {pod} cannot get image {}: {detail}; correct spec.image.reference or spec.image.pullSecrets",
                    container.image
                ),
            })
        }
        "CrashLoopBackOff" => {
            let last = container
                .last_state
                .as_ref()
                .and_then(|state| state.terminated.as_ref());
            let said = last
                .and_then(|ended| ended.message.as_deref())
                .unwrap_or_default()
                .trim();
            let said = said
                .lines()
                .rev()
                .take(4)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect::<Vec<_>>()
                .join(" | ");
            let how = last.map_or(String::new(), |ended| match ended.reason.as_deref() {
                Some("OOMKilled") => {
                    ", killed for its memory: raise spec.resources.limits.memory".to_owned()
                }
                _ => format!(" with code {}", ended.exit_code),
            });
            Some(Problem {
                reason: "ContainerCrashes",
                message: format!("pod {pod} ended again and again{how}; it said: {said}"),
            })
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            Some(Problem {
                reason: "ContainerCannotStart",
                message: format!("pod {pod} cannot start its container: {detail}"),
            })
        }
        _ => None,
    }
}

/// Says that the kernel killed a container for its memory, and when, if that was its last end. The pod continues, so no problem says so.
pub(crate) fn memory_kill(pod: &Pod) -> Option<String> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    let ends = containers
        .iter()
        .flat_map(|container| [&container.state, &container.last_state])
        .filter_map(|state| state.as_ref()?.terminated.as_ref());
    let killed = ends.filter(|end| end.reason.as_deref() == Some("OOMKilled"));
    let last = killed.max_by_key(|end| end.finished_at.as_ref().map(|at| at.0))?;
    let at = last.finished_at.as_ref();
    let at = at.map_or(String::new(), |at| format!(" at {}", at.0));
    Some(format!(
        "pod {} was killed for its memory{at}",
        pod.name_any()
    ))
}

/// A warning about an object.
pub(crate) struct Warning {
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) at: Option<Timestamp>,
}

/// Why a StatefulSet has too few pods, or a claim has no volume: the last of these warnings.
pub(crate) fn of_events(object: &str, mut warnings: Vec<Warning>) -> Option<Problem> {
    warnings.sort_by_key(|warning| warning.at);
    let last = warnings.pop()?;
    let reason = match last.reason.as_str() {
        "ProvisioningFailed" => "VolumeNotProvisioned",
        _ => "PodNotCreated",
    };
    Some(Problem {
        reason,
        message: format!("{object}: {}", last.message),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "a-broker-0"}, "status": status}))
            .expect("a pod")
    }

    #[test]
    fn a_set_made_again_is_observed_under_the_generation_of_the_one_before() {
        let set = |generation: i64, status: serde_json::Value| -> StatefulSet {
            let set = json!({"metadata": {"name": "a-broker", "generation": generation}, "status": status});
            serde_json::from_value(set).expect("a StatefulSet")
        };
        let seen = |generation: i64| json!({"replicas": 1, "observedGeneration": generation});
        assert!(!is_observed(&set(1, json!(null))));
        assert!(!is_observed(&set(1, json!({"replicas": 0}))));
        assert!(!is_observed(&set(2, seen(1))));
        assert!(is_observed(&set(2, seen(2))));
        assert!(is_observed(&set(1, seen(2))));
    }

    #[test]
    fn each_trouble_names_the_pod_and_what_to_do() {
        let unschedulable = pod(
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: too little memory"}]}),
        );
        let image = pod(
            json!({"containerStatuses": [{"name": "broker", "image": "x:1", "imageID": "", "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}]}),
        );
        let crash = pod(
            json!({"containerStatuses": [{"name": "broker", "image": "x:1", "imageID": "", "ready": false, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 2, "message": "one\nerror: flushBytes: at least 4096\n"}}}]}),
        );
        assert_eq!(memory_kill(&crash), None);
        let fine = pod(json!({"conditions": [{"type": "Ready", "status": "True"}]}));
        let found = problems([&unschedulable, &image, &crash, &fine], []);
        let reasons: Vec<&str> = found.iter().map(|problem| problem.reason).collect();
        assert_eq!(
            reasons,
            [
                "PodUnschedulable",
                "ImageCannotBePulled",
                "ContainerCrashes"
            ]
        );
        assert!(
            found
                .iter()
                .all(|problem| problem.message.contains("a-broker-0"))
        );
        assert!(
            found[2].message.contains("with code 2") && found[2].message.contains("flushBytes")
        );
        assert!(is_ready(&fine) && !is_ready(&crash));
    }

    #[test]
    fn a_pod_that_was_killed_for_its_memory_and_runs_again_says_when() {
        let ended = |state: &str, reason: &str, at: &str| {
            let end = json!({"terminated": {"exitCode": 137, "reason": reason, "finishedAt": at}});
            pod(
                json!({"containerStatuses": [{"name": "broker", "image": "x:1", "imageID": "", "ready": true, "restartCount": 1, state: end}]}),
            )
        };
        let (killed, at) = ("OOMKilled", "2026-11-26T15:00:00Z");
        let said = "pod a-broker-0 was killed for its memory at 2026-11-26T15:00:00Z";
        // The container has just ended; then it runs again.
        for state in ["state", "lastState"] {
            let pod = ended(state, killed, at);
            assert_eq!(memory_kill(&pod).as_deref(), Some(said));
            assert_eq!(problems([&pod], []), []);
        }
        assert_eq!(memory_kill(&ended("lastState", "Error", at)), None);
        assert_eq!(memory_kill(&pod(json!({}))), None);
    }
}
