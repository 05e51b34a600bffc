//! `BrokerGroup`: brokers with volumes and stable names, restarted one by one, removed when they are empty.

mod build;
mod drain;
pub(crate) mod live;
mod rollout;
mod served;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use rmq_crds::{BrokerGroup, BrokerGroupStatus, Conditions, NameServer, Rollout, RolloutStep};

use crate::annotations;
use crate::apply;
use crate::build::{Advertised, advertised, names};
use crate::conditions::Verdict;
use crate::context::Context;
use crate::controller::{again, next_after};
use crate::error::Error;
use crate::fetch::{self, age};
use crate::observe;
use crate::time;
use rollout::{PodView, Situation, Step};
pub(crate) use served::may_have_served;

/// A restart that was begun shows in the cache of statuses after this long at the latest.
const TURN_SECONDS: i64 = 10;
/// While a restart goes on.
const SOON: Duration = Duration::from_secs(1);

pub(crate) async fn reconcile(
    object: &BrokerGroup,
    context: &Arc<Context>,
) -> Result<Action, Error> {
    let namespace = object.namespace().unwrap_or_default();
    let stores = &context.stores;
    let name_server = stores
        .name_servers
        .get(&namespace, &object.spec.name_server_ref.name);
    if object.metadata.deletion_timestamp.is_some() {
        return drain::reconcile(object, name_server.as_deref(), context).await;
    }
    let mut status = object.status.clone().unwrap_or_default();
    status.broker_name = Some(object.broker_name().to_owned());
    status.cluster_name = Some(object.cluster_name().to_owned());
    status.drain = None;
    let children = names::term(names::BROKER, &namespace, &object.name_any());
    served::note(
        object,
        &stores.pods.of(&children),
        &stores.claims.of(&children),
        &mut status,
    );
    if annotations::is(object, annotations::PAUSED, "true") {
        return write(context, object, status, &Verdict::paused()).await;
    }
    let groups = stores.groups_of(&namespace, &object.spec.name_server_ref.name);
    let same_name = groups.iter().find(|other| {
        other.name_any() != object.name_any()
            && other.broker_name() == object.broker_name()
            && other.cluster_name() == object.cluster_name()
            && age(&***other) < age(object)
    });
    let same_name = same_name.map(|other| other.name_any());
    if let Err(verdict) = validate::validate(object, name_server.as_deref(), same_name.as_deref()) {
        return write(context, object, status, &verdict).await;
    }
    let Some(name_server) = name_server else {
        return Ok(again(SOON));
    };
    if apply::finalizer(context, object, object.spec.drain.enabled).await? {
        return Ok(Action::await_change());
    }

    let workload = names::brokers(&object.name_any());
    let service = stores.services.get(&namespace, &names::external(&workload));
    let external = object.spec.listeners.external.as_ref();
    let told = external.and_then(|listener| advertised(listener, service.as_deref()));
    apply::children(
        context,
        object,
        &build::build(object, &context.image, told.as_ref()),
    )
    .await?;
    if external.is_some() && told.is_none() {
        let verdict = Verdict::progressing(
            "WaitingForExternalAddress",
            format!(
                "Service {} has no port or address yet",
                names::external(&workload)
            ),
        );
        return write(context, object, status, &verdict).await;
    }

    let set = stores.stateful_sets.get(&namespace, &workload);
    let pods = stores.pods.of(&children);
    let claims = stores.claims.of(&children);
    status.replicas = i32::try_from(pods.len()).unwrap_or(i32::MAX);
    let ready = pods.iter().filter(|pod| observe::is_ready(pod)).count();
    status.ready_replicas = i32::try_from(ready).unwrap_or(i32::MAX);
    status.address = address(
        object,
        &namespace,
        told.as_ref(),
        pods.first().map(|pod| &**pod),
    );

    let rolled = roll(
        object,
        &name_server,
        &groups,
        set.as_deref(),
        &pods,
        &mut status,
        context,
    )
    .await?;
    let claims: Vec<&PersistentVolumeClaim> = claims.iter().map(|claim| &**claim).collect();
    let missing = match observe::missing_pods(set.as_deref(), object.spec.replicas)
        || claims.iter().any(|claim| observe::is_pending(claim))
    {
        true => fetch::why_missing(context, &namespace, &workload, &claims).await,
        false => None,
    };
    let problem = observe::problems(pods.iter().map(|pod| &**pod), claims.iter().copied())
        .into_iter()
        .next();
    resizing(&claims, &mut status, object, context);
    let killed = pods.iter().find_map(|pod| observe::memory_kill(pod));
    if let Some(news) = out_of_memory(object, killed, &mut status, context.now()) {
        context.warn(object, "BrokerOutOfMemory", news).await;
    }
    let is_ready = |pod: &&Arc<Pod>| observe::is_ready(pod);
    let given = match (&rolled, pods.iter().find(is_ready)) {
        (Rolled::Idle, Some(pod)) => {
            let addresses = names::name_server_addresses(&name_server);
            let pod = pod.uid().unwrap_or_default();
            live::look(object, &pod, &addresses, context)
        }
        _ => None,
    };
    let pending = synced(object, &rolled, given, &mut status, context.now());
    // A volume that is not made is why its pod has no node.
    let verdict = judge(object, &status, &rolled, missing.or(problem), pending);
    let action = write(context, object, status, &verdict).await?;
    Ok(match rolled {
        Rolled::Idle | Rolled::Waits(_) => action,
        Rolled::GoesOn(_) => again(SOON),
    })
}

fn address(
    object: &BrokerGroup,
    namespace: &str,
    told: Option<&Advertised>,
    pod: Option<&Pod>,
) -> Option<String> {
    let workload = names::brokers(&object.name_any());
    match told {
        None => {
            let host = names::host(&names::pod(&workload, 0), &workload, namespace);
            Some(format!("{host}:{}", names::BROKER_PORT))
        }
        Some(told) => {
            let node = || pod?.status.as_ref()?.host_ip.clone();
            let host = told.host.clone().or_else(node)?;
            Some(format!("{host}:{}", told.port))
        }
    }
}

/// What came of the look at restarts.
enum Rolled {
    Idle,
    Waits(String),
    GoesOn(String),
}

async fn roll(
    object: &BrokerGroup,
    name_server: &NameServer,
    groups: &[Arc<BrokerGroup>],
    set: Option<&StatefulSet>,
    pods: &[Arc<Pod>],
    status: &mut BrokerGroupStatus,
    context: &Context,
) -> Result<Rolled, Error> {
    let name = object.name_any();
    let namespace = object.namespace().unwrap_or_default();
    let Some(set) = set else {
        return Ok(Rolled::Idle);
    };
    let observed = set.status.as_ref();
    let views: Vec<PodView> = if observe::is_observed(set) {
        let wanted = observed.and_then(|status| status.update_revision.as_deref());
        pods.iter().map(|pod| view(pod, set, wanted)).collect()
    } else {
        return Ok(match &status.rollout {
            Some(rollout) => Rolled::GoesOn(format!("pod {} is restarted", rollout.pod)),
            None => Rolled::Waits("the StatefulSet takes up the change".to_owned()),
        });
    };
    let cluster = format!("{namespace}/{}", name_server.name_any());
    let addresses = names::name_server_addresses(name_server);
    let others: Vec<&BrokerGroup> = groups
        .iter()
        .map(|group| &**group)
        .filter(|group| group.name_any() != name)
        .collect();
    let is_up = |group: &&BrokerGroup| {
        let children = names::term(names::BROKER, &namespace, &group.name_any());
        let pods = context.stores.pods.of(&children);
        !pods.is_empty() && pods.iter().all(|pod| observe::is_ready(pod))
    };
    let restarts = |group: &BrokerGroup| {
        let status = group.status.as_ref();
        status.is_some_and(|status| status.rollout.is_some())
    };
    let busy = others.iter().find(|group| restarts(group));
    // A group that never served is in no route: no client misses it, and it may never come.
    let is_missed = |group: &&&BrokerGroup| {
        group.metadata.deletion_timestamp.is_none() && may_have_served(group) && !is_up(group)
    };
    let down = others.iter().find(is_missed);
    let turn = {
        let mut turns = context.turns.lock();
        // What the statuses do not show by now was not begun, or is over: its group is gone, paused or corrected.
        let is_stale = |(holder, since): &(String, Timestamp)| {
            let begun = groups
                .iter()
                .any(|group| group.name_any() == *holder && restarts(group));
            !begun && time::now().duration_since(*since).as_secs() >= TURN_SECONDS
        };
        if turns.get(&cluster).is_some_and(is_stale) {
            turns.remove(&cluster);
        }
        let holder = turns.get(&cluster).map(|(holder, _)| holder);
        holder.filter(|holder| **holder != name).cloned()
    };
    let waits_for = busy
        .map(|group| format!("the restart in broker group {}", group.name_any()))
        .or(turn.map(|holder| format!("the restart in broker group {holder}")))
        .or(down.map(|group| format!("broker group {} is ready", group.name_any())));
    let rollout = status.rollout.clone();
    let broker = object.broker_name();
    let quiet = match &rollout {
        Some(rollout) if rollout.step == RolloutStep::Quiescing => {
            quiet_for(&addresses, broker, rollout, context).await
        }
        _ => None,
    };
    let missing_at = match &rollout {
        Some(rollout) if rollout.step == RolloutStep::Starting => {
            context.clusters.missing_at(&addresses, broker).await
        }
        _ => Vec::new(),
    };
    let step = rollout::next(&Situation {
        now: time::now(),
        pods: &views,
        strategy: &object.spec.update_strategy,
        rollout: rollout.as_ref(),
        waits_for,
        others_serve: others.iter().any(is_up),
        quiet,
        missing_at: &missing_at,
    });
    let doing = |rollout: &Rollout| match rollout.step {
        RolloutStep::Quiescing => format!(
            "producers leave pod {} before its restart ({})",
            rollout.pod, rollout.reason
        ),
        RolloutStep::Stopping => format!("pod {} is stopped ({})", rollout.pod, rollout.reason),
        RolloutStep::Starting => format!("pod {} starts again ({})", rollout.pod, rollout.reason),
    };
    Ok(match step {
        Step::Nothing => Rolled::Idle,
        Step::Wait(why) => Rolled::Waits(why),
        Step::Enter(entered) => {
            if entered.step != RolloutStep::Starting {
                let mut turns = context.turns.lock();
                let (holder, _) = turns
                    .entry(cluster)
                    .or_insert_with(|| (name.clone(), time::now()));
                // A broken one does not wait for anybody.
                if *holder != name && entered.step == RolloutStep::Quiescing {
                    return Ok(Rolled::Waits(format!(
                        "pod {} is restarted after the restart in broker group {holder}",
                        entered.pod
                    )));
                }
            }
            let text = doing(&entered);
            context
                .note(object, &format!("Broker{:?}", entered.step), &text)
                .await;
            status.rollout = Some(entered);
            Rolled::GoesOn(text)
        }
        Step::Quiesce => Rolled::GoesOn(rollout.as_ref().map(doing).unwrap_or_default()),
        Step::Delete { pod, uid } => {
            if let Some(pod) = pods
                .iter()
                .find(|of| of.name_any() == pod && of.uid().as_deref() == Some(&uid))
            {
                apply::delete(context, &**pod).await?;
            }
            Rolled::GoesOn(rollout.as_ref().map(doing).unwrap_or_default())
        }
        Step::Await(what) => Rolled::GoesOn(what),
        Step::Finish => {
            let client = context.clusters.client(&addresses).await?;
            client.admin().allow_writes(broker).await?;
            status.rollout = None;
            context.turns.lock().remove(&cluster);
            if let Some(rollout) = rollout {
                context.quiet.lock().remove(&rollout.pod_uid);
                context
                    .note(
                        object,
                        "BrokerRestarted",
                        format!("pod {} serves again ({})", rollout.pod, rollout.reason),
                    )
                    .await;
            }
            Rolled::GoesOn("the restart is over".to_owned())
        }
    })
}

fn view(pod: &Pod, set: &StatefulSet, wanted: Option<&str>) -> PodView {
    let template = set.spec.as_ref().map(|spec| &spec.template);
    let annotation = |name: &str| {
        let wanted = template
            .and_then(|template| template.metadata.as_ref()?.annotations.as_ref()?.get(name));
        pod.annotations().get(name) == wanted
    };
    let image = |spec: Option<&k8s_openapi::api::core::v1::PodSpec>| {
        spec.and_then(|spec| spec.containers.first()?.image.clone())
    };
    let same_image =
        image(pod.spec.as_ref()) == image(template.and_then(|template| template.spec.as_ref()));
    PodView {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        ready: observe::is_ready(pod),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        current: pod
            .labels()
            .get("controller-revision-hash")
            .map(String::as_str)
            == wanted,
        reason: if !same_image {
            "ImageChanged"
        } else if !annotation(annotations::CONFIG_HASH) {
            "ConfigurationChanged"
        } else if !annotation(annotations::RESTART) {
            "RestartRequested"
        } else {
            "PodTemplateChanged"
        },
    }
}

/// Keeps the broker out of the routes; how long nothing was stored there.
async fn quiet_for(
    addresses: &[String],
    broker: &str,
    rollout: &Rollout,
    context: &Context,
) -> Option<SignedDuration> {
    let client = context.clusters.client(addresses).await.ok()?;
    let admin = client.admin();
    if let Err(error) = admin.stop_writes(broker).await {
        tracing::warn!(broker, "cannot take the broker out of the routes: {error}");
    }
    let quiet = context.quiet_for(&admin, broker, &rollout.pod_uid);
    quiet.await.ok().flatten()
}

fn resizing(
    claims: &[&PersistentVolumeClaim],
    status: &mut BrokerGroupStatus,
    object: &BrokerGroup,
    context: &Context,
) {
    let smaller = claims.iter().find_map(|claim| {
        let wanted = claim
            .spec
            .as_ref()?
            .resources
            .as_ref()?
            .requests
            .as_ref()?
            .get("storage")?;
        let has = claim.status.as_ref()?.capacity.as_ref()?.get("storage")?;
        (wanted != has).then(|| {
            format!(
                "volume claim {} has {}, {} are asked for",
                claim.name_any(),
                has.0,
                wanted.0
            )
        })
    });
    let generation = object.metadata.generation;
    match smaller {
        Some(message) => {
            status.conditions.set(
                "StorageResizing",
                true.into(),
                "Resizing",
                message,
                generation,
                context.now(),
            );
        }
        None if status.conditions.of("StorageResizing").is_some() => {
            status.conditions.set(
                "StorageResizing",
                false.into(),
                "Done",
                "",
                generation,
                context.now(),
            );
        }
        None => {}
    }
}

/// A broker that was killed for its memory, as a condition that stays until its pod is another or ends otherwise; what is to be told of it,
/// once.
fn out_of_memory(
    object: &BrokerGroup,
    killed: Option<String>,
    status: &mut BrokerGroupStatus,
    now: Time,
) -> Option<String> {
    const TYPE: &str = "OutOfMemory";
    let (conditions, generation) = (&mut status.conditions, object.metadata.generation);
    let known = conditions.of(TYPE);
    let Some(killed) = killed else {
        if known.is_some() {
            conditions.set(TYPE, false.into(), "Done", "", generation, now);
        }
        return None;
    };
    let limits = object.spec.resources.as_ref();
    let limit = limits.and_then(|resources| resources.limits.as_ref()?.get("memory"));
    let message = match limit {
        Some(limit) => format!(
            "{killed}; it may have {}: raise spec.resources.limits.memory",
            limit.0
        ),
        None => format!(
            "{killed}; spec.resources.limits.memory says no limit, so the namespace (LimitRange) or the node has too little: set one that is enough, or find it another node"
        ),
    };
    // The limit may be another by now.
    let is_known = known.is_some_and(|known| known.message.starts_with(&killed));
    let status = true.into();
    conditions.set(TYPE, status, "OOMKilled", &message, generation, now);
    (!is_known).then_some(message)
}

/// Whether the brokers have the configuration of the object, as a condition; what is still to be done about it while they run.
fn synced(
    object: &BrokerGroup,
    rolled: &Rolled,
    given: Option<Result<(), String>>,
    status: &mut BrokerGroupStatus,
    now: Time,
) -> Option<String> {
    const TYPE: &str = "ConfigSynced";
    let generation = object.metadata.generation;
    let known = status.conditions.of(TYPE);
    let is_synced = known
        .is_some_and(|known| known.observed_generation == generation && known.reason == "Synced");
    let (holds, reason, message) = match (rolled, given) {
        (Rolled::Idle, Some(Ok(()))) => (true, "Synced", ""),
        // It is asked again from time to time, and may be away for a moment.
        (Rolled::Idle, _) if is_synced => return None,
        // Without the reason, which changes: the log has it.
        (Rolled::Idle, _) => (
            false,
            "NotGivenYet",
            "the running broker has not taken its settings yet; the operator's log says why",
        ),
        (Rolled::Waits(_) | Rolled::GoesOn(_), _) => (
            false,
            "RestartPending",
            "a pod has not been started with the new template yet",
        ),
    };
    let conditions = &mut status.conditions;
    conditions.set(TYPE, holds.into(), reason, message, generation, now);
    (reason == "NotGivenYet").then(|| message.to_owned())
}

fn judge(
    object: &BrokerGroup,
    status: &BrokerGroupStatus,
    rolled: &Rolled,
    problem: Option<observe::Problem>,
    pending: Option<String>,
) -> Verdict {
    if let Some(problem) = problem {
        return Verdict::stalled(problem.reason, problem.message);
    }
    let serves = status.ready_replicas >= object.spec.replicas;
    match rolled {
        Rolled::GoesOn(what) => Verdict {
            ready: serves.into(),
            ..Verdict::progressing("Restarting", what.clone())
        },
        Rolled::Waits(what) => Verdict {
            ready: serves.into(),
            ..Verdict::progressing("RestartPending", what.clone())
        },
        Rolled::Idle if serves => match pending {
            None => Verdict::ready(format!("broker {} serves", object.broker_name())),
            Some(pending) => Verdict {
                ready: true.into(),
                ..Verdict::progressing("ApplyingConfiguration", pending)
            },
        },
        Rolled::Idle => Verdict::progressing(
            "Starting",
            format!(
                "{} of {} brokers are ready",
                status.ready_replicas, object.spec.replicas
            ),
        ),
    }
}

async fn write(
    context: &Context,
    object: &BrokerGroup,
    status: BrokerGroupStatus,
    verdict: &Verdict,
) -> Result<Action, Error> {
    context.record(object, status, verdict).await?;
    let seed = object.uid().unwrap_or_default();
    Ok(next_after(object, verdict, fetch::PAUSE, &seed))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;

    use super::*;

    #[test]
    fn objects_of_a_broker_group() {
        for case in [
            "broker-group-small",
            "broker-group-full",
            "broker-group-node-port",
        ] {
            let object: BrokerGroup = crate::yaml::case(case);
            let service: Service = serde_json::from_value(
                serde_json::json!({"spec": {"ports": [{"port": 10911, "nodePort": 31000}]}}),
            )
            .expect("a service");
            let told = object
                .spec
                .listeners
                .external
                .as_ref()
                .and_then(|listener| advertised(listener, Some(&service)));
            insta::assert_snapshot!(
                case,
                crate::yaml::write(&build::build(&object, "rmq:test", told.as_ref()))
            );
        }
    }

    #[test]
    fn a_listener_without_its_address_makes_the_services_alone() {
        let object: BrokerGroup = crate::yaml::case("broker-group-node-port");
        let children = build::build(&object, "rmq:test", None);
        assert_eq!(children.services.len(), 2);
        assert!(children.stateful_sets.is_empty() && children.config_maps.is_empty());
    }

    #[test]
    fn a_broker_that_was_killed_for_its_memory_is_told_of_once() {
        let now = || Time(Timestamp::UNIX_EPOCH);
        let mut object: BrokerGroup = crate::yaml::case("broker-group-small");
        object.spec.resources = None;
        let mut status = BrokerGroupStatus::default();
        assert_eq!(out_of_memory(&object, None, &mut status, now()), None);
        assert_eq!(status, BrokerGroupStatus::default());

        let killed = |at: &str| Some(format!("pod a-broker-0 was killed for its memory at {at}"));
        let news = out_of_memory(&object, killed("noon"), &mut status, now());
        let news = news.expect("it is told");
        assert!(
            news.contains("noon") && news.contains("spec.resources.limits.memory"),
            "{news}"
        );
        let limits = serde_json::json!({"limits": {"memory": "64Mi"}});
        object.spec.resources = serde_json::from_value(limits).expect("resources");
        assert_eq!(
            out_of_memory(&object, killed("noon"), &mut status, now()),
            None
        );
        let condition = status.conditions.of("OutOfMemory").expect("a condition");
        assert_eq!(
            (&*condition.status, &*condition.reason),
            ("True", "OOMKilled")
        );
        assert!(condition.message.contains("64Mi"), "{}", condition.message);
        let again = out_of_memory(&object, killed("one"), &mut status, now());
        assert!(again.is_some_and(|news| news.contains("at one")));

        assert_eq!(out_of_memory(&object, None, &mut status, now()), None);
        let condition = status.conditions.of("OutOfMemory").expect("a condition");
        assert_eq!(condition.status, "False");
    }

    #[test]
    fn what_a_broker_takes_while_it_runs_restarts_nothing_and_is_told() {
        let mut object: BrokerGroup = crate::yaml::case("broker-group-small");
        object.metadata.generation = Some(1);
        let hash_of = |object: &BrokerGroup| {
            let children = build::build(object, "rmq:test", None);
            let template = children.stateful_sets[0]
                .spec
                .as_ref()
                .map(|spec| &spec.template);
            let config = children.config_maps[0].data.clone();
            (crate::build::hash(&template), config)
        };
        let before = hash_of(&object);
        object.spec.config.retention_hours = Some(5);
        object.spec.config.max_message_bytes = Some(1_024);
        object.spec.config.auto_create_topic = Some(true);
        object.spec.config.auto_create_subscription_group = Some(false);
        let live = hash_of(&object);
        assert_eq!(before.0, live.0, "no restart");
        assert_ne!(before.1, live.1, "the next start has it");
        object.spec.config.flush = Some(rmq_crds::Flush::Sync);
        assert_ne!(hash_of(&object).0, live.0);

        let now = || Time(Timestamp::UNIX_EPOCH);
        let mut status = BrokerGroupStatus::default();
        let mut seen = |given: Option<Result<(), String>>, generation| {
            object.metadata.generation = Some(generation);
            let pending = synced(&object, &Rolled::Idle, given, &mut status, now());
            let known = status.conditions.of("ConfigSynced");
            (
                pending.is_some(),
                known.map(|known| (known.status.clone(), known.message.clone())),
            )
        };
        let away = || Some(Err("away".to_owned()));
        let status_of = |(pending, known): (bool, Option<(String, String)>)| {
            (pending, known.map(|(status, _)| status).unwrap_or_default())
        };
        let (not_yet, synced) = ((true, "False".to_owned()), (false, "True".to_owned()));
        let first = seen(None, 1);
        assert_eq!(seen(away(), 1), first, "no answer is no news");
        assert_eq!(status_of(first), not_yet);
        assert_eq!(status_of(seen(Some(Ok(())), 1)), synced);
        assert_eq!(
            status_of(seen(None, 1)),
            synced,
            "asked again, without a word"
        );
        assert_eq!(status_of(seen(away(), 1)), synced, "away for a moment");
        assert_eq!(status_of(seen(None, 2)), not_yet, "a change is told");
        assert_eq!(status_of(seen(Some(Ok(())), 2)), synced);
    }
}
