//! The one safe next step of a restart of a broker that is alone in its group. Pure.
//!
//! One broker of a cluster restarts at a time, and only while the others serve. Quiescing: the broker is out of the routes until producers
//! have left. Stopping: its pod is deleted. Starting: the new pod starts, until every name server shows it. Each step is written into the
//! status before it begins.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rmq_crds::{RebuildClaim, Rollout, RolloutStep, UpdateStrategy, UpdateType};

use super::observed::Member;
use super::quiet::QUIET;

/// What the step depends on.
#[derive(Debug, Clone)]
pub(super) struct Situation<'a> {
    pub(super) now: Timestamp,
    pub(super) members: &'a [Member],
    pub(super) strategy: &'a UpdateStrategy,
    pub(super) rollout: Option<&'a Rollout>,
    /// Another group of the cluster that restarts a broker, or is not ready, in words.
    pub(super) waits_for: Option<String>,
    /// Whether another group of the cluster takes the messages meanwhile.
    pub(super) others_serve: bool,
    /// How long nothing was stored by the broker.
    pub(super) quiet: Option<SignedDuration>,
    /// Name servers that do not show the restarted broker.
    pub(super) missing_at: &'a [String],
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Every pod is current.
    Nothing,
    /// A restart is wanted, and must wait for this.
    Wait(String),
    /// Write this step into the status; the next look begins it.
    Enter(Rollout),
    /// Keep the broker out of the routes.
    Quiesce,
    /// Delete this pod.
    Delete { pod: String, uid: String },
    /// Delete this pod, and this volume claim with it.
    Rebuild {
        pod: String,
        uid: String,
        claim: Option<RebuildClaim>,
    },
    /// The restart continues when this has happened.
    Await(String),
    /// Let producers return; the restart is over.
    Finish,
}

/// The next step.
pub(super) fn next(situation: &Situation<'_>) -> Next {
    let Some(rollout) = situation.rollout else {
        return begin(situation);
    };
    let pod = situation.members.iter().find(|pod| pod.name == rollout.pod);
    let enter = |step| {
        Next::Enter(Rollout {
            step,
            since: Time(situation.now),
            ..rollout.clone()
        })
    };
    let is_old = pod.is_some_and(|pod| pod.uid == rollout.pod_uid);
    match rollout.step {
        // The group had replicas when this began.
        RolloutStep::SwitchingOver => Next::Finish,
        RolloutStep::Quiescing => match pod {
            // The change of the template was reverted.
            Some(pod) if is_old && pod.is_current => Next::Finish,
            Some(pod) if is_old => {
                let limit = u64::try_from(situation.strategy.quiesce_timeout_seconds).unwrap_or(0);
                let waited = situation.now.duration_since(rollout.since.0);
                let is_over = waited >= SignedDuration::from_secs(limit.cast_signed());
                let is_quiet = situation.quiet.is_some_and(|quiet| quiet >= QUIET);
                if is_quiet || is_over || !pod.is_ready || !situation.others_serve {
                    enter(RolloutStep::Stopping)
                } else {
                    Next::Quiesce
                }
            }
            // The pod is gone already.
            _ => enter(RolloutStep::Starting),
        },
        RolloutStep::Stopping => match pod {
            Some(pod) if is_old && !pod.is_terminating => Next::Delete {
                pod: pod.name.clone(),
                uid: pod.uid.clone(),
            },
            Some(pod) if is_old => Next::Await(format!("pod {} stops", pod.name)),
            _ => enter(RolloutStep::Starting),
        },
        RolloutStep::Starting => match pod {
            // The template was corrected: the pod of the wrong one would never get ready.
            Some(pod) if !pod.is_ready && !pod.is_current && !pod.is_terminating => Next::Delete {
                pod: pod.name.clone(),
                uid: pod.uid.clone(),
            },
            Some(pod) if pod.is_ready && situation.missing_at.is_empty() => Next::Finish,
            Some(pod) if pod.is_ready => Next::Await(format!(
                "pod {} is not yet shown by {}",
                pod.name,
                situation.missing_at.join(", ")
            )),
            _ => Next::Await(format!("pod {} starts", rollout.pod)),
        },
    }
}

fn begin(situation: &Situation<'_>) -> Next {
    // Pods that are not ready come first: their brokers have nothing to lose.
    let mut stale: Vec<&Member> = situation
        .members
        .iter()
        .filter(|pod| !pod.is_current && !pod.is_terminating)
        .collect();
    stale.sort_by_key(|pod| (pod.is_ready, std::cmp::Reverse(pod.name.clone())));
    let Some(pod) = stale.first() else {
        return Next::Nothing;
    };
    if situation.strategy.type_ == UpdateType::OnDelete {
        return Next::Wait(format!(
            "pod {} gets the change when it is deleted (updateStrategy OnDelete)",
            pod.name
        ));
    }
    let enter = |step| {
        Next::Enter(Rollout {
            pod: pod.name.clone(),
            pod_uid: pod.uid.clone(),
            step,
            reason: pod.differs.to_owned(),
            switchover: None,
            rebuild: None,
            since: Time(situation.now),
        })
    };
    if !pod.is_ready {
        return enter(RolloutStep::Stopping);
    }
    if let Some(other) = &situation.waits_for {
        return Next::Wait(format!("pod {} is restarted after {other}", pod.name));
    }
    // Without another group, a broker out of the routes would only be away for longer.
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

    fn pod(uid: &str, ready: bool, current: bool) -> Member {
        Member {
            name: "a-broker-0".to_owned(),
            uid: uid.to_owned(),
            is_ready: ready,
            is_current: current,
            differs: "ImageChanged",
            ..Member::default()
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
            switchover: None,
            rebuild: None,
            since: Time(at(100)),
        }
    }

    fn situation<'a>(members: &'a [Member], rollout: Option<&'a Rollout>) -> Situation<'a> {
        Situation {
            now: at(110),
            members,
            strategy: &STRATEGY,
            rollout,
            waits_for: None,
            others_serve: true,
            quiet: None,
            missing_at: &[],
        }
    }

    fn entered(step: &Next) -> Option<RolloutStep> {
        match step {
            Next::Enter(rollout) => Some(rollout.step),
            _ => None,
        }
    }

    #[test]
    fn a_whole_restart() {
        assert_eq!(
            next(&situation(&[pod("old", true, true)], None)),
            Next::Nothing
        );
        let old = [pod("old", true, false)];
        assert_eq!(
            entered(&next(&situation(&old, None))),
            Some(RolloutStep::Quiescing)
        );
        let quiescing = rollout(RolloutStep::Quiescing);
        let mut now = situation(&old, Some(&quiescing));
        assert_eq!(next(&now), Next::Quiesce);
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
            Next::Delete {
                pod: "a-broker-0".to_owned(),
                uid: "old".to_owned()
            }
        );
        let ends = [Member {
            is_terminating: true,
            is_ready: false,
            ..old[0].clone()
        }];
        assert!(matches!(
            next(&situation(&ends, Some(&stopping))),
            Next::Await(_)
        ));
        assert_eq!(
            entered(&next(&situation(&[], Some(&stopping)))),
            Some(RolloutStep::Starting)
        );
        let starting = rollout(RolloutStep::Starting);
        assert!(matches!(
            next(&situation(&[pod("new", false, true)], Some(&starting))),
            Next::Await(_)
        ));
        let new = [pod("new", true, true)];
        let missing = ["ns-1:9876".to_owned()];
        let mut now = situation(&new, Some(&starting));
        now.missing_at = &missing;
        assert!(matches!(next(&now), Next::Await(text) if text.contains("ns-1")));
        now.missing_at = &[];
        assert_eq!(next(&now), Next::Finish);
    }

    #[test]
    fn brokers_wait_for_each_other() {
        let old = [pod("old", true, false)];
        let mut now = situation(&old, None);
        now.waits_for = Some("broker group b".to_owned());
        assert!(matches!(next(&now), Next::Wait(text) if text.contains("broker group b")));
        // A broker that does not serve has nothing to lose.
        let broken = [pod("old", false, false)];
        now.members = &broken;
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
    fn a_change_that_is_reverted_ends_the_restart() {
        let quiescing = rollout(RolloutStep::Quiescing);
        assert_eq!(
            next(&situation(&[pod("old", true, true)], Some(&quiescing))),
            Next::Finish
        );
    }

    #[test]
    fn a_corrected_template_gets_through() {
        let starting = rollout(RolloutStep::Starting);
        let wrong = [pod("new", false, false)];
        assert!(
            matches!(next(&situation(&wrong, Some(&starting))), Next::Delete { uid, .. } if uid == "new")
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
        assert!(matches!(next(&now), Next::Wait(text) if text.contains("OnDelete")));
    }
}
