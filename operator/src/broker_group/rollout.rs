//! The one safe next step of a restart. Pure.
//!
//! One broker of a cluster at a time, and only while the others serve: out of the routes (Quiescing), until nothing is sent to it any
//! more; then its pod is deleted (Stopping); then the new pod is awaited (Starting) until every name server shows it. Each step is
//! written into the status before it is begun.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rmq_crds::{Rollout, RolloutStep, UpdateStrategy, UpdateType};

/// Nothing was sent for this long: producers are gone.
pub(super) const QUIET: SignedDuration = SignedDuration::from_secs(5);

/// A pod of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodView {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) ready: bool,
    pub(crate) terminating: bool,
    /// Made of the current template.
    pub(crate) current: bool,
    /// Why it is not.
    pub(crate) reason: &'static str,
}

/// What the step depends on.
#[derive(Debug, Clone)]
pub(crate) struct Situation<'a> {
    pub(crate) now: Timestamp,
    pub(crate) pods: &'a [PodView],
    pub(crate) strategy: &'a UpdateStrategy,
    pub(crate) rollout: Option<&'a Rollout>,
    /// Another group of the cluster that restarts, or is not ready.
    pub(crate) waits_for: Option<String>,
    /// Whether another group of the cluster can take the messages meanwhile.
    pub(crate) others_serve: bool,
    /// How long nothing was sent to the broker.
    pub(crate) quiet: Option<SignedDuration>,
    /// Name servers that do not show the new broker.
    pub(crate) missing_at: &'a [String],
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Every pod is current.
    Nothing,
    /// A restart is wanted, but not now.
    Wait(String),
    /// Write this down, and look again.
    Enter(Rollout),
    /// Keep the broker out of the routes, and look again.
    Quiesce,
    /// Delete this pod.
    Delete { pod: String, uid: String },
    /// Wait for the new pod.
    Await(String),
    /// Let producers come back, and forget the restart.
    Finish,
}

/// The next step.
pub(crate) fn next(situation: &Situation<'_>) -> Step {
    let Some(rollout) = situation.rollout else {
        return begin(situation);
    };
    let pod = situation.pods.iter().find(|pod| pod.name == rollout.pod);
    let enter = |step| {
        Step::Enter(Rollout {
            step,
            since: Time(situation.now),
            ..rollout.clone()
        })
    };
    let is_old = pod.is_some_and(|pod| pod.uid == rollout.pod_uid);
    match rollout.step {
        RolloutStep::Quiescing => match pod {
            // The change was taken back.
            Some(pod) if is_old && pod.current => Step::Finish,
            Some(pod) if is_old => {
                let limit = u64::try_from(situation.strategy.quiesce_timeout_seconds).unwrap_or(0);
                let waited = situation.now.duration_since(rollout.since.0);
                let is_over = waited >= SignedDuration::from_secs(limit.cast_signed());
                let is_quiet = situation.quiet.is_some_and(|quiet| quiet >= QUIET);
                if is_quiet || is_over || !pod.ready || !situation.others_serve {
                    enter(RolloutStep::Stopping)
                } else {
                    Step::Quiesce
                }
            }
            // Somebody else deleted it.
            _ => enter(RolloutStep::Starting),
        },
        RolloutStep::Stopping => match pod {
            Some(pod) if is_old && !pod.terminating => Step::Delete {
                pod: pod.name.clone(),
                uid: pod.uid.clone(),
            },
            Some(pod) if is_old => Step::Await(format!("pod {} stops", pod.name)),
            _ => enter(RolloutStep::Starting),
        },
        RolloutStep::Starting => match pod {
            // A corrected template gets through although the pod made of the wrong one never gets ready.
            Some(pod) if !pod.ready && !pod.current && !pod.terminating => Step::Delete {
                pod: pod.name.clone(),
                uid: pod.uid.clone(),
            },
            Some(pod) if pod.ready && situation.missing_at.is_empty() => Step::Finish,
            Some(pod) if pod.ready => Step::Await(format!(
                "pod {} is not yet shown by {}",
                pod.name,
                situation.missing_at.join(", ")
            )),
            _ => Step::Await(format!("pod {} starts", rollout.pod)),
        },
    }
}

fn begin(situation: &Situation<'_>) -> Step {
    // Broken ones first: they have nothing to lose.
    let mut stale: Vec<&PodView> = situation
        .pods
        .iter()
        .filter(|pod| !pod.current && !pod.terminating)
        .collect();
    stale.sort_by_key(|pod| (pod.ready, std::cmp::Reverse(pod.name.clone())));
    let Some(pod) = stale.first() else {
        return Step::Nothing;
    };
    if situation.strategy.type_ == UpdateType::OnDelete {
        return Step::Wait(format!(
            "pod {} gets the change when it is deleted (updateStrategy OnDelete)",
            pod.name
        ));
    }
    let enter = |step| {
        Step::Enter(Rollout {
            pod: pod.name.clone(),
            pod_uid: pod.uid.clone(),
            step,
            reason: pod.reason.to_owned(),
            since: Time(situation.now),
        })
    };
    if !pod.ready {
        return enter(RolloutStep::Stopping);
    }
    if let Some(other) = &situation.waits_for {
        return Step::Wait(format!("pod {} is restarted after {other}", pod.name));
    }
    // Alone, it would only be away for longer.
    enter(if situation.others_serve {
        RolloutStep::Quiescing
    } else {
        RolloutStep::Stopping
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRATEGY: UpdateStrategy = UpdateStrategy {
        type_: UpdateType::RollingUpdate,
        quiesce_timeout_seconds: 30,
    };

    fn pod(uid: &str, ready: bool, current: bool) -> PodView {
        PodView {
            name: "a-broker-0".to_owned(),
            uid: uid.to_owned(),
            ready,
            terminating: false,
            current,
            reason: "ImageChanged",
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number")
    }

    fn rollout(step: RolloutStep) -> Rollout {
        Rollout {
            pod: "a-broker-0".to_owned(),
            pod_uid: "old".to_owned(),
            step,
            reason: "ImageChanged".to_owned(),
            since: Time(at(100)),
        }
    }

    fn situation<'a>(pods: &'a [PodView], rollout: Option<&'a Rollout>) -> Situation<'a> {
        Situation {
            now: at(110),
            pods,
            strategy: &STRATEGY,
            rollout,
            waits_for: None,
            others_serve: true,
            quiet: None,
            missing_at: &[],
        }
    }

    fn entered(step: &Step) -> Option<RolloutStep> {
        match step {
            Step::Enter(rollout) => Some(rollout.step),
            _ => None,
        }
    }

    #[test]
    fn a_whole_restart() {
        assert_eq!(
            next(&situation(&[pod("old", true, true)], None)),
            Step::Nothing
        );
        let old = [pod("old", true, false)];
        assert_eq!(
            entered(&next(&situation(&old, None))),
            Some(RolloutStep::Quiescing)
        );
        let quiescing = rollout(RolloutStep::Quiescing);
        let mut now = situation(&old, Some(&quiescing));
        assert_eq!(next(&now), Step::Quiesce);
        now.quiet = Some(SignedDuration::from_secs(6));
        assert_eq!(entered(&next(&now)), Some(RolloutStep::Stopping));
        now.quiet = None;
        now.now = at(130);
        assert_eq!(
            entered(&next(&now)),
            Some(RolloutStep::Stopping),
            "at the time limit"
        );
        let stopping = rollout(RolloutStep::Stopping);
        assert_eq!(
            next(&situation(&old, Some(&stopping))),
            Step::Delete {
                pod: "a-broker-0".to_owned(),
                uid: "old".to_owned()
            }
        );
        let ends = [PodView {
            terminating: true,
            ready: false,
            ..old[0].clone()
        }];
        assert!(matches!(
            next(&situation(&ends, Some(&stopping))),
            Step::Await(_)
        ));
        assert_eq!(
            entered(&next(&situation(&[], Some(&stopping)))),
            Some(RolloutStep::Starting)
        );
        let starting = rollout(RolloutStep::Starting);
        assert!(matches!(
            next(&situation(&[pod("new", false, true)], Some(&starting))),
            Step::Await(_)
        ));
        let new = [pod("new", true, true)];
        let missing = ["ns-1:9876".to_owned()];
        let mut now = situation(&new, Some(&starting));
        now.missing_at = &missing;
        assert!(matches!(next(&now), Step::Await(text) if text.contains("ns-1")));
        now.missing_at = &[];
        assert_eq!(next(&now), Step::Finish);
    }

    #[test]
    fn brokers_wait_for_each_other() {
        let old = [pod("old", true, false)];
        let mut now = situation(&old, None);
        now.waits_for = Some("broker group b".to_owned());
        assert!(matches!(next(&now), Step::Wait(text) if text.contains("broker group b")));
        // One that does not serve has nothing to lose.
        let broken = [pod("old", false, false)];
        now.pods = &broken;
        assert_eq!(entered(&next(&now)), Some(RolloutStep::Stopping));
    }

    #[test]
    fn a_broker_that_is_alone_is_not_taken_out_of_the_routes_first() {
        let old = [pod("old", true, false)];
        let mut now = situation(&old, None);
        now.others_serve = false;
        assert_eq!(entered(&next(&now)), Some(RolloutStep::Stopping));
    }

    #[test]
    fn a_change_that_is_taken_back_ends_the_restart() {
        let quiescing = rollout(RolloutStep::Quiescing);
        assert_eq!(
            next(&situation(&[pod("old", true, true)], Some(&quiescing))),
            Step::Finish
        );
    }

    #[test]
    fn a_corrected_template_gets_through() {
        let starting = rollout(RolloutStep::Starting);
        let wrong = [pod("new", false, false)];
        assert!(
            matches!(next(&situation(&wrong, Some(&starting))), Step::Delete { uid, .. } if uid == "new")
        );
    }

    #[test]
    fn on_delete_leaves_it_to_people() {
        let strategy = UpdateStrategy {
            type_: UpdateType::OnDelete,
            ..STRATEGY
        };
        let old = [pod("old", true, false)];
        let mut now = situation(&old, None);
        now.strategy = &strategy;
        assert!(matches!(next(&now), Step::Wait(text) if text.contains("OnDelete")));
    }
}
