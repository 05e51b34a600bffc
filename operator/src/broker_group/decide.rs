//! What is done about a broker group, of what one look has seen. Pure: no clock, no network.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::controller::Action;
use rmq_crds::{BrokerGroup, BrokerGroupStatus, Rollout, RolloutStep};

use crate::annotations;
use crate::apply;
use crate::conditions::Verdict;
use crate::events::News;
use crate::fetch::age;
use crate::objects::{Children, names};
use crate::observe;
use crate::requeue;

use super::conditions::{self, Restart};
use super::decision::{Decision, Step};
use super::observed::{Observed, Other};
use super::rollout::{self, Next, Situation};
use super::{children, drain, served, validate};

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
    let advertised = observed.advertised.as_ref();
    let children = children::build(object, observed.default_image, advertised);
    let decision = if object.spec.listeners.external.is_some() && advertised.is_none() {
        let service = names::external(&names::brokers(&observed.name()));
        let message = format!("Service {service} has no port or address yet");
        let verdict = Verdict::progressing("WaitingForExternalAddress", message);
        told(observed, status, verdict)
    } else {
        brokers(observed, &children, status)
    };
    Decision {
        children: Some(children),
        ..decision
    }
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
    status.address = address(observed);

    let roll = roll(observed, children);
    status.rollout = roll.rollout;
    let mut events: Vec<News> = roll.news.into_iter().collect();
    let resizing = conditions::resizing(observed, &status);
    let (killed, news) = conditions::out_of_memory(observed, &status).unzip();
    events.extend(news.flatten());
    let synced = conditions::synced(observed, &roll.restart, &status);
    let pending = conditions::pending(synced.as_ref());
    for said in [resizing, killed, synced].into_iter().flatten() {
        said.set(&mut status, observed);
    }
    let verdict = conditions::judge(observed, &status, &roll.restart, pending);
    let mut decision = told(observed, status, verdict);
    if matches!(roll.restart, Restart::Runs(_)) {
        decision.requeue = Action::requeue(SOON);
    }
    decision.step = roll.step;
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

/// The address that clients are told.
fn address(observed: &Observed<'_>) -> Option<String> {
    let workload = names::brokers(&observed.name());
    match &observed.advertised {
        None => {
            let pod = names::pod(&workload, 0);
            let host = names::host(&pod, &workload, &observed.namespace());
            Some(format!("{host}:{}", names::BROKER_PORT))
        }
        Some(advertised) => {
            let node = || observed.members.first()?.node.clone();
            let host = advertised.host.clone().or_else(node)?;
            Some(format!("{host}:{}", advertised.port))
        }
    }
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
    let next = rollout::next(&Situation {
        now: observed.now,
        members: &observed.members,
        strategy: &observed.object.spec.update_strategy,
        rollout: rollout.as_ref(),
        waits_for: waits_for(observed),
        others_serve: observed.others.iter().any(|other| other.is_up),
        quiet: observed.quiet,
        missing_at: &observed.missing_at,
    });
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
        Next::Delete { pod, uid } => plain(doing, Step::Delete { pod, uid }),
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
            let reason = rollout.as_ref().map_or("", |rollout| &rollout.reason);
            let note = format!("pod {pod} serves again ({reason})");
            Roll {
                restart: Restart::Runs("the restart is over".to_owned()),
                step: Step::Finish { pod_uid },
                rollout: None,
                news: Some(News::normal("BrokerRestarted", note)),
            }
        }
    }
}

/// What is done in a step of a restart, in words.
fn doing(rollout: &Rollout) -> String {
    let Rollout { pod, reason, .. } = rollout;
    match rollout.step {
        RolloutStep::Quiescing => {
            format!("producers leave pod {pod} before its restart ({reason})")
        }
        RolloutStep::Stopping => format!("pod {pod} is stopped ({reason})"),
        RolloutStep::Starting => format!("pod {pod} starts again ({reason})"),
    }
}

/// Settings are given to a broker that serves.
fn give(observed: &Observed<'_>) -> Step {
    let mut members = observed.members.iter();
    match members.find(|member| member.is_ready) {
        Some(member) => Step::Give {
            pod_uid: member.uid.clone(),
        },
        None => Step::Nothing,
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
