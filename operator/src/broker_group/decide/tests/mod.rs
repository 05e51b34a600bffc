//! Situations of a broker group, and what is decided of each.

mod ends;
mod replicas;
mod restarts;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rmq_crds::{DrainStatus, NameServer};
use serde_json::json;

use super::*;
use crate::broker_group::decision;
use crate::broker_group::observed::Member;
use crate::objects::hash;
use crate::observe::Problem;

const SECOND: i64 = 1_000_000;

/// One situation: a group that serves, but for these changes.
struct Row {
    what: &'static str,
    object: fn(&mut BrokerGroup),
    seen: fn(&mut Observed<'_>),
    /// The step that is decided.
    step: Step,
    /// The reason of the verdict; "" when the status is not written.
    reason: &'static str,
    /// The step of the restart that the new status tells of.
    rollout: Option<RolloutStep>,
    events: &'static [&'static str],
}

/// A row whose group is as `object` and `seen` make it.
fn row(what: &'static str, object: fn(&mut BrokerGroup), seen: fn(&mut Observed<'_>)) -> Row {
    Row {
        what,
        object,
        seen,
        step: Step::Nothing,
        reason: "",
        rollout: None,
        events: &[],
    }
}

fn same(_: &mut BrokerGroup) {}

fn nothing_else(_: &mut Observed<'_>) {}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a small number")
}

fn group() -> BrokerGroup {
    let mut group: BrokerGroup = crate::yaml::case("broker-group-small");
    group.metadata.generation = Some(1);
    group.metadata.finalizers = Some(vec![names::FINALIZER.to_owned()]);
    group.metadata.creation_timestamp = Some(Time(at(SECOND - 1_000)));
    group.status = Some(BrokerGroupStatus {
        ever_served: Some(true),
        replicas: 1,
        ..BrokerGroupStatus::default()
    });
    group
}

/// The StatefulSet as the last look applied it, seen by Kubernetes.
fn applied(object: &BrokerGroup) -> StatefulSet {
    let given = Given {
        default_image: "rmq:test",
        advertised: &[],
        membership: None,
        tls: None,
        access: None,
    };
    let built = children::build(object, given);
    let mut set = built.stateful_sets.into_iter().next().expect("one");
    let hash = hash(&serde_json::to_value(&set).expect("JSON"));
    let status = json!({"replicas": 1, "observedGeneration": 4, "updateRevision": "new"});
    set.metadata.annotations = Some([(annotations::APPLIED.to_owned(), hash)].into());
    set.metadata.generation = Some(4);
    set.status = serde_json::from_value(status).expect("a status");
    set
}

/// A group that serves, beside another one that serves too.
fn serving(object: &BrokerGroup) -> Observed<'_> {
    let name_server: NameServer = crate::yaml::case("name-server-small");
    let mut observed = Observed::nothing(object, at(SECOND));
    observed.name_server = Some(Arc::new(name_server));
    if object.spec.listeners.external.is_none() {
        observed.set = Some(Arc::new(applied(object)));
    }
    observed.members = vec![Member {
        name: "a-broker-0".to_owned(),
        uid: "old".to_owned(),
        is_ready: true,
        is_current: true,
        was_ready: true,
        settings: Some(Ok(())),
        ..Member::default()
    }];
    observed.others = vec![other("b", true, |_| {})];
    observed
}

fn other(name: &str, is_up: bool, change: fn(&mut BrokerGroup)) -> Other {
    let mut group = group();
    group.metadata.name = Some(name.to_owned());
    change(&mut group);
    let group = Arc::new(group);
    Other { group, is_up }
}

fn status(object: &mut BrokerGroup) -> &mut BrokerGroupStatus {
    object.status.get_or_insert_default()
}

/// The status tells of a restart that has been at this step for ten seconds.
fn restarts(object: &mut BrokerGroup, step: RolloutStep) {
    status(object).rollout = Some(Rollout {
        pod: "a-broker-0".to_owned(),
        pod_uid: "old".to_owned(),
        step,
        reason: "ImageChanged".to_owned(),
        switchover: None,
        rebuild: None,
        since: Time(at(SECOND - 10)),
    });
}

fn template_changed(observed: &mut Observed<'_>) {
    observed.members[0].is_current = false;
    observed.members[0].differs = "ImageChanged";
}

/// The object was deleted; the drain has lasted for so many seconds.
fn deleted(object: &mut BrokerGroup, drains_for: Option<i64>) {
    object.metadata.deletion_timestamp = Some(Time(at(SECOND - 100)));
    status(object).drain = drains_for.map(|seconds| DrainStatus {
        since: Time(at(SECOND - seconds)),
        messages: 0,
        groups: Vec::new(),
    });
}

/// The broker alone is given its settings.
fn give() -> Step {
    let broker = decision::Given {
        pod_uid: "old".to_owned(),
        address: None,
    };
    Step::Give {
        epoch: 0,
        brokers: vec![broker],
    }
}

fn check(rows: impl IntoIterator<Item = Row>) {
    for row in rows {
        let mut object = group();
        (row.object)(&mut object);
        let mut observed = serving(&object);
        (row.seen)(&mut observed);
        let decision = decide(&observed);
        let what = row.what;
        assert_eq!(decision.step, row.step, "{what}");
        let written = decision.status.as_ref();
        let reason = written.map_or("", |(_, verdict)| verdict.reason);
        let message = written.map_or("", |(_, verdict)| &verdict.message);
        assert_eq!(reason, row.reason, "{what}: {message}");
        let rollout = written.and_then(|(status, _)| status.rollout.as_ref());
        assert_eq!(rollout.map(|of| of.step), row.rollout, "{what}");
        let events = decision.events.iter().map(|news| news.reason.as_str());
        assert_eq!(events.collect::<Vec<_>>(), row.events, "{what}");
    }
}

#[test]
fn what_a_spec_lets_the_operator_do() {
    check([
        Row {
            step: Step::Hold,
            ..row(
                "a new object gets the finalizer, and nothing before it",
                |object| object.metadata.finalizers = None,
                nothing_else,
            )
        },
        Row {
            step: Step::Release,
            ..row(
                "without a drain there is no finalizer",
                |object| object.spec.drain.enabled = false,
                nothing_else,
            )
        },
        Row {
            reason: "Paused",
            ..row(
                "a paused object is left alone",
                |object| {
                    let paused = (annotations::PAUSED.to_owned(), "true".to_owned());
                    object.metadata.annotations = Some([paused].into());
                },
                template_changed,
            )
        },
        Row {
            reason: "NameServerNotFound",
            ..row("no NameServer object", same, |observed| {
                observed.name_server = None;
            })
        },
        Row {
            reason: "ResourceConflict",
            ..row("an older group has the broker name", same, |observed| {
                let twin = |group: &mut BrokerGroup| {
                    group.spec.broker_name = Some("a".to_owned());
                    group.metadata.creation_timestamp = Some(Time(at(0)));
                };
                observed.others = vec![other("b", true, twin)];
            })
        },
        Row {
            step: give(),
            reason: "Ready",
            ..row("a younger group has the broker name", same, |observed| {
                let twin = |group: &mut BrokerGroup| {
                    group.spec.broker_name = Some("a".to_owned());
                    group.metadata.creation_timestamp = Some(Time(at(SECOND)));
                };
                observed.others = vec![other("b", true, twin)];
            })
        },
        Row {
            reason: "WaitingForExternalAddress",
            ..row(
                "the listener has no address yet",
                |object| {
                    let other: BrokerGroup = crate::yaml::case("broker-group-node-port");
                    object.spec.listeners = other.spec.listeners;
                },
                nothing_else,
            )
        },
    ]);
}

#[test]
fn how_brokers_without_a_restart_are() {
    check([
        Row {
            step: give(),
            reason: "Ready",
            ..row("the broker serves", same, nothing_else)
        },
        Row {
            step: give(),
            reason: "ApplyingConfiguration",
            ..row("it has not taken its settings", same, |observed| {
                observed.members[0].settings = None;
            })
        },
        Row {
            reason: "Starting",
            ..row("nothing is made yet", same, |observed| {
                observed.set = None;
                observed.members.clear();
            })
        },
        Row {
            reason: "RestartPending",
            ..row("this look applies a new template", same, |observed| {
                observed.default_image = "rmq:next";
            })
        },
        Row {
            reason: "RestartPending",
            ..row("Kubernetes has not seen the template", same, |observed| {
                let set = Arc::make_mut(observed.set.as_mut().expect("a set"));
                set.metadata.generation = Some(5);
            })
        },
        Row {
            step: give(),
            reason: "ContainerCrashes",
            ..row("a pod does not run", same, |observed| {
                observed.members[0].problem = Some(Problem {
                    reason: "ContainerCrashes",
                    message: "pod a-broker-0 ended again and again".to_owned(),
                });
            })
        },
        Row {
            step: give(),
            reason: "VolumeNotProvisioned",
            ..row("a missing volume comes before its pod", same, |observed| {
                let problem = |reason| Problem {
                    reason,
                    message: String::new(),
                };
                observed.members[0].problem = Some(problem("PodUnschedulable"));
                observed.missing = Some(problem("VolumeNotProvisioned"));
            })
        },
        Row {
            step: give(),
            reason: "Ready",
            events: &["BrokerOutOfMemory"],
            ..row("the kernel killed the broker", same, |observed| {
                observed.members[0].memory_kill = Some("pod a-broker-0 was killed".to_owned());
            })
        },
    ]);
}

#[test]
fn children_are_made_in_every_look_that_may_change_something() {
    let applies = |change: fn(&mut BrokerGroup)| {
        let mut object = group();
        change(&mut object);
        decide(&serving(&object)).children
    };
    assert!(applies(same).is_some());
    let quiesces = |object: &mut BrokerGroup| restarts(object, RolloutStep::Quiescing);
    assert!(applies(quiesces).is_some());
    assert!(applies(|object| deleted(object, None)).is_none());
    let listener = applies(|object| {
        let other: BrokerGroup = crate::yaml::case("broker-group-node-port");
        object.spec.listeners = other.spec.listeners;
    });
    assert_eq!(listener.map(|children| children.services.len()), Some(2));
}

#[test]
fn every_member_counts() {
    let object = group();
    let mut observed = serving(&object);
    let second = Member {
        name: "a-broker-1".to_owned(),
        uid: "second".to_owned(),
        is_ready: false,
        ..observed.members[0].clone()
    };
    observed.members.push(second);
    let (status, verdict) = decide(&observed).status.expect("a status");
    assert_eq!((status.replicas, status.ready_replicas), (2, 1));
    assert_eq!(verdict.reason, "Ready");
    observed.members[1].is_current = false;
    observed.members[1].differs = "ImageChanged";
    let (status, _) = decide(&observed).status.expect("a status");
    let rollout = status.rollout.expect("a restart");
    // It does not serve, so there is no reason to wait.
    assert_eq!(
        (&*rollout.pod, rollout.step),
        ("a-broker-1", RolloutStep::Stopping)
    );
}
