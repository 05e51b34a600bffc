//! Groups with replicas: who takes part, what is made, and what the status says.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Service};
use rmq_crds::BrokerGroupElection;
use serde_json::Value;

use super::*;
use crate::objects::{self, Children};

fn three() -> BrokerGroup {
    let mut group: BrokerGroup = crate::yaml::case("broker-group-replicas");
    group.metadata.generation = Some(1);
    group.metadata.finalizers = Some(vec![names::FINALIZER.to_owned()]);
    group
}

/// A look at this group, and its election with this status (master, members in sync) among these members.
fn seen<'a>(
    object: &'a BrokerGroup,
    members: &[i64],
    status: Option<(i64, &[i64])>,
) -> Observed<'a> {
    let name_server: NameServer = crate::yaml::case("name-server-small");
    let mut observed = Observed::nothing(object, at(SECOND));
    observed.name_server = Some(Arc::new(name_server));
    let seat = |slot: i64| json!({"slot": slot, "incarnation": format!("{slot:032x}")});
    let member = |slot: &i64| json!({"slot": slot, "replication": "h:1", "client": "h:2"});
    let min = members.len().min(2);
    let status = status.map(|(master, in_sync)| {
        let in_sync: Vec<Value> = in_sync.iter().map(|slot| seat(*slot)).collect();
        json!({"phase": "Stable", "epoch": 3, "master": seat(master), "inSync": in_sync, "history": []})
    });
    let election = json!({
        "metadata": {"name": "a-broker", "namespace": "shop", "resourceVersion": "7"},
        "spec": {
            "members": members.iter().map(member).collect::<Vec<_>>(),
            "ackMode": "inSync",
            "minInSync": min,
        },
        "status": status,
    });
    let election: BrokerGroupElection = serde_json::from_value(election).expect("an election");
    observed.view = Some(View::of(&election));
    observed.election = Some(Arc::new(election));
    observed.claims = members.iter().map(|slot| claim(*slot)).collect();
    observed.members = members.iter().map(|slot| pod(*slot)).collect();
    observed
}

fn claim(slot: i64) -> Arc<PersistentVolumeClaim> {
    let claim = json!({"metadata": {"name": format!("data-a-broker-{slot}"), "uid": format!("claim-{slot}"), "creationTimestamp": "2020-01-01T00:00:00Z"}});
    Arc::new(serde_json::from_value(claim).expect("a claim"))
}

fn pod(slot: i64) -> Member {
    Member {
        name: format!("a-broker-{slot}"),
        uid: format!("old-{slot}"),
        slot,
        is_ready: true,
        is_current: true,
        was_ready: true,
        settings: Some(Ok(())),
        ..Member::default()
    }
}

/// The StatefulSet that this look makes, as the one that is there.
fn with_set(observed: &mut Observed<'_>) {
    let children = decide(observed).children.expect("children");
    let mut set = children.stateful_sets.into_iter().next().expect("one");
    let hash = hash(&serde_json::to_value(&set).expect("JSON"));
    let status = json!({"replicas": 3, "observedGeneration": 4, "updateRevision": "new"});
    set.metadata.annotations = Some([(annotations::APPLIED.to_owned(), hash)].into());
    set.metadata.generation = Some(4);
    set.status = serde_json::from_value(status).expect("a status");
    observed.set = Some(Arc::new(set));
}

/// Slots of the election, minInSync, and pods that a look makes.
fn made(observed: &Observed<'_>) -> (Vec<i64>, i32, i32) {
    let children = decide(observed).children.expect("children");
    let election = children.elections.first().expect("an election");
    let members = election.spec.members.iter().map(|member| member.slot);
    let set = children
        .stateful_sets
        .first()
        .and_then(|set| set.spec.as_ref());
    let pods = set.and_then(|set| set.replicas).expect("a number");
    (members.collect(), election.spec.min_in_sync, pods)
}

#[test]
fn objects_of_a_group_with_replicas() {
    let object = three();
    let mut observed = seen(&object, &[0, 1, 2], None);
    observed.election = None;
    observed.view = None;
    observed.claims.clear();
    observed.lease = LeaseSeen::Missing;
    let children = decide(&observed).children.expect("children");
    insta::assert_snapshot!("replicas", crate::yaml::write(&children));

    let mut object: BrokerGroup = crate::yaml::case("broker-group-replicas-outside");
    object.metadata.finalizers = Some(vec![names::FINALIZER.to_owned()]);
    let mut observed = seen(&object, &[0, 1], Some((0, &[0, 1])));
    observed.election = None;
    let listener = object.spec.listeners.external.as_ref().expect("a listener");
    let address = |port: i32| {
        let service = json!({"spec": {"ports": [{"port": 10911, "nodePort": port}]}});
        let service: Service = serde_json::from_value(service).expect("a service");
        objects::advertised(listener, Some(&service))
    };
    observed.advertised = vec![address(31_000), None];
    let only_services = |children: &Children| {
        (
            children.services.len(),
            children.stateful_sets.len(),
            children.elections.len(),
        )
    };
    let children = decide(&observed).children.expect("children");
    assert_eq!(
        only_services(&children),
        (3, 0, 0),
        "one address is missing"
    );
    observed.advertised = vec![address(31_000), address(31_005)];
    let children = decide(&observed).children.expect("children");
    insta::assert_snapshot!("replicas-outside", crate::yaml::write(&children));
}

#[test]
fn a_broker_that_is_alone_has_nothing_of_an_election() {
    let object = group();
    let children = decide(&serving(&object)).children.expect("children");
    let text = crate::yaml::write(&children);
    for word in ["election", "serviceAccountName", "10912", "rmq.rs/elected"] {
        assert!(!text.contains(word), "{word} in {text}");
    }
    assert!(
        text.contains("automountServiceAccountToken: false"),
        "{text}"
    );
    assert_eq!(children.elections.len() + children.accounts.len(), 0);
}

#[test]
fn who_has_messages_begins_alone() {
    let object = three();
    let mut new = seen(&object, &[0, 1, 2], None);
    new.election = None;
    new.view = None;
    assert_eq!(made(&new), (vec![0, 1, 2], 2, 3), "claims of all");
    new.claims.clear();
    assert_eq!(made(&new), (vec![0, 1, 2], 2, 3), "a new group");
    new.claims = vec![claim(0)];
    assert_eq!(
        made(&new),
        (vec![0], 1, 3),
        "a volume of a broker that was alone"
    );
    new.claims.clear();
    let alone = group();
    new.set = Some(Arc::new(applied(&alone)));
    assert_eq!(
        made(&new),
        (vec![0], 1, 3),
        "a broker that was alone, in memory"
    );

    // Until it leads, nobody else may.
    let begins = seen(&object, &[0], None);
    assert_eq!(made(&begins), (vec![0], 1, 3));
    let leads = seen(&object, &[0], Some((0, &[0])));
    assert_eq!(
        made(&leads),
        (vec![0, 1, 2], 1, 3),
        "messages are taken meanwhile"
    );
    let mut copied = seen(&object, &[0, 1, 2], Some((0, &[0, 2])));
    assert_eq!(made(&copied).1, 2);
    let view = copied.view.as_mut().expect("a view");
    view.min_in_sync = 1;
    assert_eq!(made(&copied).1, 2, "two have everything now");
    let view = copied.view.as_mut().expect("a view");
    view.in_sync.remove(&2);
    assert_eq!(made(&copied).1, 1, "the group would stop");
}

#[test]
fn members_go_when_nobody_needs_them() {
    let mut object = three();
    object.spec.replicas = 1;
    let all = [0, 1, 2];
    let away = seen(&object, &all, Some((2, &all)));
    assert_eq!(
        made(&away),
        (vec![0, 1, 2], 1, 3),
        "the master is one that goes"
    );
    let behind = seen(&object, &all, Some((0, &[1, 2])));
    assert_eq!(made(&behind).0, all);
    let ready = seen(&object, &all, Some((0, &all)));
    assert_eq!(made(&ready), (vec![0], 1, 3), "the set names them still");
    let gone = seen(&object, &[0], Some((0, &[0])));
    assert_eq!(made(&gone), (vec![0], 1, 1), "it keeps its election");
    object.spec.replicas = 3;
    let again = seen(&object, &[0], Some((0, &[0])));
    assert_eq!(made(&again), (vec![0, 1, 2], 1, 3));
}

#[test]
fn a_drain_takes_a_broker_when_the_set_allows_it() {
    let object = three();
    let may_go = |in_sync: &[i64]| {
        let observed = seen(&object, &[0, 1, 2], Some((0, in_sync)));
        let children = decide(&observed).children.expect("children");
        let budget = children.disruption_budgets.first().expect("a budget");
        let spec = budget.spec.as_ref().expect("a spec");
        assert!(
            spec.selector
                .as_ref()
                .is_some_and(|of| of.match_expressions.is_none())
        );
        serde_json::to_value(&spec.max_unavailable).expect("JSON")
    };
    assert_eq!(may_go(&[0, 1, 2]), 1);
    assert_eq!(may_go(&[0, 2]), 0);
}

#[test]
fn a_group_says_how_it_stands() {
    let object = three();
    let all = [0, 1, 2];
    let mut observed = seen(&object, &all, Some((1, &all)));
    with_set(&mut observed);
    let decision = decide(&observed);
    let (status, verdict) = decision.status.expect("a status");
    assert_eq!(verdict.reason, "Ready", "{}", verdict.message);
    assert!(
        verdict.message.contains("a-broker-1"),
        "{}",
        verdict.message
    );
    assert_eq!(
        status.address.as_deref(),
        Some("a-broker-1.a-broker.shop.svc:10911")
    );
    let given = |slot: i64| decision::Given {
        pod_uid: format!("old-{slot}"),
        address: Some("h:2".to_owned()),
    };
    let give = Step::Give {
        epoch: 3,
        brokers: all.map(given).into(),
    };
    assert_eq!(decision.step, give);
    assert_eq!(decision.labels.len(), 3);

    let mut observed = seen(&object, &all, Some((1, &[0, 1])));
    observed.members[2].is_ready = false;
    with_set(&mut observed);
    let (_, verdict) = decide(&observed).status.expect("a status");
    assert_eq!(
        (verdict.reason, verdict.ready),
        ("Starting", rmq_crds::ConditionStatus::True)
    );
    observed.members[2].is_ready = true;
    let (_, verdict) = decide(&observed).status.expect("a status");
    assert_eq!(verdict.reason, "ReplicasNotInSync");
    assert!(
        verdict.message.contains("a-broker-2"),
        "{}",
        verdict.message
    );

    let mut observed = seen(&object, &all, None);
    with_set(&mut observed);
    let (status, verdict) = decide(&observed).status.expect("a status");
    assert_eq!(verdict.reason, "ReplicasNotInSync");
    assert_eq!(verdict.ready, rmq_crds::ConditionStatus::False);
    assert_eq!((status.epoch, status.master), (Some(0), None));
}

#[test]
fn a_switchover_is_in_the_status_before_it_is_asked_for() {
    let mut object = three();
    let all = [0, 1, 2];
    let asked = |object: &BrokerGroup| {
        let mut observed = seen(object, &all, Some((1, &all)));
        with_set(&mut observed);
        observed.members[1].is_current = false;
        let decision = decide(&observed);
        let children = decision.children.expect("children");
        let election = children.elections.into_iter().next().expect("an election");
        let (status, _) = decision.status.expect("a status");
        (election.spec.switchover, status)
    };
    let (first, said) = asked(&object);
    assert_eq!(first, None);
    let rollout = said.rollout.clone().expect("a restart");
    assert_eq!(
        (&*rollout.pod, rollout.step),
        ("a-broker-1", RolloutStep::SwitchingOver)
    );
    object.status = Some(said);
    let (second, _) = asked(&object);
    assert_eq!(second, rollout.switchover);
    assert!(second.is_some_and(|asked| asked.to == 0));
}

#[test]
fn a_pod_is_deleted_while_the_election_is_as_it_was_seen() {
    let mut object = three();
    let all = [0, 1, 2];
    object.status = Some(BrokerGroupStatus {
        rollout: Some(Rollout {
            pod: "a-broker-2".to_owned(),
            pod_uid: "old-2".to_owned(),
            step: RolloutStep::Stopping,
            reason: "ImageChanged".to_owned(),
            switchover: None,
            rebuild: None,
            since: Time(at(SECOND - 10)),
        }),
        ..BrokerGroupStatus::default()
    });
    let mut observed = seen(&object, &all, Some((1, &all)));
    with_set(&mut observed);
    observed.members[2].is_current = false;
    let delete = Step::Delete {
        pod: "a-broker-2".to_owned(),
        uid: "old-2".to_owned(),
        election: Some("7".to_owned()),
    };
    assert_eq!(decide(&observed).step, delete);
}

#[test]
fn what_an_earlier_group_left_goes_when_its_volumes_are_gone() {
    let object = three();
    let mut kept = seen(&object, &[0, 1, 2], Some((1, &[0, 1, 2])));
    assert!(
        decide(&kept).children.is_some(),
        "the record stays with the volumes"
    );
    kept.claims.clear();
    let decision = decide(&kept);
    assert_eq!(decision.step, Step::ForgetElection);
    assert!(decision.children.is_none());
    kept.lease = LeaseSeen::Going;
    let decision = decide(&kept);
    assert_eq!(
        decision.step,
        Step::Nothing,
        "the garbage collector takes it"
    );
    assert!(decision.children.is_none());
}

#[test]
fn a_member_is_made_anew_by_a_wish_that_goes_when_it_is_fulfilled() {
    let mut object = three();
    let all = [0, 1, 2];
    let wish = (annotations::REBUILD.to_owned(), "2".to_owned());
    object.metadata.annotations = Some([wish].into());
    let look = |object: &BrokerGroup, change: fn(&mut Observed<'_>)| {
        let mut observed = seen(object, &all, Some((1, &all)));
        with_set(&mut observed);
        change(&mut observed);
        let decision = decide(&observed);
        (decision.step, decision.status.expect("a status").0)
    };
    let (step, status) = look(&object, |_| {});
    assert_eq!(step, Step::Nothing, "the status says so first");
    let rollout = status.rollout.as_ref().expect("a restart");
    let rebuilt = rollout.rebuild.as_ref().and_then(|of| of.claim.clone());
    assert_eq!(rollout.step, RolloutStep::Stopping);
    assert_eq!(rebuilt.as_ref().map(|claim| &*claim.uid), Some("claim-2"));
    object.status = Some(status);
    let (step, status) = look(&object, |_| {});
    let rebuild = Step::Rebuild {
        pod: "a-broker-2".to_owned(),
        uid: "old-2".to_owned(),
        claim: rebuilt,
        election: Some("7".to_owned()),
    };
    assert_eq!(step, rebuild);
    object.status = Some(status);
    let behind: fn(&mut Observed<'_>) = |observed| {
        observed.members[2].uid = "new".to_owned();
        observed.claims.remove(2);
    };
    let (step, status) = look(&object, behind);
    assert_eq!(step, Step::Nothing);
    assert_eq!(
        status.rollout.as_ref().map(|rollout| rollout.step),
        Some(RolloutStep::Starting)
    );
    object.status = Some(status);
    let (step, _) = look(&object, behind);
    assert_eq!(step, Step::Nothing, "the set has the old data still");
    let (step, status) = look(&object, |observed| {
        observed.members[2].uid = "new".to_owned();
        observed.claims.remove(2);
        let view = observed.view.as_mut().expect("a view");
        view.incarnations.insert(2, "new".to_owned());
    });
    let finish = Step::Finish {
        pod_uid: "old-2".to_owned(),
        wish: Some(annotations::REBUILD),
    };
    assert_eq!((step, status.rollout), (finish, None));
}

#[test]
fn segments_of_a_group_with_replicas_stay() {
    let object = three();
    let mut observed = seen(&object, &[0, 1, 2], Some((1, &[0, 1, 2])));
    for (has, is_refused) in [
        (None, false),
        (Some("1073741824"), false),
        (Some("65536"), true),
    ] {
        observed.segment_bytes = has.map(str::to_owned);
        let decision = decide(&observed);
        let (_, verdict) = decision.status.expect("a status");
        let says = verdict.message.contains("segmentBytes cannot be changed");
        assert_eq!(
            (says, decision.children.is_none()),
            (is_refused, is_refused)
        );
    }
}
