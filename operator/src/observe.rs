//! What is wrong with pods and volumes, in words that say what to do. Pure.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ContainerStatus, PersistentVolumeClaim, Pod};
use kube::ResourceExt;

/// Something that somebody has to look at.
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

/// Whether Kubernetes has seen the StatefulSet as it is now, and its status says so. One that was made anew under its name may bear the
/// status of the one before, whose generation can be the larger: kubernetes `stateful_set_status_updater.go` writes a status, after a
/// conflict, to whatever has the name by then.
pub(crate) fn is_observed(set: &StatefulSet) -> bool {
    let status = set.status.as_ref();
    status.is_some_and(|status| status.observed_generation >= set.metadata.generation)
}

/// Whether a StatefulSet could not even make its pods.
pub(crate) fn missing_pods(set: Option<&StatefulSet>, wanted: i32) -> bool {
    set.and_then(|set| set.status.as_ref())
        .is_some_and(|status| status.replicas < wanted)
}

/// Whether a claim has no volume yet.
pub(crate) fn is_pending(claim: &PersistentVolumeClaim) -> bool {
    let status = claim.status.as_ref();
    status.and_then(|status| status.phase.as_deref()) == Some("Pending")
}

/// Problems of these pods and claims.
pub(crate) fn problems<'a>(
    pods: impl IntoIterator<Item = &'a Pod>,
    claims: impl IntoIterator<Item = &'a PersistentVolumeClaim>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for pod in pods {
        problems.extend(of_pod(pod));
    }
    for claim in claims {
        let phase = claim
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        if phase == Some("Lost") {
            problems.push(Problem {
                reason: "VolumeLost",
                message: format!("volume claim {}: its volume is gone; its messages are lost unless the volume comes back", claim.name_any()),
            });
        }
    }
    problems
}

fn of_pod(pod: &Pod) -> Option<Problem> {
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
                message: format!("pod {pod} ended again and again{how}; its last words: {said}"),
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

/// Says that the kernel killed a container for its memory, and when, if that was its last end. The pod goes on, so nothing else says it.
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

/// What happened to an object lately.
pub(crate) struct Warning {
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) at: Option<Timestamp>,
}

/// Why a StatefulSet has fewer pods than it shall, or a claim no volume, as far as events tell.
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
    fn a_set_made_anew_is_observed_under_the_generation_of_the_one_before() {
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
        // First while it has just ended, then when it runs again.
        for state in ["state", "lastState"] {
            let pod = ended(state, killed, at);
            assert_eq!(memory_kill(&pod).as_deref(), Some(said));
            assert_eq!(problems([&pod], []), []);
        }
        assert_eq!(memory_kill(&ended("lastState", "Error", at)), None);
        assert_eq!(memory_kill(&pod(json!({}))), None);
    }
}
