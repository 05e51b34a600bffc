//! The one safe next step of a restart in a group with replicas. Pure.
//!
//! Replicas restart first, the highest slot first, and each only while messages are taken without it. The master is last: it hands over, and
//! is a replica then. A restart is over when the broker has every acknowledged message again.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rmq_crds::{ElectionRequest, Rebuild, Rollout, RolloutStep, UpdateType};

use super::observed::Member;
use super::rebuild::Due;
use super::rollout::{Next, Situation};
use super::view::View;

/// A switchover that was not answered for so long is asked for again, maybe of another replica.
const ASK_AGAIN: SignedDuration = SignedDuration::from_secs(30);
/// One that was refused, after this.
const AFTER_REFUSAL: SignedDuration = SignedDuration::from_secs(5);

/// The reason of a restart that is none: the master moves to a broker that stays.
pub(super) const SCALED_IN: &str = "ScaledIn";

/// What the step depends on besides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group<'a> {
    pub(super) view: &'a View,
    /// Brokers of the spec.
    pub(super) wanted: i64,
    /// The member that may be made anew now.
    pub(super) due: Option<&'a Due>,
    /// The member that is being made anew.
    pub(super) anew: Option<&'a Anew>,
}

/// What a member that is being made anew depends on.
#[derive(Debug, Clone)]
pub(super) struct Anew {
    /// Whether it may go now. The error: what it waits for.
    pub(super) may_go: Result<(), String>,
    /// Whether its volume is still the old one.
    pub(super) has_old_claim: bool,
    /// Whether it is still asked for.
    pub(super) is_wanted: bool,
}

/// The next step.
pub(super) fn next(situation: &Situation<'_>, group: Group<'_>) -> Next {
    let rolls = Rolls { situation, group };
    match situation.rollout {
        None => rolls.begin(),
        Some(rollout) => rolls.go_on(rollout),
    }
}

struct Rolls<'a> {
    situation: &'a Situation<'a>,
    group: Group<'a>,
}

impl Rolls<'_> {
    fn begin(&self) -> Next {
        let view = self.group.view;
        let members = self.situation.members;
        if let Some(master) = view.serving()
            && master >= self.group.wanted
            && let Some(pod) = members.iter().find(|pod| pod.slot == master)
        {
            return match self.target(master) {
                Some(to) => self.switch_over(pod, SCALED_IN, to),
                None => Next::Wait(format!(
                    "the master is in pod {}, which goes, and no broker that stays is in sync",
                    pod.name
                )),
            };
        }
        if let Some(due) = self.group.due {
            let pod = &due.pod;
            let is_missed = pod.is_ready || view.in_sync.contains(&pod.slot);
            if let Some(other) = self.situation.waits_for.as_ref().filter(|_| is_missed) {
                return Next::Wait(format!("pod {} is made anew after {other}", pod.name));
            }
            return Next::Enter(Rollout {
                pod: pod.name.clone(),
                pod_uid: pod.uid.clone(),
                step: RolloutStep::Stopping,
                reason: due.reason.to_owned(),
                switchover: None,
                rebuild: Some(due.rebuild.clone()),
                since: Time(self.situation.now),
            });
        }
        let mut stale: Vec<&Member> = members
            .iter()
            .filter(|pod| !pod.is_current && !pod.is_terminating)
            .collect();
        // Pods that nobody misses come first; the master is last.
        let is_missed = |pod: &Member| pod.is_ready || view.in_sync.contains(&pod.slot);
        stale.sort_by_key(|pod| {
            let is_master = view.master == Some(pod.slot);
            (is_master, is_missed(pod), -pod.slot)
        });
        let Some(pod) = stale.first() else {
            return Next::Nothing;
        };
        if self.situation.strategy.type_ == UpdateType::OnDelete {
            return Next::Wait(format!(
                "pod {} gets the change when it is deleted (updateStrategy OnDelete)",
                pod.name
            ));
        }
        if !is_missed(pod) {
            return self.enter(pod, RolloutStep::Stopping, pod.differs, None);
        }
        if let Some(other) = &self.situation.waits_for {
            return Next::Wait(format!("pod {} is restarted after {other}", pod.name));
        }
        if let Err(why) = self.may_go(pod) {
            return Next::Wait(format!("pod {} is restarted when {why}", pod.name));
        }
        if view.master != Some(pod.slot) || view.members.len() < 2 {
            return self.enter(pod, RolloutStep::Stopping, pod.differs, None);
        }
        match self.target(pod.slot) {
            Some(to) => self.switch_over(pod, pod.differs, to),
            None => Next::Wait(format!(
                "pod {}, the master, is restarted when a replica is in sync and ready",
                pod.name
            )),
        }
    }

    /// A member that is made anew: its pod and its volume go together, and it is done when it is in sync with other data.
    fn anew(&self, rollout: &Rollout, rebuild: &Rebuild, anew: &Anew) -> Next {
        let view = self.group.view;
        let mut pods = self.situation.members.iter();
        let pod = pods.find(|pod| pod.name == rollout.pod);
        let is_old = pod.is_some_and(|pod| pod.uid == rollout.pod_uid);
        let enter = |step, pod_uid: &str| {
            Next::Enter(Rollout {
                step,
                pod_uid: pod_uid.to_owned(),
                since: Time(self.situation.now),
                ..rollout.clone()
            })
        };
        match (rollout.step, pod) {
            (RolloutStep::Stopping, Some(pod)) if is_old => {
                let nothing_is_done = rebuild.claim.is_none() || anew.has_old_claim;
                if pod.is_terminating && !anew.has_old_claim {
                    return Next::Await(format!("pod {} stops", pod.name));
                }
                match &anew.may_go {
                    _ if !anew.is_wanted && nothing_is_done => Next::Finish,
                    Ok(()) => Next::Rebuild {
                        pod: pod.name.clone(),
                        uid: pod.uid.clone(),
                        claim: rebuild.claim.clone(),
                    },
                    Err(why) => Next::Await(format!("pod {} is not made anew: {why}", pod.name)),
                }
            }
            // Somebody else deleted the pod, and another one has the old volume.
            (_, Some(pod)) if anew.has_old_claim => enter(RolloutStep::Stopping, &pod.uid),
            (RolloutStep::Starting, Some(pod)) if pod.is_ready => {
                let has = view.incarnations.get(&pod.slot);
                let is_back = has.is_some() && has != rebuild.incarnation.as_ref();
                match is_back || !view.members.contains(&pod.slot) {
                    true => self.starting(rollout, Some(pod)),
                    false => Next::Await(format!("pod {} has copied everything", pod.name)),
                }
            }
            (RolloutStep::Starting, pod) => self.starting(rollout, pod),
            (_, _) => enter(RolloutStep::Starting, &rollout.pod_uid),
        }
    }

    fn go_on(&self, rollout: &Rollout) -> Next {
        if let (Some(rebuild), Some(anew)) = (&rollout.rebuild, self.group.anew) {
            return self.anew(rollout, rebuild, anew);
        }
        let members = self.situation.members;
        let pod = members.iter().find(|pod| pod.name == rollout.pod);
        let is_old = pod.is_some_and(|pod| pod.uid == rollout.pod_uid);
        let continues = |step| {
            Next::Enter(Rollout {
                step,
                switchover: None,
                since: Time(self.situation.now),
                ..rollout.clone()
            })
        };
        match (rollout.step, pod) {
            (RolloutStep::SwitchingOver, Some(pod)) if is_old => self.switching(rollout, pod),
            (RolloutStep::SwitchingOver, _) if rollout.reason == SCALED_IN => Next::Finish,
            (RolloutStep::Quiescing | RolloutStep::SwitchingOver, _) => {
                continues(RolloutStep::Starting)
            }
            (RolloutStep::Stopping, Some(pod)) if is_old && pod.is_terminating => {
                Next::Await(format!("pod {} stops", pod.name))
            }
            (RolloutStep::Stopping, Some(pod)) if is_old => match self.may_go(pod) {
                // It became the master since: it hands over first.
                _ if self.is_master(pod) && self.group.view.members.len() > 1 => {
                    match self.target(pod.slot) {
                        Some(to) => self.switch_over(pod, &rollout.reason, to),
                        None => Next::Await(format!("a replica can replace pod {}", pod.name)),
                    }
                }
                Ok(()) => Next::Delete {
                    pod: pod.name.clone(),
                    uid: pod.uid.clone(),
                },
                Err(why) => Next::Await(format!("pod {} is stopped when {why}", pod.name)),
            },
            (RolloutStep::Stopping, _) => continues(RolloutStep::Starting),
            (RolloutStep::Starting, pod) => self.starting(rollout, pod),
        }
    }

    fn switching(&self, rollout: &Rollout, pod: &Member) -> Next {
        let view = self.group.view;
        let is_move = rollout.reason == SCALED_IN;
        let Some(asked) = &rollout.switchover else {
            return Next::Finish;
        };
        match view.serving() {
            Some(master) if master != pod.slot && is_move => Next::Finish,
            Some(master) if master != pod.slot => Next::Enter(Rollout {
                step: RolloutStep::Stopping,
                switchover: None,
                since: Time(self.situation.now),
                ..rollout.clone()
            }),
            // The change was taken back.
            Some(_) if pod.is_current && !is_move => Next::Finish,
            Some(_) if is_move && pod.slot < self.group.wanted => Next::Finish,
            _ => {
                let waited = self.situation.now.duration_since(rollout.since.0);
                let outcome = view.outcome.as_ref();
                let refused = outcome
                    .filter(|outcome| outcome.request == asked.request)
                    .and_then(|outcome| outcome.refused.as_ref());
                let pause = match refused {
                    Some(_) => AFTER_REFUSAL,
                    None => ASK_AGAIN,
                };
                match self.target(pod.slot) {
                    Some(to) if waited >= pause => self.switch_over(pod, &rollout.reason, to),
                    _ => Next::Await(match refused {
                        Some(why) => format!(
                            "member {} did not take over from pod {}: {why}; it is asked again",
                            asked.to, pod.name
                        ),
                        None => format!("member {} takes over from pod {}", asked.to, pod.name),
                    }),
                }
            }
        }
    }

    fn starting(&self, rollout: &Rollout, pod: Option<&Member>) -> Next {
        let view = self.group.view;
        let missing_at = self.situation.missing_at;
        match pod {
            // The template was corrected: the pod of the wrong one would never get ready.
            Some(pod) if !pod.is_ready && !pod.is_current && !pod.is_terminating => Next::Delete {
                pod: pod.name.clone(),
                uid: pod.uid.clone(),
            },
            Some(pod) if pod.is_ready && !missing_at.is_empty() => Next::Await(format!(
                "the master is not yet shown by {}",
                missing_at.join(", ")
            )),
            Some(pod) if pod.is_ready => {
                let counts = view.in_sync.contains(&pod.slot);
                match counts || !view.members.contains(&pod.slot) {
                    true => Next::Finish,
                    false => Next::Await(format!("pod {} is in sync again", pod.name)),
                }
            }
            _ => Next::Await(format!("pod {} starts", rollout.pod)),
        }
    }

    fn is_master(&self, pod: &Member) -> bool {
        self.group.view.master == Some(pod.slot)
    }

    /// Whether a pod may go now, as far as the others are concerned. The error: what it waits for.
    fn may_go(&self, pod: &Member) -> Result<(), String> {
        let view = self.group.view;
        if !view.in_sync.contains(&pod.slot) && !self.is_master(pod) {
            // Nobody counts on it.
            return Ok(());
        }
        let others = self.situation.members.iter();
        let mut others = others.filter(|other| other.slot != pod.slot);
        if let Some(away) =
            others.find(|other| other.is_terminating || (!other.is_ready && pod.is_ready))
        {
            return Err(format!("pod {} is ready", away.name));
        }
        let is_alone = view.members.len() < 2;
        let is_master = self.is_master(pod);
        if is_alone || view.spares(pod.slot) || (is_master && view.spares_any()) {
            return Ok(());
        }
        match view.serving() {
            None => Err("the group has a master".to_owned()),
            Some(_) => Err(format!(
                "more brokers are in sync: {} of {} are",
                view.in_sync.len(),
                view.members.len()
            )),
        }
    }

    /// Who takes over from this slot: in sync, ready, and rather with the new template.
    fn target(&self, from: i64) -> Option<i64> {
        let view = self.group.view;
        let pods = self.situation.members.iter();
        let fit = pods.filter(|pod| {
            pod.slot != from
                && pod.slot < self.group.wanted
                && view.in_sync.contains(&pod.slot)
                && pod.is_ready
        });
        let best = fit.min_by_key(|pod| (!pod.is_current, pod.slot))?;
        Some(best.slot)
    }

    fn switch_over(&self, pod: &Member, reason: &str, to: i64) -> Next {
        let switchover = ElectionRequest {
            to,
            request: format!("operator-{}", self.situation.now.as_millisecond()),
        };
        self.enter(pod, RolloutStep::SwitchingOver, reason, Some(switchover))
    }

    fn enter(
        &self,
        pod: &Member,
        step: RolloutStep,
        reason: &str,
        switchover: Option<ElectionRequest>,
    ) -> Next {
        Next::Enter(Rollout {
            pod: pod.name.clone(),
            pod_uid: pod.uid.clone(),
            step,
            reason: reason.to_owned(),
            switchover,
            rebuild: None,
            since: Time(self.situation.now),
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rmq_crds::{ElectionOutcome, RebuildClaim, UpdateStrategy};

    use super::*;

    const STRATEGY: UpdateStrategy = UpdateStrategy {
        type_: UpdateType::RollingUpdate,
        quiesce_timeout_seconds: 30,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number")
    }

    /// A group of three whose pods all have the old template; member 1 is the master.
    struct Case {
        pods: Vec<Member>,
        view: View,
        rollout: Option<Rollout>,
        now: i64,
        wanted: i64,
        due: Option<Due>,
        anew: Option<Anew>,
    }

    impl Case {
        fn new() -> Self {
            let pod = |slot: i64| Member {
                name: format!("a-broker-{slot}"),
                uid: format!("old-{slot}"),
                slot,
                is_ready: true,
                differs: "ImageChanged",
                ..Member::default()
            };
            let all = [0, 1, 2];
            Self {
                pods: all.into_iter().map(pod).collect(),
                view: View {
                    members: all.into(),
                    epoch: 4,
                    master: Some(1),
                    is_stable: true,
                    in_sync: all.into(),
                    min_in_sync: 2,
                    ..View::default()
                },
                rollout: None,
                now: 100,
                wanted: 3,
                due: None,
                anew: None,
            }
        }

        fn next(&self) -> Next {
            let situation = Situation {
                now: at(self.now),
                members: &self.pods,
                strategy: &STRATEGY,
                rollout: self.rollout.as_ref(),
                waits_for: None,
                others_serve: false,
                quiet: None,
                missing_at: &[],
            };
            let view = &self.view;
            next(
                &situation,
                Group {
                    view,
                    wanted: self.wanted,
                    due: self.due.as_ref(),
                    anew: self.anew.as_ref(),
                },
            )
        }

        /// Takes the next step, which must be to enter this one.
        fn enters(&mut self, pod: &str, step: RolloutStep) {
            match self.next() {
                Next::Enter(rollout) => {
                    assert_eq!((&*rollout.pod, rollout.step), (pod, step));
                    self.rollout = Some(rollout);
                }
                next => panic!("{pod} {step:?} was to come, not {next:?}"),
            }
        }

        fn waits(&self, text: &str) {
            match self.next() {
                Next::Wait(why) | Next::Await(why) => assert!(why.contains(text), "{why}"),
                next => panic!("{text} was waited for, not {next:?}"),
            }
        }

        fn deletes(&self, slot: usize) {
            let Member { name, uid, .. } = self.pods[slot].clone();
            assert_eq!(self.next(), Next::Delete { pod: name, uid });
        }

        /// The pod is gone, another one comes, and gets in sync.
        fn restarts(&mut self, slot: usize) {
            let pod = format!("a-broker-{slot}");
            self.deletes(slot);
            self.pods[slot].is_terminating = true;
            self.pods[slot].is_ready = false;
            self.waits("stops");
            let id = self.pods[slot].slot;
            self.view.in_sync.remove(&id);
            self.pods[slot] = Member {
                uid: format!("new-{slot}"),
                is_current: true,
                is_terminating: false,
                ..self.pods[slot].clone()
            };
            self.enters(&pod, RolloutStep::Starting);
            self.waits("starts");
            self.pods[slot].is_ready = true;
            self.waits("in sync again");
            self.view.in_sync.insert(id);
            assert_eq!(self.next(), Next::Finish);
            self.rollout = None;
        }
    }

    #[test]
    fn replicas_restart_before_the_master_which_hands_over() {
        let mut case = Case::new();
        for slot in [2, 0] {
            case.enters(&format!("a-broker-{slot}"), RolloutStep::Stopping);
            case.restarts(slot);
        }
        case.enters("a-broker-1", RolloutStep::SwitchingOver);
        let asked = case.rollout.clone().and_then(|rollout| rollout.switchover);
        assert_eq!(asked.map(|asked| asked.to), Some(0));
        case.waits("member 0 takes over");
        case.view.is_stable = false;
        case.waits("member 0 takes over");
        case.view.master = Some(0);
        case.view.is_stable = true;
        case.enters("a-broker-1", RolloutStep::Stopping);
        case.restarts(1);
        assert_eq!(case.next(), Next::Nothing);
    }

    #[test]
    fn nothing_stops_while_too_few_are_in_sync() {
        let mut case = Case::new();
        case.view.in_sync.remove(&0);
        // The one that is behind is missed by nobody, but it is ready, and serves reads.
        case.pods[0].is_current = true;
        case.waits("2 of 3");
        case.view.in_sync.insert(0);
        case.enters("a-broker-2", RolloutStep::Stopping);
        case.view.in_sync.remove(&0);
        case.waits("2 of 3");
        case.view.in_sync.insert(0);
        case.pods[0].is_ready = false;
        case.waits("a-broker-0 is ready");
        case.pods[0].is_ready = true;
        case.view.is_stable = false;
        case.waits("has a master");
        case.view.is_stable = true;
        // It was elected meanwhile.
        case.view.master = Some(2);
        case.enters("a-broker-2", RolloutStep::SwitchingOver);
    }

    #[test]
    fn a_switchover_that_was_refused_is_asked_for_again() {
        let mut case = Case::new();
        for slot in [0, 2] {
            case.pods[slot].is_current = true;
        }
        case.enters("a-broker-1", RolloutStep::SwitchingOver);
        let asked = |case: &Case| case.rollout.clone().and_then(|rollout| rollout.switchover);
        let first = asked(&case).expect("a request");
        case.view.outcome = Some(ElectionOutcome {
            request: first.request.clone(),
            refused: Some("it is behind".to_owned()),
        });
        case.now += 4;
        case.waits("it is behind");
        case.now += 1;
        case.view.in_sync.remove(&0);
        case.enters("a-broker-1", RolloutStep::SwitchingOver);
        let second = asked(&case).expect("a request");
        assert_eq!((first.to, second.to), (0, 2));
        assert_ne!(first.request, second.request);
        // The change is taken back.
        case.pods[1].is_current = true;
        assert_eq!(case.next(), Next::Finish);
    }

    #[test]
    fn the_master_moves_to_a_broker_that_stays() {
        let mut case = Case::new();
        for pod in &mut case.pods {
            pod.is_current = true;
        }
        case.wanted = 1;
        case.view.min_in_sync = 1;
        case.view.in_sync.remove(&0);
        case.waits("no broker that stays is in sync");
        case.view.in_sync.insert(0);
        case.enters("a-broker-1", RolloutStep::SwitchingOver);
        case.view.master = Some(0);
        assert_eq!(case.next(), Next::Finish);
        case.rollout = None;
        assert_eq!(case.next(), Next::Nothing);
    }

    #[test]
    fn a_member_is_made_anew_and_is_done_when_it_has_other_data() {
        let mut case = Case::new();
        for pod in &mut case.pods {
            pod.is_current = true;
        }
        let claim = RebuildClaim {
            name: "data-a-broker-2".to_owned(),
            uid: "old".to_owned(),
        };
        case.view.incarnations = [(2, "old".to_owned())].into();
        case.due = Some(Due {
            pod: case.pods[2].clone(),
            reason: "RebuildRequested",
            rebuild: Rebuild {
                claim: Some(claim.clone()),
                incarnation: Some("old".to_owned()),
            },
        });
        case.enters("a-broker-2", RolloutStep::Stopping);
        let not_now = Anew {
            may_go: Err("member 0 is not in sync".to_owned()),
            has_old_claim: true,
            is_wanted: true,
        };
        case.anew = Some(not_now.clone());
        case.waits("member 0 is not in sync");
        case.anew = Some(Anew {
            is_wanted: false,
            ..not_now.clone()
        });
        assert_eq!(case.next(), Next::Finish, "the wish was taken back");
        let now = Anew {
            may_go: Ok(()),
            ..not_now
        };
        case.anew = Some(now.clone());
        let rebuild = Next::Rebuild {
            pod: "a-broker-2".to_owned(),
            uid: "old-2".to_owned(),
            claim: Some(claim),
        };
        assert_eq!(case.next(), rebuild);
        // The pod goes although nobody has deleted its volume: that pod goes that has it now.
        case.pods[2].uid = "between".to_owned();
        case.enters("a-broker-2", RolloutStep::Stopping);
        assert!(matches!(case.next(), Next::Rebuild { uid, .. } if uid == "between"));
        // The volume is going, so this goes on whatever a person says.
        case.anew = Some(Anew {
            has_old_claim: false,
            is_wanted: false,
            ..now
        });
        assert!(matches!(case.next(), Next::Rebuild { .. }));
        case.pods[2].is_terminating = true;
        case.waits("stops");
        case.pods[2] = Member {
            uid: "new".to_owned(),
            is_terminating: false,
            is_ready: false,
            ..case.pods[2].clone()
        };
        case.enters("a-broker-2", RolloutStep::Starting);
        case.waits("starts");
        case.pods[2].is_ready = true;
        case.waits("has copied everything");
        case.view.incarnations.insert(2, "new".to_owned());
        assert_eq!(case.next(), Next::Finish);
    }

    #[test]
    fn a_corrected_template_gets_through() {
        let mut case = Case::new();
        case.enters("a-broker-2", RolloutStep::Stopping);
        case.pods[2].uid = "wrong".to_owned();
        case.pods[2].is_ready = false;
        case.view.in_sync.remove(&2);
        case.enters("a-broker-2", RolloutStep::Starting);
        case.deletes(2);
    }

    #[test]
    fn a_pod_that_nobody_misses_goes_first() {
        let mut case = Case::new();
        case.pods[0].is_ready = false;
        case.view.in_sync.remove(&0);
        case.enters("a-broker-0", RolloutStep::Stopping);
        case.deletes(0);
    }
}
