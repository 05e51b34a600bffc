//! The verdict on a broker group, and the conditions that only broker groups have. Pure.

use kube::ResourceExt;
use rmq_crds::{BrokerGroupStatus, Conditions};

use crate::conditions::Verdict;
use crate::events::News;
use crate::observe::Problem;

use super::observed::{Member, Observed};
use super::said::Said;
use super::standing;

/// What a look comes to about restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Restart {
    /// Every pod is current.
    No,
    /// A restart is wanted, and waits for this.
    Waits(String),
    /// A restart is under way; this is done now.
    Runs(String),
}

/// Whether volumes grow. None: they never did.
pub(super) fn resizing(observed: &Observed<'_>, status: &BrokerGroupStatus) -> Option<Said> {
    const TYPE: &str = "StorageResizing";
    let smaller = observed.claims.iter().find_map(|claim| {
        let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
        let wanted = requests.get("storage")?;
        let has = claim.status.as_ref()?.capacity.as_ref()?.get("storage")?;
        (wanted != has).then(|| {
            format!(
                "volume claim {} has {}; its request is {}",
                claim.name_any(),
                has.0,
                wanted.0
            )
        })
    });
    match smaller {
        Some(message) => Some(Said::new(TYPE, true, "Resizing", message)),
        None => status
            .conditions
            .of(TYPE)
            .is_some()
            .then(|| Said::done(TYPE)),
    }
}

/// Whether a broker was killed for its memory. The condition holds until the pod is another one, or ends for another reason. The event tells
/// of each kill once. None: no broker ever was.
pub(super) fn out_of_memory(
    observed: &Observed<'_>,
    status: &BrokerGroupStatus,
) -> Option<(Said, Option<News>)> {
    const TYPE: &str = "OutOfMemory";
    let known = status.conditions.of(TYPE);
    let mut kills = observed.members.iter();
    let Some(killed) = kills.find_map(|member| member.memory_kill.clone()) else {
        return known.is_some().then(|| (Said::done(TYPE), None));
    };
    let limits = observed.object.spec.resources.as_ref();
    let limit = limits.and_then(|resources| resources.limits.as_ref()?.get("memory"));
    let message = match limit {
        Some(limit) => format!(
            "{killed}; its limit is {}: raise spec.resources.limits.memory",
            limit.0
        ),
        None => format!(
            "{killed}; spec.resources.limits.memory sets no limit, so the namespace (LimitRange) or the node has too little memory: set a limit that is enough, or find the broker another node"
        ),
    };
    // The rest of the message changes with the limit.
    let is_known = known.is_some_and(|known| known.message.starts_with(&killed));
    let news = (!is_known).then(|| News::warning("BrokerOutOfMemory", &*message));
    Some((Said::new(TYPE, true, "OOMKilled", message), news))
}

/// Whether the brokers have the configuration of the object. None: the condition stays as it is.
pub(super) fn synced(
    observed: &Observed<'_>,
    restart: &Restart,
    status: &BrokerGroupStatus,
) -> Option<Said> {
    const TYPE: &str = "ConfigSynced";
    let generation = observed.object.metadata.generation;
    let is_synced = status
        .conditions
        .of(TYPE)
        .is_some_and(|known| known.observed_generation == generation && known.reason == "Synced");
    // A member that does not serve has the settings when it starts.
    let mut serving = observed.members.iter().filter(|member| member.is_ready);
    let lacks = |member: &&Member| !matches!(member.settings, Some(Ok(())));
    let is_given = observed.master().is_some() && !serving.any(|member| lacks(&member));
    let (holds, reason, message) = match (restart, is_given) {
        (Restart::No, true) => (true, "Synced", ""),
        // The broker has the settings. It is asked again from time to time, and may not answer once.
        (Restart::No, _) if is_synced => return None,
        // The reason changes from try to try, so only the log has it.
        (Restart::No, _) => (
            false,
            "NotGivenYet",
            "a running broker has not taken its settings yet; the operator's log says why",
        ),
        (Restart::Waits(_) | Restart::Runs(_), _) => (
            false,
            "RestartPending",
            "a pod has not been started with the new template yet",
        ),
    };
    Some(Said::new(TYPE, holds, reason, message))
}

/// What a running broker still has to take, as its condition says.
pub(super) fn pending(said: Option<&Said>) -> Option<String> {
    let said = said.filter(|said| said.reason == "NotGivenYet")?;
    Some(said.message.clone())
}

/// The verdict. `pending` is what a running broker still has to take.
pub(super) fn judge(
    observed: &Observed<'_>,
    status: &BrokerGroupStatus,
    restart: &Restart,
    pending: Option<String>,
) -> Verdict {
    // A volume that is not made comes first: it is the reason why its pod has no node.
    let problem = observed.missing.clone().or_else(|| observed.problem());
    // A member that is made anew is the mend of it.
    let is_mended = status
        .rollout
        .as_ref()
        .is_some_and(|of| of.rebuild.is_some());
    let problem = problem.filter(|_| !is_mended);
    if let Some(Problem { reason, message }) = problem {
        return Verdict::stalled(reason, message);
    }
    let wanted = observed.object.spec.replicas;
    let view = observed.view.as_ref();
    let is_up = status.ready_replicas >= wanted;
    // A group with replicas serves without one of them.
    let serves = view.map_or(is_up, standing::takes_messages);
    let lacks = view.and_then(|view| standing::lacks(observed, view));
    let broker = observed.object.broker_name();
    let progressing = |ready: bool, reason, message: &str| Verdict {
        ready: ready.into(),
        ..Verdict::progressing(reason, message)
    };
    match (restart, pending) {
        (Restart::Runs(what), _) => progressing(serves, "Restarting", what),
        (Restart::Waits(what), _) => progressing(serves, "RestartPending", what),
        (Restart::No, _) if !is_up => {
            let message = format!("{} of {wanted} brokers are ready", status.ready_replicas);
            progressing(serves && view.is_some(), "Starting", &message)
        }
        (Restart::No, _) if lacks.is_some() => {
            progressing(serves, "ReplicasNotInSync", &lacks.unwrap_or_default())
        }
        (Restart::No, Some(pending)) => progressing(true, "ApplyingConfiguration", &pending),
        (Restart::No, None) => Verdict::ready(match &status.master {
            Some(master) => format!(
                "broker {broker} serves: pod {master} is the master, {} of {wanted} are in sync",
                status.in_sync_replicas.unwrap_or(0)
            ),
            None => format!("broker {broker} serves"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rmq_crds::BrokerGroup;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn small() -> BrokerGroup {
        crate::yaml::case("broker-group-small")
    }

    #[test]
    fn a_broker_that_was_killed_for_its_memory_is_told_of_once() {
        let mut object = small();
        let mut status = BrokerGroupStatus::default();
        let mut look = |limits: Option<&str>, killed: Option<&str>| {
            let limits = limits.map(|memory| serde_json::json!({"limits": {"memory": memory}}));
            object.spec.resources =
                limits.map(|limits| serde_json::from_value(limits).expect("resources"));
            let mut observed = Observed::nothing(&object, NOW);
            observed.members = vec![Member {
                memory_kill: killed
                    .map(|at| format!("pod a-broker-0 was killed for its memory at {at}")),
                ..Member::default()
            }];
            let (said, news) = out_of_memory(&observed, &status)?;
            said.clone().set(&mut status, &observed);
            Some((said, news.map(|news| news.note)))
        };
        assert_eq!(look(None, None), None);

        let (_, news) = look(None, Some("noon")).expect("a condition");
        let news = news.expect("it is told");
        assert!(
            news.contains("noon") && news.contains("spec.resources.limits.memory"),
            "{news}"
        );
        let (said, news) = look(Some("64Mi"), Some("noon")).expect("a condition");
        assert_eq!(news, None);
        assert_eq!((said.holds, said.reason), (true, "OOMKilled"));
        assert!(said.message.contains("64Mi"), "{}", said.message);
        let (_, again) = look(Some("64Mi"), Some("one")).expect("a condition");
        assert!(again.is_some_and(|news| news.contains("at one")));

        let (said, news) = look(Some("64Mi"), None).expect("a condition");
        assert_eq!((said.holds, news), (false, None));
    }

    #[test]
    fn what_a_broker_takes_while_it_runs_is_told() {
        let mut object = small();
        let mut status = BrokerGroupStatus::default();
        let mut look = |settings: Option<Result<(), String>>, generation| {
            object.metadata.generation = Some(generation);
            let mut observed = Observed::nothing(&object, NOW);
            observed.members = vec![Member {
                is_ready: true,
                settings,
                ..Member::default()
            }];
            let said = synced(&observed, &Restart::No, &status);
            let is_pending = pending(said.as_ref()).is_some();
            if let Some(said) = said {
                said.set(&mut status, &observed);
            }
            let known = status.conditions.of("ConfigSynced").expect("a condition");
            (is_pending, known.status.clone(), known.message.clone())
        };
        let away = || Some(Err("away".to_owned()));
        let status_of = |(pending, status, _): (bool, String, String)| (pending, status);
        let (not_yet, synced) = ((true, "False".to_owned()), (false, "True".to_owned()));
        let first = look(None, 1);
        assert_eq!(look(away(), 1), first, "no answer is no news");
        assert_eq!(status_of(first), not_yet);
        assert_eq!(status_of(look(Some(Ok(())), 1)), synced);
        assert_eq!(status_of(look(None, 1)), synced, "asked again");
        assert_eq!(status_of(look(away(), 1)), synced, "away for a moment");
        assert_eq!(status_of(look(None, 2)), not_yet, "a change is told");
        assert_eq!(status_of(look(Some(Ok(())), 2)), synced);
    }

    #[test]
    fn volumes_that_grow_are_told_until_they_have() {
        let object = small();
        let mut status = BrokerGroupStatus::default();
        let mut look = |has: &str| {
            let claim = serde_json::json!({
                "metadata": {"name": "data-a-broker-0"},
                "spec": {"resources": {"requests": {"storage": "20Gi"}}},
                "status": {"capacity": {"storage": has}},
            });
            let mut observed = Observed::nothing(&object, NOW);
            let claim = serde_json::from_value(claim).expect("a claim");
            observed.claims = vec![std::sync::Arc::new(claim)];
            let said = resizing(&observed, &status)?;
            said.clone().set(&mut status, &observed);
            Some((said.holds, said.message))
        };
        assert_eq!(look("20Gi"), None);
        let message = "volume claim data-a-broker-0 has 10Gi; its request is 20Gi";
        assert_eq!(look("10Gi"), Some((true, message.to_owned())));
        assert_eq!(look("20Gi"), Some((false, String::new())));
    }
}
