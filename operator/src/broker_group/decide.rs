//! What is done about a broker group, of what one look has seen. Pure: no clock, no network.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::controller::Action;
use rmq_crds::{BrokerGroup, BrokerGroupStatus, DeletionPolicy, Rollout, RolloutStep};

use crate::annotations;
use crate::apply;
use crate::conditions::Verdict;
use crate::events::News;
use crate::fetch::age;
use crate::objects::{Children, keyring, names};
use crate::observe;
use crate::requeue;

use super::children::{self, Given};
use super::conditions::{self, Restart};
use super::decision::{self, Decision, Step};
use super::member_rolls::{self, Anew, Group};
use super::observed::{LeaseSeen, Member, Observed, Other};
use super::rollout::{self, Next, Situation};
use super::view::View;
use super::{drain, lost, membership, rebuild, restore, securing, served, standing, validate};

/// Between two looks while a restart is under way.
const SOON: Duration = Duration::from_secs(1);

/// The decision.
pub(super) fn decide(observed: &Observed<'_>) -> Decision {
    let object = observed.object;
    if object.metadata.deletion_timestamp.is_some() {
        return drain::decide(observed);
    }
    let mut status = object.status.clone().unwrap_or_default();
    status.broker_name = Some(object.broker_name().to_owned());
    status.cluster_name = Some(object.cluster_name().to_owned());
    status.drain = None;
    status.ever_served = served::ever_served(object, &observed.members, &observed.claims);
    if annotations::is(object, annotations::PAUSED, "true") {
        return told(observed, status, Verdict::paused());
    }
    let name_server = observed.name_server.as_deref();
    if let Err(verdict) = validate::validate(object, name_server, same_name(observed).as_deref()) {
        return told(observed, status, verdict);
    }
    if apply::is_held(object) != object.spec.drain.enabled {
        let step = if object.spec.drain.enabled {
            Step::Hold
        } else {
            Step::Release
        };
        return Decision::finalizer(step, Vec::new());
    }
    if let Some(problem) = segments_changed(observed) {
        return told(observed, status, Verdict::stalled("InvalidSpec", problem));
    }
    if let Some(verdict) = left_over(observed) {
        let decision = told(observed, status, verdict);
        let is_going = observed.lease == LeaseSeen::Going;
        return Decision {
            step: match is_going {
                true => Step::Nothing,
                false => Step::ForgetElection,
            },
            requeue: Action::requeue(SOON),
            ..decision
        };
    }
    if let Some(decision) = restore::decide(observed, &status) {
        return decision;
    }
    let access = match name_server.map_or(Ok(None), keyring::of_brokers) {
        Ok(access) => access,
        Err(waits) => return told(observed, status, waits),
    };
    let membership = membership::of(observed);
    let securing = match securing::decide(observed, membership.is_some()) {
        Ok(securing) => securing,
        Err(verdict) => return told(observed, status, verdict),
    };
    securing.tell(observed, &mut status);
    let given = Given {
        tls: securing.tls,
        access: access.as_deref(),
        default_image: observed.default_image,
        advertised: &observed.advertised,
        membership: membership.as_ref(),
    };
    let children = children::build(object, given);
    let decision = if children::lacks_address(object, given) {
        let service = names::external(&names::brokers(&observed.name()));
        let message = format!("Service {service} has no port or address yet");
        let verdict = Verdict::progressing("WaitingForExternalAddress", message);
        told(observed, status, verdict)
    } else {
        brokers(observed, &children, status)
    };
    let due = observed.tls.due(observed.now);
    let requeue = match due {
        None => decision.requeue.clone(),
        // No watch shows the new certificate.
        Some(_) => Action::requeue(SOON),
    };
    Decision {
        tls: due,
        children: Some(children),
        labels: standing::labels(observed),
        requeue,
        ..decision
    }
}

/// Why the size of segments cannot become what the object says: replicas copy segments as their master has them.
fn segments_changed(observed: &Observed<'_>) -> Option<String> {
    const KEY: &str = "segmentBytes";
    let object = observed.object;
    let has = observed.segment_bytes.as_deref()?;
    let wanted = object.spec.config.extra.get(KEY);
    let wanted = wanted.map_or_else(|| children::default_of(KEY), ToString::to_string);
    let is_alone = object.spec.replicas <= 1 && observed.election.is_none();
    (!is_alone && wanted != has).then(|| {
        format!(
            "spec.config.extra.{KEY} cannot be changed in a group with replicas, which copy segments of {has} bytes: set it to {has} again, or make another BrokerGroup and drain this one"
        )
    })
}

/// What is left of an earlier object of this name and says who has messages that are no more.
fn left_over(observed: &Observed<'_>) -> Option<Verdict> {
    let storage = &observed.object.spec.storage;
    let stays = !storage.ephemeral && storage.deletion_policy == DeletionPolicy::Retain;
    let has_volumes = observed.set.is_some() || !observed.claims.is_empty();
    let is_left = observed.election.is_some()
        && match stays {
            true => !has_volumes,
            false => !observed.owns_election(),
        };
    let what = match observed.lease {
        LeaseSeen::Going => "Lease",
        _ if is_left => "BrokerGroupElection",
        _ => return None,
    };
    let name = names::brokers(&observed.name());
    let message = format!("{what} {name} of an earlier BrokerGroup of this name goes first");
    Some(Verdict::progressing("CleaningUp", message))
}

/// Decides about the brokers, whose children are known.
fn brokers(
    observed: &Observed<'_>,
    children: &Children,
    mut status: BrokerGroupStatus,
) -> Decision {
    let members = &observed.members;
    let ready = members.iter().filter(|member| member.is_ready);
    status.replicas = i32::try_from(members.len()).unwrap_or(i32::MAX);
    status.ready_replicas = i32::try_from(ready.count()).unwrap_or(i32::MAX);
    status.address = standing::address(observed);
    let mut events = standing::write(observed, &mut status);

    let roll = roll(observed, children);
    status.rollout = roll.rollout;
    events.extend(roll.news);
    let resizing = conditions::resizing(observed, &status);
    let (killed, news) = conditions::out_of_memory(observed, &status).unzip();
    events.extend(news.flatten());
    let rebuilding = rebuild::said(observed, status.rollout.as_ref(), &status);
    events.extend(rebuilding.as_ref().and_then(|said| said.news(&status)));
    let synced = conditions::synced(observed, &roll.restart, &status);
    let pending = conditions::pending(synced.as_ref());
    for said in [resizing, killed, rebuilding, synced].into_iter().flatten() {
        said.set(&mut status, observed);
    }
    let verdict = conditions::judge(observed, &status, &roll.restart, pending);
    let mut decision = told(observed, status, verdict);
    // A Lease that was made is to be seen soon, so that the brokers have it.
    if matches!(roll.restart, Restart::Runs(_)) || observed.lease == LeaseSeen::Missing {
        decision.requeue = Action::requeue(SOON);
    }
    decision.step = match lost::forced(observed) {
        Some(forced) if matches!(roll.step, Step::Nothing | Step::Give { .. }) => {
            decision.requeue = Action::requeue(SOON);
            forced
        }
        _ => match restore::end(observed) {
            Some(end) if matches!(roll.step, Step::Nothing | Step::Give { .. }) => end,
            _ => roll.step,
        },
    };
    // A pod that does not stop, or finds no node, may be on a lost node; no watch tells when it is time to look at the node.
    let is_suspicious = |member: &Member| member.is_terminating || member.unplaced_since.is_some();
    if members.iter().any(is_suspicious) && decision.requeue != Action::requeue(SOON) {
        decision.requeue = Action::requeue(*requeue::SERVERS.start());
    }
    decision.events = events;
    decision
}

/// Writes the verdict into the status, and nothing else.
fn told(observed: &Observed<'_>, status: BrokerGroupStatus, verdict: Verdict) -> Decision {
    let object = observed.object;
    let seed = object.uid().unwrap_or_default();
    let requeue = requeue::next(object, &verdict, requeue::SERVERS, &seed, observed.now);
    Decision::status(status, verdict, requeue)
}

/// The older group of the same cluster that has the same broker name.
fn same_name(observed: &Observed<'_>) -> Option<String> {
    let object = observed.object;
    let is_rival = |other: &&Other| {
        other.group.broker_name() == object.broker_name()
            && other.group.cluster_name() == object.cluster_name()
            && age(&*other.group) < age(object)
    };
    let rival = observed.others.iter().find(is_rival);
    rival.map(|other| other.group.name_any())
}

/// What a look does about restarts.
struct Roll {
    restart: Restart,
    step: Step,
    /// The restart that the status tells of.
    rollout: Option<Rollout>,
    news: Option<News>,
}

/// Decides about restarts. The safe next step is an input to it ([`rollout::next`]).
fn roll(observed: &Observed<'_>, children: &Children) -> Roll {
    let status = observed.object.status.as_ref();
    let rollout = status.and_then(|status| status.rollout.clone());
    let plain = |restart, step| Roll {
        restart,
        step,
        rollout: rollout.clone(),
        news: None,
    };
    let Some(set) = &observed.set else {
        return plain(Restart::No, give(observed));
    };
    let mut wanted = children.stateful_sets.iter();
    let is_applied = wanted.all(|wanted| apply::is_applied(&**set, wanted));
    if !is_applied || !observe::is_observed(set) {
        let restart = match &rollout {
            Some(rollout) => Restart::Runs(format!("pod {} is restarted", rollout.pod)),
            None => Restart::Waits("the StatefulSet has not seen the change yet".to_owned()),
        };
        return plain(restart, Step::Nothing);
    }
    let situation = Situation {
        now: observed.now,
        members: &observed.members,
        strategy: &observed.object.spec.update_strategy,
        rollout: rollout.as_ref(),
        waits_for: waits_for(observed),
        others_serve: observed.others.iter().any(|other| other.is_up),
        quiet: observed.quiet,
        missing_at: &observed.missing_at,
    };
    let next = next(observed, &situation);
    let doing = Restart::Runs(rollout.as_ref().map(doing).unwrap_or_default());
    let (pod, pod_uid) = match &rollout {
        Some(rollout) => (rollout.pod.clone(), rollout.pod_uid.clone()),
        None => Default::default(),
    };
    match next {
        Next::Nothing => plain(Restart::No, give(observed)),
        Next::Wait(why) => plain(Restart::Waits(why), Step::Nothing),
        Next::Await(what) => plain(Restart::Runs(what), Step::Nothing),
        Next::Quiesce => plain(doing, Step::Quiesce { pod_uid }),
        Next::Delete { pod, uid } => {
            let election = observed.election.as_ref();
            let election = election.and_then(|election| election.resource_version());
            plain(doing, Step::Delete { pod, uid, election })
        }
        Next::Rebuild { pod, uid, claim } => {
            let election = observed.election.as_ref();
            let election = election.and_then(|election| election.resource_version());
            let step = Step::Rebuild {
                pod,
                uid,
                claim,
                election,
            };
            plain(doing, step)
        }
        Next::Enter(entered) => {
            let what = self::doing(&entered);
            Roll {
                restart: Restart::Runs(what.clone()),
                step: Step::Nothing,
                news: Some(News::normal(format!("Broker{:?}", entered.step), what)),
                rollout: Some(entered),
            }
        }
        Next::Finish => {
            let reason = rollout.as_ref().map_or("", |rollout| &*rollout.reason);
            let note = format!("pod {pod} serves again ({reason})");
            let is_wish = reason == rebuild::REQUESTED;
            let wish = rollout.as_ref().filter(|_| is_wish);
            let wish = wish.filter(|rollout| rebuild::is_wish_of(observed, rollout));
            let wish = wish.map(|_| annotations::REBUILD);
            Roll {
                restart: Restart::Runs("the restart is over".to_owned()),
                step: Step::Finish { pod_uid, wish },
                rollout: None,
                news: Some(News::normal("BrokerRestarted", note)),
            }
        }
    }
}

/// The safe next step: of a group with replicas that has a master, or of a broker that is alone.
fn next(observed: &Observed<'_>, situation: &Situation<'_>) -> Next {
    let step = situation.rollout.map(|rollout| rollout.step);
    let is_group = |view: &&View| view.epoch > 0 && view.members.len() > 1;
    match observed.view.as_ref().filter(is_group) {
        Some(view) if step != Some(RolloutStep::Quiescing) => {
            let due = rebuild::asked(observed).and_then(Result::ok);
            let rebuilt = situation
                .rollout
                .and_then(|rollout| Some((rollout, rollout.rebuild.as_ref()?)));
            let anew = rebuilt.map(|(rollout, rebuilt)| Anew {
                may_go: rebuild::may_go(observed, rollout),
                has_old_claim: rebuild::has_old_claim(observed, rebuilt),
                is_wanted: rollout.reason != rebuild::REQUESTED
                    || rebuild::is_wish_of(observed, rollout),
            });
            let group = Group {
                view,
                wanted: observed.object.spec.replicas.into(),
                due: due.as_ref(),
                anew: anew.as_ref(),
            };
            member_rolls::next(situation, group)
        }
        _ => rollout::next(situation),
    }
}

/// What is done in a step of a restart, in words.
fn doing(rollout: &Rollout) -> String {
    let Rollout { pod, reason, .. } = rollout;
    match rollout.step {
        RolloutStep::Quiescing => {
            format!("producers leave pod {pod} before its restart ({reason})")
        }
        RolloutStep::SwitchingOver => match &rollout.switchover {
            Some(asked) => format!("member {} takes over from pod {pod} ({reason})", asked.to),
            None => format!("a replica takes over from pod {pod} ({reason})"),
        },
        RolloutStep::Stopping if rollout.rebuild.is_some() => {
            format!("pod {pod} and its volume are removed ({reason})")
        }
        RolloutStep::Starting if rollout.rebuild.is_some() => {
            format!("pod {pod} copies everything from the others ({reason})")
        }
        RolloutStep::Stopping => format!("pod {pod} is stopped ({reason})"),
        RolloutStep::Starting => format!("pod {pod} starts again ({reason})"),
    }
}

/// Settings are given to brokers that serve: to all members, as each may be the master next.
fn give(observed: &Observed<'_>) -> Step {
    let ready = observed.members.iter().filter(|member| member.is_ready);
    let given = |member: &Member| {
        let address = match &observed.view {
            None => None,
            Some(_) => Some(observed.client_address(member.slot)?),
        };
        Some(decision::Given {
            pod_uid: member.uid.clone(),
            address,
        })
    };
    let brokers: Vec<_> = ready.filter_map(given).collect();
    match brokers.is_empty() {
        true => Step::Nothing,
        false => Step::Give {
            epoch: observed.view.as_ref().map_or(0, |view| view.epoch),
            brokers,
        },
    }
}

/// Why no restart may begin in this group now, in words.
fn waits_for(observed: &Observed<'_>) -> Option<String> {
    let others = &observed.others;
    let name = |other: &Other| other.group.name_any();
    let busy = others.iter().find(|other| other.restarts()).map(name);
    if let Some(busy) = busy.or_else(|| observed.turn.clone()) {
        return Some(format!("the restart in broker group {busy}"));
    }
    // A group that goes is not missed. A group that never served is in no route, so no client misses it; and it may never be ready.
    let is_missed = |group: &Arc<BrokerGroup>| {
        group.metadata.deletion_timestamp.is_none() && served::may_have_served(group)
    };
    let down = others
        .iter()
        .find(|other| !other.is_up && is_missed(&other.group));
    down.map(|other| format!("broker group {} is ready", name(other)))
}

#[cfg(test)]
mod tests;
